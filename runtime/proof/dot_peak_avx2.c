/* vpmaddubsw as for codes of 4 bits, eight quads of which are summed in 16 bits: the least additions. */
#include "proof/dot_peak.h"

#include "cpu/simd.h"

int32_t ci_dot_peak_avx2(int64_t rounds, int64_t *operations) {
    enum { CHAINS = 4, TOGETHER = 8, BYTES = 32 };
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i w = _mm256_set1_epi32(CI_DOT_PEAK_W), x = _mm256_set1_epi32(CI_DOT_PEAK_X), sums[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = _mm256_setzero_si256();
    for (int64_t round = 0; round < rounds; round++) {
        __m256i words[CHAINS];
        UNROLL for (int q = 0; q < TOGETHER; q++) UNROLL for (int i = 0; i < CHAINS; i++) {
            __m256i products = _mm256_maddubs_epi16(w, x);
            words[i] = q == 0 ? products : _mm256_add_epi16(words[i], products);
            /* The compiler is to take each product for another, and not to add up products first. */
            __asm__("" : "+x"(w), "+x"(x), "+x"(words[i]));
        }
        UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(words[i], ones));
    }
    int32_t lanes[BYTES / 4], sum = 0;
    UNROLL for (int i = 1; i < CHAINS; i++) sums[0] = _mm256_add_epi32(sums[0], sums[i]);
    _mm256_storeu_si256((void *)lanes, sums[0]);
    for (int i = 0; i < BYTES / 4; i++) sum = (int32_t)((uint32_t)sum + (uint32_t)lanes[i]);
    *operations = rounds * TOGETHER * CHAINS * BYTES * 2;
    return sum;
}
