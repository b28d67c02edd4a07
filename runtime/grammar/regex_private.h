/* regex_private.h: an expression's automaton, not deterministic (Thompson 1968). */
#ifndef CI_GRAMMAR_REGEX_PRIVATE_H
#define CI_GRAMMAR_REGEX_PRIVATE_H

#include "grammar/regex.h"

enum ci_regex_kind {
    CI_REGEX_SET,   /* a character of `count` ranges from `first` on, then `next` */
    CI_REGEX_SPLIT, /* `next` or `other` */
    CI_REGEX_BEGIN, /* `next`, at the beginning of the text */
    CI_REGEX_END,   /* `next`, at its end */
    CI_REGEX_MATCH  /* bit `first`, at the end */
};

struct ci_regex_range {
    uint32_t first, last;
};

struct ci_regex_state {
    uint8_t kind; /* enum ci_regex_kind */
    uint32_t first, count, next, other;
};

struct ci_regex {
    struct ci_regex_state *states;
    struct ci_regex_range *ranges;
    uint32_t *starts;
    size_t state_count, state_capacity, range_count, range_capacity, start_count, start_capacity;
    size_t steps; /* in building */
};

#endif
