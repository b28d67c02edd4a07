/* passes.h: rewrites of a graph between model and plan. */
#ifndef CI_GRAPH_PASSES_H
#define CI_GRAPH_PASSES_H

#include "graph/choices.h"

/* What matrix products of quantised weights read: floats, or q8, or q16, or what the kernels here prefer. */
enum ci_activations { CI_ACTIVATIONS_AUTO, CI_ACTIVATIONS_F32, CI_ACTIVATIONS_Q8, CI_ACTIVATIONS_Q16 };

/* The passes ask by_place[node->place] what there is for a node.
 *
 * Puts `quantise` before matrix products as asked. AUTO takes what was measured to be faster; without measurements q8
 * where the first variant that fits with q8 stands in the table before the first that fits with f32. Where
 * q16 is asked for and nothing computes with it, q8 is taken. */
enum clinfer_status ci_pass_activations(struct ci_graph *graph, enum ci_activations activations,
                                        const struct ci_chooser *by_place);

/* Joins two nodes into a fused op where the place has a variant for it, unless its parts were measured to be faster. */
enum clinfer_status ci_pass_fuse(struct ci_graph *graph, const struct ci_chooser *by_place);

/* Replaces the fused node by its two parts; *first then stands where it stood. */
enum clinfer_status ci_pass_unfuse(struct ci_graph *graph, struct ci_node *node);

#endif
