/* matmul_r16_rows.h: the part of matmul_r16.h for many rows of x (prompts) in q8, where the instruction set has
 * R16_ROW_LANES: the lanes run along rows of x, so that four codes of the weight, in all lanes, serve two vectors.
 *
 *                     32 rows of x
 *       x    quad q   [r0 r0 r0 r0 r1 .. ][ .. ]    turned around once, for all rows of the weight
 *       w    row 0    (four codes) x both           16 rows unpacked once, for all rows of x
 *            ..                                     8 * 2 sums of int32 in registers
 *            row 7    (four codes) x both           8 * 2 sums of floats in the first-level cache
 *
 * With the weight's rows for lanes (tile_q8) each product loads four codes of x for itself, and a processor that loads
 * two vectors in a cycle and multiplies two is kept busy by the loads alone. Here ten loads serve 16 products.
 *
 * What a group of 32 columns costs beside its 8 products: scale times scale of x, and the multiply-add with it; for
 * types whose zero is a code nothing else, since sums begin at -zero times the sum of x's codes; else one more for the
 * offset. That bounds it to 8/10 or 8/11 of the products' peak (conversions and loads go to other units). Columns go by
 * in pieces, so that both panels stay in the second-level cache. */
#ifndef CI_CPU_MATMUL_R16_ROWS_H
#define CI_CPU_MATMUL_R16_ROWS_H

enum {
    ROWS_AT_ONCE = 256,
    PANEL_COLS = 2048,
    NEAR_COLS = 512,
    X_BLOCK = 2 * R16_ROW_LANES,
    W_ROWS = 8,
    X_BLOCKS = ROWS_AT_ONCE / X_BLOCK
};

/* 754 KB, on the stack. Sums of x are of each half: int32 that a product begins with, or floats, times the scale. */
struct r16_panels {
    _Alignas(64) int32_t x[X_BLOCKS][PANEL_COLS / 4][X_BLOCK]; /* four codes */
    float x_scale[X_BLOCKS][PANEL_COLS / 32][X_BLOCK];
    union {
        int32_t start[X_BLOCK];
        float times_scale[X_BLOCK];
    } x_sum[X_BLOCKS][PANEL_COLS / 16];
    int32_t w[PANEL_COLS / 4][R16]; /* four codes */
    float w_scale[PANEL_COLS / 16][R16], w_offset[PANEL_COLS / 16][R16];
    float sum[R16][X_BLOCK];
};

/* One vector of rows of x from `row` on, columns k .. k + cols; the last row stands for those that are not there. */
INLINE void pack_x(struct r16_type type, const struct ci_matmul_job *job, int64_t row, int64_t k, int64_t cols,
                   struct r16_panels *panels, int block, int lane) {
    const uint8_t *codes[R16_ROW_LANES];
    for (int r = 0; r < R16_ROW_LANES; r++) {
        int64_t first_col, x_row = ci_matmul_input(job, row + r < job->rows ? row + r : job->rows - 1, &first_col);
        const uint8_t *start =
            (const uint8_t *)job->x->data + (size_t)x_row * ci_type_row_bytes(&ci_type_q8, job->x->cols);
        const float *scales = (const float *)(const void *)(start + job->x->cols) + (first_col + k) / 32;
        codes[r] = start + first_col + k;
        for (int64_t g = 0; g < cols / 32; g++) panels->x_scale[block][g][lane + r] = scales[g];
    }
    for (int64_t g = 0; g < cols / 32; g++) {
        r16_quad quads[8];
        r16_turn_quads(codes, (size_t)g * 32, quads);
        UNROLL for (int q = 0; q < 8; q++) r16_store_quad(&panels->x[block][8 * g + q][lane], quads[q]);
        UNROLL for (int h = 0; h < type.halves; h++) {
            r16_quad sum = r16_sum_quads(quads + h * 4, 8 / type.halves);
            if (type.zero)
                r16_store_quad(&panels->x_sum[block][g * type.halves + h].start[lane], r16_times_int(sum, -type.zero));
            else
                r16_store(&panels->x_sum[block][g * type.halves + h].times_scale[lane],
                          r16_mul(r16_from_ints(sum), r16_load_floats(&panels->x_scale[block][g][lane])));
        }
    }
}

