/* norm_local.cl: rmsnorm, layernorm and norm_heads, a work-group per row or slice, sums by a tree in local memory
 * (GPUs). Alone and followed by quantise. */

/* The sum of a number of each lane, for all lanes. */
INLINE float sum_of_lanes(float value, __local float *tree) {
    const int lane = get_local_id(0);
    barrier(CLK_LOCAL_MEM_FENCE); /* all lanes have read the sum before */
    tree[lane] = value;
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_lanes) tree[lane] += tree[lane + half_lanes];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    return tree[0];
}

INLINE float mean_of(const __global float *x, int cols, float unit, __local float *tree) {
    float sum = 0.0f;
    for (int i = get_local_id(0); i < cols; i += LANES) sum += x[i] * unit;
    return sum_of_lanes(sum, tree) / cols;
}

INLINE float sum_of_squares(const __global float *x, int cols, float mean, float unit, __local float *tree) {
    float squares = 0.0f;
    for (int i = get_local_id(0); i < cols; i += LANES) {
        const float value = x[i] * unit - mean;
        squares = value * value + squares;
    }
    return sum_of_lanes(squares, tree);
}

/* Of numbers beyond 1e19 squares are infinite: they are summed in a larger unit, next to which eps is nothing. */
INLINE struct norm norm_of(const __global float *x, int cols, float eps, bool centred, __local float *tree) {
    struct norm norm;
    norm.mean = centred ? mean_of(x, cols, 1.0f, tree) : 0.0f;
    const float sum = sum_of_squares(x, cols, norm.mean, 1.0f, tree);
    norm.factor = 1.0f / sqrt(sum / cols + eps);
    if (isinf(sum)) {
        const float mean = centred ? mean_of(x, cols, 0x1p-64f, tree) : 0.0f;
        norm.mean = mean * 0x1p64f;
        norm.factor = 0x1p-64f / sqrt(sum_of_squares(x, cols, mean, 0x1p-64f, tree) / cols);
    }
    return norm;
}

INLINE void norm_rows(const __global float *x, const __global float *weights, const __global float *offsets,
                      __global uchar *out, int cols, float eps, bool centred, __local float *tree) {
    const int row = get_group_id(0), lane = get_local_id(0);
    const __global float *from = x + (ulong)row * cols;
    const struct norm norm = norm_of(from, cols, eps, centred, tree);
#ifdef OUT0_CODES
    __global uchar *to = out + row * codes_row_bytes(cols);
    for (int group = lane; group < cols / 32; group += LANES)
        store_normed(to, cols, group, from, norm, weights, offsets);
    if (lane == 0) store_padding(to, cols);
#else
    __global float *to = (__global float *)out + (ulong)row * cols;
    for (int i = lane; i < cols; i += LANES) to[i] = normed_number(from, i, norm, weights, offsets);
#endif
}

__kernel void rmsnorm(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, float eps) {
    __local float tree[LANES];
    norm_rows(DATA(const float, x), DATA(const float, weight), 0, out_buffer + out_offset, cols, eps, false, tree);
}

__kernel void layernorm(TENSOR(x), TENSOR(weight), TENSOR(bias), TENSOR(out), int cols, float eps) {
    __local float tree[LANES];
    norm_rows(DATA(const float, x), DATA(const float, weight), DATA(const float, bias), out_buffer + out_offset, cols,
              eps, true, tree);
}

/* Work-groups (slice, row); the one behind the last slice copies what is in none. It sums as well, since PoCL goes
 * wrong where only some work-groups come to a barrier. */
__kernel void norm_heads(TENSOR(x), TENSOR(weight), TENSOR(out), int cols, int weight_cols, int first, int groups,
                         int width, int centred, float eps) {
    __local float tree[LANES];
    const int group = get_group_id(0), lane = get_local_id(0), start = first + group * width;
    const __global float *row = DATA(const float, x) + (ulong)get_group_id(1) * cols;
    const __global float *from = row + first + min(group, groups - 1) * width;
    const __global float *weights = DATA(const float, weight) + (weight_cols > width ? group * width : 0);
    __global float *to = DATA(float, out) + (ulong)get_group_id(1) * cols;
    const struct norm norm = norm_of(from, width, eps, centred != 0, tree);
    if (group < groups) {
        for (int i = lane; i < width; i += LANES) to[start + i] = normed_number(from, i, norm, weights, 0);
    } else {
        for (int i = lane; i < first; i += LANES) to[i] = row[i];
        for (int i = start + lane; i < cols; i += LANES) to[i] = row[i];
    }
}
