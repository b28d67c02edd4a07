/* rmsnorm_vec.cl: one work-item per row, for devices whose work-items are threads (CPUs). Alone and followed by
 * quantise. */
INLINE float sum_of_squares(const __global float *x, int cols, float unit) {
    float16 squares = 0.0f;
    for (int v = 0; v < cols / 16; v++) squares = vload16(v, x) * unit * (vload16(v, x) * unit) + squares;
    float sum = sum_float16(squares);
    for (int i = cols / 16 * 16; i < cols; i++) sum += x[i] * unit * (x[i] * unit);
    return sum;
}

/* Of numbers beyond 1e19 squares are infinite: they are summed in a larger unit, next to which eps is nothing. */
INLINE float inverse_rms(const __global float *x, int cols, float eps) {
    const float sum = sum_of_squares(x, cols, 1.0f);
    if (isinf(sum)) return 0x1p-64f / sqrt(sum_of_squares(x, cols, 0x1p-64f) / cols);
    return 1.0f / sqrt(sum / cols + eps);
}

#ifndef OUT0_Q8
__kernel void rmsnorm(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, float eps) {
    const ulong row = (ulong)get_global_id(0) * cols;
    const __global float *from = DATA(const float, x) + row, *weights = DATA(const float, weight);
    __global float *to = DATA(float, out) + row;
    const float factor = inverse_rms(from, cols, eps);
    for (int v = 0; v < cols / 16; v++) vstore16(vload16(v, from) * vload16(v, weights) * factor, v, to);
    for (int i = cols / 16 * 16; i < cols; i++) to[i] = from[i] * weights[i] * factor;
}
#else
__kernel void rmsnorm(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, float eps) {
    const int row = get_global_id(0), groups = cols / 32;
    const __global float *from = DATA(const float, x) + (ulong)row * cols, *weights = DATA(const float, weight);
    __global uchar *to = out_buffer + out_offset + row * q8_row_bytes(cols);
    __global float *scales = (__global float *)(to + cols), *end = (__global float *)(to + q8_row_bytes(cols));
    const float factor = inverse_rms(from, cols, eps);
    for (int group = 0; group < groups; group++) {
        char16 low_codes, high_codes;
        float scale, sum;
        q8_round(vload16(2 * group, from) * vload16(2 * group, weights) * factor,
                 vload16(2 * group + 1, from) * vload16(2 * group + 1, weights) * factor, &low_codes, &high_codes,
                 &scale, &sum);
        vstore16(low_codes, 2 * group, (__global char *)to);
        vstore16(high_codes, 2 * group + 1, (__global char *)to);
        scales[group] = scale;
        scales[groups + group] = sum;
    }
    for (__global float *p = scales + 2 * groups; p < end; p++) *p = 0.0f;
}
#endif
