/* model.h: a model file as hyper-parameters, weights and a way to build its graph. One file per architecture family,
 * one line in family_list.inc. */
#ifndef CI_MODEL_MODEL_H
#define CI_MODEL_MODEL_H

#include "format/gguf.h"
#include "graph/graph.h"
#include "tensor/op_params.h"

enum { CI_MAX_CONTEXT = 1 << 28 };

/* What holds for the whole model. Names as in GGUF's <architecture>.* keys. `blocks` are those of the file, `layers`
 * those that the graph runs. What a family does not read is 0. */
struct ci_hyper {
    int blocks, layers, embedding, vocabulary;
    int context;          /* tokens of a sequence at most */
    int trained_context;  /* the same as the file says it, before anybody asked for more */
    int original_context; /* what the model was trained for before it was stretched */
    int expert_step;      /* of so many layers the last one has experts; 0: all that may */
    int experts, experts_used, expert_groups, expert_groups_used, expert_feed_forward, shared_experts,
        shared_feed_forward, dense_layers;
    int window_kind;    /* enum ci_window_kind */
    int window;         /* positions that a layer with a sliding window sees */
    int window_pattern; /* every so many layers one sees everything; 0: the file has a list, or all are alike */
    int temperature_floor;
    int rope_sections[4]; /* pairs of a head; all 0: there are none */
    float eps;
    float rope_base, window_rope_base;
    float attention_scale; /* of queries by keys; 0: 1 / sqrt(head_dim) */
    float attention_softcap, final_softcap;
    float attention_clamp;                              /* queries, keys and values are within -it..it; 0: anywhere */
    float embedding_scale, residual_scale, logit_scale; /* 0: none */
    float expert_scale;                                 /* of the experts' weights; 0: none */
    float attention_temperature;                        /* grows with the position, see attn_temperature */
    float yarn_beta_fast, yarn_beta_slow, yarn_log_multiplier;
    float yarn_extrapolation; /* below 0: 1 where the file's type is yarn */
    bool rms_norm;            /* of families that say it by which epsilon they have */
    bool experts_normalised, causal, rope_finetuned, parallel_residual;
    int expert_gating; /* expert_gating_func of the file, 0: the family's */
};

/* What may differ from layer to layer. */
struct ci_layer {
    int heads, kv_heads, head_dim, value_dim, rotated, feed_forward;
    int window;     /* 0: sees all positions */
    int rope_table; /* index of ci_model.rope; -1: positions are not rotated */
};

/* Angles of rotary embeddings: which layers use them is said by the layer. */
struct ci_rope {
    struct ci_tensor *frequencies; /* [1, rotated / 2], computed: radians per position */
    float *numbers;                /* those */
    float magnitude;               /* of sines and cosines */
};

enum { CI_ROPE_TABLES = 2 }; /* of layers that see everything, and of those with a window */

/* A state lives as long as the engine. What becomes of it when memory grows, a sequence moves or is cut, follows from
 * its kind and never from its name. */
enum ci_state_kind {
    CI_STATE_KEYS,    /* one row per position, [rows, cols] of the type of keys */
    CI_STATE_VALUES,  /* the same of the type of values */
    CI_STATE_SAMPLED, /* ids that the last run sampled */
    CI_STATE_MASK /* [wanted, CI_MASK_WORDS(vocabulary)] i32, written by the host before a run: what op sample wants */
};

/* The caches of layers that see everything and those of layers with a window have pages of their own, since the latter
 * need only the last ones. */
enum ci_cache_group { CI_CACHE_WHOLE, CI_CACHE_WINDOW, CI_CACHE_GROUPS };
static inline enum ci_cache_group ci_cache_group(int window) { return window ? CI_CACHE_WINDOW : CI_CACHE_WHOLE; }

struct ci_state {
    enum ci_state_kind kind;
    int layer;  /* -1: of none */
    int window; /* rows further back are never read again; 0: all are */
    struct ci_tensor *tensor;
    struct ci_state *next;
};

/* Whether it has a row per position. */
static inline bool ci_state_is_cache(const struct ci_state *state) {
    return state->kind == CI_STATE_KEYS || state->kind == CI_STATE_VALUES;
}

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

struct ci_weight {
    struct ci_tensor *tensor;
    bool computed; /* from others: no file has it */
    struct ci_weight *next;
};

