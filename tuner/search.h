/* search.h: the search for the fastest right candidate of one problem. It proposes, somebody else builds, proves and
 * times, and tells: no clock, no device and no file in here.
 *
 * Candidates are the variants of the table that fit, in every layout of the weights that they can read, with every
 * value of their tunables. Asked deeper and deeper, it proposes
 *   seeds      what would run without a profile, then what was handed in: winners of other shapes, of an old profile;
 *   variants   every variant in every layout, with the values that it comes with; those that take seconds to build, in
 *              each process anew, only where `with_slow` says so
 *   descent    the neighbours of the fastest in one tunable at a time, until none is faster: for each variant and
 *              layout that is not far behind, the fastest first; the tunable that gained last comes first
 *   random     any other of these.
 * What was proposed once is not proposed again. */
#ifndef CI_TUNER_SEARCH_H
#define CI_TUNER_SEARCH_H

#include "tuner/problems.h"

enum ci_search_depth { CI_SEARCH_SEEDS, CI_SEARCH_VARIANTS, CI_SEARCH_DESCENT, CI_SEARCH_RANDOM };

struct ci_search_point {
    struct ci_tuner_candidate candidate;
    enum ci_trial_outcome outcome;
    bool skipped;    /* not tried here: in quarantine, or like something that failed */
    bool is_default; /* with the values that the variant comes with */
    double seconds;  /* of a call, with its part of `build_seconds` where that is charged; INFINITY unless it passed */
    double build_seconds, nmse;
};

struct ci_search {
    const struct ci_caps *caps;
    const struct ci_op *op;
    struct ci_call call;
    struct ci_search_point *points; /* in the order of trials */
    int count;
    struct ci_tuner_candidate *seeds;
    int seed_count;
    int tried, refused, crashed; /* skipped ones are none of these */
    bool with_slow;              /* for the caller to set */
    int gained;                  /* the tunable that made the fastest so far faster */
};

/* `caps` and the problem's op live as long as the search. */
void ci_search_init(struct ci_search *search, const struct ci_caps *caps, const struct ci_tune_problem *problem);
void ci_search_free(struct ci_search *search);

/* Whether there is anything to try at all. */
bool ci_search_possible(const struct ci_search *search);

/* One more seed; one that does not fit here is forgotten. */
enum clinfer_status ci_search_seed(struct ci_search *search, const struct ci_tuner_candidate *candidate);

/* What to try next, no deeper than `depth`; false: nothing is left there. */
bool ci_search_ask(const struct ci_search *search, enum ci_search_depth depth, uint64_t *random_state,
                   struct ci_tuner_candidate *candidate);

/* How it went; `seconds` of a passed one with all that is charged. */
enum clinfer_status ci_search_tell(struct ci_search *search, const struct ci_tuner_candidate *candidate,
                                   const struct ci_trial *trial, double seconds);

/* It is not to be tried. */
enum clinfer_status ci_search_skip(struct ci_search *search, const struct ci_tuner_candidate *candidate);

/* Forgets what was told of a backend: its candidates are no longer what they were. */
void ci_search_forget(struct ci_search *search, enum ci_backend backend);

bool ci_candidates_equal(const struct ci_tuner_candidate *a, const struct ci_tuner_candidate *b);

/* Among those that passed in `layout` (compared as pointers; NULL: ops without weights): index of the fastest; of the
 * one that would run without a profile; of this one. -1: none. */
int ci_search_best(const struct ci_search *search, const struct ci_layout *layout);
int ci_search_default(const struct ci_search *search, const struct ci_layout *layout);
int ci_search_find(const struct ci_search *search, const struct ci_tuner_candidate *candidate);

/* The one that would run without a profile, whatever its layout; -1: none passed. */
int ci_search_overall_default(const struct ci_search *search);

/* A new winner is at least so much faster: less may be chance. */
#define CI_SEARCH_GAIN 1.03

/* Who is taken, of the default, the old profile's (its index or -1) and the fastest: `seconds` by index. */
int ci_search_winner(const double *seconds, int standard, int old, int fastest, double gain);

#endif
