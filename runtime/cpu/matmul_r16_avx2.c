/* matmul for weights in layout r16 with AVX2. */
#include "cpu/r16_avx2.h"

#include "cpu/matmul_r16.h"
