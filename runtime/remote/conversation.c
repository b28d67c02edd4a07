/* conversation.c: a request on its way down the ladder.
 *
 * Each rung either ends the request or leaves a status; what kind of failure that is decides which rungs are worth a
 * try: one of the model, of its context or of time leaves the remotes alone, one of a device leaves all.
 *
 * Whoever waits for one request looks after all of the router's: those that a device has left together go on together,
 * in the same steps of the next one. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "remote/checked.h"
#include "remote/router.h"
#include "text/tool_prompt.h"
#include "trace/probes.h"

/* How long a request may take to end that was told to: by Ctrl-C, or since its time is over. A step that takes long on
 * a slow device may end. */
static const struct ci_watch_limits patience = {.step = 5, .build = 60, .times = 10};

/* How often who waits looks for the end of its time or a cancellation, which a signal handler may have asked for. */
static const double look_seconds = 0.03;

/* Which rungs may still help. */
enum reach { REACH_ALL, REACH_REMOTES, REACH_NONE };

enum clinfer_status clinfer_conversation_create(clinfer_router *router, const struct clinfer_session_options *sampling,
                                                clinfer_conversation **out) {
    CI_REQUIRE(out, "conversation");
    *out = NULL;
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    struct clinfer_session_options own;
    clinfer_session_options_default(NULL, &own);
    struct clinfer_conversation *conversation = calloc(1, sizeof *conversation);
    if (conversation) {
        conversation->router = router;
        conversation->sampling = sampling ? *sampling : own;
        conversation->visits = calloc((size_t)router->count, sizeof *conversation->visits);
        conversation->shown = calloc((size_t)router->count, sizeof *conversation->shown);
        atomic_init(&conversation->cancel, false);
    }
    if (!conversation || !conversation->visits || !conversation->shown) {
        clinfer_conversation_destroy(conversation);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a conversation");
    }
    conversation->next = router->conversations;
    router->conversations = conversation;
    *out = conversation;
    return CLINFER_OK;
}

/* The seat of an abandoned runner is its own for ever. */
static void leave_seat(struct clinfer_conversation *conversation) {
    if (conversation->seat && conversation->runner) ci_seat_release(conversation->runner, conversation->seat);
    conversation->seat = NULL;
    conversation->runner = NULL;
}

void clinfer_conversation_destroy(clinfer_conversation *conversation) {
    if (!conversation || !ci_process_owns(conversation->router->process)) return;
    struct clinfer_router *router = conversation->router;
    if (ci_outlet_require_outside(router) != CLINFER_OK) {
        ci_log(CLINFER_LOG_ERROR, "clinfer_conversation_destroy: %s; the conversation stays", ci_status_message());
        return;
    }
    if (conversation->active) {
        clinfer_chat_cancel(conversation);
        clinfer_chat_wait(conversation, NULL);
    }
    struct clinfer_conversation **link = &router->conversations;
    while (*link && *link != conversation) link = &(*link)->next;
    if (*link) *link = conversation->next;
    leave_seat(conversation);
    free(conversation->messages);
    free(conversation->tokens);
    free(conversation->prompt);
    ci_outlet_free(conversation);
    json_decref(conversation->tools);
    json_decref(conversation->variables);
    free(conversation->visits);
    free(conversation->shown);
    free(conversation->route_text);
    free(conversation);
    if (router->closing && !router->conversations) clinfer_router_close(router);
}

void clinfer_chat_cancel(clinfer_conversation *conversation) {
    if (conversation) atomic_store(&conversation->cancel, true);
}

/* ---- one rung ---- */

/* Keeps what the task has generated, for the next rung, and lets it go. */
static void leave_task(struct clinfer_conversation *conversation) {
    struct ci_visit *visit = &conversation->visits[conversation->rung];
    size_t count, before = conversation->token_count;
    if (!conversation->task) return;
    const int32_t *tokens =
        ci_task_tokens(conversation->task, &count, &conversation->text_bytes, &conversation->memory);
    int32_t *kept = realloc(conversation->tokens, (count + 1) * sizeof *kept);
    if (kept) {
        memcpy(kept, tokens, count * sizeof *kept);
        conversation->tokens = kept;
        conversation->token_count = count;
    }
    visit->tokens += count > before ? count - before : 0;
    ci_task_release(conversation->task);
    conversation->task = NULL;
}

