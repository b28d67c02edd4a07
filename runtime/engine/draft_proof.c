/* draft_proof.c: whether rows that are computed together are those that are computed one by one, to the last bit.
 *
 * Kernels do with a row what they do whatever its numbers are, but another plan, or another path of a kernel, may come
 * with another number of rows. So a step is proven for ranges of rows, with several numbers in each, once, with tokens
 * of the session that is the first to want it. Some rows of each are computed again alone, on what those before them
 * have left in the caches. All of them lie behind what is known, where the next step writes, so nothing has to be put
 * back. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

/* Logits of `count` rows from the session's next one on, guessed rows behind the first, by the plan of `bucket`. */
static enum clinfer_status compute(struct clinfer_engine *engine, struct clinfer_session *session,
                                   struct ci_bucket *bucket, int count, float *logits) {
    struct ci_batch batch = {.count = 0};
    ci_batch_add(&batch, session, 1, true);
    struct ci_part *part = &batch.parts[0];
    part->rows = part->wanted = batch.rows = batch.wanted = batch.tiles = count;
    part->guessed = count - 1;
    ci_batch_fill_inputs(&batch, &bucket->run);
    int64_t extents[CI_EXTENT_COUNT] = {0, count, count, count};
    enum clinfer_status status = ci_plan_set_rows(bucket->plan, extents);
    if (status == CLINFER_OK) status = ci_plan_run(bucket->plan);
    if (status == CLINFER_OK) status = ci_plan_read(bucket->plan, bucket->run.logits, 0, count, logits);
    engine->stats.steps++;
    engine->stats.rows += (uint64_t)count;
    return status;
}

/* Until what failed for lack of pages is tried again. */
enum { COUNTS = 3, STEPS_WITHOUT_PAGES = 64 };

/* Up to so many rows; the numbers of rows that stand for those from the range before on. */
static const struct {
    int most, counts[COUNTS];
} ranges[CI_DRAFT_RANGES] = {{4, {3, 4, 0}},
                             {8, {6, 8, 0}},
                             {CI_DRAFT_MOST + 1, {CI_DRAFT_MOST + 1, 0, 0}},
                             {CI_MAX_SEQUENCES, {24, 40, CI_MAX_SEQUENCES}}};

/* Of `count` rows computed together some are computed alone; *same: as far as that is known. */
static enum clinfer_status compare(struct clinfer_engine *engine, struct clinfer_session *session, int count,
                                   bool *same) {
    const size_t outputs = (size_t)engine->model.outputs, computed = session->computed, known = session->known;
    const int alone[] = {count / 2, count - 1};
    struct ci_bucket *bucket, *single;
    enum clinfer_status status = ci_engine_bucket(engine, 1, 1, &single);
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, count, count, &bucket);
    float *together = malloc(outputs * (size_t)(count + 1) * sizeof *together), *one = together;
    if (status == CLINFER_OK && !together) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a proof");
    if (together) one = together + outputs * (size_t)count;
    for (size_t i = 0; i + 1 < (size_t)count; i++) session->tokens[session->known++] = session->tokens[i];
    if (status == CLINFER_OK) status = compute(engine, session, bucket, count, together);
    for (size_t i = 0; i < sizeof alone / sizeof *alone && status == CLINFER_OK && *same; i++) {
        session->computed = computed + (size_t)alone[i];
        status = compute(engine, session, single, 1, one);
        *same = status == CLINFER_OK && memcmp(one, together + outputs * (size_t)alone[i], outputs * sizeof *one) == 0;
    }
    session->computed = computed;
    session->known = known;
    free(together);
    return status;
}

static int64_t most_rows(const struct clinfer_engine *engine) {
    const struct ci_bucket *largest = &engine->buckets[engine->bucket_count - 1];
    return largest->rows[CI_EXTENT_WANTED] < CI_MAX_SEQUENCES ? largest->rows[CI_EXTENT_WANTED] : CI_MAX_SEQUENCES;
}

static void prove(struct clinfer_engine *engine, struct clinfer_session *session, int range) {
    const int64_t most = most_rows(engine), before = range ? ranges[range - 1].most : 1;
    enum clinfer_status status = CLINFER_OK;
    bool same = true;
    for (int i = 0; i < COUNTS && ranges[range].counts[i] && status == CLINFER_OK && same; i++) {
        int64_t count = ranges[range].counts[i] < most ? ranges[range].counts[i] : most;
        if (count <= before) continue;
        if (session->known + (size_t)count > (size_t)engine->context) return; /* another one may */
        if (ci_engine_take_pages(engine, session, session->known + (size_t)count) != CLINFER_OK) {
            engine->draft.proof_step = engine->stats.steps + STEPS_WITHOUT_PAGES; /* others give some back */
            return;
        }
        status = compare(engine, session, ci_narrowed(count), &same);
    }
    engine->draft.proofs[range] = same && status == CLINFER_OK ? CI_DRAFT_PROVEN : CI_DRAFT_REFUSED;
    if (engine->draft.proofs[range] == CI_DRAFT_PROVEN || engine->draft.told_refused) return;
    engine->draft.told_refused = true;
    if (status != CLINFER_OK)
        ci_log(CLINFER_LOG_WARNING, "no tokens are guessed in steps of %lld rows and more: %s", (long long)before + 1,
               ci_status_message());
    else
        ci_log(
            CLINFER_LOG_NOTICE,
            "no tokens are guessed in steps of %lld rows and more on %s: such rows differ there in their last digits "
            "from rows that are computed one by one, which could change the answer",
            (long long)before + 1, engine->info.device);
}

int64_t ci_draft_proven_rows(struct clinfer_engine *engine, int64_t rows) {
    int64_t proven = 0, most = most_rows(engine);
    for (int i = 0; i < CI_DRAFT_RANGES && proven < rows && proven < most; i++) {
        enum ci_draft_proof *proof = &engine->draft.proofs[i];
        if (*proof == CI_DRAFT_UNPROVEN && engine->stats.steps >= engine->draft.proof_step)
            *proof = CI_DRAFT_WANTS_PROOF;
        if (*proof == CI_DRAFT_WANTS_PROOF) engine->draft.wants_proof = true;
        if (*proof != CI_DRAFT_PROVEN) break;
        proven = ranges[i].most < most ? ranges[i].most : most;
    }
    return proven < rows ? proven : rows;
}

static bool may_prove(const struct clinfer_session *session) {
    return session->admitted && session->in_flight < 0 && session->known == session->computed + 1 && session->known > 1;
}

void ci_draft_prove(struct clinfer_engine *engine) {
    struct clinfer_session *session = engine->queue;
    while (session && !may_prove(session)) session = session->next_in_queue;
    if (!session) return;
    engine->draft.wants_proof = false;
    session->drafting.count = 0;
    for (int i = 0; i < CI_DRAFT_RANGES; i++) {
        if (engine->draft.proofs[i] != CI_DRAFT_WANTS_PROOF) continue;
        engine->draft.proofs[i] = CI_DRAFT_UNPROVEN;
        prove(engine, session, i);
    }
}
