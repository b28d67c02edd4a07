/* affine.cl: out = x * factors + offsets, column by column. Work-items (part, row): a part takes every so manieth
 * vector of 16 columns; what a row has beyond its last whole vector is done by part 0, number by number. */
#ifdef IN2_F32
#define OFFSETS(load, at) + load(at, DATA(const float, offsets))
#else
#define OFFSETS(load, at)
#endif
#define ONE(at, from) (from)[at]

__kernel void affine(TENSOR(x), TENSOR(factors), TENSOR(offsets), TENSOR(out), int cols) {
    const ulong row = (ulong)get_global_id(1) * cols;
    const __global float *from = DATA(const float, x) + row, *by = DATA(const float, factors);
    __global float *to = DATA(float, out) + row;
    for (int v = get_global_id(0); v < cols / 16; v += get_global_size(0))
        vstore16(vload16(v, from) * vload16(v, by) OFFSETS(vload16, v), v, to);
    if (get_global_id(0) == 0)
        for (int i = cols / 16 * 16; i < cols; i++) to[i] = from[i] * by[i] OFFSETS(ONE, i);
}
