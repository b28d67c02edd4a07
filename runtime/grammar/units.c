/* units.c: masks of places within texts, where most tokens may come: a walk over all of them would take milliseconds in
 * a vocabulary of 262,144.
 *
 * There a character leads to a place that is like the one before it (within "..."), or to the next of a row of such
 * places (a text of at most ten characters). Characters are told apart as units (vocabulary.h); which tokens have a
 * unit is known as a bit mask. So the tokens of which all units lead along the row, and which are not longer than it,
 * are found without looking at any of them. Of the others, those with a unit that leads elsewhere (quotation marks,
 * backslashes) are followed one by one; and what has none of these, but a unit that leads nowhere, may not come. Tokens
 * that begin with a blank, by which words are told apart, are looked at by themselves, behind the blank.
 *
 * Tried and left: masks of whole subtrees of the trie; the tokens of a text lie scattered over it. */
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "grammar/matcher_private.h"

/* ---- where units lead ---- */

enum { MOST_WITHIN = 16 }; /* places within characters of one first byte: those of more lead to several */

struct place_set {
    ci_place places[MOST_WITHIN];
    int count;
};

/* false: too many. */
static bool add(struct place_set *set, ci_place place) {
    for (int i = 0; i < set->count; i++)
        if (set->places[i] == place) return true;
    if (set->count == MOST_WITHIN) return false;
    set->places[set->count++] = place;
    return true;
}

/* Where all characters lead that begin with this byte: a place; CI_PLACE_DEAD: nowhere; CI_PLACE_SEVERAL. */
static enum clinfer_status follow_lead(struct ci_matcher *matcher, ci_place place, uint8_t lead, ci_place *to) {
    struct place_set here = {.count = 0}, next;
    uint8_t low, high;
    enum clinfer_status status = ci_matcher_step(matcher, place, matcher->class_of[lead], to);
    if (status != CLINFER_OK || *to == CI_PLACE_DEAD) return status;
    add(&here, *to);
    *to = (uint32_t)CI_PLACE_SEVERAL;
    for (int have = 1; ci_grammar_unit_goes_on(lead, have, &low, &high); have++) {
        next.count = 0;
        for (int i = 0; i < here.count; i++)
            for (unsigned k = matcher->class_of[low]; k <= matcher->class_of[high]; k++) {
                ci_place behind;
                status = ci_matcher_step(matcher, here.places[i], (uint8_t)k, &behind);
                if (status != CLINFER_OK || behind == CI_PLACE_DEAD || !add(&next, behind)) return status;
            }
        here = next;
    }
    if (here.count == 1) *to = here.places[0];
    return CLINFER_OK;
}

static bool is_place(ci_place place) { return place != CI_PLACE_DEAD && place != (uint32_t)CI_PLACE_SEVERAL; }

/* Where most tokens lead, of those that begin with one of the units `among` (NULL: any); CI_PLACE_DEAD: nowhere. */
static ci_place most_frequent(const struct ci_matcher *matcher, const ci_place *units, const bool *among) {
    ci_place best = CI_PLACE_DEAD;
    size_t most = 0;
    bool done[CI_UNITS] = {false};
    for (unsigned u = 0; u < CI_UNITS; u++) {
        size_t tokens = 0;
        if (done[u] || !is_place(units[u]) || (among && !among[u])) continue;
        for (unsigned other = u; other < CI_UNITS; other++) {
            if (units[other] != units[u] || (among && !among[other])) continue;
            done[other] = true;
            tokens += matcher->vocabulary->having_count[other] + 1;
        }
        if (tokens <= most) continue;
        most = tokens;
        best = units[u];
    }
    return best;
}

/* Whether the unit leads wherever the one before it does, since no grammar tells them apart. */
static bool is_like_before(const struct ci_matcher *matcher, unsigned unit) {
    const bool ascii = unit < CI_UNITS_ASCII;
    const unsigned byte = ascii ? unit : unit - CI_UNITS_ASCII + CI_UNIT_FIRST_LEAD;
    uint8_t low, high, low_before, high_before;
    if (byte == 0 || byte == CI_UNIT_FIRST_LEAD || matcher->class_of[byte] != matcher->class_of[byte - 1]) return false;
    ci_grammar_unit_goes_on((uint8_t)byte, 1, &low, &high);
    ci_grammar_unit_goes_on((uint8_t)(byte - 1), 1, &low_before, &high_before);
    return ascii || (byte != 0xE0 && byte != 0xF0 && low == low_before && high == high_before);
}

