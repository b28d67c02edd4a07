/* matmul_r16.h: x w^T for weights in layout r16 (types/layout.h), included once per instruction set after r16_<isa>.h,
 * which brings the 16 lanes. They are 16 rows of the weight, so that nothing is summed across lanes and 16 neighbouring
 * outputs are stored at once.
 *
 *                  32 columns = 8 quads, 64 bytes each, byte 4 * row + column
 *             quad 0          quad 1                 quad 7
 *          [r0 r0 r0 r0 r1 .. r15]  ...                           codes of the weight
 *        x [x0 x1 x2 x3 x0 .. x3 ]  ...                           four codes of x, the same for every row
 *          [ sum r0 |  ..  | r15 ]  8 times into 16 int32, then to float, times both scales
 *
 * A weight is scale * code + offset, so what a block adds is scale * scale_x * (codes . codes_x) + offset * sum_x.
 * Where the offset is a code times the scale the integer sum begins with that code times the sum of x's: a
 * multiplication less of the eleven that an AVX-512 processor's two units share. A type brings one function that
 * unpacks 32 columns. Types with a scale for 16 columns have two halves. With x in f32 each column becomes floats while
 * it is in registers: lane = row is what that needs too.
 *
 * One row of x (decode) is bound by memory: each thread walks STREAMS distant places of its share at once and
 * prefetches. With too little under way half of the bandwidth is reached; many places cost it too, since each is
 * another page of the memory. Twice 4 KB ahead was best at both speeds that a shared machine shows, 50 and 80 GB/s.
 * Several rows: a group of 16 by up to R16_TILE_ROWS rows of x, the unpacked codes used for all of them; on x86 x in q8
 * or q16 goes two groups by any number of rows (matmul_r16_pairs.h). It is packed for it first, so that a tile reads it
 * from front to back by one address. A row's result does not depend on how many there are beside it.
 * Everything is inlined with constant bounds into one function per type. */
#include <assert.h>

#include "cpu/activations.h"
#include "cpu/kernels.h"
#include "cpu/matmul.h"
#include "cpu/quantise_group.h"
#include "types/layout.h"

#include "clkernels/types/fp4_values.clh"
#include "clkernels/types/iq4_values.clh"

enum { R16 = 16, STREAMS = 2, PREFETCH_BYTES = 4096 };

/* 32 columns of 16 rows. */
struct r16_block {
    r16_quad quad[8];
    r16_float scale[2], offset[2]; /* of each half; [1] only where a type has halves; no offset of types with a zero */
    const uint8_t *nibbles;        /* where the quads come from, of types that have nothing but nibbles */
};

/* What the compiler knows of a type. */
struct r16_type {
    void (*unpack)(const uint8_t *group, int part, struct r16_block *block); /* columns 32 * part .. + 31 */
    int group_bytes, parts;                                                  /* of 16 blocks; block_cols / 32 */
    int halves;                                                              /* scales in 32 columns: 1 or 2 */
    int most; /* the largest code (15, 31 or 63, or below it), or -128 for signed bytes */
    int zero; /* the unsigned code that stands for zero, or 0 where blocks have offsets of their own */
};

/* ---- codes of so many bits (types/layout.h) ---- */

INLINE void r16_nibbles(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int j = 0; j < 4; j++) {
        r16_quad bytes = r16_load(codes + 64 * j);
        quad[j] = r16_bits(bytes, 0, 15);
        quad[j + 4] = r16_bits(bytes, 4, 15);
    }
}

INLINE void r16_fifth_bits(const uint8_t *plane, r16_quad *quad) {
    r16_quad fifth = r16_load(plane);
    UNROLL for (int q = 0; q < 8; q++) quad[q] = r16_or_bits(quad[q], fifth, q - 4, 16);
}

