/* How results too large for the reference are judged: right ones pass, and what kernels get wrong is found. Right
 * results come from the reference, which takes its time here. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/op_list.h"
#include "proof/judge.h"
#include "proof/judge_real.h"
#include "tensor/op_params.h"

struct subject {
    struct ci_sample_call sample, right;
    struct ci_judge *judge;
};

static void make(struct subject *subject, const struct ci_op *op, const struct ci_case *shape) {
    assert_int_equal(ci_sample_create(op, shape, 7, &subject->sample), CLINFER_OK);
    assert_int_equal(ci_sample_copy(&subject->sample, &subject->right), CLINFER_OK);
    if (ci_judge_create(&subject->sample, &subject->judge) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void unmake(struct subject *subject) {
    ci_judge_destroy(subject->judge);
    ci_sample_destroy(&subject->right);
    ci_sample_destroy(&subject->sample);
}

static struct ci_gate_result judge(const struct subject *subject, const struct ci_sample_call *result) {
    struct ci_gate_result verdict;
    assert_int_equal(ci_judge_compare(subject->judge, result, &verdict), CLINFER_OK);
    return verdict;
}

static void assert_passes(const struct subject *subject, const char *what) {
    struct ci_gate_result verdict = judge(subject, &subject->right);
    if (!verdict.passed) fail_msg("%s: a right result is refused: %s", what, verdict.text);
    if (!(verdict.nmse < 1e-9)) fail_msg("%s: NMSE of a right result is %g", what, verdict.nmse);
}

/* Output 0 with one number changed. */
static void assert_refused(const struct subject *subject, int64_t row, int64_t col, float value, const char *what) {
    const struct ci_view *out = &subject->right.call.out[0];
    float *number = (float *)out->data + row * out->cols + col, kept = *number;
    *number = value;
    struct ci_gate_result verdict = judge(subject, &subject->right);
    *number = kept;
    if (verdict.passed) fail_msg("[%lld, %lld] %s passes", (long long)row, (long long)col, what);
    if (!*verdict.text) fail_msg("[%lld, %lld] %s is refused without a reason", (long long)row, (long long)col, what);
}

static void find_faults(const struct subject *subject) {
    const struct ci_view *out = &subject->right.call.out[0];
    float *numbers = out->data;
    int64_t rows = out->rows, cols = out->cols;
    size_t count = (size_t)(rows * cols);
    for (int i = 0; i < 20; i++) { /* anywhere */
        int64_t row = i * 7919LL % rows, col = i * 104729LL % cols;
        float right = numbers[row * cols + col];
        assert_refused(subject, row, col, NAN, "as NaN");
        assert_refused(subject, row, col, INFINITY, "as infinity");
        assert_refused(subject, row, col, right + 100 * (fabsf(right) + 1), "far off");
    }
    assert_refused(subject, rows - 1, cols - 1, numbers[count - 1] * 1.01f + 0.01f, "a little off at the last edge");
    assert_refused(subject, 0, 15, numbers[15] * 1.01f + 0.01f, "a little off at the edge of a tile");

    float *kept = malloc(count * sizeof *kept);
    assert_non_null(kept);
    memcpy(kept, numbers, count * sizeof *kept);
    for (int64_t row = 0; row < rows; row += 37) { /* one row of zeros */
        memset(numbers + row * cols, 0, (size_t)cols * sizeof *numbers);
        if (judge(subject, &subject->right).passed) fail_msg("row %lld of zeros passes", (long long)row);
        memcpy(numbers, kept, count * sizeof *kept);
    }
    for (size_t i = 0; i < count; i++) numbers[i] *= 1.0002f; /* NMSE 4e-8 */
    if (judge(subject, &subject->right).passed) fail_msg("a scale of 1.0002 passes");
    memcpy(numbers, kept, count * sizeof *kept);
    for (size_t i = 0; i < count; i++) numbers[i] += 1e-5f * numbers[i] * ((i * 2654435761u >> 16 & 255) / 128.0f - 1);
    struct ci_gate_result verdict = judge(subject, &subject->right);
    if (!verdict.passed) fail_msg("errors as the gate allows them are refused: %s", verdict.text);
    memcpy(numbers, kept, count * sizeof *kept);
    free(kept);

    ((uint8_t *)out->data)[count * sizeof *numbers + 3] ^= 1;
    if (judge(subject, &subject->right).passed) fail_msg("a write behind the output passes");
    ((uint8_t *)out->data)[count * sizeof *numbers + 3] ^= 1;
    assert_passes(subject, "at the end");
}

