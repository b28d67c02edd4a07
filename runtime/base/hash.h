/* hash.h: FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/): cache keys and hash tables. Not for hostile
 * input where a collision could do harm. */
#ifndef CI_BASE_HASH_H
#define CI_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define CI_HASH_START UINT64_C(0xcbf29ce484222325)

static inline uint64_t ci_hash(uint64_t hash, const void *data, size_t size) {
    const uint8_t *byte = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
