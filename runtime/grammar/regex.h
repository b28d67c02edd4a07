/* regex.h: regular expressions of ECMA-262 (unicode mode), as `pattern` of JSON schemas has them, and the finite
 * automata that they are.
 *
 * Held are alternatives, groups, quantifiers (lazy ones mean the same), classes, \d \w \s and their opposites, escapes,
 * ^ and $ anywhere. Not regular, or not held: back references, look-around, \b, \p. An expression is searched for, as
 * in ECMA: without ^ and $ anything may stand around it. */
#ifndef CI_GRAMMAR_REGEX_H
#define CI_GRAMMAR_REGEX_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CI_REGEX_MOST_BITS = 64 };
#define CI_REGEX_NO_END UINT32_MAX

/* Expressions side by side; each has a bit, which several may share, and a text has the bits of those that it
 * matches. */
struct ci_regex;
enum clinfer_status ci_regex_create(struct ci_regex **regex);
void ci_regex_destroy(struct ci_regex *regex);

/* CLINFER_INVALID_ARGUMENT: it is no expression; CLINFER_UNSUPPORTED: it cannot be held, or is too large; both name the
 * character. */
enum clinfer_status ci_regex_add(struct ci_regex *regex, const char *pattern, size_t length, unsigned bit);
/* The whole text is this one. */
enum clinfer_status ci_regex_add_text(struct ci_regex *regex, const char *text, size_t length, unsigned bit);
/* The text has as many characters. `most`: CI_REGEX_NO_END or a number. */
enum clinfer_status ci_regex_add_length(struct ci_regex *regex, uint32_t least, uint32_t most, unsigned bit);

/* The bits that a text (UTF-8) has. *budget: steps that it may take, lessened by those it took; CLINFER_UNSUPPORTED:
 * they were too few. */
enum clinfer_status ci_regex_match(const struct ci_regex *regex, const char *text, size_t length, size_t *budget,
                                   uint64_t *bits);

/* A deterministic automaton: from each state edges for ranges of code points, sorted; without an edge no bit is
 * reached any more. It starts at state 0. */
struct ci_automaton_edge {
    uint32_t first, last, to;
};

struct ci_automaton_state {
    size_t first; /* of `count` edges */
    uint32_t count;
    uint64_t bits; /* of texts that end here */
};

struct ci_automaton {
    struct ci_automaton_state *states;
    struct ci_automaton_edge *edges;
    size_t state_count, edge_count;
};

/* CLINFER_UNSUPPORTED: it has too many states for the budget. */
enum clinfer_status ci_regex_determine(const struct ci_regex *regex, size_t *budget, struct ci_automaton **automaton);
void ci_automaton_destroy(struct ci_automaton *automaton);

#endif
