/* rmsnorm_local.cl: a work-group per row, the sum of squares by a tree in local memory (GPUs). Alone and followed by
 * quantise. */
INLINE float sum_of_squares(const __global float *x, int cols, float unit, __local float *tree) {
    const int lane = get_local_id(0);
    float squares = 0.0f;
    for (int i = lane; i < cols; i += LANES) squares = x[i] * unit * (x[i] * unit) + squares;
    tree[lane] = squares;
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_lanes) tree[lane] += tree[lane + half_lanes];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return tree[0];
}

/* Of numbers beyond 1e19 squares are infinite: they are summed in a larger unit, next to which eps is nothing. */
INLINE float inverse_rms(const __global float *x, int cols, float eps, __local float *tree) {
    const float sum = sum_of_squares(x, cols, 1.0f, tree);
    if (!isinf(sum)) return 1.0f / sqrt(sum / cols + eps);
    barrier(CLK_LOCAL_MEM_FENCE); /* all lanes have read the sum */
    return 0x1p-64f / sqrt(sum_of_squares(x, cols, 0x1p-64f, tree) / cols);
}

__kernel void rmsnorm(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, float eps) {
    __local float tree[LANES];
    const int row = get_group_id(0), lane = get_local_id(0);
    const __global float *from = DATA(const float, x) + (ulong)row * cols, *weights = DATA(const float, weight);
    const float factor = inverse_rms(from, cols, eps, tree);
#ifdef OUT0_Q8
    const int groups = cols / 32;
    __global uchar *to = out_buffer + out_offset + row * q8_row_bytes(cols);
    __global float *scales = (__global float *)(to + cols), *end = (__global float *)(to + q8_row_bytes(cols));
    for (int group = lane; group < groups; group += LANES) {
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
    if (lane == 0)
        for (__global float *p = scales + 2 * groups; p < end; p++) *p = 0.0f;
#else
    __global float *to = DATA(float, out) + (ulong)row * cols;
    for (int i = lane; i < cols; i += LANES) to[i] = from[i] * weights[i] * factor;
#endif
}
