#include "text/tool_grammar.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "text/tool_format.h"
#include "text/tool_prompt.h"

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "tools: out of memory"); }

/* What a tool's call is made of; a failure stays. */
struct writer {
    const struct ci_tool_format *format;
    enum clinfer_status status;
};

static void put(struct writer *writer, json_t *pieces, json_t *piece) {
    if (json_array_append_new(pieces, piece) != 0) writer->status = out_of_memory();
}

static void put_text(struct writer *writer, json_t *pieces, const char *text) {
    if (text && *text) put(writer, pieces, json_string(text));
}

static void put_schema(struct writer *writer, json_t *pieces, const json_t *schema) {
    put(writer, pieces, json_pack("{s:O}", "schema", schema));
}

static void put_maybe(struct writer *writer, json_t *pieces, json_t *inner) {
    put(writer, pieces, json_pack("{s:o}", "maybe", inner));
}

/* Line breaks between tags, where models have them or not. */
static void put_line(struct writer *writer, json_t *pieces) { put_maybe(writer, pieces, json_pack("[s]", "\n")); }

static void put_around(struct writer *writer, json_t *pieces, const char *text) {
    if (text && strcmp(text, "\n") == 0)
        put_line(writer, pieces);
    else
        put_text(writer, pieces, text);
}

static const json_t *parameters_of(const json_t *tool) {
    return json_object_get(json_object_get(tool, "function"), "parameters");
}

static const char *name_of(const json_t *tool) {
    return json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
}

/* ---- arguments as an object ---- */

static void put_object(struct writer *writer, json_t *pieces, const json_t *tool) {
    json_t *schema = ci_tool_arguments_schema(tool);
    if (schema)
        put_schema(writer, pieces, schema);
    else
        writer->status = out_of_memory();
    json_decref(schema);
}

/* {"name": NAME, "arguments": {...}} */
static void put_named_object(struct writer *writer, json_t *pieces, const json_t *tool) {
    const struct ci_tool_format *format = writer->format;
    json_t *name = json_string(name_of(tool)), *arguments = ci_tool_arguments_schema(tool);
    char *key = json_dumps(name, JSON_ENCODE_ANY);
    json_t *schema = NULL;
    if (format->name_is_key && key) {
        put_text(writer, pieces, "{");
        put_text(writer, pieces, key);
        put_text(writer, pieces, ": ");
        put_object(writer, pieces, tool);
        put_text(writer, pieces, "}");
    } else if (name && arguments) {
        const char *of_name = format->name_member ? format->name_member : "name";
        schema =
            json_pack("{s:s, s:{s:{s:O}, s:O}, s:[s, s], s:b}", "type", "object", "properties", of_name, "const", name,
                      format->arguments, arguments, "required", of_name, format->arguments, "additionalProperties", 0);
        if (schema)
            put_schema(writer, pieces, schema);
        else
            writer->status = out_of_memory();
    } else {
        writer->status = out_of_memory();
    }
    free(key);
    json_decref(schema);
    json_decref(name);
    json_decref(arguments);
}

/* ---- arguments one by one ---- */

/* Whether a text that stands alone can be all that the schema says of it. */
static bool is_free_text(const json_t *schema) {
    static const char *const notes[] = {"type",    "title",    "description", "default", "examples",
                                        "example", "$comment", "enum",        "const"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)schema, key, value) {
        bool known = false;
        for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) known = known || strcmp(key, notes[i]) == 0;
        if (!known) return false;
    }
    return true;
}

/* A text without quotes up to `end`, one of the schema's where it has a list. */
static void put_free_text(struct writer *writer, json_t *pieces, const json_t *schema, const char *before,
                          const char *end) {
    const json_t *values = json_object_get(schema, "enum"), *only = json_object_get(schema, "const"), *value;
    json_t *any = values || only ? json_array() : NULL;
    size_t i;
    if (!is_free_text(schema))
        writer->status = ci_fail(CLINFER_UNSUPPORTED, "tools: what is said of a text cannot be held in this form");
    if (!any) {
        put_text(writer, pieces, before);
        put(writer, pieces, json_pack("{s:s}", "until", end));
        return;
    }
    if (only) json_array_append_new(any, json_pack("[s, s, s, s]", before, json_string_value(only), before, end));
    json_array_foreach(values, i, value) {
        if (json_is_string(value))
            json_array_append_new(any, json_pack("[s, s, s, s]", before, json_string_value(value), before, end));
    }
    put(writer, pieces, json_pack("{s:o}", "any", any));
}

