/* check_job.h: what a job that came of a body has to be, whatever the body was. */
#ifndef CI_FUZZ_CHECK_JOB_H
#define CI_FUZZ_CHECK_JOB_H

#include <jansson.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/translate.h"

/* The body as a server reads it; NULL: it is no object. */
static inline json_t *fuzz_body(const uint8_t *data, size_t size) {
    json_t *body = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
    if (json_is_object(body)) return body;
    json_decref(body);
    return NULL;
}

static inline void check_calls(const struct clinfer_message *message) {
    for (size_t i = 0; i < message->call_count; i++) {
        const struct clinfer_tool_call *call = &message->calls[i];
        if (!call->id || !*call->id || !call->name || !*call->name) abort();
        json_t *arguments = json_loads(call->arguments, 0, NULL);
        if (!json_is_object(arguments)) abort();
        json_decref(arguments);
    }
}

static inline void check_messages(const struct clinfer_chat_request *request) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < request->count; i++) {
        const struct clinfer_message *message = &request->messages[i];
        size_t role = 0;
        while (role < 4 && strcmp(roles[role], message->role) != 0) role++;
        if (role == 4 || !message->content || (role == 0 && i > 0)) abort();
        if (role != 2 && message->call_count) abort();
        check_calls(message);
    }
}

static inline void check_text(const char *text, json_type type) {
    json_t *read = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (text && (!read || json_typeof(read) != type)) abort();
    json_decref(read);
}

static inline void check_job(const struct ci_job *job) {
    const struct clinfer_chat_request *request = &job->request;
    const struct clinfer_session_options *sampling = &job->sampling;
    check_messages(request);
    check_text(request->tools, JSON_ARRAY);
    check_text(request->template_arguments, JSON_OBJECT);
    if (request->max_tokens < -1 || (request->stop_count && !request->stop)) abort();
    for (size_t i = 0; i < request->stop_count; i++)
        if (!request->stop[i] || !*request->stop[i]) abort();
    if (sampling->temperature < 0 || isinf(sampling->temperature) || sampling->top_p < 0 || sampling->logprobs < 0)
        abort();
    if (request->callback || request->piece || request->user) abort();
}

/* Whatever it was, it was well or there is a reason. */
static inline void check_translation(const struct ci_translation *translation, bool fine) {
    if (fine == (translation->problem != NULL) || translation->tools || translation->variables) abort();
    if (fine) check_job(translation->job);
}

#endif
