/* passes.h: rewrites of a graph between model and plan. */
#ifndef CI_GRAPH_PASSES_H
#define CI_GRAPH_PASSES_H

#include "graph/choices.h"

/* What matrix products of quantised weights read: floats, or q8, or q16, or what the kernels here prefer. */
enum ci_activations { CI_ACTIVATIONS_AUTO, CI_ACTIVATIONS_F32, CI_ACTIVATIONS_Q8, CI_ACTIVATIONS_Q16 };

/* The passes ask by_place[node->place] what there is for a node.
 *
 * Puts `quantise` before matrix products as asked. AUTO takes what was measured to be faster; without measurements q8
 * where the first variant that fits with q8 stands in the table before the first that fits with f32. In place of q8 it
 * takes q16 where the first variant for that hides the second plane, those with AVX-512 VNNI of the CPU backend and of
 * CPU devices and those with a dot product of bytes on GPUs (docs/benchmarks.md has what that costs, and that it is
 * more with AVX2; portable kernels with AVX-512 have f32, which is faster there)
 *   - for up to CI_16_BIT_ROWS rows: decoding waits for the weights, so that twice as many products are next to free;
 *   - for prompts of up to CI_16_BIT_PROMPT rows, of which one has logits: they are soon computed in any case;
 *   - for any number of rows where all products together have no more than CI_16_BIT_WEIGHTS bytes of weights. Small
 *     models are fast in any case, and their answers turn on the least rounding.
 * Where q16 is wanted and nothing computes with it, q8 is taken. */
enum { CI_16_BIT_ROWS = 4, CI_16_BIT_PROMPT = 64, CI_16_BIT_WEIGHTS = 256 << 20 };

enum clinfer_status ci_pass_activations(struct ci_graph *graph, enum ci_activations activations,
                                        const struct ci_chooser *by_place);

/* Joins two nodes into a fused op where the place has a variant for it, unless its parts were measured to be faster. */
enum clinfer_status ci_pass_fuse(struct ci_graph *graph, const struct ci_chooser *by_place);

/* Replaces the fused node by its two parts; *first then stands where it stood. */
enum clinfer_status ci_pass_unfuse(struct ci_graph *graph, struct ci_node *node);

#endif
