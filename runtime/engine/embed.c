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
    info->pooling_is_said = said == MEAN || said == CLS || said == LAST;
    if (said == MEAN) info->pooling = CLINFER_POOLING_MEAN;
    if (said == CLS) info->pooling = CLINFER_POOLING_CLS;
    if (said == LAST) info->pooling = CLINFER_POOLING_LAST;
    if (said == RANK && ci_model_makes_vectors(model))
        return ci_fail(CLINFER_UNSUPPORTED,
                       "%s: %s: 4 (rank): it scores pairs of texts instead of making vectors, which is not supported; "
                       "choose an embedding model",
                       ci_gguf_path(engine->gguf), key);
    return CLINFER_OK;
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

enum clinfer_status clinfer_embed(clinfer_session *session, const int32_t *tokens, size_t count,
                                  enum clinfer_pooling pooling, float *vector) {
    CI_REQUIRE(session, "session");
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(vector, "vector");
    struct clinfer_engine *engine = session->engine;
    if (!ci_model_makes_vectors(&engine->model))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the engine makes logits; open it with `embeddings`");
    if (pooling > CLINFER_POOLING_LAST)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "pooling: %d is none of clinfer_pooling", (int)pooling);
    if (pooling == CLINFER_POOLING_LAST) return clinfer_logits(session, tokens, count, false, vector);
    if (count == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "the text has no tokens");
    size_t cols = (size_t)engine->model.outputs;
    float *rows = calloc(count, cols * sizeof *rows);
    if (!rows) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the vectors of %zu tokens", count);
    enum clinfer_status status = clinfer_logits(session, tokens, count, true, rows);
    if (status == CLINFER_OK) pool(rows, count, cols, pooling, vector);
    free(rows);
    return status;
}
