/* attention_vec.cl: one work-item per (tile, query head), for devices whose work-items are threads with vector
 * registers (CPUs). No local memory.
 *
 * An online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) over blocks of 16 positions:
 *
 *      16 positions of keys, as floats     for each row of the tile: 16 dot products, one folding (sums_of_16) to
 *      16 positions of values, as floats   16 scores, one exp over them; sums of the row += weight x value
 *
 * so that halves are converted once for all rows of a tile. 16 divides a page, so a block lies in one page. Positions
 * that a row does not see have weight zero; those that no row sees are not touched, since nobody ever wrote there. */

#define BLOCK 16
#define VECTORS (HEAD_DIM / 16)

#ifdef IN1_F16
#define KEY_TYPE half
#define LOAD_KEY(index, p) vload_half16(index, (const __global half *)(p))
#else
#define KEY_TYPE float
#define LOAD_KEY(index, p) vload16(index, (const __global float *)(p))
#endif
#ifdef IN2_F16
#define VALUE_TYPE half
#define LOAD_VALUE(index, p) vload_half16(index, (const __global half *)(p))
#else
#define VALUE_TYPE float
#define LOAD_VALUE(index, p) vload16(index, (const __global float *)(p))
#endif

/* One row of queries against one block. */
INLINE void attend(const float16 *query, const float16 *keys, const float16 *values, int seen, int count, float scale,
                   float *largest, float *total, float16 *sums) {
    float16 products[BLOCK];
#pragma unroll
    for (int j = 0; j < BLOCK; j++) {
        products[j] = query[0] * keys[j * VECTORS];
#pragma unroll
        for (int v = 1; v < VECTORS; v++) products[j] = query[v] * keys[j * VECTORS + v] + products[j];
    }
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const float16 scores = select((float16)-INFINITY, sums_of_16(products) * scale, lane < seen);
    const float now = fmax(*largest, max_float16(scores)), kept = exp(*largest - now);
    const float16 weights = exp(scores - now);
    *total = *total * kept + sum_float16(weights);
    *largest = now;
    float weight[BLOCK];
    vstore16(weights, 0, weight);
#pragma unroll
    for (int v = 0; v < VECTORS; v++) {
        float16 sum = sums[v] * kept;
        for (int j = 0; j < count; j++) sum = (float16)weight[j] * values[j * VECTORS + v] + sum;
        sums[v] = sum;
    }
}

#ifdef OUT0_Q8
/* One head of a row: HEAD_DIM / 32 groups. */
INLINE void store_head(__global uchar *out, int row, int head, const float16 *sums, float factor) {
    const int cols = HEADS * HEAD_DIM;
    __global uchar *to = out + row * q8_row_bytes(cols);
    __global float *scales = (__global float *)(to + cols);
    for (int i = 0; i < HEAD_DIM / 32; i++) {
        const int group = head * (HEAD_DIM / 32) + i;
        char16 low, high;
        float scale, sum;
        q8_round(sums[2 * i] * factor, sums[2 * i + 1] * factor, &low, &high, &scale, &sum);
        vstore16(low, 2 * group, (__global char *)to);
        vstore16(high, 2 * group + 1, (__global char *)to);
        scales[group] = scale;
        scales[cols / 32 + group] = sum;
    }
    if (head > 0) return;
    for (__global float *p = scales + cols / 16; p < (__global float *)(to + q8_row_bytes(cols)); p++) *p = 0.0f;
}
#else
INLINE void store_head(__global uchar *out, int row, int head, const float16 *sums, float factor) {
    __global float *to = (__global float *)out + (ulong)row * HEADS * HEAD_DIM + head * HEAD_DIM;
    for (int v = 0; v < VECTORS; v++) vstore16(sums[v] * factor, v, to);
}
#endif

__kernel void attention_vec(TENSOR(x), TENSOR(keys), TENSOR(values), TENSOR(tiles), TENSOR(pages), TENSOR(out),
                            int cols, int page_cols, float scale) {
    const int head = get_global_id(0), kv_cols = KV_HEADS * HEAD_DIM, kv_head = head / (HEADS / KV_HEADS);
    const int4 tile = vload4(get_global_id(1), DATA(const int, tiles));
    const int first_row = tile.x, rows = tile.y, position = tile.w;
    const __global int *page = DATA(const int, pages) + (ulong)tile.z * page_cols;
    float16 queries[TILE_ROWS * VECTORS], sums[TILE_ROWS * VECTORS], key[BLOCK * VECTORS], value[BLOCK * VECTORS];
    float largest[TILE_ROWS], total[TILE_ROWS];
    for (int row = 0; row < rows; row++) {
        const __global float *from = DATA(const float, x) + (ulong)(first_row + row) * cols + head * HEAD_DIM;
        for (int v = 0; v < VECTORS; v++) {
            queries[row * VECTORS + v] = vload16(v, from);
            sums[row * VECTORS + v] = 0.0f;
        }
        largest[row] = -INFINITY;
        total[row] = 0.0f;
    }
    for (int p = 0; p < position + rows; p += BLOCK) {
        const int count = min(BLOCK, position + rows - p);
        const ulong at = ((ulong)page[p / PAGE_ROWS] * PAGE_ROWS + p % PAGE_ROWS) * kv_cols + kv_head * HEAD_DIM;
        for (int j = 0; j < count; j++)
#pragma unroll
            for (int v = 0; v < VECTORS; v++) {
                key[j * VECTORS + v] = LOAD_KEY(v, DATA(const KEY_TYPE, keys) + at + (ulong)j * kv_cols);
                value[j * VECTORS + v] = LOAD_VALUE(v, DATA(const VALUE_TYPE, values) + at + (ulong)j * kv_cols);
            }
        for (int row = max(0, p - position); row < rows; row++)
            attend(queries + row * VECTORS, key, value, position + row + 1 - p, count, scale, largest + row,
                   total + row, sums + row * VECTORS);
    }
    for (int row = 0; row < rows; row++)
        store_head(out_buffer + out_offset, first_row + row, head, sums + row * VECTORS, 1.0f / total[row]);
}
