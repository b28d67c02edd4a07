/* attention_local.cl: a work-group per (tile, query head), with keys, values and scores in local memory (GPUs,
 * prompts).
 *
 *      queries  [16, HEAD_DIM]       local, once
 *      block    [BLOCK, HEAD_DIM]    local, first the keys, then the values of BLOCK positions (BLOCK divides a page)
 *      scores   [16, BLOCK]          local; online softmax (Milakov and Gimelshein 2018, arXiv 1805.02867)
 *      sums     [16, VALUE_DIM]      private, number i of a work-item is place i * LANES + lane
 */
#define SUMS ((TILE_ROWS * VALUE_DIM + LANES - 1) / LANES)
#if HEAD_DIM > VALUE_DIM
#define STRIDE (HEAD_DIM + 1)
#else
#define STRIDE (VALUE_DIM + 1)
#endif

__kernel void attention_local(ATTENTION_INPUTS, TENSOR(out), ATTENTION_NUMBERS) {
    __local float queries[TILE_ROWS * STRIDE], block[BLOCK * STRIDE], scores[TILE_ROWS * BLOCK];
    __local float largest[TILE_ROWS], total[TILE_ROWS], kept[TILE_ROWS];
    const int lane = get_local_id(0), head = get_group_id(0), kv_head = head / (HEADS / KV_HEADS);
    const __global int *tile = DATA(const int, tiles) + get_group_id(1) * TILE_COLS;
    const int first_row = tile[TILE_ROW], rows = tile[TILE_COUNT];
    const __global int *page = DATA(const int, pages) + (ulong)tile[TILE_LINE] * page_cols;
    float sums[SUMS];
    int start, stop;
    TILE_RANGE(&start, &stop);
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) sums[i] = 0.0f;
    for (int i = lane; i < rows * HEAD_DIM; i += LANES)
        queries[i / HEAD_DIM * STRIDE + i % HEAD_DIM] =
            DATA(const float, x)[(ulong)(first_row + i / HEAD_DIM) * cols + head * HEAD_DIM + i % HEAD_DIM] * scale;
    for (int i = lane; i < TILE_ROWS; i += LANES) {
        largest[i] = FIRST_LARGEST(head);
        total[i] = FIRST_TOTAL;
    }
    for (int p = start / BLOCK * BLOCK; p < stop; p += BLOCK) {
        const int skip = max(0, start - p), count = min(BLOCK, stop - p);
        const ulong slot = slot_of(page, p);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = skip * HEAD_DIM + lane; i < count * HEAD_DIM; i += LANES)
            block[i / HEAD_DIM * STRIDE + i % HEAD_DIM] =
                KEY(1, KEY_ROW(slot + i / HEAD_DIM), kv_head * HEAD_DIM + i % HEAD_DIM);
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = lane; i < rows * BLOCK; i += LANES) {
            const int row = i / BLOCK, j = i % BLOCK;
            float score = -INFINITY;
            int first, end;
            RANGE(tile[TILE_POSITION] + row, &first, &end);
            if (first <= p + j && p + j < end) {
                score = 0.0f;
                for (int d = 0; d < HEAD_DIM; d++) score = queries[row * STRIDE + d] * block[j * STRIDE + d] + score;
                score = capped(score, softcap);
            }
            scores[i] = score;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int i = skip * VALUE_DIM + lane; i < count * VALUE_DIM; i += LANES)
            block[i / VALUE_DIM * STRIDE + i % VALUE_DIM] =
                VALUE(1, VALUE_ROW(slot + i / VALUE_DIM), kv_head * VALUE_DIM + i % VALUE_DIM);
        for (int row = lane; row < rows; row += LANES) {
            float now = largest[row], sum = 0.0f;
            for (int j = 0; j < BLOCK; j++) now = fmax(now, scores[row * BLOCK + j]);
            /* Where a row has seen nothing yet, -infinity less itself would be no number. */
            const float base = now == -INFINITY ? 0.0f : now;
            kept[row] = exp(largest[row] - base);
            for (int j = 0; j < BLOCK; j++) {
                const float weight = exp(scores[row * BLOCK + j] - base);
                scores[row * BLOCK + j] = weight;
                sum += weight;
            }
            largest[row] = now;
            total[row] = total[row] * kept[row] + sum;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        UNROLL_ON_GPU
        for (int i = 0; i < SUMS; i++) {
            const int row = (i * LANES + lane) / VALUE_DIM, d = (i * LANES + lane) % VALUE_DIM;
            if (row >= rows) continue;
            float sum = sums[i] * kept[row];
            for (int j = skip; j < count; j++) sum = scores[row * BLOCK + j] * block[j * STRIDE + d] + sum;
            sums[i] = sum;
        }
    }
#ifdef OUT0_CODES
    barrier(CLK_LOCAL_MEM_FENCE);
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) {
        const int row = (i * LANES + lane) / VALUE_DIM, d = (i * LANES + lane) % VALUE_DIM;
        if (row < rows) queries[row * STRIDE + d] = sums[i] / total[row];
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int i = lane; i < rows * (VALUE_DIM / 32); i += LANES) {
        const int row = i / (VALUE_DIM / 32), group = i % (VALUE_DIM / 32), place = head * (VALUE_DIM / 32) + group;
        __global uchar *to = out_buffer + out_offset + (first_row + row) * codes_row_bytes(OUT_COLS);
        store_group(to, OUT_COLS, place, vload16(0, queries + row * STRIDE + 32 * group),
                    vload16(1, queries + row * STRIDE + 32 * group));
        if (place == 0) store_padding(to, OUT_COLS);
    }
#else
    UNROLL_ON_GPU
    for (int i = 0; i < SUMS; i++) {
        const int row = (i * LANES + lane) / VALUE_DIM, d = (i * LANES + lane) % VALUE_DIM;
        if (row < rows)
            DATA(float, out)[(ulong)(first_row + row) * OUT_COLS + head * VALUE_DIM + d] = sums[i] / total[row];
    }
#endif
}
