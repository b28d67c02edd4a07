/* session.c: sessions and their requests, and who computes the steps. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/require.h"
#include "base/stop.h"
#include "engine/aside.h"
#include "engine/engine_private.h"
#include "trace/probes.h"

enum { LEAST_SHIFTED = 16 };

void clinfer_session_options_default(const clinfer_engine *engine, struct clinfer_session_options *options) {
    if (!options) return;
    ci_sampler_unset(options);
    if (engine) ci_sampler_fill_in(&engine->info, options);
}

static void free_lists(struct clinfer_session *session) {
    for (int group = 0; session && group < CI_CACHE_GROUPS; group++) free(session->lists[group].pages);
}

/* Of the groups that the model has. */
static enum clinfer_status make_lists(const struct clinfer_engine *engine, struct clinfer_session *session) {
    for (int group = 0; group < CI_CACHE_GROUPS; group++) {
        struct ci_page_list *list = &session->lists[group];
        if (!engine->pools[group].exists) continue;
        list->pages = malloc(sizeof *list->pages * (size_t)engine->pages_per_sequence);
        if (!list->pages) return CLINFER_OUT_OF_MEMORY;
    }
    return CLINFER_OK;
}

enum clinfer_status clinfer_session_create(clinfer_engine *engine, const struct clinfer_session_options *options,
                                           clinfer_session **out) {
    CI_REQUIRE(out, "session");
    *out = NULL;
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(options, "options");
    CI_REQUIRE_PROCESS(engine->process, "engine");
    enum clinfer_status status = CLINFER_OK;
    if (options->shift && engine->context < LEAST_SHIFTED)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "a context of %d tokens cannot be shifted; it needs %d",
                         engine->context, LEAST_SHIFTED);
    if (status != CLINFER_OK) return status;
    struct clinfer_session *session = calloc(1, sizeof *session);
    status = session ? make_lists(engine, session) : CLINFER_OUT_OF_MEMORY;
    if (status != CLINFER_OK) {
        free_lists(session);
        free(session);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a session");
    }
    status = ci_sampler_create(engine, options, &session->sampler);
    if (status != CLINFER_OK) {
        free_lists(session);
        free(session);
        return status;
    }
    session->engine = engine;
    session->options = session->sampler.options;
    session->in_flight = -1;
    atomic_init(&session->cancel, false);
    pthread_mutex_lock(&engine->lock);
    struct clinfer_session **end = &engine->sessions;
    while (*end) end = &(*end)->next;
    *end = session;
    pthread_mutex_unlock(&engine->lock);
    *out = session;
    return CLINFER_OK;
}

/* Becomes the one who computes, between two steps of whoever does; returns with the lock held. A callback already is
 * inside a step: it would wait for itself. */
enum clinfer_status ci_engine_lead(struct clinfer_engine *engine) {
    CI_REQUIRE_PROCESS(engine->process, "engine");
    pthread_mutex_lock(&engine->lock);
    if (engine->leading && pthread_equal(engine->leader, pthread_self())) {
        pthread_mutex_unlock(&engine->lock);
        return ci_fail(CLINFER_INVALID_ARGUMENT, "called from a text callback, which may call clinfer_cancel only");
    }
    engine->guests++;
    if (engine->leading) {
        const struct ci_watch_pause pause = ci_watch_pause(); /* who leads is watched, too */
        while (engine->leading) pthread_cond_wait(&engine->changed, &engine->lock);
        ci_watch_resume(&pause);
    }
    engine->guests--;
    engine->leading = true;
    engine->leader = pthread_self();
    return CLINFER_OK;
}

void ci_engine_stop_leading(struct clinfer_engine *engine) {
    ci_engine_count(engine, &engine->told);
    engine->leading = false;
    pthread_cond_broadcast(&engine->changed);
    pthread_mutex_unlock(&engine->lock);
}

