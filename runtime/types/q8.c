/* q8: activations rounded to 8 bits for integer kernels. The format stands in type.h; since codes, scales and sums of a
 * row lie apart, it works on rows instead of blocks. */
#include <math.h>
#include <string.h>

#include "types/type.h"

enum { FLOAT_BYTES = 4, BLOCK_BYTES = CI_Q8_GROUP + 3 * FLOAT_BYTES };

void ci_q8_from_floats(const float *source, int64_t cols, void *row) {
    int64_t groups = cols / CI_Q8_GROUP;
    int8_t *codes = row;
    float *scales = (float *)(void *)(codes + cols), *sums = scales + groups, *half_sums = sums + groups;
    for (int64_t g = 0; g < groups; g++, source += CI_Q8_GROUP, codes += CI_Q8_GROUP) {
        float largest = 0, scale, inverse;
        bool finite = true;
        for (int i = 0; i < CI_Q8_GROUP; i++) {
            largest = fmaxf(largest, fabsf(source[i]));
            finite &= isfinite(source[i]);
        }
        ci_q8_scale(largest, finite, &scale, &inverse);
        int sum = 0, half_sum = 0;
        for (int i = 0; i < CI_Q8_GROUP; i++) {
            codes[i] = finite ? (int8_t)roundf(source[i] * inverse) : 0;
            sum += codes[i];
            if (i < CI_Q8_GROUP / 2) half_sum += codes[i];
        }
        scales[g] = scale;
        sums[g] = scale * (float)sum;
        half_sums[g] = scale * (float)half_sum;
    }
    size_t used = (size_t)groups * BLOCK_BYTES;
    memset((uint8_t *)row + used, 0, ci_type_row_bytes(&ci_type_q8, cols) - used);
}

void ci_q8_to_floats(const void *row, int64_t first_col, int64_t cols, float *out, int64_t row_cols) {
    const int8_t *codes = row;
    const float *scales = ci_q8_scales(row, row_cols);
    for (int64_t i = 0; i < cols; i++) out[i] = (float)codes[first_col + i] * scales[(first_col + i) / CI_Q8_GROUP];
}

const struct ci_type ci_type_q8 = {.name = "q8",
                                   .gguf_id = CI_TYPE_NOT_IN_FILES,
                                   .block_cols = CI_Q8_GROUP,
                                   .block_bytes = BLOCK_BYTES,
                                   .quantised = true};
