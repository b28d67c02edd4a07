/* attention_vec.cl: one work-item per (tile, query head), for devices whose work-items are threads with vector
 * registers (CPUs). No local memory.
 *
 * An online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) over blocks of 16 positions:
 *
 *      16 positions of keys, as floats     for each row of the tile: 16 dot products, one folding (sums_of_16) to
 *      16 positions of values, as floats   16 scores, one exp over them; sums of the row += weight x value
 *
 * so that keys and values are converted once for all rows of a tile. 16 divides a page, so a block lies in one page.
 * Positions that a row does not see have weight zero; those that no row sees are not touched: nobody may ever have
 * written there. */

#define BLOCK 16
#define KEY_VECTORS ((HEAD_DIM + 15) / 16)
#define VALUE_VECTORS ((VALUE_DIM + 15) / 16)

/* Vector v of a head that begins at column `col`; heads that are no whole vectors end with zeros. */
#if HEAD_DIM % 16 == 0
#define QUERY_VECTOR(row, col, v) load16_f32(row, (col) + 16 * (v))
#define KEY_VECTOR(row, col, v) KEY(16, row, (col) + 16 * (v))
#else
INLINE float16 query_part(const __global uchar *row, int col, int count) {
    float part[16];
    for (int i = 0; i < 16; i++) part[i] = i < count ? load1_f32(row, col + i) : 0.0f;
    return vload16(0, part);
}
INLINE float16 key_part(const __global uchar *row, int col, int count) {
    float part[16];
    for (int i = 0; i < 16; i++) part[i] = i < count ? KEY(1, row, col + i) : 0.0f;
    return vload16(0, part);
}
#define QUERY_VECTOR(row, col, v) query_part(row, (col) + 16 * (v), HEAD_DIM - 16 * (v))
#define KEY_VECTOR(row, col, v) key_part(row, (col) + 16 * (v), HEAD_DIM - 16 * (v))
#endif
#if VALUE_DIM % 16 == 0
#define VALUE_VECTOR(row, col, v) VALUE(16, row, (col) + 16 * (v))
#else
INLINE float16 value_part(const __global uchar *row, int col, int count) {
    float part[16];
    for (int i = 0; i < 16; i++) part[i] = i < count ? VALUE(1, row, col + i) : 0.0f;
    return vload16(0, part);
}
#define VALUE_VECTOR(row, col, v) value_part(row, (col) + 16 * (v), VALUE_DIM - 16 * (v))
#endif

/* One row of queries, which sees lanes first .. end, against one block, of which `count` are there. */
INLINE void attend(const float16 *query, const float16 *keys, const float16 *values, int first, int end, int count,
                   float scale, float softcap, float *largest, float *total, float16 *sums) {
    float16 products[BLOCK];
#pragma unroll
    for (int j = 0; j < BLOCK; j++) {
        products[j] = query[0] * keys[j * KEY_VECTORS];
#pragma unroll
        for (int v = 1; v < KEY_VECTORS; v++) products[j] = query[v] * keys[j * KEY_VECTORS + v] + products[j];
    }
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    float16 scores = sums_of_16(products) * scale;
    /* cap tanh(score / cap), by e^x */
    if (softcap > 0.0f) scores = softcap - 2.0f * softcap / (exp(scores * (2.0f / softcap)) + 1.0f);
    scores = select((float16)-INFINITY, scores, (lane >= first) & (lane < end));
    const float now = fmax(*largest, max_float16(scores)), kept = exp(*largest - now);
    const float16 weights = exp(scores - now);
    *total = *total * kept + sum_float16(weights);
    *largest = now;
    float weight[BLOCK];
    vstore16(weights, 0, weight);
#pragma unroll
    for (int v = 0; v < VALUE_VECTORS; v++) {
        float16 sum = sums[v] * kept;
        for (int j = 0; j < count; j++) sum = (float16)weight[j] * values[j * VALUE_VECTORS + v] + sum;
        sums[v] = sum;
    }
}