/* Hands the request to the rung's runner; a remote's turn comes when the request is waited for. */
static enum clinfer_status arrive(struct clinfer_conversation *conversation) {
    struct clinfer_router *router = conversation->router;
    const struct clinfer_chat_request *request = &conversation->request;
    struct ci_runner *runner;
    conversation->arrived = ci_now();
    conversation->visits[conversation->rung].tried = true;
    if (conversation->rung >= router->local_count) return CLINFER_OK;
    enum clinfer_status status = ci_router_runner(router, conversation->rung, &runner);
    if (status != CLINFER_OK) return status;
    if (conversation->runner != runner) leave_seat(conversation);
    conversation->runner = runner;
    const struct ci_task_request submitted = {
        .prompt = ci_chat_prompt_request(request, conversation->tools, conversation->variables),
        .sampling = conversation->sampling,
        .max_tokens = request->max_tokens,
        .ignore_end = request->ignore_end,
        .no_cache = request->no_cache,
        .grammar = request->grammar,
        .callback = ci_outlet_text,
        .reasoning = request->reasoning || request->piece || conversation->tools ? ci_outlet_reasoning : NULL,
        .tool_choice = conversation->request.tool_choice,
        .began = ci_outlet_expect_calls,
        .started = request->started ? ci_outlet_start : NULL,
        .progress = request->progress ? ci_outlet_progress : NULL,
        .token = request->piece ? ci_outlet_token : NULL,
        .user = conversation,
        .begun = conversation->tokens,
        .begun_count = conversation->token_count,
        .text_bytes = conversation->text_bytes,
        .memory = conversation->memory};
    return ci_task_submit(runner, &submitted, &conversation->seat, &conversation->task);
}

static bool is_out_of_time(const struct clinfer_conversation *conversation) {
    double deadline = conversation->request.deadline_seconds;
    return deadline > 0 && ci_now() - conversation->started > deadline;
}

/* The runner hangs, or another conversation found that it does. */
static enum clinfer_status give_up_hanging(struct clinfer_conversation *conversation, const struct ci_task_view *view) {
    struct clinfer_router *router = conversation->router;
    struct ci_rung *rung = &router->rungs[conversation->rung];
    /* First no text may come through any more: what has come by then is what the next rung goes on from. */
    if (rung->runner == conversation->runner) {
        ci_router_fail_hanging(view->silent, view->opening);
        ci_router_retire(router, conversation->rung, CLINFER_DEVICE_ERROR, true);
    } else {
        ci_router_leave_ended(router, conversation->runner);
    }
    leave_task(conversation);
    conversation->seat = NULL;
    conversation->runner = NULL;
    return ci_fail(rung->status, "%s", rung->reason);
}

/* What a failure of a local rung says about the others. */
static enum reach reach_of(enum clinfer_status status, bool of_model) {
    switch (status) {
    case CLINFER_INVALID_ARGUMENT: return REACH_NONE;
    case CLINFER_CONTEXT_FULL:
    case CLINFER_OUT_OF_TIME:
    case CLINFER_NOT_FOUND:
    case CLINFER_IO: /* the model's file, which the others would read, too */
    case CLINFER_BAD_FILE: return REACH_REMOTES;
    default: return of_model ? REACH_REMOTES : REACH_ALL;
    }
}

/* A device whose kernels fail is not asked again; one that had no memory for this request may well be. */
static void retire_if_broken(struct clinfer_conversation *conversation, const struct ci_task_view *view) {
    struct clinfer_router *router = conversation->router;
    bool broken = view->status == CLINFER_DEVICE_ERROR || view->status == CLINFER_NO_DEVICE ||
                  view->status == CLINFER_WRONG_RESULT || view->of_engine;
    /* Another conversation may have been first. */
    if (broken && router->rungs[conversation->rung].runner == conversation->runner)
        ci_router_retire(router, conversation->rung, view->status, false);
}

static enum clinfer_status fail_late(const struct clinfer_chat_request *request, size_t tokens) {
    return ci_fail(CLINFER_OUT_OF_TIME, "%.3g s were not enough: %zu tokens came", request->deadline_seconds, tokens);
}

