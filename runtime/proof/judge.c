/* judge.c: three ways to know whether a result is right; see judge.h. The two for large calls share a part: a smaller
 * call, made of some rows (of attention), or some rows and some columns (of products), whose full reference is kept. */
#include "proof/judge.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/experts.h"
#include "ops/op_list.h"
#include "proof/judge_product.h"
#include "tensor/op_params.h"

/* Calls with more arithmetic than this, some half a second of the reference, are large. */
static const double large_product = 6e7, large_attention = 2e9;

enum {
    MOST_PICKED = 256,
    PICKED_ROWS = 16,
    ATTENTION_ROWS = 24,
    EXPERT_COLS = 16, /* of each expert of a row */
    /* Of 32 columns, of all rows together: of few numbers one that is rounded the other way counts too much. */
    GATED_GROUPS = 128,
    MOST_COLS = 2 * CI_MAX_EXPERTS_USED * EXPERT_COLS,
    PARTS = CI_MAX_INPUTS + 1
};

struct ci_judge {
    const struct ci_sample_call *sample;
    struct ci_sample_call full; /* of small calls: with what the reference gives */

    /* Of large ones: a smaller call with what the reference gives, and room for what is judged. */
    struct ci_call picked, actual;
    void *parts[PARTS + 1];
    int64_t rows[MOST_PICKED], cols[MOST_COLS]; /* that it is made of */
    int row_count, col_count;                   /* col_count 0: all columns; of codes: groups of columns */
    struct ci_judge_product *product;           /* of products */
    double largest;                             /* of attention: no output is larger */

    float *sizes; /* of ci_gate_sizes, for either reference */
};

static enum clinfer_status no_memory(const struct ci_judge *judge) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", judge->sample->op->name);
}

static bool has_experts(const struct ci_op *op) { return op == &ci_op_matmul_experts; }
static bool is_product(const struct ci_op *op) {
    return op == &ci_op_matmul || op == &ci_op_matmul_add || has_experts(op);
}
static bool is_gated(const struct ci_op *op) { return op == &ci_op_matmul_glu_quantise; }
static bool is_attention(const struct ci_op *op) { return op == &ci_op_attention || op == &ci_op_attention_quantise; }

/* ---- the smaller call ---- */

static void pick(int64_t *picked, int *count, int most, int64_t limit, int64_t value) {
    if (value < 0 || value >= limit || *count >= most) return;
    for (int i = 0; i < *count; i++)
        if (picked[i] == value) return;
    picked[(*count)++] = value;
}

/* Up to `most` of `limit`: the ends, both sides of the edges of tiles, and some others. */
static int pick_edges(int64_t *picked, int most, int64_t limit, uint64_t *random) {
    static const int64_t tiles[] = {16, 64, 32, 128, 8, 4};
    int count = 0;
    pick(picked, &count, most, limit, 0);
    pick(picked, &count, most, limit, limit - 1);
    for (size_t i = 0; i < sizeof tiles / sizeof *tiles && count < most * 3 / 4; i++) {
        pick(picked, &count, most, limit, tiles[i] - 1);
        pick(picked, &count, most, limit, tiles[i]);
        pick(picked, &count, most, limit, (limit - 1) / tiles[i] * tiles[i]);
        pick(picked, &count, most, limit, (limit - 1) / tiles[i] * tiles[i] - 1);
    }
    if (limit <= most)
        for (int64_t i = 0; i < limit; i++) pick(picked, &count, most, limit, i);
    while (count < most && count < limit)
        pick(picked, &count, most, limit, (int64_t)(ci_random(random) % (uint64_t)limit));
    return count;
}

/* The picked rows of a view, one after the other, as the bytes of a new one. */
static enum clinfer_status gather(struct ci_judge *judge, int part, const struct ci_view *from, const int64_t *rows,
                                  int count, struct ci_view *to) {
    size_t row_bytes = ci_type_row_bytes(from->type, from->cols);
    *to = *from;
    to->rows = count;
    to->data = judge->parts[part] = malloc(row_bytes * (size_t)count + 1);
    if (!to->data) return no_memory(judge);
    for (int i = 0; i < count; i++)
        memcpy((uint8_t *)to->data + row_bytes * (size_t)i, (const uint8_t *)from->data + row_bytes * (size_t)rows[i],
               row_bytes);
    return CLINFER_OK;
}

