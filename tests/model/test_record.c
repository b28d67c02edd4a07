/* The profile of a real run: it explains the wall clock, counts what was computed, and shows a kernel that became slow
 * as just that op. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include <clinfer.h>

#include "support/model.h"
#include "support/poison.h"
#include "support/process.h"

enum { PROMPT = 64, TOKENS = 24, LAYERS = 30 };

static clinfer_engine *open_engine(const char *device, const char *op) {
    struct clinfer_engine_options options;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = test_model_path();
    options.device = device;
    options.context = 256;
    options.record = true;
    options.tuning = "none";
    options.ops = &op;
    options.op_count = op != NULL;
    if (clinfer_engine_open(&options, &engine) != CLINFER_OK) fail_msg("%s: %s", device, clinfer_error());
    return engine;
}

/* Seconds from the submission to the last token, to hold the profile's against. What is saved for the next start when
 * all is done, seconds after a first one, is no part of an answer. */
static double answer(clinfer_engine *engine) {
    struct clinfer_session_options sampling;
    struct clinfer_result result;
    clinfer_session *session;
    int32_t tokens[PROMPT];
    for (int i = 0; i < PROMPT; i++) tokens[i] = (i * 7919 + 13) % 49152;
    clinfer_session_options_default(engine, &sampling);
    sampling.temperature = 0;
    assert_int_equal(clinfer_session_create(engine, &sampling, &session), CLINFER_OK);
    const struct clinfer_request request = {
        .tokens = tokens, .count = PROMPT, .max_tokens = TOKENS, .ignore_end = true};
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, TOKENS);
    clinfer_session_destroy(session);
    return result.prompt_seconds + result.generate_seconds;
}

static const struct clinfer_record *record_of(clinfer_engine *engine) {
    const struct clinfer_record *record;
    if (clinfer_engine_record(engine, &record) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return record;
}

static void test_the_profile_explains_the_wall_clock(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        clinfer_engine *engine = open_engine(*device, NULL);
        double seconds = answer(engine), wall = 0, unexplained = 0, lines = 0;
        const struct clinfer_record *record = record_of(engine);
        for (int i = 0; i < 2; i++) {
            wall += record->phases[i].wall_seconds;
            unexplained += record->phases[i].unexplained_seconds;
        }
        uint64_t matmuls = 0;
        for (size_t i = 0; i < record->line_count; i++) {
            const struct clinfer_record_line *line = &record->lines[i];
            lines += line->wall_seconds;
            assert_true(line->wall_seconds <= line->seconds * 1.0001 + 1e-6);
            assert_true(line->calls > 0);
            if (strcmp(line->kind, "op") != 0) continue;
            assert_true(line->bytes > 0 && line->seconds > 0);
            if (strncmp(line->op, "matmul", 6) == 0 && strcmp(line->phase, "decode") == 0) matmuls += line->calls;
        }
        print_message("%s: %.1f ms, %.1f ms in the profile, %.2f%% unexplained\n", *device, 1e3 * seconds, 1e3 * wall,
                      100 * unexplained / wall);
        assert_int_equal(record->lost, 0);
        assert_int_equal(record->phases[0].rows, PROMPT);
        assert_int_equal(record->phases[1].rows, record->phases[1].runs);
        /* At most one token is computed in vain. */
        assert_in_range(record->phases[1].runs, TOKENS - 1, TOKENS);
        assert_int_equal(matmuls, record->phases[1].runs * (4 * LAYERS + 1));
        assert_true(fabs(lines + unexplained - wall) < 1e-6 + 1e-3 * wall);
        assert_true(unexplained < 0.03 * wall);
        /* What comes before submission and after the last token is some microseconds. */
        assert_true(wall > 0.97 * seconds && wall < 1.03 * seconds);
        assert_true(record->limits[0].place != NULL);
        clinfer_engine_close(engine);
    }
}

