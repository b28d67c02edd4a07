/* attention: softmax(scale q k^T) v over a paged KV cache, grouped queries (Ainslie et al. 2023, arXiv 2305.13245);
 * causal or over the whole sequence, with windows (Beltagy et al. 2020, arXiv 2004.05150), soft caps (Gemma 2, arXiv
 * 2408.00118) and sinks (Xiao et al. 2023, arXiv 2309.17453; learned ones: gpt-oss). Alone and followed by quantise.
 * The work comes as tiles, each some consecutive rows of one sequence, so that decode, prompts and several sequences at
 * once are the same op. */
#include <math.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { MAX_DIM = CI_ATTENTION_MAX_DIM };

static int32_t value_dim_of(const struct ci_params *params) {
    int32_t dim = params->i[CI_ATTENTION_I_VALUE_DIM];
    return dim ? dim : params->i[CI_ATTENTION_I_HEAD_DIM];
}

static enum clinfer_status check_heads(const struct ci_call *call) {
    const int32_t *params = call->params.i, heads = params[CI_ATTENTION_I_HEADS];
    int32_t kv_heads = params[CI_ATTENTION_I_KV_HEADS], head_dim = params[CI_ATTENTION_I_HEAD_DIM];
    int32_t value_dim = value_dim_of(&call->params);
    if (heads <= 0 || kv_heads <= 0 || head_dim <= 0 || value_dim <= 0 || heads % kv_heads ||
        (int64_t)heads * head_dim > call->in[0].cols)
        return ci_fail(CLINFER_BAD_FILE, "op attention: %d heads of %d, %d of keys, do not fit in %lld columns", heads,
                       head_dim, kv_heads, (long long)call->in[0].cols);
    if (head_dim > MAX_DIM || value_dim > MAX_DIM)
        return ci_fail(CLINFER_UNSUPPORTED, "op attention: heads of %d and %d, at most %d are supported", head_dim,
                       value_dim, MAX_DIM);
    if (params[CI_ATTENTION_I_WINDOW] < 0)
        return ci_fail(CLINFER_BAD_FILE, "op attention: a window of %d positions, must be 1 or more",
                       params[CI_ATTENTION_I_WINDOW]);
    return CLINFER_OK;
}

static enum clinfer_status infer(struct ci_call *call) {
    int32_t heads = call->params.i[CI_ATTENTION_I_HEADS], kv_heads = call->params.i[CI_ATTENTION_I_KV_HEADS];
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM], value_dim = value_dim_of(&call->params);
    bool wider = kv_heads == 1 && call->in[2].cols > value_dim;
    enum clinfer_status status = ci_infer_expect("attention", call, 0, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = check_heads(call);
    if (status == CLINFER_OK) status = ci_infer_expect("attention", call, 1, NULL, -1, (int64_t)kv_heads * head_dim);
    if (status == CLINFER_OK)
        status = ci_infer_expect("attention", call, 2, NULL, -1, wider ? -1 : (int64_t)kv_heads * value_dim);
    if (status == CLINFER_OK) status = ci_infer_expect("attention", call, 3, &ci_type_i32, -1, CI_TILE_COLS);
    if (status == CLINFER_OK) status = ci_infer_expect("attention", call, 4, &ci_type_i32, -1, -1);
    if (status == CLINFER_OK && call->in[CI_ATTENTION_SINKS].type)
        status = ci_infer_expect("attention", call, CI_ATTENTION_SINKS, &ci_type_f32, 1, heads);
    ci_infer_out(&call->out[0], &ci_type_f32, call->in[0].extent, call->in[0].rows, (int64_t)heads * value_dim);
    return status;
}

/* One query row and head: an online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) in double. */
static void attend(const struct ci_call *call, const float *query, const int32_t *tile, int32_t row, int32_t head,
                   float *out) {
    int32_t head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM], value_dim = value_dim_of(&call->params), first, end;
    int32_t kv_head = head / (call->params.i[CI_ATTENTION_I_HEADS] / call->params.i[CI_ATTENTION_I_KV_HEADS]);
    const int32_t *pages = (const int32_t *)call->in[4].data + tile[CI_TILE_LINE] * call->in[4].cols;
    const struct ci_view *sinks = &call->in[CI_ATTENTION_SINKS];
    double scale = (double)call->params.f[CI_ATTENTION_F_SCALE], cap = (double)call->params.f[CI_ATTENTION_F_SOFTCAP];
    double largest = sinks->type ? (double)((const float *)sinks->data)[head] : -INFINITY;
    double total = sinks->type ? 1 : 0, sums[MAX_DIM] = {0};
    float part[MAX_DIM];
    ci_attention_range(&call->params, tile[CI_TILE_POSITION] + row, tile[CI_TILE_LENGTH], &first, &end);
    for (int32_t p = first; p < end; p++) {
        int64_t slot = (int64_t)pages[p / CI_PAGE_ROWS] * CI_PAGE_ROWS + p % CI_PAGE_ROWS;
        ci_view_columns(&call->in[1], slot, (int64_t)kv_head * head_dim, head_dim, part);
        double score = 0;
        for (int32_t i = 0; i < head_dim; i++) score += (double)query[i] * part[i];
        score *= scale;
        if (cap > 0) score = cap * tanh(score / cap);
        double kept = 1;
        if (score > largest) {
            kept = exp(largest - score);
            largest = score;
        }
        double weight = exp(score - largest);
        total = total * kept + weight;
        ci_view_columns(&call->in[2], slot, (int64_t)kv_head * value_dim, value_dim, part);
        for (int32_t i = 0; i < value_dim; i++) sums[i] = sums[i] * kept + weight * part[i];
    }
    for (int32_t i = 0; i < value_dim; i++) out[i] = (float)(sums[i] / total);
}

