/* grammar.h: what an answer may be, as rules over bytes. GBNF (gbnf.h) and JSON schemas (schema.h) become such rules
 * through a maker; matcher.h follows an answer through them and says which tokens may come next.
 *
 * A rule is a small automaton: positions with edges for bytes, calls of other rules, choices without a byte. Characters
 * are code points, made into their UTF-8 bytes here, so that a token may end in the middle of one. A call that is the
 * last thing in its rule needs no return, so lists written by right recursion take no stack. Rules that call themselves
 * before they have read a byte (left recursion) are refused; what can never come to an end is taken out, and is an
 * error where nothing is left. */
#ifndef CI_GRAMMAR_GRAMMAR_H
#define CI_GRAMMAR_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

enum {
    CI_GRAMMAR_MOST_POSITIONS = 4000000, /* after repetitions are written out */
    CI_GRAMMAR_MOST_DEPTH = 1000         /* of nodes in nodes */
};
#define CI_GRAMMAR_NO_END UINT32_MAX

struct ci_grammar; /* immutable: shared by any number of matchers and threads */
struct ci_grammar_maker;

/* A part of a rule; CI_GRAMMAR_NONE where one could not be made: the maker knows why, and takes it everywhere. */
typedef uint32_t ci_grammar_node;
#define CI_GRAMMAR_NONE 0

/* Code points, both ends included. */
struct ci_grammar_range {
    uint32_t first, last;
};

/* NULL: out of memory. Destroying NULL is nothing. */
struct ci_grammar_maker *ci_grammar_maker_create(void);
void ci_grammar_maker_destroy(struct ci_grammar_maker *maker);

/* The first failure, with its message in clinfer_error(); CLINFER_OK: none so far. */
enum clinfer_status ci_grammar_maker_status(const struct ci_grammar_maker *maker);

ci_grammar_node ci_grammar_text(struct ci_grammar_maker *maker, const char *bytes, size_t length);
/* One character of these, or with `negated` any other one; surrogates are none. */
ci_grammar_node ci_grammar_set(struct ci_grammar_maker *maker, const struct ci_grammar_range *ranges, size_t count,
                               bool negated);
/* All of them in order; none: nothing has to come. */
ci_grammar_node ci_grammar_sequence(struct ci_grammar_maker *maker, const ci_grammar_node *nodes, size_t count);
/* One of them; none: nothing can come. */
ci_grammar_node ci_grammar_choice(struct ci_grammar_maker *maker, const ci_grammar_node *nodes, size_t count);
/* `most`: CI_GRAMMAR_NO_END or a number. */
ci_grammar_node ci_grammar_repeat(struct ci_grammar_maker *maker, ci_grammar_node node, uint32_t least, uint32_t most);
/* One token of the vocabulary, or with `negated` any but it, whatever its bytes are. */
ci_grammar_node ci_grammar_token(struct ci_grammar_maker *maker, int32_t token, bool negated);

/* A rule by its name (copied), made when it is first spoken of; -1: a failure. It may be called before it is defined;
 * of two definitions the later counts, as in llama.cpp. */
int ci_grammar_rule(struct ci_grammar_maker *maker, const char *name, size_t length);
bool ci_grammar_is_defined(const struct ci_grammar_maker *maker, int rule);
void ci_grammar_define(struct ci_grammar_maker *maker, int rule, ci_grammar_node node);
ci_grammar_node ci_grammar_call(struct ci_grammar_maker *maker, int rule);

/* The grammar that begins with rule `root`; the maker may be destroyed. The first failure of the maker;
 * CLINFER_INVALID_ARGUMENT: a rule without definition, left recursion, nothing that comes to an end, too large. */
enum clinfer_status ci_grammar_finish(struct ci_grammar_maker *maker, int root, struct ci_grammar **grammar);
void ci_grammar_destroy(struct ci_grammar *grammar);

/* Memory that it takes. */
size_t ci_grammar_bytes(const struct ci_grammar *grammar);

#endif
