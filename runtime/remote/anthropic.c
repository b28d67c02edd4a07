/* anthropic.c: Anthropic's Messages API (docs.anthropic.com/en/api/messages); llama-server and others speak it too.
 *
 * A stream is message_start, per block content_block_start, ..._delta and ..._stop, then message_delta with the reason
 * of the end, then message_stop; ping and error at any place. Only message_stop ends it well.
 *
 * There is no seed in this API. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "remote/dialect.h"
#include "text/tool_prompt.h"
#include "text/utf8_json.h"

extern const struct ci_dialect ci_dialect_anthropic;

/* max_tokens must be there; every model that is offered today gives as many. */
enum { DEFAULT_MAX_TOKENS = 4096 };

/* The system messages, an empty line between two, are a member of their own. */
static enum clinfer_status set_system(const char *label, const struct ci_remote_request *request, json_t *body) {
    static const char between[] = "\n\n";
    size_t room = 1, used = 0;
    for (size_t i = 0; i < request->count; i++) room += strlen(request->messages[i].content) + sizeof between;
    char *text = malloc(room);
    if (!text) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory while the request was written", label);
    for (size_t i = 0; i < request->count; i++) {
        const struct clinfer_message *message = &request->messages[i];
        if (strcmp(message->role, "system") != 0 || !*message->content) continue;
        if (used) used = (size_t)(stpcpy(text + used, between) - text);
        used = (size_t)(stpcpy(text + used, message->content) - text);
    }
    enum clinfer_status status = CLINFER_OK;
    if (used) status = ci_dialect_set(label, body, "system", ci_utf8_json(text, used));
    free(text);
    return status;
}

/* 0 to 1 here, 0 to 2 elsewhere. */
static float possible_temperature(const char *label, float temperature) {
    if (temperature <= 1) return temperature;
    ci_log(CLINFER_LOG_WARNING, "%s: temperature %g: this API takes 1 at most, and gets 1", label, (double)temperature);
    return 1;
}

/* Current models answer 400 to a request that has both. Nothing is sent that was not asked for, so a top_p that is
 * alone was meant alone; beside a temperature it gives way, as that says more of how the answer is to be (0: always the
 * likeliest). */
static enum clinfer_status set_sampling(const char *label, const struct ci_remote_request *request, json_t *body) {
    bool temperature = !isnan(request->temperature), top_p = !isnan(request->top_p);
    if (temperature && top_p)
        ci_log(CLINFER_LOG_WARNING, "%s: this API takes temperature or top_p, not both: top_p %g is not sent", label,
               (double)request->top_p);
    if (temperature)
        return ci_dialect_set(label, body, "temperature",
                              ci_dialect_number(possible_temperature(label, request->temperature)));
    return top_p ? ci_dialect_set(label, body, "top_p", ci_dialect_number(request->top_p)) : CLINFER_OK;
}

static enum clinfer_status set_schema(const char *label, const struct ci_remote_request *request, json_t *body) {
    json_t *schema;
    enum clinfer_status status = ci_dialect_schema(label, request, &schema);
    if (status != CLINFER_OK) return status;
    return ci_dialect_set(label, body, "output_config",
                          json_pack("{s:{s:s, s:o}}", "format", "type", "json_schema", "schema", schema));
}

/* {"type": ..., FIRST: ..., SECOND: ...}; texts of any bytes. */
static json_t *block(const char *type, const char *first, const char *text, const char *second, json_t *value) {
    json_t *made =
        json_pack("{s:s, s:o}", "type", type, first, ci_utf8_json(text ? text : "", text ? strlen(text) : 0));
    if (second && (!made || json_object_set_new(made, second, value) != 0)) {
        json_decref(made);
        return NULL;
    }
    return made;
}

static json_t *call_block(const struct clinfer_tool_call *call) {
    json_t *input = json_loads(call->arguments, 0, NULL);
    json_t *made = block("tool_use", "id", call->id, "name", ci_utf8_json(call->name, strlen(call->name)));
    if (made && json_object_set_new(made, "input", input ? input : json_object()) == 0) return made;
    json_decref(made);
    return NULL;
}

