/* attention.h: softmax(scale q k^T) v over the paged KV cache, with the vectors of simd.h; included once per
 * instruction set. What the inputs are stands in tensor/op_params.h.
 *
 * Work is divided by (tile, kv head); the query heads that share a kv head go together, so that keys and values come
 * from memory, and are converted, once for all of them. Items go to the threads in turn, since later tiles of a prompt
 * see more positions. Where that gives a thread too few items (decode), by query head, neighbours together: a thread
 * still has most of those that share.
 *
 * An item takes BLOCK positions at a time with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867). Few
 * queries: the lanes are dimensions, keys and values are used as they lie in the cache. Many: keys are transposed to
 * floats [dimension][position], so that lanes are positions and no sum across lanes is needed.
 *
 *       few                              many
 *       q [d d d d ..] . k [d d d d ..]   s[query][p p p p ..] += q[query][d] * k[d][p p p p ..]   4 queries x 2
 * vectors o [d d d d ..] += w[p] * v[p]     o[query][d d d d ..] += w[query][p] * v[p][d d d d ..]   4 queries x 2
 * vectors */
#include <assert.h>
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/quantise_group.h"
#include "tensor/op_params.h"
#include "types/type.h"

enum { BLOCK = 32, MAX_QUERIES = 64, MAX_DIM = CI_CPU_ATTENTION_MAX_DIM, MANY = 16 };

_Static_assert(CI_PAGE_ROWS % BLOCK == 0, "a block of positions lies in one page");
_Static_assert(BLOCK % (2 * VF_LANES) == 0, "many queries take two vectors of positions at once");

/* One sequence's keys and values of one kv head. */
struct source {
    const struct ci_view *keys, *values;
    const int32_t *pages;
    int64_t first_col;
    int dim;
    int half; /* f16, else f32 */
};

/* One item; 200 KB, on the stack. */
struct state {
    float q[MAX_QUERIES][MAX_DIM]; /* scaled */
    float out[MAX_QUERIES][MAX_DIM];
    float weight[MAX_QUERIES][BLOCK]; /* scores, then what they weigh */
    float largest[MAX_QUERIES], total[MAX_QUERIES];
    float k[MAX_DIM * BLOCK], v[BLOCK * MAX_DIM];
};

/* LANES columns from column `col` of the head, of row `row` (from where `at` points). */
INLINE vf load_kv(const void *at, int half, int64_t index) {
    return half ? vf_load_f16((const uint16_t *)at + index) : vf_load((const float *)at + index);
}

/* Where the numbers of position p lie. BLOCK positions follow each other at a distance of view->cols. */
INLINE const void *kv_at(const struct source *source, const struct ci_view *view, int32_t p) {
    int64_t slot = (int64_t)source->pages[p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS;
    int64_t index = slot * view->cols + source->first_col;
    return source->half ? (const void *)((const uint16_t *)view->data + index) : (const float *)view->data + index;
}

/* Rows of the next block, which are asked for while this one is computed: rows of one head lie apart, and no processor
 * guesses the next ones in time. A few at a time, or the computing waits until all are on their way; each of `turns`
 * queries asks for its part. */
struct ahead {
    const char *keys, *values;                 /* of the next block's first position */
    size_t key_bytes, value_bytes, head_bytes; /* from row to row, and of a row what counts */
    int rows, turn, turns;
};

INLINE void ask_for(const struct ahead *ahead, const char *rows, size_t row_bytes, int first) {
    enum { LINE_BYTES = 64, ROWS = 4 };
    if (first / ROWS % ahead->turns != ahead->turn || first + ROWS > ahead->rows) return;
    for (int i = first; i < first + ROWS; i++)
        for (size_t line = 0; line < ahead->head_bytes; line += LINE_BYTES)
            __builtin_prefetch(rows + (size_t)i * row_bytes + line);
}

INLINE void look_ahead(const struct source *source, int32_t p, int rows, struct ahead *ahead) {
    size_t number = source->half ? sizeof(uint16_t) : sizeof(float);
    *ahead = (struct ahead){.key_bytes = (size_t)source->keys->cols * number,
                            .value_bytes = (size_t)source->values->cols * number,
                            .head_bytes = (size_t)source->dim * number,
                            .rows = rows < BLOCK ? rows : BLOCK,
                            .turns = 1};
    if (rows <= 0) return;
    ahead->keys = kv_at(source, source->keys, p);
    ahead->values = kv_at(source, source->values, p);
}

/* ---- few queries ---- */

INLINE void scores_few(const struct source *source, const struct ahead *ahead, const float *q, int32_t p, int n,
                       float *scores) {
    const void *keys = kv_at(source, source->keys, p);
    int64_t stride = source->keys->cols;
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        ask_for(ahead, ahead->keys, ahead->key_bytes, i);
        vf sum[4] = {vf_set(0), vf_set(0), vf_set(0), vf_set(0)};
        for (int d = 0; d < source->dim; d += VF_LANES)
            UNROLL for (int j = 0; j < 4; j++) sum[j] =
                vf_fma(vf_load(q + d), load_kv(keys, source->half, (i + j) * stride + d), sum[j]);
        vf_sum4(sum[0], sum[1], sum[2], sum[3], scores + i);
    }
    for (; i < n; i++) {
        vf sum = vf_set(0);
        for (int d = 0; d < source->dim; d += VF_LANES)
            sum = vf_fma(vf_load(q + d), load_kv(keys, source->half, i * stride + d), sum);
        scores[i] = vf_sum(sum);
    }
}

