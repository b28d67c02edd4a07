/* conversation.c: conversations and their requests, from the threads of those who ask.
 *
 * On this machine a request is computed by its rung's runner and looked after by the router's keeper (keeper.c), so who
 * waits for it sleeps; remotes are asked by who waits. The router's lock guards where each request is; what comes of it
 * goes to the caller without it. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "remote/router.h"

static void free_conversation(struct clinfer_conversation *conversation) {
    if (!conversation) return;
    free(conversation->messages);
    free(conversation->tokens);
    free(conversation->prompt);
    ci_outlet_free(conversation);
    json_decref(conversation->tools);
    json_decref(conversation->variables);
    free(conversation->visits);
    free(conversation->shown);
    free(conversation->route_text);
    ci_cancel_release(conversation->cancel);
    pthread_cond_destroy(&conversation->changed);
    free(conversation);
}

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
        conversation->cancel = ci_cancel_create();
        pthread_cond_init(&conversation->changed, NULL);
    }
    if (!conversation || !conversation->visits || !conversation->shown || !conversation->cancel) {
        free_conversation(conversation);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a conversation");
    }
    pthread_mutex_lock(&router->lock);
    conversation->next = router->conversations;
    router->conversations = conversation;
    pthread_mutex_unlock(&router->lock);
    *out = conversation;
    return CLINFER_OK;
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
    pthread_mutex_lock(&router->lock);
    struct clinfer_conversation **link = &router->conversations;
    while (*link && *link != conversation) link = &(*link)->next;
    if (*link) *link = conversation->next;
    ci_here_leave_seat(conversation);
    bool last = router->closing && !router->conversations;
    pthread_mutex_unlock(&router->lock);
    free_conversation(conversation);
    if (last) clinfer_router_close(router);
}

void clinfer_chat_cancel(clinfer_conversation *conversation) {
    if (!conversation) return;
    atomic_store(&conversation->cancel->wanted, true);
    sem_post(&conversation->router->bell); /* of what signal handlers may call */
}

bool ci_conversation_is_cancelled(const struct clinfer_conversation *conversation) {
    return atomic_load(&conversation->cancel->wanted);
}

static void reset(struct clinfer_conversation *conversation) {
    const struct clinfer_router *router = conversation->router;
    atomic_store(&conversation->cancel->wanted, false);
    conversation->token_count = conversation->text_bytes = 0;
    conversation->ended = false;
    ci_outlet_begin(conversation);
    conversation->route = (struct clinfer_route){.answered = -1};
    conversation->started = ci_now();
    conversation->status = CLINFER_OK;
    memset(conversation->visits, 0, sizeof *conversation->visits * (size_t)router->count);
}

enum clinfer_status clinfer_chat_submit(clinfer_conversation *conversation,
                                        const struct clinfer_chat_request *request) {
    CI_REQUIRE(conversation, "conversation");
    CI_REQUIRE(request, "request");
    struct clinfer_router *router = conversation->router;
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    if (conversation->active)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the conversation has a request that was not waited for");
    enum clinfer_status status = ci_request_check(request);
    if (status == CLINFER_OK) status = ci_request_take(conversation, request);
    if (status == CLINFER_OK) status = ci_keeper_start(router);
    if (status != CLINFER_OK) return status;
    reset(conversation);
    pthread_mutex_lock(&router->lock);
    conversation->active = true;
    router->stats.requests++;
    ci_descent_begin(conversation);
    pthread_mutex_unlock(&router->lock);
    sem_post(&router->bell); /* somebody is to be looked after */
    return CLINFER_OK;
}

static void count_end(struct clinfer_router *router, const struct clinfer_result *result, bool answered) {
    struct clinfer_router_stats *stats = &router->stats;
    bool cancelled = answered && result->finish == CLINFER_FINISH_CANCELLED;
    stats->answered += answered && !cancelled;
    stats->cancelled += cancelled;
    stats->failed += !answered;
    stats->prompt_tokens += result->prompt_tokens;
    stats->cached_tokens += result->cached_tokens;
    stats->generated_tokens += result->generated_tokens;
    stats->prompt_seconds += result->prompt_seconds;
    stats->generate_seconds += result->generate_seconds;
}

/* It is nobody's but the caller's now. */
static enum clinfer_status end(struct clinfer_conversation *conversation, int answered,
                               const struct clinfer_route **route) {
    struct clinfer_router *router = conversation->router;
    ci_outlet_end(conversation, answered >= 0 ? &conversation->route.result : NULL);
    pthread_mutex_lock(&router->lock);
    conversation->active = false;
    count_end(router, &conversation->route.result, answered >= 0);
    ci_route_write(conversation, answered);
    pthread_mutex_unlock(&router->lock);
    conversation->route.result.calls = ci_tool_calls_view(&conversation->calls);
    conversation->route.result.call_count = conversation->route.result.calls ? conversation->calls.count : 0;
    if (route) *route = &conversation->route;
    if (answered >= 0) return CLINFER_OK;
    /* One rung that failed: its own words. Several: what happened on each. */
    int tried = 0;
    for (int i = 0; i < router->count; i++) tried += *conversation->visits[i].reason != 0;
    return ci_fail(conversation->status, "%s", tried > 1 ? conversation->route.text : conversation->message);
}

bool ci_conversation_is_here(const struct clinfer_conversation *conversation) {
    return conversation->active && !conversation->ended && conversation->rung >= 0 &&
           conversation->rung < conversation->router->local_count;
}

enum clinfer_status clinfer_chat_wait(clinfer_conversation *conversation, const struct clinfer_route **route) {
    CI_REQUIRE(conversation, "conversation");
    struct clinfer_router *router = conversation->router;
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    if (!conversation->active) return ci_fail(CLINFER_INVALID_ARGUMENT, "the conversation has no request");
    pthread_mutex_lock(&router->lock);
    for (;;) {
        while (ci_conversation_is_here(conversation)) pthread_cond_wait(&conversation->changed, &router->lock);
        if (conversation->ended || conversation->rung < 0) break;
        struct clinfer_result result = {0};
        pthread_mutex_unlock(&router->lock);
        enum clinfer_status status = ci_ask_remote(conversation, &result);
        pthread_mutex_lock(&router->lock);
        ci_descent_leave(conversation, status, &result, CI_REACH_ALL);
    }
    int answered = conversation->ended ? conversation->rung : -1;
    pthread_mutex_unlock(&router->lock);
    return end(conversation, answered, route);
}
