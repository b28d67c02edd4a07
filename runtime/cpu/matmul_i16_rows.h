/* matmul_i16_rows.h: the part of matmul_f32.h for weights of 16 bits (f16, bf16) and many rows of x (prompts), where
 * the processor adds products of 16-bit integers (vpdpwssd). Groups of 32 columns become integers of 14 bits (weights)
 * and 15 bits (x), each group by a scale of its own, and two products at a time come from one multiplication, which is
 * exact in integers (Winograd 1968, "A new algorithm for inner product"):
 *
 *       x0 w0 + x1 w1  =  (x0 + w1) (x1 + w0)  -  x0 x1  -  w0 w1
 *
 * What is subtracted belongs to a row of x or of the weight alone, so it is summed once, and sums begin with it. The
 * additions go to units that multiplications do not need: 2.7 times the products of f32 in the same time, where the
 * plain product of such integers has twice as many.
 *
 *                         2 * 16 rows of the weight
 *       w    columns 0, 1 of 4    [r0 r0 r1 r1 ..][ .. ]     turned around and rounded once, for all rows of x
 *            columns 2, 3         [r0 r0 r1 r1 ..][ .. ]
 *       x    row 0: (columns 2, 3) + the first, times (columns 0, 1) + the second
 *            ..                                              8 * 2 sums of int32 in registers
 *            row 7                                           8 * 2 sums of floats in the first-level cache
 *
 * Sums of integers are modulo 2^32, so only the result has to fit: by Cauchy and Schwarz it does, since a group of
 * weights of up to 8191 has a norm below 46336, and that of a group of x is kept below 46304.
 *
 * Both roundings together have an NMSE of 1e-8 with numbers as layers have them; rounding x to f16 has 4e-8, to bf16
 * 3e-6. Two planes of bf16 each are three products at twice the rate of f32. */
#ifndef CI_CPU_MATMUL_I16_ROWS_H
#define CI_CPU_MATMUL_I16_ROWS_H

#include <float.h>
#include <math.h>

#include "cpu/matmul.h"
#include "cpu/simd.h"

enum {
    PAIR_COLS = 2048,
    PAIR_X_ROWS = 256,
    PAIR_GROUP = 32,
    PAIR_STEPS = PAIR_GROUP / 4,
    PAIR_NEAR = 512,
    PAIR_X = 8,
    PAIR_W = 32,
    PAIR_GROUPS = PAIR_COLS / PAIR_GROUP,
    PAIR_NEAR_GROUPS = PAIR_NEAR / PAIR_GROUP,
    PAIR_BLOCKS = PAIR_X_ROWS / PAIR_X,
    PAIR_AHEAD = 2 /* rows of x */
};

/* Smaller numbers than `least` count as 0: of them no scale can be made. */
static const float pair_most_x = 16383, pair_most_w = 8191, pair_norm_x = 46300, pair_least = 1e-34f;

/* PAIR_COLS columns of all rows of x, of which PAIR_NEAR by PAIR_W rows of the weight at a time; 1.2 MB, on the stack.
 */
struct pair_panels {
    _Alignas(64) int32_t x[PAIR_BLOCKS][PAIR_COLS / 4][PAIR_X][2]; /* two columns each */
    float x_scale[PAIR_BLOCKS][PAIR_GROUPS][PAIR_X];
    int32_t x_start[PAIR_BLOCKS][PAIR_GROUPS][PAIR_X];
    _Alignas(64) int32_t w[PAIR_NEAR / 4][2][PAIR_W];
    float w_scale[PAIR_NEAR_GROUPS][PAIR_W];
    int32_t w_start[PAIR_NEAR_GROUPS][PAIR_W];
    float sum[PAIR_BLOCKS][PAIR_X][PAIR_W];
};

/* sum + the products of 16-bit integers, two in each lane. gcc's own function for it copies registers to and fro. */
INLINE __m512i pair_add_dot(__m512i sum, __m512i a, __m512i b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

/* 32 numbers as integers, and their scale; a group with a number that is not finite has NaN for a scale. */
INLINE __m512i pair_round_x(__m512 low, __m512 high, float *scale) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    float largest = vf_largest(vf_max(vf_size(low), vf_size(high)));
    bool finite =
        vf_all_within(low, vf_set(-FLT_MAX), vf_set(FLT_MAX)) && vf_all_within(high, vf_set(-FLT_MAX), vf_set(FLT_MAX));
    float times = finite && largest > pair_least ? pair_most_x / largest : 0;
    *scale = finite ? largest / pair_most_x : NAN;
    if (times == 0) return _mm512_setzero_si512();
    low = vf_mul(low, vf_set(times));
    high = vf_mul(high, vf_set(times));
    float norm = sqrtf(vf_sum(vf_fma(low, low, vf_mul(high, high))));
    float less = norm > pair_norm_x ? pair_norm_x / norm : 1;
    low = vf_mul(low, vf_set(less));
    high = vf_mul(high, vf_set(less));
    *scale /= less;
    __m512i packed = _mm512_packs_epi32(_mm512_cvtps_epi32(low), _mm512_cvtps_epi32(high));
    return _mm512_permutexvar_epi64(order, packed);
}

