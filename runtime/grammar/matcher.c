/* matcher.c: places and the steps between them; see matcher.h. mask.c walks the vocabulary. */
#include "grammar/matcher.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/hash.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/matcher_private.h"

enum { MOST_CONFIGS = 20000 }; /* of one place: beyond that a grammar has too many readings */

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory"); }

/* ---- tables ---- */

static bool make_room(struct ci_number_table *table, uint64_t (*hash_of)(const struct ci_matcher *, uint32_t),
                      const struct ci_matcher *matcher) {
    if (table->count * 2 < table->capacity) return true;
    size_t capacity = table->capacity ? table->capacity * 2 : 256;
    uint32_t *entries = calloc(capacity, sizeof *entries);
    if (!entries) return false;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i] == 0) continue;
        size_t at = (size_t)hash_of(matcher, table->entries[i] - 1) & (capacity - 1);
        while (entries[at]) at = (at + 1) & (capacity - 1);
        entries[at] = table->entries[i];
    }
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
    return true;
}

static uint64_t hash_pair(uint32_t a, uint32_t b) {
    uint64_t value = ((uint64_t)a << 32 | b) * UINT64_C(0x9E3779B97F4A7C15);
    return value ^ value >> 29;
}

static uint64_t hash_of_stack(const struct ci_matcher *matcher, uint32_t stack) {
    return hash_pair(matcher->stacks[stack].position, matcher->stacks[stack].below);
}

static uint64_t hash_of_configs(const struct ci_config *configs, size_t count) {
    return ci_hash(CI_HASH_START, configs, count * sizeof *configs);
}

static uint64_t hash_of_place(const struct ci_matcher *matcher, uint32_t place) {
    const struct ci_place_state *state = &matcher->places[place];
    return hash_of_configs(matcher->configs + state->first, state->count);
}

static uint64_t hash_of_seen(const struct ci_matcher *matcher, uint32_t index) {
    return hash_pair(matcher->seen_configs[index].position, matcher->seen_configs[index].stack);
}

/* From a position with these to return to. */
static uint32_t cost_of(const struct ci_matcher *matcher, uint32_t position, uint32_t stack) {
    uint32_t cost = matcher->grammar->positions[position].cost + matcher->stacks[stack].cost;
    return cost < CI_COST_MOST ? cost : CI_COST_MOST;
}

/* In a repetition that is written out, of two copies behind which more may come than a token can read one is as good as
 * the other. */
static uint32_t usual_position(const struct ci_matcher *matcher, uint32_t position) {
    const struct ci_grammar *grammar = matcher->grammar;
    for (int i = grammar->copies_count - 1; i >= 0; i--) {
        const struct ci_copies *copies = &grammar->copies[i];
        if (position < copies->first || position - copies->first >= copies->stride * copies->count) continue;
        /* A token ends one copy, reads some, and begins another. */
        uint32_t most = ci_narrowed_unsigned(matcher->vocabulary->most_depth) / copies->bytes + 1;
        uint32_t copy = (position - copies->first) / copies->stride;
        if (copy > most) position -= (copy - most) * copies->stride;
    }
    return position;
}

static bool add_stack(struct ci_matcher *matcher, uint32_t position, uint32_t below, uint32_t *stack) {
    struct ci_number_table *table = &matcher->stack_table;
    if (!make_room(table, hash_of_stack, matcher)) return false;
    size_t at = (size_t)hash_pair(position, below) & (table->capacity - 1);
    for (; table->entries[at]; at = (at + 1) & (table->capacity - 1)) {
        *stack = table->entries[at] - 1;
        if (matcher->stacks[*stack].position == position && matcher->stacks[*stack].below == below) return true;
    }
    if (!ci_array_reserve(&matcher->stacks, &matcher->stack_capacity, matcher->stack_count)) return false;
    *stack = ci_narrowed_unsigned(matcher->stack_count++);
    matcher->stacks[*stack] =
        (struct ci_stack){position, below, cost_of(matcher, position, below), (uint32_t)CI_PLACE_UNKNOWN};
    table->entries[at] = *stack + 1;
    table->count++;
    return true;
}

/* The stack with this on top; false: out of memory. */
static bool push(struct ci_matcher *matcher, uint32_t position, uint32_t below, uint32_t *stack) {
    if (!add_stack(matcher, position, below, stack)) return false;
    if (matcher->stacks[*stack].usual != (uint32_t)CI_PLACE_UNKNOWN) return true;
    uint32_t usual = *stack, usual_below = matcher->stacks[below].usual, top = usual_position(matcher, position);
    if ((top != position || usual_below != below) && !add_stack(matcher, top, usual_below, &usual)) return false;
    matcher->stacks[*stack].usual = matcher->stacks[usual].usual = usual;
    return true;
}

