#include "engine/verify.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/engine_private.h"

enum { DECODE_STEPS = 3, MOST_PIECES = CI_BUCKETS - 1 + DECODE_STEPS };

struct watch {
    ci_verify_callback *callback;
    void *user;
    struct ci_wrong_step *wrong;
    int64_t rows;
    bool ended;
};

static bool pass_on(void *user, const struct ci_verify_step *step) {
    struct watch *watch = user;
    if (!step->passed && !watch->wrong->found) *watch->wrong = (struct ci_wrong_step){true, watch->rows, *step};
    watch->ended = !watch->callback(watch->user, step);
    return !watch->ended;
}

/* Rows of each run: a few more than the next smaller plan holds, so that every plan of a conversation gets its turn,
 * the largest first; then single ones. Returns how many runs. */
static int plan_pieces(const clinfer_engine *engine, int64_t pieces[MOST_PIECES]) {
    enum { MORE = 6 };
    int count = 0;
    int64_t left = engine->context - DECODE_STEPS;
    for (int i = engine->bucket_count - 1; i > 0; i--) {
        int64_t below = engine->buckets[i - 1].rows[CI_EXTENT_ROWS], rows = below + MORE;
        if (rows > engine->buckets[i].rows[CI_EXTENT_ROWS]) rows = engine->buckets[i].rows[CI_EXTENT_ROWS];
        if (rows > left || engine->buckets[i].rows[CI_EXTENT_ROWS] == below) continue;
        pieces[count++] = rows;
        left -= rows;
    }
    for (int i = 0; i < DECODE_STEPS && i < engine->context; i++) pieces[count++] = 1;
    return count;
}

static enum clinfer_status verify(clinfer_engine *engine, clinfer_session *session, const int32_t *tokens, size_t count,
                                  struct watch *watch) {
    int64_t pieces[MOST_PIECES];
    int piece_count = plan_pieces(engine, pieces);
    size_t all = 0;
    for (int i = 0; i < piece_count; i++) all += (size_t)pieces[i];
    session->tokens = malloc(sizeof *session->tokens * all);
    if (!session->tokens) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", all);
    for (size_t i = 0; i < all; i++) session->tokens[i] = tokens[i % count];
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < piece_count && status == CLINFER_OK && !watch->ended; i++) {
        watch->rows = pieces[i];
        session->known += (size_t)pieces[i];
        status = ci_engine_verify_rows(engine, session, pieces[i], pass_on, watch);
    }
    return status;
}

const struct ci_finding *ci_engine_findings(const clinfer_engine *engine) { return engine->model.findings; }

enum clinfer_status ci_engine_verify(clinfer_engine *engine, const int32_t *tokens, size_t count,
                                     ci_verify_callback *callback, void *user, struct ci_wrong_step *wrong) {
    struct clinfer_session_options options;
    clinfer_session *session;
    struct watch watch = {.callback = callback, .user = user, .wrong = wrong};
    wrong->found = false;
    if (count == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "the text to verify with has no tokens");
    clinfer_session_options_default(engine, &options);
    options.temperature = 0; /* what is drawn may depend on the last bit */
    enum clinfer_status status = clinfer_session_create(engine, &options, &session);
    if (status != CLINFER_OK) return status;
    status = verify(engine, session, tokens, count, &watch);
    clinfer_session_destroy(session);
    return status;
}

enum clinfer_status ci_engine_verify_replace(clinfer_engine *engine, const struct ci_wrong_step *wrong,
                                             bool *quarantined) {
    struct ci_bucket *bucket;
    enum clinfer_status status = ci_engine_bucket(engine, wrong->rows, 1, &bucket);
    return status == CLINFER_OK ? ci_careful_replace(engine, bucket, &wrong->step, quarantined) : status;
}
