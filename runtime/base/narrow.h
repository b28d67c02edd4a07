/* narrow.h: the only ways from a 64-bit number to a smaller one, for the folders in which numbers of files go about.
 *
 * A cast takes 2^32 + 274 rows for 274. So in those folders `make lint` refuses casts from 64 bits to fewer
 * (scripts/narrowing.query finds them in the syntax tree, clang's -Wshorten-64-to-32 the ones that are not written),
 * and who needs a smaller number says by one of these what happens when it does not fit. */
#ifndef CI_BASE_NARROW_H
#define CI_BASE_NARROW_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* For what comes from outside: whether `wide`, of any integer type, is the number that *narrow then holds. */
#define ci_narrow(wide, narrow) (!__builtin_add_overflow((wide), 0, (narrow)))

/* For what was compared with a bound before: not to fit is a mistake of ours. */
static inline int ci_narrowed(int64_t wide) {
    assert(wide >= INT32_MIN && wide <= INT32_MAX);
    return (int)wide;
}

static inline uint32_t ci_narrowed_unsigned(uint64_t wide) {
    assert(wide <= UINT32_MAX);
    return (uint32_t)wide;
}

/* For bits, where the upper ones are not wanted. */
static inline uint32_t ci_low_bits(uint64_t bits) { return (uint32_t)bits; }

/* For "%.*s": as much of a text as a message shows. */
static inline int ci_shown(size_t length, int most) { return length < (size_t)most ? (int)length : most; }

#endif
