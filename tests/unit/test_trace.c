/* Spans and what they come to: every instant belongs to one line at most, and what nothing covers is unexplained. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "ops/product.h"
#include "support/process.h"
#include "trace/perfetto.h"
#include "trace/report.h"

static struct ci_trace *trace;

static int setup(void **state) {
    (void)state;
    assert_int_equal(ci_trace_create(&trace), CLINFER_OK);
    ci_trace_name_place(trace, 0, "cpu");
    ci_trace_name_place(trace, 1, "a \"device\"");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ci_trace_destroy(trace);
    return 0;
}

static int32_t add_step(const char *label, const char *op, int place) {
    return ci_trace_add_step(trace, &(struct ci_trace_step){.label = label,
                                                            .op = op,
                                                            .types = "q8,q4_1",
                                                            .layout = "r16",
                                                            .variant = "fast",
                                                            .place = place,
                                                            .dot8 = true,
                                                            .k = 64,
                                                            .n = 32});
}

static int64_t add(enum ci_trace_kind kind, int32_t step, double start, double end) {
    return ci_trace_add(trace, &(struct ci_trace_span){.start = start,
                                                       .end = end,
                                                       .bytes = 100,
                                                       .operations = 200,
                                                       .step = step,
                                                       .run = trace->run_count - 1,
                                                       .kind = (uint8_t)kind});
}

static const struct ci_trace_line *line_of(const struct ci_trace_report *report, enum ci_trace_phase phase,
                                           enum ci_trace_kind kind, const char *op) {
    for (int i = 0; i < report->line_count; i++) {
        const struct ci_trace_line *line = &report->lines[i];
        if (line->phase == phase && line->kind == kind && (!op || strcmp(line->step->op, op) == 0)) return line;
    }
    fail_msg("no line of %s %s in %s", ci_trace_kind_names[kind], op ? op : "", ci_trace_phase_names[phase]);
    return NULL;
}

#define near(a, b) assert_true((a) - (b) < 1e-9 && (b) - (a) < 1e-9)

static void test_an_instant_belongs_to_the_first_in_rank(void **state) {
    struct ci_trace_report report;
    (void)state;
    int32_t matmul = add_step("blk.0.q", "matmul", 1);
    ci_trace_add_run(trace, CI_TRACE_PREFILL, 5);
    /* Enqueued from 1 to 3, computed from 2 to 6, waited for from 3 to 7; nothing is known from 7 to 8. */
    add(CI_TRACE_ENQUEUE, -1, 1, 3);
    add(CI_TRACE_OP, matmul, 2, 6);
    add(CI_TRACE_WAIT, -1, 3, 7);
    add(CI_TRACE_REQUEST, -1, 1, 8);
    assert_int_equal(ci_trace_make_report(trace, NULL, &report), CLINFER_OK);
    near(line_of(&report, CI_TRACE_PREFILL, CI_TRACE_ENQUEUE, NULL)->wall, 1);
    near(line_of(&report, CI_TRACE_PREFILL, CI_TRACE_ENQUEUE, NULL)->seconds, 2);
    near(line_of(&report, CI_TRACE_PREFILL, CI_TRACE_OP, "matmul")->wall, 4);
    near(line_of(&report, CI_TRACE_PREFILL, CI_TRACE_WAIT, NULL)->wall, 1);
    near(report.unexplained[CI_TRACE_PREFILL], 1);
    near(report.wall[CI_TRACE_PREFILL], 7);
    near(report.wall[CI_TRACE_DECODE], 0);
    assert_int_equal(report.rows[CI_TRACE_PREFILL], 5);
    ci_trace_report_free(&report);
}

static void test_time_between_requests_is_nobodys(void **state) {
    struct ci_trace_report report;
    (void)state;
    ci_trace_add_run(trace, CI_TRACE_DECODE, 1);
    for (int i = 0; i < 2; i++) {
        add(CI_TRACE_TEXT, -1, 10 * i + 1, 10 * i + 2);
        add(CI_TRACE_REQUEST, -1, 10 * i, 10 * i + 4);
    }
    assert_int_equal(ci_trace_make_report(trace, NULL, &report), CLINFER_OK);
    near(report.wall[CI_TRACE_PREFILL] + report.wall[CI_TRACE_DECODE], 8);
    near(report.unexplained[CI_TRACE_PREFILL] + report.unexplained[CI_TRACE_DECODE], 6);
    ci_trace_report_free(&report);
}

