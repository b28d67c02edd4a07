/* iq4_nl: 32 numbers of 4 bits, which stand for the values of a table: half d; 16 bytes of codes. x ~ d * value. */
#include "types/r16.h"

#include "clkernels/types/iq4_values.clh"

enum { COLS = 32, CODES = 2, BYTES = 18 };

static const int8_t values[16] = {IQ4_VALUES};

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float d = ci_block_half(block);
        for (int i = 0; i < COLS; i++) out[i] = d * (float)values[ci_block_nibble(block + CODES, i)];
    }
}

/* The extreme gets the first value, the largest. */
static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out, codes[COLS];
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        ci_block_put_half(block, ci_block_extreme(source) / (float)values[0]);
        float d = ci_block_half(block), inverse = d != 0 ? 1 / d : 0;
        for (int i = 0; i < COLS; i++) codes[i] = (uint8_t)ci_block_nearest(values, source[i] * inverse);
        ci_block_put_nibbles(block + CODES, codes);
    }
}

enum { R16_CODES = 32 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    ci_r16_put_halves(group, rows, 0);
    ci_r16_put_quads(group + R16_CODES, rows, CODES, 4);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    memcpy(block, group + 2 * row, 2);
    ci_r16_get_quads(group + R16_CODES, row, block + CODES, 4);
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, 0, 1);
}

const struct ci_type ci_type_iq4_nl = {.name = "iq4_nl",
                                       .gguf_id = 20,
                                       .block_cols = COLS,
                                       .block_bytes = BYTES,
                                       .quantised = true,
                                       .dequantise = dequantise,
                                       .quantise = quantise,
                                       .find_not_finite = find_not_finite,
                                       .pack_r16 = pack_r16,
                                       .unpack_r16 = unpack_r16};
