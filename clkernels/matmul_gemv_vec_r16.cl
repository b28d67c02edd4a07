/* matmul_gemv_vec_r16.cl: weights in layout r16 and few rows of x in floats, on devices whose work-items are threads
 * with vector registers (CPUs), in plain OpenCL C. No local memory.
 *
 * The 16 rows of a group are the 16 lanes (common/r16.clh): a word of each row has four codes, so that 16 codes of a
 * column are a shift, a mask and a conversion for a whole vector, and x is a number for all lanes. Neither sums across
 * lanes nor a scale for each row: half of the instructions of matmul_gemv_vec.cl, which reads rows as files store them.
 *
 *            word q of the 16 rows:  c3 c2 c1 c0 | c3 c2 c1 c0 | ..      sums[c] += code c of each row * x[4q + c]
 *
 * A work-item walks STREAMS distant groups at once. */

/* Code `column` of four, in each row, times CODE_UNIT: one of small codes stays where it is, which saves a shift and is
 * as exact. */
#if !defined(R16_SIGNED) && R16_MOST < 128
#define CODE_UNIT(column) (1u << 8 * (column))
INLINE float16 codes_of(uint16 quad, int column) {
    return convert_float16(as_int16(quad & 255u << (uint)(8 * column)));
}
#else
#define CODE_UNIT(column) 1u
INLINE float16 codes_of(uint16 quad, int column) {
    return convert_float16(as_int16(quad << (uint)(24 - 8 * column)) >> 24);
}
#endif

/* What a unit of 32 columns at x, whose halves have these sums, adds. */
INLINE float16 add_unit(const __global uchar *p, int part, const __global float *x, float low_sum, float high_sum,
                        float16 sum) {
    struct block block;
    unpack_codes(p, part, block.quad);
    unpack_scales(p, part, block.scale, block.offset);
#pragma unroll
    for (int h = 0; h < HALVES; h++) {
        float16 dot[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll
        for (int q = h * QUADS; q < (h + 1) * QUADS; q++) {
#pragma unroll
            for (int c = 0; c < 4; c++) dot[c] = codes_of(block.quad[q], c) * x[4 * q + c] + dot[c];
        }
        float16 all = dot[0];
#pragma unroll
        for (int c = 1; c < 4; c++) all = dot[c] * (1.0f / CODE_UNIT(c)) + all;
        sum = all * block.scale[h] + sum;
#ifdef HAS_OFFSET
        sum = block.offset[h] * (HALVES == 1 ? low_sum + high_sum : h == 0 ? low_sum : high_sum) + sum;
#endif
    }
    return sum;
}

/* Groups [first, last) of one part for one row of x. */
INLINE void gemv_part(const __global float *x, const __global uchar *w, int cols, int first, int last, int count,
                      const __global float *bias, bool has_bias, const __global float *addend, __global float *out) {
    const int units = cols / 32, run = (last - first + STREAMS - 1) / STREAMS;
    const ulong group_bytes = (ulong)(units / R16_PARTS) * R16_BYTES;
    for (int i = 0; i < run; i++) {
        int group[STREAMS];
        const __global uchar *from[STREAMS];
        float16 sums[STREAMS];
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            group[s] = min(first + s * run + i, last - 1);
            from[s] = w + group[s] * group_bytes;
            sums[s] = 0.0f;
        }
        for (int unit = 0; unit < units; unit++) {
            const __global float *at = x + 32 * unit;
            const float low_sum = sum_float16(vload16(0, at)), high_sum = sum_float16(vload16(1, at));
#pragma unroll
            for (int s = 0; s < STREAMS; s++)
                sums[s] = add_unit(block_at(from[s], unit), unit % R16_PARTS, at, low_sum, high_sum, sums[s]);
        }
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            const int n = group[s] * GROUP;
            if (first + s * run + i >= last) continue;
            if (has_bias) sums[s] += load_some(bias + n, count - n);
#ifdef HAS_ADDEND
            sums[s] += load_some(addend + n, count - n);
#endif
            store_some(sums[s], out + n, count - n);
        }
    }
}

__kernel void matmul_gemv_r16(MATMUL_ARGUMENTS) {
    int first, last;
    share(MATMUL_BLOCK_COUNT(GROUP), 1, get_global_id(0), get_global_size(0), &first, &last);
    for (int row = 0; row < MATMUL_ROW_COUNT; row++) {
        MATMUL_ROW(row);
        for (int p = 0, before = 0; p < MATMUL_PARTS; p++) {
            MATMUL_PART(p);
            const int groups = BLOCKS(count, GROUP);
            const int part_first = max(first - before, 0), part_last = min(last - before, groups);
            const ulong at = out_at(&set, 0) + start;
            before += groups;
            if (part_first < part_last)
                gemv_part((const __global float *)x_row_at(x_buffer + x_offset, &set, 0).data, w, cols, part_first,
                          part_last, count, bias, has_bias, MATMUL_ADDEND + at, DATA(float, out) + at);
        }
    }
}
