/* bpe.c: see bpe.h.
 *
 * The symbols of a word form a doubly linked list in an array; a heap holds the pairs that could merge, lowest rank
 * first and leftmost among equals. A merge puts at most two new pairs on the heap and leaves the pairs it destroyed
 * there: they no longer match the list when they come up and are dropped. Scanning all pairs for the best one is
 * simpler, but quadratic in a word without spaces. */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* The longest merges of real vocabularies are runs of some 256 spaces, spelled in twice as many bytes. */
enum { MAXIMUM_MERGES = 1 << 25, LONGEST_MERGE = 4096, SMALLEST_WORK = 64 };

struct ci_bpe_symbol {
    int32_t token; /* -1 once it is part of its left neighbour */
    int32_t previous;
    int32_t next; /* -1 at the end */
};

struct ci_bpe_candidate {
    uint64_t order; /* rank << 32 | position of the left symbol */
    int32_t left, right, merged;
};

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

static struct ci_bpe_slot *find_slot(const struct ci_bpe *bpe, uint64_t pair) {
    size_t at = ci_text_mix(pair ^ bpe->secret, UINT64_C(0xe7037ed1a0b428db)) & bpe->slot_mask;
    while (bpe->slots[at].rank_plus_one && bpe->slots[at].pair != pair) at = (at + 1) & bpe->slot_mask;
    return &bpe->slots[at];
}

/* "left right": the texts of tokens are free of spaces, so the only space is the border. *expected is what the merge
 * before this one made: vocabularies list their tokens in the order of the merges, which spares most look-ups. */
static enum clinfer_status add(const struct ci_vocabulary *vocabulary, const struct ci_text_span *merge, size_t rank,
                               int32_t *expected, struct ci_bpe *bpe) {
    const char *text = merge->text;
    size_t length = merge->length;
    const char *space = length ? memchr(text, ' ', length) : NULL;
    int shown = ci_shown(length, 64);
    if (space == NULL || space == text || space == text + length - 1)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.merges: element %zu: '%.*s' is not two tokens with a space",
                       rank, shown, text);
    char joined[LONGEST_MERGE];
    if (length > sizeof joined)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.merges: element %zu has %zu bytes; at most %zu are possible",
                       rank, length, sizeof joined);
    size_t left_length = (size_t)(space - text), right_length = length - left_length - 1;
    memcpy(joined, text, left_length);
    memcpy(joined + left_length, space + 1, right_length);

    int32_t left = ci_vocabulary_find(vocabulary, text, left_length);
    int32_t right = ci_vocabulary_find(vocabulary, space + 1, right_length);
    int32_t merged = *expected;
    if (!ci_vocabulary_is(vocabulary, merged, joined, length - 1))
        merged = ci_vocabulary_find(vocabulary, joined, length - 1);
    if (left < 0 || right < 0 || merged < 0)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.merges: element %zu: '%.*s': %s is not a token", rank, shown,
                       text,
                       left < 0    ? "the left part"
                       : right < 0 ? "the right part"
                                   : "the whole");
    *expected = merged + 1;
    struct ci_bpe_slot *slot = find_slot(bpe, pair_of(left, right));
    if (slot->rank_plus_one == 0)
        *slot = (struct ci_bpe_slot){pair_of(left, right), ci_narrowed_unsigned(rank) + 1, merged};
    return CLINFER_OK;
}

enum clinfer_status ci_bpe_build(const struct ci_tokenizer_source *source, const struct ci_vocabulary *vocabulary,
                                 struct ci_bpe *bpe) {
    memset(bpe, 0, sizeof *bpe);
    if (source->merge_count > MAXIMUM_MERGES)
        return ci_fail(CLINFER_BAD_FILE, "tokenizer.ggml.merges: %zu merges; at most %d are possible",
                       source->merge_count, MAXIMUM_MERGES);
    size_t slots = 16;
    while (slots * 2 < source->merge_count * 3) slots *= 2;
    bpe->slot_mask = slots - 1;
    bpe->secret = vocabulary->secret;
    bpe->slots = calloc(slots, sizeof *bpe->slots);
    if (bpe->slots == NULL)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "table of %zu merges: out of memory", source->merge_count);
    int32_t expected = 0;
    for (size_t rank = 0; rank < source->merge_count; rank++) {
        enum clinfer_status status = add(vocabulary, &source->merges[rank], rank, &expected, bpe);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

void ci_bpe_destroy(struct ci_bpe *bpe) {
    free(bpe->slots);
    memset(bpe, 0, sizeof *bpe);
}

enum clinfer_status ci_token_list_append(struct ci_token_list *list, int32_t token) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        int32_t *tokens = realloc(list->tokens, capacity * sizeof *tokens);
        if (tokens == NULL) return ci_fail(CLINFER_OUT_OF_MEMORY, "list of %zu tokens: out of memory", capacity);
        list->tokens = tokens;
        list->capacity = capacity;
    }
    list->tokens[list->count++] = token;
    return CLINFER_OK;
}

