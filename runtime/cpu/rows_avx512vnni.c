/* The ops that go over rows, for AVX-512: what that means is in cpu/simd.h. */
#include "cpu/rows.h"
