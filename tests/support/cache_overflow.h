/* cache_overflow.h: keys and values that f16, or a block type, does not hold, for tests of all kernels that append to
 * the KV cache. */
#ifndef TESTS_SUPPORT_CACHE_OVERFLOW_H
#define TESTS_SUPPORT_CACHE_OVERFLOW_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "ops/op_list.h"
#include "proof/gate.h"
#include "tensor/op_params.h"

static const float cache_overflow_numbers[] = {1,        65504,     -65504, 65519.0f, 65520,    -65520,
                                               INFINITY, -INFINITY, 1e6f,   -3e38f,   6.103e-5f};
enum { CACHE_OVERFLOW_NUMBERS = sizeof cache_overflow_numbers / sizeof *cache_overflow_numbers };

static inline float cache_overflow_at(int64_t column) {
    return cache_overflow_numbers[column % CACHE_OVERFLOW_NUMBERS];
}

/* The values of the first row: they are not rotated. */
static inline void cache_overflow_fill(struct ci_sample_call *sample) {
    float *values = (float *)sample->call.in[0].data + sample->call.params.i[CI_KV_I_VALUE_COLUMN];
    const struct ci_view *cache = &sample->call.out[sample->op->outputs - 1];
    for (int64_t i = 0; i < cache->cols; i++) values[i] = cache_overflow_at(i);
}

/* The column that is neither what the cache's type holds nor NaN where that is only infinity, or, of block types, where
 * anything in the block is; -1: there is none. */
static inline int64_t cache_overflow_wrong(const struct ci_sample_call *sample) {
    const struct ci_view *cache = &sample->call.out[sample->op->outputs - 1];
    const struct ci_view *slots = &sample->call.in[sample->op == &ci_op_kv_append ? 1 : 2];
    for (int64_t i = 0; i < cache->cols; i++) {
        float wanted = cache_overflow_at(i), actual;
        if (cache->type == &ci_type_f16) wanted = ci_half_to_float(ci_float_to_half(wanted));
        ci_view_columns(cache, *(const int32_t *)slots->data, i, 1, &actual);
        /* Each block has numbers that are infinite. */
        bool nan = cache->type != &ci_type_f32 && (cache->type != &ci_type_f16 || isinf(wanted));
        if (nan ? !isnan(actual) : actual != wanted) return i;
    }
    return -1;
}

#endif