/* n symbols start with n - 1 pairs and every one of the n - 1 merges takes one and adds at most two. */
static enum clinfer_status reserve(struct ci_bpe_work *work, size_t length) {
    if (length <= work->capacity) return CLINFER_OK;
    size_t capacity = length < SMALLEST_WORK ? SMALLEST_WORK : length;
    ci_bpe_work_destroy(work);
    work->symbols = malloc(capacity * sizeof *work->symbols);
    work->heap = malloc(2 * capacity * sizeof *work->heap);
    if (work->symbols == NULL || work->heap == NULL) {
        ci_bpe_work_destroy(work);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "tokenizing a word of %zu bytes: out of memory", length);
    }
    work->capacity = capacity;
    return CLINFER_OK;
}

void ci_bpe_work_destroy(struct ci_bpe_work *work) {
    free(work->symbols);
    free(work->heap);
    memset(work, 0, sizeof *work);
}

static void push(struct ci_bpe_candidate *heap, size_t *count, struct ci_bpe_candidate item) {
    size_t at = (*count)++;
    while (at > 0 && heap[(at - 1) / 2].order > item.order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = item;
}

static struct ci_bpe_candidate pop(struct ci_bpe_candidate *heap, size_t *count) {
    struct ci_bpe_candidate top = heap[0], last = heap[--*count];
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

/* The pair that starts at `position`, if the merges know it. */
static void consider(const struct ci_bpe *bpe, const struct ci_bpe_symbol *symbols, int32_t position,
                     struct ci_bpe_candidate *heap, size_t *count) {
    if (position < 0 || symbols[position].next < 0) return;
    int32_t left = symbols[position].token, right = symbols[symbols[position].next].token;
    const struct ci_bpe_slot *slot = find_slot(bpe, pair_of(left, right));
    if (slot->rank_plus_one == 0) return;
    uint64_t order = (uint64_t)slot->rank_plus_one << 32 | (uint32_t)position;
    push(heap, count, (struct ci_bpe_candidate){order, left, right, slot->merged});
}

static void merge_all(const struct ci_bpe *bpe, struct ci_bpe_symbol *symbols, struct ci_bpe_candidate *heap,
                      size_t count) {
    while (count > 0) {
        struct ci_bpe_candidate best = pop(heap, &count);
        int32_t position = (int32_t)ci_low_bits(best.order);
        struct ci_bpe_symbol *left = &symbols[position];
        if (left->token != best.left || left->next < 0 || symbols[left->next].token != best.right) continue;
        struct ci_bpe_symbol *right = &symbols[left->next];
        left->token = best.merged;
        left->next = right->next;
        right->token = -1;
        if (left->next >= 0) symbols[left->next].previous = position;
        consider(bpe, symbols, left->previous, heap, &count);
        consider(bpe, symbols, position, heap, &count);
    }
}

enum clinfer_status ci_bpe_encode(const struct ci_bpe *bpe, const struct ci_vocabulary *vocabulary, const char *word,
                                  size_t length, struct ci_bpe_work *work, struct ci_token_list *out) {
    enum clinfer_status status = reserve(work, length);
    if (status != CLINFER_OK) return status;
    struct ci_bpe_symbol *symbols = work->symbols;
    int32_t count = 0;
    for (size_t i = 0; i < length; i++) {
        int32_t token = vocabulary->byte_tokens[(uint8_t)word[i]];
        if (token < 0) continue;
        symbols[count] = (struct ci_bpe_symbol){token, count - 1, count + 1};
        count++;
    }
    if (count == 0) return CLINFER_OK;
    symbols[count - 1].next = -1;

    size_t candidates = 0;
    for (int32_t i = 0; i + 1 < count; i++) consider(bpe, symbols, i, work->heap, &candidates);
    merge_all(bpe, symbols, work->heap, candidates);
    for (int32_t i = 0; i >= 0; i = symbols[i].next) {
        status = ci_token_list_append(out, symbols[i].token);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}