INLINE void pack_w(struct r16_type type, const uint8_t *w, int64_t k, int64_t cols, struct r16_panels *panels) {
    for (int64_t g = 0; g < cols / 32; g++) {
        struct r16_block block;
        int64_t at = k / 32 + g;
        type.unpack(w + (size_t)(at / type.parts) * (size_t)type.group_bytes, (int)(at % type.parts), &block);
        UNROLL for (int q = 0; q < 8; q++) r16_store_quad(panels->w[8 * g + q], block.quad[q]);
        UNROLL for (int h = 0; h < type.halves; h++) {
            r16_store(panels->w_scale[g * type.halves + h], block.scale[h]);
            if (!type.zero) r16_store(panels->w_offset[g * type.halves + h], block.offset[h]);
        }
    }
}

/* What pack_w() reads next, asked for bit by bit while the sums are made: `each` bytes a group of columns. */
struct r16_next {
    const uint8_t *at, *end;
    int64_t each;
};

INLINE void ask_for_next(struct r16_next *next) {
    enum { LINE_BYTES = 64 };
    const uint8_t *end = next->end - next->at > next->each ? next->at + next->each : next->end;
    for (; next->at < end; next->at += LINE_BYTES) __builtin_prefetch(next->at, 0, 2);
}

/* Adds to the sums of W_ROWS rows of the weight from w_row on, and a block of x or its first half, what groups
 * [first, end) give. */
INLINE void multiply_rows(struct r16_type type, struct r16_panels *panels, int block, int w_row, int64_t first,
                          int64_t end, int vectors, struct r16_next *next) {
    const int quads = 8 / type.halves;
    for (int64_t g = first * type.halves; g < end * type.halves; g++) {
        r16_quad dot[W_ROWS][2];
        r16_float scale[2], x_sum[2];
        /* Else gcc keeps the sums in registers, of which there are not enough, and spills what is multiplied. */
        __asm__ volatile("" : : : "memory");
        ask_for_next(next);
        UNROLL for (int i = 0; i < W_ROWS; i++) UNROLL for (int v = 0; v < vectors; v++) dot[i][v] =
            type.zero ? r16_load_quad(&panels->x_sum[block][g].start[v * R16_ROW_LANES]) : r16_no_quad();
        UNROLL for (int q = 0; q < quads; q++) {
            r16_quad x[2];
            UNROLL for (int v = 0; v < vectors; v++) x[v] =
                r16_load_quad(&panels->x[block][quads * g + q][v * R16_ROW_LANES]);
            UNROLL for (int i = 0; i < W_ROWS; i++) {
                r16_quad w = r16_all_lanes(panels->w[quads * g + q][w_row + i]);
                UNROLL for (int v = 0; v < vectors; v++) dot[i][v] = r16_add_dot(dot[i][v], w, x[v]);
            }
        }
        UNROLL for (int v = 0; v < vectors; v++) {
            scale[v] = r16_load_floats(&panels->x_scale[block][g / type.halves][v * R16_ROW_LANES]);
            x_sum[v] = r16_load_floats(&panels->x_sum[block][g].times_scale[v * R16_ROW_LANES]);
        }
        UNROLL for (int i = 0; i < W_ROWS; i++) UNROLL for (int v = 0; v < vectors; v++) {
            float *sum = &panels->sum[w_row + i][v * R16_ROW_LANES];
            r16_float both = r16_times(scale[v], panels->w_scale[g][w_row + i]);
            r16_float value = r16_fma(r16_from_ints(dot[i][v]), both, r16_load_floats(sum));
            if (!type.zero) value = r16_fma_scalar(x_sum[v], panels->w_offset[g][w_row + i], value);
            r16_store(sum, value);
        }
    }
}

/* What all columns of the panels give for R16 rows of the weight and a block of x; the part of x that is read for the
 * first W_ROWS rows of the weight is still in the first-level cache for the others. */
INLINE void multiply_block(struct r16_type type, struct r16_panels *panels, int block, int64_t groups, int vectors,
                           struct r16_next *next) {
    memset(panels->sum, 0, sizeof panels->sum);
    for (int64_t g = 0; g < groups; g += NEAR_COLS / 32) {
        int64_t end = g + NEAR_COLS / 32 < groups ? g + NEAR_COLS / 32 : groups;
        for (int i = 0; i < R16; i += W_ROWS) multiply_rows(type, panels, block, i, g, end, vectors, next);
    }
}

