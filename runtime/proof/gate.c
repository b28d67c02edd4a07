#include "proof/gate.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "types/block.h"

size_t ci_view_bytes(const struct ci_view *view) {
    return ci_layout_bytes(view->layout ? view->layout : &ci_layout_stored, view->type, view->rows, view->cols);
}

/* Caches of blocks that share a scale: a code that lies between two may go either way. Errors are measured in steps;
 * what rounds wrongly throughout has a mean square of a third of one. */
static const double CODES_BOUND = 1.02, CODES_MEAN = 0.02;

/* In 16 bits a step is about as large as what floats before it may be off by. */
static const float Q16_STEPS = 8;
static const double Q16_MEAN = 100; /* times as exact as q8 is asked to be */

static bool has_codes(const struct ci_view *view) { return view->type == &ci_type_q8_0 || view->type == &ci_type_q4_0; }

/* The size that errors of row `row` are measured against. */
static void magnitudes(const struct ci_view *view, int64_t row, const float *expected, double rms, float *out) {
    int planes = ci_type_planes(view->type);
    if (planes) {
        const uint8_t *bytes = (const uint8_t *)view->data + (size_t)row * ci_type_row_bytes(view->type, view->cols);
        const float *scales = ci_codes_scales(bytes, planes, view->cols);
        for (int64_t i = 0; i < view->cols; i++) out[i] = scales[i / CI_Q8_GROUP] * (planes == 2 ? Q16_STEPS : 1);
        return;
    }
    const uint8_t *block = (const uint8_t *)view->data + (size_t)row * ci_type_row_bytes(view->type, view->cols);
    for (int64_t i = 0; i < view->cols && has_codes(view); i++)
        out[i] = fabsf(ci_block_half(block + i / view->type->block_cols * view->type->block_bytes));
    for (int64_t i = 0; i < view->cols && !has_codes(view); i++) out[i] = (float)(fabs((double)expected[i]) + rms);
}

static double rms_of(const struct ci_view *view, float *row_values) {
    double squares = 0;
    for (int64_t row = 0; row < view->rows; row++) {
        ci_view_row(view, row, row_values);
        for (int64_t i = 0; i < view->cols; i++)
            if (isfinite(row_values[i])) squares += (double)row_values[i] * row_values[i];
    }
    return sqrt(squares / ((double)view->rows * (double)view->cols));
}

struct comparison {
    struct ci_gate gate;
    struct ci_gate_result *result;
    float *expected, *actual, *sizes; /* one row each */
    const float *all_sizes;           /* from op->magnitude, or NULL */
};

/* Zero where one number is a denormal and the other what a device makes of it. */
static double error_of(float actual, float expected) {
    return fabsf(actual) < FLT_MIN && fabsf(expected) < FLT_MIN ? 0 : (double)actual - expected;
}

/* The sums that a row of q8 carries are those of its codes; they are no numbers of the output, but others compute with
 * them. */
static void check_sums(const struct ci_view *actual, int output, int64_t row, struct ci_gate_result *result) {
    const int8_t *codes = (const int8_t *)actual->data + (size_t)row * ci_type_row_bytes(actual->type, actual->cols);
    const int planes = ci_type_planes(actual->type);
    const int64_t groups = actual->cols / CI_Q8_GROUP;
    const float *scales = ci_codes_scales(codes, planes, actual->cols), *sums = scales + groups;
    const float *half_sums = sums + groups;
    for (int64_t group = 0; group < groups && result->passed; group++, codes += planes * CI_Q8_GROUP) {
        int sum = 0, half_sum = 0;
        for (int i = 0; i < CI_Q8_GROUP; i++) {
            int code = planes == 2 ? CI_Q16_HIGH * codes[i] + codes[CI_Q8_GROUP + i] : codes[i];
            sum += code;
            if (i < CI_Q8_GROUP / 2) half_sum += code;
        }
        /* Of numbers that are whole multiples of the scale, up to half a million of them. */
        float limit = (planes == 2 ? 0.1f : 1e-3f) * scales[group];
        result->passed =
            !isfinite(scales[group]) || (fabsf(sums[group] - scales[group] * (float)sum) <= limit &&
                                         fabsf(half_sums[group] - scales[group] * (float)half_sum) <= limit);
        if (!result->passed)
            snprintf(result->text, sizeof result->text,
                     "output %d, row %lld: the sums of group %lld are %.9g and %.9g, its codes say %.9g and %.9g",
                     output, (long long)row, (long long)group, (double)sums[group], (double)half_sums[group],
                     (double)scales[group] * sum, (double)scales[group] * half_sum);
    }
}

