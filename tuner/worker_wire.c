#include "tuner/worker_wire.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "ops/signature.h"
#include "profile/profile_fields.h"

json_t *ci_wire_number(double number) { return json_real(isfinite(number) ? number : DBL_MAX); }

static json_t *shape_to_json(const struct ci_case_shape *shape) {
    if (!shape->type) return json_null();
    return json_pack("[sII]", shape->type->name, (json_int_t)shape->rows, (json_int_t)shape->cols);
}

json_t *ci_wire_problem(const struct ci_problem *problem) {
    json_t *in = json_array(), *state = json_array(), *i = json_array(), *f = json_array();
    for (int k = 0; k < CI_MAX_INPUTS; k++) json_array_append_new(in, shape_to_json(&problem->shape.in[k]));
    for (int k = 0; k < CI_MAX_OUTPUTS; k++) json_array_append_new(state, shape_to_json(&problem->shape.state[k]));
    for (int k = 0; k < CI_MAX_PARAMS; k++) {
        json_array_append_new(i, json_integer(problem->shape.params.i[k]));
        json_array_append_new(f, ci_wire_number((double)problem->shape.params.f[k]));
    }
    return json_pack("{ss so so so so sI sI}", "op", problem->op->name, "in", in, "state", state, "i", i, "f", f,
                     "context", (json_int_t)problem->context, "cycle", (json_int_t)problem->cycle_bytes);
}

/* More than any device's memory holds; sizes in bytes stay far from overflowing. */
static const int64_t MOST_NUMBERS = INT64_C(1) << 44;

static enum clinfer_status read_shape(const json_t *json, struct ci_case_shape *shape) {
    const char *type;
    json_int_t rows, cols;
    *shape = (struct ci_case_shape){0};
    if (json_is_null(json)) return CLINFER_OK;
    if (json_unpack((json_t *)(uintptr_t)json, "[sII]", &type, &rows, &cols) != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a shape is [type, rows, cols]");
    *shape = (struct ci_case_shape){ci_type_from_name(type), rows, cols};
    if (!shape->type) return ci_fail(CLINFER_INVALID_ARGUMENT, "no type \"%s\"", type);
    int64_t numbers;
    if (rows < 1 || cols < 1 || !ci_type_fits_cols(shape->type, cols) || __builtin_mul_overflow(rows, cols, &numbers) ||
        numbers > MOST_NUMBERS)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%lld rows and %lld columns of %s", (long long)rows, (long long)cols,
                       type);
    return CLINFER_OK;
}

enum clinfer_status ci_wire_read_problem(const json_t *json, struct ci_problem *problem) {
    const char *op;
    json_t *in, *state, *i, *f;
    json_int_t context, cycle;
    *problem = (struct ci_problem){.shape.name = "problem"};
    if (!json || json_unpack((json_t *)(uintptr_t)json, "{ss so so so so sI sI}", "op", &op, "in", &in, "state", &state,
                             "i", &i, "f", &f, "context", &context, "cycle", &cycle) != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a problem lacks a field");
    problem->op = ci_op_find(op);
    if (!problem->op) return ci_fail(CLINFER_INVALID_ARGUMENT, "no op \"%s\"", op);
    if (context < 0 || context > INT32_MAX || cycle < 0 || cycle > MOST_NUMBERS)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a context of %lld, a cycle of %lld bytes", (long long)context,
                       (long long)cycle);
    problem->context = context;
    problem->cycle_bytes = (uint64_t)cycle;
    enum clinfer_status status = CLINFER_OK;
    for (size_t k = 0; k < CI_MAX_INPUTS && status == CLINFER_OK; k++)
        status = read_shape(json_array_get(in, k), &problem->shape.in[k]);
    for (size_t k = 0; k < CI_MAX_OUTPUTS && status == CLINFER_OK; k++)
        status = read_shape(json_array_get(state, k), &problem->shape.state[k]);
    for (size_t k = 0; k < CI_MAX_PARAMS && status == CLINFER_OK; k++) {
        if (!ci_narrow(json_integer_value(json_array_get(i, k)), &problem->shape.params.i[k]))
            status = ci_fail(CLINFER_INVALID_ARGUMENT, "parameter %zu is no 32-bit number", k);
        problem->shape.params.f[k] = (float)json_number_value(json_array_get(f, k));
    }
    return status;
}

json_t *ci_wire_candidate(const struct ci_tuner_candidate *candidate) {
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    int count = ci_signature_tunables(candidate->variant, candidate->tunables, tunables);
    json_t *values = json_object();
    for (int k = 0; k < count; k++) json_object_set_new(values, tunables[k].name, json_integer(tunables[k].value));
    return json_pack("{ss si ss so so}", "variant", candidate->variant->name, "backend",
                     (int)candidate->variant->backend, "layout", candidate->layout ? candidate->layout->name : "",
                     "tunables", values, "give_up", ci_wire_number(candidate->give_up_seconds));
}

