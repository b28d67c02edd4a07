/* matmul_gemm_vec.cl: many rows of x, on devices whose work-items are threads with vector registers (CPUs). No local
 * memory.
 *
 * A work-item takes 4 rows of weights at a time, decodes CHUNK columns of them to floats in private memory (in the
 * first cache), and multiplies all rows of x with them, 4 at a time:
 *
 *              CHUNK columns
 *        w  +--------------+ 4      a 4 x 4 tile of sums, each a float16 over 16 neighbouring columns;
 *           +--------------+        the 16 vectors become 16 numbers by one folding (sums_of_16)
 *        x  +--------------+ 4
 *           +--------------+
 *
 * Further chunks add to what the first left in the output. Activations in codes are first expanded to floats in scratch
 * (common/expand.clh): on CPUs without an integer multiply-accumulate of bytes, floats are faster than 16-bit integers
 * once decoding is shared by many rows. */

#define TILE 4

/* Four rows of x by the panel. */
INLINE float16 tile_sums(const __global float *const *x, const float *panel, int vectors) {
    float16 sums[TILE * TILE];
#pragma unroll
    for (int i = 0; i < TILE * TILE; i++) sums[i] = 0.0f;
    for (int v = 0; v < vectors; v++) {
        float16 w0 = vload16(v, panel), w1 = vload16(v, panel + CHUNK), w2 = vload16(v, panel + 2 * CHUNK),
                w3 = vload16(v, panel + 3 * CHUNK);
        float16 a = vload16(v, x[0]);
        sums[0] = a * w0 + sums[0];
        sums[1] = a * w1 + sums[1];
        sums[2] = a * w2 + sums[2];
        sums[3] = a * w3 + sums[3];
        a = vload16(v, x[1]);
        sums[4] = a * w0 + sums[4];
        sums[5] = a * w1 + sums[5];
        sums[6] = a * w2 + sums[6];
        sums[7] = a * w3 + sums[7];
        a = vload16(v, x[2]);
        sums[8] = a * w0 + sums[8];
        sums[9] = a * w1 + sums[9];
        sums[10] = a * w2 + sums[10];
        sums[11] = a * w3 + sums[11];
        a = vload16(v, x[3]);
        sums[12] = a * w0 + sums[12];
        sums[13] = a * w1 + sums[13];
        sums[14] = a * w2 + sums[14];
        sums[15] = a * w3 + sums[15];
    }
    return sums_of_16(sums);
}

/* Columns [n, n + TILE) of one part, those below `count`. */
INLINE void gemm_rows(const __global float *x, const struct rows *set, int cols, const __global uchar *w, int n,
                      int count, const __global float *bias, bool has_bias, const __global float *addend,
                      __global float *out) {
    __attribute__((aligned(64))) float panel[TILE * CHUNK];
    const int units = cols / 32, left = min(count - n, TILE);
    float4 biases = 0.0f;
    if (has_bias)
        biases = (float4)(bias[n], bias[n + min(1, left - 1)], bias[n + min(2, left - 1)], bias[n + min(3, left - 1)]);
    for (int from = 0; from < cols; from += CHUNK) {
        const int vectors = min(CHUNK, cols - from) / 16;
        for (int i = 0; i < TILE; i++) {
            const int row = n + min(i, left - 1);
            const __global uchar *from_row = weight_row(w, row, units);
            for (int v = 0; v < vectors; v += 2) {
                float16 low, high;
                float scale, offset;
                load_block(from_row, row, (from + 16 * v) / 32, &low, &high, &scale, &offset);
                vstore16(low * scale + offset, v, panel + i * CHUNK);
                vstore16(high * scale + offset, v + 1, panel + i * CHUNK);
            }
        }
        for (int row = 0; row < set->count; row += TILE) {
            const __global float *rows_at[TILE];
            const int there = min(TILE, set->count - row);
#pragma unroll
            for (int r = 0; r < TILE; r++) {
                const int at = row + min(r, there - 1);
                rows_at[r] = x + (ulong)row_of_x(set, at) * set->x_cols + column_of_x(set, at) + from;
            }
            float16 sums = tile_sums(rows_at, panel, vectors);
            float4 tile[TILE] = {sums.s0123, sums.s4567, sums.s89ab, sums.scdef};
            for (int r = 0; r < there; r++) {
                const ulong at = out_at(set, row + r) + n;
                float4 sum = tile[r];
                if (from == 0) sum += biases;
                if (left == TILE) {
#ifdef HAS_ADDEND
                    if (from == 0) sum += vload4(0, addend + at);
#endif
                    if (from > 0) sum += vload4(0, out + at);
                    vstore4(sum, 0, out + at);
                } else {
                    float values[TILE];
                    vstore4(sum, 0, values);
                    for (int i = 0; i < left; i++) {
#ifdef HAS_ADDEND
                        if (from == 0) values[i] += addend[at + i];
#endif
                        out[at + i] = from > 0 ? out[at + i] + values[i] : values[i];
                    }
                }
            }
        }
    }
}

__kernel void matmul_gemm_vec(MATMUL_ARGUMENTS, TENSOR(scratch)) {
    MATMUL_ROWS(get_global_id(1));
#ifdef IN0_CODES
    const __global float *values = DATA(const float, scratch);
#else
    const __global float *values = DATA(const float, x);
#endif
    int first, last;
    share(MATMUL_BLOCK_COUNT(TILE), 1, get_global_id(0), get_global_size(0), &first, &last);
    for (int p = 0; p < MATMUL_PARTS; p++) {
        MATMUL_PART(p);
        const int tiles = BLOCKS(count, TILE);
        for (int tile = max(first, 0); tile < min(last, tiles); tile++)
            gemm_rows(values, &set, cols, w, tile * TILE, count, bias, has_bias, MATMUL_ADDEND + start,
                      DATA(float, out) + start);
        first -= tiles;
        last -= tiles;
    }
}
