/* f16: IEEE half precision, in integer arithmetic so that every compiler and machine gives the same bits. The SIMD
 * kernels use the processor's conversions, which agree. */
#include <string.h>

#include "types/block.h"

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float ci_half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fffu;
    if (rest < 0x0400) { /* zero and subnormal: rest * 2^-24, exact */
        float size = (float)rest * 0x1p-24f;
        return sign ? -size : size;
    }
    if (rest >= 0x7c00) return float_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    return float_of_bits(sign | ((rest << 13) + ((127u - 15u) << 23)));
}

uint16_t ci_float_to_half(float value) {
    uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (rest < 0x38800000u) { /* below 2^-14 a half has a fixed step of 2^-24: let the adder round */
        float shifted = float_of_bits(rest) + 0x1p-1f;
        return (uint16_t)(sign | (bits_of_float(shifted) - bits_of_float(0x1p-1f)));
    }
    uint32_t odd = rest >> 13 & 1;
    return (uint16_t)(sign | ((rest - ((127u - 15u) << 23) + 0x0fffu + odd) >> 13));
}

static void dequantise(const void *source, float *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)source + 2 * i, sizeof half);
        out[i] = ci_half_to_float(half);
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        uint16_t half = ci_float_to_half(source[i]);
        memcpy((uint8_t *)out + 2 * i, &half, sizeof half);
    }
}

static int64_t find_not_finite(const void *source, int64_t blocks) {
    return ci_block_find_plain(source, blocks, 2, 0x7c007c007c007c00u);
}

const struct ci_type ci_type_f16 = {.name = "f16",
                                    .gguf_id = 1,
                                    .block_cols = 1,
                                    .block_bytes = 2,
                                    .dequantise = dequantise,
                                    .quantise = quantise,
                                    .find_not_finite = find_not_finite};
