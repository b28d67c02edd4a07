/* rows.h: the ops that go over each row once, written with the vectors of simd.h: rmsnorm, swiglu, add, quantise and
 * their fusions, KV cache and the search for the largest logits. Included once per instruction set.
 *
 * Threads divide rows; where one row is worth it (swiglu, add), columns. All store the same numbers whatever the number
 * of threads. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "cpu/kernels.h"
#include "cpu/quantise_group.h"
#include "tensor/op_params.h"
#include "types/type.h"

INLINE float *row_of(const struct ci_view *view, int64_t row) { return (float *)view->data + row * view->cols; }

INLINE uint8_t *q8_row_of(const struct ci_view *view, int64_t row) {
    return (uint8_t *)view->data + (size_t)row * ci_type_row_bytes(&ci_type_q8, view->cols);
}

/* The squares of numbers beyond 1e19 are infinite: a scale of 0 would make zeros of them, which nobody sees. */
static double large_squares(const float *x, int64_t cols) {
    double squares = 0;
    for (int64_t i = 0; i < cols; i++) squares += (double)x[i] * x[i];
    return squares;
}

/* 1 / sqrt(mean(x^2) + eps) */
INLINE float norm_scale(const float *x, int64_t cols, float eps) {
    vf sum[2] = {vf_set(0), vf_set(0)};
    int64_t i = 0;
    for (; i + 2 * VF_LANES <= cols; i += 2 * VF_LANES) UNROLL for (int j = 0; j < 2; j++) {
            vf value = vf_load(x + i + j * VF_LANES);
            sum[j] = vf_fma(value, value, sum[j]);
        }
    float squares = vf_sum(vf_add(sum[0], sum[1]));
    for (; i < cols; i++) squares += x[i] * x[i];
    double whole = isinf(squares) ? large_squares(x, cols) : (double)squares;
    return (float)(1.0 / sqrt(whole / (double)cols + (double)eps));
}

void SIMD_NAME(ci_cpu_rmsnorm)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->in[0].cols;
    const float *weight = call->in[1].data;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        float *out = row_of(&call->out[0], row), scale = norm_scale(x, cols, call->params.f[CI_RMSNORM_F_EPS]);
        int64_t i = 0;
        for (; i + VF_LANES <= cols; i += VF_LANES)
            vf_store(out + i, vf_mul(vf_mul(vf_load(x + i), vf_set(scale)), vf_load(weight + i)));
        for (; i < cols; i++) out[i] = x[i] * scale * weight[i];
    }
}

void SIMD_NAME(ci_cpu_rmsnorm_quantise)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->in[0].cols;
    const float *weight = call->in[1].data;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        vf scale = vf_set(norm_scale(x, cols, call->params.f[CI_RMSNORM_F_EPS])), group[GROUP_VECTORS];
        for (int64_t i = 0; i < cols; i += CI_Q8_GROUP) {
            UNROLL for (int j = 0; j < GROUP_VECTORS; j++) {
                int64_t at = i + j * VF_LANES;
                group[j] = vf_mul(vf_mul(vf_load(x + at), scale), vf_load(weight + at));
            }
            quantise_group(group, q8_row_of(&call->out[0], row), cols, i);
        }
    }
}

void SIMD_NAME(ci_cpu_quantise)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->in[0].cols;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        vf group[GROUP_VECTORS];
        for (int64_t i = 0; i < cols; i += CI_Q8_GROUP) {
            UNROLL for (int j = 0; j < GROUP_VECTORS; j++) group[j] = vf_load(x + i + j * VF_LANES);
            quantise_group(group, q8_row_of(&call->out[0], row), cols, i);
        }
    }
}

/* gate * up / (1 + e^-gate) */
INLINE vf silu_times(vf gate, vf up) {
    vf below = vf_add(vf_set(1), vf_exp(vf_sub(vf_set(0), gate)));
    return vf_mul(vf_div(gate, below), up);
}

/* Units of 32 columns, the last of a row may be shorter. */
void SIMD_NAME(ci_cpu_swiglu)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->out[0].cols, units = (cols + CI_Q8_GROUP - 1) / CI_Q8_GROUP;
    ci_share(call->in[0].rows * units, 1, thread, threads, &first, &last);
    for (int64_t unit = first; unit < last; unit++) {
        int64_t row = unit / units, i = unit % units * CI_Q8_GROUP,
                end = i + CI_Q8_GROUP < cols ? i + CI_Q8_GROUP : cols;
        const float *gate = row_of(&call->in[0], row), *up = gate + cols;
        float *out = row_of(&call->out[0], row);
        for (; i + VF_LANES <= end; i += VF_LANES) vf_store(out + i, silu_times(vf_load(gate + i), vf_load(up + i)));
        if (i < end) {
            int n = (int)(end - i);
            vf_store_some(out + i, silu_times(vf_load_some(gate + i, n), vf_load_some(up + i, n)), n);
        }
    }
}

void SIMD_NAME(ci_cpu_swiglu_quantise)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->out[0].cols, units = cols / CI_Q8_GROUP;
    ci_share(call->in[0].rows * units, 1, thread, threads, &first, &last);
    for (int64_t unit = first; unit < last; unit++) {
        int64_t row = unit / units, i = unit % units * CI_Q8_GROUP;
        const float *gate = row_of(&call->in[0], row) + i, *up = gate + cols;
        vf group[GROUP_VECTORS];
        UNROLL for (int j = 0; j < GROUP_VECTORS; j++) group[j] =
            silu_times(vf_load(gate + j * VF_LANES), vf_load(up + j * VF_LANES));
        quantise_group(group, q8_row_of(&call->out[0], row), cols, i);
    }
}

