/* native.c: llama-server's own routes, for its clients: /completion, /props, /slots. What a prompt becomes is a job as
 * in the other dialects; a slot here is one of the requests that may be computed at the same time, and a name for the
 * tokens that it had last (slots.h): prefixes are kept by their tokens, not by slots. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "server/answer.h"
#include "server/completion_prompt.h"
#include "server/dialect.h"
#include "server/native.h"
#include "server/openai_request.h"
#include "server/openai_verbose.h"
#include "server/pool.h"
#include "server/sampled.h"
#include "server/server.h"
#include "server/slots.h"
#include "server/timings.h"
#include "text/utf8_json.h"

/* ---- /completion ---- */

struct native {
    struct ci_exchange *exchange;
    struct ci_openai_request request;
    struct ci_completion_prompts prompts;
    size_t prompt; /* which one is answered */
    bool begun;
    size_t prompt_tokens;
    struct ci_answer_live *live; /* [choices] */
    json_t *answers;
};

static int index_of(const struct native *native, int choice) {
    return (int)native->prompt * native->request.job.choices + choice;
}

/* A list for logprobs of `count` tokens; the sampled tokens' probabilities where those after sampling are wanted. */
static json_t *probabilities(const struct native *native, const struct clinfer_logprob *logprobs, size_t count) {
    json_t *entries = json_array();
    size_t row = 1 + (size_t)native->request.job.sampling.logprobs, top = (size_t)native->request.likeliest;
    if (native->request.post_sampling_probs)
        ci_sampled_add(entries, native->request.engine, &native->request.job.sampling, logprobs, count, row, top);
    else
        ci_answer_add_logprobs(entries, native->request.engine, logprobs, count, row, top, true);
    return entries;
}

static bool send(struct native *native, json_t *value) {
    bool sent = value && ci_stream_json(native->exchange, NULL, value);
    json_decref(value);
    return sent;
}

static void begin_stream(struct native *native) {
    if (!native->begun) ci_stream_begin(native->exchange, "text/event-stream");
    native->begun = true;
}

static json_t *partial(const struct native *native, int choice, json_t *content, json_t *tokens) {
    const struct ci_answer_live *live = &native->live[choice];
    json_t *value = json_pack(
        "{s:i, s:o, s:o, s:b, s:i, s:I, s:I}", "index", index_of(native, choice), "content", content, "tokens", tokens,
        "stop", 0, "id_slot", native->request.slot > 0 ? native->request.slot : 0, "tokens_predicted",
        (json_int_t)live->so_far.generated_tokens, "tokens_evaluated", (json_int_t)native->prompt_tokens);
    if (native->request.timings_per_token) ci_answer_set(value, "timings", ci_timings_json(&live->so_far));
    return value;
}

static void send_progress(struct native *native) {
    json_t *value = partial(native, 0, json_string(""), json_array());
    ci_answer_set(value, "prompt_progress", ci_answer_progress(native->live, native->prompt_tokens));
    send(native, value);
}

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct native *native = user;
    native->prompt_tokens = facts->prompt_tokens;
    for (int i = 0; i < native->request.job.choices; i++) ci_answer_started(&native->live[i], facts->cached_tokens);
    begin_stream(native);
    if (native->request.return_progress) send_progress(native);
}

static void on_progress(void *user, size_t done, size_t total, size_t cached) {
    struct native *native = user;
    (void)total;
    (void)cached;
    if (done <= native->live->so_far.prompt_tokens) return;
    ci_answer_computed(native->live, done);
    if (native->begun && native->request.return_progress) send_progress(native);
}

static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct native *native = user;
    json_t *tokens = json_array();
    begin_stream(native);
    ci_answer_made(&native->live[choice], piece->token_count);
    for (size_t i = 0; i < piece->token_count; i++) json_array_append_new(tokens, json_integer(piece->tokens[i]));
    if (!piece->length && !piece->token_count) {
        json_decref(tokens);
        return !ci_exchange_gone(native->exchange);
    }
    json_t *value = partial(native, choice, ci_utf8_json(piece->text, piece->length), tokens);
    if (native->request.logprobs && piece->logprobs)
        ci_answer_set(value, "completion_probabilities", probabilities(native, piece->logprobs, piece->token_count));
    return send(native, value);
}

