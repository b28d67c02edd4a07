/* report.h: what the spans of a trace come to: a table of ops, of what the host did, and how much of the wall clock
 * both explain.
 *
 * Every instant of a request belongs to one line at most (trace.h says which), so the walls of all lines and what is
 * unexplained add up to the wall clock; and the seconds of a line are those of its calls, one by one, whether something
 * else ran at the same time or not. */
#ifndef CI_TRACE_REPORT_H
#define CI_TRACE_REPORT_H

#include "trace/trace.h"

/* What a place does at best, per second; 0: not measured. */
struct ci_trace_limits {
    double read_bytes, f32_operations, dot8_operations;
};

struct ci_trace_line {
    enum ci_trace_phase phase;
    enum ci_trace_kind kind;
    const struct ci_trace_step *step; /* of an OP: one of those that share the line; else NULL */
    int64_t rows;                     /* of its calls at most */
    uint64_t calls;
    double seconds, wall, bytes, operations;
    double roofline; /* the shortest time that the limits allow for these calls, in seconds; 0: not known */
};

struct ci_trace_slow {
    const struct ci_trace_span *span;
    const struct ci_trace_step *step;
    enum ci_trace_phase phase;
};

enum { CI_TRACE_SLOWEST = 10 };

struct ci_trace_report {
    struct ci_trace_line *lines; /* by phase, then by wall; the caller's, ci_trace_report_free() */
    int line_count;
    double wall[CI_TRACE_PHASES], unexplained[CI_TRACE_PHASES];
    int64_t runs[CI_TRACE_PHASES], rows[CI_TRACE_PHASES];
    struct ci_trace_slow slowest[CI_TRACE_SLOWEST]; /* single calls of ops */
    int slowest_count;
    int64_t untold; /* spans of devices that never told their times */
};

/* `limits` [CI_TRACE_MAX_PLACES]; NULL: none is known. */
enum clinfer_status ci_trace_make_report(const struct ci_trace *trace, const struct ci_trace_limits *limits,
                                         struct ci_trace_report *report);
void ci_trace_report_free(struct ci_trace_report *report);

#endif
