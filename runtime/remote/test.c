/* test.c: a remote tried step by step. One request goes out, and libcurl's own times tell how far it came: trying name,
 * port and certificate apart from it would be other code than that which is to be tested. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "remote/call.h"
#include "remote/failure.h"
#include "remote/redact.h"
#include "remote/remote.h"

enum { STEP_BYTES = 1024, SHOWN_BYTES = 64 };

/* The answer's text, cut. */
struct shown {
    char text[SHOWN_BYTES];
    size_t used;
};

static bool show(void *user, const char *text, size_t length) {
    struct shown *shown = user;
    if (length > sizeof shown->text - shown->used) length = sizeof shown->text - shown->used;
    memcpy(shown->text + shown->used, text, length);
    shown->used += length;
    return true;
}

struct test {
    const struct ci_call *call;
    struct ci_http_answer http;
    struct ci_answer answer;
    struct ci_failure failure;
    double seconds; /* of all */
    struct shown shown;
    ci_remote_step_callback *callback;
    void *user;
};

/* A step went well. */
static void tell(const struct test *test, const char *name, double seconds, const char *text) {
    const struct ci_remote_step step = {name, CLINFER_OK, text, seconds > 0 ? seconds : 0};
    test->callback(test->user, &step);
}

static enum clinfer_status tell_failure(const struct test *test, const char *name, double seconds) {
    const struct ci_remote_step step = {name, test->failure.status, test->failure.text, seconds > 0 ? seconds : 0};
    test->callback(test->user, &step);
    return ci_fail(test->failure.status, "%s", test->failure.text);
}

/* Up to the certificate; CLINFER_OK: the request was sent. */
static enum clinfer_status tell_connection(const struct test *test) {
    char text[STEP_BYTES];
    const struct ci_http_answer *http = &test->http;
    const struct ci_address *address = &test->call->address;
    if (!http->sent && http->resolved <= 0) return tell_failure(test, "resolve", test->seconds);
    snprintf(text, sizeof text, "%s is found", address->host);
    tell(test, "resolve", http->resolved, text);
    if (!http->sent && !http->in_handshake) return tell_failure(test, "connect", test->seconds - http->resolved);
    snprintf(text, sizeof text, "to %s", *http->peer ? http->peer : address->host);
    tell(test, "connect", http->connected - http->resolved, text);
    if (!http->sent) return tell_failure(test, "certificate", test->seconds - http->connected);
    char certificate[CI_HTTP_TEXT_BYTES];
    ci_redact(test->call->key.text, http->certificate, strlen(http->certificate), certificate, sizeof certificate);
    if (address->https)
        snprintf(text, sizeof text, "verified: %s", certificate);
    else
        snprintf(text, sizeof text, "none: plain http%s", address->loopback ? " to this host" : "");
    tell(test, "certificate", http->secured - http->connected, text);
    return CLINFER_OK;
}

/* What it says before it looks at the key tells nothing of that. */
static enum clinfer_status tell_answer(const struct test *test) {
    char text[STEP_BYTES], source[CI_KEY_SOURCE_BYTES], shown[SHOWN_BYTES];
    const struct ci_http_answer *http = &test->http;
    double sent = http->secured > 0 ? http->secured : http->connected;
    bool failed = test->failure.status != CLINFER_OK;
    long status = test->answer.reply.error.status ? test->answer.reply.error.status : http->status;
    if (failed && (status == 401 || status == 403)) return tell_failure(test, "authenticate", test->seconds - sent);
    ci_key_source(&test->call->remote, source);
    if (failed) return tell_failure(test, "answer", test->seconds - sent);
    if (ci_key_configured(&test->call->remote))
        snprintf(text, sizeof text, "the key of %s is accepted", source);
    else
        snprintf(text, sizeof text, "no key is configured, and none was asked for");
    tell(test, "authenticate", 0, text);
    ci_redact(test->call->key.text, test->shown.text, test->shown.used, shown, sizeof shown);
    snprintf(text, sizeof text, "\"%s\"; %zu tokens of prompt, %zu of answer, %s", shown,
             test->answer.reply.prompt_tokens, test->answer.reply.generated_tokens,
             test->answer.kind == CI_ANSWER_EVENTS ? "as a stream" : "in one piece");
    tell(test, "answer", test->seconds - sent, text);
    return CLINFER_OK;
}

enum clinfer_status ci_remote_test(const struct clinfer_remote *remote, ci_remote_step_callback *callback, void *user) {
    static const struct clinfer_message message = {.role = "user", .content = "Say: yes"};
    struct ci_call call;
    struct ci_http *http = NULL;
    struct test test = {.call = &call, .callback = callback, .user = user};
    const struct ci_remote_request request = {.messages = &message,
                                              .count = 1,
                                              .temperature = NAN,
                                              .top_p = NAN,
                                              .seed = -1,
                                              .max_tokens = 1,
                                              .callback = show,
                                              .user = &test.shown};
    ci_key_forget(remote); /* its command is part of what is tried */
    enum clinfer_status status = ci_call_prepare(remote, &request, &call);
    if (status == CLINFER_OK) status = ci_http_take(&http);
    if (status == CLINFER_OK) {
        const struct ci_failure_context context = {call.address.label, &call.remote, call.key.text, false};
        double start = ci_now();
        ci_call_send(&call, http, true, &test.http, &test.answer);
        test.seconds = ci_now() - start;
        ci_failure_judge(&context, &test.http, &test.answer, &test.failure);
        status = tell_connection(&test);
        if (status == CLINFER_OK) status = tell_answer(&test);
        ci_answer_free(&test.answer);
    }
    ci_http_give_back(http, false);
    ci_call_free(&call);
    return status;
}