INLINE void r16_two_bits(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int p = 0; p < 2; p++) {
        r16_quad plane = r16_load(codes + 64 * p);
        UNROLL for (int f = 0; f < 4; f++) quad[4 * p + f] = r16_bits(plane, 2 * f, 3);
    }
}

INLINE void r16_three_bits(const uint8_t *codes, r16_quad *quad) {
    r16_quad plane[3];
    UNROLL for (int p = 0; p < 3; p++) {
        plane[p] = r16_load(codes + 64 * p);
        quad[p] = r16_bits(plane[p], 0, 7);
        quad[p + 3] = r16_bits(plane[p], 3, 7);
    }
    UNROLL for (int p = 0; p < 2; p++) quad[p + 6] = r16_or_bits(r16_bits(plane[p], 6, 3), plane[2], 4 + p, 4);
}

INLINE void r16_six_bits(const uint8_t *codes, r16_quad *quad) {
    UNROLL for (int h = 0; h < 2; h++, codes += 192, quad += 4) {
        quad[3] = r16_bits(r16_load(codes), 6, 3);
        UNROLL for (int p = 0; p < 3; p++) {
            r16_quad plane = r16_load(codes + 64 * p);
            quad[p] = r16_bits(plane, 0, 63);
            if (p > 0) quad[3] = r16_or_bits(quad[3], plane, 6 - 2 * p, 3 << 2 * p);
        }
    }
}

/* ---- types ---- */

INLINE void unpack_q4_0(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 32, block->quad);
    block->scale[0] = r16_halves(group);
}

INLINE void unpack_q4_1(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 64, block->quad);
    block->scale[0] = r16_halves(group);
    block->offset[0] = r16_halves(group + 32);
}

INLINE void unpack_q5_0(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 32, block->quad);
    r16_fifth_bits(group + 288, block->quad);
    block->scale[0] = r16_halves(group);
}

INLINE void unpack_q5_1(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 64, block->quad);
    r16_fifth_bits(group + 320, block->quad);
    block->scale[0] = r16_halves(group);
    block->offset[0] = r16_halves(group + 32);
}

INLINE void unpack_q8_0(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_bytes(group + 32, block->quad);
    block->scale[0] = r16_halves(group);
}

INLINE void k_scales(const uint8_t *group, int part, struct r16_block *block) {
    r16_pair(group + 64 + 24 * part, &block->scale[0], &block->offset[0]);
    block->scale[0] = r16_mul(block->scale[0], r16_halves(group));
    block->offset[0] = r16_mul(block->offset[0], r16_times(r16_halves(group + 32), -1));
}

INLINE void unpack_q4_k(const uint8_t *group, int part, struct r16_block *block) {
    r16_nibbles(group + 256 + 256 * part, block->quad);
    k_scales(group, part, block);
}

INLINE void unpack_q5_k(const uint8_t *group, int part, struct r16_block *block) {
    r16_nibbles(group + 256 + 256 * part, block->quad);
    r16_fifth_bits(group + 2304 + 64 * part, block->quad);
    k_scales(group, part, block);
}

/* Two scales, in `scale` by what the type takes them from. */
INLINE void two_scales(const uint8_t *d, struct r16_block *block) {
    UNROLL for (int h = 0; h < 2; h++) block->scale[h] = r16_mul(r16_halves(d), block->scale[h]);
}

INLINE void unpack_q2_k(const uint8_t *group, int part, struct r16_block *block) {
    r16_float d = r16_halves(group), minimum = r16_times(r16_halves(group + 32), -1);
    r16_two_bits(group + 320 + 128 * part, block->quad);
    UNROLL for (int h = 0; h < 2; h++) {
        r16_nibble_pair(group + 64 + 32 * part + 16 * h, &block->scale[h], &block->offset[h]);
        block->scale[h] = r16_mul(d, block->scale[h]);
        block->offset[h] = r16_mul(minimum, block->offset[h]);
    }
}

