#include "proof/sample_run.h"

#include <stdlib.h>

#include "base/status.h"
#include "proof/device_call.h"
#include "proof/judge.h"

static enum clinfer_status run_on_cpu(const struct ci_variant *variant, const struct ci_layout *layout,
                                      struct ci_sample_call *result) {
    void *packed[CI_MAX_INPUTS] = {0};
    enum clinfer_status status = CLINFER_OK;
    struct ci_call call = result->call;
    for (int i = 0; i < variant->op->inputs && layout && layout != &ci_layout_stored; i++) {
        struct ci_view *view = &call.in[i];
        if (!view->type || !(variant->op->weight_inputs >> i & 1)) continue;
        size_t bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
        packed[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        if (!packed[i]) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of test data", bytes);
        if (status != CLINFER_OK) break;
        ci_layout_pack(layout, view->type, view->rows, view->cols, view->data, packed[i], 0, view->rows);
        view->data = packed[i];
        view->layout = layout;
    }
    ci_cpu_function *function = status == CLINFER_OK ? variant->cpu(&call) : NULL;
    if (function)
        for (int thread = 0; thread < 2; thread++) function(&call, thread, 2);
    for (int i = 0; i < CI_MAX_INPUTS; i++) free(packed[i]);
    return status;
}

static enum clinfer_status run_on_device(struct ci_device *device, const struct ci_variant *variant,
                                         const int *tunables, const struct ci_layout *layout,
                                         struct ci_sample_call *result) {
    struct ci_device_call call = {0};
    enum clinfer_status status = ci_device_call_create(device, result, layout, &call);
    if (status == CLINFER_OK) status = ci_device_call_run(&call, variant, tunables, result);
    ci_device_call_destroy(&call);
    return status;
}

enum clinfer_status ci_sample_run(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                  const struct ci_layout *layout, struct ci_sample_call *result) {
    return device ? run_on_device(device, variant, tunables, layout, result) : run_on_cpu(variant, layout, result);
}

enum clinfer_status ci_sample_prove(struct ci_device *device, const struct ci_variant *variant, const int *tunables,
                                    const struct ci_layout *layout, const struct ci_sample_call *sample,
                                    struct ci_gate_result *verdict) {
    struct ci_sample_call result;
    struct ci_judge *judge = NULL;
    enum clinfer_status status = ci_sample_copy(sample, &result);
    if (status == CLINFER_OK) status = ci_sample_run(device, variant, tunables, layout, &result);
    if (status == CLINFER_OK) status = ci_judge_create(sample, &judge);
    if (status == CLINFER_OK) status = ci_judge_compare(judge, &result, verdict);
    ci_judge_destroy(judge);
    ci_sample_destroy(&result);
    return status;
}
