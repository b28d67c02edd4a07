/* attempt.c: one candidate is tried: never one that is in quarantine, never without a mark on disk, and not for ever
 * another of a variant that keeps failing. */
#include <assert.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "ops/signature.h"
#include "trace/probes.h"
#include "tuner/tuner_private.h"

enum { MOST_FATAL = 2, MOST_WRONG = 3 };

static const double shortest_deadline = 1;

/* A product of CLBlast is several programs, some of which a driver compiles as late as in its first run. */
static const double clblast_deadlines = 3;

/* What the worker's outcomes are called in the quarantine. */
static const char *const outcome_words[] = {[CI_TRIAL_WRONG] = CI_QUARANTINED_WRONG,
                                            [CI_TRIAL_CRASHED] = CI_QUARANTINED_CRASHED,
                                            [CI_TRIAL_TIMED_OUT] = CI_QUARANTINED_TIMED_OUT,
                                            [CI_TRIAL_OUT_OF_MEMORY] = CI_QUARANTINED_OUT_OF_MEMORY};

struct ci_call ci_tuner_call(const struct ci_tuner *tuner, int problem, const struct ci_layout *layout) {
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    struct ci_call call = item->call;
    for (int i = 0; i < item->problem.op->inputs && layout; i++)
        if (call.in[i].type && (item->problem.op->weight_inputs >> i & 1)) call.in[i].layout = layout;
    return call;
}

/* How the quarantine knows the candidate. With parameters for CLBlast it is another one, so that they may fail for
 * themselves. */
static enum clinfer_status name_candidate(const struct ci_tuner *tuner, int problem,
                                          const struct ci_tuner_candidate *candidate,
                                          const struct ci_profile_clblast *clblast, struct ci_quarantined *item) {
    const struct ci_profile_signature *signature = &tuner->problems->items[problem].signature;
    struct ci_call call = ci_tuner_call(tuner, problem, candidate->layout);
    *item = (struct ci_quarantined){.device = tuner->device};
    snprintf(item->device_name, sizeof item->device_name, "%s", tuner->key.device);
    snprintf(item->op, sizeof item->op, "%s", signature->op);
    snprintf(item->variant, sizeof item->variant, "%s", candidate->variant->name);
    snprintf(item->types, sizeof item->types, "%s", signature->types);
    item->tunable_count = ci_signature_tunables(candidate->variant, candidate->tunables, item->tunables);
    if (clblast && clblast->kernels) {
        assert(item->tunable_count < CI_PROFILE_TUNABLES);
        uint64_t hash = ci_hash(CI_HASH_START, clblast, sizeof *clblast);
        item->tunables[item->tunable_count++] =
            (struct ci_profile_tunable){.name = "PARAMETERS", .value = (int)(hash & INT_MAX)};
    }
    return ci_signature_source(candidate->variant, candidate->tunables, &call, &item->source);
}

static const struct ci_quarantined *find_quarantined(const struct ci_tuner *tuner, const struct ci_quarantined *item) {
    return ci_quarantine_find(&tuner->quarantine, item->device, item->op, item->variant, item->tunables,
                              item->tunable_count, item->types, item->source);
}

/* A wrong result, or too little memory, harms nobody who tries once more; what another version found may be so no more,
 * and what crashes does so in the worker. */
static bool may_retry(const struct ci_tuner *tuner, const struct ci_quarantined *found) {
    return ci_quarantined_by_another(found) || (tuner->options->thorough && !ci_quarantined_is_fatal(found));
}

bool ci_tuner_quarantined(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate,
                          bool even_retried) {
    struct ci_quarantined item;
    if (name_candidate(tuner, problem, candidate, NULL, &item) != CLINFER_OK) return false;
    const struct ci_quarantined *found = find_quarantined(tuner, &item);
    return found && (even_retried || !may_retry(tuner, found));
}

bool ci_tuner_candidate_of(const struct ci_tuner *tuner, int problem, const struct ci_profile_entry *entry,
                           struct ci_tuner_candidate *candidate) {
    const struct ci_tune_problem *item = &tuner->problems->items[problem];
    enum ci_backend backend = tuner->options->caps->device ? CI_BACKEND_OPENCL : CI_BACKEND_CPU;
    uint64_t source;
    *candidate = (struct ci_tuner_candidate){.variant = ci_variant_find(item->problem.op, backend, entry->variant)};
    if (!candidate->variant) return false;
    for (int i = 0; ci_layouts[i]; i++)
        if (strcmp(ci_layouts[i]->name, entry->layout) == 0) candidate->layout = ci_layouts[i];
    struct ci_call call = ci_tuner_call(tuner, problem, candidate->layout);
    return (candidate->layout != NULL) == (*entry->layout != 0) &&
           ci_signature_values(candidate->variant, entry->tunables, entry->tunable_count, candidate->tunables) ==
               CLINFER_OK &&
           ci_variant_fits(candidate->variant, tuner->options->caps, &call) &&
           ci_signature_source(candidate->variant, candidate->tunables, &call, &source) == CLINFER_OK &&
           source == entry->source;
}

