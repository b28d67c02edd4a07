/* read_lines.h: reading memory as fast as one thread does it, for measure.c; what bodies include that are compiled for
 * one instruction set each. */
#ifndef CI_PROOF_READ_LINES_H
#define CI_PROOF_READ_LINES_H

#include <stddef.h>
#include <stdint.h>

enum { CI_READ_LINE_BYTES = 64 };

/* Reads `streams` streams at once, one line of CI_READ_LINE_BYTES of each in turn. They lie one behind the other from
 * `start` on, which is aligned to a line, and have `lines` lines each. Returns a sum of all, which must be of use.
 * Those of other architectures are declared, but not linked. */
typedef uint64_t ci_read_lines(const void *start, size_t lines, size_t streams);
extern ci_read_lines ci_read_lines_plain, ci_read_lines_avx2, ci_read_lines_avx512vnni;

#endif
