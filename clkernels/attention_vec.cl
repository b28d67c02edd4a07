/* attention_vec.cl: one work-item per (tile, query head), for devices whose work-items are threads with vector
 * registers (CPUs). No local memory. Where tiles are single rows it may have several heads that share keys and values.
 *
 * An online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867) over blocks of 16 positions:
 *
 *      16 positions of keys, as floats     for each row of the tile: 16 dot products, one folding (sums_of_16) to
 *      16 positions of values, as floats   16 scores, e^x of them; sums of the row += weight x value
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

/* e^x of what is at most 0: 4e-6 of it at most, 4e-7 down to e^-5. From e^-88 on it is 0, not nearly so: else what a
 * row does not see would change its last bit. NaN stays NaN. 2^n by its bits, of which 2^-127 has none, and a
 * polynomial for the rest: half of the instructions that exp() takes, which knows all numbers. */
INLINE float16 exp_of_negative(float16 x) {
    float16 t = x * 1.44269504f;
    t = t < -127.0f ? (float16)-127.0f : t;
    const float16 shifted = t + 12583039.0f; /* 1.5 * 2^23 + 127: the last bits are n + 127 */
    const float16 part = t - (shifted - 12583039.0f);
    float16 power = 1.32647267e-3f * part + 9.67151297e-3f;
    power = power * part + 5.55073375e-2f;
    power = power * part + 2.40222421e-1f;
    power = power * part + 6.93146978e-1f;
    power = power * part + 1.0f;
    return power * as_float16(as_int16(shifted) << 23);
}

/* The weights of a block whose products these are, for a row that sees lanes first .. end; sums and total become those
 * of the new maximum. Most blocks have no score above those before: then nothing waits for a maximum across lanes. */
INLINE float16 weights_of(const float16 *products, int first, int end, float scale, float softcap, float *largest,
                          float16 *total, float16 *sums) {
    float16 scores = sums_of_16(products) * scale;
    /* cap tanh(score / cap), by e^x */
    if (softcap > 0.0f) scores = softcap - 2.0f * softcap / (exp(scores * (2.0f / softcap)) + 1.0f);
    if (first > 0 || end < BLOCK) {
        const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        scores = select((float16)-INFINITY, scores, (lane >= first) & (lane < end));
    }
    if (any(scores > *largest)) {
        const float now = fmax(*largest, max_float16(scores)), kept = exp(*largest - now);
        *largest = now;
        *total *= kept;
#pragma unroll
        for (int v = 0; v < VALUE_VECTORS; v++) sums[v] *= kept;
    }
    const float16 weights = exp_of_negative(scores - *largest);
    *total += weights;
    return weights;
}

/* One row of queries against one block. */
INLINE void attend(const float16 *query, const float16 *keys, const float16 *values, int first, int end, float scale,
                   float softcap, float *largest, float16 *total, float16 *sums) {
    float16 products[BLOCK];
#pragma unroll
    for (int j = 0; j < BLOCK; j++) {
        products[j] = query[0] * keys[j * KEY_VECTORS];
#pragma unroll
        for (int v = 1; v < KEY_VECTORS; v++) products[j] = query[v] * keys[j * KEY_VECTORS + v] + products[j];
    }
    float weight[BLOCK];
    vstore16(weights_of(products, first, end, scale, softcap, largest, total, sums), 0, weight);
    float16 sum[VALUE_VECTORS];
#pragma unroll
    for (int v = 0; v < VALUE_VECTORS; v++) sum[v] = sums[v];
#pragma unroll
    for (int j = 0; j < BLOCK; j++) {
#pragma unroll
        for (int v = 0; v < VALUE_VECTORS; v++) sum[v] = (float16)weight[j] * values[j * VALUE_VECTORS + v] + sum[v];
    }
#pragma unroll
    for (int v = 0; v < VALUE_VECTORS; v++) sums[v] = sum[v];
}