void clinfer_session_destroy(clinfer_session *session) {
    if (!session || !ci_process_owns(session->engine->process)) return;
    struct clinfer_engine *engine = session->engine;
    if (ci_session_is_active(session)) {
        clinfer_cancel(session);
        clinfer_wait(session, NULL);
    }
    if (ci_engine_lead(engine) != CLINFER_OK) {
        ci_log(CLINFER_LOG_ERROR, "clinfer_session_destroy: %s; the session stays", ci_status_message());
        return;
    }
    for (struct clinfer_session **link = &engine->sessions; *link; link = &(*link)->next)
        if (*link == session) {
            *link = session->next;
            break;
        }
    for (struct clinfer_session *other = engine->sessions; other; other = other->next)
        if (other->follows == session) other->follows = NULL;
    ci_prefix_keep(engine, session);
    ci_engine_return_pages(engine, session, 0);
    ci_constraint_end(&session->constraint); /* what is counted there is the engine's */
    ci_draft_end(session);
    bool last = engine->closing && !engine->sessions;
    ci_engine_stop_leading(engine);
    free(session->tokens);
    free(session->output);
    free_lists(session);
    ci_sampler_destroy(&session->sampler);
    ci_logprobs_free(&session->logprobs);
    ci_stop_texts_free(&session->stop);
    free(session);
    if (last) clinfer_engine_close(engine);
}

/* Room for everything that a request can lead to, so that decoding allocates nothing. */
enum clinfer_status ci_session_reserve(struct clinfer_session *session, const struct clinfer_request *request) {
    size_t context = (size_t)session->engine->context;
    if (request->count == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "the prompt has no tokens");
    if (!request->tokens)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the request's tokens are NULL, its count %zu", request->count);
    if (request->max_tokens < -1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "max_tokens: %d, must be -1 or more", request->max_tokens);
    enum clinfer_status status = ci_stop_texts_check(request->stop, request->stop_count);
    if (status != CLINFER_OK) return status;
    int most = session->engine->model.hyper.context;
    if (request->count > context && request->count > (size_t)most)
        return ci_fail(CLINFER_CONTEXT_FULL,
                       "the prompt has %zu tokens, and the model was made for %d; shorten it, or take a model with a "
                       "larger context",
                       request->count, most);
    if (request->count > context)
        return ci_fail(
            CLINFER_CONTEXT_FULL,
            "the prompt has %zu tokens, the context %zu; shorten it, or raise -c (the model was made for %d)",
            request->count, context, most);
    for (size_t i = 0; i < request->count; i++)
        if (request->tokens[i] < 0 || request->tokens[i] >= session->engine->model.hyper.vocabulary)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "token %zu is %d, the vocabulary has 0..%d", i, request->tokens[i],
                           session->engine->model.hyper.vocabulary - 1);
    size_t capacity = context + 2;
    if (capacity <= session->capacity) return CLINFER_OK;
    int32_t *tokens = realloc(session->tokens, sizeof *tokens * capacity);
    if (tokens) session->tokens = tokens;
    int32_t *output = realloc(session->output, sizeof *output * capacity);
    if (output) session->output = output;
    if (!tokens || !output) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", capacity);
    session->capacity = session->output_capacity = capacity;
    return CLINFER_OK;
}

/* An answer whose context was shifted may be longer than that. */
static enum clinfer_status reserve_output(struct clinfer_session *session, size_t generated) {
    if (generated < session->output_capacity) return CLINFER_OK;
    size_t capacity = 2 * generated;
    int32_t *output = realloc(session->output, sizeof *output * capacity);
    if (!output) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", capacity);
    session->output = output;
    session->output_capacity = capacity;
    return CLINFER_OK;
}

/* Keeps the longest common prefix of what is in the caches and the new tokens; at least one is left to compute. */
static void take_prompt(struct clinfer_session *session, const struct clinfer_request *request) {
    struct clinfer_engine *engine = session->engine;
    const int32_t *tokens = request->tokens;
    size_t common = 0, most = session->computed < request->count ? session->computed : request->count - 1;
    size_t trusted = session->generated > session->taken_up ? session->computed : session->trusted;
    if (request->no_cache) most = 0;
    while (common < most && common < session->known && session->tokens[common] == tokens[common]) common++;
    if (common < session->computed) ci_prefix_keep(engine, session);
    memcpy(session->tokens, tokens, sizeof *tokens * request->count);
    session->known = request->count;
    session->computed = common;
    ci_engine_check_window(engine, session);
    session->trusted = trusted < session->computed ? trusted : session->computed;
    session->shares = !request->no_cache && engine->options.prefix_bytes != 0;
    session->admitted = session->told = false;
    session->follows = NULL;
}

