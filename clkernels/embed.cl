/* embed.cl: rows of the token table to floats. Work-items (part, row): a part takes every so manieth unit of 32
 * columns. */
__kernel void embed(TENSOR(table), TENSOR(ids), TENSOR(previous), TENSOR(out), int cols, int vocabulary) {
    const int row = get_global_id(1), units = cols / 32;
    int id = DATA(const int, ids)[row];
    if (id < 0) id = DATA(const int, previous)[-1 - id];
    if (id < 0 || id >= vocabulary) id = 0; /* a sampler gone wrong: the host sees to it, and nothing is read beyond */
    __global float *to = DATA(float, out) + (ulong)row * cols;
    const __global uchar *from = weight_row(table_buffer + table_offset, id, units);
    for (int unit = get_global_id(0); unit < units; unit += get_global_size(0)) {
        float16 low, high;
        float scale, offset;
        load_block(from, id, unit, &low, &high, &scale, &offset);
        vstore16(low * scale + offset, 2 * unit, to);
        vstore16(high * scale + offset, 2 * unit + 1, to);
    }
}
