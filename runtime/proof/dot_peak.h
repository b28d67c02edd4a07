/* dot_peak.h: dot products of bytes as fast as the processor does them, by the instructions of cpu/matmul_r16.h; for
 * measure.c. Not in cpu/ with the peak of floats: choices that were measured are valid as long as the text of that
 * folder stays what it was, and this says nothing about them. */
#ifndef CI_PROOF_DOT_PEAK_H
#define CI_PROOF_DOT_PEAK_H

#include <stdint.h>

/* Four codes of weights, not negative, and four of x, the first in the lowest byte; and their dot product. */
enum { CI_DOT_PEAK_W = 0x04030201, CI_DOT_PEAK_X = -0x2fd00fd, CI_DOT_PEAK_PRODUCT = -5 };

/* Counts multiply-adds as two *operations. Returns the sum of all products modulo 2^32:
 * *operations / 8 * CI_DOT_PEAK_PRODUCT. Those of other architectures are declared, but not linked. */
typedef int32_t ci_dot_peak(int64_t rounds, int64_t *operations);
extern ci_dot_peak ci_dot_peak_avx512vnni, ci_dot_peak_avx2, ci_dot_peak_neondot;

#endif
