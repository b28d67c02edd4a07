/* attention: softmax(scale q k^T) v over a paged KV cache, causal, grouped queries (Ainslie et al. 2023, arXiv
 * 2305.13245). Alone and followed by quantise. The work comes as tiles, each some consecutive rows of one sequence, so
 * that decode, prompts and several sequences at once are the same op. */
#include <math.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { MAX_HEAD_DIM = 512 };

static enum clinfer_status infer(struct ci_call *call) {
    int32_t heads = call->params.i[CI_ATTENTION_I_HEADS], kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    enum clinfer_status status = ci_infer_expect("attention", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK && (heads <= 0 || kv_heads <= 0 || head_dim <= 0 || heads % kv_heads ||
                                 (int64_t)heads * head_dim > call->in[0].cols))
        status = ci_fail(CLINFER_BAD_FILE, "op attention: %d heads of %d, %d of keys, do not fit in %lld columns",
                         heads, head_dim, kv_heads, (long long)call->in[0].cols);
    if (status == CLINFER_OK && head_dim > MAX_HEAD_DIM)
        status =
            ci_fail(CLINFER_UNSUPPORTED, "op attention: heads of %d, at most %d are supported", head_dim, MAX_HEAD_DIM);
    for (int i = 1; i <= 2 && status == CLINFER_OK; i++)
        status = ci_infer_expect("attention", call, i, NULL, -1, (int64_t)kv_heads * head_dim);
    if (status == CLINFER_OK) status = ci_infer_expect("attention", call, 3, &ci_type_i32, -1, 4);
    if (status == CLINFER_OK) status = ci_infer_expect("attention", call, 4, &ci_type_i32, -1, -1);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, (int64_t)heads * head_dim);
    return status;
}

/* One query row and head: an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) in double. */
static void attend(const struct ci_call *call, const float *query, const int32_t *pages, int32_t position,
                   int32_t kv_head, float *out) {
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    double largest = -INFINITY, total = 0, sums[MAX_HEAD_DIM] = {0};
    float part[MAX_HEAD_DIM];
    for (int32_t p = 0; p <= position; p++) {
        int64_t slot = (int64_t)pages[p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS;
        ci_view_part(&call->in[1], slot, (int64_t)kv_head * head_dim, head_dim, part);
        double score = 0;
        for (int32_t i = 0; i < head_dim; i++) score += (double)query[i] * part[i];
        score *= (double)call->params.f[CI_ATTENTION_F_SCALE];
        double kept = 1;
        if (score > largest) {
            kept = exp(largest - score);
            largest = score;
        }
        double weight = exp(score - largest);
        total = total * kept + weight;
        ci_view_part(&call->in[2], slot, (int64_t)kv_head * head_dim, head_dim, part);
        for (int32_t i = 0; i < head_dim; i++) sums[i] = sums[i] * kept + weight * part[i];
    }
    for (int32_t i = 0; i < head_dim; i++) out[i] = (float)(sums[i] / total);
}

static void reference(const struct ci_call *call) {
    const int32_t *tile = call->in[3].data, *pages = call->in[4].data;
    int32_t heads = call->params.i[CI_ATTENTION_I_HEADS], kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += 4)
        for (int32_t i = 0; i < tile[1]; i++)
            for (int32_t head = 0; head < heads; head++)
                attend(call, (const float *)call->in[0].data + (tile[0] + i) * call->in[0].cols + head * head_dim,
                       pages + tile[2] * call->in[4].cols, tile[3] + i, head / (heads / kv_heads),
                       (float *)call->out[0].data + (tile[0] + i) * call->out[0].cols + head * head_dim);
}

/* Two sequences (one if there is one line of pages) share the rows, in tiles of full size where possible; their pages
 * are scattered. The last position of each is the last that its pages hold, less a few. */
