/* responses.c: OpenAI's Responses API (platform.openai.com/docs/api-reference/responses).
 *
 * An answer is items: what was thought, a message, calls of functions. The same steps make them for both kinds of
 * answers: what comes opens an item or goes on with it, and closes the one before; a stream tells each step by an
 * event. Each event has its number, and the places of item and content part that it is about: clients build the answer
 * by them. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/append.h"
#include "base/status.h"
#include "server/answer.h"
#include "server/dialect.h"
#include "server/exchange.h"
#include "server/ignored.h"
#include "server/responses_read.h"
#include "server/server.h"
#include "server/timings.h"
#include "server/translated.h"
#include "text/utf8_json.h"

enum item { NO_ITEM, REASONING, MESSAGE, CALL };

struct answer {
    struct ci_exchange *exchange;
    const json_t *body;
    bool stream;
    char model[256];
    time_t created;
    json_int_t events; /* that are out */
    json_t *output;    /* items that are whole */
    enum item open;
    char *text; /* of the open item: what was thought, said, or the call's arguments */
    size_t length, capacity;
    size_t call;
    char *name;             /* of the open call */
    bool told;              /* its beginning is out */
    bool progress, timings; /* llama-server's additions are wanted */
    size_t prompt_tokens;
    struct ci_answer_live live;
    bool fine; /* nobody has left, memory was enough */
};

static json_t *text_json(const char *text, size_t length) { return ci_utf8_json(text ? text : "", text ? length : 0); }

/* ---- the whole ---- */

/* What was asked for stands in the answer, too; but for `store`, since nothing is. */
static void echo(json_t *response, const json_t *body) {
    static const char *const members[] = {"instructions", "max_output_tokens",   "temperature", "top_p",
                                          "metadata",     "parallel_tool_calls", "tool_choice", "tools",
                                          "text",         "reasoning",           "user",        "truncation",
                                          "service_tier"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *found = json_object_get(body, members[i]);
        if (found && !json_is_null(found)) json_object_set(response, members[i], found);
    }
}

static json_t *response_json(const struct answer *answer, const char *status) {
    char id[64];
    snprintf(id, sizeof id, "resp_%s", ci_exchange_id(answer->exchange));
    json_t *made = json_pack("{s:s, s:s, s:I, s:s, s:b, s:n, s:n, s:n, s:n, s:o, s:O, s:b, s:n, s:{}, s:b}", "id", id,
                             "object", "response", "created_at", (json_int_t)answer->created, "status", status,
                             "background", 0, "error", "incomplete_details", "instructions", "max_output_tokens",
                             "model", text_json(answer->model, strlen(answer->model)), "output", answer->output,
                             "parallel_tool_calls", 1, "previous_response_id", "metadata", "store", 0);
    /* temperature and top_p are the model's own where the request has none. */
    json_t *more = json_pack("{s:n, s:n, s:s, s:[], s:{s:{s:s}}, s:{s:n, s:n}, s:s, s:n}", "temperature", "top_p",
                             "tool_choice", "auto", "tools", "text", "format", "type", "text", "reasoning", "effort",
                             "summary", "truncation", "disabled", "usage");
    if (json_object_update_missing(made, more) != 0) made = NULL;
    json_decref(more);
    echo(made, answer->body);
    return made;
}

static json_t *usage_json(const struct clinfer_result *result) {
    return json_pack("{s:I, s:{s:I}, s:I, s:{s:I}, s:I}", "input_tokens", (json_int_t)result->prompt_tokens,
                     "input_tokens_details", "cached_tokens", (json_int_t)result->cached_tokens, "output_tokens",
                     (json_int_t)result->generated_tokens, "output_tokens_details", "reasoning_tokens",
                     (json_int_t)result->reasoning_tokens, "total_tokens",
                     (json_int_t)(result->prompt_tokens + result->generated_tokens));
}

/* ---- events ---- */

