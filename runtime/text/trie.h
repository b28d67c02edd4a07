/* trie.h: all tokens that a place in a text may begin with, found byte by byte.
 *
 * Nodes are numbered breadth first, so that the children of a node are neighbours: those of node n are
 * first[n] .. first[n + 1]. Nine bytes a node. */
#ifndef CI_TEXT_TRIE_H
#define CI_TEXT_TRIE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <clinfer.h>

#include "base/narrow.h"

struct ci_trie {
    uint32_t count;
    uint32_t *first;    /* [count + 1] */
    uint8_t *bytes;     /* [count] what leads to a node */
    int32_t *values;    /* [count] the caller's, -1: none */
    uint32_t root[256]; /* children of node 0; 0: none */
};

struct ci_trie_entry {
    const char *text; /* borrowed while building */
    uint32_t length;
    int32_t value; /* >= 0 */
};

/* Orders the entries; of two with the same text the one that comes first counts, empty ones never do. Destroy it in any
 * case. */
enum clinfer_status ci_trie_build(struct ci_trie_entry *entries, size_t count, struct ci_trie *trie);
void ci_trie_destroy(struct ci_trie *trie);

/* From node 0, the root, on; 0 when nothing begins so. */
static inline uint32_t ci_trie_next(const struct ci_trie *trie, uint32_t node, uint8_t byte) {
    if (node == 0) return trie->root[byte];
    uint32_t begin = trie->first[node], count = trie->first[node + 1] - begin;
    const uint8_t *found = count ? memchr(trie->bytes + begin, byte, count) : NULL;
    return found ? ci_narrowed_unsigned((uint64_t)(found - trie->bytes)) : 0;
}

#endif
