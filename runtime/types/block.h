/* block.h: what the block formats have in common. Blocks lie in mapped files at any address, so every field wider than
 * a byte goes through memcpy. All formats are little endian, as are the machines that clinfer runs on. */
#ifndef CI_TYPES_BLOCK_H
#define CI_TYPES_BLOCK_H

#include <string.h>

#include "types/type.h"

enum { CI_R16_ROWS = 16, CI_R16_QUAD_BYTES = 64 };

static inline float ci_block_half(const uint8_t *at) {
    uint16_t half;
    memcpy(&half, at, sizeof half);
    return ci_half_to_float(half);
}

/* Whether one of the numbers side by side in `word` is not finite: all bits of its exponent are set. `exponent` has
 * these bits of each of them; adding the lowest then carries into the sign, and nowhere else. */
static inline bool ci_block_word_is_not_finite(uint64_t word, uint64_t exponent) {
    uint64_t lowest = exponent & ~(exponent << 1);
    return ((word & exponent) + lowest) & (exponent + lowest);
}

/* The first of `blocks` blocks of `bytes` bytes whose halves (1 or 2) at `offset` are not all finite; `blocks`: none.
 */
static inline int64_t ci_block_find_not_finite(const uint8_t *source, int64_t blocks, int bytes, int offset,
                                               int halves) {
    const uint64_t exponent = halves == 2 ? 0x7c007c00u : 0x7c00u;
    source += offset;
    for (int64_t b = 0; b < blocks; b++, source += bytes) {
        uint32_t word = 0;
        memcpy(&word, source, 2 * (size_t)halves);
        if (ci_block_word_is_not_finite(word, exponent)) return b;
    }
    return blocks;
}

/* The first of `count` plain numbers of `bytes` bytes that is not finite; `count`: none. `exponent` as above, of as
 * many as 8 bytes hold. */
static inline int64_t ci_block_find_plain(const uint8_t *source, int64_t count, int bytes, uint64_t exponent) {
    enum { WORDS = 16 };
    const int64_t at_once = WORDS * 8 / bytes;
    const uint64_t lowest = exponent & ~(exponent << 1);
    int64_t first = 0;
    for (uint64_t carries = 0; first + at_once <= count; first += at_once) {
        for (int i = 0; i < WORDS; i++) {
            uint64_t word;
            memcpy(&word, source + first * bytes + 8 * i, sizeof word);
            carries |= (word & exponent) + lowest;
        }
        if (carries & (exponent + lowest)) break;
    }
    for (; first < count; first++) {
        uint64_t word = 0;
        memcpy(&word, source + first * bytes, (size_t)bytes);
        if (ci_block_word_is_not_finite(word, exponent)) return first;
    }
    return count;
}

static inline void ci_block_put_half(uint8_t *at, float value) {
    uint16_t half = ci_float_to_half(value);
    memcpy(at, &half, sizeof half);
}

static inline uint32_t ci_block_u32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Of 32 numbers: the one farthest from zero, with its sign. */
static inline float ci_block_extreme(const float *source) {
    float largest = 0, extreme = 0;
    for (int i = 0; i < 32; i++) {
        float size = source[i] < 0 ? -source[i] : source[i];
        if (size > largest) {
            largest = size;
            extreme = source[i];
        }
    }
    return extreme;
}

static inline float ci_block_largest(const float *source, int count) {
    float largest = 0;
    for (int i = 0; i < count; i++) {
        float size = source[i] < 0 ? -source[i] : source[i];
        if (size > largest) largest = size;
    }
    return largest;
}

/* The code, 0 to 15, of the value nearest to x. */
static inline unsigned ci_block_nearest(const int8_t values[16], float x) {
    unsigned nearest = 0;
    for (unsigned code = 1; code < 16; code++)
        if (fabsf(x - (float)values[code]) < fabsf(x - (float)values[nearest])) nearest = code;
    return nearest;
}

static inline void ci_block_range(const float *source, float *least, float *most) {
    *least = *most = source[0];
    for (int i = 1; i < 32; i++) {
        if (source[i] < *least) *least = source[i];
        if (source[i] > *most) *most = source[i];
    }
}

/* Codes of 0..15 as the file has them: byte i holds column i low, column i + 16 high. */
static inline int ci_block_nibble(const uint8_t *codes, int col) {
    return col < 16 ? codes[col] & 15 : codes[col - 16] >> 4;
}

static inline void ci_block_put_nibbles(uint8_t *codes, const uint8_t values[32]) {
    for (int i = 0; i < 16; i++) codes[i] = (uint8_t)((values[i] & 15) | values[i + 16] << 4);
}

static inline void ci_block_put_fifth_bits(uint8_t *at, const uint8_t values[32]) {
    uint32_t bits = 0;
    for (int i = 0; i < 32; i++) bits |= (uint32_t)(values[i] >> 4 & 1) << i;
    memcpy(at, &bits, sizeof bits);
}

/* Layout r16 of a plane of bytes of which every row has `quads` times four (ci_r16_put_quads). */
static inline void ci_r16_get_quads(const uint8_t *plane, int row, uint8_t *bytes, int quads) {
    for (int j = 0; j < quads; j++) memcpy(bytes + j * 4, plane + j * CI_R16_QUAD_BYTES + row * 4, 4);
}

/* Layout r16 of the fifth bits of 32 columns: a quad of which bit q of byte 4 * row + (col & 3) is column 4 * q +
 * (col & 3). */
static inline void ci_r16_put_fifth_bits(uint8_t *plane, int row, uint32_t bits) {
    for (int c = 0; c < 4; c++) {
        uint32_t every_fourth = bits >> c & 0x11111111u;
        every_fourth = (every_fourth | every_fourth >> 3) & 0x03030303u;
        every_fourth = (every_fourth | every_fourth >> 6) & 0x000f000fu;
        plane[4 * row + c] = (uint8_t)(every_fourth | every_fourth >> 12);
    }
}

static inline uint32_t ci_r16_get_fifth_bits(const uint8_t *plane, int row) {
    uint32_t bits = 0;
    for (int c = 0; c < 4; c++) {
        uint32_t every_fourth = plane[4 * row + c];
        every_fourth = (every_fourth | every_fourth << 12) & 0x000f000fu;
        every_fourth = (every_fourth | every_fourth << 6) & 0x03030303u;
        every_fourth = (every_fourth | every_fourth << 3) & 0x11111111u;
        bits |= every_fourth << c;
    }
    return bits;
}

#endif
