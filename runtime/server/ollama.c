/* ollama.c: Ollama's API (github.com/ollama/ollama, docs/api.md): answers to prompts and conversations.
 *
 * A stream is the default: one JSON object a line, of which the last has done: true and what it took. Calls of tools
 * come whole, in an object of their own before the last. */
#define _GNU_SOURCE
#include "server/ollama.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "server/answer.h"
#include "server/dialect.h"
#include "server/ollama_read.h"
#include "server/pool.h"
#include "server/server.h"
#include "server/translated.h"
#include "text/utf8_json.h"

struct answer {
    struct ci_exchange *exchange;
    struct ci_ollama_request request;
    const struct ci_job *job;
    bool chat;
    int32_t *prompt; /* its ids, for `context`; NULL: nobody wants them */
    size_t prompt_count;
    bool fine; /* nobody has left, memory was enough */
};

/* ---- pieces of answers ---- */

const char *ci_ollama_time(int64_t seconds, char text[CI_OLLAMA_TIME_BYTES]) {
    struct tm parts;
    time_t time = (time_t)seconds;
    gmtime_r(&time, &parts);
    strftime(text, CI_OLLAMA_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts);
    return text;
}

const char *ci_ollama_now(char text[CI_OLLAMA_TIME_BYTES]) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ci_ollama_time(now.tv_sec, text);
    size_t length = strlen(text) - 1; /* in place of the Z */
    snprintf(text + length, CI_OLLAMA_TIME_BYTES - length, ".%09ldZ", now.tv_nsec);
    return text;
}

json_t *ci_ollama_nanoseconds(double seconds) {
    double nanoseconds = seconds * 1e9;
    return json_integer(nanoseconds >= 1 && nanoseconds < 9e18 ? (json_int_t)nanoseconds : 1);
}

json_t *ci_ollama_text(const char *text) { return ci_utf8_json(text ? text : "", text ? strlen(text) : 0); }

static json_t *bytes_json(const char *text, size_t length) { return ci_utf8_json(text ? text : "", text ? length : 0); }

/* {model, created_at, message | response, done}, and what was thought where `thinking` is not NULL. Takes both. */
static json_t *chunk_json(const struct answer *answer, json_t *content, json_t *thinking, bool done) {
    char now[CI_OLLAMA_TIME_BYTES];
    json_t *chunk =
        json_pack("{s:o, s:s}", "model", ci_ollama_text(answer->request.model), "created_at", ci_ollama_now(now));
    json_t *holder = answer->chat ? json_pack("{s:s, s:o}", "role", "assistant", "content", content) : NULL;
    if (answer->chat)
        json_object_set_new(chunk, "message", holder);
    else
        json_object_set_new(chunk, "response", content);
    if (thinking) json_object_set_new(answer->chat ? holder : chunk, "thinking", thinking);
    json_object_set_new(chunk, "done", json_boolean(done));
    return chunk;
}

static void send_chunk(struct answer *answer, json_t *chunk) {
    if (!chunk || !ci_stream_json(answer->exchange, NULL, chunk)) answer->fine = false;
    json_decref(chunk);
}

static json_t *calls_json(const struct clinfer_result *result) {
    json_t *calls = json_array();
    for (size_t i = 0; i < result->call_count; i++) {
        const struct clinfer_tool_call *call = &result->calls[i];
        json_t *arguments = call->cut ? NULL : json_loads(call->arguments, 0, NULL);
        if (!arguments) continue; /* the answer ended in the middle of them: no call that anybody could make */
        json_array_append_new(calls,
                              json_pack("{s:o, s:{s:I, s:o, s:o}}", "id", ci_ollama_text(call->id), "function", "index",
                                        (json_int_t)i, "name", ci_ollama_text(call->name), "arguments", arguments));
    }
    return calls;
}

static json_t *context_json(const struct answer *answer, const struct clinfer_result *result) {
    json_t *context = json_array();
    for (size_t i = 0; i < answer->prompt_count; i++) json_array_append_new(context, json_integer(answer->prompt[i]));
    for (size_t i = 0; result->tokens && i < result->generated_tokens; i++)
        json_array_append_new(context, json_integer(result->tokens[i]));
    return context;
}

