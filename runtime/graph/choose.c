/* choose.c: place, variant and layout of every node. Without measurements the order of the table of variants decides:
 * the first that fits, whose program builds and whose result proved right on this device. A fused op without such a
 * variant falls apart into its two; an op without one goes to the CPU. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "graph/plan_private.h"
#include "proof/known_answer.h"

static const char *place_name(const struct ci_place *place) {
    return place->device ? place->caps.device->name : "the cpu";
}

static struct step *append_step(struct ci_plan *plan) {
    if (plan->step_count == plan->step_capacity) {
        int capacity = plan->step_capacity ? 2 * plan->step_capacity : 256;
        struct step *steps = ci_arena_array(&plan->graph.arena, (size_t)capacity, sizeof *steps);
        if (!steps) return NULL;
        if (plan->step_count) memcpy(steps, plan->steps, sizeof *steps * (size_t)plan->step_count);
        plan->steps = steps;
        plan->step_capacity = capacity;
    }
    struct step *step = &plan->steps[plan->step_count++];
    *step = (struct step){.reason = ""};
    return step;
}

static struct ci_tensor *make_stand_in(struct ci_plan *plan, const struct ci_tensor *original, int place) {
    struct stand_in *made = ci_arena_alloc(&plan->graph.arena, sizeof *made);
    if (!made) return NULL;
    *made = (struct stand_in){plan->stand_ins, original, *original};
    plan->stand_ins = made;
    made->tensor.place = place;
    made->tensor.view.data = NULL;
    made->tensor.view.buffer = NULL;
    if (original->kind == CI_TENSOR_STATE) made->tensor.kind = CI_TENSOR_ACTIVATION;
    return &made->tensor;
}

static struct ci_tensor *find_stand_in(const struct ci_plan *plan, const struct ci_tensor *original, int place) {
    for (struct stand_in *s = plan->stand_ins; s; s = s->next)
        if (s->original == original && s->tensor.place == place) return &s->tensor;
    return NULL;
}

static enum clinfer_status append_copy(struct ci_plan *plan, struct ci_tensor *source, struct ci_tensor *target) {
    struct step *step = append_step(plan);
    if (!step) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    step->source = source;
    step->target = target;
    step->place = target->place;
    return CLINFER_OK;
}

/* The tensor as it is found at `place`, copied there before this point of the plan if need be. */
static enum clinfer_status input_at(struct ci_plan *plan, struct ci_tensor *tensor, int place,
                                    struct ci_tensor **found) {
    enum clinfer_status status = CLINFER_OK;
    *found = tensor;
    if (tensor->kind == CI_TENSOR_STATE && tensor->place < 0) status = ci_store_state(plan->store, tensor, place);
    if (status != CLINFER_OK || tensor->place == place) return status;
    *found = find_stand_in(plan, tensor, place);
    if (*found) return CLINFER_OK;
    *found = make_stand_in(plan, tensor, place);
    if (!*found) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    if (tensor->kind == CI_TENSOR_INPUT) return CLINFER_OK; /* is sent to all devices that read it */
    if (tensor->kind == CI_TENSOR_WEIGHT) {
        (*found)->place = -1;
        return ci_store_weight(plan->store, *found, place, &ci_layout_stored);
    }
    return append_copy(plan, tensor, *found);
}

static enum clinfer_status take_inputs(struct ci_plan *plan, struct ci_node *node, int place,
                                       const struct ci_variant *variant, struct ci_tensor *in[CI_MAX_INPUTS]) {
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < node->op->inputs && status == CLINFER_OK; i++) {
        if (!node->in[i]) continue;
        if (node->in[i]->kind == CI_TENSOR_WEIGHT) {
            bool packs = variant && variant->weight_layout && (node->op->weight_inputs >> i & 1);
            status = ci_store_weight(plan->store, node->in[i], place,
                                     packs ? variant->weight_layout : node->in[i]->view.layout);
        }
        if (status == CLINFER_OK) status = input_at(plan, node->in[i], place, &in[i]);
    }
    return status;
}

/* Outputs lie where the node runs; a state that lives elsewhere is written by a copy afterwards. */
static enum clinfer_status take_outputs(struct ci_plan *plan, struct ci_node *node, int place,
                                        struct ci_tensor *out[CI_MAX_OUTPUTS]) {
    for (int i = 0; i < node->op->outputs; i++) {
        struct ci_tensor *tensor = node->out[i];
        if (tensor->kind == CI_TENSOR_ACTIVATION) tensor->place = place;
        if (tensor->kind == CI_TENSOR_STATE && tensor->place < 0) {
            enum clinfer_status status = ci_store_state(plan->store, tensor, place);
            if (status != CLINFER_OK) return status;
        }
        out[i] = tensor->place == place ? tensor : make_stand_in(plan, tensor, place);
        if (!out[i]) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    }
    return CLINFER_OK;
}