/* Between texts of tags, on lines of their own where the form has them so. */
static void put_tagged_value(struct writer *writer, json_t *pieces, const json_t *schema) {
    const struct ci_tool_tags *tags = writer->format->tags;
    const char *line = tags->lines ? "\n" : "";
    bool text = ci_tool_schema_is_text(schema);
    if (tags->typed) put_text(writer, pieces, text ? "true" : "false");
    put_text(writer, pieces, tags->value);
    if (text) {
        put_free_text(writer, pieces, schema, line, tags->value_end);
        return;
    }
    put_text(writer, pieces, line);
    put_schema(writer, pieces, schema);
    put_text(writer, pieces, line);
    put_text(writer, pieces, tags->value_end);
}

static json_t *tagged_argument(struct writer *writer, const char *key, const json_t *schema) {
    const struct ci_tool_tags *tags = writer->format->tags;
    json_t *pieces = json_array();
    put_text(writer, pieces, tags->key);
    put_text(writer, pieces, key);
    put_text(writer, pieces, tags->key_end);
    if (tags->value && !tags->typed) put_line(writer, pieces);
    put_tagged_value(writer, pieces, schema);
    put_line(writer, pieces);
    return pieces;
}

/* KEY=VALUE, with what separates it from the one before. */
static json_t *literal_argument(struct writer *writer, const char *separator, const char *key, const json_t *schema) {
    const struct ci_tool_tags *tags = writer->format->tags;
    json_t *pieces = json_array();
    put_text(writer, pieces, separator);
    put_text(writer, pieces, key);
    put_text(writer, pieces, tags->key_end);
    if (tags->quote && ci_tool_schema_is_text(schema) && is_free_text(schema)) {
        put_text(writer, pieces, tags->quote);
        put_free_text(writer, pieces, schema, "", tags->quote);
    } else {
        put_schema(writer, pieces, schema);
    }
    return pieces;
}

static bool is_required(const json_t *parameters, const char *key) {
    const json_t *required = json_object_get(parameters, "required"), *name;
    size_t i;
    json_array_foreach(required, i,
                       name) if (json_is_string(name) && strcmp(json_string_value(name), key) == 0) return true;
    return false;
}

/* Those that have to come, then the others. Without the former each of the latter may be the first one. */
static void put_literals(struct writer *writer, json_t *pieces, const json_t *parameters) {
    json_t *properties = json_object_get(parameters, "properties"), *schema, *firsts = json_array();
    const char *key, *separator = writer->format->tags->quote ? "," : ", ";
    bool any = false;
    json_object_foreach(properties, key, schema) {
        if (!is_required(parameters, key)) continue;
        json_t *argument = literal_argument(writer, any ? separator : "", key, schema);
        json_array_extend(pieces, argument);
        json_decref(argument);
        any = true;
    }
    json_array_append_new(firsts, json_array());
    for (void *first = json_object_iter(properties); first; first = json_object_iter_next(properties, first)) {
        json_t *branch = any ? json_array()
                             : literal_argument(writer, "", json_object_iter_key(first), json_object_iter_value(first));
        void *next = any ? first : json_object_iter_next(properties, first);
        for (; next; next = json_object_iter_next(properties, next))
            if (!is_required(parameters, json_object_iter_key(next)))
                put_maybe(
                    writer, branch,
                    literal_argument(writer, separator, json_object_iter_key(next), json_object_iter_value(next)));
        json_array_append_new(firsts, branch);
        if (any) break;
    }
    put(writer, pieces, json_pack("{s:o}", "any", firsts));
}

/* Arguments that come one by one are held by their own schemas alone. */
static void check_parameters(struct writer *writer, const json_t *tool) {
    static const char *const known[] = {"type",  "properties",  "required", "additionalProperties",
                                        "title", "description", "$schema",  "definitions",
                                        "$defs", "default"};
    const json_t *parameters = parameters_of(tool);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)parameters, key, value) {
        bool fine = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) fine = fine || strcmp(key, known[i]) == 0;
        if (!fine && writer->status == CLINFER_OK)
            writer->status = ci_fail(CLINFER_UNSUPPORTED, "tools: %.80s: parameters.%.80s cannot be held in this form",
                                     name_of(tool), key);
    }
}