INLINE void unpack_q3_k(const uint8_t *group, int part, struct r16_block *block) {
    r16_three_bits(group + 224 + 192 * part, block->quad);
    r16_pair(group + 32 + 24 * part, &block->scale[0], &block->scale[1]);
    UNROLL for (int h = 0; h < 2; h++) block->scale[h] = r16_add(block->scale[h], r16_set(-32));
    two_scales(group, block);
}

INLINE void unpack_q6_k(const uint8_t *group, int part, struct r16_block *block) {
    r16_six_bits(group + 288 + 384 * part, block->quad);
    UNROLL for (int h = 0; h < 2; h++) block->scale[h] = r16_from_i8((const int8_t *)group + 32 + 32 * part + 16 * h);
    two_scales(group, block);
}

/* The values of iq4_nl and iq4_xs are signed bytes, as q8_0's codes are. */
static const int8_t iq4_values[16] = {IQ4_VALUES}, fp4_values[16] = {FP4_VALUES};

INLINE void unpack_iq4_nl(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 32, block->quad);
    r16_look_up(iq4_values, -R16_BYTE_OFFSET, block->quad);
    block->scale[0] = r16_halves(group);
}

/* Two rows each, as bytes have no shifts of their own. */
typedef uint16_t r16_row_pairs __attribute__((vector_size(16)));

/* `mask` of what lies n bits up in each of 16 bytes. */
INLINE r16_row_pairs r16_byte_bits(const uint8_t *at, int n, int mask) {
    r16_row_pairs bytes;
    memcpy(&bytes, at, sizeof bytes);
    return bytes >> n & (uint16_t)(mask | mask << 8);
}

INLINE void unpack_iq4_xs(const uint8_t *group, int part, struct r16_block *block) {
    r16_row_pairs scales = r16_byte_bits(group + 64 + 16 * (part / 2), part % 2 * 4, 15) |
                           r16_byte_bits(group + 32 + 16 * (part / 4), part % 4 * 2, 3) << 4;
    r16_nibbles(group + 128 + 256 * part, block->quad);
    r16_look_up(iq4_values, -R16_BYTE_OFFSET, block->quad);
    block->scale[0] = r16_add(r16_from_i8((const int8_t *)&scales), r16_set(-32));
    block->scale[0] = r16_mul(r16_halves(group), block->scale[0]);
}

/* Values are counted from -12. */
INLINE void unpack_mxfp4(const uint8_t *group, int part, struct r16_block *block) {
    (void)part;
    r16_nibbles(group + 16, block->quad);
    r16_look_up(fp4_values, 12, block->quad);
    block->scale[0] = r16_times(r16_powers_of_two(group), 0.5f);
}

/* ---- what both kinds of x have in common ---- */

/* `groups` groups of weights, the first rows of which are w_rows, by `rows` rows of x from x_row. Only `stored` groups
 * are written: with fewer at hand than the kernel takes, one is given twice. */
struct r16_tile {
    const struct ci_matmul_job *job;
    int64_t w_rows[STREAMS], x_row;
    int stored;
    const uint8_t *panel;     /* x in q8 or q16: these rows (pack_tile) */
    const struct ci_view *up; /* the weight of the second group; NULL: the job's */
    float *sums;              /* [rows][STREAMS][R16]: where sums go in place of the output; NULL: to that */
};

/* Types whose codes are nibbles, or six bits, and nothing else. */
INLINE bool is_nibbles(struct r16_type type) { return type.most == 15; }
INLINE bool is_six_bits(struct r16_type type) { return type.most == 63; }

/* Where those of part `part` begin: they lie at the end of a group. */
INLINE const uint8_t *codes_of(struct r16_type type, const uint8_t *group, int part) {
    return group + type.group_bytes - (is_nibbles(type) ? 16 : 24) * R16 * (type.parts - part);
}

