/* build.h: the blocks of which families make their graphs. A block takes the weights that it is given the names of and
 * adds the nodes that use them, so that what a model has and what it does stand in one place.
 *
 * Names are stems: in a layer "attn_q" is the file's "blk.3.attn_q", outside it is "attn_q". After a failure (a weight
 * that is missing or has the wrong shape, no memory) graph->status says which, blocks return NULL and the later ones do
 * nothing: families need no checks in between. */
#ifndef CI_MODEL_BUILD_H
#define CI_MODEL_BUILD_H

#include "model/model.h"

struct ci_builder {
    struct ci_model *model;
    struct ci_graph *graph;
    struct ci_run *run;
    int layer;                                     /* -1: outside */
    struct ci_tensor *rope_tables[CI_ROPE_TABLES]; /* of this run's positions */
    struct ci_tensor *layer_input;                 /* what the layer began with, for experts that are chosen by it */
};

/* In a layer. */
static inline const struct ci_layer *ci_build_layer(const struct ci_builder *b) { return &b->model->layers[b->layer]; }

/* Layer `layer` begins, its nodes belong to the unit of that layer; the number of layers: what stands behind them. */
void ci_build_enter(struct ci_builder *b, int layer);

/* "blk.3.<stem>", kept as long as the graph. */
const char *ci_build_label(const struct ci_builder *b, const char *stem);

/* A weight by its whole name behind the layer's prefix; rows -1: any. Absent optional ones are NULL. */
struct ci_tensor *ci_build_weight(struct ci_builder *b, bool required, int64_t rows, int64_t cols, const char *name);
bool ci_build_has(const struct ci_builder *b, const char *name);

/* A weight's rows one behind the other in one, [1, rows * cols] f32. NULL stays NULL. */
struct ci_tensor *ci_build_flat(struct ci_builder *b, struct ci_tensor *weight);

/* The model cannot be built: CLINFER_UNSUPPORTED with the layer's name of `stem` and the reason. NULL. */
struct ci_tensor *ci_build_refuse(struct ci_builder *b, const char *stem, const char *reason);

/* Any op of one output, without checks between. */
struct ci_tensor *ci_build_op(struct ci_builder *b, const struct ci_op *op, const char *label,
                              struct ci_tensor *const in[CI_MAX_INPUTS], const struct ci_params *params);

/* Matrices side by side that read the same x: [R, rows of all] = x w^T + b. Weight, bias and scale of each part's stem,
 * the last two where the file has them. */
struct ci_part {
    const char *stem; /* NULL ends the list */
    int64_t rows;
};
enum ci_scaling {
    CI_SCALES_PRODUCT, /* the scale multiplies x w^T */
    CI_SCALES_SUM,     /* and the bias, too */
    CI_NOT_SCALED      /* scales are left to the list of what may be left out */
};
struct ci_tensor *ci_build_linear(struct ci_builder *b, const char *label, struct ci_tensor *x,
                                  const struct ci_part *parts, enum ci_scaling scaling);

/* queries, keys and values side by side, from one matrix where the file has attn_qkv, else from three; a bias that
 * belongs to one of the three is found in both forms. */
struct ci_tensor *ci_build_qkv(struct ci_builder *b, struct ci_tensor *x, int64_t queries, int64_t keys,
                               int64_t values);

/* a + b */
struct ci_tensor *ci_build_add(struct ci_builder *b, const char *label, struct ci_tensor *a, struct ci_tensor *addend);

/* Normalised by <stem>.weight, and <stem>.bias where the file has one; PLAIN has neither. */
enum ci_norm { CI_NORM_RMS, CI_NORM_LAYER, CI_NORM_LAYER_PLAIN };
struct ci_tensor *ci_build_norm(struct ci_builder *b, enum ci_norm kind, const char *stem, struct ci_tensor *x);

/* x = [queries, keys, ...] with queries and keys normalised (RMS) by attn_q_norm and attn_k_norm: each head by itself
 * with one weight for all, or all heads of a row together. EACH: by layer norm, each head by itself with a weight of
 * its own, where the file has weights. */
