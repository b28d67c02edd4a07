/* r16_avx2.h: the 16 lanes of layout r16 are two registers of 8. vpmaddubsw multiplies unsigned codes of the weight
 * with signed ones of x and adds two neighbours in 16 bits, which hold the sums of several quads of small codes before
 * they must go to 32 bits, as many as a block has where what stands for zero is taken off first. Signed weights take
 * the sign over to x. */
#ifndef CI_CPU_R16_AVX2_H
#define CI_CPU_R16_AVX2_H

#include "cpu/r16_codes.h"
#include "cpu/simd.h"

#define R16_NAME(name) name##_avx2
enum { R16_TILE_ROWS = 4, R16_BYTE_OFFSET = 0, R16_ROWS_AT_ONCE = 4, R16_GROUPS_AT_ONCE = 1 };
#define R16_PAIRS 1
#define R16_NIBBLES 1
#define R16_STRAIGHT 1
#define R16_TURNS 1

typedef struct {
    __m256i v[2];
} r16_quad;
typedef struct {
    __m256 v[2];
} r16_float;

INLINE r16_float r16_zero(void) { return (r16_float){{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }
INLINE r16_float r16_add(r16_float a, r16_float b) {
    return (r16_float){{_mm256_add_ps(a.v[0], b.v[0]), _mm256_add_ps(a.v[1], b.v[1])}};
}
INLINE r16_float r16_sub(r16_float a, r16_float b) {
    return (r16_float){{_mm256_sub_ps(a.v[0], b.v[0]), _mm256_sub_ps(a.v[1], b.v[1])}};
}
INLINE r16_float r16_mul(r16_float a, r16_float b) {
    return (r16_float){{_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])}};
}
INLINE r16_float r16_fma(r16_float a, r16_float b, r16_float c) {
    return (r16_float){{_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])}};
}
INLINE r16_float r16_set(float a) { return (r16_float){{_mm256_set1_ps(a), _mm256_set1_ps(a)}}; }
INLINE r16_float r16_times(r16_float a, float b) { return r16_mul(a, r16_set(b)); }
INLINE r16_float r16_fma_scalar(r16_float a, float b, r16_float c) { return r16_fma(a, r16_set(b), c); }
INLINE r16_float r16_halves(const uint8_t *at) {
    return (r16_float){{_mm256_cvtph_ps(_mm_loadu_si128((const void *)at)),
                        _mm256_cvtph_ps(_mm_loadu_si128((const void *)(at + 16)))}};
}
INLINE r16_float r16_from_i8(const int8_t *at) {
    return (r16_float){{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)at))),
                        _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(at + 8))))}};
}
INLINE r16_float r16_load_some(const float *at, int n) {
    if (n == 16) return (r16_float){{vf_load(at), vf_load(at + 8)}};
    return (r16_float){{vf_load_some(at, n < 8 ? n : 8), n > 8 ? vf_load_some(at + 8, n - 8) : vf_set(0)}};
}
INLINE r16_float r16_load_floats(const float *at) { return (r16_float){{vf_load(at), vf_load(at + 8)}}; }
INLINE void r16_store(float *at, r16_float a) {
    vf_store(at, a.v[0]);
    vf_store(at + 8, a.v[1]);
}
INLINE void r16_store_some(float *at, r16_float a, int n) {
    vf_store_some(at, a.v[0], n < 8 ? n : 8);
    if (n > 8) vf_store_some(at + 8, a.v[1], n - 8);
}

INLINE r16_quad r16_load(const uint8_t *at) {
    return (r16_quad){{_mm256_loadu_si256((const void *)at), _mm256_loadu_si256((const void *)(at + 32))}};
}

/* Of each byte the bits of `mask` after a shift to the right; bits of the neighbour come in, of which the mask must
 * take none. */
INLINE r16_quad r16_bits(r16_quad a, int right, int mask) {
    UNROLL for (int i = 0; i < 2; i++) {
        if (right > 0) a.v[i] = _mm256_srli_epi16(a.v[i], right);
        if (right < 0) a.v[i] = _mm256_slli_epi16(a.v[i], -right);
        a.v[i] = _mm256_and_si256(a.v[i], _mm256_set1_epi8((char)mask));
    }
    return a;
}
/* a | r16_bits(b, right, mask) */
INLINE r16_quad r16_or_bits(r16_quad a, r16_quad b, int right, int mask) {
    b = r16_bits(b, right, mask);
    return (r16_quad){{_mm256_or_si256(a.v[0], b.v[0]), _mm256_or_si256(a.v[1], b.v[1])}};
}