/* ---- sets ---- */

/* Only what the last set has put there is taken out: a large one would make all that follow dear. */
static void begin_set(struct ci_matcher *matcher) {
    struct ci_number_table *table = &matcher->seen;
    for (size_t i = 0; i < table->count; i++) {
        size_t at = (size_t)hash_of_seen(matcher, ci_narrowed_unsigned(i)) & (table->capacity - 1);
        for (; table->entries[at]; at = (at + 1) & (table->capacity - 1)) table->entries[at] = 0;
    }
    matcher->found_count = matcher->waiting_count = table->count = 0;
}

/* Once each, and only what can come to an end. */
static bool wait(struct ci_matcher *matcher, uint32_t position, uint32_t stack) {
    struct ci_number_table *table = &matcher->seen;
    if (matcher->grammar->positions[position].cost == CI_COST_NO_END) return true;
    if (!make_room(table, hash_of_seen, matcher)) return false;
    size_t at = (size_t)hash_pair(position, stack) & (table->capacity - 1);
    for (; table->entries[at]; at = (at + 1) & (table->capacity - 1)) {
        const struct ci_config *other = &matcher->seen_configs[table->entries[at] - 1];
        if (other->position == position && other->stack == stack) return true;
    }
    const struct ci_config config = {position, stack};
    if (!ci_array_reserve(&matcher->seen_configs, &matcher->seen_capacity, table->count) ||
        !ci_array_reserve(&matcher->waiting, &matcher->waiting_capacity, matcher->waiting_count))
        return false;
    matcher->seen_configs[table->count++] = config;
    table->entries[at] = ci_narrowed_unsigned(table->count);
    matcher->waiting[matcher->waiting_count++] = config;
    return true;
}

static bool find(struct ci_matcher *matcher, struct ci_config config) {
    if (!ci_array_reserve(&matcher->found, &matcher->found_capacity, matcher->found_count)) return false;
    matcher->found[matcher->found_count++] = config;
    return true;
}

/* All that is reached from what waits without a byte. */
static bool close_set(struct ci_matcher *matcher) {
    const struct ci_grammar *grammar = matcher->grammar;
    bool fine = true;
    while (fine && matcher->waiting_count > 0) {
        const struct ci_config config = matcher->waiting[--matcher->waiting_count];
        const struct ci_position *position = &grammar->positions[config.position];
        uint32_t stack = config.stack;
        switch ((enum ci_position_kind)position->kind) {
        case CI_POSITION_END:
            fine = stack ? wait(matcher, matcher->stacks[stack].position, matcher->stacks[stack].below)
                         : find(matcher, config);
            break;
        case CI_POSITION_SPLIT:
            for (uint32_t i = position->count; i > 0 && fine; i--)
                fine = wait(matcher, grammar->targets[position->first + i - 1], stack);
            break;
        case CI_POSITION_CALL:
            /* What is called last returns to where this rule returns to. */
            if (position->next != CI_POSITION_OF_END) fine = push(matcher, position->next, config.stack, &stack);
            fine = fine && wait(matcher, grammar->entries[position->rule], stack);
            break;
        case CI_POSITION_BYTES:
        case CI_POSITION_TOKEN: fine = find(matcher, config); break;
        }
        if (matcher->found_count > MOST_CONFIGS) return fine; /* the caller sees that */
    }
    return fine;
}

