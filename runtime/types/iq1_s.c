/* iq1_s: 256 numbers: half d; 32 bytes, each the lower 8 bits of the grid's pattern for eight numbers of -1, 0 or 1;
 * for 32 numbers each a word: the upper 3 bits of four patterns, 3 bits of scale, the sign of a shift of 1/8. x ~ d *
 * (2 * scale + 1) * (number +- 1/8). */
#include "types/grid.h"

#include "clkernels/types/iq1_grid.clh"

enum { COLS = 256, CODES = 2, WORDS = 34, BYTES = 50 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS / 8; i++, out += 8) {
            unsigned word = ci_grid_u16(block + WORDS + i / 4 * 2);
            unsigned pattern = iq1_grid[block[CODES + i] | (word >> (i % 4 * 3) & 7) << 8];
            float scale = d * (float)(2 * (word >> 12 & 7) + 1), shift = word & 0x8000 ? -0.125f : 0.125f;
            for (int j = 0; j < 8; j++) out[j] = scale * ((float)(pattern >> (2 * j) & 3) - 1 + shift);
        }
    }
}

static void set_size(void *block, float size) { ci_block_put_half(block, size / 6); }

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq1_s = {.name = "iq1_s",
                                      .gguf_id = 19,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .set_size = set_size,
                                      .find_not_finite = find_not_finite};
