/* draft.h: tokens of an answer that are guessed, and computed in the step of the token before them, so that one reading
 * of the weights gives several tokens.
 *
 * Who guesses is a source (draft_source_list.inc): what followed the same tokens earlier in the conversation (prompt
 * lookup: Saxena 2023), or a smaller model of the same vocabulary. The guesses are further rows of the session's part
 * of the step, each with logits. From the first row on the model's own token is chosen as ever, by the same settings
 * and the random number of its place in the answer; while it is the guessed one, the next row is what the next step
 * would have computed, and its token is chosen, too. So the text of a seed is the same with and without guesses, and
 * with it the distribution. Accepting guesses by a ratio of probabilities (Leviathan et al. 2023, arXiv 2211.17192;
 * Chen et al. 2023, arXiv 2302.01318) would keep the distribution, too, and take a few more of them, but give other
 * texts.
 *
 * That needs rows that do not depend on how many are computed together, to the last digit. Attention takes guessed rows
 * one by one, each as a tile of its own; of everything else it is proven at first use (draft_proof.c): the same rows
 * are computed together and one by one, and all logits have to be the same bits. Else there are none.
 *
 * How many are guessed follows from what was measured: how often guesses of this kind were right, and how long steps of
 * so many rows take (draft_pace.c). Where none pays none is made, and it is tried again now and then.
 *
 * Keys and values of rows whose guess was wrong are never counted as computed, and written over by the next step. */
#ifndef CI_ENGINE_DRAFT_H
#define CI_ENGINE_DRAFT_H

#include <clinfer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CI_DRAFT_MOST = 16, CI_DRAFT_SOURCES = 2, CI_DRAFT_KINDS = 5, CI_DRAFT_PACES = 7, CI_DRAFT_RANGES = 4 };

struct ci_batch;
struct ci_flight;
struct clinfer_engine;
struct clinfer_session;

/* Where pairs of tokens stand: a list for each hash of a pair, the latest first. */
struct ci_ngrams {
    int32_t *first;    /* [CI_NGRAM_HASHES]: one more than the place of the pair's second token; 0: none */
    int32_t *previous; /* [capacity]: the same for the pair before that with the same hash */
    size_t indexed, capacity;
    size_t match, length; /* of the last look: the token behind the match, and how long that was */
};

/* How often a guess was right, of those behind right ones; older ones count for less. */
struct ci_draft_rate {
    double tried, right;
};

/* A session's guesses. */
struct ci_drafting {
    int32_t tokens[CI_DRAFT_MOST];
    int count;                          /* in the step under way, or in the last one; 0: none */
    int right;                          /* of these, so far */
    int source, kind;                   /* who guessed, how sure it was */
    size_t known;                       /* tokens before the first of them */
    uint32_t places[CI_DRAFT_MOST + 1]; /* ci_place of each row's mask; CI_PLACE_DEAD: it has none */
    struct ci_draft_rate rates[CI_DRAFT_SOURCES][CI_DRAFT_KINDS];
    bool waits;                   /* the step under way has guesses, or its token is wanted for the next ones */
    unsigned held_back, patience; /* chances that were let go since the last guess; so many may be */
    struct ci_ngrams ngrams;
    struct clinfer_session *model; /* of the smaller model; NULL: not yet */
};

/* How long steps of about so many rows take. */
struct ci_draft_pace {
    double rows, seconds; /* fading means; 0: not known yet */
};

/* An engine's. */
enum ci_draft_proof { CI_DRAFT_UNPROVEN, CI_DRAFT_WANTS_PROOF, CI_DRAFT_PROVEN, CI_DRAFT_REFUSED };
struct ci_draft_engine {
    struct ci_draft_pace paces[CI_DRAFT_PACES];
    enum ci_draft_proof proofs[CI_DRAFT_RANGES]; /* of steps with so many rows */
    bool wants_proof, told_refused;
    uint64_t proof_step;          /* of the engine's: before it nothing is to be proven */
    struct clinfer_engine *model; /* the smaller one; NULL: none */
    float *logits;                /* [its outputs] */
    double prompt_seconds;        /* that a row of a prompt takes there; 0: not known yet */
    double model_seconds;         /* that a guess of it takes; 0: not known yet */
    bool always;                  /* for tests: as many as there may be, whether that pays or not */
};