/* Reference of the smaller call, and the same call again with room for a result. */
static enum clinfer_status refer(struct ci_judge *judge) {
    const struct ci_op *op = judge->sample->op;
    enum clinfer_status status = ci_op_infer(op, &judge->picked);
    assert(op->outputs == 1);
    size_t bytes = status == CLINFER_OK ? ci_view_bytes(&judge->picked.out[0]) : 0;
    judge->actual = judge->picked;
    judge->picked.out[0].data = judge->parts[PARTS - 1] = calloc(1, bytes + 1);
    judge->actual.out[0].data = judge->parts[PARTS] = calloc(1, bytes + 1);
    if (status == CLINFER_OK && (!judge->parts[PARTS - 1] || !judge->parts[PARTS])) status = no_memory(judge);
    if (status == CLINFER_OK) status = ci_op_reference(op, &judge->picked);
    return status == CLINFER_OK ? ci_gate_sizes(op, &judge->picked, &judge->sizes) : status;
}

/* The picked groups of a row of codes, as a row of its own (types/type.h). */
static void take_codes(const struct ci_judge *judge, const struct ci_view *out, const uint8_t *row, uint8_t *to) {
    const int planes = ci_type_planes(out->type), count = judge->col_count;
    const int64_t groups = out->cols / CI_Q8_GROUP, bytes = planes * CI_Q8_GROUP;
    const float *numbers = ci_codes_scales(row, planes, out->cols);
    float *to_numbers = (float *)(void *)(to + bytes * count);
    for (int k = 0; k < count; k++) {
        memcpy(to + bytes * k, row + bytes * judge->cols[k], (size_t)bytes);
        for (int i = 0; i < 3; i++) to_numbers[i * count + k] = numbers[i * groups + judge->cols[k]];
    }
}

static void take_picked(struct ci_judge *judge, const struct ci_view *out) {
    size_t row_bytes = ci_type_row_bytes(out->type, out->cols), unit = row_bytes;
    uint8_t *to = judge->actual.out[0].data;
    const bool codes = judge->col_count && ci_type_planes(out->type);
    if (codes) unit = ci_type_row_bytes(out->type, judge->col_count * (int64_t)CI_Q8_GROUP);
    for (int i = 0; i < judge->row_count; i++) {
        const uint8_t *row = (const uint8_t *)out->data + row_bytes * (size_t)judge->rows[i];
        if (judge->col_count == 0) memcpy(to + unit * (size_t)i, row, unit);
        if (codes) take_codes(judge, out, row, to + unit * (size_t)i);
        for (int k = 0; k < judge->col_count && !codes; k++) /* of f32 */
            memcpy(to + sizeof(float) * (size_t)(i * judge->col_count + k),
                   row + sizeof(float) * (size_t)judge->cols[k], sizeof(float));
    }
}

/* ---- products ---- */

/* The picked outputs as a product with one weight, whatever weight their columns are of. */
static enum clinfer_status pick_matmul(struct ci_judge *judge) {
    const struct ci_call *call = &judge->sample->call;
    const struct ci_view *out = &call->out[0], *addend = &call->in[CI_MATMUL_ADDEND];
    uint64_t random = 1;
    judge->row_count = pick_edges(judge->rows, PICKED_ROWS, out->rows, &random);
    int most = MOST_PICKED / judge->row_count;
    int64_t first = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) { /* both sides of where weights meet */
        pick(judge->cols, &judge->col_count, most, out->cols, first - 1);
        pick(judge->cols, &judge->col_count, most, out->cols, first);
        first += call->in[CI_MATMUL_W0 + i].type ? call->in[CI_MATMUL_W0 + i].rows : 0;
    }
    int64_t edges[MOST_PICKED];
    int edge_count = pick_edges(edges, most, out->cols, &random);
    for (int i = 0; i < edge_count; i++) pick(judge->cols, &judge->col_count, most, out->cols, edges[i]);

    const struct ci_view *w0 = &call->in[CI_MATMUL_W0];
    size_t row_bytes = ci_type_row_bytes(w0->type, w0->cols);
    struct ci_view *w = &judge->picked.in[CI_MATMUL_W0], *b = &judge->picked.in[CI_MATMUL_B0];
    enum clinfer_status status =
        gather(judge, 0, &call->in[CI_MATMUL_X], judge->rows, judge->row_count, &judge->picked.in[CI_MATMUL_X]);
    uint8_t *weights = judge->parts[1] = malloc(row_bytes * (size_t)judge->col_count + 1);
    float *biases = judge->parts[2] = calloc((size_t)judge->col_count + 1, sizeof *biases);
    float *added = judge->parts[3] = calloc((size_t)(judge->col_count * judge->row_count) + 1, sizeof *added);
    if (status != CLINFER_OK || !weights || !biases || !added) return no_memory(judge);
    for (int k = 0; k < judge->col_count; k++) {
        int64_t n = judge->cols[k];
        int which = 0;
        while (n >= call->in[CI_MATMUL_W0 + which].rows) n -= call->in[CI_MATMUL_W0 + which++].rows;
        memcpy(weights + row_bytes * (size_t)k,
               (const uint8_t *)call->in[CI_MATMUL_W0 + which].data + row_bytes * (size_t)n, row_bytes);
        if (call->in[CI_MATMUL_B0 + which].type) biases[k] = ((const float *)call->in[CI_MATMUL_B0 + which].data)[n];
        for (int i = 0; judge->sample->op == &ci_op_matmul_add && i < judge->row_count; i++)
            added[i * judge->col_count + k] =
                ((const float *)addend->data)[judge->rows[i] * addend->cols + judge->cols[k]];
    }
    *w = *w0;
    w->rows = judge->col_count;
    w->data = weights;
    ci_view_set(b, &ci_type_f32, 1, judge->col_count);
    b->data = biases;
    if (judge->sample->op == &ci_op_matmul_add) {
        ci_view_set(&judge->picked.in[CI_MATMUL_ADDEND], &ci_type_f32, judge->row_count, judge->col_count);
        judge->picked.in[CI_MATMUL_ADDEND].data = added;
    }
    judge->picked.params = call->params;
    return refer(judge);
}

