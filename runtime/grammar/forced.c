/* forced.c: bytes that have to come, whatever tokens they come as, and where their tokens may be cut.
 *
 * Of what has to come the last tokens are not certain: the tokenizer would make another token of their bytes and of
 * what comes behind them. As llguidance does (its docs/fast_forward.md; chop_tokens() of its toktrie), they are left
 * open where the vocabulary has a token that begins with these bytes and goes on as the grammar allows. SGLang's
 * jump-forward decoding (Zheng et al., 2024, section 4) makes tokens of the whole text anew instead, and computes what
 * changes again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/matcher_private.h"

enum { MOST_FORCED = 4096 };

/* The only byte that leads on from a place; false: there are several, or the answer may end, or a token may come by its
 * name. */
static bool only_byte(const struct ci_matcher *matcher, ci_place place, uint8_t *byte) {
    const struct ci_place_state *state = &matcher->places[place];
    int found = 0;
    if (state->may_end || state->has_tokens) return false;
    for (size_t k = 0; k < matcher->class_count && found < 2; k++) {
        if (!ci_matcher_leads_on(matcher, place, matcher->first_of[k])) continue;
        const unsigned next = k + 1 < matcher->class_count ? matcher->first_of[k + 1] : 256;
        found += next - matcher->first_of[k] > 1 ? 2 : 1;
        *byte = matcher->first_of[k];
    }
    return found == 1;
}

enum clinfer_status ci_matcher_forced(struct ci_matcher *matcher, ci_place place, char **text, size_t *length) {
    size_t capacity = 0;
    uint8_t byte;
    enum clinfer_status status = CLINFER_OK;
    *text = NULL;
    *length = 0;
    while (status == CLINFER_OK && *length < MOST_FORCED && only_byte(matcher, place, &byte)) {
        const char letter = (char)byte;
        if (!ci_append(text, length, &capacity, &letter, 1))
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory");
        else
            status = ci_matcher_step(matcher, place, matcher->class_of[byte], &place);
    }
    if (status != CLINFER_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

/* The node that these bytes lead to; node_count: no token goes on behind them. */
static size_t find_node(const struct ci_grammar_vocabulary *vocabulary, const char *bytes, size_t length) {
    size_t first = 0, end = vocabulary->node_count, found = end;
    for (size_t i = 0; i < length; i++) {
        for (found = first; found < end && vocabulary->nodes[found].byte != (uint8_t)bytes[i];)
            found = vocabulary->nodes[found].skip;
        if (found >= end) return vocabulary->node_count;
        first = found + 1;
        end = vocabulary->nodes[found].skip;
    }
    return found;
}

enum clinfer_status ci_matcher_extends(struct ci_matcher *matcher, ci_place place, const char *bytes, size_t length,
                                       bool *extends) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    const struct ci_trie_node *nodes = vocabulary->nodes;
    const size_t node = find_node(vocabulary, bytes, length);
    *extends = false;
    if (node == vocabulary->node_count) return CLINFER_OK;
    ci_place *places = matcher->walk; /* before the byte of each depth */
    places[length] = place;
    for (size_t i = node + 1; i < nodes[node].skip && !*extends;) {
        ci_place to;
        enum clinfer_status status =
            ci_matcher_step(matcher, places[nodes[i].depth], matcher->class_of[nodes[i].byte], &to);
        if (status != CLINFER_OK) return status;
        const bool is_token = nodes[i + 1].first > nodes[i].first;
        *extends = to != CI_PLACE_DEAD && is_token;
        places[nodes[i].depth + 1] = to;
        i = to == CI_PLACE_DEAD ? nodes[i].skip : i + 1;
    }
    return CLINFER_OK;
}
