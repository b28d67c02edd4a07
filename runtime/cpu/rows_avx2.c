/* The ops that go over rows, for AVX2: what that means is in cpu/simd.h. */
#include "cpu/rows.h"
