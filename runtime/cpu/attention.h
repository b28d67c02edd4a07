/* attention.h: softmax(scale q k^T) v over the paged KV cache, with the vectors of simd.h; included once per
 * instruction set. What the inputs are, and what a row sees, stands in tensor/op_params.h.
 *
 * Work is divided by (tile, kv head); the query heads that share a kv head go together, so that keys and values come
 * from memory, and are converted, once for all of them. Items go to the threads in turn, since later tiles of a prompt
 * see more positions. Where that gives a thread too few items (decode), by query head, neighbours together: a thread
 * still has most of those that share. Where there are many sequences with few queries each, neighbouring kv heads are
 * one item, so that what a core asks for lies in a row (joint_heads()).
 *
 * An item takes BLOCK positions at a time with an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867). Few
 * queries: the lanes are dimensions; keys and values of f16 and f32 are used as they lie in the cache, and converted
 * once for up to six queries of a row; all others (and heads that are no whole vectors) are unpacked once for all
 * queries. Many: keys are transposed to floats [dimension][position], so that lanes are positions and no sum across
 * lanes is needed.
 *
 *       few                              many
 *       q [d d d d ..] . k [d d d d ..]   s[query][p p p p ..] += q[query][d] * k[d][p p p p ..]   4 to 8
 *       o [d d d d ..] += w[p] * v[p]     o[query][d d d d ..] += w[query][p] * v[p][d d d d ..]   queries x 2
 *                                                                                                vectors */
#include <assert.h>
#include <math.h>

#include "cpu/kernels.h"
#include "cpu/quantise_group.h"
#include "tensor/op_params.h"
#include "types/layout.h"

enum { BLOCK = 32, MAX_QUERIES = 64, MAX_DIM = CI_ATTENTION_MAX_DIM, MANY = 16 };

/* Of many queries so many have their sums over two vectors in registers at once; those that are missing to a multiple
 * of them are zeros. */
enum { TOGETHER = VF_LANES == 16 ? 8 : VF_LANES == 8 ? 6 : 4 };
enum { PADDED_QUERIES = (MAX_QUERIES + TOGETHER - 1) / TOGETHER * TOGETHER };

/* Of few queries so many at once: their sums over WIDE positions, or vectors, fit into the registers, with AVX2, which
 * has 16, over NARROW ones where there are more than three queries. */
enum { SHARED = VF_LANES == 4 ? 4 : 6, MOST_SHARED = 6, WIDE = 4, NARROW = VF_LANES == 8 ? 2 : WIDE };

_Static_assert(CI_PAGE_ROWS % BLOCK == 0, "a block of positions lies in one page");
_Static_assert(BLOCK % (2 * VF_LANES) == 0, "many queries take two vectors of positions at once");
_Static_assert(MAX_DIM % VF_LANES == 0, "heads of that size are whole vectors");

#include "cpu/attention_cache.h"

/* One item; 460 KB, on the stack. */
struct state {
    _Alignas(64) float q[PADDED_QUERIES][MAX_DIM]; /* scaled */
    float out[PADDED_QUERIES][MAX_DIM];
    float weight[PADDED_QUERIES][BLOCK]; /* scores, then what they weigh */
    float largest[MAX_QUERIES], total[MAX_QUERIES];
    float k[MAX_DIM * BLOCK], v[BLOCK * MAX_DIM];
};

/* ---- few queries ---- */

/* Keys or values as they lie, or unpacked to `out`. */
INLINE struct block block_of(const struct side *side, int32_t p, int skip, int n, float *out) {
    if (side->direct) return (struct block){kv_at(side, p), side->view->type == &ci_type_f16, side->view->cols};
    unpack(side, p, skip, n, out);
    return (struct block){out, 0, side->padded};
}

/* Queries of one row, next to each other, by the positions that they see in a block. `queries` is a constant below:
 * each number of the cache is loaded, and converted, once for all of them. */
struct few {
    struct block keys, values;
    struct ahead ahead;                        /* of heads shorter than LONG_HEAD */
    struct asked during_scores, during_values; /* of others */
    int key_dim, value_dim, first, end;
    float cap;
};

