/* gemma.h: what the Gemmas share. */
#ifndef CI_MODEL_GEMMA_H
#define CI_MODEL_GEMMA_H

#include "model/checkpoint.h"

/* The embedding is scaled by its width; with `largest` layers attention is scaled as if heads filled the embedding. 0:
 * never. */
enum clinfer_status ci_gemma_derive(struct ci_model *model, int largest);

/* Norms of Gemma 2 and 3 in folders, which have the factor less 1. */
extern const struct ci_checkpoint_tensor ci_gemma_norms[];

/* Heads of folders, and whether query_pre_attn_scalar is the scale that ci_gemma_derive() takes. */
void ci_gemma_derive_checkpoint(struct ci_checkpoint_reading *reading, int largest);

#endif
