/* rows.h: the ops that go over each row once, written with the vectors of simd.h: norms, glu, unary, add, combine,
 * quantise and their fusions, KV cache and the search for the largest logits. Included once per instruction set.
 *
 * Threads divide rows; where one row is worth it (glu, unary, add), columns. All store the same numbers whatever the
 * number of threads. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "cpu/activations.h"
#include "cpu/kernels.h"
#include "cpu/quantise_group.h"
#include "tensor/op_params.h"
#include "types/type.h"

INLINE float *row_of(const struct ci_view *view, int64_t row) { return (float *)view->data + row * view->cols; }

/* A row x becomes (x - mean) * scale, times `weight`, plus `bias` where there are. */
struct norm {
    float mean, scale;
    const float *weight, *bias;
};

/* The squares of numbers beyond 1e19 are infinite: a scale of 0 would make zeros of them, which nobody sees. */
static double large_squares(const float *x, int64_t cols, bool centred, float *mean) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; centred && i < cols; i++) sum += (double)x[i];
    sum /= (double)cols;
    *mean = (float)sum;
    for (int64_t i = 0; i < cols; i++) squares += (x[i] - sum) * (x[i] - sum);
    return squares;
}

INLINE float mean_of(const float *x, int64_t cols) {
    vf sum[2] = {vf_set(0), vf_set(0)};
    int64_t i = 0;
    for (; i + 2 * VF_LANES <= cols; i += 2 * VF_LANES)
        UNROLL for (int j = 0; j < 2; j++) sum[j] = vf_add(vf_load(x + i + j * VF_LANES), sum[j]);
    float whole = vf_sum(vf_add(sum[0], sum[1]));
    for (; i < cols; i++) whole += x[i];
    return whole / (float)cols;
}

/* Mean (0 if not `centred`) and 1 / sqrt(mean((x - mean)^2) + eps). */
INLINE void set_scale(struct norm *norm, const float *x, int64_t cols, float eps, bool centred) {
    norm->mean = centred ? mean_of(x, cols) : 0;
    vf sum[2] = {vf_set(0), vf_set(0)}, mean = vf_set(norm->mean);
    int64_t i = 0;
    for (; i + 2 * VF_LANES <= cols; i += 2 * VF_LANES) UNROLL for (int j = 0; j < 2; j++) {
            vf value = vf_load(x + i + j * VF_LANES);
            if (centred) value = vf_sub(value, mean);
            sum[j] = vf_fma(value, value, sum[j]);
        }
    float squares = vf_sum(vf_add(sum[0], sum[1]));
    for (; i < cols; i++) squares += (x[i] - norm->mean) * (x[i] - norm->mean);
    double whole = isinf(squares) ? large_squares(x, cols, centred, &norm->mean) : (double)squares;
    norm->scale = (float)(1.0 / sqrt(whole / (double)cols + (double)eps));
}

INLINE vf normed(const struct norm *norm, const float *x, int64_t i, bool centred) {
    vf value = vf_load(x + i);
    if (centred) value = vf_sub(value, vf_set(norm->mean));
    value = vf_mul(value, vf_set(norm->scale));
    if (norm->weight) value = vf_mul(value, vf_load(norm->weight + i));
    return norm->bias ? vf_add(value, vf_load(norm->bias + i)) : value;
}

INLINE void norm_row(struct norm norm, const float *x, float *out, int64_t cols, float eps, bool centred) {
    set_scale(&norm, x, cols, eps, centred);
    int64_t i = 0;
    for (; i + VF_LANES <= cols; i += VF_LANES) vf_store(out + i, normed(&norm, x, i, centred));
    for (; i < cols; i++) {
        out[i] = (x[i] - norm.mean) * norm.scale * (norm.weight ? norm.weight[i] : 1);
        if (norm.bias) out[i] += norm.bias[i];
    }
}

INLINE void norm_row_quantise(struct norm norm, const float *x, const struct ci_view *out, int64_t row, float eps,
                              bool centred) {
    const int64_t cols = out->cols;
    uint8_t *codes = codes_row(out, row);
    vf group[GROUP_VECTORS];
    set_scale(&norm, x, cols, eps, centred);
    for (int64_t i = 0; i < cols; i += CI_Q8_GROUP) {
        UNROLL for (int j = 0; j < GROUP_VECTORS; j++) group[j] = normed(&norm, x, i + j * VF_LANES, centred);
        quantise_group(group, out->type, codes, cols, i);
    }
}