/* Seconds of a call of the op in decode. */
static double seconds_of(const struct clinfer_record *record, const char *op) {
    double seconds = 0;
    uint64_t calls = 0;
    for (size_t i = 0; i < record->line_count; i++)
        if (strcmp(record->lines[i].op, op) == 0 && strcmp(record->lines[i].phase, "decode") == 0) {
            seconds += record->lines[i].seconds;
            calls += record->lines[i].calls;
        }
    if (!calls) fail_msg("no %s in decode", op);
    return seconds / (double)calls;
}

/* The same numbers after some more work, of which compilers cannot say that it changes nothing. */
static void test_a_slow_kernel_shows_up_as_just_that_op(void **state) {
    (void)state;
    static const char *const others[] = {"matmul", "matmul_add", "rope_kv_append"};
    double before[3], slow[2];
    for (int i = 0; i < 2; i++) {
        if (i)
            poison("activation.cl", "    if (kind != SWIGLU_OAI)",
                   "    for (volatile int lost = 0; lost < 5000; lost++);\n"
                   "    if (kind != SWIGLU_OAI)");
        clinfer_engine *engine = open_engine("0", NULL);
        answer(engine);
        const struct clinfer_record *record = record_of(engine);
        slow[i] = seconds_of(record, "glu_quantise");
        for (int k = 0; k < 3; k++) {
            double now = seconds_of(record, others[k]);
            if (i == 0) before[k] = now;
            /* Other programs make everything slower, but not by that much. */
            else if (now > before[k] + 0.1 * (slow[1] - slow[0]) + 2 * before[k])
                fail_msg("%s became slow too: %.1f us, %.1f us before; glu %.1f us, %.1f us before", others[k],
                         1e6 * now, 1e6 * before[k], 1e6 * slow[1], 1e6 * slow[0]);
        }
        clinfer_engine_close(engine);
    }
    poison_end();
    print_message("glu_quantise: %.1f us, slowed down %.1f us\n", 1e6 * slow[0], 1e6 * slow[1]);
    assert_true(slow[1] > 5 * slow[0]);
}

static void test_the_trace_has_every_op(void **state) {
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/trace.json", process_folder());
    for (const char *const *device = test_devices(); *device; device++) {
        clinfer_engine *engine = open_engine(*device, NULL);
        answer(engine);
        if (clinfer_engine_write_trace(engine, path) != CLINFER_OK) fail_msg("%s", clinfer_error());
        const struct clinfer_record *record = record_of(engine);
        uint64_t calls = 0, spans = 0;
        double seconds = 0, drawn = 0;
        for (size_t i = 0; i < record->line_count; i++) {
            if (strcmp(record->lines[i].kind, "op") != 0) continue;
            calls += record->lines[i].calls;
            seconds += record->lines[i].seconds;
        }
        json_error_t error;
        json_t *file = json_load_file(path, 0, &error), *event;
        if (!file) fail_msg("line %d: %s", error.line, error.text);
        size_t index;
        json_array_foreach(json_object_get(file, "traceEvents"), index, event) {
            const char *category = json_string_value(json_object_get(event, "cat"));
            if (!category || strcmp(category, "op") != 0) continue;
            spans++;
            drawn += 1e-6 * json_number_value(json_object_get(event, "dur"));
        }
        assert_true(spans >= calls);
        assert_true(fabs(drawn - seconds) < 0.01 * seconds);
        json_decref(file);
        clinfer_engine_close(engine);
    }
}

static void test_without_the_option_there_is_no_record(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    const struct clinfer_record *record;
    clinfer_engine *engine;
    clinfer_engine_options_default(&options);
    options.model = test_model_path();
    options.device = "cpu";
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_OK);
    assert_int_equal(clinfer_engine_record(engine, &record), CLINFER_INVALID_ARGUMENT);
    assert_int_equal(clinfer_engine_write_trace(engine, "/tmp/never"), CLINFER_INVALID_ARGUMENT);
    clinfer_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_profile_explains_the_wall_clock),
        cmocka_unit_test(test_a_slow_kernel_shows_up_as_just_that_op),
        cmocka_unit_test(test_the_trace_has_every_op),
        cmocka_unit_test(test_without_the_option_there_is_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