/* Two numbers of 6 bits (types/k_quant.h). */
INLINE void r16_pair(const uint8_t *at, r16_float *first, r16_float *second) {
    __m256i nibbles = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(at + 16)));
    UNROLL for (int i = 0; i < 2; i++) {
        __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(at + 8 * i)));
        __m256i upper = i == 0 ? _mm256_slli_epi32(nibbles, 2) : _mm256_srli_epi32(nibbles, 2);
        upper = _mm256_and_si256(upper, _mm256_set1_epi32(60));
        first->v[i] = _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(63)));
        second->v[i] = _mm256_cvtepi32_ps(_mm256_or_si256(upper, _mm256_srli_epi32(bytes, 6)));
    }
}

/* The lower and the upper 4 bits of 16 bytes. */
INLINE void r16_nibble_pair(const uint8_t *at, r16_float *lower, r16_float *upper) {
    UNROLL for (int i = 0; i < 2; i++) {
        __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(at + 8 * i)));
        lower->v[i] = _mm256_cvtepi32_ps(_mm256_and_si256(bytes, _mm256_set1_epi32(15)));
        upper->v[i] = _mm256_cvtepi32_ps(_mm256_srli_epi32(bytes, 4));
    }
}

INLINE void r16_bytes(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int q = 0; q < 8; q++) UNROLL for (int i = 0; i < 2; i++) quad[q].v[i] =
        _mm256_loadu_si256((const void *)(codes + 64 * q + 32 * i));
}

/* 2^(e - 127), also the least, which is no normal float. */
INLINE r16_float r16_powers_of_two(const uint8_t *exponents) {
    r16_float powers;
    UNROLL for (int i = 0; i < 2; i++) {
        __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(exponents + 8 * i)));
        __m256i least = _mm256_and_si256(_mm256_cmpeq_epi32(e, _mm256_setzero_si256()), _mm256_set1_epi32(1 << 22));
        powers.v[i] = _mm256_castsi256_ps(_mm256_or_si256(_mm256_slli_epi32(e, 23), least));
    }
    return powers;
}

/* Nibbles to what they stand for, counted from -zero. */
INLINE void r16_look_up(const int8_t values[16], int zero, r16_quad *quad) {
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)values));
    table = _mm256_add_epi8(table, _mm256_set1_epi8((char)zero));
    UNROLL for (int q = 0; q < 8; q++) UNROLL for (int i = 0; i < 2; i++) quad[q].v[i] =
        _mm256_shuffle_epi8(table, quad[q].v[i]);
}

/* How many of `count` quads fit in words: each adds two products of a code, or what it is away from `zero` where sums
 * begin with that, and one of x (at most 127). On the way there sums may wrap around. */
INLINE int r16_quads_in_words(int count, int most, int zero) {
    const int size = most < 0 ? 128 : most - zero > zero ? most - zero : zero > 0 ? zero : most, most_x = 127;
    int quads = count;
    while (quads > 1 && quads * 2 * most_x * size > INT16_MAX) quads /= 2;
    return quads;
}

/* Quad q of codes of 4 or 6 bits as they lie in the weight. */
INLINE r16_quad r16_quad_at(const uint8_t *codes, int q, int most) {
    if (most == 15) return r16_bits(r16_load(codes + 64 * (q % 4)), q / 4 * 4, 15);
    codes += 192 * (q / 4);
    if (q % 4 < 3) return r16_bits(r16_load(codes + 64 * (q % 4)), 0, 63);
    r16_quad quad = r16_bits(r16_load(codes), 6, 3);
    UNROLL for (int p = 1; p < 3; p++) quad = r16_or_bits(quad, r16_load(codes + 64 * p), 6 - 2 * p, 3 << 2 * p);
    return quad;
}

/* Of each row of x the products with one group: a quad is loaded once for all of them. Without `quads` they are those
 * from `at` on of the weight's `codes`, each unpacked just before its products. */