static enum clinfer_status follow_units(struct ci_matcher *matcher, ci_place place, ci_place *units) {
    enum clinfer_status status = CLINFER_OK;
    units[CI_UNIT_ODD] = (uint32_t)CI_PLACE_SEVERAL;
    for (unsigned u = 0; u < CI_UNIT_ODD && status == CLINFER_OK; u++) {
        if (is_like_before(matcher, u))
            units[u] = units[u - 1];
        else if (u < CI_UNITS_ASCII)
            status = ci_matcher_step(matcher, place, matcher->class_of[u], &units[u]);
        else
            status = follow_lead(matcher, place, (uint8_t)(u - CI_UNITS_ASCII + CI_UNIT_FIRST_LEAD), &units[u]);
    }
    return status;
}

enum clinfer_status ci_matcher_find_units(struct ci_matcher *matcher, ci_place place) {
    ci_place *units = calloc(CI_UNITS, sizeof *units);
    if (!units) return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory for a mask");
    enum clinfer_status status = follow_units(matcher, place, units);
    if (status != CLINFER_OK) {
        free(units);
        return status;
    }
    struct ci_place_state *state = &matcher->places[place];
    state->target = most_frequent(matcher, units, NULL);
    unsigned others = 0; /* groups with units that lead elsewhere */
    for (unsigned u = 0; u < CI_UNITS; u++)
        if (units[u] != state->target) others |= 1u << ci_grammar_unit_group(u);
    state->groups = (uint16_t)(state->target == CI_PLACE_DEAD ? 0 : (CI_UNIT_WITHIN - 1) & ~others);
    state->units = units;
    matcher->counts.bytes += CI_UNITS * sizeof *units;
    return CLINFER_OK;
}

/* ---- rows of places ---- */

struct row {
    bool along[CI_UNITS];     /* it leads from each place of the row to the next */
    bool elsewhere[CI_UNITS]; /* from some it leads elsewhere, but not nowhere */
    bool beyond[CI_UNITS];    /* it leads from the last place on */
    int length;               /* characters; CI_UNITS_LENGTHS: any number */
};

static size_t weight_of(const struct ci_matcher *matcher, const bool *units) {
    size_t weight = 0;
    for (unsigned u = 0; u < CI_UNITS; u++) weight += units[u] ? matcher->vocabulary->having_count[u] + 1 : 0;
    return weight;
}

/* The units that lead from a place along the row, when these have until now; false: not enough of them. */
static bool narrow_row(const struct ci_matcher *matcher, ci_place place, struct row *row, ci_place *target) {
    const ci_place *units = matcher->places[place].units;
    bool along[CI_UNITS];
    *target = most_frequent(matcher, units, row->along);
    if (*target == CI_PLACE_DEAD) return false;
    for (unsigned u = 0; u < CI_UNITS; u++) along[u] = row->along[u] && units[u] == *target;
    if (row->length > 0 && weight_of(matcher, along) * 2 < weight_of(matcher, row->along)) return false;
    memcpy(row->along, along, sizeof along);
    return true;
}

/* Units that do not lead along it are looked at from each place; they are fewer at its end than at its begin, so all
 * that lead on from anywhere are noted. */
static enum clinfer_status find_row(struct ci_matcher *matcher, ci_place place, struct row *row) {
    bool alive[CI_UNITS] = {false};
    ci_place target = place;
    memset(row->along, true, sizeof row->along);
    for (row->length = 0;; row->length++) {
        place = target;
        enum clinfer_status status = matcher->places[place].units ? CLINFER_OK : ci_matcher_find_units(matcher, place);
        if (status != CLINFER_OK) return status;
        const ci_place *units = matcher->places[place].units;
        for (unsigned u = 0; u < CI_UNITS; u++) alive[u] = alive[u] || units[u] != CI_PLACE_DEAD;
        if (row->length == CI_UNITS_LENGTHS - 1 || !narrow_row(matcher, place, row, &target)) break;
        if (target != place) continue;
        row->length = CI_UNITS_LENGTHS;
        break;
    }
    const ci_place *last = matcher->places[place].units;
    for (unsigned u = 0; u < CI_UNITS; u++) {
        row->elsewhere[u] = alive[u] && !row->along[u];
        row->beyond[u] = row->along[u] && row->length < CI_UNITS_LENGTHS && last[u] != CI_PLACE_DEAD;
    }
    return CLINFER_OK;
}

/* ---- places that lead to each other ---- */

enum { MOST_PLACES = 16, LEAST_KEPT = 8 /* of so many parts all but one */ };

struct circle {
    ci_place places[MOST_PLACES];
    int count;
};

/* Units that lead on from a place. */
static size_t weight_alive(const struct ci_matcher *matcher, const ci_place *units, const bool *among) {
    size_t weight = 0;
    for (unsigned u = 0; u < CI_UNITS; u++)
        if (among[u] && is_place(units[u])) weight += matcher->vocabulary->having_count[u] + 1;
    return weight;
}

