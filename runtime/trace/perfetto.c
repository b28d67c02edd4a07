#define _GNU_SOURCE
#include "trace/perfetto.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/status.h"

enum { PROCESS = 1, TRACK_STEPS = 2, TRACK_HOST, TRACK_PLACES };

/* From when to when a run was computed, and lay in the queues. */
struct extent {
    double start, end;
    double queue_start[CI_TRACE_MAX_PLACES], queue_end[CI_TRACE_MAX_PLACES];
};

struct writer {
    const struct ci_trace *trace;
    FILE *file;
    double begin;
    char **names; /* of steps, as JSON strings with quotes */
    struct extent *runs;
    bool comma;
};

static double microseconds(const struct writer *writer, double time) { return 1e6 * (time - writer->begin); }

static void begin_event(struct writer *writer) {
    fputs(writer->comma ? ",\n" : "\n", writer->file);
    writer->comma = true;
}

static char *quoted(const char *text) {
    json_t *string = json_string(text);
    char *out = string ? json_dumps(string, JSON_ENCODE_ANY) : strdup("\"?\"");
    json_decref(string);
    return out;
}

static void write_track(struct writer *writer, int track, const char *name) {
    char *text = quoted(name);
    begin_event(writer);
    fprintf(writer->file, "{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_name\",\"args\":{\"name\":%s}}",
            PROCESS, track, text ? text : "\"?\"");
    begin_event(writer);
    fprintf(writer->file,
            "{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_sort_index\",\"args\":{\"sort_index\":%d}}", PROCESS,
            track, track);
    free(text);
}

/* Spans of one kind that may lie over each other. */
static void write_pair(struct writer *writer, const char *category, const char *name, int64_t id, double start,
                       double end) {
    for (int i = 0; i < 2; i++) {
        begin_event(writer);
        fprintf(writer->file,
                "{\"ph\":\"%c\",\"pid\":%d,\"tid\":%d,\"cat\":\"%s\",\"id\":%" PRId64 ",\"name\":\"%s\",\"ts\":%.3f}",
                i ? 'e' : 'b', PROCESS, TRACK_STEPS, category, id, name, microseconds(writer, i ? end : start));
    }
}

static const struct ci_trace_run *run_of(const struct ci_trace *trace, const struct ci_trace_span *span) {
    return span->run >= 0 && span->run < trace->run_count ? &trace->runs[span->run] : NULL;
}

static void write_op(struct writer *writer, const struct ci_trace_span *span) {
    const struct ci_trace_step *step = writer->trace->steps[span->step];
    const struct ci_trace_run *run = run_of(writer->trace, span);
    begin_event(writer);
    fprintf(writer->file,
            "{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"cat\":\"op\",\"name\":\"%s\",\"ts\":%.3f,\"dur\":%.3f,\"args\":{"
            "\"label\":%s,\"variant\":\"%s\",\"types\":\"%s\",\"layout\":\"%s\",\"rows\":%" PRId64 ",\"k\":%" PRId64
            ",\"n\":%" PRId64 ",\"bytes\":%.0f,\"operations\":%.0f,\"queued_us\":%.3f,\"run\":%d}}",
            PROCESS, TRACK_PLACES + step->place, step->op, microseconds(writer, span->start),
            1e6 * (span->end - span->start), writer->names[span->step], step->variant, step->types, step->layout,
            run ? run->rows : 0, step->k, step->n, (double)span->bytes, (double)span->operations,
            1e6 * (double)span->queued, span->run);
}

static void write_host(struct writer *writer, const struct ci_trace_span *span) {
    begin_event(writer);
    fprintf(writer->file,
            "{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"cat\":\"host\",\"name\":\"%s\",\"ts\":%.3f,\"dur\":%.3f,\"args\":{"
            "\"run\":%d",
            PROCESS, TRACK_HOST, ci_trace_kind_names[span->kind], microseconds(writer, span->start),
            1e6 * (span->end - span->start), span->run);
    if (span->kind == CI_TRACE_CROSSING && span->step >= 0)
        fprintf(writer->file, ",\"tensor\":%s,\"bytes\":%.0f", writer->names[span->step], (double)span->bytes);
    fputs("}}", writer->file);
}

