/* norm_heads: slices of a row are normalised like rows of rmsnorm or layernorm, each on its own, and all other columns
 * are copied: the norms of queries and keys in the row that holds queries, keys and values. */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *x = &call->in[0], *weight = &call->in[1];
    int64_t first = call->params.i[CI_NORM_HEADS_I_FIRST], groups = call->params.i[CI_NORM_HEADS_I_GROUPS];
    int64_t width = call->params.i[CI_NORM_HEADS_I_WIDTH];
    enum clinfer_status status = ci_infer_expect("norm_heads", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && (first < 0 || groups < 1 || width < 1 || first + groups * width > x->cols))
        status = ci_fail(CLINFER_BAD_FILE, "op norm_heads: %lld slices of %lld from column %lld on in rows of %lld",
                         (long long)groups, (long long)width, (long long)first, (long long)x->cols);
    if (status == CLINFER_OK && weight->type && weight->cols != width)
        status = ci_infer_expect("norm_heads", call, 1, &ci_type_f32, 1, groups * width);
    if (status == CLINFER_OK) status = ci_infer_optional("norm_heads", call, 1, &ci_type_f32, 1, -1);
    ci_infer_out(&call->out[0], &ci_type_f32, x->extent, x->rows, x->cols);
    return status;
}

static void reference(const struct ci_call *call) {
    int64_t cols = call->in[0].cols, first = call->params.i[CI_NORM_HEADS_I_FIRST];
    int64_t width = call->params.i[CI_NORM_HEADS_I_WIDTH], end = first + call->params.i[CI_NORM_HEADS_I_GROUPS] * width;
    const float *weight = call->in[1].type ? call->in[1].data : NULL;
    bool centred = call->params.i[CI_NORM_HEADS_I_CENTRED];
    for (int64_t row = 0; row < call->in[0].rows; row++) {
        const float *x = (const float *)call->in[0].data + row * cols;
        float *out = (float *)call->out[0].data + row * cols;
        memcpy(out, x, (size_t)cols * sizeof *x);
        for (int64_t at = first; at < end; at += width) {
            double mean = 0, squares = 0;
            for (int64_t i = at; i < at + width && centred; i++) mean += (double)x[i] / (double)width;
            for (int64_t i = at; i < at + width; i++) squares += (x[i] - mean) * (x[i] - mean);
            double scale = 1.0 / sqrt(squares / (double)width + (double)call->params.f[CI_NORM_F_EPS]);
            for (int64_t i = at; i < at + width; i++)
                out[i] = (float)((x[i] - mean) * scale * (weight ? weight[(i - first) % call->in[1].cols] : 1.0f));
        }
    }
}

#define CASE(title, rows, cols, first, groups, width, weights, centred)                                                \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, cols}, {&ci_type_f32, 1, weights}}, {{0}}, {                                      \
            {first, groups, width, centred}, { 1e-6f }                                                                 \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("qwen3 0.6b queries, one token", 1, 4096, 0, 16, 128, 128, 0),
                                       CASE("qwen3 0.6b keys, prompt", 5, 4096, 2048, 8, 128, 128, 0),
                                       CASE("olmo2 queries", 3, 768, 0, 1, 256, 256, 0),
                                       CASE("queries and keys, a weight each", 9, 200, 8, 3, 40, 120, 0),
                                       CASE("layer norm of heads", 5, 300, 32, 3, 80, 240, 1),
                                       CASE("layer norm of narrow heads", 2, 72, 8, 4, 12, 12, 1),
                                       {"without weight", {{&ci_type_f32, 2, 100}}, {{0}}, {{32, 2, 33}, {1e-5f}}},
                                       {0}};

const struct ci_op ci_op_norm_heads = {
    .name = "norm_heads",
    .inputs = 2,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};
