/* worker.h: the process in which candidates are built, proven and timed, seen from the tuner. It may crash, hang,
 * compile for ever or eat all memory: that costs the candidate, never the tuner. It is this very executable, started as
 * `clinfer tune_worker` (a command that help does not list), and speaks lines of JSON on its stdin and stdout.
 * CLINFER_WORKER in the environment names another executable, for tests. */
#ifndef CI_TUNER_WORKER_H
#define CI_TUNER_WORKER_H

#include "ops/op.h"
#include "profile/profile.h"

struct ci_worker;

/* What is tuned: one op with types, shapes (rows of the bucket; KV caches as long as their `state`), parameters. */
struct ci_problem {
    const struct ci_op *op;
    struct ci_case shape;
    int64_t context; /* attention: positions in the cache when it is timed; 0: all that its pages hold */

    /* Weights (and KV caches) of the real run: copies of this op's are cycled through up to so many bytes, so that
     * caches hold no more than they would there. The worker takes less where memory is short. */
    uint64_t cycle_bytes;
};

struct ci_tuner_candidate {
    const struct ci_variant *variant;
    int tunables[CI_MAX_TUNABLES];
    const struct ci_layout *layout; /* of the weights; NULL for ops without */
    double give_up_seconds;         /* a call that takes longer is timed once and not well; 0: however long */
};

enum ci_trial_outcome {
    CI_TRIAL_PASSED,
    CI_TRIAL_WRONG,    /* result, guards, not finite */
    CI_TRIAL_UNUSABLE, /* does not build, exceeds a limit: no fault */
    CI_TRIAL_CRASHED,
    CI_TRIAL_TIMED_OUT, /* hang, or endless compile */
    CI_TRIAL_OUT_OF_MEMORY
};

static inline const char *ci_trial_outcome_name(enum ci_trial_outcome outcome) {
    static const char *const names[] = {
        [CI_TRIAL_PASSED] = "passed",   [CI_TRIAL_WRONG] = "wrong",         [CI_TRIAL_UNUSABLE] = "unusable",
        [CI_TRIAL_CRASHED] = "crashed", [CI_TRIAL_TIMED_OUT] = "timed out", [CI_TRIAL_OUT_OF_MEMORY] = "out of memory"};
    return names[outcome];
}

struct ci_trial {
    enum ci_trial_outcome outcome;
    char reason[256];
    double build_seconds; /* compile and first run: what a fresh process without cache pays; no honest figure if: */
    bool cached;          /* its program was not compiled but came from the binary cache, or was there already */
    double seconds;       /* median of one call */
    bool device_clock;    /* by the device's events, which were found true; else by the time on the wall */
    double nmse;
};

/* `device` is an index of ci_device_list, -1 the CPU backend. Starts lazily; restarted after what kills it. */
struct ci_worker_options {
    int device, threads;
    double start_seconds;              /* deadline of loading driver and device; 0: 60 */
    uint64_t memory;                   /* that the worker may have, in bytes; 0: half of what is available now */
    struct ci_profile_clblast clblast; /* that the device has taken: ci_clblast_check() */
};
enum clinfer_status ci_worker_create(const struct ci_worker_options *options, struct ci_worker **worker);
void ci_worker_destroy(struct ci_worker *worker);

/* Builds, gates on the real shape, and times it for a short while. Never fails because of the candidate: that is the
 * trial's outcome. Fails when no worker can be started. The deadline is the candidate's: making a new problem's data,
 * the first time, takes what it takes, and what goes wrong there is UNUSABLE. */
enum clinfer_status ci_worker_try(struct ci_worker *worker, const struct ci_problem *problem,
                                  const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                  struct ci_trial *trial);

/* Builds what the candidate runs, for the worker that is to try it; on a processor it also computes a known answer,
 * since drivers there compile as late as that. Not proven, not timed: the trial says only whether the process survived.
 */
enum clinfer_status ci_worker_build(struct ci_worker *worker, const struct ci_problem *problem,
                                    const struct ci_tuner_candidate *candidate, double deadline_seconds,
                                    struct ci_trial *trial);

/* Times candidates that passed before, in turn (A B A B) for `rounds` rounds: samples [rounds][count], seconds per
 * call. */
enum clinfer_status ci_worker_compare(struct ci_worker *worker, const struct ci_problem *problem,
                                      const struct ci_tuner_candidate *candidates, int count, int rounds,
                                      double deadline_seconds, double *samples, struct ci_trial *trial);

/* Read bandwidth over `bytes`, peak, launch, wait and crossing costs. */
enum clinfer_status ci_worker_measure(struct ci_worker *worker, uint64_t bytes, double deadline_seconds,
                                      struct ci_profile_device *measured, struct ci_trial *trial);

/* The whole model with two tunings (paths of profiles, or "none", "shipped"; NULL: "auto"), in turn (A B B A):
 * samples [rounds][2] of seconds per decoded token at `context` tokens, and of seconds for a prompt of `prompt` tokens.
 * What is built at first use is built before. */
enum { CI_WORKER_ANSWER = 128 }; /* tokens that a sample decodes at most: the model has room for those, too */
struct ci_worker_model {
    const char *model;
    const char *tunings[2];
    const char *caches[2];  /* types of their KV caches; NULL: f16 */
    const char *devices[2]; /* "cpu"; NULL: the worker's own */
    int context, prompt;
    double seconds, rounds_seconds; /* all is over so long after the start, the rounds after they began */
    double give_up; /* the second need not be timed any longer when it took so many times as long in the first three
                       rounds, nor when it was faster in all of seven; 0: however slow */
    int decode_rounds, prefill_rounds; /* in: at most so many; out: how many there were */
    double *decode, *prefill;
};
enum clinfer_status ci_worker_model(struct ci_worker *worker, struct ci_worker_model *model, double deadline_seconds,
                                    struct ci_trial *trial);

/* Seconds of a step of the model with 1, 2, 4, 8, 16 rows, each of a sequence of `context` tokens. */
enum clinfer_status ci_worker_steps(struct ci_worker *worker, const char *model, const char *tuning, int context,
                                    double deadline_seconds, struct ci_profile_steps *steps, struct ci_trial *trial);

/* The worker's process, for tests; 0: none runs at this moment. */
int ci_worker_process(const struct ci_worker *worker);

/* The other side: reads requests until stdin ends. */
int ci_worker_main(void);

#endif
