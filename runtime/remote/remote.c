/* remote.c: asks, and asks again where that may help. */
#define _GNU_SOURCE
#include "remote/remote.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "remote/call.h"
#include "remote/failure.h"
#include "remote/retry.h"

static const double look_seconds = 0.02;

enum clinfer_status ci_remote_check(const struct clinfer_remote *remote) {
    const struct ci_dialect *dialect;
    struct ci_address address;
    return ci_call_check(remote, &dialect, &address);
}

static bool is_cancelled(const struct ci_remote_request *request) {
    return request->cancel && atomic_load(request->cancel);
}

/* false: cancelled, or the call's time is over. */
static bool wait_for(const struct ci_call *call, double seconds) {
    double end = ci_now() + seconds, now;
    while ((now = ci_now()) < end) {
        double left = end - now < look_seconds ? end - now : look_seconds;
        const struct timespec time = {.tv_nsec = (long)(left * 1e9)};
        if (is_cancelled(call->request) || now >= call->until) return false;
        nanosleep(&time, NULL);
    }
    return true;
}

/* What has is not asked for again. */
static bool has_come(const struct ci_remote_result *result) { return result->text_bytes || result->call_pieces; }

static void note_reply(const struct ci_reply *reply, double start, struct ci_remote_result *result) {
    result->finish = reply->finish;
    result->prompt_tokens = reply->prompt_tokens;
    result->generated_tokens = reply->generated_tokens;
    result->text_bytes = reply->text_bytes;
    result->call_pieces = reply->call_pieces;
    if (has_come(result)) result->first_byte_seconds = reply->first_text - start;
}

/* One request and what became of it; *ended: there is nothing to be judged, since nobody wants the rest. */
static enum clinfer_status try_once(const struct ci_call *call, double start, struct ci_remote_result *result,
                                    struct ci_failure *failure, bool *ended) {
    struct ci_http *http;
    struct ci_http_answer http_answer;
    struct ci_answer answer;
    const struct ci_failure_context context = {call->address.label, &call->remote, call->key.text, call->deadline};
    enum clinfer_status status = ci_http_take(&http);
    if (status != CLINFER_OK) return status;
    ci_call_send(call, http, false, &http_answer, &answer);
    result->requests += http_answer.sent;
    note_reply(&answer.reply, start, result);
    *ended = answer.reply.stopped || http_answer.end == CI_HTTP_CANCELLED;
    if (*ended)
        result->finish = CLINFER_FINISH_CANCELLED;
    else
        ci_failure_judge(&context, &http_answer, &answer, failure);
    ci_answer_free(&answer);
    ci_http_give_back(http, !*ended && failure->status == CLINFER_OK);
    return CLINFER_OK;
}

static enum clinfer_status fail(const struct ci_call *call, const struct ci_failure *failure,
                                const struct ci_remote_result *result) {
    char requests[48] = "", text[96] = "";
    if (failure->status == CLINFER_REMOTE_FAILED && !failure->of_request)
        ci_retry_note_failure(call->address.url, failure->text + strlen(call->address.label) + 2);
    if (result->requests > 1) snprintf(requests, sizeof requests, " (sent %d times)", result->requests);
    if (has_come(result))
        snprintf(text, sizeof text, "; %zu bytes of the answer came before and are not the whole", result->text_bytes);
    return ci_fail(failure->status, "%s%s%s", failure->text, requests, text);
}

/* A key that a command printed some time ago may have run out: it is asked for another one, once. */
static bool renew_key(struct ci_call *call, const struct ci_failure *failure, const struct ci_remote_result *result,
                      enum clinfer_status *status) {
    bool kept = call->key.kept;
    if (!failure->key_refused) return false;
    ci_key_forget(&call->remote);
    if (!kept || has_come(result)) return false;
    ci_log(CLINFER_LOG_INFO, "%s; key_command is run again", failure->text);
    *status = ci_key_read(call->address.label, &call->remote, call->request->cancel, call->until, &call->key);
    return true;
}

/* Some models take no temperature but their own: better an answer with that than none. */
static bool drop_sampling(struct ci_call *call, const struct ci_failure *failure, enum clinfer_status *status) {
    if (!failure->sampling_refused || !ci_call_drop_sampling(call, status)) return false;
    ci_retry_note_plain(call->address.url, call->remote.model);
    ci_log(CLINFER_LOG_WARNING, "%s; asking again without temperature and top_p", failure->text);
    return true;
}

static enum clinfer_status ask(struct ci_call *call, struct ci_remote_result *result) {
    double start = ci_now();
    for (int failed = 0;;) {
        struct ci_failure failure = {.status = CLINFER_OK};
        bool ended = false;
        enum clinfer_status status = try_once(call, start, result, &failure, &ended);
        if (status != CLINFER_OK || ended) return status;
        if (failure.status == CLINFER_OK) {
            ci_retry_note_success(call->address.url);
            return CLINFER_OK;
        }
        if (renew_key(call, &failure, result, &status) || drop_sampling(call, &failure, &status)) {
            if (status != CLINFER_OK) return status;
            continue;
        }
        double delay = -1;
        if (failure.transient && !has_come(result))
            delay = ci_retry_delay(++failed, ci_now() - start, failure.retry_after);
        if (delay < 0) return fail(call, &failure, result);
        ci_log(CLINFER_LOG_WARNING, "%s; asking again in %.1f s", failure.text, delay);
        if (wait_for(call, delay)) continue;
        if (!is_cancelled(call->request)) {
            failure.status = call->deadline ? CLINFER_OUT_OF_TIME : CLINFER_REMOTE_FAILED;
            return fail(call, &failure, result);
        }
        result->finish = CLINFER_FINISH_CANCELLED;
        return CLINFER_OK;
    }
}

static enum clinfer_status refuse_cooling(const struct ci_call *call) {
    double left;
    char why[CI_RETRY_WHY_BYTES];
    if (!ci_retry_is_cooling(call->address.url, &left, why)) return CLINFER_OK;
    return ci_fail(CLINFER_REMOTE_FAILED, "%s: left alone for another %.0f s, since it failed: %s", call->address.label,
                   ceil(left), why);
}

enum clinfer_status ci_remote_ask(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                                  struct ci_remote_result *result) {
    struct ci_call call;
    *result = (struct ci_remote_result){.finish = CLINFER_FINISH_END};
    enum clinfer_status status = ci_call_prepare(remote, request, &call);
    if (status == CLINFER_OK) status = refuse_cooling(&call);
    if (status == CLINFER_OK && ci_retry_is_plain(call.address.url, call.remote.model))
        ci_call_drop_sampling(&call, &status);
    if (status == CLINFER_OK) status = ask(&call, result);
    ci_call_free(&call);
    if (status != CLINFER_CANCELLED) return status;
    result->finish = CLINFER_FINISH_CANCELLED;
    return CLINFER_OK;
}
