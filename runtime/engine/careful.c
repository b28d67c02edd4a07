/* careful.c: what becomes of a step that failed: an OpenCL error, or logits that are not finite.
 *
 * Its sessions go back to where they were before it (what they have in the caches is overwritten at the same positions)
 * and their rows are computed again with each kernel checked against the reference. Where one is wrong while the
 * reference is right, it goes into quarantine, the plans are made again without it, and all sessions compute everything
 * again that they have in the caches, which it may have written to; the text that is out stays as it is. Where none is,
 * it was an accident: what the careful step gave is used. If it fails as well, the caches may hold what went wrong
 * before: it is done from the first token on, once; if that does not help, the failure is the request's. */
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

bool ci_careful_retry(struct ci_part *part, enum clinfer_status status) {
    struct clinfer_session *session = part->session;
    bool device_failed = status == CLINFER_DEVICE_ERROR || status == CLINFER_OUT_OF_MEMORY;
    if (device_failed && session->care == CI_CARE_NONE && !devices_work(session->engine)) return false;
    if (status == CLINFER_WRONG_RESULT && session->care == CI_CARE_STEP)
        session->care = CI_CARE_ALL;
    else if ((status == CLINFER_WRONG_RESULT || device_failed) && session->care == CI_CARE_NONE)
        session->care = CI_CARE_STEP;
    else {
        if (status == CLINFER_WRONG_RESULT && session->care == CI_CARE_ALL)
            ci_fail(status, "%s, though each kernel is right: so say the model's own numbers", ci_status_message());
        return false;
    }
    ci_log(CLINFER_LOG_NOTICE, "%s; computed again, each kernel checked%s", ci_status_message(),
           session->care == CI_CARE_ALL ? ", from the first token on" : "");
    size_t first = part->first;
    /* Nothing of a prompt has been waited for before its first token. */
    if (session->generated == session->taken_up && session->result.cached_tokens < first)
        first = session->result.cached_tokens;
    if (session->care == CI_CARE_ALL) first = 0;
    session->random_state = part->random_state;
    session->engine->careful = true;
    ci_engine_forget(session);
    session->computed = first;
    return true;
}

void ci_careful_end(struct clinfer_session *session) {
    ci_log(CLINFER_LOG_WARNING, "no kernel was wrong when the step was computed again: it goes on with the same ones");
    session->care = CI_CARE_NONE;
}

static bool keep_wrong(void *user, const struct ci_verify_step *step) {
    struct ci_verify_step *wrong = user;
    if (!step->passed) *wrong = *step;
    return step->passed;
}

/* The step that now stands where `label` stood. */
static int find_step(const struct ci_plan *plan, const char *label, struct ci_plan_step *step) {
    for (int i = 0; i < ci_plan_steps(plan); i++) {
        ci_plan_step(plan, i, step);
        if (strcmp(step->label, label) == 0 && strcmp(step->op, "copy") != 0) return i;
    }
    return -1;
}

enum clinfer_status ci_careful_replace(struct clinfer_engine *engine, struct ci_bucket *bucket,
                                       const struct ci_verify_step *wrong) {
    enum clinfer_status status = wrong->status != CLINFER_OK ? wrong->status : CLINFER_WRONG_RESULT;
    char label[96], tunables[256], now[256], what[512];
    struct ci_plan_step step;
    snprintf(label, sizeof label, "%s", wrong->label);
    snprintf(what, sizeof what, "op %s (%s), variant %s on %s: %s", wrong->op, label, wrong->variant, wrong->place,
             wrong->text);
    ci_plan_tunables(bucket->plan, wrong->index, tunables, sizeof tunables);
    if (!ci_plan_quarantine(bucket->plan, wrong->index, wrong->text)) return ci_fail(status, "%s", what);
    enum clinfer_status rebuilt = ci_engine_rebuild(engine);
    if (rebuilt == CLINFER_OK) rebuilt = ci_engine_bucket(engine, bucket->rows[CI_EXTENT_ROWS], &bucket);
    if (rebuilt != CLINFER_OK && engine->store.caches_must_move) {
        rebuilt = ci_engine_move_caches(engine);
        if (rebuilt == CLINFER_OK) rebuilt = ci_engine_bucket(engine, bucket->rows[CI_EXTENT_ROWS], &bucket);
    }
    if (rebuilt != CLINFER_OK) return ci_fail_prefix(rebuilt, "%s; without it", what);
    int index = find_step(bucket->plan, label, &step);
    if (index >= 0) ci_plan_tunables(bucket->plan, index, now, sizeof now);
    if (index >= 0 && strcmp(step.op, wrong->op) == 0 && strcmp(step.variant, wrong->variant) == 0 &&
        strcmp(step.place, wrong->place) == 0 && strcmp(now, tunables) == 0)
        return ci_fail(status, "%s; nothing else may take its place%s%s", what, *step.reason ? ": " : "", step.reason);
    ci_log(CLINFER_LOG_WARNING, "%s: quarantined; op %s, variant %s on %s runs from here", what,
           index >= 0 ? step.op : wrong->op, index >= 0 ? step.variant : "another", index >= 0 ? step.place : "it");
    return CLINFER_OK;
}

enum clinfer_status ci_careful_run(struct clinfer_engine *engine, struct ci_bucket *bucket, bool *replaced) {
    struct ci_verify_step wrong = {.passed = true};
    *replaced = false;
    enum clinfer_status status = ci_plan_verify(bucket->plan, ci_engine_cache_rows(engine), keep_wrong, &wrong);
    if (status != CLINFER_OK || wrong.passed) return status;
    status = ci_careful_replace(engine, bucket, &wrong);
    *replaced = status == CLINFER_OK;
    return status;
}