/* One who guesses. */
struct ci_draft_source {
    const char *name;
    bool (*is_there)(const struct clinfer_session *session);

    /* How many tokens it could name that follow those that are known; *kind: how sure it is, from 0 on. */
    int (*look)(struct clinfer_session *session, int most, int *kind);

    /* Names `count` of them, or fewer; returns how many. */
    int (*guess)(struct clinfer_session *session, int count, int32_t *tokens);

    /* What a guess costs before the step, with its share of what has to be done before the first one. */
    double (*seconds)(const struct clinfer_session *session);
    double start[CI_DRAFT_KINDS]; /* how likely a guess of each kind is right as long as nobody has seen it */
};
extern const struct ci_draft_source ci_draft_lookup, ci_draft_model;

/* draft_model.c: opens the smaller model that the engine's options name, if they do, and closes it.
 * CLINFER_UNSUPPORTED: its vocabulary is another one. */
enum clinfer_status ci_draft_open(struct clinfer_engine *engine);
void ci_draft_close(struct clinfer_engine *engine);

/* draft.c: gives parts of a step that decode guesses for further rows. Nothing of these sessions is in flight. */
void ci_draft_extend(struct clinfer_engine *engine, struct ci_batch *batch);

/* draft.c: whether the next step of this session has to wait until the token is known. */
bool ci_draft_must_wait(const struct clinfer_session *session);

/* draft.c: whether row `place` behind the session's own is computed as it would be without guesses: they were right so
 * far, and its mask is the one that the grammar wants. Then its keys and values count, too. */
bool ci_draft_is_right(struct clinfer_session *session, int place);

/* draft.c: with a request and with a session. */
void ci_draft_begin(struct clinfer_session *session);
void ci_draft_end(struct clinfer_session *session);

/* draft_proof.c: the most rows of a step, up to `rows`, of which it is known that they may be guesses; 0: none. Where
 * nobody knows it yet of so many, it is asked for. */
int64_t ci_draft_proven_rows(struct clinfer_engine *engine, int64_t rows);

/* draft_proof.c: proves what was asked for. Nothing may be in flight. */
void ci_draft_prove(struct clinfer_engine *engine);

/* draft_pace.c: a step of so many rows, all of which decode, took this long. */
void ci_draft_pace_note(struct ci_draft_engine *draft, int64_t rows, double seconds);

/* draft_pace.c: how many guesses make most tokens in a second, of `most`: each right with `chance`, `seconds` before
 * the step; `rows` rows, `tokens` of which give one, are in the step anyway. */
int ci_draft_best(const struct ci_draft_engine *draft, int64_t rows, int64_t tokens, int most, double chance,
                  double seconds);

/* draft_pace.c: how long a step of so many rows should take; without any measurement in units of a step of one row. */
double ci_draft_pace(const struct ci_draft_engine *draft, int64_t rows);

/* draft_pace.c */
double ci_draft_chance(const struct ci_draft_rate *rate, double start);
void ci_draft_rate_note(struct ci_draft_rate *rate, int tried, int right);

/* draft_lookup.c: of tokens [known], the last `most` and fewer of which are looked for; returns how many tokens follow
 * the longest match, in ngrams->match, at least CI_NGRAM_LEAST long. */
enum { CI_NGRAM_HASHES = 4096, CI_NGRAM_LEAST = 2, CI_NGRAM_LONGEST = 32 };
size_t ci_ngrams_look(struct ci_ngrams *ngrams, const int32_t *tokens, size_t known);
void ci_ngrams_forget(struct ci_ngrams *ngrams);
void ci_ngrams_free(struct ci_ngrams *ngrams);

#endif
