/* matmul_i16_rows.h: the part of matmul_f32.h for weights of 16 bits (f16, bf16) and many rows of x (prompts), where
 * the processor multiplies 16-bit integers faster than floats. Groups of 128 columns become integers of up to 14 bits
 * and a sign, each group by a scale of its own. i16_<isa>.h brings how they are rounded and multiplied.
 *
 *                         PAIR_W rows of the weight
 *       w    columns 0, 1    [r0 r0 r1 r1 ..][ .. ]     turned around and rounded once, for all rows of x
 *            columns 2, 3    [r0 r0 r1 r1 ..][ .. ]
 *       x    row 0: columns 0, 1 | 2, 3 | ..
 *            ..                                         sums of int32 of a block in registers
 *            row PAIR_X - 1                             sums of floats in the first-level cache
 *
 * Sums of integers are modulo 2^32, so only the result has to fit: by Cauchy and Schwarz it does, since the norms of a
 * group of weights and of x are kept below 92,540 and 23,170.
 *
 * Both roundings together have an NMSE of 2e-8 with numbers as layers have them; rounding x to f16 has 4e-8, to bf16
 * 3e-6. Two planes of bf16 each are three products at twice the rate of f32. */
#ifndef CI_CPU_MATMUL_I16_ROWS_H
#define CI_CPU_MATMUL_I16_ROWS_H

#include <float.h>
#include <math.h>

#include "cpu/matmul.h"
#include "cpu/scratch.h"
#include "cpu/simd.h"

/* PAIR_STEP columns lie together; PAIR_PART are what is turned around at once. */
#if defined(__AVX512F__)
enum {
    PAIR_COLS = 1920,
    PAIR_X_ROWS = 512,
    PAIR_GROUP = 128,
    PAIR_STEP = 4,
    PAIR_PART = 32,
    PAIR_NEAR = 384,
    PAIR_X = 8,
    PAIR_W = 32,
    PAIR_X_AHEAD = 16 /* steps */
};
#else
enum {
    PAIR_COLS = 1920,
    PAIR_X_ROWS = 516,
    PAIR_GROUP = 128,
    PAIR_STEP = 2,
    PAIR_PART = 16,
    PAIR_NEAR = 256,
    PAIR_X = 6,
    PAIR_W = 32,
    PAIR_X_AHEAD = 86
};
#endif
enum {
    PAIR_STEPS = PAIR_GROUP / PAIR_STEP,
    PAIR_GROUPS = PAIR_COLS / PAIR_GROUP,
    PAIR_NEARS = (PAIR_COLS + PAIR_NEAR - 1) / PAIR_NEAR,
    PAIR_NEAR_GROUPS = PAIR_NEAR / PAIR_GROUP,
    PAIR_BLOCKS = PAIR_X_ROWS / PAIR_X,
    PAIR_AHEAD = 2 * PAIR_GROUP
};

/* Groups of x whose largest number is less than `least` count as 0: of them no scale can be made. */
static const float pair_most_x = 16383, pair_norm_x = 23160, pair_least = 1e-34f;

/* PAIR_COLS columns of all rows of x, two in each number, of which PAIR_NEAR by PAIR_W rows of the weight at a time;
 * 2.1 MB. */
struct pair_panels {
    _Alignas(64) int32_t x[PAIR_NEARS][PAIR_BLOCKS][PAIR_NEAR / PAIR_STEP][PAIR_X][PAIR_STEP / 2];
    float x_scale[PAIR_GROUPS][PAIR_BLOCKS][PAIR_X];
    int32_t x_start[PAIR_GROUPS][PAIR_BLOCKS][PAIR_X];
    _Alignas(64) int32_t w[PAIR_NEAR / PAIR_STEP][PAIR_STEP / 2][PAIR_W];
    float w_scale[PAIR_NEAR_GROUPS][PAIR_W];
    int32_t w_start[PAIR_NEAR_GROUPS][PAIR_W];
    float sum[PAIR_BLOCKS][PAIR_X][PAIR_W];
};

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
        __builtin_prefetch(next->start + (size_t)next->row * next->stride + next->at, 0, 3);
        next->at += LINE;
        if (next->at < next->bytes) continue;
        next->at = 0;
        next->row++;
    }
}

#if defined(__AVX512F__)
#include "cpu/i16_avx512vnni.h"
#else
#include "cpu/i16_avx2.h"
#endif