INLINE int width_of(int queries) { return queries > 3 ? NARROW : WIDE; }

/* Positions i .. i + positions of the block; `positions`, 4 or 2, is constant. `next`: rows that are asked for, or
 * NULL. With AVX2 each number that is used several times is in a register: either those of the queries or the keys. */
INLINE void scores_of(const struct few *few, int half, const float *q, int queries, int i, int positions,
                      const uint8_t *next, size_t bytes, float *scores) {
    const struct block *keys = &few->keys;
    const struct ahead *ahead = &few->ahead;
    size_t at = 0;
    vf sum[MOST_SHARED][WIDE], numbers[MOST_SHARED], key[WIDE];
    UNROLL for (int j = 0; j < queries; j++) UNROLL for (int p = 0; p < positions; p++) sum[j][p] = vf_set(0);
    for (int d = 0; d < few->key_dim; d += VF_LANES, at += ahead->keys.step) {
        if (VF_LANES == 8 && queries < positions) {
            UNROLL for (int j = 0; j < queries; j++) numbers[j] = vf_held(vf_load(q + j * MAX_DIM + d));
            UNROLL for (int p = 0; p < positions; p++) {
                key[0] = load_kv(keys->at, half, (i + p) * keys->stride + d);
                UNROLL for (int j = 0; j < queries; j++) sum[j][p] = vf_fma(numbers[j], key[0], sum[j][p]);
            }
            continue;
        }
        UNROLL for (int p = 0; p < positions; p++) key[p] = load_kv(keys->at, half, (i + p) * keys->stride + d);
        if (next)
            UNROLL for (int p = 0; p < positions; p++)
                ask_for(ahead, 0, next + (size_t)p * bytes, at, ahead->keys.step);
        UNROLL for (int j = 0; j < queries; j++) {
            numbers[0] = vf_held(vf_load(q + j * MAX_DIM + d));
            UNROLL for (int p = 0; p < positions; p++) sum[j][p] = vf_fma(numbers[0], key[p], sum[j][p]);
        }
    }
    if (positions == 4)
        UNROLL for (int j = 0; j < queries; j++)
            vf_sum4(sum[j][0], sum[j][1], sum[j][2], sum[j][3], scores + j * BLOCK + i);
    else
        UNROLL for (int j = 0; j < queries; j += 2) {
            const int other = j + 1 < queries ? j + 1 : j;
            float sums[4];
            vf_sum4(sum[j][0], sum[j][1], sum[other][0], sum[other][1], sums);
            memcpy(scores + j * BLOCK + i, sums, 2 * sizeof *sums);
            memcpy(scores + other * BLOCK + i, sums + 2, 2 * sizeof *sums);
        }
}

INLINE void scores_few(const struct few *few, int half, const float *q, int queries, float *scores) {
    const struct block *keys = &few->keys;
    const struct ahead *ahead = &few->ahead;
    int i = few->first;
    for (; i + 4 <= few->end; i += 4) {
        size_t bytes = 0;
        const uint8_t *next = rows_ahead(ahead, &ahead->keys, i, &bytes);
        if (!SPREAD) ask_for_rows(&few->during_scores, i, 4);
        if (!SPREAD && next)
            ask_for_four(ahead, 0, next, bytes, 0, (size_t)(few->key_dim / VF_LANES) * ahead->keys.step);
        UNROLL for (int p = 0; p < 4; p += width_of(queries))
            scores_of(few, half, q, queries, i + p, width_of(queries), SPREAD ? next : NULL, bytes, scores);
    }
    for (; i < few->end; i++) {
        vf sum[MOST_SHARED];
        UNROLL for (int j = 0; j < queries; j++) sum[j] = vf_set(0);
        for (int d = 0; d < few->key_dim; d += VF_LANES) {
            vf key = load_kv(keys->at, half, i * keys->stride + d);
            UNROLL for (int j = 0; j < queries; j++) sum[j] = vf_fma(vf_load(q + j * MAX_DIM + d), key, sum[j]);
        }
        UNROLL for (int j = 0; j < queries; j++) scores[j * BLOCK + i] = vf_sum(sum[j]);
    }
}

/* sum[queries][vectors] += the weighted values of position i from column d on. What is used more often is in registers,
 * which the sums leave few of. */