void SIMD_NAME(ci_cpu_add)(const struct ci_call *call, int thread, int threads) {
    int64_t i, last;
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *out = call->out[0].data;
    ci_share(call->in[0].rows * call->in[0].cols, 256, thread, threads, &i, &last);
    for (; i + VF_LANES <= last; i += VF_LANES) vf_store(out + i, vf_add(vf_load(a + i), vf_load(b + i)));
    for (; i < last; i++) out[i] = a[i] + b[i];
}

/* As it is where f16 holds it, else NaN (ci_half_without_infinity): from 65520 on, which would be rounded to infinity,
 * the product overflows, and 0 times infinity is NaN. */
INLINE vf without_infinity(vf x) { return vf_fma(vf_set(0), vf_mul(x, vf_set(0x1.001002p112f)), x); }

/* One row of keys or values to its slot. */
INLINE void append(const struct ci_view *cache, int32_t slot, const float *source) {
    int64_t cols = cache->cols, i = 0;
    if (slot < 0) return;
    if (cache->type == &ci_type_f32) {
        memcpy(row_of(cache, slot), source, (size_t)cols * sizeof *source);
        return;
    }
    uint16_t *out = (uint16_t *)cache->data + slot * cols;
    for (; i + VF_LANES <= cols; i += VF_LANES) vf_store_f16(out + i, without_infinity(vf_load(source + i)));
    for (; i < cols; i++) out[i] = ci_half_without_infinity(ci_float_to_half(source[i]));
}

void SIMD_NAME(ci_cpu_kv_append)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last;
    const int32_t *slots = call->in[1].data;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        append(&call->out[0], slots[row], x + call->params.i[CI_KV_I_KEY_COLUMN]);
        append(&call->out[1], slots[row], x + call->params.i[CI_KV_I_VALUE_COLUMN]);
    }
}

static void rotate_row(const struct ci_call *call, int64_t row) {
    const struct ci_view *x_view = &call->in[0], *table = &call->in[1];
    const float *cosines = row_of(table, row), *sines = cosines + table->cols / 2;
    const float *x = row_of(x_view, row);
    float *out = row_of(&call->out[0], row);
    int64_t half = table->cols / 2, head_dim = call->params.i[CI_ROPE_I_HEAD_DIM];
    int64_t rotated = call->params.i[CI_ROPE_I_HEADS] * head_dim;
    for (int64_t base = 0; base < rotated; base += head_dim) {
        int64_t i = 0;
        if (call->params.i[CI_ROPE_I_NEOX]) {
            const float *low = x + base, *high = low + half;
            for (; i + VF_LANES <= half; i += VF_LANES) {
                vf a = vf_load(low + i), b = vf_load(high + i), c = vf_load(cosines + i), s = vf_load(sines + i);
                vf_store(out + base + i, vf_sub(vf_mul(a, c), vf_mul(b, s)));
                vf_store(out + base + half + i, vf_add(vf_mul(a, s), vf_mul(b, c)));
            }
            for (; i < half; i++) {
                float a = low[i], b = high[i];
                out[base + i] = a * cosines[i] - b * sines[i];
                out[base + half + i] = a * sines[i] + b * cosines[i];
            }
        } else {
            for (; i < half; i++) {
                float a = x[base + 2 * i], b = x[base + 2 * i + 1];
                out[base + 2 * i] = a * cosines[i] - b * sines[i];
                out[base + 2 * i + 1] = a * sines[i] + b * cosines[i];
            }
        }
        for (i = 2 * half; i < head_dim; i++) out[base + i] = x[base + i];
    }
    memcpy(out + rotated, x + rotated, (size_t)(x_view->cols - rotated) * sizeof *x);
}

void SIMD_NAME(ci_cpu_rope)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) rotate_row(call, row);
}

void SIMD_NAME(ci_cpu_rope_kv_append)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last;
    const int32_t *slots = call->in[2].data;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *out = row_of(&call->out[0], row);
        rotate_row(call, row);
        append(&call->out[1], slots[row], out + call->params.i[CI_KV_I_KEY_COLUMN]);
        append(&call->out[2], slots[row], out + call->params.i[CI_KV_I_VALUE_COLUMN]);
    }
}

/* Whole vectors are passed over as long as all are finite and none is larger than the least of the k found. */
int32_t SIMD_NAME(ci_cpu_largest)(const float *logits, int64_t count, int k, int32_t *ids, int *found) {
    int32_t not_finite = 0;
    *found = 0;
    for (int64_t i = 0; i < count;) {
        if (*found == k && i + VF_LANES <= count &&
            vf_all_within(vf_load(logits + i), vf_set(-FLT_MAX), vf_set(logits[ids[k - 1]]))) {
            i += VF_LANES;
            continue;
        }
        int64_t end = *found == k && i + VF_LANES <= count ? i + VF_LANES : i + 1;
        for (; i < end; i++) {
            if (!isfinite(logits[i])) {
                not_finite++;
                continue;
            }
            if (*found == k && logits[i] <= logits[ids[k - 1]]) continue;
            int place = *found < k ? (*found)++ : k - 1;
            for (; place > 0 && logits[i] > logits[ids[place - 1]]; place--) ids[place] = ids[place - 1];
            ids[place] = (int32_t)i;
        }
    }
    return not_finite;
}