static void reference(const struct ci_call *call) {
    const int32_t *tile = call->in[3].data;
    int32_t heads = call->params.i[CI_ATTENTION_I_HEADS], head_dim = call->params.i[CI_ATTENTION_I_HEAD_DIM];
    int32_t value_dim = value_dim_of(&call->params);
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += CI_TILE_COLS)
        for (int32_t i = 0; i < tile[CI_TILE_COUNT]; i++) {
            int64_t row = tile[CI_TILE_ROW] + i;
            for (int32_t head = 0; head < heads; head++)
                attend(call, (const float *)call->in[0].data + row * call->in[0].cols + head * head_dim, tile, i, head,
                       (float *)call->out[0].data + row * call->out[0].cols + head * value_dim);
        }
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
        for (int32_t done = 0; done < count; t++, tile += CI_TILE_COLS) {
            int32_t size = count - done < CI_TILE_ROWS ? count - done : CI_TILE_ROWS;
            tile[CI_TILE_ROW] = row;
            tile[CI_TILE_COUNT] = size;
            tile[CI_TILE_LINE] = s;
            tile[CI_TILE_POSITION] = position + done;
            tile[CI_TILE_LENGTH] = position + count;
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
    if (!tile) return row_bytes * CI_PAGE_ROWS * (double)call->in[3].rows;
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += CI_TILE_COLS) {
        int32_t first, end;
        ci_attention_tile_range(&call->params, tile, &first, &end);
        positions += end - first;
    }
    return positions * row_bytes;
}

static double operations(const struct ci_call *call) {
    const int32_t *tile = call->in[3].data;
    double dims = call->params.i[CI_ATTENTION_I_HEAD_DIM] + value_dim_of(&call->params), positions = 0;
    double per_position = 2.0 * call->params.i[CI_ATTENTION_I_HEADS] * dims;
    if (!tile) return per_position * (double)call->in[0].rows * CI_PAGE_ROWS;
    for (int64_t t = 0; t < call->in[3].rows; t++, tile += CI_TILE_COLS)
        for (int32_t i = 0; i < tile[CI_TILE_COUNT]; i++) {
            int32_t first, end;
            ci_attention_range(&call->params, tile[CI_TILE_POSITION] + i, tile[CI_TILE_LENGTH], &first, &end);
            positions += end - first;
        }
    return positions * per_position;
}

/* `tiles` is at least rows / 16 + sequences; fill sets the true number. `more` is what is beyond plain causal
 * attention: value_dim, window, its kind, both ways. */
