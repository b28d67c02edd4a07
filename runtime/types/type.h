/* type.h: number formats. One file per type, one line in type_list.inc.
 *
 * Formats of weights are those of GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). A block is
 * `block_cols` consecutive numbers of one row; a row is a whole number of blocks.
 *
 * `q8` is no file format but what activations are rounded to for integer kernels. A row of K numbers, K a multiple of
 * 32, is
 *
 *     int8 codes[K], float scale[K/32], float sum[K/32], float half_sum[K/32], padded with zeros to a multiple of 64
 * bytes
 *
 * with x ~ code * scale, scale = max|x| / 127 over 32 numbers, code = x / scale rounded to nearest, ties away from
 * zero, and sum = scale * (code_0 + ... + code_31), which is what a weight type with an offset multiplies its offset
 * with; half_sum is that of the first 16 codes, for types with two offsets in 32 columns.
 *
 * `q16` is the same with codes of 16 bits in two planes, each of them one that kernels of 8 bits multiply:
 *
 *     int8 high[32], int8 low[32] of each 32 numbers, then as above
 *
 * with code = 256 * high + low and scale = max|x| / 127 / 256. high is what q8 has as code, low what is left of it, to
 * nearest, but never +-128: kernels that take over a sign of the weight have no 128. */
#ifndef CI_TYPES_TYPE_H
#define CI_TYPES_TYPE_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CI_TYPE_NOT_IN_FILES = -1, CI_Q8_GROUP = 32, CI_Q8_ALIGNMENT = 64, CI_Q16_HIGH = 256 };

struct ci_type {
    const char *name;
    int32_t gguf_id; /* or CI_TYPE_NOT_IN_FILES */
    int block_cols;
    int block_bytes;
    bool quantised; /* several numbers share a scale: integer kernels apply */

    /* `blocks` consecutive blocks to block_cols * blocks floats; the oracle for everything else. */
    void (*dequantise)(const void *source, float *out, int64_t blocks);

    /* The reverse, rounding to nearest: activations, KV cache and test data. NULL for types whose makers weigh errors
     * by how much each number matters; for these, set_size makes a block of random bytes one of finite numbers with
     * sizes of about `size`. */
    void (*quantise)(const float *source, void *out, int64_t blocks);
    void (*set_size)(void *block, float size);

    /* The first of `blocks` blocks in which a number is not finite, `blocks`: none. What it looks at is the scales, of
     * which a file has one in 16 to 256 numbers; NULL for types that no file has. */
    int64_t (*find_not_finite)(const void *source, int64_t blocks);

    /* Layout r16, see layout.h; NULL where the type has none. A group of 16 blocks, one of each row, has exactly the
     * bytes of the 16 blocks. pack reads the block rows[i] of each of them, unpack gives back the stored block of one
     * row. */
    void (*pack_r16)(const uint8_t *const rows[16], uint8_t *group);
    void (*unpack_r16)(const uint8_t *group, int row, uint8_t *block);
};

/* One row of q8 (planes 1) or q16 (planes 2), whose codes, scales and sums lie apart, so that no single block of it
 * exists: the types' own dequantise and quantise are NULL. cols a multiple of CI_Q8_GROUP; the padding is written too.
 */
void ci_codes_from_floats(const float *source, int64_t cols, int planes, void *row);
void ci_codes_to_floats(const void *row, int planes, int64_t first_col, int64_t cols, float *out, int64_t row_cols);
static inline const float *ci_codes_scales(const void *row, int planes, int64_t cols) {
    return (const float *)(const void *)((const int8_t *)row + planes * cols);
}
static inline const float *ci_q8_scales(const void *row, int64_t cols) { return ci_codes_scales(row, 1, cols); }
static inline const float *ci_q8_sums(const void *row, int64_t cols) {
    return ci_q8_scales(row, cols) + cols / CI_Q8_GROUP;
}
static inline const float *ci_q8_half_sums(const void *row, int64_t cols) {
    return ci_q8_sums(row, cols) + cols / CI_Q8_GROUP;
}
static inline void ci_q8_from_floats(const float *source, int64_t cols, void *row) {
    ci_codes_from_floats(source, cols, 1, row);
}

/* The scale of 32 numbers in q8, and what they are multiplied with to become codes. What is not finite cannot be a
 * code: a scale that is no number carries it on, so that it is seen in the logits. Numbers too small for 1 / scale
 * become zeros. */
static inline void ci_q8_scale(float largest, bool finite, float *scale, float *inverse) {
    *scale = finite ? largest / 127.0f : NAN;
    *inverse = finite && largest > 1e-36f ? 127.0f / largest : 0.0f;
}

#define CI_TYPE(symbol) extern const struct ci_type ci_type_##symbol;
#include "types/type_list.inc"
#undef CI_TYPE

extern const struct ci_type *const ci_types[]; /* all of them; ends with NULL */

/* The planes of codes that activations in this type have; 0: it is no type of codes. */
static inline int ci_type_planes(const struct ci_type *type) {
    return type == &ci_type_q16 ? 2 : type == &ci_type_q8 ? 1 : 0;
}

/* NULL when clinfer does not run it. */
const struct ci_type *ci_type_from_gguf(uint32_t gguf_id);
const struct ci_type *ci_type_from_name(const char *name);

/* Bytes of one stored row; cols must be a whole number of blocks (ci_type_fits_cols). Handles q8 and q16. */
size_t ci_type_row_bytes(const struct ci_type *type, int64_t cols);
static inline bool ci_type_fits_cols(const struct ci_type *type, int64_t cols) {
    return cols > 0 && cols % type->block_cols == 0;
}

/* IEEE half and bfloat16, round to nearest even. */
float ci_half_to_float(uint16_t half);
uint16_t ci_float_to_half(float value);

/* Infinity as NaN. Caches of keys and values hold no infinity: one in a key can make a score of minus infinity, which
 * takes the token out of the answer and leaves no trace; a NaN shows in all that is computed with it. */
static inline uint16_t ci_half_without_infinity(uint16_t half) {
    return (uint16_t)(half | ((half & 0x7fff) == 0x7c00) << 9);
}

/* One row of keys or values for a cache of f32, f16, q8_0 or q4_0, rounded to nearest. What the type cannot hold is NaN
 * there, of block types the whole block. */
void ci_type_to_cache(const struct ci_type *type, const float *source, int64_t cols, void *row);

float ci_bf16_to_float(uint16_t value);
uint16_t ci_float_to_bf16(float value);

#endif
