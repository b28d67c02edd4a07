/* unary: a function of each number: activations without a gate, scales, soft caps. Alone and followed by quantise. */
#include "base/status.h"
#include "ops/activation.h"
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[0];
    int kind = call->params.i[CI_ACTIVATION_I_KIND];
    enum clinfer_status status = ci_infer_expect("unary", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && (kind < 0 || kind >= CI_ACTIVATION_SWIGLU_OAI))
        status = ci_fail(CLINFER_BAD_FILE, "op unary: there is no function %d of one number", kind);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    const float *x = call->in[0].data;
    float *out = call->out[0].data;
    for (int64_t i = 0; i < call->in[0].rows * call->in[0].cols; i++)
        out[i] = (float)ci_activation(call->params.i[CI_ACTIVATION_I_KIND], (double)x[i],
                                      (double)call->params.f[CI_ACTIVATION_F_A]);
}

#define CASE(title, rows, cols, kind, a)                                                                               \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}}, {{0}}, {                                                                  \
            {CI_ACTIVATION_##kind}, { a }                                                                              \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("gelu, one token", 1, 3072, GELU, 0),
                                       CASE("gelu, prompt", 37, 384, GELU, 0),
                                       CASE("silu", 3, 96, SILU, 0),
                                       CASE("gelu by erf", 3, 192, GELU_ERF, 0),
                                       CASE("quick gelu", 2, 160, GELU_QUICK, 0),
                                       CASE("relu", 3, 64, RELU, 0),
                                       CASE("squared relu", 2, 96, RELU_SQUARED, 0),
                                       CASE("tanh", 3, 96, TANH, 0),
                                       CASE("gemma's embeddings", 2, 640, SCALE, 25.298221f),
                                       CASE("gemma's logits", 2, 320, SOFTCAP, 30.0f),
                                       CASE("a narrow cap", 2, 32, SOFTCAP, 0.5f),
                                       CASE("olmo's queries, keys and values", 3, 200, CLAMP, 0.25f),
                                       CASE("sigmoid", 2, 200, SIGMOID, 0),
                                       {0}};

const struct ci_op ci_op_unary = {
    .name = "unary",
    .inputs = 1,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_unary_quantise = {
    .name = "unary_quantise",
    .inputs = 1,
    .outputs = 1,
    .first = &ci_op_unary,
    .second = &ci_op_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
