#include "server/fields.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"
#include "format/json.h"
#include "server/job.h"

enum clinfer_status ci_field_wrong(const char *name, const char *wanted, const json_t *value, const char **param) {
    char shown[CI_JSON_SHOWN];
    *param = name;
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: must be %s, and is %s", name, wanted, ci_json_shown(value, shown));
}

static enum clinfer_status out_of_range(const struct ci_field *field, const json_t *value, const char **param) {
    char shown[CI_JSON_SHOWN];
    *param = field->name;
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: is %s, and must be from %.15g to %.15g", field->name,
                   ci_json_shown(value, shown), field->least, field->most);
}

static enum clinfer_status read_number(const struct ci_field *field, const json_t *value, void *to,
                                       const char **param) {
    bool whole = field->type != CI_FIELD_FLOAT;
    double number = json_number_value(value);
    if (!json_is_number(value) || (whole && number != floor(number)))
        return ci_field_wrong(field->name, whole ? "a whole number" : "a number", value, param);
    bool minus_one = number == -1 && (field->type == CI_FIELD_MOST || field->type == CI_FIELD_NONE);
    if (minus_one) number = field->type == CI_FIELD_MOST ? field->most : 0;
    if (!(number >= field->least && number <= field->most)) return out_of_range(field, value, param);
    if (whole)
        *(int *)to = (int)number;
    else
        *(float *)to = (float)number;
    return CLINFER_OK;
}

static enum clinfer_status read_one(const struct ci_field *field, const json_t *value, void *to, const char **param) {
    switch (field->type) {
    case CI_FIELD_BOOL:
        if (!json_is_boolean(value)) return ci_field_wrong(field->name, "true or false", value, param);
        *(bool *)to = json_is_true(value);
        return CLINFER_OK;
    case CI_FIELD_TEXT:
        if (!json_is_string(value) || strlen(json_string_value(value)) != json_string_length(value))
            return ci_field_wrong(field->name, "a text without zero bytes", value, param);
        *(const char **)to = json_string_value(value);
        return CLINFER_OK;
    case CI_FIELD_OBJECT:
        if (!json_is_object(value)) return ci_field_wrong(field->name, "an object", value, param);
        *(const json_t **)to = value;
        return CLINFER_OK;
    case CI_FIELD_ARRAY:
        if (!json_is_array(value)) return ci_field_wrong(field->name, "an array", value, param);
        *(const json_t **)to = value;
        return CLINFER_OK;
    default: return read_number(field, value, to, param);
    }
}

enum clinfer_status ci_fields_read(const json_t *body, const struct ci_field *fields, size_t count, void *target,
                                   const char **param) {
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(body, fields[i].name);
        if (!value || json_is_null(value)) continue;
        enum clinfer_status status = read_one(&fields[i], value, (char *)target + fields[i].offset, param);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* ---- limits and stop texts ---- */

enum clinfer_status ci_limits_read(const json_t *body, struct clinfer_chat_request *request, const char **param) {
    static const char *const names[] = {"max_completion_tokens", "max_tokens", "n_predict"};
    struct ci_field field = {.type = CI_FIELD_INT, .least = -1, .most = INT_MAX};
    const json_t *ignore = json_object_get(body, "ignore_eos");
    if (ignore && !json_is_null(ignore) && !json_is_boolean(ignore))
        return ci_field_wrong("ignore_eos", "true or false", ignore, param);
    if (json_is_boolean(ignore)) request->ignore_end = json_is_true(ignore);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(body, field.name = names[i]);
        if (value && !json_is_null(value)) return read_number(&field, value, &request->max_tokens, param);
    }
    return CLINFER_OK;
}

enum clinfer_status ci_room_read(const json_t *body, const char *field, struct ci_job *job, const char **param) {
    const struct ci_field room = {.name = "num_ctx", .type = CI_FIELD_INT, .least = 0, .most = INT_MAX};
    const json_t *value = json_object_get(body, room.name);
    job->room_field = field;
    return !value || json_is_null(value) ? CLINFER_OK : read_number(&room, value, &job->room, param);
}

static enum clinfer_status out_of_memory(void) { return ci_fail(CLINFER_OUT_OF_MEMORY, "request: out of memory"); }

/* A text, or an array of texts; those that are empty are left out. */
static enum clinfer_status read_texts(const char *name, const json_t *value, struct ci_arena *arena,
                                      const char *const **texts, size_t *count, const char **param) {
    static const char wanted[] = "a text or a list of texts, none with zero bytes";
    size_t most = json_is_array(value) ? json_array_size(value) : 1;
    const char **list = ci_arena_array(arena, most + 1, sizeof *list);
    if (!list) return out_of_memory();
    *count = 0;
    for (size_t i = 0; i < most; i++) {
        const json_t *text = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(text) || strlen(json_string_value(text)) != json_string_length(text))
            return ci_field_wrong(name, wanted, value, param);
        if (json_string_length(text)) list[(*count)++] = json_string_value(text);
    }
    *texts = list;
    return CLINFER_OK;
}