#define NONE                                                                                                           \
    { NULL, 0, 0 }

static void test_product_of_a_prompt(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "a prompt", {{&ci_type_q8, 93, 576}, {&ci_type_q4_1, 1000, 576}}, {{0}}, {{0}, {0}}};
    struct subject subject;
    make(&subject, &ci_op_matmul, &shape);
    assert_true(ci_op_operations(&ci_op_matmul, &subject.sample.call) > 6e7); /* else it is not judged as large */
    assert_int_equal(ci_op_reference(&ci_op_matmul, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "matmul");
    find_faults(&subject);
    unmake(&subject);
}

static void test_three_weights_with_biases_and_an_addend(void **state) {
    (void)state;
    static const struct ci_case shape = {"three",
                                         {{&ci_type_f32, 65, 512},
                                          {&ci_type_f16, 700, 512},
                                          {&ci_type_f16, 203, 512},
                                          {&ci_type_f16, 101, 512},
                                          {&ci_type_f32, 1, 700},
                                          NONE,
                                          {&ci_type_f32, 1, 101},
                                          {&ci_type_f32, 65, 1004}},
                                         {{0}},
                                         {{0}, {0}}};
    struct subject subject;
    make(&subject, &ci_op_matmul_add, &shape);
    assert_true(ci_op_operations(&ci_op_matmul_add, &subject.sample.call) > 6e7);
    assert_int_equal(ci_op_reference(&ci_op_matmul_add, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "matmul_add");
    find_faults(&subject);
    unmake(&subject);
}

#define EXPERTS(x_type, x_cols, w_type, rows, used, experts, width, depth)                                             \
    [CI_EXPERTS_X] = {&ci_type_##x_type, rows, x_cols},                                                                \
    [CI_EXPERTS_W0] = {&ci_type_##w_type, (experts) * (width), depth}, [CI_EXPERTS_IDS] = {&ci_type_i32, rows, used},  \
    [CI_EXPERTS_ORDER] = {&ci_type_i32, rows, used}, [CI_EXPERTS_STARTS] = {&ci_type_i32, 1, (experts) + 1}

/* What two experts of a row give, in each other's place: right numbers, of which each is where it does not belong. */
static void exchange_experts(const struct subject *subject, int64_t width) {
    const struct ci_view *out = &subject->right.call.out[0];
    float *row = (float *)out->data + (out->rows - 2) * out->cols;
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t n = 0; n < width; n++) {
            float kept = row[n];
            row[n] = row[width + n];
            row[width + n] = kept;
        }
        if (turn == 0 && judge(subject, &subject->right).passed) fail_msg("two experts in each other's place pass");
    }
    assert_passes(subject, "each in its own place");
}

static void test_experts_of_a_prompt(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "gate and up",
        {EXPERTS(q8, 256, q4_0, 93, 4, 9, 200, 256), [CI_EXPERTS_W1] = {&ci_type_q4_0, 9 * 200, 256}},
        {{0}},
        {{0}, {0}}};
    struct subject subject;
    make(&subject, &ci_op_matmul_experts, &shape);
    assert_true(ci_op_operations(&ci_op_matmul_experts, &subject.sample.call) > 6e7);
    assert_int_equal(ci_op_reference(&ci_op_matmul_experts, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "gate and up");
    find_faults(&subject);
    exchange_experts(&subject, 200);
    unmake(&subject);
}

/* Each expert with an input and biases of its own; ids that name no expert are those of expert 0. */
static void test_experts_with_inputs_of_their_own(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "down",
        {EXPERTS(f32, 3 * 512, f16, 65, 3, 40, 403, 512), [CI_EXPERTS_B0] = {&ci_type_f32, 1, 40 * 403}},
        {{0}},
        {{0}, {0}}};
    struct subject subject;
    assert_int_equal(ci_sample_create(&ci_op_matmul_experts, &shape, 7, &subject.sample), CLINFER_OK);
    ((int32_t *)subject.sample.call.in[CI_EXPERTS_IDS].data)[64 * 3] = -1;
    ((int32_t *)subject.sample.call.in[CI_EXPERTS_IDS].data)[64 * 3 + 1] = 40;
    assert_int_equal(ci_sample_copy(&subject.sample, &subject.right), CLINFER_OK);
    assert_int_equal(ci_judge_create(&subject.sample, &subject.judge), CLINFER_OK);
    assert_true(ci_op_operations(&ci_op_matmul_experts, &subject.sample.call) > 6e7);
    assert_int_equal(ci_op_reference(&ci_op_matmul_experts, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "down");
    find_faults(&subject);
    exchange_experts(&subject, 403);
    unmake(&subject);
}

/* Of codes a group, of those that are sampled whatever is drawn: the last one of the last row. */
static void spoil_group(const struct subject *subject, int64_t row, int64_t group, const char *what) {
    const struct ci_view *out = &subject->right.call.out[0];
    const int planes = ci_type_planes(out->type);
    uint8_t *codes = (uint8_t *)out->data + (size_t)row * ci_type_row_bytes(out->type, out->cols);
    int8_t *one = (int8_t *)codes + group * planes * CI_Q8_GROUP + 3;
    float *scale = (float *)(uintptr_t)&ci_codes_scales(codes, planes, out->cols)[group], kept = *scale;
    const int8_t kept_code = *one;
    *one = (int8_t)(*one > 0 ? *one - 5 : *one + 5);
    if (judge(subject, &subject->right).passed) fail_msg("%s: a code that is five off passes", what);
    *one = kept_code;
    *scale *= 1.02f;
    if (judge(subject, &subject->right).passed) fail_msg("%s: a scale of 1.02 passes", what);
    *scale = NAN;
    if (judge(subject, &subject->right).passed) fail_msg("%s: a scale that is no number passes", what);
    *scale = kept;
}

/* A gate and what it lets through, in two matrices with biases and in one. */
static void test_gated_product_of_a_prompt(void **state) {
    (void)state;
    static const struct ci_case shapes[] = {
        {"two matrices",
         {{&ci_type_q8, 61, 256},
          {&ci_type_q4_0, 1120, 256},
          {&ci_type_q4_0, 1120, 256},
          NONE,
          {&ci_type_f32, 1, 1120},
          {&ci_type_f32, 1, 1120}},
         {{0}},
         {{0}, {0}}},
        {"one matrix",
         {{&ci_type_q8, 61, 256}, {&ci_type_q4_0, 2240, 256}, NONE, NONE, {&ci_type_f32, 1, 2240}},
         {{0}},
         {{0, 1120, [CI_QUANTISE_I_16_BITS] = 1}, {0}}}};
    for (int i = 0; i < 2; i++) {
        struct subject subject;
        make(&subject, &ci_op_matmul_glu_quantise, &shapes[i]);
        const struct ci_view *out = &subject.right.call.out[0];
        const size_t row_bytes = ci_type_row_bytes(out->type, out->cols);
        assert_true(ci_op_operations(&ci_op_matmul_glu_quantise, &subject.sample.call) > 6e7);
        assert_int_equal(ci_op_reference(&ci_op_matmul_glu_quantise, &subject.right.call), CLINFER_OK);
        assert_passes(&subject, shapes[i].name);
        spoil_group(&subject, 60, 34, shapes[i].name);
        spoil_group(&subject, 0, 0, shapes[i].name);
        for (int64_t row = 0; row < out->rows; row += 7) { /* whether it is sampled or not */
            uint8_t *at = (uint8_t *)out->data + (size_t)row * row_bytes, *copy = malloc(row_bytes);
            assert_non_null(copy);
            memcpy(copy, at, row_bytes);
            memset(at, 0, row_bytes);
            if (judge(&subject, &subject.right).passed) fail_msg("row %d of zeros passes", (int)row);
            memcpy(at, copy, row_bytes);
            ((float *)(uintptr_t)ci_codes_scales(at, ci_type_planes(out->type), out->cols))[17] = INFINITY;
            if (judge(&subject, &subject.right).passed) fail_msg("row %d with an infinite scale passes", (int)row);
            memcpy(at, copy, row_bytes);
            free(copy);
        }
        assert_passes(&subject, "at the end");
        unmake(&subject);
    }
}

/* Gates may all be closed, as those of relu are where each is below zero: here by biases. */
static void test_a_gated_product_of_zeros_may_be_right(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "closed",
        {{&ci_type_q8, 61, 256}, {&ci_type_q4_0, 2240, 256}, NONE, NONE, {&ci_type_f32, 1, 2240}},
        {{0}},
        {{[CI_ACTIVATION_I_KIND] = CI_ACTIVATION_RELU}, {0}}};
    struct subject subject;
    make(&subject, &ci_op_matmul_glu_quantise, &shape);
    ci_judge_destroy(subject.judge);
    float *biases = subject.sample.call.in[CI_MATMUL_B0].data;
    for (int i = 0; i < 1120; i++) biases[i] = -1e9F; /* copies have the same inputs */
    assert_int_equal(ci_judge_create(&subject.sample, &subject.judge), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_matmul_glu_quantise, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, shape.name);
    unmake(&subject);
}

