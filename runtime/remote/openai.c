/* openai.c: OpenAI's chat completions, and whatever speaks them: vLLM, llama-server, LM Studio, Ollama, OpenRouter.
 *
 * Source: platform.openai.com/docs/api-reference/chat. What only OpenAI itself wants is by its host: there the limit is
 * called max_completion_tokens (its newer models refuse max_tokens, most other servers know nothing else). */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "remote/dialect.h"
#include "remote/logprobs.h"
#include "text/tool_prompt.h"
#include "text/utf8_json.h"

extern const struct ci_dialect ci_dialect_openai;

static bool is_host_of(const char *host, const char *domain) {
    size_t length = strlen(host), tail = strlen(domain);
    return length >= tail && strcmp(host + length - tail, domain) == 0 &&
           (length == tail || host[length - tail - 1] == '.');
}

static const char *limit_name(const char *host) {
    return is_host_of(host, "openai.com") || is_host_of(host, "openai.azure.com") ? "max_completion_tokens"
                                                                                  : "max_tokens";
}

static enum clinfer_status set_schema(const char *label, const struct ci_remote_request *request, json_t *body) {
    json_t *schema;
    enum clinfer_status status = ci_dialect_schema(label, request, &schema);
    if (status != CLINFER_OK) return status;
    return ci_dialect_set(label, body, "response_format",
                          json_pack("{s:s, s:{s:s, s:b, s:o}}", "type", "json_schema", "json_schema", "name", "answer",
                                    "strict", 1, "schema", schema));
}

/* An answer's content is null where it has calls alone. */
static enum clinfer_status add_with_calls(const char *label, json_t *messages, const struct clinfer_message *message) {
    enum clinfer_status status = ci_dialect_add_message(label, messages, message->role, message->content);
    json_t *json = json_array_get(messages, json_array_size(messages) - 1);
    if (status == CLINFER_OK && message->call_count && !*message->content)
        status = ci_dialect_set(label, json, "content", json_null());
    if (status == CLINFER_OK && message->call_count)
        status =
            ci_dialect_set(label, json, "tool_calls", ci_tool_calls_json(message->calls, message->call_count, true));
    if (status == CLINFER_OK && message->call_id)
        status = ci_dialect_set(label, json, "tool_call_id", ci_utf8_json(message->call_id, strlen(message->call_id)));
    return status;
}

static enum clinfer_status set_tools(const char *label, const struct ci_remote_request *request, json_t *body) {
    const char *choice = request->tool_choice;
    enum clinfer_status status = ci_dialect_set(label, body, "tools", json_deep_copy(request->tools));
    if (status != CLINFER_OK || !choice) return status;
    bool named = ci_tool_choice_requires(choice) && strcmp(choice, "required") != 0;
    return ci_dialect_set(label, body, "tool_choice",
                          named ? json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", choice)
                                : json_string(choice));
}

/* Its biases are within -100..100, of which -100 is as good as never. The tokens are those of the remote's model. */
static json_t *bias_json(const struct ci_remote_request *request) {
    json_t *object = json_object();
    for (size_t i = 0; i < request->logit_bias_count; i++) {
        char token[16];
        const struct clinfer_logit_bias *bias = &request->logit_bias[i];
        snprintf(token, sizeof token, "%d", (int)bias->token);
        json_object_set_new(object, token, ci_dialect_number(fmaxf(-100, fminf(bias->bias, 100))));
    }
    return object;
}

static enum clinfer_status set_penalties(const char *label, const struct ci_remote_request *request, json_t *body) {
    enum clinfer_status status = CLINFER_OK;
    if (fabsf(request->presence_penalty) > 0)
        status = ci_dialect_set(label, body, "presence_penalty", ci_dialect_number(request->presence_penalty));
    if (status == CLINFER_OK && fabsf(request->frequency_penalty) > 0)
        status = ci_dialect_set(label, body, "frequency_penalty", ci_dialect_number(request->frequency_penalty));
    if (status == CLINFER_OK && request->logit_bias_count)
        status = ci_dialect_set(label, body, "logit_bias", bias_json(request));
    return status;
}

