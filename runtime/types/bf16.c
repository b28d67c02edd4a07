/* bf16: the upper half of a float. */
#include <string.h>

#include "types/block.h"

float ci_bf16_to_float(uint16_t value) {
    uint32_t bits = (uint32_t)value << 16;
    float result;
    memcpy(&result, &bits, sizeof result);
    return result;
}

uint16_t ci_float_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* rounding could lose a NaN */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        uint16_t value;
        memcpy(&value, (const uint8_t *)source + 2 * i, sizeof value);
        out[i] = ci_bf16_to_float(value);
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        uint16_t value = ci_float_to_bf16(source[i]);
        memcpy((uint8_t *)out + 2 * i, &value, sizeof value);
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_plain(source, blocks, 2, 0x7f807f807f807f80u);
}

const struct ci_type ci_type_bf16 = {.name = "bf16",
                                     .gguf_id = 30,
                                     .block_cols = 1,
                                     .block_bytes = 2,
                                     .dequantise = dequantise,
                                     .quantise = quantise,
                                     .find_not_finite = find_not_finite};