/* Builds the variant for this node with every tensor bound to a placeholder, so that whatever cannot work shows before
 * anything has been moved for its sake. */
static enum clinfer_status try_variant(struct ci_plan *plan, const struct ci_node *node, int place,
                                       const struct ci_variant *variant, struct ci_bound **bound) {
    struct ci_place *at = &plan->store->places[place];
    struct ci_call call;
    ci_node_call(node, &call);
    for (int i = 0; i < node->op->inputs; i++) {
        bool is_weight = node->op->weight_inputs >> i & 1;
        if (is_weight && call.in[i].type && node->in[i]->place < 0 && variant->weight_layout)
            call.in[i].layout = variant->weight_layout;
        call.in[i].data = NULL;
        call.in[i].buffer = plan->placeholder[place];
        call.in[i].offset = 0;
    }
    for (int i = 0; i < node->op->outputs; i++) {
        call.out[i].data = NULL;
        call.out[i].buffer = plan->placeholder[place];
        call.out[i].offset = 0;
    }
    call.scratch.buffer = plan->placeholder[place];
    *bound = NULL;
    if (at->device) {
        enum clinfer_status status = ci_bind_create(at->device, variant, NULL, &call, bound);
        if (status != CLINFER_OK) return status;
    }
    enum clinfer_status status = ci_proof_known_answer(at->device, &at->caps, variant, &call);
    if (status != CLINFER_OK) {
        ci_bind_destroy(*bound);
        *bound = NULL;
    }
    return status;
}

/* The first variant at `place` that works; *reason tells why not an earlier one. -1: none. */
static int first_working(struct ci_plan *plan, const struct ci_node *node, int place, struct ci_bound **bound,
                         const char **reason) {
    const struct ci_caps *caps = &plan->store->places[place].caps;
    *bound = NULL;
    for (int i = ci_pass_first_variant(node, caps, 0); i >= 0; i = ci_pass_first_variant(node, caps, i + 1)) {
        if (try_variant(plan, node, place, ci_variants[i], bound) == CLINFER_OK) return i;
        char text[512];
        int length = snprintf(text, sizeof text, "%s: %s", ci_variants[i]->name, ci_status_message());
        const char *kept =
            ci_arena_string(&plan->graph.arena, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1);
        if (kept) *reason = kept;
    }
    return -1;
}

/* A state that is as large as a KV cache is never copied from place to place: who touches it runs where it is. Only the
 * ids that were sampled may be. */
static bool is_cache(const struct ci_tensor *tensor) {
    return tensor && tensor->kind == CI_TENSOR_STATE && tensor->view.extent == CI_EXTENT_FIXED;
}

/* Where the caches that the node touches are; -1: it touches none, or none that has a place. */
static int place_of_caches(const struct ci_node *node) {
    for (int i = 0; i < node->op->inputs; i++)
        if (is_cache(node->in[i])) return node->in[i]->place;
    for (int i = 0; i < node->op->outputs; i++)
        if (is_cache(node->out[i])) return node->out[i]->place;
    return -1;
}

/* Appending to a cache decides its place: only where everything that reads it really works. */
static bool caches_may_live(struct ci_plan *plan, const struct ci_node *node, int place, const char **reason) {
    int decided = place_of_caches(node);
    if (decided >= 0) return decided == place;
    for (int i = 0; i < node->op->outputs; i++) {
        if (!is_cache(node->out[i])) continue;
        for (const struct ci_node *reader = node->next; reader; reader = reader->next) {
            bool reads = false;
            for (int k = 0; k < reader->op->inputs; k++) reads = reads || reader->in[k] == node->out[i];
            if (!reads) continue;
            struct ci_bound *bound;
            int variant = first_working(plan, reader, place, &bound, reason);
            ci_bind_destroy(bound);
            if (variant < 0 && !reader->op->first) return false;
        }
    }
    return true;
}

static void describe(const struct ci_node *node, char *text, size_t size) {
    int length = snprintf(text, size, "op %s (%s)", node->op->name, node->label);
    for (int i = 0; i < node->op->inputs && length > 0 && (size_t)length < size; i++)
        if (node->in[i])
            length += snprintf(text + length, size - (size_t)length, " %s[%" PRId64 ", %" PRId64 "]",
                               node->in[i]->view.type->name, node->in[i]->view.rows, node->in[i]->view.cols);
}

