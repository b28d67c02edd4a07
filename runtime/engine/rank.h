/* rank.h: the head of a model that scores texts: of one vector of a text it makes a number, or one for each label.
 *
 *   y = x;  y = activation(dense y + bias), normalised where the file says so;  y = out y + bias
 *
 * as llama.cpp has it (llm_graph_context::build_pooling): tanh, GELU for ModernBERT; softmax over the labels for Qwen3.
 * Either matrix may be missing. It is applied to one row a text, so that it is computed here, in double precision, and
 * is no part of the graph. */
#ifndef CI_ENGINE_RANK_H
#define CI_ENGINE_RANK_H

#include <clinfer.h>

#include "model/model.h"

struct ci_rank_layer {
    float *weight, *bias; /* [rows, cols], [rows] or NULL */
    int rows, cols;
};

struct ci_rank {
    struct ci_rank_layer dense, out; /* weight NULL: there is none */
    float *norm;                     /* [dense.rows] or NULL */
    double eps;
    bool gelu, softmax;
    enum clinfer_pooling pooling; /* which row or rows it wants */
    int width, scores;            /* of its input, of its output; 0: the model has no such head */
};

/* CLINFER_BAD_FILE: there is none, or its shapes do not fit; CLINFER_UNSUPPORTED: a type that clinfer does not run. */
enum clinfer_status ci_rank_read(const struct ci_gguf *gguf, const struct ci_model *model, struct ci_rank *rank);
void ci_rank_free(struct ci_rank *rank);

/* row [width] -> scores [scores]. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_rank_apply(const struct ci_rank *rank, const float *row, float *scores);

#endif