INLINE const uint8_t *group_at(struct r16_type type, const struct r16_tile *tile, int g) {
    const struct ci_view *w = g == 1 && tile->up ? tile->up : tile->job->w;
    size_t row_bytes = (size_t)(tile->job->w->cols / (32 * type.parts)) * (size_t)type.group_bytes / R16;
    return (const uint8_t *)w->data + (size_t)tile->w_rows[g] * row_bytes;
}

/* Part `part` of block b of what lies at w. */
INLINE void load_part(struct r16_type type, const uint8_t *w, int64_t b, int part, struct r16_block *block) {
    const uint8_t *group = w + (size_t)b * (size_t)type.group_bytes;
    int bytes = type.group_bytes / type.parts;
    UNROLL for (int line = 0; line < bytes; line += 64)
        __builtin_prefetch(group + part * bytes + PREFETCH_BYTES + line);
    type.unpack(group, part, block);
    if (is_nibbles(type)) block->nibbles = codes_of(type, group, part);
}

/* Columns 32 * k .. of it. */
INLINE void load_block(struct r16_type type, const uint8_t *w, int64_t k, struct r16_block *block) {
    load_part(type, w, k / type.parts, (int)(k % type.parts), block);
}

INLINE void store_tile(const struct r16_tile *tile, int g, int r, r16_float value) {
    const struct ci_matmul_job *job = tile->job;
    int64_t left = job->w->rows - tile->w_rows[g], at = ci_matmul_output(job, tile->x_row + r) + tile->w_rows[g];
    int n = left < R16 ? (int)left : R16;
    if (tile->sums) {
        r16_store_some(tile->sums + (r * STREAMS + g) * R16, value, R16);
        return;
    }
    if (job->bias) value = r16_add(value, r16_load_some(job->bias + tile->w_rows[g], n));
    if (job->addend) value = r16_add(value, r16_load_some(job->addend + at, n));
    r16_store_some(job->out + at, value, n);
}

/* What store_tile() writes, long before: else the stores, each to another page, wait for the memory. */
INLINE void ask_for_output(const struct r16_tile *tile, int g, int r) {
    const struct ci_matmul_job *job = tile->job;
    int64_t at = ci_matmul_output(job, tile->x_row + r) + tile->w_rows[g];
    if (tile->sums) return;
    if (job->addend) __builtin_prefetch(job->addend + at);
    __builtin_prefetch(job->out + at, 1);
}

/* ---- x in q8 and q16 ---- */

/* 32 columns of a tile's rows of x as it reads them: the codes of each row, then the scales of all, then of each half
 * what the products of codes begin with, of each plane, or what an offset is multiplied with. A panel has room for all
 * columns of one row. */
enum { PANEL_BYTES = sizeof((struct ci_matmul_panel *)NULL)->bytes };
INLINE int x_bytes(int planes) { return planes * CI_Q8_GROUP + 4 * (1 + 2 * planes); }
static_assert(CI_R16_MOST_COLS / 32 * (2 * CI_Q8_GROUP + 20) <= PANEL_BYTES, "a row that is longer than a panel");

/* Of the types whose zero is a code, what a product of codes begins with: -zero times the sum of x's codes, as the
 * instruction set has it. */
INLINE bool begins(struct r16_type type) { return type.zero && (type.most != -128 || R16_BYTE_OFFSET != 0); }

INLINE void put_starts(struct r16_type type, const uint8_t *codes, int planes, int rows, uint8_t *numbers) {
    for (int plane = 0; plane < planes; plane++) {
        int32_t starts[2];
        r16_starts(codes + plane * CI_Q8_GROUP, type.zero, type.halves, starts);
        for (int h = 0; h < type.halves; h++) memcpy(numbers + 4 * rows * (1 + h * planes + plane), &starts[h], 4);
    }
}