/* A place that a unit leads to becomes one of the circle if nearly all units lead on from it, too. */
static enum clinfer_status take_in(struct ci_matcher *matcher, ci_place place, const bool *along, struct circle *circle,
                                   bool *taken) {
    for (int i = 0; i < circle->count; i++)
        if (circle->places[i] == place) return CLINFER_OK;
    enum clinfer_status status = matcher->places[place].units ? CLINFER_OK : ci_matcher_find_units(matcher, place);
    if (status != CLINFER_OK) return status;
    const size_t all = weight_of(matcher, along), alive = weight_alive(matcher, matcher->places[place].units, along);
    *taken = circle->count < MOST_PLACES && all - alive <= all / LEAST_KEPT;
    if (*taken) circle->places[circle->count++] = place;
    return CLINFER_OK;
}

/* Where no row goes on for ever: a circle of places, as in a search for a word, in which some units lead only from one
 * to another. As a row of any length then; its length is 0 where there is none. */
static enum clinfer_status find_circle(struct ci_matcher *matcher, ci_place place, struct row *row) {
    struct circle circle = {.places = {place}, .count = 1};
    bool alive[CI_UNITS] = {false};
    memset(row, 0, sizeof *row);
    for (unsigned u = 0; u < CI_UNITS; u++) row->along[u] = is_place(matcher->places[place].units[u]);
    for (int i = 0; i < circle.count; i++)
        for (unsigned u = 0; u < CI_UNITS; u++) {
            const ci_place to = matcher->places[circle.places[i]].units[u];
            bool taken = true;
            alive[u] = alive[u] || to != CI_PLACE_DEAD;
            if (row->along[u] && !is_place(to)) row->along[u] = false;
            if (!row->along[u]) continue;
            enum clinfer_status status = take_in(matcher, to, row->along, &circle, &taken);
            if (status != CLINFER_OK) return status;
            row->along[u] = taken;
        }
    for (unsigned u = 0; u < CI_UNITS; u++) row->elsewhere[u] = alive[u] && !row->along[u];
    row->length = CI_UNITS_LENGTHS;
    return CLINFER_OK;
}

/* ---- the mask ---- */

static void add_bits(uint32_t *bits, const uint32_t *more, size_t words) {
    for (size_t i = 0; i < words; i++) bits[i] |= more[i];
}

/* Tokens that have any of these units. */
static void add_having(const struct ci_grammar_vocabulary *vocabulary, const bool *units, uint32_t *bits) {
    const size_t words = ci_grammar_vocabulary_words(vocabulary);
    bool whole[CI_UNIT_GROUPS];
    memset(whole, true, sizeof whole);
    for (unsigned u = 0; u < CI_UNITS; u++)
        if (!units[u] && vocabulary->having_count[u]) whole[ci_grammar_unit_group(u)] = false;
    for (size_t g = 0; g < CI_UNIT_GROUPS; g++)
        if (whole[g]) add_bits(bits, vocabulary->groups + g * words, words);
    for (unsigned u = 0; u < CI_UNITS; u++)
        if (units[u] && vocabulary->having_count[u] && !whole[ci_grammar_unit_group(u)])
            add_bits(bits, vocabulary->having + u * words, words);
}

/* Tokens that have to be looked at; how many. */
static size_t find_open(const struct ci_grammar_vocabulary *vocabulary, const struct row *row, bool spaced,
                        uint32_t *open) {
    const size_t words = ci_grammar_vocabulary_words(vocabulary);
    const uint32_t *within = vocabulary->within + (size_t)row->length * words, turn = spaced ? 0 : UINT32_MAX;
    size_t count = 0;
    memset(open, 0, words * sizeof *open);
    add_having(vocabulary, row->beyond, open);
    for (size_t i = 0; i < words; i++) open[i] &= ~within[i];
    add_having(vocabulary, row->elsewhere, open);
    for (size_t i = 0; i < words; i++) {
        open[i] &= vocabulary->spaced[i] ^ turn;
        count += (size_t)__builtin_popcount(open[i]);
    }
    return count;
}

/* Adds those that may come without being looked at; `others`: scratch. */
static void add_along(const struct ci_grammar_vocabulary *vocabulary, const struct row *row, bool spaced,
                      uint32_t *others, uint32_t *bits) {
    const size_t words = ci_grammar_vocabulary_words(vocabulary);
    const uint32_t *within = vocabulary->within + (size_t)row->length * words, turn = spaced ? 0 : UINT32_MAX;
    bool units[CI_UNITS];
    for (unsigned u = 0; u < CI_UNITS; u++) units[u] = !row->along[u];
    memset(others, 0, words * sizeof *others);
    add_having(vocabulary, units, others);
    for (size_t i = 0; i < words; i++) bits[i] |= within[i] & ~others[i] & (vocabulary->spaced[i] ^ turn);
}