/* Numbers of a model: a row of x that is not finite is set aside, with what biases alone give behind the gate. */
static void test_gated_product_of_real_numbers(void **state) {
    (void)state;
    static const struct ci_case shape = {"real",
                                         {{&ci_type_q8, 5, 64},
                                          {&ci_type_q4_0, 64, 64},
                                          {&ci_type_q4_0, 64, 64},
                                          NONE,
                                          {&ci_type_f32, 1, 64},
                                          {&ci_type_f32, 1, 64}},
                                         {{0}},
                                         {{0}, {0}}};
    for (int spoilt = 0; spoilt < 2; spoilt++) {
        struct ci_sample_call sample, result;
        struct ci_gate_result verdict;
        assert_int_equal(ci_sample_create(&ci_op_matmul_glu_quantise, &shape, 7, &sample), CLINFER_OK);
        const struct ci_view *x = &sample.call.in[CI_MATMUL_X];
        uint8_t *row = (uint8_t *)x->data + 2 * ci_type_row_bytes(x->type, x->cols);
        if (spoilt) *(float *)(uintptr_t)ci_q8_scales(row, x->cols) = NAN;
        assert_int_equal(ci_sample_copy(&sample, &result), CLINFER_OK);
        assert_int_equal(ci_op_reference(&ci_op_matmul_glu_quantise, &result.call), CLINFER_OK);
        assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
        if (!verdict.passed) fail_msg("a right result is refused: %s", verdict.text);
        ((int8_t *)result.call.out[0].data)[5] = (int8_t)(((int8_t *)result.call.out[0].data)[5] > 0 ? -100 : 100);
        assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
        assert_false(verdict.passed);
        ci_sample_destroy(&sample);
        ci_sample_destroy(&result);
    }
}