INLINE void add_position(const struct few *few, int half, const float *weight, int queries, int d, int vectors, int i,
                         vf sum[MOST_SHARED][WIDE]) {
    const struct block *values = &few->values;
    const int64_t at = i * values->stride + d;
    vf value[WIDE], factor[WIDE];
    if (queries < vectors) {
        UNROLL for (int j = 0; j < queries; j++) factor[j] = vf_held(vf_set(weight[j * BLOCK + i]));
        UNROLL for (int v = 0; v < vectors; v++) {
            value[0] = vf_held(load_kv(values->at, half, at + v * VF_LANES));
            UNROLL for (int j = 0; j < queries; j++) sum[j][v] = vf_fma(factor[j], value[0], sum[j][v]);
        }
        return;
    }
    UNROLL for (int v = 0; v < vectors; v++) value[v] = load_kv(values->at, half, at + v * VF_LANES);
    UNROLL for (int j = 0; j < queries; j++) {
        factor[0] = vf_held(vf_set(weight[j * BLOCK + i]));
        UNROLL for (int v = 0; v < vectors; v++) sum[j][v] = vf_fma(factor[0], value[v], sum[j][v]);
    }
}

/* out[queries][d .. d + vectors * LANES) += the weighted values; `vectors` is constant. */
INLINE void add_values_few(const struct few *few, int half, const float *weight, int queries, int d, int vectors,
                           float *out) {
    const struct ahead *ahead = &few->ahead;
    const size_t step = ahead->values.step, at = (size_t)(d / VF_LANES) * step;
    vf sum[MOST_SHARED][WIDE];
    UNROLL for (int j = 0; j < queries; j++) UNROLL for (int v = 0; v < vectors; v++) sum[j][v] =
        vf_load(out + j * MAX_DIM + d + v * VF_LANES);
    for (int i = few->first; i < few->end;) {
        size_t bytes = 0;
        const uint8_t *next = SPREAD || i % 4 == 0 ? rows_ahead(ahead, &ahead->values, i, &bytes) : NULL;
        if (!SPREAD && next) ask_for_four(ahead, 1, next, bytes, at, at + (size_t)vectors * step);
        if (SPREAD && next)
            UNROLL for (int v = 0; v < vectors; v++) ask_for(ahead, 1, next, at + (size_t)v * step, step);
        if (!SPREAD && i % 4 == 0 && i + 4 <= few->end) {
            UNROLL for (int p = 0; p < 4; p++) add_position(few, half, weight, queries, d, vectors, i + p, sum);
            i += 4;
        } else {
            add_position(few, half, weight, queries, d, vectors, i++, sum);
        }
    }
    UNROLL for (int j = 0; j < queries; j++) UNROLL for (int v = 0; v < vectors; v++)
        vf_store(out + j * MAX_DIM + d + v * VF_LANES, sum[j][v]);
}

INLINE void values_few(const struct few *few, int half, const float *weight, int queries, float *out) {
    const int vectors = width_of(queries), each = (BLOCK * vectors * VF_LANES + few->value_dim - 1) / few->value_dim;
    int d = 0;
    for (int row = 0; d + vectors * VF_LANES <= few->value_dim; d += vectors * VF_LANES, row += each) {
        if (!SPREAD) ask_for_rows(&few->during_values, row, BLOCK - row < each ? BLOCK - row : each);
        add_values_few(few, half, weight, queries, d, vectors, out);
    }
    for (; d < few->value_dim; d += VF_LANES) add_values_few(few, half, weight, queries, d, 1, out);
}

/* ---- many queries ---- */

/* Values as floats [position][dimension], keys as [dimension][position]; by way of the values' memory where they cannot
 * be read as they lie. */
INLINE void load_block(const struct side *keys, const struct side *values, int32_t p, int skip, int n,
                       struct state *state) {
    struct block rows = block_of(keys, p, skip, n, state->v);
    for (int i = 0; i < BLOCK; i += VF_LANES)
        for (int d = 0; d < keys->padded; d += VF_LANES) {
            vf square[VF_LANES];
            UNROLL for (int j = 0; j < VF_LANES; j++) square[j] =
                i + j >= skip && i + j < n ? load_kv(rows.at, rows.half, (i + j) * rows.stride + d) : vf_set(0);
            vf_turn(square);
            UNROLL for (int j = 0; j < VF_LANES; j++) vf_store(state->k + (d + j) * BLOCK + i, square[j]);
        }
    unpack(values, p, skip, n, state->v);
}

