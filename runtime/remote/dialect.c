#include "remote/dialect.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/names.h"
#include "base/status.h"
#include "text/utf8_json.h"

#define CI_DIALECT(name) extern const struct ci_dialect ci_dialect_##name;
#include "remote/dialect_list.inc"
#undef CI_DIALECT

static const struct ci_dialect *const dialects[] = {
#define CI_DIALECT(name) &ci_dialect_##name,
#include "remote/dialect_list.inc"
#undef CI_DIALECT
};

const struct ci_dialect *ci_dialect_find(const char *name, char *names, size_t size) {
    if (!name) return dialects[0];
    if (names) names[0] = 0;
    for (size_t i = 0; i < sizeof dialects / sizeof *dialects; i++) {
        if (strcmp(dialects[i]->name, name) == 0) return dialects[i];
        if (names) ci_names_add(names, size, dialects[i]->name);
    }
    return NULL;
}

/* ---- requests ---- */

static enum clinfer_status out_of_memory(const char *label) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory while the request was written", label);
}

enum clinfer_status ci_dialect_set(const char *label, json_t *body, const char *name, json_t *value) {
    return json_object_set_new(body, name, value) == 0 ? CLINFER_OK : out_of_memory(label);
}

enum clinfer_status ci_dialect_add_message(const char *label, json_t *messages, const char *role, const char *content) {
    json_t *message = json_object();
    if (!message || json_object_set_new(message, "role", ci_utf8_json(role, strlen(role))) != 0 ||
        json_object_set_new(message, "content", ci_utf8_json(content, strlen(content))) != 0) {
        json_decref(message);
        return out_of_memory(label);
    }
    return json_array_append_new(messages, message) == 0 ? CLINFER_OK : out_of_memory(label);
}

static enum clinfer_status add_begun(const char *label, const char *begun, json_t *messages) {
    static const char request[] =
        "Your answer above broke off. Continue it from exactly where it stops, mid-word if need be. Write only what "
        "follows: repeat nothing, introduce nothing, comment on nothing.";
    enum clinfer_status status = ci_dialect_add_message(label, messages, "assistant", begun);
    return status == CLINFER_OK ? ci_dialect_add_message(label, messages, "user", request) : status;
}

enum clinfer_status ci_dialect_add_messages(const char *label, const struct ci_remote_request *request, bool system,
                                            ci_dialect_message_writer *with_calls, json_t *body) {
    json_t *messages = json_array();
    enum clinfer_status status = ci_dialect_set(label, body, "messages", messages);
    size_t count = 0;
    for (size_t i = 0; i < request->count && status == CLINFER_OK; i++) {
        const struct clinfer_message *message = &request->messages[i];
        if (!system && strcmp(message->role, "system") == 0) continue;
        bool of_tools = message->call_count || strcmp(message->role, "tool") == 0;
        status = of_tools ? with_calls(label, messages, message)
                          : ci_dialect_add_message(label, messages, message->role, message->content);
        count++;
    }
    if (status == CLINFER_OK && !count)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the request has no message for it to answer", label);
    if (status == CLINFER_OK && request->begun && *request->begun) status = add_begun(label, request->begun, messages);
    return status;
}

json_t *ci_dialect_number(float value) {
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)value);
    return json_real(strtod(text, NULL));
}

json_t *ci_dialect_stop(const struct ci_remote_request *request) {
    json_t *texts = json_array();
    for (size_t i = 0; i < request->stop_count && texts; i++) {
        if (json_array_append_new(texts, ci_utf8_json(request->stop[i], strlen(request->stop[i]))) == 0) continue;
        json_decref(texts);
        return NULL;
    }
    return texts;
}

enum clinfer_status ci_dialect_schema(const char *label, const struct ci_remote_request *request, json_t **schema) {
    json_error_t error;
    *schema = json_loads(request->json_schema, JSON_REJECT_DUPLICATES, &error);
    if (!*schema)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the JSON schema is no JSON: line %d, column %d: %s", label,
                       error.line, error.column, error.text);
    if (json_is_object(*schema)) return CLINFER_OK;
    json_decref(*schema);
    *schema = NULL;
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: the JSON schema must be a JSON object", label);
}

/* ---- answers ---- */

void ci_reply_text(struct ci_reply *reply, const json_t *string) {
    size_t length = json_string_length(string);
    if (!length || reply->stopped) return;
    if (!reply->text_bytes && !reply->call_pieces) reply->first_text = ci_now();
    reply->text_bytes += length;
    if (!reply->callback(reply->user, json_string_value(string), length)) reply->stopped = true;
}

