#include "cpu/matmul.h"

#include "tensor/op_params.h"
#include "types/layout.h"

static void set_job(const struct ci_call *call, int index, int64_t first_col, struct ci_matmul_job *job) {
    const struct ci_view *bias = &call->in[CI_MATMUL_B0 + index], *addend = &call->in[CI_MATMUL_ADDEND];
    *job = (struct ci_matmul_job){
        .x = &call->in[CI_MATMUL_X],
        .w = &call->in[CI_MATMUL_W0 + index],
        .rows = call->in[CI_MATMUL_X].rows,
        .bias = bias->type ? bias->data : NULL,
        .addend = addend->type ? (const float *)addend->data + first_col : NULL,
        .out = (float *)call->out[0].data + first_col,
        .out_cols = call->out[0].cols,
    };
}

/* Rows of x with which threads take turns. With fewer they wait for the memory, and each piece begins with some that it
 * was not asked for in time; more need several panels (long ones sooner), which are packed for each piece. */
enum { TURNS_LEAST_ROWS = 4, TURNS_MOST_ROWS = 32, TURNS_LEAST_UNITS = 2 };

static bool takes_turns(const struct ci_call *call, int threads) {
    int64_t rows = call->in[CI_MATMUL_X].rows;
    return call->taken && threads > 1 && rows >= TURNS_LEAST_ROWS && rows <= TURNS_MOST_ROWS;
}

/* The next of `units` units that this thread takes, most of an equal share of what is left: first large pieces, which
 * are read from front to back, then small ones, of which all threads end soon after each other. false: there are none.
 */
static bool take_turn(const struct ci_call *call, int threads, int64_t units, int64_t *first, int64_t *last) {
    int at = atomic_load_explicit(call->taken, memory_order_relaxed);
    int64_t count;
    do {
        if (at >= units) return false;
        count = (units - at) * 3 / (4 * threads);
        if (count < TURNS_LEAST_UNITS) count = TURNS_LEAST_UNITS;
        if (count > units - at) count = units - at;
    } while (!atomic_compare_exchange_weak_explicit(call->taken, &at, at + (int)count, memory_order_relaxed,
                                                    memory_order_relaxed));
    *first = at;
    *last = at + count;
    return true;
}

static int64_t units_of(const struct ci_call *call, int unit) {
    int64_t units = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (w->type) units += (w->rows + unit - 1) / unit;
    }
    return units;
}

/* Units [first, last) of those of all weights. */
static void compute_units(const struct ci_call *call, int unit, int64_t first, int64_t last,
                          struct ci_matmul_panel *panel, ci_matmul_part *part) {
    int64_t first_unit = 0, first_col = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        const struct ci_view *w = &call->in[CI_MATMUL_W0 + i];
        if (!w->type) continue;
        int64_t own = (w->rows + unit - 1) / unit;
        int64_t from = first - first_unit > 0 ? first - first_unit : 0;
        int64_t to = last - first_unit < own ? last - first_unit : own;
        if (from < to) {
            struct ci_matmul_job job;
            set_job(call, i, first_col, &job);
            job.panel = panel;
            part(&job, from * unit, to * unit < w->rows ? to * unit : w->rows);
        }
        first_unit += own;
        first_col += w->rows;
    }
}

void ci_matmul_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                     ci_matmul_part *part) {
    int64_t first, last;
    if (panel) panel->full = false;
    ci_share(units_of(call, unit), 1, thread, threads, &first, &last);
    compute_units(call, unit, first, last, panel, part);
}

void ci_matmul_turns(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                     ci_matmul_part *part) {
    int64_t first, last, units = units_of(call, unit);
    if (!takes_turns(call, threads)) {
        ci_matmul_share(call, thread, threads, unit, panel, part);
        return;
    }
    panel->full = false;
    while (take_turn(call, threads, units, &first, &last)) compute_units(call, unit, first, last, panel, part);
}

/* What one unit of an expert's weights costs, in units of one row's arithmetic: reading them comes on top. */
static int64_t cost_of(int64_t rows) { return rows + 3; }

/* Where in `units` units that cost `cost` each, `before` having gone before, the share begins that begins at `at`. */
static int64_t unit_at(int64_t at, int64_t before, int64_t cost, int64_t units) {
    int64_t unit = at <= before ? 0 : (at - before + cost - 1) / cost;
    return unit < units ? unit : units;
}

