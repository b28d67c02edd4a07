/* matmul_f32_rows.h: the part of matmul_f32.h for many rows of x (prompts): the lanes run along rows of x, so that
 * nothing is summed across lanes, and a number of the weight, in all lanes, serves two vectors of x.
 *
 *                         2 * VF_LANES rows of x
 *       x    column k     [r0 r1 .. ][ .. ]             turned around once, for all rows of the weight
 *       w    row 0, k     (one number) x both           W_ROWS rows as floats, read from the first-level cache
 *            row 1, k     (one number) x both
 *            ..                                         2 * W_ROWS sums in registers: as many as there are
 *
 * Columns go by in pieces of COLS, so that what is turned around fits in the second-level cache; the sums of a piece
 * are added to the outputs (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication", with the
 * roles of the two matrices exchanged, since weights are read once and x often). */
#ifndef CI_CPU_MATMUL_F32_ROWS_H
#define CI_CPU_MATMUL_F32_ROWS_H

#include <stdbool.h>

#include "cpu/matmul.h"
#include "cpu/simd.h"
#include "types/layout.h"

/* Rows of x by the second-level cache that such processors have. */
#if defined(__AVX512F__)
enum { W_ROWS = 14, X_ROWS = 256 };
#elif defined(__AVX2__)
enum { W_ROWS = 6, X_ROWS = 128 };
#else
enum { W_ROWS = 8, X_ROWS = 128 };
#endif
enum { BLOCK = 2 * VF_LANES, BLOCKS = X_ROWS / BLOCK, COLS = 512 };

/* COLS columns of BLOCKS blocks of rows of x, column by column, and of W_ROWS rows of the weight. */
struct f32_panels {
    float x[BLOCKS][COLS][BLOCK];
    float w[W_ROWS][COLS];
};

/* Codes of x become floats first. Rows that are not there are zeros. */
INLINE void turn_x(const struct ci_matmul_job *job, int64_t row, int64_t rows, int64_t first, int64_t cols,
                   float block[COLS][BLOCK]) {
    float codes[VF_LANES][COLS];
    const float *x[VF_LANES];
    for (int v = 0; v < BLOCK; v += VF_LANES) {
        for (int r = 0; r < VF_LANES && v + r < rows; r++) {
            int64_t first_col, x_row = ci_matmul_input(job, row + v + r, &first_col);
            x[r] = (const float *)job->x->data + x_row * job->x->cols + first_col + first;
            if (job->x->type == &ci_type_f32) continue;
            ci_view_part(job->x, x_row, first_col + first, cols, codes[r]);
            x[r] = codes[r];
        }
        for (int64_t k = 0; k < cols; k += VF_LANES) {
            int n = cols - k < VF_LANES ? (int)(cols - k) : VF_LANES;
            vf square[VF_LANES];
            UNROLL for (int r = 0; r < VF_LANES; r++) square[r] = v + r >= rows  ? vf_set(0)
                                                                  : n < VF_LANES ? vf_load_some(x[r] + k, n)
                                                                                 : vf_load(x[r] + k);
            vf_turn(square);
            for (int c = 0; c < n; c++) vf_store(&block[k + c][v], square[c]);
        }
    }
}

/* What is read next, of W_ROWS rows that are `stride` bytes apart: `bytes` of each, line by line, while something else
 * is computed. Processors do not guess such short pieces. */
struct f32_next {
    const uint8_t *start;
    size_t stride, bytes;
};

/* sums[i][r] of all W_ROWS rows of the weight and one block, or its first half. */
INLINE void multiply_block(const float w[W_ROWS][COLS], const float x[COLS][BLOCK], int64_t cols, int vectors,
                           const struct f32_next *next, float sums[W_ROWS][BLOCK]) {
    enum { TOGETHER = 16, LINE = 64 };
    vf sum[W_ROWS][2];
    size_t line = 0;
    UNROLL for (int i = 0; i < W_ROWS; i++) UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = vf_set(0);
    for (int64_t first = 0; first < cols; first += TOGETHER, line += LINE) {
        int64_t end = first + TOGETHER < cols ? first + TOGETHER : cols;
        for (int i = 0; line < next->bytes && i < W_ROWS; i++)
            __builtin_prefetch(next->start + (size_t)i * next->stride + line);
        for (int64_t k = first; k < end; k++) {
            vf inputs[2];
            UNROLL for (int v = 0; v < vectors; v++) inputs[v] = vf_load(&x[k][v * VF_LANES]);
            UNROLL for (int i = 0; i < W_ROWS; i++) {
                vf weight = vf_set(w[i][k]);
                UNROLL for (int v = 0; v < vectors; v++) sum[i][v] = vf_fma(weight, inputs[v], sum[i][v]);
            }
        }
    }
    UNROLL for (int i = 0; i < W_ROWS; i++) UNROLL for (int v = 0; v < vectors; v++)
        vf_store(&sums[i][v * VF_LANES], sum[i][v]);
}

