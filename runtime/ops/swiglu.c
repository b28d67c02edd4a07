/* swiglu: silu(gate) * up (Shazeer 2020, arXiv 2002.05202), alone and followed by quantise. */
#include <math.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    enum clinfer_status status = ci_infer_expect("swiglu", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && call->in[0].cols % 2)
        status =
            ci_fail(CLINFER_BAD_FILE, "op swiglu: %lld columns are no pair of halves", (long long)call->in[0].cols);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, call->in[0].cols / 2);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->out[0].cols;
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        const float *gate = (const float *)call->in[0].data + row * 2 * cols, *up = gate + cols;
        float *out = (float *)call->out[0].data + row * cols;
        for (int64_t i = 0; i < cols; i++) out[i] = (float)(gate[i] / (1.0 + exp(-(double)gate[i])) * up[i]);
    }
}

#define CASE(title, rows, cols)                                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, 2 * (cols)}}, {{0}}, {                                                            \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", 1, 1536),
                                       CASE("smollm2, prompt", 37, 1536),
                                       CASE("1.5b, one token", 1, 8960),
                                       CASE("small", 5, 32),
                                       {0}};

const struct ci_op ci_op_swiglu = {
    .name = "swiglu",
    .inputs = 1,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_swiglu_quantise = {
    .name = "swiglu_quantise",
    .inputs = 1,
    .outputs = 1,
    .first = &ci_op_swiglu,
    .second = &ci_op_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
