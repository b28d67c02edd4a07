/* matmul_gemv_vec.cl: few rows of x, on devices whose work-items are threads with vector registers (CPUs). No local memory.
 *
 *   weights [N, K]                 A work-item has a run of rows of w and walks STREAMS of them at once:
 *   item 0 | stream 0 | row ...    memory controllers of CPUs give a thread several times the bandwidth when it reads from
 *          | stream 1 | ...        several places. Each 32-column unit of x is loaded once for all streams.
 *   item 1 | stream 0 | ...
 *
 * With q8 activations and integer weights the products are summed as integers: pairs of 16-bit products, which compilers turn
 * into one multiply-add of pairs. Rejected: one row per work-item (a third of the bandwidth). */

#if defined(IN0_Q8) && defined(WEIGHT_CODES)
#define INTEGER_DOT
#endif

INLINE int8 dot_pairs(short16 a, short16 b) {
    return convert_int8(a.even) * convert_int8(b.even) + convert_int8(a.odd) * convert_int8(b.odd);
}

/* Columns [first, last) of one part for one row of x. */
INLINE void gemv_part(const __global uchar *x, const __global uchar *w, int cols, int first, int last,
                      const __global float *bias, bool has_bias, const __global float *addend, __global float *out) {
    const int units = cols / 32, run = (last - first + STREAMS - 1) / STREAMS;
#ifdef IN0_Q8
    const __global char *x_codes = (const __global char *)x;
    const __global float *x_scales = (const __global float *)(x + cols), *x_sums = x_scales + units;
#else
    const __global float *x_values = (const __global float *)x;
#endif
    for (int i = 0; i < run; i++) {
        int row[STREAMS];
#pragma unroll
        for (int s = 0; s < STREAMS; s++) row[s] = min(first + s * run + i, last - 1);
#ifdef INTEGER_DOT
        float8 sums[STREAMS];
        float offsets[STREAMS];
#else
        float16 sums[STREAMS];
#endif
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            sums[s] = 0.0f;
#ifdef INTEGER_DOT
            offsets[s] = 0.0f;
#endif
        }
        for (int unit = 0; unit < units; unit++) {
#ifdef INTEGER_DOT
            short16 x_low = convert_short16(vload16(2 * unit, x_codes));
            short16 x_high = convert_short16(vload16(2 * unit + 1, x_codes));
            float x_scale = x_scales[unit], x_sum = x_sums[unit];
#pragma unroll
            for (int s = 0; s < STREAMS; s++) {
                short16 low, high;
                float scale, offset;
                load_codes(w, row[s], unit, units, &low, &high, &scale, &offset);
                int8 dot = dot_pairs(low, x_low) + dot_pairs(high, x_high);
                sums[s] = mad(convert_float8(dot), (float8)(scale * x_scale), sums[s]);
                offsets[s] = mad(offset, x_sum, offsets[s]);
            }
#else
#ifdef IN0_Q8
            float16 x_low = convert_float16(vload16(2 * unit, x_codes)) * x_scales[unit];
            float16 x_high = convert_float16(vload16(2 * unit + 1, x_codes)) * x_scales[unit];
#else
            float16 x_low = vload16(2 * unit, x_values), x_high = vload16(2 * unit + 1, x_values);
#endif
            float16 x_sum = x_low + x_high;
#pragma unroll
            for (int s = 0; s < STREAMS; s++) {
                float16 low, high;
                float scale, offset;
                load_block(w, row[s], unit, units, &low, &high, &scale, &offset);
                sums[s] = mad(mad(low, x_low, high * x_high), (float16)scale, mad((float16)offset, x_sum, sums[s]));
            }
#endif
        }
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            int n = first + s * run + i;
            if (n >= last) continue;
#ifdef INTEGER_DOT
            float sum = sum_float8(sums[s]) + offsets[s];
#else
            float sum = sum_float16(sums[s]);
#endif
            if (has_bias) sum += bias[n];
#ifdef IN7_F32
            sum += addend[n];
#endif
            out[n] = sum;
        }
    }
}

__kernel void matmul_gemv_vec(MATMUL_ARGUMENTS) {
    const int total = n0 + n1 + n2;
    int first, last;
    share(total, STREAMS, get_global_id(0), get_global_size(0), &first, &last);
#ifdef IN0_Q8
    const ulong x_row_bytes = q8_row_bytes(cols);
#else
    const ulong x_row_bytes = (ulong)cols * 4;
#endif
    for (int p = 0; p < 3; p++) {
        MATMUL_PART(p);
        int part_first = max(first - start, 0), part_last = min(last - start, count);
        if (part_first >= part_last) continue;
        for (int row = 0; row < rows; row++)
            gemv_part(x_buffer + x_offset + row * x_row_bytes, w, cols, part_first, part_last, bias, has_bias,
                      DATA(const float, addend) + (ulong)row * total + start,
                      DATA(float, out) + (ulong)row * total + start);
    }
}