static enum clinfer_status write_body(const char *label, const char *host, const struct clinfer_remote *remote,
                                      const struct ci_remote_request *request, json_t *body) {
    enum clinfer_status status = ci_dialect_add_messages(label, request, true, add_with_calls, body);
    if (status == CLINFER_OK && remote->model)
        status = ci_dialect_set(label, body, "model", ci_utf8_json(remote->model, strlen(remote->model)));
    if (status == CLINFER_OK) status = ci_dialect_set(label, body, "stream", json_boolean(!request->whole));
    if (status == CLINFER_OK && !request->whole)
        status = ci_dialect_set(label, body, "stream_options", json_pack("{s:b}", "include_usage", 1));
    if (status == CLINFER_OK && !isnan(request->temperature))
        status = ci_dialect_set(label, body, "temperature", ci_dialect_number(request->temperature));
    if (status == CLINFER_OK && !isnan(request->top_p))
        status = ci_dialect_set(label, body, "top_p", ci_dialect_number(request->top_p));
    if (status == CLINFER_OK) status = set_penalties(label, request, body);
    if (status == CLINFER_OK && request->logprobs) status = ci_dialect_set(label, body, "logprobs", json_true());
    if (status == CLINFER_OK && request->logprobs)
        status = ci_dialect_set(label, body, "top_logprobs", json_integer((json_int_t)request->logprobs->width - 1));
    if (status == CLINFER_OK && request->seed >= 0)
        status = ci_dialect_set(label, body, "seed", json_integer(request->seed));
    if (status == CLINFER_OK && request->max_tokens >= 0)
        status = ci_dialect_set(label, body, limit_name(host), json_integer(request->max_tokens));
    if (status == CLINFER_OK && request->stop_count)
        status = ci_dialect_set(label, body, "stop", ci_dialect_stop(request));
    if (status == CLINFER_OK && request->json_schema) status = set_schema(label, request, body);
    if (status == CLINFER_OK && request->tools) status = set_tools(label, request, body);
    return status;
}

static void read_finish(struct ci_reply *reply, const json_t *reason) {
    const char *text = json_string_value(reason);
    if (!text) return;
    ci_reply_end_calls(reply);
    reply->complete = true;
    reply->finish = strcmp(text, "length") == 0 ? CLINFER_FINISH_LENGTH : CLINFER_FINISH_END;
    reply->filtered = strcmp(text, "content_filter") == 0;
}

static void read_usage(struct ci_reply *reply, const json_t *root) {
    const json_t *usage = json_object_get(root, "usage");
    ci_reply_count(usage, "prompt_tokens", &reply->prompt_tokens);
    ci_reply_count(usage, "completion_tokens", &reply->generated_tokens);
}

/* In a stream each has its index; in an answer in one piece its place is that. */
static void read_calls(struct ci_reply *reply, const json_t *calls) {
    size_t i;
    json_t *call;
    json_array_foreach(calls, i, call) {
        const json_t *index = json_object_get(call, "index"), *function = json_object_get(call, "function");
        json_int_t number = json_is_integer(index) ? json_integer_value(index) : (json_int_t)i;
        if (number < 0 || (size_t)number > reply->call_count)
            ci_reply_wrong(reply, "the index of a call of a tool is %lld", (long long)number);
        else
            ci_reply_call(reply, (size_t)number, json_object_get(call, "id"), json_object_get(function, "name"),
                          json_object_get(function, "arguments"));
    }
}

static void read_logprobs(struct ci_reply *reply, const json_t *logprobs) {
    const json_t *content = json_object_get(logprobs, "content"), *entry;
    size_t i;
    if (!reply->logprobs) return;
    json_array_foreach(content, i, entry) ci_text_logprobs_add(reply->logprobs, entry);
}

/* `part` is "delta" or "message". */
static void read_choices(struct ci_reply *reply, const json_t *choices, const char *part) {
    const json_t *choice = json_array_get(choices, 0), *message = json_object_get(choice, part);
    if (!json_is_object(message)) {
        ci_reply_wrong(reply, "choices[0].%s is missing", part);
        return;
    }
    const json_t *content = json_object_get(message, "content");
    if (content && !json_is_string(content) && !json_is_null(content)) {
        ci_reply_wrong(reply, "choices[0].%s.content is no text", part);
        return;
    }
    /* What a model thinks (reasoning_content) is no part of its answer. */
    ci_reply_text(reply, content);
    ci_reply_text(reply,
                  json_object_get(message, "refusal")); /* in the place of content, when a schema was asked for */
    read_calls(reply, json_object_get(message, "tool_calls"));
    read_logprobs(reply, json_object_get(choice, "logprobs"));
    read_finish(reply, json_object_get(choice, "finish_reason"));
}

static void read_event(struct ci_reply *reply, const char *event, const json_t *data) {
    if (ci_reply_read_error(reply, data, strcmp(event, "error") == 0)) return;
    const json_t *choices = json_object_get(data, "choices");
    if (choices && !json_is_array(choices))
        ci_reply_wrong(reply, "choices is no array");
    else if (json_array_size(choices)) /* the last one has usage alone */
        read_choices(reply, choices, "delta");
    read_usage(reply, data);
}

static void read_whole(struct ci_reply *reply, const json_t *root) {
    const json_t *choices = json_object_get(root, "choices");
    if (!json_array_size(choices)) {
        ci_reply_wrong(reply, "choices is missing");
        return;
    }
    read_usage(reply, root);
    read_choices(reply, choices, "message");
    if (*reply->wrong) return;
    if (!reply->complete) ci_reply_wrong(reply, "choices[0].finish_reason is missing");
    reply->closed = true;
}

static const char *const no_headers[] = {NULL};

const struct ci_dialect ci_dialect_openai = {
    .name = "openai",
    .path = "/chat/completions",
    .key_header = "authorization: Bearer ",
    .headers = no_headers,
    .end_of_stream = "[DONE]",
    .write = write_body,
    .read_event = read_event,
    .read_whole = read_whole,
};