#ifdef OUT0_CODES
/* One head of a row: VALUE_DIM / 32 groups. */
INLINE void store_head(__global uchar *out, int row, int head, const float16 *sums, float factor) {
    __global uchar *to = out + row * codes_row_bytes(OUT_COLS);
    for (int i = 0; i < VALUE_DIM / 32; i++)
        store_group(to, OUT_COLS, head * (VALUE_DIM / 32) + i, sums[2 * i] * factor, sums[2 * i + 1] * factor);
    if (head == 0) store_padding(to, OUT_COLS);
}
#else
INLINE void store_head(__global uchar *out, int row, int head, const float16 *sums, float factor) {
    __global float *to = (__global float *)out + (ulong)row * OUT_COLS + head * VALUE_DIM;
    for (int v = 0; v < VALUE_DIM / 16; v++) vstore16(sums[v] * factor, v, to);
#if VALUE_DIM % 16
    float part[16];
    vstore16(sums[VALUE_VECTORS - 1] * factor, 0, part);
    for (int i = 0; i < VALUE_DIM % 16; i++) to[VALUE_DIM / 16 * 16 + i] = part[i];
#endif
}
#endif

__kernel void attention_vec(ATTENTION_INPUTS, TENSOR(out), ATTENTION_NUMBERS) {
    const int head = get_global_id(0), kv_head = head / (HEADS / KV_HEADS);
    const __global int *tile = DATA(const int, tiles) + get_global_id(1) * TILE_COLS;
    const int first_row = tile[TILE_ROW], rows = tile[TILE_COUNT];
    const __global int *page = DATA(const int, pages) + (ulong)tile[TILE_LINE] * page_cols;
    float16 queries[TILE_ROWS * KEY_VECTORS], sums[TILE_ROWS * VALUE_VECTORS];
    float16 key[BLOCK * KEY_VECTORS], value[BLOCK * VALUE_VECTORS];
    float largest[TILE_ROWS], total[TILE_ROWS];
    int start, stop;
    TILE_RANGE(&start, &stop);
    for (int row = 0; row < rows; row++) {
        const __global uchar *from = (const __global uchar *)(DATA(const float, x) + (ulong)(first_row + row) * cols);
        for (int v = 0; v < KEY_VECTORS; v++) queries[row * KEY_VECTORS + v] = QUERY_VECTOR(from, head * HEAD_DIM, v);
        for (int v = 0; v < VALUE_VECTORS; v++) sums[row * VALUE_VECTORS + v] = 0.0f;
        largest[row] = FIRST_LARGEST(head);
        total[row] = FIRST_TOTAL;
    }
    for (int p = start / BLOCK * BLOCK; p < stop; p += BLOCK) {
        const int skip = max(0, start - p), count = min(BLOCK, stop - p);
        const ulong slot = slot_of(page, p);
        /* The weights are zero, too; a loop over the values that begins elsewhere is slower by a sixth on PoCL. */
        for (int j = 0; j < skip * VALUE_VECTORS; j++) value[j] = 0.0f;
        for (int j = skip; j < count; j++) {
            const __global uchar *key_row = KEY_ROW(slot + j), *value_row = VALUE_ROW(slot + j);
#pragma unroll
            for (int v = 0; v < KEY_VECTORS; v++) key[j * KEY_VECTORS + v] = KEY_VECTOR(key_row, kv_head * HEAD_DIM, v);
#pragma unroll
            for (int v = 0; v < VALUE_VECTORS; v++)
                value[j * VALUE_VECTORS + v] = VALUE_VECTOR(value_row, kv_head * VALUE_DIM, v);
        }
        for (int row = 0; row < rows; row++) {
            int first, end;
            RANGE(tile[TILE_POSITION] + row, &first, &end);
            if (first >= p + count || end <= p) continue;
            attend(queries + row * KEY_VECTORS, key, value, first - p, end - p, count, scale, softcap, largest + row,
                   total + row, sums + row * VALUE_VECTORS);
        }
    }
    for (int row = 0; row < rows; row++)
        store_head(out_buffer + out_offset, first_row + row, head, sums + row * VALUE_VECTORS, 1.0f / total[row]);
}
