/* q5_1: 32 numbers of 5 bits above a least one: half d, m; 32 fifth bits; 16 bytes of lower bits. x ~ d * code + m. */
#include "types/r16.h"

enum { COLS = 32, FIFTH = 4, CODES = 8, BYTES = 24 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block), m = ci_block_half(block + 2);
        uint32_t fifth = ci_block_u32(block + FIFTH);
        for (int i = 0; i < COLS; i++) {
            int code = ci_block_nibble(block + CODES, i) | (int)(fifth >> i & 1) << 4;
            out[i] = (float)code * d + m;
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out, codes[COLS];
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float least, most;
        ci_block_range(source, &least, &most);
        float d = (most - least) / 31.0f, inverse = d != 0 ? 1.0f / d : 0;
        for (int i = 0; i < COLS; i++) {
            int code = (int)((source[i] - least) * inverse + 0.5f);
            codes[i] = (uint8_t)(code > 31 ? 31 : code);
        }
        ci_block_put_half(block, d);
        ci_block_put_half(block + 2, least);
        ci_block_put_fifth_bits(block + FIFTH, codes);
        ci_block_put_nibbles(block + CODES, codes);
    }
}

enum { R16_M = 32, R16_CODES = 64, R16_FIFTH = 320 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_halves(group, rows, 0);
    ci_r16_put_halves(group + R16_M, rows, 2);
    ci_r16_put_quads(group + R16_CODES, rows, CODES, 4);
    for (int row = 0; row < CI_R16_ROWS; row++)
        ci_r16_put_fifth_bits(group + R16_FIFTH, row, ci_block_u32(rows[row] + FIFTH));
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    uint32_t fifth = ci_r16_get_fifth_bits(group + R16_FIFTH, row);
    memcpy(block, group + 2 * row, 2);
    memcpy(block + 2, group + R16_M + 2 * row, 2);
    memcpy(block + FIFTH, &fifth, sizeof fifth);
    ci_r16_get_quads(group + R16_CODES, row, block + CODES, 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 2);
}

const struct ci_type ci_type_q5_1 = {.name = "q5_1",
                                     .gguf_id = 7,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