enum clinfer_status ci_stop_read(const json_t *body, const char *name, struct ci_arena *arena,
                                 struct clinfer_chat_request *request, const char **param) {
    const json_t *value = json_object_get(body, name);
    if (!value || json_is_null(value)) return CLINFER_OK;
    return read_texts(name, value, arena, &request->stop, &request->stop_count, param);
}

/* ---- the form of an answer ---- */

static enum clinfer_status set_schema(const char *name, const json_t *schema, struct ci_arena *arena,
                                      struct clinfer_chat_request *request, char **json, const char **param) {
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return ci_field_wrong(name, "a JSON schema, an object", schema, param);
    struct clinfer_grammar *grammar = ci_arena_alloc(arena, sizeof *grammar);
    *json = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!grammar || !*json) return out_of_memory();
    *grammar = (struct clinfer_grammar){.kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = *json, .name = name};
    request->grammar = grammar;
    *param = name; /* of what the grammar's own failure would be */
    return CLINFER_OK;
}

static enum clinfer_status read_format(const json_t *format, struct ci_arena *arena,
                                       struct clinfer_chat_request *request, char **json, const char **param) {
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!json_is_object(format) || !type)
        return ci_field_wrong("response_format", "an object with a type", format, param);
    if (strcmp(type, "text") == 0) return CLINFER_OK;
    if (strcmp(type, "json_schema") == 0) {
        const json_t *inner = json_object_get(format, "json_schema"), *schema = json_object_get(inner, "schema");
        if (!schema) schema = json_object_get(format, "schema");
        if (!schema) return ci_field_wrong("response_format.json_schema.schema", "a JSON schema", schema, param);
        return set_schema("response_format.json_schema.schema", schema, arena, request, json, param);
    }
    if (strcmp(type, "json_object") == 0) {
        json_t *any, *schema = json_object_get(format, "schema");
        if (schema) return set_schema("response_format.schema", schema, arena, request, json, param);
        if (!(any = json_pack("{s:s}", "type", "object"))) return out_of_memory();
        enum clinfer_status status = set_schema("response_format", any, arena, request, json, param);
        json_decref(any);
        return status;
    }
    return ci_field_wrong("response_format.type", "text, json_object or json_schema", json_object_get(format, "type"),
                          param);
}

static enum clinfer_status read_form(const json_t *body, struct ci_arena *arena, struct clinfer_chat_request *request,
                                     char **json, const char **param) {
    const char *gbnf = NULL;
    const struct ci_field field = {.name = "grammar", .type = CI_FIELD_TEXT};
    const json_t *schema = json_object_get(body, "json_schema"), *format = json_object_get(body, "response_format");
    enum clinfer_status status = ci_fields_read(body, &field, 1, &gbnf, param);
    *json = NULL;
    if (status != CLINFER_OK) return status;
    if (gbnf && *gbnf) {
        struct clinfer_grammar *grammar = ci_arena_alloc(arena, sizeof *grammar);
        if (!grammar) return out_of_memory();
        *grammar = (struct clinfer_grammar){.kind = CLINFER_GRAMMAR_GBNF, .text = gbnf, .name = "grammar"};
        request->grammar = grammar;
        *param = "grammar";
        return CLINFER_OK;
    }
    if (schema && !json_is_null(schema)) return set_schema("json_schema", schema, arena, request, json, param);
    if (format && !json_is_null(format)) return read_format(format, arena, request, json, param);
    return CLINFER_OK;
}

enum clinfer_status ci_form_read(const json_t *body, struct ci_arena *arena, struct clinfer_chat_request *request,
                                 char **json, const char **param) {
    const struct ci_field field = {.name = "force_bytes", .type = CI_FIELD_BOOL};
    bool force = false;
    enum clinfer_status status = read_form(body, arena, request, json, param);
    const char *grammar_param = *param;
    if (status == CLINFER_OK) status = ci_fields_read(body, &field, 1, &force, param);
    if (status != CLINFER_OK || !request->grammar || !force) return status;
    struct clinfer_grammar *grammar = ci_arena_alloc(arena, sizeof *grammar);
    if (!grammar) return out_of_memory();
    *grammar = *request->grammar;
    grammar->force_bytes = true;
    request->grammar = grammar;
    *param = grammar_param;
    return CLINFER_OK;
}
