/* careful.c: what becomes of a step that failed: an OpenCL error, or logits that are not finite.
 *
 * Its sessions go back to where they were before it (what they have in the caches is overwritten at the same positions)
 * and their rows are computed again, kernel by kernel. One that fails, the first that gives something not finite, and
 * the one that could not be enqueued before are compared with the reference; where such a kernel is wrong while the
 * reference is right, the plans are made again without it, and if it is wrong with numbers of our own as well, it goes
 * into quarantine. What takes its place is compared where it runs first. Where the reference is not finite either
 * though all that it read is, the numbers are the model's own: keys and values that only f16 cannot hold are computed
 * again with caches of f32, all others are an error that names the op. The text that is out stays as it is. Where no
 * kernel is wrong, it was an accident: what the careful step gave is used.
 *
 * If its result is no better, numbers that are finite may be wrong, and all kernels of the step are compared; if that
 * does not help either, the caches may hold what went wrong before: the same is done from the first token on, once. If
 * that does not help, the failure is the request's. Comparing everything takes the scalar reference seconds a token,
 * and is therefore only the last resort. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "engine/engine_private.h"

/* On a device that does nothing any more a careful step only takes its time to fail as well. The message stays. */
static bool devices_work(const struct clinfer_engine *engine) {
    char message[sizeof((struct clinfer_session *)NULL)->message];
    bool work = true;
    snprintf(message, sizeof message, "%s", ci_status_message());
    for (int i = 0; i < engine->device_count && work; i++) {
        work = ci_device_works(engine->devices[i]) == CLINFER_OK;
        if (!work) work = ci_device_works(engine->devices[i]) == CLINFER_OK;
    }
    ci_fail(CLINFER_DEVICE_ERROR, "%s", message);
    return work;
}

/* Less is of no use after it has failed once; on a device that fails again, or where it is known that the numbers are
 * the model's own, nothing is. */
static bool more_care(struct clinfer_session *session, enum clinfer_status status) {
    bool device_failed = status == CLINFER_DEVICE_ERROR || status == CLINFER_OUT_OF_MEMORY;
    if (!device_failed && status != CLINFER_WRONG_RESULT) return false;
    if (device_failed && (session->care != CI_CARE_NONE || !devices_work(session->engine))) return false;
    const char *own = session->engine->own_numbers;
    if (session->care != CI_CARE_NONE && status == CLINFER_WRONG_RESULT && *own) {
        char message[sizeof session->message];
        snprintf(message, sizeof message, "%s", ci_status_message());
        ci_fail(status, "%s: %s", message, own);
        return false;
    }
    if (session->care == CI_CARE_ALL) {
        ci_fail(status, "%s, though each kernel is right: so say the model's own numbers", ci_status_message());
        return false;
    }
    session->care = session->care == CI_CARE_NONE ? CI_CARE_LOOK : session->care + 1;
    return true;
}

bool ci_careful_retry(struct ci_part *part, enum clinfer_status status) {
    static const char *const how[] = {[CI_CARE_LOOK] = "kernel by kernel",
                                      [CI_CARE_COMPARE] = "each kernel compared with the reference",
                                      [CI_CARE_ALL] = "each kernel compared, from the first token on"};
    struct clinfer_session *session = part->session;
    struct clinfer_engine *engine = session->engine;
    if (status == CLINFER_DEVICE_ERROR || status == CLINFER_OUT_OF_MEMORY || status == CLINFER_WRONG_RESULT)
        ci_engine_drop_chains(engine);
    if (!more_care(session, status)) return false;
    if (engine->careful == CI_CARE_NONE) engine->careful_cost = (struct ci_careful_cost){0};
    ci_log(CLINFER_LOG_NOTICE, "%s; computed again, %s", ci_status_message(), how[session->care]);
    size_t first = part->first;
    /* Nothing of a prompt has been waited for before its first token. */
    if (session->generated == session->taken_up && session->trusted < first) first = session->trusted;
    if (session->care == CI_CARE_ALL) first = 0;
    if (engine->careful < session->care) engine->careful = session->care;
    ci_engine_forget(session);
    ci_prefix_drop_all(engine);
    session->computed = first;
    return true;
}

