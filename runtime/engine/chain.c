/* chain.c: decoding with all launches of a token as one (ops/chain.h), where the device is a CPU.
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

/* Steps computed before it is built; rows of its proof, of which each reads the keys of those before. */
enum { LONG_ENOUGH = 64, PROVEN_ROWS = 4 };

static bool is_possible(const struct clinfer_engine *engine) {
    return engine->device && engine->device_count == 1 && !engine->trace &&
           ci_device_caps(engine->device)->kind == CI_DEVICE_CPU;
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

/* Logits [PROVEN_ROWS, outputs] of the rows behind what the session has computed, one by one. */
static enum clinfer_status compute(struct clinfer_engine *engine, struct clinfer_session *session,
                                   struct ci_bucket *bucket, float *logits) {
    const size_t computed = session->computed, outputs = (size_t)engine->model.outputs;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < PROVEN_ROWS && status == CLINFER_OK; i++) {
        session->computed = computed + (size_t)i;
        status = ci_draft_compute(engine, session, bucket, 1, logits + (size_t)i * outputs);
    }
    session->computed = computed;
    return status;
}

/* What lies behind the session's known tokens is nobody's: nothing has to be put back. */
static enum clinfer_status compare(struct clinfer_engine *engine, struct clinfer_session *session,
                                   struct ci_bucket *bucket, uint64_t *program, bool *same) {
    const size_t count = (size_t)engine->model.outputs * PROVEN_ROWS, known = session->known;
    float *single = malloc(2 * count * sizeof *single);
    enum clinfer_status status = single ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a proof");
    for (size_t i = 0; i < PROVEN_ROWS; i++) session->tokens[session->known++] = session->tokens[i];
    if (status == CLINFER_OK) status = compute(engine, session, bucket, single);
    if (status == CLINFER_OK) status = ci_plan_chain(bucket->plan, true, program);
    if (status == CLINFER_OK) status = compute(engine, session, bucket, single + count);
    *same = status == CLINFER_OK && memcmp(single, single + count, count * sizeof *single) == 0;
    session->known = known;
    free(single);
    return status;
}

static struct clinfer_session *find_session(const struct clinfer_engine *engine) {
    struct clinfer_session *session = engine->sessions;
    while (session &&
           (session->in_flight >= 0 || session->known < PROVEN_ROWS || session->known > session->computed + 1 ||
            session->computed > session->known || session->known + PROVEN_ROWS > (size_t)engine->context))
        session = session->next;
    return session;
}

void ci_engine_make_chain(struct clinfer_engine *engine) {
    struct ci_bucket *bucket;
    uint64_t program;
    bool same = false;
    if (engine->chain_tried || engine->stats.steps < LONG_ENOUGH || !ci_warm_is_allowed() || !is_possible(engine) ||
        engine->careful)
        return;
    struct clinfer_session *session = find_session(engine);
    if (!session || ci_engine_bucket(engine, 1, 1, &bucket) != CLINFER_OK ||
        ci_engine_take_pages(engine, session, session->known + PROVEN_ROWS) != CLINFER_OK)
        return;
    engine->chain_tried = true;
    const double start = ci_now();
    const struct ci_watch_pause pause = ci_watch_pause();
    ci_watch_begin(CI_WATCH_BUILD, 0);
    enum clinfer_status status = compare(engine, session, bucket, &program, &same);
    ci_watch_resume(&pause);
    if (same) {
        ci_proof_remember(ci_device_caps(engine->device)->key, proof_of(engine, program));
        ci_log(CLINFER_LOG_DEBUG, "a token is one launch from now on (%.1f s to build and prove)", ci_now() - start);
        return;
    }
    ci_plan_unchain(bucket->plan);
    if (status == CLINFER_OK)
        ci_log(CLINFER_LOG_NOTICE, "launches of a token stay single on %s: as one they give other numbers",
               engine->info.device);
    else
        ci_log(CLINFER_LOG_DEBUG, "launches of a token stay single: %s", ci_status_message());
}
