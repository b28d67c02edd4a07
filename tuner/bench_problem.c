#include "tuner/bench_problem.h"

#include <stdlib.h>
#include <string.h>

#include "base/pages.h"
#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

/* As graph/memory.c aligns activations, and more than weights in files have. */
enum { ALIGNMENT = 256, SEED = 4, LARGE_BYTES = 16 << 20 };

static bool is_attention(const struct ci_op *op) { return op == &ci_op_attention || op == &ci_op_attention_quantise; }

/* What persists from run to run, of which each layer has its own. */
static bool is_cycled(const struct ci_op *op, int input) {
    return (op->weight_inputs >> input & 1) || (is_attention(op) && (input == 1 || input == 2));
}

/* The tiles that the sample made end with the last position that its pages hold: now with that of the context. */
static void set_context(const struct ci_call *call, int64_t context) {
    struct ci_view tiles = call->in[3];
    int32_t *tile = tiles.data, back = (int32_t)(call->in[4].cols * CI_PAGE_ROWS - context);
    for (int64_t t = 0; t < tiles.rows; t++)
        if (tile[4 * t + 3] < back) back = tile[4 * t + 3];
    for (int64_t t = 0; t < tiles.rows && back > 0; t++) tile[4 * t + 3] -= back;
}

enum clinfer_status ci_bench_problem_create(const struct ci_problem *problem, struct ci_bench_problem **created) {
    *created = NULL;
    struct ci_bench_problem *result = calloc(1, sizeof *result);
    if (!result) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for op %s", problem->op->name);
    result->problem = *problem;
    enum clinfer_status status = ci_sample_create(problem->op, &problem->shape, SEED, &result->sample);
    if (status == CLINFER_OK && is_attention(problem->op) && problem->context > 0)
        set_context(&result->sample.call, problem->context);
    if (status == CLINFER_OK) status = ci_judge_create(&result->sample, &result->judge);
    for (int i = 0; i < CI_MAX_INPUTS && status == CLINFER_OK; i++)
        if (result->sample.call.in[i].type) result->bytes += ci_view_bytes(&result->sample.call.in[i]);
    if (status == CLINFER_OK)
        *created = result;
    else
        ci_bench_problem_destroy(result);
    return status;
}

static void destroy_stage(struct ci_bench_stage *stage) {
    ci_device_call_destroy(&stage->proof);
    for (int i = 0; i < CI_BENCH_SLOTS; i++) {
        ci_buffer_destroy(stage->buffers[i]);
        free(stage->memory[i]);
    }
    free(stage);
}

void ci_bench_problem_destroy(struct ci_bench_problem *problem) {
    if (!problem) return;
    for (int i = 0; i < problem->stage_count; i++) destroy_stage(problem->stages[i]);
    ci_judge_destroy(problem->judge);
    ci_sample_destroy(&problem->sample);
    free(problem);
}