/* What is added is so large that its last bit weighs more than the product's rounding. */
static void test_a_large_addend_is_rounded_as_any(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "large addend",
        {{&ci_type_f32, 3, 64}, {&ci_type_q8_0, 96, 64}, NONE, NONE, NONE, NONE, NONE, {&ci_type_f32, 3, 96}},
        {{0}},
        {{0}, {0}}};
    struct subject subject;
    assert_int_equal(ci_sample_create(&ci_op_matmul_add, &shape, 7, &subject.sample), CLINFER_OK);
    const struct ci_view *addend = &subject.sample.call.in[CI_MATMUL_ADDEND];
    ((float *)addend->data)[5] = 1e6f;
    assert_int_equal(ci_sample_copy(&subject.sample, &subject.right), CLINFER_OK);
    assert_int_equal(ci_judge_create(&subject.sample, &subject.judge), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_matmul_add, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "matmul_add");
    float *numbers = subject.right.call.out[0].data;
    numbers[5] = nextafterf(numbers[5], INFINITY);
    assert_passes(&subject, "rounded the other way");
    assert_refused(&subject, 0, 5, numbers[5] + 100, "far off");
    assert_refused(&subject, 1, 5, numbers[96 + 5] + 0.1f, "off in the row below");
    unmake(&subject);
}

