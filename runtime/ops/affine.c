/* affine: every column has its factor and its offset: scales and biases that a matrix product does not apply itself. */
#include <math.h>

#include "ops/infer.h"
#include "ops/op_list.h"

enum { X, FACTORS, OFFSETS };

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[X];
    enum clinfer_status status = ci_infer_expect("affine", call, X, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("affine", call, FACTORS, &ci_type_f32, 1, x->cols);
    if (status == CLINFER_OK) status = ci_infer_optional("affine", call, OFFSETS, &ci_type_f32, 1, x->cols);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

/* x factor + offset, or the size of its terms. */
static void compute(const struct ci_call *call, bool sizes, float *out) {
    const float *x = call->in[X].data, *factors = call->in[FACTORS].data;
    const float *offsets = call->in[OFFSETS].type ? call->in[OFFSETS].data : NULL;
    int64_t cols = call->in[X].cols;
    for (int64_t i = 0; i < call->in[X].rows * cols; i++) {
        float product = x[i] * factors[i % cols], offset = offsets ? offsets[i % cols] : 0;
        out[i] = sizes ? fabsf(product) + fabsf(offset) : product + offset;
    }
}

static void reference(const struct ci_call *call) { compute(call, false, call->out[0].data); }

static void magnitude(const struct ci_call *call, float *out) { compute(call, true, out); }

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_f32, 1, cols}, {&ci_type_f32, 1, cols}}, {{0}}, {                \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    CASE("smollm2 qkv, one token", 1, 960),
    CASE("prompt", 37, 576),
    CASE("odd", 3, 7),
    {"without offsets", {{&ci_type_f32, 5, 43}, {&ci_type_f32, 1, 43}}, {{0}}, {{0}, {0}}},
    {0}};

const struct ci_op ci_op_affine = {
    .name = "affine",
    .inputs = 3,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .magnitude = magnitude,
    .gate = {1e-13, 1e-6},
    .cases = cases,
};
