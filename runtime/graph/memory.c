/* memory.c: memory of a plan. Inputs lie in one block, so that a run sends them to a device with one write. Activations
 * share one block per place: two whose lifetimes (in steps) do not meet may lie at the same bytes. Largest first, each
 * at the lowest offset that is free for its whole life (as TensorFlow Lite's planner, arXiv 2001.03288). */
#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "base/status.h"
#include "graph/plan_private.h"

enum { ALIGNMENT = 256 };

struct block {
    struct ci_tensor *tensor;
    size_t bytes, offset;
};

static size_t aligned(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

static size_t tensor_bytes(const struct ci_tensor *tensor) {
    const struct ci_view *view = &tensor->view;
    return aligned(ci_layout_bytes(&ci_layout_stored, view->type, view->rows, view->cols), ALIGNMENT);
}

static void touch(struct ci_tensor *tensor, int step, struct block *blocks, int *count) {
    if (!tensor || tensor->kind != CI_TENSOR_ACTIVATION) return;
    for (int i = *count - 1; i >= 0; i--) {
        if (blocks[i].tensor != tensor) continue;
        tensor->last_step = step;
        return;
    }
    blocks[(*count)++] = (struct block){tensor, tensor_bytes(tensor), 0};
    tensor->first_step = tensor->last_step = step;
}

static int larger_first(const void *a, const void *b) {
    const struct block *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->tensor->first_step - y->tensor->first_step;
}

static bool meet(const struct block *a, const struct block *b) {
    return a->tensor->place == b->tensor->place && a->tensor->first_step <= b->tensor->last_step &&
           b->tensor->first_step <= a->tensor->last_step;
}

/* The lowest offset where `block` meets none of those before it. */
static size_t lowest_offset(const struct block *blocks, int index) {
    const struct block *block = &blocks[index];
    size_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int i = 0; i < index; i++) {
            const struct block *other = &blocks[i];
            if (!meet(block, other) || offset >= other->offset + other->bytes || other->offset >= offset + block->bytes)
                continue;
            offset = other->offset + other->bytes;
            moved = true;
        }
    }
    return offset;
}

/* All activations with their offsets, *blocks [*count] for the caller to free, and the bytes of each place. */
static enum clinfer_status lay_out(struct ci_plan *plan, struct block **out, int *count, size_t bytes[CI_MAX_PLACES]) {
    size_t most = (size_t)plan->step_count * (CI_MAX_INPUTS + CI_MAX_OUTPUTS + 3) + 1;
    struct block *blocks = *out = malloc(most * sizeof *blocks);
    *count = 0;
    memset(bytes, 0, CI_MAX_PLACES * sizeof *bytes);
    if (!blocks) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    for (int i = 0; i < plan->step_count; i++) {
        struct step *step = &plan->steps[i];
        for (int k = 0; k < CI_MAX_INPUTS; k++) touch(step->in[k], i, blocks, count);
        for (int k = 0; k < CI_MAX_OUTPUTS; k++) touch(step->out[k], i, blocks, count);
        touch(step->scratch, i, blocks, count);
        touch(step->source, i, blocks, count);
        touch(step->target, i, blocks, count);
    }
    qsort(blocks, (size_t)*count, sizeof *blocks, larger_first);
    for (int i = 0; i < *count; i++) {
        blocks[i].offset = lowest_offset(blocks, i);
        size_t end = blocks[i].offset + blocks[i].bytes;
        int place = blocks[i].tensor->place;
        if (end > bytes[place]) bytes[place] = end;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_plan_activation_sizes(struct ci_plan *plan, size_t bytes[CI_MAX_PLACES]) {
    struct block *blocks;
    int count;
    enum clinfer_status status = lay_out(plan, &blocks, &count, bytes);
    free(blocks);
    return status;
}

static enum clinfer_status share_out(struct ci_plan *plan, const struct block *blocks, int count,
                                     const size_t bytes[CI_MAX_PLACES]) {
    for (int place = 0; place < plan->store->place_count; place++) {
        if (!bytes[place]) continue;
        plan->activation_bytes += bytes[place];
        if (place == CI_PLACE_CPU) {
            plan->host_memory = ci_pages_alloc(bytes[place]);
            if (!plan->host_memory)
                return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of activations", bytes[place]);
            continue;
        }
        enum clinfer_status status =
            ci_buffer_create(plan->store->places[place].device, bytes[place], NULL, &plan->device_memory[place]);
        if (status != CLINFER_OK)
            return ci_fail_prefix(status, "activations of %lld rows", (long long)plan->graph.rows[CI_EXTENT_ROWS]);
    }
    for (int i = 0; i < count; i++) {
        struct ci_tensor *tensor = blocks[i].tensor;
        if (tensor->place == CI_PLACE_CPU) {
            tensor->view.data = (uint8_t *)plan->host_memory + blocks[i].offset;
        } else {
            tensor->view.buffer = plan->device_memory[tensor->place];
            tensor->view.offset = blocks[i].offset;
        }
    }
    return CLINFER_OK;
}

/* Offsets of the inputs are kept in view.offset, on the host too. */
enum clinfer_status ci_plan_inputs(struct ci_plan *plan) {
    for (struct ci_node *node = plan->graph.first; node; node = node->next)
        for (int i = 0; i < node->op->inputs; i++) {
            struct ci_tensor *input = node->in[i];
            if (!input || input->kind != CI_TENSOR_INPUT || input->place >= 0) continue;
            input->place = CI_PLACE_CPU;
            input->view.offset = plan->input_bytes;
            plan->input_bytes += tensor_bytes(input);
        }
    plan->input_host = ci_pages_alloc(plan->input_bytes + 1);
    if (!plan->input_host) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the inputs of a run");
    memset(plan->input_host, 0, plan->input_bytes);
    for (struct ci_node *node = plan->graph.first; node; node = node->next)
        for (int i = 0; i < node->op->inputs; i++)
            if (node->in[i] && node->in[i]->kind == CI_TENSOR_INPUT)
                node->in[i]->view.data = plan->input_host + node->in[i]->view.offset;
    return CLINFER_OK;
}

enum clinfer_status ci_plan_memory(struct ci_plan *plan) {
    for (struct stand_in *s = plan->stand_ins; s; s = s->next) {
        if (s->original->kind != CI_TENSOR_INPUT) continue;
        int place = s->tensor.place;
        if (!plan->input_device[place]) {
            enum clinfer_status status = ci_buffer_create(plan->store->places[place].device, plan->input_bytes, NULL,
                                                          &plan->input_device[place]);
            if (status != CLINFER_OK) return status;
        }
        s->tensor.view.buffer = plan->input_device[place];
        s->tensor.view.offset = s->original->view.offset;
    }
    struct block *blocks;
    size_t bytes[CI_MAX_PLACES];
    int count;
    enum clinfer_status status = lay_out(plan, &blocks, &count, bytes);
    if (status == CLINFER_OK) status = share_out(plan, blocks, count, bytes);
    free(blocks);
    return status;
}
