/* simd.h: one set of vector functions for AVX-512, AVX2 and NEON, so that a kernel which is the same on all of them is
 * written once. A vector `vf` has VF_LANES floats. Which set it is follows from the flags of the file, that is from the
 * last part of its name (see the Makefile); SIMD_NAME(x) appends the same to the name of a function.
 *
 * "some" means the first n lanes, 0 <= n <= VF_LANES, for the end of a row: nothing beyond is touched, other lanes are
 * 0. */
#ifndef CI_CPU_SIMD_H
#define CI_CPU_SIMD_H

#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* gcc unrolls a small constant loop only when told; without it arrays of vectors would live in memory. */
#define UNROLL _Pragma("GCC unroll 16")

#if defined(__AVX512F__)
#include <immintrin.h>

#define SIMD_NAME(name) name##_avx512vnni
enum { VF_LANES = 16 };
typedef __m512 vf;

INLINE vf vf_set(float a) { return _mm512_set1_ps(a); }
INLINE vf vf_load(const float *at) { return _mm512_loadu_ps(at); }
INLINE void vf_store(float *at, vf a) { _mm512_storeu_ps(at, a); }
INLINE __mmask16 vf_first(int n) { return (__mmask16)((1u << n) - 1); }
INLINE vf vf_load_some(const float *at, int n) { return _mm512_maskz_loadu_ps(vf_first(n), at); }
INLINE void vf_store_some(float *at, vf a, int n) { _mm512_mask_storeu_ps(at, vf_first(n), a); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_size(vf a) { return _mm512_abs_ps(a); }
/* x where a < b, else y. */
INLINE vf vf_where_less(vf a, vf b, vf x, vf y) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
}
INLINE float vf_sum(vf a) { return _mm512_reduce_add_ps(a); }
INLINE float vf_largest(vf a) { return _mm512_reduce_max_ps(a); }
INLINE vf vf_load_f16(const uint16_t *at) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)at)); }
INLINE vf vf_load_bf16(const uint16_t *at) {
    __m512i bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)at));
    return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
}
INLINE void vf_store_f16(uint16_t *at, vf a) {
    _mm256_storeu_si256((void *)at, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_i8(const int8_t *at) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)at)));
}
/* Numbers that are whole and within -128..127. */
INLINE void vf_store_i8(int8_t *at, vf a) {
    _mm_storeu_si128((void *)at, _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
}
INLINE vf vf_truncate(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
INLINE vf vf_nearest(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_with_sign_of(vf size, vf sign) {
    const __m512i bit = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(
        _mm512_or_si512(_mm512_and_si512(_mm512_castps_si512(sign), bit), _mm512_castps_si512(size)));
}
/* a * 2^n, n whole, -126..127 */
INLINE vf vf_scale(vf a, vf n) { return _mm512_scalef_ps(a, n); }
/* Every lane in [least, most]; no NaN is. */
INLINE int vf_all_within(vf a, vf least, vf most) {
    return _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(a, least, _CMP_GE_OQ), a, most, _CMP_LE_OQ) == 0xffff;
}
/* Lane i of x where bit i is set, else of y. */
INLINE vf vf_where_bits(uint32_t bits, vf x, vf y) { return _mm512_mask_blend_ps((__mmask16)bits, y, x); }
/* The four sums of four vectors. */
INLINE void vf_sum4(vf a, vf b, vf c, vf d, float *out) {
    vf ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    vf cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    vf fours = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
    __m256 eights = _mm256_add_ps(_mm512_castps512_ps256(fours), _mm512_extractf32x8_ps(fours, 1));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(eights), _mm256_extractf128_ps(eights, 1)));
}

/* VF_LANES vectors as rows of a square become its columns. */
INLINE void vf_turn(vf *rows) {
    vf fours[16], eights[16];
    UNROLL for (int i = 0; i < 16; i += 4) {
        vf a = _mm512_unpacklo_ps(rows[i], rows[i + 1]), b = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        vf c = _mm512_unpacklo_ps(rows[i + 2], rows[i + 3]), d = _mm512_unpackhi_ps(rows[i + 2], rows[i + 3]);
        fours[i] = _mm512_shuffle_ps(a, c, 0x44);
        fours[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        fours[i + 2] = _mm512_shuffle_ps(b, d, 0x44);
        fours[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        eights[i] = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88);
        eights[i + 4] = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xdd);
        eights[i + 8] = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88);
        eights[i + 12] = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xdd);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        rows[i] = _mm512_shuffle_f32x4(eights[i], eights[i + 8], 0x88);
        rows[i + 4] = _mm512_shuffle_f32x4(eights[i + 4], eights[i + 12], 0x88);
        rows[i + 8] = _mm512_shuffle_f32x4(eights[i], eights[i + 8], 0xdd);
        rows[i + 12] = _mm512_shuffle_f32x4(eights[i + 4], eights[i + 12], 0xdd);
    }
}

#elif defined(__AVX2__)
#include <immintrin.h>