/* out[queries][2 vectors] (+)= a[queries][count] b[count][2 vectors], rows of b `stride` apart; `queries` is constant.
 */
INLINE void multiply(const float *a, int64_t a_stride, int queries, const float *b, int64_t stride, int count,
                     int vectors, int add, float *out, int64_t out_stride) {
    vf sum[TOGETHER][2];
    UNROLL for (int i = 0; i < queries; i++) UNROLL for (int j = 0; j < vectors; j++) sum[i][j] =
        add ? vf_load(out + i * out_stride + j * VF_LANES) : vf_set(0);
    _Pragma("GCC unroll 2") for (int k = 0; k < count; k++) {
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

INLINE void scores_many(int dim, int queries, struct state *state) {
    for (int p = 0; p < BLOCK; p += 2 * VF_LANES)
        for (int i = 0; i < queries; i += TOGETHER)
            multiply(state->q[i], MAX_DIM, TOGETHER, state->k + p, BLOCK, dim, 2, 0, state->weight[i] + p, BLOCK);
}

INLINE void values_many(int dim, int queries, struct state *state) {
    for (int d = 0; d < dim;) {
        int two = d + 2 * VF_LANES <= dim;
        for (int i = 0; i < queries; i += TOGETHER)
            if (two)
                multiply(state->weight[i], BLOCK, TOGETHER, state->v + d, dim, BLOCK, 2, 1, state->out[i] + d, MAX_DIM);
            else
                multiply(state->weight[i], BLOCK, TOGETHER, state->v + d, dim, BLOCK, 1, 1, state->out[i] + d, MAX_DIM);
        d += two ? 2 * VF_LANES : VF_LANES;
    }
}

/* ---- both ---- */

/* cap tanh(score / cap), by e^x. */
static void cap_scores(float *scores, float cap) {
    for (int i = 0; i < BLOCK; i += VF_LANES) {
        vf power = vf_exp(vf_mul(vf_load(scores + i), vf_set(2 / cap)));
        vf rest = vf_div(vf_set(2 * cap), vf_add(power, vf_set(1)));
        vf_store(scores + i, vf_sub(vf_set(cap), rest));
    }
}

/* Scores of one query become weights; what was summed before is made less when a larger score appeared. Positions
 * first .. end of the block count. */
INLINE void weigh(struct state *state, int query, int first, int end, int dim) {
    float *weight = state->weight[query], *out = state->out[query], most;
    vf largest = vf_set(state->largest[query]);
    for (int i = 0; i < first; i++) weight[i] = -INFINITY;
    for (int i = end > 0 ? end : 0; i < BLOCK; i++) weight[i] = -INFINITY;
    for (int i = 0; i < BLOCK; i += VF_LANES) largest = vf_max(vf_load(weight + i), largest); /* no NaN is taken */
    most = vf_largest(largest);
    if (most > state->largest[query]) {
        float kept = expf(state->largest[query] - most);
        vf factor = vf_set(kept);
        for (int d = 0; d < dim; d += VF_LANES) vf_store(out + d, vf_mul(vf_load(out + d), factor));
        state->total[query] *= kept;
        state->largest[query] = most;
    }
    vf total = vf_set(0);
    for (int i = 0; i < BLOCK; i += VF_LANES) {
        vf part = vf_exp(vf_sub(vf_load(weight + i), vf_set(state->largest[query])));
        vf_store(weight + i, part);
        if (i < first || i + VF_LANES > end) {
            for (int j = i; j < i + VF_LANES; j++) weight[j] = j < first || j >= end ? 0 : weight[j];
            part = vf_load(weight + i);
        }
        total = vf_add(total, part);
    }
    state->total[query] += vf_sum(total);
}

INLINE void attend_some(const struct few *few, int query, int queries, struct state *state) {
    if (few->keys.half)
        scores_few(few, 1, state->q[query], queries, state->weight[query]);
    else
        scores_few(few, 0, state->q[query], queries, state->weight[query]);
    for (int i = query; i < query + queries; i++) {
        if (few->cap > 0) cap_scores(state->weight[i], few->cap);
        weigh(state, i, few->first, few->end, few->value_dim);
    }
    if (few->values.half)
        values_few(few, 1, state->weight[query], queries, state->out[query]);
    else
        values_few(few, 0, state->weight[query], queries, state->out[query]);
}

static void attend_few(const struct few *few, int query, int queries, struct state *state) {
    if (SHARED >= 6 && queries == 6) attend_some(few, query, 6, state);
    if (SHARED >= 6 && queries == 5) attend_some(few, query, 5, state);
    if (SHARED >= 4 && queries == 4) attend_some(few, query, 4, state);
    if (SHARED >= 4 && queries == 3) attend_some(few, query, 3, state);
    if (queries == 2) attend_some(few, query, 2, state);
    if (queries == 1) attend_some(few, query, 1, state);
}

/* What an item reads: heads from first_head on of a tile, which share `joint` kv heads next to each other, as many
 * each. */
struct item {
    const int32_t *tile;
    int first_head, heads, joint;
    struct side keys, values; /* of the first kv head */
    int32_t start, end;       /* positions */
};

/* What is asked for in the block from position p on, of long heads. */
static void ask_in_turn(const struct item *item, const struct item *next, int joint, int32_t p, struct few *few) {
    const struct item *after = p + BLOCK < item->end ? item : next;
    const int32_t at = after == item ? p + BLOCK : next ? next->start / BLOCK * BLOCK : 0;
    const bool direct = item->values.direct;
    few->during_scores = few->during_values = (struct asked){0};
    if (direct) few->during_scores = asked_of(&item->values, joint, p);
    if (!after) return;
    if (!direct) few->during_scores = asked_of(&after->keys, joint, at);
    few->during_values = asked_of(direct ? &after->keys : &after->values, joint, at);
}

/* The heads of a row that share the item's kv head `joint` are alike: SHARED at once, or a few more evenly. Of long
 * heads the first of all asks for what is to be asked for while scores are computed, the last for the rest. */
static void attend_rows(const struct ci_call *call, const struct item *item, const struct item *next, int joint,
                        int32_t p, int n, struct few *few, struct state *state) {
    const int32_t *tile = item->tile;
    int heads = item->heads / item->joint, pieces = (heads + SHARED - 1) / SHARED;
    for (int row = 0; row < tile[CI_TILE_COUNT]; row++) {
        int32_t from, to;
        ci_attention_range(&call->params, tile[CI_TILE_POSITION] + row, tile[CI_TILE_LENGTH], &from, &to);
        few->first = from - p < 0 ? 0 : from - p < BLOCK ? from - p : BLOCK;
        few->end = to - p < n ? to - p : n;
        for (int piece = 0; piece < pieces; piece++) {
            int first = heads * piece / pieces, last = heads * (piece + 1) / pieces;
            const int turn = row * pieces + piece, turns = tile[CI_TILE_COUNT] * pieces;
            if (item->values.dim < LONG_HEAD) {
                take_turn(&few->ahead, joint * turns + turn, item->joint * turns);
            } else {
                ask_in_turn(item, next, joint, p, few);
                if (turn > 0) few->during_scores.rows = NULL;
                if (turn < turns - 1) few->during_values.rows = NULL;
            }
            attend_few(few, row * item->heads + joint * heads + first, last - first, state);
        }
    }
}

/* The queries of `heads` heads from first_head on of the tile's rows; query i is row i / heads. */
static void load_queries(const struct ci_call *call, const int32_t *tile, int first_head, int heads, int value_dim,
                         struct state *state) {
    const struct ci_view *sinks = &call->in[CI_ATTENTION_SINKS];
    int dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    vf scale = vf_set(call->params.f[CI_ATTENTION_F_SCALE]);
    for (int i = 0; i < tile[CI_TILE_COUNT] * heads; i++) {
        int head = first_head + i % heads, d = 0;
        const float *q = (const float *)call->in[0].data + (int64_t)(tile[CI_TILE_ROW] + i / heads) * call->in[0].cols +
                         (int64_t)head * dim;
        float *to = state->q[i];
        for (; d + VF_LANES <= dim; d += VF_LANES) vf_store(to + d, vf_mul(vf_load(q + d), scale));
        if (d < dim) vf_store(to + d, vf_mul(vf_load_some(q + d, dim - d), scale));
        memset(state->out[i], 0, (size_t)value_dim * sizeof **state->out);
        state->largest[i] = sinks->type ? ((const float *)sinks->data)[head] : -INFINITY;
        state->total[i] = sinks->type ? 1 : 0;
    }
}

static struct item item_of(const struct ci_call *call, const int32_t *tile, int first_head, int heads, int joint) {
    int kv_head = first_head / (call->params.i[CI_ATTENTION_I_HEADS] / call->params.i[CI_ATTENTION_I_KV_HEADS]);
    int value_dim = (int)(call->out[0].cols / call->params.i[CI_ATTENTION_I_HEADS]);
    struct item item = {.tile = tile,
                        .first_head = first_head,
                        .heads = heads,
                        .joint = joint,
                        .keys = side_of(call, 1, tile, kv_head, call->params.i[CI_ATTENTION_I_HEAD_DIM]),
                        .values = side_of(call, 2, tile, kv_head, value_dim)};
    ci_attention_tile_range(&call->params, tile, &item.start, &item.end);
    return item;
}

/* What is asked for in the block from position p on. */
static void look_ahead(const struct item *item, const struct item *next, int32_t p, struct ahead *ahead) {
    const struct side *keys = &item->keys, *values = &item->values;
    int32_t left = item->end - p - BLOCK, rows = 0;
    *ahead = (struct ahead){.keys = {.bytes = keys->row_bytes, .step = step_bytes(keys)},
                            .values = {.bytes = values->row_bytes, .step = step_bytes(values)},
                            .heads_bytes = {head_bytes(keys), head_bytes(values)},
                            .heads = item->joint,
                            .rows = BLOCK};
    if (left > 0) {
        ahead->own = left < BLOCK ? (left + 3) / 4 * 4 : BLOCK;
        ahead->keys.own = kv_at(keys, p + BLOCK);
        ahead->values.own = kv_at(values, p + BLOCK);
    } else {
        ahead->skipped = -left / 4 * 4;
    }
    if (next) {
        /* No more than lies in one page. */
        rows = CI_PAGE_ROWS - next->start % CI_PAGE_ROWS;
        if (rows > next->end - next->start) rows = next->end - next->start;
        ahead->keys.next = kv_at(&next->keys, next->start);
        ahead->values.next = kv_at(&next->values, next->start);
        ahead->keys.next_bytes = next->keys.row_bytes;
        ahead->values.next_bytes = next->values.row_bytes;
    }
    if (ahead->own + rows - ahead->skipped < BLOCK) ahead->rows = ahead->own + rows - ahead->skipped;
}

/* Few queries, of the item's kv head `joint`. */
static void attend_block(const struct ci_call *call, const struct item *item, const struct item *next, int joint,
                         int32_t p, int skip, int n, struct state *state) {
    struct side keys = item->keys, values = item->values;
    keys.first_col += (int64_t)joint * keys.dim;
    values.first_col += (int64_t)joint * values.dim;
    struct few few = {.keys = block_of(&keys, p, skip, n, state->k),
                      .values = block_of(&values, p, skip, n, state->v),
                      .key_dim = keys.padded,
                      .value_dim = values.padded,
                      .cap = call->params.f[CI_ATTENTION_F_SOFTCAP]};
    if (values.dim < LONG_HEAD) look_ahead(item, next, p, &few.ahead);
    attend_rows(call, item, next, joint, p, n, &few, state);
}

/* `next` is what this thread computes after it, or NULL. */
static void attend(const struct ci_call *call, const struct item *item, const struct item *next, struct state *state) {
    const struct side *keys = &item->keys, *values = &item->values;
    const int32_t *tile = item->tile, end = item->end;
    int queries = tile[CI_TILE_COUNT] * item->heads;
    assert(queries <= MAX_QUERIES && keys->dim <= MAX_DIM && values->dim <= MAX_DIM);
    float cap = call->params.f[CI_ATTENTION_F_SOFTCAP];
    const bool many = queries / item->joint >= MANY;
    load_queries(call, tile, item->first_head, item->heads, values->padded, state);
    for (int i = queries; many && i % TOGETHER != 0; i++) {
        memset(state->q[i], 0, (size_t)keys->padded * sizeof **state->q);
        memset(state->out[i], 0, (size_t)values->padded * sizeof **state->out);
    }
    for (int32_t p = item->start / BLOCK * BLOCK; p < end; p += BLOCK) {
        int n = end - p < BLOCK ? end - p : BLOCK, skip = item->start > p ? item->start - p : 0;
        if (!many) {
            for (int joint = 0; joint < item->joint; joint++) attend_block(call, item, next, joint, p, skip, n, state);
            continue;
        }
        load_block(keys, values, p, skip, n, state);
        scores_many(keys->padded, queries, state);
        for (int i = 0; i < queries; i++) {
            int32_t from, to;
            ci_attention_range(&call->params, tile[CI_TILE_POSITION] + i / item->heads, tile[CI_TILE_LENGTH], &from,
                               &to);
            from = from - p < 0 ? 0 : from - p < BLOCK ? from - p : BLOCK;
            to = to - p < n ? to - p : n;
            if (cap > 0) cap_scores(state->weight[i], cap);
            weigh(state, i, from, to, values->padded);
        }
        values_many(values->padded, queries, state);
    }
}

INLINE void store(const struct ci_call *call, const int32_t *tile, int first_head, int heads,
                  const struct state *state) {
    const struct ci_view *out = &call->out[0];
    int dim = (int)(out->cols / call->params.i[CI_ATTENTION_I_HEADS]);
    for (int i = 0; i < tile[CI_TILE_COUNT] * heads; i++) {
        int64_t row = tile[CI_TILE_ROW] + i / heads, col = (int64_t)(first_head + i % heads) * dim;
        const float *sums = state->out[i];
        vf factor = vf_set(1.0f / state->total[i]);
        int d = 0;
        if (ci_type_planes(out->type)) {
            uint8_t *codes = codes_row(out, row);
            for (; d < dim; d += CI_Q8_GROUP) {
                vf numbers[GROUP_VECTORS];
                UNROLL for (int j = 0; j < GROUP_VECTORS; j++) numbers[j] =
                    vf_mul(vf_load(sums + d + j * VF_LANES), factor);
                quantise_group(numbers, out->type, codes, out->cols, col + d);
            }
            continue;
        }
        float *numbers = (float *)out->data + row * out->cols + col;
        for (; d + VF_LANES <= dim; d += VF_LANES) vf_store(numbers + d, vf_mul(vf_load(sums + d), factor));
        if (d < dim) vf_store_some(numbers + d, vf_mul(vf_load(sums + d), factor), dim - d);
    }
}

/* Heads of one tile that share a kv head; `next` is what this thread computes after them. */
INLINE void attend_heads(const struct ci_call *call, const struct item *all, const struct item *next,
                         struct state *state) {
    int most = MAX_QUERIES / all->tile[CI_TILE_COUNT], pieces = (all->heads + most - 1) / most;
    for (int piece = 0; piece < pieces; piece++) {
        struct item some = *all;
        int first = all->heads * piece / pieces, end = all->heads * (piece + 1) / pieces;
        some.first_head += first;
        some.heads = end - first;
        attend(call, &some, piece + 1 < pieces ? NULL : next, state);
        store(call, some.tile, some.first_head, some.heads, state);
    }
}

/* What this thread computes from `at` on, which moves behind it: by `joint` kv heads in turn, or its share of query
 * heads. */
struct walk {
    int64_t at, end, step;
    int joint;
    bool by_heads;
};

/* False: no more. */
static bool next_item(const struct ci_call *call, struct walk *walk, struct item *item) {
    const int32_t *tiles = call->in[3].data;
    int heads = call->params.i[CI_ATTENTION_I_HEADS], kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    int group = heads / kv_heads, first_head, count = group * walk->joint;
    int64_t tile, per_tile = walk->by_heads ? heads : kv_heads / walk->joint;
    if (walk->at >= walk->end) return false;
    tile = walk->at / per_tile;
    first_head = (int)(walk->at % per_tile) * (walk->by_heads ? 1 : count);
    if (walk->by_heads) {
        count = group - first_head % group;
        if (walk->end - walk->at < count) count = (int)(walk->end - walk->at);
    }
    walk->at += walk->by_heads ? count : walk->step;
    *item = item_of(call, tiles + tile * CI_TILE_COLS, first_head, count, walk->joint);
    return true;
}

static int64_t positions_of(const struct ci_call *call, int64_t tile) {
    int32_t first, end;
    ci_attention_tile_range(&call->params, (const int32_t *)call->in[3].data + tile * CI_TILE_COLS, &first, &end);
    return end - first;
}

/* Sequences of few queries each: how many neighbouring kv heads are one item (1: none). A core that reads 256 bytes of
 * every 512 gets 39 GB/s where it gets 48 if it asks for all of them (Zen 5), so rows of JOINT_BYTES are wanted. Such
 * items are larger and go to the threads in pieces of the same number of positions, so they must be many: `threads`
 * times LEAST_ITEMS of the largest. */
static int joint_heads(const struct ci_call *call, int threads) {
    enum { JOINT_BYTES = 512, LEAST_ITEMS = 3 };
    const int32_t *tiles = call->in[3].data;
    int kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS], group = call->params.i[CI_ATTENTION_I_HEADS] / kv_heads;
    int64_t bytes = (int64_t)ci_type_row_bytes(call->in[1].type, call->in[1].cols) / kv_heads, all = 0, most = 0;
    int joint = 1, rows = 0;
    for (int64_t i = 0; i < call->in[3].rows; i++) {
        int64_t positions = positions_of(call, i);
        all += positions;
        if (positions > most) most = positions;
        if (tiles[i * CI_TILE_COLS + CI_TILE_COUNT] > rows) rows = tiles[i * CI_TILE_COLS + CI_TILE_COUNT];
    }
    if (rows * group >= MANY || most * threads * LEAST_ITEMS > all) return 1;
    for (int i = 2; i <= kv_heads && i * bytes <= JOINT_BYTES && i * group * rows <= MAX_QUERIES; i++)
        if (kv_heads % i == 0) joint = i;
    return joint;
}

/* The first of the tiles that belong to `thread` or one behind it, where all see as many positions, up to half a tile.
 */
static int64_t first_tile(const struct ci_call *call, int thread, int threads) {
    const int64_t tiles = call->in[3].rows;
    int64_t all = 0, before = 0;
    if (thread == threads) return tiles;
    for (int64_t i = 0; i < tiles; i++) all += positions_of(call, i);
    for (int64_t i = 0; i < tiles; i++) {
        const int64_t positions = positions_of(call, i);
        if (before + positions / 2 >= all * thread / threads) return i;
        before += positions;
    }
    return tiles;
}

/* Of type q8, q16 or f32, as out[0] says. */
void SIMD_NAME(ci_cpu_attention)(const struct ci_call *call, int thread, int threads) {
    struct state state;
    struct item items[2];
    int64_t tiles = call->in[3].rows, kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    struct walk walk = {.at = thread, .end = tiles * kv_heads, .step = threads, .joint = joint_heads(call, threads)};
    if (walk.joint > 1) {
        walk.at = first_tile(call, thread, threads) * (kv_heads / walk.joint);
        walk.end = first_tile(call, thread + 1, threads) * (kv_heads / walk.joint);
        walk.step = 1;
    } else if (walk.end < 4 * threads) {
        walk.by_heads = true;
        ci_share(tiles * call->params.i[CI_ATTENTION_I_HEADS], 1, thread, threads, &walk.at, &walk.end);
    }
    bool more = next_item(call, &walk, &items[0]);
    for (int i = 0; more; i ^= 1) {
        more = next_item(call, &walk, &items[i ^ 1]);
        attend_heads(call, &items[i], more ? &items[i ^ 1] : NULL, &state);
    }
}
