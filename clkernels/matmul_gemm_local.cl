/* matmul_gemm_local.cl: many rows of x, with tiles in local memory (GPUs). A work-group makes a BM x BN tile of the
 * output, a work-item TM x TN numbers of it, strided so that neighbours read neighbouring words of local memory:
 *
 *                       BN rows of weights
 *                   +--------------------------+
 *      32 columns   |  w tile, decoded         |      each step: one unit of 32 columns of all BM rows of x and BN rows
 *                   +--------------------------+      of weights is decoded to floats, by one work-item per row
 *      +----+       +--------------------------+
 *   BM | x  |       |  TM x TN per work-item   |
 *      +----+       +--------------------------+
 */
#define LX (BN / TN)
#define LY (BM / TM)

INLINE void load_x(struct x_row from, int unit, __local float *to) {
    float16 low, high;
#ifdef IN0_CODES
    load_codes_of_x(from.data, unit, &low, &high);
    low *= from.scales[unit];
    high *= from.scales[unit];
#else
    low = vload16(2 * unit, (const __global float *)from.data);
    high = vload16(2 * unit + 1, (const __global float *)from.data);
#endif
    float values[32];
    vstore16(low, 0, values);
    vstore16(high, 1, values);
    UNROLL_ON_GPU
    for (int k = 0; k < 32; k++) to[k * BM] = values[k];
}

INLINE void load_w(const __global uchar *w, int row, int unit, int units, __local float *to) {
    float16 low, high;
    float scale, offset;
    load_block(weight_row(w, row, units), row, unit, &low, &high, &scale, &offset);
    float values[32];
    vstore16(low * scale + offset, 0, values);
    vstore16(high * scale + offset, 1, values);
    UNROLL_ON_GPU
    for (int k = 0; k < 32; k++) to[k * BN] = values[k];
}

__kernel void matmul_gemm_local(MATMUL_ARGUMENTS) {
    __local float x_tile[32 * BM], w_tile[32 * BN];
    const int units = cols / 32, block = get_group_id(0);
    MATMUL_TILE(get_group_id(1), BM);
    MATMUL_BLOCK(block, BN);
    const int tx = get_local_id(0), ty = get_local_id(1), item = ty * LX + tx;
    float sums[TM][TN];
    UNROLL_ON_GPU
    for (int i = 0; i < TM; i++) {
        UNROLL_ON_GPU
        for (int j = 0; j < TN; j++) sums[i][j] = 0.0f;
    }
    for (int unit = 0; unit < units; unit++) {
        for (int i = item; i < BN; i += LX * LY) load_w(w, min(n + i, count - 1), unit, units, w_tile + i);
        for (int i = LX * LY - 1 - item; i < BM; i += LX * LY)
            load_x(x_row_at(x_buffer + x_offset, &set, min(i, set.count - 1)), unit, x_tile + i);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < 32; k++) {
            float x[TM], v[TN];
            UNROLL_ON_GPU
            for (int i = 0; i < TM; i++) x[i] = x_tile[k * BM + ty + i * LY];
            UNROLL_ON_GPU
            for (int j = 0; j < TN; j++) v[j] = w_tile[k * BN + tx + j * LX];
            UNROLL_ON_GPU
            for (int i = 0; i < TM; i++) {
                UNROLL_ON_GPU
                for (int j = 0; j < TN; j++) sums[i][j] = x[i] * v[j] + sums[i][j];
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    UNROLL_ON_GPU
    for (int i = 0; i < TM; i++) {
        UNROLL_ON_GPU
        for (int j = 0; j < TN; j++) {
            const int row = ty + i * LY, column = n + tx + j * LX;
            if (row < set.count && column < count) MATMUL_STORE(row, column, sums[i][j]);
        }
    }
}
