/* iq4_xs: 256 numbers of 4 bits, which stand for the values of iq4_nl's table, in 8 parts of 32 with a scale of 6 bits
 * around 32 each: half d; 2 bytes with the upper 2 bits of the scales and 4 bytes with the lower 4, the first lowest;
 * 16 bytes of codes for each part. x ~ d * (scale - 32) * value. */
#include <math.h>

#include "types/r16.h"

#include "clkernels/types/iq4_values.clh"

enum { COLS = 256, PARTS = 8, UPPER = 2, LOWER = 4, CODES = 8, BYTES = 136 };

static const int8_t values[16] = {IQ4_VALUES};

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block);
        for (int p = 0; p < PARTS; p++, out += COLS / PARTS) {
            int code = block[LOWER + p / 2] >> (p % 2 * 4) & 15;
            code |= (block[UPPER + p / 4] >> (p % 4 * 2) & 3) << 4;
            float scale = d * (float)(code - 32);
            for (int i = 0; i < COLS / PARTS; i++)
                out[i] = scale * (float)values[ci_block_nibble(block + CODES + 16 * p, i)];
        }
    }
}

static void put_scale(uint8_t *block, int part, int code) {
    block[LOWER + part / 2] |= (uint8_t)((code & 15) << (part % 2 * 4));
    block[UPPER + part / 4] |= (uint8_t)(code >> 4 << (part % 4 * 2));
}

/* A part's extreme gets the first value, the part whose extreme is the farthest the scale -32. */
static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out, codes[COLS / PARTS];
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float scales[PARTS], largest = 0;
        for (int p = 0; p < PARTS; p++) {
            scales[p] = ci_block_extreme(source + p * (COLS / PARTS)) / (float)values[0];
            if (fabsf(scales[p]) > fabsf(largest)) largest = scales[p];
        }
        memset(block, 0, BYTES);
        ci_block_put_half(block, largest / -32);
        float d = ci_block_half(block);
        for (int p = 0; p < PARTS; p++, source += COLS / PARTS) {
            float code = d != 0 ? fmaxf(-32, fminf(31, roundf(scales[p] / d))) : 0;
            float inverse = code != 0 ? 1 / (d * code) : 0;
            put_scale(block, p, (int)code + 32);
            for (int i = 0; i < COLS / PARTS; i++) codes[i] = (uint8_t)ci_block_nearest(values, source[i] * inverse);
            ci_block_put_nibbles(block + CODES + 16 * p, codes);
        }
    }
}

enum { R16_UPPER = 32, R16_LOWER = 64, R16_CODES = 128, R16_PART = 256, SCALE_BYTES = 6 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_halves(group, rows, 0);
    for (int row = 0; row < CI_R16_ROWS; row++)
        for (int i = 0; i < SCALE_BYTES; i++) group[R16_UPPER + 16 * i + row] = rows[row][UPPER + i];
    for (int p = 0; p < PARTS; p++) ci_r16_put_quads(group + R16_CODES + R16_PART * p, rows, CODES + 16 * p, 4);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memcpy(block, group + 2 * row, 2);
    for (int i = 0; i < SCALE_BYTES; i++) block[UPPER + i] = group[R16_UPPER + 16 * i + row];
    for (int p = 0; p < PARTS; p++) ci_r16_get_quads(group + R16_CODES + R16_PART * p, row, block + CODES + 16 * p, 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq4_xs = {.name = "iq4_xs",
                                       .gguf_id = 23,
                                       .block_cols = COLS,
                                       .block_bytes = BYTES,
                                       .quantised = true,
                                       .dequantise = dequantise,
                                       .quantise = quantise,
                                       .find_not_finite = find_not_finite,
                                       .pack_r16 = pack_r16,
                                       .unpack_r16 = unpack_r16};
