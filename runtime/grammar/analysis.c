/* analysis.c: what of a grammar can come to an end, and whether a rule calls itself before it has read a byte.
 *
 * Both ask from which positions the end of a rule can be reached, with bytes or without any. That is found backwards
 * from the ends, each position once: a call passes it on when the called rule ends, too. */
#include <stdlib.h>

#include "base/status.h"
#include "grammar/grammar_private.h"

/* For each position those that go on there: positions [first[p], first[p + 1]) of `sources`. */
struct backwards {
    uint32_t *first, *sources;
    uint32_t *calls, *call_first; /* positions that call a rule: the same by rules */
};

static enum clinfer_status no_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "grammar: out of memory"); }

typedef void visitor(void *user, uint32_t from, uint32_t to);

/* Where a position goes on. A call: behind it. */
static void visit(const struct ci_grammar *grammar, uint32_t from, visitor *see, void *user) {
    const struct ci_position *position = &grammar->positions[from];
    switch ((enum ci_position_kind)position->kind) {
    case CI_POSITION_END: break;
    case CI_POSITION_BYTES:
        for (uint32_t i = 0; i < position->count; i++) see(user, from, grammar->edges[position->first + i].next);
        break;
    case CI_POSITION_SPLIT:
        for (uint32_t i = 0; i < position->count; i++) see(user, from, grammar->targets[position->first + i]);
        break;
    case CI_POSITION_CALL:
    case CI_POSITION_TOKEN: see(user, from, position->next); break;
    }
}

static void count_source(void *user, uint32_t from, uint32_t to) {
    struct backwards *backwards = user;
    (void)from;
    backwards->first[to + 1]++;
}

static void put_source(void *user, uint32_t from, uint32_t to) {
    struct backwards *backwards = user;
    backwards->sources[backwards->first[to]++] = from;
}

static void free_backwards(struct backwards *backwards) {
    free(backwards->first);
    free(backwards->sources);
    free(backwards->calls);
    free(backwards->call_first);
}

/* Counts become sums, and after everything is put the beginnings are those of the next. */
static void sum_up(uint32_t *first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) first[i + 1] += first[i];
}

static void shift_back(uint32_t *first, uint32_t count) {
    for (uint32_t i = count; i > 0; i--) first[i] = first[i - 1];
    first[0] = 0;
}

static enum clinfer_status make_backwards(const struct ci_grammar *grammar, struct backwards *backwards) {
    uint32_t count = grammar->position_count, rules = grammar->rule_count;
    backwards->first = calloc((size_t)count + 2, sizeof *backwards->first);
    backwards->call_first = calloc((size_t)rules + 2, sizeof *backwards->call_first);
    if (!backwards->first || !backwards->call_first) return no_memory();
    for (uint32_t p = 0; p < count; p++) {
        visit(grammar, p, count_source, backwards);
        if (grammar->positions[p].kind == CI_POSITION_CALL) backwards->call_first[grammar->positions[p].rule + 1]++;
    }
    sum_up(backwards->first, count);
    sum_up(backwards->call_first, rules);
    backwards->sources = calloc((size_t)backwards->first[count] + 1, sizeof *backwards->sources);
    backwards->calls = calloc((size_t)backwards->call_first[rules] + 1, sizeof *backwards->calls);
    if (!backwards->sources || !backwards->calls) return no_memory();
    for (uint32_t p = 0; p < count; p++) {
        visit(grammar, p, put_source, backwards);
        if (grammar->positions[p].kind == CI_POSITION_CALL)
            backwards->calls[backwards->call_first[grammar->positions[p].rule]++] = p;
    }
    shift_back(backwards->first, count);
    shift_back(backwards->call_first, rules);
    return CLINFER_OK;
}

/* From which positions the end of the rule is reached: ends[p]; ends of a rule's beginning are those of the rule. */
static enum clinfer_status find_ends(const struct ci_grammar *grammar, const struct backwards *backwards,
                                     bool with_bytes, bool *ends) {
    uint32_t *waiting = calloc((size_t)grammar->position_count + 1, sizeof *waiting), count = 0;
    uint32_t *begun = calloc((size_t)grammar->position_count + 1, sizeof *begun); /* the rule of a beginning, + 1 */
    enum clinfer_status status = waiting && begun ? CLINFER_OK : no_memory();
    for (uint32_t r = 0; r < grammar->rule_count && status == CLINFER_OK; r++)
        if (grammar->entries[r] != CI_POSITION_OF_END) begun[grammar->entries[r]] = r + 1;
    if (status == CLINFER_OK) {
        ends[CI_POSITION_OF_END] = true;
        waiting[count++] = CI_POSITION_OF_END;
    }
    while (count > 0) {
        uint32_t at = waiting[--count];
        for (uint32_t i = backwards->first[at]; i < backwards->first[at + 1]; i++) {
            uint32_t from = backwards->sources[i];
            const struct ci_position *position = &grammar->positions[from];
            bool passes = position->kind == CI_POSITION_SPLIT ||
                          (position->kind == CI_POSITION_CALL && ends[grammar->entries[position->rule]]) ||
                          (with_bytes && position->kind != CI_POSITION_CALL);
            if (!passes || ends[from]) continue;
            ends[from] = true;
            waiting[count++] = from;
        }
        for (uint32_t i = begun[at] ? backwards->call_first[begun[at] - 1] : 0;
             begun[at] && i < backwards->call_first[begun[at]]; i++) {
            uint32_t from = backwards->calls[i];
            if (ends[from] || !ends[grammar->positions[from].next]) continue;
            ends[from] = true;
            waiting[count++] = from;
        }
    }
    free(waiting);
    free(begun);
    return status;
}