static void put_tagged(struct writer *writer, json_t *pieces, const json_t *parameters) {
    json_t *properties = json_object_get(parameters, "properties"), *schema;
    const char *key;
    put_line(writer, pieces);
    json_object_foreach(properties, key, schema) {
        json_t *argument = tagged_argument(writer, key, schema);
        if (is_required(parameters, key))
            json_array_extend(pieces, argument);
        else
            put_maybe(writer, pieces, json_incref(argument));
        json_decref(argument);
    }
}

/* ---- calls ---- */

static void put_tagged_call(struct writer *writer, json_t *pieces, const json_t *tool) {
    const struct ci_tool_tags *tags = writer->format->tags;
    if (tags->call && strcmp(tags->call, writer->format->marks[0].open) != 0) put_text(writer, pieces, tags->call);
    if (tags->id_end) put(writer, pieces, json_pack("{s:s}", "until", tags->id_end));
    if (tags->numbered) put_text(writer, pieces, "functions.");
    put_text(writer, pieces, name_of(tool));
    if (tags->numbered) {
        put_text(writer, pieces, ":");
        put(writer, pieces, json_pack("{s:{s:s, s:i, s:i}}", "schema", "type", "integer", "minimum", 0, "maximum", 99));
    }
    put_text(writer, pieces, tags->name_end);
    if (tags->key_end) check_parameters(writer, tool);
    if (writer->format->read == ci_tool_read_literal) {
        put_literals(writer, pieces, parameters_of(tool));
    } else if (tags->key) {
        put_tagged(writer, pieces, parameters_of(tool));
    } else {
        put_line(writer, pieces);
        put_object(writer, pieces, tool);
        put_line(writer, pieces);
    }
    put_text(writer, pieces, tags->call_end);
}

static json_t *call(struct writer *writer, const json_t *tool) {
    json_t *pieces = json_array();
    const struct ci_tool_format *format = writer->format;
    if (format->tags) {
        put_tagged_call(writer, pieces, tool);
    } else if (format->name_end && format->named) {
        put_text(writer, pieces, name_of(tool));
        put_text(writer, pieces, format->name_end);
        put_object(writer, pieces, tool);
    } else {
        put_named_object(writer, pieces, tool);
    }
    return pieces;
}

/* Behind the first mark: calls up to the close, and what may stand around them there. */
static json_t *marked_calls(struct writer *writer, json_t *calls) {
    const struct ci_tool_format *format = writer->format;
    json_t *pieces = json_array();
    put_around(writer, pieces, format->before);
    put(writer, pieces,
        format->between ? json_pack("{s:[{s:o}], s:s}", "many", "any", calls, "between", format->between)
                        : json_pack("{s:o}", "any", calls));
    put_around(writer, pieces, format->after);
    put_text(writer, pieces, format->marks[0].close);
    return pieces;
}

enum clinfer_status ci_tools_pieces(const struct ci_tool_format *format, const json_t *tools, const char *choice,
                                    bool whole, char **out) {
    struct writer writer = {.format = format, .status = CLINFER_OK};
    *out = NULL;
    if (!format->holds)
        return ci_fail(CLINFER_UNSUPPORTED, "tools: calls in the form of %s cannot be held to a grammar", format->name);
    bool all = !choice || strcmp(choice, "auto") == 0 || strcmp(choice, "required") == 0;
    json_t *root = json_object(), *calls = json_array(), *pieces = json_array(), *marked, *tool;
    size_t i;
    json_array_foreach(tools, i, tool) {
        if (!all && strcmp(choice, name_of(tool)) != 0) continue;
        if (writer.status == CLINFER_OK) writer.status = ci_tools_hoist(root, parameters_of(tool));
        put(&writer, calls, call(&writer, tool));
    }
    for (int line = 0; whole && line < 2; line++) put_line(&writer, pieces);
    if (whole) put_text(&writer, pieces, format->marks[0].open);
    marked = marked_calls(&writer, calls);
    if (choice && strcmp(choice, "required") == 0 && format->marks[0].close && !format->between) {
        put_line(&writer, marked);
        put(&writer, pieces, json_pack("{s:o, s:s}", "many", marked, "between", format->marks[0].open));
    } else {
        if (json_array_extend(pieces, marked) != 0) writer.status = out_of_memory();
        json_decref(marked);
    }
    if (json_object_set_new(root, "root", pieces) != 0) writer.status = out_of_memory();
    if (writer.status == CLINFER_OK) *out = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return writer.status == CLINFER_OK && !*out ? out_of_memory() : writer.status;
}
