/* descent.c: from rung to rung. Each either ends the request or leaves a status; what kind of failure that is decides
 * which rungs are worth a try: one of the model, of its context or of time leaves the remotes alone, one of a device
 * leaves all. All of it under the router's lock. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "remote/router.h"
#include "trace/probes.h"

/* Settings that no remote API has, or this one has not: an answer without them would be another. */
static const char *setting_of_local_rungs(const struct clinfer_session_options *options, bool anthropic) {
    const struct {
        bool set;
        const char *name;
    } settings[] = {{anthropic && options->logprobs > 0, "logprobs"},
                    {options->logprobs > 20, "logprobs of more than the 20 likeliest tokens"},
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
    bool for_template = conversation->variables && !conversation->request.optional_arguments;
    if (conversation->request.no_generation_prompt || for_template)
        return ci_fail(CLINFER_REFUSED, "not asked: what a chat template is told is for the template of a model here");
    if (conversation->text_bytes && !router->options.remote_continues)
        return ci_fail(CLINFER_REFUSED,
                       "not asked: part of the answer is out, and a remote would start afresh (--remote-continue lets "
                       "it go on)");
    return CLINFER_OK;
}

/* Hands the request to the rung; a remote's turn comes when the request is waited for. */
static enum clinfer_status arrive(struct clinfer_conversation *conversation) {
    conversation->arrived = ci_now();
    conversation->visits[conversation->rung].tried = true;
    return conversation->rung < conversation->router->local_count ? ci_here_submit(conversation) : CLINFER_OK;
}

/* The next rung behind `after` that can be tried, with the request on it; -1: none. */
static int go_on(struct clinfer_conversation *conversation, int after, enum ci_reach reach) {
    const struct clinfer_router *router = conversation->router;
    int first = reach == CI_REACH_REMOTES && after + 1 < router->local_count ? router->local_count : after + 1;
    for (int i = first; i < router->count && reach != CI_REACH_NONE; i++) {
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

static void count_visit(struct ci_rung *rung, enum clinfer_status status, const struct ci_visit *visit) {
    rung->answered += status == CLINFER_OK;
    rung->failed += status != CLINFER_OK;
    rung->tokens += visit->tokens;
}

void ci_descent_begin(struct clinfer_conversation *conversation) {
    int next = go_on(conversation, -1, CI_REACH_ALL);
    say_skipped(conversation, next);
    if (next < 0) note_failure(conversation, conversation->visits[conversation->rung].status);
    conversation->rung = next;
}

void ci_descent_leave(struct clinfer_conversation *conversation, enum clinfer_status status,
                      struct clinfer_result *result, enum ci_reach reach) {
    int rung = conversation->rung;
    struct ci_visit *visit = &conversation->visits[rung];
    if (status == CLINFER_OK && conversation->stop.found) result->finish = CLINFER_FINISH_END;
    if (status == CLINFER_OK) result->stop_text = conversation->stop.text;
    visit->seconds = ci_now() - conversation->arrived;
    conversation->route.result = *result;
    CI_PROBE(rung, conversation->router->rungs[rung].name, (int)conversation->router->rungs[rung].kind, (int)status,
             visit->tokens, CI_PROBE_NANOSECONDS(visit->seconds));
    count_visit(&conversation->router->rungs[rung], status, visit);
    conversation->ended = status == CLINFER_OK;
    if (conversation->ended) return;
    note_failure(conversation, status);
    int next = ci_conversation_is_cancelled(conversation) ? -1 : go_on(conversation, rung, reach);
    if (next >= 0) say_next(conversation, rung, next);
    conversation->rung = next;
}
