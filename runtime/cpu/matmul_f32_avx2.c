/* matmul of activations in f32 for AVX2: what that means is in cpu/simd.h. */
#include "cpu/matmul_f32.h"
