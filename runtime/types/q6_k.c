/* q6_k: 256 numbers of 6 bits around 32, in 16 sub-blocks of 16: 128 bytes of lower 4 bits; 64 bytes of upper 2 bits;
 * int8 scales[16]; half d. x ~ d * scale * (code - 32).
 *
 * The bits of a half of 128 columns lie so: byte l (0..31) of its 32 upper bytes has columns l, l + 32, l + 64, l + 96
 * from low to high; its 64 lower bytes have columns 0..63 in their low, 64..127 in their high nibbles. */
#include <math.h>

#include "types/block.h"

enum { COLS = 256, HALF_COLS = 128, UPPER = 128, SCALES = 192, D = 208, BYTES = 210, SUB_BLOCKS = 16, GROUPS = 8 };

/* Into bits that are zero. */
static void put_code(uint8_t *block, int col, int code) {
    int half = col / HALF_COLS, i = col % HALF_COLS;
    block[half * 64 + i % 64] |= (uint8_t)((code & 15) << (i / 64 * 4));
    block[UPPER + half * 32 + i % 32] |= (uint8_t)(code >> 4 << (i / 32 * 2));
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block + D), scales[SUB_BLOCKS];
        for (int s = 0; s < SUB_BLOCKS; s++) scales[s] = d * (float)(int8_t)block[SCALES + s];
        for (int group = 0; group < GROUPS; group++, out += 32) {
            const uint8_t *lower = block + group / 4 * 64 + group % 2 * 32, *upper = block + UPPER + group / 4 * 32;
            int lower_shift = group / 2 % 2 * 4, upper_shift = group % 4 * 2;
            for (int i = 0; i < 32; i++) {
                int code = (lower[i] >> lower_shift & 15) | (upper[i] >> upper_shift & 3) << 4;
                out[i] = scales[2 * group + i / 16] * (float)(code - 32);
            }
        }
    }
}

/* Each sub-block's extreme gets code 0; ggml searches for the scale of least error instead, which test data does not
 * need. */
static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float scales[SUB_BLOCKS], largest = 0;
        for (int s = 0; s < SUB_BLOCKS; s++) {
            float extreme = 0;
            for (int i = 0; i < COLS / SUB_BLOCKS; i++)
                if (fabsf(source[16 * s + i]) > fabsf(extreme)) extreme = source[16 * s + i];
            scales[s] = extreme / -32.0f;
            if (fabsf(scales[s]) > fabsf(largest)) largest = scales[s];
        }
        memset(block, 0, BYTES);
        ci_block_put_half(block + D, largest / -128.0f);
        float d = ci_block_half(block + D);
        for (int s = 0; s < SUB_BLOCKS; s++) {
            float code = d != 0 ? roundf(scales[s] / d) : 0;
            block[SCALES + s] = (uint8_t)(int8_t)fmaxf(-128.0f, fminf(127.0f, code));
        }
        for (int i = 0; i < COLS; i++) {
            float scale = d * (float)(int8_t)block[SCALES + i / SUB_BLOCKS];
            float code = scale != 0 ? roundf(source[i] / scale) : 0;
            put_code(block, i, (int)fmaxf(-32.0f, fminf(31.0f, code)) + 32);
        }
    }
}

enum { R16_SCALES = 32, R16_LOWER = 288, R16_UPPER = 2336, LOWER_BYTES = 256, UPPER_BYTES = 128 };

static void put_u32(uint8_t *at, uint32_t value) { memcpy(at, &value, sizeof value); }

/* Four columns at a time, as four bytes of one word. */
static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    memset(group, 0, BYTES * CI_R16_ROWS);
    for (int row = 0; row < CI_R16_ROWS; row++) {
        if (!rows[row]) continue;
        memcpy(group + 2 * row, rows[row] + D, 2);
        for (int s = 0; s < SUB_BLOCKS; s++) group[R16_SCALES + s * CI_R16_ROWS + row] = rows[row][SCALES + s];
        for (int g = 0; g < GROUPS; g++) {
            const uint8_t *lower = rows[row] + g / 4 * 64 + g % 2 * 32, *upper = rows[row] + UPPER + g / 4 * 32;
            uint8_t *lower_out = group + R16_LOWER + g * LOWER_BYTES + 4 * row;
            uint8_t *upper_out = group + R16_UPPER + g * UPPER_BYTES + 4 * row;
            for (int q = 0; q < 4; q++) {
                uint32_t low = ci_block_u32(lower + 4 * q) >> (g / 2 % 2 * 4) & 0x0f0f0f0fu;
                uint32_t high = ci_block_u32(lower + 16 + 4 * q) >> (g / 2 % 2 * 4) & 0x0f0f0f0fu;
                put_u32(lower_out + q * CI_R16_QUAD_BYTES, low | high << 4);
            }
            for (int p = 0; p < 2; p++) {
                uint32_t bits = 0;
                for (int f = 0; f < 4; f++)
                    bits |= (ci_block_u32(upper + 16 * p + 4 * f) >> (g % 4 * 2) & 0x03030303u) << (2 * f);
                put_u32(upper_out + p * CI_R16_QUAD_BYTES, bits);
            }
        }
    }
}

static void or_u32(uint8_t *at, uint32_t value) { put_u32(at, ci_block_u32(at) | value); }

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    memcpy(block + D, group + 2 * row, 2);
    for (int s = 0; s < SUB_BLOCKS; s++) block[SCALES + s] = group[R16_SCALES + s * CI_R16_ROWS + row];
    for (int g = 0; g < GROUPS; g++) {
        uint8_t *lower_out = block + g / 4 * 64 + g % 2 * 32, *upper_out = block + UPPER + g / 4 * 32;
        const uint8_t *lower = group + R16_LOWER + g * LOWER_BYTES + 4 * row;
        const uint8_t *upper = group + R16_UPPER + g * UPPER_BYTES + 4 * row;
        for (int q = 0; q < 4; q++) {
            uint32_t codes = ci_block_u32(lower + q * CI_R16_QUAD_BYTES);
            or_u32(lower_out + 4 * q, (codes & 0x0f0f0f0fu) << (g / 2 % 2 * 4));
            or_u32(lower_out + 16 + 4 * q, (codes >> 4 & 0x0f0f0f0fu) << (g / 2 % 2 * 4));
        }
        for (int q = 0; q < 8; q++) {
            uint32_t bits = ci_block_u32(upper + q / 4 * CI_R16_QUAD_BYTES) >> (2 * (q % 4)) & 0x03030303u;
            or_u32(upper_out + 4 * q, bits << (g % 4 * 2));
        }
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, D, 1);
}

const struct ci_type ci_type_q6_k = {.name = "q6_k",
                                     .gguf_id = 14,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
