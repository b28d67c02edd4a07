/* predict.c: how much memory a plan will take, before anything is loaded, built or proven. It is chosen as choose.c
 * does it, of what the choices name first, and laid out by memory.c itself; copies between places are left out, and so
 * is what another kernel takes where the first one proves wrong. */
#include "base/status.h"
#include "graph/plan_private.h"

/* Who hears of it. */
struct listener {
    ci_plan_chosen *chosen;
    void *user;
};

static enum clinfer_status append(struct ci_plan *plan, struct ci_node *node, const struct ci_choice *choice,
                                  const struct listener *listener) {
    if (listener->chosen) listener->chosen(listener->user, node, choice);
    struct step *step = ci_plan_append_step(plan);
    if (!step) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    step->node = node;
    step->place = node->place;
    for (int i = 0; i < node->op->inputs; i++) step->in[i] = node->in[i];
    for (int i = 0; i < node->op->outputs; i++) {
        step->out[i] = node->out[i];
        if (node->out[i]->kind == CI_TENSOR_ACTIVATION) node->out[i]->place = node->place;
    }
    struct ci_call call;
    ci_node_call(node, &call);
    size_t bytes = choice && choice->variant->scratch ? choice->variant->scratch(&call, choice->tunables) : 0;
    if (!bytes) return CLINFER_OK;
    step->scratch = ci_arena_alloc(&plan->graph.arena, sizeof *step->scratch);
    if (!step->scratch) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the plan");
    *step->scratch = (struct ci_tensor){.name = node->label, .kind = CI_TENSOR_ACTIVATION, .place = node->place};
    ci_view_set(&step->scratch->view, &ci_type_i32, 1, (int64_t)(bytes + 3) / 4);
    return CLINFER_OK;
}

static enum clinfer_status choose(struct ci_plan *plan, struct ci_node *node, const struct listener *listener) {
    struct ci_chooser chooser = ci_store_chooser(plan->store, node->place);
    struct ci_choice choice;
    for (;;) {
        if (ci_choices_first(&chooser, node, &choice)) return append(plan, node, &choice, listener);
        if (!node->op->first) break;
        enum clinfer_status status = ci_pass_unfuse(&plan->graph, node);
        if (status != CLINFER_OK) return status;
    }
    node->place = CI_PLACE_CPU;
    chooser = ci_store_chooser(plan->store, CI_PLACE_CPU);
    return append(plan, node, ci_choices_first(&chooser, node, &choice) ? &choice : NULL, listener);
}

/* Each weight once, as its first reader wants it. */
static void add_weights(const struct ci_graph *graph, struct ci_plan_bytes *bytes) {
    for (const struct ci_node *node = graph->first; node; node = node->next)
        for (int i = 0; i < node->op->inputs; i++) {
            const struct ci_tensor *weight = node->in[i];
            bool known = !weight || weight->kind != CI_TENSOR_WEIGHT;
            for (const struct ci_node *before = graph->first; !known && before != node; before = before->next)
                for (int k = 0; k < before->op->inputs; k++) known = known || before->in[k] == weight;
            if (known) continue;
            const struct ci_view *view = &weight->view;
            bytes->weights[node->place] += ci_layout_bytes(view->layout, view->type, view->rows, view->cols);
        }
}

enum clinfer_status ci_plan_predict(struct ci_store *store, struct ci_graph *graph,
                                    const struct ci_plan_options *options, ci_plan_chosen *chosen, void *user,
                                    struct ci_plan_bytes *bytes) {
    const struct listener listener = {chosen, user};
    struct ci_plan plan = {.store = store, .graph = *graph, .options = *options};
    struct ci_chooser by_place[CI_MAX_PLACES];
    size_t activations[CI_MAX_PLACES] = {0};
    *graph = (struct ci_graph){0};
    *bytes = (struct ci_plan_bytes){{0}, {0}};
    for (int i = 0; i < store->place_count; i++) by_place[i] = ci_store_chooser(store, i);
    for (struct ci_node *node = plan.graph.first; node; node = node->next)
        node->place = options->place_of_unit ? options->place_of_unit[node->unit] : store->preferred;
    enum clinfer_status status = ci_pass_activations(&plan.graph, options->activations, by_place);
    if (status == CLINFER_OK) status = ci_pass_fuse(&plan.graph, by_place);
    if (status == CLINFER_OK) ci_plan_want_layouts(&plan);
    for (struct ci_node *node = plan.graph.first; node && status == CLINFER_OK; node = node->next)
        status = choose(&plan, node, &listener);
    if (status == CLINFER_OK) status = ci_plan_activation_sizes(&plan, activations);
    if (status == CLINFER_OK) add_weights(&plan.graph, bytes);
    for (int i = 0; i < CI_MAX_PLACES; i++) bytes->activations[i] = activations[i];
    ci_graph_destroy(&plan.graph);
    return status;
}