enum ci_head_norm {
    CI_HEAD_NORM_NONE,
    CI_HEAD_NORM_HEADS,
    CI_HEAD_NORM_ROWS,
    CI_HEAD_NORM_HEADS_AFTER_ROPE,
    CI_HEAD_NORM_EACH
};
struct ci_tensor *ci_build_head_norm(struct ci_builder *b, enum ci_head_norm kind, struct ci_tensor *x);

/* kind(x), and kind(gate) up of x = [gate, up]: CI_ACTIVATION_* of op_params.h. */
struct ci_tensor *ci_build_unary(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind, float a);
struct ci_tensor *ci_build_glu(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind);

/* The same of x = [gate, up, gate, up, ...], `width` columns each. */
struct ci_tensor *ci_build_glu_slices(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind,
                                      int64_t width);

/* x factor; x itself where that changes nothing (0: there is none). */
struct ci_tensor *ci_build_scale(struct ci_builder *b, const char *label, struct ci_tensor *x, float factor);

/* What rotated layers need of this run; before any layer, so that it belongs to what stands before them. */
void ci_build_rope_tables(struct ci_builder *b);

/* The first `heads` heads of x rotated as the layer says. */
enum ci_rope_pairs { CI_ROPE_NEIGHBOURS, CI_ROPE_HALVES };
struct ci_tensor *ci_build_rope(struct ci_builder *b, struct ci_tensor *x, int heads, enum ci_rope_pairs pairs);

/* Keys and values of x = [queries, keys, values] go to the layer's cache, then queries look at it; the layer's heads
 * and window, and what the model's hyper-parameters say of scale and soft cap. sinks [1, heads] or NULL. */
struct ci_tensor *ci_build_attention(struct ci_builder *b, struct ci_tensor *x, struct ci_tensor *sinks);

/* The feed-forward of a mixture of experts: as many and as wide as the hyper-parameters say (experts.c). */
struct ci_experts {
    int gating;        /* CI_GATING_*; where the family reads expert_gating_func and the file has it, that counts */
    bool normalise;    /* or the file's expert_weights_norm, where the family reads it */
    const char *bias;  /* of the choice, where the file has a weight of this name; NULL: none */
    int activation;    /* CI_ACTIVATION_* */
    bool scales;       /* of each expert's matrix, where the file has them; without it they are left out */
    bool chosen_first; /* by what the layer began with */
    bool shared_gate;  /* ffn_gate_inp_shexp says how much of the shared expert a row has */
    bool shared_gate_in_up; /* one matrix ffn_up_shexp holds gate and up of the shared expert */
    bool shared_mean;       /* what a row has is the mean of the chosen and the shared ones' sums */
};
struct ci_tensor *ci_build_experts(struct ci_builder *b, const struct ci_experts *kind, struct ci_tensor *x);

/* The first columns of x grow with the run's positions, as attention.temperature_scale says; x where it says nothing.
 */
struct ci_tensor *ci_build_temperature(struct ci_builder *b, struct ci_tensor *x, int columns);

/* [R, E] of the run's ids by token_embd.weight; of its positions by position_embd.weight, which has `context` rows. */
struct ci_tensor *ci_build_embedding(struct ci_builder *b);
struct ci_tensor *ci_build_positions(struct ci_builder *b);

/* x + the first row of <stem>.weight [any, E]; x where the file has none. */
struct ci_tensor *ci_build_first_row(struct ci_builder *b, const char *stem, struct ci_tensor *x);

/* The rows that are wanted, then logits by output.weight, or the embedding where there is none, and sampled ids. */
struct ci_tensor *ci_build_wanted(struct ci_builder *b, struct ci_tensor *x);
struct ci_tensor *ci_build_output(struct ci_builder *b, struct ci_tensor *x);
void ci_build_sampling(struct ci_builder *b, struct ci_tensor *logits);

#endif