/* What stands in the last object, or in the only one. */
static void add_end(const struct answer *answer, const struct ci_job_result *job, json_t *chunk) {
    const struct clinfer_result *result = &job->choices[0].result;
    bool cut = result->finish == CLINFER_FINISH_LENGTH || result->finish == CLINFER_FINISH_CONTEXT;
    json_object_set_new(chunk, "done_reason", json_string(cut ? "length" : "stop"));
    json_object_set_new(chunk, "total_duration",
                        ci_ollama_nanoseconds(ci_now() - ci_exchange_arrived(answer->exchange)));
    json_object_set_new(chunk, "load_duration", ci_ollama_nanoseconds(job->load_seconds));
    json_object_set_new(chunk, "prompt_eval_count", json_integer((json_int_t)result->prompt_tokens));
    json_object_set_new(chunk, "prompt_eval_duration", ci_ollama_nanoseconds(result->prompt_seconds));
    json_object_set_new(chunk, "eval_count", json_integer((json_int_t)result->generated_tokens));
    json_object_set_new(chunk, "eval_duration", ci_ollama_nanoseconds(result->generate_seconds));
    if (answer->prompt) json_object_set_new(chunk, "context", context_json(answer, result));
}

/* Nothing where nobody wants them, or a remote API answers. */
static void add_logprobs(const struct answer *answer, json_t *chunk, const struct clinfer_logprob *logprobs,
                         size_t count) {
    clinfer_router *router = ci_job_router(answer->exchange, answer->job);
    size_t top = (size_t)answer->job->sampling.logprobs;
    if (!answer->request.logprobs || !logprobs || !count) return;
    clinfer_engine *engine = clinfer_router_take_engine(router);
    if (!engine) return;
    json_t *entries = json_array();
    ci_answer_add_logprobs(entries, engine, logprobs, count, 1 + top, answer->request.top_logprobs, false);
    json_object_set_new(chunk, "logprobs", entries);
    clinfer_router_give_back_engine(router, engine);
}

/* ---- answers ---- */

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct answer *answer = user;
    (void)facts;
    if (answer->request.stream) ci_stream_begin(answer->exchange, "application/x-ndjson");
}

static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct answer *answer = user;
    (void)choice;
    if (!piece->length && !(answer->request.logprobs && piece->token_count)) return answer->fine;
    json_t *text = bytes_json(piece->text, piece->length);
    bool thinking = piece->part == CLINFER_PART_REASONING;
    json_t *chunk = chunk_json(answer, thinking ? json_string("") : text, thinking ? text : NULL, false);
    add_logprobs(answer, chunk, piece->logprobs, piece->token_count);
    send_chunk(answer, chunk);
    return answer->fine;
}

static void finish(struct answer *answer, const struct ci_job_result *job) {
    const struct ci_job_choice *choice = &job->choices[0];
    bool whole = !answer->request.stream;
    json_t *calls = answer->chat ? calls_json(&choice->result) : NULL, *last;
    if (whole) {
        last =
            chunk_json(answer, bytes_json(choice->text, choice->text_length),
                       choice->reasoning_length ? bytes_json(choice->reasoning, choice->reasoning_length) : NULL, true);
        if (json_array_size(calls)) json_object_set(json_object_get(last, "message"), "tool_calls", calls);
    } else {
        json_t *called = json_array_size(calls) ? chunk_json(answer, json_string(""), NULL, false) : NULL;
        if (called) {
            json_object_set(json_object_get(called, "message"), "tool_calls", calls);
            send_chunk(answer, called);
        }
        last = chunk_json(answer, json_string(""), NULL, true);
    }
    json_decref(calls);
    if (whole) add_logprobs(answer, last, choice->result.logprobs, choice->result.generated_tokens);
    add_end(answer, job, last);
    if (whole) {
        ci_reply_json(answer->exchange, 200, last);
        return;
    }
    send_chunk(answer, last);
    ci_stream_end(answer->exchange, answer->fine);
}

/* ---- prompts with what came before ---- */

