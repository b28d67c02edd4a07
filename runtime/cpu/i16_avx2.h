/* i16_avx2.h: what matmul_i16_rows.h does with vectors of 256 bits: vpmaddwd multiplies 16-bit integers and adds two
 * neighbours in 32 bits, which one more addition takes to a sum. Of four units for vectors two multiply and all add, so
 * that both together are 32 products in a cycle where floats are 16. */
#ifndef CI_CPU_I16_AVX2_H
#define CI_CPU_I16_AVX2_H

struct pair_type {
    bool brain;
};
static const struct pair_type pair_f16 = {false}, pair_bf16 = {true};

/* Sizes as bits: in the order of what they stand for, and above all others those of what is not finite. */
INLINE __m256i pair_size_bits(vf value) { return _mm256_castps_si256(vf_size(value)); }
INLINE uint32_t pair_largest_bits(__m256i sizes) {
    __m128i most = _mm_max_epu32(_mm256_castsi256_si128(sizes), _mm256_extracti128_si256(sizes, 1));
    most = _mm_max_epu32(most, _mm_shuffle_epi32(most, 0x4e));
    return (uint32_t)_mm_extract_epi32(_mm_max_epu32(most, _mm_shuffle_epi32(most, 0xb1)), 0);
}

enum { PAIR_VECTORS = PAIR_GROUP / VF_LANES };

/* Integers of a group, to nearest. */
INLINE void pair_codes(const vf *value, float times, int16_t *codes) {
    UNROLL for (int i = 0; i < PAIR_VECTORS; i += 2) {
        __m256i low = _mm256_cvtps_epi32(vf_mul(value[i], vf_set(times)));
        __m256i high = _mm256_cvtps_epi32(vf_mul(value[i + 1], vf_set(times)));
        __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        _mm256_storeu_si256((void *)(codes + i * VF_LANES), words);
    }
}

INLINE float pair_squares(const vf *value, float times) {
    vf squares[2] = {vf_set(0), vf_set(0)};
    UNROLL for (int i = 0; i < PAIR_VECTORS; i++) {
        vf scaled = vf_mul(value[i], vf_set(times));
        squares[i % 2] = vf_fma(scaled, scaled, squares[i % 2]);
    }
    return vf_sum(vf_add(squares[0], squares[1]));
}

/* The first `left` numbers of a group as integers in codes, and their scale; a group with a number that is not finite
 * has NaN for a scale. Sums begin with 0. */
INLINE int32_t pair_round_x(const float *x, int left, int16_t *codes, float *scale) {
    vf value[PAIR_VECTORS];
    __m256i sizes = _mm256_setzero_si256();
    for (int i = 0; i < PAIR_VECTORS; i++) {
        int there = left - i * VF_LANES;
        value[i] =
            there >= VF_LANES ? vf_load(x + i * VF_LANES) : vf_load_some(x + i * VF_LANES, there > 0 ? there : 0);
        sizes = _mm256_max_epu32(sizes, pair_size_bits(value[i]));
    }
    uint32_t bits = pair_largest_bits(sizes);
    float largest;
    memcpy(&largest, &bits, sizeof largest);
    bool finite = bits < 0x7f800000;
    float times = finite && largest > pair_least ? pair_most_x / largest : 0;
    *scale = finite ? largest / pair_most_x : NAN;
    if (times == 0) {
        memset(codes, 0, PAIR_GROUP * sizeof *codes);
        return 0;
    }
    float norm = sqrtf(pair_squares(value, times)), less = norm > pair_norm_x ? pair_norm_x / norm : 1;
    *scale /= less;
    pair_codes(value, times * less, codes);
    return 0;
}

INLINE void pair_turn_x(const int16_t codes[PAIR_X][PAIR_GROUP], int part, int32_t to[][PAIR_X][1]) {
    for (int r = 0; r < PAIR_X; r++)
        for (int i = 0; i < PAIR_PART / 2; i++) memcpy(to[i][r], &codes[r][part + 2 * i], sizeof to[i][r]);
}

/* A group of a row of the weight, of which `left` columns are there; its scale is a power of two, so that what has few
 * bits less than the largest stays what it is. */
