/* checkpoint.h: a folder as the Hub has it (format/folder.h) under GGUF's names, so that nothing above knows where a
 * model came from. What is called what is data: lists that most families share (checkpoint_common.c), and a family's
 * own before them. */
#ifndef CI_MODEL_CHECKPOINT_H
#define CI_MODEL_CHECKPOINT_H

#include "format/folder.h"
#include "model/model.h"

/* What becomes of a field of config.json. The first list that knows a field decides; `null` counts as absent. */
struct ci_checkpoint_field {
    const char *field; /* "num_attention_heads", "ffn_config.hidden_size"; NULL ends the list */
    enum ci_checkpoint_use {
        CI_CHECKPOINT_INTEGER, /* a number, a list, ... under "<architecture>.<key>" */
        CI_CHECKPOINT_NUMBER,
        CI_CHECKPOINT_FLAG,
        CI_CHECKPOINT_NO_EFFECT, /* may say what it wants */
        CI_CHECKPOINT_MUST_BE,   /* one of the JSON values in `text`, separated by '|' */
        CI_CHECKPOINT_BY_CODE    /* read where it is used */
    } use;
    const char *key;  /* behind "<architecture>." */
    const char *text; /* of MUST_BE */
    const char *why;  /* what is missing for other values */
};

#define CI_FIELD_INTEGER(name, gguf)                                                                                   \
    { .field = name, .use = CI_CHECKPOINT_INTEGER, .key = gguf }
#define CI_FIELD_NUMBER(name, gguf)                                                                                    \
    { .field = name, .use = CI_CHECKPOINT_NUMBER, .key = gguf }
#define CI_FIELD_FLAG(name, gguf)                                                                                      \
    { .field = name, .use = CI_CHECKPOINT_FLAG, .key = gguf }
#define CI_FIELD_NO_EFFECT(name)                                                                                       \
    { .field = name, .use = CI_CHECKPOINT_NO_EFFECT }
#define CI_FIELD_BY_CODE(name)                                                                                         \
    { .field = name, .use = CI_CHECKPOINT_BY_CODE }
#define CI_FIELD_MUST_BE(name, values, because)                                                                        \
    { .field = name, .use = CI_CHECKPOINT_MUST_BE, .text = values, .why = because }

/* What a tensor is called. '*' is a number, in `own` the first is the layer, a second one the expert. Names without
 * ".weight" or ".bias" in them are stems, which have both. */
struct ci_checkpoint_tensor {
    const char *own, *gguf; /* own NULL ends the list */
    enum ci_checkpoint_bytes {
        CI_CHECKPOINT_AS_STORED,
        CI_CHECKPOINT_PLUS_ONE,    /* GGUF has the factor of a norm, the folder has it less 1 */
        CI_CHECKPOINT_TRANSPOSED,  /* [inputs, outputs] */
        CI_CHECKPOINT_FIRST_HALF,  /* of the rows of each expert */
        CI_CHECKPOINT_SECOND_HALF, /* another rule has the first */
        CI_CHECKPOINT_EVEN_ROWS,
        CI_CHECKPOINT_ODD_ROWS,
        CI_CHECKPOINT_EVEN_COLUMNS, /* of [experts, inputs, outputs], and of biases [experts, outputs] */
        CI_CHECKPOINT_ODD_COLUMNS,
        /* `own`, "..._blocks", are the codes of MXFP4 (U8 [..., blocks, 16], two neighbours in a byte), "..._scales"
         * their exponents (U8 [..., blocks]). They stay MXFP4 whatever matrices are to be quantised to. */
        CI_CHECKPOINT_MXFP4,
        CI_CHECKPOINT_MXFP4_EVEN_ROWS,
        CI_CHECKPOINT_MXFP4_ODD_ROWS
    } bytes;
};

/* Tensors of experts as most folders have them: the gate that chooses, with a matrix for each expert; since
 * transformers 5 all of them in one, gate and up one behind the other; and those that every row uses. */
/* clang-format off */
#define CI_CHECKPOINT_EXPERTS                                                                                          \
    {"model.layers.*.mlp.gate", "blk.*.ffn_gate_inp", CI_CHECKPOINT_AS_STORED},                                        \
    {"model.layers.*.mlp.experts.*.gate_proj", "blk.*.ffn_gate_exps", CI_CHECKPOINT_AS_STORED},                        \
    {"model.layers.*.mlp.experts.*.up_proj", "blk.*.ffn_up_exps", CI_CHECKPOINT_AS_STORED},                            \
    {"model.layers.*.mlp.experts.*.down_proj", "blk.*.ffn_down_exps", CI_CHECKPOINT_AS_STORED}
#define CI_CHECKPOINT_EXPERTS_IN_ONE                                                                                   \
    {"model.layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_gate_exps.weight", CI_CHECKPOINT_FIRST_HALF},               \
    {"model.layers.*.mlp.experts.gate_up_proj", "blk.*.ffn_up_exps.weight", CI_CHECKPOINT_SECOND_HALF},                \
    {"model.layers.*.mlp.experts.down_proj", "blk.*.ffn_down_exps.weight", CI_CHECKPOINT_AS_STORED}
