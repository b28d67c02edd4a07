/* matmul_clblast.cl: what stands around a product by CLBlast: weights of any type become floats in the scratch (behind
 * the activations, where these had to be expanded), and the output starts as biases and addend, to which the product is
 * added. */
__kernel void matmul_dequantise(MATMUL_ARGUMENTS, TENSOR(scratch)) {
    const int unit_step = get_global_size(0), units = cols / 32;
    int row = get_global_id(1);
#ifdef IN0_CODES
    __global float *to = DATA(float, scratch) + ((ulong)rows + row) * cols;
#else
    __global float *to = DATA(float, scratch) + (ulong)row * cols;
#endif
    const int part = row < n0 ? 0 : row < n0 + n1 ? 1 : 2;
    MATMUL_PART(part);
    row -= start;
    for (int unit = get_global_id(0); unit < units; unit += unit_step) {
        float16 low, high;
        float scale, offset;
        load_block(weight_row(w, row, units), row, unit, &low, &high, &scale, &offset);
        vstore16(low * scale + offset, 2 * unit, to);
        vstore16(high * scale + offset, 2 * unit + 1, to);
    }
}

__kernel void matmul_start(MATMUL_ARGUMENTS) {
    const int total = n0 + n1 + n2, row = get_global_id(1);
    for (int p = 0; p < 3; p++) {
        MATMUL_PART(p);
        for (int i = get_global_id(0); i < count; i += get_global_size(0)) {
            const ulong at = (ulong)row * total + start + i;
            DATA(float, out)[at] = (has_bias ? bias[i] : 0.0f) + ADDEND(at);
        }
    }
}