static void extend(struct writer *writer, const struct ci_trace_span *span) {
    if (span->kind != CI_TRACE_OP || !run_of(writer->trace, span)) return;
    struct extent *run = &writer->runs[span->run];
    int place = writer->trace->steps[span->step]->place;
    run->start = run->end == 0 ? span->start : fmin(run->start, span->start);
    run->end = fmax(run->end, span->end);
    if (place == 0) return;
    double enqueued = span->start - (double)span->queued;
    run->queue_start[place] = run->queue_end[place] == 0 ? enqueued : fmin(run->queue_start[place], enqueued);
    run->queue_end[place] = fmax(run->queue_end[place], span->start);
}

static void write_runs(struct writer *writer) {
    const struct ci_trace *trace = writer->trace;
    for (int i = 0; i < trace->run_count; i++) {
        const struct extent *run = &writer->runs[i];
        if (run->end == 0) continue;
        begin_event(writer);
        fprintf(
            writer->file,
            "{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"cat\":\"step\",\"name\":\"%s\",\"ts\":%.3f,\"dur\":%.3f,\"args\":{"
            "\"run\":%d,\"rows\":%" PRId64 "}}",
            PROCESS, TRACK_STEPS, ci_trace_phase_names[trace->runs[i].phase], microseconds(writer, run->start),
            1e6 * (run->end - run->start), i, trace->runs[i].rows);
        for (int place = 1; place < CI_TRACE_MAX_PLACES; place++) {
            char name[32];
            if (run->queue_end[place] == 0) continue;
            snprintf(name, sizeof name, "queue of device %d", place - 1);
            write_pair(writer, "queue", name, i, run->queue_start[place], run->queue_end[place]);
        }
    }
}

static void write_events(struct writer *writer) {
    const struct ci_trace *trace = writer->trace;
    int64_t requests = 0;
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", writer->file);
    begin_event(writer);
    fprintf(writer->file, "{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":\"clinfer\"}}",
            PROCESS);
    write_track(writer, TRACK_STEPS, "steps");
    write_track(writer, TRACK_HOST, "host");
    for (int place = 0; place < CI_TRACE_MAX_PLACES; place++)
        if (trace->places[place]) write_track(writer, TRACK_PLACES + place, trace->places[place]);
    for (int64_t i = 0; i < trace->span_count; i++) {
        const struct ci_trace_span *span = ci_trace_span(trace, i);
        if (span->end == 0) continue;
        extend(writer, span);
        if (span->kind == CI_TRACE_OP)
            write_op(writer, span);
        else if (span->kind == CI_TRACE_REQUEST)
            write_pair(writer, "request", "request", requests++, span->start, span->end);
        else
            write_host(writer, span);
    }
    write_runs(writer);
    fprintf(writer->file, "\n],\"otherData\":{\"lost\":%" PRIu64 "}}\n", trace->lost);
}

static bool prepare(struct writer *writer) {
    const struct ci_trace *trace = writer->trace;
    writer->names = calloc((size_t)trace->step_count + 1, sizeof *writer->names);
    writer->runs = calloc((size_t)trace->run_count + 1, sizeof *writer->runs);
    bool complete = writer->names && writer->runs;
    for (int i = 0; i < trace->step_count && complete; i++) {
        writer->names[i] = quoted(trace->steps[i]->label);
        complete = writer->names[i] != NULL;
    }
    writer->begin = INFINITY;
    for (int64_t i = 0; i < trace->span_count; i++) {
        const struct ci_trace_span *span = ci_trace_span(trace, i);
        if (span->end > 0) writer->begin = fmin(writer->begin, span->start);
    }
    return complete;
}

enum clinfer_status ci_trace_write_perfetto(const struct ci_trace *trace, const char *path) {
    struct writer writer = {.trace = trace};
    enum clinfer_status status = CLINFER_OK;
    if (!prepare(&writer)) status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for the trace", path);
    if (status == CLINFER_OK && !(writer.file = fopen(path, "we")))
        status = ci_fail(CLINFER_IO, "%s: %s", path, strerror(errno));
    if (status == CLINFER_OK) {
        write_events(&writer);
        bool failed = ferror(writer.file) != 0;
        if (fclose(writer.file) != 0 || failed) status = ci_fail(CLINFER_IO, "%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < trace->step_count && writer.names; i++) free(writer.names[i]);
    free(writer.names);
    free(writer.runs);
    return status;
}
