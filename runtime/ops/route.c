/* route: the experts of a mixture that each row goes to, and with which weights (Shazeer et al. 2017, arXiv 1701.06538;
 * the variants as llama.cpp has them). It also sorts the pairs of rows and experts, so that who multiplies reads the
 * weights of each expert once. */
#include <math.h>
#include <string.h>

#include "base/random.h"
#include "base/status.h"
#include "ops/experts.h"
#include "ops/infer.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { LOGITS, BIAS };

/* Gates of equal experts are summed in pairs. */
static enum clinfer_status check_groups(const struct ci_call *call, int64_t experts, int64_t used) {
    int64_t groups = call->params.i[CI_ROUTE_I_GROUPS], groups_used = call->params.i[CI_ROUTE_I_GROUPS_USED];
    if (groups == 0 || groups == 1) return CLINFER_OK;
    if (groups < 0 || experts % groups || experts / groups < 2 || groups_used < 1 || groups_used > groups ||
        used > experts / groups * groups_used || call->params.i[CI_ROUTE_I_GATING] == CI_GATING_SOFTMAX_CHOSEN)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "op route: %lld of %lld experts in %lld of %lld groups: groups must be equal, of two experts or "
                       "more, and those used have as many experts as are used",
                       (long long)used, (long long)experts, (long long)groups_used, (long long)groups);
    return CLINFER_OK;
}

static enum clinfer_status infer(struct ci_call *call) {
    const struct ci_view *logits = &call->in[LOGITS];
    int64_t used = call->params.i[CI_ROUTE_I_USED], experts = logits->cols;
    enum clinfer_status status = ci_infer_expect("route", call, LOGITS, &ci_type_f32, -1, -1);
    if (status == CLINFER_OK) status = ci_infer_optional("route", call, BIAS, &ci_type_f32, 1, experts);
    if (status == CLINFER_OK && (experts > CI_MAX_EXPERTS || used < 1 || used > experts || used > CI_MAX_EXPERTS_USED))
        status = ci_fail(CLINFER_UNSUPPORTED, "op route: %lld of %lld experts; at most %d of %d are possible",
                         (long long)used, (long long)experts, CI_MAX_EXPERTS_USED, CI_MAX_EXPERTS);
    if (status == CLINFER_OK && (call->params.i[CI_ROUTE_I_GATING] < CI_GATING_SOFTMAX ||
                                 call->params.i[CI_ROUTE_I_GATING] > CI_GATING_SOFTMAX_CHOSEN))
        status = ci_fail(CLINFER_BAD_FILE, "op route: there is no gating %d", (int)call->params.i[CI_ROUTE_I_GATING]);
    if (status == CLINFER_OK) status = check_groups(call, experts, used);
    ci_infer_out(&call->out[0], &ci_type_i32, logits->extent, logits->rows, used);
    ci_infer_out(&call->out[1], &ci_type_f32, logits->extent, logits->rows, used);
    ci_infer_out(&call->out[2], &ci_type_i32, logits->extent, logits->rows, used);
    ci_infer_out(&call->out[3], &ci_type_i32, CI_EXTENT_FIXED, 1, experts + 1);
    return status;
}

void ci_experts_sort(const int32_t *ids, int64_t pairs, int64_t experts, int32_t *order, int32_t *starts) {
    memset(starts, 0, (size_t)(experts + 1) * sizeof *starts);
    for (int64_t i = 0; i < pairs; i++) starts[(ids[i] < 0 || ids[i] >= experts ? 0 : ids[i]) + 1]++;
    for (int64_t e = 0; e < experts; e++) starts[e + 1] += starts[e];
    for (int64_t i = 0; i < pairs; i++) order[starts[ids[i] < 0 || ids[i] >= experts ? 0 : ids[i]]++] = (int32_t)i;
    for (int64_t e = experts; e > 0; e--) starts[e] = starts[e - 1];
    starts[0] = 0;
}

static void softmax(double *values, int64_t count) {
    double most = values[0], sum = 0;
    for (int64_t i = 1; i < count; i++) most = values[i] > most ? values[i] : most;
    for (int64_t i = 0; i < count; i++) sum += values[i] = exp(values[i] - most);
    for (int64_t i = 0; i < count; i++) values[i] /= sum;
}

/* The largest that is not taken, of equals the first. Numbers that are none only where there is nothing else. */
static int64_t take_best(const double *values, int64_t count, bool *taken) {
    int64_t best = -1;
    double most = -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        if (taken[i] || (best >= 0 && !(values[i] > most))) continue;
        best = i;
        most = isnan(values[i]) ? -INFINITY : values[i];
    }
    taken[best] = true;
    return best;
}

/* Takes the experts of groups that are not used. */
static void take_other_groups(const struct ci_call *call, const double *values, int64_t experts, bool *taken) {
    int64_t groups = call->params.i[CI_ROUTE_I_GROUPS], size = experts / groups;
    double sums[CI_MAX_EXPERTS] = {0};
    bool used[CI_MAX_EXPERTS] = {false};
    for (int64_t g = 0; g < groups; g++) {
        bool seen[CI_MAX_EXPERTS] = {false};
        sums[g] = values[g * size + take_best(values + g * size, size, seen)];
        sums[g] += values[g * size + take_best(values + g * size, size, seen)];
    }
    for (int64_t j = 0; j < call->params.i[CI_ROUTE_I_GROUPS_USED]; j++) take_best(sums, groups, used);
    for (int64_t e = 0; e < experts; e++) taken[e] = !used[e / size];
}

