/* matmul: x w^T + b for up to three weights side by side, so that what reads the same input (queries, keys and values;
 * gate and up) is one launch. Alone and followed by add (the residual). */
#include <math.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "ops/product.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[CI_MATMUL_X], *w0 = &call->in[CI_MATMUL_W0];
    int64_t cols = 0;
    enum clinfer_status status =
        ci_infer_expect("matmul", call, CI_MATMUL_X, ci_type_planes(x->type) ? NULL : &ci_type_f32, -1, -1);
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && status == CLINFER_OK; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (i > 0 && !w->type) continue;
        status = ci_infer_expect("matmul", call, CI_MATMUL_W0 + i, w0->type, -1, x->cols);
        if (status == CLINFER_OK)
            status = ci_infer_optional("matmul", call, CI_MATMUL_B0 + i, &ci_type_f32, 1, w->rows);
        cols += w->rows;
    }
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, cols);
    return status;
}

/* out = x w^T + b, or the sizes of that. */
static void compute(const struct ci_call *call, bool sizes, float *out) {
    const struct ci_view *x = &call->in[CI_MATMUL_X];
    struct ci_product_input inputs[CI_PRODUCT_ROWS] = {{0}};
    struct ci_product product;
    int64_t first_col = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        const float *bias = call->in[CI_MATMUL_B0 + i].type ? call->in[CI_MATMUL_B0 + i].data : NULL;
        if (!w->type) continue;
        for (int64_t first_row = 0; first_row < x->rows; first_row += CI_PRODUCT_ROWS) {
            int64_t rows = x->rows - first_row < CI_PRODUCT_ROWS ? x->rows - first_row : CI_PRODUCT_ROWS;
            for (int64_t row = 0; row < rows; row++) inputs[row].row = first_row + row;
            for (int64_t n = 0; n < w->rows; n++) {
                ci_product_row(x, inputs, rows, w, n, &product);
                for (int64_t row = 0; row < rows; row++)
                    out[(first_row + row) * call->out[0].cols + first_col + n] =
                        ci_product_value(&product, row, bias ? (double)bias[n] : 0.0, sizes);
            }
        }
        first_col += w->rows;
    }
}

static void reference(const struct ci_call *call) { compute(call, false, call->out[0].data); }

static void magnitude(const struct ci_call *call, float *out) { compute(call, true, out); }

/* What is added may be far larger than the product: one value of SmolLM2's residual stream is some 1700, whose last bit
 * is more than a product of small numbers may be wrong by. */
static void magnitude_add(const struct ci_call *call, float *out) {
    const struct ci_view *addend = &call->in[CI_MATMUL_ADDEND];
    const float *added = addend->data;
    compute(call, true, out);
    for (int64_t i = 0; i < addend->rows * addend->cols; i++) out[i] += fabsf(added[i]);
}

static double operations(const struct ci_call *call) {
    return 2.0 * (double)call->out[0].rows * (double)call->out[0].cols * (double)call->in[CI_MATMUL_X].cols;
}

#define NONE                                                                                                           \
    { NULL, 0, 0 }
#define ADDEND(rows, cols)                                                                                             \
    { &ci_type_f32, rows, cols }
/* One weight; with ADDEND the same case serves matmul_add (matmul does not look at input 7). */
#define ONE(title, x_type, w_type, rows, n, k)                                                                         \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_##x_type, rows, k}, {&ci_type_##w_type, n, k}, NONE, NONE, NONE, NONE, NONE, ADDEND(rows, n)},  \
            {{0}}, {                                                                                                   \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }
