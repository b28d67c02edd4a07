/* k_quant.h: what the formats of 256 numbers have in common. A super-block has sub-blocks of 16 or 32 numbers, each
 * with a scale (and a least number) of 4 to 8 bits, which a half of the super-block multiplies.
 *
 * "Part" is 32 of the 256 columns. */
#ifndef CI_TYPES_K_QUANT_H
#define CI_TYPES_K_QUANT_H

#include "types/r16.h"

enum { CI_K_COLS = 256, CI_K_PARTS = 8, CI_K_MOST_SUB_BLOCKS = 16, CI_K_SCALE_BYTES = 12, CI_K_PAIR_BYTES = 24 };

/* ---- quantising ---- */

/* What 256 numbers become: x ~ d * scales[s] * codes - minimum * minima[s] in sub-block s. */
struct ci_k_range {
    uint16_t d, minimum; /* halves */
    uint8_t scales[CI_K_MOST_SUB_BLOCKS], minima[CI_K_MOST_SUB_BLOCKS], codes[CI_K_COLS];
};

/* Of little squared error: codes 0..most, scales and minima 0..most_scale. */
void ci_k_fit_range(const float *source, int sub_blocks, int most, int most_scale, struct ci_k_range *fit);

/* The same without minima: x ~ d * scales[s] * (codes - zero), codes 0..2 * zero - 1, in 16 sub-blocks; scales
 * -least_scale..least_scale - 1. */
struct ci_k_signed {
    uint16_t d; /* a half */
    int8_t scales[CI_K_MOST_SUB_BLOCKS];
    uint8_t codes[CI_K_COLS];
};

void ci_k_fit_signed(const float *source, int zero, int least_scale, struct ci_k_signed *fit);

/* ---- eight scales and eight minima of 6 bits in 12 bytes, as q4_k and q5_k have them ----
 *
 * Bytes 0..3: scales 0..3, bytes 4..7: minima 0..3, 6 bits each; bytes 8..11: the lower 4 bits of scales 4..7, and of
 * minima 4..7 above them, whose upper 2 bits are the upper bits of bytes 0..3 and 4..7. */
static inline void ci_k_get_scale(const uint8_t *packed, int s, int *scale, int *minimum) {
    if (s < 4) {
        *scale = packed[s] & 63;
        *minimum = packed[s + 4] & 63;
    } else {
        *scale = (packed[s + 4] & 15) | packed[s - 4] >> 6 << 4;
        *minimum = packed[s + 4] >> 4 | packed[s] >> 6 << 4;
    }
}

/* Into bytes that are zero. */
static inline void ci_k_put_scale(uint8_t *packed, int s, int scale, int minimum) {
    if (s < 4) {
        packed[s] |= (uint8_t)scale;
        packed[s + 4] |= (uint8_t)minimum;
    } else {
        packed[s + 4] |= (uint8_t)((scale & 15) | (minimum & 15) << 4);
        packed[s - 4] |= (uint8_t)(scale >> 4 << 6);
        packed[s] |= (uint8_t)(minimum >> 4 << 6);
    }
}

/* ---- layout r16 ---- */

static inline void ci_r16_put_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }
static inline void ci_r16_or_u32(uint8_t *at, uint32_t value) { ci_r16_put_u32(at, ci_block_u32(at) | value); }

/* Two numbers of 6 bits of each of 16 rows in 24 bytes: byte `row` is the first, and above it the lower 2 bits of the
 * second; the upper 4 bits of the second are in byte 16 + row % 8, low for rows 0..7, high for rows 8..15. */
static inline void ci_r16_put_pair(uint8_t *pairs, ci_r16_bytes first, ci_r16_bytes second) {
    ci_r16_bytes upper = second >> 2;
    upper |= __builtin_shufflevector(upper, upper, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7) << 4;
    ci_r16_put_column(pairs, first | second << 6);
    memcpy(pairs + 16, &upper, 8);
}

static inline void ci_r16_get_pair(const uint8_t *pairs, int row, int *first, int *second) {
    *first = pairs[row] & 63;
    *second = pairs[row] >> 6 | (pairs[16 + row % 8] >> row / 8 * 4 & 15) << 2;
}

/* The nibbles of two parts, which lie in the lower and upper halves of 32 bytes, each as q4_0 has them; the second
 * part's plane is the one behind the first's. */