/* rmsnorm has no input 2; an input that is absent has no data. */
INLINE void norm_rows(const struct ci_call *call, int thread, int threads, bool centred, bool quantise) {
    int64_t first, last, cols = call->in[0].cols;
    struct norm norm = {.weight = call->in[1].type ? call->in[1].data : NULL,
                        .bias = centred && call->in[2].type ? call->in[2].data : NULL};
    float eps = call->params.f[CI_NORM_F_EPS];
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        if (quantise)
            norm_row_quantise(norm, x, &call->out[0], row, eps, centred);
        else
            norm_row(norm, x, row_of(&call->out[0], row), cols, eps, centred);
    }
}

void SIMD_NAME(ci_cpu_rmsnorm)(const struct ci_call *call, int thread, int threads) {
    norm_rows(call, thread, threads, false, false);
}

void SIMD_NAME(ci_cpu_rmsnorm_quantise)(const struct ci_call *call, int thread, int threads) {
    norm_rows(call, thread, threads, false, true);
}

void SIMD_NAME(ci_cpu_layernorm)(const struct ci_call *call, int thread, int threads) {
    norm_rows(call, thread, threads, true, false);
}

void SIMD_NAME(ci_cpu_layernorm_quantise)(const struct ci_call *call, int thread, int threads) {
    norm_rows(call, thread, threads, true, true);
}

void SIMD_NAME(ci_cpu_norm_heads)(const struct ci_call *call, int thread, int threads) {
    const struct ci_view *weight = &call->in[1];
    int64_t first_row, last_row, cols = call->in[0].cols, first = call->params.i[CI_NORM_HEADS_I_FIRST];
    int64_t groups = call->params.i[CI_NORM_HEADS_I_GROUPS], width = call->params.i[CI_NORM_HEADS_I_WIDTH];
    int64_t end = first + groups * width;
    float eps = call->params.f[CI_NORM_F_EPS];
    bool centred = call->params.i[CI_NORM_HEADS_I_CENTRED];
    ci_share(call->in[0].rows, 1, thread, threads, &first_row, &last_row);
    for (int64_t row = first_row; row < last_row; row++) {
        const float *x = row_of(&call->in[0], row);
        float *out = row_of(&call->out[0], row);
        memcpy(out, x, (size_t)first * sizeof *x);
        for (int64_t group = 0; group < groups; group++) {
            int64_t at = group * width, weight_at = weight->cols > width ? at : 0;
            struct norm norm = {.weight = weight->type ? (const float *)weight->data + weight_at : NULL};
            if (centred)
                norm_row(norm, x + first + at, out + first + at, width, eps, true);
            else
                norm_row(norm, x + first + at, out + first + at, width, eps, false);
        }
        memcpy(out + end, x + end, (size_t)(cols - end) * sizeof *x);
    }
}

void SIMD_NAME(ci_cpu_quantise)(const struct ci_call *call, int thread, int threads) {
    int64_t first, last, cols = call->in[0].cols;
    const struct ci_type *type = call->out[0].type;
    ci_share(call->in[0].rows, 1, thread, threads, &first, &last);
    for (int64_t row = first; row < last; row++) {
        const float *x = row_of(&call->in[0], row);
        uint8_t *codes = codes_row(&call->out[0], row);
        vf group[GROUP_VECTORS];
        for (int64_t i = 0; i < cols; i += CI_Q8_GROUP) {
            UNROLL for (int j = 0; j < GROUP_VECTORS; j++) group[j] = vf_load(x + i + j * VF_LANES);
            quantise_group(group, type, codes, cols, i);
        }
    }
}

/* What glu and unary do is the same but for what gives VF_LANES columns; of unary `up` is NULL. */
struct function {
    struct activation by;
    const float *x, *up;
};

INLINE vf function_at(const struct function *f, int64_t i) {
    return f->up ? gated_unit(&f->by, vf_load(f->x + i), vf_load(f->up + i)) : activation(&f->by, vf_load(f->x + i));
}

INLINE vf function_at_some(const struct function *f, int64_t i, int n) {
    vf x = vf_load_some(f->x + i, n);
    return f->up ? gated_unit(&f->by, x, vf_load_some(f->up + i, n)) : activation(&f->by, x);
}

/* Columns that lie together: a slice of a gate's, or all. */
INLINE int64_t slice_of(const struct ci_call *call, bool gate) {
    int64_t slice = gate ? call->params.i[CI_ACTIVATION_I_WIDTH] : 0;
    return slice ? slice : call->out[0].cols;
}

