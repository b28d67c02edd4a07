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

enum clinfer_status clinfer_embed_all(clinfer_engine *engine, const struct clinfer_tokens *texts, size_t count,
                                      enum clinfer_pooling pooling, bool (*goes_on)(void *), void *user,
                                      float *vectors) {
    struct clinfer_session_options options;
    clinfer_session *session;
    CI_REQUIRE(engine, "engine");
    if (count) CI_REQUIRE(texts, "texts");
    if (count) CI_REQUIRE(vectors, "vectors");
    enum clinfer_status status = check(engine, pooling);
    if (status != CLINFER_OK) return status;
    clinfer_session_options_default(engine, &options);
    status = clinfer_session_create(engine, &options, &session);
    if (status != CLINFER_OK) return status;
    size_t width = (size_t)(pooling == CLINFER_POOLING_RANK ? engine->rank.scores : engine->model.outputs);
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        if (goes_on && !goes_on(user)) {
            status = ci_fail(CLINFER_CANCELLED, "cancelled before text %zu of %zu", i, count);
            break;
        }
        status = clinfer_embed(session, texts[i].tokens, texts[i].count, pooling, vectors);
        if (status != CLINFER_OK) ci_fail_prefix(status, "text %zu", i);
        vectors += width * (pooling == CLINFER_POOLING_NONE ? texts[i].count : 1);
    }
    clinfer_session_destroy(session);
    return status;
}
