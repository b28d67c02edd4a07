/* matmul for weights in layout r16 with AVX-512 VNNI. */
#include "cpu/r16_avx512vnni.h"

#include "cpu/matmul_r16.h"
