/* draft_model.c: a smaller model of the same vocabulary guesses what the larger one will say (Leviathan et al. 2023,
 * arXiv 2211.17192): its likeliest token, again and again.
 *
 * It is an engine of its own inside the larger one's, used by whoever computes that one's steps. Each session has a
 * session there, whose tokens are those of the conversation as far as they are alike; what was guessed wrong is written
 * over. So a first guess computes the whole prompt there, too. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/narrow.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/verify.h"

/* ---- the engine ---- */

/* What it writes are the larger one's tokens. */
static enum clinfer_status compare_vocabularies(const struct clinfer_engine *engine,
                                                const struct clinfer_engine *model) {
    const struct ci_tokenizer *own = engine->tokenizer, *other = model->tokenizer;
    const size_t tokens = ci_tokenizer_size(own);
    if (ci_tokenizer_size(other) != tokens)
        return ci_fail(CLINFER_UNSUPPORTED, "it has %zu tokens, and the model whose answers it is to guess %zu",
                       ci_tokenizer_size(other), tokens);
    if (model->model.hyper.vocabulary > engine->model.hyper.vocabulary)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "it writes %d different tokens, and the model whose answers it is to guess %d",
                       model->model.hyper.vocabulary, engine->model.hyper.vocabulary);
    for (int32_t id = 0; (size_t)id < tokens; id++) {
        size_t length, other_length;
        const char *text = ci_tokenizer_piece(own, id, true, &length);
        const char *other_text = ci_tokenizer_piece(other, id, true, &other_length);
        if (length != other_length || (length && memcmp(text, other_text, length) != 0))
            return ci_fail(CLINFER_UNSUPPORTED,
                           "its token %d is '%.*s', and '%.*s' in the model whose answers it is to guess", (int)id,
                           ci_shown(other_length, 40), other_text, ci_shown(length, 40), text);
        if (ci_tokenizer_is_end(own, id) != ci_tokenizer_is_end(other, id))
            return ci_fail(CLINFER_UNSUPPORTED,
                           "its token %d ('%.*s') ends answers in one of the two models and not in the other", (int)id,
                           ci_shown(length, 40), text);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_draft_open(struct clinfer_engine *engine) {
    const struct clinfer_engine_options *own = &engine->options;
    struct clinfer_engine *model = NULL;
    if (!own->draft.model) return CLINFER_OK;
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = own->draft.model;
    options.device = own->device;
    if (!engine->device_count) options.device = "cpu"; /* a device that was left may hang */
    if (own->draft.device) options.device = own->draft.device;
    options.threads = own->threads;
    options.context = engine->context;
    options.batch = own->batch;
    options.fallback = own->fallback;
    enum clinfer_status status = ci_engine_open_unproven(&options, &model);
    if (status == CLINFER_INVALID_ARGUMENT) { /* it was made for less: nothing is guessed beyond that */
        options.context = 0;
        status = ci_engine_open_unproven(&options, &model);
    }
    if (status == CLINFER_OK && ci_model_encodes(&model->model))
        status = ci_fail(CLINFER_UNSUPPORTED, "it writes no text");
    if (status == CLINFER_OK) status = compare_vocabularies(engine, model);
    if (status == CLINFER_OK) {
        engine->draft.logits = malloc(sizeof *engine->draft.logits * (size_t)model->model.outputs);
        if (!engine->draft.logits) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for its logits");
    }
    if (status != CLINFER_OK) {
        status = ci_fail_prefix(status, "-md %s", own->draft.model);
        char message[1024];
        strncpy(message, ci_status_message(), sizeof message - 1);
        message[sizeof message - 1] = '\0';
        clinfer_engine_close(model);
        return ci_fail(status, "%s", message);
    }
    engine->draft.model = model;
    ci_log(CLINFER_LOG_INFO, "%s guesses on %s: %.0f MB of weights, a context of %d tokens", own->draft.model,
           model->info.device, 1e-6 * (double)model->info.weight_bytes, model->context);
    return CLINFER_OK;
}

void ci_draft_close(struct clinfer_engine *engine) {
    clinfer_engine_close(engine->draft.model);
    free(engine->draft.logits);
    engine->draft.model = NULL;
    engine->draft.logits = NULL;
}

/* ---- guessing ---- */

static bool is_there(const struct clinfer_session *session) { return session->engine->draft.model; }

static int look(struct clinfer_session *session, int most, int *kind) {
    int64_t room = (int64_t)session->engine->draft.model->context - (int64_t)session->known;
    *kind = 0;
    return room >= most ? most : room > 0 ? ci_narrowed(room) : 0;
}

/* The session of the smaller model; NULL: no memory. */
static struct clinfer_session *own_session(struct clinfer_session *session) {
    struct clinfer_engine *model = session->engine->draft.model;
    struct clinfer_session_options options;
    struct clinfer_session *own = session->drafting.model;
    const size_t capacity = (size_t)model->context + 2;
    if (own) return own;
    clinfer_session_options_default(model, &options);
    if (clinfer_session_create(model, &options, &own) != CLINFER_OK) return NULL;
    own->tokens = malloc(sizeof *own->tokens * capacity);
    if (!own->tokens) {
        clinfer_session_destroy(own);
        return NULL;
    }
    own->capacity = capacity;
    session->drafting.model = own;
    return own;
}

/* Its tokens are the conversation's; what is computed of them stays as far as they are alike. */
static void take_over(const struct clinfer_session *session, struct clinfer_session *own) {
    size_t common = 0, most = own->computed < session->known ? own->computed : session->known - 1;
    while (common < most && own->tokens[common] == session->tokens[common]) common++;
    memcpy(own->tokens + common, session->tokens + common, sizeof *own->tokens * (session->known - common));
    own->known = session->known;
    own->computed = common;
}

/* The likeliest token, if that is likely enough; -1: it is not. */
static int32_t likeliest(const float *logits, int count, float least) {
    int32_t best = 0;
    double sum = 0;
    for (int32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    if (least <= 0) return best;
    for (int32_t i = 0; i < count; i++) sum += (double)expf(logits[i] - logits[best]);
    return sum * (double)least <= 1 ? best : -1;
}

static float least_probability(const struct clinfer_session *session) {
    float own = session->options.draft_p_min;
    return isnan(own) ? session->engine->options.draft.p_min : own;
}

/* What is known already, to the mean of what was measured; the first one counts whole. */
static void average(double *mean, double value) { *mean = *mean > 0 ? 0.8 * *mean + 0.2 * value : value; }

static int guess(struct clinfer_session *session, int count, int32_t *tokens) {
    struct ci_draft_engine *draft = &session->engine->draft;
    struct clinfer_session *own = own_session(session);
    const float least = least_probability(session);
    double start = ci_now();
    int guessed = 0;
    if (!own) return 0;
    take_over(session, own);
    const double prompt = (double)(own->known - own->computed);
    for (; guessed < count; guessed++) {
        bool replaced;
        size_t bad;
        bool computed =
            ci_engine_compute_logits(draft->model, own, false, draft->logits, &replaced, &bad) == CLINFER_OK &&
            !replaced && bad == 0;
        int32_t token = computed ? likeliest(draft->logits, draft->model->model.hyper.vocabulary, least) : -1;
        if (token < 0) break;
        own->tokens[own->known++] = tokens[guessed] = token;
        if (guessed == 0 && prompt > CI_DRAFT_MOST) {
            average(&draft->prompt_seconds, (ci_now() - start) / prompt);
            start = ci_now();
        } else {
            average(&draft->model_seconds, ci_now() - start);
            start = ci_now();
        }
    }
    return guessed;
}

/* Until it is measured, by the sizes of both models. A prompt that is not computed there yet is shared out among the
 * tokens that are to come, of which nobody knows how many. */
static double seconds(const struct clinfer_session *session) {
    enum { EXPECTED = 256, PIECE = CI_DRAFT_MOST + 1 };
    const struct ci_draft_engine *draft = &session->engine->draft;
    const struct clinfer_session *own = session->drafting.model;
    const double share = (double)draft->model->info.weight_bytes / (double)session->engine->info.weight_bytes;
    const double row = draft->prompt_seconds > 0 ? draft->prompt_seconds : share * ci_draft_pace(draft, PIECE) / PIECE;
    const double each = draft->model_seconds > 0 ? draft->model_seconds : share * ci_draft_pace(draft, 1);
    size_t missing = session->known - (own && own->computed < session->known ? own->computed : 0), expected = EXPECTED;
    int64_t left = session->max_tokens - (int64_t)session->generated;
    if (session->max_tokens >= 0 && left > 0 && left < EXPECTED) expected = (size_t)left;
    return each + (missing > CI_DRAFT_MOST ? (double)missing * row / (double)expected : 0);
}

const struct ci_draft_source ci_draft_model = {
    .name = "model",
    .is_there = is_there,
    .look = look,
    .guess = guess,
    .seconds = seconds,
    .start = {0.8},
};
