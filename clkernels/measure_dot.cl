/* measure_dot.cl: dot products of bytes, summed in 32 bits, as fast as the device does them (runtime/proof/measure.c).
 * CHAINS sums grow at once, which hides the latency of each. In all forms four codes of w by four of x are `w` and `x`,
 * and `step` is 0, which the compiler does not know: so it can neither compute anything once for all nor join chains.
 *   DOT4         common/dot.clh, an int for each lane
 *   VNNI, AVX2   the instructions of matmul_r16.cl, with as few additions as codes of 4 bits need
 *   none         products in 16 bits, as matmul_gemv_vec.cl has them
 * A round is STEPS quads of codes in each chain. */
#if defined(VNNI) && !defined(__AVX512F__)
#error "this device's compiler does not make code for AVX-512"
#elif defined(AVX2) && !defined(__AVX2__)
#error "this device's compiler does not make code for AVX2"
#endif

INLINE int sum_int8(int8 v) {
    const int4 a = v.lo + v.hi;
    return (a.x + a.y) + (a.z + a.w);
}

__kernel void measure_dot(__global int *out, int rounds, int w, int x, int step) {
    int sum = 0;
#if defined(DOT4)
    int sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sums[c] = 0;
    for (int round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < STEPS; i++, x += step) {
#pragma unroll
            for (int c = 0; c < CHAINS; c++) sums[c] = dot4(w + c * step, x, sums[c]);
        }
    }
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += sums[c];
#elif defined(VNNI)
    const int16 codes = (int16)w, xs = (int16)x;
    int16 sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sums[c] = 0;
    for (int round = 0; round < rounds; round++) {
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
#pragma unroll
            for (int c = 0; c < CHAINS; c++)
                __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(sums[c]) : "v"(codes), "v"(xs));
        }
    }
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += sum_int8(sums[c].lo + sums[c].hi);
#elif defined(AVX2)
    const int8 codes = (int8)w, xs = (int8)x;
    int8 sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sums[c] = 0;
    for (int round = 0; round < rounds; round++) {
        short16 words[CHAINS];
#pragma unroll
        for (int c = 0; c < CHAINS; c++) words[c] = 0;
#pragma unroll
        for (int i = 0; i < STEPS; i++) {
#pragma unroll
            for (int c = 0; c < CHAINS; c++) {
                short16 products;
                __asm__ volatile("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
                                 : "+x"(words[c]), "=&x"(products)
                                 : "x"(codes), "x"(xs));
            }
        }
#pragma unroll
        for (int c = 0; c < CHAINS; c++) {
            int8 pairs;
            __asm__ volatile("vpmaddwd %2, %1, %0" : "=x"(pairs) : "x"(words[c]), "x"((short16)1));
            sums[c] += pairs;
        }
    }
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += sum_int8(sums[c]);
#else
    const short4 four = convert_short4(as_char4(w)), four_x = convert_short4(as_char4(x));
    short16 codes[CHAINS], xs = (short16)(four_x, four_x, four_x, four_x);
    int8 sums[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++) {
        codes[c] = (short16)(four, four, four, four) + (short)(c * step);
        sums[c] = 0;
    }
    for (int round = 0; round < rounds; round++) {
        short16 words[CHAINS];
#pragma unroll
        for (int c = 0; c < CHAINS; c++) words[c] = 0;
#pragma unroll
        for (int i = 0; i < STEPS; i++, xs += (short)step) {
#pragma unroll
            for (int c = 0; c < CHAINS; c++) words[c] += codes[c] * xs;
        }
#pragma unroll
        for (int c = 0; c < CHAINS; c++) sums[c] += convert_int8(words[c].lo + words[c].hi);
    }
#pragma unroll
    for (int c = 0; c < CHAINS; c++) sum += sum_int8(sums[c]);
#endif
    out[get_global_id(0)] = sum;
}