/* As often as it takes to see what a pair costs whoever records them; trace/probes.h. */
static void probe_pairs(void) {
    enum { PAIRS = 256 };
    for (int i = 0; i < PAIRS; i++) {
        CI_PROBE(probe_begin, i, "probe", "probe", "none", (int64_t)i, (int64_t)i, (int64_t)i);
        CI_PROBE(probe_end, i);
    }
}

static enum clinfer_status take_up_answer(struct clinfer_session *session, const struct ci_take_up *take_up) {
    size_t generated = take_up->generated;
    enum clinfer_status status = CLINFER_OK;
    bool closed;
    memcpy(session->output, take_up->answer, generated * sizeof *session->output);
    session->generated = session->taken_up = generated;
    session->result.prompt_tokens = take_up->prompt_tokens;
    /* Their text goes through the stream again, which so holds back what it held back there. */
    session->skipped_bytes = take_up->text_bytes;
    for (size_t i = 0; i < generated && !session->refused && status == CLINFER_OK; i++) {
        if (ci_session_is_constrained(session))
            status = ci_constraint_take(session->engine, &session->constraint, session->output[i], -1, &closed);
        if (status == CLINFER_OK) ci_session_emit(session, session->output[i]);
    }
    return status;
}

/* The request becomes active with the next step. */
static enum clinfer_status begin(struct clinfer_session *session, const struct clinfer_request *request,
                                 const struct ci_take_up *take_up) {
    enum clinfer_status status = CLINFER_OK;
    if (session->engine->trace) probe_pairs();
    session->request = ++session->engine->requests;
    session->result = (struct clinfer_result){.prompt_tokens = request->count};
    take_prompt(session, request);
    session->result.cached_tokens = session->computed;
    session->generated = session->taken_up = 0;
    session->on_token = take_up ? take_up->on_token : NULL;
    session->on_start = take_up ? take_up->on_start : NULL;
    session->max_tokens = request->max_tokens < 0 ? -1 : request->max_tokens;
    session->callback = request->callback;
    session->user = request->user;
    session->ignore_end = request->ignore_end;
    session->calls = take_up ? take_up->calls : NULL;
    session->reasoning = take_up ? take_up->reasoning : NULL;
    ci_parts_begin(&session->parts, session->reasoning ? take_up->form : NULL, take_up && take_up->reasoning_begun);
    session->stream = (struct ci_utf8_stream){0};
    session->emitted = 0;
    session->skipped_bytes = 0;
    session->told_computed = session->computed;
    session->in_flight = -1;
    session->refused = false;
    session->on_host = ci_sampler_needs_host(&session->sampler);
    ci_draft_begin(session);
    ci_sampler_begin(&session->sampler, take_up && take_up->generated ? &take_up->memory : NULL);
    ci_logprobs_begin(&session->logprobs, session->options.logprobs);
    ci_stop_texts_begin(&session->stop, request->stop, request->stop_count);
    session->submitted = session->first_token = session->last_token = ci_now();
    session->status = CLINFER_OK;
    atomic_store(&session->cancel, false);
    ci_engine_return_pages(session->engine, session, session->computed);
    if (take_up && take_up->generated) status = take_up_answer(session, take_up);
    if (status != CLINFER_OK) return status;
    session->state = CI_SESSION_ACTIVE;
    ci_queue_enter(session->engine, session);
    return CLINFER_OK;
}

