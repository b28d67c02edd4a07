/* report.c: one walk along the ends of all spans in the order of time; between two of them the same spans are active,
 * and the first in rank takes the interval. */
#include "trace/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

/* A span begins or ends. */
struct edge {
    double time;
    const struct ci_trace_span *span;
    bool begins;
};

/* At equal times what ends comes first. */
static int by_time(const void *a, const void *b) {
    const struct edge *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    return (int)x->begins - (int)y->begins;
}

static enum ci_trace_phase phase_of(const struct ci_trace *trace, const struct ci_trace_span *span) {
    return span->run >= 0 && span->run < trace->run_count ? trace->runs[span->run].phase : CI_TRACE_PREFILL;
}

/* ---- lines ---- */

/* Ops first, a line of the trace each, then the kinds; all of it once per phase. */
static int lines_per_phase(const struct ci_trace *trace) { return trace->line_count + CI_TRACE_KIND_COUNT; }

static struct ci_trace_line *line_of(const struct ci_trace *trace, struct ci_trace_line *lines,
                                     const struct ci_trace_span *span) {
    int index = span->kind == CI_TRACE_OP ? trace->steps[span->step]->line : trace->line_count + span->kind;
    return &lines[(int)phase_of(trace, span) * lines_per_phase(trace) + index];
}

static int64_t rows_of(const struct ci_trace *trace, const struct ci_trace_span *span) {
    return span->run >= 0 && span->run < trace->run_count ? trace->runs[span->run].rows : 0;
}

static double roofline(const struct ci_trace_span *span, const struct ci_trace_step *step, int64_t rows,
                       const struct ci_trace_limits *limits) {
    if (!limits) return 0;
    const struct ci_trace_limits *limit = &limits[step->place];
    double peak = step->dot8 && limit->dot8_operations > 0 ? limit->dot8_operations : limit->f32_operations;
    if (step->dot16_rows > 0 && rows >= step->dot16_rows) peak = fmax(peak, limit->dot8_operations / 2);
    double reading = limit->read_bytes > 0 ? (double)span->bytes / limit->read_bytes : 0;
    return fmax(reading, peak > 0 ? (double)span->operations / peak : 0);
}

static void add_slow(struct ci_trace_report *report, const struct ci_trace_span *span, const struct ci_trace_step *step,
                     enum ci_trace_phase phase) {
    double seconds = span->end - span->start;
    int at = report->slowest_count;
    struct ci_trace_slow *slowest = report->slowest;
    if (at == CI_TRACE_SLOWEST && seconds <= slowest[at - 1].span->end - slowest[at - 1].span->start) return;
    if (at == CI_TRACE_SLOWEST)
        at--;
    else
        report->slowest_count++;
    for (; at > 0 && slowest[at - 1].span->end - slowest[at - 1].span->start < seconds; at--)
        slowest[at] = slowest[at - 1];
    slowest[at] = (struct ci_trace_slow){span, step, phase};
}

static void count_calls(const struct ci_trace *trace, const struct ci_trace_limits *limits,
                        struct ci_trace_report *report, struct ci_trace_line *lines) {
    for (int64_t i = 0; i < trace->span_count; i++) {
        const struct ci_trace_span *span = ci_trace_span(trace, i);
        if (span->end == 0) {
            report->untold++;
            continue;
        }
        const struct ci_trace_step *step = span->kind == CI_TRACE_OP ? trace->steps[span->step] : NULL;
        struct ci_trace_line *line = line_of(trace, lines, span);
        line->phase = phase_of(trace, span);
        line->kind = (enum ci_trace_kind)span->kind;
        line->seconds += span->end - span->start;
        line->calls += !span->more;
        if (!step) continue;
        line->step = step;
        line->bytes += (double)span->bytes;
        line->operations += (double)span->operations;
        int64_t rows = rows_of(trace, span);
        line->roofline += roofline(span, step, rows, limits);
        if (rows > line->rows) line->rows = rows;
        add_slow(report, span, step, line->phase);
    }
}

