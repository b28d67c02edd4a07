#define _GNU_SOURCE
#include "remote/answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/append.h"

static void take_event(void *user, const char *name, const char *data, size_t length) {
    struct ci_answer *answer = user;
    struct ci_reply *reply = &answer->reply;
    const char *end = answer->dialect->end_of_stream;
    if (reply->closed || reply->stopped || reply->error.there || *reply->wrong) return;
    if (end && length == strlen(end) && memcmp(data, end, length) == 0) {
        reply->complete = reply->closed = true;
        return;
    }
    json_error_t error;
    json_t *root = json_loadb(data, length, JSON_ALLOW_NUL, &error);
    if (json_is_object(root))
        answer->dialect->read_event(reply, name, root);
    else
        ci_reply_wrong(reply, "an event is no JSON object (%.80s)", root ? "another value" : error.text);
    json_decref(root);
}

void ci_answer_start(struct ci_answer *answer, const struct ci_dialect *dialect, clinfer_text_callback *callback,
                     clinfer_tool_call_callback *call, void *user) {
    *answer = (struct ci_answer){.dialect = dialect, .reply = {.callback = callback, .call = call, .user = user}};
    answer->sse = (struct ci_sse){.callback = take_event, .user = answer};
}

static bool is_type(const char *type, const char *wanted) {
    size_t length = strcspn(type, "; \t");
    return length == strlen(wanted) && strncasecmp(type, wanted, length) == 0;
}

/* Where the head names no type, the first byte tells: JSON begins with a brace, events do not. */
static void choose_kind(struct ci_answer *answer, const struct ci_http_answer *head, char first) {
    const char *type = head->content_type;
    if (head->status >= 300)
        answer->kind = CI_ANSWER_ERROR;
    else if (is_type(type, "text/event-stream") || (!*type && first != '{'))
        answer->kind = CI_ANSWER_EVENTS;
    else if (is_type(type, "application/json") || !*type)
        answer->kind = CI_ANSWER_WHOLE;
    else
        answer->kind = CI_ANSWER_OTHER;
}

static bool keep(struct ci_answer *answer, const char *bytes, size_t length) {
    if (!ci_append(&answer->body, &answer->used, &answer->capacity, bytes, length)) answer->out_of_memory = true;
    return !answer->out_of_memory;
}

static bool feed_events(struct ci_answer *answer, const char *bytes, size_t length) {
    enum ci_sse_status status = ci_sse_feed(&answer->sse, bytes, length);
    if (status == CI_SSE_TOO_LONG)
        ci_reply_wrong(&answer->reply, "an event has more than %d bytes", CI_SSE_EVENT_BYTES);
    if (status == CI_SSE_OUT_OF_MEMORY) answer->out_of_memory = true;
    return status == CI_SSE_OK;
}

enum ci_http_wish ci_answer_receive(void *user, const struct ci_http_answer *head, const char *bytes, size_t length) {
    struct ci_answer *answer = user;
    const struct ci_reply *reply = &answer->reply;
    if (!length) return CI_HTTP_MORE;
    if (answer->kind == CI_ANSWER_NOTHING) choose_kind(answer, head, *bytes);
    answer->received += length;
    switch (answer->kind) {
    case CI_ANSWER_ERROR: {
        size_t room = CI_ANSWER_ERROR_BYTES - answer->used;
        if (!keep(answer, bytes, length < room ? length : room)) return CI_HTTP_STOP;
        return length < room ? CI_HTTP_MORE : CI_HTTP_STOP;
    }
    case CI_ANSWER_WHOLE:
        if (answer->received > CI_ANSWER_WHOLE_BYTES)
            ci_reply_wrong(&answer->reply, "it has more than %d MiB", CI_ANSWER_WHOLE_BYTES >> 20);
        else if (keep(answer, bytes, length))
            return CI_HTTP_MORE;
        return CI_HTTP_STOP;
    case CI_ANSWER_EVENTS:
        if (answer->received > CI_ANSWER_STREAM_BYTES)
            ci_reply_wrong(&answer->reply, "it has more than %d MiB", CI_ANSWER_STREAM_BYTES >> 20);
        else if (!feed_events(answer, bytes, length))
            return CI_HTTP_STOP;
        if (reply->stopped || reply->error.there || *reply->wrong) return CI_HTTP_STOP;
        return reply->closed ? CI_HTTP_ENOUGH : CI_HTTP_MORE;
    case CI_ANSWER_NOTHING:
    case CI_ANSWER_OTHER: break;
    }
    return CI_HTTP_STOP;
}

/* HTML is for browsers, and long: that it came at all is what there is to say. */
static void read_error_body(struct ci_answer *answer) {
    struct ci_reply_error *error = &answer->reply.error;
    json_t *root = json_loadb(answer->body, answer->used, JSON_ALLOW_NUL, NULL);
    if (root) {
        ci_reply_read_error(&answer->reply, root, true);
    } else {
        size_t start = strspn(answer->body, " \t\r\n");
        error->there = true;
        if (answer->body[start] != '<') strncat(error->message, answer->body + start, sizeof error->message - 1);
    }
    json_decref(root);
}

static void read_whole_body(struct ci_answer *answer, bool well) {
    json_error_t problem;
    struct ci_reply *reply = &answer->reply;
    json_t *root = json_loadb(answer->body, answer->used, JSON_ALLOW_NUL, &problem);
    if (!root && !well) return;
    if (!json_is_object(root))
        ci_reply_wrong(reply, "it is no JSON object (%.80s)", root ? "another value" : problem.text);
    else if (!ci_reply_read_error(reply, root, false))
        answer->dialect->read_whole(reply, root);
    json_decref(root);
}

void ci_answer_end(struct ci_answer *answer, bool well) {
    if (answer->out_of_memory) return;
    if (answer->kind == CI_ANSWER_EVENTS) ci_sse_end(&answer->sse);
    if (answer->kind == CI_ANSWER_ERROR && answer->body) read_error_body(answer);
    if (answer->kind == CI_ANSWER_WHOLE && !*answer->reply.wrong && answer->body) read_whole_body(answer, well);
}

void ci_answer_free(struct ci_answer *answer) {
    ci_sse_free(&answer->sse);
    free(answer->body);
    answer->body = NULL;
}
