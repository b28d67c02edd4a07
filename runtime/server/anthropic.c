/* anthropic.c: Anthropic's Messages API (docs.anthropic.com/en/api/messages), as its clients and Claude Code speak it.
 *
 * An answer is blocks: what was thought, text, calls of tools. In a stream each has a start, deltas and a stop, and
 * indexes count them without gaps, so that a block is opened by what comes for it and closed by what comes for the
 * next. Usage counts tokens that came out of the cache apart: input_tokens is the rest. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/status.h"
#include "server/anthropic_read.h"
#include "server/dialect.h"
#include "server/exchange.h"
#include "server/server.h"
#include "server/translated.h"
#include "text/utf8_json.h"

enum block { NO_BLOCK, THINKING, TEXT, CALL };

struct answer {
    struct ci_exchange *exchange;
    bool stream;
    char model[256];
    enum block open;
    int index;   /* of the open block, else of the next */
    size_t call; /* which one is open */
    bool named;  /* its start is out */
    char *input; /* what came of its input before its name */
    size_t input_length, input_capacity;
    size_t calls;
    bool fine; /* nobody has left, memory was enough */
};

static json_t *text_json(const char *text, size_t length) { return ci_utf8_json(text ? text : "", text ? length : 0); }

/* ---- failures ---- */

static const struct {
    enum ci_failure_kind kind;
    int status;
    const char *type;
} failures[] = {
    {CI_FAIL_INVALID, 400, "invalid_request_error"},
    {CI_FAIL_KEY, 401, "authentication_error"},
    {CI_FAIL_PERMISSION, 403, "permission_error"},
    {CI_FAIL_NOT_FOUND, 404, "not_found_error"},
    {CI_FAIL_METHOD, 405, "invalid_request_error"},
    {CI_FAIL_TOO_LARGE, 413, "request_too_large"},
    {CI_FAIL_CONTEXT, 400, "invalid_request_error"},
    {CI_FAIL_BUSY, 529, "overloaded_error"},
    {CI_FAIL_UNSUPPORTED, 400, "invalid_request_error"},
    {CI_FAIL_UNAVAILABLE, 529, "overloaded_error"},
    {CI_FAIL_CANCELLED, 499, "api_error"},
};

static json_t *failure_json(struct ci_exchange *exchange, const struct ci_failure *failure, int *status) {
    const char *type = "api_error";
    char id[64], too_long[128];
    const char *message = failure->message;
    *status = 500;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++)
        if (failures[i].kind == failure->kind) {
            *status = failures[i].status;
            type = failures[i].type;
        }
    /* Clients look for these words to make a conversation shorter. */
    if (failure->kind == CI_FAIL_CONTEXT) {
        snprintf(too_long, sizeof too_long, "prompt is too long: %lld tokens > %lld maximum",
                 (long long)failure->prompt_tokens, (long long)failure->context);
        message = too_long;
    }
    snprintf(id, sizeof id, "req_%s", ci_exchange_id(exchange));
    return json_pack("{s:s, s:{s:s, s:o}, s:s}", "type", "error", "error", "type", type, "message",
                     text_json(message, message ? strlen(message) : 0), "request_id", id);
}

static void set_request_id(struct ci_exchange *exchange) {
    char id[64];
    snprintf(id, sizeof id, "req_%s", ci_exchange_id(exchange));
    ci_reply_header(exchange, "request-id", id);
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    char seconds[32];
    int status;
    json_t *body = failure_json(exchange, failure, &status);
    set_request_id(exchange);
    if (failure->retry_after > 0) {
        snprintf(seconds, sizeof seconds, "%.0f", failure->retry_after < 1 ? 1 : failure->retry_after);
        ci_reply_header(exchange, "Retry-After", seconds);
    }
    ci_reply_json(exchange, status, body);
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    int status;
    json_t *body = failure_json(exchange, failure, &status);
    ci_stream_json(exchange, "error", body);
    ci_stream_end(exchange, false);
    json_decref(body);
}

/* ---- a stream ---- */

static void event(struct answer *answer, const char *type, json_t *data) {
    if (!data || json_object_set_new(data, "type", json_string(type)) != 0 ||
        !ci_stream_json(answer->exchange, type, data))
        answer->fine = false;
    json_decref(data);
}

static void delta(struct answer *answer, const char *type, const char *member, const char *text, size_t length) {
    event(answer, "content_block_delta",
          json_pack("{s:i, s:{s:s, s:o}}", "index", answer->index, "delta", "type", type, member,
                    text_json(text, length)));
}

