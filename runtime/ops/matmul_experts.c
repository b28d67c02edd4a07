/* matmul_experts: matmul with the weights of the experts that `route` chose for each row, and of no others. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/experts.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "ops/product.h"
#include "tensor/op_params.h"

enum {
    X = CI_EXPERTS_X,
    W0 = CI_EXPERTS_W0,
    W1 = CI_EXPERTS_W1,
    IDS = CI_EXPERTS_IDS,
    ORDER = CI_EXPERTS_ORDER,
    STARTS = CI_EXPERTS_STARTS,
    B0 = CI_EXPERTS_B0,
    B1 = CI_EXPERTS_B1
};

static int64_t experts_of(const struct ci_call *call) { return call->in[STARTS].cols - 1; }
static int weights_of(const struct ci_call *call) { return call->in[W1].type ? 2 : 1; }

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[X], *w0 = &call->in[W0], *ids = &call->in[IDS];
    enum clinfer_status status =
        ci_infer_expect("matmul_experts", call, X, ci_type_planes(x->type) ? NULL : &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("matmul_experts", call, W0, NULL, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("matmul_experts", call, W1, w0->type, w0->rows, w0->cols);
    if (status == CLINFER_OK) status = ci_infer_expect("matmul_experts", call, IDS, &ci_type_i32, x->rows, -1);
    if (status == CLINFER_OK) status = ci_infer_expect("matmul_experts", call, ORDER, &ci_type_i32, x->rows, ids->cols);
    if (status == CLINFER_OK) status = ci_infer_expect("matmul_experts", call, STARTS, &ci_type_i32, 1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("matmul_experts", call, B0, &ci_type_f32, 1, w0->rows);
    if (status == CLINFER_OK) status = ci_infer_optional("matmul_experts", call, B1, &ci_type_f32, 1, w0->rows);
    if (status == CLINFER_OK && x->cols != w0->cols)
        status = ci_infer_expect("matmul_experts", call, X, NULL, -1, ids->cols * w0->cols);
    int64_t experts = experts_of(call);
    if (status == CLINFER_OK && (experts < 1 || experts > CI_MAX_EXPERTS || w0->rows % experts))
        status = ci_fail(CLINFER_BAD_FILE, "op matmul_experts: %lld rows of weights are not those of %lld experts",
                         (long long)w0->rows, (long long)experts);
    int64_t cols = status == CLINFER_OK ? ids->cols * (w0->rows / experts) * weights_of(call) : 0;
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, cols);
    return status;
}

/* x w^T + b of one expert for some of its pairs, or the sizes of that. */
static void compute_pairs(const struct ci_call *call, bool sizes, int64_t expert, const int64_t *pairs, int64_t count,
                          float *out) {
    int64_t used = call->in[IDS].cols, n_cols = call->in[W0].rows / experts_of(call);
    int64_t own_cols = call->in[X].cols == call->in[W0].cols ? 0 : call->in[W0].cols;
    struct ci_product_input inputs[CI_PRODUCT_ROWS];
    struct ci_product product;
    for (int64_t i = 0; i < count; i++)
        inputs[i] = (struct ci_product_input){pairs[i] / used, pairs[i] % used * own_cols};
    for (int p = 0; p < weights_of(call); p++) {
        const float *bias = call->in[B0 + p].type ? call->in[B0 + p].data : NULL;
        for (int64_t row = expert * n_cols; row < (expert + 1) * n_cols; row++) {
            ci_product_row(&call->in[X], inputs, count, &call->in[W0 + p], row, &product);
            for (int64_t i = 0; i < count; i++) {
                int64_t first_col = (p * used + pairs[i] % used) * n_cols - expert * n_cols;
                out[pairs[i] / used * call->out[0].cols + first_col + row] =
                    ci_product_value(&product, i, bias ? (double)bias[row] : 0.0, sizes);
            }
        }
    }
}

