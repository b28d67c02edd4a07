/* graph.h: what is to be computed, before anything is decided about how. A graph is a list of nodes in an order in
 * which every tensor is written before it is read. Models build it (model/), plans make it run (plan.h). */
#ifndef CI_GRAPH_GRAPH_H
#define CI_GRAPH_GRAPH_H

#include "base/arena.h"
#include "ops/op.h"

enum { CI_MAX_PLACES = 4 }; /* place 0 is the host's processor, the others are OpenCL devices */

enum ci_tensor_kind {
    CI_TENSOR_WEIGHT,    /* of the file, or computed once when the model is loaded; bytes at `host` */
    CI_TENSOR_STATE,     /* outlives a run: KV cache, sampled ids */
    CI_TENSOR_INPUT,     /* comes with every run */
    CI_TENSOR_ACTIVATION /* lives within a run */
};

/* Weights, states and inputs are shared by the graphs of all plans; activations belong to one. */
struct ci_tensor {
    const char *name;
    enum ci_tensor_kind kind;
    struct ci_view view;       /* shape, and, once it has a place, where the bytes are; rows is the most there can be */
    int place;                 /* where its bytes are; -1: not decided */
    const void *host;          /* weights: the bytes as stored, borrowed */
    int first_step, last_step; /* activations: lifetime in steps of the plan */
};

struct ci_node {
    const struct ci_op *op;
    const char *label; /* "blk.3.attn_qkv" */
    int unit;          /* 0: before the layers, 1..: layer 0.., last: behind them; what is placed together */
    int place;         /* where it is wanted; 0 until that is decided */
    struct ci_tensor *in[CI_MAX_INPUTS];
    struct ci_tensor *out[CI_MAX_OUTPUTS];
    struct ci_params params;
    struct ci_node *next;
};

struct ci_graph {
    struct ci_arena arena;
    struct ci_node *first, *last;
    enum clinfer_status
        status; /* of the first failure; later calls do nothing, so that builders need no checks between */
    int64_t rows[CI_EXTENT_COUNT]; /* the most rows of each extent, by which activations are sized */
    int unit;                      /* of the nodes that are made next */
};

void ci_graph_init(struct ci_graph *graph, const int64_t rows[CI_EXTENT_COUNT]);
void ci_graph_destroy(struct ci_graph *graph);

/* Appends a node; NULL inputs are absent. Outputs that are NULL in `out` (or out = NULL) are made as activations.
 * Returns output 0, NULL after a failure. */
struct ci_tensor *ci_graph_add(struct ci_graph *graph, const struct ci_op *op, const char *label,
                               struct ci_tensor *const in[CI_MAX_INPUTS], struct ci_tensor *const out[CI_MAX_OUTPUTS],
                               const struct ci_params *params);

/* The call of a node: views of its tensors, without rows of a particular run. */
void ci_node_call(const struct ci_node *node, struct ci_call *call);

/* A node that is not yet in the list, with outputs made as needed; inserted by the passes, which give it the label,
 * unit and place of the node that it comes from. NULL after a failure. */
struct ci_node *ci_graph_node(struct ci_graph *graph, const struct ci_op *op, const struct ci_node *from,
                              struct ci_tensor *const in[CI_MAX_INPUTS], struct ci_tensor *const out[CI_MAX_OUTPUTS],
                              const struct ci_params *params);

/* How many nodes read the tensor. */
int ci_graph_readers(const struct ci_graph *graph, const struct ci_tensor *tensor);

#endif