static enum clinfer_status say_cancelled(const struct clinfer_conversation *conversation,
                                         struct clinfer_result *result) {
    *result =
        (struct clinfer_result){.finish = CLINFER_FINISH_CANCELLED, .generated_tokens = conversation->token_count};
    return CLINFER_OK;
}

/* The runner is done with the task. */
static enum clinfer_status take_result(struct clinfer_conversation *conversation, const struct ci_task_view *view,
                                       struct clinfer_result *result, enum reach *reach) {
    enum clinfer_status status = view->status;
    bool late = status == CLINFER_OK && view->result.finish == CLINFER_FINISH_CANCELLED &&
                !atomic_load(&conversation->cancel) && !conversation->stop.found && is_out_of_time(conversation);
    if (late)
        status = fail_late(&conversation->request, view->result.generated_tokens);
    else if (status != CLINFER_OK)
        retire_if_broken(conversation, view);
    leave_task(conversation);
    *result = view->result;
    *reach = reach_of(status, view->of_model);
    return status;
}

/* What has become of it on a rung of this machine, `seconds` later at most. false: it still runs; else *status, and of
 * a failure *reach, tell how this rung has ended it. */
static bool look(struct clinfer_conversation *conversation, double seconds, struct ci_task_view *view,
                 struct clinfer_result *result, enum reach *reach, enum clinfer_status *status) {
    const struct ci_watch_limits *limits = &conversation->router->limits;
    bool late = is_out_of_time(conversation), cancelled = atomic_load(&conversation->cancel);
    bool soon = (late || cancelled) && patience.step < limits->step;
    if (late || cancelled) ci_task_cancel(conversation->task);
    ci_task_wait(conversation->task, seconds, soon ? &patience : limits, view);
    if (view->state == CI_TASK_DONE) {
        *status = take_result(conversation, view, result, reach);
        return true;
    }
    if (late || cancelled || view->hangs) *reach = late ? REACH_REMOTES : REACH_ALL;
    if (view->hangs) {
        *status = give_up_hanging(conversation, view);
        if (cancelled) *status = say_cancelled(conversation, result);
        if (late && !cancelled) *status = ci_fail(CLINFER_OUT_OF_TIME, "%s", ci_status_message());
        return true;
    }
    if (!(late || cancelled) || !view->opening) return false;
    leave_task(conversation); /* the engine may well be of use later */
    *status = cancelled ? say_cancelled(conversation, result) : fail_late(&conversation->request, 0);
    return true;
}

static enum clinfer_finish finish_of(const struct clinfer_conversation *conversation,
                                     const struct ci_remote_result *answer) {
    return atomic_load(&conversation->cancel) ? CLINFER_FINISH_CANCELLED : answer->finish;
}

static void announce(struct ci_rung *rung) {
    const struct clinfer_remote *remote = rung->remote;
    if (rung->announced) return;
    rung->announced = true;
    bool named = strcmp(rung->name, remote->url) != 0;
    ci_log(CLINFER_LOG_NOTICE, "the prompt leaves this machine: it goes to %s%s%s%s%s", rung->name, named ? ", " : "",
           named ? remote->url : "", remote->model ? ", model " : "", remote->model ? remote->model : "");
}

