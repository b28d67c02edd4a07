/* attention_split.cl: few rows and a long cache (GPUs, decode): the positions of a sequence are split over SPLITS
 * work-groups per (row, query head), each with an online softmax of its own; a second launch merges them.
 *
 *   positions   | split 0                    | split 1 | ...     LANES positions at a time, one score per lane; maximum
 *   scratch     | max, total, sums[VALUE_DIM]| ...               and total by trees in local memory; then lanes are
 *                                                                columns of the values
 */
#define WORDS (VALUE_DIM + 2)
#define SUMS ((VALUE_DIM + LANES - 1) / LANES)

#define TREE(operation)                                                                                                \
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {                                                \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        if (lane < half_lanes) tree[lane] = operation(tree[lane], tree[lane + half_lanes]);                            \
    }                                                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE)
#define PLUS(a, b) ((a) + (b))

__kernel void attention_split(ATTENTION_INPUTS, TENSOR(scratch), ATTENTION_NUMBERS) {
    __local float tree[LANES], weights[LANES], query[HEAD_DIM];
    const int lane = get_local_id(0), split = get_group_id(0) % SPLITS, head = get_group_id(0) / SPLITS;
    const int kv_head = head / (HEADS / KV_HEADS);
    const __global int *tile = DATA(const int, tiles) + get_group_id(1) * TILE_COLS;
    const __global int *page = DATA(const int, pages) + (ulong)tile[TILE_LINE] * page_cols;
    for (int row = 0; row < tile[TILE_COUNT]; row++) {
        int start, stop;
        RANGE(tile[TILE_POSITION] + row, &start, &stop);
        const int first = start + (int)((long)(stop - start) * split / SPLITS),
                  last = start + (int)((long)(stop - start) * (split + 1) / SPLITS);
        float largest = split == 0 ? FIRST_LARGEST(head) : -INFINITY, total = split == 0 ? FIRST_TOTAL : 0.0f;
        float sums[SUMS];
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < HEAD_DIM; i += LANES)
            query[i] = DATA(const float, x)[(ulong)(tile[TILE_ROW] + row) * cols + head * HEAD_DIM + i] * scale;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int p = first; p < last; p += LANES) {
            float score = -INFINITY;
            if (p + lane < last) {
                const __global uchar *key = KEY_ROW(slot_of(page, p + lane));
                float4 products = 0.0f;
                for (int d = 0; d < HEAD_DIM; d += 4)
                    products = vload4(0, query + d) * KEY(4, key, kv_head * HEAD_DIM + d) + products;
                score = capped(sum_float4(products), softcap);
            }
            tree[lane] = score;
            TREE(fmax);
            const float now = fmax(largest, tree[0]), weight = exp(score - now), kept = exp(largest - now);
            barrier(CLK_LOCAL_MEM_FENCE);
            tree[lane] = weight;
            weights[lane] = weight;
            TREE(PLUS);
            total = total * kept + tree[0];
            largest = now;
            const int count = min(LANES, last - p);
            UNROLL_ON_GPU
            for (int i = 0; i < SUMS; i++) {
                const int d = i * LANES + lane;
                if (d >= VALUE_DIM) continue;
                float sum = sums[i] * kept;
                for (int j = 0; j < count; j++)
                    sum = weights[j] * VALUE(1, VALUE_ROW(slot_of(page, p + j)), kv_head * VALUE_DIM + d) + sum;
                sums[i] = sum;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        __global float *to =
            DATA(float, scratch) + (((ulong)(tile[TILE_ROW] + row) * HEADS + head) * SPLITS + split) * WORDS;
        if (lane == 0) {
            to[0] = largest;
            to[1] = total;
        }
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++)
            if (i * LANES + lane < VALUE_DIM) to[2 + i * LANES + lane] = sums[i];
    }
}

/* 16 columns of one head: the splits weighted by exp(their maximum - the overall one). An empty split has maximum
 * -infinity. */
INLINE float16 merge(const __global float *parts, int first) {
    float largest = -INFINITY, total = 0.0f;
    float16 sums = 0.0f;
    for (int i = 0; i < SPLITS; i++) largest = fmax(largest, parts[i * WORDS]);
    for (int i = 0; i < SPLITS; i++) {
        const float weight = exp(parts[i * WORDS] - largest);
        total += weight * parts[i * WORDS + 1];
        sums = vload16(0, parts + i * WORDS + 2 + first) * weight + sums;
    }
    return sums / total;
}

__kernel void attention_merge(TENSOR(scratch), TENSOR(out)) {
    const int row = get_global_id(1);
#ifdef OUT0_CODES
    const int group = get_global_id(0), first = group * 32;
    const __global float *parts =
        DATA(const float, scratch) + ((ulong)row * HEADS + first / VALUE_DIM) * SPLITS * WORDS;
    __global uchar *to = out_buffer + out_offset + row * codes_row_bytes(OUT_COLS);
    store_group(to, OUT_COLS, group, merge(parts, first % VALUE_DIM), merge(parts, first % VALUE_DIM + 16));
    if (group == 0) store_padding(to, OUT_COLS);
#else
    const int first = get_global_id(0) * 16;
    const __global float *parts =
        DATA(const float, scratch) + ((ulong)row * HEADS + first / VALUE_DIM) * SPLITS * WORDS;
    vstore16(merge(parts, first % VALUE_DIM), 0, DATA(float, out) + (ulong)row * OUT_COLS + first);
#endif
}
