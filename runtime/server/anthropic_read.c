/* anthropic_read.c: what a message of Anthropic's API is to a chat template.
 *
 * A message of the user may hold results of tools and text in any order; templates want the results directly behind the
 * calls, so they come first, each as a message of its own. Turns of one role behind one another are one turn, as the
 * API has it, since most templates want roles that alternate. An answer at the end is begun: the model goes on with it.
 */
#define _GNU_SOURCE
#include "server/anthropic_read.h"

#include <stdlib.h>
#include <string.h>

#include "server/fields.h"

enum { DEFAULT_MAX_TOKENS = 4096, MOST_TOKENS = 1 << 30 };

static const char *type_of(const json_t *block) {
    const char *type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

static const char *text_member(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}

/* Claude Code's system text begins with a header in which five characters are others for each request: left as they
 * are, no two prompts would have a beginning in common. */
static json_t *without_stamp(const json_t *text) {
    static const char header[] = "x-anthropic-billing-header:", stamp[] = "cch=";
    enum { STAMP_BYTES = 5 };
    const char *bytes = json_string_value(text);
    const char *found = bytes && strncmp(bytes, header, strlen(header)) == 0 ? strstr(bytes, stamp) : NULL;
    if (!found || strnlen(found, 10) < 10 || found[strlen(stamp) + STAMP_BYTES] != ';')
        return json_incref((json_t *)text);
    char *copy = strndup(bytes, json_string_length(text));
    if (copy) memset(copy + (found - bytes) + strlen(stamp), 'f', STAMP_BYTES);
    json_t *made = copy ? json_string_nocheck(copy) : NULL;
    free(copy);
    return made ? made : json_incref((json_t *)text);
}

static void say_system(struct ci_translation *translation, const json_t *text) {
    json_t *made = without_stamp(text);
    ci_translate_say(translation, "system", made);
    json_decref(made);
}

static void read_system(struct ci_translation *translation, const json_t *system) {
    const json_t *block;
    size_t i;
    if (!system || json_is_null(system)) return;
    ci_translate_add(translation, "system");
    if (!json_is_array(system)) say_system(translation, system);
    json_array_foreach(system, i, block) {
        if (strcmp(type_of(block), "text") == 0)
            say_system(translation, json_object_get(block, "text"));
        else
            ci_translate_refuse(translation, "system", "system: block %zu is no text block", i);
    }
}

static void refuse_image(struct ci_translation *translation) {
    ci_translate_refuse(translation, "messages",
                        "messages: image input is not supported by this server: send the text alone");
}

/* A document that is text; the others (PDF, a file of the API's own) cannot be read here. */
static void say_document(struct ci_translation *translation, const json_t *block) {
    const json_t *source = json_object_get(block, "source"), *title = json_object_get(block, "title");
    if (strcmp(type_of(source), "text") != 0) {
        ci_translate_refuse(translation, "messages",
                            "messages: a document of type \"%.40s\" is not supported by this server: send its text",
                            type_of(source));
        return;
    }
    if (json_is_string(title)) ci_translate_say(translation, "messages", title);
    ci_translate_say(translation, "messages", json_object_get(source, "data"));
}

/* Blocks that both a message and a tool's result may have. */
static void say_block(struct ci_translation *translation, const json_t *block) {
    const char *type = type_of(block);
    if (strcmp(type, "text") == 0)
        ci_translate_say(translation, "messages", json_object_get(block, "text"));
    else if (strcmp(type, "image") == 0)
        refuse_image(translation);
    else if (strcmp(type, "document") == 0)
        say_document(translation, block);
    else
        ci_translate_refuse(translation, "messages", "messages: a content block of type \"%.40s\" is not supported%s",
                            type, json_is_object(block) ? "" : ": it is no object");
}

static void read_result(struct ci_translation *translation, const json_t *block) {
    const json_t *content = json_object_get(block, "content"), *piece;
    const char *id = text_member(block, "tool_use_id");
    size_t i;
    if (!id) ci_translate_refuse(translation, "messages", "messages: tool_use_id of a tool_result is missing");
    const char *tool = ci_translate_called(translation, id);
    ci_translate_add(translation, "tool");
    ci_translate_answers(translation, id, tool);
    json_array_foreach(content, i, piece) { say_block(translation, piece); }
    if (content && !json_is_array(content) && !json_is_null(content))
        ci_translate_say(translation, "messages", content);
}

/* Goes on with the last message where that is of the same role. */
static void turn_of(struct ci_translation *translation, const char *role) {
    if (!translation->count || strcmp(translation->messages[translation->count - 1].role, role) != 0)
        ci_translate_add(translation, role);
}

static void read_user(struct ci_translation *translation, const json_t *content) {
    const json_t *block;
    size_t i;
    bool others = !json_array_size(content);
    json_array_foreach(content, i, block) {
        bool result = strcmp(type_of(block), "tool_result") == 0;
        if (result) read_result(translation, block);
        others = others || !result;
    }
    if (others) turn_of(translation, "user");
    json_array_foreach(content, i, block) {
        if (strcmp(type_of(block), "tool_result") != 0) say_block(translation, block);
    }
}

static void read_assistant_block(struct ci_translation *translation, const json_t *block) {
    const char *type = type_of(block);
    if (strcmp(type, "thinking") == 0)
        ci_translate_think(translation, "messages", json_object_get(block, "thinking"));
    else if (strcmp(type, "tool_use") == 0)
        ci_translate_call(translation, "messages", text_member(block, "id"), text_member(block, "name"),
                          json_object_get(block, "input"));
    else if (strcmp(type, "redacted_thinking") != 0) /* which nobody but its maker can read */
        say_block(translation, block);
}

static void read_message(struct ci_translation *translation, const json_t *message, size_t number) {
    const json_t *content = json_object_get(message, "content"), *block;
    const char *role = text_member(message, "role");
    size_t i;
    if (!role || (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 && strcmp(role, "system") != 0)) {
        ci_translate_refuse(translation, "messages", "messages[%zu].role: must be user, assistant or system", number);
    } else if (!json_is_string(content) && !json_is_array(content)) {
        ci_translate_refuse(translation, "messages", "messages[%zu].content: must be a text or a list of blocks",
                            number);
    } else if (json_is_string(content)) {
        turn_of(translation, role);
        ci_translate_say(translation, "messages", content);
    } else if (*role == 'u') {
        read_user(translation, content);
    } else {
        turn_of(translation, role);
        json_array_foreach(content, i, block) {
            if (*role == 'a')
                read_assistant_block(translation, block);
            else
                say_block(translation, block);
        }
    }
}

static void read_messages(struct ci_translation *translation, const json_t *messages) {
    const json_t *message;
    size_t i;
    if (!json_is_array(messages)) {
        ci_translate_refuse(translation, "messages", "messages: %s", messages ? "must be a list" : "is missing");
        return;
    }
    json_array_foreach(messages, i, message) { read_message(translation, message, i); }
    if (!i) ci_translate_add(translation, "user");
    const struct clinfer_message *last = translation->count ? &translation->messages[translation->count - 1] : NULL;
    translation->job->request.continue_last = last && strcmp(last->role, "assistant") == 0 && !translation->call_count;
}

/* Tools that the API's own servers run have no schema of their input, and cannot be run here. */
static void read_tools(struct ci_translation *translation, const json_t *tools) {
    const json_t *tool;
    size_t i;
    if (tools && !json_is_null(tools) && !json_is_array(tools))
        ci_translate_refuse(translation, "tools", "tools: must be a list");
    json_array_foreach(tools, i, tool) {
        const json_t *schema = json_object_get(tool, "input_schema");
        if (schema)
            ci_translate_tool(translation, "tools", json_object_get(tool, "name"), json_object_get(tool, "description"),
                              schema);
    }
}

static void read_choice(struct ci_translation *translation, const json_t *choice) {
    struct clinfer_chat_request *request = &translation->job->request;
    const char *type = type_of(choice), *name = text_member(choice, "name");
    if (!choice || json_is_null(choice)) return;
    if (strcmp(type, "auto") == 0 || strcmp(type, "none") == 0)
        request->tool_choice = type;
    else if (strcmp(type, "any") == 0)
        request->tool_choice = "required";
    else if (strcmp(type, "tool") == 0 && name)
        request->tool_choice = name;
    else
        ci_translate_refuse(
            translation, "tool_choice",
            "tool_choice: must be {\"type\": \"auto\"}, \"any\", \"none\", or \"tool\" with a \"name\"");
}

static void read_thinking(struct ci_translation *translation, const json_t *thinking) {
    const char *type = type_of(thinking);
    if (!thinking || json_is_null(thinking)) return;
    bool off = strcmp(type, "disabled") == 0;
    if (!off && strcmp(type, "enabled") != 0 && strcmp(type, "adaptive") != 0)
        ci_translate_refuse(translation, "thinking", "thinking.type: must be enabled, adaptive or disabled");
    ci_translate_thinking(translation, !off);
}

static void read_output(struct ci_translation *translation, const json_t *body) {
    const json_t *config = json_object_get(body, "output_config");
    const json_t *format = json_object_get(config, "format");
    const char *effort = text_member(config, "effort");
    if (!format) format = json_object_get(body, "output_format");
    if (effort) ci_translate_effort(translation, effort);
    if (!format || json_is_null(format)) return;
    if (strcmp(type_of(format), "json_schema") != 0)
        ci_translate_refuse(translation, "output_config", "output_config.format.type: must be json_schema");
    else if (!json_object_get(format, "schema"))
        ci_translate_refuse(translation, "output_config", "output_config.format.schema: is missing");
    else
        ci_translate_schema(translation, "output_config.format.schema", json_object_get(format, "schema"));
}

bool ci_anthropic_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                       struct ci_job *job, struct ci_translation *translation, bool *stream) {
    const char *param = NULL;
    ci_translate_begin(translation, body, defaults, arena, job);
    job->request.max_tokens = DEFAULT_MAX_TOKENS;
    *stream = false;
    ci_translate_flag(translation, body, "stream", stream);
    ci_translate_integer(translation, body, "max_tokens", 0, MOST_TOKENS, &job->request.max_tokens);
    ci_translate_number(translation, body, "temperature", 0, 2, &job->sampling.temperature);
    ci_translate_number(translation, body, "top_p", 0, 1, &job->sampling.top_p);
    ci_translate_integer(translation, body, "top_k", 0, MOST_TOKENS, &job->sampling.top_k);
    ci_translate_stop(translation, body, "stop_sequences");
    if (ci_room_read(body, "num_ctx", job, &param) != CLINFER_OK)
        ci_translate_refuse(translation, param, "%s", clinfer_error());
    read_system(translation, json_object_get(body, "system"));
    read_messages(translation, json_object_get(body, "messages"));
    read_tools(translation, json_object_get(body, "tools"));
    read_choice(translation, json_object_get(body, "tool_choice"));
    read_thinking(translation, json_object_get(body, "thinking"));
    ci_translate_force(translation, body);
    read_output(translation, body);
    return ci_translate_finish(translation);
}
