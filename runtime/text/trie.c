/* trie.c: see trie.h. */
#include "text/trie.h"

#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"

static int compare(const void *left, const void *right) {
    const struct ci_trie_entry *a = left, *b = right;
    uint32_t common = a->length < b->length ? a->length : b->length;
    int order = memcmp(a->text, b->text, common);
    if (order) return order;
    if (a->length != b->length) return a->length < b->length ? -1 : 1;
    return (a->value > b->value) - (a->value < b->value);
}

/* The entries below a node: they agree in the bytes that lead to it. */
struct range {
    uint32_t begin, end, depth;
};

/* One node for each beginning that an entry does not share with the one before it. */
static uint64_t count_nodes(const struct ci_trie_entry *entries, size_t count) {
    uint64_t nodes = 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t shared = 0;
        if (i > 0)
            while (shared < entries[i].length && shared < entries[i - 1].length &&
                   entries[i].text[shared] == entries[i - 1].text[shared])
                shared++;
        nodes += entries[i].length - shared;
    }
    return nodes;
}

static enum clinfer_status allocate(uint64_t nodes, struct ci_trie *trie, struct range **ranges) {
    if (nodes >= INT32_MAX)
        return ci_fail(CLINFER_UNSUPPORTED, "a vocabulary of %llu beginnings of tokens is too large",
                       (unsigned long long)nodes);
    trie->first = malloc((nodes + 1) * sizeof *trie->first);
    trie->bytes = malloc(nodes);
    trie->values = malloc(nodes * sizeof *trie->values);
    *ranges = malloc(nodes * sizeof **ranges);
    if (!trie->first || !trie->bytes || !trie->values || !*ranges)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%llu beginnings of tokens: out of memory", (unsigned long long)nodes);
    return CLINFER_OK;
}

/* Appends the children of `node` to the nodes. */
static void add_children(const struct ci_trie_entry *entries, uint32_t node, struct ci_trie *trie,
                         struct range *ranges) {
    struct range range = ranges[node];
    uint32_t at = range.begin;
    trie->values[node] = -1;
    for (; at < range.end && entries[at].length == range.depth; at++)
        if (trie->values[node] < 0 && range.depth) trie->values[node] = entries[at].value;
    trie->first[node] = trie->count;
    while (at < range.end) {
        uint8_t byte = (uint8_t)entries[at].text[range.depth];
        uint32_t begin = at;
        while (at < range.end && (uint8_t)entries[at].text[range.depth] == byte) at++;
        trie->bytes[trie->count] = byte;
        ranges[trie->count++] = (struct range){begin, at, range.depth + 1};
    }
}

enum clinfer_status ci_trie_build(struct ci_trie_entry *entries, size_t count, struct ci_trie *trie) {
    struct range *ranges = NULL;
    memset(trie, 0, sizeof *trie);
    qsort(entries, count, sizeof *entries, compare);
    enum clinfer_status status = allocate(count_nodes(entries, count), trie, &ranges);
    if (status == CLINFER_OK) {
        trie->count = 1;
        trie->bytes[0] = 0;
        ranges[0] = (struct range){0, ci_narrowed_unsigned(count), 0};
        for (uint32_t node = 0; node < trie->count; node++) add_children(entries, node, trie, ranges);
        trie->first[trie->count] = trie->count;
        for (uint32_t child = trie->first[0]; child < trie->first[1]; child++) trie->root[trie->bytes[child]] = child;
    }
    free(ranges);
    return status;
}

void ci_trie_destroy(struct ci_trie *trie) {
    free(trie->first);
    free(trie->bytes);
    free(trie->values);
    memset(trie, 0, sizeof *trie);
}