static void fill(struct ci_call *call, uint64_t *random_state) {
    int32_t rows = (int32_t)call->in[0].rows, sequences = (int32_t)call->in[4].rows, limit = (int32_t)call->in[4].cols;
    int32_t *tile = call->in[3].data, *pages = call->in[4].data, capacity = (int32_t)(call->in[1].rows / CI_PAGE_ROWS);
    int32_t start = (int32_t)(ci_random(random_state) % (uint64_t)capacity);
    for (int32_t i = 0; i < sequences * limit; i++) pages[i] = (start + i * 3) % capacity;
    int64_t t = 0;
    for (int32_t s = 0, row = 0; s < sequences; s++) {
        int32_t count = s + 1 == sequences ? rows - row : rows / sequences;
        int32_t position = limit * CI_PAGE_ROWS - count - s;
        for (int32_t done = 0; done < count; t++) {
            int32_t size = count - done < CI_TILE_ROWS ? count - done : CI_TILE_ROWS;
            tile[4 * t] = row;
            tile[4 * t + 1] = size;
            tile[4 * t + 2] = s;
            tile[4 * t + 3] = position + done;
            done += size;
            row += size;
        }
    }
    call->in[3].rows = t;
}

/* Keys and values that the tiles see; where the tiles are not on the host, one page for each. */
static double cache_bytes(const struct ci_call *call) {
    const int32_t *tile = call->in[3].data;
    double positions = 0, row_bytes = 0;
    for (int i = 1; i <= 2; i++) row_bytes += (double)ci_type_row_bytes(call->in[i].type, call->in[i].cols);
    for (int64_t t = 0; t < call->in[3].rows; t++) positions += tile ? tile[4 * t + 3] + tile[4 * t + 1] : CI_PAGE_ROWS;
    return positions * row_bytes;
}

static double operations(const struct ci_call *call) {
    const int32_t *tile = call->in[3].data;
    double per_position = 4.0 * call->params.i[CI_ATTENTION_I_HEADS] * call->params.i[CI_ATTENTION_I_HEAD_DIM], sum = 0;
    if (!tile) return per_position * (double)call->in[0].rows * CI_PAGE_ROWS;
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += 4)
        sum += per_position * tile[1] * (tile[3] + 0.5 * (1 + tile[1]));
    return sum;
}

/* `tiles` is at least rows / 16 + sequences; fill sets the true number. */
#define CASE(title, kv_type, rows, heads, kv, dim, sequences, page_count)                                              \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_f32, rows, ((heads) + 2 * (kv)) * (dim)},                                                       \
             {&ci_type_##kv_type, 128 * ((sequences) * (page_count) + 2), (kv) * (dim)},                               \
             {&ci_type_##kv_type, 128 * ((sequences) * (page_count) + 2), (kv) * (dim)},                               \
             {&ci_type_i32, (rows) / 16 + 2 * (sequences), 4},                                                         \
             {&ci_type_i32, sequences, page_count}},                                                                   \
            {{0}}, {                                                                                                   \
            {heads, kv, dim}, { 0.125f }                                                                               \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {CASE("smollm2, one token", f16, 1, 9, 3, 64, 1, 1),
                                       CASE("smollm2, long context", f16, 1, 9, 3, 64, 1, 9),
                                       CASE("smollm2, prompt", f16, 37, 9, 3, 64, 1, 2),
                                       CASE("qwen2 1.5b, one token", f16, 1, 12, 2, 128, 1, 2),
                                       CASE("qwen2 1.5b, prompt", f32, 17, 12, 2, 128, 1, 1),
                                       CASE("two sequences", f16, 23, 4, 2, 64, 2, 2),
                                       CASE("two sequences, one token each", f32, 2, 4, 1, 32, 2, 1),
                                       CASE("one head", f32, 3, 1, 1, 64, 1, 1),
                                       CASE("eight to a kv head", f16, 5, 8, 1, 96, 1, 1),
                                       {0}};

const struct ci_op ci_op_attention = {
    .name = "attention",
    .inputs = 5,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-9, 1e-4},
    .cases = cases,
    .extra_bytes = cache_bytes,
    .operations = operations,
};

const struct ci_op ci_op_attention_quantise = {
    .name = "attention_quantise",
    .inputs = 5,
    .outputs = 1,
    .first = &ci_op_attention,
    .second = &ci_op_quantise,
    .fill = fill,
    .gate = CI_GATE_Q8,
    .cases = cases,
    .extra_bytes = cache_bytes,
    .operations = operations,
};
