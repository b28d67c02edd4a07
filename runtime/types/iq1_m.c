/* iq1_m: 256 numbers: 32 bytes, each the lower 8 bits of the grid's pattern for eight numbers of -1, 0 or 1; 16 bytes
 * with, in each nibble, the upper 3 bits of a pattern and the sign of a shift of 1/8; 4 words, each with four scales of
 * 3 bits for 16 numbers and, above, a quarter of the half d, the lowest first. x ~ d * (2 * scale + 1) * (number +-
 * 1/8).
 */
#include "types/grid.h"

#include "clkernels/types/iq1_grid.clh"

enum { COLS = 256, UPPER = 32, SCALES = 48, BYTES = 56, QUARTERS = 4 };

static uint16_t half_of(const uint8_t *block) {
    unsigned half = 0;
    for (int q = 0; q < QUARTERS; q++) half |= (unsigned)(block[SCALES + 2 * q + 1] >> 4) << (4 * q);
    return (uint16_t)half;
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_half_to_float(half_of(block));
        for (int i = 0; i < COLS / 8; i++, out += 8) {
            unsigned upper = block[UPPER + i / 2] >> (i % 2 * 4);
            unsigned pattern = iq1_grid[block[i] | (upper & 7) << 8];
            unsigned code = ci_grid_u16(block + SCALES + i / 8 * 2) >> (i / 2 % 4 * 3) & 7;
            float scale = d * (float)(2 * code + 1), shift = upper & 8 ? -0.125f : 0.125f;
            for (int j = 0; j < 8; j++) out[j] = scale * ((float)(pattern >> (2 * j) & 3) - 1 + shift);
        }
    }
}

static void set_size(void *block, float size) {
    uint8_t *scales = (uint8_t *)block + SCALES;
    unsigned half = ci_float_to_half(size / 6);
    for (int q = 0; q < QUARTERS; q++)
        scales[2 * q + 1] = (uint8_t)((scales[2 * q + 1] & 15) | (half >> (4 * q) & 15) << 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES)
        if ((half_of(block) & 0x7c00) == 0x7c00) return b;
    return blocks;
}

const struct ci_type ci_type_iq1_m = {.name = "iq1_m",
                                      .gguf_id = 29,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .set_size = set_size,
                                      .find_not_finite = find_not_finite};
