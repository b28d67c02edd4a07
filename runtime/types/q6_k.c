/* q6_k: 256 numbers of 6 bits around 32, in 16 sub-blocks of 16: 128 bytes of lower 4 bits; 64 bytes of upper 2 bits;
 * int8 scales[16]; half d. x ~ d * scale * (code - 32).
 *
 * The bits of a half of 128 columns lie so: byte l (0..31) of its 32 upper bytes has columns l, l + 32, l + 64, l + 96
 * from low to high; its 64 lower bytes have columns 0..63 in their low, 64..127 in their high nibbles. */
#include <math.h>

#include "types/block.h"

enum { COLS = 256, HALF_COLS = 128, UPPER = 128, SCALES = 192, D = 208, BYTES = 210, SUB_BLOCKS = 16 };

static int get_code(const uint8_t *block, int col) {
    int half = col / HALF_COLS, i = col % HALF_COLS;
    int lower = block[half * 64 + i % 64] >> (i / 64 * 4) & 15;
    int upper = block[UPPER + half * 32 + i % 32] >> (i / 32 * 2) & 3;
    return lower | upper << 4;
}

/* Into bits that are zero. */
static void put_code(uint8_t *block, int col, int code) {
    int half = col / HALF_COLS, i = col % HALF_COLS;
    block[half * 64 + i % 64] |= (uint8_t)((code & 15) << (i / 64 * 4));
    block[UPPER + half * 32 + i % 32] |= (uint8_t)(code >> 4 << (i / 32 * 2));
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block + D);
        for (int i = 0; i < COLS; i++) {
            float scale = d * (float)(int8_t)block[SCALES + i / SUB_BLOCKS];
            out[i] = scale * (float)(get_code(block, i) - 32);
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

enum { R16_SCALES = 32, R16_LOWER = 288, R16_UPPER = 2336, GROUPS = 8, LOWER_BYTES = 256, UPPER_BYTES = 128 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    memset(group, 0, BYTES * CI_R16_ROWS);
    for (int row = 0; row < CI_R16_ROWS; row++) {
        if (!rows[row]) continue;
        memcpy(group + 2 * row, rows[row] + D, 2);
        for (int s = 0; s < SUB_BLOCKS; s++) group[R16_SCALES + s * CI_R16_ROWS + row] = rows[row][SCALES + s];
        for (int col = 0; col < COLS; col++) {
            int code = get_code(rows[row], col), i = col % 32, quad = i / 4, at = 4 * row + (i & 3);
            uint8_t *lower = group + R16_LOWER + col / 32 * LOWER_BYTES,
                    *upper = group + R16_UPPER + col / 32 * UPPER_BYTES;
            lower[quad % 4 * CI_R16_QUAD_BYTES + at] |= (uint8_t)((code & 15) << (quad / 4 * 4));
            upper[quad / 4 * CI_R16_QUAD_BYTES + at] |= (uint8_t)(code >> 4 << (quad % 4 * 2));
        }
    }
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    memcpy(block + D, group + 2 * row, 2);
    for (int s = 0; s < SUB_BLOCKS; s++) block[SCALES + s] = group[R16_SCALES + s * CI_R16_ROWS + row];
    for (int col = 0; col < COLS; col++) {
        int i = col % 32, quad = i / 4, at = 4 * row + (i & 3);
        const uint8_t *lower = group + R16_LOWER + col / 32 * LOWER_BYTES;
        const uint8_t *upper = group + R16_UPPER + col / 32 * UPPER_BYTES;
        int code = lower[quad % 4 * CI_R16_QUAD_BYTES + at] >> (quad / 4 * 4) & 15;
        code |= (upper[quad / 4 * CI_R16_QUAD_BYTES + at] >> (quad % 4 * 2) & 3) << 4;
        put_code(block, col, code);
    }
}

const struct ci_type ci_type_q6_k = {.name = "q6_k",
                                     .gguf_id = 14,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
