/* openai_completion.c: POST /v1/completions: one prompt or several, each answered as often as `n` says. Prompts of one
 * request are answered one after the other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/answer.h"
#include "server/completion_prompt.h"
#include "server/openai_chat.h"
#include "server/openai_request.h"
#include "server/openai_verbose.h"
#include "server/slots.h"
#include "server/timings.h"
#include "text/utf8_json.h"

struct completion {
    struct ci_exchange *exchange;
    struct ci_openai_request request;
    struct ci_completion_prompts prompts;
    size_t prompt; /* which one is answered */
    char id[64];
    json_int_t created;
    bool begun;
    json_t *model;   /* its real name, when it is known */
    json_t *route;   /* of the last prompt */
    json_t *choices; /* of all prompts so far */
    json_t *waiting; /* logprobs of tokens whose text is not out yet, one list for each choice; NULL: not wanted */
    struct clinfer_result total, last;
    struct ci_answer_live live;
};

static json_t *frame(const struct completion *completion, json_t *choices) {
    return json_pack("{s:o, s:I, s:O, s:s, s:s, s:s}", "choices", choices, "created", completion->created, "model",
                     completion->model, "system_fingerprint", CI_ANSWER_FINGERPRINT, "object", "text_completion", "id",
                     completion->id);
}

static int index_of(const struct completion *completion, int choice) {
    return (int)completion->prompt * completion->request.job.choices + choice;
}

/* OpenAI's old form, lists side by side, and llama-server's beside it. Takes the reference. */
static json_t *logprobs_json(json_t *entries, size_t *offset) {
    json_t *tokens = json_array(), *values = json_array(), *likeliest = json_array(), *offsets = json_array(), *one;
    size_t i, j;
    json_array_foreach(entries, i, one) {
        json_t *token = json_object_get(one, "token"), *map = json_object(), *other;
        json_array_append(tokens, token);
        json_array_append(values, json_object_get(one, "logprob"));
        json_array_append_new(offsets, json_integer((json_int_t)*offset));
        *offset += json_string_length(token);
        json_array_foreach(json_object_get(one, "top_logprobs"), j, other)
            json_object_set(map, json_string_value(json_object_get(other, "token")), json_object_get(other, "logprob"));
        json_array_append_new(likeliest, map);
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs", likeliest,
                     "text_offset", offsets, "content", entries);
}

static json_t *choice_json(int index, json_t *text, json_t *logprobs, const char *finish) {
    return json_pack("{s:o, s:i, s:o, s:s?}", "text", text, "index", index, "logprobs",
                     logprobs ? logprobs : json_null(), "finish_reason", finish);
}

static bool send(struct completion *completion, json_t *value) {
    bool sent = value && ci_stream_json(completion->exchange, NULL, value);
    json_decref(value);
    return sent;
}

/* ---- a stream ---- */

static void begin_stream(struct completion *completion, const char *model) {
    if (completion->begun) return;
    completion->begun = true;
    if (!model) model = ci_job_model(completion->exchange, &completion->request.job);
    if (model) json_string_set(completion->model, model);
    ci_stream_begin(completion->exchange, "text/event-stream");
}

static bool send_text(struct completion *completion, int choice, json_t *text) {
    json_t *logprobs = NULL;
    size_t offset = 0;
    if (completion->waiting) {
        logprobs = logprobs_json(json_incref(json_array_get(completion->waiting, (size_t)choice)), &offset);
        json_array_set_new(completion->waiting, (size_t)choice, json_array());
    }
    json_t *value =
        frame(completion, json_pack("[o]", choice_json(index_of(completion, choice), text, logprobs, NULL)));
    if (completion->request.timings_per_token)
        ci_answer_set(value, "timings", ci_timings_json(&completion->live.so_far));
    return send(completion, value);
}

static void on_started(void *user, const struct ci_job_facts *facts) {
    struct completion *completion = user;
    begin_stream(completion, facts->model);
    ci_answer_started(&completion->live, facts->cached_tokens);
    ci_answer_computed(&completion->live, facts->prompt_tokens);
}

static bool on_piece(void *user, int choice, const struct clinfer_piece *piece) {
    struct completion *completion = user;
    begin_stream(completion, NULL);
    ci_answer_made(&completion->live, piece->token_count);
    if (completion->waiting && piece->logprobs)
        ci_answer_add_logprobs(json_array_get(completion->waiting, (size_t)choice), completion->request.engine,
                               piece->logprobs, piece->token_count,
                               1 + (size_t)completion->request.job.sampling.logprobs,
                               (size_t)completion->request.likeliest, false);
    if (!piece->length) return !ci_exchange_gone(completion->exchange);
    return send_text(completion, choice, ci_utf8_json(piece->text, piece->length));
}

static void send_finish(struct completion *completion, const struct ci_job_result *result) {
    begin_stream(completion, result->model);
    for (int i = 0; i < result->count; i++) {
        json_t *one =
            choice_json(index_of(completion, i), json_string(""), NULL, ci_answer_finish(&result->choices[i]));
        json_t *value = frame(completion, json_pack("[o]", one));
        ci_answer_set(value, "timings", ci_timings_json(&result->choices[i].result));
        ci_answer_set(value, "route", json_string(result->route ? result->route : ""));
        send(completion, value);
    }
}

/* ---- in one piece ---- */

