#define _GNU_SOURCE
#include "server/translate.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/append.h"
#include "base/narrow.h"
#include "grammar/schema.h"

/* ---- what is wrong ---- */

static void out_of_memory(struct ci_translation *translation) {
    if (translation->problem) return;
    translation->problem = "out of memory while the request was read: send it again later, or a shorter one";
    translation->param = NULL;
    translation->no_memory = true;
}

void ci_translate_refuse(struct ci_translation *translation, const char *param, const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    if (translation->problem) return;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    const char *kept = length < 0 ? NULL : ci_arena_string(translation->arena, text, (size_t)length);
    const char *field = param ? ci_arena_string(translation->arena, param, strlen(param)) : NULL;
    if (length >= 0) free(text);
    if (!kept || (param && !field)) {
        out_of_memory(translation);
        return;
    }
    translation->problem = kept;
    translation->param = field;
}

char *ci_translate_copy(struct ci_translation *translation, const char *text, size_t length) {
    char *copy = ci_arena_string(translation->arena, text, length);
    if (!copy) out_of_memory(translation);
    return copy;
}

static const char *kind_of(const json_t *value) {
    static const char *const kinds[] = {"an object", "a list", "a text", "a whole number",
                                        "a number",  "true",   "false",  "null"};
    return value ? kinds[json_typeof(value)] : "missing";
}

/* ---- fields ---- */

static const json_t *member(const struct ci_translation *translation, const json_t *body, const char *name) {
    const json_t *value = translation->problem ? NULL : json_object_get(body, name);
    return json_is_null(value) ? NULL : value;
}

void ci_translate_number(struct ci_translation *translation, const json_t *body, const char *name, double least,
                         double most, float *value) {
    const json_t *found = member(translation, body, name);
    if (!found) return;
    double number = json_number_value(found);
    if (!json_is_number(found))
        ci_translate_refuse(translation, name, "%s: must be a number, and is %s", name, kind_of(found));
    else if (!(number >= least && number <= most))
        ci_translate_refuse(translation, name, "%s: must be from %g to %g, and is %g", name, least, most, number);
    else
        *value = (float)number;
}

void ci_translate_integer(struct ci_translation *translation, const json_t *body, const char *name, int least, int most,
                          int *value) {
    const json_t *found = member(translation, body, name);
    if (!found) return;
    double number = json_number_value(found);
    if (!json_is_number(found) || number != floor(number))
        ci_translate_refuse(translation, name, "%s: must be a whole number%s%s", name,
                            json_is_number(found) ? "" : ", and is ", json_is_number(found) ? "" : kind_of(found));
    else if (!(number >= least && number <= most))
        ci_translate_refuse(translation, name, "%s: must be from %d to %d, and is %.0f", name, least, most, number);
    else
        *value = (int)number;
}

void ci_translate_flag(struct ci_translation *translation, const json_t *body, const char *name, bool *value) {
    const json_t *found = member(translation, body, name);
    if (found && !json_is_boolean(found))
        ci_translate_refuse(translation, name, "%s: must be true or false, and is %s", name, kind_of(found));
    else if (found)
        *value = json_is_true(found);
}

/* The library's texts end at a zero byte, which JSON's do not. */
static const char *text_of(struct ci_translation *translation, const char *param, const json_t *value) {
    if (translation->problem) return NULL;
    if (!json_is_string(value))
        ci_translate_refuse(translation, param, "%s: must be a text, and is %s", param, kind_of(value));
    else if (strlen(json_string_value(value)) != json_string_length(value))
        ci_translate_refuse(translation, param, "%s: has the character U+0000 in it, which no text may have", param);
    else
        return json_string_value(value);
    return NULL;
}

void ci_translate_text(struct ci_translation *translation, const json_t *body, const char *name, const char **value) {
    const json_t *found = member(translation, body, name);
    const char *text = found ? text_of(translation, name, found) : NULL;
    if (text) *value = text;
}

