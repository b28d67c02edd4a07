/* attention for NEON: what that means is in cpu/simd.h. */
#include "cpu/attention.h"