#define CACHE_ROWS(sequences, page_count) (CI_PAGE_ROWS * ((sequences) * (page_count) + 2))
#define FULL_CASE(title, key_type, value_type, rows, heads, kv, dim, sequences, page_count, sinks, cap, value_dim,     \
                  ...)                                                                                                 \
    {                                                                                                                  \
        title,                                                                                                         \
            {{&ci_type_f32, rows, ((heads) + 2 * (kv)) * (dim)},                                                       \
             {&ci_type_##key_type, CACHE_ROWS(sequences, page_count), (kv) * (dim)},                                   \
             {&ci_type_##value_type, CACHE_ROWS(sequences, page_count), (kv) * (value_dim)},                           \
             {&ci_type_i32, (rows) / 16 + 2 * (sequences), CI_TILE_COLS},                                              \
             {&ci_type_i32, sequences, page_count},                                                                    \
             sinks},                                                                                                   \
            {{0}}, {                                                                                                   \
            {heads, kv, dim, __VA_ARGS__}, { 0.125f, cap }                                                             \
        }                                                                                                              \
    }
#define NO_SINKS                                                                                                       \
    { NULL, 0, 0 }
#define SINKS(heads)                                                                                                   \
    { &ci_type_f32, 1, heads }
#define CASE(title, kv_type, rows, heads, kv, dim, sequences, page_count, ...)                                         \
    FULL_CASE(title, kv_type, kv_type, rows, heads, kv, dim, sequences, page_count, NO_SINKS, 0, dim, 0, __VA_ARGS__)

/* Cases of the same heads and types share a program. */
static const struct ci_case cases[] = {
    CASE("smollm2, one token", f16, 1, 9, 3, 64, 1, 1, 0),
    CASE("smollm2, long context", f16, 1, 9, 3, 64, 1, 9, 0),
    CASE("smollm2, prompt", f16, 37, 9, 3, 64, 1, 2, 0),
    CASE("qwen2 1.5b, one token", f16, 1, 12, 2, 128, 1, 2, 0),
    CASE("qwen2 1.5b, prompt", f32, 17, 12, 2, 128, 1, 1, 0),
    CASE("two sequences", f16, 23, 4, 2, 64, 2, 2, 0),
    CASE("two sequences, one token each", f32, 2, 4, 1, 32, 2, 1, 0),
    CASE("one head", f32, 3, 1, 1, 64, 1, 1, 0),
    CASE("eight to a kv head", f16, 5, 8, 1, 96, 1, 1, 0),
    CASE("window within a page", f16, 23, 4, 2, 64, 2, 2, 50, CI_WINDOW_SLIDING),
    CASE("window over pages", f16, 3, 4, 2, 64, 1, 4, 200, CI_WINDOW_SLIDING),
    CASE("window of one", f16, 5, 4, 2, 64, 1, 1, 1, CI_WINDOW_SLIDING),
    CASE("chunks", f16, 40, 4, 2, 64, 1, 2, 96, CI_WINDOW_CHUNKED),
    CASE("both ways", f16, 40, 4, 2, 64, 2, 2, 0, 0, 1),
    CASE("both ways, window", f16, 40, 4, 2, 64, 1, 2, 41, CI_WINDOW_SYMMETRIC, 1),
    FULL_CASE("soft cap, window", f16, f16, 18, 4, 2, 64, 1, 2, NO_SINKS, 3.0f, 64, 0, 33, CI_WINDOW_SLIDING),
    FULL_CASE("sinks, narrow values", f16, f16, 18, 4, 2, 64, 1, 2, SINKS(4), 0, 32, 32, 100, CI_WINDOW_SLIDING),
    FULL_CASE("sinks, narrow values, one token", f16, f16, 1, 4, 2, 64, 1, 2, SINKS(4), 0, 32, 32),
    FULL_CASE("heads of 42 and 72", f16, f32, 18, 2, 1, 42, 1, 2, NO_SINKS, 0, 72, 72),
    FULL_CASE("cache of q8_0 and q4_0", q8_0, q4_0, 18, 4, 2, 80, 1, 2, NO_SINKS, 0, 64, 64, 100),
    FULL_CASE("cache of q4_0 and q8_0", q4_0, q8_0, 3, 4, 2, 64, 1, 2, NO_SINKS, 3.0f, 64, 0),
    {0}};

/* A few rows behind as many positions as a page has, so that a window need not be long to hide some. */
static void like(const struct ci_call *call, struct ci_case *shape) {
    enum { ROWS = 5, WINDOW = 100 };
    int64_t rows = call->in[0].rows < ROWS ? call->in[0].rows : ROWS;
    *shape = (struct ci_case){.name = "its own",
                              .in = {{call->in[0].type, rows, call->in[0].cols},
                                     {call->in[1].type, CACHE_ROWS(1, 1), call->in[1].cols},
                                     {call->in[2].type, CACHE_ROWS(1, 1), call->in[2].cols},
                                     {&ci_type_i32, 2, CI_TILE_COLS},
                                     {&ci_type_i32, 1, 1},
                                     {call->in[CI_ATTENTION_SINKS].type, 1, call->in[CI_ATTENTION_SINKS].cols}},
                              .params = call->params};
    if (shape->params.i[CI_ATTENTION_I_WINDOW] > WINDOW) shape->params.i[CI_ATTENTION_I_WINDOW] = WINDOW;
}

const struct ci_op ci_op_attention = {
    .name = "attention",
    .inputs = 6,
    .outputs = 1,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-9, 1e-4},
    .cases = cases,
    .like = like,
    .extra_bytes = cache_bytes,
    .operations = operations,
};

const struct ci_op ci_op_attention_quantise = {
    .name = "attention_quantise",
    .inputs = 6,
    .outputs = 1,
    .first = &ci_op_attention,
    .second = &ci_op_quantise,
    .fill = fill,
    .gate = CI_GATE_Q8,
    .cases = cases,
    .like = like,
    .extra_bytes = cache_bytes,
    .operations = operations,
};
