/* transformer.h: the decoder that most families are: RMSNorm, grouped-query attention with RoPE, SwiGLU, residuals.
 * Biases and scales are taken where a file has them. A family says how it differs; what it has beyond this it builds
 * itself. */
#ifndef CI_MODEL_TRANSFORMER_H
#define CI_MODEL_TRANSFORMER_H

#include "model/model.h"

struct ci_transformer {
    bool neox;       /* RoPE pairs the halves of a head, not neighbours */
    bool ffn_scales; /* the feed-forward's scales are applied, after its biases; without it they are left out */
};

enum clinfer_status ci_transformer_load(struct ci_model *model, const struct ci_transformer *kind);
void ci_transformer_build(const struct ci_model *model, const struct ci_transformer *kind, struct ci_graph *graph,
                          struct ci_run *run);

#endif
