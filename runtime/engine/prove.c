#include "engine/prove.h"

#include <stdlib.h>

#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"

enum { PROMPT = 6, ANSWER = 3 }; /* the first token of the answer comes with the prompt */

static enum clinfer_status make_vector(clinfer_session *session, int outputs, const int32_t *tokens, size_t count) {
    float *vector = malloc((size_t)outputs * sizeof *vector);
    if (!vector) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a vector of %d numbers", outputs);
    enum clinfer_status status = clinfer_logits(session, tokens, count, false, vector);
    free(vector);
    return status;
}

static enum clinfer_status make_text(clinfer_session *session, const int32_t *tokens, size_t count) {
    const struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = ANSWER, .ignore_end = true};
    return clinfer_generate(session, &request, NULL);
}

enum clinfer_status ci_engine_prove(clinfer_engine *engine) {
    struct clinfer_engine_info info;
    struct clinfer_session_options options;
    clinfer_session *session;
    int32_t tokens[PROMPT];
    clinfer_engine_get_info(engine, &info);
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    size_t count = info.context > PROMPT + ANSWER ? PROMPT : 1;
    for (int i = 0; i < PROMPT; i++) tokens[i] = ci_narrowed((i * 7919LL + 13) % info.vocabulary);
    enum clinfer_status status = clinfer_session_create(engine, &options, &session);
    if (status != CLINFER_OK) return status;
    status = ci_model_makes_vectors(&engine->model) ? make_vector(session, info.outputs, tokens, count)
                                                    : make_text(session, tokens, count);
    clinfer_session_destroy(session);
    return status == CLINFER_OK ? CLINFER_OK : ci_fail_prefix(status, "it was opened, but does not compute");
}
