/* bench_stream.c: one streamed answer of `clinfer bench --server`, and when its pieces came. The clock is read once for
 * the bytes that came together: what a server sends in one piece came at one time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/bench_server.h"
#include "cli/output.h"

enum { ANSWER_BYTES = 4096 };

static const double connect_seconds = 30;

bool ci_bench_numbers_add(struct ci_bench_numbers *numbers, double value) {
    if (numbers->count == numbers->capacity) {
        size_t capacity = 2 * numbers->capacity + 256;
        double *grown = realloc(numbers->items, capacity * sizeof *grown);
        if (!grown) return false;
        numbers->items = grown;
        numbers->capacity = capacity;
    }
    numbers->items[numbers->count++] = value;
    return true;
}

static void say(struct ci_bench_stream *stream, const char *text) {
    if (!*stream->problem) snprintf(stream->problem, sizeof stream->problem, "%.200s", text);
}

/* ---- what comes ---- */

static bool has_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text && *text;
}

static void take_text(struct ci_bench_stream *stream) {
    if (!stream->first)
        stream->first = stream->now;
    else if (!ci_bench_numbers_add(&stream->gaps, stream->now - stream->last))
        say(stream, "out of memory");
    stream->last = stream->now;
    stream->pieces++;
}

static void take_usage(const json_t *usage, const char *name, long long *tokens) {
    const json_t *value = json_object_get(usage, name);
    if (json_is_integer(value) && json_integer_value(value) >= 0) *tokens = json_integer_value(value);
}

/* {"error": "text"} or {"error": {"message": "text"}}, "detail" where it is FastAPI's. */
static const char *error_text(const json_t *event) {
    const json_t *error = json_object_get(event, "error");
    if (json_is_object(error)) error = json_object_get(error, "message");
    return json_string_value(error ? error : json_object_get(event, "detail"));
}

static void on_event(void *user, const char *name, const char *data, size_t length) {
    struct ci_bench_stream *stream = user;
    (void)name;
    if (strcmp(data, "[DONE]") == 0) {
        stream->complete = true;
        return;
    }
    json_t *event = json_loadb(data, length, JSON_ALLOW_NUL, NULL); /* a model may say that */
    const json_t *choice = json_array_get(json_object_get(event, "choices"), 0);
    const json_t *delta = json_object_get(choice, "delta"), *usage = json_object_get(event, "usage");
    if (!event) say(stream, "an event is no JSON");
    if (json_object_get(event, "error") && !json_is_null(json_object_get(event, "error")))
        say(stream, error_text(event) ? error_text(event) : "the stream ends with an error");
    if (has_text(choice, "text") || has_text(delta, "content") || has_text(delta, "reasoning_content") ||
        has_text(delta, "reasoning"))
        take_text(stream);
    take_usage(usage, "prompt_tokens", &stream->prompt_tokens);
    take_usage(usage, "completion_tokens", &stream->generated_tokens);
    take_usage(json_object_get(usage, "prompt_tokens_details"), "cached_tokens", &stream->cached_tokens);
    json_decref(event);
}

static bool on_body(void *user, const struct ci_fetch *fetch, const char *bytes, size_t length) {
    struct ci_bench_stream *stream = user;
    stream->now = ci_now();
    if (ci_fetch_status(fetch) == 200) {
        enum ci_sse_status status = ci_sse_feed(&stream->sse, bytes, length);
        if (status != CI_SSE_OK) say(stream, status == CI_SSE_TOO_LONG ? "an event is too long" : "out of memory");
        return status == CI_SSE_OK;
    }
    size_t room = ANSWER_BYTES - stream->answer_length;
    return ci_append(&stream->answer, &stream->answer_length, &stream->answer_capacity, bytes,
                     length < room ? length : room);
}

/* ---- what is asked ---- */

static char *make_body(const struct ci_bench_server *server, const char *prompt, long long generated) {
    json_t *request = json_pack("{s:s, s:I, s:b, s:{s:b}}", "model", server->model, "max_tokens", (json_int_t)generated,
                                "stream", 1, "stream_options", "include_usage", 1);
    if (server->ignore_end) json_object_set_new(request, "ignore_eos", json_true());
    if (server->api == CI_BENCH_CHAT)
        json_object_set_new(request, "messages", json_pack("[{s:s, s:s}]", "role", "user", "content", prompt));
    else
        json_object_set_new(request, "prompt", json_string(prompt));
    char *body = request ? json_dumps(request, JSON_COMPACT) : NULL;
    json_decref(request);
    return body;
}

enum clinfer_status ci_bench_stream_start(struct ci_bench_server *server, struct ci_bench_stream *stream,
                                          long long prompt, long long shared, long long generated, double begun) {
    static const char *const headers[] = {"Content-Type: application/json", "Accept: text/event-stream", NULL};
    char *text = ci_bench_prompt(&server->words, prompt, shared), url[2048];
    *stream = (struct ci_bench_stream){.begun = begun,
                                       .prompt_tokens = -1,
                                       .generated_tokens = -1,
                                       .cached_tokens = -1,
                                       .sse = {.callback = on_event, .user = stream},
                                       .body = text ? make_body(server, text, generated) : NULL};
    free(text);
    if (!stream->body) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a prompt of %lld tokens", prompt);
    snprintf(url, sizeof url, "%s/v1/%s", server->base,
             server->api == CI_BENCH_CHAT ? "chat/completions" : "completions");
    const struct ci_fetch_request request = {.url = url,
                                             .headers = headers,
                                             .authorization = server->authorization,
                                             .body = stream->body,
                                             .body_bytes = strlen(stream->body),
                                             .connect_seconds = connect_seconds,
                                             .silence_seconds = server->timeout,
                                             .on_body = on_body,
                                             .user = stream};
    return ci_fetch_start(server->fetcher, &request, &stream->fetch);
}

bool ci_bench_stream_has_ended(const struct ci_bench_stream *stream) {
    return stream->fetch && ci_fetch_end(stream->fetch) != CI_FETCH_RUNNING;
}

/* The kind of failure first, so that those of one kind are counted together. */
static void say_status(struct ci_bench_stream *stream, long status) {
    json_t *answer = stream->answer ? json_loadb(stream->answer, stream->answer_length, 0, NULL) : NULL;
    const char *text = error_text(answer);
    snprintf(stream->problem, sizeof stream->problem, "HTTP %ld%s%.200s", status, text ? ": " : "", text ? text : "");
    json_decref(answer);
}

bool ci_bench_stream_finish(struct ci_bench_stream *stream) {
    enum ci_fetch_end end = ci_fetch_end(stream->fetch);
    long status = ci_fetch_status(stream->fetch);
    if (end == CI_FETCH_DONE && status == 200) ci_sse_end(&stream->sse);
    if (end == CI_FETCH_UNCONNECTED) say(stream, "no connection");
    if (end == CI_FETCH_DONE && status != 200) say_status(stream, status);
    if (end != CI_FETCH_DONE) {
        const char *why = ci_fetch_problem(stream->fetch);
        say(stream, *why ? why : "the connection broke");
    }
    if (!stream->complete) say(stream, "the stream ends without [DONE]");
    return !*stream->problem;
}

void ci_bench_stream_free(struct ci_bench_stream *stream) {
    ci_fetch_free(stream->fetch);
    ci_sse_free(&stream->sse);
    free(stream->body);
    free(stream->answer);
    free(stream->gaps.items);
    *stream = (struct ci_bench_stream){0};
}