enum { COST_TEXT = 160 };

/* "31 ms for 277 kernels one by one, 9 ms to compare 1 with the reference, 210 ms to make plans without it" */
static const char *cost_text(const struct ci_careful_cost *cost, char text[COST_TEXT]) {
    int used = snprintf(text, COST_TEXT, "%.0f ms for %d kernels one by one", 1e3 * cost->seconds, cost->steps);
    if (cost->compared)
        used += snprintf(text + used, COST_TEXT - (size_t)used, ", %.0f ms to compare %d with the reference",
                         1e3 * cost->compare_seconds, cost->compared);
    if (cost->build_seconds > 0)
        snprintf(text + used, COST_TEXT - (size_t)used, ", %.0f ms to make other plans", 1e3 * cost->build_seconds);
    return text;
}

void ci_careful_end(struct clinfer_session *session) {
    char cost[COST_TEXT];
    ci_log(CLINFER_LOG_WARNING,
           "no kernel was wrong when the step was computed again: it goes on with the same ones (%s)",
           cost_text(&session->engine->careful_cost, cost));
    session->care = CI_CARE_NONE;
}

/* The step that now stands where `label` stood. */
static int find_step(const struct ci_plan *plan, const char *label, struct ci_plan_step *step) {
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        ci_plan_step(plan, i, step);
        if (strcmp(step->label, label) == 0 && strcmp(step->op, "copy") != 0) return i;
    }
    return -1;
}

/* The bucket's plan is made again, and with it the others. A kernel that did not run has written nothing. */
static enum clinfer_status rebuild(struct clinfer_engine *engine, struct ci_bucket *bucket,
                                   const struct ci_verify_step *wrong) {
    int64_t rows = bucket->rows[CI_EXTENT_ROWS], wanted = bucket->rows[CI_EXTENT_WANTED];
    bool keep_caches = wrong->status != CLINFER_OK && !ci_op_find(wrong->op)->state_outputs;
    double start = ci_now();
    enum clinfer_status status = ci_engine_rebuild(engine, keep_caches);
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, wanted, &bucket);
    if (status != CLINFER_OK && engine->store.caches_must_move) {
        status = ci_engine_move_caches(engine);
        if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, wanted, &bucket);
    }
    engine->careful_cost.build_seconds += ci_now() - start;
    return status;
}

enum clinfer_status ci_careful_replace(struct clinfer_engine *engine, struct ci_bucket *bucket,
                                       const struct ci_verify_step *wrong, bool *quarantined) {
    enum clinfer_status status = wrong->status != CLINFER_OK ? wrong->status : CLINFER_WRONG_RESULT;
    char label[96], tunables[256], now[256], what[512], cost[COST_TEXT];
    struct ci_plan_step step;
    snprintf(label, sizeof label, "%s", wrong->label);
    snprintf(what, sizeof what, "op %s (%s), variant %s on %s: %s", wrong->op, label, wrong->variant, wrong->place,
             wrong->text);
    ci_plan_tunables(bucket->plan, wrong->index, tunables, sizeof tunables);
    if (!ci_plan_set_aside(bucket->plan, wrong, quarantined)) return ci_fail(status, "%s", what);
    enum clinfer_status rebuilt = rebuild(engine, bucket, wrong);
    if (rebuilt != CLINFER_OK) return ci_fail_prefix(rebuilt, "%s; without it", what);
    int index = find_step(bucket->plan, label, &step);
    if (index >= 0) ci_plan_tunables(bucket->plan, index, now, sizeof now);
    if (index >= 0 && strcmp(step.op, wrong->op) == 0 && strcmp(step.variant, wrong->variant) == 0 &&
        strcmp(step.place, wrong->place) == 0 && strcmp(now, tunables) == 0)
        return ci_fail(status, "%s; nothing else may take its place%s%s", what, *step.reason ? ": " : "", step.reason);
    ci_log(CLINFER_LOG_WARNING, "%s: %s; op %s, variant %s on %s runs from here (%s)", what,
           *quarantined ? "quarantined" : "set aside for this run alone, since it is right with numbers of our own",
           index >= 0 ? step.op : wrong->op, index >= 0 ? step.variant : "another", index >= 0 ? step.place : "it",
           cost_text(&engine->careful_cost, cost));
    if (index >= 0) ci_plan_suspect(bucket->plan, index);
    engine->successor = index >= 0;
    return CLINFER_OK;
}