static enum clinfer_status ask_remote(struct clinfer_conversation *conversation, struct clinfer_result *result) {
    struct ci_rung *rung = &conversation->router->rungs[conversation->rung];
    const struct clinfer_chat_request *request = &conversation->request;
    const struct clinfer_session_options *sampling = &conversation->sampling;
    struct ci_remote_result answer = {0};
    double start = ci_now();
    int most = request->max_tokens;
    if (most >= 0) most = most > (int)conversation->token_count ? most - (int)conversation->token_count : 1;
    size_t begun_before = request->continue_last;
    const struct ci_remote_request asked = {.messages = request->messages,
                                            .count = request->count - begun_before,
                                            .begun = ci_outlet_begun(conversation),
                                            .temperature = sampling->temperature,
                                            .top_p = sampling->top_p,
                                            .presence_penalty = sampling->presence_penalty,
                                            .frequency_penalty = sampling->frequency_penalty,
                                            .logit_bias = sampling->logit_bias,
                                            .logit_bias_count = sampling->logit_bias_count,
                                            .seed = (int64_t)(sampling->seed & INT32_MAX),
                                            .max_tokens = most,
                                            .stop = request->stop,
                                            .stop_count = request->stop_count,
                                            .json_schema = request->grammar ? request->grammar->text : NULL,
                                            .tools = conversation->tools,
                                            .tool_choice = request->tool_choice,
                                            .call = ci_outlet_remote_call,
                                            .callback = ci_outlet_text,
                                            .user = conversation,
                                            .cancel = &conversation->cancel};
    announce(rung);
    conversation->calls_before = conversation->calls.count;
    enum clinfer_status status = ci_remote_ask_checked(rung->remote, &asked, &answer);
    conversation->text_bytes += answer.text_bytes;
    conversation->visits[conversation->rung].tokens = answer.generated_tokens;
    *result = (struct clinfer_result){.finish = finish_of(conversation, &answer),
                                      .prompt_tokens = answer.prompt_tokens,
                                      .generated_tokens = conversation->token_count + answer.generated_tokens,
                                      .prompt_seconds = answer.first_byte_seconds,
                                      .generate_seconds = ci_now() - start - answer.first_byte_seconds};
    return status;
}

/* ---- from rung to rung ---- */