/* Rows [first, ..) of the gate or of what it lets through: those of the picked groups, and their biases. */
static enum clinfer_status gather_gated(struct ci_judge *judge, int which, int input, int64_t first) {
    const struct ci_call *call = &judge->sample->call;
    const struct ci_view *bias = &call->in[CI_MATMUL_B0 + input];
    const int count = judge->col_count * CI_Q8_GROUP;
    int64_t *rows = malloc(sizeof *rows * (size_t)count);
    if (!rows) return no_memory(judge);
    for (int i = 0; i < count; i++) rows[i] = first + judge->cols[i / CI_Q8_GROUP] * CI_Q8_GROUP + i % CI_Q8_GROUP;
    enum clinfer_status status =
        gather(judge, 1 + which, &call->in[CI_MATMUL_W0 + input], rows, count, &judge->picked.in[CI_MATMUL_W0 + which]);
    if (status == CLINFER_OK && bias->type) {
        struct ci_view *to = &judge->picked.in[CI_MATMUL_B0 + which];
        float *biases = judge->parts[3 + which] = malloc(sizeof *biases * (size_t)count);
        for (int i = 0; biases && i < count; i++) biases[i] = ((const float *)bias->data)[rows[i]];
        ci_view_set(to, &ci_type_f32, 1, count);
        to->data = biases;
        if (!biases) status = no_memory(judge);
    }
    free(rows);
    return status;
}

/* Some rows, of which some groups of columns, as a gate and another weight whatever they are in the call. */
static enum clinfer_status pick_gated(struct ci_judge *judge) {
    const struct ci_call *call = &judge->sample->call;
    const struct ci_view *out = &call->out[0];
    const bool one = !call->in[CI_MATMUL_W0 + 1].type; /* matrix of both */
    uint64_t random = 5;
    judge->row_count = pick_edges(judge->rows, PICKED_ROWS, out->rows, &random);
    judge->col_count = pick_edges(judge->cols, GATED_GROUPS / judge->row_count, out->cols / CI_Q8_GROUP, &random);
    enum clinfer_status status =
        gather(judge, 0, &call->in[CI_MATMUL_X], judge->rows, judge->row_count, &judge->picked.in[CI_MATMUL_X]);
    if (status == CLINFER_OK) status = gather_gated(judge, 0, 0, 0);
    if (status == CLINFER_OK) status = gather_gated(judge, 1, one ? 0 : 1, one ? out->cols : 0);
    if (status != CLINFER_OK) return status;
    judge->picked.params = call->params;
    judge->picked.params.i[CI_ACTIVATION_I_WIDTH] = 0; /* which was none, or all columns */
    return refer(judge);
}

