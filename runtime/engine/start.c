/* start.c: how a task begins, and what its receiver is told while it runs; on the runner's thread. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/runner_private.h"

/* In nobody's driver while the receiver has the word, and without the lock: it may be a terminal that was stopped, and
 * those who wait must be able to look. false: nothing of this runner comes through any more. */
static bool begin_talk(struct ci_task *task, size_t bytes, struct ci_watch_pause *pause) {
    struct ci_runner *runner = task->runner;
    *pause = ci_watch_pause();
    pthread_mutex_lock(&runner->lock);
    runner->talks = !runner->abandoned;
    if (runner->talks) task->text_bytes += bytes;
    bool may = runner->talks;
    pthread_mutex_unlock(&runner->lock);
    return may;
}

static void end_talk(const struct ci_task *task, const struct ci_watch_pause *pause) {
    struct ci_runner *runner = task->runner;
    pthread_mutex_lock(&runner->lock);
    runner->talks = false;
    pthread_mutex_unlock(&runner->lock);
    ci_watch_resume(pause);
}

static bool pass_on(struct ci_task *task, clinfer_text_callback *callback, const char *text, size_t length) {
    struct ci_watch_pause pause;
    bool goes_on = begin_talk(task, length, &pause);
    if (goes_on && callback) goes_on = callback(task->request.user, text, length);
    end_talk(task, &pause);
    return goes_on;
}

static void on_start(void *user, size_t cached_tokens) {
    struct ci_task *task = user;
    size_t prompt_tokens = task->seat->session->result.prompt_tokens;
    struct ci_watch_pause pause;
    if (!task->request.started) return;
    if (begin_talk(task, 0, &pause)) task->request.started(task->request.user, prompt_tokens, cached_tokens);
    end_talk(task, &pause);
}

void ci_task_tell_progress(struct ci_task *task, size_t done, size_t total) {
    struct ci_watch_pause pause;
    if (begin_talk(task, 0, &pause)) task->request.progress(task->request.user, done, total);
    end_talk(task, &pause);
}

/* As pass_on(), for what is not text and takes no time. */
static void tell_form_of_calls(const struct ci_task *task, enum ci_call_start start) {
    struct ci_runner *runner = task->runner;
    pthread_mutex_lock(&runner->lock);
    if (!runner->abandoned && task->request.prompt.tools)
        task->request.began(task->request.user, ci_chat_calls(runner->engine->chat), start);
    pthread_mutex_unlock(&runner->lock);
}

static bool on_text(void *user, const char *text, size_t length) {
    struct ci_task *task = user;
    return pass_on(task, task->request.callback, text, length);
}

static bool on_reasoning(void *user, const char *text, size_t length) {
    struct ci_task *task = user;
    return pass_on(task, task->request.reasoning, text, length);
}

/* With the lock held. What an abandoned runner has is read by others without it, and must stay where it is. */
static bool make_room(struct ci_task *task, size_t capacity) {
    if (task->runner->abandoned) return false;
    if (capacity <= task->token_capacity) return true;
    int32_t *tokens = realloc(task->tokens, capacity * sizeof *tokens);
    if (!tokens) return false;
    task->tokens = tokens;
    task->token_capacity = capacity;
    return true;
}

bool ci_task_is_cancelled(const struct ci_task *task) {
    return atomic_load(&task->cancel) || (task->request.cancel && atomic_load(&task->request.cancel->wanted));
}

static bool on_token(void *user, int32_t token) {
    struct ci_task *task = user;
    clinfer_session *session = task->seat->session;
    const struct clinfer_logprob *row =
        ci_logprobs_row(&session->logprobs, session->output, session->generated ? session->generated - 1 : 0);
    pthread_mutex_lock(&task->runner->lock);
    size_t count = task->token_count;
    /* More than the context holds come only where it is shifted. */
    bool goes_on = make_room(task, count < task->token_capacity ? count : 2 * count);
    if (goes_on) task->tokens[task->token_count++] = token;
    if (goes_on && task->request.token) task->request.token(task->request.user, token, row);
    task->memory = session->sampler.memory;
    pthread_mutex_unlock(&task->runner->lock);
    return goes_on && !ci_task_is_cancelled(task);
}