/* Settings that no remote API has, or this one has not: an answer without them would be another. */
static const char *setting_of_local_rungs(const struct clinfer_session_options *options, bool anthropic) {
    const struct {
        bool set;
        const char *name;
    } settings[] = {{options->logprobs > 0, "logprobs"},
                    {options->samplers != NULL, "an order of samplers"},
                    {options->mirostat > 0, "mirostat"},
                    {options->dry_multiplier > 0, "dry"},
                    {options->xtc_probability > 0, "xtc"},
                    {options->typical_p > 0 && options->typical_p < 1, "typical_p"},
                    {options->top_n_sigma > 0, "top_n_sigma"},
                    {anthropic && options->logit_bias_count > 0, "logit_bias"},
                    {anthropic && fabsf(options->presence_penalty) > 0, "presence_penalty"},
                    {anthropic && fabsf(options->frequency_penalty) > 0, "frequency_penalty"}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        if (settings[i].set) return settings[i].name;
    return NULL;
}

/* What keeps a rung from being tried, as a failure; CLINFER_OK: nothing. */
static enum clinfer_status obstacle(const struct clinfer_conversation *conversation, int index) {
    const struct clinfer_router *router = conversation->router;
    const struct ci_rung *rung = &router->rungs[index];
    if (rung->out) return ci_fail(rung->status, "%s", rung->reason);
    if (!rung->remote) return CLINFER_OK;
    const char *dialect = rung->remote->dialect;
    const char *setting = setting_of_local_rungs(&conversation->sampling, dialect && strcmp(dialect, "anthropic") == 0);
    if (setting) return ci_fail(CLINFER_REFUSED, "not asked: this remote API has no %s", setting);
    if (conversation->request.grammar && conversation->request.grammar->kind != CLINFER_GRAMMAR_JSON_SCHEMA)
        return ci_fail(CLINFER_REFUSED, "not asked: remote APIs take JSON schemas, and no grammars (GBNF)");
    if (conversation->request.raw || conversation->request.tokens)
        return ci_fail(CLINFER_REFUSED, "not asked: a raw prompt is no message, and APIs take messages");
    if (conversation->request.no_generation_prompt || conversation->variables)
        return ci_fail(CLINFER_REFUSED, "not asked: what a chat template is told is for the template of a model here");
    if (conversation->text_bytes && !router->options.remote_continues)
        return ci_fail(CLINFER_REFUSED,
                       "not asked: part of the answer is out, and a remote would start afresh (--remote-continue lets "
                       "it go on)");
    return CLINFER_OK;
}

/* The next rung behind `after` that can be tried, with the request on it; -1: none. */
static int go_on(struct clinfer_conversation *conversation, int after, enum reach reach) {
    const struct clinfer_router *router = conversation->router;
    int first = reach == REACH_REMOTES && after + 1 < router->local_count ? router->local_count : after + 1;
    for (int i = first; i < router->count && reach != REACH_NONE; i++) {
        struct ci_visit *visit = &conversation->visits[i];
        conversation->rung = i;
        enum clinfer_status status = obstacle(conversation, i);
        if (status == CLINFER_OK) status = arrive(conversation);
        if (status == CLINFER_OK) return i;
        visit->status = status;
        strncpy(visit->reason, ci_status_message(), sizeof visit->reason - 1);
    }
    return -1;
}

/* Why a rung did not end the request: in its visit, and as the request's own status. */
static void note_failure(struct clinfer_conversation *conversation, enum clinfer_status status) {
    struct ci_visit *visit = &conversation->visits[conversation->rung];
    visit->status = conversation->status = status;
    strncpy(visit->reason, ci_status_message(), sizeof visit->reason - 1);
    strncpy(conversation->message, ci_status_message(), sizeof conversation->message - 1);
}

/* Several requests leave a device for the same reason: that is told once. */
static void say_next(struct clinfer_conversation *conversation, int left, int next) {
    struct ci_rung *rungs = conversation->router->rungs;
    struct ci_visit *visit = &conversation->visits[left];
    bool local = next < conversation->router->local_count;
    bool again = rungs[left].told && strcmp(visit->reason, rungs[left].reason) == 0;
    const char *why = again ? clinfer_status_text(visit->status) : visit->reason;
    if (conversation->token_count && local)
        ci_log(CLINFER_LOG_WARNING, "%s: %s; %s goes on after %zu tokens, which it computes first", rungs[left].name,
               why, rungs[next].name, conversation->token_count);
    else
        ci_log(CLINFER_LOG_WARNING, "%s: %s; %s is next", rungs[left].name, why, rungs[next].name);
    visit->told = true;
    rungs[left].told = rungs[left].out;
}

/* Rungs that cannot be tried at all, where nothing has told of them yet: no model, say. One reason is told once. */
static void say_skipped(struct clinfer_conversation *conversation, int next) {
    const char *said = "";
    for (int i = 0; i < next; i++) {
        struct ci_rung *rung = &conversation->router->rungs[i];
        struct ci_visit *visit = &conversation->visits[i];
        if (!*visit->reason || rung->told) continue;
        if (strcmp(visit->reason, said) != 0) say_next(conversation, i, next);
        visit->told = true;
        rung->told = rung->out;
        said = visit->reason;
    }
}

static void reset(struct clinfer_conversation *conversation) {
    const struct clinfer_router *router = conversation->router;
    atomic_store(&conversation->cancel, false);
    conversation->token_count = conversation->text_bytes = 0;
    conversation->ended = false;
    ci_outlet_begin(conversation);
    conversation->route = (struct clinfer_route){.answered = -1};
    conversation->started = ci_now();
    conversation->status = CLINFER_OK;
    memset(conversation->visits, 0, sizeof *conversation->visits * (size_t)router->count);
}

struct ci_prompt_request ci_chat_prompt_request(const struct clinfer_chat_request *request, json_t *tools,
                                                json_t *variables) {
    return (struct ci_prompt_request){.messages = request->messages,
                                      .count = request->count,
                                      .tokens = request->tokens,
                                      .token_count = request->token_count,
                                      .raw = request->raw,
                                      .parse_special = request->parse_special,
                                      .no_generation_prompt = request->no_generation_prompt,
                                      .continue_last = request->continue_last,
                                      .tools = tools,
                                      .variables = variables};
}

static enum clinfer_status check_request(const struct clinfer_chat_request *request) {
    const struct ci_prompt_request prompt = ci_chat_prompt_request(request, NULL, NULL);
    enum clinfer_status status = ci_prompt_check(&prompt);
    if (status == CLINFER_OK) status = ci_messages_check(request->messages, request->count);
    if (status != CLINFER_OK) return status;
    if ((request->raw || request->tokens) && request->template_arguments)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "template_arguments: a raw prompt has no chat template");
    if (request->piece && (request->callback || request->reasoning))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "piece takes the place of callback and reasoning; leave one");
    status = ci_stop_texts_check(request->stop, request->stop_count);
    if (status != CLINFER_OK) return status;
    if (request->grammar && ci_tool_choice_requires(request->tool_choice))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "a call is required, and the answer has to follow a grammar; leave one");
    if ((request->raw || request->tokens) && request->tools)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "tools: a raw prompt has none; the chat template writes them");
    if (request->max_tokens < -1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "max_tokens: %d, must be -1 or more", request->max_tokens);
    if (!(request->deadline_seconds >= 0))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "deadline_seconds: %g, must be 0 or more", request->deadline_seconds);
    return CLINFER_OK;
}