/* A NaN among the actual numbers must fail: comparisons are written so that it does. */
static void compare_output(const struct comparison *c, int output, const struct ci_view *expected,
                           const struct ci_view *actual) {
    struct ci_gate_result *result = c->result;
    bool codes = has_codes(expected);
    double rms = rms_of(expected, c->expected), errors = 0, squares = 0, bound = codes ? CODES_BOUND : c->gate.bound;
    for (int64_t row = 0; row < expected->rows; row++) {
        ci_view_row(expected, row, c->expected);
        ci_view_row(actual, row, c->actual);
        if (ci_type_planes(actual->type)) check_sums(actual, output, row, result);
        magnitudes(expected, row, c->expected, rms, c->sizes);
        const float *sizes = c->all_sizes ? c->all_sizes + row * expected->cols : c->sizes;
        for (int64_t i = 0; i < expected->cols; i++) {
            if (!isfinite(c->expected[i]) || !isfinite(sizes[i])) {
                result->unjudged++;
                continue;
            }
            double error = error_of(c->actual[i], c->expected[i]), limit = bound * sizes[i];
            errors += error * error;
            squares += codes ? (double)sizes[i] * sizes[i] : (double)c->expected[i] * c->expected[i];
            if (fabs(error) <= limit) {
                if (limit > 0 && fabs(error) / limit > result->worst) result->worst = fabs(error) / limit;
                continue;
            }
            result->worst = limit > 0 && !isnan(error) ? fmax(result->worst, fabs(error) / limit) : INFINITY;
            if (result->passed)
                snprintf(result->text, sizeof result->text, "output %d [%lld, %lld] is %.9g, expected %.9g +- %.3g",
                         output, (long long)row, (long long)i, (double)c->actual[i], (double)c->expected[i], limit);
            result->passed = false;
        }
    }
    double nmse = errors == 0 || squares == 0 ? 0 : errors / squares;
    if (codes) nmse *= c->gate.nmse / CODES_MEAN; /* so that all outputs are held to one number */
    if (expected->type == &ci_type_q16) nmse *= Q16_MEAN;
    if (!(nmse <= result->nmse)) result->nmse = nmse;
    if (!(nmse <= c->gate.nmse)) {
        if (result->passed)
            snprintf(result->text, sizeof result->text, "output %d: NMSE %.3g, allowed %.3g", output, nmse,
                     c->gate.nmse);
        result->passed = false;
    }
}

enum clinfer_status ci_gate_sizes(const struct ci_op *op, const struct ci_call *expected, float **sizes) {
    *sizes = NULL;
    if (!op->magnitude) return CLINFER_OK;
    *sizes = calloc((size_t)(expected->out[0].rows * expected->out[0].cols) + 1, sizeof **sizes);
    if (!*sizes) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory comparing results of op %s", op->name);
    op->magnitude(expected, *sizes);
    return CLINFER_OK;
}