/* Whether row r has nothing but zeros in the picked groups: gates may all be closed (relu). */
static enum clinfer_status is_closed(const struct ci_judge *judge, int64_t r, bool *closed) {
    struct ci_call one = judge->picked;
    struct ci_view *x = &one.in[CI_MATMUL_X], *out = &one.out[0];
    *x = judge->sample->call.in[CI_MATMUL_X];
    x->data = (uint8_t *)x->data + ci_type_row_bytes(x->type, x->cols) * (size_t)r;
    x->rows = out->rows = 1;
    out->data = malloc(ci_view_bytes(out));
    float *row = malloc(sizeof *row * (size_t)out->cols);
    enum clinfer_status status = out->data && row ? ci_op_reference(judge->sample->op, &one) : no_memory(judge);
    if (status == CLINFER_OK) ci_view_row(out, 0, row);
    *closed = true;
    for (int64_t i = 0; i < out->cols && status == CLINFER_OK; i++) *closed = *closed && row[i] == 0;
    free(out->data);
    free(row);
    return status;
}

/* Of all rows: finite, and not zero throughout where they should not be. */
static enum clinfer_status check_gated(const struct ci_judge *judge, const struct ci_call *result,
                                       struct ci_gate_result *verdict) {
    const struct ci_view *out = &result->out[0];
    enum clinfer_status status = CLINFER_OK;
    float *row = malloc(sizeof *row * (size_t)out->cols);
    if (!row) return no_memory(judge);
    for (int64_t r = 0; r < out->rows && verdict->passed && status == CLINFER_OK; r++) {
        double most = 0;
        bool right = true;
        ci_view_row(out, r, row);
        for (int64_t i = 0; i < out->cols; i++) most = isfinite(row[i]) ? fmax(most, fabs((double)row[i])) : INFINITY;
        if (most == 0) status = is_closed(judge, r, &right);
        verdict->passed = isfinite(most) && right;
        if (!verdict->passed)
            snprintf(verdict->text, sizeof verdict->text, "output 0: row %lld is %s", (long long)r,
                     most == 0 ? "zero throughout" : "not finite");
    }
    free(row);
    return status;
}

/* Some columns of every expert's weights: picked[i] rows of each, one expert after the other. */
static enum clinfer_status gather_experts(struct ci_judge *judge, int part, int input, const int64_t *picked,
                                          int count) {
    const struct ci_call *call = &judge->sample->call;
    const struct ci_view *from = &call->in[input];
    int64_t experts = call->in[CI_EXPERTS_STARTS].cols - 1;
    const bool biases = input == CI_EXPERTS_B0 || input == CI_EXPERTS_B1;
    struct ci_view all = *from; /* biases lie in one row */
    if (!from->type) return CLINFER_OK;
    if (biases) ci_view_set(&all, from->type, from->cols, 1);
    all.data = from->data;
    int64_t width = all.rows / experts, *rows = malloc(sizeof *rows * (size_t)(experts * count));
    if (!rows) return no_memory(judge);
    for (int64_t i = 0; i < experts * count; i++) rows[i] = i / count * width + picked[i % count];
    enum clinfer_status status = gather(judge, part, &all, rows, (int)(experts * count), &judge->picked.in[input]);
    if (biases) {
        void *data = judge->picked.in[input].data;
        ci_view_set(&judge->picked.in[input], from->type, 1, experts * count);
        judge->picked.in[input].data = data;
    }
    free(rows);
    return status;
}

