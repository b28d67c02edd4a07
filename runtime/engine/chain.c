/* chain.c: decoding with all launches of a token as one (ops/chain.h), where the device is a CPU through PoCL.
 *
 * Such a program takes seconds to compile, so it is built when an answer is out that was long enough to pay, by the
 * tool alone, once for a model and a device; then it is proven: tokens of a session of its own are computed both ways,
 * and all logits have to be the same bits. Later starts take it from the cache with their plan. Where it is wrong, or
 * did not build twice, that is remembered, too, and not tried again by this version. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/stop.h"
#include "device/kernels.h"
#include "engine/aside.h"
#include "engine/engine_private.h"
#include "engine/warm.h"
#include "graph/plan.h"
#include "proof/known_answer.h"

/* What its proof computes both ways, each time with the cache as it is: tokens from the first one on, those on both
 * sides of the border of a page, and two far behind, whose pages are the first one again: it is full, and nobody reads
 * what comes out. */
enum {
    FIRST_ROWS = 4,
    BORDER = CI_PAGE_ROWS - 2,
    BORDER_ROWS = 4,
    DEEP_PAGES = 16,
    DEEP_ROWS = 2,
    FILLED_AT_ONCE = 64
};

/* PoCL alone, whose launches cost that much: llvmpipe computes chains wrongly, Intel's runtime builds them for 8 s. */
static bool is_possible(const struct clinfer_engine *engine) {
    const char *single = getenv("CLINFER_SINGLE_LAUNCHES");
    return !(single && *single) && engine->device && engine->device_count == 1 && !engine->trace &&
           !engine->info.encoder && ci_device_caps(engine->device)->kind == CI_DEVICE_CPU &&
           strcmp(ci_device_caps(engine->device)->platform, "Portable Computing Language") == 0;
}

/* What the proof is known by: the program, and the model, whose shapes are in its script; and whether workers ran at
 * the same time: one alone proves nothing of several. */
static uint64_t proof_of(const struct clinfer_engine *engine, uint64_t program) {
    static const char what[] = "launches of a token as one";
    const uint64_t model = ci_gguf_identity(engine->gguf);
    const uint64_t several = ci_threads_count(engine->store.threads) > 1;
    uint64_t proof = ci_hash(CI_HASH_START, what, sizeof what);
    proof = ci_hash(proof, &program, sizeof program);
    proof = ci_hash(proof, &several, sizeof several);
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
    atomic_store(&engine->chain_tried, true);
    ci_log(CLINFER_LOG_INFO, "a token is one launch (%.1f ms to load)", (ci_now() - start) * 1e3);
}

/* ---- the proof ---- */

/* What is computed both ways, and with what. */
struct proof {
    struct clinfer_engine *engine;
    struct clinfer_session *session;
    struct ci_bucket *bucket;
    float *single, *chained; /* logits [outputs] */
    bool same;
};

static enum clinfer_status compute(struct proof *proof, size_t position, bool apart, float *logits) {
    struct clinfer_session *session = proof->session;
    session->computed = position;
    session->known = position + 1;
    if (proof->bucket->plan) ci_plan_take_apart(proof->bucket->plan, apart);
    return ci_engine_logits(proof->engine, session, false, logits);
}

/* Tokens [position, position + count), one by one, until two logits differ. */
static enum clinfer_status compare(struct proof *proof, size_t position, size_t count) {
    const size_t bytes = (size_t)proof->engine->model.outputs * sizeof *proof->single;
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = position; i < position + count && proof->same && status == CLINFER_OK; i++) {
        status = ci_stop_is_asked() ? ci_fail(CLINFER_CANCELLED, "nobody wants the proof any more")
                                    : compute(proof, i, true, proof->single);
        if (status == CLINFER_OK) status = compute(proof, i, false, proof->chained);
        /* What failed or was not finite is computed again kernel by kernel, which proves nothing. */
        if (status == CLINFER_OK && !(proof->bucket->plan && ci_plan_is_chained(proof->bucket->plan)))
            status = ci_fail(CLINFER_WRONG_RESULT, "as one they failed, and were taken apart");
        proof->same = status == CLINFER_OK && memcmp(proof->single, proof->chained, bytes) == 0;
    }
    return status;
}