/* How many tokens an answer may have, those included that were generated elsewhere. */
static enum clinfer_status constrain(struct clinfer_session *session, const struct clinfer_request *request,
                                     struct ci_compiled *compiled, const struct ci_take_up *take_up) {
    struct clinfer_engine *engine = session->engine;
    size_t room = (size_t)engine->context - request->count, begun = take_up ? take_up->generated : 0;
    if (room + begun == 0) room = 1;
    int64_t most = session->options.shift ? -1 : (int64_t)(room + begun);
    if (request->max_tokens >= 0 && (most < 0 || request->max_tokens < most)) most = request->max_tokens;
    bool thinks = take_up && take_up->form && take_up->reasoning && take_up->reasoning_begun;
    const char *end = thinks ? ci_reasoning_end(take_up->form) : NULL;
    bool marked = take_up && take_up->grammar_mark;
    enum clinfer_status status = ci_constraint_begin(engine, request->grammar, compiled, marked ? NULL : end,
                                                     marked ? -1 : most, &session->constraint);
    if (status != CLINFER_OK || !marked) return status;
    return ci_constraint_wait_for(&session->constraint, take_up->grammar_mark);
}

/* Before the engine is led: others may compute meanwhile. */
static enum clinfer_status compile(struct clinfer_engine *engine, const struct clinfer_request *request,
                                   const struct ci_take_up *take_up, struct ci_compiled **compiled) {
    *compiled = take_up ? take_up->compiled : NULL;
    if (*compiled) ci_compiled_hold(*compiled);
    return *compiled || !request->grammar ? CLINFER_OK : ci_compiled_take(engine, request->grammar, compiled);
}

enum clinfer_status ci_session_submit(clinfer_session *session, const struct clinfer_request *request,
                                      const struct ci_take_up *take_up) {
    struct clinfer_engine *engine = session->engine;
    struct ci_compiled *compiled;
    CI_REQUIRE_PROCESS(engine->process, "engine");
    enum clinfer_status status = compile(engine, request, take_up, &compiled);
    if (status == CLINFER_OK) status = ci_engine_lead(engine);
    if (status != CLINFER_OK) {
        ci_compiled_release(compiled);
        return status;
    }
    if (session->state == CI_SESSION_ACTIVE)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "the session has a request that was not waited for");
    else if (engine->info.encoder)
        status = ci_fail(CLINFER_UNSUPPORTED,
                         "%s: a model of the family %s writes no text; `clinfer embed` makes vectors with it",
                         engine->options.model, engine->architecture);
    if (status == CLINFER_OK) status = ci_session_reserve(session, request);
    if (status == CLINFER_OK && take_up) status = reserve_output(session, take_up->generated);
    if (status == CLINFER_OK) status = constrain(session, request, compiled, take_up);
    if (status == CLINFER_OK && ci_sampler_needs_host(&session->sampler))
        status = ci_sampler_reserve(engine, &session->sampler);
    if (status == CLINFER_OK) status = begin(session, request, take_up);
    ci_engine_stop_leading(engine);
    ci_compiled_release(compiled);
    return status;
}

enum clinfer_status clinfer_submit(clinfer_session *session, const struct clinfer_request *request) {
    CI_REQUIRE(session, "session");
    CI_REQUIRE(request, "request");
    return ci_session_submit(session, request, NULL);
}

bool ci_session_is_active(clinfer_session *session) {
    struct clinfer_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    bool active = session->state == CI_SESSION_ACTIVE;
    pthread_mutex_unlock(&engine->lock);
    return active;
}

size_t ci_session_computed(clinfer_session *session) {
    struct clinfer_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    if (!engine->leading) session->told_computed = session->computed; /* else a guest may be in the middle of a step */
    size_t computed = session->told_computed;
    pthread_mutex_unlock(&engine->lock);
    return computed;
}

/* Who takes turn after turn lets those in first who come in once. */
static void let_guests_in(struct clinfer_engine *engine) {
    pthread_mutex_lock(&engine->lock);
    const struct ci_watch_pause pause = ci_watch_pause(); /* as in lead() */
    while (engine->guests > 0 && !(engine->leading && pthread_equal(engine->leader, pthread_self())))
        pthread_cond_wait(&engine->changed, &engine->lock);
    ci_watch_resume(&pause);
    pthread_mutex_unlock(&engine->lock);
}

bool ci_engine_turn(clinfer_engine *engine) {
    let_guests_in(engine);
    if (ci_engine_lead(engine) != CLINFER_OK) return false;
    pthread_mutex_unlock(&engine->lock); /* still leading */
    bool progress = ci_engine_step(engine);
    pthread_mutex_lock(&engine->lock);
    ci_engine_stop_leading(engine);
    return progress;
}

