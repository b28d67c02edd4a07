/* constraint.h: sessions whose answers follow a grammar (struct clinfer_grammar).
 *
 * Compiled grammars, with what was learned about their masks, are the engine's and serve all requests of the same text;
 * those that nobody uses any more are let go when many have come, or large ones. They are compiled while others
 * compute, each once, whoever else wants it meanwhile; all that follows belongs to the thread that computes.
 *
 * What may come is a mask: op sample has it where the sampling is done, so that no logits leave the device; where a
 * session samples on the host the others are taken out of the logits. The token that was chosen moves the place, so the
 * next mask is known only when the token is. Near the end of its room an answer is closed: a token is taken only if
 * what must follow it still fits, and where that is not so the cheapest end takes its place. */
#ifndef CI_ENGINE_CONSTRAINT_H
#define CI_ENGINE_CONSTRAINT_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar/matcher.h"

struct ci_plan;

/* A kind of grammar that is none of the public ones: a document of grammar/pieces.h. */
#define CI_GRAMMAR_PIECES ((enum clinfer_grammar_kind)(CLINFER_GRAMMAR_JSON_SCHEMA + 1))

struct ci_compiled; /* a grammar of the engine's */

/* Of a session; all zero: its answer is free. */
struct ci_constraint {
    struct ci_compiled *compiled;
    ci_place place;
    bool held; /* what comes next is the grammar's */
    bool leave_open, force_bytes;
    int32_t *closing; /* [closing_count] tokens that end the answer, the caller's to take at once */
    size_t closing_count;

    /* Where the answer begins within reasoning, which follows no grammar: what ends that, and how many tokens the
     * shortest answer behind it has. */
    int32_t *turning; /* [turning_count] */
    size_t turning_count, least;

    /* Where only what comes behind this mark is held, from there to the end of the grammar, each time anew. */
    char *mark;     /* NULL: the whole answer is */
    size_t matched; /* bytes of the mark that the text so far ends with */
};

/* The grammar, compiled; from any thread, which need not compute, and which waits where another one compiles the same
 * text. The caller holds it until the release, which may come when the engine is closed. CLINFER_INVALID_ARGUMENT: the
 * grammar; CLINFER_UNSUPPORTED: a schema that cannot be held; CLINFER_CANCELLED: it is not wanted any more
 * (base/stop.h). */
enum clinfer_status ci_compiled_take(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                     struct ci_compiled **compiled);
void ci_compiled_hold(struct ci_compiled *compiled);    /* once more, by who holds it */
void ci_compiled_release(struct ci_compiled *compiled); /* NULL: nothing */

/* How many grammars the engine keeps. By who computes. */
size_t ci_compiled_count(const struct clinfer_engine *engine);

/* For the request at hand, and what it was for the one before is let go; `grammar` NULL: free, else `compiled` is made
 * of it, which the constraint holds for itself. `end`: what ends the reasoning that the prompt has begun; NULL: it has
 * not. `most`: the tokens that the answer may have, -1: as many as it likes. CLINFER_INVALID_ARGUMENT: the shortest
 * answer does not fit. */
enum clinfer_status ci_constraint_begin(struct clinfer_engine *engine, const struct clinfer_grammar *grammar,
                                        struct ci_compiled *compiled, const char *end, int64_t most,
                                        struct ci_constraint *constraint);
void ci_constraint_end(struct ci_constraint *constraint);

/* What may come next: bits [CI_MASK_WORDS(vocabulary of the tokenizer)], borrowed until the next call that makes a
 * mask, *count of which are set. 0: the answer is complete. CLINFER_UNSUPPORTED: nothing may come and it is not. */
enum clinfer_status ci_constraint_mask(const struct ci_constraint *constraint, const uint32_t **bits, size_t *count);

/* The only token that may come; -1: there are several, or none. */
enum clinfer_status ci_constraint_only(const struct ci_constraint *constraint, int32_t *token);

/* Where a token leads from a place of this grammar; false: it may not come there. */
bool ci_constraint_follow(const struct ci_constraint *constraint, ci_place from, int32_t token, ci_place *to);

/* With force_bytes: the tokens of bytes that have to come, which the caller takes one by one and frees; those at the
 * end are left out that would be others with what may come behind them. *count 0, *tokens NULL: none. */
enum clinfer_status ci_constraint_forced(const struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                         int32_t **tokens, size_t *count);

/* What ci_constraint_mask() says, for op sample: row `index` of engine->model.mask, in the next run of this plan. */
enum clinfer_status ci_constraint_send(struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                       struct ci_plan *plan, int index);

/* Logits [vocabulary of the model] of what may not come become -INFINITY. */
enum clinfer_status ci_constraint_apply(const struct clinfer_engine *engine, const struct ci_constraint *constraint,
                                        float *logits);

/* For a request that ci_constraint_begin() has taken, whose grammar is then left open: the answer is free but for what
 * comes behind `mark`. */
enum clinfer_status ci_constraint_wait_for(struct ci_constraint *constraint, const char *mark);

/* Text of the answer, a token's, that is not held: whether the mark is complete with it. What comes behind the mark in
 * the same token has to be allowed, too. */
void ci_constraint_watch(struct ci_constraint *constraint, const char *text, size_t length);

/* Whether reasoning has to end now, where so many tokens may still come (-1: any number): what ends it and the shortest
 * answer would not fit any more behind another token. */
bool ci_constraint_turns(const struct ci_constraint *constraint, int64_t room);

/* The answer goes on with this token; `room`: tokens that may come behind it, -1: any number. *closed: it does not, but
 * ends with constraint->closing in its place, maybe none. CLINFER_WRONG_RESULT: it may not come. */
enum clinfer_status ci_constraint_take(struct clinfer_engine *engine, struct ci_constraint *constraint, int32_t token,
                                       int64_t room, bool *closed);

/* With the engine. */
void ci_constraints_free(struct clinfer_engine *engine);

#endif
