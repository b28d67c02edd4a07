#include "proof/judge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/status.h"

struct ci_judge {
    const struct ci_sample_call *sample;
    struct ci_sample_call expected; /* what the reference gives */
    float *sizes;                   /* of ci_gate_sizes */
};

enum clinfer_status ci_judge_create(const struct ci_sample_call *sample, struct ci_judge **out) {
    *out = NULL;
    struct ci_judge *judge = calloc(1, sizeof *judge);
    if (!judge) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory judging op %s", sample->op->name);
    judge->sample = sample;
    enum clinfer_status status = ci_sample_copy(sample, &judge->expected);
    if (status == CLINFER_OK) status = ci_op_reference(sample->op, &judge->expected.call);
    if (status == CLINFER_OK) status = ci_gate_sizes(sample->op, &judge->expected.call, &judge->sizes);
    if (status == CLINFER_OK)
        *out = judge;
    else
        ci_judge_destroy(judge);
    return status;
}

void ci_judge_destroy(struct ci_judge *judge) {
    if (!judge) return;
    ci_sample_destroy(&judge->expected);
    free(judge->sizes);
    free(judge);
}

enum clinfer_status ci_judge_compare(struct ci_judge *judge, const struct ci_sample_call *result,
                                     struct ci_gate_result *verdict) {
    const struct ci_op *op = judge->sample->op;
    int output;
    enum clinfer_status status = ci_gate_compare_sizes(op, &judge->expected.call, judge->sizes, &result->call, verdict);
    if (status == CLINFER_OK && !ci_sample_guards_hold(result, &output)) {
        verdict->passed = false;
        snprintf(verdict->text, sizeof verdict->text, "it writes beside output %d", output);
    }
    return status;
}
