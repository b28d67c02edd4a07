/* matmul_r16_glu.h: the part of matmul_r16.h for a gate and what it lets through (`up`), whose products become one
 * number as soon as they are there, and 32 of these neighbours codes.
 *
 *             gate, rows i .. i + 15    up, rows i .. i + 15        twice: 32 outputs
 *       x row 0    [ 16 sums ]              [ 16 sums ]     -> 16 numbers \
 *             ..                                                           > 32 codes and their scale
 *             rows i + 16 .. i + 31     rows i + 16 .. i + 31              |
 *       x row 0    [ 16 sums ]              [ 16 sums ]     -> 16 numbers /
 *
 * Sums of a prompt's gates and ups are the largest numbers of a layer, 36 MB for 512 tokens of a 1.5B model: written
 * to memory, each to another page, and read again to become codes of a ninth of that. Here they stay in the
 * first-level cache. They are the same bits: the same tiles, then the same functions (activations.h,
 * quantise_group.h). */
#ifndef CI_CPU_MATMUL_R16_GLU_H
#define CI_CPU_MATMUL_R16_GLU_H

/* Rows of x in a tile, at most. */
#if R16_PAIRS
enum { GLU_ROWS = PAIR_ROWS };
#else
enum { GLU_ROWS = R16_TILE_ROWS };
#endif

/* Of each half of 32 columns, of each row of x. */
struct r16_glu_sums {
    _Alignas(64) float of[2][GLU_ROWS][STREAMS][R16];
};

INLINE vf glu_vector(const struct ci_matmul_glu *glu, const struct activation *by, const float *bias, float *sums,
                     int64_t col) {
    vf gate = vf_load(sums), up = vf_load(sums + R16);
    if (bias) gate = vf_add(gate, vf_load(bias + col));
    if (glu->up_bias) up = vf_add(up, vf_load(glu->up_bias + col));
    return gated_unit(by, gate, up);
}

/* What comes next of both weights, while it is computed what no weights are needed for: with few rows of x the memory
 * would stand still. */
INLINE void ask_for_weights(const uint8_t *const *next, int part) {
    enum { BYTES = 1024 };
    UNROLL for (int g = 0; g < STREAMS; g++) UNROLL for (int line = 0; line < BYTES; line += 64)
        __builtin_prefetch(next[g] + PREFETCH_BYTES + part * BYTES + line);
}

/* 32 columns of the output from `col` on, of `rows` rows from x_row on. What is to be rounded replaces the gates, all
 * of them first: the function and the rounding are long chains, of which a core should see several. */
static void store_glu(const struct ci_matmul_job *job, int64_t x_row, int rows, int64_t col, const uint8_t *const *next,
                      struct r16_glu_sums *sums) {
    const struct ci_view *out = job->glu->out;
    const struct activation by = activation_of(job->glu->params);
    for (int h = 0; h < 2; h++)
        for (int r = 0; r < rows; r++) UNROLL for (int i = 0; i < R16; i += VF_LANES) {
                float *at = sums->of[h][r][0] + i;
                vf_store(at, glu_vector(job->glu, &by, job->bias, at, col + h * R16 + i));
            }
    ask_for_weights(next, 1);
    for (int r = 0; r < rows; r++) {
        vf group[GROUP_VECTORS];
        UNROLL for (int j = 0; j < GROUP_VECTORS; j++) group[j] =
            vf_load(sums->of[j * VF_LANES / R16][r][0] + j * VF_LANES % R16);
        quantise_group(group, out->type, codes_row(out, x_row + r), out->cols, col);
    }
}

/* 16 rows of the gate from `row` on, and those of `up`, by a tile of x. */
INLINE void tile_glu(struct r16_type type, r16_tile_function *function, int planes, struct r16_tile tile, int64_t row,
                     int rows, float *sums) {
    const struct ci_matmul_glu *glu = tile.job->glu;
    tile.w_rows[0] = row;
    tile.w_rows[1] = glu->up_first + row;
    tile.up = glu->up;
    tile.sums = sums;
    if (rows == 1) {
        function(type, &tile, 2, 1);
        return;
    }
#if R16_PAIRS
    tile_pair(type, &tile, 2, rows, planes);
#else
    (void)planes;
    run_tile(type, function, &tile, rows);
    struct ci_matmul_job up = *tile.job;
    up.w = glu->up;
    tile.job = &up;
    tile.w_rows[0] = tile.w_rows[1];
    tile.sums = sums + R16;
    run_tile(type, function, &tile, rows);
#endif
}

/* How many rows of x a tile has, of `count`, at most. */
INLINE int64_t glu_most(struct r16_type type, int64_t count) {
#if R16_PAIRS
    return rows_of_tile(type, count);
#else
    (void)type, (void)count;
    return GLU_ROWS;
#endif
}

/* And the one that begins `left` before the end. */
INLINE int glu_rows(int64_t left, int64_t most) {
#if R16_PAIRS
    return (int)(left < most ? left : most);
#else
    (void)most;
    return tile_rows(left);
#endif
}

/* Outputs [first, last), multiples of 32, of all rows of x, in pieces that stay in the second-level cache while the
 * weights go by. */
INLINE void walk_glu(struct r16_type type, r16_tile_function *function, int planes, const struct ci_matmul_job *job,
                     int64_t first, int64_t last) {
    int64_t row_bytes = job->w->cols / 32 * x_bytes(planes), piece = PANEL_BYTES / row_bytes;
    struct ci_matmul_panel *packed = job->panel;
    struct r16_glu_sums sums;
    if (piece > GLU_ROWS) piece = piece / GLU_ROWS * GLU_ROWS;
    for (int64_t x_first = 0; x_first < job->rows; x_first += piece) {
        int64_t count = job->rows - x_first < piece ? job->rows - x_first : piece;
        int64_t most = glu_most(type, count);
        bool pack = must_pack(job, count, packed);
        for (int64_t x = 0; pack && x < count; x += glu_rows(count - x, most))
            pack_tile(type, job, x_first + x, glu_rows(count - x, most), planes, packed->bytes + x * row_bytes);
        for (int64_t row = first; row < last; row += 2 * R16)
            for (int64_t x = 0; x < count; x += glu_rows(count - x, most)) {
                const int rows = glu_rows(count - x, most);
                const struct r16_tile tile = {
                    .job = job, .x_row = x_first + x, .stored = STREAMS, .panel = packed->bytes + x * row_bytes};
                for (int h = 0; h < 2; h++)
                    tile_glu(type, function, planes, tile, row + h * R16, rows, sums.of[h][0][0]);
                const struct r16_tile after = {
                    .job = job, .w_rows = {row + 2 * R16, job->glu->up_first + row + 2 * R16}, .up = job->glu->up};
                const uint8_t *const next[STREAMS] = {group_at(type, &after, 0), group_at(type, &after, 1)};
                store_glu(job, x_first + x, rows, row, next, &sums);
            }
    }
}

#endif
