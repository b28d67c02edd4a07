/* embed.c: a text as one vector: what the model gives for its tokens, pooled. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "base/status.h"
#include "engine/engine_private.h"

/* <architecture>.pooling_type, as llama.cpp numbers them. */
enum { NONE, MEAN, CLS, LAST, RANK };

enum clinfer_status ci_engine_read_pooling(struct clinfer_engine *engine) {
    struct clinfer_engine_info *info = &engine->info;
    const struct ci_model *model = &engine->model;
    char key[128];
    int64_t said = -1;
    snprintf(key, sizeof key, "%s.pooling_type", model->family->architecture);
    enum clinfer_status status = ci_gguf_get_i64(engine->gguf, key, CI_GGUF_OPTIONAL, &said);
    if (status != CLINFER_OK) return status;
    info->pooling = ci_model_encodes(model) ? CLINFER_POOLING_MEAN : CLINFER_POOLING_LAST;
    info->pooling_is_said = said == MEAN || said == CLS || said == LAST || said == RANK;
    if (said == MEAN) info->pooling = CLINFER_POOLING_MEAN;
    if (said == CLS) info->pooling = CLINFER_POOLING_CLS;
    if (said == LAST) info->pooling = CLINFER_POOLING_LAST;
    if (said != RANK || !ci_model_makes_vectors(model)) return CLINFER_OK;
    info->pooling = CLINFER_POOLING_RANK;
    status = ci_rank_read(engine->gguf, model, &engine->rank);
    info->scores = engine->rank.scores;
    return status;
}

/* One of the rows, or their mean. */
static void pool(const float *rows, size_t count, size_t cols, enum clinfer_pooling pooling, float *vector) {
    if (pooling != CLINFER_POOLING_MEAN) {
        memcpy(vector, pooling == CLINFER_POOLING_CLS ? rows : rows + (count - 1) * cols, cols * sizeof *vector);
        return;
    }
    for (size_t i = 0; i < cols; i++) {
        double sum = 0;
        for (size_t row = 0; row < count; row++) sum += (double)rows[row * cols + i];
        vector[i] = (float)(sum / (double)count);
    }
}

static enum clinfer_status check(const struct clinfer_engine *engine, enum clinfer_pooling pooling) {
    if (!ci_model_makes_vectors(&engine->model))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the engine makes logits; open it with `embeddings`");
    if (pooling > CLINFER_POOLING_NONE)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "pooling: %d is none of clinfer_pooling", (int)pooling);
    if (pooling == CLINFER_POOLING_RANK && !engine->rank.scores)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "%s: scores no texts, since it has no head for that; choose a reranking model",
                       engine->options.model);
    return CLINFER_OK;
}

/* The vector of a text from those of its tokens. */
static enum clinfer_status pool_rows(const struct clinfer_engine *engine, const float *rows, size_t count,
                                     enum clinfer_pooling pooling, float *vector) {
    size_t cols = (size_t)engine->model.outputs;
    if (pooling != CLINFER_POOLING_RANK) {
        pool(rows, count, cols, pooling, vector);
        return CLINFER_OK;
    }
    float *row = malloc(cols * sizeof *row);
    if (!row) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the vector of a text");
    pool(rows, count, cols, engine->rank.pooling, row);
    enum clinfer_status status = ci_rank_apply(&engine->rank, row, vector);
    free(row);
    return status;
}

enum clinfer_status clinfer_embed(clinfer_session *session, const int32_t *tokens, size_t count,
                                  enum clinfer_pooling pooling, float *vector) {
    CI_REQUIRE(session, "session");
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(vector, "vector");
    struct clinfer_engine *engine = session->engine;
    enum clinfer_status status = check(engine, pooling);
    if (status != CLINFER_OK) return status;
    if (pooling == CLINFER_POOLING_LAST) return clinfer_logits(session, tokens, count, false, vector);
    if (pooling == CLINFER_POOLING_NONE) return clinfer_logits(session, tokens, count, true, vector);
    if (count == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "the text has no tokens");
    float *rows = calloc(count, (size_t)engine->model.outputs * sizeof *rows);
    if (!rows) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the vectors of %zu tokens", count);
    status = clinfer_logits(session, tokens, count, true, rows);
    if (status == CLINFER_OK) status = pool_rows(engine, rows, count, pooling, vector);
    free(rows);
    return status;
}

/* ---- many ---- */

/* So many texts in one step: each takes pages of its own in the caches. */
enum { TOGETHER = 16 };

struct together {
    clinfer_engine *engine;
    clinfer_session *sessions[TOGETHER]; /* [count] */
    int count;
    float *rows; /* [most, outputs] */
    size_t most; /* rows of a step; 0: texts come one by one */
};

