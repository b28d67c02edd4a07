/* tune.h: `clinfer tune` for one device, without its words: what is worth tuning is searched in the order of its share
 * of a model's time, winners are confirmed in the whole model, and the profile is written.
 *
 * Nothing is lost that was known: entries of the old profile whose kernel, driver and shape are the same are kept and
 * not measured again, and what was not reached stays as it was. */
#ifndef CI_TUNER_TUNE_H
#define CI_TUNER_TUNE_H

#include "tuner/problems.h"

/* What goes on, for a progress bar. */
struct ci_tune_progress {
    const char *doing; /* "measuring", "trying", "comparing", "whole model" */
    double elapsed, budget;
    const struct ci_tune_problem *problem;      /* NULL: none in particular */
    const struct ci_tuner_candidate *candidate; /* NULL: none in particular */
    double best, standard;                      /* seconds of the problem so far: fastest, default; 0: not known */
    int tried, refused, crashed;                /* of all candidates so far */
};

/* One thing that was measured, for the log. */
struct ci_tune_trial {
    const char *kind; /* "trial", "skip", "compare", "model" */
    double elapsed;
    const struct ci_tune_problem *problem;      /* NULL for "model" */
    const struct ci_tuner_candidate *candidate; /* NULL for "model" */
    const struct ci_profile_clblast *clblast;   /* that CLBlast had for this one; NULL: what it usually has */
    const struct ci_trial *trial;
    const char *text;    /* "skip": why; "model": its name */
    const char *setting; /* "model": what was different; NULL: the kernels */
    /* "model": medians, without and with the new winners */
    double decode[2], prefill[2];
    int decode_rounds, prefill_rounds;
};

struct ci_tune_listener {
    void *user;
    bool (*stopped)(void *user); /* asked between trials: end, and keep what is known */
    void (*progress)(void *user, const struct ci_tune_progress *progress);
    void (*trial)(void *user, const struct ci_tune_trial *trial);
    void (*say)(void *user, const char *text); /* a sentence for a person */
};

struct ci_tune_options {
    int device; /* index of ci_device_list, -1: the CPU backend */
    const struct ci_caps *caps;
    int threads;
    const char *const *models; /* paths; those that cannot be read are said and left out */
    int model_count;           /* 0: the standard set */
    double budget;             /* seconds in all */
    double candidate_seconds;  /* deadline of one candidate */
    int rounds;                /* of comparisons, at most 16 */
    bool busy;                 /* other programs take processors: how many threads are best is no question now */
    bool thorough;             /* nothing is left out as hopeless; what was wrong may prove itself again */
    bool again;                /* measure what is fresh too */
    uint64_t seed;
    struct ci_tune_listener listener;
};

/* One problem in the end; of the layouts that were tried the fastest. */
struct ci_tune_line {
    int problem;
    struct ci_profile_entry entry;
    double decode_share, prefill_share; /* of the first model that has it, 0..1 */
    bool kept;                          /* of the old profile, not measured again */
};

/* What a run of a model (decoding, a prompt) gained in the whole model, and what bounds it now. */
struct ci_tune_gain {
    double ratio, low,
        high;       /* tokens per second after over before: median, and where it lies 19 times in 20; 0: not seen */
    double share;   /* of the limit by bytes and operations that it reaches now; 0: not known */
    bool by_memory; /* most of that limit is reading; else it is arithmetic */
    int worst;      /* index of the problem that loses most of the time; -1: none is known */
    double worst_share, worst_loss; /* of its own limit that it reaches; of the run's time that it loses */
};

/* One value of something that kernels cannot change, against what a run does by itself: ratios as in a gain. */
struct ci_tune_setting {
    int model;
    const char *name;                  /* "threads", "KV cache" */
    char value[CI_SETTING_WORD_BYTES]; /* "4", "q8_0" */
    enum { CI_TUNE_KEPT, CI_TUNE_REPORTED, CI_TUNE_NO_BETTER, CI_TUNE_NOT_MEASURED } what;
    int context;                              /* tokens behind which it decoded */
    struct ci_tune_gain decode, prefill, all; /* ratio 0: not looked at; all: of what the setting is judged by */
    char reason[128];                         /* why it was not measured */
};

struct ci_tune_result {
    struct ci_problems problems;
    struct ci_tune_line *lines; /* by how much they matter */
    int line_count;
    struct ci_profile profile; /* as it is on disk now */
    char *path;
    struct ci_profile_model *models; /* of this run */
    struct ci_tune_gain (*gains)[2]; /* of each model: decoding, a prompt */
    int model_count;
    struct ci_tune_setting *settings;
    int setting_count;
    const char
        *before; /* what models ran with before: "the order of the table", "the shipped profile", "the old profile" */
    double seconds;
    int searched, kept, left;             /* problems: measured now; fresh; not reached, or nothing to choose */
    int waiting;                          /* problems with a choice that nobody has measured here yet */
    int tried, refused, crashed, skipped; /* candidates */
    int recovered;                        /* marks of a run that did not end, now in quarantine */
    int given_back;                       /* problems whose winners made the whole model slower, or no faster */
    bool changed, interrupted;
};

/* CLINFER_IO: somebody else tunes this device, or the folder of profiles cannot be written; CLINFER_NO_DEVICE,
 * CLINFER_DEVICE_ERROR: no worker can be started. Free the result in any case. */
enum clinfer_status ci_tune(const struct ci_tune_options *options, struct ci_tune_result *result);
void ci_tune_free(struct ci_tune_result *result);

#endif