static void send_piece(struct ci_reply *reply, const struct clinfer_tool_call_piece *piece) {
    if (reply->stopped || !reply->call) return;
    if (!reply->text_bytes && !reply->call_pieces) reply->first_text = ci_now();
    reply->call_pieces++;
    if (!reply->call(reply->user, piece)) reply->stopped = true;
}

void ci_reply_call(struct ci_reply *reply, size_t index, const json_t *id, const json_t *name,
                   const json_t *arguments) {
    const struct clinfer_tool_call_piece piece = {.index = index,
                                                  .id = index == reply->call_count ? json_string_value(id) : NULL,
                                                  .name = index == reply->call_count ? json_string_value(name) : NULL,
                                                  .arguments =
                                                      json_is_string(arguments) ? json_string_value(arguments) : "",
                                                  .length = json_string_length(arguments)};
    if (index > reply->call_count || (index == reply->call_count && !piece.name)) {
        ci_reply_wrong(reply, "call %zu of a tool has no beginning", index);
        return;
    }
    if (index == reply->call_count) reply->call_count++;
    send_piece(reply, &piece);
}

void ci_reply_end_calls(struct ci_reply *reply) {
    for (size_t i = 0; i < reply->call_count && !reply->calls_ended; i++)
        send_piece(reply, &(struct clinfer_tool_call_piece){.index = i, .arguments = "", .last = true});
    reply->calls_ended = true;
}

void ci_reply_wrong(struct ci_reply *reply, const char *format, ...) {
    if (*reply->wrong) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reply->wrong, sizeof reply->wrong, format, arguments);
    va_end(arguments);
}

void ci_reply_count(const json_t *object, const char *name, size_t *count) {
    const json_t *value = json_object_get(object, name);
    if (json_is_integer(value) && json_integer_value(value) >= 0) *count = (size_t)json_integer_value(value);
}

/* "overloaded_error" and the like, which come within streams that began with a 200. */
static long status_of_type(const char *type) {
    static const struct {
        const char *type;
        long status;
    } known[] = {
        {"invalid_request_error", 400}, {"authentication_error", 401}, {"billing_error", 402},
        {"permission_error", 403},      {"not_found_error", 404},      {"request_too_large", 413},
        {"rate_limit_error", 429},      {"rate_limit_exceeded", 429},  {"api_error", 500},
        {"server_error", 500},          {"timeout_error", 504},        {"overloaded_error", 529},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].type, type) == 0) return known[i].status;
    return 0;
}

static void copy_text(char *out, size_t size, const json_t *value) {
    const char *text = json_string_value(value);
    if (text) snprintf(out, size, "%s", text);
}

/* The first text of `object` that says something. */
static void copy_message(struct ci_reply_error *error, const json_t *object) {
    static const char *const names[] = {"message", "error", "detail", "msg"};
    for (size_t i = 0; i < sizeof names / sizeof *names && !*error->message; i++)
        copy_text(error->message, sizeof error->message, json_object_get(object, names[i]));
}

bool ci_reply_read_error(struct ci_reply *reply, const json_t *root, bool certain) {
    const json_t *inner = json_object_get(root, "error"), *detail = json_object_get(root, "detail");
    const json_t *object = json_is_object(inner) ? inner : root;
    const char *kind = json_string_value(json_object_get(root, "object"));
    const char *root_type = json_string_value(json_object_get(root, "type"));
    bool named = (kind && strcmp(kind, "error") == 0) || (root_type && strcmp(root_type, "error") == 0);
    if (!json_is_object(inner) && !json_is_string(inner) && !named && !certain) return false;
    struct ci_reply_error *error = &reply->error;
    *error = (struct ci_reply_error){.there = true};
    copy_text(error->type, sizeof error->type, json_object_get(object, "type"));
    copy_message(error, object);
    if (!*error->message) copy_text(error->message, sizeof error->message, root);
    /* FastAPI, so vLLM: what is wrong with each member. */
    if (!*error->message && json_is_array(detail)) copy_message(error, json_array_get(detail, 0));
    const json_t *code = json_object_get(object, "code");
    if (json_is_integer(code) && json_integer_value(code) >= 400 && json_integer_value(code) < 600)
        error->status = (long)json_integer_value(code);
    if (!error->status) error->status = status_of_type(error->type);
    if (!error->status && json_is_string(code)) error->status = status_of_type(json_string_value(code));
    return true;
}