/* `rows` rows of x from x_row on. */
INLINE void pack_tile(struct r16_type type, const struct ci_matmul_job *job, int64_t x_row, int rows, int planes,
                      uint8_t *panel) {
    int64_t x_cols = job->x->cols, groups = x_cols / 32;
    for (int r = 0; r < rows; r++) {
        int64_t first_col, row = ci_matmul_input(job, x_row + r, &first_col);
        const uint8_t *start = (const uint8_t *)job->x->data + (size_t)row * ci_type_row_bytes(job->x->type, x_cols);
        const uint8_t *codes = start + planes * first_col;
        const float *scales = ci_codes_scales(start, planes, x_cols) + first_col / 32;
        uint8_t *at = panel;
        for (int64_t k = 0; k < job->w->cols / 32; k++, codes += planes * 32, at += rows * x_bytes(planes)) {
            uint8_t *numbers = at + rows * planes * 32 + r * 4;
            memcpy(at + r * planes * 32, codes, (size_t)planes * 32);
            memcpy(numbers, &scales[k], 4);
            if (begins(type))
                put_starts(type, codes, planes, rows, numbers);
            else
                for (int h = 0; h < type.halves; h++)
                    memcpy(numbers + 4 * rows * (1 + h), &scales[(h + 1) * groups + k], 4);
        }
    }
}

/* Where the numbers of row r of `rows` lie, for 32 columns: sums of x or what products of codes begin with, each
 * `rows` apart. */
typedef float __attribute__((may_alias)) panel_float;
struct r16_row {
    const uint8_t *codes;
    const panel_float *scale, *sums;
    const panel_int *starts;
};

INLINE struct r16_row row_at(const uint8_t *x, int planes, int rows, int r) {
    const void *scale = x + planes * 32 * rows + 4 * r, *sums = (const uint8_t *)scale + 4 * rows;
    return (struct r16_row){x + planes * 32 * r, scale, sums, sums};
}

/* Each plane has exact sums, of which only what both give is rounded. */
INLINE r16_float join_planes(r16_float high, r16_float low) { return r16_fma(high, r16_set(CI_Q16_HIGH), low); }

/* One plane of half h of 32 columns, of row r of `rows` and those behind it. */
INLINE struct r16_codes codes_at(struct r16_type type, const uint8_t *x, int planes, int rows, int r, int h,
                                 int plane) {
    const struct r16_row row = row_at(x, planes, rows, r);
    return (struct r16_codes){.codes = row.codes + plane * CI_Q8_GROUP + 16 * h,
                              .stride = planes * CI_Q8_GROUP,
                              .starts = begins(type) ? row.starts + (h * planes + plane) * rows : NULL};
}

/* What 32 columns of 16 rows of the weight give for a row of x, whose products of codes are `dots`, of each half. Of
 * two halves the sum of x in the second one is that of both less that in the first. */
INLINE r16_float add_dots(struct r16_type type, const struct r16_block *block, const r16_float *dots,
                          const struct r16_row *x, int rows, r16_float sum) {
    bool has_offset = type.zero == 0;
    if (type.halves == 1) {
        sum = r16_fma(dots[0], r16_times(block->scale[0], *x->scale), sum);
        return has_offset ? r16_fma_scalar(block->offset[0], x->sums[0], sum) : sum;
    }
    r16_float both = r16_fma(dots[1], block->scale[1], r16_mul(dots[0], block->scale[0]));
    sum = r16_fma_scalar(both, *x->scale, sum);
    if (!has_offset) return sum;
    sum = r16_fma_scalar(block->offset[1], x->sums[0], sum);
    return r16_fma_scalar(r16_sub(block->offset[0], block->offset[1]), x->sums[rows], sum);
}

