/* q3_k: 256 numbers of 3 bits around 4, in 16 sub-blocks of 16: 32 bytes of third bits; 64 bytes of lower bits; 12
 * bytes of 6-bit scales around 32; half d. x ~ d * (scale - 32) * (code - 4).
 *
 * The lower bits lie as in q2_k; byte l of the third bits has those of columns l, 32 + l, .. from low to high. Bytes
 * 0..7 of the scales have the lower 4 bits of scales 0..7 and, above them, of 8..15; bytes 8..11 the upper bits of
 * scales i, i + 4, i + 8, i + 12 from low to high. */
#include "types/k_quant.h"

enum { COLS = CI_K_COLS, THIRD = 0, CODES = 32, SCALES = 96, D = 108, BYTES = 110, SUB_BLOCKS = 16 };

static int get_scale(const uint8_t *packed, int s) {
    return (packed[s % 8] >> s / 8 * 4 & 15) | (packed[8 + s % 4] >> s / 4 * 2 & 3) << 4;
}

/* Into bytes that are zero. */
static void put_scale(uint8_t *packed, int s, int scale) {
    packed[s % 8] |= (uint8_t)((scale & 15) << s / 8 * 4);
    packed[8 + s % 4] |= (uint8_t)(scale >> 4 << s / 4 * 2);
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block + D);
        for (int s = 0; s < SUB_BLOCKS; s++, out += 16) {
            const uint8_t *codes = block + CODES + s / 8 * 32 + s % 2 * 16, *third = block + THIRD + s % 2 * 16;
            float scale = d * (float)(get_scale(block + SCALES, s) - 32);
            int shift = s / 2 % 4 * 2;
            for (int i = 0; i < 16; i++) {
                int code = (codes[i] >> shift & 3) | (third[i] >> s / 2 & 1) << 2;
                out[i] = scale * (float)(code - 4);
            }
        }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    struct ci_k_signed fit;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_k_fit_signed(source, 4, 32, &fit);
        memset(block, 0, BYTES);
        memcpy(block + D, &fit.d, 2);
        for (int s = 0; s < SUB_BLOCKS; s++) put_scale(block + SCALES, s, fit.scales[s] + 32);
        for (int i = 0; i < COLS; i++) {
            block[THIRD + i % 32] |= (uint8_t)(fit.codes[i] >> 2 << i / 32);
            block[CODES + i / 128 * 32 + i % 32] |= (uint8_t)((fit.codes[i] & 3) << i / 32 % 4 * 2);
        }
    }
}

enum { R16_SCALES = 32, R16_CODES = 224, PART_BYTES = 192 };

/* The codes of a part of the rows first..first + 3 in planes 0..2: quads p and p + 3, and the rest of quads 6 and 7. */
static void put_codes(uint8_t *plane, const uint8_t *const rows[16], int first, int part) {
    ci_r16_words quads[8], third[8];
    for (int half = 0; half < 2; half++) {
        ci_r16_take_words(rows, first, CODES + part / 4 * 32 + 16 * half, quads + 4 * half);
        ci_r16_take_words(rows, first, THIRD + 16 * half, third + 4 * half);
    }
    for (int q = 0; q < 8; q++)
        quads[q] = (quads[q] >> part % 4 * 2 & 0x03030303u) | (third[q] >> part & 0x01010101u) << 2;
    for (int p = 0; p < 3; p++) {
        ci_r16_words rest =
            p < 2 ? quads[p + 6] & 0x03030303u : (quads[6] >> 2 & 0x01010101u) | (quads[7] >> 1 & 0x02020202u);
        ci_r16_put_words(plane, p, first, quads[p] | quads[p + 3] << 3 | rest << 6);
    }
}

/* get_scale() of all rows, of the columns of the packed scales. */
static inline ci_r16_bytes scales_of(const ci_r16_bytes *packed, int s) {
    return (packed[s % 8] >> s / 8 * 4 & 15) | (packed[8 + s % 4] >> s / 4 * 2 & 3) << 4;
}

static void get_codes(const uint8_t *plane, uint32_t quads[8]) {
    uint32_t rest[3];
    for (int p = 0; p < 3; p++) {
        uint32_t word = ci_block_u32(plane + p * CI_R16_QUAD_BYTES);
        quads[p] = word & 0x07070707u;
        quads[p + 3] = word >> 3 & 0x07070707u;
        rest[p] = word >> 6 & 0x03030303u;
    }
    quads[6] = rest[0] | (rest[2] & 0x01010101u) << 2;
    quads[7] = rest[1] | (rest[2] & 0x02020202u) << 1;
}

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    enum { BEFORE = 2 }; /* the 12 bytes of scales and d are 14 bytes: 16 are read from before them */
    ci_r16_bytes columns[16];
    ci_r16_put_halves(group, rows, D);
    ci_r16_take_columns(rows, SCALES - BEFORE, columns);
    for (int part = 0; part < CI_K_PARTS; part++) {
        for (int first = 0; first < CI_R16_ROWS; first += 4)
            put_codes(group + R16_CODES + part * PART_BYTES, rows, first, part);
        ci_r16_put_pair(group + R16_SCALES + part * CI_K_PAIR_BYTES, scales_of(columns + BEFORE, 2 * part),
                        scales_of(columns + BEFORE, 2 * part + 1));
    }
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memset(block, 0, BYTES);
    memcpy(block + D, group + 2 * row, 2);
    for (int part = 0; part < CI_K_PARTS; part++) {
        uint32_t quads[8];
        int first, second;
        get_codes(group + R16_CODES + part * PART_BYTES + 4 * row, quads);
        for (int q = 0; q < 8; q++) {
            ci_r16_or_u32(block + CODES + part / 4 * 32 + 4 * q, (quads[q] & 0x03030303u) << part % 4 * 2);
            ci_r16_or_u32(block + THIRD + 4 * q, (quads[q] >> 2 & 0x01010101u) << part);
        }
        ci_r16_get_pair(group + R16_SCALES + part * CI_K_PAIR_BYTES, row, &first, &second);
        put_scale(block + SCALES, 2 * part, first);
        put_scale(block + SCALES, 2 * part + 1, second);
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, D, 1);
}

const struct ci_type ci_type_q3_k = {.name = "q3_k",
                                     .gguf_id = 11,
                                     .block_cols = COLS,
                                     .block_bytes = BYTES,
                                     .quantised = true,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite,
                                     .pack_r16 = pack_r16,
                                     .unpack_r16 = unpack_r16};
