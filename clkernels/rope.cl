/* rope.cl: rotation of queries and keys, alone and followed by the append of keys and values to the KV cache.
 * Work-items (head, row); "heads" here are all groups of head_dim columns, those that are only copied (values) too. */

#if defined(OUT1_F16)
#define KEYS f16
#elif defined(OUT1_Q8_0)
#define KEYS q8_0
#elif defined(OUT1_Q4_0)
#define KEYS q4_0
#elif defined(OUT1_F32)
#define KEYS f32
#else
#define ALONE
#endif
#if defined(OUT2_F16)
#define VALUES f16
#elif defined(OUT2_Q8_0)
#define VALUES q8_0
#elif defined(OUT2_Q4_0)
#define VALUES q4_0
#else
#define VALUES f32
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

ONCE void rope_head(const __global float *x, const __global float *table, __global float *out, int head, int heads,
                      int head_dim, int cols, int rotated, int neox, int offset) {
    const int first = head * head_dim, last = min(first + head_dim, cols), start = first + offset;
    if (head >= heads) {
        copy(x, out, first, last);
        return;
    }
    copy(x, out, first, start);
    rotate_head(x + start, table, table + rotated / 2, out + start, rotated / 2, neox);
    copy(x, out, start + rotated, last);
}

#ifdef ALONE
__kernel void rope(TENSOR(x), TENSOR(table), TENSOR(out), int cols, int rotated, int heads, int head_dim, int neox,
                   int offset) {
    const ulong row = get_global_id(1);
    rope_head(DATA(const float, x) + row * cols, DATA(const float, table) + row * rotated,
              DATA(float, out) + row * cols, get_global_id(0), heads, head_dim, cols, rotated, neox, offset);
}
#else
__kernel void rope_kv_append(TENSOR(x), TENSOR(table), TENSOR(slots), TENSOR(out), TENSOR(keys), TENSOR(values),
                             int cols, int rotated, int heads, int head_dim, int neox, int offset, int key_column,
                             int value_column, int key_cols, int value_cols) {
    const ulong row = get_global_id(1);
    const int head = get_global_id(0), first = head * head_dim, last = min(first + head_dim, cols);
    __global float *to = DATA(float, out) + row * cols;
    rope_head(DATA(const float, x) + row * cols, DATA(const float, table) + row * rotated, to, head, heads, head_dim,
              cols, rotated, neox, offset);
    const int slot = DATA(const int, slots)[row];
    if (slot < 0) return;
    __global uchar *key_row = keys_buffer + keys_offset + (ulong)slot * BYTES(KEYS, key_cols);
    __global uchar *value_row = values_buffer + values_offset + (ulong)slot * BYTES(VALUES, value_cols);
    APPEND(KEYS, to + key_column, key_row, max(first - key_column, 0), min(last - key_column, key_cols), UNIT(KEYS));
    APPEND(VALUES, to + value_column, value_row, max(first - value_column, 0), min(last - value_column, value_cols),
           UNIT(VALUES));
}
#endif