enum clinfer_status ci_gate_compare_sizes(const struct ci_op *op, const struct ci_call *expected, const float *sizes,
                                          const struct ci_call *actual, struct ci_gate_result *result) {
    *result = (struct ci_gate_result){.passed = true, .allowed = ci_op_gate(op, expected).nmse};
    int64_t widest = 1;
    for (int i = 0; i < op->outputs; i++)
        if (expected->out[i].cols > widest) widest = expected->out[i].cols;
    float *rows = calloc((size_t)widest * 3, sizeof *rows);
    if (!rows) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory comparing results of op %s", op->name);
    struct comparison c = {.gate = ci_op_gate(op, expected),
                           .result = result,
                           .expected = rows,
                           .actual = rows + widest,
                           .sizes = rows + 2 * widest,
                           .all_sizes = sizes};
    for (int i = 0; i < op->outputs; i++) {
        compare_output(&c, i, &expected->out[i], &actual->out[i]);
        c.all_sizes = NULL; /* they are of output 0 */
    }
    free(rows);
    return CLINFER_OK;
}

enum clinfer_status ci_gate_compare(const struct ci_op *op, const struct ci_call *expected,
                                    const struct ci_call *actual, struct ci_gate_result *result) {
    float *sizes;
    *result = (struct ci_gate_result){0};
    enum clinfer_status status = ci_gate_sizes(op, expected, &sizes);
    if (status == CLINFER_OK) status = ci_gate_compare_sizes(op, expected, sizes, actual, result);
    free(sizes);
    return status;
}

/* Normal-like numbers, one in 61 ten times larger, one in 17 zero, one in 97 denormal. */
static float number(uint64_t *state) {
    float sum = 0;
    for (int i = 0; i < 4; i++) sum += ci_random_float(state) - 0.5f;
    uint64_t draw = ci_random(state);
    if (draw % 61 == 0) return sum * 10;
    if (draw % 17 == 0) return 0;
    return draw % 97 == 0 ? sum * 1e-39f : sum;
}

/* Numbers cost time: of a large matrix so many are drawn; its other rows repeat them, at a distance that is no size of
 * any tile. */
enum { MOST_DRAWN = 4000000 };

static int64_t rows_drawn(const struct ci_view *view) {
    int64_t rows = MOST_DRAWN / view->cols | 1;
    return rows < 1009 || rows > view->rows ? view->rows : rows;
}

/* A row of a type that nothing is quantised to: random blocks of sizes as others have. */
static void fill_blocks(const struct ci_view *view, uint64_t *state, uint8_t *out) {
    const int bytes = view->type->block_bytes;
    for (int64_t block = 0; block < view->cols / view->type->block_cols; block++, out += bytes) {
        for (int i = 0; i < bytes; i++) out[i] = (uint8_t)(ci_random(state) >> 56);
        view->type->set_size(out, number(state));
    }
}

static enum clinfer_status fill_view(const struct ci_view *view, uint64_t *state) {
    size_t row_bytes = ci_type_row_bytes(view->type, view->cols);
    int64_t drawn = rows_drawn(view);
    float *values = malloc(sizeof *values * (size_t)view->cols);
    if (!values) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a row of test data");
    for (int64_t row = 0; row < view->rows; row++) {
        uint8_t *out = (uint8_t *)view->data + (size_t)row * row_bytes;
        if (row >= drawn) {
            memcpy(out, out - (size_t)drawn * row_bytes, row_bytes);
            continue;
        }
        if (view->type->set_size) {
            fill_blocks(view, state, out);
            continue;
        }
        for (int64_t i = 0; i < view->cols; i++) values[i] = number(state);
        if (ci_type_planes(view->type))
            ci_codes_from_floats(values, view->cols, ci_type_planes(view->type), out);
        else
            view->type->quantise(values, out, view->cols / view->type->block_cols);
    }
    free(values);
    return CLINFER_OK;
}

static enum clinfer_status guarded(struct ci_view *view, void **memory) {
    size_t bytes = ci_view_bytes(view), total = (bytes + 2 * CI_GUARD_BYTES + 63) & ~(size_t)63;
    uint8_t *start = aligned_alloc(64, total);
    if (!start) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of test data", total);
    memset(start, CI_GUARD_VALUE, total);
    *memory = start;
    view->data = start + CI_GUARD_BYTES;
    return CLINFER_OK;
}

