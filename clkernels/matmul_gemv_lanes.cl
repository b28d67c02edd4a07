/* matmul_gemv_lanes.cl: few rows of x, on devices whose work-items run in lockstep (GPUs). Lanes share a row of
 * weights:
 *
 *      unit of 32 columns:   0    1    2   ...  L-1   L   L+1 ...
 *      lane:                 0    1    2   ...  L-1   0    1  ...      ROWS rows at once, x read once for them
 *
 * Two ways to add up the lanes, two variants of this file: SUBGROUP, a sub-group for ROWS rows and no barrier; else a
 * work-group of LANES for ROWS rows and local memory, added up by a tree (REDUCE 2) or by one lane per row (REDUCE 1).
 *
 * And two ways to multiply: floats, or (DOT, with activations in codes) four bytes at a time, of each of their planes.
 * Then a lane takes QUADS words of four weights and those 16 columns on, so that 4 / QUADS lanes share a unit and
 * neighbours read neighbouring words:
 *
 *      columns:      0..3  4..7  8..11 12..15 16..19 ...
 *      QUADS = 1:    lane0 lane1 lane2 lane3  lane0  ...
 */

#ifdef SUBGROUP
#ifdef cl_khr_subgroups
#pragma OPENCL EXTENSION cl_khr_subgroups : enable
#endif
#ifdef cl_intel_subgroups
#pragma OPENCL EXTENSION cl_intel_subgroups : enable
#endif
#endif

#ifdef DOT
#define PARTS (4 / QUADS)

/* This lane's share of rows n .. n + ROWS - 1 (the last again where there are fewer). */
INLINE void lane_sums(struct x_row x, const __global uchar *w, int cols, int n, int count, int lane, int lanes,
                      float *sums) {
    const int units = cols / 32;
    const __global int *words = (const __global int *)x.data;
    const __global uchar *from[ROWS];
    UNROLL_ON_GPU
    for (int r = 0; r < ROWS; r++) {
        from[r] = weight_row(w, min(n + r, count - 1), units);
        sums[r] = 0.0f;
    }
    for (int i = lane; i < units * PARTS; i += lanes) {
        const int unit = i / PARTS, first = i % PARTS * QUADS;
        const float x_scale = x.scales[unit];
        int x_low[PLANES][QUADS], x_high[PLANES][QUADS];
        UNROLL_ON_GPU
        for (int p = 0; p < PLANES; p++) {
            UNROLL_ON_GPU
            for (int q = 0; q < QUADS; q++) {
                x_low[p][q] = words[8 * (PLANES * unit + p) + first + q];
                x_high[p][q] = words[8 * (PLANES * unit + p) + first + q + 4];
            }
        }
#ifdef WEIGHT_TWO_OFFSETS
        int low_sum[PLANES], high_sum[PLANES];
        UNROLL_ON_GPU
        for (int p = 0; p < PLANES; p++) {
            low_sum[p] = high_sum[p] = 0;
            UNROLL_ON_GPU
            for (int q = 0; q < QUADS; q++) {
                low_sum[p] = dot4(x_low[p][q], 0x01010101, low_sum[p]);
                high_sum[p] = dot4(x_high[p][q], 0x01010101, high_sum[p]);
            }
        }
#else
        const float x_sum = first == 0 ? x.sums[unit] : 0.0f;
#endif
        UNROLL_ON_GPU
        for (int r = 0; r < ROWS; r++) {
            const int row = min(n + r, count - 1);
            int low_dot[PLANES], high_dot[PLANES];
            UNROLL_ON_GPU
            for (int p = 0; p < PLANES; p++) low_dot[p] = high_dot[p] = 0;
            float low_scale, high_scale, offset[2];
            load_scales(from[r], row, unit, &low_scale, &high_scale, offset);
            UNROLL_ON_GPU
            for (int q = 0; q < QUADS; q++) {
                int low, high;
                load_words(from[r], row, unit, first + q, &low, &high);
                UNROLL_ON_GPU
                for (int p = 0; p < PLANES; p++) {
                    low_dot[p] = dot4(low, x_low[p][q], low_dot[p]);
                    high_dot[p] = dot4(high, x_high[p][q], high_dot[p]);
                }
            }
            const float dot = FROM_PLANES(low_dot) * low_scale + FROM_PLANES(high_dot) * high_scale;
#ifdef WEIGHT_TWO_OFFSETS
            sums[r] = (FROM_PLANES(low_sum) * offset[0] + FROM_PLANES(high_sum) * offset[1] + dot) * x_scale + sums[r];
#else
            sums[r] = dot * x_scale + (offset[0] * x_sum + sums[r]);
#endif
        }
    }
}
#else
INLINE float4 fold_unit(float16 a, float16 b, float4 sums) {
    sums = a.s0123 * b.s0123 + sums;
    sums = a.s4567 * b.s4567 + sums;
    sums = a.s89ab * b.s89ab + sums;
    return a.scdef * b.scdef + sums;
}

