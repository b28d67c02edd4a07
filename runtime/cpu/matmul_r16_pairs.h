/* matmul_r16_pairs.h: the part of matmul_r16.h for several rows of x in q8 or q16 where the instruction set has
 * r16_dot_rows(): two groups of 16 rows of the weight at once, in two streams, unpacked once for all rows of x.
 *
 *                   weight           weight
 *             group a, quads 0-7  group b, quads 0-7
 *       x row 0   (four codes) times both                8 times, then to float and to the sums of row 0,
 *       x row 1   (four codes) times both                which lie in the first-level cache
 *         ..
 *
 * A processor that loads two vectors in a cycle and multiplies two would be kept busy by the loads alone if each
 * product loaded what it multiplies for itself. AVX-512 has registers for both groups, which share each load of x.
 * AVX2 has too few: there R16_ROWS_AT_ONCE rows of x share each load of one group, which lies in the first-level cache.
 * With the sums in memory a row is the same few instructions for any number of rows, and a row's result does not depend
 * on how many there are. With AVX2 up to four rows of x (Q4_0, Q4_1: eight) take codes
 * straight from the weight (add_straight).
 *
 * What 32 columns cost beside their 8 products: scale times scale of x, and the multiply-add with it; for types whose
 * zero is a code nothing else, since sums begin at -zero times the sum of x's codes; else one more for the offset. With
 * AVX-512 that bounds it to 8/10 or 8/11 of the products' peak (conversions and loads go to other units). With AVX2,
 * where floats have a multiplying unit of their own, additions bound it: of the 40 operations for a row and group 16
 * are products, in 10 cycles of the four units; the peak (dot_peak_avx2.c) needs 10.8 for as many. */
#ifndef CI_CPU_MATMUL_R16_PAIRS_H
#define CI_CPU_MATMUL_R16_PAIRS_H

/* Of x in a tile. */
enum { PAIR_ROWS = 32 };

/* What is taken of the weight: blocks, unpacked; or columns 32 * k .. of what lies at `group`, whose codes go straight
 * into products, in registers. */
struct r16_source {
    const struct r16_block *blocks; /* NULL: the other way */
    const uint8_t *group;
    int64_t k;
};

/* What 32 columns of `groups` groups give for rows r .. r + n - 1 of `rows` in a tile, n and `groups` constants of at
 * most R16_ROWS_AT_ONCE and R16_GROUPS_AT_ONCE: added to sums[rows][2][R16]. */
INLINE void add_pair(struct r16_type type, const struct r16_source *w, int groups, const uint8_t *x, int planes,
                     int rows, int r, int n, float *sums) {
    const int count = 8 / type.halves, part = (int)(w->k % type.parts);
    const uint8_t *codes_of_w =
        w->blocks ? NULL : codes_of(type, w->group + w->k / type.parts * type.group_bytes, part);
    const struct r16_block *block = w->blocks;
    struct r16_block scales;
    r16_float dots[R16_ROWS_AT_ONCE][R16_GROUPS_AT_ONCE][2];
    UNROLL for (int h = 0; h < type.halves; h++) {
        r16_float of[2][R16_ROWS_AT_ONCE][R16_GROUPS_AT_ONCE];
        const r16_quad *quads[R16_GROUPS_AT_ONCE];
        if (block) UNROLL for (int g = 0; g < groups; g++) quads[g] = block[g].quad + h * count;
        /* Else gcc copies them, to registers of which there are not enough. */
        if (block && R16_ROWS_AT_ONCE > 1) __asm__("" : "+r"(quads[0]) : : "memory");
        UNROLL for (int plane = 0; plane < planes; plane++) {
            const struct r16_codes codes = codes_at(type, x, planes, rows, r, h, plane);
            r16_dot_rows(&codes, n, block ? quads : NULL, codes_of_w, h * count, groups, count, type.most, type.zero,
                         of[plane]);
        }
        UNROLL for (int i = 0; i < n; i++) UNROLL for (int g = 0; g < groups; g++) dots[i][g][h] =
            planes == 2 ? join_planes(of[0][i][g], of[1][i][g]) : of[0][i][g];
    }
    /* Scales only now: before, they would take registers. */
    if (!block) {
        load_block(type, w->group, w->k, &scales);
        block = &scales;
    }
    UNROLL for (int i = 0; i < n; i++) {
        const struct r16_row row = row_at(x, planes, rows, r + i);
        UNROLL for (int g = 0; g < groups; g++) {
            float *sum = sums + ((r + i) * 2 + g) * R16;
            r16_store(sum, add_dots(type, &block[g], dots[i][g], &row, rows, r16_load_floats(sum)));
        }
    }
}

/* The same for all rows of the tile. */
INLINE void add_pairs(struct r16_type type, const struct r16_block *blocks, int groups, const uint8_t *x, int planes,
                      int rows, float *sums) {
    const struct r16_source w = {.blocks = blocks};
    int r = 0;
    _Pragma("GCC unroll 1") for (; r + R16_ROWS_AT_ONCE <= rows; r += R16_ROWS_AT_ONCE)
        add_pair(type, &w, groups, x, planes, rows, r, R16_ROWS_AT_ONCE, sums);
    if (R16_ROWS_AT_ONCE > 3 && rows - r == 3) add_pair(type, &w, groups, x, planes, rows, r, 3, sums);
    if (R16_ROWS_AT_ONCE > 2 && rows - r == 2) add_pair(type, &w, groups, x, planes, rows, r, 2, sums);
    if (R16_ROWS_AT_ONCE > 1 && rows - r == 1) add_pair(type, &w, groups, x, planes, rows, r, 1, sums);
}