/* out[d .. d + vectors * LANES) += the weighted values; `vectors` is constant. */
INLINE void add_values_few(const void *values, int half, int64_t stride, const struct ahead *ahead, const float *weight,
                           int n, int d, int vectors, float *out) {
    vf sum[4];
    UNROLL for (int j = 0; j < vectors; j++) sum[j] = vf_load(out + d + j * VF_LANES);
    for (int i = 0; i < n; i++) {
        if (d == 0 && i % 4 == 0) ask_for(ahead, ahead->values, ahead->value_bytes, i);
        UNROLL for (int j = 0; j < vectors; j++) sum[j] =
            vf_fma(vf_set(weight[i]), load_kv(values, half, i * stride + d + j * VF_LANES), sum[j]);
    }
    UNROLL for (int j = 0; j < vectors; j++) vf_store(out + d + j * VF_LANES, sum[j]);
}

INLINE void values_few(const struct source *source, const struct ahead *ahead, const float *weight, int32_t p, int n,
                       float *out) {
    const void *values = kv_at(source, source->values, p);
    int d = 0;
    for (; d + 4 * VF_LANES <= source->dim; d += 4 * VF_LANES)
        add_values_few(values, source->half, source->values->cols, ahead, weight, n, d, 4, out);
    for (; d < source->dim; d += VF_LANES)
        add_values_few(values, source->half, source->values->cols, ahead, weight, n, d, 1, out);
}

/* ---- many queries ---- */

/* Positions beyond n are zeros: their weights are too, and 0 times what lies in the cache could be no number. */
INLINE void load_block(const struct source *source, int32_t p, int n, struct state *state) {
    const void *keys = kv_at(source, source->keys, p), *values = kv_at(source, source->values, p);
    for (int i = 0; i < BLOCK; i++)
        for (int d = 0; d < source->dim; d += VF_LANES) {
            float lanes[VF_LANES];
            vf value = i < n ? load_kv(values, source->half, i * source->values->cols + d) : vf_set(0);
            vf_store(state->v + i * source->dim + d, value);
            vf_store(lanes, i < n ? load_kv(keys, source->half, i * source->keys->cols + d) : vf_set(0));
            UNROLL for (int j = 0; j < VF_LANES; j++) state->k[(d + j) * BLOCK + i] = lanes[j];
        }
}

/* out[queries][2 vectors] (+)= a[queries][count] b[count][2 vectors], rows of b `stride` apart; `queries` is constant.
 */