/* One row: few sums say all, and the matrix repeats its numbers. */
static void test_output_matrix_for_one_token(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "one token", {{&ci_type_q8, 1, 256}, {&ci_type_q8_0, 130000, 256}}, {{0}}, {{0}, {0}}};
    struct subject subject;
    make(&subject, &ci_op_matmul, &shape);
    assert_true(ci_op_operations(&ci_op_matmul, &subject.sample.call) > 6e7);
    assert_int_equal(ci_op_reference(&ci_op_matmul, &subject.right.call), CLINFER_OK);
    assert_passes(&subject, "one row");
    float *numbers = subject.right.call.out[0].data;
    assert_refused(&subject, 0, 77777, NAN, "as NaN");
    memset(numbers + 70000, 0, 16 * sizeof *numbers);
    if (judge(&subject, &subject.right).passed) fail_msg("a group of 16 zeros passes");
    unmake(&subject);
}

/* The sampled rows alone have a reference; all others must be possible. */
static void test_attention_over_a_long_context(void **state) {
    (void)state;
    enum { ROWS = 256, HEADS = 16, KV = 2, DIM = 64, PAGES = 20 };
    static const struct ci_case shape = {"long",
                                         {{&ci_type_f32, ROWS, (HEADS + 2 * KV) * DIM},
                                          {&ci_type_f16, 128 * (PAGES + 2), KV * DIM},
                                          {&ci_type_f16, 128 * (PAGES + 2), KV * DIM},
                                          {&ci_type_i32, ROWS / 16 + 2, CI_TILE_COLS},
                                          {&ci_type_i32, 1, PAGES}},
                                         {{0}},
                                         {{HEADS, KV, DIM}, {0.125f}}};
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .threads = 1};
    const struct ci_variant *fast = NULL;
    struct subject subject;
    make(&subject, &ci_op_attention, &shape);
    assert_true(ci_op_operations(&ci_op_attention, &subject.sample.call) > 2e9);
    for (int i = 0; ci_variants[i] && !fast; i++)
        if (ci_variants[i]->op == &ci_op_attention && ci_variant_fits(ci_variants[i], &caps, &subject.sample.call))
            fast = ci_variants[i];
    if (!fast) {
        unmake(&subject);
        print_message("skip: no fast attention on this processor\n");
        skip();
        return;
    }
    fast->cpu (&subject.right.call)(&subject.right.call, 0, 1);
    assert_passes(&subject, "attention");
    float *numbers = subject.right.call.out[0].data;
    assert_refused(&subject, 100, 5, NAN, "as NaN");
    assert_refused(&subject, 100, 5, 1e9f, "far off");
    assert_refused(&subject, 16, 3, numbers[16 * HEADS * DIM + 3] + 0.01f, "a little off at the edge of a tile");
    memset(numbers + 100 * HEADS * DIM, 0, sizeof(float) * HEADS * DIM);
    if (judge(&subject, &subject.right).passed) fail_msg("a row of zeros passes");
    unmake(&subject);
}