static int by_position(const void *a, const void *b) {
    const struct ci_config *x = a, *y = b;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static enum clinfer_status add_place(struct ci_matcher *matcher, ci_place *place) {
    struct ci_place_state state = {.first = matcher->config_count,
                                   .count = ci_narrowed_unsigned(matcher->found_count),
                                   .cost = CI_COST_MOST,
                                   .usual = (uint32_t)CI_PLACE_UNKNOWN};
    const size_t bytes = sizeof state + matcher->found_count * sizeof *matcher->found;
    if (matcher->counts.bytes + bytes > CI_MATCHER_MOST_BYTES) return no_memory();
    if (!ci_array_reserve(&matcher->places, &matcher->place_capacity, matcher->place_count)) return no_memory();
    for (size_t i = 0; i < matcher->found_count; i++) {
        const struct ci_config config = matcher->found[i];
        enum ci_position_kind kind = (enum ci_position_kind)matcher->grammar->positions[config.position].kind;
        uint32_t cost = cost_of(matcher, config.position, config.stack);
        if (cost < state.cost) state.cost = cost;
        state.may_end = state.may_end || kind == CI_POSITION_END;
        state.has_tokens = state.has_tokens || kind == CI_POSITION_TOKEN;
        if (!ci_array_reserve(&matcher->configs, &matcher->config_capacity, matcher->config_count)) {
            matcher->config_count = state.first;
            return no_memory();
        }
        matcher->configs[matcher->config_count++] = config;
    }
    *place = ci_narrowed_unsigned(matcher->place_count++);
    matcher->places[*place] = state;
    matcher->counts.bytes += bytes;
    matcher->counts.places++;
    return CLINFER_OK;
}

/* The place that the set is, which may be there already. */
static enum clinfer_status end_set(struct ci_matcher *matcher, ci_place *place) {
    struct ci_number_table *table = &matcher->place_table;
    size_t count = matcher->found_count;
    *place = CI_PLACE_DEAD;
    if (count > MOST_CONFIGS)
        return ci_fail(
            CLINFER_INVALID_ARGUMENT,
            "grammar: what has come can be read in more than %d ways at once: repetitions of repetitions are "
            "the usual reason",
            MOST_CONFIGS);
    if (count == 0) return CLINFER_OK;
    if (!make_room(table, hash_of_place, matcher)) return no_memory();
    if (count > 1) qsort(matcher->found, count, sizeof *matcher->found, by_position);
    size_t at = (size_t)hash_of_configs(matcher->found, count) & (table->capacity - 1);
    for (; table->entries[at]; at = (at + 1) & (table->capacity - 1)) {
        const struct ci_place_state *state = &matcher->places[table->entries[at] - 1];
        if (state->count == count &&
            memcmp(matcher->configs + state->first, matcher->found, count * sizeof *matcher->found) == 0) {
            *place = table->entries[at] - 1;
            return CLINFER_OK;
        }
    }
    enum clinfer_status status = add_place(matcher, place);
    if (status != CLINFER_OK) return status;
    table->entries[at] = *place + 1;
    table->count++;
    return CLINFER_OK;
}

static enum clinfer_status finish_set(struct ci_matcher *matcher, bool fine, ci_place *place) {
    fine = fine && close_set(matcher);
    return fine ? end_set(matcher, place) : no_memory();
}

/* ---- places that allow the same tokens ---- */

enum clinfer_status ci_matcher_usual(struct ci_matcher *matcher, ci_place place, ci_place *usual) {
    *usual = matcher->grammar->copies_count ? matcher->places[place].usual : place;
    if (*usual != (uint32_t)CI_PLACE_UNKNOWN) return CLINFER_OK;
    bool fine = true;
    begin_set(matcher);
    for (uint32_t i = 0; i < matcher->places[place].count && fine; i++) {
        const struct ci_config config = matcher->configs[matcher->places[place].first + i];
        fine = wait(matcher, usual_position(matcher, config.position), matcher->stacks[config.stack].usual);
    }
    /* What waits reads something or ends, so that nothing else is reached from it. */
    enum clinfer_status status = finish_set(matcher, fine, usual);
    if (status == CLINFER_OK) matcher->places[place].usual = *usual;
    return status;
}

/* ---- steps ---- */

static bool make_next(struct ci_matcher *matcher, struct ci_place_state *state) {
    const size_t bytes = matcher->class_count * sizeof *state->next;
    state->next = malloc(bytes);
    if (!state->next) return false;
    for (size_t i = 0; i < matcher->class_count; i++) state->next[i] = (uint32_t)CI_PLACE_UNKNOWN;
    matcher->counts.bytes += bytes;
    return true;
}

/* The step where one place in the grammar leads to one that reads on, as within words: no set has to be closed. *done:
 * whether it was so, or leads nowhere. */
static enum clinfer_status step_along(struct ci_matcher *matcher, const struct ci_place_state *state, uint8_t byte,
                                      bool *done, ci_place *to) {
    const struct ci_grammar *grammar = matcher->grammar;
    const struct ci_edge *found = NULL;
    struct ci_config single = {0};
    *done = false;
    *to = CI_PLACE_DEAD;
    for (uint32_t i = 0; i < state->count; i++) {
        const struct ci_config config = matcher->configs[state->first + i];
        const struct ci_position *position = &grammar->positions[config.position];
        if (position->kind != CI_POSITION_BYTES) continue;
        for (uint32_t e = position->first; e < position->first + position->count; e++) {
            const struct ci_edge *edge = &grammar->edges[e];
            if (byte < edge->low || byte > edge->high) continue;
            if (found || grammar->positions[edge->next].kind != CI_POSITION_BYTES) return CLINFER_OK;
            found = edge;
            single = (struct ci_config){edge->next, config.stack};
        }
    }
    *done = true;
    if (!found || grammar->positions[found->next].cost == CI_COST_NO_END) return CLINFER_OK;
    begin_set(matcher);
    return find(matcher, single) ? end_set(matcher, to) : no_memory();
}

bool ci_matcher_leads_on(const struct ci_matcher *matcher, ci_place from, uint8_t byte) {
    const struct ci_grammar *grammar = matcher->grammar;
    const struct ci_place_state *state = &matcher->places[from];
    for (uint32_t i = 0; i < state->count; i++) {
        const struct ci_position *position = &grammar->positions[matcher->configs[state->first + i].position];
        if (position->kind != CI_POSITION_BYTES) continue;
        for (uint32_t e = position->first; e < position->first + position->count; e++)
            if (byte >= grammar->edges[e].low && byte <= grammar->edges[e].high &&
                grammar->positions[grammar->edges[e].next].cost != CI_COST_NO_END)
                return true;
    }
    return false;
}

enum clinfer_status ci_matcher_step(struct ci_matcher *matcher, ci_place from, uint8_t byte_class, ci_place *to) {
    const struct ci_grammar *grammar = matcher->grammar;
    struct ci_place_state *state = &matcher->places[from];
    const uint8_t byte = matcher->first_of[byte_class];
    if (!state->next && !make_next(matcher, state)) return no_memory();
    *to = state->next[byte_class];
    if (*to != (uint32_t)CI_PLACE_UNKNOWN) return CLINFER_OK;
    bool fine = true, done;
    enum clinfer_status status = step_along(matcher, state, byte, &done, to);
    if (status == CLINFER_OK && done) matcher->places[from].next[byte_class] = *to;
    if (status != CLINFER_OK || done) return status;
    begin_set(matcher);
    for (uint32_t i = 0; i < state->count && fine; i++) {
        const struct ci_config config = matcher->configs[state->first + i];
        const struct ci_position *position = &grammar->positions[config.position];
        if (position->kind != CI_POSITION_BYTES) continue;
        for (uint32_t e = position->first; e < position->first + position->count && fine; e++)
            if (byte >= grammar->edges[e].low && byte <= grammar->edges[e].high)
                fine = wait(matcher, grammar->edges[e].next, config.stack);
    }
    status = finish_set(matcher, fine, to);
    if (status == CLINFER_OK) matcher->places[from].next[byte_class] = *to; /* places may have moved */
    return status;
}

enum clinfer_status ci_matcher_take_bytes(struct ci_matcher *matcher, ci_place from, const char *bytes, size_t length,
                                          ci_place *to) {
    enum clinfer_status status = CLINFER_OK;
    *to = from;
    for (size_t i = 0; i < length && status == CLINFER_OK && *to != CI_PLACE_DEAD; i++)
        status = ci_matcher_step(matcher, *to, matcher->class_of[(uint8_t)bytes[i]], to);
    return status;
}

/* Where the grammar speaks of tokens themselves, behind this one by its bytes and by its name. */
static enum clinfer_status take_named(struct ci_matcher *matcher, ci_place from, int32_t token, ci_place *to) {
    const struct ci_grammar *grammar = matcher->grammar;
    const struct ci_place_state *state = &matcher->places[from];
    bool fine = true;
    begin_set(matcher);
    for (uint32_t i = 0; i < state->count && fine; i++) {
        const struct ci_config config = matcher->configs[state->first + i];
        const struct ci_position *position = &grammar->positions[config.position];
        if (position->kind == CI_POSITION_TOKEN && (position->token == token) != position->negated)
            fine = wait(matcher, position->next, config.stack);
    }
    for (uint32_t i = 0; *to != CI_PLACE_DEAD && i < matcher->places[*to].count && fine; i++) {
        const struct ci_config config = matcher->configs[matcher->places[*to].first + i];
        fine = wait(matcher, config.position, config.stack);
    }
    return finish_set(matcher, fine, to);
}

enum clinfer_status ci_matcher_take(struct ci_matcher *matcher, ci_place from, int32_t token, ci_place *to) {
    const struct ci_grammar_vocabulary *vocabulary = matcher->vocabulary;
    *to = CI_PLACE_DEAD;
    if (from == CI_PLACE_DEAD || token < 0 || (size_t)token >= vocabulary->token_count) return CLINFER_OK;
    if (ci_grammar_vocabulary_is_end(vocabulary, token)) {
        if (matcher->places[from].may_end) *to = from;
        return CLINFER_OK;
    }
    uint32_t first = vocabulary->offsets[token], length = vocabulary->offsets[token + 1] - first;
    bool named = matcher->places[from].has_tokens;
    enum clinfer_status status =
        length ? ci_matcher_take_bytes(matcher, from, vocabulary->bytes + first, length, to) : CLINFER_OK;
    return status == CLINFER_OK && named ? take_named(matcher, from, token, to) : status;
}

bool ci_matcher_may_end(const struct ci_matcher *matcher, ci_place place) {
    return place != CI_PLACE_DEAD && matcher->places[place].may_end;
}

bool ci_matcher_is_over(const struct ci_matcher *matcher, ci_place place) {
    const struct ci_place_state *state = &matcher->places[place];
    for (uint32_t i = 0; i < state->count; i++)
        if (matcher->grammar->positions[matcher->configs[state->first + i].position].kind != CI_POSITION_END)
            return false;
    return state->may_end;
}

ci_place ci_matcher_start(const struct ci_matcher *matcher) { return matcher->start; }

size_t ci_matcher_tokens(const struct ci_matcher *matcher) { return matcher->vocabulary->token_count; }

size_t ci_matcher_cost(const struct ci_matcher *matcher, ci_place place) { return matcher->places[place].cost; }

void ci_matcher_counts(const struct ci_matcher *matcher, struct ci_matcher_counts *counts) {
    *counts = matcher->counts;
}

size_t ci_matcher_bytes(const struct ci_matcher *matcher) {
    const size_t mask = ci_grammar_vocabulary_words(matcher->vocabulary) * sizeof(uint32_t);
    return sizeof *matcher + matcher->counts.bytes + (matcher->mask_count + 2) * mask +
           matcher->stack_count * sizeof *matcher->stacks;
}

/* ---- a matcher ---- */

static void make_classes(struct ci_matcher *matcher) {
    bool begins[257] = {true};
    for (uint32_t i = 0; i < matcher->grammar->edge_count; i++) {
        begins[matcher->grammar->edges[i].low] = true;
        begins[matcher->grammar->edges[i].high + 1] = true;
    }
    for (int byte = 0; byte < 256; byte++) {
        if (begins[byte]) matcher->first_of[matcher->class_count++] = (uint8_t)byte;
        matcher->class_of[byte] = (uint8_t)ci_narrowed_unsigned(matcher->class_count - 1);
    }
}

enum clinfer_status ci_matcher_create(const struct ci_grammar *grammar, const struct ci_grammar_vocabulary *vocabulary,
                                      struct ci_matcher **out) {
    struct ci_matcher *matcher = calloc(1, sizeof *matcher);
    *out = NULL;
    if (!matcher) return no_memory();
    matcher->grammar = grammar;
    matcher->vocabulary = vocabulary;
    matcher->walk = malloc((vocabulary->most_depth + 1) * sizeof *matcher->walk);
    matcher->scratch = malloc((2 * ci_grammar_vocabulary_words(vocabulary) + 1) * sizeof *matcher->scratch);
    make_classes(matcher);
    bool fine = matcher->walk && matcher->scratch && ci_array_reserve(&matcher->stacks, &matcher->stack_capacity, 0);
    if (fine) matcher->stacks[0] = (struct ci_stack){0};
    matcher->stack_count = 1;
    begin_set(matcher);
    fine = fine && wait(matcher, grammar->entries[grammar->root], 0);
    enum clinfer_status status = finish_set(matcher, fine, &matcher->start);
    if (status == CLINFER_OK)
        *out = matcher;
    else
        ci_matcher_destroy(matcher);
    return status;
}

void ci_matcher_destroy(struct ci_matcher *matcher) {
    if (!matcher) return;
    for (size_t i = 0; i < matcher->place_count; i++) {
        free(matcher->places[i].next);
        free(matcher->places[i].units);
    }
    for (size_t i = 0; i < matcher->mask_count; i++) free(matcher->masks[i].bits);
    free(matcher->masks);
    free(matcher->walk);
    free(matcher->scratch);
    free(matcher->stacks);
    free(matcher->places);
    free(matcher->configs);
    free(matcher->stack_table.entries);
    free(matcher->place_table.entries);
    free(matcher->seen.entries);
    free(matcher->seen_configs);
    free(matcher->found);
    free(matcher->waiting);
    free(matcher);
}
