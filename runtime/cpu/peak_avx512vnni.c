/* The peak of arithmetic, for AVX-512: what that means is in cpu/simd.h. */
#include "cpu/peak.h"
