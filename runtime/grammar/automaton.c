/* automaton.c: sets of an expression's states: followed along a text, or made into a deterministic automaton (the
 * subset construction). */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/hash.h"
#include "base/narrow.h"
#include "base/status.h"
#include "grammar/regex_private.h"
#include "text/utf8.h"

enum { MOST_STATES = 20000 };

/* The set that is being made, of states that read a character or wait for the end. */
struct maker {
    const struct ci_regex *regex;
    size_t *budget;
    enum clinfer_status status;
    uint32_t *found, *waiting, *marks; /* [state_count] each; marks: `round` where the state was seen */
    size_t found_count, waiting_count;
    uint32_t round;
};

static bool no_memory(struct maker *maker) {
    if (maker->status == CLINFER_OK)
        maker->status = ci_fail(CLINFER_OUT_OF_MEMORY, "regular expression: out of memory");
    return false;
}

static bool spend(struct maker *maker, size_t steps) {
    if (maker->status == CLINFER_OK && *maker->budget < steps)
        maker->status = ci_fail(CLINFER_UNSUPPORTED, "the expression has too many states to be held");
    if (maker->status == CLINFER_OK) *maker->budget -= steps;
    return maker->status == CLINFER_OK;
}

static bool begin(struct maker *maker, const struct ci_regex *regex, size_t *budget) {
    size_t count = regex->state_count + 1;
    *maker = (struct maker){.regex = regex, .budget = budget};
    maker->found = malloc(count * sizeof *maker->found);
    maker->waiting = malloc(count * sizeof *maker->waiting);
    maker->marks = calloc(count, sizeof *maker->marks);
    return (maker->found && maker->waiting && maker->marks) || no_memory(maker);
}

static void end(struct maker *maker) {
    free(maker->found);
    free(maker->waiting);
    free(maker->marks);
}

static void begin_set(struct maker *maker) {
    maker->found_count = maker->waiting_count = 0;
    maker->round++;
}

static void reach(struct maker *maker, uint32_t state) {
    if (maker->marks[state] == maker->round) return;
    maker->marks[state] = maker->round;
    maker->waiting[maker->waiting_count++] = state;
}

/* What is reached without a character. */
static void close_set(struct maker *maker, bool at_begin, bool at_end) {
    while (maker->waiting_count > 0 && spend(maker, 1)) {
        uint32_t index = maker->waiting[--maker->waiting_count];
        const struct ci_regex_state *state = &maker->regex->states[index];
        switch ((enum ci_regex_kind)state->kind) {
        case CI_REGEX_SPLIT:
            reach(maker, state->next);
            reach(maker, state->other);
            break;
        case CI_REGEX_BEGIN:
            if (at_begin) reach(maker, state->next);
            break;
        case CI_REGEX_END:
            maker->found[maker->found_count++] = index;
            if (at_end) reach(maker, state->next);
            break;
        case CI_REGEX_SET:
        case CI_REGEX_MATCH: maker->found[maker->found_count++] = index; break;
        }
    }
}

static void start_set(struct maker *maker) {
    begin_set(maker);
    for (size_t i = 0; i < maker->regex->start_count; i++) reach(maker, maker->regex->starts[i]);
    close_set(maker, true, false);
}

/* The bits of a text that ends with this set; the set that is being made is another then. */
static uint64_t find_bits(struct maker *maker, const uint32_t *states, size_t count, bool at_begin) {
    uint64_t bits = 0;
    begin_set(maker);
    for (size_t i = 0; i < count; i++) reach(maker, states[i]);
    close_set(maker, at_begin, true);
    for (size_t i = 0; i < maker->found_count; i++) {
        const struct ci_regex_state *state = &maker->regex->states[maker->found[i]];
        if (state->kind == CI_REGEX_MATCH) bits |= UINT64_C(1) << state->first;
    }
    return bits;
}

static bool has(const struct ci_regex *regex, const struct ci_regex_state *state, uint32_t code) {
    uint32_t low = 0, high = state->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct ci_regex_range *range = &regex->ranges[state->first + middle];
        if (code < range->first)
            high = middle;
        else if (code > range->last)
            low = middle + 1;
        else
            return true;
    }
    return false;
}