/* ---- who judges nobody ---- */

static struct ci_gate_result compare(const struct ci_sample_call *expected, const struct ci_sample_call *actual) {
    struct ci_gate_result verdict;
    assert_int_equal(ci_gate_compare(expected->op, &expected->call, &actual->call, &verdict), CLINFER_OK);
    return verdict;
}

/* Two results of the reference for the same numbers, scaled by `scale`. */
static void make_two(const struct ci_op *op, const struct ci_case *shape, float scale, struct ci_sample_call two[2]) {
    assert_int_equal(ci_sample_create(op, shape, 7, &two[0]), CLINFER_OK);
    for (int64_t i = 0; i < two[0].call.in[0].rows * two[0].call.in[0].cols; i++)
        ((float *)two[0].call.in[0].data)[i] *= scale;
    assert_int_equal(ci_sample_copy(&two[0], &two[1]), CLINFER_OK);
    for (int i = 0; i < 2; i++) assert_int_equal(ci_op_reference(op, &two[i].call), CLINFER_OK);
}

static const struct ci_case small = {"small", {{&ci_type_f32, 3, 64}, {&ci_type_q4_1, 40, 64}}, {{0}}, {{0}, {0}}};

static void test_a_number_expected_not_to_be_finite_judges_nobody(void **state) {
    (void)state;
    struct ci_sample_call two[2];
    make_two(&ci_op_matmul, &small, 1, two);
    float *expected = two[0].call.out[0].data, *actual = two[1].call.out[0].data;
    expected[7] = NAN;
    expected[50] = INFINITY;
    struct ci_gate_result verdict = compare(&two[0], &two[1]);
    if (!verdict.passed) fail_msg("refused: %s", verdict.text);
    assert_int_equal(verdict.unjudged, 2);
    actual[7] = -INFINITY;
    actual[50] = NAN;
    assert_true(compare(&two[0], &two[1]).passed);
    actual[8] += 1; /* all others are judged as ever */
    assert_false(compare(&two[0], &two[1]).passed);
    actual[8] = NAN;
    assert_false(compare(&two[0], &two[1]).passed);
    for (int i = 0; i < 2; i++) ci_sample_destroy(&two[i]);
}

static void test_zeros_have_no_mean_to_normalise_with(void **state) {
    (void)state;
    struct ci_sample_call two[2];
    make_two(&ci_op_matmul, &small, 0, two);
    float *actual = two[1].call.out[0].data;
    struct ci_gate_result verdict = compare(&two[0], &two[1]);
    if (!verdict.passed || verdict.nmse != 0) fail_msg("zeros are refused: %s, NMSE %g", verdict.text, verdict.nmse);
    actual[3] = -0.0f;
    actual[4] = 1e-39f; /* a denormal, which devices may take for zero */
    assert_true(compare(&two[0], &two[1]).passed);
    actual[5] = 1e-30f;
    assert_false(compare(&two[0], &two[1]).passed);
    for (int i = 0; i < 2; i++) ci_sample_destroy(&two[i]);
}

