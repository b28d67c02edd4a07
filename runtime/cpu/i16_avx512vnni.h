/* i16_avx512vnni.h: what matmul_i16_rows.h does with vectors of 512 bits and vpdpwssd, which multiplies 16-bit integers
 * and adds two products to a sum of 32 bits. Two products at a time come from one multiplication, which is exact in
 * integers (Winograd 1968, "A new algorithm for inner product"):
 *
 *       x0 w0 + x1 w1  =  (x0 + w1) (x1 + w0)  -  x0 x1  -  w0 w1
 *
 * What is subtracted belongs to a row of x or of the weight alone, so it is summed once, and sums begin with it.
 * Two of four units for vectors multiply and all add, so that of 8 rows of x three are better multiplied plainly, which
 * gives the same integers: 2.8 times the products of f32 in the same time, where plain products alone are 2.0 times as
 * many and pairs alone 2.45. */
#ifndef CI_CPU_I16_AVX512VNNI_H
#define CI_CPU_I16_AVX512VNNI_H

/* Of a group of weights: the squares of a quarter of its integers. Their norm is below 92,540. */
static const int pair_most_squares_w = 92500 / 4 * (92500 / 4);

/* sum + the products of 16-bit integers, two in each lane. gcc's own function for it copies registers to and fro. */
INLINE __m512i pair_add_dot(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* Which rows of a block have plain products. */
INLINE bool pair_plain(int row) { return row == 1 || row == 4 || row == 6; }

/* The first `left` numbers of a group as integers in codes, and their scale; a group with a number that is not finite
 * has NaN for a scale. Returns what sums of this row begin with. */
INLINE int32_t pair_round_x(const float *x, int left, int16_t *codes, float *scale) {
    enum { VECTORS = PAIR_GROUP / VF_LANES };
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    vf value[VECTORS], size = vf_set(0), squares = size;
    bool finite = true;
    for (int i = 0; i < VECTORS; i++) {
        int there = left - i * VF_LANES;
        value[i] =
            there >= VF_LANES ? vf_load(x + i * VF_LANES) : vf_load_some(x + i * VF_LANES, there > 0 ? there : 0);
        finite = finite && vf_all_within(value[i], vf_set(-FLT_MAX), vf_set(FLT_MAX));
        size = vf_max(size, vf_size(value[i]));
    }
    float largest = vf_largest(size), times = finite && largest > pair_least ? pair_most_x / largest : 0;
    *scale = finite ? largest / pair_most_x : NAN;
    if (times == 0) {
        memset(codes, 0, PAIR_GROUP * sizeof *codes);
        return 0;
    }
    UNROLL for (int i = 0; i < VECTORS; i++) {
        value[i] = vf_mul(value[i], vf_set(times));
        squares = vf_fma(value[i], value[i], squares);
    }
    float norm = sqrtf(vf_sum(squares)), less = norm > pair_norm_x ? pair_norm_x / norm : 1;
    *scale /= less;
    __m512i start = _mm512_setzero_si512();
    UNROLL for (int i = 0; i < VECTORS; i += 2) {
        __m512i low = _mm512_cvtps_epi32(vf_mul(value[i], vf_set(less)));
        __m512i high = _mm512_cvtps_epi32(vf_mul(value[i + 1], vf_set(less)));
        __m512i pairs = _mm512_permutexvar_epi64(order, _mm512_packs_epi32(low, high));
        /* Even lanes have the first two of four columns, odd ones the second. */
        start = pair_add_dot(start, _mm512_maskz_mov_epi32(0x5555, pairs), _mm512_shuffle_epi32(pairs, _MM_PERM_CDAB));
        _mm512_storeu_si512(codes + i * VF_LANES, pairs);
    }
    return -_mm512_reduce_add_epi32(start);
}

/* 8 rows of 8 numbers of 64 bits become columns. */
INLINE void pair_turn_x(const int16_t codes[PAIR_X][PAIR_GROUP], int part, int32_t to[][PAIR_X][2]) {
    __m512i twos[PAIR_X], fours[PAIR_X];
    UNROLL for (int r = 0; r < PAIR_X; r += 2) {
        __m512i a = _mm512_loadu_si512(&codes[r][part]), b = _mm512_loadu_si512(&codes[r + 1][part]);
        twos[r] = _mm512_unpacklo_epi64(a, b); /* columns 0, 2, 4, 6 of both rows */
        twos[r + 1] = _mm512_unpackhi_epi64(a, b);
    }
    UNROLL for (int r = 0; r < PAIR_X; r += 4) UNROLL for (int i = 0; i < 2; i++) {
        fours[r + i] = _mm512_shuffle_i64x2(twos[r + i], twos[r + 2 + i], 0x88);     /* columns 0 and 4 (+ i), 4 rows */
        fours[r + 2 + i] = _mm512_shuffle_i64x2(twos[r + i], twos[r + 2 + i], 0xdd); /* 2 and 6 */
    }
    UNROLL for (int i = 0; i < 4; i++) {
        _mm512_store_si512(to[i], _mm512_shuffle_i64x2(fours[i], fours[4 + i], 0x88));
        _mm512_store_si512(to[4 + i], _mm512_shuffle_i64x2(fours[i], fours[4 + i], 0xdd));
    }
}

/* How a type of 16 bits becomes integers: `places` are the bits of a number below its exponent. The largest of a group
 * has 14 bits, which begin with its own, and the scale is a power of two: 2^(exponent - 13 - bias). */
struct pair_type {
    int places, bias;
    int16_t largest; /* finite */
};
enum { PAIR_PLACES = 13 };
static const struct pair_type pair_f16 = {10, 15, 0x7bff}, pair_bf16 = {7, 127, 0x7f7f};

/* Exponents less one, 0 for denormal numbers, whose bits mean the same. */
INLINE __m512i pair_exponents(struct pair_type type, __m512i sizes) {
    return _mm512_subs_epu16(_mm512_srli_epi16(sizes, type.places), _mm512_set1_epi16(1));
}

/* 16 rows of columns 0, 1 and of 2, 3 of four as integers. most: exponents of the rows' groups, less one. Adds to the
 * sums of squares of a quarter of them. */
INLINE __m512i pair_round_w(struct pair_type type, __m512i bits, __m512i most, __m512i *squares) {
    __m512i exponent = pair_exponents(type, _mm512_and_si512(bits, _mm512_set1_epi16(0x7fff)));
    /* Bits of the exponent, and the sign, leave at the top. One bit more, to round by. */
    __m512i size = _mm512_sub_epi16(_mm512_slli_epi16(bits, PAIR_PLACES + 1 - type.places),
                                    _mm512_slli_epi16(exponent, PAIR_PLACES + 1));
    size = _mm512_avg_epu16(_mm512_srlv_epi16(size, _mm512_sub_epi16(most, exponent)), _mm512_setzero_si512());
    __m512i quarter = _mm512_srli_epi16(size, 2);
    *squares = pair_add_dot(*squares, quarter, quarter);
    return _mm512_mask_sub_epi16(size, _mm512_movepi16_mask(bits), _mm512_setzero_si512(), size);
}

/* A group of 16 rows, the first of which lies at w, `stride` bytes apart, the last standing for those from `rows` on;
 * `left` columns of it are there. */
INLINE void pair_pack_w(struct pair_type type, const uint8_t *w, size_t stride, int64_t rows, int left, int64_t g,
                        int lanes, struct pair_panels *panels) {
    const __m512i sizes = _mm512_set1_epi16(0x7fff), lower = _mm512_set1_epi32(65535);
    const __m512i zero = _mm512_setzero_si512();
    __m512i largest = zero, start, raw[PAIR_GROUP / 2];
    for (int part = 0; part < PAIR_GROUP; part += PAIR_PART) {
        __m512 turned[16];
        int there = left - part;
        const __mmask32 columns = there >= PAIR_PART ? UINT32_MAX : there > 0 ? (__mmask32)((1u << there) - 1) : 0;
        UNROLL for (int i = 0; i < 16; i++) {
            const uint8_t *row = w + (size_t)(i < rows ? i : rows - 1) * stride + (size_t)part * 2;
            turned[i] = _mm512_castsi512_ps(_mm512_maskz_loadu_epi16(columns, row));
        }
        vf_turn(turned);
        UNROLL for (int i = 0; i < 16; i++) {
            raw[part / 2 + i] = _mm512_castps_si512(turned[i]);
            largest = _mm512_max_epu16(largest, _mm512_and_si512(_mm512_castps_si512(turned[i]), sizes));
        }
    }
    largest = _mm512_max_epu16(_mm512_and_si512(largest, lower), _mm512_srli_epi32(largest, 16));
    __mmask16 no_number = _mm512_cmpgt_epu32_mask(largest, _mm512_set1_epi32(type.largest));
    __m512i most = pair_exponents(type, largest), squares;
    most = _mm512_or_si512(most, _mm512_slli_epi32(most, 16));
    for (;;) {
        start = squares = zero;
        _Pragma("GCC unroll 4") for (int i = 0; i < PAIR_GROUP / 2; i += 2) {
            __m512i first = pair_round_w(type, raw[i], most, &squares);
            __m512i second = pair_round_w(type, raw[i + 1], most, &squares);
            _mm512_store_si512(&panels->w[g * PAIR_STEPS + i / 2][0][lanes], first);
            _mm512_store_si512(&panels->w[g * PAIR_STEPS + i / 2][1][lanes], second);
            start = pair_add_dot(start, first, second);
        }
        __mmask16 too_long = _mm512_cmpgt_epi32_mask(squares, _mm512_set1_epi32(pair_most_squares_w));
        if (!too_long) break;
        most = _mm512_mask_add_epi32(most, too_long, most, _mm512_set1_epi32(0x10001));
    }
    __m512i power = _mm512_and_si512(most, lower);
    power = _mm512_add_epi32(power, _mm512_set1_epi32(128 - type.bias - PAIR_PLACES));
    power = _mm512_slli_epi32(_mm512_max_epi32(power, zero), 23);
    vf_store(&panels->w_scale[g][lanes], _mm512_mask_mov_ps(_mm512_castsi512_ps(power), no_number, vf_set(NAN)));
    _mm512_storeu_si512(&panels->w_start[g][lanes], _mm512_sub_epi32(zero, start));
}

/* Adds to the sums of a block of x what `groups` groups give, those of piece `near`. */
INLINE void pair_multiply(struct pair_panels *panels, int64_t block, int64_t near, int64_t groups,
                          struct pair_next *next) {
    for (int64_t g = 0; g < groups; g++) {
        const int64_t x_group = near * PAIR_NEAR_GROUPS + g;
        __m512i dot[PAIR_X][2];
        vf scale[2];
        /* Else gcc keeps the sums of floats in registers, of which there are not enough. */
        __asm__ volatile("" : : : "memory");
        pair_ask(next);
        UNROLL for (int r = 0; r < PAIR_X; r++) UNROLL for (int v = 0; v < 2; v++) dot[r][v] =
            pair_plain(r) ? _mm512_setzero_si512()
                          : _mm512_add_epi32(_mm512_load_si512(&panels->w_start[g][16 * v]),
                                             _mm512_set1_epi32(panels->x_start[x_group][block][r]));
        _Pragma("GCC unroll 2") for (int s = 0; s < PAIR_STEPS; s++) {
            const int32_t(*x)[2] = panels->x[near][block][g * PAIR_STEPS + s];
            __builtin_prefetch(x + PAIR_X_AHEAD * PAIR_X);
            __m512i first[2], second[2];
            UNROLL for (int v = 0; v < 2; v++) {
                first[v] = _mm512_load_si512(&panels->w[g * PAIR_STEPS + s][0][16 * v]);
                second[v] = _mm512_load_si512(&panels->w[g * PAIR_STEPS + s][1][16 * v]);
            }
            UNROLL for (int r = 0; r < PAIR_X; r++) {
                __m512i x_first = _mm512_set1_epi32(x[r][0]), x_second = _mm512_set1_epi32(x[r][1]);
                UNROLL for (int v = 0; v < 2; v++) dot[r][v] =
                    pair_plain(r) ? pair_add_dot(pair_add_dot(dot[r][v], first[v], x_first), second[v], x_second)
                                  : pair_add_dot(dot[r][v], _mm512_add_epi16(first[v], x_second),
                                                 _mm512_add_epi16(second[v], x_first));
            }
        }
        UNROLL for (int v = 0; v < 2; v++) scale[v] = vf_load(&panels->w_scale[g][16 * v]);
        UNROLL for (int r = 0; r < PAIR_X; r++) UNROLL for (int v = 0; v < 2; v++) {
            float *sum = &panels->sum[block][r][16 * v];
            vf value = vf_mul(_mm512_cvtepi32_ps(dot[r][v]), scale[v]);
            vf_store(sum, vf_fma(value, vf_set(panels->x_scale[x_group][block][r]), vf_load(sum)));
        }
    }
}

#endif