void ci_translate_stop(struct ci_translation *translation, const json_t *body, const char *name) {
    const json_t *found = member(translation, body, name);
    size_t count = json_is_array(found) ? json_array_size(found) : found ? 1 : 0, kept = 0;
    if (!count) return;
    if (count > CI_TRANSLATE_STOPS) {
        ci_translate_refuse(translation, name, "%s: has %zu texts; %d is the most", name, count, CI_TRANSLATE_STOPS);
        return;
    }
    const char **texts = ci_arena_array(translation->arena, count, sizeof *texts);
    if (!texts) out_of_memory(translation);
    for (size_t i = 0; i < count; i++) {
        const char *text = text_of(translation, name, json_is_array(found) ? json_array_get(found, i) : found);
        if (!text) return;
        if (*text) texts[kept++] = text;
    }
    translation->job->request.stop = texts;
    translation->job->request.stop_count = kept;
}

/* ---- messages ---- */

/* What was said of the last message, into the arena. */
static void close_message(struct ci_translation *translation) {
    if (!translation->count || translation->problem) return;
    struct clinfer_message *message = &translation->messages[translation->count - 1];
    const struct ci_translated_text *content = &translation->content, *reasoning = &translation->reasoning;
    message->content = ci_translate_copy(translation, content->length ? content->text : "", content->length);
    if (reasoning->length) message->reasoning = ci_translate_copy(translation, reasoning->text, reasoning->length);
    message->calls = translation->calls;
    message->call_count = translation->call_count;
    translation->content.length = translation->reasoning.length = 0;
    translation->calls = NULL;
    translation->call_count = translation->call_capacity = 0;
}

/* Room for one more: what was there stays where it is in the arena, unused. */
static void *grown(struct ci_translation *translation, const void *items, size_t count, size_t *capacity, size_t size) {
    size_t wanted = *capacity ? 2 * *capacity : 8;
    void *moved = ci_arena_array(translation->arena, wanted, size);
    if (!moved) {
        out_of_memory(translation);
        return NULL;
    }
    if (count) memcpy(moved, items, count * size);
    *capacity = wanted;
    return moved;
}

void ci_translate_add(struct ci_translation *translation, const char *role) {
    close_message(translation);
    if (translation->problem) return;
    if (translation->count == translation->capacity) {
        struct clinfer_message *moved = grown(translation, translation->messages, translation->count,
                                              &translation->capacity, sizeof *translation->messages);
        if (!moved) return;
        translation->messages = moved;
    }
    translation->messages[translation->count++] = (struct clinfer_message){.role = role, .content = ""};
}

static void append(struct ci_translation *translation, struct ci_translated_text *to, const char *param,
                   const json_t *text) {
    const char *piece = text_of(translation, param, text);
    if (!piece || !*piece) return;
    if ((to->length && !ci_append(&to->text, &to->length, &to->capacity, "\n", 1)) ||
        !ci_append(&to->text, &to->length, &to->capacity, piece, strlen(piece)))
        out_of_memory(translation);
}

void ci_translate_say(struct ci_translation *translation, const char *param, const json_t *text) {
    append(translation, &translation->content, param, text);
}

void ci_translate_think(struct ci_translation *translation, const char *param, const json_t *text) {
    append(translation, &translation->reasoning, param, text);
}

/* Texts in it end at a zero byte for the library, which says so where it reads them: better here. */
static bool has_zero_byte(const char *text) {
    if (!strstr(text, "\\u0000")) return false;
    json_t *read = json_loads(text, JSON_DECODE_ANY, NULL);
    bool refused = !read;
    json_decref(read);
    return refused;
}

static const char *dumped(struct ci_translation *translation, const char *param, const json_t *value) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *kept = NULL;
    if (!text)
        out_of_memory(translation);
    else if (has_zero_byte(text))
        ci_translate_refuse(translation, param, "%s: has the character U+0000 in it, which no text may have", param);
    else
        kept = ci_translate_copy(translation, text, strlen(text));
    free(text);
    return kept;
}