/* From output column `i` on, until the end of its slice. */
INLINE struct function function_of_row(const struct ci_call *call, int64_t row, int64_t i, bool gate) {
    int64_t width = slice_of(call, gate);
    const float *x = row_of(&call->in[0], row) + i / width * width;
    return (struct function){.by = activation_of(&call->params), .x = x, .up = gate ? x + width : NULL};
}

/* Units of 32 columns, the last of a row may be shorter. */
static void apply(const struct ci_call *call, int thread, int threads, bool gate) {
    int64_t first, last, cols = call->out[0].cols, units = (cols + CI_Q8_GROUP - 1) / CI_Q8_GROUP;
    ci_share(call->in[0].rows * units, 1, thread, threads, &first, &last);
    for (int64_t unit = first; unit < last; unit++) {
        int64_t row = unit / units, i = unit % units * CI_Q8_GROUP,
                end = i + CI_Q8_GROUP < cols ? i + CI_Q8_GROUP : cols;
        struct function f = function_of_row(call, row, i, gate);
        float *out = row_of(&call->out[0], row);
        for (; i + VF_LANES <= end; i += VF_LANES) vf_store(out + i, function_at(&f, i));
        if (i < end) vf_store_some(out + i, function_at_some(&f, i, (int)(end - i)), (int)(end - i));
    }
}

/* By way of the first-level cache: the function and the rounding behind it, each a long chain, would fill what a core
 * can look ahead with two groups, and it would wait for both. */
static void apply_quantise(const struct ci_call *call, int thread, int threads, bool gate) {
    enum { RUN = 16 * CI_Q8_GROUP };
    float numbers[RUN];
    vf group[GROUP_VECTORS];
    int64_t unit, last, cols = call->out[0].cols, units = cols / CI_Q8_GROUP;
    const struct ci_type *type = call->out[0].type;
    ci_share(call->in[0].rows * units, 1, thread, threads, &unit, &last);
    while (unit < last) {
        int64_t row = unit / units, i = unit % units * CI_Q8_GROUP, slice = slice_of(call, gate);
        int64_t end = (i / slice + 1) * slice, left = (last - unit) * CI_Q8_GROUP;
        struct function f = function_of_row(call, row, i, gate);
        uint8_t *codes = codes_row(&call->out[0], row);
        if (end - i > left) end = i + left;
        unit += (end - i) / CI_Q8_GROUP;
        for (; i < end; i += RUN) {
            int64_t run = end - i < RUN ? end - i : RUN;
            for (int64_t j = 0; j < run; j += VF_LANES) vf_store(numbers + j, function_at(&f, i + j));
            for (int64_t j = 0; j < run; j += CI_Q8_GROUP) {
                UNROLL for (int g = 0; g < GROUP_VECTORS; g++) group[g] = vf_load(numbers + j + g * VF_LANES);
                quantise_group(group, type, codes, cols, i + j);
            }
        }
    }
}

void SIMD_NAME(ci_cpu_glu)(const struct ci_call *call, int thread, int threads) { apply(call, thread, threads, true); }

void SIMD_NAME(ci_cpu_glu_quantise)(const struct ci_call *call, int thread, int threads) {
    apply_quantise(call, thread, threads, true);
}

void SIMD_NAME(ci_cpu_unary)(const struct ci_call *call, int thread, int threads) {
    apply(call, thread, threads, false);
}

void SIMD_NAME(ci_cpu_unary_quantise)(const struct ci_call *call, int thread, int threads) {
    apply_quantise(call, thread, threads, false);
}

INLINE void combine_numbers(const struct ci_call *call, int thread, int threads, bool multiply) {
    int64_t i, last;
    const float *a = call->in[0].data, *b = call->in[1].data;
    float *out = call->out[0].data;
    ci_share(call->in[0].rows * call->in[0].cols, 256, thread, threads, &i, &last);
    for (; i + VF_LANES <= last; i += VF_LANES) {
        vf left = vf_load(a + i), right = vf_load(b + i);
        vf_store(out + i, multiply ? vf_mul(left, right) : vf_add(left, right));
    }
    for (; i < last; i++) out[i] = multiply ? a[i] * b[i] : a[i] + b[i];
}

void SIMD_NAME(ci_cpu_add)(const struct ci_call *call, int thread, int threads) {
    combine_numbers(call, thread, threads, false);
}

