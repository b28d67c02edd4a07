#define _GNU_SOURCE
#include "remote/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "remote/key.h"
#include "remote/redact.h"

enum { SHOWN_BYTES = 300, ADVICE_BYTES = 420 };

static void say(struct ci_failure *failure, const struct ci_failure_context *context, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct ci_failure *failure, const struct ci_failure_context *context, const char *format, ...) {
    va_list arguments;
    int used = snprintf(failure->text, sizeof failure->text, "%s: ", context->label);
    va_start(arguments, format);
    vsnprintf(failure->text + used, sizeof failure->text - (size_t)used, format, arguments);
    va_end(arguments);
}

/* Whether to send again after a status, whose fault it is, and what to do. */
static const struct advice {
    long status;
    bool transient, of_request;
    const char *text;
} advices[] = {
    {400, false, true,
     "it does not take the request as it is: see to the model's name (--remote-model) and the options"},
    {402, false, false, "its account has to be paid for: see to billing there, or take another remote"},
    {404, false, false,
     "it has no such path or model: see to its URL, the model's name (--remote-model) and the dialect "
     "(--remote-dialect)"},
    {405, false, false, "it has no such API: see to its URL and the dialect (--remote-dialect)"},
    {408, false, false, "the request took too long to get there: see to the connection"},
    {413, false, true, "the request is too large for it: shorten the prompt"},
    {422, false, true,
     "it does not take the request as it is: see to the model's name (--remote-model) and the options"},
    {429, true, false, "too many requests, or a limit of the account is reached: wait, or take another remote"},
    {500, true, false, "it has a problem of its own: try later, or take another remote"},
    {502, true, false, "what it stands in front of does not answer: try later, or see whether that runs"},
    {503, true, false, "it is not ready, perhaps still loading a model: try later"},
    {504, true, false, "what it stands in front of is too slow: try later, or a shorter request"},
    {529, true, false, "it is overloaded: try later, or take another remote"},
};

static struct advice advice_for(long status) {
    for (size_t i = 0; i < sizeof advices / sizeof *advices; i++)
        if (advices[i].status == status) return advices[i];
    struct advice other = {status, false, false, "it cannot answer: see to its URL, or take another remote"};
    return other;
}

static void advise_key(const struct ci_failure_context *context, long status, char *text) {
    char source[CI_KEY_SOURCE_BYTES];
    ci_key_source(context->remote, source);
    if (!ci_key_configured(context->remote))
        snprintf(text, ADVICE_BYTES,
                 "it wants a key, and none is configured: set key_variable, key_file or key_command");
    else if (status == 401)
        snprintf(text, ADVICE_BYTES, "it does not accept the key: check %s", source);
    else
        snprintf(text, ADVICE_BYTES, "the key is not allowed to do this: see to its rights, to the model, or to %s",
                 source);
}

/* ' "Overloaded" (overloaded_error)', in the server's words; "" when it said nothing. */
static void quote(const struct ci_failure_context *context, const struct ci_reply_error *error, char *out,
                  size_t size) {
    char message[SHOWN_BYTES], type[CI_REPLY_TYPE_BYTES];
    ci_redact(context->key, error->message, strlen(error->message), message, sizeof message);
    ci_redact(context->key, error->type, strlen(error->type), type, sizeof type);
    snprintf(out, size, "%s%s%s%s%s%s", *message ? " \"" : "", message, *message ? "\"" : "", *type ? " (" : "", type,
             *type ? ")" : "");
}

static bool is_about_sampling(const struct advice *advice, const struct ci_reply_error *error) {
    return advice->of_request && (strstr(error->message, "temperature") || strstr(error->message, "top_p"));
}

static void judge_status(const struct ci_failure_context *context, const struct ci_http_answer *http,
                         const struct ci_answer *answer, struct ci_failure *failure) {
    char quoted[SHOWN_BYTES + CI_REPLY_TYPE_BYTES + 8], location[SHOWN_BYTES], key_advice[ADVICE_BYTES];
    struct advice advice = advice_for(http->status);
    failure->transient = advice.transient;
    failure->of_request = advice.of_request;
    failure->retry_after = http->retry_after;
    failure->key_refused = http->status == 401;
    failure->sampling_refused = is_about_sampling(&advice, &answer->reply.error);
    if (http->status < 400) {
        ci_redact(context->key, http->location, strlen(http->location), location, sizeof location);
        say(failure, context,
            "HTTP %ld, a redirect to %s; redirects are not followed, since the prompt and the key would travel along: "
            "if "
            "you trust it, make that the remote's URL",
            http->status, *location ? location : "nowhere");
        return;
    }
    if (http->status == 401 || http->status == 403) {
        advise_key(context, http->status, key_advice);
        advice.text = key_advice;
    }
    quote(context, &answer->reply.error, quoted, sizeof quoted);
    if (http->retry_after > 0)
        say(failure, context, "HTTP %ld%s; %s (it asks to wait %.0f s)", http->status, quoted, advice.text,
            http->retry_after);
    else
        say(failure, context, "HTTP %ld%s; %s", http->status, quoted, advice.text);
}

