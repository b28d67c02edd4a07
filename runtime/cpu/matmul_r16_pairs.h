/* matmul_r16_pairs.h: the part of matmul_r16.h for several rows of x in q8 or q16, where the instruction set has
 * r16_dot_pair(): two groups of 16 rows of the weight at once, which share each load of x.
 *
 *                   weight           weight
 *             group a, quads 0-7  group b, quads 0-7     16 registers, unpacked once for all rows of x
 *       x row 0   (four codes) times both                8 times, then to float and to the sums of row 0,
 *       x row 1   (four codes) times both                which lie in the first-level cache
 *         ..
 *
 * A processor that loads two vectors in a cycle and multiplies two would be kept busy by the loads alone if each
 * product loaded four codes of x for itself. With the sums in memory a row is the same few instructions for any number
 * of rows: there is no tile of constant size, no remainder, and a row's result does not depend on how many there are.
 *
 * What 32 columns cost beside their 8 products: scale times scale of x, and the multiply-add with it; for types whose
 * zero is a code nothing else, since sums begin at -zero times the sum of x's codes; else one more for the offset. That
 * bounds it to 8/10 or 8/11 of the products' peak (conversions and loads go to other units). */
#ifndef CI_CPU_MATMUL_R16_PAIRS_H
#define CI_CPU_MATMUL_R16_PAIRS_H

/* Of x in a tile. */
enum { PAIR_ROWS = 32 };

/* What columns 32 * k .. of `groups` groups give for row r of `rows` in a tile: added to sum[groups][R16]. */
INLINE void add_pair(struct r16_type type, const struct r16_block *block, int groups, const uint8_t *x, int planes,
                     int rows, int r, float *sum) {
    const struct r16_row row = row_at(x, planes, rows, r);
    const int count = 8 / type.halves;
    r16_float dots[2][2];
    UNROLL for (int h = 0; h < type.halves; h++) {
        r16_float low[2], high[2];
        const panel_int *start = row.starts + h * planes * rows;
        const r16_quad *quads[2] = {block[0].quad + h * count, block[1].quad + h * count};
        r16_dot_pair(begins(type) ? start[0] : 0, quads, groups, row.codes + 16 * h, count, high);
        if (planes == 2)
            r16_dot_pair(begins(type) ? start[rows] : 0, quads, groups, row.codes + CI_Q8_GROUP + 16 * h, count, low);
        UNROLL for (int g = 0; g < groups; g++) dots[g][h] = planes == 2 ? join_planes(high[g], low[g]) : high[g];
    }
    UNROLL for (int g = 0; g < groups; g++)
        r16_store(sum + g * R16, add_dots(type, &block[g], dots[g], &row, rows, r16_load_floats(sum + g * R16)));
}

/* `groups` is a constant, 1 or 2. */
INLINE void tile_pair(struct r16_type type, const struct r16_tile *tile, int groups, int rows, int planes) {
    _Alignas(64) float sum[PAIR_ROWS][2][R16];
    const uint8_t *w[2], *x = tile->panel;
    memset(sum, 0, (size_t)rows * sizeof *sum);
    for (int r = 0; r < rows; r++) UNROLL for (int g = 0; g < groups; g++) ask_for_output(tile, g, r);
    UNROLL for (int g = 0; g < groups; g++) w[g] = group_at(type, tile, g);
    for (int64_t k = 0; k < tile->job->w->cols / 32; k++, x += rows * x_bytes(planes)) {
        struct r16_block block[2];
        UNROLL for (int g = 0; g < groups; g++) load_block(type, w[g], k, &block[g]);
        _Pragma("GCC unroll 1") for (int r = 0; r < rows; r++)
            add_pair(type, block, groups, x, planes, rows, r, sum[r][0]);
    }
    for (int r = 0; r < rows; r++)
        UNROLL for (int g = 0; g < groups; g++) store_tile(tile, g, r, r16_load_floats(sum[r][g]));
}

/* `count` rows of x in tiles that are as large as each other. */
INLINE int64_t rows_of_tile(int64_t count) {
    int64_t tiles = (count + PAIR_ROWS - 1) / PAIR_ROWS;
    return (count + tiles - 1) / tiles;
}

/* Rows [first, last) of the weight by all rows of x, in pieces of these that stay in the second-level cache while the
 * weights go by, in two streams. */
INLINE void walk_pairs(struct r16_type type, int planes, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    int64_t groups = (last - first + R16 - 1) / R16, each = (groups + 1) / 2;
    int64_t row_bytes = job->w->cols / 32 * x_bytes(planes), piece = PANEL_BYTES / row_bytes;
    struct r16_packed packed;
    if (piece > PAIR_ROWS) piece = piece / PAIR_ROWS * PAIR_ROWS;
    for (int64_t x_first = 0; x_first < job->rows; x_first += piece) {
        int64_t count = job->rows - x_first < piece ? job->rows - x_first : piece, most = rows_of_tile(count);
        for (int64_t x = 0; x < count; x += most)
            pack_tile(type, job, x_first + x, (int)(count - x < most ? count - x : most), planes,
                      packed.bytes + x * row_bytes);
        for (int64_t i = 0; i < each; i++)
            for (int64_t x = 0; x < count; x += most) {
                const int rows = (int)(count - x < most ? count - x : most);
                const struct r16_tile tile = {.job = job,
                                              .w_rows = {first + i * R16, first + (each + i) * R16},
                                              .x_row = x_first + x,
                                              .stored = 2,
                                              .panel = packed.bytes + x * row_bytes};
                if (each + i < groups)
                    tile_pair(type, &tile, 2, rows, planes);
                else
                    tile_pair(type, &tile, 1, rows, planes);
            }
    }
}

#endif
