#include "graph/passes.h"

#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

/* A weight that is in memory already keeps its layout: there is always exactly one copy. */
static bool layouts_agree(const struct ci_node *node, const struct ci_variant *variant) {
    for (int i = 0; i < node->op->inputs; i++) {
        const struct ci_tensor *weight = node->in[i];
        if (!weight || !(node->op->weight_inputs >> i & 1) || weight->place < 0 || !variant->weight_layout) continue;
        if (weight->view.layout != variant->weight_layout) return false;
    }
    return true;
}

int ci_pass_first_variant(const struct ci_node *node, const struct ci_caps *caps, int start) {
    struct ci_call call;
    ci_node_call(node, &call);
    for (int i = start; ci_variants[i]; i++) {
        const struct ci_variant *variant = ci_variants[i];
        if (variant->op == node->op && layouts_agree(node, variant) && ci_variant_fits(variant, caps, &call)) return i;
    }
    return -1;
}

static bool wants_q8(const struct ci_node *node, struct ci_node *rounded, enum ci_activations activations,
                     const struct ci_caps *caps) {
    if (activations != CI_ACTIVATIONS_AUTO) return activations == CI_ACTIVATIONS_Q8;
    int floats = ci_pass_first_variant(node, caps, 0), codes = ci_pass_first_variant(rounded, caps, 0);
    return codes >= 0 && (floats < 0 || codes < floats);
}

enum clinfer_status ci_pass_activations(struct ci_graph *graph, enum ci_activations activations,
                                        const struct ci_caps *caps) {
    struct ci_tensor *rounded_source = NULL, *rounded = NULL; /* the last tensor that was rounded */
    struct ci_node *previous = NULL;
    for (struct ci_node *node = graph->first; node; previous = node, node = node->next) {
        if (node->op != &ci_op_matmul || activations == CI_ACTIVATIONS_F32) continue;
        struct ci_tensor *x = node->in[CI_MATMUL_X];
        if (!node->in[CI_MATMUL_W0]->view.type->quantised || x->view.type != &ci_type_f32) continue;
        if (!ci_type_fits_cols(&ci_type_q8, x->view.cols)) continue;
        struct ci_node *quantise = NULL;
        if (x != rounded_source) {
            struct ci_tensor *in[CI_MAX_INPUTS] = {x};
            quantise = ci_graph_node(graph, &ci_op_quantise, node->label, in, NULL, NULL);
            if (!quantise) return graph->status;
        }
        struct ci_node trial = *node;
        trial.in[CI_MATMUL_X] = quantise ? quantise->out[0] : rounded;
        if (!wants_q8(node, &trial, activations, caps)) continue;
        if (quantise) {
            rounded_source = x;
            rounded = quantise->out[0];
            quantise->next = node;
            if (previous)
                previous->next = quantise;
            else
                graph->first = quantise;
        }
        node->in[CI_MATMUL_X] = rounded;
    }
    return graph->status;
}

/* The node of op->second that reads the output of `first`, if the two can be one. */
static struct ci_node *partner(const struct ci_graph *graph, const struct ci_op *op, const struct ci_node *first) {
    if (!op->keeps_first && ci_graph_readers(graph, first->out[0]) != 1) return NULL;
    for (struct ci_node *node = first->next; node; node = node->next) {
        if (node->op == op->second && node->in[op->second_input] == first->out[0]) return node;
        /* What stands between must not read what the fused op, standing in the second's place, would write later. */
        for (int i = 0; i < node->op->inputs; i++)
            if (node->in[i] == first->out[0]) return NULL;
    }
    return NULL;
}

static struct ci_node *join(struct ci_graph *graph, const struct ci_op *op, const struct ci_node *first,
                            const struct ci_node *second) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {0}, *out[CI_MAX_OUTPUTS] = {0};
    int inputs = 0, outputs = 0;
    for (int i = 0; i < op->first->inputs; i++) in[inputs++] = first->in[i];
    for (int i = 0; i < op->second->inputs; i++)
        if (i != op->second_input) in[inputs++] = second->in[i];
    if (op->keeps_first) out[outputs++] = first->out[0];
    for (int i = 0; i < op->second->outputs; i++) out[outputs++] = second->out[i];
    struct ci_params params = first->params;
    for (int i = 0; i < CI_MAX_PARAMS; i++) {
        if (second->params.i[i]) params.i[i] = second->params.i[i];
        if (second->params.f[i] != 0) params.f[i] = second->params.f[i];
    }
    return ci_graph_node(graph, op, first->label, in, out, &params);
}

static void remove_node(struct ci_graph *graph, const struct ci_node *gone) {
    struct ci_node *previous = NULL;
    for (struct ci_node *node = graph->first; node; previous = node, node = node->next) {
        if (node != gone) continue;
        if (previous)
            previous->next = node->next;
        else
            graph->first = node->next;
        if (graph->last == node) graph->last = previous;
        return;
    }
}

enum clinfer_status ci_pass_fuse(struct ci_graph *graph, const struct ci_caps *caps) {
    for (int i = 0; ci_ops[i]; i++) {
        const struct ci_op *op = ci_ops[i];
        if (!op->first) continue;
        for (struct ci_node *first = graph->first, *next; first; first = next) {
            next = first->next;
            if (first->op != op->first) continue;
            struct ci_node *second = partner(graph, op, first);
            struct ci_node *fused = second ? join(graph, op, first, second) : NULL;
            if (graph->status != CLINFER_OK) return graph->status;
            if (!fused || ci_pass_first_variant(fused, caps, 0) < 0) continue;
            if (next == second) next = second->next;
            struct ci_node *after = second->next;
            *second = *fused; /* takes the second's place in the list */
            second->next = after;
            remove_node(graph, first);
        }
    }
    return CLINFER_OK;
}

enum clinfer_status ci_pass_unfuse(struct ci_graph *graph, struct ci_node *node) {
    const struct ci_op *op = node->op;
    struct ci_tensor *second_in[CI_MAX_INPUTS] = {0}, *between[CI_MAX_OUTPUTS] = {0};
    if (op->keeps_first) between[0] = node->out[0];
    struct ci_node *first = ci_graph_node(graph, op->first, node->label, node->in, between, &node->params);
    if (!first) return graph->status;
    int next_input = op->first->inputs;
    for (int i = 0; i < op->second->inputs; i++)
        second_in[i] = i == op->second_input ? first->out[0] : node->in[next_input++];
    struct ci_node *second =
        ci_graph_node(graph, op->second, node->label, second_in, node->out + (op->keeps_first ? 1 : 0), &node->params);
    if (!second) return graph->status;
    second->next = node->next;
    if (graph->last == node) graph->last = second;
    *node = *first;
    node->next = second;
    return CLINFER_OK;
}