static void event(struct answer *answer, const char *type, json_t *data) {
    if (answer->stream && (!data || json_object_set_new(data, "type", json_string(type)) != 0 ||
                           json_object_set_new(data, "sequence_number", json_integer(answer->events++)) != 0 ||
                           !ci_stream_json(answer->exchange, type, data)))
        answer->fine = false;
    json_decref(data);
}

static void item_id(const struct answer *answer, char id[64]) {
    static const char *const beginnings[] = {"", "rs", "msg", "fc"};
    snprintf(id, 64, "%s_%s%02zu", beginnings[answer->open], ci_exchange_id(answer->exchange),
             json_array_size(answer->output));
}

/* An event of the open item; `data` has what is special about it. */
static void item_event(struct answer *answer, const char *type, bool part, json_t *data) {
    char id[64];
    item_id(answer, id);
    if (!data || json_object_set_new(data, "item_id", json_string(id)) != 0 ||
        json_object_set_new(data, "output_index", json_integer((json_int_t)json_array_size(answer->output))) != 0 ||
        (part && json_object_set_new(data, "content_index", json_integer(0)) != 0))
        answer->fine = false;
    event(answer, type, data);
}

static void whole_item_event(struct answer *answer, const char *type, json_t *item) {
    event(answer, type,
          json_pack("{s:I, s:O}", "output_index", (json_int_t)json_array_size(answer->output), "item", item));
}

/* ---- items ---- */

static json_t *part_json(const struct answer *answer) {
    json_t *text = text_json(answer->text, answer->length);
    return answer->open == REASONING
               ? json_pack("{s:s, s:o}", "type", "reasoning_text", "text", text)
               : json_pack("{s:s, s:o, s:[], s:[]}", "type", "output_text", "text", text, "annotations", "logprobs");
}

static void call_id(const struct answer *answer, char id[64]) {
    snprintf(id, 64, "call_%s%02zu", ci_exchange_id(answer->exchange), answer->call);
}

/* The open item, with what there is of it; `parts`: with its content. */
static json_t *item_json(const struct answer *answer, const char *status, bool parts) {
    char id[64], call[64];
    item_id(answer, id);
    call_id(answer, call);
    json_t *content = json_array();
    if (parts && answer->open != CALL) json_array_append_new(content, part_json(answer));
    if (answer->open == REASONING)
        return json_pack("{s:s, s:s, s:[], s:o, s:s}", "id", id, "type", "reasoning", "summary", "content", content,
                         "status", status);
    if (answer->open == MESSAGE)
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", id, "type", "message", "role", "assistant", "status",
                         status, "content", content);
    json_decref(content);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:s}", "id", id, "type", "function_call", "call_id", call, "name",
                     text_json(answer->name, answer->name ? strlen(answer->name) : 0), "arguments",
                     text_json(answer->text, parts ? answer->length : 0), "status", status);
}

static void begin_item(struct answer *answer) {
    json_t *item = item_json(answer, "in_progress", false);
    whole_item_event(answer, "response.output_item.added", item);
    json_decref(item);
    answer->told = true;
    if (answer->open != CALL)
        item_event(answer, "response.content_part.added", true, json_pack("{s:o}", "part", part_json(answer)));
}

static void end_text(struct answer *answer) {
    bool thought = answer->open == REASONING;
    json_t *done = json_pack("{s:o}", "text", text_json(answer->text, answer->length));
    if (!thought) json_object_set_new(done, "logprobs", json_array());
    item_event(answer, thought ? "response.reasoning_text.done" : "response.output_text.done", true, done);
    item_event(answer, "response.content_part.done", true, json_pack("{s:o}", "part", part_json(answer)));
}