/* The sums with random signs of a large product. */
static void test_a_large_product_of_zeros_or_nan_judges_only_what_it_can(void **state) {
    (void)state;
    static const struct ci_case shape = {
        "a prompt", {{&ci_type_f32, 93, 576}, {&ci_type_f16, 1000, 576}}, {{0}}, {{0}, {0}}};
    for (int kind = 0; kind < 2; kind++) {
        struct subject subject;
        assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, 7, &subject.sample), CLINFER_OK);
        uint16_t *weights = subject.sample.call.in[CI_MATMUL_W0].data;
        for (int i = 0; i < 1000 * 576; i++) weights[i] = kind == 0 || i == 77 ? kind * 0x7e00 : weights[i];
        assert_int_equal(ci_sample_copy(&subject.sample, &subject.right), CLINFER_OK);
        assert_int_equal(ci_judge_create(&subject.sample, &subject.judge), CLINFER_OK);
        assert_true(ci_op_operations(&ci_op_matmul, &subject.sample.call) > 6e7);
        assert_int_equal(ci_op_reference(&ci_op_matmul, &subject.right.call), CLINFER_OK);
        struct ci_gate_result verdict = judge(&subject, &subject.right);
        if (!verdict.passed) fail_msg("kind %d is refused: %s", kind, verdict.text);
        assert_true((verdict.unjudged > 0) == (kind == 1));
        assert_refused(&subject, 92, 999, 1, "a number at the edge");
        unmake(&subject);
    }
}

/* A rounding that went the other way is forgiven, and what it was held to then is told. */
static void test_what_forgave_a_rounding_is_told(void **state) {
    (void)state;
    static const struct ci_case shape = {"one row", {{&ci_type_f32, 1, 64}}, {{0}}, {{0}, {0}}};
    struct ci_sample_call sample, result;
    struct ci_gate_result verdict;
    assert_int_equal(ci_sample_create(&ci_op_quantise, &shape, 7, &sample), CLINFER_OK);
    for (int i = 0; i < 64; i++) ((float *)sample.call.in[0].data)[i] = i % 32 ? 0.01f * (float)i : 5;
    assert_int_equal(ci_sample_copy(&sample, &result), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_quantise, &result.call), CLINFER_OK);
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    assert_true(verdict.passed && verdict.nmse == 0 && verdict.allowed == ci_op_quantise.gate.nmse);
    ((int8_t *)result.call.out[0].data)[20]++;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    if (!verdict.passed) fail_msg("%s", verdict.text);
    assert_true(verdict.nmse > ci_op_quantise.gate.nmse); /* else the gate had judged it */
    assert_true(verdict.nmse <= verdict.allowed);
    for (int i = 21; i < 24; i++) ((int8_t *)result.call.out[0].data)[i]++;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    assert_false(verdict.passed);
    ci_sample_destroy(&sample);
    ci_sample_destroy(&result);
}

/* The same of few rows of a gate, whose numbers are what biases give: x is zero. */
static void test_what_forgave_a_rounding_of_a_gate_is_told(void **state) {
    (void)state;
    static const struct ci_case shape = {"one row",
                                         {{&ci_type_q8, 1, 64},
                                          {&ci_type_q4_0, 64, 64},
                                          {&ci_type_q4_0, 64, 64},
                                          NONE,
                                          {&ci_type_f32, 1, 64},
                                          {&ci_type_f32, 1, 64}},
                                         {{0}},
                                         {{[CI_ACTIVATION_I_KIND] = CI_ACTIVATION_RELU}, {0}}};
    const double gate = ci_op_matmul_glu_quantise.gate.nmse;
    struct ci_sample_call sample, result;
    struct ci_gate_result verdict;
    assert_int_equal(ci_sample_create(&ci_op_matmul_glu_quantise, &shape, 7, &sample), CLINFER_OK);
    const struct ci_call *call = &sample.call;
    memset(call->in[CI_MATMUL_X].data, 0, ci_type_row_bytes(&ci_type_q8, 64));
    for (int i = 0; i < 64; i++) {
        ((float *)call->in[CI_MATMUL_B0].data)[i] = 1;
        ((float *)call->in[CI_MATMUL_B0 + 1].data)[i] = i % 32 ? 0.01f * (float)i : 5;
    }
    assert_int_equal(ci_sample_copy(&sample, &result), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_matmul_glu_quantise, &result.call), CLINFER_OK);
    ((int8_t *)result.call.out[0].data)[20]++;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    if (!verdict.passed) fail_msg("%s", verdict.text);
    assert_true(verdict.nmse > gate && verdict.nmse <= verdict.allowed);
    for (int i = 21; i < 24; i++) ((int8_t *)result.call.out[0].data)[i]++;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    assert_false(verdict.passed);
    ci_sample_destroy(&sample);
    ci_sample_destroy(&result);
}

