/* attention_vec.cl: one work-item per (tile, query head), or for all query heads that share keys and values where tiles
 * are single rows, for devices whose work-items are threads with vector registers (CPUs). No local memory.
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
#define TOGETHER 4
/* Rows of queries of a work-item: of a tile, or of all heads that share keys and values. */
#define MOST_QUERIES (HEADS / KV_HEADS > TILE_ROWS ? HEADS / KV_HEADS : TILE_ROWS)
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

/* One row of queries, which sees lanes first .. end, against one block: what each position counts, and by how much the
 * sums so far count less. */
INLINE void weigh(const float16 *query, const float16 *keys, int first, int end, float scale, float softcap,
                  float *largest, float *total, float *weights, float *kept) {
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
    const float now = fmax(*largest, max_float16(scores));
    const float16 counts = exp(scores - now);
    *kept = exp(*largest - now);
    *total = *total * *kept + sum_float16(counts);
    *largest = now;
    vstore16(counts, 0, weights);
}

/* `rows` rows, a constant: a value is loaded once for all. */
INLINE void add_values(const float16 *values, int count, const float *weights, const float *kept, float16 *sums,
                       int rows) {
#pragma unroll
    for (int v = 0; v < VALUE_VECTORS; v++) {
        float16 sum[TOGETHER];
#pragma unroll
        for (int r = 0; r < rows; r++) sum[r] = sums[r * VALUE_VECTORS + v] * kept[r];
        for (int j = 0; j < count; j++) {
            const float16 value = values[j * VALUE_VECTORS + v];
#pragma unroll
            for (int r = 0; r < rows; r++) sum[r] = (float16)weights[r * BLOCK + j] * value + sum[r];
        }
#pragma unroll
        for (int r = 0; r < rows; r++) sums[r * VALUE_VECTORS + v] = sum[r];
    }
}

#ifdef OUT0_Q8
/* One head of a row: VALUE_DIM / 32 groups. */
INLINE void store_head(__global uchar *out, int row, int head, const float16 *sums, float factor) {
    __global uchar *to = out + row * q8_row_bytes(OUT_COLS);
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
    const int shared = HEADS / get_global_size(0), first_head = get_global_id(0) * shared;
    const int kv_head = first_head / (HEADS / KV_HEADS);
    const __global int *tile = DATA(const int, tiles) + get_global_id(1) * TILE_COLS;
    const int first_row = tile[TILE_ROW], queries_count = tile[TILE_COUNT] * shared;
    const __global int *page = DATA(const int, pages) + (ulong)tile[TILE_LINE] * page_cols;
    float16 queries[MOST_QUERIES * KEY_VECTORS], sums[MOST_QUERIES * VALUE_VECTORS];
    float16 key[BLOCK * KEY_VECTORS], value[BLOCK * VALUE_VECTORS];
    float largest[MOST_QUERIES], total[MOST_QUERIES], kept[MOST_QUERIES], weights[MOST_QUERIES * BLOCK];
    int start, stop;
    TILE_RANGE(&start, &stop);
    for (int q = 0; q < queries_count; q++) {
        const int head = first_head + q % shared;
        const __global uchar *from =
            (const __global uchar *)(DATA(const float, x) + (ulong)(first_row + q / shared) * cols);
        for (int v = 0; v < KEY_VECTORS; v++) queries[q * KEY_VECTORS + v] = QUERY_VECTOR(from, head * HEAD_DIM, v);
        for (int v = 0; v < VALUE_VECTORS; v++) sums[q * VALUE_VECTORS + v] = 0.0f;
        largest[q] = FIRST_LARGEST(head);
        total[q] = FIRST_TOTAL;
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
        for (int q = 0; q < queries_count; q++) {
            int first, end;
            RANGE(tile[TILE_POSITION] + q / shared, &first, &end);
            kept[q] = 1.0f;
            if (first >= p + count || end <= p)
                for (int j = 0; j < BLOCK; j++) weights[q * BLOCK + j] = 0.0f;
            else
                weigh(queries + q * KEY_VECTORS, key, first - p, end - p, scale, softcap, largest + q, total + q,
                      weights + q * BLOCK, kept + q);
        }
        int q = 0;
        for (; q + TOGETHER <= queries_count; q += TOGETHER)
            add_values(value, count, weights + q * BLOCK, kept + q, sums + q * VALUE_VECTORS, TOGETHER);
        for (; q < queries_count; q++)
            add_values(value, count, weights + q * BLOCK, kept + q, sums + q * VALUE_VECTORS, 1);
    }
    for (int q = 0; q < queries_count; q++)
        store_head(out_buffer + out_offset, first_row + q / shared, first_head + q % shared, sums + q * VALUE_VECTORS,
                   1.0f / total[q]);
}