static void end_item(struct answer *answer, const char *status) {
    if (answer->open == NO_ITEM) return;
    if (!answer->name && answer->open == CALL) answer->name = strdup("");
    if (answer->open == CALL && !answer->name) answer->fine = false;
    if (!answer->fine) return;
    if (!answer->told) begin_item(answer);
    if (answer->open == CALL)
        item_event(answer, "response.function_call_arguments.done", false,
                   json_pack("{s:o, s:o}", "arguments", text_json(answer->text, answer->length), "name",
                             text_json(answer->name, strlen(answer->name))));
    else
        end_text(answer);
    json_t *item = item_json(answer, status, true);
    whole_item_event(answer, "response.output_item.done", item);
    if (json_array_append_new(answer->output, item) != 0) answer->fine = false;
    free(answer->name);
    answer->name = NULL;
    answer->open = NO_ITEM;
    answer->told = false;
    answer->length = 0;
}

static void add_text(struct answer *answer, const char *text, size_t length) {
    if (!ci_append(&answer->text, &answer->length, &answer->capacity, text, length)) answer->fine = false;
}

static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct answer *answer = user;
    enum item item = piece->part == CLINFER_PART_REASONING ? REASONING : MESSAGE;
    (void)choice;
    ci_answer_made(&answer->live, piece->token_count);
    if (!piece->length) return answer->fine;
    if (answer->open != item) {
        end_item(answer, "completed");
        answer->open = item;
        begin_item(answer);
    }
    add_text(answer, piece->text, piece->length);
    json_t *data = json_pack("{s:o}", "delta", text_json(piece->text, piece->length));
    if (item == MESSAGE && data) json_object_set_new(data, "logprobs", json_array());
    if (answer->timings && data) json_object_set_new(data, "timings", ci_timings_json(&answer->live.so_far));
    item_event(answer, item == MESSAGE ? "response.output_text.delta" : "response.reasoning_text.delta", true, data);
    return answer->fine;
}

static bool on_call(void *user, int choice, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    size_t before = answer->length;
    (void)choice;
    if (answer->open != CALL || answer->call != piece->index) {
        end_item(answer, "completed");
        answer->open = CALL;
        answer->call = piece->index;
        before = 0;
    }
    if (piece->length) add_text(answer, piece->arguments, piece->length);
    if (piece->name && !answer->name) {
        answer->name = strdup(piece->name);
        if (!answer->name) return answer->fine = false;
        begin_item(answer);
        before = 0;
    }
    if (answer->told && answer->length > before)
        item_event(answer, "response.function_call_arguments.delta", false,
                   json_pack("{s:o}", "delta", text_json(answer->text + before, answer->length - before)));
    return answer->fine;
}

/* ---- begin and end ---- */

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct answer *answer = user;
    snprintf(answer->model, sizeof answer->model, "%s", facts->model);
    ci_answer_started(&answer->live, facts->cached_tokens);
    answer->prompt_tokens = facts->prompt_tokens;
    if (!answer->stream) return;
    ci_stream_begin(answer->exchange, "text/event-stream");
    event(answer, "response.created", json_pack("{s:o}", "response", response_json(answer, "in_progress")));
    event(answer, "response.in_progress", json_pack("{s:o}", "response", response_json(answer, "in_progress")));
}

static void on_progress(void *user, size_t done, size_t total, size_t cached) {
    struct answer *answer = user;
    (void)cached;
    if (!answer->progress || !answer->stream || !answer->model[0]) return;
    ci_answer_computed(&answer->live, done);
    event(answer, "response.in_progress",
          json_pack("{s:o, s:o}", "response", response_json(answer, "in_progress"), "prompt_progress",
                    ci_answer_progress(&answer->live, total)));
}

