/* record.c: what an engine recorded, in the words of clinfer.h; and the limits that it is held against. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/engine_private.h"
#include "proof/measure.h"
#include "trace/perfetto.h"
#include "trace/report.h"

struct ci_engine_record {
    struct clinfer_record_limit limits[CI_MAX_PLACES];
    struct clinfer_record out;
    struct ci_trace_report report;
};

static bool runs_something(const struct clinfer_engine *engine, int place) {
    for (int i = 0; i < engine->trace->step_count; i++)
        if (engine->trace->steps[i]->place == place) return true;
    return false;
}

/* 0 where it cannot be measured. */
static void measure_peak(struct clinfer_engine *engine, struct ci_device *device, enum ci_measure_kind kind,
                         double *per_second) {
    if (ci_measure_arithmetic(device, engine->threads, kind, per_second) != CLINFER_OK) *per_second = 0;
}

/* Reads as many bytes as the model has. */
static void measure(struct clinfer_engine *engine, int when) {
    for (int place = 0; place < engine->store.place_count; place++) {
        struct ci_device *device = engine->store.places[place].device;
        struct clinfer_record_limit *limit = &engine->record->limits[place];
        if (!runs_something(engine, place)) continue;
        double *read = &limit->read_bytes_per_second[when];
        if (ci_measure_read(device, engine->threads, engine->info.weight_bytes, read) != CLINFER_OK) *read = 0;
        measure_peak(engine, device, CI_MEASURE_F32, &limit->f32_per_second[when]);
        measure_peak(engine, device, CI_MEASURE_DOT8, &limit->dot8_per_second[when]);
    }
}

static enum clinfer_status record_devices(struct clinfer_engine *engine, bool on) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < engine->device_count && status == CLINFER_OK; i++)
        status = ci_device_record(engine->devices[i], on);
    return status;
}

enum clinfer_status ci_engine_record_start(struct clinfer_engine *engine) {
    engine->record = calloc(1, sizeof *engine->record);
    if (!engine->record) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a record");
    for (int i = 0; i < engine->store.place_count; i++) {
        const struct ci_device_caps *device = engine->store.places[i].caps.device;
        ci_trace_name_place(engine->trace, i, device ? device->name : "cpu");
        engine->record->limits[i].place = engine->trace->places[i];
    }
    measure(engine, 0);
    ci_trace_clear(engine->trace); /* of the proof of the first run */
    return record_devices(engine, true);
}

void ci_engine_record_end(struct clinfer_engine *engine) {
    if (engine->record) {
        ci_trace_report_free(&engine->record->report);
        free((void *)(uintptr_t)engine->record->out.lines);
        free((void *)(uintptr_t)engine->record->out.slowest);
    }
    free(engine->record);
    ci_trace_destroy(engine->trace);
}

/* The mean of before and after, each of them if the other is not known. */
static double mean(const double values[2]) {
    return values[0] > 0 && values[1] > 0 ? 0.5 * (values[0] + values[1]) : values[0] + values[1];
}

static enum clinfer_status make_report(struct clinfer_engine *engine) {
    struct ci_engine_record *record = engine->record;
    struct ci_trace_limits limits[CI_TRACE_MAX_PLACES] = {{0}};
    for (int i = 0; i < engine->store.place_count; i++)
        limits[i] =
            (struct ci_trace_limits){mean(record->limits[i].read_bytes_per_second),
                                     mean(record->limits[i].f32_per_second), mean(record->limits[i].dot8_per_second)};
    ci_trace_report_free(&record->report);
    return ci_trace_make_report(engine->trace, limits, &record->report);
}

