/* record.c: the record of an engine as a table and as JSON. */
#define _GNU_SOURCE
#include "cli/record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/output.h"

bool ci_record_wanted(const struct ci_record_flags *flags) { return flags->profile || flags->trace; }

/* One that is there may be a pipe with a reader, which must not see it opened and closed. */
static bool can_write(const char *path) {
    struct stat info;
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode)) errno = EISDIR;
        return !S_ISDIR(info.st_mode) && access(path, W_OK) == 0;
    }
    int descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0) return false;
    close(descriptor);
    unlink(path);
    return true;
}

enum clinfer_status ci_record_check(const struct ci_record_flags *flags) {
    if (!flags->trace || can_write(flags->trace)) return CLINFER_OK;
    return ci_fail(CLINFER_IO, "--trace %s: cannot write there: %s", flags->trace, strerror(errno));
}

static bool is_op(const struct clinfer_record_line *line) { return strcmp(line->kind, "op") == 0; }

static bool in_phase(const struct clinfer_record_line *line, const struct clinfer_record_phase *phase) {
    return strcmp(line->phase, phase->name) == 0;
}

static double percent(double part, double whole) { return whole > 0 ? 100 * part / whole : 0; }

/* ---- the table ---- */

/* An op's numbers, of one line or of all lines of an op. */
struct sums {
    uint64_t calls;
    double seconds, wall, bytes, operations, roofline;
};

static void add(struct sums *sums, const struct clinfer_record_line *line) {
    sums->calls += line->calls;
    sums->seconds += line->seconds;
    sums->wall += line->wall_seconds;
    sums->bytes += line->bytes;
    sums->operations += line->operations;
    sums->roofline += line->roofline_seconds;
}

static void print_sums(const struct sums *sums, const struct clinfer_record_phase *phase, const char *text) {
    char time[CI_AMOUNT_BYTES], limit[16] = "-";
    if (sums->roofline > 0) snprintf(limit, sizeof limit, "%.0f%%", percent(sums->roofline, sums->seconds));
    ci_tell("  %7" PRIu64 " %9s %5.1f%% %7.2f %8.1f %6s  %s\n", sums->calls, ci_format_seconds(sums->seconds, time),
            percent(sums->wall, phase->wall_seconds), sums->seconds > 0 ? 1e-9 * sums->bytes / sums->seconds : 0,
            sums->seconds > 0 ? 1e-9 * sums->operations / sums->seconds : 0, limit, text);
}

static void print_op(const struct clinfer_record_line *line, const struct clinfer_record_phase *phase) {
    char types[96], text[512];
    struct sums sums = {0};
    add(&sums, line);
    snprintf(text, sizeof text, "%s %s %" PRId64 " -> %" PRId64 "  %s%s%s, %s", line->op,
             ci_format_types(line->types, types, sizeof types), line->k, line->n, line->variant,
             *line->layout ? " " : "", line->layout, line->place);
    print_sums(&sums, phase, text);
}

static void print_host(const struct clinfer_record_line *line, const struct clinfer_record_phase *phase) {
    char time[CI_AMOUNT_BYTES];
    ci_tell("  %7" PRIu64 " %9s %5.1f%% %7s %8s %6s  host: %s\n", line->calls, ci_format_seconds(line->seconds, time),
            percent(line->wall_seconds, phase->wall_seconds), "", "", "", line->kind);
}

/* All lines of each op together, the longest first. */
static void print_totals(const struct clinfer_record *record, const struct clinfer_record_phase *phase) {
    bool *done = calloc(record->line_count + 1, sizeof *done);
    ci_tell("  together:\n");
    for (size_t i = 0; i < record->line_count && done; i++) {
        struct sums sums = {0};
        if (done[i] || !is_op(&record->lines[i]) || !in_phase(&record->lines[i], phase)) continue;
        for (size_t k = i; k < record->line_count; k++) {
            const struct clinfer_record_line *line = &record->lines[k];
            if (!is_op(line) || !in_phase(line, phase) || strcmp(line->op, record->lines[i].op) != 0) continue;
            add(&sums, line);
            done[k] = true;
        }
        print_sums(&sums, phase, record->lines[i].op);
    }
    free(done);
}

static void print_phase(const struct clinfer_record *record, const struct clinfer_record_phase *phase) {
    char wall[CI_AMOUNT_BYTES], unexplained[CI_AMOUNT_BYTES];
    if (phase->wall_seconds <= 0) return;
    ci_tell("%s: %" PRIu64 " token%s in %" PRIu64 " step%s, %s by the clock on the wall\n", phase->name, phase->rows,
            phase->rows == 1 ? "" : "s", phase->runs, phase->runs == 1 ? "" : "s",
            ci_format_seconds(phase->wall_seconds, wall));
    ci_tell("    calls      time   wall    GB/s  GFLOP/s  limit  op\n");
    for (size_t i = 0; i < record->line_count; i++)
        if (is_op(&record->lines[i]) && in_phase(&record->lines[i], phase)) print_op(&record->lines[i], phase);
    print_totals(record, phase);
    for (size_t i = 0; i < record->line_count; i++)
        if (!is_op(&record->lines[i]) && in_phase(&record->lines[i], phase)) print_host(&record->lines[i], phase);
    ci_tell("          %9s %5.1f%%  unexplained\n", ci_format_seconds(phase->unexplained_seconds, unexplained),
            percent(phase->unexplained_seconds, phase->wall_seconds));
}

static void print_rate(const char *what, const double rate[2], const char *unit) {
    if (rate[0] > 0 || rate[1] > 0) ci_tell(", %s %.1f and %.1f %s", what, 1e-9 * rate[0], 1e-9 * rate[1], unit);
}