INLINE float pair_round_w(struct pair_type type, const uint16_t *w, int left, int16_t *codes) {
    enum { PLACES = 13, BIAS = 127, BITS = 23 };
    static const float most_squares = 92500.0f * 92500.0f;
    uint16_t last[PAIR_GROUP];
    vf value[PAIR_VECTORS];
    __m256i sizes = _mm256_setzero_si256();
    if (left < PAIR_GROUP) {
        memset(last, 0, sizeof last);
        w = memcpy(last, w, (size_t)left * sizeof *w);
    }
    UNROLL for (int i = 0; i < PAIR_VECTORS; i++) {
        value[i] = type.brain ? vf_load_bf16(w + i * VF_LANES) : vf_load_f16(w + i * VF_LANES);
        sizes = _mm256_max_epu32(sizes, pair_size_bits(value[i]));
    }
    uint32_t bits = pair_largest_bits(sizes), exponent = bits >> BITS;
    float largest, scale, times;
    memcpy(&largest, &bits, sizeof largest);
    if (bits >= 0x7f800000 || largest <= pair_least) {
        memset(codes, 0, PAIR_GROUP * sizeof *codes);
        return bits >= 0x7f800000 ? NAN : 0;
    }
    uint32_t scale_bits = (exponent - PLACES) << BITS, times_bits = (2 * BIAS + PLACES - exponent) << BITS;
    memcpy(&scale, &scale_bits, sizeof scale);
    memcpy(&times, &times_bits, sizeof times);
    float squares = pair_squares(value, times);
    while (squares > most_squares) {
        squares /= 4;
        times /= 2;
        scale *= 2;
    }
    pair_codes(value, times, codes);
    return scale;
}

/* A group of 8 rows, the first of which lies at w, `stride` bytes apart, the last standing for those from `rows` on;
 * `left` columns of it are there. */
INLINE void pair_pack_w(struct pair_type type, const uint8_t *w, size_t stride, int64_t rows, int left, int64_t g,
                        int lanes, struct pair_panels *panels) {
    _Alignas(32) int16_t codes[VF_LANES][PAIR_GROUP];
    for (int i = 0; i < VF_LANES; i++) {
        const uint8_t *row = w + (size_t)(i < rows ? i : rows - 1) * stride;
        panels->w_scale[g][lanes + i] = pair_round_w(type, (const void *)row, left, codes[i]);
    }
    for (int part = 0; part < PAIR_GROUP; part += PAIR_PART) {
        vf turned[VF_LANES];
        UNROLL for (int i = 0; i < VF_LANES; i++) turned[i] =
            _mm256_castsi256_ps(_mm256_load_si256((const void *)&codes[i][part]));
        vf_turn(turned);
        UNROLL for (int i = 0; i < VF_LANES; i++) _mm256_store_si256(
            (void *)&panels->w[g * PAIR_STEPS + part / 2 + i][0][lanes], _mm256_castps_si256(turned[i]));
    }
}

/* Sums of 16 rows of the weight and one of x, and the products of two columns. All registers are in use: in another
 * order, which gcc likes better, sums go to memory and back, and half of the speed with them. */
INLINE void pair_add_dots(__m256i sum[2], const __m256i w[2], const int32_t *columns) {
    __m256i x, products;
    __asm__("vpbroadcastd %6, %2\n\t"
            "vpmaddwd %4, %2, %3\n\t"
            "vpaddd %3, %0, %0\n\t"
            "vpmaddwd %5, %2, %2\n\t"
            "vpaddd %2, %1, %1"
            : "+&x"(sum[0]), "+x"(sum[1]), "=&x"(x), "=&x"(products)
            : "x"(w[0]), "x"(w[1]), "m"(*columns));
}

/* Adds to the sums of a block of x what `groups` groups give, those of piece `near`. */
INLINE void pair_multiply(struct pair_panels *panels, int64_t block, int64_t near, int64_t groups,
                          struct pair_next *next) {
    for (int64_t g = 0; g < groups; g++) {
        const int64_t x_group = near * PAIR_NEAR_GROUPS + g;
        pair_ask(next);
        for (int lanes = 0; lanes < PAIR_W; lanes += 2 * VF_LANES) {
            __m256i dot[PAIR_X][2];
            UNROLL for (int r = 0; r < PAIR_X; r++) dot[r][0] = dot[r][1] = _mm256_setzero_si256();
            _Pragma("GCC unroll 4") for (int s = 0; s < PAIR_STEPS; s++) {
                const int32_t(*x)[1] = panels->x[near][block][g * PAIR_STEPS + s];
                __m256i w[2];
                __builtin_prefetch(x + PAIR_X_AHEAD * PAIR_X);
                UNROLL for (int v = 0; v < 2; v++) w[v] =
                    _mm256_load_si256((const void *)&panels->w[g * PAIR_STEPS + s][0][lanes + v * VF_LANES]);
                UNROLL for (int r = 0; r < PAIR_X; r++) pair_add_dots(dot[r], w, x[r]);
            }
            UNROLL for (int v = 0; v < 2; v++) {
                vf scale = vf_load(&panels->w_scale[g][lanes + v * VF_LANES]);
                UNROLL for (int r = 0; r < PAIR_X; r++) {
                    float *sum = &panels->sum[block][r][lanes + v * VF_LANES];
                    vf both = vf_mul(scale, vf_set(panels->x_scale[x_group][block][r]));
                    vf_store(sum, vf_fma(_mm256_cvtepi32_ps(dot[r][v]), both, vf_load(sum)));
                }
            }
        }
    }
}

#endif
