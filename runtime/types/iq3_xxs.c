/* iq3_xxs: 256 numbers: half d; 64 bytes, each the grid's pattern for four sizes; for 32 numbers each 4 x 7 bits of
 * signs and 4 bits of scale. x ~ d * (scale + 1/2) / 2 * size. */
#include "types/grid.h"

#include "clkernels/types/iq3_xxs_grid.clh"

enum { COLS = 256, CODES = 2, REST = 66, BYTES = 98 };

static const uint8_t sizes[8] = {4, 12, 20, 28, 36, 44, 52, 62};

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS / 8; i++, out += 8) {
            const uint8_t *codes = block + CODES + 2 * i;
            uint32_t rest = ci_block_u32(block + REST + i / 4 * 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.5f;
            ci_grid_numbers(ci_grid_pair(iq3_xxs_grid[codes[0]], iq3_xxs_grid[codes[1]]), 3, sizes,
                            ci_grid_signs(rest >> (i % 4 * 7)), scale, out);
        }
    }
}

static void set_size(void *block, float size) { ci_block_put_half(block, size / 120); }

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq3_xxs = {.name = "iq3_xxs",
                                        .gguf_id = 18,
                                        .block_cols = COLS,
                                        .block_bytes = BYTES,
                                        .quantised = true,
                                        .dequantise = dequantise,
                                        .set_size = set_size,
                                        .find_not_finite = find_not_finite};