/* Room for all tokens that the context allows, so that none is made while they come. */
static enum clinfer_status make_first_room(struct ci_task *task) {
    size_t capacity = (size_t)task->runner->engine->context + task->request.begun_count + 2;
    pthread_mutex_lock(&task->runner->lock);
    bool made = make_room(task, capacity);
    pthread_mutex_unlock(&task->runner->lock);
    return made ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", capacity);
}

/* As if the context had been shifted where it was full. */
static enum clinfer_status append_begun(const struct ci_task *task, int32_t **tokens, size_t *count) {
    size_t begun = task->request.begun_count;
    if (!begun) return CLINFER_OK;
    int32_t *grown = realloc(*tokens, (*count + begun) * sizeof *grown);
    if (!grown) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", *count + begun);
    *tokens = grown;
    size_t context = (size_t)task->runner->engine->context;
    for (size_t i = 0; i < begun; i++) {
        grown[(*count)++] = task->tokens[i];
        if (task->request.sampling.shift && *count > context) *count = ci_session_shift(grown, *count);
    }
    return CLINFER_OK;
}

/* The first of the answer's tokens come behind those of the prompt. */
static enum clinfer_status make_tokens(struct ci_task *task, int32_t **tokens, size_t *count) {
    *tokens = task->prepared.tokens;
    *count = task->prepared.count;
    task->prepared.tokens = NULL;
    enum clinfer_status status = make_first_room(task);
    return status == CLINFER_OK ? append_begun(task, tokens, count) : status;
}

enum clinfer_status ci_task_start(struct ci_task *task, bool *of_model) {
    const struct ci_task_request *request = &task->request;
    const struct ci_prepared *prepared = &task->prepared;
    int32_t *tokens;
    size_t count, before = prepared->count;
    *of_model = true;
    if (prepared->status != CLINFER_OK) return ci_fail(prepared->status, "%s", task->message);
    enum clinfer_status status = make_tokens(task, &tokens, &count);
    if (status == CLINFER_OK && !task->seat->session)
        status = clinfer_session_create(task->runner->engine, &request->sampling, &task->seat->session);
    if (status == CLINFER_OK) {
        bool templated = !request->prompt.raw && !request->prompt.tokens;
        const struct clinfer_request submitted = {.tokens = tokens,
                                                  .count = count,
                                                  .max_tokens = request->max_tokens,
                                                  .callback = on_text,
                                                  .user = task,
                                                  .ignore_end = request->ignore_end,
                                                  .no_cache = request->no_cache,
                                                  .grammar = prepared->compiled ? &task->grammar : NULL};
        const struct ci_take_up take_up = {.answer = task->tokens,
                                           .generated = request->begun_count,
                                           .memory = request->memory,
                                           .prompt_tokens = before,
                                           .text_bytes = request->text_bytes,
                                           .on_token = on_token,
                                           .on_start = on_start,
                                           .form = templated ? ci_chat_reasoning(task->runner->engine->chat) : NULL,
                                           .reasoning_begun = prepared->reasoning_begun,
                                           .reasoning = request->reasoning ? on_reasoning : NULL,
                                           .compiled = prepared->compiled,
                                           .grammar_mark = prepared->mark,
                                           .calls = request->prompt.tools ? ci_chat_calls(task->runner->engine->chat)
                                                                          : NULL};
        tell_form_of_calls(task, prepared->call_start);
        status = ci_session_submit(task->seat->session, &submitted, &take_up);
        *of_model =
            status == CLINFER_CONTEXT_FULL || status == CLINFER_INVALID_ARGUMENT || status == CLINFER_UNSUPPORTED;
    }
    clinfer_free(tokens);
    pthread_mutex_lock(&task->runner->lock);
    task->prompt_tokens = count;
    pthread_mutex_unlock(&task->runner->lock);
    return status;
}
