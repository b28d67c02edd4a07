/* matmul_gemv_vec.cl: few rows of x, on devices whose work-items are threads with vector registers (CPUs). No local
 * memory.
 *
 *   weights [N, K]                 A work-item has a run of rows of w and walks STREAMS of them at once: the memory
 *   item 0 | stream 0 | row ...    of CPUs gives a thread several times the bandwidth when it reads from several
 *          | stream 1 | ...        places. Each 32-column unit of x is loaded once for all streams.
 *   item 1 | stream 0 | ...
 *
 * With activations in codes and integer weights the products of a unit are summed in 16-bit integers where they fit:
 * twice the lanes. Rejected: one row per work-item (a third of the bandwidth); even and odd lanes apart, in the hope
 * that a compiler makes a multiply-add of pairs of them (it does not). */

#if defined(IN0_CODES) && defined(WEIGHT_CODE_LIMIT)
#define INTEGER_DOT

/* The products of one unit, summed to 8 lanes. How many products fit in 16 bits depends on the codes' size. */
INLINE int8 dot_unit(short16 low, short16 high, short16 x_low, short16 x_high) {
#if 4 * 127 * WEIGHT_CODE_LIMIT < 32768
    short16 sums = low * x_low + high * x_high;
    return convert_int8(sums.lo + sums.hi);
#elif 2 * 127 * WEIGHT_CODE_LIMIT < 32768
    short16 sums = low * x_low + high * x_high;
    return convert_int8(sums.lo) + convert_int8(sums.hi);
#else
    int16 sums = convert_int16(low) * convert_int16(x_low) + convert_int16(high) * convert_int16(x_high);
    return sums.lo + sums.hi;
#endif
}
#endif

/* Columns [first, last) of one part for one row of x. */
INLINE void gemv_part(struct x_row x, const __global uchar *w, int cols, int first, int last,
                      const __global float *bias, bool has_bias, const __global float *addend, __global float *out) {
    const int units = cols / 32, run = (last - first + STREAMS - 1) / STREAMS;
#ifdef IN0_CODES
    const __global char *x_codes = (const __global char *)x.data;
    const __global float *x_scales = x.scales, *x_sums = x.sums;
#else
    const __global float *x_values = (const __global float *)x.data;
#endif
    for (int i = 0; i < run; i++) {
        int row[STREAMS];
        const __global uchar *from[STREAMS];
#pragma unroll
        for (int s = 0; s < STREAMS; s++) {
            row[s] = min(first + s * run + i, last - 1);
            from[s] = weight_row(w, row[s], units);
        }
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
            short16 x_low[PLANES], x_high[PLANES];
#pragma unroll
            for (int p = 0; p < PLANES; p++) {
                x_low[p] = convert_short16(vload16(2 * (PLANES * unit + p), x_codes));
                x_high[p] = convert_short16(vload16(2 * (PLANES * unit + p) + 1, x_codes));
            }
            float x_scale = x_scales[unit], x_sum = x_sums[unit];
#pragma unroll
            for (int s = 0; s < STREAMS; s++) {
                short16 low, high;
                float scale, offset;
                load_codes(from[s], row[s], unit, &low, &high, &scale, &offset);
                int8 dots[PLANES];
#pragma unroll
                for (int p = 0; p < PLANES; p++) dots[p] = dot_unit(low, high, x_low[p], x_high[p]);
                sums[s] = convert_float8(FROM_PLANES(dots)) * (scale * x_scale) + sums[s];
                offsets[s] = offset * x_sum + offsets[s];
            }
#else
#ifdef IN0_CODES
            float16 x_low, x_high;
            load_codes_of_x(x.data, unit, &x_low, &x_high);
            x_low *= x_scales[unit];
            x_high *= x_scales[unit];
#else
            float16 x_low = vload16(2 * unit, x_values), x_high = vload16(2 * unit + 1, x_values);
#endif
            float16 x_sum = x_low + x_high;
#pragma unroll
            for (int s = 0; s < STREAMS; s++) {
                float16 low, high;
                float scale, offset;
                load_block(from[s], row[s], unit, &low, &high, &scale, &offset);
                sums[s] = (low * x_low + high * x_high) * scale + (x_sum * offset + sums[s]);
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
#ifdef HAS_ADDEND
            sum += addend[n];
#endif
            out[n] = sum;
        }
    }
}

__kernel void matmul_gemv_vec(MATMUL_ARGUMENTS) {
    int first, last;
    share(MATMUL_COLUMNS, STREAMS, get_global_id(0), get_global_size(0), &first, &last);
    for (int row = 0; row < MATMUL_ROW_COUNT; row++) {
        MATMUL_ROW(row);
        for (int p = 0, before = 0; p < MATMUL_PARTS; p++) {
            MATMUL_PART(p);
            const int part_first = max(first - before, 0), part_last = min(last - before, count);
            const ulong at = out_at(&set, 0) + start;
            before += count;
            if (part_first < part_last)
                gemv_part(x_row_at(x_buffer + x_offset, &set, 0), w, cols, part_first, part_last, bias, has_bias,
                          MATMUL_ADDEND + at, DATA(float, out) + at);
        }
    }
}
