/* r16_codes.h: what the products of layout r16 (matmul_r16.h) take of x in q8 or q16. */
#ifndef CI_CPU_R16_CODES_H
#define CI_CPU_R16_CODES_H

#include <stdint.h>

typedef int32_t __attribute__((may_alias)) panel_int;

/* One plane of codes of rows that are `stride` bytes apart, and what the products of each begin with, as the
 * instruction set has it (r16_starts); NULL: with nothing. */
struct r16_codes {
    const uint8_t *codes;
    int stride;
    const panel_int *starts;
};

#endif
