/* kv_append.cl: keys and values of this run's rows to their slots. Work-items (part, row). */
#ifdef OUT0_F16
/* NaN where f16 has only infinity: see ci_half_without_infinity. */
#define STORE(value, index, cache)                                                                                     \
    vstore_half_rte(fabs(value) < 65520.0f ? value : NAN, index, (__global half *)(cache))
#else
#define STORE(value, index, cache) ((__global float *)(cache))[index] = value
#endif

__kernel void kv_append(TENSOR(x), TENSOR(slots), TENSOR(keys), TENSOR(values), int cols, int key_column,
                        int value_column, int kv_cols) {
    const ulong row = get_global_id(1);
    const int slot = DATA(const int, slots)[row];
    if (slot < 0) return;
    const __global float *from = DATA(const float, x) + row * cols;
    for (int i = get_global_id(0); i < kv_cols; i += get_global_size(0)) {
        STORE(from[key_column + i], (ulong)slot * kv_cols + i, keys_buffer + keys_offset);
        STORE(from[value_column + i], (ulong)slot * kv_cols + i, values_buffer + values_offset);
    }
}