/* {"a/b": value} for each path that leads somewhere. Takes the answer. */
static json_t *selected(json_t *answer, const json_t *paths) {
    json_t *picked = json_object();
    for (size_t i = 0; i < json_array_size(paths); i++) {
        const char *path = json_string_value(json_array_get(paths, i));
        json_t *value = answer;
        for (const char *at = path; at && value;) {
            char name[64];
            size_t length = strcspn(at, "/");
            snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name - 1), at);
            value = json_object_get(value, name);
            at = at[length] ? at + length + 1 : NULL;
        }
        if (path && value) json_object_set(picked, path, value);
    }
    json_decref(answer);
    return picked;
}

static json_t *answer_json(struct native *native, const struct ci_job_result *result, int choice) {
    const struct clinfer_result *facts = &result->choices[choice].result;
    json_t *answer = ci_openai_verbose(&native->request, result, choice);
    ci_answer_set(answer, "index", json_integer(index_of(native, choice)));
    if (native->request.stream) {
        ci_answer_set(answer, "content", json_string(""));
        ci_answer_set(answer, "tokens", json_array());
    } else if (native->request.logprobs && facts->logprobs) {
        ci_answer_set(answer, "completion_probabilities",
                      probabilities(native, facts->logprobs, facts->generated_tokens));
    }
    return json_array_size(native->request.response_fields) ? selected(answer, native->request.response_fields)
                                                            : answer;
}

/* false: the exchange has been answered. */
static bool answer_prompt(struct native *native) {
    struct ci_openai_request *request = &native->request;
    struct ci_job_result result;
    ci_completion_prompt_use(&native->prompts.list[native->prompt], &request->job);
    if (!ci_openai_take_engine(native->exchange, request)) return false;
    if (!ci_job_run(native->exchange, &request->job, &result)) return false;
    ci_slots_note(native->exchange, &request->job, request->slot, &result);
    for (int i = 0; i < result.count; i++) {
        json_t *answer = answer_json(native, &result, i);
        if (!request->stream)
            json_array_append_new(native->answers, answer);
        else
            begin_stream(native), send(native, answer);
    }
    ci_openai_give_engine(request);
    ci_job_free(&result);
    return true;
}

static void answer_prompts(struct native *native) {
    struct ci_job *job = &native->request.job;
    bool answered = true, many = native->prompts.many || job->choices > 1;
    native->live = ci_arena_array(ci_exchange_arena(native->exchange), (size_t)job->choices, sizeof *native->live);
    native->answers = json_array();
    if (!native->live || !native->answers) {
        ci_exchange_fail(native->exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "out of memory"});
        json_decref(native->answers);
        return;
    }
    if (native->request.stream) {
        ci_stream_expect_events(native->exchange);
        job->user = native;
        job->started = on_started;
        job->progress = on_progress;
        job->piece = on_piece;
    }
    for (; native->prompt < native->prompts.count && answered; native->prompt++) answered = answer_prompt(native);
    if (answered && native->request.stream)
        ci_stream_end(native->exchange, true);
    else if (answered)
        ci_reply_json(native->exchange, 200, json_incref(many ? native->answers : json_array_get(native->answers, 0)));
    json_decref(native->answers);
}

void ci_native_complete(struct ci_exchange *exchange, const json_t *body) {
    struct native native = {.exchange = exchange};
    if (ci_openai_read_common(exchange, body, false, &native.request) &&
        ci_sampled_prepare(exchange, &native.request) &&
        ci_completion_prompts_read(exchange, json_object_get(body, "prompt"), &native.request, &native.prompts))
        answer_prompts(&native);
    ci_openai_request_free(exchange, &native.request);
}

static void completion(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange);
    if (body) ci_native_complete(exchange, body);
}