/* Expert by expert, so that a row of weights is made floats once for many pairs. Ids that name no expert count as 0. */
static void compute(const struct ci_call *call, bool sizes, float *out) {
    const int32_t *ids = call->in[IDS].data;
    int64_t experts = experts_of(call), all = call->in[X].rows * call->in[IDS].cols, pairs[CI_PRODUCT_ROWS];
    for (int64_t expert = 0; expert < experts; expert++) {
        int64_t count = 0;
        for (int64_t pair = 0; pair < all; pair++) {
            if ((ids[pair] < 0 || ids[pair] >= experts ? 0 : ids[pair]) != expert) continue;
            pairs[count++] = pair;
            if (count < CI_PRODUCT_ROWS) continue;
            compute_pairs(call, sizes, expert, pairs, count, out);
            count = 0;
        }
        if (count > 0) compute_pairs(call, sizes, expert, pairs, count, out);
    }
}

static void reference(const struct ci_call *call) { compute(call, false, call->out[0].data); }

static void magnitude(const struct ci_call *call, float *out) { compute(call, true, out); }

/* Distinct experts per row, and what follows from them. */
static void fill(struct ci_call *call, uint64_t *random_state) {
    int64_t used = call->in[IDS].cols, experts = experts_of(call);
    int32_t *ids = call->in[IDS].data;
    for (int64_t row = 0; row < call->in[IDS].rows; row++, ids += used)
        for (int64_t j = 0; j < used; j++) {
            bool again = true;
            while (again) {
                again = false;
                ids[j] = (int32_t)(ci_random(random_state) % (uint64_t)experts);
                for (int64_t i = 0; i < j; i++) again = again || ids[i] == ids[j];
            }
        }
    ci_experts_sort(call->in[IDS].data, call->in[IDS].rows * used, experts, call->in[ORDER].data,
                    call->in[STARTS].data);
}

/* How many experts some row goes to; where the ids are not on the host, or not yet, as many as with even chances. */
static double experts_read(const struct ci_call *call) {
    int64_t experts = experts_of(call), pairs = call->in[IDS].rows * call->in[IDS].cols;
    const int32_t *ids = call->in[IDS].data;
    bool read[CI_MAX_EXPERTS] = {false};
    double count = 0;
    for (int64_t i = 0; ids && i < pairs; i++) {
        if (ids[i] < 0 || ids[i] >= experts) {
            ids = NULL;
            break;
        }
        count += !read[ids[i]];
        read[ids[i]] = true;
    }
    double missed = 1 - (double)call->in[IDS].cols / (double)experts;
    return ids ? count : (double)experts * (1 - pow(missed, (double)call->in[IDS].rows));
}

static double bytes_read(const struct ci_call *call) {
    const struct ci_view *w = &call->in[W0];
    int64_t rows = w->rows / experts_of(call) * weights_of(call);
    return experts_read(call) * (double)rows * (double)ci_type_row_bytes(w->type, w->cols);
}

static double operations(const struct ci_call *call) {
    return 2.0 * (double)call->out[0].rows * (double)call->out[0].cols * (double)call->in[W0].cols;
}

#define NONE                                                                                                           \
    { NULL, 0, 0 }
/* One weight, input of each expert's own; two weights, an input for all. */
#define ONE(title, x_type, w_type, rows, used, experts, n, k)                                                          \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_##x_type, rows, (used) * (k)},                                                                  \
             {&ci_type_##w_type, (experts) * (n), k},                                                                  \
             NONE,                                                                                                     \
             {&ci_type_i32, rows, used},                                                                               \
             {&ci_type_i32, rows, used},                                                                               \
             {&ci_type_i32, 1, (experts) + 1},                                                                         \
             {&ci_type_f32, 1, (experts) * (n)}},                                                                      \
            {{0}}, {                                                                                                   \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }
