/* matcher_private.h: the states of a matcher; see matcher.h. */
#ifndef CI_GRAMMAR_MATCHER_PRIVATE_H
#define CI_GRAMMAR_MATCHER_PRIVATE_H

#include "grammar/grammar_private.h"
#include "grammar/vocabulary.h"

enum {
    CI_PLACE_UNKNOWN = -2, /* a step that nobody has taken; as uint32_t */
    CI_PLACE_SEVERAL = -3, /* of characters that lead to several places, or some of which lead nowhere */
    CI_MATCHER_MOST_BYTES = 512 << 20,
    CI_MATCHER_MASK_BYTES = 64 << 20 /* of masks that are kept */
};

/* A position and the rules to return to: a number of `stacks`, 0: none. */
struct ci_config {
    uint32_t position, stack;
};

struct ci_stack {
    uint32_t position, below;
    uint32_t cost;  /* of all that it returns to */
    uint32_t usual; /* as ci_place_state has it */
};

struct ci_place_state {
    size_t first; /* of `count` configurations */
    uint32_t count;
    bool may_end, has_tokens;
    uint16_t groups; /* of units that all lead to `target`: bits */
    ci_place target; /* where most tokens lead that begin with a character of their own; CI_PLACE_DEAD: none does */
    uint32_t cost;   /* bytes to the end of the answer at least */
    uint32_t *next;  /* [class_count], of the first byte of each class; NULL: no step was taken from here */
    ci_place *units; /* [CI_UNITS] behind each unit of the vocabulary; NULL: not looked at */
    uint32_t mask;   /* index + 1 of a kept mask */
    ci_place usual;  /* a place that the same tokens may follow, the same for all copies of a repetition but the last */
};

struct ci_mask {
    ci_place place;
    size_t count;
    uint32_t *bits;
};

/* Numbers by hash, + 1, open addressing; half full at most. */
struct ci_number_table {
    uint32_t *entries;
    size_t capacity, count;
};

struct ci_matcher {
    const struct ci_grammar *grammar;
    const struct ci_grammar_vocabulary *vocabulary;
    uint8_t class_of[256], first_of[256]; /* bytes that no edge tells apart are a class */
    size_t class_count;

    struct ci_stack *stacks; /* [0] is none */
    struct ci_place_state *places;
    struct ci_config *configs; /* of all places */
    size_t stack_count, stack_capacity, place_count, place_capacity, config_count, config_capacity;
    struct ci_number_table stack_table, place_table;

    /* Of the set that is being made. */
    struct ci_config *found, *waiting;
    size_t found_count, found_capacity, waiting_count, waiting_capacity;
    struct ci_number_table seen; /* of `waiting`'s */
    struct ci_config *seen_configs;
    size_t seen_capacity;

    struct ci_mask *masks; /* [mask_count of mask_capacity], the one to be replaced next in turn */
    size_t mask_count, mask_capacity, mask_next;
    ci_place *walk;    /* [most_depth + 1] */
    uint32_t *scratch; /* bits of tokens, twice */
    struct ci_matcher_counts counts;
    ci_place start;
};

/* A place whose mask is that of `place`, see ci_place_state. */
enum clinfer_status ci_matcher_usual(struct ci_matcher *matcher, ci_place place, ci_place *usual);

/* units.c: fills in `units`, `groups` and `target` of a place. */
enum clinfer_status ci_matcher_find_units(struct ci_matcher *matcher, ci_place place);

/* units.c: adds to a mask those of the tokens that begin with a blank (`spaced`), or of the others, that may come at a
 * place, where most of them go on as a text does; *done: whether it was so. */
enum clinfer_status ci_matcher_mask_by_units(struct ci_matcher *matcher, ci_place place, bool spaced, uint32_t *bits,
                                             bool *done);

/* Whether a byte leads anywhere; no place is made for that. */
bool ci_matcher_leads_on(const struct ci_matcher *matcher, ci_place from, uint8_t byte);

/* Behind any byte of a class. */
enum clinfer_status ci_matcher_step(struct ci_matcher *matcher, ci_place from, uint8_t byte_class, ci_place *to);

#endif
