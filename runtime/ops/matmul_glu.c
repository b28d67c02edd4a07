/* matmul_glu_quantise: a gate and what it lets through from one product, of which only the codes of their unit are
 * written. matmul followed by glu_quantise: where a kernel does both, the widest numbers of a layer never reach the
 * memory (cpu/matmul_r16_glu.h); elsewhere it falls apart into these two. */
#include "ops/op_list.h"
#include "tensor/op_params.h"

static double operations(const struct ci_call *call) {
    return 4.0 * (double)call->out[0].rows * (double)call->out[0].cols * (double)call->in[CI_MATMUL_X].cols;
}

#define NONE                                                                                                           \
    { NULL, 0, 0 }
/* Gate and up of n outputs each. */
#define GATED(title, x_type, w_type, rows, n, k, kind, wide)                                                           \
    {                                                                                                                  \
        title, {{&ci_type_##x_type, rows, k}, {&ci_type_##w_type, n, k}, {&ci_type_##w_type, n, k}}, {{0}}, {          \
            {[CI_ACTIVATION_I_KIND] = CI_ACTIVATION_##kind, [CI_QUANTISE_I_16_BITS] = wide}, { 0 }                     \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    GATED("smollm2, a few tokens", q16, q4_1, 9, 1536, 576, SILU, 1),
    GATED("prompt", q8, q4_0, 37, 96, 256, SILU, 0),
    GATED("prompt of K-quants", q8, q4_k, 35, 64, 256, SILU, 0),
    GATED("gelu", q8, q8_0, 11, 64, 96, GELU, 0),
    {"with biases",
     {{&ci_type_q8, 16, 64},
      {&ci_type_q4_0, 32, 64},
      {&ci_type_q4_0, 32, 64},
      NONE,
      {&ci_type_f32, 1, 32},
      {&ci_type_f32, 1, 32}},
     {{0}},
     {{CI_ACTIVATION_SILU}, {0}}},
    {"one matrix with biases",
     {{&ci_type_q8, 34, 64}, {&ci_type_q4_0, 128, 64}, NONE, NONE, {&ci_type_f32, 1, 128}},
     {{0}},
     {{CI_ACTIVATION_GELU_ERF}, {0}}},
    {0}};

/* The call's own types, inputs and parameters: a chunk of rows, two groups of outputs, columns whose rest a kernel may
 * handle in its own way. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 19, OUTPUTS = 2 * CI_Q8_GROUP, COLS = 512 };
    const struct ci_view *x = &call->in[CI_MATMUL_X];
    int64_t cols = x->cols <= 2 * COLS ? x->cols : COLS + x->cols % COLS;
    int64_t outputs = call->in[CI_MATMUL_W0 + 1].type ? OUTPUTS : 2 * OUTPUTS;
    *shape = (struct ci_case){.name = "its own",
                              .in = {[CI_MATMUL_X] = {x->type, x->rows < ROWS ? x->rows : ROWS, cols}},
                              .params = call->params};
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_type *w = call->in[CI_MATMUL_W0 + i].type, *bias = call->in[CI_MATMUL_B0 + i].type;
        if (w) shape->in[CI_MATMUL_W0 + i] = (struct ci_case_shape){w, outputs, cols};
        if (bias) shape->in[CI_MATMUL_B0 + i] = (struct ci_case_shape){bias, 1, outputs};
    }
    if (shape->params.i[CI_ACTIVATION_I_WIDTH]) shape->params.i[CI_ACTIVATION_I_WIDTH] = OUTPUTS;
}

const struct ci_op ci_op_matmul_glu_quantise = {
    .name = "matmul_glu_quantise",
    .inputs = 7,
    .outputs = 1,
    .weight_inputs = 7u << CI_MATMUL_W0,
    .first = &ci_op_matmul,
    .second = &ci_op_glu_quantise,
    .gate = CI_GATE_Q8,
    .cases = cases,
    .like = like,
    .operations = operations,
};
