/* quantise_group.h: 32 numbers in vectors to their place in a row of q8 or q16 (types/type.h), bit for bit as
 * ci_codes_from_floats makes it. */
#ifndef CI_CPU_QUANTISE_GROUP_H
#define CI_CPU_QUANTISE_GROUP_H

#include "cpu/simd.h"
#include "types/type.h"

enum { GROUP_VECTORS = CI_Q8_GROUP / VF_LANES };

/* To nearest, ties away from zero: truncation after the largest number below 1/2 was added. */
INLINE vf round_away(vf a) { return vf_truncate(vf_add(a, vf_with_sign_of(vf_set(0x1.fffffep-2f), a))); }

INLINE uint8_t *codes_row(const struct ci_view *view, int64_t row) {
    return (uint8_t *)view->data + (size_t)row * ci_type_row_bytes(view->type, view->cols);
}

/* Columns col .. col + 31 of a row of `cols`, of q8 or q16; with the last come the zeros that fill the row up. */
INLINE void quantise_group(const vf *group, const struct ci_type *type, uint8_t *row, int64_t cols, int64_t col) {
    const bool wide = type == &ci_type_q16;
    int8_t *codes = (int8_t *)row + (wide ? 2 * col : col);
    float *scales = (float *)(void *)(row + (wide ? 2 * cols : cols)), *sums = scales + cols / CI_Q8_GROUP;
    float scale, inverse;
    float *half_sums = sums + cols / CI_Q8_GROUP;
    vf most = vf_size(group[0]), poison = vf_mul(group[0], vf_set(0));
    UNROLL for (int j = 1; j < GROUP_VECTORS; j++) {
        most = vf_max(vf_size(group[j]), most);
        poison = vf_fma(group[j], vf_set(0), poison);
    }
    ci_q8_scale(vf_largest(most), vf_sum(poison) == 0, &scale, &inverse); /* 0 times what is not finite is no number */
    vf sum = vf_set(0), half_sum = sum;
    UNROLL for (int j = 0; j < GROUP_VECTORS; j++) {
        vf steps = vf_mul(group[j], vf_set(inverse)), code = round_away(steps);
        vf_store_i8(codes + j * VF_LANES, code);
        if (wide) {
            vf low = round_away(vf_mul(vf_sub(steps, code), vf_set(CI_Q16_HIGH)));
            low = vf_max(vf_set(-127), vf_min(vf_set(127), low));
            vf_store_i8(codes + CI_Q8_GROUP + j * VF_LANES, low);
            code = vf_fma(code, vf_set(CI_Q16_HIGH), low);
        }
        sum = vf_add(sum, code);
        if (j == GROUP_VECTORS / 2 - 1) half_sum = sum;
    }
    if (wide) scale *= 1.0f / CI_Q16_HIGH;
    scales[col / CI_Q8_GROUP] = scale;
    sums[col / CI_Q8_GROUP] = scale * vf_sum(sum);
    half_sums[col / CI_Q8_GROUP] = scale * vf_sum(half_sum);
    if (col + CI_Q8_GROUP == cols) {
        uint8_t *end = (uint8_t *)(void *)(half_sums + cols / CI_Q8_GROUP);
        memset(end, 0, (size_t)(row + ci_type_row_bytes(type, cols) - end));
    }
}

#endif