/* Programs built in this process are kept for the next when their kernels have run and nobody waits for text: on PoCL
 * saving compiles once more. Costs nothing when there are none. Called with the lock held, by the leader. */
static void save_programs_when_idle(struct clinfer_engine *engine) {
    if (engine->saves_later || engine->saves_nothing) return;
    for (const struct clinfer_session *s = engine->sessions; s; s = s->next)
        if (s->state == CI_SESSION_ACTIVE) return;
    for (int i = 0; i < engine->device_count; i++) ci_device_save_programs(engine->devices[i]);
}

/* Guests come in between two. */
bool ci_engine_save_programs(clinfer_engine *engine) {
    bool saved = true;
    if (ci_aside_builds(engine)) {
        if (ci_engine_lead(engine) != CLINFER_OK) return true;
        ci_aside_go_on(engine);
        const bool all = ci_aside_builds(engine);
        ci_engine_stop_leading(engine);
        return all;
    }
    ci_engine_make_chain(engine, CI_CHAIN_STEPS);
    while (saved && !ci_stop_is_asked()) {
        if (ci_engine_lead(engine) != CLINFER_OK) return true;
        saved = false;
        for (int i = 0; i < engine->device_count && !saved; i++) saved = ci_device_save_program(engine->devices[i]);
        ci_engine_stop_leading(engine);
    }
    return !saved;
}

/* Computes steps until the session's request is done; between steps others may come in. Called and left with the lock
 * held. */
static void lead_until_done(struct clinfer_session *session) {
    struct clinfer_engine *engine = session->engine;
    engine->leading = true;
    engine->leader = pthread_self();
    while (session->state == CI_SESSION_ACTIVE) {
        pthread_mutex_unlock(&engine->lock);
        bool progress = ci_engine_step(engine);
        pthread_mutex_lock(&engine->lock);
        assert(progress || session->state != CI_SESSION_ACTIVE);
        (void)progress;
        ci_engine_count(engine, &engine->told);
        if (engine->guests == 0) continue;
        engine->leading = false;
        pthread_cond_broadcast(&engine->changed);
        while (engine->leading || engine->guests > 0) pthread_cond_wait(&engine->changed, &engine->lock);
        engine->leading = true;
        engine->leader = pthread_self();
    }
    save_programs_when_idle(engine);
    engine->leading = false;
    pthread_cond_broadcast(&engine->changed);
}

enum clinfer_status clinfer_wait(clinfer_session *session, struct clinfer_result *result) {
    CI_REQUIRE(session, "session");
    CI_REQUIRE_PROCESS(session->engine->process, "engine");
    struct clinfer_engine *engine = session->engine;
    pthread_mutex_lock(&engine->lock);
    while (session->state == CI_SESSION_ACTIVE) {
        if (engine->leading && pthread_equal(engine->leader, pthread_self())) break;
        if (engine->leading || engine->guests > 0)
            pthread_cond_wait(&engine->changed, &engine->lock);
        else
            lead_until_done(session);
    }
    enum ci_session_state state = session->state;
    pthread_mutex_unlock(&engine->lock);
    if (state == CI_SESSION_ACTIVE)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "called from a text callback, which may call clinfer_cancel only");
    if (state == CI_SESSION_IDLE) return ci_fail(CLINFER_INVALID_ARGUMENT, "the session has no request");
    if (result) *result = session->result;
    return session->status == CLINFER_OK ? CLINFER_OK : ci_fail(session->status, "%s", session->message);
}

enum clinfer_status clinfer_generate(clinfer_session *session, const struct clinfer_request *request,
                                     struct clinfer_result *result) {
    enum clinfer_status status = clinfer_submit(session, request);
    return status == CLINFER_OK ? clinfer_wait(session, result) : status;
}

void clinfer_cancel(clinfer_session *session) {
    if (session) atomic_store(&session->cancel, true);
}