/* Copies of what it points to, but for what is borrowed until the wait has ended. */
static enum clinfer_status take_request(struct clinfer_conversation *conversation,
                                        const struct clinfer_chat_request *request) {
    json_t *tools, *variables = NULL;
    enum clinfer_status status = ci_tools_read(request->tools, request->tool_choice, &tools);
    if (status == CLINFER_OK) status = ci_chat_variables("template_arguments", request->template_arguments, &variables);
    struct clinfer_message *messages = ci_messages_copy(request->messages, request->count);
    int32_t *prompt = malloc((request->token_count + 1) * sizeof *prompt);
    if (status == CLINFER_OK && (!messages || !prompt))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a request");
    if (status != CLINFER_OK) {
        json_decref(tools);
        json_decref(variables);
        free(messages);
        free(prompt);
        return status;
    }
    json_decref(conversation->tools);
    json_decref(conversation->variables);
    free(conversation->messages);
    free(conversation->prompt);
    if (request->token_count) memcpy(prompt, request->tokens, request->token_count * sizeof *prompt);
    conversation->tools = tools;
    conversation->variables = variables;
    conversation->messages = messages;
    conversation->prompt = prompt;
    conversation->request = *request;
    conversation->request.messages = messages;
    conversation->request.tokens = request->tokens ? prompt : NULL;
    conversation->request.template_arguments = NULL;
    return CLINFER_OK;
}

static enum clinfer_status make_prompt(const clinfer_engine *engine, const struct clinfer_chat_request *request,
                                       struct ci_prompt *prompt) {
    json_t *tools, *variables = NULL;
    enum clinfer_status status = ci_tools_read(request->tools, request->tool_choice, &tools);
    if (status == CLINFER_OK) status = ci_chat_variables("template_arguments", request->template_arguments, &variables);
    *prompt = (struct ci_prompt){0};
    const struct ci_prompt_request asked = ci_chat_prompt_request(request, tools, variables);
    if (status == CLINFER_OK) status = ci_engine_prompt(engine, &asked, prompt);
    json_decref(tools);
    json_decref(variables);
    return status;
}

enum clinfer_status clinfer_router_prompt(clinfer_router *router, const struct clinfer_chat_request *request,
                                          char **text, size_t *length, int32_t **tokens, size_t *token_count) {
    if (text) *text = NULL;
    if (length) *length = 0;
    if (tokens) *tokens = NULL;
    if (token_count) *token_count = 0;
    CI_REQUIRE(router, "router");
    CI_REQUIRE(request, "request");
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    struct ci_prompt prompt;
    clinfer_engine *engine = clinfer_router_take_engine(router);
    enum clinfer_status status = check_request(request);
    if (status == CLINFER_OK && !engine) {
        status = clinfer_router_start(router);
        engine = clinfer_router_take_engine(router);
    }
    if (status != CLINFER_OK) {
        clinfer_router_give_back_engine(router, engine);
        return status;
    }
    if (!engine)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "no model runs here, and what a remote makes of messages is its own matter");
    status = make_prompt(engine, request, &prompt);
    clinfer_router_give_back_engine(router, engine);
    if (status == CLINFER_OK) {
        if (text && prompt.text) *text = prompt.text;
        if (text && !prompt.text) *text = strdup("");
        if (text) prompt.text = NULL;
        if (length) *length = prompt.length;
        if (tokens) *tokens = prompt.tokens;
        if (tokens) prompt.tokens = NULL;
        if (token_count) *token_count = prompt.count;
    }
    ci_prompt_free(&prompt);
    return status;
}

