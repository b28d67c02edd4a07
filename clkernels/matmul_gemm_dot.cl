/* matmul_gemm_dot.cl: many rows of activations in codes, on GPUs that multiply four bytes at a time (common/dot.clh).
 * As matmul_gemm_local.cl, but the tiles stay codes: a quarter of the local memory and of the multiplications, and no
 * decoding but for the order of the bits.
 *
 *                       BN rows of weights
 *                   +--------------------------+
 *      32 columns   |  w: 8 words of 4 codes   |     each step: one unit of 32 columns; its sums of integers are
 *                   +--------------------------+     scaled by both scales and added up as floats
 *      +----+       +--------------------------+
 *   BM | x  |       |  TM x TN per work-item   |
 *      +----+       +--------------------------+
 *
 * Words of one column lie together, PAD words before the next column's, so that neither the lanes that write one row's
 * words nor those that read several rows' meet in one bank. */
#define LX (BN / TN)
#define LY (BM / TM)
#define PAD 4
#define X_WORDS (8 * PLANES)
#define X_STRIDE (BM + PAD)
#define W_STRIDE (BN + PAD)

#ifdef WEIGHT_TWO_SCALES
#define HALVES 2
#else
#define HALVES 1
#endif
#ifdef WEIGHT_TWO_OFFSETS
#define OFFSETS 2
#else
#define OFFSETS 1
#endif

__kernel void matmul_gemm_dot(MATMUL_ARGUMENTS) {
    __local int x_words[X_WORDS * X_STRIDE], w_words[8 * W_STRIDE];
    __local float x_scales[BM], x_sums[OFFSETS * BM], w_scales[2 * BN], w_offsets[OFFSETS * BN];
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
        for (int i = item; i < 4 * BN; i += LX * LY) {
            const int column = i / 4, quad = i % 4, row = min(n + column, count - 1);
            int low, high;
            load_words(weight_row(w, row, units), row, unit, quad, &low, &high);
            w_words[quad * W_STRIDE + column] = low;
            w_words[(quad + 4) * W_STRIDE + column] = high;
        }
        for (int i = item; i < BN; i += LX * LY) {
            const int row = min(n + i, count - 1);
            float low, high, offset[OFFSETS];
            load_scales(weight_row(w, row, units), row, unit, &low, &high, offset);
            w_scales[i] = low;
            w_scales[BN + i] = high;
            for (int o = 0; o < OFFSETS; o++) w_offsets[o * BN + i] = offset[o];
        }
        for (int i = item; i < X_WORDS * BM; i += LX * LY) {
            const struct x_row from = x_row_at(x_buffer + x_offset, &set, min(i / X_WORDS, set.count - 1));
            x_words[i % X_WORDS * X_STRIDE + i / X_WORDS] =
                ((const __global int *)from.data)[X_WORDS * unit + i % X_WORDS];
        }
        for (int i = item; i < BM; i += LX * LY) {
            const struct x_row from = x_row_at(x_buffer + x_offset, &set, min(i, set.count - 1));
            x_scales[i] = from.scales[unit];
#ifdef WEIGHT_TWO_OFFSETS
            const __global int *codes = (const __global int *)from.data + X_WORDS * unit;
            int low_sum[PLANES], high_sum[PLANES];
            for (int p = 0; p < PLANES; p++) {
                low_sum[p] = high_sum[p] = 0;
                for (int q = 0; q < 4; q++) {
                    low_sum[p] = dot4(codes[8 * p + q], 0x01010101, low_sum[p]);
                    high_sum[p] = dot4(codes[8 * p + q + 4], 0x01010101, high_sum[p]);
                }
            }
            x_sums[i] = from.scales[unit] * FROM_PLANES(low_sum);
            x_sums[BM + i] = from.scales[unit] * FROM_PLANES(high_sum);
#else
            x_sums[i] = from.sums[unit];
#endif
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int part_of_unit = 0; part_of_unit < HALVES; part_of_unit++) {
            int dots[TM][TN];
            UNROLL_ON_GPU
            for (int i = 0; i < TM; i++) {
                UNROLL_ON_GPU
                for (int j = 0; j < TN; j++) dots[i][j] = 0;
            }
            for (int p = 0; p < PLANES; p++) {
                UNROLL_ON_GPU
                for (int i = 0; i < TM; i++) {
                    UNROLL_ON_GPU
                    for (int j = 0; j < TN; j++) dots[i][j] *= 256;
                }
                UNROLL_ON_GPU
                for (int k = part_of_unit * 4; k < part_of_unit * 4 + 8 / HALVES; k++) {
                    int x[TM], v[TN];
                    UNROLL_ON_GPU
                    for (int i = 0; i < TM; i++) x[i] = x_words[(8 * p + k) * X_STRIDE + ty + i * LY];
                    UNROLL_ON_GPU
                    for (int j = 0; j < TN; j++) v[j] = w_words[k * W_STRIDE + tx + j * LX];
                    UNROLL_ON_GPU
                    for (int i = 0; i < TM; i++) {
                        UNROLL_ON_GPU
                        for (int j = 0; j < TN; j++) dots[i][j] = dot4(x[i], v[j], dots[i][j]);
                    }
                }
            }
            UNROLL_ON_GPU
            for (int i = 0; i < TM; i++) {
                const float x_scale = x_scales[ty + i * LY];
                UNROLL_ON_GPU
                for (int j = 0; j < TN; j++)
                    sums[i][j] = dots[i][j] * (x_scale * w_scales[part_of_unit * BN + tx + j * LX]) + sums[i][j];
            }
        }
        UNROLL_ON_GPU
        for (int i = 0; i < TM; i++) {
            UNROLL_ON_GPU
            for (int o = 0; o < OFFSETS; o++) {
                const float x_sum = x_sums[o * BM + ty + i * LY];
                UNROLL_ON_GPU
                for (int j = 0; j < TN; j++) sums[i][j] = w_offsets[o * BN + tx + j * LX] * x_sum + sums[i][j];
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