/* ---- strikes ---- */

static struct ci_strikes *strikes_of(struct ci_tuner *tuner, const struct ci_variant *variant) {
    for (int i = 0; i < tuner->strike_count; i++)
        if (tuner->strikes[i].variant == variant) return &tuner->strikes[i];
    if (tuner->strike_count == CI_TUNE_STRIKES) return NULL;
    struct ci_strikes *strikes = &tuner->strikes[tuner->strike_count++];
    *strikes = (struct ci_strikes){.variant = variant};
    return strikes;
}

static bool is_out(const struct ci_tuner *tuner, const struct ci_variant *variant) {
    for (int i = 0; i < tuner->strike_count; i++)
        if (tuner->strikes[i].variant == variant)
            return tuner->strikes[i].fatal >= MOST_FATAL || tuner->strikes[i].wrong >= MOST_WRONG;
    return false;
}

/* ---- what need not be tried ---- */

/* A family (variant and layout) that is so much slower than the best for one shape is not for its like; with the other
 * kind of activations it has to be slower still. */
static const double hopeless = 2, hopeless_otherwise = 4;

static bool is_alike(const struct ci_tune_problem *a, const struct ci_tune_problem *b) {
    return ci_profile_bucket(a->signature.rows) == ci_profile_bucket(b->signature.rows) &&
           a->call.in[1].type == b->call.in[1].type;
}

/* The fastest of a family, or of all (variant NULL). */
static double fastest(const struct ci_search *search, const char *variant, const struct ci_layout *layout) {
    double least = INFINITY;
    for (int i = 0; i < search->count; i++) {
        const struct ci_search_point *point = &search->points[i];
        if (!variant || (strcmp(point->candidate.variant->name, variant) == 0 && point->candidate.layout == layout))
            least = fmin(least, point->seconds);
    }
    return least;
}

/* The same kernel has lost clearly where weights and number of rows are the same. Something must work here already. */
static bool is_hopeless(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate) {
    const struct ci_search *here = &tuner->tuned[problem].search;
    if (tuner->options->thorough || !isfinite(fastest(here, NULL, NULL))) return false;
    for (int i = 0; i < tuner->problems->count; i++) {
        const struct ci_search *search = &tuner->tuned[i].search;
        if (i == problem || !is_alike(&tuner->problems->items[i], &tuner->problems->items[problem])) continue;
        bool same = tuner->problems->items[i].call.in[0].type == tuner->problems->items[problem].call.in[0].type;
        double family = fastest(search, candidate->variant->name, candidate->layout);
        if (isfinite(family) && family > (same ? hopeless : hopeless_otherwise) * fastest(search, NULL, NULL))
            return true;
    }
    return false;
}

/* ---- trying ---- */

/* What is tried where, and what comes of it. */
struct attempt {
    int problem;
    const struct ci_tuner_candidate *candidate;
    const struct ci_profile_clblast *clblast; /* that the worker has for this; NULL: the usual */
    struct ci_worker *worker;
    double end;
    bool tried;
    struct ci_trial trial; /* if it was */
};

static void log_trial(const struct ci_tuner *tuner, const struct attempt *attempt, const char *text) {
    const struct ci_tune_listener *listener = &tuner->options->listener;
    if (listener->trial)
        listener->trial(listener->user, &(struct ci_tune_trial){.kind = attempt->tried ? "trial" : "skip",
                                                                .elapsed = ci_now() - tuner->start,
                                                                .problem = &tuner->problems->items[attempt->problem],
                                                                .candidate = attempt->candidate,
                                                                .clblast = attempt->clblast,
                                                                .trial = attempt->tried ? &attempt->trial : NULL,
                                                                .text = text});
}

static enum clinfer_status skip(struct ci_tuner *tuner, const struct attempt *attempt, const char *why) {
    tuner->result->skipped++;
    log_trial(tuner, attempt, why);
    return CLINFER_OK;
}

/* Into the quarantine, or out of it. */
static void judge(struct ci_tuner *tuner, const struct ci_variant *variant, struct ci_quarantined *item,
                  const struct ci_quarantined *found, const struct ci_trial *trial) {
    enum clinfer_status status = CLINFER_OK;
    if (trial->outcome == CI_TRIAL_UNUSABLE || (trial->outcome == CI_TRIAL_PASSED && !found)) return;
    if (trial->outcome == CI_TRIAL_PASSED) {
        status = ci_quarantine_remove(found);
    } else {
        struct ci_strikes *strikes = variant ? strikes_of(tuner, variant) : NULL;
        if (strikes && trial->outcome == CI_TRIAL_WRONG) strikes->wrong++;
        if (strikes && trial->outcome != CI_TRIAL_WRONG) strikes->fatal++;
        snprintf(item->reason, sizeof item->reason, "%s%s%.200s", outcome_words[trial->outcome],
                 *trial->reason ? ": " : "", trial->reason);
        status = ci_quarantine_add(item);
    }
    struct ci_quarantine changed;
    if (status == CLINFER_OK) status = ci_quarantine_read(&changed);
    if (status != CLINFER_OK) {
        ci_log(CLINFER_LOG_WARNING, "the quarantine could not be written: %s", ci_status_message());
        return;
    }
    ci_quarantine_free(&tuner->quarantine);
    tuner->quarantine = changed;
}

