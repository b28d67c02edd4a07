/* schema_private.h: how a schema becomes rules.
 *
 * What a value must be is a set of subschemas that hold at once: $ref and allOf put theirs into the set, and each
 * branch of an anyOf makes a set with that branch. Every set is one rule, made once, so recursion ends; the sets of
 * properties and items come from the sets of their objects and arrays. Work goes through a queue and is counted, so
 * that hostile schemas end. */
#ifndef CI_GRAMMAR_SCHEMA_PRIVATE_H
#define CI_GRAMMAR_SCHEMA_PRIVATE_H

#include <jansson.h>

#include "grammar/schema.h"

enum {
    CI_SCHEMA_DIGITS = 16,       /* of a number before and behind its point */
    CI_SCHEMA_MOST_LEVELS = 32,  /* arrays and objects in each other where any JSON may stand */
    CI_SCHEMA_MOST_SETS = 20000, /* rules for values */
    CI_SCHEMA_MOST_STEPS = 3000000
};

/* Where something stands in the schema. */
struct ci_schema_place {
    const json_t *schema;
    uint32_t parent; /* its own number: the root */
    const char *key; /* NULL: `index` of an array */
    size_t index;
    bool checked;  /* its keywords are known */
    uint8_t visit; /* of the search for circles: 0 not yet, 1 on the way, 2 done */
};

/* What holds at once: numbers of places, times 4; + 1: its anyOf was chosen from, + 2: its oneOf. */
struct ci_schema_set {
    uint32_t *items;
    size_t count, capacity;
    bool nothing; /* no value at all */
};

/* The alternatives of a subschema. */
struct ci_schema_branches {
    const char *keyword;
    uint32_t place, chosen; /* `chosen` comes into a set that has one of them */
    size_t count;
    bool one; /* oneOf */
};

struct ci_schema_work {
    struct ci_schema_set set;
    int rule;
};

struct ci_schema_compiler {
    const char *name;
    const json_t *document;
    struct ci_grammar_maker *maker;
    enum clinfer_status status;
    struct ci_schema_place *places;
    struct ci_schema_work *works;
    uint32_t *table; /* [table_capacity] places by their JSON's address, + 1 */
    bool *queued;    /* [queued_capacity] rules that are in `works` */
    size_t place_count, place_capacity, work_count, work_capacity, work_done, table_capacity, queued_capacity, steps,
        automata;
    uint32_t contradiction; /* the place of the first, + 1; 0: none */
    int space, string, character, number, integer, any[CI_SCHEMA_MOST_LEVELS + 1]; /* rules, -1 */
};

struct ci_schema_nodes {
    ci_grammar_node *items;
    size_t count, capacity;
};

/* ---- schema.c ---- */

/* "name: path: keyword: what"; keyword NULL: the place itself. */
void ci_schema_fail(struct ci_schema_compiler *compiler, uint32_t place, const char *keyword,
                    enum clinfer_status status, const char *format, ...) __attribute__((format(printf, 5, 6)));
void ci_schema_no_memory(struct ci_schema_compiler *compiler);
/* Counts work; false: a failure, this one or one before. */
bool ci_schema_step(struct ci_schema_compiler *compiler, size_t steps);
/* The value of a key in a place, or an element. */
uint32_t ci_schema_child(struct ci_schema_compiler *compiler, uint32_t place, const char *key);
uint32_t ci_schema_element(struct ci_schema_compiler *compiler, uint32_t place, size_t index);

/* Of a document that is no schema itself (pieces.c): what the answer begins with. */
typedef ci_grammar_node ci_schema_root_maker(struct ci_schema_compiler *compiler, const void *user);
enum clinfer_status ci_schema_compile_root(const char *name, const char *text, size_t length,
                                           ci_schema_root_maker *make, const void *user, struct ci_grammar **grammar);

/* A subschema comes into the set, and what it refers to. */
void ci_schema_add(struct ci_schema_compiler *compiler, struct ci_schema_set *set, uint32_t place);
bool ci_schema_copy(struct ci_schema_compiler *compiler, const struct ci_schema_set *from, struct ci_schema_set *to);
/* A call of the set's rule, which takes the set. */
ci_grammar_node ci_schema_value(struct ci_schema_compiler *compiler, struct ci_schema_set *set);
/* The next subschema of a set, from *at = 0 on; false: there are no more. */
bool ci_schema_next(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set, size_t *at,
                    uint32_t *place, const json_t **schema);
