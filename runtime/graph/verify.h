/* verify.h: a plan run step by step, and a step's outputs compared with the reference on the inputs that it really had:
 * those of each step for `clinfer verify`, and as the last resort of careful mode; those of a step that there is a
 * reason to look at when careful mode begins. The reference is scalar C: for all of a model it takes seconds a token.
 */
#ifndef CI_GRAPH_VERIFY_H
#define CI_GRAPH_VERIFY_H

#include "graph/plan.h"

enum { CI_CACHE_SLOTS = 2 };

/* What a run does with the KV caches. */
struct ci_cache_use {
    int64_t rows; /* so many are in use */
    /* [slot_count] the rows that this run writes; below 0: none. Each step that writes a cache reads one of them. */
    const int32_t *slots[CI_CACHE_SLOTS];
    int64_t slot_count;
};

struct ci_verify_step {
    int index;                                /* of ci_plan_step */
    const char *label, *op, *variant, *place; /* live as long as the plan */
    enum clinfer_status status;               /* not OK: it could not be run, twice, though the device answers */
    bool passed;
    double nmse, allowed, worst; /* as in proof/gate.h */
    int64_t not_finite;          /* numbers among the outputs; right where the reference says the same */
    bool own;                    /* right, and not finite though all that it reads is: the model's own numbers */
    bool in_cache;               /* `own`, and of a type of the KV caches that holds less than f32 */
    struct ci_cache_use caches;  /* borrowed from the run */
    char text[256];              /* what is wrong: output, row, column, both values; or the failure's message */
};

/* false: no further step is run. */
typedef bool ci_verify_callback(void *user, const struct ci_verify_step *step);

/* Runs the plan with the inputs and rows that were set, as ci_plan_run does, but waits after each step. A failure is
 * one of memory, or of a device that does not even do a small computation right any more; it is not told to the
 * callback. */
enum clinfer_status ci_plan_verify(struct ci_plan *plan, const struct ci_cache_use *caches,
                                   ci_verify_callback *callback, void *user);

struct ci_walk {
    struct ci_cache_use caches;

    struct ci_verify_step own;  /* the first such one; without a label: none */
    struct ci_verify_step last; /* that was compared; not passed: it is wrong, and none behind it was run */
    int steps, compared;
    bool compared_suspect;
    double seconds, compare_seconds; /* running and looking; comparing */
};

/* The same, but compares only a step that fails, the first whose outputs are not finite (of caches: the rows that the
 * run writes), and the suspect. Sets all but the first field; where everything passed, the run is done and its
 * results count. Failures as above. */
enum clinfer_status ci_plan_walk(struct ci_plan *plan, struct ci_walk *walk);

/* The suspect is the step that the next walk compares in any case: one that took another's place, or the one that
 * writes a tensor with an impossible value. A step that cannot be enqueued makes itself the suspect. */
void ci_plan_suspect(struct ci_plan *plan, int step);
void ci_plan_suspect_writer(struct ci_plan *plan, const struct ci_tensor *tensor);
bool ci_plan_has_suspect(const struct ci_plan *plan);

/* Sees to it that the variant of a step that is wrong, with its tunables, is not chosen by this engine any more. It is
 * kept on disk, in quarantine for all models, only if it is wrong with numbers of our own, too: weights and activations
 * that are made up, with the shapes, positions and slots of the step. Else the model's numbers are what it cannot do:
 * *quarantined is false. Returns false where the step has no variant that could be replaced (scalar C, a copy). The
 * plan stays as it is and should be made again. */
bool ci_plan_set_aside(struct ci_plan *plan, const struct ci_verify_step *wrong, bool *quarantined);

#endif
