/* decoder.h: the transformer that most families are, as data: what a family does differently is a field here, and zero
 * is what Llama does. Biases and scales are taken where a file has them. */
#ifndef CI_MODEL_DECODER_H
#define CI_MODEL_DECODER_H

#include "model/build.h"

enum ci_norm_places {
    CI_NORM_BEFORE, /* of what attention and feed-forward read: attn_norm, ffn_norm */
    CI_NORM_AROUND, /* of what they give, too: post_attention_norm, post_ffw_norm */
    CI_NORM_AFTER,  /* only of that */
    CI_NORM_OF_SUM  /* of the sum with the residual: attn_output_norm, layer_output_norm */
};

/* Multi-section RoPE (Wang et al. 2024, arXiv 2409.12191): pairs of a head belong to sections, three of which tell
 * where in a picture a token is, the last one what comes from another encoder. A token of a text has the same position
 * in the first three, 0 in the last one. Halves are turned. */
enum ci_rope_sections {
    CI_SECTIONS_NONE,
    CI_SECTIONS_IN_TURN,    /* first the pairs of the first one, then those of the second, ... */
    CI_SECTIONS_INTERLEAVED /* one of the first, one of the second, one of the third, again and again */
};

/* Of positions in layers with a window. */
enum ci_window_scaling {
    CI_WINDOW_SCALED,   /* as in the others */
    CI_WINDOW_UNSCALED, /* no factor, but the magnitude of the others */
    CI_WINDOW_PLAIN     /* neither */
};

struct ci_decoder {
    enum ci_norm norm;
    bool norm_by_epsilon; /* or CI_NORM_RMS where the file has attention.layer_norm_rms_epsilon */
    enum ci_norm_places norms;
    const char *ffn_norm, *output_norm; /* where they have other names than these */
    bool starts_normed;                 /* a layer may do without attn_norm: the embedding has its norm already */
    enum ci_head_norm head_norm;
    bool head_norm_optional; /* where the file has attn_q_norm */

    enum ci_rope_pairs rope;
    bool rope_factors;              /* rope_freqs.weight divides the frequencies, or LongRoPE's factors do */
    enum ci_rope_sections sections; /* rope.dimension_sections, which a file must have, counts */
    bool sections_optional;         /* it need not, and counts where the first two are more than 0 */
    int unrotated_every;            /* 4: layers 3, 7, 11, ... know no positions */
    bool positions;                 /* position_embd.weight is added to the embedding */
    bool token_types;               /* so is the first row of token_types.weight, where the file has it */
    bool embedding_norm;            /* of the sum: token_embd_norm */
    bool dense;   /* dense_2.weight and dense_3.weight make others of the rows, where the file has them */
    bool encoder; /* what it gives are the rows themselves, not logits */

    bool windows; /* the file's attention.sliding_window and its pattern count */
    enum ci_window_kind window_kind;
    bool whole_first;   /* of so many layers the first one sees everything, not the last */
    int window_pattern; /* where the file has none: 6 is five with a window, then one that sees everything */
    enum ci_window_scaling window_scaling;
    float window_rope_base; /* of these where the file has none; 0: as the others */
    bool sinks;             /* attn_sinks.weight */
    bool output_gate;       /* attn_gate.weight says how much of each number attention gives */

    int activation;  /* CI_ACTIVATION_* */
    bool ungated;    /* activation(up), not activation(gate) up */
    bool gate_in_up; /* one matrix ffn_up holds gate and up */
    bool ffn_scales; /* the feed-forward's scales are applied, after its biases; without it they are left out */
    const struct ci_experts *experts; /* of layers from leading_dense_block_count on, where the file has any */
    bool parallel; /* attention and feed-forward stand side by side; ci_hyper.parallel_residual says the same */
};

/* For families that read no keys but those of all and the epsilon of their norms. */
extern const struct ci_key_rule ci_rms_norm_keys[], ci_layer_norm_keys[];

/* The whole graph. */
void ci_decoder_build(struct ci_builder *b);

/* Which layers have a window and are not rotated, from the family's decoder and the file; after all keys were read. */
enum clinfer_status ci_decoder_derive(struct ci_model *model);

#endif
