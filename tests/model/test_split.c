/* test_split.c: a model whose layers are spread over all devices of this machine and the CPU backend gives the logits
 * of the CPU backend alone, and waits as often as its plan says. With one OpenCL device it is that and the CPU; the
 * drivers that OCL_ICD_VENDORS names decide. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"
#include "support/nmse.h"

enum { TOKENS = 40, DECODE = 24 };

static const char *const files[] = {"tests/data/llama_tiny.gguf", "tests/data/qwen2_tiny.gguf"};

static clinfer_engine *open_on(const char *model, const char *device, int device_layers) {
    struct clinfer_engine_options options = test_engine_options(model, device);
    options.device_layers = device_layers;
    options.tuning = "none";
    return test_engine_open(&options);
}

/* Of the last of TOKENS tokens; *vocabulary floats, the caller's. */
static float *logits_of(clinfer_engine *engine, int *vocabulary) {
    struct clinfer_engine_info info;
    clinfer_session *session;
    int32_t tokens[TOKENS];
    struct clinfer_session_options session_options;
    clinfer_engine_get_info(engine, &info);
    clinfer_session_options_default(engine, &session_options);
    for (int i = 0; i < TOKENS; i++) tokens[i] = (int32_t)((i * 7919LL + 13) % info.vocabulary);
    float *logits = malloc((size_t)info.vocabulary * sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(clinfer_session_create(engine, &session_options, &session), CLINFER_OK);
    if (clinfer_logits(session, tokens, TOKENS, false, logits) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_destroy(session);
    *vocabulary = info.vocabulary;
    return logits;
}

struct places {
    char names[4][128];
    int count;
    int fallbacks;
};

static void note_place(void *user, const struct clinfer_plan_step *step) {
    struct places *places = user;
    int i = 0;
    while (i < places->count && strcmp(places->names[i], step->place) != 0) i++;
    if (i == places->count && i < 4) snprintf(places->names[places->count++], 128, "%s", step->place);
    places->fallbacks += step->fallback;
}

/* Greedy tokens; how often the host waited meanwhile, and in how many steps. */
static void decode(clinfer_engine *engine, int count, uint64_t *waits, uint64_t *steps, int32_t *tokens) {
    struct clinfer_engine_stats before, after;
    struct clinfer_session_options options;
    clinfer_session *session;
    const int32_t prompt[] = {1, 5, 9};
    struct clinfer_request request = {.tokens = prompt, .count = 3, .max_tokens = count};
    struct clinfer_result result;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    assert_int_equal(clinfer_session_create(engine, &options, &session), CLINFER_OK);
    clinfer_engine_get_stats(engine, &before);
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_engine_get_stats(engine, &after);
    memcpy(tokens, result.tokens, sizeof *tokens * result.generated_tokens);
    *waits = after.waits - before.waits;
    *steps = after.steps - before.steps;
    clinfer_session_destroy(session);
}

static void check(const char *file, const char *device, int device_layers, int places_wanted) {
    clinfer_engine *cpu = open_on(file, "cpu", -1), *split = open_on(file, device, device_layers);
    int vocabulary, waits;
    float *truth = logits_of(cpu, &vocabulary), *ours = logits_of(split, &vocabulary);
    double error = nmse(truth, ours, (size_t)vocabulary);
    if (!(error < 1e-6)) fail_msg("%s on %s: NMSE %g", file, device, error);

    struct places places = {0};
    assert_int_equal(clinfer_engine_explain(split, 1, note_place, &places, &waits), CLINFER_OK);
    assert_int_equal(places.count, places_wanted);
    assert_int_equal(places.fallbacks, 0); /* the user asked for it */

    /* A device that is done before the host asks for its result saves a wait; there is never one more. */
    int32_t tokens[DECODE], alone[DECODE];
    uint64_t host_waits, steps, unused;
    decode(split, DECODE, &host_waits, &steps, tokens);
    assert_in_range(host_waits, (uint64_t)(waits > 2 ? waits - 2 : 0) * steps, (uint64_t)waits * steps);
    decode(cpu, DECODE, &unused, &unused, alone);
    assert_memory_equal(tokens, alone, sizeof tokens);
    free(truth);
    free(ours);
    clinfer_engine_close(split);
    clinfer_engine_close(cpu);
}

static size_t device_count(void) {
    struct clinfer_device *devices;
    size_t count;
    assert_int_equal(clinfer_devices(&devices, &count), CLINFER_OK);
    clinfer_devices_free(devices, count);
    return count;
}

static void devices_and_the_cpu(void **state) {
    (void)state;
    size_t devices = device_count();
    if (devices == 0) skip();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        check(files[i], "0,cpu", -1, 2);
        check(files[i], "cpu,0", -1, 2);
        if (devices > 1) check(files[i], "0,1", -1, 2);
    }
    if (devices > 1) check(files[0], "1,0,cpu", -1, 3); /* the other has too few layers for three */
}

static void some_layers_on_the_device(void **state) {
    (void)state;
    if (device_count() == 0) skip();
    check(files[0], "0", 1, 2); /* the output matrix alone */
    check(files[0], "0", 2, 2);
    check(files[0], "0", 100, 1);
}

static void nonsense_is_refused(void **state) {
    (void)state;
    if (device_count() == 0) skip();
    static const char *const wrong[] = {"0,0", "cpu,cpu", "0,nosuch", ","};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct clinfer_engine_options options = test_engine_options(files[0], wrong[i]);
        clinfer_engine *engine;
        enum clinfer_status status = clinfer_engine_open(&options, &engine);
        assert_true(status == CLINFER_INVALID_ARGUMENT || status == CLINFER_NO_DEVICE);
        assert_null(engine);
    }
}

int main(void) {
    setenv("CLINFER_SINGLE_LAUNCHES", "1", 1); /* the one launch of a token waits for its script, once */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_and_the_cpu),
        cmocka_unit_test(some_layers_on_the_device),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
