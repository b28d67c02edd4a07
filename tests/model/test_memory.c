/* Memory is predicted before anything is loaded: what the prediction says beside what an engine then uses, with a full
 * context, on the CPU and on devices that share its memory. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine_private.h"
#include "engine/predict.h"
#include "support/asserts.h"
#include "support/model.h"

static const char tiny[] = "tests/data/llama_tiny.gguf";

static bool keep_on(void *user, const char *text, size_t length) {
    (void)user;
    (void)text;
    return length > 0;
}

/* Prompts of every bucket's size, then one that fills the context. */
static void use_all(clinfer_engine *engine, int context) {
    const int lengths[] = {1, 8, 64, 400, context - 8};
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    assert_ok(clinfer_session_create(engine, &options, &session));
    int32_t *tokens = malloc((size_t)context * sizeof *tokens);
    assert_non_null(tokens);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int k = 0; k < context; k++) tokens[k] = (int32_t)(5 + (k * 7 + (int)i) % 100); /* nothing is cached */
        const struct clinfer_request request = {.tokens = tokens,
                                                .count = (size_t)(lengths[i] < context ? lengths[i] : context - 8),
                                                .max_tokens = 4,
                                                .callback = keep_on,
                                                .ignore_end = true};
        assert_ok(clinfer_generate(session, &request, NULL));
    }
    free(tokens);
    clinfer_session_destroy(session);
}

static uint64_t sum(const struct ci_host_bytes *bytes) { return bytes->weights + bytes->cache + bytes->activations; }

static void expect_near(const char *what, const char *device, uint64_t predicted, uint64_t used) {
    double off = (double)predicted / (double)used - 1;
    printf("# %s on %s: %.3f MB predicted, %.3f MB used, %+.1f%%\n", what, device, (double)predicted / 1e6,
           (double)used / 1e6, 100 * off);
    if (off < -0.05 || off > 0.05)
        fail_msg("%s on %s: %llu bytes predicted, %llu used", what, device, (unsigned long long)predicted,
                 (unsigned long long)used);
}

static enum clinfer_status open_alone(const char *path, struct ci_gguf **gguf, struct ci_model *model) {
    enum clinfer_status status = ci_gguf_open(path, gguf);
    return status == CLINFER_OK ? ci_model_open(*gguf, model) : status;
}

/* As `clinfer inspect` does it, without an engine. */
static void check_cpu(const char *path, int context, uint64_t used) {
    struct ci_gguf *gguf;
    struct ci_model model;
    struct ci_threads *threads;
    struct ci_host_bytes host;
    assert_ok(open_alone(path, &gguf, &model));
    assert_ok(ci_threads_create(0, &threads));
    assert_ok(ci_predict_cpu(&model, threads, context, &host));
    expect_near(path, "the CPU, without an engine", sum(&host), used);
    ci_threads_destroy(threads);
    ci_model_close(&model);
    ci_gguf_close(gguf);
}

static void check(const char *model, const char *device, int context) {
    struct clinfer_engine_options options = test_engine_options(model, device);
    struct clinfer_engine_stats stats;
    options.context = context;
    options.activations = CLINFER_ACTIVATIONS_AUTO;
    clinfer_engine *engine = test_engine_open(&options);
    use_all(engine, context);
    clinfer_engine_get_stats(engine, &stats);
    uint64_t used = stats.weight_bytes + stats.cache_bytes + stats.activation_bytes;
    expect_near(model, device, sum(&engine->predicted), used);
    bool cpu = !engine->device;
    clinfer_engine_close(engine);
    if (cpu) check_cpu(model, context, used);
}

static void test_tiny(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) check(tiny, *device, 512);
}

static void test_smollm2(void **state) {
    (void)state;
    check(test_model_path(), "cpu", 1024);
}

/* The first start's comparison: what was packed into the host's memory is there once. */
static void test_an_engine_beside_another_packs_nothing_again(void **state) {
    (void)state;
    int lenders = 0;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(tiny, *device);
        clinfer_engine *engine = test_engine_open(&options), *beside;
        if (engine->store.chunk) { /* packed for the device, or for the CPU */
            assert_ok(ci_engine_open_beside(engine, &options, &beside));
            assert_null(beside->store.chunk);
            assert_null(beside->tokenizer);
            clinfer_engine_close(beside);
            lenders++;
        }
        clinfer_engine_close(engine);
    }
    if (!lenders) skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tiny), cmocka_unit_test(test_smollm2),
                                       cmocka_unit_test(test_an_engine_beside_another_packs_nothing_again)};
    return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