#define TWO(title, x_type, w_type, rows, used, experts, n, k)                                                          \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_##x_type, rows, k},                                                                             \
             {&ci_type_##w_type, (experts) * (n), k},                                                                  \
             {&ci_type_##w_type, (experts) * (n), k},                                                                  \
             {&ci_type_i32, rows, used},                                                                               \
             {&ci_type_i32, rows, used},                                                                               \
             {&ci_type_i32, 1, (experts) + 1}},                                                                        \
            {{0}}, {                                                                                                   \
            {0}, { 0 }                                                                                                 \
        }                                                                                                              \
    }
#define BOTH(macro, title, w_type, ...)                                                                                \
    macro(title " " #w_type " f32", f32, w_type, __VA_ARGS__), macro(title " " #w_type " q8", q8, w_type, __VA_ARGS__)

static const struct ci_case cases[] = {BOTH(TWO, "gate and up, one token,", q4_0, 1, 3, 8, 48, 96),
                                       BOTH(ONE, "down, one token,", q4_0, 1, 3, 8, 64, 96),
                                       BOTH(TWO, "gate and up, prompt,", q4_0, 21, 4, 16, 32, 64),
                                       BOTH(ONE, "down, prompt,", q4_0, 21, 4, 16, 48, 32),
                                       BOTH(ONE, "no multiple of 16,", q4_1, 5, 2, 4, 21, 64),
                                       BOTH(TWO, "two tokens,", q8_0, 2, 2, 8, 16, 64),
                                       BOTH(ONE, "all of two experts,", q6_k, 3, 2, 2, 32, 256),
                                       BOTH(ONE, "a few tokens,", q5_0, 7, 2, 8, 32, 64),
                                       BOTH(ONE, "a few tokens,", q5_1, 7, 2, 8, 32, 64),
                                       TWO("16 bits, a few tokens", q16, q4_0, 5, 2, 8, 32, 64),
                                       ONE("f32 weights", f32, f32, 6, 2, 4, 19, 96),
                                       TWO("f16 weights", f32, f16, 6, 2, 4, 32, 64),
                                       ONE("bf16 weights", f32, bf16, 6, 2, 4, 16, 64),
                                       {0}};

/* Whatever the types: a few rows and a few of the experts. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 5, USED = 2, EXPERTS = 4, TILES = 32, NO_TILES = 21, COLS = 96 };
    const struct ci_view *w = &call->in[W0];
    bool own_inputs = call->in[X].cols != w->cols;
    int64_t rows = call->in[X].rows < ROWS ? call->in[X].rows : ROWS;
    int64_t used = call->in[IDS].cols < USED ? call->in[IDS].cols : USED;
    int64_t outputs = EXPERTS * (w->rows / experts_of(call) % 16 ? NO_TILES : TILES);
    int64_t cols = w->type->block_cols > 32 ? 2 * w->type->block_cols : COLS;
    *shape = (struct ci_case){.name = "its own",
                              .in = {[X] = {call->in[X].type, rows, own_inputs ? used * cols : cols},
                                     [W0] = {w->type, outputs, cols},
                                     [W1] = {call->in[W1].type, outputs, cols},
                                     [IDS] = {&ci_type_i32, rows, used},
                                     [ORDER] = {&ci_type_i32, rows, used},
                                     [STARTS] = {&ci_type_i32, 1, EXPERTS + 1},
                                     [B0] = {call->in[B0].type, 1, outputs},
                                     [B1] = {call->in[B1].type, 1, outputs}},
                              .params = call->params};
}

const struct ci_op ci_op_matmul_experts = {
    .name = "matmul_experts",
    .inputs = 8,
    .outputs = 1,
    .weight_inputs = 3u << W0,
    .looked_up_inputs = 3u << W0,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .magnitude = magnitude,
    .gate = CI_GATE_PRODUCT,
    .gate_of = ci_product_gate,
    .cases = cases,
    .like = like,
    .extra_bytes = bytes_read,
    .operations = operations,
};
