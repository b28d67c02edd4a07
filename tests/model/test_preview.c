/* What `clinfer show` says would run is what then runs: the steps of a preview beside those of an engine's plan, on the
 * CPU and on the first OpenCL device. */
#include <stdio.h>
#include <string.h>

#include "engine/preview.h"
#include "support/asserts.h"

static const char tiny[] = "tests/data/llama_tiny.gguf";
enum { MOST_STEPS = 400, STEP_BYTES = 200 };

struct steps {
    char texts[MOST_STEPS][STEP_BYTES];
    size_t count;
};

/* Copies between places are no steps of a preview. */
static void add_step(void *user, const struct clinfer_plan_step *step) {
    struct steps *steps = user;
    if (!*step->types) return;
    assert_true(steps->count < MOST_STEPS);
    snprintf(steps->texts[steps->count++], STEP_BYTES, "%s %s %s %s %lld %lld", step->op, step->variant, step->place,
             step->types, (long long)step->rows, (long long)step->n);
}

static void check(const char *device, int rows) {
    static struct steps seen, real;
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    bool fits;
    clinfer_engine_options_default(&options);
    options.model = tiny;
    options.device = device;
    seen.count = real.count = 0;
    assert_ok(ci_preview_open(&options, &engine, &fits));
    assert_ok(ci_preview_steps(engine, rows, add_step, &seen));
    clinfer_engine_close(engine);
    assert_ok(clinfer_engine_open(&options, &engine));
    assert_ok(clinfer_engine_explain(engine, rows, add_step, &real, NULL));
    clinfer_engine_close(engine);
    assert_true(seen.count > 0);
    assert_int_equal(seen.count, real.count);
    for (size_t i = 0; i < seen.count; i++) assert_string_equal(seen.texts[i], real.texts[i]);
}

static void test_preview_names_the_steps_that_run(void **state) {
    (void)state;
    check("cpu", 1);
    check("cpu", 100);
    struct clinfer_device *devices;
    size_t count;
    assert_ok(clinfer_devices(&devices, &count));
    clinfer_devices_free(devices, count);
    if (!count) return;
    check("0", 1);
    check("0", 100);
}

struct totals {
    uint64_t weights, cache;
    int calls;
};

static void add_memory(void *user, const struct ci_preview_memory *memory) {
    struct totals *totals = user;
    totals->weights += memory->weights;
    totals->cache += memory->cache;
    totals->calls++;
    assert_true(memory->most > memory->weights);
}

static void test_preview_tells_memory_and_loads_nothing(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    struct clinfer_engine_stats stats;
    struct totals totals = {0};
    clinfer_engine *engine;
    bool fits;
    clinfer_engine_options_default(&options);
    options.model = tiny;
    options.device = "cpu";
    assert_ok(ci_preview_open(&options, &engine, &fits));
    assert_ok(ci_preview_memory(engine, add_memory, &totals));
    clinfer_engine_get_stats(engine, &stats);
    assert_int_equal(totals.calls, 1);
    assert_true(totals.weights > 0 && totals.cache > 0);
    assert_int_equal(stats.weight_bytes, 0);
    clinfer_engine_close(engine);
}

static void test_preview_fails_as_opening_does(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    bool fits;
    clinfer_engine_options_default(&options);
    options.model = "no/such/model.gguf";
    assert_int_equal(ci_preview_open(&options, &engine, &fits), CLINFER_NOT_FOUND);
    options.model = tiny;
    options.device = "no such device";
    assert_int_equal(ci_preview_open(&options, &engine, &fits), CLINFER_NO_DEVICE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preview_names_the_steps_that_run),
        cmocka_unit_test(test_preview_tells_memory_and_loads_nothing),
        cmocka_unit_test(test_preview_fails_as_opening_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
