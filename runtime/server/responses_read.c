/* responses_read.c: what items of OpenAI's Responses API are to a chat template.
 *
 * What one answer was comes as several items (reasoning, a message, calls), which are one message again. Nothing is
 * kept here between requests, so what refers to an earlier one is refused, with what to send instead. */
#define _GNU_SOURCE
#include "server/responses_read.h"

#include <string.h>

#include "base/status.h"
#include "server/fields.h"

enum { MOST_TOKENS = 1 << 30 };

static const char *text_member(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

static const char *type_of(const json_t *object) {
    const char *type = text_member(object, "type");
    return type ? type : "";
}

static void answer_turn(struct ci_translation *translation) {
    if (!translation->count || strcmp(translation->messages[translation->count - 1].role, "assistant") != 0)
        ci_translate_add(translation, "assistant");
}

static void say_part(struct ci_translation *translation, const json_t *part) {
    static const char *const texts[] = {"input_text", "output_text", "text", "summary_text", "reasoning_text"};
    const char *type = type_of(part);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(type, texts[i]) == 0) {
            ci_translate_say(translation, "input", json_object_get(part, "text"));
            return;
        }
    if (strcmp(type, "refusal") == 0)
        ci_translate_say(translation, "input", json_object_get(part, "refusal"));
    else
        ci_translate_refuse(translation, "input",
                            "input: a content part of type \"%.40s\" is not supported by this server: send text", type);
}

static void say_content(struct ci_translation *translation, const json_t *content) {
    const json_t *part;
    size_t i;
    if (!json_is_array(content)) ci_translate_say(translation, "input", content);
    json_array_foreach(content, i, part) { say_part(translation, part); }
}

static void read_message(struct ci_translation *translation, const json_t *item) {
    const char *role = text_member(item, "role");
    if (!role)
        ci_translate_refuse(translation, "input", "input: the role of a message is missing");
    else if (strcmp(role, "assistant") == 0)
        answer_turn(translation);
    else if (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0)
        ci_translate_add(translation, "system");
    else if (strcmp(role, "user") == 0)
        ci_translate_add(translation, "user");
    else
        ci_translate_refuse(translation, "input",
                            "input: a message has the role \"%.40s\": it must be user, assistant, "
                            "system or developer",
                            role);
    say_content(translation, json_object_get(item, "content"));
}

static void read_reasoning(struct ci_translation *translation, const json_t *item) {
    const json_t *parts = json_object_get(item, "content"), *part;
    size_t i;
    if (!json_array_size(parts)) parts = json_object_get(item, "summary");
    answer_turn(translation);
    json_array_foreach(parts, i, part) { ci_translate_think(translation, "input", json_object_get(part, "text")); }
}

static void read_output(struct ci_translation *translation, const json_t *item) {
    const char *id = text_member(item, "call_id");
    if (!id) ci_translate_refuse(translation, "input", "input: call_id of a function_call_output is missing");
    const char *tool = ci_translate_called(translation, id);
    ci_translate_add(translation, "tool");
    ci_translate_answers(translation, id, tool);
    say_content(translation, json_object_get(item, "output"));
}

static void read_item(struct ci_translation *translation, const json_t *item) {
    const char *type = type_of(item);
    if (strcmp(type, "message") == 0 || (!*type && json_object_get(item, "role"))) {
        read_message(translation, item);
    } else if (strcmp(type, "function_call") == 0) {
        answer_turn(translation);
        ci_translate_call(translation, "input", text_member(item, "call_id"), text_member(item, "name"),
                          json_object_get(item, "arguments"));
    } else if (strcmp(type, "function_call_output") == 0) {
        read_output(translation, item);
    } else if (strcmp(type, "reasoning") == 0) {
        read_reasoning(translation, item);
    } else {
        ci_translate_refuse(translation, "input", "input: an item of type \"%.40s\" is not supported by this server",
                            type);
    }
}