#define SIMD_NAME(name) name##_avx2
enum { VF_LANES = 8 };
typedef __m256 vf;

INLINE vf vf_set(float a) { return _mm256_set1_ps(a); }
INLINE vf vf_load(const float *at) { return _mm256_loadu_ps(at); }
INLINE void vf_store(float *at, vf a) { _mm256_storeu_ps(at, a); }
INLINE __m256i vf_first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vf vf_load_some(const float *at, int n) { return _mm256_maskload_ps(at, vf_first(n)); }
/* In pieces: a masked store is some 40 operations on AMD's processors. */
INLINE void vf_store_some(float *at, vf a, int n) {
    __m128 part = _mm256_castps256_ps128(a);
    if (n == 8) _mm256_storeu_ps(at, a);
    if (n & 4) {
        _mm_storeu_ps(at, part);
        part = _mm256_extractf128_ps(a, 1);
        at += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)(void *)at, part);
        part = _mm_movehl_ps(part, part);
        at += 2;
    }
    if (n & 1) _mm_store_ss(at, part);
}
INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_size(vf a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
INLINE vf vf_where_less(vf a, vf b, vf x, vf y) { return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
INLINE float vf_sum(vf a) {
    __m128 sum = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}
INLINE float vf_largest(vf a) {
    __m128 most = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    most = _mm_max_ps(most, _mm_movehl_ps(most, most));
    return _mm_cvtss_f32(_mm_max_ss(most, _mm_movehdup_ps(most)));
}
INLINE vf vf_load_f16(const uint16_t *at) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)at)); }
INLINE vf vf_load_bf16(const uint16_t *at) {
    __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)at));
    return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
}
INLINE void vf_store_f16(uint16_t *at, vf a) {
    _mm_storeu_si128((void *)at, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
}
INLINE vf vf_load_i8(const int8_t *at) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)at)));
}
INLINE void vf_store_i8(int8_t *at, vf a) {
    __m256i words = _mm256_cvttps_epi32(a);
    __m128i halves = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((void *)at, _mm_packs_epi16(halves, halves));
}
INLINE vf vf_truncate(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
INLINE vf vf_nearest(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
INLINE vf vf_with_sign_of(vf size, vf sign) { return _mm256_or_ps(size, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign)); }
INLINE vf vf_scale(vf a, vf n) {
    __m256i exponent = _mm256_add_epi32(_mm256_cvttps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}
INLINE int vf_all_within(vf a, vf least, vf most) {
    __m256 inside = _mm256_and_ps(_mm256_cmp_ps(a, least, _CMP_GE_OQ), _mm256_cmp_ps(a, most, _CMP_LE_OQ));
    return _mm256_movemask_ps(inside) == 0xff;
}
INLINE vf vf_where_bits(uint32_t bits, vf x, vf y) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    __m256i set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit);
    return _mm256_blendv_ps(y, x, _mm256_castsi256_ps(set));
}
INLINE void vf_sum4(vf a, vf b, vf c, vf d, float *out) {
    /* As _mm256_hadd_ps adds, in fewer steps. */
    __m256 ab = _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
    __m256 cd = _mm256_add_ps(_mm256_shuffle_ps(c, d, 0x88), _mm256_shuffle_ps(c, d, 0xdd));
    __m256 all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x88), _mm256_shuffle_ps(ab, cd, 0xdd));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
}
INLINE void vf_turn(vf *rows) {
    vf fours[8];
    UNROLL for (int i = 0; i < 8; i += 4) {
        vf a = _mm256_unpacklo_ps(rows[i], rows[i + 1]), b = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
        vf c = _mm256_unpacklo_ps(rows[i + 2], rows[i + 3]), d = _mm256_unpackhi_ps(rows[i + 2], rows[i + 3]);
        fours[i] = _mm256_shuffle_ps(a, c, 0x44);
        fours[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        fours[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        fours[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

#elif defined(__aarch64__)
#include <arm_neon.h>

#define SIMD_NAME(name) name##_neon
enum { VF_LANES = 4 };
typedef float32x4_t vf;

INLINE vf vf_set(float a) { return vdupq_n_f32(a); }
INLINE vf vf_load(const float *at) { return vld1q_f32(at); }
INLINE void vf_store(float *at, vf a) { vst1q_f32(at, a); }
INLINE vf vf_load_some(const float *at, int n) {
    float lanes[4] = {0};
    memcpy(lanes, at, (size_t)n * sizeof *at);
    return vld1q_f32(lanes);
}
INLINE void vf_store_some(float *at, vf a, int n) {
    float lanes[4];
    vst1q_f32(lanes, a);
    memcpy(at, lanes, (size_t)n * sizeof *at);
}
INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
/* As on x86 the second wins when one is no number. */
INLINE vf vf_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
INLINE vf vf_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
INLINE vf vf_size(vf a) { return vabsq_f32(a); }
INLINE vf vf_where_less(vf a, vf b, vf x, vf y) { return vbslq_f32(vcltq_f32(a, b), x, y); }
INLINE float vf_sum(vf a) { return vaddvq_f32(a); }
INLINE float vf_largest(vf a) { return vmaxvq_f32(a); }
INLINE vf vf_load_f16(const uint16_t *at) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at))); }
INLINE vf vf_load_bf16(const uint16_t *at) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(at), 16)); }
INLINE void vf_store_f16(uint16_t *at, vf a) { vst1_u16(at, vreinterpret_u16_f16(vcvt_f16_f32(a))); }
INLINE vf vf_load_i8(const int8_t *at) {
    int32_t four;
    memcpy(&four, at, sizeof four);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}
