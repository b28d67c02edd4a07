/* q2_k: 256 numbers of 2 bits above a least one, in 16 sub-blocks of 16: 16 bytes of 4-bit scales and, above them,
 * minima; 64 bytes of codes; half d, minimum. x ~ d * scale * code - minimum * its code.
 *
 * Byte 32 * h + l of the codes has columns 128 * h + l, + 32, + 64, + 96 from low to high. */
#include "types/k_quant.h"

enum { COLS = CI_K_COLS, CODES = 16, D = 80, BYTES = 84, SUB_BLOCKS = 16 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block + D), m = ci_block_half(block + D + 2);
        for (int s = 0; s < SUB_BLOCKS; s++, out += 16) {
            const uint8_t *codes = block + CODES + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)(block[s] & 15), minimum = m * (float)(block[s] >> 4);
            int shift = s / 2 % 4 * 2;
            for (int i = 0; i < 16; i++) out[i] = scale * (float)(codes[i] >> shift & 3) - minimum;
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    struct ci_k_range fit;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_k_fit_range(source, SUB_BLOCKS, 3, 15, &fit);
        memset(block, 0, BYTES);
        memcpy(block + D, &fit.d, 2);
        memcpy(block + D + 2, &fit.minimum, 2);
        for (int s = 0; s < SUB_BLOCKS; s++) block[s] = (uint8_t)(fit.scales[s] | fit.minima[s] << 4);
        for (int i = 0; i < COLS; i++)
            block[CODES + i / 128 * 32 + i % 32] |= (uint8_t)(fit.codes[i] << i / 32 % 4 * 2);
    }
}

enum { R16_MINIMUM = 32, R16_SCALES = 64, R16_CODES = 320, PART_BYTES = 128 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_bytes scales[SUB_BLOCKS];
    ci_r16_put_halves(group, rows, D);
    ci_r16_put_halves(group + R16_MINIMUM, rows, D + 2);
    ci_r16_take_columns(rows, 0, scales);
    for (int s = 0; s < SUB_BLOCKS; s++) ci_r16_put_column(group + R16_SCALES + s * CI_R16_ROWS, scales[s]);
    for (int part = 0; part < CI_K_PARTS; part += 4)
        ci_r16_put_bit_pairs(group + R16_CODES + part * PART_BYTES, rows, CODES + part / 4 * 32);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    memcpy(block + D, group + 2 * row, 2);
    memcpy(block + D + 2, group + R16_MINIMUM + 2 * row, 2);
    for (int s = 0; s < SUB_BLOCKS; s++) block[s] = group[R16_SCALES + s * CI_R16_ROWS + row];
    for (int part = 0; part < CI_K_PARTS; part++)
        ci_r16_get_bit_pairs(group + R16_CODES + part * PART_BYTES + 4 * row, block + CODES + part / 4 * 32,
                             part % 4 * 2);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, D, 2);
}

const struct ci_type ci_type_q2_k = {.name = "q2_k",
                                     .gguf_id = 10,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
