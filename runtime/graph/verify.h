/* verify.h: a plan run step by step, each step's outputs compared with the reference on the inputs that it really had.
 * For `clinfer verify`, and for careful mode, when something has gone wrong and nobody knows where. */
#ifndef CI_GRAPH_VERIFY_H
#define CI_GRAPH_VERIFY_H

#include "graph/plan.h"

struct ci_verify_step {
    int index;                                /* of ci_plan_step */
    const char *label, *op, *variant, *place; /* live as long as the plan */
    enum clinfer_status status;               /* not OK: it could not be run, twice, though the device answers */
    bool passed;
    double nmse, worst, gate_nmse; /* as in proof/gate.h, and the NMSE that is allowed */
    int64_t not_finite;            /* numbers among the outputs; right where the reference says the same */
    char text[256];                /* what is wrong: output, row, column, both values; or the failure's message */
};

/* false: no further step is run. */
typedef bool ci_verify_callback(void *user, const struct ci_verify_step *step);

/* Runs the plan with the inputs and rows that were set, as ci_plan_run does, but waits after each step. Of caches the
 * first `cache_rows` rows are looked at. A failure is one of memory, or of a device that does not even answer a small
 * write any more; it is not told to the callback. */
enum clinfer_status ci_plan_verify(struct ci_plan *plan, int64_t cache_rows, ci_verify_callback *callback, void *user);

/* Puts the variant of a step, with its tunables, into quarantine: in this engine at once, and on disk. false: the step
 * has none that could be replaced (scalar C, a copy). The plan stays as it is and should be made again. */
bool ci_plan_quarantine(struct ci_plan *plan, int step, const char *reason);

#endif
