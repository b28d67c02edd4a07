/* choose.c: variant and layout of every node at its place, best choice first (choices.h): the first whose program
 * builds and whose result proved right on this device. A fused op without such a variant falls apart into its two; an
 * op without one goes to the CPU. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "base/status.h"
#include "graph/plan_private.h"
#include "ops/signature.h"
#include "proof/known_answer.h"
#include "trace/probes.h"

static const char *place_name(const struct ci_place *place) {
    return place->device ? place->caps.device->name : "the cpu";
}

struct step *ci_plan_append_step(struct ci_plan *plan) {
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
    struct step *step = ci_plan_append_step(plan);
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
    if (tensor->kind == CI_TENSOR_WEIGHT) return ci_store_weight_at(plan->store, tensor, place, found);
    *found = find_stand_in(plan, tensor, place);
    if (*found) return CLINFER_OK;
    *found = make_stand_in(plan, tensor, place);
    if (!*found) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    if (tensor->kind == CI_TENSOR_INPUT) return CLINFER_OK; /* is sent to all devices that read it */
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

/* The call of the node with every tensor bound to a placeholder, weights in the layout that the variant would get. */
static void placeholder_call(const struct ci_plan *plan, const struct ci_node *node, int place,
                             const struct ci_variant *variant, struct ci_call *call) {
    ci_node_call(node, call);
    for (int i = 0; i < node->op->inputs; i++) {
        bool is_weight = node->op->weight_inputs >> i & 1;
        if (is_weight && call->in[i].type && node->in[i]->place < 0 && variant->weight_layout)
            call->in[i].layout = variant->weight_layout;
        call->in[i].data = NULL;
        call->in[i].buffer = plan->placeholder[place];
        call->in[i].offset = 0;
    }
    for (int i = 0; i < node->op->outputs; i++) {
        call->out[i].data = NULL;
        call->out[i].buffer = plan->placeholder[place];
        call->out[i].offset = 0;
    }
    call->scratch.buffer = plan->placeholder[place];
}

void ci_plan_ban(struct ci_plan *plan, int place, const struct ci_variant *variant, const int *tunables,
                 const struct ci_call *call, const char *reason, bool keep) {
    struct ci_choices *choices = plan->store->choices;
    struct ci_profile_signature signature;
    if (!choices) return;
    struct ci_quarantined item = {.device = choices->places[place].device};
    ci_signature_of(variant->op, call, &signature);
    if (ci_signature_source(variant, tunables, call, &item.source) != CLINFER_OK) return;
    snprintf(item.device_name, sizeof item.device_name, "%s", place_name(&plan->store->places[place]));
    snprintf(item.op, sizeof item.op, "%s", variant->op->name);
    snprintf(item.variant, sizeof item.variant, "%s", variant->name);
    snprintf(item.types, sizeof item.types, "%s", signature.types);
    snprintf(item.reason, sizeof item.reason, "%s", reason);
    snprintf(item.clinfer, sizeof item.clinfer, "%s", CLINFER_VERSION);
    item.tunable_count = ci_signature_tunables(variant, tunables, item.tunables);
    if (ci_choices_quarantine(choices, &item) != CLINFER_OK || (keep && ci_quarantine_add(&item) != CLINFER_OK))
        ci_log(CLINFER_LOG_INFO, "the quarantine was not written: %s", ci_status_message());
}

/* Builds and proves the choice for this node, so that whatever cannot work shows before anything has been moved for its
 * sake. */
static enum clinfer_status try_once(struct ci_plan *plan, const struct ci_node *node, int place,
                                    const struct ci_choice *choice, struct ci_bound **bound) {
    struct ci_place *at = &plan->store->places[place];
    struct ci_call call;
    placeholder_call(plan, node, place, choice->variant, &call);
    *bound = NULL;
    if (at->device) {
        enum clinfer_status status = ci_bind_create(at->device, choice->variant, choice->tunables, &call, bound);
        if (status != CLINFER_OK) return status;
    }
    enum clinfer_status status = ci_proof_known_answer(at->device, &at->caps, choice->variant, choice->tunables, &call);
    if (status == CLINFER_OK) return CLINFER_OK;
    ci_bind_destroy(*bound);
    *bound = NULL;
    if (status == CLINFER_WRONG_RESULT)
        ci_plan_ban(plan, place, choice->variant, choice->tunables, &call, ci_status_message(), true);
    return status;
}