/* "" stands for no arguments at all with several clients. */
static const char *arguments_text(struct ci_translation *translation, const char *param, const json_t *arguments) {
    if (!arguments || json_is_null(arguments)) return "{}";
    if (json_is_object(arguments)) return dumped(translation, param, arguments);
    const char *text = text_of(translation, param, arguments);
    if (!text) return NULL;
    if (!*text) return "{}";
    json_t *read = json_loads(text, 0, NULL);
    if (!json_is_object(read)) ci_translate_refuse(translation, param, "%s: must be a JSON object", param);
    json_decref(read);
    return text;
}

void ci_translate_call(struct ci_translation *translation, const char *param, const char *id, const char *name,
                       const json_t *arguments) {
    char made[32];
    if (translation->problem) return;
    if (!name || !*name) {
        ci_translate_refuse(translation, param, "%s: the name of a tool that was called is missing", param);
        return;
    }
    if (translation->call_count == translation->call_capacity) {
        struct clinfer_tool_call *moved = grown(translation, translation->calls, translation->call_count,
                                                &translation->call_capacity, sizeof *translation->calls);
        if (!moved) return;
        translation->calls = moved;
    }
    if (!id || !*id) {
        int length = snprintf(made, sizeof made, "call_%zu_%zu", translation->count, translation->call_count);
        id = ci_translate_copy(translation, made, (size_t)length);
    }
    const char *text = arguments_text(translation, param, arguments);
    if (translation->problem) return;
    translation->calls[translation->call_count++] =
        (struct clinfer_tool_call){.id = id, .name = name, .arguments = text};
}

void ci_translate_answers(struct ci_translation *translation, const char *id, const char *tool) {
    if (!translation->count || translation->problem) return;
    struct clinfer_message *message = &translation->messages[translation->count - 1];
    message->call_id = id;
    message->tool = tool;
}

static const char *name_in(const struct clinfer_tool_call *calls, size_t count, const char *id) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(calls[i].id, id) == 0) return calls[i].name;
    return NULL;
}

/* Nearly always among the calls of the last answer, so that looking backwards ends soon. */
const char *ci_translate_called(const struct ci_translation *translation, const char *id) {
    const char *name = id ? name_in(translation->calls, translation->call_count, id) : NULL;
    for (size_t i = translation->count; id && !name && i-- > 0;)
        name = name_in(translation->messages[i].calls, translation->messages[i].call_count, id);
    return name;
}

/* ---- tools and form ---- */

void ci_translate_tool(struct ci_translation *translation, const char *param, const json_t *name,
                       const json_t *description, const json_t *schema) {
    const char *text = text_of(translation, param, name);
    if (text && !*text) ci_translate_refuse(translation, param, "%s: a tool has an empty name", param);
    if (schema && !json_is_null(schema) && !json_is_object(schema))
        ci_translate_refuse(translation, param, "%s: the schema of %s must be an object", param,
                            text ? text : "a tool");
    if (translation->problem) return;
    json_t *function = json_pack("{s:O}", "name", name);
    if (!translation->tools) translation->tools = json_array();
    if ((json_is_string(description) &&
         json_object_set_new(function, "description", json_copy((json_t *)description))) ||
        (json_is_object(schema) && json_object_set_new(function, "parameters", json_copy((json_t *)schema))) ||
        json_array_append_new(translation->tools, json_pack("{s:s, s:O}", "type", "function", "function", function)) !=
            0)
        out_of_memory(translation);
    json_decref(function);
}

void ci_translate_force(struct ci_translation *translation, const json_t *holder) {
    ci_translate_flag(translation, holder, "force_bytes", &translation->force_bytes);
}

void ci_translate_schema(struct ci_translation *translation, const char *param, const json_t *schema) {
    struct clinfer_grammar *grammar;
    if (schema && !json_is_object(schema) && !json_is_boolean(schema))
        ci_translate_refuse(translation, param, "%s: must be a JSON schema, and is %s", param, kind_of(schema));
    if (translation->problem) return;
    grammar = ci_arena_alloc(translation->arena, sizeof *grammar);
    json_t *known = schema ? json_deep_copy(schema) : NULL;
    ci_schema_drop_unknown(known);
    if (schema && !known) out_of_memory(translation);
    const char *text = known ? dumped(translation, param, known) : "{\"type\":\"object\"}";
    json_decref(known);
    if (!grammar) out_of_memory(translation);
    if (translation->problem) return;
    *grammar = (struct clinfer_grammar){.kind = CLINFER_GRAMMAR_JSON_SCHEMA,
                                        .text = text,
                                        .name = ci_translate_copy(translation, param, strlen(param)),
                                        .force_bytes = translation->force_bytes};
    translation->job->request.grammar = grammar;
}

