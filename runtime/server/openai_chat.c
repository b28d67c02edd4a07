/* openai_chat.c: POST /v1/chat/completions, in one piece and as a stream. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "server/answer.h"
#include "server/openai_chat.h"
#include "server/openai_request.h"
#include "server/openai_verbose.h"
#include "server/sampled.h"
#include "server/slots.h"
#include "server/timings.h"
#include "text/utf8_json.h"

/* What has gone out of one choice. */
struct choice {
    struct ci_answer_live live;
    json_t *logprobs; /* of tokens whose text is not out yet; NULL: not wanted */
    bool thinking;    /* an opening mark is out, its end is not: reasoning_format none */
};

struct chat {
    struct ci_exchange *exchange;
    struct ci_openai_request request;
    const char *model;
    char id[64];
    json_int_t created;
    size_t prompt_tokens; /* in all */
    bool begun;           /* the stream is */
    struct choice *choices;
};

/* ---- what all chunks and answers have ---- */

static json_t *frame(const struct chat *chat, const char *object, json_t *choices) {
    return json_pack("{s:o, s:I, s:s, s:s, s:s, s:s}", "choices", choices ? choices : json_array(), "created",
                     chat->created, "id", chat->id, "model", chat->model, "system_fingerprint", CI_ANSWER_FINGERPRINT,
                     "object", object);
}

static json_t *chunk(const struct chat *chat, int index, json_t *delta, const char *finish) {
    return frame(chat, "chat.completion.chunk",
                 json_pack("[{s:s?, s:i, s:o}]", "finish_reason", finish, "index", index, "delta", delta));
}

static bool send(struct chat *chat, json_t *value) {
    bool sent = value && ci_stream_json(chat->exchange, NULL, value);
    json_decref(value);
    return sent;
}

/* ---- a stream ---- */

static void begin_stream(struct chat *chat, const char *model) {
    if (chat->begun) return;
    chat->begun = true;
    if (!model) model = ci_job_model(chat->exchange, &chat->request.job); /* a remote's answers begin with a piece */
    if (model) chat->model = ci_arena_string(ci_exchange_arena(chat->exchange), model, strlen(model));
    if (!chat->model) chat->model = "";
    ci_stream_begin(chat->exchange, "text/event-stream");
    for (int i = 0; i < chat->request.job.choices; i++)
        send(chat, chunk(chat, i, json_pack("{s:s, s:n}", "role", "assistant", "content"), NULL));
}

static void send_progress(struct chat *chat) {
    const struct ci_answer_live *live = &chat->choices[0].live;
    json_t *value = chunk(chat, 0, json_object(), NULL);
    ci_answer_set(value, "prompt_progress", ci_answer_progress(live, chat->prompt_tokens));
    if (chat->request.timings_per_token) ci_answer_set(value, "timings", ci_timings_json(&live->so_far));
    send(chat, value);
}

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct chat *chat = user;
    chat->prompt_tokens = facts->prompt_tokens;
    for (int i = 0; i < chat->request.job.choices; i++) ci_answer_started(&chat->choices[i].live, facts->cached_tokens);
    begin_stream(chat, facts->model);
    if (chat->request.return_progress) send_progress(chat);
}

static void on_progress(void *user, size_t done, size_t total, size_t cached) {
    struct chat *chat = user;
    struct ci_answer_live *live = &chat->choices[0].live;
    (void)total;
    (void)cached;
    if (done <= live->so_far.prompt_tokens) return;
    ci_answer_computed(live, done);
    if (chat->begun && chat->request.return_progress) send_progress(chat);
}

/* The sampled tokens' probabilities where those after sampling are wanted. */
static void add_logprobs(const struct chat *chat, json_t *entries, const struct clinfer_logprob *logprobs,
                         size_t count) {
    const struct ci_openai_request *request = &chat->request;
    size_t row = 1 + (size_t)request->job.sampling.logprobs, top = (size_t)request->likeliest;
    if (request->post_sampling_probs)
        ci_sampled_add(entries, request->engine, &request->job.sampling, logprobs, count, row, top);
    else
        ci_answer_add_logprobs(entries, request->engine, logprobs, count, row, top, false);
}

/* A delta's chunk, with the logprobs of its tokens and the times so far where they are wanted. */
static bool send_delta(struct chat *chat, int index, json_t *delta) {
    struct choice *choice = &chat->choices[index];
    json_t *value = chunk(chat, index, delta, NULL);
    if (choice->logprobs) {
        ci_answer_set(json_array_get(json_object_get(value, "choices"), 0), "logprobs",
                      json_pack("{s:o}", "content", choice->logprobs));
        choice->logprobs = json_array();
    }
    if (chat->request.timings_per_token) ci_answer_set(value, "timings", ci_timings_json(&choice->live.so_far));
    return send(chat, value);
}

