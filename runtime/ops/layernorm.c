/* layernorm: (x - mean) / sqrt(variance + eps) * weight + bias (Ba, Kiros and Hinton 2016, arXiv 1607.06450), alone and
 * followed by quantise. */
#include <math.h>

#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { X, WEIGHT, BIAS };

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[X];
    enum clinfer_status status = ci_infer_expect("layernorm", call, X, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("layernorm", call, WEIGHT, &ci_type_f32, 1, x->cols);
    if (status == CLINFER_OK) status = ci_infer_optional("layernorm", call, BIAS, &ci_type_f32, 1, x->cols);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[X].cols;
    const float *weight = call->in[WEIGHT].type ? call->in[WEIGHT].data : NULL;
    const float *bias = call->in[BIAS].type ? call->in[BIAS].data : NULL, *x = call->in[X].data;
    float *out = call->out[0].data;
    for (int64_t row = 0; row < call->in[X].rows; row++, x += cols, out += cols) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < cols; i++) mean += (double)x[i];
        mean /= (double)cols;
        for (int64_t i = 0; i < cols; i++) squares += (x[i] - mean) * (x[i] - mean);
        double scale = 1.0 / sqrt(squares / (double)cols + (double)call->params.f[CI_NORM_F_EPS]);
        for (int64_t i = 0; i < cols; i++) {
            double factor = scale * (weight ? weight[i] : 1.0f), offset = bias ? bias[i] : 0.0f;
            out[i] = (float)((x[i] - mean) * factor + offset);
        }
    }
}

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_f32, 1, cols}, {&ci_type_f32, 1, cols}}, {{0}}, {                \
            {0}, { 1e-5f }                                                                                             \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    CASE("gpt2, one token", 1, 768),
    CASE("prompt", 37, 384),
    CASE("wide", 2, 4608),
    {"without bias", {{&ci_type_f32, 3, 64}, {&ci_type_f32, 1, 64}}, {{0}}, {{0}, {1e-5f}}},
    {"plain", {{&ci_type_f32, 5, 96}}, {{0}}, {{0}, {1e-12f}}},
    {0}};

const struct ci_op ci_op_layernorm = {
    .name = "layernorm",
    .inputs = 3,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_layernorm_quantise = {
    .name = "layernorm_quantise",
    .inputs = 3,
    .outputs = 1,
    .first = &ci_op_layernorm,
    .second = &ci_op_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
