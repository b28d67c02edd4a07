/* peak.h: multiply-add as fast as it goes, for proof/measure.c; by simd.h. */
#include "cpu/kernels.h"
#include "cpu/simd.h"

float SIMD_NAME(ci_cpu_peak)(int64_t rounds, int64_t *operations) {
    const vf factor = vf_set(0.999f), addend = vf_set(0.001f);
    vf chains[CI_CPU_PEAK_CHAINS];
    UNROLL for (int i = 0; i < CI_CPU_PEAK_CHAINS; i++) chains[i] = vf_set((float)i);
    for (int64_t round = 0; round < rounds; round++)
        UNROLL for (int i = 0; i < CI_CPU_PEAK_CHAINS; i++) chains[i] = vf_fma(chains[i], factor, addend);
    vf sum = chains[0];
    UNROLL for (int i = 1; i < CI_CPU_PEAK_CHAINS; i++) sum = vf_add(sum, chains[i]);
    *operations = rounds * CI_CPU_PEAK_CHAINS * VF_LANES * 2;
    return vf_sum(sum);
}
