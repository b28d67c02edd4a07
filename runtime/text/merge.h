/* merge.h: merges of neighbouring symbols by rank, in O(n log n): what byte-pair encoding does with a word. Source:
 * Sennrich et al. 2016 (arXiv 1508.07909). Which pairs merge, and in which order, the caller's rules say. */
#ifndef CI_TEXT_MERGE_H
#define CI_TEXT_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

/* One symbol of a word: a token, or a character that is none. */
struct ci_symbol {
    int32_t token; /* CI_SYMBOL_NONE: no token has this text; it may still merge */
    int32_t previous, next;
    uint32_t begin, length; /* its bytes, counted as the caller likes */
};

enum { CI_SYMBOL_MERGED = -1, CI_SYMBOL_NONE = -2 };

/* Memory that successive words share; starts zeroed. The symbols of one word, in order: ci_symbols_add(), then
 * ci_symbols_merge(); what is left hangs together by `next` from symbols[0] on until -1. */
struct ci_symbols {
    struct ci_symbol *symbols;
    size_t count, capacity;
    struct ci_merge_candidate *heap;
    size_t heap_capacity;
};

enum clinfer_status ci_symbols_add(struct ci_symbols *word, int32_t token, uint32_t begin, uint32_t length);
void ci_symbols_destroy(struct ci_symbols *word);

/* What two neighbours become: false when they do not merge. The lowest rank goes first, the leftmost among equals. */
typedef bool ci_merge_find(const void *rules, const struct ci_symbol *left, const struct ci_symbol *right,
                           uint32_t *rank, int32_t *merged);

enum clinfer_status ci_symbols_merge(struct ci_symbols *word, ci_merge_find *find, const void *rules);

#endif
