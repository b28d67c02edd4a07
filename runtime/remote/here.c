/* here.c: a request on a rung of this machine: handed to its runner, looked at now and then, taken back. All of it
 * under the router's lock. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "remote/router.h"

/* How long a request may take to end that was told to: by Ctrl-C, or since its time is over. A step that takes long on
 * a slow device may end. */
static const struct ci_watch_limits patience = {.step = 5, .build = 60, .times = 10};

void ci_here_leave_seat(struct clinfer_conversation *conversation) {
    if (conversation->seat && conversation->runner) ci_seat_release(conversation->runner, conversation->seat);
    conversation->seat = NULL;
    conversation->runner = NULL;
}

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

enum clinfer_status ci_here_submit(struct clinfer_conversation *conversation) {
    struct clinfer_router *router = conversation->router;
    const struct clinfer_chat_request *request = &conversation->request;
    struct ci_runner *runner;
    enum clinfer_status status = ci_rungs_runner(router, conversation->rung, &runner);
    if (status != CLINFER_OK) return status;
    router->rungs[conversation->rung].used = ci_now();
    if (conversation->runner != runner) ci_here_leave_seat(conversation);
    conversation->runner = runner;
    const struct ci_task_request submitted = {
        .prompt = ci_chat_prompt_request(request, conversation->tools, conversation->variables),
        .sampling = conversation->sampling,
        .max_tokens = request->max_tokens,
        .ignore_end = request->ignore_end,
        .no_cache = request->no_cache,
        .cancel = conversation->cancel,
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

/* The runner hangs, or another conversation found that it does. false: it has given a sign of life just now. */
static bool give_up_hanging(struct clinfer_conversation *conversation, const struct ci_task_view *view,
                            enum clinfer_status *status) {
    struct clinfer_router *router = conversation->router;
    struct ci_rung *rung = &router->rungs[conversation->rung];
    struct ci_runner *runner = conversation->runner;
    /* First no text may come through any more: what has come by then is what the next rung goes on from. */
    *status = ci_rungs_fail_hanging(view->silent, view->opening);
    if (!ci_rungs_leave(router, rung->runner == runner ? conversation->rung : -1, runner)) return false;
    leave_task(conversation);
    conversation->seat = NULL;
    conversation->runner = NULL;
    bool same = rung->out && rung->hung;
    *status = same ? ci_fail(rung->status, "%s", rung->reason) : ci_rungs_fail_hanging(view->silent, view->opening);
    return true;
}

/* What a failure of a local rung says about the others. */
static enum ci_reach reach_of(enum clinfer_status status, bool of_model) {
    switch (status) {
    case CLINFER_INVALID_ARGUMENT: return CI_REACH_NONE;
    case CLINFER_CONTEXT_FULL:
    case CLINFER_OUT_OF_TIME:
    case CLINFER_NOT_FOUND:
    case CLINFER_IO: /* the model's file, which the others would read, too */
    case CLINFER_BAD_FILE: return CI_REACH_REMOTES;
    default: return of_model ? CI_REACH_REMOTES : CI_REACH_ALL;
    }
}

/* A device whose kernels fail is not asked again; one that had no memory for this request may well be. */
static void retire_if_broken(struct clinfer_conversation *conversation, const struct ci_task_view *view) {
    struct clinfer_router *router = conversation->router;
    bool broken = view->status == CLINFER_DEVICE_ERROR || view->status == CLINFER_NO_DEVICE ||
                  view->status == CLINFER_WRONG_RESULT || view->of_engine;
    /* Another conversation may have been first. */
    if (broken && router->rungs[conversation->rung].runner == conversation->runner)
        ci_rungs_retire(router, conversation->rung, view->status, !view->of_model);
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
                                       struct clinfer_result *result, enum ci_reach *reach) {
    enum clinfer_status status = view->status;
    bool late = status == CLINFER_OK && view->result.finish == CLINFER_FINISH_CANCELLED &&
                !ci_conversation_is_cancelled(conversation) && !conversation->stop.found &&
                is_out_of_time(conversation);
    if (late)
        status = fail_late(&conversation->request, view->result.generated_tokens);
    else if (status != CLINFER_OK)
        retire_if_broken(conversation, view);
    leave_task(conversation);
    *result = view->result;
    *reach = reach_of(status, view->of_model);
    return status;
}

bool ci_here_look(struct clinfer_conversation *conversation, struct clinfer_result *result, enum ci_reach *reach,
                  enum clinfer_status *status) {
    const struct ci_watch_limits *limits = &conversation->router->limits;
    struct ci_task_view view;
    bool late = is_out_of_time(conversation), cancelled = ci_conversation_is_cancelled(conversation);
    bool soon = (late || cancelled) && patience.step < limits->step;
    if (late || cancelled) ci_task_cancel(conversation->task);
    ci_task_wait(conversation->task, 0, soon ? &patience : limits, &view);
    conversation->runs = view.state == CI_TASK_RUNS;
    if (view.state == CI_TASK_DONE) {
        *status = take_result(conversation, &view, result, reach);
        return true;
    }
    if (late || cancelled || view.hangs) *reach = late ? CI_REACH_REMOTES : CI_REACH_ALL;
    if (view.hangs) {
        if (!give_up_hanging(conversation, &view, status)) return false;
        if (cancelled) *status = say_cancelled(conversation, result);
        if (late && !cancelled) *status = ci_fail(CLINFER_OUT_OF_TIME, "%s", ci_status_message());
        return true;
    }
    if (!(late || cancelled) || !view.opening) return false;
    leave_task(conversation); /* the engine may well be of use later */
    *status = cancelled ? say_cancelled(conversation, result) : fail_late(&conversation->request, 0);
    return true;
}
