/* rmsnorm: x * weight / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019, arXiv 1910.07467), alone and followed by
 * quantise. */
#include <math.h>

#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("rmsnorm", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("rmsnorm", call, 1, &ci_type_f32, 1, call->in[0].cols);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, call->in[0].cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[0].cols;
    const float *weight = call->in[1].type ? call->in[1].data : NULL;
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        const float *x = (const float *)call->in[0].data + row * cols;
        float *out = (float *)call->out[0].data + row * cols;
        double squares = 0;
        for (int64_t i = 0; i < cols; i++) squares += (double)x[i] * x[i];
        double scale = 1.0 / sqrt(squares / (double)cols + (double)call->params.f[CI_NORM_F_EPS]);
        for (int64_t i = 0; i < cols; i++) out[i] = (float)(x[i] * scale * (weight ? weight[i] : 1.0f));
    }
}

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_f32, 1, cols}}, {{0}}, {                                         \
            {0}, { 1e-5f }                                                                                             \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", 1, 576),
                                       CASE("smollm2, prompt", 37, 576),
                                       CASE("1.5b", 2, 1536),
                                       CASE("small", 3, 32),
                                       CASE("wide", 1, 8192),
                                       {"without weight", {{&ci_type_f32, 5, 96}}, {{0}}, {{0}, {1e-6f}}},
                                       {0}};

const struct ci_op ci_op_rmsnorm = {
    .name = "rmsnorm",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_rmsnorm_quantise = {
    .name = "rmsnorm_quantise",
    .inputs = 2,
    .outputs = 1,
    .first = &ci_op_rmsnorm,
    .second = &ci_op_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
