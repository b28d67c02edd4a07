/* rows.c: rows that are no part of an answer, computed by who leads: for logits, vectors and verification. */
#include <math.h>

#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

enum clinfer_status ci_engine_compute_logits(struct clinfer_engine *engine, struct clinfer_session *session, bool all,
                                             float *logits, bool *replaced, size_t *bad) {
    size_t outputs = (size_t)engine->model.outputs;
    const struct ci_bucket *largest = &engine->buckets[engine->bucket_count - 1];
    int64_t most = all ? largest->rows[CI_EXTENT_WANTED] : largest->rows[CI_EXTENT_ROWS];
    *bad = 0;
    *replaced = false;
    enum clinfer_status status = CLINFER_OK;
    ci_engine_check_window(engine, session);
    while (session->computed < session->known && status == CLINFER_OK && *bad == 0) {
        int64_t left = (int64_t)(session->known - session->computed), rows = left < most ? left : most;
        bool last = rows == left;
        struct ci_batch batch = {.count = 0};
        ci_batch_add(&batch, session, rows, all || last);
        struct ci_bucket *bucket;
        int64_t wanted_rows = all ? rows : last ? 1 : 0;
        status = ci_gguf_check_whole(engine->gguf);
        if (status == CLINFER_OK) status = ci_engine_take_pages(engine, session, session->computed + (size_t)rows);
        if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, wanted_rows, &bucket);
        if (status != CLINFER_OK) break;
        ci_batch_fill_inputs(&batch, &bucket->run);
        int32_t *wanted = bucket->run.wanted->view.data;
        for (int64_t i = 0; i < wanted_rows; i++) wanted[i] = ci_narrowed(rows - wanted_rows + i);
        int64_t extents[CI_EXTENT_COUNT] = {0, rows, wanted_rows, batch.tiles};
        status = ci_plan_set_rows(bucket->plan, extents);
        if (status == CLINFER_OK)
            status = engine->careful ? ci_careful_run(engine, bucket, rows, replaced) : ci_plan_run(bucket->plan);
        const struct ci_watch_run run = ci_watch_run();
        if (*replaced) return status;
        if (status == CLINFER_OK && wanted_rows)
            status = ci_plan_read(bucket->plan, bucket->run.logits, 0, wanted_rows, logits);
        if (wanted_rows) ci_plan_waited(bucket->plan, &run);
        size_t count = status == CLINFER_OK ? outputs * (size_t)wanted_rows : 0;
        for (size_t i = 0; i < count; i++) *bad += !isfinite(logits[i]);
        logits += count;
        session->computed += (size_t)rows;
        engine->stats.steps++;
        engine->stats.rows += (uint64_t)rows;
    }
    if (status != CLINFER_OK) session->computed = 0;
    return status;
}

enum clinfer_status ci_engine_compute_together(struct clinfer_engine *engine, struct clinfer_session *const *sessions,
                                               int count, float *rows) {
    struct ci_batch batch = {.count = 0};
    struct ci_bucket *bucket;
    size_t bad = 0;
    ci_engine_land(engine);
    enum clinfer_status status = ci_gguf_check_whole(engine->gguf);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        ci_engine_check_window(engine, sessions[i]);
        status = ci_engine_take_pages(engine, sessions[i], sessions[i]->known);
        if (status == CLINFER_OK) ci_batch_add(&batch, sessions[i], (int64_t)sessions[i]->known, true);
    }
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, batch.rows, batch.rows, &bucket);
    if (status != CLINFER_OK) return status;
    ci_batch_fill_inputs(&batch, &bucket->run);
    int32_t *wanted = bucket->run.wanted->view.data;
    for (int64_t i = 0; i < batch.rows; i++) wanted[i] = ci_narrowed(i);
    int64_t extents[CI_EXTENT_COUNT] = {0, batch.rows, batch.rows, batch.tiles};
    status = ci_plan_set_rows(bucket->plan, extents);
    if (status == CLINFER_OK) status = ci_plan_run(bucket->plan);
    const struct ci_watch_run run = ci_watch_run();
    if (status == CLINFER_OK) status = ci_plan_read(bucket->plan, bucket->run.logits, 0, batch.rows, rows);
    ci_plan_waited(bucket->plan, &run);
    size_t numbers = status == CLINFER_OK ? (size_t)batch.rows * (size_t)engine->model.outputs : 0;
    for (size_t i = 0; i < numbers; i++) bad += !isfinite(rows[i]);
    engine->stats.steps++;
    engine->stats.rows += (uint64_t)batch.rows;
    return bad ? ci_fail(CLINFER_WRONG_RESULT, "%zu numbers of %d texts are not finite", bad, count) : status;
}

enum clinfer_status ci_engine_verify_rows(struct clinfer_engine *engine, struct clinfer_session *session, int64_t rows,
                                          ci_verify_callback *callback, void *user) {
    struct ci_batch batch = {.count = 0};
    struct ci_bucket *bucket;
    ci_engine_land(engine);
    ci_engine_check_window(engine, session);
    enum clinfer_status status = ci_engine_take_pages(engine, session, session->computed + (size_t)rows);
    if (status == CLINFER_OK) status = ci_engine_bucket(engine, rows, 1, &bucket);
    if (status != CLINFER_OK) return status;
    ci_batch_add(&batch, session, rows, true);
    ci_batch_fill_inputs(&batch, &bucket->run);
    int64_t extents[CI_EXTENT_COUNT] = {0, rows, 1, batch.tiles};
    status = ci_plan_set_rows(bucket->plan, extents);
    struct ci_cache_use caches = ci_engine_cache_use(engine, &bucket->run, rows);
    if (status == CLINFER_OK) status = ci_plan_verify(bucket->plan, &caches, callback, user);
    if (status == CLINFER_OK) session->computed += (size_t)rows;
    return status;
}
