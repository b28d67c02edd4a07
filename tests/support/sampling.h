/* sampling.h: the part of a large matrix of tests that one run takes.
 *
 * CLINFER_TEST_SEED draws it: scripts/run_tests.py sets it, prints it, and takes it from `make check SEED=`. Without it
 * the seed is 1. CLINFER_TEST_ALL (`make check-all`) takes everything. Which part of a set is taken depends on the seed
 * and on the set's name alone, and something is taken of each set that is not empty. No library: cross-built tests have
 * none of tests/support. */
#ifndef TESTS_SUPPORT_SAMPLING_H
#define TESTS_SUPPORT_SAMPLING_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

static inline bool sampling_all(void) { return getenv("CLINFER_TEST_ALL") != NULL; }

/* Whether item `index` of the `count` of this set is taken: one in `one_in` of them, evenly spread. */
static inline bool sampling_takes(const char *set, int index, int count, int one_in) {
    if (sampling_all()) return true;
    const char *seed = getenv("CLINFER_TEST_SEED");
    if (!seed) seed = "1";
    if (one_in > count) one_in = count;
    uint64_t draw = ci_hash(ci_hash(CI_HASH_START, seed, strlen(seed) + 1), set, strlen(set));
    return index % one_in == (int)((draw >> 32) % (uint64_t)one_in);
}

#endif
