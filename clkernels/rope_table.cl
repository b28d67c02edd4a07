/* rope_table.cl: cosines and sines of the angles position * frequency, times a magnitude. Work-items (part, row). The
 * arguments reach tens of thousands of radians, so native_cos will not do. */
__kernel void rope_table(TENSOR(positions), TENSOR(frequencies), TENSOR(out), int half_cols,
                         float magnitude) {
    const int row = get_global_id(1);
    const float position = (float)DATA(const int, positions)[row];
    __global float *cosines = DATA(float, out) + (ulong)row * 2 * half_cols, *sines = cosines + half_cols;
    for (int i = get_global_id(0); i < half_cols; i += get_global_size(0)) {
        const float angle = position * DATA(const float, frequencies)[i];
        cosines[i] = magnitude * cos(angle);
        sines[i] = magnitude * sin(angle);
    }
}
