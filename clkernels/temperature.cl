/* temperature.cl: the first `scaled` columns of a row times scale log(floor(position / length) + 1) + 1. Work-items
 * (part, row): a part takes every so manieth column. */
__kernel void temperature(TENSOR(x), TENSOR(positions), TENSOR(out), int cols, int scaled, float scale, float length) {
    const ulong row = get_global_id(1);
    const __global float *from = DATA(const float, x) + row * cols;
    __global float *to = DATA(float, out) + row * cols;
    const float position = (float)DATA(const int, positions)[row];
    const float factor = scale * log(floor(position / length) + 1.0f) + 1.0f;
    for (int i = get_global_id(0); i < cols; i += get_global_size(0)) to[i] = i < scaled ? from[i] * factor : from[i];
}
