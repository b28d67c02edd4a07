/* matmul_gemm_vec.cl: many rows of x, on devices whose work-items are threads with vector registers (CPUs). No local
 * memory.
 *
 * A work-item takes 4 rows of weights at a time, decodes CHUNK columns of them to floats in private memory (in the
 * first cache), and multiplies all rows of x with them, X_TILE at a time:
 *
 *              CHUNK columns
 *        w  +--------------+ 4         a tile of sums, each a vector over neighbouring columns, which one folding
 *           +--------------+           makes numbers: 4 x 4 of 16 lanes where there are 32 registers of 512 bits,
 *        x  +--------------+ X_TILE    else 4 x 3 of 8, which 16 registers of 256 bits hold with what they are of
 *           +--------------+           (4 x 4 of 16 lanes lie in memory there, at half of the speed)
 *
 * Further chunks add to what the first left in the output. Activations in codes are first expanded to floats in scratch
 * (common/expand.clh): on CPUs without an integer multiply-accumulate of bytes, floats are faster than 16-bit integers
 * once decoding is shared by many rows. */

#define TILE 4

/* Which processor Intel's front end (SPIR) compiles for only the host knows. */
#if defined(__AVX512F__) || defined(__SPIR64__)
#define X_TILE 4
#define LANES 16
typedef float16 lanes;
#define LOAD_LANES vload16
#else
#define X_TILE 3
#define LANES 8
typedef float8 lanes;
#define LOAD_LANES vload8
#endif

INLINE float4 folded(float8 a, float8 b) {
    const float8 c = (float8)(a.s0145, b.s0145) + (float8)(a.s2367, b.s2367);
    return c.even + c.odd;
}
/* TILE vectors to the vector of their sums. */
INLINE float4 sums_of_8_lanes(const float8 *v) {
    return folded((float8)(v[0].lo, v[1].lo) + (float8)(v[0].hi, v[1].hi),
                  (float8)(v[2].lo, v[3].lo) + (float8)(v[2].hi, v[3].hi));
}

/* X_TILE rows of x by the panel. */
INLINE void tile_sums(const __global float *const *x, const float *panel, int vectors, float4 *tile) {
    lanes sums[X_TILE * TILE];
#pragma unroll
    for (int i = 0; i < X_TILE * TILE; i++) sums[i] = 0.0f;
    for (int v = 0; v < vectors; v++) {
        lanes a[X_TILE];
#pragma unroll
        for (int r = 0; r < X_TILE; r++) a[r] = LOAD_LANES(v, x[r]);
#pragma unroll
        for (int i = 0; i < TILE; i++) {
            const lanes w = LOAD_LANES(v, panel + i * CHUNK);
#pragma unroll
            for (int r = 0; r < X_TILE; r++) sums[r * TILE + i] = a[r] * w + sums[r * TILE + i];
        }
    }
#if LANES == 16
    const float16 all = sums_of_16(sums);
    tile[0] = all.s0123;
    tile[1] = all.s4567;
    tile[2] = all.s89ab;
    tile[3] = all.scdef;
#else
#pragma unroll
    for (int r = 0; r < X_TILE; r++) tile[r] = sums_of_8_lanes(sums + r * TILE);
#endif
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
        for (int row = 0; row < set->count; row += X_TILE) {
            const __global float *rows_at[X_TILE];
            const int there = min(X_TILE, set->count - row);
#pragma unroll
            for (int r = 0; r < X_TILE; r++) {
                const int at = row + min(r, there - 1);
                rows_at[r] = x + (ulong)row_of_x(set, at) * set->x_cols + column_of_x(set, at) + from;
            }
            float4 tile[X_TILE];
            tile_sums(rows_at, panel, vectors * (16 / LANES), tile);
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
