#include "proof/judge_real.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "proof/judge.h"
#include "tensor/op_params.h"

static uint8_t *row_of(const struct ci_view *view, int64_t row) {
    return (uint8_t *)view->data + (size_t)row * ci_type_row_bytes(view->type, view->cols);
}

/* Block by block: nothing is allocated. */
int64_t ci_row_not_finite(const struct ci_view *view, int64_t row) {
    enum { PART = 256 };
    float part[PART];
    int64_t count = 0, step = PART / view->type->block_cols * view->type->block_cols;
    for (int64_t first = 0; first < view->cols; first += step) {
        int64_t cols = view->cols - first < step ? view->cols - first : step;
        ci_view_part(view, row, first, cols, part);
        for (int64_t i = 0; i < cols; i++) count += !isfinite(part[i]);
    }
    return count;
}

int64_t ci_view_not_finite(const struct ci_view *view) {
    int64_t count = 0;
    if (view->type == &ci_type_i32) return 0;
    for (int64_t row = 0; row < view->rows; row++) count += ci_row_not_finite(view, row);
    return count;
}

static enum clinfer_status judge(const struct ci_sample_call *sample, const struct ci_sample_call *result,
                                 struct ci_gate_result *verdict) {
    struct ci_judge *made;
    enum clinfer_status status = ci_judge_create(sample, &made);
    if (status == CLINFER_OK) status = ci_judge_compare(made, result, verdict);
    ci_judge_destroy(made);
    return status;
}

/* ---- products ---- */

static bool is_gated(const struct ci_op *op) { return op == &ci_op_matmul_glu_quantise; }

/* What biases alone give behind a gate, as one row of codes. */
static enum clinfer_status store_gated(const struct ci_sample_call *sample, const float *biases,
                                       struct ci_sample_call *result, int64_t row) {
    const struct ci_view *out = &result->call.out[0];
    struct ci_call one = {.params = sample->call.params};
    ci_view_set(&one.in[0], &ci_type_f32, 1, 2 * out->cols);
    one.in[0].data = (void *)(uintptr_t)biases;
    enum clinfer_status status = ci_op_infer(sample->op->second, &one);
    one.out[0].data = row_of(out, row);
    return status == CLINFER_OK ? ci_op_reference(sample->op->second, &one) : status;
}

/* The row becomes one of zeros, and its result what that gives: the biases, or what they give. */
static enum clinfer_status blank_product(struct ci_sample_call *sample, struct ci_sample_call *result, int64_t row) {
    struct ci_call *call = &sample->call;
    memset(row_of(&call->in[CI_MATMUL_X], row), 0, ci_type_row_bytes(call->in[0].type, call->in[0].cols));
    const struct ci_view *addend = &call->in[CI_MATMUL_ADDEND], *out = &result->call.out[0];
    if (sample->op->inputs > CI_MATMUL_ADDEND && addend->type)
        memset(row_of(addend, row), 0, ci_type_row_bytes(addend->type, addend->cols));
    const bool gated = is_gated(sample->op);
    float *biases = gated ? calloc((size_t)(2 * out->cols), sizeof *biases) : NULL;
    float *numbers = gated ? biases : (float *)(void *)row_of(out, row);
    if (!numbers) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", sample->op->name);
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *weight = &call->in[CI_MATMUL_W0 + i], *bias = &call->in[CI_MATMUL_B0 + i];
        if (!weight->type) continue;
        if (bias->type)
            memcpy(numbers, bias->data, sizeof *numbers * (size_t)weight->rows);
        else
            memset(numbers, 0, sizeof *numbers * (size_t)weight->rows);
        numbers += weight->rows;
    }
    enum clinfer_status status = gated ? store_gated(sample, biases, result, row) : CLINFER_OK;
    free(biases);
    return status;
}

static bool has_bad_input(const struct ci_sample_call *sample, int64_t row) {
    const struct ci_view *x = &sample->call.in[CI_MATMUL_X], *addend = &sample->call.in[CI_MATMUL_ADDEND];
    if (ci_row_not_finite(x, row)) return true;
    return sample->op->inputs > CI_MATMUL_ADDEND && addend->type && ci_row_not_finite(addend, row);
}

