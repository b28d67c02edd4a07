/* mask.c: the tokens that may come at a place, by one walk over the trie of the vocabulary: what a byte leads to is
 * known after the first time, and where it leads nowhere all tokens below it are skipped. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/matcher_private.h"

static void set(uint32_t *bits, int32_t token) { bits[token / 32] |= UINT32_C(1) << token % 32; }

static size_t words_of(const struct ci_matcher *matcher) { return (matcher->vocabulary->token_count + 31) / 32; }

static enum clinfer_status walk(struct ci_matcher *matcher, ci_place place, uint32_t *bits) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    const struct ci_trie_node *nodes = vocabulary->nodes;
    ci_place *places = matcher->walk; /* before the byte of each depth */
    places[0] = place;
    for (size_t i = 0; i < vocabulary->node_count;) {
        const struct ci_trie_node *node = &nodes[i];
        const uint8_t byte_class = matcher->class_of[node->byte];
        const uint32_t *next = matcher->places[places[node->depth]].next;
        ci_place to = next ? next[byte_class] : (uint32_t)CI_PLACE_UNKNOWN;
        if (to == (uint32_t)CI_PLACE_UNKNOWN) {
            enum clinfer_status status = ci_matcher_step(matcher, places[node->depth], byte_class, &to);
            if (status != CLINFER_OK) return status;
        }
        if (to == CI_PLACE_DEAD) {
            i = node->skip;
            continue;
        }
        places[node->depth + 1] = to;
        for (int32_t token = node->token; token >= 0; token = vocabulary->same[token]) set(bits, token);
        i++;
    }
    return CLINFER_OK;
}

/* Those that the grammar speaks of by their ids. */
static void add_named(const struct ci_matcher *matcher, ci_place place, uint32_t *bits) {
    const struct ci_place_state *state = &matcher->places[place];
    const int32_t count = ci_narrowed((int64_t)matcher->vocabulary->token_count);
    for (uint32_t i = 0; i < state->count && state->has_tokens; i++) {
        const struct ci_position *position = &matcher->grammar->positions[matcher->configs[state->first + i].position];
        if (position->kind != CI_POSITION_TOKEN) continue;
        for (int32_t token = 0; token < count; token++)
            if ((token == position->token) != position->negated &&
                !ci_grammar_vocabulary_is_end(matcher->vocabulary, token))
                set(bits, token);
    }
}

static size_t count_bits(const uint32_t *bits, size_t words) {
    size_t count = 0;
    for (size_t i = 0; i < words; i++) count += (size_t)__builtin_popcount(bits[i]);
    return count;
}

/* A kept mask for another place in turn, or a new one. */
static struct ci_mask *take_mask(struct ci_matcher *matcher) {
    size_t bytes = words_of(matcher) * sizeof(uint32_t), most = CI_MATCHER_MASK_BYTES / (bytes + 1) + 1;
    if (matcher->mask_count < most) {
        if (!ci_array_reserve(&matcher->masks, &matcher->mask_capacity, matcher->mask_count)) return NULL;
        uint32_t *bits = malloc(bytes + sizeof(uint32_t));
        if (!bits) return NULL;
        matcher->masks[matcher->mask_count] = (struct ci_mask){.place = CI_PLACE_DEAD, .bits = bits};
        return &matcher->masks[matcher->mask_count++];
    }
    struct ci_mask *mask = &matcher->masks[matcher->mask_next];
    matcher->mask_next = (matcher->mask_next + 1) % matcher->mask_count;
    if (mask->place != CI_PLACE_DEAD) matcher->places[mask->place].mask = 0;
    mask->place = CI_PLACE_DEAD;
    return mask;
}