/* ---- /props and /slots ---- */

static json_t *token_json(const clinfer_engine *engine, int32_t token) {
    size_t length = 0;
    const char *text = engine && token >= 0 ? clinfer_token_text(engine, token, true, &length) : "";
    return ci_utf8_json(text, length);
}

/* A model as it is, without waking it. */
struct look {
    struct ci_pool *pool;
    struct ci_pool_info *info;
    struct ci_pool_model *model; /* NULL: it is not loaded */
    clinfer_engine *engine;
};

static bool look_at(struct ci_exchange *exchange, struct look *look) {
    *look = (struct look){.pool = ci_server_pool(ci_exchange_server(exchange))};
    const char *name = ci_exchange_query(exchange, "model");
    enum clinfer_status status = ci_pool_look(look->pool, name, &look->model, &look->info);
    if (status == CLINFER_OK) {
        if (look->model) look->engine = clinfer_router_take_engine(ci_pool_router(look->model));
        return true;
    }
    struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
    ci_exchange_fail(exchange, &failure);
    return false;
}

static void look_away(struct look *look) {
    if (look->engine) clinfer_router_give_back_engine(ci_pool_router(look->model), look->engine);
    ci_pool_looked(look->pool, look->model);
    free(look->info);
}

static void set_model(json_t *props, const struct look *look, const struct ci_openai_request *request,
                      json_t *defaults) {
    struct clinfer_engine_info info = {.context = look->info->facts.context};
    int32_t end = -1;
    if (look->engine) clinfer_engine_get_info(look->engine, &info);
    for (int32_t token = 0; look->engine && token < info.vocabulary && end < 0; token++)
        if (clinfer_token_ends(look->engine, token)) end = token;
    ci_answer_set(defaults, "n_ctx", json_integer(info.context));
    ci_answer_set(defaults, "params", look->engine ? ci_openai_settings(look->engine, request) : json_object());
    ci_answer_set(props, "model_path", json_string(info.model_path ? info.model_path : look->info->path));
    ci_answer_set(props, "model_alias", json_string(look->info->name));
    ci_answer_set(props, "eos_token", token_json(look->engine, end));
    ci_answer_set(props, "device", json_string(info.device ? info.device : ""));
}

/* The ladder of a model that is loaded: what it begins with, and why not, where that failed. */
static json_t *rungs_json(const struct look *look) {
    static const char *const kinds[] = {
        [CLINFER_RUNG_DEVICE] = "device", [CLINFER_RUNG_CPU] = "cpu", [CLINFER_RUNG_REMOTE] = "remote"};
    struct clinfer_rung *rungs;
    size_t count;
    json_t *list = json_array();
    if (!look->model || clinfer_router_rungs(ci_pool_router(look->model), &rungs, &count) != CLINFER_OK) return list;
    for (size_t i = 0; i < count; i++) {
        const struct clinfer_rung *rung = &rungs[i];
        bool in_use = rung->status == CLINFER_OK;
        json_t *item =
            json_pack("{s:s, s:s, s:b}", "name", rung->name, "kind", kinds[rung->kind], "in_use", (int)in_use);
        if (item && !in_use) {
            json_object_set_new(item, "reason", ci_utf8_json(rung->reason, strlen(rung->reason)));
            json_object_set_new(item, "again_seconds", json_real(rung->again_seconds)); /* -1: never */
        }
        json_array_append_new(list, item);
    }
    clinfer_free(rungs);
    return list;
}

/* Of a server of many models, where none is named. */
static void router_props(struct ci_exchange *exchange) {
    const struct ci_pool_options *pool = ci_pool_get_options(ci_server_pool(ci_exchange_server(exchange)));
    ci_reply_json(exchange, 200,
                  json_pack("{s:s, s:i, s:b, s:s, s:b}", "role", "router", "max_instances", pool->most_loaded,
                            "models_autoload", (int)pool->load_on_demand, "build_info", CI_ANSWER_FINGERPRINT,
                            "is_sleeping", 0));
}

