/* activation.cl: glu and unary, alone and followed by quantise: a function of each number, which stands in an argument
 * so that all functions are one program. Work-items (part, row): a part takes every so manieth vector of 16 columns, or
 * group of 32 where rows of codes are made; what a row has beyond its last whole vector is done by part 0, number by
 * number. */

/* Of tensor/op_params.h. */
enum { SILU, GELU, GELU_ERF, GELU_QUICK, RELU, RELU_SQUARED, TANH, SCALE, SOFTCAP, CLAMP, SIGMOID, SWIGLU_OAI };

/* x / (1 + e^-slope), what is not finite kept. */
INLINE float16 gated(float16 x, float16 slope) { return x / (1.0f + exp(-slope)); }

INLINE float16 bounded(float16 x, float least, float most) {
    const float16 below = x > most ? (float16)most : x;
    return below < least ? (float16)least : below;
}

/* gelu: 1 + tanh z is 2 / (1 + e^-2z). */
INLINE float16 activation(float16 x, int kind, float a) {
    switch (kind) {
    case SILU: return gated(x, x);
    case GELU: return gated(x, 1.5957691216f * x * (1.0f + 0.044715f * x * x));
    case GELU_ERF: return 0.5f * x * erfc(-0.70710678f * x);
    case GELU_QUICK: return gated(x, 1.702f * x);
    case RELU: return x < 0.0f ? (float16)0.0f : x;
    case RELU_SQUARED: return x < 0.0f ? (float16)0.0f : x * x;
    case TANH: return tanh(x);
    case SOFTCAP: return a * tanh(x / a);
    case SIGMOID: return gated(1.0f, x);
    case CLAMP: return bounded(x, -a, a);
    default: return a * x;
    }
}

INLINE float16 glu_of(float16 gate, float16 up, int kind, float a, float limit) {
    if (kind != SWIGLU_OAI) return activation(gate, kind, a) * up;
    const float16 x = bounded(gate, -INFINITY, limit);
    return gated(x, a * x) * (bounded(up, -limit, limit) + 1.0f);
}

#define VECTOR(at, from) vload16(at, from)
#define NUMBER(at, from) ((float16)((from)[at]))
/* Where columns of the gate lie: behind the halves of up of the slices before theirs. Slices are whole vectors. */
#define GATE_VECTOR(at) ((at) + (width ? (at) * 16 / width * width / 16 : 0))
#define GATE_NUMBER(at) (at)
#define GLU(load, at) glu_of(load(GATE_##load(at), gate), load(GATE_##load(at), up), kind, a, limit)
#define UNARY(load, at) activation(load(at, from), kind, a)

/* A row of the output, in which `value` gives 16 columns. */
#ifdef OUT0_CODES
#define STORE_ROW(value)                                                                                               \
    __global uchar *to = out_buffer + out_offset + row * codes_row_bytes(cols);                                        \
    for (int group = part; group < cols / 32; group += parts)                                                          \
        store_group(to, cols, group, value(VECTOR, 2 * group), value(VECTOR, 2 * group + 1));                          \
    if (part == 0) store_padding(to, cols);
#else
#define STORE_ROW(value)                                                                                               \
    __global float *to = DATA(float, out) + row * cols;                                                                \
    for (int v = part; v < cols / 16; v += parts) vstore16(value(VECTOR, v), v, to);                                   \
    if (part == 0)                                                                                                     \
        for (int i = cols / 16 * 16; i < cols; i++) to[i] = value(NUMBER, i).s0;
#endif

ONCE void glu_row(TENSOR(x), TENSOR(out), int cols, int kind, int width, float a, float limit, int part, int parts,
                  ulong row) {
    const __global float *gate = DATA(const float, x) + row * 2 * cols;
    const __global float *up = gate + (width ? width : cols);
    STORE_ROW(GLU)
}

__kernel void glu(TENSOR(x), TENSOR(out), int cols, int kind, int width, float a, float limit) {
    glu_row(x_buffer, x_offset, out_buffer, out_offset, cols, kind, width, a, limit, get_global_id(0),
            get_global_size(0), get_global_id(1));
}

ONCE void unary_row(TENSOR(x), TENSOR(out), int cols, int kind, float a, int part, int parts, ulong row) {
    const __global float *from = DATA(const float, x) + row * cols;
    STORE_ROW(UNARY)
}

__kernel void unary(TENSOR(x), TENSOR(out), int cols, int kind, float a) {
    unary_row(x_buffer, x_offset, out_buffer, out_offset, cols, kind, a, get_global_id(0), get_global_size(0),
              get_global_id(1));
}