/* By logit where there are neither bias nor groups: the same order as by the gate, and no two logits become one. */
static void choose(const struct ci_call *call, const float *logits, const double *gates, int32_t *ids) {
    int64_t experts = call->in[LOGITS].cols;
    const float *bias = call->in[BIAS].type ? call->in[BIAS].data : NULL;
    bool taken[CI_MAX_EXPERTS] = {false}, grouped = call->params.i[CI_ROUTE_I_GROUPS] > 1;
    double values[CI_MAX_EXPERTS] = {0};
    for (int64_t e = 0; e < experts; e++)
        values[e] = bias ? (double)((float)gates[e] + bias[e]) : grouped ? (double)(float)gates[e] : (double)logits[e];
    if (grouped) take_other_groups(call, values, experts, taken);
    for (int64_t j = 0; j < call->params.i[CI_ROUTE_I_USED]; j++) ids[j] = (int32_t)take_best(values, experts, taken);
}

static void route_row(const struct ci_call *call, int64_t row) {
    int64_t experts = call->in[LOGITS].cols, used = call->params.i[CI_ROUTE_I_USED];
    int gating = call->params.i[CI_ROUTE_I_GATING];
    const float *logits = (const float *)call->in[LOGITS].data + row * experts;
    int32_t *ids = (int32_t *)call->out[0].data + row * used;
    float *weights = (float *)call->out[1].data + row * used;
    double gates[CI_MAX_EXPERTS] = {0}, chosen[CI_MAX_EXPERTS_USED] = {0}, sum = 0;
    double scale = (double)call->params.f[CI_ROUTE_F_SCALE];
    for (int64_t e = 0; e < experts; e++)
        gates[e] = gating == CI_GATING_SIGMOID ? 1.0 / (1.0 + exp(-(double)logits[e])) : (double)logits[e];
    if (gating == CI_GATING_SOFTMAX) softmax(gates, experts);
    choose(call, logits, gates, ids);
    for (int64_t j = 0; j < used; j++) chosen[j] = gates[ids[j]];
    if (gating == CI_GATING_SOFTMAX_CHOSEN) softmax(chosen, used);
    for (int64_t j = 0; j < used; j++) sum += chosen[j];
    if (call->params.i[CI_ROUTE_I_NORMALISE]) scale /= fmax(sum, CI_ROUTE_LEAST_SUM);
    for (int64_t j = 0; j < used; j++) weights[j] = (float)(chosen[j] * scale);
}

static void reference(const struct ci_call *call) {
    for (int64_t row = 0; row < call->in[LOGITS].rows; row++) route_row(call, row);
    ci_experts_sort(call->out[0].data, call->in[LOGITS].rows * call->params.i[CI_ROUTE_I_USED], call->in[LOGITS].cols,
                    call->out[2].data, call->out[3].data);
}

/* Logits some way apart, in any order, so that no rounding changes a choice; of each row two are equal. */
static void fill(struct ci_call *call, uint64_t *random_state) {
    int64_t experts = call->in[LOGITS].cols;
    for (int64_t row = 0; row < call->in[LOGITS].rows; row++) {
        float *logits = (float *)call->in[LOGITS].data + row * experts;
        for (int64_t e = 0; e < experts; e++) {
            int64_t other = (int64_t)(ci_random(random_state) % (uint64_t)(e + 1));
            logits[e] = logits[other];
            logits[other] = 8.0f * (float)e / (float)experts - 4.0f;
        }
        logits[ci_random(random_state) % (uint64_t)experts] = logits[0];
    }
    for (int64_t e = 0; call->in[BIAS].type && e < experts; e++)
        ((float *)call->in[BIAS].data)[e] = 0.01f * (float)(e * 7 % experts);
}

#define CASE(title, rows, experts, used, gating, normalise, scale)                                                     \
    {                                                                                                                  \
        title, {{&ci_type_f32, rows, experts}}, {{0}}, {                                                               \
            {used, CI_GATING_##gating, normalise}, { scale }                                                           \
        }                                                                                                              \
    }

static const struct ci_case cases[] = {
    CASE("8 of 128, one token", 1, 128, 8, SOFTMAX, 1, 1.0f),
    CASE("8 of 64, prompt", 37, 64, 8, SOFTMAX, 1, 1.0f),
    CASE("2 of 8, not normalised", 5, 8, 2, SOFTMAX, 0, 2.5f),
    CASE("4 of 32 of gpt-oss", 9, 32, 4, SOFTMAX_CHOSEN, 0, 1.0f),
    CASE("all of 2", 3, 2, 2, SOFTMAX, 1, 1.0f),
    {"sigmoid with a bias",
     {{&ci_type_f32, 17, 48}, {&ci_type_f32, 1, 48}},
     {{0}},
     {{6, CI_GATING_SIGMOID, 1}, {2.5f}}},
    {"groups, sigmoid with a bias",
     {{&ci_type_f32, 19, 64}, {&ci_type_f32, 1, 64}},
     {{0}},
     {{6, CI_GATING_SIGMOID, 1, 8, 3}, {2.5f}}},
    {"groups of two, softmax", {{&ci_type_f32, 5, 12}}, {{0}}, {{4, CI_GATING_SOFTMAX, 0, 6, 2}, {1}}},
    {0}};

const struct ci_op ci_op_route = {
    .name = "route",
    .inputs = 2,
    .outputs = 4,
    .infer = infer,
    .reference = reference,
    .fill = fill,
    .gate = {1e-11, 1e-5},
    .cases = cases,
};
