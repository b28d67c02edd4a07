/* layout.h: in which order the blocks of a matrix lie in memory. Layouts are values: every one comes with pack, and
 * with row access for kernels that know none of it, so that a tensor is never stored twice.
 *
 *   stored   as in the file, row by row.
 *   r16      16 rows interleaved, for kernels whose 16 lanes are 16 rows (no sums across lanes). Rows are padded with
 *            zeros to a multiple of 16. Group g, block b lies at (g * blocks_per_row + b) * 16 * block_bytes. What 16
 *            blocks hold is reordered into planes. Notation: "quad q" is columns 4q..4q+3 of a 32-column block of 16
 *            rows: 64 bytes, byte 4 * row + (col & 3). A block of 256 columns has 8 parts of 32.
 *              q4_0  half d[16]; 4 x 64 bytes: low nibbles quad j, high nibbles quad j + 4 (j = 0..3)        288 bytes
 *              q4_1  half d[16], m[16]; codes as q4_0                                                        320 bytes
 *              q5_0  half d[16]; codes as q4_0; 64 bytes: bit q of byte is the fifth bit of quad q           352 bytes
 *              q5_1  half d[16], m[16]; codes and fifth bits as q5_0                                         384 bytes
 *              q8_0  half d[16]; 8 x 64 bytes: int8 codes of quad j (j = 0..7)                               544 bytes
 *              q2_k  half d[16], minimum[16]; 8 x 2 x 16 bytes: 4-bit scale and, above it, minimum of each half
 *                    of a part; codes of 8 parts in two planes: bits 2f..2f+1 of plane p are quad 4p + f    1344 bytes
 *              q3_k  half d[16]; 8 x 24 bytes: scales of the halves of a part (types/k_quant.h); codes of 8
 *                    parts in three planes: bits 0..2 of plane p are quad p, bits 3..5 quad p + 3, bits
 *                    6..7 of plane 0 and 1 the lower bits of quads 6 and 7, of plane 2 their third bits     1760 bytes
 *              q4_k  half d[16], minimum[16]; 8 x 24 bytes: scale and minimum of a part (types/k_quant.h);
 *                    codes of 8 parts as q4_0                                                               2304 bytes
 *              q5_k  as q4_k; fifth bits of 8 parts as q5_0                                                 2816 bytes
 *              iq4_nl as q4_0                                                                                288 bytes
 *              mxfp4 uint8 e[16]; codes as q4_0                                                              272 bytes
 *              iq4_xs half d[16]; 2 x 16 bytes: upper bits of the scales of parts 0..3 and 4..7; 4 x 16 bytes:
 *                    lower bits, of two parts each; codes of 8 parts as q4_0                                2176 bytes
 *              q6_k  half d[16]; 8 x 2 x 16 bytes: int8 scales of the halves of a part; codes of 16 halves of
 *                    parts in three planes: bits 0..5 of plane p are quad p of the half, bits 6..7 bits
 *                    2p..2p+1 of quad 3                                                                     3360 bytes
 */
#ifndef CI_TYPES_LAYOUT_H
#define CI_TYPES_LAYOUT_H

#include "tensor/tensor.h"
#include "types/type.h"

struct ci_layout {
    const char *name;
    int group_rows; /* rows that lie interleaved */
};

extern const struct ci_layout ci_layout_stored, ci_layout_r16;
extern const struct ci_layout *const ci_layouts[]; /* all of them; ends with NULL */

/* NULL: no such layout. */
const struct ci_layout *ci_layout_from_name(const char *name);

/* Whether the type has this layout for a matrix of so many columns. */
bool ci_layout_fits(const struct ci_layout *layout, const struct ci_type *type, int64_t cols);

/* Bytes of the whole matrix, rows padded to group_rows. */
size_t ci_layout_bytes(const struct ci_layout *layout, const struct ci_type *type, int64_t rows, int64_t cols);

/* Packs rows [first, last) (first a multiple of group_rows) of `stored` into the same rows of `packed`. Threads may
 * share. */
void ci_layout_pack(const struct ci_layout *layout, const struct ci_type *type, int64_t rows, int64_t cols,
                    const void *stored, void *packed, int64_t first, int64_t last);

/* One row as stored. */
void ci_layout_unpack_row(const struct ci_layout *layout, const struct ci_type *type, int64_t cols, const void *packed,
                          int64_t row, void *stored_row);

/* A view of so many rows and columns in the stored layout, extent FIXED, without bytes yet. */
static inline void ci_view_set(struct ci_view *view, const struct ci_type *type, int64_t rows, int64_t cols) {
    *view = (struct ci_view){.type = type, .layout = &ci_layout_stored, .rows = rows, .cols = cols};
}

/* One row of a view as floats [view->cols], whatever its type and layout. */
void ci_view_row(const struct ci_view *view, int64_t row, float *out);

/* Columns [first, first + count) of one row as floats; both multiples of the type's block. */
void ci_view_part(const struct ci_view *view, int64_t row, int64_t first, int64_t count, float *out);

/* The same for any columns. */
void ci_view_columns(const struct ci_view *view, int64_t row, int64_t first, int64_t count, float *out);

#endif
