/* iq3_s: 256 numbers: half d; 64 bytes, each the lower 8 bits of the grid's pattern for four sizes; 8 bytes with the
 * ninth bits of eight patterns; 32 bytes of signs; 4 bytes with a scale for 32 numbers in each nibble.
 * x ~ d * (2 * scale + 1) * size. */
#include "types/grid.h"

#include "clkernels/types/iq3_s_grid.clh"

enum { COLS = 256, CODES = 2, NINTH = 66, SIGNS = 74, SCALES = 106, BYTES = 110 };

static const uint8_t sizes[8] = {1, 3, 5, 7, 9, 11, 13, 15};

static unsigned pattern(const uint8_t *block, int i) {
    return iq3_s_grid[block[CODES + i] | (unsigned)(block[NINTH + i / 8] >> (i % 8) & 1) << 8];
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS / 8; i++, out += 8) {
            float scale = d * (float)(1 + 2 * (block[SCALES + i / 8] >> (i / 4 % 2 * 4) & 15));
            ci_grid_numbers(ci_grid_pair(pattern(block, 2 * i), pattern(block, 2 * i + 1)), 3, sizes, block[SIGNS + i],
                            scale, out);
        }
    }
}

static void set_size(void *block, float size) { ci_block_put_half(block, size / 120); }

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq3_s = {.name = "iq3_s",
                                      .gguf_id = 21,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .set_size = set_size,
                                      .find_not_finite = find_not_finite};
