/* logits.c: logits for whoever compares them with another program's or with the CPU backend's: all of them are finite,
 * or it is an error, as it is for a request. There is no sampler that would notice, so that they are looked at here. */
#include <assert.h>
#include <math.h>

#include "base/log.h"
#include "base/status.h"
#include "engine/engine_private.h"

/* The next of CI_CARE_LOOK and CI_CARE_COMPARE; CI_CARE_NONE: nothing helps, the message says why. */
static enum ci_care more_care_for_logits(struct clinfer_engine *engine, const struct clinfer_session *session,
                                         enum ci_care care, size_t bad) {
    ci_fail(CLINFER_WRONG_RESULT, "%zu logits after token %zu are not finite on %s", bad, session->computed,
            engine->info.device);
    if (care < CI_CARE_LOOK) return CI_CARE_LOOK;
    if (care < CI_CARE_COMPARE && !*engine->own_numbers) return CI_CARE_COMPARE;
    ci_fail(CLINFER_WRONG_RESULT, "%zu logits after token %zu are not finite on %s: %s", bad, session->computed,
            engine->info.device,
            *engine->own_numbers ? engine->own_numbers : "each kernel is right: so say the model's own numbers");
    return CI_CARE_NONE;
}

enum clinfer_status ci_engine_logits(struct clinfer_engine *engine, struct clinfer_session *session, bool all,
                                     float *logits) {
    size_t computed = session->computed, bad;
    bool failed = false, replaced;
    enum clinfer_status status;
    assert(!all || computed == 0);
    ci_engine_land(engine); /* this run samples too, over what a step in flight would be read from */
    engine->own_numbers[0] = '\0';
    for (enum ci_care care = CI_CARE_NONE;;) {
        engine->careful = care;
        status = ci_engine_compute_logits(engine, session, all, logits, &replaced, &bad);
        if (status == CLINFER_OK && replaced) {
            computed = 0;
            care = engine->successor ? CI_CARE_SUCCESSOR : CI_CARE_NONE;
        } else if (status == CLINFER_OK && bad) {
            care = more_care_for_logits(engine, session, care, bad);
            status = CLINFER_WRONG_RESULT;
            if (care == CI_CARE_NONE) break;
            ci_engine_drop_chains(engine);
            /* The caches may hold what went wrong before. */
            if (care == CI_CARE_COMPARE) computed = 0;
            ci_log(CLINFER_LOG_NOTICE, "%s; computed again, kernel by kernel", ci_status_message());
        } else if ((status == CLINFER_DEVICE_ERROR || status == CLINFER_OUT_OF_MEMORY) && !failed) {
            failed = true;
            ci_engine_drop_chains(engine);
            ci_log(CLINFER_LOG_NOTICE, "%s; tried again", ci_status_message());
            if (engine->store.caches_must_move) {
                computed = 0;
                status = ci_engine_move_caches(engine);
                if (status != CLINFER_OK) break;
            }
        } else {
            break;
        }
        session->computed = computed;
    }
    engine->careful = CI_CARE_NONE;
    if (status != CLINFER_OK) session->computed = 0;
    return status;
}