/* Rows that a plan computes at once which is there already. */
static size_t rows_at_once(const struct clinfer_engine *engine) {
    size_t rows = 1;
    for (int i = 0; i < engine->bucket_count; i++) {
        const int64_t *bucket = engine->buckets[i].rows;
        if (engine->buckets[i].plan && bucket[CI_EXTENT_WANTED] == 1 && bucket[CI_EXTENT_ROWS] <= FILLED_AT_ONCE)
            rows = (size_t)bucket[CI_EXTENT_ROWS];
    }
    return rows;
}

/* The cache has tokens [0, position). */
static enum clinfer_status fill(struct proof *proof, size_t position) {
    struct clinfer_session *session = proof->session;
    enum clinfer_status status = CLINFER_OK;
    const size_t rows = rows_at_once(proof->engine);
    session->computed = session->known;
    while (session->computed < position && status == CLINFER_OK) {
        session->known = session->computed + rows < position ? session->computed + rows : position;
        status = ci_stop_is_asked() ? ci_fail(CLINFER_CANCELLED, "nobody wants the proof any more")
                                    : ci_engine_logits(proof->engine, session, false, proof->single);
    }
    return status;
}

static bool reaches(const struct clinfer_engine *engine, size_t position) {
    return position <= (size_t)engine->context && position <= (size_t)engine->pages_per_sequence * CI_PAGE_ROWS;
}

/* Four tokens, a page's border, far behind; as far as the context reaches. */
static enum clinfer_status prove(struct proof *proof) {
    const struct clinfer_engine *engine = proof->engine;
    const size_t deep = (size_t)DEEP_PAGES * CI_PAGE_ROWS + BORDER + BORDER_ROWS - CI_PAGE_ROWS;
    enum clinfer_status status = compare(proof, 0, FIRST_ROWS);
    if (status != CLINFER_OK || !proof->same || !reaches(engine, BORDER + BORDER_ROWS)) return status;
    status = fill(proof, BORDER);
    if (status == CLINFER_OK) status = compare(proof, BORDER, BORDER_ROWS);
    if (status != CLINFER_OK || !proof->same || !reaches(engine, deep + DEEP_ROWS)) return status;
    return ci_pages_repeat_first(proof->engine, proof->session, DEEP_PAGES) ? compare(proof, deep, DEEP_ROWS) : status;
}

/* ---- what is remembered ---- */

/* "This model's launches are not to become one there", with all that this depends on. */
static enum clinfer_status make_refusal(const struct clinfer_engine *engine, uint64_t *refusal) {
    static const char what[] = "launches of a token stay single " CLINFER_VERSION;
    const struct clinfer_engine_options *options = &engine->options;
    const uint64_t numbers[] = {ci_gguf_identity(engine->gguf), options->activations, options->key_type,
                                options->value_type};
    enum clinfer_status status = CLINFER_OK;
    *refusal = ci_hash(ci_hash(CI_HASH_START, what, sizeof what), numbers, sizeof numbers);
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name && status == CLINFER_OK; source++)
        status = ci_kernel_source_hash(source->name, refusal);
    return status;
}

/* The refusal itself is that of the second time: what did not build once may have had other reasons. */
static bool is_refused(const struct clinfer_engine *engine) {
    uint64_t refusal;
    return make_refusal(engine, &refusal) == CLINFER_OK &&
           ci_proof_is_known(ci_device_caps(engine->device)->key, refusal);
}

static void refuse(const struct clinfer_engine *engine, bool for_certain) {
    const uint64_t device = ci_device_caps(engine->device)->key;
    uint64_t refusal;
    if (make_refusal(engine, &refusal) != CLINFER_OK) return;
    const uint64_t first = ci_hash(refusal, "once", sizeof "once");
    if (for_certain || ci_proof_is_known(device, first)) ci_proof_remember(device, refusal);
    ci_proof_remember(device, first);
}

/* ---- making ---- */

void ci_engine_drop_chains(struct clinfer_engine *engine) {
    for (int i = 0; i < engine->bucket_count; i++) {
        struct ci_plan *plan = engine->buckets[i].plan;
        if (!plan || !ci_plan_is_chained(plan)) continue;
        ci_log(CLINFER_LOG_NOTICE, "launches of a token are single ones from here on");
        ci_plan_unchain(plan);
    }
}

