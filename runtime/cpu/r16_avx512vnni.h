/* r16_avx512vnni.h: the 16 lanes of layout r16 are one register; a quad is one register; vpdpbusd multiplies the
 * unsigned codes of a quad with signed ones of x. Signed weights are moved by 128 to be unsigned. */
#ifndef CI_CPU_R16_AVX512VNNI_H
#define CI_CPU_R16_AVX512VNNI_H

#include "cpu/r16_codes.h"
#include "cpu/simd.h"

#define R16_NAME(name) name##_avx512vnni
enum { R16_TILE_ROWS = 16, R16_BYTE_OFFSET = -128, R16_ROWS_AT_ONCE = 1, R16_GROUPS_AT_ONCE = 2 };
#define R16_PAIRS 1

typedef __m512i r16_quad;
typedef __m512 r16_float;

INLINE r16_float r16_zero(void) { return _mm512_setzero_ps(); }
INLINE r16_float r16_add(r16_float a, r16_float b) { return _mm512_add_ps(a, b); }
INLINE r16_float r16_sub(r16_float a, r16_float b) { return _mm512_sub_ps(a, b); }
INLINE r16_float r16_mul(r16_float a, r16_float b) { return _mm512_mul_ps(a, b); }
INLINE r16_float r16_set(float a) { return _mm512_set1_ps(a); }
INLINE r16_float r16_times(r16_float a, float b) { return _mm512_mul_ps(a, _mm512_set1_ps(b)); }
INLINE r16_float r16_fma(r16_float a, r16_float b, r16_float c) { return _mm512_fmadd_ps(a, b, c); }
INLINE r16_float r16_fma_scalar(r16_float a, float b, r16_float c) { return _mm512_fmadd_ps(a, _mm512_set1_ps(b), c); }
INLINE r16_float r16_halves(const uint8_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)at)); }
INLINE r16_float r16_from_i8(const int8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)at)));
}
INLINE r16_float r16_load_some(const float *at, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), at); }
INLINE void r16_store_some(float *at, r16_float a, int n) { _mm512_mask_storeu_ps(at, (__mmask16)((1u << n) - 1), a); }

INLINE r16_quad r16_load(const uint8_t *at) { return _mm512_loadu_si512(at); }

/* Of each byte the bits of `mask` after a shift to the right; bits of the neighbour come in, of which the mask must
 * take none. */
INLINE r16_quad r16_shift(r16_quad a, int right) {
    return right > 0 ? _mm512_srli_epi16(a, (unsigned)right) : right < 0 ? _mm512_slli_epi16(a, (unsigned)-right) : a;
}
INLINE r16_quad r16_bits(r16_quad a, int right, int mask) {
    return _mm512_and_si512(r16_shift(a, right), _mm512_set1_epi8((char)mask));
}
/* a | r16_bits(b, right, mask) */
INLINE r16_quad r16_or_bits(r16_quad a, r16_quad b, int right, int mask) {
    return _mm512_ternarylogic_epi32(a, r16_shift(b, right), _mm512_set1_epi8((char)mask), 0xf8);
}

/* Two numbers of 6 bits (types/k_quant.h). */
INLINE void r16_pair(const uint8_t *at, r16_float *first, r16_float *second) {
    const __m512i turn = _mm512_setr_epi32(2, 2, 2, 2, 2, 2, 2, 2, 30, 30, 30, 30, 30, 30, 30, 30);
    int64_t eight;
    memcpy(&eight, at + 16, sizeof eight);
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)at));
    __m512i upper = _mm512_rolv_epi32(_mm512_cvtepu8_epi32(_mm_set1_epi64x(eight)), turn);
    upper = _mm512_and_si512(upper, _mm512_set1_epi32(60));
    *first = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(63)));
    *second = _mm512_cvtepi32_ps(_mm512_or_si512(upper, _mm512_srli_epi32(bytes, 6)));
}

/* The lower and the upper 4 bits of 16 bytes. */
INLINE void r16_nibble_pair(const uint8_t *at, r16_float *lower, r16_float *upper) {
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)at));
    *lower = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
    *upper = _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
}