/* Results that stand one behind the other are blocks of one message: they have to come in the one behind the calls. */
static enum clinfer_status add_with_calls(const char *label, json_t *messages, const struct clinfer_message *message) {
    bool result = strcmp(message->role, "tool") == 0;
    json_t *last = json_array_get(messages, json_array_size(messages) - 1), *blocks;
    const json_t *role = json_object_get(last, "role");
    blocks = json_object_get(last, "content");
    bool ok = true;
    if (!result || !json_is_array(blocks) || strcmp(json_string_value(role), "user") != 0) {
        blocks = json_array();
        ok = json_array_append_new(
                 messages, json_pack("{s:s, s:o}", "role", result ? "user" : "assistant", "content", blocks)) == 0;
    }
    if (ok && result)
        ok = json_array_append_new(blocks, block("tool_result", "tool_use_id", message->call_id, "content",
                                                 ci_utf8_json(message->content, strlen(message->content)))) == 0;
    if (ok && !result && *message->content)
        ok = json_array_append_new(blocks, block("text", "text", message->content, NULL, NULL)) == 0;
    for (size_t i = 0; ok && i < message->call_count; i++)
        ok = json_array_append_new(blocks, call_block(&message->calls[i])) == 0;
    return ok ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory while the request was written", label);
}

static json_t *tool_json(const json_t *tool) {
    json_t *function = json_object_get(tool, "function"), *made = json_object();
    json_t *schema = json_object_get(function, "parameters"), *description = json_object_get(function, "description");
    schema = schema ? json_incref(schema) : json_pack("{s:s}", "type", "object");
    if (made && json_object_set(made, "name", json_object_get(function, "name")) == 0 &&
        json_object_set_new(made, "input_schema", schema) == 0 &&
        (!description || json_object_set(made, "description", description) == 0))
        return made;
    json_decref(made);
    return NULL;
}

static enum clinfer_status set_tools(const char *label, const struct ci_remote_request *request, json_t *body) {
    const char *choice = request->tool_choice;
    json_t *tools = json_array(), *tool;
    size_t i;
    enum clinfer_status status = ci_dialect_set(label, body, "tools", tools);
    json_array_foreach(request->tools, i,
                       tool) if (status == CLINFER_OK && json_array_append_new(tools, tool_json(tool)) != 0) status =
        ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory while the request was written", label);
    if (status != CLINFER_OK || !ci_tool_choice_requires(choice)) return status;
    return ci_dialect_set(label, body, "tool_choice",
                          strcmp(choice, "required") == 0 ? json_pack("{s:s}", "type", "any")
                                                          : json_pack("{s:s, s:s}", "type", "tool", "name", choice));
}

static enum clinfer_status write_body(const char *label, const char *host, const struct clinfer_remote *remote,
                                      const struct ci_remote_request *request, json_t *body) {
    (void)host;
    int most = request->max_tokens >= 0 ? request->max_tokens : DEFAULT_MAX_TOKENS;
    enum clinfer_status status = ci_dialect_add_messages(label, request, false, add_with_calls, body);
    if (status == CLINFER_OK) status = set_system(label, request, body);
    if (status == CLINFER_OK && remote->model)
        status = ci_dialect_set(label, body, "model", ci_utf8_json(remote->model, strlen(remote->model)));
    if (status == CLINFER_OK) status = ci_dialect_set(label, body, "max_tokens", json_integer(most));
    if (status == CLINFER_OK) status = ci_dialect_set(label, body, "stream", json_boolean(!request->whole));
    if (status == CLINFER_OK) status = set_sampling(label, request, body);
    if (status == CLINFER_OK && request->stop_count)
        status = ci_dialect_set(label, body, "stop_sequences", ci_dialect_stop(request));
    if (status == CLINFER_OK && request->json_schema) status = set_schema(label, request, body);
    if (status == CLINFER_OK && request->tools) status = set_tools(label, request, body);
    return status;
}

static void read_reason(struct ci_reply *reply, const json_t *object) {
    const char *reason = json_string_value(json_object_get(object, "stop_reason"));
    if (!reason) return;
    ci_reply_end_calls(reply);
    reply->finish = strcmp(reason, "max_tokens") == 0                      ? CLINFER_FINISH_LENGTH
                    : strcmp(reason, "model_context_window_exceeded") == 0 ? CLINFER_FINISH_CONTEXT
                                                                           : CLINFER_FINISH_END;
    reply->filtered = strcmp(reason, "refusal") == 0;
}

