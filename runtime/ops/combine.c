/* combine: what the experts of a row gave, added up by their weights. */
#include <math.h>

#include "ops/infer.h"
#include "ops/op_list.h"

enum { EXPERTS, WEIGHTS, ADDEND };

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *y = &call->in[EXPERTS], *weights = &call->in[WEIGHTS];
    enum clinfer_status status = ci_infer_expect("combine", call, WEIGHTS, &ci_type_f32, y->rows, -1);
    int64_t cols = status == CLINFER_OK ? y->cols / weights->cols : 0;
    if (status == CLINFER_OK)
        status = ci_infer_expect("combine", call, EXPERTS, &ci_type_f32, -1, cols * weights->cols);
    if (status == CLINFER_OK) status = ci_infer_optional("combine", call, ADDEND, &ci_type_f32, y->rows, cols);
    ci_infer_out(&call->out[0], &ci_type_f32, y->extent, y->rows, cols);
    return status;
}

/* The sums, or the sizes of their terms. */
static void compute(const struct ci_call *call, bool sizes, float *out) {
    int64_t used = call->in[WEIGHTS].cols, cols = call->out[0].cols;
    const float *y = call->in[EXPERTS].data, *weights = call->in[WEIGHTS].data;
    const float *addend = call->in[ADDEND].type ? call->in[ADDEND].data : NULL;
    for (int64_t row = 0; row < call->in[EXPERTS].rows; row++, y += used * cols, weights += used)
        for (int64_t i = 0; i < cols; i++) {
            double sum = addend ? (double)addend[row * cols + i] : 0, size = fabs(sum);
            for (int64_t j = 0; j < used; j++) {
                double term = (double)weights[j] * y[j * cols + i];
                sum += term;
                size += fabs(term);
            }
            out[row * cols + i] = (float)(sizes ? size : sum);
        }
}

static void reference(const struct ci_call *call) { compute(call, false, call->out[0].data); }

static void magnitude(const struct ci_call *call, float *out) { compute(call, true, out); }

static double operations(const struct ci_call *call) {
    return 2.0 * (double)call->in[EXPERTS].rows * (double)call->in[EXPERTS].cols;
}

#define CASE(title, rows, used, cols)                                                                                  \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, (used) * (cols)}, {&ci_type_f32, rows, used}, {&ci_type_f32, rows, cols}}, {{0}}, \
            {{0}, {0}},                                                                                                \
    }

static const struct ci_case cases[] = {
    CASE("8 experts, one token", 1, 8, 2048),
    CASE("8 experts, prompt", 37, 8, 96),
    CASE("odd", 3, 3, 43),
    {"nothing added", {{&ci_type_f32, 5, 4 * 64}, {&ci_type_f32, 5, 4}}, {{0}}, {{0}, {0}}},
    {0}};

const struct ci_op ci_op_combine = {
    .name = "combine",
    .inputs = 3,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .magnitude = magnitude,
    .gate = {1e-12, 1e-6},
    .cases = cases,
    .operations = operations,
};