INLINE void multiply(const float *a, int64_t a_stride, int queries, const float *b, int64_t stride, int count,
                     int vectors, int add, float *out, int64_t out_stride) {
    vf sum[4][2];
    UNROLL for (int i = 0; i < queries; i++) UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
        add ? vf_load(out + i * out_stride + j * VF_LANES) : vf_set(0);
    for (int k = 0; k < count; k++) {
        vf row[2];
        UNROLL for (int j = 0; j < vectors; j++) row[j] = vf_load(b + k * stride + j * VF_LANES);
        UNROLL for (int i = 0; i < queries; i++) {
            vf factor = vf_set(a[i * a_stride + k]);
            UNROLL for (int j = 0; j < vectors; j++) sum[i][j] = vf_fma(factor, row[j], sum[i][j]);
        }
    }
    UNROLL for (int i = 0; i < queries; i++) UNROLL for (int j = 0; j < vectors; j++)
        vf_store(out + i * out_stride + j * VF_LANES, sum[i][j]);
}

INLINE void scores_many(const struct source *source, int queries, struct state *state) {
    for (int p = 0; p < BLOCK; p += 2 * VF_LANES) {
        int i = 0;
        for (; i + 4 <= queries; i += 4)
            multiply(state->q[i], MAX_DIM, 4, state->k + p, BLOCK, source->dim, 2, 0, state->weight[i] + p, BLOCK);
        for (; i < queries; i++)
            multiply(state->q[i], MAX_DIM, 1, state->k + p, BLOCK, source->dim, 2, 0, state->weight[i] + p, BLOCK);
    }
}

INLINE void values_many(const struct source *source, int queries, struct state *state) {
    for (int d = 0; d < source->dim;) {
        int i = 0, two = d + 2 * VF_LANES <= source->dim;
        for (; i + 4 <= queries; i += 4)
            if (two)
                multiply(state->weight[i], BLOCK, 4, state->v + d, source->dim, BLOCK, 2, 1, state->out[i] + d,
                         MAX_DIM);
            else
                multiply(state->weight[i], BLOCK, 4, state->v + d, source->dim, BLOCK, 1, 1, state->out[i] + d,
                         MAX_DIM);
        for (; i < queries; i++)
            if (two)
                multiply(state->weight[i], BLOCK, 1, state->v + d, source->dim, BLOCK, 2, 1, state->out[i] + d,
                         MAX_DIM);
            else
                multiply(state->weight[i], BLOCK, 1, state->v + d, source->dim, BLOCK, 1, 1, state->out[i] + d,
                         MAX_DIM);
        d += two ? 2 * VF_LANES : VF_LANES;
    }
}

/* ---- both ---- */

/* Scores of one query become weights; what was summed before is made less when a larger score appeared. The first
 * `visible` positions of the block count. */
INLINE void weigh(struct state *state, int query, int visible, int dim) {
    float *weight = state->weight[query], most = state->largest[query];
    for (int i = 0; i < visible; i++) most = weight[i] > most ? weight[i] : most;
    if (most > state->largest[query]) {
        float kept = expf(state->largest[query] - most);
        vf factor = vf_set(kept);
        for (int d = 0; d < dim; d += VF_LANES)
            vf_store(state->out[query] + d, vf_mul(vf_load(state->out[query] + d), factor));
        state->total[query] *= kept;
        state->largest[query] = most;
    }
    for (int i = visible > 0 ? visible : 0; i < BLOCK; i++) weight[i] = -INFINITY;
    vf total = vf_set(0);
    for (int i = 0; i < BLOCK; i += VF_LANES) {
        vf part = vf_exp(vf_sub(vf_load(weight + i), vf_set(state->largest[query])));
        int left = visible - i < 0 ? 0 : visible - i;
        vf_store(weight + i, part);
        if (left < VF_LANES) {
            part = vf_load_some(weight + i, left);
            vf_store(weight + i, part);
        }
        total = vf_add(total, part);
    }
    state->total[query] += vf_sum(total);
}

