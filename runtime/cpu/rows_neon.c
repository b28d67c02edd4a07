/* The ops that go over rows, for NEON: what that means is in cpu/simd.h. */
#include "cpu/rows.h"