static inline void ci_r16_put_nibbles(uint8_t *plane, const uint8_t *const rows[16], int offset) {
    enum { QUADS = 4 };
    ci_r16_words low[QUADS], high[QUADS];
    for (int first = 0; first < CI_R16_ROWS; first += 4) {
        ci_r16_take_words(rows, first, offset, low);
        ci_r16_take_words(rows, first, offset + 16, high);
        for (int q = 0; q < QUADS; q++) {
            ci_r16_put_words(plane, q, first, (low[q] & 0x0f0f0f0fu) | (high[q] & 0x0f0f0f0fu) << 4);
            ci_r16_put_words(plane, QUADS + q, first, (low[q] >> 4 & 0x0f0f0f0fu) | (high[q] & 0xf0f0f0f0u));
        }
    }
}

static inline void ci_r16_get_nibbles(const uint8_t *plane, uint8_t *bytes, int shift) {
    for (int q = 0; q < 4; q++) {
        uint32_t codes = ci_block_u32(plane + q * CI_R16_QUAD_BYTES);
        ci_r16_or_u32(bytes + 4 * q, (codes & 0x0f0f0f0fu) << shift);
        ci_r16_or_u32(bytes + 16 + 4 * q, (codes >> 4 & 0x0f0f0f0fu) << shift);
    }
}

/* Four parts of two bits in 32 bytes, the first lowest: bits 2f..2f+1 of a byte of plane p are quad 4p + f. */
static inline void ci_r16_put_bit_pairs(uint8_t *plane, const uint8_t *const rows[16], int offset) {
    ci_r16_words quads[4];
    for (int first = 0; first < CI_R16_ROWS; first += 4)
        for (int p = 0; p < 2; p++) {
            ci_r16_take_words(rows, first, offset + 16 * p, quads);
            for (int part = 0; part < 4; part++) {
                ci_r16_words word = {0};
                for (int f = 0; f < 4; f++) word |= (quads[f] >> 2 * part & 0x03030303u) << 2 * f;
                ci_r16_put_words(plane, 2 * part + p, first, word);
            }
        }
}

static inline void ci_r16_get_bit_pairs(const uint8_t *plane, uint8_t *bytes, int shift) {
    for (int q = 0; q < 8; q++)
        ci_r16_or_u32(bytes + 4 * q, (ci_block_u32(plane + q / 4 * CI_R16_QUAD_BYTES) >> 2 * (q % 4) & 0x03030303u)
                                         << shift);
}

/* What q4_k and q5_k begin with, in the file and in r16: d and the minimum, then 8 pairs of scales. */
enum { CI_R16_K_MINIMUM = 32, CI_R16_K_PAIRS = 64, CI_R16_K_CODES = 256 };

/* The 16 bytes as columns: ci_k_get_scale() for all rows. */
static inline void ci_r16_put_k_scales(uint8_t *group, const uint8_t *const rows[16]) {
    ci_r16_bytes columns[16], *scales = columns + 4, *minima = columns + 8, *lower = columns + 12;
    uint8_t *pairs = group + CI_R16_K_PAIRS;
    ci_r16_put_halves(group, rows, 0);
    ci_r16_put_halves(group + CI_R16_K_MINIMUM, rows, 2);
    ci_r16_take_columns(rows, 0, columns);
    for (int s = 0; s < 4; s++) {
        ci_r16_put_pair(pairs + s * CI_K_PAIR_BYTES, scales[s] & 63, minima[s] & 63);
        ci_r16_put_pair(pairs + (s + 4) * CI_K_PAIR_BYTES, (lower[s] & 15) | scales[s] >> 6 << 4,
                        lower[s] >> 4 | minima[s] >> 6 << 4);
    }
}

/* Into bytes that are zero. */
static inline void ci_r16_get_k_scales(const uint8_t *group, int row, uint8_t *block) {
    memcpy(block, group + 2 * row, 2);
    memcpy(block + 2, group + CI_R16_K_MINIMUM + 2 * row, 2);
    for (int s = 0; s < CI_K_PARTS; s++) {
        int scale, minimum;
        ci_r16_get_pair(group + CI_R16_K_PAIRS + s * CI_K_PAIR_BYTES, row, &scale, &minimum);
        ci_k_put_scale(block + 4, s, scale, minimum);
    }
}

#endif
