/* q6_k: 256 numbers of 6 bits around 32, in 16 sub-blocks of 16: 128 bytes of lower 4 bits; 64 bytes of upper 2 bits;
 * int8 scales[16]; half d. x ~ d * scale * (code - 32).
 *
 * The bits of a half of 128 columns lie so: byte l (0..31) of its 32 upper bytes has columns l, l + 32, l + 64, l + 96
 * from low to high; its 64 lower bytes have columns 0..63 in their low, 64..127 in their high nibbles. */
#include "types/k_quant.h"

enum { COLS = CI_K_COLS, HALF_COLS = 128, UPPER = 128, SCALES = 192, D = 208, BYTES = 210, SUB_BLOCKS = 16 };

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
        for (int group = 0; group < CI_K_PARTS; group++, out += 32) {
            const uint8_t *lower = block + group / 4 * 64 + group % 2 * 32, *upper = block + UPPER + group / 4 * 32;
            int lower_shift = group / 2 % 2 * 4, upper_shift = group % 4 * 2;
            for (int i = 0; i < 32; i++) {
                int code = (lower[i] >> lower_shift & 15) | (upper[i] >> upper_shift & 3) << 4;
                out[i] = scales[2 * group + i / 16] * (float)(code - 32);
            }
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    struct ci_k_signed fit;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_k_fit_signed(source, 32, 128, &fit);
        memset(block, 0, BYTES);
        memcpy(block + D, &fit.d, 2);
        memcpy(block + SCALES, fit.scales, SUB_BLOCKS);
        for (int i = 0; i < COLS; i++) put_code(block, i, fit.codes[i]);
    }
}

enum { R16_SCALES = 32, R16_CODES = 288, PART_BYTES = 384 };

/* 16 columns of a part, for the rows first..first + 3. */
static inline void put_half_part(uint8_t *codes, const uint8_t *const rows[16], int first, int part, int half) {
    ci_r16_words quads[4], upper[4];
    uint8_t *plane = codes + part * PART_BYTES + half * 3 * CI_R16_QUAD_BYTES;
    ci_r16_take_words(rows, first, part / 4 * 64 + part % 2 * 32 + half * 16, quads);
    ci_r16_take_words(rows, first, UPPER + part / 4 * 32 + half * 16, upper);
    for (int q = 0; q < 4; q++)
        quads[q] = (quads[q] >> part / 2 % 2 * 4 & 0x0f0f0f0fu) | (upper[q] >> part % 4 * 2 & 0x03030303u) << 4;
    for (int p = 0; p < 3; p++) ci_r16_put_words(plane, p, first, quads[p] | (quads[3] >> p * 2 & 0x03030303u) << 6);
}

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_bytes scales[SUB_BLOCKS];
    ci_r16_put_halves(group, rows, D);
    ci_r16_take_columns(rows, SCALES, scales);
    for (int s = 0; s < SUB_BLOCKS; s++) ci_r16_put_column(group + R16_SCALES + s * CI_R16_ROWS, scales[s]);
    for (int first = 0; first < CI_R16_ROWS; first += 4)
        for (int i = 0; i < 2 * CI_K_PARTS; i++) put_half_part(group + R16_CODES, rows, first, i / 2, i % 2);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    memcpy(block + D, group + 2 * row, 2);
    for (int s = 0; s < SUB_BLOCKS; s++) block[SCALES + s] = group[R16_SCALES + s * CI_R16_ROWS + row];
    for (int part = 0; part < CI_K_PARTS; part++) {
        const uint8_t *plane = group + R16_CODES + part * PART_BYTES + 4 * row;
        uint32_t quads[8] = {0};
        for (int p = 0; p < 6; p++) {
            uint32_t word = ci_block_u32(plane + p * CI_R16_QUAD_BYTES);
            quads[p / 3 * 4 + p % 3] = word & 0x3f3f3f3fu;
            quads[p / 3 * 4 + 3] |= (word >> 6 & 0x03030303u) << p % 3 * 2;
        }
        for (int q = 0; q < 8; q++) {
            ci_r16_or_u32(block + part / 4 * 64 + part % 2 * 32 + 4 * q, (quads[q] & 0x0f0f0f0fu) << part / 2 % 2 * 4);
            ci_r16_or_u32(block + UPPER + part / 4 * 32 + 4 * q, (quads[q] >> 4 & 0x03030303u) << part % 4 * 2);
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