/* This lane's share of rows n .. n + ROWS - 1 (the last again where there are fewer). */
INLINE void lane_sums(struct x_row x, const __global uchar *w, int cols, int n, int count, int lane, int lanes,
                      float *sums) {
    const int units = cols / 32;
    const __global uchar *from[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        from[r] = weight_row(w, min(n + r, count - 1), units);
        sums[r] = 0.0f;
    }
    for (int unit = lane; unit < units; unit += lanes) {
        float16 x_low, x_high;
#ifdef IN0_CODES
        const float x_scale = x.scales[unit], x_sum = x.sums[unit];
        load_codes_of_x(x.data, unit, &x_low, &x_high);
#else
        const float x_scale = 1.0f;
        x_low = vload16(2 * unit, (const __global float *)x.data);
        x_high = vload16(2 * unit + 1, (const __global float *)x.data);
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
#endif

#ifdef SUBGROUP
__kernel void matmul_gemv_subgroup(MATMUL_ARGUMENTS) {
    const int blocks = MATMUL_BLOCK_COUNT(ROWS), lane = get_sub_group_local_id(), lanes = get_sub_group_size();
    MATMUL_ROW(get_global_id(1));
    const struct x_row from = x_row_at(x_buffer + x_offset, &set, 0);
    for (int block = get_group_id(0) * get_num_sub_groups() + get_sub_group_id(); block < blocks;
         block += get_num_groups(0) * get_num_sub_groups()) {
        MATMUL_BLOCK(block, ROWS);
        float sums[ROWS];
        lane_sums(from, w, cols, n, count, lane, lanes, sums);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float sum = sub_group_reduce_add(sums[r]);
            if (lane == 0 && n + r < count) MATMUL_STORE(0, n + r, sum);
        }
    }
}
#else
__kernel void matmul_gemv_local(MATMUL_ARGUMENTS) {
    __local float tree[ROWS * LANES];
    const int block = get_group_id(0), lane = get_local_id(0);
    MATMUL_ROW(get_global_id(1));
    MATMUL_BLOCK(block, ROWS);
    float sums[ROWS];
    lane_sums(x_row_at(x_buffer + x_offset, &set, 0), w, cols, n, count, lane, LANES, sums);
#pragma unroll
    for (int r = 0; r < ROWS; r++) tree[r * LANES + lane] = sums[r];
#if REDUCE == 1
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < ROWS)
        for (int other = 1; other < LANES; other++) tree[lane * LANES] += tree[lane * LANES + other];
#else
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {
        barrier(CLK_LOCAL_MEM_FENCE);
        if (lane < half_lanes)
#pragma unroll
            for (int r = 0; r < ROWS; r++) tree[r * LANES + lane] += tree[r * LANES + lane + half_lanes];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
#endif
    if (lane < ROWS && n + lane < count) MATMUL_STORE(0, n + lane, tree[lane * LANES]);
}
#endif
