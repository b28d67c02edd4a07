/* ahead.c: what the search is about to try is compiled before, by all processors at once: a driver takes a third of a
 * second for a program, and timing it a twentieth. A batch is built when the next trial would have to wait for its
 * program; with it goes what the next turns would ask for if nothing faster were found until then. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "ops/signature.h"
#include "tuner/builders.h"
#include "tuner/tuner_private.h"

/* What takes less to build is not worth a batch: it comes from a cache. */
static const double slow_build = 0.05;

/* For each builder so many of a batch. */
enum { ROUNDS = 2 };

struct ci_ahead {
    struct ci_builders *builders; /* NULL: not started, or not possible */
    bool tried, worth;
    uint64_t *built; /* [count]: programs, by ci_signature_source() */
    int count;
    const struct ci_variant *bad[CI_TUNE_STRIKES]; /* that brought a builder down: left to the worker */
    int bad_count;
};

struct batch {
    struct ci_build builds[CI_BUILDS_MOST];
    uint64_t sources[CI_BUILDS_MOST];
    int count, most;
};

struct ci_ahead *ci_ahead_create(void) {
    return calloc(1, sizeof(struct ci_ahead));
}

void ci_ahead_destroy(struct ci_ahead *ahead) {
    if (!ahead) return;
    ci_builders_destroy(ahead->builders);
    free(ahead->built);
    free(ahead);
}

void ci_ahead_note(struct ci_ahead *ahead, const struct ci_trial *trial) {
    if (ahead && trial->outcome == CI_TRIAL_PASSED && trial->build_seconds > slow_build) ahead->worth = true;
}

static bool is_built(const struct ci_ahead *ahead, uint64_t source) {
    for (int i = 0; i < ahead->count; i++)
        if (ahead->built[i] == source) return true;
    return false;
}

/* Without memory it is built twice. */
static void remember(struct ci_ahead *ahead, uint64_t source) {
    uint64_t *built = realloc(ahead->built, ((size_t)ahead->count + 1) * sizeof *built);
    if (!built) return;
    ahead->built = built;
    built[ahead->count++] = source;
}

static bool may_be_built(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate) {
    const struct ci_ahead *ahead = tuner->ahead;
    if (candidate->variant->backend != CI_BACKEND_OPENCL) return false;
    for (int i = 0; i < ahead->bad_count; i++)
        if (ahead->bad[i] == candidate->variant) return false;
    return ci_tuner_would_try(tuner, problem, candidate);
}

static void add(const struct ci_tuner *tuner, struct batch *batch, int problem,
                const struct ci_tuner_candidate *candidate) {
    struct ci_call call = ci_tuner_call(tuner, problem, candidate->layout);
    uint64_t source;
    if (batch->count == batch->most || !may_be_built(tuner, problem, candidate) ||
        ci_signature_source(candidate->variant, candidate->tunables, &call, &source) != CLINFER_OK ||
        is_built(tuner->ahead, source))
        return;
    for (int i = 0; i < batch->count; i++)
        if (batch->sources[i] == source) return;
    batch->sources[batch->count] = source;
    batch->builds[batch->count++] =
        (struct ci_build){.problem = &tuner->problems->items[problem].problem, .candidate = *candidate};
}

/* The search is asked on a copy, which learns nothing of what it proposed but that it did. */
static enum clinfer_status foresee(const struct ci_tuner *tuner, const struct ci_wish *wish, struct batch *batch) {
    const struct ci_search *search = &tuner->tuned[wish->problem].search;
    struct ci_search copy = *search;
    struct ci_tuner_candidate candidate;
    uint64_t random_state = tuner->random_state;
    enum clinfer_status status = CLINFER_OK;
    copy.points = calloc((size_t)search->count + (size_t)wish->most + 1, sizeof *copy.points);
    if (!copy.points) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the search");
    memcpy(copy.points, search->points, (size_t)search->count * sizeof *copy.points);
    for (int i = 0; i < wish->most && status == CLINFER_OK && batch->count < batch->most; i++) {
        if (!ci_search_ask(&copy, wish->depth, &random_state, &candidate)) break;
        add(tuner, batch, wish->problem, &candidate);
        copy.points[copy.count++] = (struct ci_search_point){
            .candidate = candidate, .outcome = CI_TRIAL_UNUSABLE, .skipped = true, .seconds = INFINITY};
    }
    free(copy.points);
    return status;
}

static void start_builders(struct ci_tuner *tuner) {
    const struct ci_worker_options options = {.device = tuner->options->device, .threads = tuner->options->threads};
    tuner->ahead->tried = true;
    tuner->ahead->builders = ci_builders_create(&options);
}

/* Whether the first that is wished for has its program. */
static bool is_ready(const struct ci_tuner *tuner, const struct ci_wish *wish) {
    struct batch next = {.most = 1};
    const struct ci_wish first = {wish->problem, wish->depth, 1};
    return foresee(tuner, &first, &next) == CLINFER_OK && next.count == 0;
}

enum clinfer_status ci_tuner_build_ahead(struct ci_tuner *tuner, const struct ci_wish *wishes, int count) {
    struct ci_ahead *ahead = tuner->ahead;
    if (!ahead || !ahead->worth || count == 0 || is_ready(tuner, &wishes[0])) return CLINFER_OK;
    if (!ahead->tried) start_builders(tuner);
    if (!ahead->builders) return CLINFER_OK;
    struct batch batch = {.most = ROUNDS * ci_builders_count(ahead->builders)};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < count && status == CLINFER_OK; i++) status = foresee(tuner, &wishes[i], &batch);
    if (status != CLINFER_OK || batch.count < 2) return status;
    ci_tuner_progress(tuner, "compiling", wishes[0].problem, NULL);
    ci_builders_build(ahead->builders, batch.builds, batch.count,
                      fmin(tuner->options->candidate_seconds, fmax(1, tuner->search_end - ci_now())));
    for (int i = 0; i < batch.count; i++) {
        remember(ahead, batch.sources[i]);
        if (batch.builds[i].failed && ahead->bad_count < CI_TUNE_STRIKES)
            ahead->bad[ahead->bad_count++] = batch.builds[i].candidate.variant;
    }
    return CLINFER_OK;
}
