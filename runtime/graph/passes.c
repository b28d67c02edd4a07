#include "graph/passes.h"

#include <limits.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

/* The two kinds were timed minutes apart, one perhaps for another shape, and are not compared in turn as candidates of
 * one problem are: so the order of the table stands until the other kind is faster by this much. */
static const double clearly = 1.2;

/* The place in the table of the first that fits; what a profile prefers may stand anywhere. */
static int first_rank(const struct ci_chooser *chooser, const struct ci_node *node) {
    enum { MOST = 48 };
    struct ci_choice list[MOST];
    char reason[1];
    int count = ci_choices_list(chooser, node, list, MOST, reason, sizeof reason), rank = INT_MAX;
    for (int i = 0; i < count; i++)
        if (list[i].rank < rank) rank = list[i].rank;
    return rank;
}

/* Measured, if both kinds were; else by the order of the table. */
static bool wants_codes(const struct ci_node *node, const struct ci_node *rounded, enum ci_activations activations,
                        const struct ci_chooser *chooser) {
    struct ci_choice floats, codes;
    if (activations != CI_ACTIVATIONS_AUTO) return activations != CI_ACTIVATIONS_F32;
    if (!ci_choices_first(chooser, rounded, &codes)) return false;
    if (!ci_choices_first(chooser, node, &floats) || codes.origin == CI_CHOICE_FORCED) return true;
    if (floats.origin == CI_CHOICE_FORCED) return false;
    double floats_seconds = ci_choices_seconds(chooser, node), codes_seconds = ci_choices_seconds(chooser, rounded);
    bool first = first_rank(chooser, rounded) < first_rank(chooser, node);
    if (floats_seconds > 0 && codes_seconds > 0)
        return first ? codes_seconds < clearly * floats_seconds : clearly * codes_seconds < floats_seconds;
    return first;
}

static bool is_product(const struct ci_node *node) {
    return node->op == &ci_op_matmul || node->op == &ci_op_matmul_experts; /* x and w0 in the same places */
}

/* A model that is fast in any case. */
static bool is_small(const struct ci_graph *graph) {
    int64_t bytes = 0;
    for (const struct ci_node *node = graph->first; node; node = node->next)
        for (int i = 0; i < node->op->inputs && is_product(node); i++) {
            const struct ci_view *w = node->in[i] && (node->op->weight_inputs >> i & 1) ? &node->in[i]->view : NULL;
            if (w) bytes += w->rows * (int64_t)ci_type_row_bytes(w->type, w->cols);
        }
    return bytes <= CI_16_BIT_WEIGHTS;
}

/* Whether products of 16 bits are worth their time in this graph. */
static bool can_afford_16_bits(const struct ci_graph *graph, bool small) {
    return small ||
           graph->rows[CI_EXTENT_ROWS] <= (graph->rows[CI_EXTENT_WANTED] == 1 ? CI_16_BIT_PROMPT : CI_16_BIT_ROWS);
}

/* `rounded` reads codes of 8 bits. Who forces a variant on those has them. */
static bool wants_16_bits(const struct ci_node *rounded, enum ci_activations activations, bool affordable,
                          const struct ci_chooser *chooser) {
    struct ci_choice codes;
    if (activations != CI_ACTIVATIONS_AUTO) return activations == CI_ACTIVATIONS_Q16;
    return affordable && ci_choices_first(chooser, rounded, &codes) && codes.origin != CI_CHOICE_FORCED;
}

/* Where codes of 8 bits do most harm for the weights that are read: in the first product of each layer, which is that
 * of queries, keys and values, and in the first two layers and the last one. With SmolLM2 these are a sixth of the
 * bytes and half of the divergence from the exact model. */
static bool matters_most(const struct ci_graph *graph, const struct ci_node *node, bool first_of_unit) {
    const int last = graph->last->unit - 1; /* behind it stands what is behind the layers */
    if (node->unit < 1 || node->unit > last) return false;
    return first_of_unit || node->unit <= 2 || node->unit == last;
}

/* Whether what computes `wide`, which reads codes of 16 bits, is what the user asked for, or takes little more time. */
static bool has_16_bits(const struct ci_node *wide, enum ci_activations activations, bool matters,
                        const struct ci_chooser *chooser) {
    struct ci_choice choice;
    if (!ci_choices_first(chooser, wide, &choice)) return false;
    if (activations != CI_ACTIVATIONS_AUTO) return true;
    return choice.variant->second_plane == CI_SECOND_PLANE_HIDDEN ||
           (choice.variant->second_plane == CI_SECOND_PLANE_COSTS && matters);
}

/* The tensors of codes that the last tensor was rounded to, by whether they have 16 bits. */
struct rounded {
    const struct ci_tensor *source;
    struct ci_tensor *codes[2];
    struct ci_node *made; /* the last node; not in the graph yet while it is new */
    bool is_new;
};

