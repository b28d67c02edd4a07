/* mxfp4: 32 numbers of 4 bits (E2M1) with a power of two (E8M0, 2^(e - 127)): a byte of e; 16 bytes of codes.
 * x ~ 2^(e - 127) * value, of which the table (fp4_values.clh) has twice the value. */
#include <math.h>

#include "types/r16.h"

#include "clkernels/types/fp4_values.clh"

enum { COLS = 32, CODES = 1, BYTES = 17, LARGEST_SAFE = 252 };

static const int8_t values[16] = {FP4_VALUES};

/* Half of it, as the table has twice. */
static float scale_of(int e) { return ldexpf(1.0f, e - 128); }

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, out += COLS) {
        float scale = scale_of(block[0]);
        for (int i = 0; i < COLS; i++) out[i] = (float)values[ci_block_nibble(block + CODES, i)] * scale;
    }
}

/* The largest power of two that a code has is 4, as the specification does it: what lies between 6 and 8 becomes 6. */
static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out, codes[COLS];
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        float largest = ci_block_largest(source, COLS);
        int e = largest > 0 ? ilogbf(largest) + 127 - 2 : 0;
        block[0] = (uint8_t)(e < 0 ? 0 : e);
        float inverse = 1 / scale_of(block[0]);
        for (int i = 0; i < COLS; i++) codes[i] = (uint8_t)ci_block_nearest(values, source[i] * inverse);
        ci_block_put_nibbles(block + CODES, codes);
    }
}

enum { R16_CODES = 16 };

static void pack_r16(const uint8_t *const rows[16], uint8_t *group) {
    for (int row = 0; row < CI_R16_ROWS; row++) group[row] = rows[row][0];
    ci_r16_put_quads(group + R16_CODES, rows, CODES, 4);
}

static void unpack_r16(const uint8_t *group, int row, uint8_t *block) {
    block[0] = group[row];
    ci_r16_get_quads(group + R16_CODES, row, block + CODES, 4);
}

/* Only with the largest exponents it depends on the codes. */
static int64_t find_not_finite(const void *source, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float numbers[COLS];
        if (block[0] <= LARGEST_SAFE) continue;
        dequantise(block, numbers, 1);
        for (int i = 0; i < COLS; i++)
            if (!isfinite(numbers[i])) return b;
    }
    return blocks;
}

const struct ci_type ci_type_mxfp4 = {.name = "mxfp4",
                                      .gguf_id = 39,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .quantise = quantise,
                                      .find_not_finite = find_not_finite,
                                      .pack_r16 = pack_r16,
                                      .unpack_r16 = unpack_r16};