/* Whether the reference, too, gives something that is not finite for this row. */
static enum clinfer_status overflows(const struct ci_sample_call *sample, int64_t row, bool *does) {
    struct ci_sample_call one = {.op = sample->op, .call = sample->call}, out;
    struct ci_view *const rows[] = {&one.call.in[CI_MATMUL_X], &one.call.in[CI_MATMUL_ADDEND], &one.call.out[0]};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i]->type) continue;
        if (rows[i]->data) rows[i]->data = row_of(rows[i], row);
        rows[i]->rows = 1;
    }
    enum clinfer_status status = ci_sample_copy(&one, &out);
    if (status != CLINFER_OK) return status;
    status = ci_op_reference(one.op, &out.call);
    *does = status == CLINFER_OK && ci_view_not_finite(&out.call.out[0]) > 0;
    ci_sample_destroy(&out);
    return status;
}

static enum clinfer_status judge_product(struct ci_sample_call *sample, struct ci_sample_call *result,
                                         struct ci_gate_result *verdict) {
    const struct ci_view *out = &result->call.out[0];
    enum clinfer_status status = CLINFER_OK;
    for (int64_t row = 0; row < out->rows && status == CLINFER_OK; row++)
        if (has_bad_input(sample, row)) status = blank_product(sample, result, row);
    if (status == CLINFER_OK) status = judge(sample, result, verdict);
    bool blanked = false;
    for (int64_t row = 0; row < out->rows && status == CLINFER_OK && !verdict->passed; row++) {
        bool same = false;
        if (ci_row_not_finite(out, row)) status = overflows(sample, row, &same);
        if (same) status = blank_product(sample, result, row);
        blanked = blanked || same;
    }
    return status == CLINFER_OK && blanked ? judge(sample, result, verdict) : status;
}

/* ---- all others: the reference costs no more than the step ---- */

/* A row of a cache that neither has touched takes the place of one that was written, so that what the cache held before
 * does not count. */
static void blank_untouched(const struct ci_view *before, const struct ci_view *expected,
                            const struct ci_view *actual) {
    size_t bytes = ci_type_row_bytes(before->type, before->cols);
    const uint8_t *written = NULL;
    for (int64_t row = 0; row < before->rows && !written; row++)
        if (memcmp(row_of(before, row), row_of(expected, row), bytes) != 0) written = row_of(expected, row);
    for (int64_t row = 0; row < before->rows; row++) {
        const uint8_t *old = row_of(before, row);
        if (memcmp(old, row_of(expected, row), bytes) != 0 || memcmp(old, row_of(actual, row), bytes) != 0) continue;
        if (written) memmove(row_of(expected, row), written, bytes);
        if (!written) memset(row_of(expected, row), 0, bytes);
        memcpy(row_of(actual, row), row_of(expected, row), bytes);
    }
}

/* Keys or values that some row of the call sees. */
static bool sees_bad_cache(const struct ci_call *call, int input) {
    const int32_t *tile = call->in[3].data, *pages = call->in[4].data;
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += CI_TILE_COLS) {
        int32_t first, end;
        ci_attention_tile_range(&call->params, tile, &first, &end);
        for (int32_t p = first; p < end; p++) {
            int64_t slot = (int64_t)pages[tile[CI_TILE_LINE] * call->in[4].cols + p / CI_PAGE_ROWS] * CI_PAGE_ROWS;
            if (ci_row_not_finite(&call->in[input], slot + p % CI_PAGE_ROWS)) return true;
        }
    }
    return false;
}

bool ci_sample_reads_not_finite(const struct ci_sample_call *sample) {
    bool attends = sample->op == &ci_op_attention || sample->op == &ci_op_attention_quantise;
    for (int i = 0; i < sample->op->inputs; i++) {
        const struct ci_view *in = &sample->call.in[i];
        if (!in->type || (sample->op->weight_inputs >> i & 1)) continue;
        bool is_cache = attends && (i == 1 || i == 2);
        if (is_cache ? sees_bad_cache(&sample->call, i) : ci_view_not_finite(in) > 0) return true;
    }
    return false;
}