INLINE void r16_dot_rows(const struct r16_codes *x, int rows, const r16_quad *const *quads, const uint8_t *codes,
                         int at, int groups, int count, int most, int zero, r16_float dots[][R16_GROUPS_AT_ONCE]) {
    const int together = r16_quads_in_words(count, most, zero);
    /* Rows side by side. Words of single quads soon become sums; to have both of all rows takes too many registers. */
    const int each = together == 1 ? 1 : rows;
    const __m256i ones = _mm256_set1_epi16(1);
    const uint8_t *fours_of_x = x->codes;
    __m256i words[R16_ROWS_AT_ONCE][2], sum[R16_ROWS_AT_ONCE][2];
    r16_quad quad;
    (void)groups;
    UNROLL for (int first = 0; first < count; first += together) UNROLL for (int row = 0; row < rows; row += each) {
        UNROLL for (int r = row; r < row + each; r++) UNROLL for (int i = 0; i < 2; i++) words[r][i] =
            _mm256_set1_epi32(x->starts && first == 0 ? x->starts[r] : 0);
        UNROLL for (int q = first; q < first + together; q++) UNROLL for (int r = row; r < row + each; r++) {
            int32_t four;
            if (!quads && r == row) {
                /* Else gcc unpacks all quads first, which need more registers than there are. */
                __asm__ volatile("" : "+r"(codes), "+r"(fours_of_x) : : "memory");
                quad = r16_quad_at(codes, at + q, most);
            }
            memcpy(&four, fours_of_x + r * x->stride + 4 * q, sizeof four);
            __m256i x_codes = _mm256_set1_epi32(four);
            UNROLL for (int i = 0; i < 2; i++) {
                __m256i w = quads ? quads[0][q].v[i] : quad.v[i];
                __m256i products = most < 0 ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x_codes, w))
                                            : _mm256_maddubs_epi16(w, x_codes);
                words[r][i] = _mm256_add_epi16(words[r][i], products);
                /* Else gcc adds up products first, which need more registers than there are. */
                __asm__("" : "+x"(words[r][i]));
            }
        }
        UNROLL for (int r = row; r < row + each; r++) UNROLL for (int i = 0; i < 2; i++) {
            __m256i fours = _mm256_madd_epi16(words[r][i], ones);
            sum[r][i] = first == 0 ? fours : _mm256_add_epi32(sum[r][i], fours);
            if (together == 1) __asm__("" : "+x"(sum[r][i]));
        }
    }
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < 2; i++) dots[r][0].v[i] =
        _mm256_cvtepi32_ps(sum[r][i]);
}

INLINE r16_float r16_dot(const struct r16_codes *x, const r16_quad *quads, int count, int most, int zero) {
    r16_float dot[1][R16_GROUPS_AT_ONCE];
    r16_dot_rows(x, 1, &quads, NULL, 0, 1, count, most, zero, dot);
    return dot[0][0];
}

/* 32 columns of nibbles by one or both planes of a row of x. Each is unpacked just before its products: gcc, left
 * alone, unpacks all of them first, which need more registers than there are. */
INLINE void r16_dot_nibbles(const struct r16_codes *x, int planes, const uint8_t *nibbles, r16_float *dots) {
    const __m256i low_bits = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
    const panel_int *codes[2];
    __m256i words[2][2];
    UNROLL for (int plane = 0; plane < planes; plane++) {
        codes[plane] = (const panel_int *)x[plane].codes;
        __asm__ volatile("" : "+r"(codes[plane]));
        UNROLL for (int i = 0; i < 2; i++) words[plane][i] = _mm256_set1_epi32(x[plane].starts ? *x[plane].starts : 0);
    }
    UNROLL for (int j = 0; j < 4; j++) UNROLL for (int i = 0; i < 2; i++) {
        __m256i w = _mm256_loadu_si256((const void *)(nibbles + 64 * j + 32 * i));
        __asm__ volatile("" : "+x"(w));
        __m256i low = _mm256_and_si256(w, low_bits), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), low_bits);
        UNROLL for (int plane = 0; plane < planes; plane++) {
            __m256i products = _mm256_add_epi16(_mm256_maddubs_epi16(low, _mm256_set1_epi32(codes[plane][j])),
                                                _mm256_maddubs_epi16(high, _mm256_set1_epi32(codes[plane][j + 4])));
            words[plane][i] = _mm256_add_epi16(words[plane][i], products);
            __asm__ volatile("" : "+x"(words[plane][i]));
        }
    }
    UNROLL for (int plane = 0; plane < planes; plane++) UNROLL for (int i = 0; i < 2; i++) dots[plane].v[i] =
        _mm256_cvtepi32_ps(_mm256_madd_epi16(words[plane][i], ones));
}

/* -zero times the sums of codes, of the first two of each four in the lower word, of the others in the upper one; of
 * each half. */
INLINE void r16_starts(const uint8_t *codes, int zero, int halves, int32_t starts[2]) {
    __m256i twos = _mm256_maddubs_epi16(_mm256_set1_epi8(1), _mm256_loadu_si256((const void *)codes));
    __m256i fours = _mm256_add_epi16(twos, _mm256_shuffle_epi32(twos, _MM_SHUFFLE(1, 0, 3, 2)));
    __m256i eights = _mm256_add_epi16(fours, _mm256_shuffle_epi32(fours, _MM_SHUFFLE(2, 3, 0, 1)));
    if (halves == 1) eights = _mm256_add_epi16(eights, _mm256_permute4x64_epi64(eights, _MM_SHUFFLE(1, 0, 3, 2)));
    eights = _mm256_mullo_epi16(eights, _mm256_set1_epi16((int16_t)-zero));
    starts[0] = _mm256_extract_epi32(eights, 0);
    starts[1] = _mm256_extract_epi32(eights, 4);
}

INLINE r16_float r16_column(r16_quad quad, int c) {
    r16_float column;
    UNROLL for (int i = 0; i < 2; i++) column.v[i] =
        _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(quad.v[i], 24 - 8 * c), 24));
    return column;
}

#endif