/* *built: whether it is another thing than the compiler that failed. */
static enum clinfer_status build_and_prove(struct proof *proof, uint64_t *program, bool *built) {
    struct clinfer_engine *engine = proof->engine;
    *built = true;
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &proof->bucket);
    /* A first step, so that the plan has the arguments of a row. */
    if (status == CLINFER_OK) status = compute(proof, 0, true, proof->single);
    if (status != CLINFER_OK) return status;
    status = ci_plan_chain(proof->bucket->plan, true, program);
    *built = status == CLINFER_OK;
    /* Where programs are not kept it is built anew for each engine, but it is the one that was proven. */
    bool known = *built && ci_proof_is_known(ci_device_caps(engine->device)->key, proof_of(engine, *program));
    return *built && !known ? prove(proof) : status;
}

/* By the leader, who has let go of the lock. */
static void make(struct clinfer_engine *engine, struct clinfer_session *session) {
    const size_t outputs = (size_t)engine->model.outputs;
    struct proof proof = {.engine = engine, .session = session, .same = true};
    uint64_t program;
    bool built = true;
    const double start = ci_now();
    proof.single = malloc(2 * outputs * sizeof *proof.single);
    if (!proof.single) return;
    proof.chained = proof.single + outputs;
    enum clinfer_status status = build_and_prove(&proof, &program, &built);
    struct ci_plan *plan = proof.bucket ? proof.bucket->plan : NULL;
    if (plan) ci_plan_take_apart(plan, false);
    session->computed = 0;
    ci_engine_return_pages(engine, session, 0); /* nobody is to find these tokens there */
    free(proof.single);
    if (status == CLINFER_OK && proof.same) {
        ci_proof_remember(ci_device_caps(engine->device)->key, proof_of(engine, program));
        ci_log(CLINFER_LOG_DEBUG, "a token is one launch from now on (%.1f s to build and prove)", ci_now() - start);
        return;
    }
    if (plan) ci_plan_unchain(plan);
    /* For somebody who came: again when nobody waits. */
    atomic_store(&engine->chain_tried, status != CLINFER_CANCELLED);
    if (status == CLINFER_OK) {
        refuse(engine, true);
        ci_log(CLINFER_LOG_NOTICE, "launches of a token stay single on %s: as one they give other numbers",
               engine->info.device);
        return;
    }
    if (status == CLINFER_WRONG_RESULT || (!built && status == CLINFER_DEVICE_ERROR)) refuse(engine, false);
    ci_log(CLINFER_LOG_DEBUG, "launches of a token stay single: %s", ci_status_message());
}

/* With the lock held. */
static bool is_time(const struct clinfer_engine *engine, uint64_t steps) {
    bool wanted = !atomic_load(&engine->chain_tried) && engine->told.steps >= steps && engine->context > FIRST_ROWS &&
                  is_possible(engine);
    for (const struct clinfer_session *s = engine->sessions; s && wanted; s = s->next)
        wanted = s->state != CI_SESSION_ACTIVE;
    return wanted;
}

/* Tokens as far as the proof may reach. */
static bool give_tokens(struct clinfer_session *session) {
    const size_t count = (size_t)(DEEP_PAGES + 1) * CI_PAGE_ROWS;
    const int vocabulary = session->engine->model.hyper.vocabulary;
    session->tokens = malloc(count * sizeof *session->tokens);
    for (size_t i = 0; i < count && session->tokens; i++)
        session->tokens[i] = ci_narrowed(((int64_t)i * 7919 + 13) % vocabulary);
    return session->tokens;
}

void ci_engine_make_chain(struct clinfer_engine *engine, uint64_t steps) {
    struct clinfer_session_options options;
    clinfer_session *session = NULL;
    if (!ci_warm_is_allowed() || ci_aside_builds(engine)) return;
    pthread_mutex_lock(&engine->lock);
    bool now = is_time(engine, steps);
    pthread_mutex_unlock(&engine->lock);
    clinfer_session_options_default(engine, &options);
    if (!now || clinfer_session_create(engine, &options, &session) != CLINFER_OK) return;
    if (give_tokens(session) && ci_engine_lead(engine) == CLINFER_OK) {
        now = is_time(engine, steps) && !engine->careful;
        if (now) atomic_store(&engine->chain_tried, true);
        pthread_mutex_unlock(&engine->lock); /* still leading */
        if (now && !is_refused(engine)) make(engine, session);
        pthread_mutex_lock(&engine->lock);
        ci_engine_stop_leading(engine);
    }
    clinfer_session_destroy(session);
}