/* An error within an answer that began with a 200. */
static void judge_error(const struct ci_failure_context *context, const struct ci_answer *answer,
                        struct ci_failure *failure) {
    char quoted[SHOWN_BYTES + CI_REPLY_TYPE_BYTES + 8], key_advice[ADVICE_BYTES];
    const struct ci_reply_error *error = &answer->reply.error;
    struct advice advice = advice_for(error->status);
    failure->transient = advice.transient;
    failure->of_request = advice.of_request;
    failure->key_refused = error->status == 401;
    if (error->status == 401 || error->status == 403) {
        advise_key(context, error->status, key_advice);
        advice.text = key_advice;
    }
    quote(context, error, quoted, sizeof quoted);
    say(failure, context, "it said HTTP 200 and then an error%s; %s", *quoted ? quoted : " without words", advice.text);
}

static void judge_shape(const struct ci_failure_context *context, const struct ci_http_answer *http,
                        const struct ci_answer *answer, struct ci_failure *failure) {
    char shown[SHOWN_BYTES];
    if (*answer->reply.wrong) {
        ci_redact(context->key, answer->reply.wrong, strlen(answer->reply.wrong), shown, sizeof shown);
        say(failure, context,
            "its answer is not as the dialect \"%s\" has it: %s; see to the dialect (--remote-dialect), or tell those "
            "who "
            "run it",
            answer->dialect->name, shown);
        return;
    }
    ci_redact(context->key, http->content_type, strlen(http->content_type), shown, sizeof shown);
    say(failure, context,
        "its answer is of type \"%s\", and should be application/json or text/event-stream; is its URL that of an API?",
        shown);
}

static void judge_filter(const struct ci_failure_context *context, struct ci_failure *failure) {
    failure->of_request = true;
    say(failure, context,
        "the API refused to go on with this answer (its content filter); ask in other words, or another "
        "remote");
}

/* The connection, before there was an answer or before its end. */
static void judge_connection(const struct ci_failure_context *context, const struct ci_http_answer *http,
                             const struct ci_answer *answer, struct ci_failure *failure) {
    const struct clinfer_remote *remote = context->remote;
    char problem[SHOWN_BYTES];
    ci_redact(context->key, http->problem, strlen(http->problem), problem, sizeof problem);
    switch (http->end) {
    case CI_HTTP_UNCONNECTED:
        failure->transient = true;
        say(failure, context, "cannot be reached: %s; see to the network%s, its URL, and whether it runs", problem,
            http->through_proxy_failed ? ", the proxy (HTTPS_PROXY)" : "");
        return;
    case CI_HTTP_SLOW_CONNECT:
        failure->transient = true;
        say(failure, context, "no connection within %g s; see to the network and its URL, or raise connect_timeout",
            remote->connect_seconds);
        return;
    case CI_HTTP_UNTRUSTED:
        say(failure, context,
            "its certificate is not to be trusted: %s; see to its URL and this machine's clock; SSL_CERT_FILE names "
            "more "
            "authorities",
            problem);
        return;
    case CI_HTTP_SLOW_START:
        say(failure, context, "nothing of an answer came within %g s; try later, or raise first_byte_timeout",
            remote->first_byte_seconds);
        return;
    case CI_HTTP_IDLE:
        say(failure, context, "nothing more came for %g s; try later, or raise idle_timeout", remote->idle_seconds);
        return;
    case CI_HTTP_UNUSABLE:
        failure->transient = http->reused; /* it may be the end of the answer before */
        say(failure, context, "what came is no usable HTTP: %s; see to its URL", problem);
        return;
    case CI_HTTP_BROKEN:
        failure->transient = true;
        say(failure, context, "the connection broke: %s; try again, or see to the network and to what runs there",
            problem);
        return;
    default:
        failure->transient = true;
        say(failure, context, "%s; try again, or tell those who run it",
            answer->kind == CI_ANSWER_NOTHING ? "its answer is empty" : "its answer stopped before its end");
    }
}

static void judge_time(const struct ci_failure_context *context, struct ci_failure *failure) {
    failure->status = context->deadline ? CLINFER_OUT_OF_TIME : CLINFER_REMOTE_FAILED;
    failure->of_request = true; /* a long answer says nothing of the next one */
    if (context->deadline)
        say(failure, context, "the request's deadline passed before the answer was whole");
    else
        say(failure, context, "the answer was not whole after %g s; ask for a shorter one, or raise its timeout",
            context->remote->total_seconds);
}

void ci_failure_judge(const struct ci_failure_context *context, const struct ci_http_answer *http,
                      const struct ci_answer *answer, struct ci_failure *failure) {
    const struct ci_reply *reply = &answer->reply;
    *failure = (struct ci_failure){.status = CLINFER_REMOTE_FAILED};
    if (answer->out_of_memory || http->end == CI_HTTP_NO_MEMORY) {
        failure->status = CLINFER_OUT_OF_MEMORY;
        failure->of_request = true;
        say(failure, context, "out of memory");
    } else if (http->status >= 300) {
        judge_status(context, http, answer, failure);
    } else if (reply->error.there) {
        judge_error(context, answer, failure);
    } else if (*reply->wrong || answer->kind == CI_ANSWER_OTHER) {
        judge_shape(context, http, answer, failure);
    } else if (reply->complete && reply->filtered) {
        judge_filter(context, failure);
    } else if (reply->complete) {
        failure->status = CLINFER_OK;
    } else if (http->end == CI_HTTP_OUT_OF_TIME) {
        judge_time(context, failure);
    } else {
        judge_connection(context, http, answer, failure);
    }
}
