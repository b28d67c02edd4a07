/* mask.c: the tokens that may come at a place, by one walk over the trie of the vocabulary: what a byte leads to is
 * known after the first time, and where it leads nowhere all tokens below it are skipped. Where all that stands below
 * it may come, as the words within a text, they are taken together. Within texts most tokens may come: units.c is
 * faster there. */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/matcher_private.h"

static void set(uint32_t *bits, int32_t token) { bits[token / 32] |= UINT32_C(1) << token % 32; }

static size_t words_of(const struct ci_matcher *matcher) { return ci_grammar_vocabulary_words(matcher->vocabulary); }

static void set_all(uint32_t *bits, const int32_t *tokens, size_t count) {
    for (size_t i = 0; i < count; i++) set(bits, tokens[i]);
}

/* Whether all from a node on may come at `place`, before its byte: its units are of groups that lead from place to
 * place, as within a text. *all stays false where that is not so. */
static enum clinfer_status look_through(struct ci_matcher *matcher, ci_place place, const struct ci_trie_node *node,
                                        bool *all) {
    *all = false;
    if (node->groups & CI_UNIT_WITHIN) return CLINFER_OK;
    for (unsigned left = node->height; left > 0; left--) {
        enum clinfer_status status = matcher->places[place].units ? CLINFER_OK : ci_matcher_find_units(matcher, place);
        if (status != CLINFER_OK) return status;
        const struct ci_place_state *state = &matcher->places[place];
        if (node->groups & ~state->groups) return CLINFER_OK;
        if (state->target == place) break;
        place = state->target;
    }
    *all = true;
    return CLINFER_OK;
}

/* Below so many nodes looking through costs as much as the walk. */
enum { LEAST_NODES = 16 };

/* Over the nodes first .. end - 1, which are whole subtrees. */
static enum clinfer_status walk(struct ci_matcher *matcher, ci_place place, size_t first, size_t end, uint32_t *bits) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    const struct ci_trie_node *nodes = vocabulary->nodes;
    ci_place *places = matcher->walk; /* before the byte of each depth */
    enum clinfer_status status = CLINFER_OK;
    places[0] = place;
    for (size_t i = first; i < end && status == CLINFER_OK;) {
        const struct ci_trie_node *node = &nodes[i];
        const ci_place from = places[node->depth];
        const uint8_t byte_class = matcher->class_of[node->byte];
        const uint32_t *next = matcher->places[from].next;
        ci_place to = next ? next[byte_class] : (uint32_t)CI_PLACE_UNKNOWN;
        size_t behind = i + 1; /* where it goes on */
        bool all = false;
        if (to == (uint32_t)CI_PLACE_UNKNOWN && node->skip == behind)
            to = ci_matcher_leads_on(matcher, from, node->byte) ? from : CI_PLACE_DEAD; /* which place, nobody asks */
        else if (to == (uint32_t)CI_PLACE_UNKNOWN)
            status = ci_matcher_step(matcher, from, byte_class, &to);
        if (status != CLINFER_OK || to == CI_PLACE_DEAD) {
            i = node->skip;
            continue;
        }
        if (node->skip - i >= LEAST_NODES) status = look_through(matcher, from, node, &all);
        if (all) behind = node->skip;
        places[node->depth + 1] = to;
        set_all(bits, vocabulary->order + node->first, nodes[behind].first - node->first);
        i = behind;
    }
    return status;
}

/* Those whose bytes may come. */
static enum clinfer_status add_texts(struct ci_matcher *matcher, ci_place place, uint32_t *bits) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    bool spaced_done, others_done;
    enum clinfer_status status = ci_matcher_mask_by_units(matcher, place, true, bits, &spaced_done);
    if (status == CLINFER_OK) status = ci_matcher_mask_by_units(matcher, place, false, bits, &others_done);
    if (status == CLINFER_OK && !spaced_done)
        status = walk(matcher, place, vocabulary->spaced_first, vocabulary->spaced_end, bits);
    if (status == CLINFER_OK && !others_done) status = walk(matcher, place, 0, vocabulary->spaced_first, bits);
    if (status == CLINFER_OK && !others_done)
        status = walk(matcher, place, vocabulary->spaced_end, vocabulary->node_count, bits);
    return status;
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

static enum clinfer_status make_mask(struct ci_matcher *matcher, ci_place place, uint32_t *index) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    struct ci_mask *mask = take_mask(matcher);
    if (!mask) return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory for a mask");
    memset(mask->bits, 0, words_of(matcher) * sizeof *mask->bits);
    enum clinfer_status status = add_texts(matcher, place, mask->bits);
    if (status != CLINFER_OK) return status;
    add_named(matcher, place, mask->bits);
    for (size_t i = 0; i < vocabulary->end_count && matcher->places[place].may_end; i++)
        set(mask->bits, vocabulary->ends[i]);
    mask->count = count_bits(mask->bits, words_of(matcher));
    mask->place = place;
    *index = matcher->places[place].mask = ci_narrowed_unsigned((size_t)(mask - matcher->masks) + 1);
    matcher->counts.masks++;
    return CLINFER_OK;
}

enum clinfer_status ci_matcher_mask(struct ci_matcher *matcher, ci_place place, const uint32_t **bits, size_t *count) {
    uint32_t index = matcher->places[place].mask;
    if (index == 0) {
        double start = ci_now();
        enum clinfer_status status = ci_matcher_usual(matcher, place, &place);
        if (status != CLINFER_OK) return status;
        index = matcher->places[place].mask;
        if (index == 0) status = make_mask(matcher, place, &index);
        if (status != CLINFER_OK) return status;
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

/* A byte that leads to a place from which it is one byte less. */
static enum clinfer_status step_nearer(struct ci_matcher *matcher, ci_place *place, char *byte) {
    const uint32_t cost = matcher->places[*place].cost;
    for (size_t k = 0; k < matcher->class_count; k++) {
        ci_place to;
        enum clinfer_status status = ci_matcher_step(matcher, *place, (uint8_t)ci_narrowed_unsigned(k), &to);
        if (status != CLINFER_OK) return status;
        if (to == CI_PLACE_DEAD || matcher->places[to].cost != cost - 1) continue;
        *byte = (char)matcher->first_of[k];
        *place = to;
        return CLINFER_OK;
    }
    return ci_fail(CLINFER_UNSUPPORTED, "grammar: no end is reached from here by bytes alone");
}

enum clinfer_status ci_matcher_completion(struct ci_matcher *matcher, ci_place place, char **text, size_t *length) {
    size_t bytes = ci_matcher_cost(matcher, place);
    *length = 0;
    *text = bytes < CI_COST_TOKEN ? malloc(bytes + 1) : NULL;
    if (bytes >= CI_COST_TOKEN)
        return ci_fail(CLINFER_UNSUPPORTED, "grammar: no end is reached from here by bytes alone");
    if (!*text) return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory");
    enum clinfer_status status = CLINFER_OK;
    while (*length < bytes && status == CLINFER_OK) status = step_nearer(matcher, &place, *text + (*length)++);
    (*text)[*length] = 0;
    if (status != CLINFER_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}