static void props(struct ci_exchange *exchange) {
    struct ci_server *server = ci_exchange_server(exchange);
    const struct ci_server_options *options = ci_server_get_options(server);
    struct ci_openai_request request = {.reasoning_format = options->reasoning_format};
    struct look look;
    if (!*ci_server_model(server) && !ci_exchange_query(exchange, "model")) {
        router_props(exchange);
        return;
    }
    ci_job_init(&request.job);
    request.job.sampling = options->sampling;
    request.job.request.max_tokens = options->predict;
    if (!look_at(exchange, &look)) return;
    json_t *defaults = json_object();
    json_t *answer =
        json_pack("{s:O, s:i, s:{s:b, s:b}, s:b, s:b, s:b, s:s, s:s, s:b}", "default_generation_settings", defaults,
                  "total_slots", options->parallel > 0 ? options->parallel : 4, "modalities", "vision", 0, "audio", 0,
                  "endpoint_slots", (int)options->slots, "endpoint_metrics", (int)options->metrics, "endpoint_props",
                  (int)options->props, "chat_template", options->chat_template ? options->chat_template : "",
                  "build_info", CI_ANSWER_FINGERPRINT, "is_sleeping", look.info->state == CI_POOL_SLEEPING);
    set_model(answer, &look, &request, defaults);
    ci_answer_set(answer, "rungs", rungs_json(&look));
    json_decref(defaults);
    look_away(&look);
    ci_reply_json(exchange, 200, answer);
}

static void change_props(struct ci_exchange *exchange) {
    const struct ci_server_options *options = ci_server_get_options(ci_exchange_server(exchange));
    if (options->props)
        ci_reply_json(exchange, 200, json_pack("{s:b}", "success", 1));
    else
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_UNSUPPORTED,
                                                        .message = "this server's properties cannot be changed while "
                                                                   "it runs: start it anew with other options"});
}

static void slots(struct ci_exchange *exchange) {
    struct ci_server *server = ci_exchange_server(exchange);
    const struct ci_server_options *options = ci_server_get_options(server);
    int running = 0, waiting = 0, count = options->parallel > 0 ? options->parallel : 4;
    struct look look;
    if (!options->slots) {
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_UNSUPPORTED,
                                                        .message = "this server does not show its slots: start it "
                                                                   "with --slots"});
        return;
    }
    if (!look_at(exchange, &look)) return;
    int context = look.info->facts.context;
    look_away(&look);
    ci_server_load(server, &running, &waiting);
    if (ci_exchange_query(exchange, "fail_on_no_slot") && running >= count) {
        ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_UNAVAILABLE, .message = "all slots are busy"});
        return;
    }
    json_t *list = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(list, json_pack("{s:i, s:i, s:b, s:b}", "id", i, "n_ctx", context, "speculative", 0,
                                              "is_processing", i < running));
    ci_reply_json(exchange, 200, list);
}

/* ---- the dialect ---- */

static void fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    ci_reply_json(exchange, ci_failure_http_status(failure->kind), ci_failure_openai(failure));
}

static void break_off(struct ci_exchange *exchange, const struct ci_failure *failure) {
    json_t *value = ci_failure_openai(failure);
    if (value) ci_stream_json(exchange, NULL, value);
    json_decref(value);
    ci_stream_end(exchange, false);
}

static const struct ci_route routes[] = {
    {"POST", "/completion", 0, completion, CI_NATIVE_FIELDS},
    {"POST", "/completions", 0, completion, CI_NATIVE_FIELDS},
    {"GET", "/props", 0, props, NULL},
    {"POST", "/props", CI_ROUTE_CHANGES, change_props, NULL},
    {"GET", "/slots", 0, slots, NULL},
    {"POST", "/slots/{id}", CI_ROUTE_CHANGES, ci_slots_change, "model filename"},
};

const struct ci_server_dialect ci_server_dialect_native = {
    .name = "native", .routes = routes, .count = sizeof routes / sizeof *routes, .fail = fail, .break_off = break_off};
