/* rope.cl: rotation of queries and keys, alone and followed by the append of keys and values to the KV cache.
 * Work-items (head, row); "heads" here are all groups of head_dim columns, those that are only copied (values) too. */

#ifdef OUT1_F16
/* NaN where f16 has only infinity: see ci_half_without_infinity. */
#define STORE(value, index, cache)                                                                                     \
    vstore_half_rte(fabs(value) < 65520.0f ? value : NAN, index, (__global half *)(cache))
#else
#define STORE(value, index, cache) ((__global float *)(cache))[index] = value
#endif

/* Columns first .. of `x` as they are. */
INLINE void copy(const __global float *x, __global float *out, int first, int last) {
    for (int i = first; i < last; i++) out[i] = x[i];
}

INLINE void rotate_head(const __global float *x, const __global float *cosines, const __global float *sines,
                        __global float *out, int pairs, int neox) {
    int i = 0;
    if (neox) {
        for (; i + 8 <= pairs; i += 8) {
            float8 a = vload8(0, x + i), b = vload8(0, x + i + pairs), c = vload8(0, cosines + i),
                   s = vload8(0, sines + i);
            vstore8(a * c - b * s, 0, out + i);
            vstore8(a * s + b * c, 0, out + i + pairs);
        }
        for (; i < pairs; i++) {
            float a = x[i], b = x[i + pairs];
            out[i] = a * cosines[i] - b * sines[i];
            out[i + pairs] = a * sines[i] + b * cosines[i];
        }
        return;
    }
    for (; i + 8 <= pairs; i += 8) {
        float16 both = vload16(0, x + 2 * i), rotated;
        float8 c = vload8(0, cosines + i), s = vload8(0, sines + i);
        rotated.even = both.even * c - both.odd * s;
        rotated.odd = both.even * s + both.odd * c;
        vstore16(rotated, 0, out + 2 * i);
    }
    for (; i < pairs; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        out[2 * i] = a * cosines[i] - b * sines[i];
        out[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
}

INLINE void rope_head(const __global float *x, const __global float *table, __global float *out, int head, int heads,
                      int head_dim, int cols, int rotated, int neox) {
    const int first = head * head_dim, last = min(first + head_dim, cols);
    if (head >= heads) {
        copy(x, out, first, last);
        return;
    }
    rotate_head(x + first, table, table + rotated / 2, out + first, rotated / 2, neox);
    copy(x, out, first + rotated, last);
}

#ifndef OUT1_F16
#ifndef OUT1_F32
#define ALONE
#endif
#endif

#ifdef ALONE
__kernel void rope(TENSOR(x), TENSOR(table), TENSOR(out), int cols, int rotated, int heads, int head_dim, int neox) {
    const ulong row = get_global_id(1);
    rope_head(DATA(const float, x) + row * cols, DATA(const float, table) + row * rotated,
              DATA(float, out) + row * cols, get_global_id(0), heads, head_dim, cols, rotated, neox);
}
#else
__kernel void rope_kv_append(TENSOR(x), TENSOR(table), TENSOR(slots), TENSOR(out), TENSOR(keys), TENSOR(values),
                             int cols, int rotated, int heads, int head_dim, int neox, int key_column, int value_column,
                             int kv_cols) {
    const ulong row = get_global_id(1);
    const int head = get_global_id(0), first = head * head_dim, last = min(first + head_dim, cols);
    __global float *to = DATA(float, out) + row * cols;
    rope_head(DATA(const float, x) + row * cols, DATA(const float, table) + row * rotated, to, head, heads, head_dim,
              cols, rotated, neox);
    const int slot = DATA(const int, slots)[row];
    if (slot < 0) return;
    for (int i = max(first, key_column); i < min(last, key_column + kv_cols); i++)
        STORE(to[i], (ulong)slot * kv_cols + i - key_column, keys_buffer + keys_offset);
    for (int i = max(first, value_column); i < min(last, value_column + kv_cols); i++)
        STORE(to[i], (ulong)slot * kv_cols + i - value_column, values_buffer + values_offset);
}
#endif