/* The same of a row alone, straight from the cache: keys and values are used once, as they are converted. */
#define AT_ONCE 4
INLINE void attend_alone(const float16 *query, const __global uchar *keys, int key_col, const __global uchar *values,
                         int value_col, int first, int end, float scale, float softcap, float *largest, float16 *total,
                         float16 *sums) {
    float16 products[BLOCK];
    float weight[BLOCK];
    if (first == 0 && end == BLOCK) {
        for (int j = 0; j < BLOCK; j += AT_ONCE) {
            float16 product[AT_ONCE];
#pragma unroll
            for (int v = 0; v < KEY_VECTORS; v++) {
#pragma unroll
                for (int i = 0; i < AT_ONCE; i++) {
                    const float16 key = KEY_VECTOR(keys + (j + i) * KEY_ROW_BYTES, key_col, v);
                    product[i] = v == 0 ? query[v] * key : query[v] * key + product[i];
                }
            }
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) products[j + i] = product[i];
        }
    } else {
        for (int j = 0; j < BLOCK; j++) products[j] = 0.0f;
        for (int j = first; j < end; j++) {
            products[j] = query[0] * KEY_VECTOR(keys + j * KEY_ROW_BYTES, key_col, 0);
            for (int v = 1; v < KEY_VECTORS; v++)
                products[j] = query[v] * KEY_VECTOR(keys + j * KEY_ROW_BYTES, key_col, v) + products[j];
        }
    }
    vstore16(weights_of(products, first, end, scale, softcap, largest, total, sums), 0, weight);
    if (first == 0 && end == BLOCK) {
        for (int v = 0; v < VALUE_VECTORS; v++) {
            float16 sum = sums[v];
#pragma unroll
            for (int j = 0; j < BLOCK; j++)
                sum = (float16)weight[j] * VALUE_VECTOR(values + j * VALUE_ROW_BYTES, value_col, v) + sum;
            sums[v] = sum;
        }
    } else {
        for (int v = 0; v < VALUE_VECTORS; v++) {
            for (int j = first; j < end; j++)
                sums[v] = (float16)weight[j] * VALUE_VECTOR(values + j * VALUE_ROW_BYTES, value_col, v) + sums[v];
        }
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

/* What is needed next, from memory or a far cache, asked for a few lines at a time between the arithmetic. OpenCL's
 * prefetch() is nothing in PoCL. */
INLINE void ask_for(const __global uchar *from, int bytes) {
#if defined(__x86_64__) || defined(__aarch64__)
    for (int line = 0; line < bytes; line += 64) __builtin_prefetch((const void *)(size_t)(from + line));
#endif
}

/* Heads head, head + 1, .. of a tile: one of any rows, or several that share keys and values, of one row. Number i of
 * the queries is row i or head i. */
ONCE void attend_tile(const int head, const int queries, ATTENTION_INPUTS, TENSOR(out), ATTENTION_NUMBERS,
                        const __global int *tile) {
    const int kv_head = head / (HEADS / KV_HEADS), first_row = tile[TILE_ROW], rows = tile[TILE_COUNT];
    const __global int *page = DATA(const int, pages) + (ulong)tile[TILE_LINE] * page_cols;
    float16 query[TILE_ROWS * KEY_VECTORS], sums[TILE_ROWS * VALUE_VECTORS];
    float16 key[BLOCK * KEY_VECTORS], value[BLOCK * VALUE_VECTORS];
    float16 total[TILE_ROWS];
    float largest[TILE_ROWS];
    int start, stop;
    TILE_RANGE(&start, &stop);
    for (int i = 0; i < queries; i++) {
        const int row = rows == 1 ? 0 : i, own = rows == 1 ? head + i : head;
        const __global uchar *from = (const __global uchar *)(DATA(const float, x) + (ulong)(first_row + row) * cols);
        for (int v = 0; v < KEY_VECTORS; v++) query[i * KEY_VECTORS + v] = QUERY_VECTOR(from, own * HEAD_DIM, v);
        for (int v = 0; v < VALUE_VECTORS; v++) sums[i * VALUE_VECTORS + v] = 0.0f;
        largest[i] = FIRST_LARGEST(own);
        total[i] = (float16)(FIRST_TOTAL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    }
    for (int p = start / BLOCK * BLOCK; p < stop; p += BLOCK) {
        const int skip = max(0, start - p), count = min(BLOCK, stop - p);
        const ulong slot = slot_of(page, p);
        if (rows == 1) {
            const ulong next = p + BLOCK < stop ? slot_of(page, p + BLOCK) : slot;
            for (int i = 0; i < queries; i++) {
                for (int j = BLOCK * i / queries; j < BLOCK * (i + 1) / queries; j++) {
                    ask_for(KEY_ROW(next + j) + kv_head * (KEY_ROW_BYTES / KV_HEADS), KEY_ROW_BYTES / KV_HEADS);
                    ask_for(VALUE_ROW(next + j) + kv_head * (VALUE_ROW_BYTES / KV_HEADS), VALUE_ROW_BYTES / KV_HEADS);
                }
                attend_alone(query + i * KEY_VECTORS, KEY_ROW(slot), kv_head * HEAD_DIM, VALUE_ROW(slot),
                             kv_head * VALUE_DIM, skip, count, scale, softcap, largest + i, total + i,
                             sums + i * VALUE_VECTORS);
            }
            continue;
        }
        /* Their weights are zero, too, but a loop over all values is one without jumps. */
        for (int j = 0; j < skip * VALUE_VECTORS; j++) value[j] = 0.0f;
        for (int j = count * VALUE_VECTORS; j < BLOCK * VALUE_VECTORS; j++) value[j] = 0.0f;
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
            attend(query + row * KEY_VECTORS, key, value, first - p, end - p, scale, softcap, largest + row,
                   total + row, sums + row * VALUE_VECTORS);
        }
    }
    for (int i = 0; i < queries; i++)
        store_head(out_buffer + out_offset, rows == 1 ? first_row : first_row + i, rows == 1 ? head + i : head,
                   sums + i * VALUE_VECTORS, 1.0f / sum_float16(total[i]));
}

__kernel void attention_vec(ATTENTION_INPUTS, TENSOR(out), ATTENTION_NUMBERS) {
    const int together = HEADS / get_global_size(0), first = get_global_id(0) * together;
    const __global int *tile = DATA(const int, tiles) + get_global_id(1) * TILE_COLS;
    const int rows = tile[TILE_COUNT], step = rows == 1 ? together : 1;
    for (int head = first; head < first + together; head += step)
        attend_tile(head, rows == 1 ? together : rows, x_buffer, x_offset, keys_buffer, keys_offset, values_buffer,
                    values_offset, tiles_buffer, tiles_offset, pages_buffer, pages_offset, sinks_buffer, sinks_offset,
                    out_buffer, out_offset, cols, page_cols, scale, softcap, window, window_kind, both_ways, tile);
}