void clinfer_engine_get_stats(clinfer_engine *engine, struct clinfer_engine_stats *stats) {
    if (!stats) return;
    *stats = (struct clinfer_engine_stats){.fallback_text = ""};
    if (!engine || !ci_process_owns(engine->process)) return;
    pthread_mutex_lock(&engine->lock);
    bool own_step = engine->leading && pthread_equal(engine->leader, pthread_self());
    *stats = engine->told;
    pthread_mutex_unlock(&engine->lock);
    if (own_step) ci_engine_count(engine, stats); /* from a callback: up to this token */
}

enum clinfer_status clinfer_logits(clinfer_session *session, const int32_t *tokens, size_t count, bool all,
                                   float *logits) {
    CI_REQUIRE(session, "session");
    CI_REQUIRE(tokens, "tokens");
    CI_REQUIRE(logits, "logits");
    struct clinfer_engine *engine = session->engine;
    const struct clinfer_request request = {.tokens = tokens, .count = count};
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    if (session->state == CI_SESSION_ACTIVE)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "the session has a request that was not waited for");
    if (status == CLINFER_OK) status = ci_session_reserve(session, &request);
    pthread_mutex_unlock(&engine->lock); /* still leading */
    if (status == CLINFER_OK) {
        ci_prefix_keep(engine, session);
        session->shares = false;
        memcpy(session->tokens, tokens, sizeof *tokens * count);
        session->known = count;
        session->computed = 0;
        status = ci_engine_logits(engine, session, all, logits);
    }
    pthread_mutex_lock(&engine->lock);
    save_programs_when_idle(engine);
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status ci_session_copy(struct clinfer_session *to, const struct clinfer_session *from) {
    struct clinfer_engine *engine = to->engine;
    const struct clinfer_request request = {.tokens = from->tokens, .count = from->computed};
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    assert(to->state != CI_SESSION_ACTIVE && from->state != CI_SESSION_ACTIVE && from->computed <= from->known);
    status = ci_session_reserve(to, &request);
    if (status == CLINFER_OK) {
        ci_prefix_keep(engine, to);
        ci_engine_return_pages(engine, to, 0);
        memcpy(to->tokens, from->tokens, sizeof *from->tokens * from->computed);
        to->known = from->computed;
        to->computed = to->trusted = 0;
        status = ci_pages_copy(engine, from, to);
    }
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status ci_session_compute_together(struct clinfer_session *const *sessions,
                                                const struct clinfer_tokens *texts, int count, float *rows) {
    struct clinfer_engine *engine = sessions[0]->engine;
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        const struct clinfer_request request = {.tokens = texts[i].tokens, .count = texts[i].count};
        status = ci_session_reserve(sessions[i], &request);
    }
    pthread_mutex_unlock(&engine->lock); /* still leading */
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        ci_prefix_keep(engine, sessions[i]);
        sessions[i]->shares = false;
        memcpy(sessions[i]->tokens, texts[i].tokens, sizeof *texts[i].tokens * texts[i].count);
        sessions[i]->known = texts[i].count;
        sessions[i]->computed = 0;
    }
    if (status == CLINFER_OK) status = ci_engine_compute_together(engine, sessions, count, rows);
    pthread_mutex_lock(&engine->lock);
    save_programs_when_idle(engine);
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status clinfer_engine_record(clinfer_engine *engine, const struct clinfer_record **record) {
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(record, "record");
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    status = ci_engine_record(engine, record);
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status clinfer_engine_record_reset(clinfer_engine *engine) {
    CI_REQUIRE(engine, "engine");
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    status = ci_engine_record_reset(engine);
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status clinfer_engine_write_trace(clinfer_engine *engine, const char *path) {
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(path, "path");
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    status = ci_engine_write_trace(engine, path);
    ci_engine_stop_leading(engine);
    return status;
}

enum clinfer_status clinfer_engine_explain(clinfer_engine *engine, int rows, clinfer_plan_callback *callback,
                                           void *user, int *waits) {
    CI_REQUIRE(engine, "engine");
    CI_REQUIRE(callback, "callback");
    enum clinfer_status status = ci_engine_lead(engine);
    if (status != CLINFER_OK) return status;
    status = ci_engine_explain(engine, rows, 1, callback, user, waits);
    ci_engine_stop_leading(engine);
    return status;
}
