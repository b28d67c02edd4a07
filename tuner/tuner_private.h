/* tuner_private.h: one tune from the inside; tune.c leads, the others are its parts. */
#ifndef CI_TUNER_TUNER_PRIVATE_H
#define CI_TUNER_TUNER_PRIVATE_H

#include <math.h>

#include "profile/quarantine.h"
#include "tuner/pairs.h"
#include "tuner/search.h"
#include "tuner/tune.h"

enum { CI_TUNE_LAYOUTS = 4, CI_TUNE_STRIKES = 64, CI_TUNE_ROUNDS = 16, CI_TUNE_MODEL_ROUNDS = CI_PAIRS_MOST };

/* One problem while it is tuned. */
struct ci_tuned {
    struct ci_search search;
    struct ci_profile_entry entries[CI_TUNE_LAYOUTS]; /* winners by layout, once decided */
    int entry_count;
    bool wanted;                /* to be searched */
    bool fresh;                 /* the old profile's entries hold */
    bool ranked;                /* ci_tuner_rank() was done */
    bool decided;               /* entries[] are new */
    bool timed;                 /* tuner->seconds is of a trial or of the old profile, not an estimate */
    bool reverted;              /* given back: the whole model was slower with it, or no faster */
    bool proven;                /* a model became faster with it: another that did not does not take it back */
    int like;                   /* the first of the problems that differ from it in shape alone */
    int fruitless;              /* of that first one: turns in a row in which nothing faster was found */
    double measured, estimated; /* of that first one: seconds of those of its kind that were timed, and their limits */
    bool exhausted;             /* of that first one: nothing is left to ask */
    double decided_seconds;     /* the fastest when it was decided last */
};

/* A variant that has failed in some way is not tried for ever with other numbers. */
struct ci_strikes {
    const struct ci_variant *variant;
    int wrong, fatal;
};

struct ci_tuner {
    const struct ci_tune_options *options;
    struct ci_tune_result *result;
    struct ci_problems *problems;
    struct ci_profile_key key;
    uint64_t device; /* for the quarantine */
    struct ci_quarantine quarantine;
    struct ci_profile old;
    enum ci_profile_origin origin;
    char *old_path;
    struct ci_profile_clblast clblast; /* that the worker has, and the profile will have */
    struct ci_worker *worker;
    struct ci_profile_device measured;
    struct ci_tuned *tuned; /* [problems->count] */
    double *seconds, *weights;
    struct ci_strikes strikes[CI_TUNE_STRIKES];
    int strike_count;
    struct ci_ahead *ahead; /* NULL: nothing is built ahead */
    bool *settled;          /* [problems->model_count]: its settings need not be measured, or have been */
    bool *outdated;         /* [problems->model_count]: those of the old profile were measured with other kernels */
    int turns;              /* of the search so far */
    double realised;        /* by those, of the room that each had where it searched: a sum of shares */
    double start, search_end, end;
    uint64_t random_state;
};

