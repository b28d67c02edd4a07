/* The peak of arithmetic, for AVX2: what that means is in cpu/simd.h. */
#include "cpu/peak.h"
