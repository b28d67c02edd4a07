/* random.h: SplitMix64 (Steele, Lea and Flood 2014, https://doi.org/10.1145/2714064.2660195): test data and sampling.
 */
#ifndef CI_BASE_RANDOM_H
#define CI_BASE_RANDOM_H

#include <stdint.h>

static inline uint64_t ci_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Uniform in [0, 1), 24 bits. */
static inline float ci_random_float(uint64_t *state) { return (float)(ci_random(state) >> 40) * 0x1p-24f; }

#endif
