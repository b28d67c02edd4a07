/* Every family of models, each by tiny models of random weights, against logits that llama.cpp computed
 * (tests/data/families.bin, recorded by scripts/reference_families.py), or the vectors of their rows. The files are
 * made here, so that only the logits are kept: 40 tokens, more than the windows. `test_families --write DIR` writes the
 * files, and the tokens as DIR/tokens. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "base/file.h"
#include "model/decoder.h"
#include "support/model.h"
#include "support/nmse.h"
#include "support/sampling.h"
#include "support/tiny_model.h"

enum { TOKENS = 40, LOGITS = TOKENS * TINY_VOCABULARY, NAME_BYTES = 32 };

static const struct tiny_model models[] = {
#define MODEL(name_, architecture_, keys_, optional_)                                                                  \
    {.name = name_, .architecture = architecture_, .keys = keys_, .optional = optional_},
#include "families.inc"
#undef MODEL
};
enum { MODELS = sizeof models / sizeof *models };

static char folder[] = "/tmp/clinfer_families_XXXXXX";

static const char *path_of(const struct tiny_model *model, const char *in) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s.gguf", in, model->name);
    return path;
}

/* Each id some times, in no order. */
static int32_t token_at(int index) { return (index * index * 7 + index * 3 + 5) % 31 % TINY_VOCABULARY; }

/* ---- what was recorded ---- */

/* A name, zeroes up to 32 bytes, then logits [TOKENS, TINY_VOCABULARY] as little-endian f32; again and again. */
static const float *recorded(const struct ci_file *file, const struct tiny_model *model) {
    enum { RECORD = NAME_BYTES + LOGITS * sizeof(float) };
    for (size_t at = 0; at + RECORD <= file->size; at += RECORD)
        if (strncmp((const char *)file->data + at, model->name, NAME_BYTES) == 0)
            return (const float *)(const void *)((const char *)file->data + at + NAME_BYTES);
    fail_msg("%s: nothing is recorded of it: scripts/reference_families.py records it", model->name);
    return NULL;
}

/* ---- what is computed ---- */

struct way {
    const char *name;
    int batch;
    enum clinfer_cache_type cache;
    double limit;
};
static const struct way ways[] = {
    {"whole", TOKENS, CLINFER_CACHE_F32, 1e-9},
    {"in pieces of 7", 7, CLINFER_CACHE_F32, 1e-9},
    {"one by one", 1, CLINFER_CACHE_F32, 1e-9},
    {"f16 caches", TOKENS, CLINFER_CACHE_F16, 1e-6},
};
enum { WAYS = sizeof ways / sizeof *ways };

/* Prints what is too far away, and tells how many that were: 0 or 1. */
static int compare(const struct ci_file *file, const struct tiny_model *model, const char *device,
                   const struct way *way) {
    float logits[LOGITS];
    int32_t tokens[TOKENS];
    for (int i = 0; i < TOKENS; i++) tokens[i] = token_at(i);
    struct clinfer_engine_options options = test_engine_options(path_of(model, folder), device);
    options.batch = way->batch;
    options.all_logits = true;
    options.key_type = options.value_type = way->cache;
    if (strcmp(device, "cpu") != 0) options.fallback = CLINFER_FALLBACK_NONE;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session *session;
    struct clinfer_session_options sampling;
    clinfer_session_options_default(engine, &sampling);
    if (clinfer_session_create(engine, &sampling, &session) != CLINFER_OK ||
        clinfer_logits(session, tokens, TOKENS, true, logits) != CLINFER_OK)
        fail_msg("%s on %s, %s: %s", model->name, device, way->name, clinfer_error());
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
    double figure = nmse(recorded(file, model), logits, LOGITS);
    printf("# %s on %s, %s: NMSE %.1e\n", model->name, device, way->name, figure);
    return !(figure <= way->limit);
}

static void open_recorded(struct ci_file *file) {
    if (ci_file_map("tests/data/families.bin", file) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void test_every_family_has_a_model(void **state) {
    (void)state;
    for (int i = 0; ci_families[i]; i++) {
        int found = 0;
        for (int k = 0; k < MODELS; k++) found += strcmp(models[k].architecture, ci_families[i]->architecture) == 0;
        if (!found) fail_msg("family %s: no model in tests/model/families.inc", ci_families[i]->architecture);
    }
}

static void test_no_family_is_called_unsupported(void **state) {
    static const char *const unsupported[] = {
#define CI_UNSUPPORTED(architecture, needs) architecture,
#include "model/unsupported_list.inc"
#undef CI_UNSUPPORTED
    };
    (void)state;
    for (int i = 0; ci_families[i]; i++)
        for (size_t k = 0; k < sizeof unsupported / sizeof *unsupported; k++)
            if (strcmp(unsupported[k], ci_families[i]->architecture) == 0)
                fail_msg("%s has a family and stands in unsupported_list.inc", unsupported[k]);
}

static void test_logits_are_the_peers_on_the_cpu(void **state) {
    (void)state;
    struct ci_file file;
    int wrong = 0;
    open_recorded(&file);
    for (int i = 0; i < MODELS; i++)
        for (int k = 0; k < WAYS; k++) wrong += compare(&file, &models[i], "cpu", &ways[k]);
    ci_file_unmap(&file);
    if (wrong) fail_msg("%d of %d figures are over their limits", wrong, MODELS * WAYS);
}

/* Programs take long to compile: one of the models, whole; with CLINFER_TEST_ALL all of them in all ways. */
static void test_logits_are_the_peers_on_devices(void **state) {
    (void)state;
    struct ci_file file;
    int wrong = 0;
    open_recorded(&file);
    for (const char *const *device = test_devices(); *device; device++)
        for (int i = 0; i < MODELS && strcmp(*device, "cpu") != 0; i++)
            for (int k = 0; k < (sampling_all() ? WAYS : 1); k++)
                if (sampling_takes("families", i, MODELS, MODELS))
                    wrong += compare(&file, &models[i], *device, &ways[k]);
    ci_file_unmap(&file);
    if (wrong) fail_msg("%d figures are over their limits", wrong);
}

/* ---- the files ---- */

static void write_all(const char *in) {
    for (int i = 0; i < MODELS; i++) tiny_model_write(&models[i], path_of(&models[i], in));
}

static int write_files(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    write_all(folder);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    for (int i = 0; i < MODELS; i++) unlink(path_of(&models[i], folder));
    return rmdir(folder);
}

static int write_for_the_peer(const char *in) {
    char path[512];
    write_all(in);
    snprintf(path, sizeof path, "%s/tokens", in);
    FILE *file = fopen(path, "we");
    for (int i = 0; file && i < TOKENS; i++) fprintf(file, "%d%s", (int)token_at(i), i + 1 < TOKENS ? "," : "\n");
    return file && fclose(file) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int count, char **words) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_family_has_a_model),
        cmocka_unit_test(test_no_family_is_called_unsupported),
        cmocka_unit_test(test_logits_are_the_peers_on_the_cpu),
        cmocka_unit_test(test_logits_are_the_peers_on_devices),
    };
    if (count == 3 && strcmp(words[1], "--write") == 0) return write_for_the_peer(words[2]);
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