bool ci_tuner_stopped(const struct ci_tuner *tuner);
void ci_tuner_say(const struct ci_tuner *tuner, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ci_tuner_progress(const struct ci_tuner *tuner, const char *doing, int problem,
                       const struct ci_tuner_candidate *candidate);

/* The problem's call with the candidate's layout of weights. */
struct ci_call ci_tuner_call(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout);

/* ---- attempt.c: trying one candidate ---- */

/* Tries it, or skips it when it is in quarantine or like what has failed before; the search is told. A failing status
 * is the tuner's own trouble. */
enum clinfer_status ci_tuner_try(struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate);

/* The same in another worker whose CLBlast has these parameters, until `end`; the search is not told, and the variant
 * is not to blame. What was not tried is UNUSABLE. */
enum clinfer_status ci_tuner_try_clblast(struct ci_tuner *tuner, int problem,
                                         const struct ci_tuner_candidate *candidate,
                                         const struct ci_profile_clblast *clblast, struct ci_worker *worker, double end,
                                         struct ci_trial *trial);

/* The candidate of an entry, if it still is what was measured then. */
bool ci_tuner_candidate_of(const struct ci_tuner *tuner, int problem, const struct ci_profile_entry *entry,
                           struct ci_tuner_candidate *candidate);

/* Seconds that a call has to pay for building: CLBlast builds its programs anew in each process, and the calls of one
 * run share that. Other programs come from the cache. */
double ci_tuner_charge(const struct ci_tuner *tuner, int problem, const struct ci_variant *variant,
                       double build_seconds);

/* Whether it is in quarantine on this device. */
bool ci_tuner_quarantined(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate,
                          bool even_retried);

/* Whether trying it would do so, or skip it. */
bool ci_tuner_would_try(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate);

/* ---- ahead.c: compiling what is about to be tried ---- */

struct ci_ahead *ci_ahead_create(void); /* NULL: out of memory, then nothing is built ahead */
void ci_ahead_destroy(struct ci_ahead *ahead);

/* A trial is over: where programs came from a cache nobody need build them. */
void ci_ahead_note(struct ci_ahead *ahead, const struct ci_trial *trial);

/* So many candidates of a problem, no deeper than that. */
struct ci_wish {
    int problem;
    enum ci_search_depth depth;
    int most;
};

/* The first wish comes next; the others are likely to follow. */
enum clinfer_status ci_tuner_build_ahead(struct ci_tuner *tuner, const struct ci_wish *wishes, int count);

/* ---- clblast.c: parameters for CLBlast ---- */

/* Starts the worker, with the parameters that are chosen now, or another one with `clblast`. */
enum clinfer_status ci_tuner_start_worker(const struct ci_tuner *tuner, const struct ci_profile_clblast *clblast,
                                          struct ci_worker **worker);

/* Where products of CLBlast have passed: looks for parameters until `end`. If some are better than those of
 * tuner->clblast, they take their place, and what was known of these products is forgotten. */
enum clinfer_status ci_tuner_search_clblast(struct ci_tuner *tuner, double end);

/* Whether the entry is for a variant on CLBlast. */
bool ci_tuner_is_clblast(const struct ci_profile_entry *entry);

/* Sets to begin with that fit the device, the likeliest first. Returns how many. */
enum { CI_CLBLAST_STARTS = 16 };
int ci_clblast_starts(const struct ci_device_caps *caps, struct ci_profile_clblast list[CI_CLBLAST_STARTS]);

/* Neighbour number `step` of a set, 0 .. CI_CLBLAST_STEPS - 1; false: there is none, or it does not fit. */
enum { CI_CLBLAST_STEPS = 38 };
bool ci_clblast_step(const struct ci_device_caps *caps, const struct ci_profile_clblast *from, int step,
                     struct ci_profile_clblast *set);

/* ---- turns.c: what is searched, and when to stop ---- */

/* How much each problem matters, by what is known of its time now. What was not measured yet is taken to be as far from
 * the limit as what was, with about as many rows. */
void ci_tuner_reweigh(struct ci_tuner *tuner);

/* Searches until tuner->search_end at most, and decides all that was tried. */
enum clinfer_status ci_tuner_search(struct ci_tuner *tuner);

/* Times what a run of a model calls with such activations and nobody has timed, the heaviest first, until that is most
 * of its time; `most` calls at most. */
enum clinfer_status ci_tuner_time_kind(struct ci_tuner *tuner, int model, int run, int kind, int most);

/* ---- bound.c: what is left to gain ---- */

/* Fills in share, by_memory and worst of a model's gains, where the whole model was measured. */
void ci_tuner_bound(const struct ci_tuner *tuner, int model);

/* Whether most of the time of a run with such activations is known. */
bool ci_tuner_is_timed(const struct ci_tuner *tuner, int model, int run, int kind);

/* The kind of activations that a run takes, by what kernels took. */
int ci_tuner_kind(const struct ci_tuner *tuner, int model, int run);

/* How many times as long a run's kernels take with activations in f32; 0: most of either were not timed. */
double ci_tuner_f32_time(const struct ci_tuner *tuner, int model, int run);

/* Whether no product of decoding or of a prompt reads codes of that type where runs choose by themselves. */
bool ci_tuner_never_reads(const struct ci_tuner *tuner, int model, const struct ci_type *codes);

/* ---- decide.c: from trials to entries ---- */

/* Of values[0], values[stride], ...; at most CI_TUNE_MODEL_ROUNDS. */
double ci_tuner_median(const double *values, int count, int stride);

/* Single trials were made at different moments: the best of them are timed again in turn, so that the search goes on
 * from where it is really fast. */
enum clinfer_status ci_tuner_rank(struct ci_tuner *tuner, int problem);

/* The winner in each layout, after an interleaved comparison where the fastest is not what would run anyway. */
enum clinfer_status ci_tuner_decide(struct ci_tuner *tuner, int problem);

/* An entry for what would run without a profile; false: it was not measured, or did not pass. */
bool ci_tuner_default_entry(const struct ci_tuner *tuner, int problem, struct ci_profile_entry *entry);

/* An entry for what the old profile runs in a layout (NULL: an op without weights), as measured now; false likewise. */
bool ci_tuner_old_entry(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout,
                        struct ci_profile_entry *entry);

/* Fused ops whose parts are faster. */
void ci_tuner_unfuse(struct ci_tuner *tuner);

/* ---- whole.c: a model two ways, in turn ---- */

/* What takes longer by less is not seen as slower; how often chance may say that something is faster where little is
 * gained. */
#define CI_TUNE_SLOWER 1.01
#define CI_TUNE_CHANCE 0.01

/* Seconds of decoding a token, or of a prompt's, in pairs: one side, the other. */
struct ci_timed {
    int rounds;
    double pairs[2 * CI_TUNE_MODEL_ROUNDS];
    double before, ratio; /* medians: seconds of the first; of what the second takes, the share of that */
    double low, high;     /* between which the ratio's median lies 19 times in 20, as the pairs have it */
    int faster;           /* of the pairs */
    bool surely_faster, surely_slower;
};

struct ci_outcome {
    bool ran, failed; /* neither: no time was left */
    bool brief;       /* a few samples are enough */
    bool first;       /* to see whether more are worth their time */
    struct ci_timed decode, prefill;
    int context;      /* tokens behind which it decoded */
    char reason[256]; /* why it did not run */
};

struct ci_sides {
    const char *tunings[2];
    const char *caches[2];      /* types of the KV cache; NULL: f16 */
    const char *devices[2];     /* "cpu"; NULL: the one that is tuned */
    const char *setting;        /* what is different, for the log; NULL: kernels */
    double seconds;             /* that it may take at most */
    int context, prompt;        /* tokens at most; of each prompt. 0: as there is time for */
    int rounds;                 /* at most; 0: as many as there is time for */
    bool no_decode, no_prefill; /* which is not looked at */
    double give_up;             /* a second side that takes so many times as long at first needs no more rounds */
};

/* Runs a model, and adds to what *outcome has of earlier runs. A failing status is the tuner's own trouble. */
enum clinfer_status ci_tuner_run_model(struct ci_tuner *tuner, int model, const struct ci_sides *sides,
                                       struct ci_outcome *outcome);

/* Medians, bounds and surely_slower of the pairs. */
void ci_tuner_sum_up(struct ci_timed *timed);

/* ---- settings.c: what kernels cannot ---- */

/* Measures the models' settings with the kernels as they are now; what made them surely faster goes into the models'
 * records. */
enum clinfer_status ci_tuner_settle(struct ci_tuner *tuner);

/* ---- confirm.c: the whole model ---- */

/* The profile as it would be written. */
enum clinfer_status ci_tuner_profile(const struct ci_tuner *tuner, struct ci_profile *profile);

/* Runs the models before and after; where one got slower, winners are given back by halves, and what made it no faster
 * is given back too. */
enum clinfer_status ci_tuner_confirm(struct ci_tuner *tuner);

#endif
