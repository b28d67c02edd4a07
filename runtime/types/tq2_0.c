/* tq2_0: 256 numbers of -1, 0 or 1: 64 bytes of codes; half d. x ~ d * (code - 1). Byte m (0..31) of a half of 128
 * columns has columns m, m + 32, m + 64, m + 96 from low to high. */
#include <math.h>

#include "types/block.h"

enum { COLS = 256, D = 64, BYTES = 66 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block + D);
        for (int i = 0; i < COLS; i++)
            out[i] = (float)((block[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3) - 1) * d;
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float d = ci_block_largest(source, COLS);
        memset(block, 0, BYTES);
        ci_block_put_half(block + D, d);
        for (int i = 0; i < COLS; i++) {
            unsigned code = (unsigned)((d > 0 ? roundf(source[i] / d) : 0) + 1);
            block[i / 128 * 32 + i % 32] |= (uint8_t)(code << (i % 128 / 32 * 2));
        }
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, D, 1);
}

const struct ci_type ci_type_tq2_0 = {.name = "tq2_0",
                                      .gguf_id = 35,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .quantise = quantise,
                                      .find_not_finite = find_not_finite};
