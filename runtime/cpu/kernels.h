/* kernels.h: the kernels of the CPU backend. Which of them this processor may run is asked of ci_cpu_features();
 * ops/cpu_variants.c does. Named ci_cpu_<op>[_<types>][_<layout>]_<instruction set>; those of other architectures are
 * declared, but not linked. Most are of the signature ci_cpu_function (tensor/tensor.h). */
#ifndef CI_CPU_KERNELS_H
#define CI_CPU_KERNELS_H

#include "tensor/tensor.h"

enum { CI_CPU_PEAK_CHAINS = 10 };

/* From so many rows of activations on rounding weights of 16 bits wins more than it takes. */
enum { CI_CPU_INTEGER_ROWS = 32 };

/* Weights in layout r16 by activations in q8, q16 and f32; what they have room for. */
enum { CI_R16_MOST_COLS = 131072 };
#define CI_CPU_R16_OF(name, isa)                                                                                       \
    extern ci_cpu_function ci_cpu_matmul_q8_##name##_r16_##isa, ci_cpu_matmul_q16_##name##_r16_##isa,                  \
        ci_cpu_matmul_f32_##name##_r16_##isa, ci_cpu_matmul_experts_q8_##name##_r16_##isa,                             \
        ci_cpu_matmul_experts_q16_##name##_r16_##isa, ci_cpu_matmul_experts_f32_##name##_r16_##isa,                    \
        ci_cpu_matmul_glu_q8_##name##_r16_##isa, ci_cpu_matmul_glu_q16_##name##_r16_##isa;
#define CI_R16_TYPE(name, ...) CI_CPU_R16_OF(name, avx512vnni) CI_CPU_R16_OF(name, avx2) CI_CPU_R16_OF(name, neondot)
#include "cpu/r16_list.inc"
#undef CI_R16_TYPE

/* The ops that are the same code on all instruction sets, by simd.h.
 *   matmul: weights of any type and layout by activations in f32, quantised ones also in q8 and q16; f32, f16 and bf16
 *   are fast. On x86-64 with CI_CPU_INTEGER_ROWS or more, f16 and bf16 are rounded to integers (matmul_i16_rows.h).
 *   attention: caches of f32, f16, q8_0 and q4_0, also mixed; value_dim a multiple of 32 when the output is q8 or q16.
 *   kv_append, rope_kv_append: caches of the same types.
 *   largest: the k largest finite logits in falling order, of equals the first; returns how many are not finite.
 *   `mask`: only those whose bit is set (NULL: all), though all are counted.
 *   peak: *operations of multiply-add in CI_CPU_PEAK_CHAINS chains (two each), as fast as it goes; the result is
 *   nothing but a use of them. */
#define CI_CPU_SIMD(isa)                                                                                               \
    extern ci_cpu_function ci_cpu_matmul_f32_##isa, ci_cpu_matmul_experts_f32_##isa, ci_cpu_combine_##isa,             \
        ci_cpu_attention_##isa, ci_cpu_rmsnorm_##isa, ci_cpu_rmsnorm_quantise_##isa, ci_cpu_layernorm_##isa,           \
        ci_cpu_layernorm_quantise_##isa, ci_cpu_norm_heads_##isa, ci_cpu_quantise_##isa, ci_cpu_glu_##isa,             \
        ci_cpu_unary_##isa, ci_cpu_unary_quantise_##isa, ci_cpu_mul_##isa, ci_cpu_glu_quantise_##isa,                  \
        ci_cpu_add_##isa, ci_cpu_kv_append_##isa, ci_cpu_rope_##isa, ci_cpu_rope_kv_append_##isa;                      \
    int32_t ci_cpu_largest_##isa(const float *logits, int64_t count, const uint32_t *mask, int k, int32_t *ids,        \
                                 int *found);                                                                          \
    float ci_cpu_peak_##isa(int64_t rounds, int64_t *operations);
CI_CPU_SIMD(avx512vnni)
CI_CPU_SIMD(avx2)
CI_CPU_SIMD(neon)

#endif