static void print_record(const struct clinfer_record *record) {
    for (int i = 0; i < 2; i++) print_phase(record, &record->phases[i]);
    ci_tell("slowest calls:");
    for (size_t i = 0; i < record->slowest_count && i < 5; i++) {
        const struct clinfer_record_call *call = &record->slowest[i];
        char time[CI_AMOUNT_BYTES];
        ci_tell("%s %s %s in step %" PRIu64 " (%s)", i ? "," : "", ci_format_seconds(call->seconds, time), call->label,
                call->run, call->phase);
    }
    ci_tell("\nlimits, measured before and after:\n");
    for (size_t i = 0; i < record->limit_count; i++) {
        const struct clinfer_record_limit *limit = &record->limits[i];
        if (limit->read_bytes_per_second[0] <= 0 && limit->read_bytes_per_second[1] <= 0) continue;
        ci_tell("  %s", limit->place);
        print_rate("reads", limit->read_bytes_per_second, "GB/s");
        print_rate("f32", limit->f32_per_second, "GFLOP/s");
        print_rate("products of bytes", limit->dot8_per_second, "GOP/s");
        fputc('\n', stderr);
    }
    if (record->lost) ci_warn("%" PRIu64 " calls are not in the profile: there was no room for more", record->lost);
}

/* ---- JSON ---- */

static void set_text(json_t *object, const char *name, const char *text) {
    json_object_set_new(object, name, ci_json_text(text, strlen(text)));
}

static json_t *line_json(const struct clinfer_record_line *line) {
    json_t *object = json_object();
    set_text(object, "phase", line->phase);
    set_text(object, "kind", line->kind);
    if (is_op(line)) {
        set_text(object, "op", line->op);
        set_text(object, "types", line->types);
        set_text(object, "layout", line->layout);
        set_text(object, "variant", line->variant);
        set_text(object, "place", line->place);
        json_object_set_new(object, "rows", json_integer(line->rows));
        json_object_set_new(object, "k", json_integer(line->k));
        json_object_set_new(object, "n", json_integer(line->n));
        json_object_set_new(object, "bytes", json_real(line->bytes));
        json_object_set_new(object, "operations", json_real(line->operations));
        json_object_set_new(object, "roofline_seconds", json_real(line->roofline_seconds));
    }
    json_object_set_new(object, "calls", json_integer((json_int_t)line->calls));
    json_object_set_new(object, "seconds", json_real(line->seconds));
    json_object_set_new(object, "wall_seconds", json_real(line->wall_seconds));
    return object;
}

static json_t *pair(const double rate[2]) { return json_pack("[f, f]", rate[0], rate[1]); }

static json_t *limit_json(const struct clinfer_record_limit *limit) {
    json_t *object = json_object();
    set_text(object, "place", limit->place);
    json_object_set_new(object, "read_bytes_per_second", pair(limit->read_bytes_per_second));
    json_object_set_new(object, "f32_per_second", pair(limit->f32_per_second));
    json_object_set_new(object, "dot8_per_second", pair(limit->dot8_per_second));
    return object;
}

static json_t *call_json(const struct clinfer_record_call *call) {
    json_t *object = json_object();
    set_text(object, "label", call->label);
    set_text(object, "op", call->op);
    set_text(object, "variant", call->variant);
    set_text(object, "place", call->place);
    set_text(object, "phase", call->phase);
    json_object_set_new(object, "step", json_integer((json_int_t)call->run));
    json_object_set_new(object, "seconds", json_real(call->seconds));
    return object;
}

static json_t *record_json(const struct clinfer_record *record) {
    json_t *object = json_object(), *phases = json_array(), *lines = json_array(), *limits = json_array(),
           *slowest = json_array();
    for (int i = 0; i < 2; i++) {
        const struct clinfer_record_phase *phase = &record->phases[i];
        json_array_append_new(phases,
                              json_pack("{s:s, s:I, s:I, s:f, s:f}", "phase", phase->name, "steps",
                                        (json_int_t)phase->runs, "rows", (json_int_t)phase->rows, "wall_seconds",
                                        phase->wall_seconds, "unexplained_seconds", phase->unexplained_seconds));
    }
    for (size_t i = 0; i < record->line_count; i++) json_array_append_new(lines, line_json(&record->lines[i]));
    for (size_t i = 0; i < record->limit_count; i++) json_array_append_new(limits, limit_json(&record->limits[i]));
    for (size_t i = 0; i < record->slowest_count; i++) json_array_append_new(slowest, call_json(&record->slowest[i]));
    json_object_set_new(object, "phases", phases);
    json_object_set_new(object, "lines", lines);
    json_object_set_new(object, "limits", limits);
    json_object_set_new(object, "slowest", slowest);
    json_object_set_new(object, "lost", json_integer((json_int_t)record->lost));
    return object;
}

json_t *ci_record_json(clinfer_engine *engine, enum clinfer_status *status) {
    const struct clinfer_record *record;
    *status = clinfer_engine_record(engine, &record);
    return *status == CLINFER_OK ? record_json(record) : NULL;
}

enum clinfer_status ci_record_report(const struct ci_record_flags *flags, bool json, clinfer_engine *engine) {
    enum clinfer_status status = CLINFER_OK;
    if (flags->trace) status = clinfer_engine_write_trace(engine, flags->trace);
    if (status == CLINFER_OK && flags->trace)
        ci_say("every op is in %s: open it in ui.perfetto.dev or chrome://tracing", flags->trace);
    const struct clinfer_record *record;
    if (status == CLINFER_OK && flags->profile && !json) {
        status = clinfer_engine_record(engine, &record);
        if (status == CLINFER_OK) print_record(record);
    }
    return status;
}