/* Queries heads_first .. + heads of the tile's rows; query i is row i / heads. */
static void attend(const struct ci_call *call, const int32_t *tile, int first_head, int heads, struct state *state) {
    int32_t dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    int32_t group = call->params.i[CI_ATTENTION_I_HEADS] / call->params.i[CI_ATTENTION_I_KV_HEADS];
    struct source source = {.keys = &call->in[1],
                            .values = &call->in[2],
                            .pages = (const int32_t *)call->in[4].data + (int64_t)tile[2] * call->in[4].cols,
                            .first_col = (int64_t)(first_head / group) * dim,
                            .dim = dim,
                            .half = call->in[1].type == &ci_type_f16};
    int queries = tile[1] * heads, end = tile[3] + tile[1];
    vf scale = vf_set(call->params.f[CI_ATTENTION_F_SCALE]);
    assert(queries <= MAX_QUERIES && dim <= MAX_DIM);
    for (int i = 0; i < queries; i++) {
        const float *q = (const float *)call->in[0].data + (int64_t)(tile[0] + i / heads) * call->in[0].cols +
                         (int64_t)(first_head + i % heads) * dim;
        for (int d = 0; d < dim; d += VF_LANES) {
            vf_store(state->q[i] + d, vf_mul(vf_load(q + d), scale));
            vf_store(state->out[i] + d, vf_set(0));
        }
        state->largest[i] = -INFINITY;
        state->total[i] = 0;
    }
    for (int p = 0; p < end; p += BLOCK) {
        int n = end - p < BLOCK ? end - p : BLOCK;
        struct ahead ahead;
        look_ahead(&source, p + BLOCK, end - p - BLOCK, &ahead);
        ahead.turns = queries;
        if (queries >= MANY) {
            load_block(&source, p, n, state);
            scores_many(&source, queries, state);
        }
        for (int i = 0; i < queries; i++) {
            int visible = tile[3] + i / heads + 1 - p < n ? tile[3] + i / heads + 1 - p : n;
            ahead.turn = i;
            if (queries < MANY) scores_few(&source, &ahead, state->q[i], p, n, state->weight[i]);
            weigh(state, i, visible, dim);
            if (queries < MANY) values_few(&source, &ahead, state->weight[i], p, n, state->out[i]);
        }
        if (queries >= MANY) values_many(&source, queries, state);
    }
}

INLINE void store(const struct ci_call *call, const int32_t *tile, int first_head, int heads,
                  const struct state *state) {
    const struct ci_view *out = &call->out[0];
    int32_t dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    for (int i = 0; i < tile[1] * heads; i++) {
        int64_t row = tile[0] + i / heads, col = (int64_t)(first_head + i % heads) * dim;
        vf factor = vf_set(1.0f / state->total[i]);
        if (out->type == &ci_type_q8) {
            uint8_t *q8 = (uint8_t *)out->data + (size_t)row * ci_type_row_bytes(&ci_type_q8, out->cols);
            for (int d = 0; d < dim; d += CI_Q8_GROUP) {
                vf numbers[GROUP_VECTORS];
                UNROLL for (int j = 0; j < GROUP_VECTORS; j++) numbers[j] =
                    vf_mul(vf_load(state->out[i] + d + j * VF_LANES), factor);
                quantise_group(numbers, q8, out->cols, col + d);
            }
            continue;
        }
        float *numbers = (float *)out->data + row * out->cols + col;
        for (int d = 0; d < dim; d += VF_LANES) vf_store(numbers + d, vf_mul(vf_load(state->out[i] + d), factor));
    }
}

/* Heads of one tile that share a kv head. */
INLINE void attend_heads(const struct ci_call *call, const int32_t *tile, int first_head, int count,
                         struct state *state) {
    while (count > 0) {
        int fit = MAX_QUERIES / tile[1] < count ? MAX_QUERIES / tile[1] : count;
        attend(call, tile, first_head, fit, state);
        store(call, tile, first_head, fit, state);
        first_head += fit;
        count -= fit;
    }
}

/* Of type q8 or f32, as out[0] says. */
void SIMD_NAME(ci_cpu_attention)(const struct ci_call *call, int thread, int threads) {
    struct state state;
    const int32_t *tiles = call->in[3].data;
    int heads = call->params.i[CI_ATTENTION_I_HEADS], kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    int group = heads / kv_heads;
    int64_t items = call->in[3].rows * kv_heads, first, last;
    if (items >= 4 * threads) {
        for (int64_t item = thread; item < items; item += threads)
            attend_heads(call, tiles + item / kv_heads * 4, (int)(item % kv_heads) * group, group, &state);
        return;
    }
    ci_share(call->in[3].rows * heads, 1, thread, threads, &first, &last);
    while (first < last) {
        int head = (int)(first % heads), rest = group - head % group;
        int count = last - first < rest ? (int)(last - first) : rest;
        attend_heads(call, tiles + first / heads * 4, head, count, &state);
        first += count;
    }
}
