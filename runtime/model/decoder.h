/* decoder.h: the transformer that most families are, as data: what a family does differently is a field here. Biases
 * and scales are taken where a file has them. */
#ifndef CI_MODEL_DECODER_H
#define CI_MODEL_DECODER_H

#include "model/build.h"

struct ci_decoder {
    enum ci_rope_pairs rope;
    bool rope_factors;    /* rope_freqs.weight divides the frequencies, or LongRoPE's factors do */
    bool window_unscaled; /* layers with a window leave positions as they are */
    bool ffn_scales;      /* the feed-forward's scales are applied, after its biases; without it they are left out */
};

void ci_decoder_build(struct ci_builder *b);

#endif
