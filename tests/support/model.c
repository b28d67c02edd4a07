#include "support/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <clinfer.h>

#include "base/file.h"

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
