/* q8_0: 32 signed bytes: half d; 32 codes. x ~ d * code. */
#include <math.h>

#include "types/r16.h"

enum { COLS = 32, CODES = 2, BYTES = 34 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS; i++) out[i] = (float)(int8_t)block[CODES + i] * d;
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float d = fabsf(ci_block_extreme(source)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0;
        ci_block_put_half(block, d);
        for (int i = 0; i < COLS; i++) block[CODES + i] = (uint8_t)(int8_t)roundf(source[i] * inverse);
    }
}

enum { R16_CODES = 32 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_halves(group, rows, 0);
    ci_r16_put_quads(group + R16_CODES, rows, CODES, 8);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memcpy(block, group + 2 * row, 2);
    ci_r16_get_quads(group + R16_CODES, row, block + CODES, 8);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_q8_0 = {.name = "q8_0",
                                     .gguf_id = 8,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