enum clinfer_status ci_sample_create(const struct ci_op *op, const struct ci_case *shape, uint64_t seed,
                                     struct ci_sample_call *sample) {
    enum clinfer_status status = CLINFER_OK;
    *sample = (struct ci_sample_call){.op = op, .call = {.params = shape->params}};
    struct ci_call *call = &sample->call;
    for (int i = 0; i < op->inputs && status == CLINFER_OK; i++) {
        if (!shape->in[i].type) continue;
        ci_view_set(&call->in[i], shape->in[i].type, shape->in[i].rows, shape->in[i].cols);
        call->in[i].extent = op->weight_inputs >> i & 1 ? CI_EXTENT_FIXED : CI_EXTENT_ROWS;
        status = guarded(&call->in[i], &sample->memory[i]);
        if (status == CLINFER_OK) status = fill_view(&call->in[i], &seed);
    }
    for (int i = 0; i < op->outputs; i++)
        if (op->state_outputs >> i & 1)
            ci_view_set(&call->out[i], shape->state[i].type, shape->state[i].rows, shape->state[i].cols);
    if (status == CLINFER_OK && op->fill) op->fill(call, &seed);
    if (status == CLINFER_OK) status = ci_op_infer(op, call);
    for (int i = 0; i < op->outputs && status == CLINFER_OK; i++) {
        status = guarded(&call->out[i], &sample->memory[CI_MAX_INPUTS + i]);
        if (status == CLINFER_OK && (op->state_outputs >> i & 1)) status = fill_view(&call->out[i], &seed);
    }
    if (status != CLINFER_OK) ci_sample_destroy(sample);
    return status;
}

/* In memory of the sample's own, whatever was there. */
static enum clinfer_status renumber(struct ci_view *view, void **memory, uint64_t *seed) {
    void *before = *memory;
    if (view->type == &ci_type_i32) return CLINFER_OK;
    enum clinfer_status status = guarded(view, memory);
    if (status != CLINFER_OK) return status;
    free(before);
    return fill_view(view, seed);
}

enum clinfer_status ci_sample_renumber(struct ci_sample_call *sample, unsigned inputs, uint64_t seed) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < sample->op->inputs && status == CLINFER_OK; i++)
        if (inputs >> i & 1) status = renumber(&sample->call.in[i], &sample->memory[i], &seed);
    for (int i = 0; i < sample->op->outputs && status == CLINFER_OK; i++)
        if (sample->op->state_outputs >> i & 1)
            status = renumber(&sample->call.out[i], &sample->memory[CI_MAX_INPUTS + i], &seed);
    return status;
}

enum clinfer_status ci_sample_copy(const struct ci_sample_call *source, struct ci_sample_call *copy) {
    enum clinfer_status status = CLINFER_OK;
    *copy = (struct ci_sample_call){.op = source->op, .call = source->call};
    for (int i = 0; i < source->op->outputs && status == CLINFER_OK; i++) {
        status = guarded(&copy->call.out[i], &copy->memory[CI_MAX_INPUTS + i]);
        if (status == CLINFER_OK && (source->op->state_outputs >> i & 1))
            memcpy(copy->call.out[i].data, source->call.out[i].data, ci_view_bytes(&source->call.out[i]));
    }
    if (status != CLINFER_OK) ci_sample_destroy(copy);
    return status;
}

void ci_sample_destroy(struct ci_sample_call *sample) {
    for (int i = 0; i < CI_MAX_INPUTS + CI_MAX_OUTPUTS; i++) free(sample->memory[i]);
    *sample = (struct ci_sample_call){0};
}

bool ci_sample_guards_hold(const struct ci_sample_call *sample, int *output) {
    for (int i = 0; i < sample->op->outputs; i++) {
        const uint8_t *data = sample->call.out[i].data, *after = data + ci_view_bytes(&sample->call.out[i]);
        for (int k = 0; k < CI_GUARD_BYTES; k++) {
            if (data[k - CI_GUARD_BYTES] == CI_GUARD_VALUE && after[k] == CI_GUARD_VALUE) continue;
            *output = i;
            return false;
        }
    }
    return true;
}
