#define _GNU_SOURCE
#include "trace/trace.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"

const char *const ci_trace_kind_names[CI_TRACE_KIND_COUNT] = {
#define CI_TRACE_NAME(kind, name) [kind] = name,
    CI_TRACE_KINDS(CI_TRACE_NAME)
#undef CI_TRACE_NAME
};

const char *const ci_trace_phase_names[CI_TRACE_PHASES] = {"prefill", "decode"};

enum clinfer_status ci_trace_create(struct ci_trace **out) {
    struct ci_trace *trace = *out = calloc(1, sizeof *trace);
    if (!trace) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a trace");
    pthread_mutex_init(&trace->lock, NULL);
    return CLINFER_OK;
}

void ci_trace_destroy(struct ci_trace *trace) {
    if (!trace) return;
    for (int i = 0; i < CI_TRACE_CHUNKS; i++) free(trace->chunks[i]);
    free(trace->steps);
    free(trace->runs);
    ci_arena_destroy(&trace->arena);
    pthread_mutex_destroy(&trace->lock);
    free(trace);
}

static const char *keep(struct ci_trace *trace, const char *text) {
    return ci_arena_string(&trace->arena, text ? text : "", text ? strlen(text) : 0);
}

void ci_trace_name_place(struct ci_trace *trace, int place, const char *name) {
    if (trace && place < CI_TRACE_MAX_PLACES) trace->places[place] = keep(trace, name);
}

static bool share_line(const struct ci_trace_step *a, const struct ci_trace_step *b) {
    return a->place == b->place && a->k == b->k && a->n == b->n && strcmp(a->op, b->op) == 0 &&
           strcmp(a->types, b->types) == 0 && strcmp(a->layout, b->layout) == 0 && strcmp(a->variant, b->variant) == 0;
}

int32_t ci_trace_add_step(struct ci_trace *trace, const struct ci_trace_step *step) {
    if (!trace) return -1;
    if (trace->step_count == trace->step_capacity) {
        int capacity = 2 * trace->step_capacity + 512;
        struct ci_trace_step **steps = realloc(trace->steps, (size_t)capacity * sizeof(*steps));
        if (!steps) return -1;
        trace->steps = steps;
        trace->step_capacity = capacity;
    }
    struct ci_trace_step *copy = ci_arena_alloc(&trace->arena, sizeof *copy);
    if (!copy) return -1;
    *copy = *step;
    copy->label = keep(trace, step->label);
    copy->op = keep(trace, step->op);
    copy->types = keep(trace, step->types);
    copy->layout = keep(trace, step->layout);
    copy->variant = keep(trace, step->variant);
    if (!copy->label || !copy->op || !copy->types || !copy->layout || !copy->variant) return -1;
    copy->line = -1;
    for (int i = 0; i < trace->step_count && copy->line < 0; i++)
        if (share_line(trace->steps[i], copy)) copy->line = trace->steps[i]->line;
    if (copy->line < 0) copy->line = trace->line_count++;
    trace->steps[trace->step_count] = copy;
    return trace->step_count++;
}

int32_t ci_trace_add_run(struct ci_trace *trace, enum ci_trace_phase phase, int64_t rows) {
    if (!trace) return 0;
    pthread_mutex_lock(&trace->lock);
    if (trace->run_count == trace->run_capacity) {
        int capacity = 2 * trace->run_capacity + 256;
        struct ci_trace_run *runs = realloc(trace->runs, (size_t)capacity * sizeof *runs);
        if (runs) trace->runs = runs;
        if (runs) trace->run_capacity = capacity;
    }
    /* Without memory the last run goes on. */
    if (trace->run_count < trace->run_capacity)
        trace->runs[trace->run_count++] = (struct ci_trace_run){.phase = phase, .rows = rows};
    int32_t run = trace->run_count - 1;
    pthread_mutex_unlock(&trace->lock);
    return run;
}

/* With the lock held. */
static int64_t add(struct ci_trace *trace, const struct ci_trace_span *span) {
    int64_t chunk = trace->span_count / CI_TRACE_CHUNK, at = trace->span_count % CI_TRACE_CHUNK, index = -1;
    if (chunk < CI_TRACE_CHUNKS && !trace->chunks[chunk])
        trace->chunks[chunk] = malloc(CI_TRACE_CHUNK * sizeof **trace->chunks);
    if (chunk < CI_TRACE_CHUNKS && trace->chunks[chunk]) {
        trace->chunks[chunk][at] = *span;
        index = trace->span_count++;
    } else {
        trace->lost++;
    }
    return index;
}

int64_t ci_trace_add(struct ci_trace *trace, const struct ci_trace_span *span) {
    if (!trace) return -1;
    pthread_mutex_lock(&trace->lock);
    int64_t index = add(trace, span);
    pthread_mutex_unlock(&trace->lock);
    return index;
}

void ci_trace_add_many(struct ci_trace *trace, const struct ci_trace_span *spans, int count) {
    pthread_mutex_lock(&trace->lock);
    for (int i = 0; i < count; i++) add(trace, &spans[i]);
    pthread_mutex_unlock(&trace->lock);
}

void ci_trace_settle(struct ci_trace *trace, int64_t index, double enqueued, double start, double end, bool more) {
    if (index < 0 || index >= trace->span_count) return;
    struct ci_trace_span *span = &trace->chunks[index / CI_TRACE_CHUNK][index % CI_TRACE_CHUNK];
    struct ci_trace_span next = *span;
    next.start = start;
    next.end = end;
    next.queued = (float)(start - enqueued);
    next.more = more;
    if (!more) {
        *span = next;
        return;
    }
    next.bytes = next.operations = 0; /* of the op, and counted with its first kernel */
    ci_trace_add(trace, &next);
}

double ci_trace_start(const struct ci_trace *trace) { return trace ? ci_now() : 0; }

double ci_trace_host(struct ci_trace *trace, enum ci_trace_kind kind, double start) {
    if (!trace) return 0;
    double end = ci_now();
    pthread_mutex_lock(&trace->lock); /* other threads begin runs meanwhile */
    add(trace, &(struct ci_trace_span){
                   .start = start, .end = end, .step = -1, .run = trace->run_count - 1, .kind = (uint8_t)kind});
    pthread_mutex_unlock(&trace->lock);
    return end;
}

const struct ci_trace_span *ci_trace_span(const struct ci_trace *trace, int64_t index) {
    return &trace->chunks[index / CI_TRACE_CHUNK][index % CI_TRACE_CHUNK];
}

void ci_trace_clear(struct ci_trace *trace) {
    if (!trace) return;
    pthread_mutex_lock(&trace->lock);
    trace->span_count = 0;
    trace->run_count = 0;
    trace->lost = 0;
    pthread_mutex_unlock(&trace->lock);
}