static uint64_t aligned(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

/* `copies` times the bytes at `data`, one every `stride` bytes, `total` in all. On the host for the CPU backend, and
 * for a device that reads them there in place (graph/store.h); else in a buffer of the driver's. */
static enum clinfer_status place(struct ci_bench_stage *stage, struct ci_device *device, int slot, bool on_host,
                                 const void *data, size_t bytes, uint64_t stride, int copies) {
    enum clinfer_status status = CLINFER_OK;
    uint64_t total = copies > 1 ? stride * (uint64_t)copies : aligned(bytes ? bytes : 1);
    stage->bytes += total;
    if (on_host) {
        stage->memory[slot] = ci_pages_alloc(total);
        if (!stage->memory[slot])
            return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %llu bytes of weights", (unsigned long long)total);
        for (int i = 0; i < copies; i++) memcpy((uint8_t *)stage->memory[slot] + stride * (uint64_t)i, data, bytes);
    }
    if (device) status = ci_buffer_create(device, total, stage->memory[slot], &stage->buffers[slot]);
    if (on_host || status != CLINFER_OK) return status;
    if (bytes) status = ci_buffer_write(stage->buffers[slot], 0, data, bytes);
    for (int i = 1; i < copies && status == CLINFER_OK; i++)
        status = ci_buffer_copy(stage->buffers[slot], 0, stage->buffers[slot], stride * (uint64_t)i, bytes);
    return status;
}

static enum clinfer_status place_input(struct ci_bench_stage *stage, const struct ci_bench_problem *problem,
                                       struct ci_device *device, int input) {
    const struct ci_op *op = problem->problem.op;
    struct ci_view *view = &stage->call.in[input];
    void *packed = NULL;
    if (!view->type) return CLINFER_OK;
    if (stage->layout && (op->weight_inputs >> input & 1)) view->layout = stage->layout;
    size_t bytes = ci_view_bytes(view);
    int copies = is_cycled(op, input) ? stage->copies : 1;
    stage->stride[input] = copies > 1 ? aligned(bytes) : 0;
    if (view->layout != &ci_layout_stored) {
        packed = calloc(1, bytes + 1);
        if (!packed) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu bytes of weights", bytes);
        ci_layout_pack(view->layout, view->type, view->rows, view->cols, view->data, packed, 0, view->rows);
    }
    bool on_host = !device || (packed && ci_device_caps(device)->shares_host_memory);
    enum clinfer_status status =
        place(stage, device, input, on_host, packed ? packed : view->data, bytes, stage->stride[input], copies);
    free(packed);
    view->data = stage->memory[input];
    view->buffer = stage->buffers[input];
    return status;
}

static enum clinfer_status place_output(struct ci_bench_stage *stage, const struct ci_bench_problem *problem,
                                        struct ci_device *device, int output) {
    struct ci_view *view = &stage->call.out[output];
    int slot = CI_MAX_INPUTS + output;
    size_t bytes = ci_view_bytes(view);
    enum clinfer_status status =
        place(stage, device, slot, !device, problem->sample.call.out[output].data, bytes, 0, 1);
    view->data = stage->memory[slot];
    view->buffer = stage->buffers[slot];
    return status;
}

/* So many that they have the bytes that are asked for, in memory and in one piece each. */
static int count_copies(const struct ci_bench_problem *problem, const struct ci_device *device,
                        const struct ci_layout *layout, uint64_t limit) {
    const struct ci_op *op = problem->problem.op;
    uint64_t all = 0, largest = 0, wanted = problem->problem.cycle_bytes;
    for (int i = 0; i < op->inputs; i++) {
        struct ci_view view = problem->sample.call.in[i];
        if (!view.type || !is_cycled(op, i)) continue;
        if (layout && (op->weight_inputs >> i & 1)) view.layout = layout;
        uint64_t bytes = aligned(ci_view_bytes(&view));
        all += bytes;
        if (bytes > largest) largest = bytes;
    }
    if (all == 0) return 1;
    if (limit && wanted > limit) wanted = limit;
    uint64_t copies = wanted / all;
    if (device && ci_device_caps(device)->max_alloc_bytes / largest < copies)
        copies = ci_device_caps(device)->max_alloc_bytes / largest;
    return copies < 1 ? 1 : copies > 4096 ? 4096 : (int)copies;
}

/* Proof of a kernel at awkward offsets, but for large weights, which lie where they are timed. */
static enum clinfer_status place_proof(struct ci_bench_stage *stage, const struct ci_bench_problem *problem,
                                       struct ci_device *device) {
    struct ci_view given[CI_MAX_INPUTS] = {0};
    for (int i = 0; i < problem->problem.op->inputs; i++) {
        if (!stage->call.in[i].type) continue;
        size_t bytes = ci_view_bytes(&stage->call.in[i]);
        if (bytes > LARGE_BYTES)
            given[i] = stage->call.in[i];
        else
            stage->bytes += bytes;
    }
    return ci_device_call_create_with(device, &problem->sample, stage->layout, given, &stage->proof);
}

static enum clinfer_status make_stage(struct ci_bench_problem *problem, struct ci_device *device,
                                      const struct ci_layout *layout, uint64_t limit, struct ci_bench_stage **made) {
    const struct ci_op *op = problem->problem.op;
    enum clinfer_status status = CLINFER_OK;
    struct ci_bench_stage *stage = calloc(1, sizeof *stage);
    if (!stage) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for op %s", op->name);
    *stage = (struct ci_bench_stage){.layout = layout, .call = problem->sample.call};
    stage->copies = count_copies(problem, device, layout, limit);
    for (int i = op->inputs; i < CI_MAX_INPUTS; i++) stage->call.in[i] = (struct ci_view){0};
    for (int i = 0; i < op->inputs && status == CLINFER_OK; i++) status = place_input(stage, problem, device, i);
    for (int i = 0; i < op->outputs && status == CLINFER_OK; i++) status = place_output(stage, problem, device, i);
    if (status == CLINFER_OK && device) status = place_proof(stage, problem, device);
    if (status == CLINFER_OK)
        *made = stage;
    else
        destroy_stage(stage);
    return status;
}

enum clinfer_status ci_bench_stage(struct ci_bench_problem *problem, struct ci_device *device,
                                   const struct ci_layout *layout, uint64_t limit, struct ci_bench_stage **found) {
    *found = NULL;
    for (int i = 0; i < problem->stage_count; i++)
        if (problem->stages[i]->layout == layout) *found = problem->stages[i];
    if (*found) return CLINFER_OK;
    for (int i = 0; layout && i < problem->problem.op->inputs; i++) {
        const struct ci_view *view = &problem->sample.call.in[i];
        if (view->type && (problem->problem.op->weight_inputs >> i & 1) &&
            !ci_layout_fits(layout, view->type, view->cols))
            return ci_fail(CLINFER_UNSUPPORTED, "op %s: %s with %lld columns has no layout %s",
                           problem->problem.op->name, view->type->name, (long long)view->cols, layout->name);
    }
    if (problem->stage_count == CI_BENCH_STAGES)
        return ci_fail(CLINFER_UNSUPPORTED, "op %s: more than %d layouts", problem->problem.op->name, CI_BENCH_STAGES);
    enum clinfer_status status = make_stage(problem, device, layout, limit, found);
    if (status == CLINFER_OK) problem->stages[problem->stage_count++] = *found;
    return status;
}

uint64_t ci_bench_problem_bytes(const struct ci_bench_problem *problem) {
    uint64_t bytes = problem->bytes;
    for (int i = 0; i < problem->stage_count; i++) bytes += problem->stages[i]->bytes;
    return bytes;
}

void ci_bench_problem_trim(struct ci_bench_problem *problem, const struct ci_layout *layout) {
    int kept = 0;
    for (int i = 0; i < problem->stage_count; i++)
        if (problem->stages[i]->layout == layout)
            problem->stages[kept++] = problem->stages[i];
        else
            destroy_stage(problem->stages[i]);
    problem->stage_count = kept;
}

void ci_bench_stage_copy(const struct ci_bench_stage *stage, struct ci_call *call, int64_t copy) {
    uint64_t which = (uint64_t)(copy % stage->copies);
    for (int i = 0; i < CI_MAX_INPUTS; i++) {
        if (!stage->stride[i]) continue;
        uint64_t offset = stage->stride[i] * which;
        if (stage->buffers[i])
            call->in[i].offset = offset;
        else
            call->in[i].data = (uint8_t *)stage->memory[i] + offset;
    }
}

bool ci_bench_same_problem(const struct ci_problem *a, const struct ci_problem *b) {
    if (a->op != b->op || a->context != b->context || a->cycle_bytes != b->cycle_bytes ||
        memcmp(&a->shape.params, &b->shape.params, sizeof a->shape.params) != 0)
        return false;
    for (int i = 0; i < CI_MAX_INPUTS; i++)
        if (a->shape.in[i].type != b->shape.in[i].type || a->shape.in[i].rows != b->shape.in[i].rows ||
            a->shape.in[i].cols != b->shape.in[i].cols)
            return false;
    for (int i = 0; i < CI_MAX_OUTPUTS; i++)
        if (a->shape.state[i].type != b->shape.state[i].type || a->shape.state[i].rows != b->shape.state[i].rows ||
            a->shape.state[i].cols != b->shape.state[i].cols)
            return false;
    return true;
}