#if R16_STRAIGHT
/* Few rows of x, for which storing what was unpacked costs more than unpacking it for each four of them; with scales
 * that have to be unpacked, too, four at most. */
enum { STRAIGHT_ROWS = 4, STRAIGHT_MOST = 8 };
INLINE bool is_straight(struct r16_type type, int64_t rows) {
    return (is_nibbles(type) || is_six_bits(type)) && rows <= (type.parts == 1 ? STRAIGHT_MOST : STRAIGHT_ROWS);
}

/* All columns of the groups at w for the rows of a tile, a constant: added to sums[rows][2][R16]. */
INLINE void add_straight(struct r16_type type, const uint8_t *const *w, int64_t cols, int groups, const uint8_t *x,
                         int planes, int rows, float *sums) {
    for (int64_t k = 0; k < cols / 32; k++, x += rows * x_bytes(planes))
        for (int g = 0; g < groups; g++) {
            const struct r16_source source = {.group = w[g], .k = k};
            add_pair(type, &source, 1, x, planes, rows, 0, rows, sums + g * R16);
        }
}
#endif

/* All columns of the groups at w for any number of rows, unpacked once for all of them: added to sums[rows][2][R16]. */
INLINE void add_unpacked(struct r16_type type, const uint8_t *const *w, int64_t cols, int groups, const uint8_t *x,
                         int planes, int rows, float *sums) {
    for (int64_t k = 0; k < cols / 32; k++, x += rows * x_bytes(planes)) {
        struct r16_block block[2];
        UNROLL for (int g = 0; g < groups; g++) load_block(type, w[g], k, &block[g]);
        if (R16_GROUPS_AT_ONCE == 2)
            add_pairs(type, block, groups, x, planes, rows, sums);
        else
            for (int g = 0; g < groups; g++) add_pairs(type, &block[g], 1, x, planes, rows, sums + g * R16);
    }
}

/* `groups` is a constant, 1 or 2. */
INLINE void tile_pair(struct r16_type type, const struct r16_tile *tile, int groups, int rows, int planes) {
    _Alignas(64) float sum[PAIR_ROWS][2][R16];
    const uint8_t *w[2], *x = tile->panel;
    const int64_t cols = tile->job->w->cols;
    memset(sum, 0, (size_t)rows * sizeof *sum);
    for (int r = 0; r < rows; r++) UNROLL for (int g = 0; g < groups; g++) ask_for_output(tile, g, r);
    UNROLL for (int g = 0; g < groups; g++) w[g] = group_at(type, tile, g);
#if R16_STRAIGHT
    const bool straight = is_straight(type, rows);
    if (straight && rows == 2)
        add_straight(type, w, cols, groups, x, planes, 2, sum[0][0]);
    else if (straight && rows == 3)
        add_straight(type, w, cols, groups, x, planes, 3, sum[0][0]);
    else if (straight && rows == 4)
        add_straight(type, w, cols, groups, x, planes, 4, sum[0][0]);
    else
#endif
        add_unpacked(type, w, cols, groups, x, planes, rows, sum[0][0]);
    for (int r = 0; r < rows; r++)
        UNROLL for (int g = 0; g < groups; g++) store_tile(tile, g, r, r16_load_floats(sum[r][g]));
}

/* `count` rows of x in tiles that are as large as each other. */
INLINE int64_t rows_of_tile(struct r16_type type, int64_t count) {
    int64_t most = PAIR_ROWS;
#if R16_STRAIGHT
    if (is_straight(type, count)) most = STRAIGHT_ROWS;
#endif
    int64_t tiles = (count + most - 1) / most;
    (void)type;
    return (count + tiles - 1) / tiles;
}

/* Rows [first, last) of the weight by all rows of x, in pieces of these that stay in the second-level cache while the
 * weights go by, in two streams. */
INLINE void walk_pairs(struct r16_type type, int planes, const struct ci_matmul_job *job, int64_t first, int64_t last) {
    int64_t groups = (last - first + R16 - 1) / R16, each = (groups + 1) / 2;
    int64_t row_bytes = job->w->cols / 32 * x_bytes(planes), piece = PANEL_BYTES / row_bytes;
    struct ci_matmul_panel *packed = job->panel;
    if (piece > PAIR_ROWS) piece = piece / PAIR_ROWS * PAIR_ROWS;
    for (int64_t x_first = 0; x_first < job->rows; x_first += piece) {
        int64_t count = job->rows - x_first < piece ? job->rows - x_first : piece, most = rows_of_tile(type, count);
        bool pack = must_pack(job, count, packed);
        for (int64_t x = 0; pack && x < count; x += most)
            pack_tile(type, job, x_first + x, (int)(count - x < most ? count - x : most), planes,
                      packed->bytes + x * row_bytes);
        for (int64_t i = 0; i < each; i++)
            for (int64_t x = 0; x < count; x += most) {
                const int rows = (int)(count - x < most ? count - x : most);
                const struct r16_tile tile = {.job = job,
                                              .w_rows = {first + i * R16, first + (each + i) * R16},
                                              .x_row = x_first + x,
                                              .stored = 2,
                                              .panel = packed->bytes + x * row_bytes};
                if (each + i < groups)
                    tile_pair(type, &tile, 2, rows, planes);
                else
                    tile_pair(type, &tile, 1, rows, planes);
            }
    }
}

#endif
