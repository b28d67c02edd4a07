/* quantise_group.h: 32 numbers in vectors to their place in a row of q8 or q16 (types/type.h), bit for bit as
 * ci_codes_from_floats makes it. */
#ifndef CI_CPU_QUANTISE_GROUP_H
#define CI_CPU_QUANTISE_GROUP_H

#include "cpu/simd.h"
#include "types/type.h"

enum { GROUP_VECTORS = CI_Q8_GROUP / VF_LANES };

/* To nearest, ties away from zero: truncation after the largest number below 1/2 was added. */
INLINE vf round_away(vf a) { return vf_truncate(vf_add(a, vf_with_sign_of(vf_set(0x1.fffffep-2f), a))); }

INLINE uint8_t *codes_row(const struct ci_view *view, int64_t row) {
    return (uint8_t *)view->data + (size_t)row * ci_type_row_bytes(view->type, view->cols);
}

#if defined(__AVX512F__)

/* The largest size, and whether all are finite: without their signs, bits of floats are in the order of what they
 * stand for, and those of what is not finite are above all. */
INLINE bool largest_of(const vf *group, float *largest) {
    const __m512i size = _mm512_set1_epi32(INT32_MAX);
    uint32_t bits = _mm512_reduce_max_epu32(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(group[0]), size),
                                                             _mm512_and_si512(_mm512_castps_si512(group[1]), size)));
    memcpy(largest, &bits, sizeof bits);
    return bits < 0x7f800000;
}

/* 32 codes to their place; sums of the first half of them, and of the second. */
INLINE void store_codes(const vf *codes, int8_t *at, float sums[2]) {
    enum { MOVED = 128, HALF = CI_Q8_GROUP / 2 };
    __m128i first = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(codes[0]));
    __m128i second = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(codes[1]));
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
    _mm256_storeu_si256((void *)at, bytes);
    __m256i eights = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8((char)MOVED)), _mm256_setzero_si256());
    __m128i left = _mm256_castsi256_si128(eights), right = _mm256_extracti128_si256(eights, 1);
    __m128i halves = _mm_add_epi64(_mm_unpacklo_epi64(left, right), _mm_unpackhi_epi64(left, right));
    sums[0] = (float)(_mm_cvtsi128_si32(halves) - MOVED * HALF);
    sums[1] = (float)(_mm_extract_epi32(halves, 2) - MOVED * HALF);
}

#else

INLINE bool largest_of(const vf *group, float *largest) {
    vf most = vf_size(group[0]), poison = vf_mul(group[0], vf_set(0));
    UNROLL for (int j = 1; j < GROUP_VECTORS; j++) {
        most = vf_max(vf_size(group[j]), most);
        poison = vf_fma(group[j], vf_set(0), poison);
    }
    *largest = vf_largest(most);
    return vf_sum(poison) == 0; /* 0 times what is not finite is no number */
}

INLINE void store_codes(const vf *codes, int8_t *at, float sums[2]) {
    UNROLL for (int h = 0; h < 2; h++) {
        const vf *half = codes + h * (GROUP_VECTORS / 2);
        vf sum = half[0];
        UNROLL for (int j = 1; j < GROUP_VECTORS / 2; j++) sum = vf_add(sum, half[j]);
        UNROLL for (int j = 0; j < GROUP_VECTORS / 2; j++)
            vf_store_i8(at + (h * (GROUP_VECTORS / 2) + j) * VF_LANES, half[j]);
        sums[h] = vf_sum(sum);
    }
}

#endif

/* Columns col .. col + 31 of a row of `cols`, of q8 or q16; with the last come the zeros that fill the row up. All sums
 * of codes are exact, in whatever order. */
INLINE void quantise_group(const vf *group, const struct ci_type *type, uint8_t *row, int64_t cols, int64_t col) {
    const bool wide = type == &ci_type_q16;
    int8_t *codes = (int8_t *)row + (wide ? 2 * col : col);
    float *scales = (float *)(void *)(row + (wide ? 2 * cols : cols)), *sums = scales + cols / CI_Q8_GROUP;
    float *half_sums = sums + cols / CI_Q8_GROUP, largest, scale, inverse, part[2], low_part[2];
    bool finite = largest_of(group, &largest);
    ci_q8_scale(largest, finite, &scale, &inverse);
    vf steps[GROUP_VECTORS], code[GROUP_VECTORS];
    UNROLL for (int j = 0; j < GROUP_VECTORS; j++) {
        steps[j] = vf_mul(group[j], vf_set(inverse));
        code[j] = round_away(steps[j]);
    }
    store_codes(code, codes, part);
    if (wide) {
        UNROLL for (int j = 0; j < GROUP_VECTORS; j++) {
            vf low = round_away(vf_mul(vf_sub(steps[j], code[j]), vf_set(CI_Q16_HIGH)));
            code[j] = vf_max(vf_set(-127), vf_min(vf_set(127), low));
        }
        store_codes(code, codes + CI_Q8_GROUP, low_part);
        UNROLL for (int h = 0; h < 2; h++) part[h] = part[h] * CI_Q16_HIGH + low_part[h];
        scale *= 1.0f / CI_Q16_HIGH;
    }
    scales[col / CI_Q8_GROUP] = scale;
    sums[col / CI_Q8_GROUP] = scale * (part[0] + part[1]);
    half_sums[col / CI_Q8_GROUP] = scale * part[0];
    if (col + CI_Q8_GROUP == cols) {
        uint8_t *end = (uint8_t *)(void *)(half_sums + cols / CI_Q8_GROUP);
        memset(end, 0, (size_t)(row + ci_type_row_bytes(type, cols) - end));
    }
}

#endif