static bool keeps_marks(const struct chat *chat) {
    return chat->request.reasoning_format && strcmp(chat->request.reasoning_format, "none") == 0;
}

/* With reasoning_format none the answer has what was thought in it, between the marks that most clients know. */
static const char *mark_between(struct choice *choice, bool thinks) {
    if (choice->thinking == thinks) return NULL;
    choice->thinking = thinks;
    return thinks ? "<think>\n" : "\n</think>\n\n";
}

static bool on_piece(void *user, int index, const struct clinfer_piece *piece) {
    struct chat *chat = user;
    struct choice *choice = &chat->choices[index];
    bool thinks = piece->part == CLINFER_PART_REASONING, apart = thinks && !keeps_marks(chat);
    begin_stream(chat, NULL);
    ci_answer_made(&choice->live, piece->token_count);
    if (choice->logprobs && piece->logprobs) add_logprobs(chat, choice->logprobs, piece->logprobs, piece->token_count);
    if (!piece->length) return !ci_exchange_gone(chat->exchange);
    const char *mark = keeps_marks(chat) ? mark_between(choice, thinks) : NULL;
    if (mark && !send(chat, chunk(chat, index, json_pack("{s:s}", "content", mark), NULL))) return false;
    return send_delta(
        chat, index,
        json_pack("{s:o}", apart ? "reasoning_content" : "content", ci_utf8_json(piece->text, piece->length)));
}

static bool on_call(void *user, int index, const struct clinfer_tool_call_piece *piece) {
    struct chat *chat = user;
    begin_stream(chat, NULL);
    if (piece->index > 0 && !chat->request.parallel_tool_calls) return true;
    json_t *function = json_object();
    if (piece->name) ci_answer_set(function, "name", ci_utf8_json(piece->name, strlen(piece->name)));
    if (piece->name || piece->length)
        ci_answer_set(function, "arguments", ci_utf8_json(piece->arguments, piece->length));
    if (!json_object_size(function)) {
        json_decref(function);
        return true;
    }
    json_t *call = json_pack("{s:I, s:o}", "index", (json_int_t)piece->index, "function", function);
    if (piece->id) ci_answer_set(call, "id", ci_utf8_json(piece->id, strlen(piece->id)));
    if (piece->name) ci_answer_set(call, "type", json_string("function"));
    return send(chat, chunk(chat, index, json_pack("{s:[o]}", "tool_calls", call), NULL));
}

static void end_stream(struct chat *chat, const struct ci_job_result *result) {
    begin_stream(chat, result->model);
    for (int i = 0; i < result->count; i++) {
        const struct ci_job_choice *choice = &result->choices[i];
        bool last = i + 1 == result->count;
        json_t *value = chunk(chat, i, json_object(), ci_answer_finish(choice));
        if (!(last && chat->request.include_usage)) ci_answer_set(value, "timings", ci_timings_json(&choice->result));
        if (last) ci_answer_set(value, "route", json_string(result->route ? result->route : ""));
        if (chat->request.verbose) ci_answer_set(value, "__verbose", ci_openai_verbose(&chat->request, result, i));
        send(chat, value);
    }
    if (chat->request.include_usage) {
        json_t *value = frame(chat, "chat.completion.chunk", NULL);
        ci_answer_set(value, "usage", ci_answer_usage(result));
        ci_answer_set(value, "timings", ci_timings_json(&result->choices[result->count - 1].result));
        send(chat, value);
    }
    ci_stream_write(chat->exchange, "data: [DONE]\n\n", strlen("data: [DONE]\n\n"));
    ci_stream_end(chat->exchange, true);
}

/* ---- in one piece ---- */

static json_t *calls_json(const struct chat *chat, const struct clinfer_result *result) {
    json_t *calls = json_array();
    for (size_t i = 0; i < result->call_count && (!i || chat->request.parallel_tool_calls); i++) {
        const struct clinfer_tool_call *call = &result->calls[i];
        json_array_append_new(calls, json_pack("{s:s, s:{s:o, s:o}, s:o}", "type", "function", "function", "name",
                                               ci_utf8_json(call->name, strlen(call->name)), "arguments",
                                               ci_utf8_json(call->arguments, strlen(call->arguments)), "id",
                                               ci_utf8_json(call->id, strlen(call->id))));
    }
    return calls;
}