/* Some rows with all their experts, of which some columns each. */
static enum clinfer_status pick_experts(struct ci_judge *judge) {
    const struct ci_call *call = &judge->sample->call;
    int64_t experts = call->in[CI_EXPERTS_STARTS].cols - 1, width = call->in[CI_EXPERTS_W0].rows / experts;
    int64_t used = call->in[CI_EXPERTS_IDS].cols, slices = call->out[0].cols / width, picked[EXPERT_COLS];
    uint64_t random = 4;
    if (slices > 2 * CI_MAX_EXPERTS_USED)
        return ci_fail(CLINFER_UNSUPPORTED, "op %s: %lld experts of a row", judge->sample->op->name, (long long)used);
    judge->row_count = pick_edges(judge->rows, PICKED_ROWS, call->out[0].rows, &random);
    int count = pick_edges(picked, EXPERT_COLS, width, &random);
    for (int64_t slice = 0; slice < slices; slice++)
        for (int i = 0; i < count; i++) judge->cols[judge->col_count++] = slice * width + picked[i];
    struct ci_view *in = judge->picked.in;
    enum clinfer_status status =
        gather(judge, 0, &call->in[CI_EXPERTS_X], judge->rows, judge->row_count, &in[CI_EXPERTS_X]);
    if (status == CLINFER_OK)
        status = gather(judge, 1, &call->in[CI_EXPERTS_IDS], judge->rows, judge->row_count, &in[CI_EXPERTS_IDS]);
    static const int gathered[] = {CI_EXPERTS_W0, CI_EXPERTS_W1, CI_EXPERTS_B0, CI_EXPERTS_B1};
    for (int i = 0; i < 4 && status == CLINFER_OK; i++)
        status = gather_experts(judge, 2 + i, gathered[i], picked, count);
    if (status != CLINFER_OK) return status;
    int32_t *order = judge->parts[6] = calloc((size_t)(judge->row_count * used) + 1, sizeof *order);
    int32_t *starts = judge->parts[7] = calloc((size_t)experts + 1, sizeof *starts);
    if (!order || !starts) return no_memory(judge);
    ci_experts_sort(in[CI_EXPERTS_IDS].data, judge->row_count * used, experts, order, starts);
    ci_view_set(&in[CI_EXPERTS_ORDER], &ci_type_i32, judge->row_count, used);
    in[CI_EXPERTS_ORDER].data = order;
    in[CI_EXPERTS_STARTS] = call->in[CI_EXPERTS_STARTS];
    in[CI_EXPERTS_STARTS].data = starts;
    judge->picked.params = call->params;
    return refer(judge);
}

/* ---- attention ---- */

/* Some rows, each as a tile of its own. */
static enum clinfer_status pick_attention(struct ci_judge *judge) {
    const struct ci_call *call = &judge->sample->call;
    const struct ci_view *tiles = &call->in[3], *values = &call->in[2];
    uint64_t random = 3;
    judge->row_count = pick_edges(judge->rows, ATTENTION_ROWS, call->in[0].rows, &random);
    judge->picked = *call;
    for (int i = 0; i < CI_MAX_OUTPUTS; i++) judge->picked.out[i] = (struct ci_view){0};
    enum clinfer_status status = gather(judge, 0, &call->in[0], judge->rows, judge->row_count, &judge->picked.in[0]);
    int32_t *tile = judge->parts[1] = calloc((size_t)judge->row_count * CI_TILE_COLS, sizeof *tile);
    float *row = judge->parts[2] = malloc(sizeof *row * (size_t)values->cols);
    if (status != CLINFER_OK || !tile || !row) return no_memory(judge);
    for (int i = 0; i < judge->row_count; i++, tile += CI_TILE_COLS) {
        const int32_t *of = tiles->data;
        while (judge->rows[i] < of[CI_TILE_ROW] || judge->rows[i] >= of[CI_TILE_ROW] + of[CI_TILE_COUNT])
            of += CI_TILE_COLS;
        tile[CI_TILE_ROW] = i;
        tile[CI_TILE_COUNT] = 1;
        tile[CI_TILE_LINE] = of[CI_TILE_LINE];
        tile[CI_TILE_POSITION] = of[CI_TILE_POSITION] + (int32_t)(judge->rows[i] - of[CI_TILE_ROW]);
        tile[CI_TILE_LENGTH] = of[CI_TILE_LENGTH];
    }
    judge->picked.in[3].rows = judge->row_count;
    judge->picked.in[3].data = judge->parts[1];
    for (int64_t r = 0; r < values->rows; r++) {
        ci_view_row(values, r, row);
        for (int64_t i = 0; i < values->cols; i++) judge->largest = fmax(judge->largest, fabs((double)row[i]));
    }
    judge->largest *= 1.02; /* rounding to q8 adds up to 1/254 */
    return refer(judge);
}

static enum clinfer_status check_attention(const struct ci_judge *judge, const struct ci_view *out,
                                           struct ci_gate_result *verdict) {
    float *row = malloc(sizeof *row * (size_t)out->cols);
    if (!row) return no_memory(judge);
    for (int64_t r = 0; r < out->rows && verdict->passed; r++) {
        double most = 0;
        ci_view_row(out, r, row);
        for (int64_t i = 0; i < out->cols && verdict->passed; i++) {
            most = fmax(most, fabs((double)row[i]));
            if (fabs((double)row[i]) <= judge->largest) continue;
            verdict->passed = false;
            snprintf(verdict->text, sizeof verdict->text, "output 0 [%lld, %lld] is %.9g, but no value is above %.9g",
                     (long long)r, (long long)i, (double)row[i], judge->largest);
        }
        if (most > 0 || judge->largest == 0 || !verdict->passed) continue;
        verdict->passed = false;
        snprintf(verdict->text, sizeof verdict->text, "output 0: all of row %lld is zero", (long long)r);
    }
    free(row);
    return CLINFER_OK;
}