static bool device_failed(enum clinfer_status status) {
    return status == CLINFER_DEVICE_ERROR || status == CLINFER_OUT_OF_MEMORY;
}

/* A call that fails once is no reason to compute otherwise. One that fails twice is the variant's fault where the
 * device does other things, else the plan's end: all others would fail as well. So they would where the device's
 * compiler does not come through (CLINFER_NO_DEVICE). */
static enum clinfer_status try_choice(struct ci_plan *plan, const struct ci_node *node, int place,
                                      const struct ci_choice *choice, struct ci_bound **bound) {
    struct ci_device *device = plan->store->places[place].device;
    enum clinfer_status status = try_once(plan, node, place, choice, bound);
    if (status == CLINFER_NO_DEVICE) plan->broken = status;
    if (!device || !device_failed(status)) return status;
    ci_log(CLINFER_LOG_INFO, "op %s, variant %s: %s; tried again", node->op->name, choice->variant->name,
           ci_status_message());
    status = try_once(plan, node, place, choice, bound);
    if (!device_failed(status)) return status;
    char message[512];
    snprintf(message, sizeof message, "%s", ci_status_message());
    plan->broken = ci_device_works(device);
    return plan->broken != CLINFER_OK ? plan->broken : ci_fail(status, "%s", message);
}

static const char *keep_text(struct ci_plan *plan, const char *text) {
    const char *kept = ci_arena_string(&plan->graph.arena, text, strlen(text));
    return kept ? kept : "";
}

/* Why this one: what was measured, what the user asked for, or why nothing before it in the table. */
static const char *reason_of(struct ci_plan *plan, const struct ci_choice *choice, const char *before) {
    char text[512] = "";
    const struct ci_profile_entry *entry = choice->entry;
    if (*before && choice->origin != CI_CHOICE_FORCED) return keep_text(plan, before);
    if (choice->origin == CI_CHOICE_FORCED)
        snprintf(text, sizeof text, "forced by --op");
    else if (choice->origin == CI_CHOICE_TUNED && !ci_profile_measured_here(entry))
        snprintf(text, sizeof text, "measured elsewhere");
    else if (choice->origin == CI_CHOICE_TUNED && entry->default_seconds > entry->seconds * 1.005)
        snprintf(text, sizeof text, "measured %.2gx faster than the default", entry->default_seconds / entry->seconds);
    else if (choice->origin == CI_CHOICE_TUNED)
        snprintf(text, sizeof text, "measured, as fast as any");
    return *text ? keep_text(plan, text) : "";
}

enum { MOST_CHOICES = 48 };

