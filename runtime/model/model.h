/* model.h: a model file as hyper-parameters, weights and a way to build its graph. One file per architecture family,
 * one line in family_list.inc. */
#ifndef CI_MODEL_MODEL_H
#define CI_MODEL_MODEL_H

#include "format/gguf.h"
#include "graph/graph.h"
#include "tensor/op_params.h"

/* Names as in GGUF's <architecture>.* keys. `blocks` are those of the file, `layers` those that the graph runs. */
struct ci_hyper {
    int blocks, layers, embedding, feed_forward, heads, kv_heads, head_dim, rotated, context, vocabulary;
    float rope_base, eps;
    float attention_scale; /* of queries by keys; 0: 1 / sqrt(head_dim) */
};

/* Matrices side by side that read the same input: x w^T + bias, or where the file scales one of them
 * (x w^T) factors + offsets, and then no biases. What is absent is NULL. */
struct ci_projection {
    struct ci_tensor *weights[CI_MATMUL_MAX_WEIGHTS], *biases[CI_MATMUL_MAX_WEIGHTS];
    struct ci_tensor *factors, *offsets; /* [1, rows of all weights], computed */
};

struct ci_layer {
    struct ci_tensor *attention_norm, *ffn_norm;
    struct ci_projection qkv, attention_output, gate_up, down; /* qkv: three matrices, or one that holds all */
    struct ci_tensor *keys, *values;                           /* states, made by ci_model_make_states */
};

/* What the file has and the graph does without. */
enum ci_finding_kind {
    CI_FINDING_LEFT_OUT,  /* a tensor that may be left out */
    CI_FINDING_NO_EFFECT, /* a key that changes nothing for this family */
    CI_FINDING_UNKNOWN    /* a key that nobody knows */
};

struct ci_finding {
    enum ci_finding_kind kind;
    const char *name, *why; /* the name is the file's */
    const struct ci_finding *next;
};

struct ci_model {
    const struct ci_family *family;
    const struct ci_gguf *gguf; /* borrowed */
    struct ci_arena arena;
    struct ci_hyper hyper;
    struct ci_tensor *embedding, *output_norm;
    struct ci_projection output;        /* of the embedding when tied */
    struct ci_tensor *rope_frequencies; /* [1, rotated / 2], computed */
    struct ci_layer *layers;
    struct ci_tensor *sampled;                         /* state: ids that the last run sampled */
    uint64_t parameters;                               /* how many numbers the weights have */
    bool *taken;                                       /* [tensors of the file] */
    const struct ci_finding *findings, **next_finding; /* in the order of the file; keys, then tensors */
};

/* The tensors of a graph that a run fills and reads; see tensor/op_params.h for what they hold. */
struct ci_run {
    struct ci_tensor *ids, *positions, *slots, *wanted, *tiles, *pages, *sampler; /* inputs */
    struct ci_tensor *logits, *not_finite; /* results; sampled ids: model->sampled */
};

/* What becomes of a metadata key "<architecture>.<key>" (judge.c). Every family is judged by its own rules, then by
 * those that all families have. */
struct ci_key_rule {
    const char *key; /* NULL ends the list */
    enum ci_key_use {
        CI_KEY_USED,      /* read, and refused where it is not understood */
        CI_KEY_NO_EFFECT, /* may say what it wants: `why` */
        CI_KEY_NEUTRAL    /* may be `neutral`; any other value asks for what is not supported: `why` */
    } use;
    const char *why;
    double neutral;
};

/* Tensors that a model is right without, by name (fnmatch(3)). */
struct ci_left_out {
    const char *pattern, *why; /* NULL ends the list */
};

struct ci_family {
    const char *architecture;           /* general.architecture */
    const struct ci_key_rule *keys;     /* what this family has beyond the common ones; may be NULL */
    const struct ci_left_out *left_out; /* may be NULL */
    bool rope_factors;                  /* rope_freqs.weight divides the frequencies */