static void set_variable(struct ci_translation *translation, const char *name, json_t *value) {
    if (translation->problem) {
        json_decref(value);
        return;
    }
    if (!translation->variables) translation->variables = json_object();
    if (json_object_set_new(translation->variables, name, value) != 0) out_of_memory(translation);
}

void ci_translate_thinking(struct ci_translation *translation, bool think) {
    set_variable(translation, "enable_thinking", json_boolean(think));
}

void ci_translate_effort(struct ci_translation *translation, const char *effort) {
    set_variable(translation, "reasoning_effort", json_string(effort));
}

/* ---- begin and end ---- */

void ci_translate_default_seed(struct clinfer_session_options *sampling) {
    if (sampling->seed != UINT64_MAX) return;
    if (getrandom(&sampling->seed, sizeof sampling->seed, 0) < 0) sampling->seed = 0;
}

void ci_translate_begin(struct ci_translation *translation, const json_t *body,
                        const struct clinfer_session_options *defaults, struct ci_arena *arena, struct ci_job *job) {
    *translation = (struct ci_translation){.arena = arena, .job = job};
    ci_job_init(job);
    job->request.optional_arguments = true; /* the date, how much to think: wishes, most of them the server's own */
    if (defaults)
        job->sampling = *defaults;
    else
        job->sampling.seed = UINT64_MAX;
    ci_translate_default_seed(&job->sampling);
    ci_translate_text(translation, body, "model", &job->model);
}

static bool is_system(const struct clinfer_message *message) { return strcmp(message->role, "system") == 0; }

/* Most templates refuse a second message of the system, or one that is not the first. */
static void merge_system(struct ci_translation *translation) {
    struct ci_translated_text *text = &translation->content;
    size_t found = 0, kept = 0;
    for (size_t i = 0; i < translation->count; i++) found += is_system(&translation->messages[i]);
    if (!found || (found == 1 && is_system(&translation->messages[0])) || translation->problem) return;
    struct clinfer_message *merged = ci_arena_array(translation->arena, translation->count + 1, sizeof *merged);
    bool fine = merged != NULL;
    for (size_t i = 0; i < translation->count && fine; i++) {
        const struct clinfer_message *message = &translation->messages[i];
        if (!is_system(message))
            merged[1 + kept++] = *message;
        else
            fine = (!text->length || ci_append(&text->text, &text->length, &text->capacity, "\n\n", 2)) &&
                   ci_append(&text->text, &text->length, &text->capacity, message->content, strlen(message->content));
    }
    const char *content = fine ? ci_translate_copy(translation, text->length ? text->text : "", text->length) : NULL;
    if (!content) {
        out_of_memory(translation);
        return;
    }
    merged[0] = (struct clinfer_message){.role = "system", .content = content};
    translation->messages = merged;
    translation->count = kept + 1;
}

bool ci_translate_finish(struct ci_translation *translation) {
    struct clinfer_chat_request *request = &translation->job->request;
    close_message(translation);
    merge_system(translation);
    if (!translation->problem) {
        request->messages = translation->messages;
        request->count = translation->count;
        if (translation->tools) request->tools = dumped(translation, "tools", translation->tools);
        if (translation->variables)
            request->template_arguments = dumped(translation, "reasoning", translation->variables);
    }
    free(translation->content.text);
    free(translation->reasoning.text);
    json_decref(translation->tools);
    json_decref(translation->variables);
    translation->content = translation->reasoning = (struct ci_translated_text){0};
    translation->tools = translation->variables = NULL;
    return !translation->problem;
}