INLINE void vf_store_i8(int8_t *at, vf a) {
    int16x4_t halves = vmovn_s32(vcvtq_s32_f32(a));
    vst1_lane_s32((void *)at, vreinterpret_s32_s8(vmovn_s16(vcombine_s16(halves, halves))), 0);
}
INLINE vf vf_truncate(vf a) { return vrndq_f32(a); }
INLINE vf vf_nearest(vf a) { return vrndnq_f32(a); }
INLINE vf vf_with_sign_of(vf size, vf sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, size); }
INLINE vf vf_scale(vf a, vf n) {
    int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    return vmulq_f32(a, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
}
INLINE int vf_all_within(vf a, vf least, vf most) {
    return vminvq_u32(vandq_u32(vcgeq_f32(a, least), vcleq_f32(a, most))) != 0;
}
INLINE vf vf_where_bits(uint32_t bits, vf x, vf y) {
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vbslq_f32(vtstq_u32(vdupq_n_u32(bits), vld1q_u32(bit)), x, y);
}
INLINE void vf_sum4(vf a, vf b, vf c, vf d, float *out) {
    vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}
INLINE void vf_turn(vf *rows) {
    float32x4x2_t a = vtrnq_f32(rows[0], rows[1]), b = vtrnq_f32(rows[2], rows[3]);
    UNROLL for (int i = 0; i < 2; i++) {
        rows[i] = vcombine_f32(vget_low_f32(a.val[i]), vget_low_f32(b.val[i]));
        rows[i + 2] = vcombine_f32(vget_high_f32(a.val[i]), vget_high_f32(b.val[i]));
    }
}
#endif

/* In a register: gcc would load it again for each use, and AVX2 can load no more than two beside two products. */
INLINE vf vf_held(vf a) {
#if defined(__AVX2__) && !defined(__AVX512F__)
    __asm__("" : "+x"(a));
#endif
    return a;
}

/* e^x with a relative error below 2e-7; e^-87 for less, e^88 for more. Range reduction and polynomial of Cephes' expf
 * (Moshier, https://www.netlib.org/cephes/): x = n ln 2 + r, |r| <= ln 2 / 2. NaN stays NaN. */
INLINE vf vf_exp(vf x) {
    vf inside = vf_min(vf_set(88.0f), vf_max(vf_set(-87.0f), x));
    vf n = vf_nearest(vf_mul(inside, vf_set(1.44269504088896341f)));
    vf r = vf_fma(n, vf_set(-0.693359375f), inside);
    r = vf_fma(n, vf_set(2.12194440e-4f), r);
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_fma(p, vf_mul(r, r), vf_add(r, vf_set(1.0f)));
    return vf_scale(p, n);
}

/* With a relative error below 3e-7: near 0 the polynomial of Cephes' tanhf, else by e^x. NaN stays NaN. */
INLINE vf vf_tanh(vf x) {
    vf square = vf_mul(x, x), p = vf_set(-5.70498872745e-3f);
    p = vf_fma(p, square, vf_set(2.06390887954e-2f));
    p = vf_fma(p, square, vf_set(-5.37397155531e-2f));
    p = vf_fma(p, square, vf_set(1.33314422036e-1f));
    p = vf_fma(p, square, vf_set(-3.33332819422e-1f));
    vf small = vf_fma(vf_mul(p, square), x, x), power = vf_exp(vf_mul(vf_size(x), vf_set(2)));
    vf large = vf_sub(vf_set(1), vf_div(vf_set(2), vf_add(power, vf_set(1))));
    return vf_where_less(vf_size(x), vf_set(0.625f), small, vf_with_sign_of(large, x));
}

/* 1 - erf |x| with an error below 2e-7 (Abramowitz and Stegun 1964, 7.1.26). NaN stays NaN. */
INLINE vf vf_erfc_of_size(vf x) {
    vf t = vf_div(vf_set(1), vf_fma(vf_size(x), vf_set(0.3275911f), vf_set(1)));
    vf p = vf_set(1.061405429f);
    p = vf_fma(p, t, vf_set(-1.453152027f));
    p = vf_fma(p, t, vf_set(1.421413741f));
    p = vf_fma(p, t, vf_set(-0.284496736f));
    p = vf_fma(p, t, vf_set(0.254829592f));
    return vf_mul(vf_mul(p, t), vf_exp(vf_sub(vf_set(0), vf_mul(x, x))));
}

#endif