static void finish(struct answer *answer, const struct ci_job_choice *choice) {
    const struct clinfer_result *result = &choice->result;
    bool cut = result->finish == CLINFER_FINISH_LENGTH || result->finish == CLINFER_FINISH_CONTEXT;
    const char *status = cut ? "incomplete" : "completed";
    if (answer->open == NO_ITEM && !json_array_size(answer->output)) { /* nothing was said, which is an answer */
        answer->open = MESSAGE;
        begin_item(answer);
    }
    end_item(answer, status);
    json_t *response = answer->fine ? response_json(answer, status) : NULL;
    if (cut && response)
        json_object_set_new(response, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
    if (response) json_object_set_new(response, "usage", usage_json(result));
    if (!answer->stream) {
        ci_reply_json(answer->exchange, 200, response);
        return;
    }
    /* llama-server's own clients, who ask for its additions, wait for its only kind of an end. */
    bool peer = answer->timings || answer->progress;
    json_t *data = json_pack("{s:o}", "response", response);
    if (data && peer) json_object_set_new(data, "timings", ci_timings_json(result));
    event(answer, cut && !peer ? "response.incomplete" : "response.completed", data);
    ci_stream_end(answer->exchange, answer->fine);
}

/* ---- failures ---- */

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

/* OpenAI's client raises what has a member `error`. */
static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    struct answer *answer = ci_exchange_user(exchange);
    json_t *data = ci_failure_openai(failure);
    const char *message = failure->message ? failure->message : "";
    if (data && json_object_set_new(data, "code", json_string("server_error")) == 0 &&
        json_object_set_new(data, "message", text_json(message, strlen(message))) == 0 &&
        json_object_set_new(data, "param", json_null()) == 0 && answer)
        event(answer, "error", json_incref(data));
    json_decref(data);
    ci_stream_end(exchange, false);
}

/* ---- the routes ---- */

static bool read_job(struct ci_exchange *exchange, struct ci_job *job, bool *stream) {
    struct ci_translation translation;
    const json_t *body = ci_exchange_json(exchange);
    if (!body) return false;
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    if (ci_responses_read(body, &options->sampling, ci_exchange_arena(exchange), job, &translation, stream))
        return true;
    ci_translated_fail(exchange, &translation);
    return false;
}

static void responses(struct ci_exchange *exchange) {
    struct answer answer = {.exchange = exchange, .fine = true, .created = time(NULL)};
    struct ci_job_result result;
    struct ci_job job;
    if (!read_job(exchange, &job, &answer.stream)) return;
    answer.body = ci_exchange_json(exchange);
    answer.output = json_array();
    answer.timings = json_is_true(json_object_get(answer.body, "timings_per_token"));
    answer.progress = json_is_true(json_object_get(answer.body, "return_progress"));
    job.user = &answer;
    job.started = on_started;
    job.piece = on_piece;
    job.call = on_call;
    job.progress = on_progress;
    ci_exchange_set_user(exchange, &answer);
    if (answer.stream) ci_stream_expect_events(exchange);
    if (ci_job_run(exchange, &job, &result)) {
        finish(&answer, &result.choices[0]);
        ci_job_free(&result);
    }
    ci_exchange_set_user(exchange, NULL);
    json_decref(answer.output);
    free(answer.text);
    free(answer.name);
}

static void input_tokens(struct ci_exchange *exchange) {
    struct ci_job job;
    size_t count;
    bool stream;
    if (!read_job(exchange, &job, &stream) || !ci_translated_count(exchange, &job, &count)) return;
    ci_reply_json(exchange, 200,
                  json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", (json_int_t)count));
}

/* What the answer only repeats (metadata, user) is none of it. */
#define FIELDS                                                                                                         \
    CI_SAMPLING_FIELDS " model input instructions max_output_tokens stream tools tool_choice text text.format "        \
                       "reasoning reasoning.effort previous_response_id conversation background timings_per_token "    \
                       "return_progress num_ctx force_bytes"
static const struct ci_route routes[] = {
    {.method = "POST", .path = "/v1/responses", .flags = CI_ROUTE_WITHOUT_V1, .handle = responses, .fields = FIELDS},
    {.method = "POST",
     .path = "/v1/responses/input_tokens",
     .flags = CI_ROUTE_WITHOUT_V1,
     .handle = input_tokens,
     .fields = FIELDS},
};

const struct ci_server_dialect ci_server_dialect_responses = {
    .name = "responses",
    .routes = routes,
    .count = sizeof routes / sizeof *routes,
    .fail = fail,
    .break_off = break_off,
};
