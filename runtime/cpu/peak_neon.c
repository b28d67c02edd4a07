/* The peak of arithmetic, for NEON: what that means is in cpu/simd.h. */
#include "cpu/peak.h"