/* What experts have where a product has its addend are biases, of one row: what is behind them is nobody's. */
static void test_experts_are_judged_by_their_own_inputs(void **state) {
    (void)state;
    static const struct ci_case shape = {"gate and up with biases",
                                         {[CI_EXPERTS_X] = {&ci_type_f32, 6, 64},
                                          [CI_EXPERTS_W0] = {&ci_type_f32, 4 * 16, 64},
                                          [CI_EXPERTS_W1] = {&ci_type_f32, 4 * 16, 64},
                                          [CI_EXPERTS_IDS] = {&ci_type_i32, 6, 2},
                                          [CI_EXPERTS_ORDER] = {&ci_type_i32, 6, 2},
                                          [CI_EXPERTS_STARTS] = {&ci_type_i32, 1, 4 + 1},
                                          [CI_EXPERTS_B0] = {&ci_type_f32, 1, 4 * 16},
                                          [CI_EXPERTS_B1] = {&ci_type_f32, 1, 4 * 16}},
                                         {{0}},
                                         {{0}, {0}}};
    struct ci_sample_call sample, result;
    struct ci_gate_result verdict;
    assert_int_equal(ci_sample_create(&ci_op_matmul_experts, &shape, 7, &sample), CLINFER_OK);
    struct ci_view *x = &sample.call.in[CI_EXPERTS_X], *biases = &sample.call.in[CI_EXPERTS_B1];
    size_t rows = (size_t)x->rows, cols = (size_t)biases->cols, bytes = rows * (size_t)x->cols * sizeof(float);
    float *own = biases->data, *wider = malloc(sizeof *wider * rows * cols), *before = malloc(bytes);
    assert_true(wider && before);
    memcpy(wider, own, sizeof *wider * cols);
    for (size_t i = cols; i < rows * cols; i++) wider[i] = NAN;
    memcpy(before, x->data, bytes);
    assert_int_equal(ci_sample_copy(&sample, &result), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_matmul_experts, &result.call), CLINFER_OK);
    biases->data = wider;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    if (!verdict.passed) fail_msg("%s", verdict.text);
    assert_memory_equal(x->data, before, bytes); /* no row was set aside for them */
    ((float *)result.call.out[0].data)[result.call.out[0].cols] += 1;
    assert_int_equal(ci_judge_real(&sample, &result, &verdict), CLINFER_OK);
    assert_false(verdict.passed);
    biases->data = own;
    free(wider);
    free(before);
    ci_sample_destroy(&sample);
    ci_sample_destroy(&result);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_of_a_prompt),
        cmocka_unit_test(test_three_weights_with_biases_and_an_addend),
        cmocka_unit_test(test_experts_of_a_prompt),
        cmocka_unit_test(test_experts_with_inputs_of_their_own),
        cmocka_unit_test(test_gated_product_of_a_prompt),
        cmocka_unit_test(test_a_gated_product_of_zeros_may_be_right),
        cmocka_unit_test(test_gated_product_of_real_numbers),
        cmocka_unit_test(test_a_large_addend_is_rounded_as_any),
        cmocka_unit_test(test_output_matrix_for_one_token),
        cmocka_unit_test(test_attention_over_a_long_context),
        cmocka_unit_test(test_a_number_expected_not_to_be_finite_judges_nobody),
        cmocka_unit_test(test_zeros_have_no_mean_to_normalise_with),
        cmocka_unit_test(test_a_large_product_of_zeros_or_nan_judges_only_what_it_can),
        cmocka_unit_test(test_what_forgave_a_rounding_is_told),
        cmocka_unit_test(test_what_forgave_a_rounding_of_a_gate_is_told),
        cmocka_unit_test(test_experts_are_judged_by_their_own_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
