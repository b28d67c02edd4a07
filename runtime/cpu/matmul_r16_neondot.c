/* matmul for weights in layout r16 with the dot products of NEON. */
#include "cpu/r16_neondot.h"

#include "cpu/matmul_r16.h"
