/* op.c: the tables of ops and variants, and what all fused ops have in common. */
#include "ops/op.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "ops/infer.h"
#include "ops/op_list.h"

const struct ci_op *const ci_ops[] = {
#define CI_OP(symbol) &ci_op_##symbol,
#include "ops/op_list.inc"
#undef CI_OP
    NULL};

#define CI_VARIANT(symbol) extern const struct ci_variant ci_variant_##symbol;
#include "ops/variant_list.inc"
#undef CI_VARIANT

const struct ci_variant *const ci_variants[] = {
#define CI_VARIANT(symbol) &ci_variant_##symbol,
#include "ops/variant_list.inc"
#undef CI_VARIANT
    NULL};

const struct ci_op *ci_op_find(const char *name) {
    for (int i = 0; ci_ops[i]; i++)
        if (strcmp(ci_ops[i]->name, name) == 0) return ci_ops[i];
    return NULL;
}

bool ci_op_rounds(const struct ci_op *op) { return op == &ci_op_quantise || op->second == &ci_op_quantise; }

/* Whether no launch goes beyond what the device says it can do. What it has not said (0) is no limit here; what was
 * really built is looked at again when it is bound. */
static bool is_within_limits(const struct ci_variant *variant, const struct ci_device_caps *device,
                             const struct ci_call *call) {
    int tunables[CI_MAX_TUNABLES] = {0};
    for (int i = 0; variant->tunables && variant->tunables[i].name; i++) tunables[i] = variant->tunables[i].value;
    if (device->local_bytes && variant->local_bytes && variant->local_bytes(call, tunables) > device->local_bytes)
        return false;
    if (device->max_alloc_bytes && variant->scratch && variant->scratch(call, tunables) > device->max_alloc_bytes)
        return false;
    for (int i = 0; i < variant->launch_count; i++) {
        struct ci_grid grid = {0};
        size_t items = 1;
        variant->launches[i].grid(call, tunables, device, &grid);
        for (int k = 0; grid.local[0] && k < grid.dimensions; k++) {
            items *= grid.local[k];
            if (device->max_work_item[k] && grid.local[k] > device->max_work_item[k]) return false;
        }
        if (device->max_work_group && items > device->max_work_group) return false;
    }
    return true;
}

bool ci_variant_fits(const struct ci_variant *variant, const struct ci_caps *caps, const struct ci_call *call) {
    if ((variant->backend == CI_BACKEND_CPU) != (caps->device == NULL)) return false;
    for (int i = 0; i < variant->op->inputs; i++) {
        const struct ci_view *in = &call->in[i];
        if (!in->type || !(variant->op->weight_inputs >> i & 1)) continue;
        if (variant->weight_layout && !ci_layout_fits(variant->weight_layout, in->type, in->cols)) return false;
    }
    if (variant->fits && !variant->fits(caps, call)) return false;
    if (variant->backend != CI_BACKEND_CPU) return is_within_limits(variant, caps->device, call);
    return variant->cpu(call) != NULL;
}

enum clinfer_status ci_op_split(const struct ci_op *op, const struct ci_call *call, struct ci_call *first,
                                struct ci_call *second) {
    assert(op->first && op->second);
    *first = (struct ci_call){.params = call->params};
    *second = (struct ci_call){.params = call->params};
    int next = 0;
    while (next < op->first->inputs) {
        first->in[next] = call->in[next];
        next++;
    }
    for (int i = 0; i < op->second->inputs; i++)
        if (i != op->second_input) second->in[i] = call->in[next++];
    assert(next == op->inputs);
    for (int i = 0; i < op->second->outputs; i++) second->out[i] = call->out[i + (op->keeps_first ? 1 : 0)];
    enum clinfer_status status = ci_op_infer(op->first, first);
    second->in[op->second_input] = first->out[0];
    if (op->keeps_first) {
        first->out[0].data = call->out[0].data;
        second->in[op->second_input].data = call->out[0].data;
    }
    return status;
}

struct ci_gate ci_op_gate(const struct ci_op *op, const struct ci_call *call) {
    return op->gate_of ? op->gate_of(call) : op->gate;
}

enum clinfer_status ci_op_infer(const struct ci_op *op, struct ci_call *call) {
    if (op->infer) return op->infer(call);
    struct ci_call first, second;
    enum clinfer_status status = ci_op_split(op, call, &first, &second);
    if (status == CLINFER_OK) status = ci_op_infer(op->second, &second);
    if (status != CLINFER_OK) return status;
    int kept = op->keeps_first ? 1 : 0;
    if (kept) ci_infer_out(&call->out[0], first.out[0].type, first.out[0].extent, first.out[0].rows, first.out[0].cols);
    for (int i = 0; i < op->second->outputs; i++) {
        const struct ci_view *out = &second.out[i];
        ci_infer_out(&call->out[i + kept], out->type, out->extent, out->rows, out->cols);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_op_reference(const struct ci_op *op, const struct ci_call *call) {
    if (op->reference) {
        op->reference(call);
        return CLINFER_OK;
    }
    struct ci_call first, second;
    enum clinfer_status status = ci_op_split(op, call, &first, &second);
    if (status != CLINFER_OK) return status;
    struct ci_view *between = &first.out[0];
    void *memory = NULL;
    if (!between->data) {
        size_t bytes = ci_layout_bytes(&ci_layout_stored, between->type, between->rows, between->cols);
        memory = malloc(bytes ? bytes : 1);
        if (!memory) return ci_fail(CLINFER_OUT_OF_MEMORY, "op %s: out of memory for %zu bytes", op->name, bytes);
        between->data = memory;
    }
    second.in[op->second_input] = *between;
    status = ci_op_reference(op->first, &first);
    if (status == CLINFER_OK) status = ci_op_reference(op->second, &second);
    free(memory);
    return status;
}

double ci_op_bytes(const struct ci_op *op, const struct ci_call *call) {
    double bytes = op->extra_bytes ? op->extra_bytes(call) : 0;
    for (int i = 0; i < op->inputs; i++) {
        const struct ci_view *in = &call->in[i];
        bool whole = in->extent != CI_EXTENT_FIXED || (op->weight_inputs >> i & 1);
        if (in->type && whole && !(op->looked_up_inputs >> i & 1))
            bytes += (double)ci_layout_bytes(in->layout, in->type, in->rows, in->cols);
    }
    for (int i = 0; i < op->outputs; i++)
        if (!(op->state_outputs >> i & 1))
            bytes +=
                (double)ci_layout_bytes(&ci_layout_stored, call->out[i].type, call->out[i].rows, call->out[i].cols);
    return bytes;
}

double ci_op_operations(const struct ci_op *op, const struct ci_call *call) {
    return op->operations ? op->operations(call) : (double)call->out[0].rows * (double)call->out[0].cols;
}