/* ---- left recursion ---- */

struct left {
    const struct ci_grammar *grammar;
    const bool *empty;               /* [positions] an end is reached without a byte */
    uint32_t *seen;                  /* [positions] by the search for this rule, + 1 */
    uint32_t *waiting;               /* [positions] */
    uint32_t *called, *called_first; /* rules that a rule calls first: the same as above */
    size_t called_count, called_capacity;
};

static bool add_called(struct left *left, uint32_t rule) {
    if (left->called_count == left->called_capacity) {
        size_t capacity = left->called_capacity ? left->called_capacity * 2 : 64;
        uint32_t *moved = realloc(left->called, capacity * sizeof *moved);
        if (!moved) return false;
        left->called = moved;
        left->called_capacity = capacity;
    }
    left->called[left->called_count++] = rule;
    return true;
}

/* Which rules are called from the beginning of this one before a byte is read. */
static bool find_called(struct left *left, uint32_t rule) {
    const struct ci_grammar *grammar = left->grammar;
    uint32_t count = 0;
    if (grammar->entries[rule] == CI_POSITION_OF_END) return true;
    left->waiting[count++] = grammar->entries[rule];
    left->seen[grammar->entries[rule]] = rule + 1;
    while (count > 0) {
        const struct ci_position *position = &grammar->positions[left->waiting[--count]];
        const uint32_t *next = NULL;
        uint32_t nexts = 0;
        if (position->kind == CI_POSITION_SPLIT) {
            next = grammar->targets + position->first;
            nexts = position->count;
        } else if (position->kind == CI_POSITION_CALL) {
            if (!add_called(left, position->rule)) return false;
            next = &position->next;
            nexts = left->empty[grammar->entries[position->rule]];
        }
        for (uint32_t i = 0; i < nexts; i++) {
            if (left->seen[next[i]] == rule + 1) continue;
            left->seen[next[i]] = rule + 1;
            left->waiting[count++] = next[i];
        }
    }
    return true;
}

/* A rule on a circle, or rule_count: depth first, with the way down in `path`. */
static uint32_t find_circle(const struct left *left, uint32_t *path, uint32_t *at, uint8_t *state) {
    uint32_t rules = left->grammar->rule_count;
    enum { NEW, OPEN, CLOSED };
    for (uint32_t r = 0; r < rules; r++) {
        if (state[r] != NEW) continue;
        uint32_t depth = 0;
        path[0] = r;
        at[0] = left->called_first[r];
        state[r] = OPEN;
        for (;;) {
            uint32_t rule = path[depth];
            if (at[depth] == left->called_first[rule + 1]) {
                state[rule] = CLOSED;
                if (depth-- == 0) break;
                continue;
            }
            uint32_t next = left->called[at[depth]++];
            if (state[next] == OPEN) return next;
            if (state[next] == CLOSED) continue;
            state[next] = OPEN;
            path[++depth] = next;
            at[depth] = left->called_first[next];
        }
    }
    return rules;
}

static enum clinfer_status refuse_left_recursion(const struct ci_grammar *grammar, const bool *empty,
                                                 const struct ci_rule *rules) {
    size_t positions = grammar->position_count, count = grammar->rule_count;
    struct left left = {.grammar = grammar, .empty = empty};
    left.seen = calloc(positions + 1, sizeof *left.seen);
    left.waiting = calloc(positions + 1, sizeof *left.waiting);
    left.called_first = calloc(count + 2, sizeof *left.called_first);
    uint32_t *path = calloc(2 * count + 2, sizeof *path);
    uint8_t *state = calloc(count + 1, sizeof *state);
    enum clinfer_status status = CLINFER_OK;
    bool fine = left.seen && left.waiting && left.called_first && path && state;
    for (uint32_t r = 0; r < count && fine; r++) {
        fine = find_called(&left, r);
        left.called_first[r + 1] = (uint32_t)left.called_count;
    }
    uint32_t found = fine ? find_circle(&left, path, path + count + 1, state) : 0;
    if (!fine)
        status = no_memory();
    else if (found < count)
        status = ci_fail(CLINFER_INVALID_ARGUMENT,
                         "grammar: rule '%.100s' comes back to itself before it has read anything (left recursion); "
                         "write `list ::= item list | item` in place of `list ::= list item | item`",
                         rules[found].name);
    free(left.seen);
    free(left.waiting);
    free(left.called);
    free(left.called_first);
    free(path);
    free(state);
    return status;
}

enum clinfer_status ci_grammar_analyse(struct ci_grammar *grammar, const struct ci_rule *rules) {
    struct backwards backwards = {0};
    bool *ends = calloc((size_t)grammar->position_count + 1, sizeof *ends);
    bool *empty = calloc((size_t)grammar->position_count + 1, sizeof *empty);
    enum clinfer_status status = ends && empty ? make_backwards(grammar, &backwards) : no_memory();
    if (status == CLINFER_OK) status = find_ends(grammar, &backwards, true, ends);
    if (status == CLINFER_OK) status = find_ends(grammar, &backwards, false, empty);
    if (status == CLINFER_OK) status = refuse_left_recursion(grammar, empty, rules);
    if (status == CLINFER_OK && !ends[grammar->entries[grammar->root]])
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "grammar: nothing that it allows ever comes to an end");
    for (uint32_t p = 0; p < grammar->position_count && status == CLINFER_OK; p++) grammar->positions[p].live = ends[p];
    free_backwards(&backwards);
    free(ends);
    free(empty);
    return status;
}
