#include "support/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "support/asserts.h"

const char *test_model_path(void) {
    static char path[4096];
    const char *given = getenv("CLINFER_TEST_MODEL");
    char *folder = ci_file_xdg("DATA", "models");
    snprintf(path, sizeof path, "%s", given ? given : "");
    if (!given) snprintf(path, sizeof path, "%s/smollm2-135m-instruct-q4_1.gguf", folder ? folder : ".");
    free(folder);
    if (access(path, R_OK) != 0) {
        fprintf(stderr, "the default model is not at %s: scripts/fetch_model.sh puts it there\n", path);
        exit(1);
    }
    return path;
}

const char *const *test_devices(void) {
    enum { MOST = 16 };
    static const char *names[MOST + 1];
    static char indices[MOST][8];
    if (names[0]) return names;
    const char *only = getenv("CLINFER_TEST_DEVICE");
    struct clinfer_device *devices = NULL;
    size_t count = 0, used = 0;
    if (only) {
        names[used++] = only;
        return names;
    }
    names[used++] = "cpu";
    if (clinfer_devices(&devices, &count) != CLINFER_OK) count = 0;
    for (size_t i = 0; i < count && used < MOST; i++) {
        snprintf(indices[i], sizeof indices[i], "%zu", i);
        names[used++] = indices[i];
    }
    clinfer_devices_free(devices, count);
    return names;
}

struct clinfer_engine_options test_engine_options(const char *model, const char *device) {
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = model;
    options.device = device;
    options.activations = CLINFER_ACTIVATIONS_F32;
    return options;
}

clinfer_engine *test_engine_open(const struct clinfer_engine_options *options) {
    clinfer_engine *engine;
    if (clinfer_engine_open(options, &engine) != CLINFER_OK)
        fail_msg("%s on %s: %s", options->model, options->device, clinfer_error());
    return engine;
}

float test_margin(const float *logits, int vocabulary) {
    float first = -INFINITY, second = -INFINITY;
    for (int i = 0; i < vocabulary; i++) {
        second = fmaxf(second, fminf(first, logits[i]));
        first = fmaxf(first, logits[i]);
    }
    return first - second;
}