struct comparison {
    struct ci_careful_cost *cost;
    struct ci_verify_step *wrong, *own;
};

static bool keep_wrong(void *user, const struct ci_verify_step *step) {
    struct comparison *comparison = user;
    comparison->cost->compared++;
    if (!step->passed) *comparison->wrong = *step;
    if (step->own && !comparison->own->label) *comparison->own = *step;
    return step->passed;
}

static enum clinfer_status compare_all(struct clinfer_engine *engine, const struct ci_bucket *bucket, int64_t rows,
                                       struct ci_verify_step *wrong, struct ci_verify_step *own) {
    struct comparison comparison = {&engine->careful_cost, wrong, own};
    struct ci_cache_use caches = ci_engine_cache_use(engine, &bucket->run, rows);
    double start = ci_now();
    wrong->passed = true;
    enum clinfer_status status = ci_plan_verify(bucket->plan, &caches, keep_wrong, &comparison);
    engine->careful_cost.compare_seconds += ci_now() - start;
    return status;
}

static enum clinfer_status look(struct clinfer_engine *engine, const struct ci_bucket *bucket, int64_t rows,
                                struct ci_verify_step *wrong, struct ci_verify_step *own) {
    struct ci_careful_cost *cost = &engine->careful_cost;
    struct ci_walk walk = {.caches = ci_engine_cache_use(engine, &bucket->run, rows)};
    char text[COST_TEXT];
    enum clinfer_status status = ci_plan_walk(bucket->plan, &walk);
    cost->steps += walk.steps;
    cost->seconds += walk.seconds;
    cost->compared += walk.compared;
    cost->compare_seconds += walk.compare_seconds;
    *wrong = walk.last;
    *own = walk.own;
    if (status != CLINFER_OK || !wrong->passed || !engine->successor || !walk.compared_suspect) return status;
    engine->successor = false;
    ci_log(CLINFER_LOG_NOTICE, "what took the place of the kernel in quarantine is right there (%s)",
           cost_text(cost, text));
    return status;
}

/* Where nobody is to blame: numbers that no f16 holds may fit into caches of f32; others are the model's. */
static enum clinfer_status take_own(struct clinfer_engine *engine, const struct ci_verify_step *own, bool *widened) {
    *widened = own->in_cache;
    if (own->in_cache) {
        ci_log(
            CLINFER_LOG_WARNING,
            "op %s (%s) on %s: keys or values of this model are beyond 65504, the most that f16 holds: the KV cache is "
            "f32 from here on, and what was in it is computed again",
            own->op, own->label, own->place);
        return ci_engine_widen_caches(engine);
    }
    snprintf(engine->own_numbers, sizeof engine->own_numbers,
             "op %s (%s) gives numbers beyond what 32 bits hold, and so does the reference: they are the model's own",
             own->op, own->label);
    return CLINFER_OK;
}

enum clinfer_status ci_careful_run(struct clinfer_engine *engine, struct ci_bucket *bucket, int64_t rows,
                                   bool *replaced) {
    struct ci_verify_step wrong, own = {0};
    bool quarantined;
    *replaced = false;
    engine->own_numbers[0] = '\0';
    if (engine->careful == CI_CARE_SUCCESSOR && !ci_plan_has_suspect(bucket->plan)) return ci_plan_run(bucket->plan);
    enum clinfer_status status = engine->careful <= CI_CARE_LOOK ? look(engine, bucket, rows, &wrong, &own)
                                                                 : compare_all(engine, bucket, rows, &wrong, &own);
    if (status != CLINFER_OK) return status;
    if (wrong.passed) return own.label ? take_own(engine, &own, replaced) : CLINFER_OK;
    status = ci_careful_replace(engine, bucket, &wrong, &quarantined);
    *replaced = status == CLINFER_OK;
    return status;
}
