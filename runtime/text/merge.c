/* merge.c: see merge.h.
 *
 * The symbols of a word form a doubly linked list in an array; a heap holds the pairs that could merge, lowest rank
 * first and leftmost among equals. A merge puts at most two new pairs on the heap and leaves the pairs it destroyed
 * there: they no longer match the list when they come up and are dropped. Scanning all pairs for the best one is
 * simpler, but quadratic in a word without spaces. */
#include "text/merge.h"

#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"

enum { SMALLEST_CAPACITY = 64 };

struct ci_merge_candidate {
    uint64_t order; /* rank << 32 | position of the left symbol */
    int32_t left, right, merged;
};

enum clinfer_status ci_symbols_add(struct ci_symbols *word, int32_t token, uint32_t begin, uint32_t length) {
    if (word->count == word->capacity) {
        size_t capacity = word->capacity ? 2 * word->capacity : SMALLEST_CAPACITY;
        struct ci_symbol *symbols =
            capacity < INT32_MAX ? realloc(word->symbols, capacity * sizeof *word->symbols) : NULL;
        if (symbols == NULL)
            return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing a word of %zu characters: out of memory", word->count);
        word->symbols = symbols;
        word->capacity = capacity;
    }
    int32_t at = ci_narrowed((int64_t)word->count);
    word->symbols[word->count++] = (struct ci_symbol){token, at - 1, at + 1, begin, length};
    return CLINFER_OK;
}

void ci_symbols_destroy(struct ci_symbols *word) {
    free(word->symbols);
    free(word->heap);
    memset(word, 0, sizeof *word);
}

static void push(struct ci_merge_candidate *heap, size_t *count, struct ci_merge_candidate item) {
    size_t at = (*count)++;
    while (at > 0 && heap[(at - 1) / 2].order > item.order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

static struct ci_merge_candidate pop(struct ci_merge_candidate *heap, size_t *count) {
    struct ci_merge_candidate top = heap[0], last = heap[--*count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= *count) break;
        if (child + 1 < *count && heap[child + 1].order < heap[child].order) child++;
        if (heap[child].order >= last.order) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

struct merging {
    struct ci_symbol *symbols;
    ci_merge_find *find;
    const void *rules;
    struct ci_merge_candidate *heap;
    size_t count; /* of the heap */
};

/* The pair that starts at `position`, if the rules know it. */
static void consider(struct merging *merging, int32_t position) {
    if (position < 0 || merging->symbols[position].next < 0) return;
    const struct ci_symbol *left = &merging->symbols[position], *right = &merging->symbols[left->next];
    uint32_t rank;
    int32_t merged;
    if (!merging->find(merging->rules, left, right, &rank, &merged)) return;
    uint64_t order = (uint64_t)rank << 32 | (uint32_t)position;
    push(merging->heap, &merging->count, (struct ci_merge_candidate){order, left->token, right->token, merged});
}

static void merge_all(struct merging *merging) {
    struct ci_symbol *symbols = merging->symbols;
    while (merging->count > 0) {
        struct ci_merge_candidate best = pop(merging->heap, &merging->count);
        int32_t position = (int32_t)ci_low_bits(best.order);
        struct ci_symbol *left = &symbols[position];
        if (left->token != best.left || left->next < 0 || symbols[left->next].token != best.right) continue;
        struct ci_symbol *right = &symbols[left->next];
        left->token = best.merged;
        left->next = right->next;
        left->length += right->length;
        right->token = CI_SYMBOL_MERGED;
        if (left->next >= 0) symbols[left->next].previous = position;
        consider(merging, left->previous);
        consider(merging, position);
    }
}

enum clinfer_status ci_symbols_merge(struct ci_symbols *word, ci_merge_find *find, const void *rules) {
    if (word->count == 0) return CLINFER_OK;
    word->symbols[word->count - 1].next = -1;
    /* n symbols start with n - 1 pairs, and every one of the n - 1 merges takes one and adds at most two. */
    if (word->heap_capacity < 2 * word->capacity) {
        struct ci_merge_candidate *heap = realloc(word->heap, 2 * word->capacity * sizeof *heap);
        if (heap == NULL)
            return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing a word of %zu characters: out of memory", word->count);
        word->heap = heap;
        word->heap_capacity = 2 * word->capacity;
    }
    struct merging merging = {word->symbols, find, rules, word->heap, 0};
    for (int32_t i = 0; (size_t)i + 1 < word->count; i++) consider(&merging, i);
    merge_all(&merging);
    return CLINFER_OK;
}