/* Where an input is not finite, so may be any result: a key that a row does not see has the weight 0, but 0 x NaN is
 * NaN. */
static void blank_not_finite(const struct ci_view *expected, const struct ci_view *actual, bool bad_inputs) {
    size_t bytes = ci_type_row_bytes(expected->type, expected->cols);
    for (int64_t row = 0; row < expected->rows && expected->type != &ci_type_i32; row++) {
        if (!ci_row_not_finite(expected, row) && !(bad_inputs && ci_row_not_finite(actual, row))) continue;
        memset(row_of(expected, row), 0, bytes);
        memset(row_of(actual, row), 0, bytes);
    }
}

static enum clinfer_status judge_whole(const struct ci_sample_call *sample, struct ci_sample_call *result,
                                       struct ci_gate_result *verdict) {
    struct ci_sample_call expected;
    bool bad_inputs = ci_sample_reads_not_finite(sample);
    enum clinfer_status status = ci_sample_copy(sample, &expected);
    if (status == CLINFER_OK) status = ci_op_reference(sample->op, &expected.call);
    for (int i = 0; i < sample->op->outputs && status == CLINFER_OK; i++) {
        if (sample->op->state_outputs >> i & 1)
            blank_untouched(&sample->call.out[i], &expected.call.out[i], &result->call.out[i]);
        blank_not_finite(&expected.call.out[i], &result->call.out[i], bad_inputs);
    }
    if (status == CLINFER_OK) status = ci_gate_compare(sample->op, &expected.call, &result->call, verdict);
    ci_sample_destroy(&expected);
    return status;
}

/* The gate of outputs rounded to q8 has a mean for many numbers in mind. Of one row with few large numbers it forgives
 * not even one that lies between two codes and went the other way. */
static enum clinfer_status forgive_roundings(const struct ci_sample_call *sample, const struct ci_sample_call *result,
                                             struct ci_gate_result *verdict) {
    enum { ALWAYS = 2, ONE_OF = 500 };
    const struct ci_view *out = &result->call.out[0];
    if (out->type != &ci_type_q8 || !(verdict->worst <= 1)) return CLINFER_OK;
    struct ci_sample_call expected;
    enum clinfer_status status = ci_sample_copy(sample, &expected);
    if (status == CLINFER_OK) status = ci_op_reference(sample->op, &expected.call);
    int64_t different = 0, most = ALWAYS + out->rows * out->cols / ONE_OF;
    for (int64_t row = 0; row < out->rows && status == CLINFER_OK; row++) {
        const int8_t *codes = (const int8_t *)row_of(out, row);
        const int8_t *right = (const int8_t *)row_of(&expected.call.out[0], row);
        for (int64_t i = 0; i < out->cols; i++) different += codes[i] != right[i];
    }
    if (status == CLINFER_OK) verdict->passed = different <= most;
    /* What they were held to, as the mean error of as many codes as are allowed. */
    if (different) verdict->allowed = verdict->nmse * (double)most / (double)different;
    ci_sample_destroy(&expected);
    return status;
}

enum clinfer_status ci_judge_real(struct ci_sample_call *sample, struct ci_sample_call *result,
                                  struct ci_gate_result *verdict) {
    if (sample->op == &ci_op_matmul || sample->op == &ci_op_matmul_add) return judge_product(sample, result, verdict);
    if (is_gated(sample->op)) {
        /* Rows: the whole reference of more would take too long, and of many numbers the mean holds. */
        enum { FEW = 4 };
        enum clinfer_status judged = judge_product(sample, result, verdict);
        bool few = result->call.out[0].rows <= FEW;
        return judged == CLINFER_OK && !verdict->passed && few ? forgive_roundings(sample, result, verdict) : judged;
    }
    if (sample->op->state_outputs) return judge_whole(sample, result, verdict);
    enum clinfer_status status = judge(sample, result, verdict);
    if (status != CLINFER_OK || verdict->passed) return status;
    status = judge_whole(sample, result, verdict);
    return status == CLINFER_OK && !verdict->passed ? forgive_roundings(sample, result, verdict) : status;
}
