/* matmul of activations in f32 for NEON: what that means is in cpu/simd.h. */
#include "cpu/matmul_f32.h"