static void read_input(struct ci_translation *translation, const json_t *body) {
    const json_t *input = json_object_get(body, "input"), *instructions = json_object_get(body, "instructions"), *item;
    size_t i;
    if (instructions && !json_is_null(instructions)) {
        ci_translate_add(translation, "system");
        ci_translate_say(translation, "instructions", instructions);
    }
    if (json_is_string(input)) {
        ci_translate_add(translation, "user");
        ci_translate_say(translation, "input", input);
    } else if (!json_array_size(input)) {
        ci_translate_refuse(translation, "input", "input: %s",
                            json_is_array(input) ? "is empty"
                            : input              ? "must be a text or a list"
                                                 : "is missing");
    }
    json_array_foreach(input, i, item) { read_item(translation, item); }
}

/* Tools that OpenAI's own servers run cannot be run here. */
static void read_tools(struct ci_translation *translation, const json_t *tools) {
    const json_t *tool;
    size_t i;
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        ci_translate_refuse(translation, "tools", "tools: must be a list");
    json_array_foreach(tools, i, tool) {
        if (strcmp(type_of(tool), "function") == 0)
            ci_translate_tool(translation, "tools", json_object_get(tool, "name"), json_object_get(tool, "description"),
                              json_object_get(tool, "parameters"));
    }
}

static void read_choice(struct ci_translation *translation, const json_t *choice) {
    const char *text = json_string_value(choice), *name = text_member(choice, "name");
    if (!choice || json_is_null(choice)) return;
    bool known = text && (strcmp(text, "auto") == 0 || strcmp(text, "none") == 0 || strcmp(text, "required") == 0);
    if (known)
        translation->job->request.tool_choice = text;
    else if (strcmp(type_of(choice), "function") == 0 && name)
        translation->job->request.tool_choice = name;
    else
        ci_translate_refuse(translation, "tool_choice",
                            "tool_choice: must be auto, none, required, or {\"type\": \"function\", \"name\": ...}");
}

static void read_format(struct ci_translation *translation, const json_t *format) {
    const char *type = type_of(format);
    if (!format || json_is_null(format) || strcmp(type, "text") == 0) return;
    if (strcmp(type, "json_object") == 0)
        ci_translate_schema(translation, "text.format", NULL);
    else if (strcmp(type, "json_schema") == 0 && json_object_get(format, "schema"))
        ci_translate_schema(translation, "text.format.schema", json_object_get(format, "schema"));
    else
        ci_translate_refuse(translation, "text.format",
                            "text.format: must be of type text, json_object, or json_schema with a \"schema\"");
}

static void read_effort(struct ci_translation *translation, const char *effort) {
    if (!effort) return;
    if (strcmp(effort, "none") == 0)
        ci_translate_thinking(translation, false);
    else
        ci_translate_effort(translation, effort);
}

/* What would need a server that remembers. */
static void refuse_memory(struct ci_translation *translation, const json_t *body) {
    static const char *const members[] = {"previous_response_id", "conversation"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const json_t *found = json_object_get(body, members[i]);
        if (found && !json_is_null(found))
            ci_translate_refuse(translation, members[i],
                                "%s: this server keeps no answers: send the whole conversation as input", members[i]);
    }
    if (json_is_true(json_object_get(body, "background")))
        ci_translate_refuse(translation, "background",
                            "background: this server keeps no answers: take them as they come, with stream");
}

bool ci_responses_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                       struct ci_job *job, struct ci_translation *translation, bool *stream) {
    const char *param = NULL;
    ci_translate_begin(translation, body, defaults, arena, job);
    *stream = false;
    if (ci_sampling_read(body, arena, &job->sampling, &param) != CLINFER_OK ||
        ci_room_read(body, "num_ctx", job, &param) != CLINFER_OK)
        ci_translate_refuse(translation, param, "%s", clinfer_error());
    ci_translate_flag(translation, body, "stream", stream);
    ci_translate_integer(translation, body, "max_output_tokens", 0, MOST_TOKENS, &job->request.max_tokens);
    refuse_memory(translation, body);
    read_input(translation, body);
    read_tools(translation, json_object_get(body, "tools"));
    read_choice(translation, json_object_get(body, "tool_choice"));
    ci_translate_force(translation, body);
    read_format(translation, json_object_get(json_object_get(body, "text"), "format"));
    read_effort(translation, text_member(json_object_get(body, "reasoning"), "effort"));
    return ci_translate_finish(translation);
}
