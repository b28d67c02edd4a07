/* matcher.h: which tokens a grammar lets come next.
 *
 * An answer so far is a set of places in the grammar, each with the stack of rules to return to (a pushdown automaton;
 * stacks share their lower parts). Such a set is a state of a deterministic automaton that is made as it is needed: its
 * step for each byte, and its mask over the vocabulary, are computed once. A mask is made by one walk over a trie of
 * all tokens, in which dead branches are skipped.
 *
 * A matcher belongs to one grammar and one vocabulary, and to one thread at a time; what it has learned serves all
 * answers that follow it. */
#ifndef CI_GRAMMAR_MATCHER_H
#define CI_GRAMMAR_MATCHER_H

#include "grammar/grammar.h"

struct ci_tokenizer;

/* The trie of a model's tokens; one per model, immutable, used from any thread. Borrows nothing. */
struct ci_grammar_vocabulary;
enum clinfer_status ci_grammar_vocabulary_create(const struct ci_tokenizer *tokenizer,
                                                 struct ci_grammar_vocabulary **vocabulary);
void ci_grammar_vocabulary_destroy(struct ci_grammar_vocabulary *vocabulary);

/* Borrows both. */
struct ci_matcher;
enum clinfer_status ci_matcher_create(const struct ci_grammar *grammar, const struct ci_grammar_vocabulary *vocabulary,
                                      struct ci_matcher **matcher);
void ci_matcher_destroy(struct ci_matcher *matcher);

/* A place in an answer: a plain number of the matcher's, which may be copied and kept; places that allow the same are
 * the same. It stays valid for the matcher's life. */
typedef uint32_t ci_place;
#define CI_PLACE_DEAD UINT32_MAX
ci_place ci_matcher_start(const struct ci_matcher *matcher);

/* Behind a token, or some bytes; CI_PLACE_DEAD: the grammar does not allow it (an end token: not here).
 * CLINFER_OUT_OF_MEMORY, also where an answer needs more places than CI_MATCHER_MOST_BYTES hold. */
enum clinfer_status ci_matcher_take(struct ci_matcher *matcher, ci_place from, int32_t token, ci_place *to);
enum clinfer_status ci_matcher_take_bytes(struct ci_matcher *matcher, ci_place from, const char *bytes, size_t length,
                                          ci_place *to);

/* [(tokens + 31) / 32] bits, set for tokens that may come; end tokens where the grammar may end. Borrowed until the
 * next call that makes a mask. *count: how many are set. */
enum clinfer_status ci_matcher_mask(struct ci_matcher *matcher, ci_place place, const uint32_t **mask, size_t *count);

/* Whether the answer may end here. */
bool ci_matcher_may_end(const struct ci_matcher *matcher, ci_place place);

/* Whether it ends here in any case: nothing may come behind. */
bool ci_matcher_is_over(const struct ci_matcher *matcher, ci_place place);

/* The only token that may come; -1: there are several, or none. */
enum clinfer_status ci_matcher_only(struct ci_matcher *matcher, ci_place place, int32_t *token);

/* Bytes that have to come, as none else may: up to where there is a choice, or the answer may end; some thousand at
 * most. The caller frees *text, which is NULL where *length is 0. */
enum clinfer_status ci_matcher_forced(struct ci_matcher *matcher, ci_place place, char **text, size_t *length);

/* Whether a token of the vocabulary begins with these bytes and goes on with some that may come at `place`, which is
 * behind them. */
enum clinfer_status ci_matcher_extends(struct ci_matcher *matcher, ci_place place, const char *bytes, size_t length,
                                       bool *extends);

/* How many bytes have to come at least; 0: it may end here. A million and more: only named tokens lead to an end. */
size_t ci_matcher_cost(const struct ci_matcher *matcher, ci_place place);

/* Bytes of this number with which the answer ends, at each place the smallest. The caller frees *text.
 * CLINFER_UNSUPPORTED: there are none. */
enum clinfer_status ci_matcher_completion(struct ci_matcher *matcher, ci_place place, char **text, size_t *length);

/* Those of its vocabulary: bits of a mask. */
size_t ci_matcher_tokens(const struct ci_matcher *matcher);

/* What it has cost so far. */
struct ci_matcher_counts {
    size_t places, masks; /* that were made */
    double seconds;       /* in making masks */
    size_t bytes;
};
void ci_matcher_counts(const struct ci_matcher *matcher, struct ci_matcher_counts *counts);

/* Memory that it takes, masks included. */
size_t ci_matcher_bytes(const struct ci_matcher *matcher);

#endif