void ci_experts_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                      ci_matmul_part *part) {
    const struct ci_view *x = &call->in[CI_EXPERTS_X], *w0 = &call->in[CI_EXPERTS_W0];
    const int32_t *order = call->in[CI_EXPERTS_ORDER].data, *starts = call->in[CI_EXPERTS_STARTS].data;
    int64_t experts = call->in[CI_EXPERTS_STARTS].cols - 1, used = call->in[CI_EXPERTS_IDS].cols;
    int64_t n = w0->rows / experts, units = (n + unit - 1) / unit, total = 0, before = 0;
    int weights = call->in[CI_EXPERTS_W1].type ? 2 : 1;
    size_t bytes = (size_t)n * ci_type_row_bytes(w0->type, w0->cols);
    for (int64_t e = 0; e < experts; e++)
        if (starts[e + 1] > starts[e]) total += weights * units * cost_of(starts[e + 1] - starts[e]);
    int64_t first = total * thread / threads, last = total * (thread + 1) / threads;
    for (int64_t e = 0; e < experts; e++) {
        int64_t rows = starts[e + 1] - starts[e], cost = cost_of(rows);
        for (int i = 0; i < weights && rows > 0; i++, before += units * cost) {
            int64_t from = unit_at(first, before, cost, units), to = unit_at(last, before, cost, units);
            if (from >= to) continue;
            struct ci_view w = call->in[CI_EXPERTS_W0 + i];
            const struct ci_view *bias = &call->in[CI_EXPERTS_B0 + i];
            w.rows = n;
            w.data = (uint8_t *)w.data + (size_t)e * bytes;
            struct ci_matmul_job job = {.x = x,
                                        .w = &w,
                                        .rows = rows,
                                        .bias = bias->type ? (const float *)bias->data + e * n : NULL,
                                        .out = (float *)call->out[0].data + i * used * n,
                                        .out_cols = call->out[0].cols,
                                        .pairs = order + starts[e],
                                        .used = used,
                                        .own_cols = x->cols == w0->cols ? 0 : w0->cols,
                                        .panel = panel};
            if (panel) panel->full = false; /* each expert has rows of its own */
            part(&job, from * unit, to * unit < n ? to * unit : n);
        }
    }
}

/* Outputs of matmul_glu_quantise in an equal share, or where `turns` in turns. */
static void compute_glu(const struct ci_call *call, int thread, int threads, int unit, bool turns,
                        struct ci_matmul_panel *panel, ci_matmul_part *part) {
    const struct ci_view *gate = &call->in[CI_MATMUL_W0], *up = &call->in[CI_MATMUL_W0 + 1], *out = &call->out[0];
    const struct ci_view *biases = &call->in[CI_MATMUL_B0], *up_biases = &call->in[CI_MATMUL_B0 + 1];
    const bool one = !up->type; /* gate and up are one matrix, and so are their biases */
    const float *bias = biases->type ? biases->data : NULL, *up_bias = up_biases->type ? up_biases->data : NULL;
    const struct ci_matmul_glu glu = {.up = one ? gate : up,
                                      .up_first = one ? out->cols : 0,
                                      .up_bias = !one   ? up_bias
                                                 : bias ? bias + out->cols
                                                        : NULL,
                                      .params = &call->params,
                                      .out = out};
    const struct ci_matmul_job job = {.x = &call->in[CI_MATMUL_X],
                                      .w = gate,
                                      .rows = call->in[CI_MATMUL_X].rows,
                                      .bias = bias,
                                      .glu = &glu,
                                      .panel = panel};
    int64_t first, last;
    panel->full = false;
    if (!turns) {
        ci_share(out->cols, unit, thread, threads, &first, &last);
        if (first < last) part(&job, first, last);
        return;
    }
    while (take_turn(call, threads, out->cols / unit, &first, &last)) part(&job, first * unit, last * unit);
}

void ci_glu_share(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                  ci_matmul_part *part) {
    compute_glu(call, thread, threads, unit, false, panel, part);
}

void ci_glu_turns(const struct ci_call *call, int thread, int threads, int unit, struct ci_matmul_panel *panel,
                  ci_matmul_part *part) {
    compute_glu(call, thread, threads, unit, takes_turns(call, threads), panel, part);
}
