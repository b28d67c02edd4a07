/* builders.h: processes that compile for the worker, so that it finds what it is to time in the driver's caches or in
 * ours. All of them at once on several processors, and none while anything is timed. */
#ifndef CI_TUNER_BUILDERS_H
#define CI_TUNER_BUILDERS_H

#include "tuner/worker.h"

enum { CI_BUILDERS_MOST = 8, CI_BUILDS_MOST = 4 * CI_BUILDERS_MOST };

struct ci_builders;

/* What is to be built; both borrowed. `failed`: the process crashed, or did not come to an end. */
struct ci_build {
    const struct ci_problem *problem;
    struct ci_tuner_candidate candidate;
    bool failed;
};

/* As many as there are processors and memory for; they start when something is to be built. NULL: it is not worth it.
 */
struct ci_builders *ci_builders_create(const struct ci_worker_options *options);
void ci_builders_destroy(struct ci_builders *builders);

int ci_builders_count(const struct ci_builders *builders);

/* Returns when all are built, or have failed; each has so many seconds. */
void ci_builders_build(struct ci_builders *builders, struct ci_build *list, int count, double deadline_seconds);

#endif