enum clinfer_status ci_regex_match(const struct ci_regex *regex, const char *text, size_t length, size_t *budget,
                                   uint64_t *bits) {
    struct maker maker;
    uint32_t *states = malloc((regex->state_count + 1) * sizeof *states);
    size_t count = 0;
    *bits = 0;
    if (begin(&maker, regex, budget) && (states || no_memory(&maker))) {
        start_set(&maker);
        bool first = true;
        for (size_t at = 0; at < length && maker.status == CLINFER_OK; first = false) {
            size_t bytes = ci_utf8_character(text + at, length - at);
            uint32_t code = bytes ? ci_utf8_decode(text + at, bytes) : 0xFFFD;
            at += bytes ? bytes : 1;
            count = maker.found_count;
            memcpy(states, maker.found, count * sizeof *states);
            begin_set(&maker);
            for (size_t i = 0; i < count && spend(&maker, 1); i++) {
                const struct ci_regex_state *state = &regex->states[states[i]];
                if (state->kind == CI_REGEX_SET && has(regex, state, code)) reach(&maker, state->next);
            }
            close_set(&maker, false, false);
        }
        count = maker.found_count;
        memcpy(states, maker.found, count * sizeof *states);
        *bits = find_bits(&maker, states, count, first);
    }
    free(states);
    end(&maker);
    return maker.status;
}

/* ---- deterministic ---- */

/* A set of states, in order, as one state of the automaton. */
struct subset {
    size_t first;
    uint32_t count;
};

struct cut {
    uint32_t first, last, next;
};

struct determiner {
    struct maker maker;
    struct ci_automaton *automaton;
    struct subset *subsets;
    uint32_t *members, *table, *points;
    struct cut *cuts; /* characters that lead on from one set, and where */
    size_t subset_capacity, member_count, member_capacity, table_capacity, state_capacity, edge_capacity;
    size_t cut_count, cut_capacity, point_count, point_capacity;
};

