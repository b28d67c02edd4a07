/* quantise.cl: floats to q8 or q16. Work-items (part, row): a part takes every so manieth group of 32 columns. */

__kernel void quantise(TENSOR(x), TENSOR(out), int cols) {
    const int row = get_global_id(1);
    const __global float *from = DATA(const float, x) + (ulong)row * cols;
    __global uchar *to = out_buffer + out_offset + row * codes_row_bytes(cols);
    for (int group = get_global_id(0); group < cols / 32; group += get_global_size(0))
        store_group(to, cols, group, vload16(2 * group, from), vload16(2 * group + 1, from));
    if (get_global_id(0) == 0) store_padding(to, cols);
}
