/* elementwise.cl: add, mul, gather and concat. Work-items (part, row): a part takes every so manieth vector of 16
 * columns; what a row has beyond its last whole vector is done by part 0, number by number. */

#define EACH(operator)                                                                                                 \
    const ulong row = (ulong)get_global_id(1) * cols;                                                                  \
    const __global float *left = DATA(const float, a) + row, *right = DATA(const float, b) + row;                      \
    __global float *to = DATA(float, out) + row;                                                                       \
    for (int v = get_global_id(0); v < cols / 16; v += get_global_size(0))                                             \
        vstore16(vload16(v, left) operator vload16(v, right), v, to);                                                  \
    if (get_global_id(0) == 0)                                                                                         \
        for (int i = cols / 16 * 16; i < cols; i++) to[i] = left[i] operator right[i];

__kernel void add(TENSOR(a), TENSOR(b), TENSOR(out), int cols) {
    EACH(+)
}

__kernel void mul(TENSOR(a), TENSOR(b), TENSOR(out), int cols) {
    EACH(*)
}

__kernel void gather(TENSOR(x), TENSOR(rows), TENSOR(out), int cols) {
    const ulong row = get_global_id(1);
    const __global float *from = DATA(const float, x) + (ulong)DATA(const int, rows)[row] * cols;
    __global float *to = DATA(float, out) + row * cols;
    for (int v = get_global_id(0); v < cols / 16; v += get_global_size(0)) vstore16(vload16(v, from), v, to);
    if (get_global_id(0) == 0)
        for (int i = cols / 16 * 16; i < cols; i++) to[i] = from[i];
}

/* Three matrices side by side; an absent one has no columns. */
__kernel void concat(TENSOR(a), TENSOR(b), TENSOR(c), TENSOR(out), int a_cols, int b_cols, int c_cols) {
    const ulong row = get_global_id(1);
    __global float *to = DATA(float, out) + row * (a_cols + b_cols + c_cols);
    for (int i = get_global_id(0); i < a_cols; i += get_global_size(0)) to[i] = DATA(const float, a)[row * a_cols + i];
    to += a_cols;
    for (int i = get_global_id(0); i < b_cols; i += get_global_size(0)) to[i] = DATA(const float, b)[row * b_cols + i];
    to += b_cols;
    for (int i = get_global_id(0); i < c_cols; i += get_global_size(0)) to[i] = DATA(const float, c)[row * c_cols + i];
}
