/* glu: gated linear units, a function of the gate times what it lets through (Shazeer 2020, arXiv 2002.05202), alone
 * and followed by quantise. */
#include "base/status.h"
#include "ops/activation.h"
#include "ops/infer.h"
#include "ops/op_list.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[0];
    int kind = call->params.i[CI_ACTIVATION_I_KIND], width = call->params.i[CI_ACTIVATION_I_WIDTH];
    enum clinfer_status status = ci_infer_expect("glu", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && x->cols % 2)
        status = ci_fail(CLINFER_BAD_FILE, "op glu: %lld columns are no pair of halves", (long long)x->cols);
    if (status == CLINFER_OK && (width < 0 || width % 32 || (width && x->cols / 2 % width)))
        status = ci_fail(CLINFER_UNSUPPORTED, "op glu: slices of %d in %lld columns: must be multiples of 32", width,
                         (long long)(x->cols / 2));
    if (status == CLINFER_OK && (kind < 0 || kind > CI_ACTIVATION_SWIGLU_OAI))
        status = ci_fail(CLINFER_BAD_FILE, "op glu: there is no function %d", kind);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols / 2);
    return status;
}

/* gpt-oss: the gate is bounded above, what it lets through on both sides, and 1 is added to that. */
static double swiglu_oai(double gate, double up, double alpha, double limit) {
    double x = gate > limit ? limit : gate, y = up > limit ? limit : up < -limit ? -limit : up;
    return x * ci_sigmoid(alpha * x) * (y + 1.0);
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->out[0].cols, slice = call->params.i[CI_ACTIVATION_I_WIDTH], width = slice ? slice : cols;
    int kind = call->params.i[CI_ACTIVATION_I_KIND];
    double a = (double)call->params.f[CI_ACTIVATION_F_A], limit = (double)call->params.f[CI_ACTIVATION_F_LIMIT];
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        const float *x = (const float *)call->in[0].data + row * 2 * cols;
        float *out = (float *)call->out[0].data + row * cols;
        for (int64_t i = 0; i < cols; i++) {
            double gate = (double)x[i + i / width * width], up = (double)x[i + i / width * width + width];
            out[i] = (float)(kind == CI_ACTIVATION_SWIGLU_OAI ? swiglu_oai(gate, up, a, limit)
                                                              : ci_activation(kind, gate, a) * up);
        }
    }
}

#define CASE(title, rows, cols, kind, a, limit)                                                                        \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, 2 * (cols)}}, {{0}}, {                                                            \
            {CI_ACTIVATION_##kind}, { a, limit }                                                                       \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    CASE("smollm2, one token", 1, 1536, SILU, 0, 0),
    CASE("smollm2, prompt", 37, 1536, SILU, 0, 0),
    CASE("1.5b, one token", 1, 8960, SILU, 0, 0),
    CASE("small", 5, 32, SILU, 0, 0),
    CASE("gelu", 3, 96, GELU, 0, 0),
    CASE("gelu by erf", 3, 160, GELU_ERF, 0, 0),
    CASE("relu", 3, 96, RELU, 0, 0),
    CASE("gpt-oss", 3, 192, SWIGLU_OAI, 1.702f, 7.0f),
    CASE("within narrow bounds", 2, 64, SWIGLU_OAI, 1.5f, 0.25f),
    {"three experts, gate and up of each in a row", {{&ci_type_f32, 3, 576}}, {{0}}, {{CI_ACTIVATION_SILU, 96}, {0}}},
    {0}};

const struct ci_op ci_op_glu = {
    .name = "glu",
    .inputs = 1,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};

const struct ci_op ci_op_glu_quantise = {
    .name = "glu_quantise",
    .inputs = 1,
    .outputs = 1,
    .first = &ci_op_glu,
    .second = &ci_op_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
};
