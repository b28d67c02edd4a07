/* nvfp4: 64 numbers of 4 bits (E2M1) in four groups of 16, each with a scale of 7 bits (UE4M3): 4 bytes of scales; 8
 * bytes of codes for each group, byte i with column i low, column i + 8 high. x ~ scale * value, of which the table
 * (fp4_values.clh) has twice the value. No bits stand for a number that is not finite: the scale 0x7f, a NaN elsewhere,
 * is zero. */
#include <math.h>

#include "types/block.h"

#include "clkernels/types/fp4_values.clh"

enum { COLS = 64, CODES = 4, BYTES = 36, GROUP = 16, ZERO_TOO = 0x7f, LARGEST_SCALE = 0x7e };

static const int8_t values[16] = {FP4_VALUES};

/* Half of it, as the table has twice. */
static float scale_of(unsigned code) {
    if (code == ZERO_TOO) return 0;
    int exponent = (int)(code >> 3 & 15), mantissa = (int)(code & 7);
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 11) : ldexpf((float)mantissa, -10);
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES)
        for (int g = 0; g < COLS / GROUP; g++, out += GROUP) {
            const uint8_t *codes = block + CODES + 8 * g;
            float scale = scale_of(block[g]);
            for (int i = 0; i < GROUP; i++) out[i] = (float)values[codes[i % 8] >> (i / 8 * 4) & 15] * scale;
        }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    for (int64_t b = 0; b < blocks; b++, block += BYTES, source += COLS) {
        memset(block, 0, BYTES);
        for (int g = 0; g < COLS / GROUP; g++) {
            float wanted = ci_block_largest(source + g * GROUP, GROUP) / 12;
            while (block[g] < LARGEST_SCALE && scale_of(block[g]) < wanted) block[g]++;
            float scale = scale_of(block[g]), inverse = scale > 0 ? 1 / scale : 0;
            for (int i = 0; i < GROUP; i++) {
                unsigned code = ci_block_nearest(values, source[g * GROUP + i] * inverse);
                block[CODES + g * 8 + i % 8] |= (uint8_t)(code << (i / 8 * 4));
            }
        }
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    (void)source;
    return blocks;
}

const struct ci_type ci_type_nvfp4 = {.name = "nvfp4",
                                      .gguf_id = 40,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .quantise = quantise,
                                      .find_not_finite = find_not_finite};