/* Products of 16 bits are half as many as of bytes, never fewer than of f32, and f32's with fewer rows. */
static void test_limits_are_those_of_the_unit(void **state) {
    (void)state;
    static const struct {
        int64_t rows, from;
        double f32, dot8, seconds;
    } cases[] = {{32, 32, 100, 400, 1}, {31, 32, 100, 400, 2}, {32, 32, 300, 400, 2.0 / 3}, {32, 0, 100, 400, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_trace_report report;
        ci_trace_clear(trace);
        int32_t step = ci_trace_add_step(trace, &(struct ci_trace_step){.label = i % 2 ? "a" : "b",
                                                                        .op = "matmul",
                                                                        .types = "f32,f16",
                                                                        .layout = "",
                                                                        .variant = "avx512vnni",
                                                                        .dot16_rows = cases[i].from,
                                                                        .k = 64,
                                                                        .n = 32});
        ci_trace_add_run(trace, CI_TRACE_PREFILL, cases[i].rows);
        add(CI_TRACE_OP, step, 0, 4);
        const struct ci_trace_limits limits[CI_TRACE_MAX_PLACES] = {
            {.f32_operations = cases[i].f32, .dot8_operations = cases[i].dot8}};
        assert_int_equal(ci_trace_make_report(trace, limits, &report), CLINFER_OK);
        near(line_of(&report, CI_TRACE_PREFILL, CI_TRACE_OP, "matmul")->roofline, cases[i].seconds);
        ci_trace_report_free(&report);
    }
    assert_int_equal(ci_product_16_bit_rows("matmul", "f32,f16,-", "avx512vnni"), CI_PRODUCT_MANY);
    assert_int_equal(ci_product_16_bit_rows("matmul", "f32,bf16,-", "avx512vnni"), CI_PRODUCT_MANY);
    assert_int_equal(ci_product_16_bit_rows("matmul", "f32,f16,-", "avx2"), CI_PRODUCT_MANY);
    assert_int_equal(ci_product_16_bit_rows("matmul", "f32,f16,-", "neon"), 0);
    assert_int_equal(ci_product_16_bit_rows("matmul", "f32,q8_0,-", "avx512vnni"), 0);
    assert_int_equal(ci_product_16_bit_rows("matmul", "q16,q8_0,-", "q16_r16_avx2"), 1);
    assert_int_equal(ci_product_16_bit_rows("matmul_glu", "f32,f16,f16,-", "avx2"), CI_PRODUCT_MANY);
    assert_int_equal(ci_product_16_bit_rows("attention_quantise", "f32,f16,f16,i32,i32,-", "avx2"), 0);
}

static void test_phases_and_shapes_have_lines_of_their_own(void **state) {
    struct ci_trace_report report;
    (void)state;
    int32_t first = add_step("blk.0.q", "matmul", 0), second = add_step("blk.1.q", "matmul", 0),
            other = add_step("blk.0.norm", "rmsnorm", 0);
    ci_trace_add_run(trace, CI_TRACE_PREFILL, 5);
    add(CI_TRACE_OP, first, 0, 1);
    add(CI_TRACE_OP, second, 1, 3);
    ci_trace_add_run(trace, CI_TRACE_DECODE, 1);
    add(CI_TRACE_OP, first, 3, 3.5);
    add(CI_TRACE_OP, other, 3.5, 3.75);
    const struct ci_trace_limits limits[CI_TRACE_MAX_PLACES] = {
        {.read_bytes = 1000, .f32_operations = 1e9, .dot8_operations = 400}};
    assert_int_equal(ci_trace_make_report(trace, limits, &report), CLINFER_OK);
    const struct ci_trace_line *prefill = line_of(&report, CI_TRACE_PREFILL, CI_TRACE_OP, "matmul");
    assert_int_equal(report.line_count, 3);
    assert_int_equal(prefill->calls, 2);
    near(prefill->seconds, 3);
    near(prefill->bytes, 200);
    near(prefill->roofline, 1); /* 200 of 400 products a second, twice; reading takes 0.1 */
    assert_int_equal(line_of(&report, CI_TRACE_DECODE, CI_TRACE_OP, "matmul")->calls, 1);
    near(line_of(&report, CI_TRACE_DECODE, CI_TRACE_OP, "rmsnorm")->wall, 0.25);
    assert_string_equal(report.slowest[0].step->label, "blk.1.q");
    assert_int_equal(report.slowest_count, 4);
    ci_trace_report_free(&report);
}

static void test_a_device_tells_its_times_later(void **state) {
    struct ci_trace_report report;
    (void)state;
    int32_t step = add_step("blk.0.q", "matmul", 1);
    ci_trace_add_run(trace, CI_TRACE_DECODE, 1);
    int64_t told = add(CI_TRACE_OP, step, 0, 0);
    add(CI_TRACE_OP, step, 0, 0); /* never told */
    ci_trace_settle(trace, told, 1, 2, 3, false);
    ci_trace_settle(trace, told, 1, 3, 5, true); /* the second kernel of the same op */
    ci_trace_settle(trace, -1, 1, 2, 3, false);  /* one for which there was no room */
    assert_int_equal(ci_trace_make_report(trace, NULL, &report), CLINFER_OK);
    const struct ci_trace_line *line = line_of(&report, CI_TRACE_DECODE, CI_TRACE_OP, "matmul");
    assert_int_equal(line->calls, 1);
    near(line->seconds, 3);
    near(line->bytes, 100);
    assert_int_equal(report.untold, 1);
    ci_trace_report_free(&report);
}

static void test_what_finds_no_room_is_counted(void **state) {
    (void)state;
    for (int64_t i = 0; i < (int64_t)CI_TRACE_CHUNK * CI_TRACE_CHUNKS + 3; i++) add(CI_TRACE_TEXT, -1, 1, 2);
    assert_int_equal(trace->lost, 3);
    ci_trace_clear(trace);
    assert_int_equal(trace->lost, 0);
    assert_int_equal(add(CI_TRACE_TEXT, -1, 1, 2), 0);
}

static json_t *written(const char *path) {
    json_error_t error;
    assert_int_equal(ci_trace_write_perfetto(trace, path), CLINFER_OK);
    json_t *file = json_load_file(path, 0, &error);
    if (!file) fail_msg("%s: line %d: %s", path, error.line, error.text);
    return file;
}

static void test_the_file_is_json_whose_events_lie_in_their_tracks(void **state) {
    char path[1024];
    (void)state;
    snprintf(path, sizeof path, "%s/trace.json", process_folder());
    int32_t step = add_step("blk.0.\"q\"\n", "matmul", 1);
    ci_trace_add_run(trace, CI_TRACE_DECODE, 1);
    int64_t told = add(CI_TRACE_OP, step, 0, 0);
    ci_trace_settle(trace, told, 1000.5, 1001, 1003, false);
    add(CI_TRACE_ENQUEUE, -1, 1000.25, 1000.5);
    add(CI_TRACE_REQUEST, -1, 1000.25, 1004);
    json_t *file = written(path), *events = json_object_get(file, "traceEvents"), *event;
    size_t index;
    int ops = 0, hosts = 0, begins = 0, ends = 0;
    json_array_foreach(events, index, event) {
        const char *phase = json_string_value(json_object_get(event, "ph"));
        const char *category = json_string_value(json_object_get(event, "cat"));
        assert_non_null(phase);
        if (*phase == 'M') continue;
        double time = json_number_value(json_object_get(event, "ts"));
        assert_true(time >= 0 && time <= 4e6);
        ops += strcmp(category, "op") == 0;
        hosts += strcmp(category, "host") == 0;
        begins += *phase == 'b';
        ends += *phase == 'e';
        if (strcmp(category, "op") != 0) continue;
        json_t *arguments = json_object_get(event, "args");
        near(time, 0.75e6);
        near(json_number_value(json_object_get(event, "dur")), 2e6);
        assert_string_equal(json_string_value(json_object_get(arguments, "label")), "blk.0.\"q\"\n");
        near(json_number_value(json_object_get(arguments, "queued_us")), 0.5e6);
    }
    assert_int_equal(ops, 1);
    assert_int_equal(hosts, 1);
    assert_int_equal(begins, 2); /* the request, and the queue */
    assert_int_equal(ends, 2);
    json_decref(file);
    assert_int_equal(ci_trace_write_perfetto(trace, "/nowhere/trace.json"), CLINFER_IO);
}

static void test_nothing_is_recorded_without_a_trace(void **state) {
    (void)state;
    near(ci_trace_start(NULL), 0);
    near(ci_trace_host(NULL, CI_TRACE_TEXT, 1), 0);
    assert_int_equal(ci_trace_add(NULL, &(struct ci_trace_span){0}), -1);
    assert_int_equal(ci_trace_add_step(NULL, &(struct ci_trace_step){0}), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_an_instant_belongs_to_the_first_in_rank, setup, teardown),
        cmocka_unit_test_setup_teardown(test_time_between_requests_is_nobodys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits_are_those_of_the_unit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_phases_and_shapes_have_lines_of_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_device_tells_its_times_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_finds_no_room_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_file_is_json_whose_events_lie_in_their_tracks, setup, teardown),
        cmocka_unit_test(test_nothing_is_recorded_without_a_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