/* Sets x of `trial`. false: out of memory. */
static bool round_x(struct ci_graph *graph, const struct ci_node *node, bool wide, struct rounded *rounded,
                    struct ci_node *trial) {
    struct ci_tensor *x = node->in[CI_MATMUL_X], *in[CI_MAX_INPUTS] = {x};
    if (rounded->source != x) *rounded = (struct rounded){.source = x};
    rounded->is_new = !rounded->codes[wide];
    *trial = *node;
    if (rounded->is_new) {
        const struct ci_params params = {.i = {[CI_QUANTISE_I_16_BITS] = wide}};
        rounded->made = ci_graph_node(graph, &ci_op_quantise, node, in, NULL, &params);
        if (!rounded->made) return false;
    }
    trial->in[CI_MATMUL_X] = rounded->is_new ? rounded->made->out[0] : rounded->codes[wide];
    return true;
}

/* The product with its input in codes of as many bits as it would have. false: out of memory. */
static bool round_product(struct ci_graph *graph, const struct ci_node *node, enum ci_activations activations,
                          bool affordable, bool matters, const struct ci_chooser *chooser, struct rounded *rounded,
                          struct ci_node *trial, bool *wide) {
    *wide = false;
    if (!round_x(graph, node, false, rounded, trial)) return false;
    if (!wants_16_bits(trial, activations, affordable, chooser)) return true;
    if (!round_x(graph, node, true, rounded, trial)) return false;
    *wide = has_16_bits(trial, activations, matters, chooser);
    return *wide || round_x(graph, node, false, rounded, trial);
}

enum clinfer_status ci_pass_activations(struct ci_graph *graph, enum ci_activations activations,
                                        const struct ci_chooser *by_place) {
    struct rounded rounded = {.source = NULL};
    struct ci_node *previous = NULL;
    const bool small = is_small(graph), affordable = can_afford_16_bits(graph, small);
    int unit = -1; /* of the last product */
    for (struct ci_node *node = graph->first; node; previous = node, node = node->next) {
        const struct ci_chooser *chooser = &by_place[node->place];
        if (!is_product(node) || activations == CI_ACTIVATIONS_F32) continue;
        /* Through PoCL a large model lost an eighth of its speed by it. */
        const bool matters = (small || !chooser->caps->device) && matters_most(graph, node, node->unit != unit);
        unit = node->unit;
        const struct ci_tensor *x = node->in[CI_MATMUL_X];
        if (!node->in[CI_MATMUL_W0]->view.type->quantised || x->view.type != &ci_type_f32) continue;
        if (!ci_type_fits_cols(&ci_type_q8, x->view.cols)) continue;
        struct ci_node trial;
        bool wide;
        if (!round_product(graph, node, activations, affordable, matters, chooser, &rounded, &trial, &wide))
            return graph->status;
        if (!wants_codes(node, &trial, activations, chooser)) continue;
        if (rounded.is_new) {
            rounded.codes[wide] = rounded.made->out[0];
            rounded.made->next = node;
            if (previous)
                previous->next = rounded.made;
            else
                graph->first = rounded.made;
        }
        node->in[CI_MATMUL_X] = trial.in[CI_MATMUL_X];
    }
    return graph->status;
}

/* The node of op->second that reads the output of `first`, if the two can be one. */
static struct ci_node *partner(const struct ci_graph *graph, const struct ci_op *op, const struct ci_node *first) {
    for (struct ci_node *node = first->next; node; node = node->next) {
        if (node->op == op->second && node->in[op->second_input] == first->out[0])
            return op->keeps_first || ci_graph_readers(graph, first->out[0]) == 1 ? node : NULL;
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
    return ci_graph_node(graph, op, first, in, out, &params);
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

enum clinfer_status ci_pass_fuse(struct ci_graph *graph, const struct ci_chooser *by_place) {
    for (int i = 0; ci_ops[i]; i++) {
        const struct ci_op *op = ci_ops[i];
        if (!op->first) continue;
        for (struct ci_node *first = graph->first, *next; first; first = next) {
            next = first->next;
            if (first->op != op->first) continue;
            struct ci_node *second = partner(graph, op, first);
            bool together = second && second->place == first->place;
            struct ci_node *fused = together ? join(graph, op, first, second) : NULL;
            if (graph->status != CLINFER_OK) return graph->status;
            struct ci_choice choice;
            if (!fused) continue;
            bool to_cpu = ci_choices_forced_to(by_place[first->place].choices, op, CI_FORCE_CPU);
            const struct ci_chooser *chooser = &by_place[to_cpu ? 0 : first->place];
            if (!ci_choices_first(chooser, fused, &choice) || ci_choices_unfused(chooser, fused)) continue;
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
    struct ci_node *first = ci_graph_node(graph, op->first, node, node->in, between, &node->params);
    if (!first) return graph->status;
    int next_input = op->first->inputs;
    for (int i = 0; i < op->second->inputs; i++)
        second_in[i] = i == op->second_input ? first->out[0] : node->in[next_input++];
    struct ci_node *second =
        ci_graph_node(graph, op->second, node, second_in, node->out + (op->keeps_first ? 1 : 0), &node->params);
    if (!second) return graph->status;
    second->next = node->next;
    if (graph->last == node) graph->last = second;
    *node = *first;
    node->next = second;
    return CLINFER_OK;
}