static void start_block(struct answer *answer, enum block block, json_t *content) {
    answer->open = block;
    event(answer, "content_block_start", json_pack("{s:i, s:o}", "index", answer->index, "content_block", content));
}

static void stop_block(struct answer *answer) {
    if (answer->open == NO_BLOCK) return;
    if (answer->open == THINKING) delta(answer, "signature_delta", "signature", "", 0);
    event(answer, "content_block_stop", json_pack("{s:i}", "index", answer->index));
    answer->open = NO_BLOCK;
    answer->index++;
}

static void call_id(const struct answer *answer, size_t index, char id[64]) {
    snprintf(id, 64, "toolu_%s%02zu", ci_exchange_id(answer->exchange), index);
}

static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct answer *answer = user;
    bool thinking = piece->part == CLINFER_PART_REASONING;
    enum block block = thinking ? THINKING : TEXT;
    (void)choice;
    if (!piece->length) return answer->fine;
    if (answer->open != block) {
        const char *name = thinking ? "thinking" : "text";
        stop_block(answer);
        start_block(answer, block,
                    thinking ? json_pack("{s:s, s:s, s:s}", "type", name, name, "", "signature", "")
                             : json_pack("{s:s, s:s}", "type", name, name, ""));
    }
    delta(answer, thinking ? "thinking_delta" : "text_delta", thinking ? "thinking" : "text", piece->text,
          piece->length);
    return answer->fine;
}

static void start_call(struct answer *answer, const char *name) {
    char id[64];
    call_id(answer, answer->call, id);
    answer->named = true;
    start_block(answer, CALL,
                json_pack("{s:s, s:s, s:o, s:{}}", "type", "tool_use", "id", id, "name", text_json(name, strlen(name)),
                          "input"));
    if (answer->input_length) delta(answer, "input_json_delta", "partial_json", answer->input, answer->input_length);
    answer->input_length = 0;
}

static bool on_call(void *user, int choice, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    (void)choice;
    if (!answer->calls || answer->call != piece->index) {
        stop_block(answer);
        answer->call = piece->index;
        answer->calls++;
        answer->named = false;
    }
    if (piece->name && !answer->named) start_call(answer, piece->name);
    if (!piece->length) return answer->fine;
    if (answer->named)
        delta(answer, "input_json_delta", "partial_json", piece->arguments, piece->length);
    else if (!ci_append(&answer->input, &answer->input_length, &answer->input_capacity, piece->arguments,
                        piece->length))
        answer->fine = false;
    return answer->fine;
}

/* Tokens that came out of the cache are counted apart. */
static json_t *usage_json(size_t prompt, size_t cached, size_t output) {
    return json_pack("{s:I, s:i, s:I, s:I}", "input_tokens", (json_int_t)(prompt - cached),
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens", (json_int_t)cached, "output_tokens",
                     (json_int_t)output);
}

static json_t *message_json(const struct answer *answer, json_t *content, json_t *reason, json_t *sequence,
                            json_t *usage) {
    char id[64];
    snprintf(id, sizeof id, "msg_%s", ci_exchange_id(answer->exchange));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "id", id, "type", "message", "role", "assistant",
                     "model", text_json(answer->model, strlen(answer->model)), "content", content, "stop_reason",
                     reason, "stop_sequence", sequence, "usage", usage);
}

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct answer *answer = user;
    snprintf(answer->model, sizeof answer->model, "%s", facts->model);
    if (!answer->stream) return;
    ci_stream_begin(answer->exchange, "text/event-stream");
    event(answer, "message_start",
          json_pack("{s:o}", "message",
                    message_json(answer, json_array(), json_null(), json_null(),
                                 usage_json(facts->prompt_tokens, facts->cached_tokens, 0))));
}

/* ---- the end ---- */

static const char *reason_of(const struct ci_job_choice *choice) {
    if (choice->result.stop_text) return "stop_sequence";
    if (choice->result.finish == CLINFER_FINISH_LENGTH) return "max_tokens";
    if (choice->result.finish == CLINFER_FINISH_CONTEXT) return "model_context_window_exceeded";
    return choice->result.call_count ? "tool_use" : "end_turn";
}

static json_t *sequence_json(const struct ci_job_choice *choice) {
    return choice->result.stop_text ? text_json(choice->result.stop_text, strlen(choice->result.stop_text))
                                    : json_null();
}