/* The first choice at `place` that works; *reason tells why this one, or why none. */
static bool first_working(struct ci_plan *plan, const struct ci_node *node, int place, struct ci_choice *choice,
                          struct ci_bound **bound, const char **reason) {
    struct ci_chooser chooser = ci_store_chooser(plan->store, place);
    struct ci_choice list[MOST_CHOICES];
    char before[512];
    int count = ci_choices_list(&chooser, node, list, MOST_CHOICES, before, sizeof before);
    *bound = NULL;
    for (int i = 0; i < count; i++) {
        if (try_choice(plan, node, place, &list[i], bound) == CLINFER_OK) {
            *choice = list[i];
            *reason = reason_of(plan, &list[i], before);
            return true;
        }
        if (plan->broken != CLINFER_OK) return false;
        snprintf(before, sizeof before, "%s: %s", list[i].variant->name, ci_status_message());
    }
    if (*before) *reason = keep_text(plan, before);
    return false;
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
    if (decided >= 0 && decided != place) *reason = "the KV cache that it touches lies elsewhere";
    if (decided >= 0) return decided == place;
    for (int i = 0; i < node->op->outputs; i++) {
        if (!is_cache(node->out[i])) continue;
        if (place != CI_PLACE_CPU && plan->store->caches_on_host) {
            *reason = "not all that touches the KV caches can run there";
            return false;
        }
        for (const struct ci_node *reader = node->next; reader; reader = reader->next) {
            bool reads = false;
            for (int k = 0; k < reader->op->inputs; k++) reads = reads || reader->in[k] == node->out[i];
            if (!reads) continue;
            struct ci_bound *bound;
            struct ci_choice choice;
            bool works = first_working(plan, reader, place, &choice, &bound, reason);
            ci_bind_destroy(bound);
            bool to_cpu = ci_choices_forced_to(plan->store->choices, reader->op, CI_FORCE_CPU);
            if (!works && (!reader->op->first || to_cpu)) return false;
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

/* A weight larger than one allocation of the device stays on the host, and its op with it. */
static bool weights_may_live(struct ci_plan *plan, const struct ci_node *node, int place, const char **reason) {
    const struct ci_device_caps *device = plan->store->places[place].caps.device;
    for (int i = 0; device && i < node->op->inputs; i++) {
        const struct ci_tensor *weight = node->in[i];
        if (!weight || weight->kind != CI_TENSOR_WEIGHT || weight->place == place) continue;
        uint64_t bytes = ci_layout_bytes(weight->view.layout, weight->view.type, weight->view.rows, weight->view.cols);
        if (bytes <= device->max_alloc_bytes) continue;
        char text[256];
        snprintf(text, sizeof text, "%s has %" PRIu64 " MiB, one allocation of the device at most %" PRIu64 " MiB",
                 weight->name, bytes >> 20, device->max_alloc_bytes >> 20);
        *reason = keep_text(plan, text);
        return false;
    }
    return true;
}

/* `choice` NULL: the reference. */
static enum clinfer_status add_step(struct ci_plan *plan, struct ci_node *node, int place,
                                    const struct ci_choice *choice, struct ci_bound *bound, const char *reason) {
    const struct ci_variant *variant = choice ? choice->variant : NULL;
    struct ci_tensor *in[CI_MAX_INPUTS] = {0}, *out[CI_MAX_OUTPUTS] = {0}, *scratch = NULL;
    struct ci_chooser chooser = ci_store_chooser(plan->store, place);
    /* Asked before the weights get the layout of what was chosen instead. */
    if (choice && choice->origin == CI_CHOICE_TABLE) plan->stale += ci_choices_stale(&chooser, node);
    enum clinfer_status status = take_inputs(plan, node, place, variant, in);
    if (status == CLINFER_OK) status = take_outputs(plan, node, place, out);
    struct step *step = status == CLINFER_OK ? ci_plan_append_step(plan) : NULL;
    if (!step) {
        ci_bind_destroy(bound);
        return status != CLINFER_OK ? status : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    }
    struct ci_call call;
    ci_node_call(node, &call);
    size_t scratch_bytes = variant && variant->scratch ? variant->scratch(&call, choice->tunables) : 0;
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
    if (choice) memcpy(step->tunables, choice->tunables, sizeof step->tunables);
    /* Where a node was wanted and where the user sent its op are no fallbacks; what could not run there is. */
    step->fallback = place != node->place && !ci_choices_forced_to(plan->store->choices, node->op, CI_FORCE_CPU);
    if (place == CI_PLACE_CPU && node->place == CI_PLACE_CPU && plan->options.moved && *plan->options.moved) {
        step->fallback = true;
        step->reason = plan->options.moved;
    }
    if (step->fallback) {
        plan->fallbacks++;
        CI_PROBE(fallback, node->op->name, node->label, step->reason);
    }
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

/* The user wants OpenCL for an op that --device, -ngl or too little memory has put on the CPU. */
static enum clinfer_status refuse_opencl(const struct ci_plan *plan, const struct ci_node *node) {
    char names[512] = "cpu";
    struct ci_call call;
    ci_node_call(node, &call);
    for (int i = 0; ci_variants[i]; i++)
        if (ci_variants[i]->op == node->op &&
            ci_variant_fits(ci_variants[i], &plan->store->places[CI_PLACE_CPU].caps, &call))
            ci_names_add(names, sizeof names, ci_variants[i]->name);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "--op %s=opencl: op %s (%s) is placed on the CPU; what can run there: %s",
                   node->op->name, node->op->name, node->label, names);
}

static enum clinfer_status choose_node(struct ci_plan *plan, struct ci_node *node) {
    struct ci_bound *bound;
    struct ci_choice choice;
    bool to_cpu = ci_choices_forced_to(plan->store->choices, node->op, CI_FORCE_CPU);
    int wanted = to_cpu ? CI_PLACE_CPU : node->place;
    const char *reason = to_cpu ? "forced by --op" : "";
    for (;;) {
        if (caches_may_live(plan, node, wanted, &reason) && weights_may_live(plan, node, wanted, &reason) &&
            first_working(plan, node, wanted, &choice, &bound, &reason))
            return add_step(plan, node, wanted, &choice, bound, reason);
        if (plan->broken != CLINFER_OK) return plan->broken; /* with its message */
        if (!node->op->first) break;
        enum clinfer_status status = ci_pass_unfuse(&plan->graph, node);
        if (status != CLINFER_OK) return status;
    }
    bool impossible = ci_choices_forced_to(plan->store->choices, node->op, CI_FORCE_OPENCL);
    if (wanted == CI_PLACE_CPU && impossible) return refuse_opencl(plan, node);
    int caches = place_of_caches(node);
    if (wanted == CI_PLACE_CPU && caches <= CI_PLACE_CPU) return add_step(plan, node, CI_PLACE_CPU, NULL, NULL, reason);
    if (!*reason) reason = "no OpenCL kernel fits";
    if (plan->options.no_fallback || impossible) {
        char text[512];
        describe(node, text, sizeof text);
        return ci_fail(CLINFER_UNSUPPORTED, "%s cannot run on %s: %s; %s", text,
                       place_name(&plan->store->places[wanted]), reason,
                       impossible ? "--op asked for it" : "--fallback cpu would run it on the CPU");
    }
    if (caches > CI_PLACE_CPU) {
        plan->store->caches_must_move = true;
        return ci_fail(CLINFER_DEVICE_ERROR, "op %s (%s), whose KV cache is on %s, cannot run there: %s",
                       node->op->name, node->label, place_name(&plan->store->places[caches]), reason);
    }
    const char *why = reason;
    bool works = first_working(plan, node, CI_PLACE_CPU, &choice, &bound, &reason);
    return add_step(plan, node, CI_PLACE_CPU, works ? &choice : NULL, bound, why);
}

/* Notes in which layout each weight is wanted, before any is placed: by what was measured over prompts and answers,
 * else by the variants that come first. A weight has one copy, and its first reader may take any layout (a tied output
 * matrix is looked up as an embedding before it is multiplied). */
void ci_plan_want_layouts(struct ci_plan *plan) {
    for (struct ci_node *node = plan->graph.first; node; node = node->next) {
        if (!node->op->weight_inputs) continue;
        struct ci_chooser chooser = ci_store_chooser(plan->store, node->place);
        struct ci_choice choice;
        const struct ci_layout *layout = ci_choices_layout(&chooser, node);
        if (!layout && ci_choices_first(&chooser, node, &choice)) layout = choice.variant->weight_layout;
        if (!layout) continue;
        for (int i = 0; i < node->op->inputs; i++)
            if (node->in[i] && (node->op->weight_inputs >> i & 1) && node->in[i]->place < 0)
                node->in[i]->view.layout = layout;
    }
}

enum clinfer_status ci_plan_choose(struct ci_plan *plan) {
    ci_plan_want_layouts(plan);
    for (struct ci_node *node = plan->graph.first; node; node = node->next) {
        enum clinfer_status status = choose_node(plan, node);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

void ci_plan_possible(const struct ci_plan *plan, const struct ci_op *op, char *text, size_t size) {
    for (int i = 0; i < plan->step_count; i++) {
        const struct step *step = &plan->steps[i];
        if (!step->node || step->node->op != op) continue;
        struct ci_call call;
        ci_node_call(step->node, &call);
        for (int place = 0; place < plan->store->place_count; place++)
            for (int v = 0; ci_variants[v]; v++) /* those of the CPU only where the op was to be there */
                if (ci_variants[v]->op == op && (place == step->place || place == step->node->place) &&
                    ci_variant_fits(ci_variants[v], &plan->store->places[place].caps, &call))
                    ci_names_add(text, size, ci_variants[v]->name);
        ci_names_add(text, size, "cpu");
    }
}

void ci_plan_otherwise(const struct ci_plan *plan, int index, char *text, size_t size) {
    const struct step *step = &plan->steps[index];
    struct ci_choice list[MOST_CHOICES];
    char unused[1];
    *text = 0;
    if (!step->node) return;
    struct ci_chooser chooser = ci_store_chooser(plan->store, step->place);
    int count = ci_choices_list(&chooser, step->node, list, MOST_CHOICES, unused, sizeof unused);
    for (int i = 0; i < count; i++)
        if (list[i].variant != step->variant) ci_names_add(text, size, list[i].variant->name);
    if (step->node->op->first) ci_names_add(text, size, "its parts");
    if (step->place != CI_PLACE_CPU) ci_names_add(text, size, "cpu");
    if (step->place == CI_PLACE_CPU && step->variant) ci_names_add(text, size, "reference");
}
