/* iq2_s: 256 numbers: half d; 32 bytes, each the lower 8 bits of the grid's pattern for eight sizes; 32 bytes of signs;
 * 8 bytes with the upper 2 bits of four patterns; 8 bytes with a scale for 16 numbers in each nibble. x ~ d * (scale +
 * 1/2) / 4 * size. */
#include "types/grid.h"

#include "clkernels/types/iq2_s_grid.clh"

enum { COLS = 256, CODES = 2, SIGNS = 34, UPPER = 66, SCALES = 74, BYTES = 82 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS / 8; i++, out += 8) {
            unsigned pattern = block[CODES + i] | (unsigned)(block[UPPER + i / 4] >> (i % 4 * 2) & 3) << 8;
            float scale = d * (0.5f + (float)(block[SCALES + i / 4] >> (i / 2 % 2 * 4) & 15)) * 0.25f;
            ci_grid_numbers(iq2_s_grid[pattern], 2, ci_grid_sizes_2, block[SIGNS + i], scale, out);
        }
    }
}

static void set_size(void *block, float size) { ci_block_put_half(block, size / 50); }

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq2_s = {.name = "iq2_s",
                                      .gguf_id = 22,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .set_size = set_size,
                                      .find_not_finite = find_not_finite};