/* Asks for what comes PAIR_AHEAD columns after column `at` of `cols` of a row, or of the row that takes its place. */
INLINE void pair_ask_x(const struct ci_matmul_job *job, const float *x, int64_t at, int64_t cols) {
    const int64_t ahead = PAIR_AHEAD + (at + PAIR_AHEAD < cols ? 0 : PAIR_X * job->x->cols - cols);
    for (int i = 0; i < PAIR_GROUP; i += VF_LANES) __builtin_prefetch(x + ahead + i);
}

/* Columns k .. k + cols of a block of rows of x, the first of which is `row`; zeros where there is no such row. */
INLINE void pair_pack_x(const struct ci_matmul_job *job, int64_t row, int64_t k, int64_t cols,
                        struct pair_panels *panels, int64_t block) {
    static const float zeros[PAIR_GROUP];
    _Alignas(64) int16_t codes[PAIR_X][PAIR_GROUP];
    float expanded[PAIR_GROUP];
    for (int64_t at = 0; at < cols; at += PAIR_GROUP) {
        int64_t g = at / PAIR_GROUP, near = at / PAIR_NEAR;
        int left = cols - at < PAIR_GROUP ? (int)(cols - at) : PAIR_GROUP;
        for (int r = 0; r < PAIR_X; r++) {
            const float *x = zeros;
            if (row + r < job->rows) {
                int64_t first_col, x_row = ci_matmul_input(job, row + r, &first_col);
                x = (const float *)job->x->data + x_row * job->x->cols + first_col + k + at;
                if (job->x->type != &ci_type_f32) {
                    ci_view_part(job->x, x_row, first_col + k + at, left, expanded);
                    x = expanded;
                }
            }
            pair_ask_x(job, x, at, cols);
            panels->x_start[g][block][r] = pair_round_x(x, left, codes[r], &panels->x_scale[g][block][r]);
        }
        for (int part = 0; part < PAIR_GROUP; part += PAIR_PART)
            pair_turn_x(codes, part, &panels->x[near][block][(at - near * PAIR_NEAR + part) / PAIR_STEP]);
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
INLINE void pair_rows(struct pair_type type, const struct ci_matmul_job *job, int64_t w_row, int64_t last, int64_t k,
                      int64_t cols, int64_t rows, struct pair_panels *panels) {
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
                pair_pack_w(type, w + (size_t)from * stride + (size_t)(near + at) * 2, stride, count - from, left, g, v,
                            panels);
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
            .each = (int)(PAIR_W * PAIR_GROUP / 32 / blocks) + 1};
        for (int64_t b = 0; b < blocks; b++) pair_multiply(panels, b, near / PAIR_NEAR, groups, &next);
    }
}

/* Pieces of columns that are as long as each other, and whole groups. */
INLINE int64_t pair_piece(int64_t cols) {
    int64_t pieces = (cols + PAIR_COLS - 1) / PAIR_COLS, each = (cols + pieces - 1) / pieces;
    return (each + PAIR_GROUP - 1) / PAIR_GROUP * PAIR_GROUP;
}

/* Rows [first, last) of the weight by all rows of x; false where these are few, and when there is no memory for it. */
INLINE bool pair_walk(bool brain, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    const struct pair_type type = brain ? pair_bf16 : pair_f16;
    struct pair_panels *panels = job->rows < CI_CPU_INTEGER_ROWS ? NULL : ci_cpu_scratch(sizeof *panels);
    if (!panels) return false;
    int64_t piece = pair_piece(job->w->cols);
    for (int64_t x_first = 0; x_first < job->rows; x_first += PAIR_X_ROWS) {
        int64_t rows = job->rows - x_first < PAIR_X_ROWS ? job->rows - x_first : PAIR_X_ROWS;
        for (int64_t k = 0; k < job->w->cols; k += piece) {
            int64_t cols = job->w->cols - k < piece ? job->w->cols - k : piece;
            for (int64_t r = 0; r < rows; r += PAIR_X) pair_pack_x(job, x_first + r, k, cols, panels, r / PAIR_X);
            for (int64_t w_row = first; w_row < last; w_row += PAIR_W) {
                int64_t count = last - w_row < PAIR_W ? last - w_row : PAIR_W;
                pair_rows(type, job, w_row, last, k, cols, rows, panels);
                pair_add_outputs(job, w_row, count, x_first, rows, k == 0, panels);
            }
        }
    }
    return true;
}

#endif
