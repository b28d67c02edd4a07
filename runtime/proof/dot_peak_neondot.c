/* sdot. */
#include "proof/dot_peak.h"

#include "cpu/simd.h"

int32_t ci_dot_peak_neondot(int64_t rounds, int64_t *operations) {
    enum { CHAINS = 16, BYTES = 16 };
    const int8x16_t w = vreinterpretq_s8_s32(vdupq_n_s32(CI_DOT_PEAK_W)),
                    x = vreinterpretq_s8_s32(vdupq_n_s32(CI_DOT_PEAK_X));
    int32x4_t sums[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) {
        sums[i] = vdupq_n_s32(0);
        __asm__("" : "+w"(sums[i])); /* or the compiler sees that all chains are the same */
    }
    for (int64_t round = 0; round < rounds; round++)
        UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = vdotq_s32(sums[i], w, x);
    UNROLL for (int i = 1; i < CHAINS; i++) sums[0] = vaddq_s32(sums[0], sums[i]);
    *operations = rounds * CHAINS * BYTES * 2;
    return vaddvq_s32(sums[0]);
}
