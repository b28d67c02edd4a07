#include "graph/graph.h"

#include <string.h>

#include "base/status.h"

void ci_graph_init(struct ci_graph *graph, const int64_t rows[CI_EXTENT_COUNT]) {
    *graph = (struct ci_graph){.status = CLINFER_OK};
    memcpy(graph->rows, rows, sizeof graph->rows);
}

void ci_graph_destroy(struct ci_graph *graph) {
    ci_arena_destroy(&graph->arena);
    *graph = (struct ci_graph){0};
}

void ci_node_call(const struct ci_node *node, struct ci_call *call) {
    *call = (struct ci_call){.params = node->params};
    for (int i = 0; i < node->op->inputs; i++)
        if (node->in[i]) call->in[i] = node->in[i]->view;
    for (int i = 0; i < node->op->outputs; i++)
        if (node->out[i]) call->out[i] = node->out[i]->view;
}

static struct ci_tensor *make_output(struct ci_graph *graph, const struct ci_view *view, const char *name) {
    struct ci_tensor *tensor = ci_arena_alloc(&graph->arena, sizeof *tensor);
    if (!tensor) return NULL;
    *tensor = (struct ci_tensor){.name = name, .kind = CI_TENSOR_ACTIVATION, .view = *view, .place = -1};
    tensor->view.data = NULL;
    tensor->view.buffer = NULL;
    if (view->extent != CI_EXTENT_FIXED) tensor->view.rows = graph->rows[view->extent];
    return tensor;
}

struct ci_node *ci_graph_node(struct ci_graph *graph, const struct ci_op *op, const struct ci_node *from,
                              struct ci_tensor *const in[CI_MAX_INPUTS], struct ci_tensor *const out[CI_MAX_OUTPUTS],
                              const struct ci_params *params) {
    if (graph->status != CLINFER_OK) return NULL;
    const char *label = from->label;
    struct ci_node *node = ci_arena_alloc(&graph->arena, sizeof *node);
    if (!node) goto out_of_memory;
    *node = (struct ci_node){.op = op, .label = label, .unit = from->unit, .place = from->place};
    if (params) node->params = *params;
    for (int i = 0; i < op->inputs; i++) node->in[i] = in[i];
    for (int i = 0; out && i < op->outputs; i++) node->out[i] = out[i];

    struct ci_call call;
    ci_node_call(node, &call);
    graph->status = ci_op_infer(op, &call);
    if (graph->status != CLINFER_OK) {
        ci_fail_prefix(graph->status, "%s", label);
        return NULL;
    }
    for (int i = 0; i < op->outputs; i++) {
        if (node->out[i]) continue;
        node->out[i] = make_output(graph, &call.out[i], label);
        if (!node->out[i]) goto out_of_memory;
    }
    return node;

out_of_memory:
    graph->status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for the graph", label);
    return NULL;
}

struct ci_tensor *ci_graph_add(struct ci_graph *graph, const struct ci_op *op, const char *label,
                               struct ci_tensor *const in[CI_MAX_INPUTS], struct ci_tensor *const out[CI_MAX_OUTPUTS],
                               const struct ci_params *params) {
    const struct ci_node from = {.label = label, .unit = graph->unit};
    struct ci_node *node = ci_graph_node(graph, op, &from, in, out, params);
    if (!node) return NULL;
    if (graph->last)
        graph->last->next = node;
    else
        graph->first = node;
    graph->last = node;
    return node->out[0];
}

int ci_graph_readers(const struct ci_graph *graph, const struct ci_tensor *tensor) {
    int readers = 0;
    for (const struct ci_node *node = graph->first; node; node = node->next)
        for (int i = 0; i < node->op->inputs; i++) readers += node->in[i] == tensor;
    return readers;
}