static enum clinfer_status add_step(struct ci_plan *plan, struct ci_node *node, int place, int variant_index,
                                    struct ci_bound *bound, const char *reason) {
    const struct ci_variant *variant = variant_index >= 0 ? ci_variants[variant_index] : NULL;
    struct ci_tensor *in[CI_MAX_INPUTS] = {0}, *out[CI_MAX_OUTPUTS] = {0}, *scratch = NULL;
    enum clinfer_status status = take_inputs(plan, node, place, variant, in);
    if (status == CLINFER_OK) status = take_outputs(plan, node, place, out);
    struct step *step = status == CLINFER_OK ? append_step(plan) : NULL;
    if (!step) {
        ci_bind_destroy(bound);
        return status != CLINFER_OK ? status : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    }
    struct ci_call call;
    ci_node_call(node, &call);
    int tunables[CI_MAX_TUNABLES] = {0};
    if (variant) ci_bind_defaults(variant, tunables);
    size_t scratch_bytes = variant && variant->scratch ? variant->scratch(&call, tunables) : 0;
    if (scratch_bytes) {
        scratch = ci_arena_alloc(&plan->graph.arena, sizeof *scratch);
        if (!scratch) {
            plan->step_count--;
            ci_bind_destroy(bound);
            return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
        }
        *scratch = (struct ci_tensor){.name = node->label, .kind = CI_TENSOR_ACTIVATION, .place = place};
        ci_view_set(&scratch->view, &ci_type_i32, 1, (int64_t)(scratch_bytes + 3) / 4);
    }
    *step = (struct step){
        .node = node, .variant = variant, .place = place, .bound = bound, .scratch = scratch, .reason = reason};
    step->fallback = place != plan->store->preferred;
    if (step->fallback) plan->fallbacks++;
    if (variant && variant->cpu) step->function = variant->cpu(&call);
    memcpy(step->in, in, sizeof in);
    memcpy(step->out, out, sizeof out);
    for (int i = 0; i < node->op->outputs; i++)
        if (out[i] != node->out[i]) {
            status = append_copy(plan, out[i], node->out[i]);
            if (status != CLINFER_OK) return status;
        }
    return CLINFER_OK;
}

static enum clinfer_status choose_node(struct ci_plan *plan, struct ci_node *node) {
    struct ci_bound *bound;
    int preferred = plan->store->preferred;
    const char *reason = "";
    for (;;) {
        int variant = caches_may_live(plan, node, preferred, &reason)
                          ? first_working(plan, node, preferred, &bound, &reason)
                          : -1;
        if (variant >= 0) return add_step(plan, node, preferred, variant, bound, reason);
        if (!node->op->first) break;
        enum clinfer_status status = ci_pass_unfuse(&plan->graph, node);
        if (status != CLINFER_OK) return status;
    }
    if (preferred == CI_PLACE_CPU) return add_step(plan, node, CI_PLACE_CPU, -1, NULL, reason);
    if (!*reason) reason = "no OpenCL kernel fits";
    if (plan->options.no_fallback) {
        char text[512];
        describe(node, text, sizeof text);
        return ci_fail(CLINFER_UNSUPPORTED, "%s cannot run on %s: %s; --fallback cpu would run it on the CPU", text,
                       place_name(&plan->store->places[preferred]), reason);
    }
    const char *unused = "";
    int variant = first_working(plan, node, CI_PLACE_CPU, &bound, &unused);
    return add_step(plan, node, CI_PLACE_CPU, variant, bound, reason);
}

/* Notes in which layout each weight is wanted by the variants that come first, before any is placed: a weight has one
 * copy, and its first reader may take any layout (a tied output matrix is looked up as an embedding before it is
 * multiplied). */
static void want_layouts(struct ci_plan *plan) {
    const struct ci_caps *caps = &plan->store->places[plan->store->preferred].caps;
    for (struct ci_node *node = plan->graph.first; node; node = node->next) {
        if (!node->op->weight_inputs) continue;
        int variant = ci_pass_first_variant(node, caps, 0);
        if (variant < 0 || !ci_variants[variant]->weight_layout) continue;
        for (int i = 0; i < node->op->inputs; i++)
            if (node->in[i] && (node->op->weight_inputs >> i & 1) && node->in[i]->place < 0)
                node->in[i]->view.layout = ci_variants[variant]->weight_layout;
    }
}

enum clinfer_status ci_plan_choose(struct ci_plan *plan) {
    want_layouts(plan);
    for (struct ci_node *node = plan->graph.first; node; node = node->next) {
        enum clinfer_status status = choose_node(plan, node);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}