/* ---- all ---- */

static bool is_large(const struct ci_sample_call *sample) {
    double operations = ci_op_operations(sample->op, &sample->call);
    return ((is_product(sample->op) || is_gated(sample->op)) && operations > large_product) ||
           (is_attention(sample->op) && operations > large_attention);
}

/* The same cache as f32: the reference converts every number of it once for each query. */
static enum clinfer_status widen(struct ci_judge *judge, int part, struct ci_view *view) {
    float *wide = malloc(sizeof *wide * (size_t)(view->rows * view->cols) + 1);
    judge->parts[part] = wide;
    if (!wide) return no_memory(judge);
    for (int64_t r = 0; r < view->rows; r++) ci_view_row(view, r, wide + r * view->cols);
    view->type = &ci_type_f32;
    view->data = wide;
    return CLINFER_OK;
}

static enum clinfer_status refer_full(struct ci_judge *judge) {
    const struct ci_sample_call *sample = judge->sample;
    enum clinfer_status status = ci_sample_copy(sample, &judge->full);
    struct ci_call call = judge->full.call;
    for (int i = 1; i <= 2 && is_attention(sample->op) && status == CLINFER_OK; i++)
        status = widen(judge, i, &call.in[i]);
    if (status == CLINFER_OK) status = ci_op_reference(sample->op, &call);
    for (int i = 1; i <= 2; i++) {
        free(judge->parts[i]);
        judge->parts[i] = NULL;
    }
    return status == CLINFER_OK ? ci_gate_sizes(sample->op, &judge->full.call, &judge->sizes) : status;
}

enum clinfer_status ci_judge_create(const struct ci_sample_call *sample, struct ci_judge **out) {
    *out = NULL;
    enum clinfer_status status;
    struct ci_judge *judge = calloc(1, sizeof *judge);
    if (!judge) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", sample->op->name);
    judge->sample = sample;
    if (!is_large(sample)) {
        status = refer_full(judge);
    } else if (is_product(sample->op)) {
        status = ci_judge_product_create(sample, &judge->product);
        if (status == CLINFER_OK) status = (has_experts(sample->op) ? pick_experts : pick_matmul)(judge);
    } else {
        status = (is_gated(sample->op) ? pick_gated : pick_attention)(judge);
    }
    if (status == CLINFER_OK)
        *out = judge;
    else
        ci_judge_destroy(judge);
    return status;
}

void ci_judge_destroy(struct ci_judge *judge) {
    if (!judge) return;
    ci_sample_destroy(&judge->full);
    for (int i = 0; i <= PARTS; i++) free(judge->parts[i]);
    ci_judge_product_destroy(judge->product);
    free(judge->sizes);
    free(judge);
}

enum clinfer_status ci_judge_compare(struct ci_judge *judge, const struct ci_sample_call *result,
                                     struct ci_gate_result *verdict) {
    const struct ci_op *op = judge->sample->op;
    int output;
    enum clinfer_status status;
    if (judge->full.op) {
        status = ci_gate_compare_sizes(op, &judge->full.call, judge->sizes, &result->call, verdict);
    } else {
        take_picked(judge, &result->call.out[0]);
        status = ci_gate_compare_sizes(op, &judge->picked, judge->sizes, &judge->actual, verdict);
        if (!verdict->passed) memmove(verdict->text + 8, verdict->text, sizeof verdict->text - 8);
        if (!verdict->passed) memcpy(verdict->text, "sampled ", 8);
        verdict->text[sizeof verdict->text - 1] = 0;
        if (status == CLINFER_OK && is_product(op))
            ci_judge_product_check(judge->product, &result->call.out[0], verdict);
        if (status == CLINFER_OK && is_gated(op)) status = check_gated(judge, &result->call, verdict);
        if (status == CLINFER_OK && is_attention(op)) status = check_attention(judge, &result->call.out[0], verdict);
    }
    if (status == CLINFER_OK && !ci_sample_guards_hold(result, &output)) {
        verdict->passed = false;
        snprintf(verdict->text, sizeof verdict->text, "it writes beside output %d", output);
    }
    return status;
}