static void end_stream(struct answer *answer, const struct ci_job_choice *choice) {
    const struct clinfer_result *result = &choice->result;
    stop_block(answer);
    if (!answer->index) {
        start_block(answer, TEXT, json_pack("{s:s, s:s}", "type", "text", "text", ""));
        stop_block(answer);
    }
    event(answer, "message_delta",
          json_pack("{s:{s:s, s:o}, s:o}", "delta", "stop_reason", reason_of(choice), "stop_sequence",
                    sequence_json(choice), "usage",
                    usage_json(result->prompt_tokens, result->cached_tokens, result->generated_tokens)));
    event(answer, "message_stop", json_object());
    ci_stream_end(answer->exchange, answer->fine);
}

/* Arguments that were cut are no JSON: the call is there, with none. */
static json_t *input_json(const struct clinfer_tool_call *call) {
    json_t *input = json_loads(call->arguments, 0, NULL);
    if (json_is_object(input)) return input;
    json_decref(input);
    return json_object();
}

static json_t *content_json(const struct answer *answer, const struct ci_job_choice *choice) {
    json_t *content = json_array();
    if (choice->reasoning_length)
        json_array_append_new(content,
                              json_pack("{s:s, s:o, s:s}", "type", "thinking", "thinking",
                                        text_json(choice->reasoning, choice->reasoning_length), "signature", ""));
    if (choice->text_length || (!choice->reasoning_length && !choice->result.call_count))
        json_array_append_new(
            content, json_pack("{s:s, s:o}", "type", "text", "text", text_json(choice->text, choice->text_length)));
    for (size_t i = 0; i < choice->result.call_count; i++) {
        const struct clinfer_tool_call *call = &choice->result.calls[i];
        char id[64];
        call_id(answer, i, id);
        json_array_append_new(content, json_pack("{s:s, s:s, s:o, s:o}", "type", "tool_use", "id", id, "name",
                                                 text_json(call->name, strlen(call->name)), "input", input_json(call)));
    }
    return content;
}

static void reply(struct answer *answer, const struct ci_job_choice *choice) {
    const struct clinfer_result *result = &choice->result;
    set_request_id(answer->exchange);
    ci_reply_json(answer->exchange, 200,
                  message_json(answer, content_json(answer, choice), json_string(reason_of(choice)),
                               sequence_json(choice),
                               usage_json(result->prompt_tokens, result->cached_tokens, result->generated_tokens)));
}

/* ---- the routes ---- */

/* false: it has been answered. */
static bool read_job(struct ci_exchange *exchange, struct ci_job *job, bool *stream) {
    struct ci_translation translation;
    const json_t *body = ci_exchange_json(exchange);
    if (!body) return false;
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    if (ci_anthropic_read(body, &options->sampling, ci_exchange_arena(exchange), job, &translation, stream))
        return true;
    ci_translated_fail(exchange, &translation);
    return false;
}

static void messages(struct ci_exchange *exchange) {
    struct answer answer = {.exchange = exchange, .fine = true};
    struct ci_job_result result;
    struct ci_job job;
    if (!read_job(exchange, &job, &answer.stream)) return;
    job.user = &answer;
    job.started = on_started;
    if (answer.stream) {
        set_request_id(exchange);
        ci_stream_expect_events(exchange);
        job.piece = on_piece;
        job.call = on_call;
    }
    if (ci_job_run(exchange, &job, &result)) {
        if (answer.stream)
            end_stream(&answer, &result.choices[0]);
        else
            reply(&answer, &result.choices[0]);
        ci_job_free(&result);
    }
    free(answer.input);
}

static void count_tokens(struct ci_exchange *exchange) {
    struct ci_job job;
    size_t count;
    bool stream;
    if (!read_job(exchange, &job, &stream) || !ci_translated_count(exchange, &job, &count)) return;
    set_request_id(exchange);
    ci_reply_json(exchange, 200, json_pack("{s:I}", "input_tokens", (json_int_t)count));
}

#define FIELDS                                                                                                         \
    "model messages system max_tokens stream temperature top_p top_k stop_sequences tools tool_choice thinking "       \
    "thinking.type output_config output_config.format output_config.effort output_format num_ctx force_bytes"
static const struct ci_route routes[] = {
    {.method = "POST", .path = "/v1/messages", .handle = messages, .fields = FIELDS},
    {.method = "POST", .path = "/v1/messages/count_tokens", .handle = count_tokens, .fields = FIELDS},
};

const struct ci_server_dialect ci_server_dialect_anthropic = {
    .name = "anthropic",
    .routes = routes,
    .count = sizeof routes / sizeof *routes,
    .fail = fail,
    .break_off = break_off,
};
