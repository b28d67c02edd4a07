/* q8 and q16: activations rounded to 8 and to 16 bits for integer kernels. The formats stand in type.h; since codes,
 * scales and sums of a row lie apart, it works on rows instead of blocks. */
#include <math.h>
#include <string.h>

#include "types/type.h"

enum { FLOAT_BYTES = 4, NUMBERS_BYTES = 3 * FLOAT_BYTES };

/* The code of 16 bits of x / scale, where `high` is that of 8. */
static int with_low(float steps, int high, int8_t *low) {
    float rest = roundf((steps - (float)high) * CI_Q16_HIGH);
    *low = (int8_t)fminf(fmaxf(rest, -127), 127);
    return CI_Q16_HIGH * high + *low;
}

void ci_codes_from_floats(const float *source, int64_t cols, int planes, void *row) {
    int64_t groups = cols / CI_Q8_GROUP;
    int8_t *codes = row;
    float *scales = (float *)(void *)(codes + planes * cols), *sums = scales + groups, *half_sums = sums + groups;
    for (int64_t g = 0; g < groups; g++, source += CI_Q8_GROUP, codes += planes * CI_Q8_GROUP) {
        float largest = 0, scale, inverse;
        bool finite = true;
        for (int i = 0; i < CI_Q8_GROUP; i++) {
            largest = fmaxf(largest, fabsf(source[i]));
            finite &= isfinite(source[i]);
        }
        ci_q8_scale(largest, finite, &scale, &inverse);
        int sum = 0, half_sum = 0;
        for (int i = 0; i < CI_Q8_GROUP; i++) {
            float steps = finite ? source[i] * inverse : 0;
            codes[i] = (int8_t)roundf(steps);
            int code = planes == 2 ? with_low(steps, codes[i], &codes[CI_Q8_GROUP + i]) : codes[i];
            sum += code;
            if (i < CI_Q8_GROUP / 2) half_sum += code;
        }
        if (planes == 2) scale /= CI_Q16_HIGH;
        scales[g] = scale;
        sums[g] = scale * (float)sum;
        half_sums[g] = scale * (float)half_sum;
    }
    const struct ci_type *type = planes == 2 ? &ci_type_q16 : &ci_type_q8;
    size_t used = (size_t)groups * (size_t)type->block_bytes;
    memset((uint8_t *)row + used, 0, ci_type_row_bytes(type, cols) - used);
}

void ci_codes_to_floats(const void *row, int planes, int64_t first_col, int64_t cols, float *out, int64_t row_cols) {
    const int8_t *codes = row;
    const float *scales = ci_codes_scales(row, planes, row_cols);
    for (int64_t i = 0; i < cols; i++) {
        int64_t group = (first_col + i) / CI_Q8_GROUP,
                at = planes * group * CI_Q8_GROUP + (first_col + i) % CI_Q8_GROUP;
        int code = planes == 2 ? CI_Q16_HIGH * codes[at] + codes[at + CI_Q8_GROUP] : codes[at];
        out[i] = (float)code * scales[group];
    }
}

const struct ci_type ci_type_q8 = {.name = "q8",
                                   .gguf_id = CI_TYPE_NOT_IN_FILES,
                                   .block_cols = CI_Q8_GROUP,
                                   .block_bytes = CI_Q8_GROUP + NUMBERS_BYTES,
                                   .quantised = true};

const struct ci_type ci_type_q16 = {.name = "q16",
                                    .gguf_id = CI_TYPE_NOT_IN_FILES,
                                    .block_cols = CI_Q8_GROUP,
                                    .block_bytes = 2 * CI_Q8_GROUP + NUMBERS_BYTES,
                                    .quantised = true};
