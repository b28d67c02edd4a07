/* i32: plain integers: token ids, positions, slots, tiles. No weight has it, so it has no number in files. */
#include <math.h>
#include <string.h>

#include "types/type.h"

static void dequantise(const void *source, float *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        int32_t value;
        memcpy(&value, (const uint8_t *)source + 4 * i, sizeof value);
        out[i] = (float)value;
    }
}

static void quantise(const float *source, void *out, int64_t blocks) {
    for (int64_t i = 0; i < blocks; i++) {
        /* 2^31 is the first float too large; what is no number becomes 0. */
        float rounded = rintf(source[i]);
        int32_t value = rounded >= 0x1p31f ? INT32_MAX : rounded <= -0x1p31f ? INT32_MIN : 0;
        if (rounded > -0x1p31f && rounded < 0x1p31f) value = (int32_t)rounded;
        memcpy((uint8_t *)out + 4 * i, &value, sizeof value);
    }
}

const struct ci_type ci_type_i32 = {.name = "i32",
                                    .gguf_id = CI_TYPE_NOT_IN_FILES,
                                    .block_cols = 1,
                                    .block_bytes = 4,
                                    .dequantise = dequantise,
                                    .quantise = quantise};
