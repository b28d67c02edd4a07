/* chain.c: decoding with all launches of a token as one (ops/chain.h), where the device is a CPU through PoCL.
 *
 * Such a program takes seconds to compile, so it is built when an answer is out that was long enough to pay, by the
 * tool alone, once for a model and a device; then it is proven: the next tokens of a session are computed both ways,
 * and all logits have to be the same bits. Later starts take it from the cache with their plan. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/warm.h"
#include "graph/plan.h"
#include "proof/known_answer.h"

/* Rows of its proof, of which each reads the keys of those before. */
enum { PROVEN_ROWS = 4 };

/* PoCL alone, whose launches cost that much: llvmpipe computes chains wrongly, Intel's runtime builds them for 8 s. */
static bool is_possible(const struct clinfer_engine *engine) {
    const char *single = getenv("CLINFER_SINGLE_LAUNCHES");
    return !(single && *single) && engine->device && engine->device_count == 1 && !engine->trace &&
           !engine->info.encoder && ci_device_caps(engine->device)->kind == CI_DEVICE_CPU &&
           strcmp(ci_device_caps(engine->device)->platform, "Portable Computing Language") == 0;
}

/* What the proof is known by: the program, and the model, whose shapes are in its script. */
static uint64_t proof_of(const struct clinfer_engine *engine, uint64_t program) {
    static const char what[] = "launches of a token as one";
    const uint64_t model = ci_gguf_identity(engine->gguf);
    uint64_t proof = ci_hash(CI_HASH_START, what, sizeof what);
    proof = ci_hash(proof, &program, sizeof program);
    return ci_hash(proof, &model, sizeof model);
}

void ci_engine_take_chain(struct clinfer_engine *engine, struct ci_bucket *bucket) {
    uint64_t program;
    if (!is_possible(engine) || bucket->rows[CI_EXTENT_ROWS] != 1) return;
    const double start = ci_now();
    enum clinfer_status status = ci_plan_chain(bucket->plan, false, &program);
    if (status == CLINFER_OK && !ci_proof_is_known(ci_device_caps(engine->device)->key, proof_of(engine, program)))
        status = ci_fail(CLINFER_NOT_FOUND, "it was not proven with this model");
    if (status != CLINFER_OK) {
        ci_plan_unchain(bucket->plan);
        ci_log(CLINFER_LOG_DEBUG, "launches of a token are single ones: %s", ci_status_message());
        return;
    }
    engine->chain_tried = true;
    ci_log(CLINFER_LOG_INFO, "a token is one launch (%.1f ms to load)", (ci_now() - start) * 1e3);
}

/* Logits [PROVEN_ROWS, outputs] of a text of so many tokens, one step each. */
static enum clinfer_status compute(struct clinfer_engine *engine, struct clinfer_session *session, float *logits) {
    enum clinfer_status status = CLINFER_OK;
    session->computed = 0;
    for (size_t i = 0; i < PROVEN_ROWS && status == CLINFER_OK; i++) {
        session->known = i + 1;
        status = ci_engine_logits(engine, session, false, logits + i * (size_t)engine->model.outputs);
    }
    return status;
}

static enum clinfer_status compare(struct clinfer_engine *engine, struct clinfer_session *session,
                                   struct ci_bucket *bucket, uint64_t *program, bool *same) {
    const size_t count = (size_t)engine->model.outputs * PROVEN_ROWS;
    float *single = malloc(2 * count * sizeof *single);
    enum clinfer_status status = single ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a proof");
    if (status == CLINFER_OK) status = compute(engine, session, single);
    if (status == CLINFER_OK) status = ci_plan_chain(bucket->plan, true, program);
    if (status == CLINFER_OK) status = compute(engine, session, single + count);
    /* What failed or was not finite is computed again kernel by kernel, which proves nothing. */
    if (status == CLINFER_OK && !(bucket->plan && ci_plan_is_chained(bucket->plan)))
        status = ci_fail(CLINFER_WRONG_RESULT, "as one they failed, and were taken apart");
    *same = status == CLINFER_OK && memcmp(single, single + count, count * sizeof *single) == 0;
    free(single);
    return status;
}

void ci_engine_drop_chains(struct clinfer_engine *engine) {
    for (int i = 0; i < engine->bucket_count; i++) {
        struct ci_plan *plan = engine->buckets[i].plan;
        if (!plan || !ci_plan_is_chained(plan)) continue;
        ci_log(CLINFER_LOG_NOTICE, "launches of a token are single ones from here on");
        ci_plan_unchain(plan);
    }
}

/* By the leader, who has let go of the lock. */
static void make(struct clinfer_engine *engine, struct clinfer_session *session) {
    struct ci_bucket *bucket;
    uint64_t program;
    bool same = false;
    const double start = ci_now();
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &bucket);
    if (status == CLINFER_OK) status = compare(engine, session, bucket, &program, &same);
    if (same) {
        ci_proof_remember(ci_device_caps(engine->device)->key, proof_of(engine, program));
        ci_log(CLINFER_LOG_DEBUG, "a token is one launch from now on (%.1f s to build and prove)", ci_now() - start);
        return;
    }
    if (bucket->plan) ci_plan_unchain(bucket->plan);
    engine->chain_tried = status != CLINFER_CANCELLED; /* for somebody who came: again when nobody waits */
    if (status == CLINFER_OK)
        ci_log(CLINFER_LOG_NOTICE, "launches of a token stay single on %s: as one they give other numbers",
               engine->info.device);
    else
        ci_log(CLINFER_LOG_DEBUG, "launches of a token stay single: %s", ci_status_message());
}

/* With the lock held. */
static bool is_time(const struct clinfer_engine *engine, uint64_t steps) {
    bool wanted = !engine->chain_tried && engine->stats.steps >= steps && engine->context > PROVEN_ROWS &&
                  !engine->careful && is_possible(engine);
    for (const struct clinfer_session *s = engine->sessions; s && wanted; s = s->next)
        wanted = s->state != CI_SESSION_ACTIVE;
    return wanted;
}

void ci_engine_make_chain(struct clinfer_engine *engine, uint64_t steps) {
    struct clinfer_session_options options;
    clinfer_session *session = NULL;
    if (!ci_warm_is_allowed()) return;
    pthread_mutex_lock(&engine->lock);
    bool now = is_time(engine, steps);
    pthread_mutex_unlock(&engine->lock);
    clinfer_session_options_default(engine, &options);
    if (!now || clinfer_session_create(engine, &options, &session) != CLINFER_OK) return;
    session->tokens = malloc(PROVEN_ROWS * sizeof *session->tokens);
    for (int i = 0; i < PROVEN_ROWS && session->tokens; i++)
        session->tokens[i] = ci_narrowed((i * 7919LL + 13) % engine->model.hyper.vocabulary);
    if (session->tokens && ci_engine_lead(engine) == CLINFER_OK) {
        now = is_time(engine, steps);
        engine->chain_tried = engine->chain_tried || now;
        pthread_mutex_unlock(&engine->lock); /* still leading */
        if (now) make(engine, session);
        pthread_mutex_lock(&engine->lock);
        ci_engine_stop_leading(engine);
    }
    clinfer_session_destroy(session);
}