struct ci_model {
    const struct ci_family *family;
    const struct ci_gguf *gguf;         /* borrowed; NULL: there is no file */
    const struct ci_imagined *imagined; /* not NULL: this says which tensors a file would have */
    struct ci_arena arena;
    struct ci_hyper hyper;
    struct ci_layer *layers; /* [hyper.layers] */
    struct ci_rope rope[CI_ROPE_TABLES];
    struct ci_weight *weights, **next_weight;          /* in the order in which the graph first asked for them */
    struct ci_tensor **taken;                          /* [tensors of the file]: NULL where nothing asked */
    struct ci_state *states, **next_state;             /* in the order of the graph */
    struct ci_tensor *sampled, *mask;                  /* the states of these kinds; no mask where nothing is sampled */
    bool embeds;                                       /* graphs end before the output matrix */
    int outputs;                                       /* numbers of a wanted row: logits, or what an encoder gives */
    bool rope_halves;                                  /* where the family turns neighbours: rows are in that order */
    uint64_t parameters;                               /* how many numbers the weights have */
    const struct ci_finding *findings, **next_finding; /* in the order of the file; keys, then tensors */
};

/* The tensors of a graph that a run fills and reads; see tensor/op_params.h for what they hold. */
struct ci_run {
    struct ci_tensor *ids, *positions, *wanted, *tiles, *sampler;      /* inputs */
    struct ci_tensor *slots[CI_CACHE_GROUPS], *pages[CI_CACHE_GROUPS]; /* the same; unused ones have no memory */
    struct ci_tensor *logits, *not_finite;                             /* results; sampled ids: model->sampled */
};

/* What becomes of a metadata key "<architecture>.<key>" (judge.c, hyper.c). Every family is judged by its own rules,
 * then by those that all families have. */
struct ci_key_rule {
    const char *key; /* NULL ends the list */
    enum ci_key_use {
        CI_KEY_USED,      /* read where it is used */
        CI_KEY_READ,      /* a field of ci_hyper or ci_layer (hyper.c knows which): `number` where the file has none */
        CI_KEY_REQUIRED,  /* the same, and the file must have it */
        CI_KEY_NO_EFFECT, /* may say what it wants: `why` */
        CI_KEY_NEUTRAL    /* may be `number`; any other value asks for what is not supported: `why` */
    } use;
    const char *why;
    double number;
};

/* Tensors that a model is right without, by name (fnmatch(3)). */
struct ci_left_out {
    const char *pattern, *why; /* NULL ends the list */
};

struct ci_builder;
struct ci_checkpoint;

/* A family is data, and where data does not do, a function. Families that are decoders or encoders of the usual kind
 * fill `decoder` (decoder.h) and leave `build` NULL. */
struct ci_family {
    const char *architecture;           /* general.architecture */
    const struct ci_key_rule *keys;     /* what this family has beyond the common ones; may be NULL */
    const struct ci_left_out *left_out; /* may be NULL */
    const struct ci_left_out *unused;   /* the same of optional ones that a block would take; may be NULL */
    const struct ci_decoder *decoder;   /* NULL: `build` does without */

    /* How a folder of the Hub names what GGUF names otherwise (checkpoint.h); NULL: only GGUF files are read. */
    const struct ci_checkpoint *checkpoint;

    /* Numbers that follow from others, after all keys were read and before anything is built. May be NULL. */
    enum clinfer_status (*derive)(struct ci_model *model);

    /* From ids to logits: takes the weights that it names, declares the states that it needs, and adds the nodes
     * (build.h). Run once when the model is opened, which is how its weights and states become known, and again for
     * each plan. NULL: ci_decoder_build(). */
    void (*build)(struct ci_builder *builder);
};

extern const struct ci_family *const ci_families[]; /* ends with NULL */

/* The model must not outlive the file. CLINFER_UNSUPPORTED for an architecture or a type that clinfer does not run, and
 * for a tensor or the value of a key that the graph would have to leave out though the answers need it;
 * CLINFER_BAD_FILE for tensors that are missing or of the wrong shape. The message names them. What may be left out is
 * in `findings` afterwards. */
enum clinfer_status ci_model_open(const struct ci_gguf *gguf, struct ci_model *model);

/* The same for another list of families, NULL at its end. */
enum clinfer_status ci_model_open_as(const struct ci_gguf *gguf, const struct ci_family *const *families,
                                     struct ci_model *model);
void ci_model_close(struct ci_model *model);

/* A model without a file: what it would compute, without a single weight. */
struct ci_imagined {
    const char *architecture;
    struct ci_hyper hyper;
    struct ci_layer layer;      /* all are alike */
    const struct ci_gguf *keys; /* or a file without tensors, in place of all before but hyper.vocabulary */
    const struct ci_type *matrices, *embedding; /* Q8_0 where their blocks do not fit */
    const char *optional; /* which optional weights it has: patterns (fnmatch(3)), spaces between; NULL: none */
    const struct ci_family *const *families; /* with keys: as ci_model_open_as() has them; NULL: those there are */
};