static struct clinfer_record_line line_of(const struct clinfer_engine *engine, const struct ci_trace_line *line) {
    struct clinfer_record_line out = {.phase = ci_trace_phase_names[line->phase],
                                      .kind = ci_trace_kind_names[line->kind],
                                      .op = "",
                                      .types = "",
                                      .layout = "",
                                      .variant = "",
                                      .place = "host",
                                      .calls = line->calls,
                                      .seconds = line->seconds,
                                      .wall_seconds = line->wall,
                                      .bytes = line->bytes,
                                      .operations = line->operations,
                                      .roofline_seconds = line->roofline};
    if (!line->step) return out;
    out.op = line->step->op;
    out.types = line->step->types;
    out.layout = line->step->layout;
    out.variant = line->step->variant;
    out.place = engine->trace->places[line->step->place];
    out.rows = line->rows;
    out.k = line->step->k;
    out.n = line->step->n;
    return out;
}

static enum clinfer_status fill(struct clinfer_engine *engine) {
    struct ci_engine_record *record = engine->record;
    const struct ci_trace_report *report = &record->report;
    struct clinfer_record_line *lines = calloc((size_t)report->line_count + 1, sizeof *lines);
    struct clinfer_record_call *slowest = calloc((size_t)report->slowest_count + 1, sizeof *slowest);
    free((void *)(uintptr_t)record->out.lines);
    free((void *)(uintptr_t)record->out.slowest);
    record->out = (struct clinfer_record){.lines = lines,
                                          .limits = record->limits,
                                          .limit_count = (size_t)engine->store.place_count,
                                          .slowest = slowest,
                                          .lost = engine->trace->lost + (uint64_t)report->untold};
    if (!lines || !slowest) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a record");
    for (int i = 0; i < report->line_count; i++) lines[i] = line_of(engine, &report->lines[i]);
    record->out.line_count = (size_t)report->line_count;
    for (int i = 0; i < report->slowest_count; i++) {
        const struct ci_trace_slow *slow = &report->slowest[i];
        slowest[i] = (struct clinfer_record_call){slow->step->label,
                                                  slow->step->op,
                                                  slow->step->variant,
                                                  engine->trace->places[slow->step->place],
                                                  ci_trace_phase_names[slow->phase],
                                                  (uint64_t)slow->span->run,
                                                  slow->span->end - slow->span->start};
    }
    record->out.slowest_count = (size_t)report->slowest_count;
    for (int i = 0; i < CI_TRACE_PHASES; i++)
        record->out.phases[i] =
            (struct clinfer_record_phase){ci_trace_phase_names[i], (uint64_t)report->runs[i], (uint64_t)report->rows[i],
                                          report->wall[i], report->unexplained[i]};
    return CLINFER_OK;
}

static enum clinfer_status refuse(void) {
    return ci_fail(CLINFER_INVALID_ARGUMENT, "nothing was recorded: options.record was not set");
}

/* Everything that devices still owe. */
static enum clinfer_status settle(struct clinfer_engine *engine) {
    enum clinfer_status status = CLINFER_OK;
    ci_engine_land(engine);
    for (int i = 0; i < engine->device_count && status == CLINFER_OK; i++)
        status = ci_device_finish(engine->devices[i]);
    if (status == CLINFER_OK) ci_plan_collect(engine->buckets[0].plan);
    return status;
}

enum clinfer_status ci_engine_record(struct clinfer_engine *engine, const struct clinfer_record **out) {
    if (!engine->trace) return refuse();
    enum clinfer_status status = settle(engine);
    if (status == CLINFER_OK) status = record_devices(engine, false);
    if (status != CLINFER_OK) return status;
    measure(engine, 1);
    status = record_devices(engine, true);
    if (status == CLINFER_OK) status = make_report(engine);
    if (status == CLINFER_OK) status = fill(engine);
    if (status == CLINFER_OK) *out = &engine->record->out;
    return status;
}

enum clinfer_status ci_engine_record_reset(struct clinfer_engine *engine) {
    if (!engine->trace) return refuse();
    enum clinfer_status status = settle(engine);
    if (status == CLINFER_OK) ci_trace_clear(engine->trace);
    return status;
}

enum clinfer_status ci_engine_write_trace(struct clinfer_engine *engine, const char *path) {
    if (!engine->trace) return refuse();
    enum clinfer_status status = settle(engine);
    return status == CLINFER_OK ? ci_trace_write_perfetto(engine->trace, path) : status;
}