INLINE void r16_bytes(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int q = 0; q < 8; q++) quad[q] =
        _mm512_xor_si512(_mm512_loadu_si512(codes + 64 * q), _mm512_set1_epi8((char)0x80));
}

/* 2^(e - 127), also the least, which is no normal float. */
INLINE r16_float r16_powers_of_two(const uint8_t *exponents) {
    __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)exponents)), bits = _mm512_slli_epi32(e, 23);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bits, _mm512_testn_epi32_mask(e, e), _mm512_set1_epi32(1 << 22)));
}

/* Nibbles to what they stand for, counted from -zero. */
INLINE void r16_look_up(const int8_t values[16], int zero, r16_quad *quad) {
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)values));
    table = _mm512_add_epi8(table, _mm512_set1_epi8((char)zero));
    UNROLL for (int q = 0; q < 8; q++) quad[q] = _mm512_shuffle_epi8(table, quad[q]);
}

/* Of one row of x the products with `groups` groups (two, or one), for which four codes of x are loaded once. */
INLINE void r16_dot_rows(const struct r16_codes *x, int rows, const r16_quad *const *quads, const uint8_t *codes_of_w,
                         int at, int groups, int count, int most, int zero, r16_float dots[][R16_GROUPS_AT_ONCE]) {
    typedef int32_t __attribute__((may_alias, aligned(1))) four_codes;
    __m512i sum[2][2];
    (void)rows, (void)codes_of_w, (void)at, (void)most, (void)zero;
    UNROLL for (int g = 0; g < groups; g++) {
        sum[g][0] = _mm512_set1_epi32(x->starts ? x->starts[0] : 0);
        sum[g][1] = _mm512_setzero_si512();
    }
    UNROLL for (int q = 0; q < count; q++) {
        __m512i codes = _mm512_set1_epi32(((const four_codes *)(const void *)x->codes)[q]);
        UNROLL for (int g = 0; g < groups; g++) sum[g][q % 2] = _mm512_dpbusd_epi32(sum[g][q % 2], quads[g][q], codes);
    }
    UNROLL for (int g = 0; g < groups; g++) dots[0][g] = _mm512_cvtepi32_ps(_mm512_add_epi32(sum[g][0], sum[g][1]));
}

/* The same of one group. The broadcast is part of the instruction, which gcc does not find by itself. */
INLINE r16_float r16_dot(const struct r16_codes *x, const r16_quad *quads, int count, int most, int zero) {
    typedef int32_t __attribute__((may_alias, aligned(1))) four_codes;
    __m512i sum[2] = {_mm512_set1_epi32(x->starts ? x->starts[0] : 0), _mm512_setzero_si512()};
    (void)most, (void)zero;
    UNROLL for (int q = 0; q < count; q++) __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum[q % 2]) : "v"(quads[q]),
                                                   "m"(((const four_codes *)(const void *)x->codes)[q]));
    return _mm512_cvtepi32_ps(_mm512_add_epi32(sum[0], sum[1]));
}

/* -zero times the sums of the 16 codes of each half, or of all. */
INLINE void r16_starts(const uint8_t *codes, int zero, int halves, int32_t starts[2]) {
    __m256i ones = _mm256_set1_epi8(1),
            fours = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, _mm256_loadu_si256((const void *)codes));
    __m256i eights = _mm256_hadd_epi32(fours, fours), sums = _mm256_hadd_epi32(eights, eights);
    starts[0] = -zero * _mm256_extract_epi32(sums, 0);
    starts[1] = -zero * _mm256_extract_epi32(sums, 4);
    if (halves == 1) starts[0] += starts[1];
}

/* Column c of a quad: one byte of each lane. */
INLINE r16_float r16_column(r16_quad quad, int c) {
    return _mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(quad, (unsigned)(8 * c)), _mm512_set1_epi32(255)));
}

INLINE r16_float r16_load_floats(const float *at) { return _mm512_loadu_ps(at); }
INLINE void r16_store(float *at, r16_float a) { _mm512_storeu_ps(at, a); }

#endif
