/* q5_k: 256 numbers of 5 bits above a least one, in 8 sub-blocks of 32: half d, minimum; 12 bytes of 6-bit scales and
 * minima (types/k_quant.h); 32 bytes of fifth bits; 128 bytes of lower bits. x ~ d * scale * code - minimum * its code.
 *
 * The lower bits lie as in q4_k; byte l of the fifth bits has those of columns l, 32 + l, .. from low to high. */
#include "types/k_quant.h"

enum { COLS = CI_K_COLS, SCALES = 4, FIFTH = 16, CODES = 48, BYTES = 176 };

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block), m = ci_block_half(block + 2);
        for (int part = 0; part < CI_K_PARTS; part++, out += 32) {
            const uint8_t *codes = block + CODES + part / 2 * 32, *fifth = block + FIFTH;
            int scale_code, minimum_code, shift = part % 2 * 4;
            ci_k_get_scale(block + SCALES, part, &scale_code, &minimum_code);
            float scale = d * (float)scale_code, minimum = m * (float)minimum_code;
            for (int i = 0; i < 32; i++) {
                int code = (codes[i] >> shift & 15) | (fifth[i] >> part & 1) << 4;
                out[i] = scale * (float)code - minimum;
            }
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    struct ci_k_range fit;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_k_fit_range(source, CI_K_PARTS, 31, 63, &fit);
        memset(block, 0, BYTES);
        memcpy(block, &fit.d, 2);
        memcpy(block + 2, &fit.minimum, 2);
        for (int s = 0; s < CI_K_PARTS; s++) ci_k_put_scale(block + SCALES, s, fit.scales[s], fit.minima[s]);
        for (int i = 0; i < COLS; i++) {
            block[FIFTH + i % 32] |= (uint8_t)(fit.codes[i] >> 4 << i / 32);
            block[CODES + i / 64 * 32 + i % 32] |= (uint8_t)((fit.codes[i] & 15) << i / 32 % 2 * 4);
        }
    }
}

enum { PART_BYTES = 256, R16_FIFTH = 2304 };

/* Bit i of byte j becomes bit j of byte i. */
static void transpose(uint8_t bytes[8]) {
    uint64_t bits, other;
    memcpy(&bits, bytes, sizeof bits);
    other = (bits ^ bits >> 7) & UINT64_C(0x00aa00aa00aa00aa);
    bits ^= other ^ other << 7;
    other = (bits ^ bits >> 14) & UINT64_C(0x0000cccc0000cccc);
    bits ^= other ^ other << 14;
    other = (bits ^ bits >> 28) & UINT64_C(0x00000000f0f0f0f0);
    bits ^= other ^ other << 28;
    memcpy(bytes, &bits, sizeof bits);
}

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_k_scales(group, rows);
    for (int part = 0; part < CI_K_PARTS; part += 2)
        ci_r16_put_nibbles(group + CI_R16_K_CODES + part * PART_BYTES, rows, CODES + part / 2 * 32);
    for (int first = 0; first < CI_R16_ROWS; first += 4) {
        ci_r16_words quads[8];
        ci_r16_take_words(rows, first, FIFTH, quads);
        ci_r16_take_words(rows, first, FIFTH + 16, quads + 4);
        for (int part = 0; part < CI_K_PARTS; part++) {
            ci_r16_words bits = {0};
            for (int q = 0; q < 8; q++) bits |= (quads[q] >> part & 0x01010101u) << q;
            ci_r16_put_words(group + R16_FIFTH, part, first, bits);
        }
    }
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    ci_r16_get_k_scales(group, row, block);
    for (int part = 0; part < CI_K_PARTS; part++)
        ci_r16_get_nibbles(group + CI_R16_K_CODES + part * PART_BYTES + 4 * row, block + CODES + part / 2 * 32,
                           part % 2 * 4);
    for (int c = 0; c < 4; c++) {
        uint8_t fifth[8];
        for (int part = 0; part < CI_K_PARTS; part++)
            fifth[part] = group[R16_FIFTH + part * CI_R16_QUAD_BYTES + 4 * row + c];
        transpose(fifth);
        for (int q = 0; q < 8; q++) block[FIFTH + 4 * q + c] = fifth[q];
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 2);
}

const struct ci_type ci_type_q5_k = {.name = "q5_k",
                                     .gguf_id = 13,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