#define CI_CHECKPOINT_SHARED_EXPERTS                                                                                   \
    {"model.layers.*.mlp.shared_experts.gate_proj", "blk.*.ffn_gate_shexp", CI_CHECKPOINT_AS_STORED},                  \
    {"model.layers.*.mlp.shared_experts.up_proj", "blk.*.ffn_up_shexp", CI_CHECKPOINT_AS_STORED},                      \
    {"model.layers.*.mlp.shared_experts.down_proj", "blk.*.ffn_down_shexp", CI_CHECKPOINT_AS_STORED}
/* clang-format on */

struct ci_checkpoint_reading {
    struct ci_folder *folder;
    struct ci_gguf_maker *maker; /* of the folder */
    const struct ci_family *family;
    enum clinfer_status status; /* the first failure */
};

struct ci_checkpoint {
    const char *const *architectures;           /* in config.json; ends with NULL */
    const struct ci_checkpoint_field *fields;   /* before the common ones; may be NULL */
    const struct ci_checkpoint_tensor *tensors; /* the same */
    bool tied; /* the output matrix is the embedding where tie_word_embeddings is absent and there is no lm_head */

    /* GGUF's rows of queries and keys are in another order, made for RoPE on neighbours: as the folder has them, RoPE
     * turns halves. */
    bool rope_halves;

    /* What data does not say: values and tensors that are computed from others. May be NULL. */
    void (*derive)(struct ci_checkpoint_reading *reading);
};

extern const struct ci_checkpoint_field ci_checkpoint_common_fields[];
extern const struct ci_checkpoint_tensor ci_checkpoint_common_tensors[];

/* Owns. `type`: what matrices are quantised to, NULL: they stay as they are. */
enum clinfer_status ci_checkpoint_open(const char *path, const struct ci_type *type, struct ci_gguf **gguf);

/* ---- for families ---- */

/* A value by its path, NULL: absent or null. Of a model that reads pictures, too, that of "text_config" counts. */
const json_t *ci_checkpoint_find(const struct ci_checkpoint_reading *reading, const char *field);

/* Values under "<architecture>.<key>", as if they came from `field`. */
void ci_checkpoint_integer(struct ci_checkpoint_reading *reading, const char *field, const char *key, int64_t number);
void ci_checkpoint_number(struct ci_checkpoint_reading *reading, const char *field, const char *key, double number);

/* What transformers takes where config.json leaves the field out. */
void ci_checkpoint_default(struct ci_checkpoint_reading *reading, const char *field, const char *key, int64_t number);
void ci_checkpoint_default_number(struct ci_checkpoint_reading *reading, const char *field, const char *key,
                                  double number);

/* Which layers have a window: "layer_types", or every how many one has none. */
void ci_checkpoint_windows(struct ci_checkpoint_reading *reading, const char *every);

/* The number of a field, `otherwise` where there is none; refuses what is no number. */
double ci_checkpoint_number_of(struct ci_checkpoint_reading *reading, const char *field, double otherwise);

/* CLINFER_UNSUPPORTED or CLINFER_BAD_FILE, with the file, the field, its value and `what`. */
void ci_checkpoint_refuse(struct ci_checkpoint_reading *reading, enum clinfer_status status, const char *field,
                          const char *what);

/* A field that no code reads: judge.c finds it, unless a list knows it. */
void ci_checkpoint_unread(struct ci_checkpoint_reading *reading, const char *field);

/* A vector in F32 that is computed from `field`: room for its `count` numbers, NULL: out of memory. */
float *ci_checkpoint_vector(struct ci_checkpoint_reading *reading, const char *field, const char *name, size_t count);

/* checkpoint_rope.c: rope_theta, rope_scaling and rope_parameters. */
void ci_checkpoint_rope(struct ci_checkpoint_reading *reading);

/* How much of each head is rotated, where partial_rotary_factor says less than all; `otherwise` where it is absent. */
void ci_checkpoint_partial(struct ci_checkpoint_reading *reading, double otherwise);

/* Which pairs of a head belong to which section: mrope_section, three numbers. */
void ci_checkpoint_sections(struct ci_checkpoint_reading *reading);
#define CI_FIELDS_OF_SECTIONS                                                                                          \
    CI_FIELD_BY_CODE("rope_scaling.mrope_section"), CI_FIELD_BY_CODE("rope_parameters.mrope_section"),                 \
        CI_FIELD_NO_EFFECT("rope_scaling.mrope_interleaved"), CI_FIELD_NO_EFFECT("rope_parameters.mrope_interleaved")

/* checkpoint_tensors.c: every tensor of the folder under its name, and what has to be converted. */
void ci_checkpoint_tensors(struct ci_checkpoint_reading *reading, const struct ci_type *type);

/* checkpoint_pooling.c: of encoders, 1_Pooling/config.json and 2_Dense/config.json. */
void ci_checkpoint_pooling(struct ci_checkpoint_reading *reading);

/* checkpoint_text.c: chat templates, sampling, begin and end of a text. */
void ci_checkpoint_text(struct ci_checkpoint_reading *reading);

#endif
