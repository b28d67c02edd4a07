/* model.h: a model file as hyper-parameters, weights and a way to build its graph. One file per architecture family,
 * one line in family_list.inc. */
#ifndef CI_MODEL_MODEL_H
#define CI_MODEL_MODEL_H

#include "format/gguf.h"
#include "graph/graph.h"

/* Names as in GGUF's <architecture>.* keys. */
struct ci_hyper {
    int layers, embedding, feed_forward, heads, kv_heads, head_dim, rotated, context, vocabulary;
    float rope_base, eps;
};

struct ci_layer {
    struct ci_tensor *attention_norm, *q, *k, *v, *q_bias, *k_bias, *v_bias, *attention_output;
    struct ci_tensor *ffn_norm, *gate, *up, *down;
    struct ci_tensor *keys, *values; /* states, made by ci_model_make_cache */
};

struct ci_model {
    const struct ci_family *family;
    const struct ci_gguf *gguf; /* borrowed */
    struct ci_arena arena;
    struct ci_hyper hyper;
    struct ci_tensor *embedding, *output_norm, *output; /* output: the embedding when tied */
    struct ci_tensor *rope_frequencies;                 /* [1, rotated / 2], computed */
    struct ci_layer *layers;
    struct ci_tensor *sampled; /* state: ids that the last run sampled */
    uint64_t parameters;       /* how many numbers the weights have */
};

/* The tensors of a graph that a run fills and reads; see tensor/op_params.h for what they hold. */
struct ci_run {
    struct ci_tensor *ids, *positions, *slots, *wanted, *tiles, *pages, *sampler; /* inputs */
    struct ci_tensor *logits, *not_finite; /* results; sampled ids: model->sampled */
};

struct ci_family {
    const char *architecture; /* general.architecture */

    /* Reads what this family has beyond ci_model_open's common part. May be NULL. */
    enum clinfer_status (*load)(struct ci_model *model);

    /* The graph of one run, from ids to sampled ids. */
    void (*build)(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run);
};

extern const struct ci_family *const ci_families[]; /* ends with NULL */

/* The model must not outlive the file. CLINFER_UNSUPPORTED for an architecture or a type that clinfer does not run,
 * CLINFER_BAD_FILE for tensors that are missing or of the wrong shape; the message names them. */
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

/* For families: a weight by name, its shape checked (rows -1: any); an absent optional one is NULL. */
enum clinfer_status ci_model_weight(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                    int64_t cols, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* For families: an integer "<architecture>.<key>", at least `minimum` and at most `maximum`. */
enum clinfer_status ci_model_integer(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                     uint32_t minimum, uint32_t maximum, int *value);
enum clinfer_status ci_model_float(const struct ci_model *model, const char *key, enum ci_gguf_need need, float *value);

#endif