enum clinfer_status clinfer_chat_submit(clinfer_conversation *conversation,
                                        const struct clinfer_chat_request *request) {
    CI_REQUIRE(conversation, "conversation");
    CI_REQUIRE(request, "request");
    CI_REQUIRE_PROCESS(conversation->router->process, "router");
    if (ci_outlet_require_outside(conversation->router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    if (conversation->active)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the conversation has a request that was not waited for");
    enum clinfer_status status = check_request(request);
    if (status != CLINFER_OK) return status;
    status = take_request(conversation, request);
    if (status != CLINFER_OK) return status;
    reset(conversation);
    conversation->active = true;
    int next = go_on(conversation, -1, REACH_ALL);
    say_skipped(conversation, next);
    if (next < 0) note_failure(conversation, conversation->visits[conversation->rung].status);
    conversation->rung = next;
    return CLINFER_OK;
}

static enum clinfer_status end(struct clinfer_conversation *conversation, int answered,
                               const struct clinfer_route **route) {
    conversation->active = false;
    ci_outlet_end(conversation, answered >= 0 ? &conversation->route.result : NULL);
    ci_route_write(conversation, answered);
    conversation->route.result.calls = ci_tool_calls_view(&conversation->calls);
    conversation->route.result.call_count = conversation->route.result.calls ? conversation->calls.count : 0;
    if (route) *route = &conversation->route;
    if (answered >= 0) return CLINFER_OK;
    /* One rung that failed: its own words. Several: what happened on each. */
    int tried = 0;
    for (int i = 0; i < conversation->router->count; i++) tried += *conversation->visits[i].reason != 0;
    return ci_fail(conversation->status, "%s", tried > 1 ? conversation->route.text : conversation->message);
}

/* The rung is done with the request, which goes on to the next one if it failed. */
static void leave_rung(struct clinfer_conversation *conversation, enum clinfer_status status,
                       struct clinfer_result *result, enum reach reach) {
    int rung = conversation->rung;
    struct ci_visit *visit = &conversation->visits[rung];
    if (status == CLINFER_OK && conversation->stop.found) result->finish = CLINFER_FINISH_END;
    if (status == CLINFER_OK) result->stop_text = conversation->stop.text;
    visit->seconds = ci_now() - conversation->arrived;
    conversation->route.result = *result;
    CI_PROBE(rung, conversation->router->rungs[rung].name, (int)conversation->router->rungs[rung].kind, (int)status,
             visit->tokens, CI_PROBE_NANOSECONDS(visit->seconds));
    conversation->ended = status == CLINFER_OK;
    if (conversation->ended) return;
    note_failure(conversation, status);
    int next = atomic_load(&conversation->cancel) ? -1 : go_on(conversation, rung, reach);
    if (next >= 0) say_next(conversation, rung, next);
    conversation->rung = next;
}

static bool is_here(const struct clinfer_conversation *conversation) {
    return conversation->active && !conversation->ended && conversation->rung >= 0 &&
           conversation->rung < conversation->router->local_count;
}

static void look_after_others(const struct clinfer_conversation *conversation) {
    struct clinfer_conversation *other = conversation->router->conversations;
    for (; other; other = other->next) {
        struct ci_task_view view;
        struct clinfer_result result = {0};
        enum reach reach = REACH_ALL;
        enum clinfer_status status;
        if (other == conversation || !is_here(other)) continue;
        if (look(other, 0, &view, &result, &reach, &status)) leave_rung(other, status, &result, reach);
    }
}

static enum clinfer_status wait_here(struct clinfer_conversation *conversation, struct clinfer_result *result,
                                     enum reach *reach) {
    enum clinfer_status status;
    struct ci_task_view view;
    for (;;) {
        look_after_others(conversation);
        if (look(conversation, look_seconds, &view, result, reach, &status)) return status;
    }
}

enum clinfer_status clinfer_chat_wait(clinfer_conversation *conversation, const struct clinfer_route **route) {
    CI_REQUIRE(conversation, "conversation");
    CI_REQUIRE_PROCESS(conversation->router->process, "router");
    if (ci_outlet_require_outside(conversation->router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    if (!conversation->active) return ci_fail(CLINFER_INVALID_ARGUMENT, "the conversation has no request");
    while (!conversation->ended && conversation->rung >= 0) {
        enum reach reach = REACH_ALL;
        struct clinfer_result result = {0};
        enum clinfer_status status =
            is_here(conversation) ? wait_here(conversation, &result, &reach) : ask_remote(conversation, &result);
        leave_rung(conversation, status, &result, reach);
    }
    return end(conversation, conversation->ended ? conversation->rung : -1, route);
}
