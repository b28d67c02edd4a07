/* passes.h: rewrites of a graph between model and plan. */
#ifndef CI_GRAPH_PASSES_H
#define CI_GRAPH_PASSES_H

#include "graph/graph.h"

/* What matrix products of quantised weights read: floats, or q8, or what the kernels here prefer. */
enum ci_activations { CI_ACTIVATIONS_AUTO, CI_ACTIVATIONS_F32, CI_ACTIVATIONS_Q8 };

/* Puts `quantise` before matrix products as asked. AUTO decides by the order of the table of variants: q8 where the
 * first variant that fits with q8 stands before the first that fits with f32. */
enum clinfer_status ci_pass_activations(struct ci_graph *graph, enum ci_activations activations,
                                        const struct ci_caps *caps);

/* Joins two nodes into a fused op where the place has a variant for it. */
enum clinfer_status ci_pass_fuse(struct ci_graph *graph, const struct ci_caps *caps);

/* Replaces the fused node by its two parts; *first then stands where it stood. */
enum clinfer_status ci_pass_unfuse(struct ci_graph *graph, struct ci_node *node);

/* The first variant from `start` on that fits the call at this place, as index into ci_variants; -1: none. Weights that
 * have a place already keep their layout. */
int ci_pass_first_variant(const struct ci_node *node, const struct ci_caps *caps, int start);

#endif
