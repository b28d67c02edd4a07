/* kv_append.cl: keys and values of this run's rows to their slots. Work-items (part, row). */
#if defined(OUT0_F16)
#define KEYS f16
#elif defined(OUT0_Q8_0)
#define KEYS q8_0
#elif defined(OUT0_Q4_0)
#define KEYS q4_0
#else
#define KEYS f32
#endif
#if defined(OUT1_F16)
#define VALUES f16
#elif defined(OUT1_Q8_0)
#define VALUES q8_0
#elif defined(OUT1_Q4_0)
#define VALUES q4_0
#else
#define VALUES f32
#endif

__kernel void kv_append(TENSOR(x), TENSOR(slots), TENSOR(keys), TENSOR(values), int cols, int key_column,
                        int value_column, int key_cols, int value_cols) {
    const ulong row = get_global_id(1);
    const int slot = DATA(const int, slots)[row], part = get_global_id(0), parts = get_global_size(0);
    if (slot < 0) return;
    const __global float *from = DATA(const float, x) + row * cols;
    __global uchar *key_row = keys_buffer + keys_offset + (ulong)slot * BYTES(KEYS, key_cols);
    __global uchar *value_row = values_buffer + values_offset + (ulong)slot * BYTES(VALUES, value_cols);
    APPEND(KEYS, from + key_column, key_row, part * UNIT(KEYS), key_cols, parts * UNIT(KEYS));
    APPEND(VALUES, from + value_column, value_row, part * UNIT(VALUES), value_cols, parts * UNIT(VALUES));
}
