/* Any line as what the tuner and its worker say to each other, both ways: refused with a reason, or the same when it is
 * written and read again. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "tuner/worker_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void refused(enum clinfer_status status) {
    if (status != CLINFER_INVALID_ARGUMENT && status != CLINFER_BAD_FILE && status != CLINFER_UNSUPPORTED) abort();
    if (!*ci_status_message()) abort();
}

/* What reading gives again is what was read. Takes over `json`. */
static void check_problem(const json_t *json) {
    struct ci_problem problem, again;
    enum clinfer_status status = ci_wire_read_problem(json, &problem);
    if (status != CLINFER_OK) {
        refused(status);
        return;
    }
    json_t *written = ci_wire_problem(&problem);
    if (ci_wire_read_problem(written, &again) != CLINFER_OK || again.op != problem.op ||
        again.context != problem.context || again.cycle_bytes != problem.cycle_bytes)
        abort();
    for (int i = 0; i < CI_MAX_INPUTS; i++) {
        const struct ci_case_shape *a = &problem.shape.in[i], *b = &again.shape.in[i];
        if (a->type != b->type || a->rows != b->rows || a->cols != b->cols) abort();
        if (a->type && (a->rows < 1 || a->cols < 1)) abort();
    }
    if (memcmp(problem.shape.params.i, again.shape.params.i, sizeof again.shape.params.i) != 0) abort();
    json_decref(written);
}

static void check_candidate(const json_t *json) {
    for (int i = 0; ci_ops[i]; i++) {
        struct ci_tuner_candidate candidate, again;
        enum clinfer_status status = ci_wire_read_candidate(json, ci_ops[i], &candidate);
        if (status != CLINFER_OK) {
            refused(status);
            continue;
        }
        json_t *written = ci_wire_candidate(&candidate);
        if (candidate.variant->op != ci_ops[i] || ci_wire_read_candidate(written, ci_ops[i], &again) != CLINFER_OK ||
            again.variant != candidate.variant || again.layout != candidate.layout ||
            memcmp(again.tunables, candidate.tunables, sizeof again.tunables) != 0)
            abort();
        json_decref(written);
    }
}

static void check_trial(const json_t *json) {
    struct ci_trial trial = {0}, again = {0};
    enum clinfer_status status = ci_wire_read_trial(json, &trial);
    if (status != CLINFER_OK) {
        refused(status);
        return;
    }
    if (trial.outcome > CI_TRIAL_OUT_OF_MEMORY || !(trial.seconds >= 0) || !(trial.nmse >= 0)) abort();
    json_t *written = ci_wire_trial(&trial);
    if (ci_wire_read_trial(written, &again) != CLINFER_OK || again.outcome != trial.outcome) abort();
    json_decref(written);
}

static void check_clblast(const json_t *json) {
    struct ci_profile_clblast set, again;
    enum clinfer_status status = ci_wire_read_clblast(json, &set);
    if (status == CLINFER_OK) {
        json_t *written = ci_wire_clblast(&set); /* NULL: an empty one */
        if (ci_wire_read_clblast(written, &again) != CLINFER_OK || !ci_profile_clblast_equal(&set, &again)) abort();
        json_decref(written);
    } else {
        refused(status);
    }
}

static void check_numbers(const json_t *json) {
    double numbers[7];
    int rounds = -1;
    size_t count = json_array_size(json) < 7 ? json_array_size(json) : 7;
    if (ci_wire_read_numbers(json, numbers, count))
        for (size_t i = 0; i < count; i++)
            if (!isfinite(numbers[i])) abort();
    if (ci_wire_read_rounds(json, &rounds) && (rounds < 0 || rounds > CI_WIRE_MOST_ROUNDS)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);
    if (!json) return 0;
    const json_t *parts[] = {json, json_object_get(json, "problem"), json_object_get(json, "candidate"),
                             json_object_get(json, "trial"), json_object_get(json, "clblast")};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        check_problem(parts[i]);
        check_candidate(parts[i]);
        check_trial(parts[i]);
        check_clblast(parts[i]);
        check_numbers(parts[i]);
    }
    json_decref(json);
    return 0;
}