/* One row of x, columns k .. k + cols, or zeros where there is no such row. */
INLINE void pair_pack_x(const struct ci_matmul_job *job, int64_t row, int64_t k, int64_t cols,
                        struct pair_panels *panels, int64_t block, int lane) {
    static const float zeros[PAIR_COLS];
    float codes[PAIR_COLS];
    const float *x = zeros;
    if (row < job->rows) {
        int64_t first_col, x_row = ci_matmul_input(job, row, &first_col);
        x = (const float *)job->x->data + x_row * job->x->cols + first_col + k;
        if (job->x->type != &ci_type_f32) {
            ci_view_part(job->x, x_row, first_col + k, cols, codes);
            x = codes;
        }
    }
    for (int64_t g = 0; g * PAIR_GROUP < cols; g++) {
        int64_t at = g * PAIR_GROUP;
        for (int i = 0; i < PAIR_GROUP; i += VF_LANES) __builtin_prefetch(x + PAIR_AHEAD * job->x->cols + at + i);
        int left = cols - at < PAIR_GROUP ? (int)(cols - at) : PAIR_GROUP;
        __m512i pairs = pair_round_x(vf_load_some(x + at, left < VF_LANES ? left : VF_LANES),
                                     vf_load_some(x + at + VF_LANES, left > VF_LANES ? left - VF_LANES : 0),
                                     &panels->x_scale[block][g][lane]);
        /* Even lanes have the first two of four columns, odd ones the second. */
        __m512i other = _mm512_shuffle_epi32(pairs, _MM_PERM_CDAB);
        __m512i products = _mm512_maskz_madd_epi16(0xffff, pairs, other);
        panels->x_start[block][g][lane] = -_mm512_mask_reduce_add_epi32(0x5555, products);
        int64_t fours[PAIR_STEPS];
        _mm512_storeu_si512(fours, pairs);
        for (int s = 0; s < PAIR_STEPS; s++)
            memcpy(panels->x[block][g * PAIR_STEPS + s][lane], &fours[s], sizeof *fours);
    }
}

/* The lower or (shift 16) the upper halves of 16 lanes as floats. */
INLINE __m512 pair_floats(bool brain, __m512i pairs, int shift) {
    if (brain)
        return _mm512_castsi512_ps(shift ? _mm512_and_si512(pairs, _mm512_set1_epi32(-65536))
                                         : _mm512_slli_epi32(pairs, 16));
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(shift ? _mm512_srli_epi32(pairs, 16) : pairs));
}

/* A group of 16 rows, the first of which lies at w, `stride` bytes apart, the last standing for those from `rows` on;
 * `left` columns of it are there. `brain`: bf16. */
