/* attention_local.cl: a work-group per (tile, query head), with keys, values and scores in local memory (GPUs,
 * prompts).
 *
 *      queries  [16, HEAD_DIM]       local, once
 *      block    [BLOCK, HEAD_DIM]    local, first the keys, then the values of BLOCK positions (BLOCK divides a page)
 *      scores   [16, BLOCK]          local; online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867)
 *      sums     [16, HEAD_DIM]       private, number i of a work-item is place i * LANES + lane
 */
#define SUMS (TILE_ROWS * HEAD_DIM / LANES)
#define STRIDE (HEAD_DIM + 1)

#ifdef IN1_F16
#define KEY(index) vload_half(index, DATA(const half, keys))
#else
#define KEY(index) DATA(const float, keys)[index]
#endif
#ifdef IN2_F16
#define VALUE(index) vload_half(index, DATA(const half, values))
#else
#define VALUE(index) DATA(const float, values)[index]
#endif

__kernel void attention_local(TENSOR(x), TENSOR(keys), TENSOR(values), TENSOR(tiles), TENSOR(pages), TENSOR(out),
                              int cols, int page_cols, float scale) {
    __local float queries[TILE_ROWS * STRIDE], block[BLOCK * STRIDE], scores[TILE_ROWS * BLOCK];
    __local float largest[TILE_ROWS], total[TILE_ROWS], kept[TILE_ROWS];
    const int lane = get_local_id(0), head = get_group_id(0), kv_cols = KV_HEADS * HEAD_DIM;
    const int first_column = head / (HEADS / KV_HEADS) * HEAD_DIM;
    const int4 tile = vload4(get_group_id(1), DATA(const int, tiles));
    const int first_row = tile.x, rows = tile.y, position = tile.w;
    const __global int *page = DATA(const int, pages) + (ulong)tile.z * page_cols;
    float sums[SUMS];
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
    for (int i = lane; i < rows * HEAD_DIM; i += LANES)
        queries[i / HEAD_DIM * STRIDE + i % HEAD_DIM] =
            DATA(const float, x)[(ulong)(first_row + i / HEAD_DIM) * cols + head * HEAD_DIM + i % HEAD_DIM] * scale;
    for (int i = lane; i < TILE_ROWS; i += LANES) {
        largest[i] = -INFINITY;
        total[i] = 0.0f;
    }
    for (int p = 0; p < position + rows; p += BLOCK) {
        const int count = min(BLOCK, position + rows - p);
        const ulong at = ((ulong)page[p / PAGE_ROWS] * PAGE_ROWS + p % PAGE_ROWS) * kv_cols + first_column;
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < count * HEAD_DIM; i += LANES)
            block[i / HEAD_DIM * STRIDE + i % HEAD_DIM] = KEY(at + (ulong)(i / HEAD_DIM) * kv_cols + i % HEAD_DIM);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < rows * BLOCK; i += LANES) {
            const int row = i / BLOCK, j = i % BLOCK;
            float score = -INFINITY;
            if (p + j <= position + row) {
                score = 0.0f;
                for (int d = 0; d < HEAD_DIM; d++) score = queries[row * STRIDE + d] * block[j * STRIDE + d] + score;
            }
            scores[i] = score;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < count * HEAD_DIM; i += LANES)
            block[i / HEAD_DIM * STRIDE + i % HEAD_DIM] = VALUE(at + (ulong)(i / HEAD_DIM) * kv_cols + i % HEAD_DIM);
        for (int row = lane; row < rows; row += LANES) {
            float now = largest[row], sum = 0.0f;
            for (int j = 0; j < BLOCK; j++) now = fmax(now, scores[row * BLOCK + j]);
            kept[row] = exp(largest[row] - now);
            for (int j = 0; j < BLOCK; j++) {
                const float weight = exp(scores[row * BLOCK + j] - now);
                scores[row * BLOCK + j] = weight;
                sum += weight;
            }
            largest[row] = now;
            total[row] = total[row] * kept[row] + sum;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++) {
            const int row = (i * LANES + lane) / HEAD_DIM, d = (i * LANES + lane) % HEAD_DIM;
            if (row >= rows) continue;
            float sum = sums[i] * kept[row];
            for (int j = 0; j < count; j++) sum = scores[row * BLOCK + j] * block[j * STRIDE + d] + sum;
            sums[i] = sum;
        }
    }
#ifdef OUT0_Q8
    const int out_cols = HEADS * HEAD_DIM;
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) {
        const int row = (i * LANES + lane) / HEAD_DIM, d = (i * LANES + lane) % HEAD_DIM;
        if (row < rows) queries[row * STRIDE + d] = sums[i] / total[row];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = lane; i < rows * (HEAD_DIM / 32); i += LANES) {
        const int row = i / (HEAD_DIM / 32), group = i % (HEAD_DIM / 32), place = head * (HEAD_DIM / 32) + group;
        __global uchar *to = out_buffer + out_offset + (first_row + row) * q8_row_bytes(out_cols);
        __global float *scales = (__global float *)(to + out_cols);
        char16 low, high;
        float code_scale, code_sum;
        q8_round(vload16(0, queries + row * STRIDE + 32 * group), vload16(1, queries + row * STRIDE + 32 * group), &low,
                 &high, &code_scale, &code_sum);
        vstore16(low, 2 * place, (__global char *)to);
        vstore16(high, 2 * place + 1, (__global char *)to);
        scales[place] = code_scale;
        scales[out_cols / 32 + place] = code_sum;
        if (place == 0)
            for (__global float *z = scales + out_cols / 16; z < (__global float *)(to + q8_row_bytes(out_cols)); z++)
                *z = 0.0f;
    }
#else
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) {
        const int row = (i * LANES + lane) / HEAD_DIM, d = (i * LANES + lane) % HEAD_DIM;
        if (row < rows)
            DATA(float, out)[(ulong)(first_row + row) * HEADS * HEAD_DIM + head * HEAD_DIM + d] = sums[i] / total[row];
    }
#endif
}
