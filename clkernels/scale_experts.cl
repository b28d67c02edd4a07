/* scale_experts.cl: out = x times the scale of the expert that each slice of a row belongs to. Work-items (part, row):
 * a part takes every so manieth column. */
__kernel void scale_experts(TENSOR(x), TENSOR(ids), TENSOR(scales0), TENSOR(scales1), TENSOR(out), int cols, int used) {
    const ulong row = get_global_id(1);
    const __global float *from = DATA(const float, x) + row * cols;
    const __global int *experts = DATA(const int, ids) + row * used;
    __global float *to = DATA(float, out) + row * cols;
#ifdef IN3_F32
    const int width = cols / (2 * used);
#else
    const int width = cols / used;
#endif
    for (int i = get_global_id(0); i < cols; i += get_global_size(0)) {
        const int slice = i / width;
#ifdef IN3_F32
        const float scale = slice < used ? DATA(const float, scales0)[experts[slice]]
                                         : DATA(const float, scales1)[experts[slice - used]];
#else
        const float scale = DATA(const float, scales0)[experts[slice]];
#endif
        to[i] = from[i] * scale;
    }
}