INLINE void pair_pack_w(bool brain, const uint8_t *w, size_t stride, int64_t rows, int left, int64_t g, int lanes,
                        struct pair_panels *panels) {
    const __m512i sizes = _mm512_set1_epi16(0x7fff), lower = _mm512_set1_epi32(65535);
    const __mmask32 columns = (__mmask32)((UINT64_C(1) << left) - 1);
    __m512 turned[16];
    __m512i largest = _mm512_setzero_si512(), start = largest, before = largest;
    UNROLL for (int i = 0; i < 16; i++) {
        const uint8_t *row = w + (size_t)(i < rows ? i : rows - 1) * stride;
        turned[i] =
            _mm512_castsi512_ps(left == PAIR_GROUP ? _mm512_loadu_si512(row) : _mm512_maskz_loadu_epi16(columns, row));
    }
    vf_turn(turned);
    UNROLL for (int i = 0; i < 16; i++) largest =
        _mm512_max_epu16(largest, _mm512_and_si512(_mm512_castps_si512(turned[i]), sizes));
    largest = _mm512_max_epu16(_mm512_and_si512(largest, lower), _mm512_srli_epi32(largest, 16));
    __m512 most = pair_floats(brain, largest, 0), scale = _mm512_mul_ps(most, vf_set(1 / pair_most_w));
    __mmask16 no_number = _mm512_cmpgt_epu32_mask(largest, _mm512_set1_epi32(brain ? 0x7f7f : 0x7bff));
    __mmask16 some = _mm512_cmp_ps_mask(most, vf_set(pair_least), _CMP_GT_OQ) & (__mmask16)~no_number;
    __m512 times = _mm512_maskz_div_ps(some, vf_set(pair_most_w), most);
    vf_store(&panels->w_scale[g][lanes], _mm512_mask_mov_ps(scale, no_number, vf_set(NAN)));
    UNROLL for (int i = 0; i < 16; i++) {
        __m512i pairs = _mm512_castps_si512(turned[i]);
        __m512i first = _mm512_cvtps_epi32(_mm512_mul_ps(pair_floats(brain, pairs, 0), times));
        __m512i second = _mm512_cvtps_epi32(_mm512_mul_ps(pair_floats(brain, pairs, 16), times));
        pairs = _mm512_mask_mov_epi16(first, 0xaaaaaaaa, _mm512_slli_epi32(second, 16));
        _mm512_store_si512(&panels->w[g * PAIR_STEPS + i / 2][i % 2][lanes], pairs);
        if (i % 2) start = pair_add_dot(start, before, pairs);
        before = pairs;
    }
    _mm512_storeu_si512(&panels->w_start[g][lanes], _mm512_sub_epi32(_mm512_setzero_si512(), start));
}

/* What is read next, asked for line by line while something else is computed: `bytes` of each of `rows` rows. */
struct pair_next {
    const uint8_t *start;
    size_t stride, bytes, at;
    int64_t rows, row;
    int each;
};

INLINE void pair_ask(struct pair_next *next) {
    enum { LINE = 64 };
    for (int i = 0; i < next->each && next->row < next->rows; i++) {
        __builtin_prefetch(next->start + (size_t)next->row * next->stride + next->at, 0, 2);
        next->at += LINE;
        if (next->at < next->bytes) continue;
        next->at = 0;
        next->row++;
    }
}

/* Adds to the sums of a block of x what `groups` groups give, which begin at group `first` of x. */
INLINE void pair_multiply(struct pair_panels *panels, int64_t block, int64_t first_group, int64_t groups,
                          struct pair_next *next) {
    for (int64_t g = 0; g < groups; g++) {
        __m512i dot[PAIR_X][2];
        vf scale[2];
        /* Else gcc keeps the sums of floats in registers, of which there are not enough. */
        __asm__ volatile("" : : : "memory");
        pair_ask(next);
        UNROLL for (int r = 0; r < PAIR_X; r++) UNROLL for (int v = 0; v < 2; v++) dot[r][v] =
            _mm512_add_epi32(_mm512_load_si512(&panels->w_start[g][16 * v]),
                             _mm512_set1_epi32(panels->x_start[block][first_group + g][r]));
        _Pragma("GCC unroll 2") for (int s = 0; s < PAIR_STEPS; s++) {
            const int32_t(*x)[2] = panels->x[block][(first_group + g) * PAIR_STEPS + s];
            __m512i first[2], second[2];
            UNROLL for (int v = 0; v < 2; v++) {
                first[v] = _mm512_load_si512(&panels->w[g * PAIR_STEPS + s][0][16 * v]);
                second[v] = _mm512_load_si512(&panels->w[g * PAIR_STEPS + s][1][16 * v]);
            }
            UNROLL for (int r = 0; r < PAIR_X; r++) {
                __m512i x_first = _mm512_set1_epi32(x[r][0]), x_second = _mm512_set1_epi32(x[r][1]);
                UNROLL for (int v = 0; v < 2; v++) dot[r][v] =
                    pair_add_dot(dot[r][v], _mm512_add_epi16(first[v], x_second), _mm512_add_epi16(second[v], x_first));
            }
        }
        UNROLL for (int v = 0; v < 2; v++) scale[v] = vf_load(&panels->w_scale[g][16 * v]);
        UNROLL for (int r = 0; r < PAIR_X; r++) UNROLL for (int v = 0; v < 2; v++) {
            float *sum = &panels->sum[block][r][16 * v];
            vf value = vf_mul(_mm512_cvtepi32_ps(dot[r][v]), scale[v]);
            vf_store(sum, vf_fma(value, vf_set(panels->x_scale[block][first_group + g][r]), vf_load(sum)));
        }
    }
}