enum clinfer_status ci_wire_read_candidate(const json_t *json, const struct ci_op *op,
                                           struct ci_tuner_candidate *candidate) {
    const char *variant, *layout, *name;
    int count = 0;
    json_int_t backend;
    json_t *values, *value;
    struct ci_profile_tunable tunables[CI_PROFILE_TUNABLES];
    *candidate = (struct ci_tuner_candidate){0};
    if (!json || json_unpack((json_t *)(uintptr_t)json, "{ss sI ss so sF}", "variant", &variant, "backend", &backend,
                             "layout", &layout, "tunables", &values, "give_up", &candidate->give_up_seconds) != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a candidate lacks a field");
    bool known = backend >= CI_BACKEND_CPU && backend <= CI_BACKEND_CLBLAST;
    candidate->variant = known ? ci_variant_find(op, (enum ci_backend)backend, variant) : NULL;
    if (!candidate->variant) return ci_fail(CLINFER_INVALID_ARGUMENT, "op %s has no variant \"%s\"", op->name, variant);
    candidate->layout = *layout ? ci_layout_from_name(layout) : NULL;
    if (*layout && !candidate->layout) return ci_fail(CLINFER_INVALID_ARGUMENT, "no layout \"%s\"", layout);
    json_object_foreach(values, name, value) {
        if (count == CI_PROFILE_TUNABLES) return ci_fail(CLINFER_INVALID_ARGUMENT, "too many tunables");
        tunables[count] = (struct ci_profile_tunable){0};
        if (!ci_narrow(json_integer_value(value), &tunables[count].value))
            return ci_fail(CLINFER_INVALID_ARGUMENT, "tunable %.40s is no 32-bit number", name);
        snprintf(tunables[count++].name, sizeof tunables->name, "%s", name);
    }
    return ci_signature_values(candidate->variant, tunables, count, candidate->tunables);
}

json_t *ci_wire_clblast(const struct ci_profile_clblast *set) {
    const struct ci_field_place place = {.file = "request"};
    json_t *json = set->kernels ? json_object() : NULL;
    if (json) ci_profile_clblast_write(&place, set, json);
    return json;
}

enum clinfer_status ci_wire_read_clblast(const json_t *json, struct ci_profile_clblast *set) {
    const struct ci_field_place place = {.file = "request"};
    *set = (struct ci_profile_clblast){0};
    return json ? ci_profile_clblast_read(&place, json, set) : CLINFER_OK;
}

bool ci_wire_read_numbers(const json_t *array, double *numbers, size_t count) {
    if (json_array_size(array) < count) return false;
    for (size_t i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(array, i))) return false;
        numbers[i] = json_number_value(json_array_get(array, i));
    }
    return true;
}

bool ci_wire_read_rounds(const json_t *number, int *rounds) {
    return json_is_integer(number) && ci_narrow(json_integer_value(number), rounds) && *rounds >= 0 &&
           *rounds <= CI_WIRE_MOST_ROUNDS;
}

/* Build logs hold whatever the driver wrote; JSON must be UTF-8. */
static void make_plain(char *text) {
    for (; *text; text++)
        if ((unsigned char)*text >= 128) *text = '?';
}

json_t *ci_wire_trial(const struct ci_trial *trial) {
    char reason[sizeof trial->reason];
    memcpy(reason, trial->reason, sizeof reason);
    make_plain(reason);
    return json_pack("{si ss so sb so so sb}", "outcome", (int)trial->outcome, "reason", reason, "build",
                     ci_wire_number(trial->build_seconds), "cached", trial->cached, "seconds",
                     ci_wire_number(trial->seconds), "nmse", ci_wire_number(trial->nmse), "clock", trial->device_clock);
}

enum clinfer_status ci_wire_read_trial(const json_t *json, struct ci_trial *trial) {
    int cached, clock;
    json_int_t outcome;
    const char *reason;
    if (!json || json_unpack((json_t *)(uintptr_t)json, "{sI ss sF sb sF sF sb}", "outcome", &outcome, "reason",
                             &reason, "build", &trial->build_seconds, "cached", &cached, "seconds", &trial->seconds,
                             "nmse", &trial->nmse, "clock", &clock) != 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a trial lacks a field");
    if (outcome < CI_TRIAL_PASSED || outcome > CI_TRIAL_OUT_OF_MEMORY)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a trial's outcome is %lld", (long long)outcome);
    if (!(trial->build_seconds >= 0) || !(trial->seconds >= 0) || !(trial->nmse >= 0))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "a trial's numbers are below 0");
    trial->outcome = (enum ci_trial_outcome)outcome;
    trial->cached = cached;
    trial->device_clock = clock;
    snprintf(trial->reason, sizeof trial->reason, "%s", reason);
    return CLINFER_OK;
}