/* The first enum, or `only` its const, of a set; false: there is none. */
bool ci_schema_find_values(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                           const json_t **values, const json_t **only);
/* The first anyOf or oneOf from which nothing was chosen; false: there is none. */
bool ci_schema_find_branches(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                             struct ci_schema_branches *branches);
/* The set with one of them, which is the caller's. */
struct ci_schema_set ci_schema_branch(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                                      const struct ci_schema_branches *branches, size_t index);
/* No value is possible here: remembered for the message, if nothing is possible at all. */
ci_grammar_node ci_schema_contradicts(struct ci_schema_compiler *compiler, const struct ci_schema_set *set);
/* A keyword's number, which is at least 0; false: it is not there. */
bool ci_schema_count(struct ci_schema_compiler *compiler, uint32_t place, const char *keyword, uint32_t *count);

/* ---- schema_base.c: nodes that are the same everywhere ---- */

void ci_schema_put(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes, ci_grammar_node node);
ci_grammar_node ci_schema_end_sequence(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes);
ci_grammar_node ci_schema_end_choice(struct ci_schema_compiler *compiler, struct ci_schema_nodes *nodes);
ci_grammar_node ci_schema_text(struct ci_schema_compiler *compiler, const char *text);
ci_grammar_node ci_schema_space(struct ci_schema_compiler *compiler);
ci_grammar_node ci_schema_comma(struct ci_schema_compiler *compiler);     /* and space behind it */
ci_grammar_node ci_schema_colon(struct ci_schema_compiler *compiler);     /* with space on both sides */
ci_grammar_node ci_schema_character(struct ci_schema_compiler *compiler); /* of a string, escaped where it must be */
ci_grammar_node ci_schema_any_string(struct ci_schema_compiler *compiler);
ci_grammar_node ci_schema_any_number(struct ci_schema_compiler *compiler, bool integer);
ci_grammar_node ci_schema_any_value(struct ci_schema_compiler *compiler);
ci_grammar_node ci_schema_literal(struct ci_schema_compiler *compiler, const json_t *value);

/* ---- one file each: values of a type, all in the set ---- */

ci_grammar_node ci_schema_object(struct ci_schema_compiler *compiler, const struct ci_schema_set *set);
ci_grammar_node ci_schema_array(struct ci_schema_compiler *compiler, const struct ci_schema_set *set);
ci_grammar_node ci_schema_string(struct ci_schema_compiler *compiler, const struct ci_schema_set *set);
ci_grammar_node ci_schema_number(struct ci_schema_compiler *compiler, const struct ci_schema_set *set, bool integer);

/* ---- schema_text.c ---- */

struct ci_automaton;
/* A string, quotes included, of which the automaton's bits under `mask` are `bits`; characters that JSON escapes come
 * escaped in one way, the others as they are. */
ci_grammar_node ci_schema_automaton(struct ci_schema_compiler *compiler, const struct ci_automaton *automaton,
                                    uint64_t mask, uint64_t bits);

/* No string is what both sets say. */
bool ci_schema_strings_exclude(struct ci_schema_compiler *compiler, const struct ci_schema_set *made,
                               const struct ci_schema_set *allowed);

/* ---- schema_keywords.c ---- */

enum ci_schema_type {
    CI_SCHEMA_NULL = 1,
    CI_SCHEMA_BOOLEAN = 2,
    CI_SCHEMA_INTEGER = 4,
    CI_SCHEMA_FRACTION = 8, /* numbers that are no integers */
    CI_SCHEMA_STRING = 16,
    CI_SCHEMA_ARRAY = 32,
    CI_SCHEMA_OBJECT = 64,
    CI_SCHEMA_ALL = 127
};

/* The keywords of a schema are known ones of the right type. */
void ci_schema_check_keywords(struct ci_schema_compiler *compiler, uint32_t place);
/* Keywords that only an enum beside them could hold. */
void ci_schema_check_held(struct ci_schema_compiler *compiler, const struct ci_schema_set *set);
/* A keyword that the validator does not understand; NULL: there is none. */
const char *ci_schema_unknown_keyword(const json_t *schema);
/* Those that `type` lets be; CI_SCHEMA_ALL without it. */
unsigned ci_schema_types(const json_t *schema);
/* Those that the set's values have: where there is no `type`, those of its keywords. */
unsigned ci_schema_set_types(const struct ci_schema_compiler *compiler, const struct ci_schema_set *set);

/* ---- schema_exclude.c ---- */

/* The branches of a oneOf, together with the set, exclude each other, or it fails. */
void ci_schema_check_one_of(struct ci_schema_compiler *compiler, const struct ci_schema_set *set,
                            const struct ci_schema_branches *branches);

#endif
