/* openai.c: OpenAI's dialect: its routes, its failures, its list of models, and what counts and shows prompts. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/answer.h"
#include "server/dialect.h"
#include "server/openai_chat.h"
#include "server/openai_request.h"
#include "server/openai_verbose.h"
#include "server/pool.h"
#include "server/server.h"
#include "text/utf8_json.h"

/* ---- models ---- */

static json_t *texts_json(const char **texts, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, ci_utf8_json(texts[i], strlen(texts[i])));
    return list;
}

static void set_facts(json_t *entry, const struct ci_pool_info *info) {
    const struct ci_pool_facts *facts = &info->facts;
    json_t *meta = json_pack("{s:I, s:I}", "size", (json_int_t)info->bytes, "n_params", (json_int_t)facts->parameters);
    if (facts->vocabulary) ci_answer_set(meta, "n_vocab", json_integer(facts->vocabulary));
    if (facts->context) ci_answer_set(meta, "n_ctx", json_integer(facts->context));
    if (facts->model_context) ci_answer_set(meta, "n_ctx_train", json_integer(facts->model_context));
    if (facts->width) ci_answer_set(meta, "n_embd", json_integer(facts->width));
    ci_answer_set(entry, "meta", meta);
    if (facts->model_context) {
        ci_answer_set(entry, "context_window", json_integer(facts->context));
        ci_answer_set(entry, "max_model_len", json_integer(facts->context));
    }
}

/* One entry for OpenAI's clients and for Anthropic's, who ask the same path. */
static json_t *model_json(struct ci_exchange *exchange, const struct ci_pool_info *info) {
    int64_t since = info->loaded ? info->loaded : info->modified;
    if (!since) since = ci_server_started(ci_exchange_server(exchange));
    time_t seconds = (time_t)since;
    struct tm utc;
    char date[32] = "";
    if (gmtime_r(&seconds, &utc)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *entry = json_pack(
        "{s:o, s:s, s:I, s:s, s:s, s:o, s:s, s:s, s:o, s:o}", "id", ci_utf8_json(info->name, strlen(info->name)),
        "object", "model", "created", (json_int_t)since, "owned_by", "clinfer", "type", "model", "display_name",
        ci_utf8_json(info->name, strlen(info->name)), "created_at", date, "lifecycle", "active", "aliases",
        texts_json(info->aliases, info->alias_count), "tags", texts_json(info->tags, info->tag_count));
    ci_answer_set(entry, "status", json_pack("{s:s}", "value", ci_pool_state_name(info->state)));
    set_facts(entry, info);
    return entry;
}

static bool pool_failed(struct ci_exchange *exchange, enum clinfer_status status) {
    if (status == CLINFER_OK) return false;
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    ci_exchange_fail(exchange, &failure);
    return true;
}

static void models(struct ci_exchange *exchange) {
    struct ci_pool_info *list = NULL;
    size_t count = 0;
    json_t *data = json_array();
    const char *reload = ci_exchange_query(exchange, "reload");
    struct ci_pool *pool = ci_server_pool(ci_exchange_server(exchange));
    if (reload && strcmp(reload, "0") != 0 && pool_failed(exchange, ci_pool_reload(pool))) {
        json_decref(data);
        return;
    }
    if (pool_failed(exchange, ci_pool_list(pool, &list, &count))) {
        json_decref(data);
        return;
    }
    for (size_t i = 0; i < count; i++)
        if (!list[i].hidden) json_array_append_new(data, model_json(exchange, &list[i]));
    free(list);
    json_t *first = json_object_get(json_array_get(data, 0), "id"),
           *last = json_object_get(json_array_get(data, json_array_size(data) - 1), "id");
    json_t *answer =
        json_pack("{s:s, s:b, s:O?, s:O?}", "object", "list", "has_more", 0, "first_id", first, "last_id", last);
    ci_answer_set(answer, "data", data);
    ci_reply_json(exchange, 200, answer);
}

static void model(struct ci_exchange *exchange) {
    struct ci_pool *pool = ci_server_pool(ci_exchange_server(exchange));
    struct ci_pool_info *info = NULL;
    if (pool_failed(exchange, ci_pool_find(pool, ci_exchange_parameter(exchange), &info))) return;
    ci_reply_json(exchange, 200, model_json(exchange, info));
    free(info);
}

/* ---- prompts, counted and shown ---- */

/* What a chat becomes. false: the exchange has been answered. */
static bool make_prompt(struct ci_exchange *exchange, struct ci_openai_request *request, json_t **text, size_t *count) {
    json_t *body = ci_exchange_json(exchange);
    char *prompt = NULL;
    int32_t *tokens = NULL;
    size_t length = 0;
    if (!body) return false;
    bool read = ci_openai_read_chat(exchange, body, request) && ci_job_take(exchange, &request->job);
    if (read) {
        clinfer_router *router = ci_job_router(exchange, &request->job);
        enum clinfer_status status =
            clinfer_router_prompt(router, &request->job.request, &prompt, &length, &tokens, count);
        read = !pool_failed(exchange, status);
        if (read) *text = ci_utf8_json(prompt, length);
    }
    clinfer_free(prompt);
    clinfer_free(tokens);
    ci_openai_request_free(exchange, request);
    return read;
}

static void input_tokens(struct ci_exchange *exchange) {
    struct ci_openai_request request = {0};
    json_t *text = NULL;
    size_t count = 0;
    if (make_prompt(exchange, &request, &text, &count))
        ci_reply_json(exchange, 200, json_pack("{s:I}", "input_tokens", (json_int_t)count));
    json_decref(text);
}

static void apply_template(struct ci_exchange *exchange) {
    struct ci_openai_request request = {0};
    json_t *text = NULL;
    size_t count = 0;
    if (make_prompt(exchange, &request, &text, &count))
        ci_reply_json(exchange, 200, json_pack("{s:O}", "prompt", text));
    json_decref(text);
}

/* ---- the dialect ---- */

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

/* Clients raise on `error`; the end without [DONE], and without the final chunk, says that the answer is not whole. */
static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *value = ci_failure_openai(failure);
    if (value) ci_stream_json(exchange, NULL, value);
    json_decref(value);
    ci_stream_end(exchange, false);
}

static const struct ci_route routes[] = {
    {"POST", "/v1/chat/completions", CI_ROUTE_WITHOUT_V1, ci_openai_chat, CI_OPENAI_CHAT_FIELDS},
    {"POST", "/v1/completions", 0, ci_openai_completion, CI_OPENAI_FIELDS "prompt echo"},
    {"POST", "/v1/chat/completions/input_tokens", CI_ROUTE_WITHOUT_V1, input_tokens, CI_OPENAI_CHAT_FIELDS},
    {"POST", "/apply-template", 0, apply_template, CI_OPENAI_CHAT_FIELDS},
    {"GET", "/v1/models", CI_ROUTE_WITHOUT_V1, models, NULL},
    {"GET", "/v1/models/{id}", CI_ROUTE_WITHOUT_V1, model, NULL},
};

const struct ci_server_dialect ci_server_dialect_openai = {
    .name = "openai", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
