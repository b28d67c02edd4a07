/* matmul_gemv_lanes.cl: few rows of x, on devices whose work-items run in lockstep (GPUs). Lanes share a row of
 * weights:
 *
 *      unit of 32 columns:   0    1    2   ...  L-1   L   L+1 ...
 *      lane:                 0    1    2   ...  L-1   0    1  ...      ROWS rows at once, x read once for them
 *
 * Two ways to add up the lanes, two variants of this file: SUBGROUP, a sub-group for ROWS rows and no barrier; else a
 * work-group of LANES for ROWS rows, with a tree in local memory. */

#ifdef SUBGROUP
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
#ifdef cl_intel_subgroups
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
#endif
#endif

INLINE float4 fold_unit(float16 a, float16 b, float4 sums) {
    sums = a.s0123 * b.s0123 + sums;
    sums = a.s4567 * b.s4567 + sums;
    sums = a.s89ab * b.s89ab + sums;
    return a.scdef * b.scdef + sums;
}

/* This lane's share of rows n .. n + ROWS - 1 (the last again where there are fewer). */
INLINE void lane_sums(const __global uchar *x, const __global uchar *w, int cols, int n, int count, int lane, int lanes,
                      float *sums) {
    const int units = cols / 32;
    const __global uchar *from[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        from[r] = weight_row(w, min(n + r, count - 1), units);
        sums[r] = 0.0f;
    }
    for (int unit = lane; unit < units; unit += lanes) {
#ifdef IN0_Q8
        const __global char *codes = (const __global char *)x;
        const __global float *scales = (const __global float *)(x + cols);
        const float x_scale = scales[unit], x_sum = scales[units + unit];
        float16 x_low = convert_float16(vload16(2 * unit, codes)),
                x_high = convert_float16(vload16(2 * unit + 1, codes));
#else
        const float x_scale = 1.0f;
        float16 x_low = vload16(2 * unit, (const __global float *)x),
                x_high = vload16(2 * unit + 1, (const __global float *)x);
        const float x_sum = sum_float16(x_low + x_high);
#endif
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float16 low, high;
            float scale, offset;
            load_block(from[r], min(n + r, count - 1), unit, &low, &high, &scale, &offset);
            const float dot = sum_float4(fold_unit(high, x_high, fold_unit(low, x_low, (float4)0.0f)));
            sums[r] = dot * (scale * x_scale) + (offset * x_sum + sums[r]);
        }
    }
}

/* Columns of the output in blocks of ROWS that lie in one part; declares w, start, count, bias, n of block `block`. */
#define BLOCKS(n) ((n + ROWS - 1) / ROWS)
#define FIND_BLOCK(block)                                                                                              \
    const int part = block < BLOCKS(n0) ? 0 : block < BLOCKS(n0) + BLOCKS(n1) ? 1 : 2;                                 \
    const int n = ROWS * (block - (part == 0 ? 0 : part == 1 ? BLOCKS(n0) : BLOCKS(n0) + BLOCKS(n1)));                 \
    MATMUL_PART(part)

INLINE ulong x_row_bytes(int cols) {
#ifdef IN0_Q8
    return q8_row_bytes(cols);
#else
    return (ulong)cols * 4;
#endif
}

#ifdef SUBGROUP
__kernel void matmul_gemv_subgroup(MATMUL_ARGUMENTS) {
    const int total = n0 + n1 + n2, blocks = BLOCKS(n0) + BLOCKS(n1) + BLOCKS(n2), row = get_global_id(1);
    const int lane = get_sub_group_local_id(), lanes = get_sub_group_size();
    const __global uchar *from = x_buffer + x_offset + row * x_row_bytes(cols);
    __global float *to = DATA(float, out) + (ulong)row * total;
    for (int block = get_group_id(0) * get_num_sub_groups() + get_sub_group_id(); block < blocks;
         block += get_num_groups(0) * get_num_sub_groups()) {
        FIND_BLOCK(block);
        float sums[ROWS];
        lane_sums(from, w, cols, n, count, lane, lanes, sums);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float sum = sub_group_reduce_add(sums[r]);
            if (lane != 0 || n + r >= count) continue;
            if (has_bias) sum += bias[n + r];
            to[start + n + r] = sum + ADDEND((ulong)row * total + start + n + r);
        }
    }
}
#else
__kernel void matmul_gemv_local(MATMUL_ARGUMENTS) {
    __local float tree[ROWS * LANES];
    const int total = n0 + n1 + n2, block = get_group_id(0), row = get_global_id(1), lane = get_local_id(0);
    FIND_BLOCK(block);
    float sums[ROWS];
    lane_sums(x_buffer + x_offset + row * x_row_bytes(cols), w, cols, n, count, lane, LANES, sums);
#pragma unroll
    for (int r = 0; r < ROWS; r++) tree[r * LANES + lane] = sums[r];
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_lanes)
#pragma unroll
            for (int r = 0; r < ROWS; r++) tree[r * LANES + lane] += tree[r * LANES + lane + half_lanes];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < ROWS && n + lane < count) {
        float sum = tree[lane * LANES];
        if (has_bias) sum += bias[n + lane];
        DATA(float, out)[(ulong)row * total + start + n + lane] = sum + ADDEND((ulong)row * total + start + n + lane);
    }
}
#endif