static json_t *content_json(const struct chat *chat, const struct ci_job_choice *choice) {
    if (!choice->text_length && choice->result.call_count) return json_null();
    json_t *text = ci_utf8_json(choice->text ? choice->text : "", choice->text_length);
    if (!keeps_marks(chat) || !choice->reasoning_length) return text;
    json_t *both = json_sprintf("<think>\n%s\n</think>\n\n%s", choice->reasoning, json_string_value(text));
    if (!both) return text; /* what was thought is no UTF-8 */
    json_decref(text);
    return both;
}

static json_t *message_json(const struct chat *chat, const struct ci_job_choice *choice) {
    json_t *message = json_pack("{s:s, s:o}", "role", "assistant", "content", content_json(chat, choice));
    if (choice->reasoning_length && !keeps_marks(chat))
        ci_answer_set(message, "reasoning_content", ci_utf8_json(choice->reasoning, choice->reasoning_length));
    if (choice->result.call_count) ci_answer_set(message, "tool_calls", calls_json(chat, &choice->result));
    return message;
}

static json_t *choice_json(const struct chat *chat, const struct ci_job_result *result, int index) {
    const struct ci_job_choice *choice = &result->choices[index];
    json_t *value = json_pack("{s:s, s:i, s:o}", "finish_reason", ci_answer_finish(choice), "index", index, "message",
                              message_json(chat, choice));
    if (chat->request.logprobs && choice->result.logprobs) {
        json_t *entries = json_array();
        add_logprobs(chat, entries, choice->result.logprobs, choice->result.generated_tokens);
        ci_answer_set(value, "logprobs", json_pack("{s:o}", "content", entries));
    }
    return value;
}

static void answer_whole(struct chat *chat, const struct ci_job_result *result) {
    json_t *choices = json_array();
    chat->model = result->model;
    for (int i = 0; i < result->count; i++) json_array_append_new(choices, choice_json(chat, result, i));
    json_t *answer = frame(chat, "chat.completion", choices);
    ci_answer_set(answer, "usage", ci_answer_usage(result));
    ci_answer_set(answer, "timings", ci_timings_json(&result->choices[0].result));
    ci_answer_set(answer, "route", json_string(result->route ? result->route : ""));
    if (chat->request.verbose) ci_answer_set(answer, "__verbose", ci_openai_verbose(&chat->request, result, 0));
    ci_reply_json(chat->exchange, 200, answer);
}

/* ---- the handler ---- */

static void name_answer(struct chat *chat) {
    static const char prefix[] = "chatcmpl-";
    const char *id = ci_exchange_id(chat->exchange);
    size_t length = strnlen(id, sizeof chat->id - sizeof prefix);
    memcpy(chat->id, prefix, sizeof prefix - 1);
    memcpy(chat->id + sizeof prefix - 1, id, length);
    chat->id[sizeof prefix - 1 + length] = 0;
    chat->created = (json_int_t)time(NULL);
}

static bool prepare(struct chat *chat) {
    struct ci_job *job = &chat->request.job;
    chat->choices = ci_arena_array(ci_exchange_arena(chat->exchange), (size_t)job->choices, sizeof *chat->choices);
    if (!chat->choices) {
        ci_exchange_fail(chat->exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
        return false;
    }
    name_answer(chat);
    if (chat->request.stream) ci_stream_expect_events(chat->exchange);
    /* The tokens of logprobs are shown as text, and so is the prompt. */
    if ((chat->request.logprobs || chat->request.verbose) && !ci_openai_take_engine(chat->exchange, &chat->request))
        return false;
    if (!chat->request.stream) return true;
    for (int i = 0; i < job->choices && chat->request.logprobs; i++) chat->choices[i].logprobs = json_array();
    job->user = chat;
    job->started = on_started;
    job->piece = on_piece;
    job->call = on_call;
    job->progress = on_progress;
    return true;
}

void ci_openai_chat(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange);
    struct chat chat = {.exchange = exchange};
    struct ci_job_result result;
    if (!body) return;
    if (ci_openai_read_chat(exchange, body, &chat.request) && ci_sampled_prepare(exchange, &chat.request) &&
        prepare(&chat) && ci_job_run(exchange, &chat.request.job, &result)) {
        ci_slots_note(exchange, &chat.request.job, chat.request.slot, &result);
        if (chat.request.stream)
            end_stream(&chat, &result);
        else
            answer_whole(&chat, &result);
        ci_openai_give_engine(&chat.request);
        ci_job_free(&result);
    }
    for (int i = 0; chat.choices && i < chat.request.job.choices; i++) json_decref(chat.choices[i].logprobs);
    ci_openai_request_free(exchange, &chat.request);
}
