/* quantise.cl: floats to q8, alone and after swiglu. Work-items (part, row): a part takes every so manieth group of 32
 * columns. */

__kernel void quantise(TENSOR(x), TENSOR(out), int cols) {
    const int row = get_global_id(1);
    const __global float *from = DATA(const float, x) + (ulong)row * cols;
    __global uchar *to = out_buffer + out_offset + row * q8_row_bytes(cols);
    for (int group = get_global_id(0); group < cols / 32; group += get_global_size(0))
        store_group(to, cols, group, vload16(2 * group, from), vload16(2 * group + 1, from));
    if (get_global_id(0) == 0) store_padding(to, cols);
}

__kernel void swiglu_quantise(TENSOR(x), TENSOR(out), int cols) {
    const int row = get_global_id(1);
    const __global float *gate = DATA(const float, x) + (ulong)row * 2 * cols, *up = gate + cols;
    __global uchar *to = out_buffer + out_offset + row * q8_row_bytes(cols);
    for (int group = get_global_id(0); group < cols / 32; group += get_global_size(0)) {
        float16 low = vload16(2 * group, gate), high = vload16(2 * group + 1, gate);
        store_group(to, cols, group, low / (1.0f + exp(-low)) * vload16(2 * group, up),
                    high / (1.0f + exp(-high)) * vload16(2 * group + 1, up));
    }
    if (get_global_id(0) == 0) store_padding(to, cols);
}