static int by_number(const void *a, const void *b) {
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static uint64_t hash_of(const uint32_t *members, size_t count) {
    return ci_hash(CI_HASH_START, members, count * sizeof *members);
}

static bool make_room(struct determiner *d) {
    size_t count = d->automaton->state_count;
    if (count * 2 < d->table_capacity) return true;
    size_t capacity = d->table_capacity ? d->table_capacity * 2 : 64;
    uint32_t *table = calloc(capacity, sizeof *table);
    if (!table) return false;
    free(d->table);
    d->table = table;
    d->table_capacity = capacity;
    for (size_t i = 0; i < count; i++) {
        size_t at = (size_t)hash_of(d->members + d->subsets[i].first, d->subsets[i].count) & (capacity - 1);
        while (table[at]) at = (at + 1) & (capacity - 1);
        table[at] = ci_narrowed_unsigned(i + 1);
    }
    return true;
}

/* The state that the set is which was made last. */
static uint32_t state_of_set(struct determiner *d, bool at_begin) {
    struct maker *maker = &d->maker;
    struct ci_automaton *automaton = d->automaton;
    size_t count = maker->found_count;
    if (!spend(maker, count) || !(make_room(d) || no_memory(maker))) return 0;
    qsort(maker->found, count, sizeof *maker->found, by_number);
    size_t at = (size_t)hash_of(maker->found, count) & (d->table_capacity - 1);
    for (; d->table[at]; at = (at + 1) & (d->table_capacity - 1)) {
        const struct subset *subset = &d->subsets[d->table[at] - 1];
        if (subset->count == count && (count == 0 || (d->members && memcmp(d->members + subset->first, maker->found,
                                                                           count * sizeof *maker->found) == 0)))
            return d->table[at] - 1;
    }
    size_t index = automaton->state_count, first = d->member_count;
    if (index >= MOST_STATES) *maker->budget = 0;
    if (!spend(maker, 1)) return 0;
    for (size_t i = 0; i < count; i++) {
        if (!ci_array_reserve(&d->members, &d->member_capacity, d->member_count)) return no_memory(maker);
        d->members[d->member_count++] = maker->found[i];
    }
    if (!ci_array_reserve(&d->subsets, &d->subset_capacity, index) ||
        !ci_array_reserve(&automaton->states, &d->state_capacity, index))
        return no_memory(maker);
    d->subsets[index] = (struct subset){first, ci_narrowed_unsigned(count)};
    automaton->states[index] = (struct ci_automaton_state){.bits = 0};
    automaton->state_count++;
    d->table[at] = ci_narrowed_unsigned(index + 1);
    automaton->states[index].bits = find_bits(maker, d->members + first, count, at_begin);
    return ci_narrowed_unsigned(index);
}

static void add_point(struct determiner *d, uint32_t point) {
    if (!ci_array_reserve(&d->points, &d->point_capacity, d->point_count))
        no_memory(&d->maker);
    else
        d->points[d->point_count++] = point;
}

/* The ranges that lead on from a state, and the points at which what they lead to changes. */
static void find_cuts(struct determiner *d, struct subset subset) {
    const struct ci_regex *regex = d->maker.regex;
    d->cut_count = d->point_count = 0;
    for (uint32_t i = 0; i < subset.count; i++) {
        const struct ci_regex_state *state = &regex->states[d->members[subset.first + i]];
        if (state->kind != CI_REGEX_SET) continue;
        for (uint32_t r = 0; r < state->count && spend(&d->maker, 1); r++) {
            const struct ci_regex_range range = regex->ranges[state->first + r];
            if (!ci_array_reserve(&d->cuts, &d->cut_capacity, d->cut_count)) {
                no_memory(&d->maker);
                return;
            }
            d->cuts[d->cut_count++] = (struct cut){range.first, range.last, state->next};
            add_point(d, range.first);
            add_point(d, range.last + 1);
        }
    }
    if (d->maker.status != CLINFER_OK) return;
    qsort(d->points, d->point_count, sizeof *d->points, by_number);
}

static void add_edge(struct determiner *d, size_t from, uint32_t first, uint32_t last, uint32_t to) {
    struct ci_automaton *automaton = d->automaton;
    struct ci_automaton_state *state = &automaton->states[from];
    struct ci_automaton_edge *before = state->count ? &automaton->edges[automaton->edge_count - 1] : NULL;
    if (before && before->to == to && before->last + 1 == first) {
        before->last = last;
        return;
    }
    if (!ci_array_reserve(&automaton->edges, &d->edge_capacity, automaton->edge_count)) {
        no_memory(&d->maker);
        return;
    }
    automaton->edges[automaton->edge_count++] = (struct ci_automaton_edge){first, last, to};
    state->count++;
}

static void add_edges(struct determiner *d, size_t from) {
    struct maker *maker = &d->maker;
    find_cuts(d, d->subsets[from]);
    d->automaton->states[from].first = d->automaton->edge_count;
    for (size_t p = 0; p + 1 < d->point_count && maker->status == CLINFER_OK; p++) {
        uint32_t first = d->points[p], last = d->points[p + 1] - 1;
        if (d->points[p] == d->points[p + 1]) continue;
        begin_set(maker);
        for (size_t c = 0; c < d->cut_count; c++)
            if (d->cuts[c].first <= first && d->cuts[c].last >= last) reach(maker, d->cuts[c].next);
        if (maker->waiting_count == 0 || !spend(maker, d->cut_count)) continue;
        close_set(maker, false, false);
        uint32_t to = state_of_set(d, false);
        if (maker->status == CLINFER_OK) add_edge(d, from, first, last, to);
    }
}

enum clinfer_status ci_regex_determine(const struct ci_regex *regex, size_t *budget, struct ci_automaton **out) {
    struct determiner d = {.automaton = calloc(1, sizeof *d.automaton)};
    *out = NULL;
    if (begin(&d.maker, regex, budget) && (d.automaton || no_memory(&d.maker))) {
        start_set(&d.maker);
        state_of_set(&d, true);
        for (size_t i = 0; i < d.automaton->state_count && d.maker.status == CLINFER_OK; i++) add_edges(&d, i);
    }
    end(&d.maker);
    free(d.subsets);
    free(d.members);
    free(d.table);
    free(d.points);
    free(d.cuts);
    if (d.maker.status == CLINFER_OK)
        *out = d.automaton;
    else
        ci_automaton_destroy(d.automaton);
    return d.maker.status;
}

void ci_automaton_destroy(struct ci_automaton *automaton) {
    if (!automaton) return;
    free(automaton->states);
    free(automaton->edges);
    free(automaton);
}
