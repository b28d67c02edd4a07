/* vpdpbusd. */
#include "proof/dot_peak.h"

#include "cpu/simd.h"

int32_t ci_dot_peak_avx512vnni(int64_t rounds, int64_t *operations) {
    enum { CHAINS = 12, BYTES = 64 };
    const __m512i w = _mm512_set1_epi32(CI_DOT_PEAK_W), x = _mm512_set1_epi32(CI_DOT_PEAK_X);
    __m512i sums[CHAINS];
    UNROLL for (int i = 0; i < CHAINS; i++) {
        sums[i] = _mm512_setzero_si512();
        __asm__("" : "+v"(sums[i])); /* or the compiler sees that all chains are the same */
    }
    for (int64_t round = 0; round < rounds; round++)
        UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], w, x);
    UNROLL for (int i = 1; i < CHAINS; i++) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
    *operations = rounds * CHAINS * BYTES * 2;
    return _mm512_reduce_add_epi32(sums[0]);
}
