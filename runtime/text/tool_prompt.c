#define _GNU_SOURCE
#include "text/tool_prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/status.h"
#include "text/utf8_json.h"

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "tools: out of memory"); }

/* ---- a request's tools ---- */

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

static enum clinfer_status check_tools(const json_t *tools) {
    size_t i, j;
    json_t *tool, *other;
    if (!json_is_array(tools))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "tools: must be a JSON array, [{\"type\": \"function\", \"function\": {\"name\": ...}}, ...]");
    json_array_foreach(tools, i, tool) {
        const char *name = name_of(tool);
        const json_t *parameters = json_object_get(json_object_get(tool, "function"), "parameters");
        if (!name || !*name)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "tools[%zu].function.name: %s", i,
                           name ? "is empty" : "is missing, or no text");
        if (parameters && !json_is_object(parameters))
            return ci_fail(CLINFER_INVALID_ARGUMENT, "tools[%zu].function.parameters: must be a JSON schema, an object",
                           i);
        json_array_foreach(tools, j, other) if (j < i && strcmp(name, name_of(other)) == 0) return ci_fail(
            CLINFER_INVALID_ARGUMENT, "tools[%zu].function.name: \"%.80s\" is that of tools[%zu], too", i, name, j);
    }
    return CLINFER_OK;
}

static bool is_one_of(const char *choice, const char *first, const char *second) {
    return strcmp(choice, first) == 0 || strcmp(choice, second) == 0;
}

bool ci_tool_choice_requires(const char *choice) { return choice && !is_one_of(choice, "auto", "none"); }

static enum clinfer_status check_choice(const json_t *tools, const char *choice) {
    size_t i;
    json_t *tool;
    if (!ci_tool_choice_requires(choice)) return CLINFER_OK;
    if (!json_array_size(tools))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "tool choice \"%.80s\": there are no tools", choice);
    if (strcmp(choice, "required") == 0) return CLINFER_OK;
    json_array_foreach(tools, i, tool) if (strcmp(choice, name_of(tool)) == 0) return CLINFER_OK;
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "tool choice \"%.80s\": is none of auto, none and required, nor the name of a tool", choice);
}

enum clinfer_status ci_tools_read(const char *text, const char *choice, json_t **tools) {
    json_error_t error;
    *tools = NULL;
    if (!text) return check_choice(NULL, choice);
    json_t *read = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    if (!read)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "tools: line %d, column %d: %s", error.line, error.column, error.text);
    enum clinfer_status status = check_tools(read);
    if (status == CLINFER_OK) status = check_choice(read, choice);
    if (status != CLINFER_OK || !json_array_size(read) || (choice && strcmp(choice, "none") == 0)) {
        json_decref(read);
        return status;
    }
    *tools = read;
    return CLINFER_OK;
}

/* ---- a call that has to come ---- */

enum clinfer_status ci_tools_hoist(json_t *root, const json_t *parameters) {
    static const char *const names[] = {"$defs", "definitions"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name;
        json_t *definition, *all = json_object_get(root, names[i]);
        json_t *own = json_object_get(parameters, names[i]);
        if (!json_is_object(own)) continue;
        if (!all && json_object_set_new(root, names[i], all = json_object()) != 0) return out_of_memory();
        json_object_foreach(own, name, definition) {
            const json_t *other = json_object_get(all, name);
            if (other && !json_equal(other, definition))
                return ci_fail(CLINFER_UNSUPPORTED, "tools: two of them have another %s.%.80s each", names[i], name);
            if (!other && json_object_set(all, name, definition) != 0) return out_of_memory();
        }
    }
    return CLINFER_OK;
}

json_t *ci_tool_arguments_schema(const json_t *tool) {
    json_t *parameters = json_object_get(json_object_get(tool, "function"), "parameters");
    json_t *of_arguments = parameters ? json_deep_copy(parameters) : json_pack("{s:s}", "type", "object");
    if (of_arguments && !json_object_get(of_arguments, "type"))
        json_object_set_new(of_arguments, "type", json_string("object"));
    json_object_del(of_arguments, "$defs");
    json_object_del(of_arguments, "definitions");
    return of_arguments;
}

static json_t *call_schema(const json_t *tool, const char *arguments) {
    json_t *of_arguments = ci_tool_arguments_schema(tool);
    return json_pack("{s:s, s:{s:{s:s}, s:o}, s:[s, s], s:b}", "type", "object", "properties", "name", "const",
                     name_of(tool), arguments, of_arguments, "required", "name", arguments, "additionalProperties", 0);
}

enum clinfer_status ci_tools_schema(const json_t *tools, const char *choice, const char *arguments, char **schema) {
    json_t *root = json_object(), *branches = json_array(), *tool;
    bool any = strcmp(choice, "required") == 0;
    enum clinfer_status status = CLINFER_OK;
    size_t i;
    *schema = NULL;
    json_array_foreach(tools, i, tool) {
        if (!any && strcmp(choice, name_of(tool)) != 0) continue;
        if (status == CLINFER_OK)
            status = ci_tools_hoist(root, json_object_get(json_object_get(tool, "function"), "parameters"));
        if (json_array_append_new(branches, call_schema(tool, arguments)) != 0) status = out_of_memory();
    }
    if (json_object_set_new(root, "anyOf", branches) != 0 && status == CLINFER_OK) status = out_of_memory();
    if (status == CLINFER_OK) *schema = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return status == CLINFER_OK && !*schema ? out_of_memory() : status;
}