#define THREE(title, x_type, w_type, rows, n0, n1, n2, k)                                                              \
    {                                                                                                                  \
        title, {{&ci_type_##x_type, rows, k}, {&ci_type_##w_type, n0, k},      {&ci_type_##w_type, n1, k},             \
                {&ci_type_##w_type, n2, k},   {&ci_type_f32, 1, n0},           NONE,                                   \
                {&ci_type_f32, 1, n2},        ADDEND(rows, (n0) + (n1) + (n2))},                                       \
            {{0}}, {                                                                                                   \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }
#define BOTH(title, w_type, rows, n, k)                                                                                \
    ONE(title " " #w_type " f32", f32, w_type, rows, n, k), ONE(title " " #w_type " q8", q8, w_type, rows, n, k)

static const struct ci_case cases[] = {
    BOTH("smollm2 attention output, one token,", q4_1, 1, 576, 576),
    BOTH("smollm2 ffn down, one token,", q4_1, 1, 576, 1536),
    BOTH("smollm2 ffn down, prompt,", q4_1, 19, 576, 1536),
    THREE("smollm2 qkv with biases, one token, f32", f32, q4_1, 1, 576, 192, 192, 576),
    THREE("smollm2 qkv with biases, prompt, q8", q8, q4_1, 7, 576, 192, 192, 576),
    THREE("smollm2 qkv with biases, one token, q8", q8, q4_1, 1, 576, 192, 192, 576),
    BOTH("part of an output matrix,", q8_0, 1, 1024, 576),
    ONE("16 bits, smollm2 ffn down, one token", q16, q4_1, 1, 576, 1536),
    ONE("16 bits, smollm2 ffn down, prompt", q16, q4_1, 19, 576, 1536),
    ONE("16 bits, part of an output matrix", q16, q8_0, 1, 1024, 576),
    ONE("16 bits, one token", q16, q4_0, 1, 64, 1536),
    ONE("16 bits, prime rows", q16, q4_0, 11, 101, 96),
    ONE("16 bits, one token", q16, q4_k, 1, 64, 1536),
    ONE("16 bits, a short chunk", q16, q4_k, 16, 37, 256),
    ONE("16 bits, two scales", q16, q6_k, 5, 37, 512),
    ONE("16 bits, two scales, one token", q16, q6_k, 1, 64, 1536),
    ONE("16 bits, two offsets", q16, q2_k, 2, 37, 512),
    ONE("16 bits, fifth bits", q16, q5_0, 3, 37, 64),
    ONE("16 bits, values from a table", q16, iq4_nl, 3, 37, 96),
    THREE("16 bits, a prompt, three of q8_0", q16, q8_0, 33, 33, 16, 5, 64),
    BOTH("prime rows,", q8_0, 13, 101, 64),
    BOTH("prime rows,", q4_0, 11, 101, 96),
    BOTH("two tokens,", q4_0, 2, 64, 1536),
    BOTH("awkward,", q5_0, 3, 37, 64),
    BOTH("awkward,", q5_1, 5, 37, 64),
    BOTH("awkward,", q6_k, 3, 37, 512),
    BOTH("one token,", q2_k, 1, 37, 512),
    BOTH("one token,", q3_k, 1, 37, 256),
    BOTH("one token,", q4_k, 1, 64, 1536),
    BOTH("one token,", q5_k, 1, 37, 512),
    BOTH("one token,", q6_k, 1, 64, 1536),
    BOTH("one block,", q4_1, 1, 1, 32),
    BOTH("one block,", q4_0, 4, 16, 32),
    BOTH("a chunk,", q4_1, 64, 96, 64),
    BOTH("a long chunk,", q4_0, 130, 48, 64),
    ONE("f32 weights", f32, f32, 3, 37, 96),
    ONE("f32 weights, one token", f32, f32, 1, 65, 576),
    ONE("f16 weights", f32, f16, 5, 37, 96),
    ONE("f16 weights, one token", f32, f16, 1, 64, 576),
    ONE("bf16 weights", f32, bf16, 9, 19, 64),
    ONE("bf16 weights, one token", f32, bf16, 1, 19, 576),
    THREE("three of f16", f32, f16, 17, 33, 16, 5, 64),
    BOTH("a short chunk,", q8_0, 17, 40, 96),
    BOTH("a short chunk,", q5_0, 16, 40, 64),
    BOTH("a short chunk,", q5_1, 18, 37, 64),
    BOTH("a short chunk,", q2_k, 16, 37, 256),
    BOTH("a short chunk,", q3_k, 18, 37, 256),
    BOTH("a short chunk,", q4_k, 16, 37, 256),
    BOTH("a short chunk,", q5_k, 17, 40, 256),
    BOTH("a short chunk,", q6_k, 16, 37, 256),
    THREE("a short chunk, three of q8_0, q8", q8, q8_0, 20, 33, 16, 5, 64),
    THREE("a short chunk, three of f32", f32, f32, 19, 33, 16, 5, 64),
    ONE("a short chunk, bf16", f32, bf16, 16, 19, 64),
    BOTH("awkward,", iq4_nl, 3, 37, 96),
    BOTH("awkward,", iq4_xs, 3, 37, 512),
    BOTH("awkward,", mxfp4, 5, 37, 96),
    BOTH("awkward,", nvfp4, 3, 37, 128),
    BOTH("awkward,", tq1_0, 3, 21, 512),
    BOTH("awkward,", tq2_0, 3, 21, 512),
    BOTH("awkward,", iq1_s, 3, 21, 512),
    BOTH("awkward,", iq1_m, 3, 21, 512),
    BOTH("awkward,", iq2_xxs, 3, 21, 512),
    BOTH("awkward,", iq2_xs, 3, 21, 512),
    BOTH("awkward,", iq2_s, 3, 21, 512),
    BOTH("awkward,", iq3_xxs, 3, 21, 512),
    BOTH("awkward,", iq3_s, 3, 21, 512),
    BOTH("one token,", iq4_nl, 1, 64, 576),
    BOTH("one token,", iq4_xs, 1, 64, 768),
    BOTH("one token,", mxfp4, 1, 64, 576),
    BOTH("one token,", nvfp4, 1, 33, 192),
    BOTH("one token,", tq1_0, 1, 33, 256),
    BOTH("one token,", tq2_0, 1, 33, 256),
    BOTH("one token,", iq1_s, 1, 33, 256),
    BOTH("one token,", iq1_m, 1, 33, 256),
    BOTH("one token,", iq2_xxs, 1, 33, 256),
    BOTH("one token,", iq2_xs, 1, 33, 256),
    BOTH("one token,", iq2_s, 1, 33, 256),
    BOTH("one token,", iq3_xxs, 1, 33, 256),
    BOTH("one token,", iq3_s, 1, 33, 256),
    BOTH("a short chunk,", iq4_nl, 17, 37, 64),
    BOTH("a short chunk,", iq4_xs, 16, 37, 256),
    BOTH("a short chunk,", mxfp4, 18, 37, 64),
    THREE("a chunk of many products", f32, q4_0, 96, 576, 192, 192, 576),
    {0}};

/* The call's own types, inputs and kinds of shapes: a chunk of rows, rows of weights that fill tiles or do not, and
 * columns whose rest a kernel may handle in its own way. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 19, TILES = 32, NO_TILES = 21, COLS = 512 };
    const struct ci_view *x = &call->in[CI_MATMUL_X];
    int64_t rows = x->rows < ROWS ? x->rows : ROWS, cols = x->cols <= 2 * COLS ? x->cols : COLS + x->cols % COLS,
            sum = 0;
    *shape = (struct ci_case){.name = "its own", .in = {[CI_MATMUL_X] = {x->type, rows, cols}}, .params = call->params};
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i], *bias = &call->in[CI_MATMUL_B0 + i];
        int64_t outputs = w->rows % TILES ? NO_TILES : TILES;
        if (!w->type) continue;
        shape->in[CI_MATMUL_W0 + i].type = w->type;
        shape->in[CI_MATMUL_W0 + i].rows = outputs;
        shape->in[CI_MATMUL_W0 + i].cols = cols;
        shape->in[CI_MATMUL_B0 + i].type = bias->type;
        shape->in[CI_MATMUL_B0 + i].rows = 1;
        shape->in[CI_MATMUL_B0 + i].cols = outputs;
        sum += outputs;
    }
    shape->in[CI_MATMUL_ADDEND].type = call->in[CI_MATMUL_ADDEND].type;
    shape->in[CI_MATMUL_ADDEND].rows = rows;
    shape->in[CI_MATMUL_ADDEND].cols = sum;
}

const struct ci_op ci_op_matmul = {
    .name = "matmul",
    .inputs = 7,
    .outputs = 1,
    .weight_inputs = 7u << CI_MATMUL_W0,
    .infer = infer,
    .reference = reference,
    .magnitude = magnitude,
    .gate = CI_GATE_PRODUCT,
    .gate_of = ci_product_gate,
    .cases = cases,
    .like = like,
    .operations = operations,
};

const struct ci_op ci_op_matmul_add = {
    .name = "matmul_add",
    .inputs = 8,
    .outputs = 1,
    .weight_inputs = 7u << CI_MATMUL_W0,
    .first = &ci_op_matmul,
    .second = &ci_op_add,
    .second_input = 0,
    .magnitude = magnitude_add,
    .gate = CI_GATE_PRODUCT,
    .gate_of = ci_product_gate,
    .cases = cases,
    .like = like,
    .operations = operations,
};