enum clinfer_status ci_matcher_mask(struct ci_matcher *matcher, ci_place place, const uint32_t **bits, size_t *count) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    uint32_t index = matcher->places[place].mask;
    if (index == 0) {
        double start = ci_now();
        struct ci_mask *mask = take_mask(matcher);
        if (!mask) return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory for a mask");
        memset(mask->bits, 0, words_of(matcher) * sizeof *mask->bits);
        enum clinfer_status status = walk(matcher, place, mask->bits);
        if (status != CLINFER_OK) return status;
        add_named(matcher, place, mask->bits);
        for (size_t i = 0; i < vocabulary->end_count && matcher->places[place].may_end; i++)
            set(mask->bits, vocabulary->ends[i]);
        mask->count = count_bits(mask->bits, words_of(matcher));
        mask->place = place;
        index = matcher->places[place].mask = ci_narrowed_unsigned((size_t)(mask - matcher->masks) + 1);
        matcher->counts.masks++;
        matcher->counts.seconds += ci_now() - start;
    }
    *bits = matcher->masks[index - 1].bits;
    *count = matcher->masks[index - 1].count;
    return CLINFER_OK;
}

enum clinfer_status ci_matcher_only(struct ci_matcher *matcher, ci_place place, int32_t *token) {
    const uint32_t *bits;
    size_t count;
    *token = -1;
    enum clinfer_status status = ci_matcher_mask(matcher, place, &bits, &count);
    if (status != CLINFER_OK || count != 1) return status;
    size_t word = 0;
    while (bits[word] == 0) word++;
    *token = ci_narrowed((int64_t)(word * 32) + __builtin_ctz(bits[word]));
    return CLINFER_OK;
}

/* ---- the shortest end ---- */

struct search {
    uint32_t *from;  /* [place] the place before it in the search, + 1; 0: not seen */
    uint8_t *bytes;  /* [place] and the byte from there */
    ci_place *queue; /* [place_count] */
    size_t count, capacity, byte_capacity, queue_capacity;
};

static bool grow(struct search *search, size_t places) {
    size_t before = search->capacity;
    while (search->capacity < places)
        if (!ci_array_reserve(&search->from, &search->capacity, search->capacity)) return false;
    while (search->byte_capacity < places)
        if (!ci_array_reserve(&search->bytes, &search->byte_capacity, search->byte_capacity)) return false;
    if (search->capacity > before) memset(search->from + before, 0, (search->capacity - before) * sizeof *search->from);
    return ci_array_reserve(&search->queue, &search->queue_capacity, search->count);
}

/* The first place, breadth first, at which the answer may end. */
static enum clinfer_status search_end(struct ci_matcher *matcher, ci_place start, struct search *search,
                                      ci_place *end) {
    bool fine = grow(search, matcher->place_count);
    if (fine) search->queue[search->count++] = start;
    if (fine) search->from[start] = start + 1;
    for (size_t at = 0; fine && at < search->count; at++) {
        *end = search->queue[at];
        if (matcher->places[*end].may_end) return CLINFER_OK;
        for (size_t k = 0; k < matcher->class_count && fine; k++) {
            ci_place to;
            enum clinfer_status status = ci_matcher_step(matcher, search->queue[at], (uint8_t)k, &to);
            if (status != CLINFER_OK) return status;
            fine = grow(search, matcher->place_count);
            if (!fine || to == CI_PLACE_DEAD || search->from[to]) continue;
            search->from[to] = search->queue[at] + 1;
            search->bytes[to] = matcher->first_of[k];
            search->queue[search->count++] = to;
        }
    }
    return ci_fail(fine ? CLINFER_UNSUPPORTED : CLINFER_OUT_OF_MEMORY, "grammar: no end was found from here%s",
                   fine ? " that is made of bytes" : ": out of memory");
}

enum clinfer_status ci_matcher_completion(struct ci_matcher *matcher, ci_place place, char **text, size_t *length) {
    struct search search = {0};
    ci_place end = place;
    *text = NULL;
    *length = 0;
    enum clinfer_status status = search_end(matcher, place, &search, &end);
    for (ci_place at = end; status == CLINFER_OK && at != place; at = search.from[at] - 1) (*length)++;
    if (status == CLINFER_OK) *text = malloc(*length + 1);
    if (status == CLINFER_OK && !*text) status = ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory");
    if (status == CLINFER_OK) (*text)[*length] = 0;
    size_t left = *length;
    for (ci_place at = end; status == CLINFER_OK && at != place; at = search.from[at] - 1)
        (*text)[--left] = (char)search.bytes[at];
    free(search.from);
    free(search.bytes);
    free(search.queue);
    return status;
}
