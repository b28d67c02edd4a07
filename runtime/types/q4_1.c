/* q4_1: 32 numbers of 4 bits above a least one: half d, m; 16 bytes of codes. x ~ d * code + m. */
#include "types/r16.h"

enum { COLS = 32, CODES = 4, BYTES = 20 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block), m = ci_block_half(block + 2);
        for (int i = 0; i < COLS; i++) out[i] = (float)ci_block_nibble(block + CODES, i) * d + m;
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out, codes[COLS];
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float least, most;
        ci_block_range(source, &least, &most);
        float d = (most - least) / 15.0f, inverse = d != 0 ? 1.0f / d : 0;
        for (int i = 0; i < COLS; i++) {
            int code = (int)((source[i] - least) * inverse + 0.5f);
            codes[i] = (uint8_t)(code > 15 ? 15 : code);
        }
        ci_block_put_half(block, d);
        ci_block_put_half(block + 2, least);
        ci_block_put_nibbles(block + CODES, codes);
    }
}

enum { R16_M = 32, R16_CODES = 64 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_halves(group, rows, 0);
    ci_r16_put_halves(group + R16_M, rows, 2);
    ci_r16_put_quads(group + R16_CODES, rows, CODES, 4);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memcpy(block, group + 2 * row, 2);
    memcpy(block + 2, group + R16_M + 2 * row, 2);
    ci_r16_get_quads(group + R16_CODES, row, block + CODES, 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 2);
}

const struct ci_type ci_type_q4_1 = {.name = "q4_1",
                                     .gguf_id = 3,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