static json_t *text_json(struct completion *completion, const struct ci_job_choice *choice) {
    json_t *answer = ci_utf8_json(choice->text ? choice->text : "", choice->text_length);
    if (!completion->request.echo) return answer;
    json_t *prompt = ci_openai_prompt(&completion->request);
    const char *asked = completion->prompts.list[completion->prompt].message.content;
    json_t *both = json_sprintf("%s%s", asked ? asked : json_string_value(prompt), json_string_value(answer));
    json_decref(prompt);
    json_decref(answer);
    return both;
}

static void add_choices(struct completion *completion, const struct ci_job_result *result) {
    json_string_set(completion->model, result->model ? result->model : "");
    for (int i = 0; i < result->count; i++) {
        const struct ci_job_choice *choice = &result->choices[i];
        json_t *logprobs = NULL;
        if (completion->request.logprobs && choice->result.logprobs) {
            json_t *entries = json_array();
            size_t offset = 0;
            ci_answer_add_logprobs(
                entries, completion->request.engine, choice->result.logprobs, choice->result.generated_tokens,
                1 + (size_t)completion->request.job.sampling.logprobs, (size_t)completion->request.likeliest, false);
            logprobs = logprobs_json(entries, &offset);
        }
        json_array_append_new(completion->choices, choice_json(index_of(completion, i), text_json(completion, choice),
                                                               logprobs, ci_answer_finish(choice)));
    }
}

/* ---- the handler ---- */

static void add_up(struct completion *completion, const struct ci_job_result *result) {
    completion->last = result->choices[0].result;
    completion->total.prompt_tokens += completion->last.prompt_tokens;
    completion->total.cached_tokens += completion->last.cached_tokens;
    for (int i = 0; i < result->count; i++)
        completion->total.generated_tokens += result->choices[i].result.generated_tokens;
}

static json_t *usage_json(const struct completion *completion) {
    struct ci_job_choice one = {.result = completion->total};
    return ci_answer_usage(&(struct ci_job_result){.choices = &one, .count = 1});
}

/* false: the exchange has been answered. */
static bool answer_prompt(struct completion *completion) {
    struct ci_openai_request *request = &completion->request;
    struct ci_job_result result;
    ci_completion_prompt_use(&completion->prompts.list[completion->prompt], &request->job);
    if ((request->logprobs || request->echo) && !ci_openai_take_engine(completion->exchange, request)) return false;
    if (!ci_job_run(completion->exchange, &request->job, &result)) return false;
    ci_slots_note(completion->exchange, &request->job, request->slot, &result);
    add_up(completion, &result);
    json_string_set(completion->route, result.route ? result.route : "");
    if (request->stream)
        send_finish(completion, &result);
    else
        add_choices(completion, &result);
    ci_openai_give_engine(request);
    ci_job_free(&result);
    return true;
}

static void end(struct completion *completion) {
    json_t *value;
    if (!completion->request.stream) {
        value = frame(completion, json_incref(completion->choices));
        ci_answer_set(value, "usage", usage_json(completion));
        ci_answer_set(value, "timings", ci_timings_json(&completion->last));
        json_object_set(value, "route", completion->route);
        ci_reply_json(completion->exchange, 200, value);
        return;
    }
    if (completion->request.include_usage) {
        value = frame(completion, json_array());
        ci_answer_set(value, "usage", usage_json(completion));
        ci_answer_set(value, "timings", ci_timings_json(&completion->last));
        send(completion, value);
    }
    ci_stream_write(completion->exchange, "data: [DONE]\n\n", strlen("data: [DONE]\n\n"));
    ci_stream_end(completion->exchange, true);
}

static void answer_prompts(struct completion *completion) {
    struct ci_job *job = &completion->request.job;
    snprintf(completion->id, sizeof completion->id, "cmpl-%s", ci_exchange_id(completion->exchange));
    completion->created = (json_int_t)time(NULL);
    completion->model = json_string("");
    completion->route = json_string("");
    completion->choices = json_array();
    if (completion->request.stream) {
        job->user = completion;
        job->started = on_started;
        job->piece = on_piece;
    }
    if (completion->request.stream && completion->request.logprobs) completion->waiting = json_array();
    for (int i = 0; completion->waiting && i < job->choices; i++)
        json_array_append_new(completion->waiting, json_array());
    bool answered = true;
    if (completion->request.stream) ci_stream_expect_events(completion->exchange);
    for (; completion->prompt < completion->prompts.count && answered; completion->prompt++)
        answered = answer_prompt(completion);
    if (answered) end(completion);
    json_decref(completion->model);
    json_decref(completion->route);
    json_decref(completion->choices);
    json_decref(completion->waiting);
}

/* OpenAI's lists of logprobs have no place for them. */
static bool has_no_sampled(const struct completion *completion) {
    if (!completion->request.post_sampling_probs) return true;
    ci_exchange_refuse(completion->exchange, "post_sampling_probs",
                       "post_sampling_probs: is told by /completion and by chats, not by /v1/completions");
    return false;
}

void ci_openai_completion(struct ci_exchange *exchange) {
    json_t *body = ci_exchange_json(exchange);
    struct completion completion = {.exchange = exchange};
    if (!body) return;
    if (ci_openai_read_common(exchange, body, false, &completion.request) && has_no_sampled(&completion) &&
        ci_completion_prompts_read(exchange, json_object_get(body, "prompt"), &completion.request, &completion.prompts))
        answer_prompts(&completion);
    ci_openai_request_free(exchange, &completion.request);
}