bool ci_tuner_would_try(const struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate) {
    return !ci_tuner_quarantined(tuner, problem, candidate, false) && !is_out(tuner, candidate->variant) &&
           !is_hopeless(tuner, problem, candidate);
}

double ci_tuner_charge(const struct ci_tuner *tuner, int problem, const struct ci_variant *variant,
                       double build_seconds) {
    bool anew = variant->backend == CI_BACKEND_CLBLAST;
    return anew ? build_seconds / ci_problems_calls(tuner->problems, problem) : 0;
}

/* In the worker, with a mark on disk, if nothing speaks against it. */
static enum clinfer_status make(struct ci_tuner *tuner, struct attempt *attempt) {
    const struct ci_tuner_candidate *candidate = attempt->candidate;
    struct ci_tune_result *result = tuner->result;
    struct ci_trial *trial = &attempt->trial;
    struct ci_quarantined item;
    enum clinfer_status status = name_candidate(tuner, attempt->problem, candidate, attempt->clblast, &item);
    if (status != CLINFER_OK) return skip(tuner, attempt, ci_status_message());
    const struct ci_quarantined *found = find_quarantined(tuner, &item);
    if (found && !may_retry(tuner, found)) {
        char why[384];
        snprintf(why, sizeof why, "in quarantine since %s: %s", found->date, found->reason);
        return skip(tuner, attempt, why);
    }
    if (is_out(tuner, candidate->variant)) return skip(tuner, attempt, "this variant has failed too often");

    if (is_hopeless(tuner, attempt->problem, candidate))
        return skip(tuner, attempt, "far behind for such types and rows");

    double left = attempt->end - ci_now(), full = tuner->options->candidate_seconds;
    if (candidate->variant->backend == CI_BACKEND_CLBLAST) full *= clblast_deadlines;
    double deadline = left < full ? fmax(left, shortest_deadline) : full;
    ci_tuner_progress(tuner, "trying", attempt->problem, candidate);
    double start = ci_now();
    status = ci_trial_begin(&item);
    if (status != CLINFER_OK) return status;
    status =
        ci_worker_try(attempt->worker, &tuner->problems->items[attempt->problem].problem, candidate, deadline, trial);
    ci_trial_end();
    if (status != CLINFER_OK) return status;
    CI_PROBE(tune_trial, item.op, item.variant, ci_trial_outcome_name(trial->outcome),
             trial->outcome == CI_TRIAL_PASSED ? CI_PROBE_NANOSECONDS(trial->seconds) : 0,
             CI_PROBE_NANOSECONDS(ci_now() - start));
    /* That the time of the tune was over is not the candidate's fault. */
    if (trial->outcome == CI_TRIAL_TIMED_OUT && deadline < full) return skip(tuner, attempt, "no time was left for it");
    struct ci_quarantined known = found ? *found : (struct ci_quarantined){0};
    judge(tuner, attempt->clblast ? NULL : candidate->variant, &item, found ? &known : NULL, trial);
    attempt->tried = true;
    ci_ahead_note(tuner->ahead, trial);
    log_trial(tuner, attempt, NULL);
    result->tried++;
    result->refused += trial->outcome == CI_TRIAL_WRONG || trial->outcome == CI_TRIAL_UNUSABLE;
    result->crashed +=
        trial->outcome != CI_TRIAL_PASSED && trial->outcome != CI_TRIAL_WRONG && trial->outcome != CI_TRIAL_UNUSABLE;
    return CLINFER_OK;
}

enum clinfer_status ci_tuner_try(struct ci_tuner *tuner, int problem, const struct ci_tuner_candidate *candidate) {
    struct ci_search *search = &tuner->tuned[problem].search;
    struct attempt attempt = {.problem = problem, .candidate = candidate, .worker = tuner->worker, .end = tuner->end};
    enum clinfer_status status = make(tuner, &attempt);
    if (status != CLINFER_OK) return status;
    if (!attempt.tried) return ci_search_skip(search, candidate);
    double charge = ci_tuner_charge(tuner, problem, candidate->variant, attempt.trial.build_seconds);
    return ci_search_tell(search, candidate, &attempt.trial, attempt.trial.seconds + charge);
}

enum clinfer_status ci_tuner_try_clblast(struct ci_tuner *tuner, int problem,
                                         const struct ci_tuner_candidate *candidate,
                                         const struct ci_profile_clblast *clblast, struct ci_worker *worker, double end,
                                         struct ci_trial *trial) {
    struct attempt attempt = {
        .problem = problem, .candidate = candidate, .clblast = clblast, .worker = worker, .end = end};
    enum clinfer_status status = make(tuner, &attempt);
    *trial = attempt.trial;
    if (!attempt.tried) trial->outcome = CI_TRIAL_UNUSABLE;
    return status;
}