    /* Reads what this family has beyond ci_model_open's common part. May be NULL. */
    enum clinfer_status (*load)(struct ci_model *model);

    /* The graph of one run, from ids to sampled ids. */
    void (*build)(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run);
};

extern const struct ci_family *const ci_families[]; /* ends with NULL */

/* The model must not outlive the file. CLINFER_UNSUPPORTED for an architecture or a type that clinfer does not run, and
 * for a tensor or the value of a key that the graph would have to leave out though the answers need it;
 * CLINFER_BAD_FILE for tensors that are missing or of the wrong shape. The message names them. What may be left out is
 * in `findings` afterwards. */
enum clinfer_status ci_model_open(const struct ci_gguf *gguf, struct ci_model *model);
void ci_model_close(struct ci_model *model);

/* Of shapes and types of all weights: what two files share whose speed is the same. */
uint64_t ci_model_fingerprint(const struct ci_model *model);

/* Makes the states: caches of `rows` rows (a multiple of CI_PAGE_ROWS), and room for `wanted` sampled ids. */
enum clinfer_status ci_model_make_states(struct ci_model *model, const struct ci_type *key_type,
                                         const struct ci_type *value_type, int64_t rows, int64_t wanted);

/* Builds the graph for at most rows[] rows, `sequences` lines of `pages` pages each. */
enum clinfer_status ci_model_build(const struct ci_model *model, const int64_t rows[CI_EXTENT_COUNT], int64_t sequences,
                                   int64_t pages, struct ci_graph *graph, struct ci_run *run);

/* For families: a weight by name, its shape checked (rows -1: any); an absent optional one is NULL. What no family
 * takes is refused by name when the model is opened. */
enum clinfer_status ci_model_weight(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                    int64_t cols, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* For families: one matrix of a projection by its stem ("blk.3.attn_q"): weight, bias and scale of that name, the last
 * two where the file has them. What a scale multiplies, the product alone or the product and its bias, is the family's;
 * NOT_SCALED leaves the scale to the list of what may be left out. Ends with ci_projection_finish(), which computes
 * factors and offsets. */
enum ci_scaling { CI_SCALES_PRODUCT, CI_SCALES_SUM, CI_NOT_SCALED };
struct ci_projection_load {
    struct ci_model *model;
    struct ci_projection *projection;
    enum ci_scaling scaling;
    struct ci_tensor *scales[CI_MATMUL_MAX_WEIGHTS];
};
enum clinfer_status ci_projection_add(struct ci_projection_load *load, int index, bool required, const char *stem,
                                      int64_t rows, int64_t cols);
enum clinfer_status ci_projection_finish(struct ci_projection_load *load);

/* For families: a vector [1, cols] that is computed, with room for its numbers; NULL without memory. */
struct ci_tensor *ci_model_computed(struct ci_model *model, const char *name, int64_t cols, float **numbers);

/* For families: an integer "<architecture>.<key>", at least `minimum` and at most `maximum`. A list with a number per
 * layer is as good as one number where all are equal. */
enum clinfer_status ci_model_integer(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                     uint32_t minimum, uint32_t maximum, int *value);
enum clinfer_status ci_model_float(const struct ci_model *model, const char *key, enum ci_gguf_need need, float *value);

/* rope.c: radians per position, as the metadata and the file's own factors want them; also hyper.attention_scale. */
enum clinfer_status ci_model_make_frequencies(struct ci_model *model);

/* Whether block `block` of the file belongs to multi-token prediction. */
bool ci_model_predicts_ahead(const struct ci_model *model, int block);

/* judge.c. Keys before anything is loaded, so that a model of another kind is refused for its kind and not for a tensor
 * that it lacks; tensors when all have been taken. Both add to the findings. */
enum clinfer_status ci_judge_keys(struct ci_model *model);
enum clinfer_status ci_judge_tensors(struct ci_model *model);

#endif