void SIMD_NAME(ci_cpu_mul)(const struct ci_call *call, int thread, int threads) {
    combine_numbers(call, thread, threads, true);
}

/* Units of 32 columns, the last of a row may be shorter: a row's experts by their weights. */
void SIMD_NAME(ci_cpu_combine)(const struct ci_call *call, int thread, int threads) {
    const struct ci_view *weights = &call->in[1], *addend = &call->in[2];
    int64_t first, last, used = weights->cols, cols = call->out[0].cols, units = (cols + 31) / 32;
    ci_share(call->in[0].rows * units, 1, thread, threads, &first, &last);
    for (int64_t unit = first; unit < last; unit++) {
        int64_t row = unit / units, i = unit % units * 32, end = i + 32 < cols ? i + 32 : cols;
        const float *y = row_of(&call->in[0], row), *by = row_of(weights, row);
        const float *added = addend->type ? row_of(addend, row) : NULL;
        float *out = row_of(&call->out[0], row);
        for (; i + VF_LANES <= end; i += VF_LANES) {
            vf sum = added ? vf_load(added + i) : vf_set(0);
            for (int64_t j = 0; j < used; j++) sum = vf_fma(vf_load(y + j * cols + i), vf_set(by[j]), sum);
            vf_store(out + i, sum);
        }
        for (; i < end; i++) {
            float sum = added ? added[i] : 0;
            for (int64_t j = 0; j < used; j++) sum += by[j] * y[j * cols + i];
            out[i] = sum;
        }
    }
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
    if (cache->type != &ci_type_f16) {
        size_t row_bytes = ci_type_row_bytes(cache->type, cols);
        ci_type_to_cache(cache->type, source, cols, (uint8_t *)cache->data + (size_t)slot * row_bytes);
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
    for (int64_t head = 0; head < rotated; head += head_dim) {
        int64_t i = 0, base = head + call->params.i[CI_ROPE_I_OFFSET];
        memcpy(out + head, x + head, (size_t)(base - head) * sizeof *x);
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
        for (i = base + 2 * half; i < head + head_dim; i++) out[i] = x[i];
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

struct best {
    const float *logits;
    int32_t *ids; /* in falling order */
    int k, found, not_finite;
};

/* Logits [first, last), those of which may be chosen whose bit of `allowed` is set, from its lowest. */
INLINE void look_at(struct best *best, int64_t first, int64_t last, uint32_t allowed) {
    const float *logits = best->logits;
    int32_t *ids = best->ids;
    for (int64_t i = first; i < last; i++, allowed >>= 1) {
        if (!isfinite(logits[i])) {
            best->not_finite++;
            continue;
        }
        if (!(allowed & 1) || (best->found == best->k && logits[i] <= logits[ids[best->k - 1]])) continue;
        int place = best->found < best->k ? best->found++ : best->k - 1;
        for (; place > 0 && logits[i] > logits[ids[place - 1]]; place--) ids[place] = ids[place - 1];
        ids[place] = (int32_t)i;
    }
}

/* Whether all of a vector may be passed over: they are finite, and none that may be chosen is larger than `most`. */
INLINE bool is_dull(const float *logits, const uint32_t *mask, uint32_t allowed, float most) {
    const vf v = vf_load(logits), least = vf_set(-FLT_MAX);
    if (!mask) return vf_all_within(v, least, vf_set(most));
    return vf_all_within(v, least, vf_set(FLT_MAX)) &&
           vf_all_within(vf_where_bits(allowed, v, least), least, vf_set(most));
}

int32_t SIMD_NAME(ci_cpu_largest)(const float *logits, int64_t count, const uint32_t *mask, int k, int32_t *ids,
                                  int *found) {
    struct best best = {logits, ids, k, 0, 0};
    const uint32_t lanes = UINT32_MAX >> (32 - VF_LANES);
    for (int64_t i = 0; i < count; i += VF_LANES) {
        const uint32_t allowed = mask ? mask[i / 32] >> i % 32 & lanes : lanes;
        const bool full = best.found == k, whole = i + VF_LANES <= count;
        if (whole && (full || allowed == 0) && is_dull(logits + i, mask, allowed, full ? logits[ids[k - 1]] : FLT_MAX))
            continue;
        look_at(&best, i, whole ? i + VF_LANES : count, allowed);
    }
    *found = best.found;
    return best.not_finite;
}
