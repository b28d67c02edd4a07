/* norm_vec.cl: rmsnorm, layernorm and norm_heads, one work-item per row or slice, for devices whose work-items are
 * threads (CPUs). Alone and followed by quantise. */
INLINE float mean_of(const __global float *x, int cols, float unit) {
    float16 sums = 0.0f;
    for (int v = 0; v < cols / 16; v++) sums += vload16(v, x) * unit;
    float sum = sum_float16(sums);
    for (int i = cols / 16 * 16; i < cols; i++) sum += x[i] * unit;
    return sum / cols;
}

INLINE float sum_of_squares(const __global float *x, int cols, float mean, float unit) {
    float16 squares = 0.0f;
    for (int v = 0; v < cols / 16; v++) {
        const float16 value = vload16(v, x) * unit - mean;
        squares = value * value + squares;
    }
    float sum = sum_float16(squares);
    for (int i = cols / 16 * 16; i < cols; i++) sum += (x[i] * unit - mean) * (x[i] * unit - mean);
    return sum;
}

/* Of numbers beyond 1e19 squares are infinite: they are summed in a larger unit, next to which eps is nothing. */
INLINE struct norm norm_of(const __global float *x, int cols, float eps, bool centred) {
    struct norm norm;
    norm.mean = centred ? mean_of(x, cols, 1.0f) : 0.0f;
    const float sum = sum_of_squares(x, cols, norm.mean, 1.0f);
    norm.factor = 1.0f / sqrt(sum / cols + eps);
    if (isinf(sum)) {
        const float mean = centred ? mean_of(x, cols, 0x1p-64f) : 0.0f;
        norm.mean = mean * 0x1p64f;
        norm.factor = 0x1p-64f / sqrt(sum_of_squares(x, cols, mean, 0x1p-64f) / cols);
    }
    return norm;
}

INLINE void norm_row(const __global float *from, const __global float *weights, const __global float *offsets,
                     __global float *to, int cols, float eps, bool centred) {
    const struct norm norm = norm_of(from, cols, eps, centred);
    for (int v = 0; v < cols / 16; v++) vstore16(NORMED(vload16, v), v, to);
    for (int i = cols / 16 * 16; i < cols; i++) to[i] = NORMED(ONE, i);
}

ONCE void norm_rows(int row, const __global float *x, const __global float *weights, const __global float *offsets,
                      __global uchar *out, int cols, float eps, bool centred) {
    const __global float *from = x + (ulong)row * cols;
#ifdef OUT0_CODES
    __global uchar *to = out + row * codes_row_bytes(cols);
    const struct norm norm = norm_of(from, cols, eps, centred);
    for (int group = 0; group < cols / 32; group++) store_normed(to, cols, group, from, norm, weights, offsets);
    store_padding(to, cols);
#else
    norm_row(from, weights, offsets, (__global float *)out + (ulong)row * cols, cols, eps, centred);
#endif
}

__kernel void rmsnorm(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, float eps) {
    norm_rows(get_global_id(0), DATA(const float, x), DATA(const float, weight), 0, out_buffer + out_offset, cols, eps,
              false);
}

__kernel void layernorm(TENSOR(x), TENSOR(weight), TENSOR(bias), TENSOR(out), int cols, float eps) {
    norm_rows(get_global_id(0), DATA(const float, x), DATA(const float, weight), DATA(const float, bias),
              out_buffer + out_offset, cols, eps, true);
}

/* Work-items (slice, row); the one behind the last slice copies what is in none. */
__kernel void norm_heads(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, int weight_cols, int first, int groups,
                         int width, int centred, float eps) {
    const int group = get_global_id(0), start = first + group * width;
    const ulong row = (ulong)get_global_id(1) * cols;
    const __global float *from = DATA(const float, x) + row, *weights = DATA(const float, weight);
    __global float *to = DATA(float, out) + row;
    if (group < groups) {
        norm_row(from + start, weights + (weight_cols > width ? group * width : 0), 0, to + start, width, eps,
                 centred != 0);
    } else {
        for (int i = 0; i < first; i++) to[i] = from[i];
        for (int i = start; i < cols; i++) to[i] = from[i];
    }
}