/* Ids of an earlier answer, then this prompt's, are the prompt. */
static bool join_context(struct answer *answer, struct ci_job *job) {
    size_t before = json_array_size(answer->request.context), count = before + answer->prompt_count;
    int32_t *tokens = ci_arena_array(ci_exchange_arena(answer->exchange), count, sizeof *tokens);
    for (size_t i = 0; tokens && i < before; i++) {
        const json_t *id = json_array_get(answer->request.context, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || !ci_narrow(json_integer_value(id), &tokens[i])) {
            ci_exchange_refuse(answer->exchange, "context", "context: must be a list of token ids");
            return false;
        }
    }
    if (!tokens) {
        ci_exchange_fail(answer->exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
        return false;
    }
    if (answer->prompt_count) memcpy(tokens + before, answer->prompt, answer->prompt_count * sizeof *tokens);
    job->request.messages = NULL;
    job->request.count = 0;
    job->request.tokens = tokens;
    job->request.token_count = count;
    clinfer_free(answer->prompt);
    answer->prompt = malloc(count * sizeof *tokens);
    if (answer->prompt) memcpy(answer->prompt, tokens, count * sizeof *tokens);
    answer->prompt_count = count;
    return true;
}

/* What is before a gap and behind it, as the model's own marks have it. */
static bool fill_gap(struct answer *answer, struct ci_job *job) {
    const struct clinfer_chat_request *asked = &job->request;
    const struct clinfer_infill infill = {.prefix = asked->count ? asked->messages[asked->count - 1].content : "",
                                          .suffix = answer->request.suffix,
                                          .answer = asked->max_tokens};
    if (!ci_job_take(answer->exchange, job)) return false;
    clinfer_router *router = ci_job_router(answer->exchange, job);
    clinfer_engine *engine = clinfer_router_take_engine(router);
    enum clinfer_status status = engine
                                     ? clinfer_infill_tokens(engine, &infill, &answer->prompt, &answer->prompt_count)
                                     : ci_fail(CLINFER_UNSUPPORTED, "suffix: no model runs here that could fill a gap");
    clinfer_router_give_back_engine(router, engine);
    if (status == CLINFER_OK) {
        job->request.messages = NULL;
        job->request.count = 0;
        job->request.tokens = answer->prompt;
        job->request.token_count = answer->prompt_count;
        return true;
    }
    ci_exchange_refuse(answer->exchange, "suffix", "%s", clinfer_error());
    ci_job_give_back(answer->exchange, job);
    return false;
}

/* The prompt's ids, which the answer gives back as a part of `context`; where no model is here that has any, none. */
static bool find_context(struct answer *answer, struct ci_job *job) {
    if (!ci_job_take(answer->exchange, job)) return false;
    clinfer_router *router = ci_job_router(answer->exchange, job);
    enum clinfer_status status =
        clinfer_router_prompt(router, &job->request, NULL, NULL, &answer->prompt, &answer->prompt_count);
    bool fine = status == CLINFER_OK || !answer->request.context;
    if (!fine) {
        struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
        ci_exchange_fail(answer->exchange, &failure);
    } else if (answer->request.context) {
        fine = join_context(answer, job);
    }
    if (!fine) ci_job_give_back(answer->exchange, job);
    return fine;
}

/* ---- the routes of answers ---- */

/* Loads a model, or unloads it. */
static void answer_empty(struct answer *answer, struct ci_job *job) {
    bool unload = job->keep_alive == 0;
    enum clinfer_status status = CLINFER_OK;
    if (unload)
        status = ci_pool_unload(ci_server_pool(ci_exchange_server(answer->exchange)), job->model);
    else if (!ci_job_take(answer->exchange, job))
        return;
    if (!unload) ci_job_give_back(answer->exchange, job);
    if (status != CLINFER_OK) {
        struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
        ci_exchange_fail(answer->exchange, &failure);
        return;
    }
    json_t *reply = chunk_json(answer, json_string(""), NULL, true);
    json_object_set_new(reply, "done_reason", json_string(unload ? "unload" : "load"));
    ci_reply_json(answer->exchange, 200, reply);
}

static void answer_request(struct ci_exchange *exchange, bool chat) {
    struct answer answer = {.exchange = exchange, .chat = chat, .fine = true};
    struct ci_translation translation;
    struct ci_job_result result;
    struct ci_job job;
    const json_t *body = ci_exchange_json(exchange);
    if (!body) return;
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    if (!ci_ollama_read(body, chat, &options->sampling, ci_exchange_arena(exchange), &job, &translation,
                        &answer.request)) {
        ci_translated_fail(exchange, &translation);
        return;
    }
    job.model = ci_ollama_real_name(exchange, job.model);
    if (answer.request.empty) {
        answer_empty(&answer, &job);
        return;
    }
    answer.job = &job;
    job.user = &answer;
    job.started = on_started;
    if (answer.request.stream) job.piece = on_piece;
    bool goes_on =
        answer.request.suffix ? fill_gap(&answer, &job) : chat || job.request.raw || find_context(&answer, &job);
    if (goes_on && ci_job_run(exchange, &job, &result)) {
        finish(&answer, &result);
        ci_job_free(&result);
    }
    clinfer_free(answer.prompt);
}

static void generate(struct ci_exchange *exchange) { answer_request(exchange, false); }
static void chat(struct ci_exchange *exchange) { answer_request(exchange, true); }

/* ---- other routes ---- */

/* Front ends compare it with what they need; the newest of Ollama whose API this is. */
static void version(struct ci_exchange *exchange) {
    ci_reply_json(exchange, 200, json_pack("{s:s}", "version", "0.13.0"));
}

static void not_here(struct ci_exchange *exchange) {
    static const struct ci_failure failure = {
        .kind = CI_FAIL_UNSUPPORTED,
        .message =
            "this server makes and uploads no models: it runs GGUF files and folders as they are (clinfer pull)"};
    ci_exchange_fail(exchange, &failure);
}

/* ---- failures ---- */

static json_t *error_json(const struct ci_failure *failure) {
    return json_pack(
        "{s:o}", "error",
        ci_ollama_text(failure->kind == CI_FAIL_BUSY ? "server busy, please try again" : failure->message));
}

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    int status = failure->kind == CI_FAIL_BUSY ? 503 : ci_failure_http_status(failure->kind);
    ci_reply_json(exchange, status, error_json(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *error = error_json(failure);
    ci_stream_json(exchange, NULL, error);
    ci_stream_end(exchange, true);
    json_decref(error);
}

#define FIELDS                                                                                                         \
    "model name stream keep_alive format think logprobs top_logprobs force_bytes options options.@sampling "           \
    "options.seed options.samplers options.dry_sequence_breakers options.stop options.num_predict options.num_ctx "    \
    "options.force_bytes "
#define EMBED_FIELDS "model name keep_alive "
static const struct ci_route routes[] = {
    {.method = "POST",
     .path = "/api/generate",
     .handle = generate,
     .fields = FIELDS "prompt suffix system template context raw images"},
    {.method = "POST", .path = "/api/chat", .handle = chat, .fields = FIELDS "messages tools"},
    {.method = "POST",
     .path = "/api/embed",
     .handle = ci_ollama_embed,
     .fields = EMBED_FIELDS "input truncate dimensions"},
    {.method = "POST", .path = "/api/embeddings", .handle = ci_ollama_embeddings, .fields = EMBED_FIELDS "prompt"},
    {.method = "GET", .path = "/api/version", .flags = CI_ROUTE_OPEN, .handle = version},
    {.method = "GET", .path = "/api/tags", .handle = ci_ollama_tags},
    {.method = "GET", .path = "/api/ps", .handle = ci_ollama_ps},
    {.method = "POST", .path = "/api/show", .handle = ci_ollama_show, .fields = "model name"},
    {.method = "POST",
     .path = "/api/pull",
     .flags = CI_ROUTE_CHANGES,
     .handle = ci_ollama_pull,
     .fields = "model name stream"},
    {.method = "POST",
     .path = "/api/copy",
     .flags = CI_ROUTE_CHANGES,
     .handle = ci_ollama_copy,
     .fields = "source destination"},
    {.method = "DELETE",
     .path = "/api/delete",
     .flags = CI_ROUTE_CHANGES,
     .handle = ci_ollama_delete,
     .fields = "model name"},
    {.method = "POST", .path = "/api/create", .handle = not_here},
    {.method = "POST", .path = "/api/push", .handle = not_here},
    {.method = "GET", .path = "/api/blobs/{id}", .handle = not_here},
    {.method = "POST", .path = "/api/blobs/{id}", .handle = not_here},
};

const struct ci_server_dialect ci_server_dialect_ollama = {
    .name = "ollama",
    .routes = routes,
    .count = sizeof routes / sizeof *routes,
    .fail = fail,
    .break_off = break_off,
};