static void read_usage(struct ci_reply *reply, const json_t *object) {
    static const char *const cached[] = {"cache_creation_input_tokens", "cache_read_input_tokens"};
    const json_t *usage = json_object_get(object, "usage");
    if (json_object_get(usage, "input_tokens")) {
        ci_reply_count(usage, "input_tokens", &reply->prompt_tokens);
        for (size_t i = 0; i < sizeof cached / sizeof *cached; i++) {
            size_t count = 0;
            ci_reply_count(usage, cached[i], &count);
            reply->prompt_tokens += count;
        }
    }
    ci_reply_count(usage, "output_tokens", &reply->generated_tokens);
}

/* A call of a tool is a block of its own, whose input comes in pieces behind it in a stream. */
static void read_call(struct ci_reply *reply, const json_t *object) {
    const json_t *input = json_object_get(object, "input");
    char *text = json_object_size(input) ? json_dumps(input, 0) : NULL;
    json_t *arguments = text ? json_string(text) : NULL;
    ci_reply_call(reply, reply->call_count, json_object_get(object, "id"), json_object_get(object, "name"), arguments);
    json_decref(arguments);
    free(text);
}

static void read_input(struct ci_reply *reply, const json_t *delta) {
    if (!reply->call_count)
        ci_reply_wrong(reply, "a call of a tool has no beginning");
    else
        ci_reply_call(reply, reply->call_count - 1, NULL, NULL, json_object_get(delta, "partial_json"));
}

/* What a model thinks is a block too, and no part of the answer's text. */
static void read_text_of(struct ci_reply *reply, const json_t *object, const char *place, const char *type) {
    const char *found = json_string_value(json_object_get(object, "type"));
    if (!found)
        ci_reply_wrong(reply, "%s.type is missing", place);
    else if (strcmp(found, type) == 0 && !json_is_string(json_object_get(object, "text")))
        ci_reply_wrong(reply, "%s.text is missing", place);
    else if (strcmp(found, type) == 0)
        ci_reply_text(reply, json_object_get(object, "text"));
    else if (strcmp(found, "tool_use") == 0)
        read_call(reply, object);
    else if (strcmp(found, "input_json_delta") == 0)
        read_input(reply, object);
}

/* The name stands in the data too, where it counts: some servers send no "event:" lines. */
static void read_event(struct ci_reply *reply, const char *event, const json_t *data) {
    if (ci_reply_read_error(reply, data, strcmp(event, "error") == 0)) return;
    const char *type = json_string_value(json_object_get(data, "type"));
    if (!type) {
        ci_reply_wrong(reply, "an event has no type");
    } else if (strcmp(type, "message_start") == 0) {
        read_usage(reply, json_object_get(data, "message"));
    } else if (strcmp(type, "content_block_start") == 0) {
        read_text_of(reply, json_object_get(data, "content_block"), "content_block", "text");
    } else if (strcmp(type, "content_block_delta") == 0) {
        read_text_of(reply, json_object_get(data, "delta"), "delta", "text_delta");
    } else if (strcmp(type, "message_delta") == 0) {
        read_reason(reply, json_object_get(data, "delta"));
        read_usage(reply, data);
    } else if (strcmp(type, "message_stop") == 0) {
        reply->complete = reply->closed = true;
    }
}

static void read_whole(struct ci_reply *reply, const json_t *root) {
    const json_t *content = json_object_get(root, "content"), *block;
    size_t index;
    if (!json_is_array(content)) {
        ci_reply_wrong(reply, "content is missing");
        return;
    }
    if (!json_is_string(json_object_get(root, "stop_reason"))) {
        ci_reply_wrong(reply, "stop_reason is missing");
        return;
    }
    read_usage(reply, root);
    json_array_foreach(content, index, block) read_text_of(reply, block, "content[]", "text");
    read_reason(reply, root);
    reply->complete = reply->closed = true;
}

static const char *const version_headers[] = {"anthropic-version: 2023-06-01", NULL};

const struct ci_dialect ci_dialect_anthropic = {
    .name = "anthropic",
    .path = "/v1/messages",
    .key_header = "x-api-key: ",
    .headers = version_headers,
    .write = write_body,
    .read_event = read_event,
    .read_whole = read_whole,
};