/* ---- calls as JSON ---- */

static json_t *call_json(const struct clinfer_tool_call *call, bool as_text) {
    json_t *arguments = as_text ? NULL : json_loads(call->arguments, 0, NULL);
    if (!arguments) arguments = ci_utf8_json(call->arguments, strlen(call->arguments));
    if (!arguments) return NULL;
    return json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", call->id ? call->id : "", "type", "function", "function", "name",
                     call->name, "arguments", arguments);
}

json_t *ci_tool_calls_json(const struct clinfer_tool_call *calls, size_t count, bool as_text) {
    json_t *list = json_array();
    for (size_t i = 0; list && i < count; i++)
        if (json_array_append_new(list, call_json(&calls[i], as_text)) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* ---- for templates that know no tools ---- */

/* Text that grows; places in it become addresses when it has stopped. */
struct writer {
    char *text;
    size_t length, capacity;
    bool failed;
};

static void add(struct writer *writer, const char *text) {
    if (!ci_append(&writer->text, &writer->length, &writer->capacity, text, strlen(text))) writer->failed = true;
}

static void add_json(struct writer *writer, const json_t *json) {
    char *text = json_dumps(json, JSON_ENCODE_ANY);
    if (text)
        add(writer, text);
    else
        writer->failed = true;
    free(text);
}

static void end_text(struct writer *writer) {
    if (!ci_append(&writer->text, &writer->length, &writer->capacity, "", 1)) writer->failed = true;
}

static void add_tools(struct writer *writer, const json_t *tools) {
    size_t i;
    json_t *tool;
    add(writer, "You can call these functions, each given with the JSON schema of its arguments:\n\n");
    json_array_foreach(tools, i, tool) {
        add_json(writer, json_object_get(tool, "function"));
        add(writer, "\n");
    }
    add(writer,
        "\nTo call one, answer with nothing but a JSON object {\"name\": NAME, \"arguments\": {...}}, or with a "
        "list of such objects to call several. The results come with the next message. Where no function is "
        "needed, answer in words.");
}

static void add_calls(struct writer *writer, const struct clinfer_message *message) {
    for (size_t i = 0; i < message->call_count; i++) {
        const struct clinfer_tool_call *call = &message->calls[i];
        json_t *name = ci_utf8_json(call->name, strlen(call->name));
        add(writer, i ? ", " : *message->content ? "\n" : "");
        if (!i && message->call_count > 1) add(writer, "[");
        add(writer, "{\"name\": ");
        add_json(writer, name);
        add(writer, ", \"arguments\": ");
        add(writer, call->arguments);
        add(writer, "}");
        json_decref(name);
    }
    if (message->call_count > 1) add(writer, "]");
}

static bool is_role(const struct clinfer_message *message, const char *role) {
    return strcmp(message->role, role) == 0;
}

static void add_content(struct writer *writer, const struct clinfer_message *message) {
    if (is_role(message, "tool")) {
        add(writer, "Result of ");
        add(writer, message->tool ? message->tool : "the function");
        add(writer, ":\n");
    }
    add(writer, message->content);
    add_calls(writer, message);
    end_text(writer);
}

enum clinfer_status ci_tool_prompt_spell(const struct clinfer_message *messages, size_t count, const json_t *tools,
                                         struct clinfer_message **spelled, size_t *spelled_count, char **texts) {
    struct writer writer = {0};
    bool own_system = tools && !(count && is_role(&messages[0], "system"));
    struct clinfer_message *out = calloc(count + 1, sizeof *out);
    size_t made = 0;
    *spelled = NULL;
    *texts = NULL;
    if (own_system) {
        add_tools(&writer, tools);
        end_text(&writer);
    }
    for (size_t i = 0; i < count; i++) {
        if (i == 0 && tools && !own_system) {
            add(&writer, messages[i].content);
            add(&writer, "\n\n");
            add_tools(&writer, tools);
            end_text(&writer);
        } else {
            add_content(&writer, &messages[i]);
        }
    }
    if (!out || writer.failed) {
        free(out);
        free(writer.text);
        return out_of_memory();
    }
    const char *at = writer.text;
    if (own_system) {
        out[made++] = (struct clinfer_message){.role = "system", .content = at};
        at += strlen(at) + 1;
    }
    for (size_t i = 0; i < count; i++, made++) {
        bool result = is_role(&messages[i], "tool");
        out[made] = (struct clinfer_message){
            .role = result ? "user" : messages[i].role, .content = at, .reasoning = messages[i].reasoning};
        at += strlen(at) + 1;
    }
    *spelled = out;
    *spelled_count = made;
    *texts = writer.text;
    return CLINFER_OK;
}
