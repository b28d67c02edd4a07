/* attention_split.cl: few rows and a long cache (GPUs, decode): the positions of a sequence are split over SPLITS
 * work-groups per (row, query head), each with an online softmax of its own; a second launch merges them.
 *
 *   positions   | split 0                    | split 1 | ...     LANES positions at a time, one score per lane; maximum
 *   scratch     | max, total, sums[HEAD_DIM] | ...               and total by trees in local memory; then lanes are
 *                                                                columns of the values
 */
#define WORDS (HEAD_DIM + 2)
#define SUMS ((HEAD_DIM + LANES - 1) / LANES)

#ifdef IN1_F16
#define LOAD_KEY(index) vload_half4(0, DATA(const half, keys) + (index))
#else
#define LOAD_KEY(index) vload4(0, DATA(const float, keys) + (index))
#endif
#ifdef IN2_F16
#define VALUE(index) vload_half(index, DATA(const half, values))
#else
#define VALUE(index) DATA(const float, values)[index]
#endif

#define TREE(operation)                                                                                                \
    for (int half_lanes = LANES / 2; half_lanes > 0; half_lanes /= 2) {                                                \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                                  \
        if (lane < half_lanes) tree[lane] = operation(tree[lane], tree[lane + half_lanes]);                            \
    }                                                                                                                  \
    barrier(CLK_LOCAL_MEM_FENCE)
#define PLUS(a, b) ((a) + (b))

__kernel void attention_split(TENSOR(x), TENSOR(keys), TENSOR(values), TENSOR(tiles), TENSOR(pages), TENSOR(scratch),
                              int cols, int page_cols, float scale) {
    __local float tree[LANES], weights[LANES], query[HEAD_DIM];
    const int lane = get_local_id(0), split = get_group_id(0) % SPLITS, head = get_group_id(0) / SPLITS;
    const int kv_cols = KV_HEADS * HEAD_DIM, first_column = head / (HEADS / KV_HEADS) * HEAD_DIM;
    const int4 tile = vload4(get_group_id(1), DATA(const int, tiles));
    const __global int *page = DATA(const int, pages) + (ulong)tile.z * page_cols;
    for (int row = 0; row < tile.y; row++) {
        const int seen = tile.w + row + 1, first = (int)((long)seen * split / SPLITS),
                  last = (int)((long)seen * (split + 1) / SPLITS);
        float largest = -INFINITY, total = 0.0f, sums[SUMS];
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < HEAD_DIM; i += LANES)
            query[i] = DATA(const float, x)[(ulong)(tile.x + row) * cols + head * HEAD_DIM + i] * scale;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int p = first; p < last; p += LANES) {
            float score = -INFINITY;
            if (p + lane < last) {
                const int at = p + lane;
                const ulong key = ((ulong)page[at / PAGE_ROWS] * PAGE_ROWS + at % PAGE_ROWS) * kv_cols + first_column;
                float4 products = 0.0f;
                for (int d = 0; d < HEAD_DIM; d += 4) products = vload4(0, query + d) * LOAD_KEY(key + d) + products;
                score = sum_float4(products);
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
                if (d >= HEAD_DIM) continue;
                float sum = sums[i] * kept;
                for (int j = 0; j < count; j++) {
                    const int at = p + j;
                    const ulong slot = (ulong)page[at / PAGE_ROWS] * PAGE_ROWS + at % PAGE_ROWS;
                    sum = weights[j] * VALUE(slot * kv_cols + first_column + d) + sum;
                }
                sums[i] = sum;
            }
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        __global float *to = DATA(float, scratch) + (((ulong)(tile.x + row) * HEADS + head) * SPLITS + split) * WORDS;
        if (lane == 0) {
            to[0] = largest;
            to[1] = total;
        }
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++)
            if (i * LANES + lane < HEAD_DIM) to[2 + i * LANES + lane] = sums[i];
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
    const int row = get_global_id(1), out_cols = HEADS * HEAD_DIM;
#ifdef OUT0_Q8
    const int group = get_global_id(0), first = group * 32;
    const __global float *parts = DATA(const float, scratch) + ((ulong)row * HEADS + first / HEAD_DIM) * SPLITS * WORDS;
    __global uchar *to = out_buffer + out_offset + row * q8_row_bytes(out_cols);
    __global float *scales = (__global float *)(to + out_cols);
    char16 low, high;
    float scale, sum;
    q8_round(merge(parts, first % HEAD_DIM), merge(parts, first % HEAD_DIM + 16), &low, &high, &scale, &sum);
    vstore16(low, 2 * group, (__global char *)to);
    vstore16(high, 2 * group + 1, (__global char *)to);
    scales[group] = scale;
    scales[out_cols / 32 + group] = sum;
    if (group == 0)
        for (__global float *z = scales + out_cols / 16; z < (__global float *)(to + q8_row_bytes(out_cols)); z++)
            *z = 0.0f;
#else
    const int first = get_global_id(0) * 16;
    const __global float *parts = DATA(const float, scratch) + ((ulong)row * HEADS + first / HEAD_DIM) * SPLITS * WORDS;
    vstore16(merge(parts, first % HEAD_DIM), 0, DATA(float, out) + (ulong)row * out_cols + first);
#endif
}
