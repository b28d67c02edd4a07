/* analysis.c: how far it is from each position to the end of its rule, if that is ever reached, and whether a rule
 * calls itself before it has read a byte.
 *
 * Costs are found backwards from the ends, the smallest first (Knuth 1977, "A generalization of Dijkstra's algorithm"):
 * a call costs what the called rule and what comes behind it cost. */
#include <stdlib.h>

#include "base/array.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/stop.h"
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

/* Positions to be looked at, the cheapest on top. */
struct heap {
    struct offer {
        uint32_t cost, position;
    } * offers;
    size_t count, capacity;
};

static bool push(struct heap *heap, uint32_t cost, uint32_t position) {
    if (!ci_array_reserve(&heap->offers, &heap->capacity, heap->count)) return false;
    size_t at = heap->count++;
    for (; at > 0 && heap->offers[(at - 1) / 2].cost > cost; at = (at - 1) / 2)
        heap->offers[at] = heap->offers[(at - 1) / 2];
    heap->offers[at] = (struct offer){cost, position};
    return true;
}

static struct offer pop(struct heap *heap) {
    const struct offer top = heap->offers[0], last = heap->offers[--heap->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && heap->offers[child + 1].cost < heap->offers[child].cost) child++;
        if (heap->offers[child].cost >= last.cost) break;
        heap->offers[at] = heap->offers[child];
    }
    heap->offers[at] = last;
    return top;
}

static uint32_t sum(uint32_t a, uint32_t b) {
    if (a == CI_COST_NO_END || b == CI_COST_NO_END) return CI_COST_NO_END;
    return a + b < CI_COST_MOST ? a + b : CI_COST_MOST;
}

/* By way of `next`, whose cost is known. */
static uint32_t cost_by(const struct ci_grammar *grammar, const struct ci_position *position, uint32_t next) {
    switch ((enum ci_position_kind)position->kind) {
    case CI_POSITION_BYTES: return sum(1, next);
    case CI_POSITION_TOKEN: return sum(CI_COST_TOKEN, next);
    case CI_POSITION_CALL: return sum(next, grammar->positions[grammar->entries[position->rule]].cost);
    case CI_POSITION_SPLIT:
    case CI_POSITION_END: break;
    }
    return next;
}

static enum clinfer_status find_costs(struct ci_grammar *grammar, const struct backwards *backwards) {
    struct heap heap = {0};
    uint32_t *begun = calloc((size_t)grammar->position_count + 1, sizeof *begun); /* the rule of a beginning, + 1 */
    for (uint32_t p = 0; p < grammar->position_count; p++) grammar->positions[p].cost = CI_COST_NO_END;
    for (uint32_t r = 0; r < grammar->rule_count && begun; r++)
        if (grammar->entries[r] != CI_POSITION_OF_END) begun[grammar->entries[r]] = r + 1;
    bool fine = begun && push(&heap, 0, CI_POSITION_OF_END), stopped = false;
    for (size_t pops = 0; fine && !stopped && heap.count > 0; pops++) {
        const struct offer offer = pop(&heap);
        stopped = pops % 4096 == 0 && ci_stop_is_asked();
        if (grammar->positions[offer.position].cost != CI_COST_NO_END) continue;
        grammar->positions[offer.position].cost = offer.cost;
        for (uint32_t i = backwards->first[offer.position]; i < backwards->first[offer.position + 1] && fine; i++) {
            const uint32_t from = backwards->sources[i];
            if (grammar->positions[from].cost != CI_COST_NO_END) continue;
            uint32_t cost = cost_by(grammar, &grammar->positions[from], offer.cost);
            if (cost < CI_COST_NO_END) fine = push(&heap, cost, from);
        }
        const uint32_t rule = begun[offer.position];
        for (uint32_t i = rule ? backwards->call_first[rule - 1] : 0; rule && i < backwards->call_first[rule] && fine;
             i++) {
            const uint32_t from = backwards->calls[i], next = grammar->positions[from].next;
            uint32_t cost = sum(offer.cost, grammar->positions[next].cost);
            if (cost < CI_COST_NO_END) fine = push(&heap, cost, from);
        }
    }
    free(heap.offers);
    free(begun);
    if (stopped) return ci_grammar_stopped();
    return fine ? CLINFER_OK : no_memory();
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
    if (!ci_array_reserve(&left->called, &left->called_capacity, left->called_count)) return false;
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
            nexts = grammar->positions[grammar->entries[position->rule]].cost == 0; /* an empty one is passed by */
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

static enum clinfer_status refuse_left_recursion(const struct ci_grammar *grammar, const struct ci_rule *rules) {
    size_t positions = grammar->position_count, count = grammar->rule_count;
    struct left left = {.grammar = grammar};
    left.seen = calloc(positions + 1, sizeof *left.seen);
    left.waiting = calloc(positions + 1, sizeof *left.waiting);
    left.called_first = calloc(count + 2, sizeof *left.called_first);
    uint32_t *path = calloc(2 * count + 2, sizeof *path);
    uint8_t *state = calloc(count + 1, sizeof *state);
    enum clinfer_status status = CLINFER_OK;
    bool fine = left.seen && left.waiting && left.called_first && path && state;
    for (uint32_t r = 0; r < count && fine; r++) {
        fine = find_called(&left, r);
        left.called_first[r + 1] = ci_narrowed_unsigned(left.called_count);
    }
    uint32_t found = fine ? find_circle(&left, path, path + count + 1, state) : 0;
    if (!fine)
        status = no_memory();
    else if (found < count)
        status = ci_fail(CLINFER_INVALID_ARGUMENT,
                         "rule '%.100s' comes back to itself before it has read anything (left recursion); "
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
    enum clinfer_status status = make_backwards(grammar, &backwards);
    if (status == CLINFER_OK) status = find_costs(grammar, &backwards);
    if (status == CLINFER_OK) status = refuse_left_recursion(grammar, rules);
    if (status == CLINFER_OK && grammar->positions[grammar->entries[grammar->root]].cost == CI_COST_NO_END)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "nothing that it allows ever comes to an end");
    free_backwards(&backwards);
    return status;
}