/* Row r of `rows` in a tile, 32 columns of it, with what was unpacked. */
INLINE r16_float add_block(struct r16_type type, const struct r16_block *block, const uint8_t *x, int planes, int rows,
                           int r, r16_float sum) {
    const struct r16_row row = row_at(x, planes, rows, r);
    const int count = 8 / type.halves;
    r16_float dots[2], of_plane[2];
#if R16_NIBBLES
    if (rows == 1 && is_nibbles(type)) {
        struct r16_codes codes[2];
        UNROLL for (int plane = 0; plane < planes; plane++) codes[plane] = codes_at(type, x, planes, 1, 0, 0, plane);
        r16_dot_nibbles(codes, planes, block->nibbles, of_plane);
        dots[0] = planes == 2 ? join_planes(of_plane[0], of_plane[1]) : of_plane[0];
        return add_dots(type, block, dots, &row, 1, sum);
    }
#endif
    UNROLL for (int h = 0; h < type.halves; h++) {
        UNROLL for (int plane = 0; plane < planes; plane++) {
            const struct r16_codes codes = codes_at(type, x, planes, rows, r, h, plane);
            of_plane[plane] = r16_dot(&codes, block->quad + h * count, count, type.most, type.zero);
        }
        dots[h] = planes == 2 ? join_planes(of_plane[0], of_plane[1]) : of_plane[0];
    }
    return add_dots(type, block, dots, &row, rows, sum);
}

INLINE void tile_codes(struct r16_type type, const struct r16_tile *tile, int groups, int rows, int planes) {
    const uint8_t *w[STREAMS], *x = tile->panel;
    r16_float sum[STREAMS][R16_TILE_ROWS];
    UNROLL for (int g = 0; g < groups; g++) {
        w[g] = group_at(type, tile, g);
        UNROLL for (int r = 0; r < rows; r++) sum[g][r] = r16_zero();
    }
    for (int64_t b = 0; b < tile->job->w->cols / 32 / type.parts; b++)
        for (int part = 0; part < type.parts; part++, x += rows * x_bytes(planes))
            UNROLL for (int g = 0; g < groups; g++) {
                struct r16_block block;
                load_part(type, w[g], b, part, &block);
                UNROLL for (int r = 0; r < rows; r++) sum[g][r] =
                    add_block(type, &block, x, planes, rows, r, sum[g][r]);
            }
    UNROLL for (int g = 0; g < groups; g++) {
        if (g >= tile->stored) break;
        UNROLL for (int r = 0; r < rows; r++) store_tile(tile, g, r, sum[g][r]);
    }
}

INLINE void tile_q8(struct r16_type type, const struct r16_tile *tile, int groups, int rows) {
    tile_codes(type, tile, groups, rows, 1);
}
INLINE void tile_q16(struct r16_type type, const struct r16_tile *tile, int groups, int rows) {
    tile_codes(type, tile, groups, rows, 2);
}

/* ---- x in f32 ---- */

INLINE void tile_f32(struct r16_type type, const struct r16_tile *tile, int groups, int rows) {
    int64_t cols = tile->job->w->cols;
    const float *x[R16_TILE_ROWS];
    const uint8_t *w[STREAMS];
    r16_float sum[STREAMS][R16_TILE_ROWS];
    UNROLL for (int r = 0; r < rows; r++) {
        int64_t first_col, row = ci_matmul_input(tile->job, tile->x_row + r, &first_col);
        x[r] = (const float *)tile->job->x->data + row * tile->job->x->cols + first_col;
    }
    UNROLL for (int g = 0; g < groups; g++) {
        w[g] = group_at(type, tile, g);
        UNROLL for (int r = 0; r < rows; r++) sum[g][r] = r16_zero();
    }
    for (int64_t k = 0; k < cols / 32; k++) {
        UNROLL for (int g = 0; g < groups; g++) {
            struct r16_block block;
            load_block(type, w[g], k, &block);
            if (type.zero)
                UNROLL for (int h = 0; h < type.halves; h++) block.offset[h] =
                    r16_times(block.scale[h], (float)(type.most == -128 ? R16_BYTE_OFFSET : -type.zero));
            /* Not unrolled, for the sake of the instruction cache. */
            _Pragma("GCC unroll 1") for (int q = 0; q < 8; q++) {
                r16_float scale = block.scale[type.halves == 2 ? q / 4 : 0];
                r16_float offset = block.offset[type.halves == 2 ? q / 4 : 0];
                UNROLL for (int c = 0; c < 4; c++) {
                    r16_float weight = r16_fma(r16_column(block.quad[q], c), scale, offset);
                    UNROLL for (int r = 0; r < rows; r++) sum[g][r] =
                        r16_fma_scalar(weight, x[r][32 * k + 4 * q + c], sum[g][r]);
                }
            }
        }
    }
    UNROLL for (int g = 0; g < groups; g++) {
        if (g >= tile->stored) break;
        UNROLL for (int r = 0; r < rows; r++) store_tile(tile, g, r, sum[g][r]);
    }
}

