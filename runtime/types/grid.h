/* grid.h: the formats that look up four or eight numbers at once in a grid, a table of the patterns that occur. The
 * grids lie in clkernels/types/<name>_grid.clh, which OpenCL reads too: patterns of codes, two bits for each of eight
 * numbers or three for each of four, the first lowest. Signs are a byte for eight numbers, or seven bits of it, the
 * eighth being such that their number is even. */
#ifndef CI_TYPES_GRID_H
#define CI_TYPES_GRID_H

#include "types/block.h"

#define GRID(name, count) static const uint16_t name##_grid[count]

static inline uint16_t ci_grid_u16(const uint8_t *at) {
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline unsigned ci_grid_signs(unsigned seven) {
    return (seven & 127) | (unsigned)__builtin_parity(seven & 127) << 7;
}

/* Eight numbers: the sizes that codes of `bits` bits stand for, with their signs, times `scale`. */
static inline void ci_grid_numbers(uint32_t codes, int bits, const uint8_t *sizes, unsigned signs, float scale,
                                   float *out) {
    for (int i = 0; i < 8; i++) {
        int size = sizes[codes >> (bits * i) & ((1u << bits) - 1)];
        out[i] = scale * (float)(signs >> i & 1 ? -size : size);
    }
}

/* Of 2-bit formats, and of 3-bit ones, where a pattern has four. */
static const uint8_t ci_grid_sizes_2[4] = {8, 25, 43, 0};

static inline uint32_t ci_grid_pair(unsigned first, unsigned second) { return first | (uint32_t)second << 12; }

#endif
