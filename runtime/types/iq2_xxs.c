/* iq2_xxs: 256 numbers: half d; for 32 each: four bytes, each the grid's pattern for eight sizes; 4 x 7 bits of signs
 * and 4 bits of scale. x ~ d * (scale + 1/2) / 4 * size. */
#include "types/grid.h"

#include "clkernels/types/iq2_xxs_grid.clh"

enum { COLS = 256, CODES = 2, BYTES = 66, PARTS = 8 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int part = 0; part < PARTS; part++) {
            const uint8_t *codes = block + CODES + 8 * part;
            uint32_t rest = ci_block_u32(codes + 4);
            float scale = d * (0.5f + (float)(rest >> 28)) * 0.25f;
            for (int i = 0; i < 4; i++, out += 8)
                ci_grid_numbers(iq2_xxs_grid[codes[i]], 2, ci_grid_sizes_2, ci_grid_signs(rest >> (7 * i)), scale, out);
        }
    }
}

static void set_size(void *block, float size) { ci_block_put_half(block, size / 50); }

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq2_xxs = {.name = "iq2_xxs",
                                        .gguf_id = 16,
                                        .block_cols = COLS,
                                        .block_bytes = BYTES,
                                        .quantised = true,
                                        .dequantise = dequantise,
                                        .set_size = set_size,
                                        .find_not_finite = find_not_finite};