/* ---- dividing a share into tiles ---- */

typedef void r16_tile_function(struct r16_type type, const struct r16_tile *tile, int groups, int rows);

/* Whether `count` rows from x_first on must be packed: not where an earlier part did it, and had room for all rows. */
INLINE bool must_pack(const struct ci_matmul_job *job, int64_t count, struct ci_matmul_panel *panel) {
    bool full = panel->full;
    panel->full = count == job->rows;
    return !full;
}

/* Decode: one row of x, STREAMS places of the share at once. `planes` of codes; 0: floats. */
INLINE void walk_streams(struct r16_type type, r16_tile_function *function, int planes, const struct ci_matmul_job *job,
                         int64_t first, int64_t last) {
    int64_t groups = (last - first + R16 - 1) / R16, each = groups / STREAMS, rest = groups % STREAMS;
    struct ci_matmul_panel *packed = job->panel;
    struct r16_tile tile = {.job = job, .stored = STREAMS, .panel = packed->bytes};
    if (planes && must_pack(job, 1, packed)) pack_tile(type, job, 0, 1, planes, packed->bytes);
    for (int64_t i = 0; i < each + (rest > 0); i++) {
        for (int s = 0; s < STREAMS; s++) {
            int64_t group = i < each ? s * each + i : STREAMS * each + (s < rest ? s : 0);
            tile.w_rows[s] = first + group * R16;
        }
        if (i == each) tile.stored = (int)rest;
        function(type, &tile, STREAMS, 1);
    }
}

/* How many rows of x the next tile has. */
INLINE int tile_rows(int64_t left) {
    int rows = R16_TILE_ROWS;
    while (rows > left) rows /= 2;
    return rows;
}

/* For tiles of constant size. */
INLINE void run_tile(struct r16_type type, r16_tile_function *function, const struct r16_tile *tile, int rows) {
    if (R16_TILE_ROWS >= 16 && rows == 16)
        function(type, tile, 1, 16);
    else if (R16_TILE_ROWS >= 8 && rows == 8)
        function(type, tile, 1, 8);
    else if (rows == 4)
        function(type, tile, 1, 4);
    else if (rows == 2)
        function(type, tile, 1, 2);
    else
        function(type, tile, 1, 1);
}

/* Several rows of x, in pieces that stay in the second-level cache while the weights go by. */
INLINE void walk_blocks(struct r16_type type, r16_tile_function *function, int planes, const struct ci_matmul_job *job,
                        int64_t first, int64_t last) {
    int64_t rows = job->rows, row_bytes = planes ? job->w->cols / 32 * x_bytes(planes) : job->w->cols * 4;
    int64_t piece = PANEL_BYTES / row_bytes;
    struct ci_matmul_panel *packed = job->panel;
    if (piece > R16_TILE_ROWS) piece = piece / R16_TILE_ROWS * R16_TILE_ROWS;
    if (piece < 1) piece = 1;
    for (int64_t x_first = 0; x_first < rows; x_first += piece) {
        int64_t x_last = x_first + piece < rows ? x_first + piece : rows;
        bool pack = planes && must_pack(job, x_last - x_first, packed);
        for (int64_t x = x_first; pack && x < x_last; x += tile_rows(x_last - x))
            pack_tile(type, job, x, tile_rows(x_last - x), planes, packed->bytes + (x - x_first) * row_bytes);
        for (int64_t row = first; row < last; row += R16)
            for (int64_t x = x_first; x < x_last; x += tile_rows(x_last - x)) {
                const struct r16_tile tile = {.job = job,
                                              .w_rows = {row},
                                              .x_row = x,
                                              .stored = 1,
                                              .panel = packed->bytes + (x - x_first) * row_bytes};
                run_tile(type, function, &tile, tile_rows(x_last - x));
            }
    }
}