/* `imagined` and its keys must outlive the model. CLINFER_UNSUPPORTED: no such family; with keys whatever
 * ci_model_open() says of them. */
enum clinfer_status ci_model_imagine(const struct ci_imagined *imagined, struct ci_model *model);

/* Bytes of the weights that a token reads: all but an embedding that is no output, and of experts those that are used.
 */
uint64_t ci_model_token_bytes(const struct ci_model *model);

/* Of shapes and types of all weights: what two files share whose speed is the same. */
uint64_t ci_model_fingerprint(const struct ci_model *model);

/* Gives the states their size: caches of `rows` rows (a multiple of CI_PAGE_ROWS) and of these types, and room for
 * `wanted` sampled ids. */
void ci_model_make_states(struct ci_model *model, const struct ci_type *key_type, const struct ci_type *value_type,
                          int64_t rows, int64_t wanted);

/* Whether the family writes no text; and whether what is built gives vectors of its rows instead of logits, as such a
 * family always does, and others when `embeds` is set before a graph is built. */
bool ci_model_encodes(const struct ci_model *model);
bool ci_model_makes_vectors(const struct ci_model *model);

/* Bytes of all caches for a sequence of so many positions, computed `step` at a time. */
uint64_t ci_model_cache_bytes(const struct ci_model *model, const struct ci_type *key_type,
                              const struct ci_type *value_type, int64_t positions, int64_t step);

/* The widest window of a layer; 0: no layer has one. */
int ci_model_window(const struct ci_model *model);

/* Builds the graph for at most rows[] rows, `sequences` lines of `pages` pages each. */
enum clinfer_status ci_model_build(struct ci_model *model, const int64_t rows[CI_EXTENT_COUNT], int64_t sequences,
                                   int64_t pages, struct ci_graph *graph, struct ci_run *run);

/* weights.c: a weight of the file by name, the same tensor each time, its shape checked (rows -1: any); an absent
 * optional one is NULL. What no build takes is refused by name when the model is opened. */
enum clinfer_status ci_model_weight(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                    int64_t cols, const char *name);

/* A vector [1, cols] that is computed from others, by a name of its own. *numbers is room for it the first time, NULL
 * when it is there already. NULL without memory. */
struct ci_tensor *ci_model_computed(struct ci_model *model, const char *name, int64_t cols, float **numbers);

/* The same numbers as one row, by the name with ".flat". NULL without memory. */
struct ci_tensor *ci_model_flat(struct ci_model *model, const struct ci_tensor *weight);

/* Whether ci_model_weight() would find it. */
bool ci_model_has(const struct ci_model *model, const char *name);

/* A weight that is known already, by name: taken or computed. NULL: none. */
struct ci_tensor *ci_model_find(const struct ci_model *model, const char *name);

/* The state of this kind, layer and width, declared by whoever asks first. */
struct ci_tensor *ci_model_state(struct ci_model *model, enum ci_state_kind kind, int layer, int64_t cols, int window);

/* "<architecture>.<key>" as a number that is no part of ci_hyper. */
enum clinfer_status ci_model_integer(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                     uint32_t minimum, uint32_t maximum, int *value);
enum clinfer_status ci_model_float(const struct ci_model *model, const char *key, enum ci_gguf_need need, float *value);

/* hyper.c: all keys that are fields, of the model and of its layers. */
enum clinfer_status ci_model_read_hyper(struct ci_model *model);

/* rope.c: the tables of angles and the greatest context, as the file and `rope` (NULL: nothing) want them, for
 * sequences of `wanted` tokens (0: as many as the model was made for): *context is how many that is. Once when the
 * model is opened; again, before there is a plan, for what a user wants. CLINFER_INVALID_ARGUMENT: more tokens than the
 * model was made for, and nothing stretches it. */
enum clinfer_status ci_model_set_context(struct ci_model *model, int wanted, const struct clinfer_rope_options *rope,
                                         int *context);

/* Whether block `block` of the file belongs to multi-token prediction. */
bool ci_model_predicts_ahead(const struct ci_model *model, int block);

/* judge.c. Keys before anything is loaded, so that a model of another kind is refused for its kind and not for a tensor
 * that it lacks; tensors when all have been taken. Both add to the findings. */
enum clinfer_status ci_judge_keys(struct ci_model *model);
enum clinfer_status ci_judge_tensors(struct ci_model *model);

#endif
