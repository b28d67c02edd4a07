/* problems.h: what there is to tune: every op of the models' plans, with its types and shapes, each once however many
 * layers and models have it; and how much of a run it is, so that time goes where it matters.
 *
 * A model is its graph for each bucket of rows of the engine, with rounded activations and without, after the passes:
 * fused ops, and their parts, against which they compete. No weights are loaded. */
#ifndef CI_TUNER_PROBLEMS_H
#define CI_TUNER_PROBLEMS_H

#include "tuner/worker.h"

/* Rows of a run: decoding, some sessions at once, a short prompt, a long one. */
enum { CI_TUNE_DECODE, CI_TUNE_FEW, CI_TUNE_SHORT_PROMPT, CI_TUNE_PROMPT, CI_TUNE_RUNS };
extern const int64_t ci_tune_rows[CI_TUNE_RUNS];

/* Activations: floats; codes of 8 bits, or of 16 where `auto` takes them. */
enum { CI_TUNE_F32, CI_TUNE_Q8, CI_TUNE_KINDS };

struct ci_tune_problem {
    struct ci_problem problem;
    struct ci_profile_signature signature;
    struct ci_call call;      /* types, shapes and parameters, weights as stored; no data */
    double bytes, operations; /* of one call */
    int first, second;        /* the parts of a fused op, as indices of `items`; else -1 */
};

/* One run of a model calls a problem so often. */
struct ci_tune_use {
    int model, kind, run, problem, calls;
};

struct ci_tune_model {
    char name[CI_PROFILE_TEXT_BYTES];
    const char *path;     /* borrowed; NULL: one of the standard set, of which there is no file */
    uint64_t fingerprint; /* ci_model_fingerprint() */
    uint64_t weight_bytes;
    int context;       /* tokens of a sequence at most; 0: any */
    bool reads_floats; /* decoding or a prompt leaves products in floats by itself that could read codes */
};

struct ci_problems {
    struct ci_tune_problem *items;
    struct ci_tune_use *uses;
    struct ci_tune_model *models;
    int count, use_count, model_count;
};

/* Adds the problems of the model file at `path` (borrowed) for this place. Errors as those of ci_gguf_open and
 * ci_model_open; nothing was added then. */
enum clinfer_status ci_problems_add_file(struct ci_problems *problems, const struct ci_caps *caps, const char *path);

/* Adds those of `most` common models that need not be there, one at least; those first that say most of others. */
enum clinfer_status ci_problems_add_standard(struct ci_problems *problems, const struct ci_caps *caps, int most);

void ci_problems_free(struct ci_problems *problems);

/* Seconds that a call will about take, by its bytes and operations and what was measured of the device (zeros: some
 * usual values). */
double ci_problems_estimate(const struct ci_tune_problem *problem, const struct ci_profile_device *measured);

/* How much each problem matters: its share of the time of decoding and of a prompt of 512 tokens, and less of the other
 * runs, over all models; parts of fused ops a quarter of those. `seconds` [count] of each as far as it is known;
 * `weights` [count] is the result. */
void ci_problems_weigh(const struct ci_problems *problems, const double *seconds, double *weights);

/* Seconds of a run of a model, with the kind of activations that is faster, and the share of it that the problems
 * marked in `tuned` [count] have. */
double ci_problems_run(const struct ci_problems *problems, const double *seconds, int model, int run, const bool *tuned,
                       double *covered);

/* The most calls that one run has of a problem: over so many the time to build something for a run is spread. */
int ci_problems_calls(const struct ci_problems *problems, int problem);

#endif