/* Sets the outputs of all blocks with the first piece of columns, and adds to them with the others. */
INLINE void pair_add_outputs(const struct ci_matmul_job *job, int64_t w_row, int64_t count, int64_t x_row, int64_t rows,
                             bool first, const struct pair_panels *panels) {
    enum { AHEAD = 4 };
    for (int64_t r = 0; r < rows; r++) {
        const float *sum = panels->sum[r / PAIR_X][r % PAIR_X];
        if (r + AHEAD < rows) {
            const float *ahead = job->out + ci_matmul_output(job, x_row + r + AHEAD) + w_row;
            __builtin_prefetch(ahead, 1);
            __builtin_prefetch(ahead + count / 2, 1);
        }
        for (int64_t i = 0; i < count; i += VF_LANES)
            add_outputs(job, w_row + i, count - i < VF_LANES ? (int)(count - i) : VF_LANES, x_row + r, first,
                        vf_load(sum + i));
    }
}

/* All rows of x that were packed by PAIR_W rows of the weight, or fewer, the columns of a piece. */
INLINE void pair_rows(bool brain, const struct ci_matmul_job *job, int64_t w_row, int64_t last, int64_t k, int64_t cols,
                      int64_t rows, struct pair_panels *panels) {
    const size_t stride = (size_t)job->w->cols * 2;
    const uint8_t *w = (const uint8_t *)job->w->data + (size_t)w_row * stride + (size_t)k * 2;
    int64_t count = last - w_row < PAIR_W ? last - w_row : PAIR_W, blocks = (rows + PAIR_X - 1) / PAIR_X;
    memset(panels->sum, 0, sizeof *panels->sum * (size_t)blocks);
    for (int64_t near = 0; near < cols; near += PAIR_NEAR) {
        int64_t near_cols = cols - near < PAIR_NEAR ? cols - near : PAIR_NEAR;
        int64_t groups = (near_cols + PAIR_GROUP - 1) / PAIR_GROUP;
        for (int64_t g = 0; g < groups; g++)
            for (int v = 0; v < PAIR_W; v += VF_LANES) {
                int64_t from = v < count ? v : 0, at = g * PAIR_GROUP;
                int left = near_cols - at < PAIR_GROUP ? (int)(near_cols - at) : PAIR_GROUP;
                pair_pack_w(brain, w + (size_t)from * stride + (size_t)(near + at) * 2, stride, count - from, left, g,
                            v, panels);
            }
        /* The next columns of these rows, or the first of the next rows. */
        bool more = near + PAIR_NEAR < cols;
        int64_t after = last - w_row - PAIR_W;
        struct pair_next next = {
            .start = more ? w + (size_t)(near + PAIR_NEAR) * 2 : w + PAIR_W * stride,
            .stride = stride,
            .bytes = (size_t)(more && cols - near < 2 * PAIR_NEAR ? cols - near - PAIR_NEAR : PAIR_NEAR) * 2,
            .rows = more             ? count
                    : after < PAIR_W ? after
                                     : PAIR_W,
            .each = (int)(PAIR_W / blocks) + 1};
        for (int64_t b = 0; b < blocks; b++) pair_multiply(panels, b, near / PAIR_GROUP, groups, &next);
    }
}

/* Pieces of columns that are as long as each other, and whole groups. */
INLINE int64_t pair_piece(int64_t cols) {
    int64_t pieces = (cols + PAIR_COLS - 1) / PAIR_COLS, each = (cols + pieces - 1) / pieces;
    return (each + PAIR_GROUP - 1) / PAIR_GROUP * PAIR_GROUP;
}

/* Rows [first, last) of the weight by all rows of x. */
INLINE void pair_walk(bool brain, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    struct pair_panels panels;
    int64_t piece = pair_piece(job->w->cols);
    for (int64_t x_first = 0; x_first < job->rows; x_first += PAIR_X_ROWS) {
        int64_t rows = job->rows - x_first < PAIR_X_ROWS ? job->rows - x_first : PAIR_X_ROWS;
        for (int64_t k = 0; k < job->w->cols; k += piece) {
            int64_t cols = job->w->cols - k < piece ? job->w->cols - k : piece;
            for (int64_t r = 0; r < (rows + PAIR_X - 1) / PAIR_X * PAIR_X; r++)
                pair_pack_x(job, x_first + r, k, cols, &panels, r / PAIR_X, (int)(r % PAIR_X));
            for (int64_t w_row = first; w_row < last; w_row += PAIR_W) {
                int64_t count = last - w_row < PAIR_W ? last - w_row : PAIR_W;
                pair_rows(brain, job, w_row, last, k, cols, rows, &panels);
                pair_add_outputs(job, w_row, count, x_first, rows, k == 0, &panels);
            }
        }
    }
}

#endif
