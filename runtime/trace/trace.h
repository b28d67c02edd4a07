/* trace.h: what was done from when to when. While it is on, everything that takes time leaves a span: each op where it
 * ran, and what the host did around them, each with a clock of its own. The table of ops (report.h), the file for
 * Perfetto (perfetto.h) and the tests all read these spans; nothing is added up while the model runs.
 *
 * Times are seconds of ci_now(), also those of a device (device/clock.c brings the two clocks together). A recorder
 * that is NULL is one that is off: every function here then does nothing, and costs a comparison. */
#ifndef CI_TRACE_TRACE_H
#define CI_TRACE_TRACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <clinfer.h>

#include "base/arena.h"

/* What the host does. Where several spans cover an instant, an op comes first, then the kind that is first here: so a
 * device's work hides what the host did meanwhile, and waiting is what is left. REQUEST, from the submission to the
 * last token, covers all: an instant that only a request covers is not explained. */
#define CI_TRACE_KINDS(X)                                                                                              \
    X(CI_TRACE_OP, "op")                                                                                               \
    X(CI_TRACE_CROSSING, "crossing")   /* activations from place to place */                                           \
    X(CI_TRACE_TOKENIZER, "tokenizer") /* template and tokens of the prompt */                                         \
    X(CI_TRACE_PLAN, "plan")           /* making a plan: kernels, layouts of weights */                                \
    X(CI_TRACE_SCHEDULE, "schedule")   /* who is in a step, its inputs, arguments that changed */                      \
    X(CI_TRACE_ENQUEUE, "enqueue")     /* giving kernels and inputs to the driver */                                   \
    X(CI_TRACE_SAMPLER, "sampler")     /* on the host; where it runs on a device it is an op */                        \
    X(CI_TRACE_TEXT, "text")           /* pieces of text, and who receives them */                                     \
    X(CI_TRACE_PROFILE, "profile")     /* recording: keeping spans, asking devices for their clocks */                 \
    X(CI_TRACE_WAIT, "wait")           /* for a device that does nothing that we know of */                            \
    X(CI_TRACE_REQUEST, "request")

enum ci_trace_kind {
#define CI_TRACE_ENUM(kind, name) kind,
    CI_TRACE_KINDS(CI_TRACE_ENUM)
#undef CI_TRACE_ENUM
        CI_TRACE_KIND_COUNT
};

extern const char *const ci_trace_kind_names[CI_TRACE_KIND_COUNT];

enum ci_trace_phase { CI_TRACE_PREFILL, CI_TRACE_DECODE, CI_TRACE_PHASES };
extern const char *const ci_trace_phase_names[CI_TRACE_PHASES];

enum { CI_TRACE_MAX_PLACES = 16 };

/* A step of a plan, as it is shown. Steps that are the same but for their label and layer share a line. */
struct ci_trace_step {
    const char *label, *op, *types, *layout, *variant;
    int place;
    bool dot8;          /* its arithmetic is products of bytes */
    int64_t dot16_rows; /* of 16 bits, half as many, with so many rows or more; 0: never */
    int64_t k, n;       /* columns of its first input and of its output */
    int line;           /* set by ci_trace_add_step() */
};

/* One run of a plan. */
struct ci_trace_run {
    enum ci_trace_phase phase;
    int64_t rows;
};

struct ci_trace_span {
    double start, end; /* 0: a device has not told yet */
    float queued;      /* seconds that it lay in the queue of its device before `start`; else 0 */
    float bytes, operations;
    int32_t step; /* of an OP; else -1 */
    int32_t run;  /* the run that it is part of, or the last that began */
    uint8_t kind;
    bool more; /* another kernel of the same op */
};

enum { CI_TRACE_CHUNK = 1 << 14, CI_TRACE_CHUNKS = 128 }; /* two million spans, 96 MiB: some thousand tokens */

struct ci_trace {
    pthread_mutex_t lock;
    struct ci_arena arena; /* steps and their texts */
    struct ci_trace_step **steps;
    int step_count, step_capacity, line_count;
    struct ci_trace_run *runs;
    int run_count, run_capacity;
    struct ci_trace_span *chunks[CI_TRACE_CHUNKS];
    int64_t span_count;
    uint64_t lost;                           /* spans for which there was no room */
    const char *places[CI_TRACE_MAX_PLACES]; /* [0] the CPU; in the arena; NULL: there is none */
};

enum clinfer_status ci_trace_create(struct ci_trace **trace);
void ci_trace_destroy(struct ci_trace *trace);

void ci_trace_name_place(struct ci_trace *trace, int place, const char *name);

/* Texts are copied. Returns the step's number, -1 when memory is out: its spans are lost then, and counted. */
int32_t ci_trace_add_step(struct ci_trace *trace, const struct ci_trace_step *step);

/* A run of a plan begins; its number. */
int32_t ci_trace_add_run(struct ci_trace *trace, enum ci_trace_phase phase, int64_t rows);

/* Any thread may add spans. Returns its number, -1 when there is no room: it is lost, and counted. */
int64_t ci_trace_add(struct ci_trace *trace, const struct ci_trace_span *span);

/* The same for several of one thread, which a trace must be on for. */
void ci_trace_add_many(struct ci_trace *trace, const struct ci_trace_span *spans, int count);

/* Spans of a device are added when the kernel is enqueued, without times, and get them here when it has ended; `more`:
 * another kernel of the same op, which becomes a span of its own. */
void ci_trace_settle(struct ci_trace *trace, int64_t index, double enqueued, double start, double end, bool more);

/* 0 when off, else now; and a span of the host from there to now, in the run that began last. Returns now, for the next
 * one. */
double ci_trace_start(const struct ci_trace *trace);
double ci_trace_host(struct ci_trace *trace, enum ci_trace_kind kind, double start);

const struct ci_trace_span *ci_trace_span(const struct ci_trace *trace, int64_t index);

/* Forgets all spans and runs, not the steps: what comes is measured alone. */
void ci_trace_clear(struct ci_trace *trace);

#endif