/* Short texts of an encoder share steps; of others the first rows of a text are not wanted, and a step has room for few
 * that are. */
static void begin_together(clinfer_engine *engine, size_t count, struct together *together) {
    const struct ci_bucket *largest = &engine->buckets[engine->bucket_count - 1];
    *together = (struct together){.engine = engine};
    if (count < 2 || !engine->info.encoder) return;
    int64_t most = largest->rows[CI_EXTENT_ROWS];
    if (largest->rows[CI_EXTENT_WANTED] < most) most = largest->rows[CI_EXTENT_WANTED];
    together->rows = malloc((size_t)most * (size_t)engine->model.outputs * sizeof *together->rows);
    if (together->rows) together->most = (size_t)most;
}

static void end_together(struct together *together) {
    for (int i = 0; i < together->count; i++) clinfer_session_destroy(together->sessions[i]);
    free(together->rows);
}

static enum clinfer_status provide_session(struct together *together) {
    struct clinfer_session_options options;
    clinfer_session_options_default(together->engine, &options);
    enum clinfer_status status =
        clinfer_session_create(together->engine, &options, &together->sessions[together->count]);
    together->count += status == CLINFER_OK;
    return status;
}

/* How many of the next texts one step holds. */
static int fit(const struct together *together, const struct clinfer_tokens *texts, size_t count) {
    size_t rows = 0;
    int fitting = 0;
    while (fitting < TOGETHER && (size_t)fitting < count && texts[fitting].count &&
           texts[fitting].count <= together->most && rows + texts[fitting].count <= together->most)
        rows += texts[fitting++].count;
    return fitting;
}

/* Vectors of the next texts, of which *done come out; where a step of several fails, one by one. */
static enum clinfer_status embed_some(struct together *together, const struct clinfer_tokens *texts, size_t count,
                                      enum clinfer_pooling pooling, size_t width, float *vectors, int *done) {
    size_t cols = (size_t)together->engine->model.outputs;
    int fitting = fit(together, texts, count);
    enum clinfer_status status = CLINFER_OK;
    while (status == CLINFER_OK && together->count < (fitting > 1 ? fitting : 1)) status = provide_session(together);
    *done = 0;
    if (status != CLINFER_OK) return status;
    if (fitting > 1 && ci_session_compute_together(together->sessions, texts, fitting, together->rows) == CLINFER_OK) {
        const float *rows = together->rows;
        for (; *done < fitting && status == CLINFER_OK; ++*done) {
            size_t tokens = texts[*done].count, made = pooling == CLINFER_POOLING_NONE ? tokens : 1;
            if (pooling == CLINFER_POOLING_NONE)
                memcpy(vectors, rows, tokens * cols * sizeof *vectors);
            else
                status = pool_rows(together->engine, rows, tokens, pooling, vectors);
            rows += tokens * cols;
            vectors += made * width;
        }
        return status;
    }
    status = clinfer_embed(together->sessions[0], texts[0].tokens, texts[0].count, pooling, vectors);
    *done = status == CLINFER_OK;
    return status;
}

enum clinfer_status clinfer_embed_all(clinfer_engine *engine, const struct clinfer_tokens *texts, size_t count,
                                      enum clinfer_pooling pooling, bool (*goes_on)(void *), void *user,
                                      float *vectors) {
    struct together together;
    CI_REQUIRE(engine, "engine");
    if (count) CI_REQUIRE(texts, "texts");
    if (count) CI_REQUIRE(vectors, "vectors");
    for (size_t i = 0; i < count; i++)
        if (texts[i].count) CI_REQUIRE(texts[i].tokens, "texts[].tokens");
    enum clinfer_status status = check(engine, pooling);
    if (status != CLINFER_OK) return status;
    size_t width = (size_t)(pooling == CLINFER_POOLING_RANK ? engine->rank.scores : engine->model.outputs);
    begin_together(engine, count, &together);
    for (size_t i = 0; i < count && status == CLINFER_OK;) {
        int done;
        if (goes_on && !goes_on(user)) {
            status = ci_fail(CLINFER_CANCELLED, "cancelled before text %zu of %zu", i, count);
            break;
        }
        status = embed_some(&together, texts + i, count - i, pooling, width, vectors, &done);
        if (status != CLINFER_OK) ci_fail_prefix(status, "text %zu", i + (size_t)done);
        for (int k = 0; k < done; k++)
            vectors += width * (pooling == CLINFER_POOLING_NONE ? texts[i + (size_t)k].count : 1);
        i += (size_t)done;
    }
    end_together(&together);
    return status;
}
