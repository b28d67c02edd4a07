/* tq1_0: 256 numbers of -1, 0 or 1, five to a byte: 32 bytes, 16 bytes and 4 bytes (of which each has four) of codes;
 * half d. x ~ d * (code - 1). A group of n bytes has columns m, m + n, m + 2n, .. of the group in byte m: the digits
 * behind the point of byte / 256 in base 3. */
#include <math.h>

#include "types/block.h"

enum { COLS = 256, D = 52, BYTES = 54, GROUPS = 3 };

static const struct { int first_byte, bytes, digits; } groups[GROUPS] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};

static void dequantise(const void *source, float *out, int64_t blocks) {
    const uint8_t *block = source;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_half(block + D);
        for (int g = 0; g < GROUPS; g++)
            for (int m = 0; m < groups[g].bytes * groups[g].digits; m++) {
                static const unsigned powers[5] = {1, 3, 9, 27, 81};
                unsigned left = block[groups[g].first_byte + m % groups[g].bytes] * powers[m / groups[g].bytes] & 255;
                *out++ = (float)((int)(left * 3 >> 8) - 1) * d;
            }
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    uint8_t *block = out;
    for (int64_t b = 0; b < blocks; b++, block += BYTES) {
        float d = ci_block_largest(source, COLS);
        ci_block_put_half(block + D, d);
        for (int g = 0; g < GROUPS; g++) {
            for (int m = 0; m < groups[g].bytes; m++) {
                unsigned number = 0;
                for (int n = 0; n < 5; n++) {
                    float x = n < groups[g].digits ? source[n * groups[g].bytes + m] : -d;
                    number = 3 * number + (unsigned)((d > 0 ? roundf(x / d) : 0) + 1);
                }
                block[groups[g].first_byte + m] = (uint8_t)((number * 256 + 242) / 243);
            }
            source += groups[g].bytes * groups[g].digits;
        }
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_not_finite(source, blocks, BYTES, D, 1);
}

const struct ci_type ci_type_tq1_0 = {.name = "tq1_0",
                                      .gguf_id = 34,
                                      .block_cols = COLS,
                                      .block_bytes = BYTES,
                                      .quantised = true,
                                      .dequantise = dequantise,
                                      .quantise = quantise,
                                      .find_not_finite = find_not_finite};
