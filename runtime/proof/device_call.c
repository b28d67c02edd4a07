#include "proof/device_call.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

static enum clinfer_status upload(struct ci_device_call *call, int slot, struct ci_view *view, const void *data,
                                  size_t bytes) {
    size_t total = bytes + 2 * CI_DEVICE_CALL_OFFSET;
    uint8_t *host = malloc(total);
    if (!host) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of test data", total);
    memset(host, CI_GUARD_VALUE, total);
    memcpy(host + CI_DEVICE_CALL_OFFSET, data, bytes);
    enum clinfer_status status = CLINFER_OK;
    if (!call->buffers[slot]) status = ci_buffer_create(call->device, total, NULL, &call->buffers[slot]);
    if (status == CLINFER_OK) status = ci_buffer_write(call->buffers[slot], 0, host, total);
    free(host);
    view->data = NULL;
    view->buffer = call->buffers[slot];
    view->offset = CI_DEVICE_CALL_OFFSET;
    return status;
}

static enum clinfer_status upload_packed(struct ci_device_call *call, int slot, struct ci_view *view,
                                         const struct ci_layout *layout) {
    size_t bytes = ci_layout_bytes(layout, view->type, view->rows, view->cols);
    uint8_t *packed = calloc(1, bytes);
    if (!packed) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of test data", bytes);
    ci_layout_pack(layout, view->type, view->rows, view->cols, view->data, packed, 0, view->rows);
    view->layout = layout;
    enum clinfer_status status = upload(call, slot, view, packed, bytes);
    free(packed);
    return status;
}

enum clinfer_status ci_device_call_create(struct ci_device *device, const struct ci_sample_call *sample,
                                          const struct ci_layout *layout, struct ci_device_call *result) {
    static const struct ci_view none[CI_MAX_INPUTS];
    return ci_device_call_create_with(device, sample, layout, none, result);
}

enum clinfer_status ci_device_call_create_with(struct ci_device *device, const struct ci_sample_call *sample,
                                               const struct ci_layout *layout,
                                               const struct ci_view given[CI_MAX_INPUTS],
                                               struct ci_device_call *result) {
    *result = (struct ci_device_call){.device = device, .op = sample->op, .call = sample->call};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < sample->op->inputs && status == CLINFER_OK; i++) {
        struct ci_view *view = &result->call.in[i];
        if (!view->type) continue;
        if (given[i].buffer)
            *view = given[i];
        else if (layout && layout != &ci_layout_stored && (sample->op->weight_inputs >> i & 1))
            status = upload_packed(result, i, view, layout);
        else
            status = upload(result, i, view, view->data, ci_view_bytes(view));
    }
    for (int i = sample->op->inputs; i < CI_MAX_INPUTS; i++) result->call.in[i] = (struct ci_view){0};
    if (status != CLINFER_OK) ci_device_call_destroy(result);
    return status;
}

void ci_device_call_destroy(struct ci_device_call *call) {
    for (int i = 0; i < CI_MAX_INPUTS + CI_MAX_OUTPUTS + 1; i++)
        if (call->buffers[i]) ci_buffer_destroy(call->buffers[i]);
    *call = (struct ci_device_call){0};
}

enum clinfer_status ci_device_call_bind(struct ci_device_call *call, const struct ci_variant *variant,
                                        const int *tunables, const struct ci_sample_call *outputs,
                                        struct ci_bound **bound) {
    int values[CI_MAX_TUNABLES] = {0};
    *bound = NULL;
    if (tunables)
        memcpy(values, tunables, sizeof values);
    else
        ci_bind_defaults(variant, values);
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < call->op->outputs && status == CLINFER_OK; i++)
        status = upload(call, CI_MAX_INPUTS + i, &call->call.out[i], outputs->call.out[i].data,
                        ci_view_bytes(&outputs->call.out[i]));
    size_t scratch = variant->scratch ? variant->scratch(&call->call, values) : 0;
    struct ci_buffer **scratch_buffer = &call->buffers[CI_MAX_INPUTS + CI_MAX_OUTPUTS];
    if (*scratch_buffer) ci_buffer_destroy(*scratch_buffer);
    *scratch_buffer = NULL;
    if (status == CLINFER_OK && scratch) status = ci_buffer_create(call->device, scratch, NULL, scratch_buffer);
    call->call.scratch = (struct ci_view){.buffer = *scratch_buffer};
    return status == CLINFER_OK ? ci_bind_create(call->device, variant, values, &call->call, bound) : status;
}

enum clinfer_status ci_device_call_fetch(struct ci_device_call *call, struct ci_sample_call *result) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < call->op->outputs && status == CLINFER_OK; i++)
        status = ci_buffer_read(call->buffers[CI_MAX_INPUTS + i], CI_DEVICE_CALL_OFFSET - CI_GUARD_BYTES,
                                (uint8_t *)result->call.out[i].data - CI_GUARD_BYTES,
                                ci_view_bytes(&result->call.out[i]) + 2 * CI_GUARD_BYTES);
    return status;
}

enum clinfer_status ci_device_call_run(struct ci_device_call *call, const struct ci_variant *variant,
                                       const int *tunables, struct ci_sample_call *result) {
    struct ci_bound *bound = NULL;
    enum clinfer_status status = ci_device_call_bind(call, variant, tunables, result, &bound);
    if (status == CLINFER_OK) status = ci_bind_enqueue(bound);
    if (status == CLINFER_OK) status = ci_device_call_fetch(call, result);
    ci_bind_destroy(bound);
    return status;
}