#if R16_PAIRS
#include "cpu/matmul_r16_pairs.h"
#endif

#include "cpu/matmul_r16_glu.h"

INLINE void walk_several(struct r16_type type, r16_tile_function *function, int planes, const struct ci_matmul_job *job,
                         int64_t first, int64_t last) {
#if R16_PAIRS
    if (planes) {
        walk_pairs(type, planes, job, first, last);
        return;
    }
#endif
    walk_blocks(type, function, planes, job, first, last);
}

enum { PLANES_f32, PLANES_q8, PLANES_q16 };

#if R16_TURNS
#define R16_MATMUL_SHARE ci_matmul_turns
#define R16_GLU_SHARE ci_glu_turns
#else
#define R16_MATMUL_SHARE ci_matmul_share
#define R16_GLU_SHARE ci_glu_share
#endif

#define KERNEL(name, kind)                                                                                             \
    static void part_##kind##_##name(const struct ci_matmul_job *job, int64_t first, int64_t last) {                   \
        if (job->rows == 1)                                                                                            \
            walk_streams(type_##name, tile_##kind, PLANES_##kind, job, first, last);                                   \
        else                                                                                                           \
            walk_several(type_##name, tile_##kind, PLANES_##kind, job, first, last);                                   \
    }                                                                                                                  \
    void R16_NAME(ci_cpu_matmul_##kind##_##name##_r16)(const struct ci_call *call, int thread, int threads) {          \
        struct ci_matmul_panel panel;                                                                                  \
        R16_MATMUL_SHARE(call, thread, threads, R16, &panel, part_##kind##_##name);                                    \
    }                                                                                                                  \
    void R16_NAME(ci_cpu_matmul_experts_##kind##_##name##_r16)(const struct ci_call *call, int thread, int threads) {  \
        struct ci_matmul_panel panel;                                                                                  \
        ci_experts_share(call, thread, threads, R16, &panel, part_##kind##_##name);                                    \
    }

/* A gate and what it lets through, rounded to codes; x in q8 and q16. */
#define GLU_KERNEL(name, kind)                                                                                         \
    static void glu_##kind##_##name(const struct ci_matmul_job *job, int64_t first, int64_t last) {                    \
        walk_glu(type_##name, tile_##kind, PLANES_##kind, job, first, last);                                           \
    }                                                                                                                  \
    void R16_NAME(ci_cpu_matmul_glu_##kind##_##name##_r16)(const struct ci_call *call, int thread, int threads) {      \
        struct ci_matmul_panel panel;                                                                                  \
        R16_GLU_SHARE(call, thread, threads, 2 * R16, &panel, glu_##kind##_##name);                                    \
    }

#define CI_R16_TYPE(name, bytes, parts, halves, most, zero)                                                            \
    static const struct r16_type type_##name = {unpack_##name, bytes, parts, halves, most, zero};                      \
    KERNEL(name, q8)                                                                                                   \
    KERNEL(name, q16)                                                                                                  \
    GLU_KERNEL(name, q8)                                                                                               \
    GLU_KERNEL(name, q16)                                                                                              \
    KERNEL(name, f32)
#include "cpu/r16_list.inc"
#undef CI_R16_TYPE