/* ---- the wall clock ---- */

enum { MOST_ACTIVE = 64 };

struct active {
    const struct ci_trace_span *spans[MOST_ACTIVE];
    int count;
};

static void begin(struct active *active, const struct ci_trace_span *span) {
    if (active->count < MOST_ACTIVE) active->spans[active->count++] = span;
}

static void end(struct active *active, const struct ci_trace_span *span) {
    for (int i = 0; i < active->count; i++)
        if (active->spans[i] == span) active->spans[i--] = active->spans[--active->count];
}

static const struct ci_trace_span *first_in_rank(const struct active *active) {
    const struct ci_trace_span *first = NULL;
    for (int i = 0; i < active->count; i++)
        if (!first || active->spans[i]->kind < first->kind) first = active->spans[i];
    return first;
}

static void share_out(const struct ci_trace *trace, const struct edge *edges, int64_t count,
                      struct ci_trace_report *report, struct ci_trace_line *lines) {
    struct active active = {.count = 0};
    enum ci_trace_phase phase = CI_TRACE_PREFILL;
    for (int64_t i = 0; i < count; i++) {
        double seconds = i ? edges[i].time - edges[i - 1].time : 0;
        const struct ci_trace_span *owner = first_in_rank(&active);
        if (owner && owner->kind != CI_TRACE_REQUEST) {
            phase = phase_of(trace, owner);
            line_of(trace, lines, owner)->wall += seconds;
            report->wall[phase] += seconds;
        } else if (owner) {
            report->unexplained[phase] += seconds;
            report->wall[phase] += seconds;
        }
        if (edges[i].begins)
            begin(&active, edges[i].span);
        else
            end(&active, edges[i].span);
    }
}

/* ---- all of it ---- */

static int by_wall(const void *a, const void *b) {
    const struct ci_trace_line *x = a, *y = b;
    if (x->phase != y->phase) return x->phase < y->phase ? -1 : 1;
    if (x->wall != y->wall) return x->wall > y->wall ? -1 : 1;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

enum clinfer_status ci_trace_make_report(const struct ci_trace *trace, const struct ci_trace_limits *limits,
                                         struct ci_trace_report *report) {
    *report = (struct ci_trace_report){0};
    int count = CI_TRACE_PHASES * lines_per_phase(trace);
    struct ci_trace_line *lines = calloc((size_t)count, sizeof *lines);
    struct edge *edges = malloc((size_t)(2 * trace->span_count + 1) * sizeof *edges);
    if (!lines || !edges) {
        free(lines);
        free(edges);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a report of %lld spans", (long long)trace->span_count);
    }
    int64_t edge_count = 0;
    for (int64_t i = 0; i < trace->span_count; i++) {
        const struct ci_trace_span *span = ci_trace_span(trace, i);
        if (span->end <= span->start) continue;
        edges[edge_count++] = (struct edge){span->start, span, true};
        edges[edge_count++] = (struct edge){span->end, span, false};
    }
    qsort(edges, (size_t)edge_count, sizeof *edges, by_time);
    count_calls(trace, limits, report, lines);
    share_out(trace, edges, edge_count, report, lines);
    free(edges);
    for (int i = 0; i < trace->run_count; i++) {
        report->runs[trace->runs[i].phase]++;
        report->rows[trace->runs[i].phase] += trace->runs[i].rows;
    }
    for (int i = 0; i < count; i++)
        if (lines[i].calls && lines[i].kind != CI_TRACE_REQUEST) lines[report->line_count++] = lines[i];
    qsort(lines, (size_t)report->line_count, sizeof *lines, by_wall);
    report->lines = lines;
    return CLINFER_OK;
}

void ci_trace_report_free(struct ci_trace_report *report) {
    free(report->lines);
    *report = (struct ci_trace_report){0};
}
