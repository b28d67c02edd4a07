/* q4_k: 256 numbers of 4 bits above a least one, in 8 sub-blocks of 32: half d, minimum; 12 bytes of 6-bit scales and
 * minima (types/k_quant.h); 128 bytes of codes. x ~ d * scale * code - minimum * its code.
 *
 * Byte 32 * j + l of the codes has column 64 * j + l in its low, 64 * j + 32 + l in its high bits. */
#include "types/k_quant.h"

enum { COLS = CI_K_COLS, SCALES = 4, CODES = 16, BYTES = 144 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block), m = ci_block_half(block + 2);
        for (int part = 0; part < CI_K_PARTS; part++, out += 32) {
            const uint8_t *codes = block + CODES + part / 2 * 32;
            int scale_code, minimum_code, shift = part % 2 * 4;
            ci_k_get_scale(block + SCALES, part, &scale_code, &minimum_code);
            float scale = d * (float)scale_code, minimum = m * (float)minimum_code;
            for (int i = 0; i < 32; i++) out[i] = scale * (float)(codes[i] >> shift & 15) - minimum;
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    struct ci_k_range fit;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_k_fit_range(source, CI_K_PARTS, 15, 63, &fit);
        memset(block, 0, BYTES);
        memcpy(block, &fit.d, 2);
        memcpy(block + 2, &fit.minimum, 2);
        for (int s = 0; s < CI_K_PARTS; s++) ci_k_put_scale(block + SCALES, s, fit.scales[s], fit.minima[s]);
        for (int i = 0; i < COLS; i++) block[CODES + i / 64 * 32 + i % 32] |= (uint8_t)(fit.codes[i] << i / 32 % 2 * 4);
    }
}

enum { PART_BYTES = 256 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_k_scales(group, rows);
    for (int part = 0; part < CI_K_PARTS; part += 2)
        ci_r16_put_nibbles(group + CI_R16_K_CODES + part * PART_BYTES, rows, CODES + part / 2 * 32);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    ci_r16_get_k_scales(group, row, block);
    for (int part = 0; part < CI_K_PARTS; part++)
        ci_r16_get_nibbles(group + CI_R16_K_CODES + part * PART_BYTES + 4 * row, block + CODES + part / 2 * 32,
                           part % 2 * 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 2);
}

const struct ci_type ci_type_q4_k = {.name = "q4_k",
                                     .gguf_id = 12,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