static enum clinfer_status follow_open(struct ci_matcher *matcher, ci_place place, const uint32_t *open,
                                       uint32_t *bits) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    const size_t words = ci_grammar_vocabulary_words(vocabulary);
    for (size_t i = 0; i < words; i++)
        for (uint32_t left = open[i]; left; left &= left - 1) {
            const size_t token = i * 32 + (size_t)__builtin_ctz(left);
            const uint32_t first = vocabulary->offsets[token];
            ci_place to;
            enum clinfer_status status = ci_matcher_take_bytes(matcher, place, vocabulary->bytes + first,
                                                               vocabulary->offsets[token + 1] - first, &to);
            if (status != CLINFER_OK) return status;
            if (to != CI_PLACE_DEAD) bits[i] |= left & -left;
        }
    return CLINFER_OK;
}

/* Nodes of the trie that a walk may have to look at, behind `from`: those below bytes with which something may come. */
static enum clinfer_status most_of_walk(struct ci_matcher *matcher, ci_place from, bool spaced, size_t *count) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    const struct ci_trie_node *nodes = vocabulary->nodes;
    const size_t end = spaced ? vocabulary->spaced_end : vocabulary->node_count;
    *count = 0;
    for (size_t i = spaced ? vocabulary->spaced_first + 1 : 0; i < end; i = nodes[i].skip) {
        ci_place to;
        if (!spaced && i == vocabulary->spaced_first) continue;
        enum clinfer_status status = ci_matcher_step(matcher, from, matcher->class_of[nodes[i].byte], &to);
        if (status != CLINFER_OK) return status;
        if (to != CI_PLACE_DEAD) *count += nodes[i].skip - i;
    }
    return CLINFER_OK;
}

/* A walk over so many nodes, or such a share of all, is as fast as this; a token that is followed costs as much as so
 * many nodes; a share of all that is more than this is too much: a walk looks at what they have in common once. */
enum { LEAST_NODES = 4096, SHARE_OF_NODES = 16, NODES_OF_TOKEN = 8, LEAST_SHARE = 16, FEW_SHARE = 64 };

/* How many tokens have to be looked at, which are in `open` then; where one unit alone makes that too many, they are
 * not counted. */
static size_t count_open(const struct ci_grammar_vocabulary *vocabulary, const struct row *row, bool spaced,
                         uint32_t *open) {
    size_t most = 0;
    for (unsigned u = 0; u < CI_UNITS; u++)
        if (row->elsewhere[u] && vocabulary->having_count[u] > most) most = vocabulary->having_count[u];
    return most > vocabulary->token_count / LEAST_SHARE ? most : find_open(vocabulary, row, spaced, open);
}

/* Whether nearly all tokens begin with what leads on from a place. */
static bool is_nearly_all(const struct ci_matcher *matcher, ci_place place) {
    bool all[CI_UNITS];
    memset(all, true, sizeof all);
    const size_t weight = weight_of(matcher, all);
    return weight - weight_alive(matcher, matcher->places[place].units, all) <= weight / LEAST_KEPT;
}

/* A row, or a circle where that leaves fewer tokens to be looked at. */
static enum clinfer_status choose(struct ci_matcher *matcher, ci_place from, bool spaced, struct row *row,
                                  size_t *count) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    uint32_t *open = matcher->scratch;
    struct row other;
    enum clinfer_status status = find_row(matcher, from, row);
    if (status != CLINFER_OK) return status;
    *count = count_open(vocabulary, row, spaced, open);
    if (*count <= vocabulary->token_count / FEW_SHARE || !is_nearly_all(matcher, from)) return CLINFER_OK;
    status = find_circle(matcher, from, &other);
    if (status != CLINFER_OK) return status;
    const size_t others = count_open(vocabulary, &other, spaced, open);
    if (others < *count) {
        *row = other;
        *count = others;
    } else {
        *count = count_open(vocabulary, row, spaced, open);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_matcher_mask_by_units(struct ci_matcher *matcher, ci_place place, bool spaced, uint32_t *bits,
                                             bool *done) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    ci_place from = place;
    struct row row;
    size_t nodes, count;
    enum clinfer_status status = CLINFER_OK;
    *done = false;
    if (spaced) status = ci_matcher_step(matcher, place, matcher->class_of[' '], &from);
    if (status != CLINFER_OK || from == CI_PLACE_DEAD) return status;
    status = most_of_walk(matcher, from, spaced, &nodes);
    if (status != CLINFER_OK || nodes < LEAST_NODES || nodes < vocabulary->node_count / SHARE_OF_NODES) return status;
    status = choose(matcher, from, spaced, &row, &count);
    if (status != CLINFER_OK || count * NODES_OF_TOKEN >= nodes || count > vocabulary->token_count / LEAST_SHARE)
        return status;
    *done = true;
    add_along(vocabulary, &row, spaced, matcher->scratch + ci_grammar_vocabulary_words(vocabulary), bits);
    return follow_open(matcher, place, matcher->scratch, bits);
}