INLINE float *output_of(const struct ci_matmul_job *job, int64_t x_row, int64_t w_row) {
    return job->out + ci_matmul_output(job, x_row) + w_row;
}

/* Sets the outputs with the first piece of columns, and adds to them with the others. */
INLINE void add_rows(const struct ci_matmul_job *job, int64_t w_row, int64_t x_row, int64_t rows, bool first,
                     const struct r16_panels *panels) {
    const struct r16_tile tile = {.job = job, .w_rows = {w_row}, .x_row = x_row, .stored = 1};
    int n = job->w->rows - w_row < R16 ? (int)(job->w->rows - w_row) : R16;
    for (int v = 0; v * R16_ROW_LANES < rows; v++) {
        r16_float values[R16_ROW_LANES];
        r16_turn_floats(&panels->sum[0][v * R16_ROW_LANES], X_BLOCK, values);
        for (int r = 0; r < R16_ROW_LANES && v * R16_ROW_LANES + r < rows; r++) {
            int of_block = v * R16_ROW_LANES + r;
            float *out = output_of(job, x_row + of_block, w_row);
            if (first)
                store_tile(&tile, 0, of_block, values[r]);
            else
                r16_store_some(out, r16_add(values[r], r16_load_some(out, n)), n);
        }
    }
}

/* Pieces of columns that are as long as each other, and whole blocks of any type. */
INLINE int64_t piece_of(int64_t cols) {
    enum { WHOLE = 256 };
    int64_t pieces = (cols + PANEL_COLS - 1) / PANEL_COLS, each = (cols + pieces - 1) / pieces;
    return (each + WHOLE - 1) / WHOLE * WHOLE;
}

/* Within the first block of x, that is in two rounds through its columns. */
INLINE struct r16_next next_piece(struct r16_type type, const uint8_t *w, int64_t k, int64_t cols) {
    const int64_t block_cols = 32 * type.parts;
    return (struct r16_next){.at = w + k / block_cols * type.group_bytes,
                             .end = w + (k + cols) / block_cols * type.group_bytes,
                             .each = type.group_bytes / type.parts / 2 / type.halves + 64};
}

/* Rows [first, last) of the weight by all rows of x. */
INLINE void walk_rows(struct r16_type type, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    struct r16_panels panels;
    int64_t piece = piece_of(job->w->cols);
    for (int64_t x_first = 0; x_first < job->rows; x_first += ROWS_AT_ONCE) {
        int64_t rows = job->rows - x_first < ROWS_AT_ONCE ? job->rows - x_first : ROWS_AT_ONCE;
        for (int64_t k = 0; k < job->w->cols; k += piece) {
            int64_t cols = job->w->cols - k < piece ? job->w->cols - k : piece;
            for (int64_t r = 0; r < rows; r += R16_ROW_LANES)
                pack_x(type, job, x_first + r, k, cols, &panels, (int)(r / X_BLOCK), (int)(r % X_BLOCK));
            for (int64_t w_row = first; w_row < last; w_row += R16) {
                const struct r16_tile tile = {.job = job, .w_rows = {w_row, w_row + R16 < last ? w_row + R16 : first}};
                struct r16_next next = next_piece(type, group_at(type, &tile, 1), k, cols);
                pack_w(type, group_at(type, &tile, 0), k, cols, &panels);
                for (int64_t r = 0; r < rows; r += X_BLOCK) {
                    int64_t count = rows - r < X_BLOCK ? rows - r : X_BLOCK;
                    for (int64_t i = 0; i < count; i++) __builtin_prefetch(output_of(job, x_first + r + i, w_row), 1);
                    if (count > R16_ROW_LANES)
                        multiply_block(type, &panels, (int)(r / X_BLOCK), cols / 32, 2, &next);
                    else
                        multiply_block(type, &panels, (int)(r / X_BLOCK), cols / 32, 1, &next);
                    add_rows(job, w_row, x_first + r, count, k == 0, &panels);
                }
            }
        }
    }
}

#endif