/* n outputs of one row: the first piece of columns sets them, the others are added. */
INLINE void add_outputs(const struct ci_matmul_job *job, int64_t w_row, int n, int64_t x_row, bool first, vf value) {
    int64_t at = ci_matmul_output(job, x_row) + w_row;
    float *out = job->out + at;
    if (n < VF_LANES) {
        if (first && job->bias) value = vf_add(value, vf_load_some(job->bias + w_row, n));
        if (first && job->addend) value = vf_add(value, vf_load_some(job->addend + at, n));
        vf_store_some(out, first ? value : vf_add(value, vf_load_some(out, n)), n);
    } else {
        if (first && job->bias) value = vf_add(value, vf_load(job->bias + w_row));
        if (first && job->addend) value = vf_add(value, vf_load(job->addend + at));
        vf_store(out, first ? value : vf_add(value, vf_load(out)));
    }
}

INLINE void add_block(const struct ci_matmul_job *job, int64_t w_row, int w_count, int64_t x_row, int64_t x_count,
                      bool first, float sums[W_ROWS][BLOCK]) {
    for (int v = 0; v < x_count; v += VF_LANES)
        for (int i = 0; i < w_count; i += VF_LANES) {
            int n = w_count - i < VF_LANES ? w_count - i : VF_LANES;
            vf square[VF_LANES];
            UNROLL for (int j = 0; j < VF_LANES; j++) square[j] = i + j < W_ROWS ? vf_load(&sums[i + j][v]) : vf_set(0);
            vf_turn(square);
            for (int r = 0; r < VF_LANES && v + r < x_count; r++)
                add_outputs(job, w_row + i, n, x_row + v + r, first, square[r]);
        }
}

/* Rows [first, last) of the weight; `floats` makes floats of `cols` columns of one of its rows. column_bytes: where
 * they lie one behind the other, else 0. */
INLINE void part_rows(void (*floats)(const struct ci_view *w, int64_t row, int64_t first, int64_t cols, float *out),
                      size_t column_bytes, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    struct f32_panels panels;
    float sums[W_ROWS][BLOCK];
    for (int64_t k = 0; k < job->w->cols; k += COLS) {
        int64_t cols = job->w->cols - k < COLS ? job->w->cols - k : COLS;
        for (int64_t x_first = 0; x_first < job->rows; x_first += BLOCKS * BLOCK) {
            int64_t rows = job->rows - x_first < BLOCKS * BLOCK ? job->rows - x_first : BLOCKS * BLOCK;
            for (int b = 0; b * BLOCK < rows; b++)
                turn_x(job, x_first + b * BLOCK, rows - b * BLOCK, k, cols, panels.x[b]);
            for (int64_t w_row = first; w_row < last; w_row += W_ROWS) {
                int count = last - w_row < W_ROWS ? (int)(last - w_row) : W_ROWS;
                for (int i = 0; i < count; i++) floats(job->w, w_row + i, k, cols, panels.w[i]);
                size_t stride = (size_t)job->w->cols * column_bytes;
                struct f32_next next = {(const uint8_t *)job->w->data + (size_t)(w_row + W_ROWS) * stride +
                                            (size_t)k * column_bytes,
                                        stride, (size_t)cols * column_bytes};
                for (int b = 0; b * BLOCK < rows; b++, next.bytes = 0) {
                    int64_t x_count = rows - b * BLOCK < BLOCK ? rows - b * BLOCK : BLOCK;
                    for (int64_t r = 0; r < x_count; r++)
                        __builtin_prefetch(job->out + ci_matmul_output(job, x_first + b * BLOCK + r) + w_row, 1);
                    if (x_count > VF_LANES)
                        multiply_block(panels.w, panels.x[b], cols, 2, &next, sums);
                    else
                        multiply_block(panels.w, panels.x[b], cols, 1, &next, sums);
                    add_block(job, w_row, count, x_first + b * BLOCK, x_count, k == 0, sums);
                }
            }
        }
    }
}

#endif
