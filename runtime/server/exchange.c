/* exchange.c: what handlers may do with an exchange; see exchange.h. */
#define _GNU_SOURCE
#include "server/exchange_private.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/append.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/ignored.h"
#include "server/server_private.h"

struct ci_exchange *ci_exchange_create(struct ci_server *server) {
    struct ci_exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange) return NULL;
    exchange->server = server;
    exchange->arrived = ci_now();
    exchange->method = exchange->path = exchange->parameter = exchange->key = "";
    exchange->fd = -1;
    atomic_init(&exchange->owners, 1);
    pthread_mutex_init(&exchange->lock, NULL);
    pthread_cond_init(&exchange->calm, NULL);
    return exchange;
}

void ci_exchange_hold(struct ci_exchange *exchange) { atomic_fetch_add(&exchange->owners, 1); }

void ci_exchange_release(struct ci_exchange *exchange) {
    if (atomic_fetch_sub(&exchange->owners, 1) != 1) return;
    json_decref(exchange->json);
    ci_arena_destroy(&exchange->arena);
    ci_arena_destroy(&exchange->reply_arena);
    free(exchange->body);
    free(exchange->bytes);
    pthread_mutex_destroy(&exchange->lock);
    pthread_cond_destroy(&exchange->calm);
    free(exchange);
}

/* ---- the request ---- */

const char *ci_exchange_path(const struct ci_exchange *exchange) { return exchange->path; }
const char *ci_exchange_parameter(const struct ci_exchange *exchange) { return exchange->parameter; }
const char *ci_exchange_id(const struct ci_exchange *exchange) { return exchange->id; }
const char *ci_exchange_key(const struct ci_exchange *exchange) { return exchange->key; }
double ci_exchange_arrived(const struct ci_exchange *exchange) { return exchange->arrived; }
struct ci_server *ci_exchange_server(struct ci_exchange *exchange) {
    return exchange->server;
}
struct ci_arena *ci_exchange_arena(struct ci_exchange *exchange) {
    return &exchange->arena;
}

void ci_exchange_set_user(struct ci_exchange *exchange, void *user) { exchange->user = user; }
void *ci_exchange_user(const struct ci_exchange *exchange) { return exchange->user; }

const char *ci_exchange_query(const struct ci_exchange *exchange, const char *name) {
    for (const struct ci_pair *pair = exchange->queries; pair; pair = pair->next)
        if (strcmp(pair->name, name) == 0) return pair->value;
    return NULL;
}

const char *ci_exchange_header(const struct ci_exchange *exchange, const char *name) {
    for (const struct ci_pair *pair = exchange->headers; pair; pair = pair->next)
        if (strcasecmp(pair->name, name) == 0) return pair->value;
    return NULL;
}

const char *ci_exchange_body(const struct ci_exchange *exchange, size_t *length) {
    *length = exchange->body_length;
    return exchange->body ? exchange->body : "";
}

/* Reals that are whole become integers again, as far as those reach. */
static json_t *with_integers(json_t *value) {
    const double number = json_is_real(value) ? json_real_value(value) : 0.5;
    const char *name;
    json_t *member;
    size_t i;
    if (number == floor(number) && fabs(number) < 0x1p63) return json_integer((json_int_t)number);
    json_object_foreach(value, name, member) json_object_set_new(value, name, with_integers(member));
    json_array_foreach(value, i, member) json_array_set_new(value, i, with_integers(member));
    return json_incref(value);
}

/* A number that no integer holds is JSON all the same: a real then, and out of its field's range, or of no concern. */
static json_t *load_json(const char *body, size_t length, json_error_t *error) {
    json_t *json = json_loadb(body, length, JSON_ALLOW_NUL, error);
    if (json || json_error_code(error) != json_error_numeric_overflow) return json;
    json_t *reals = json_loadb(body, length, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, error);
    json = reals ? with_integers(reals) : NULL;
    json_decref(reals);
    return json;
}

json_t *ci_exchange_json(struct ci_exchange *exchange) {
    json_error_t error;
    size_t length;
    if (exchange->json_looked) {
        if (!exchange->json) ci_exchange_refuse(exchange, NULL, "the body is no JSON object");
        return exchange->json;
    }
    exchange->json_looked = true;
    const char *body = ci_exchange_body(exchange, &length);
    if (length >= 3 && memcmp(body, "\xEF\xBB\xBF", 3) == 0) { /* Windows' programs write it before UTF-8 */
        body += 3;
        length -= 3;
    }
    json_t *json = load_json(body, length, &error);
    if (!json && !length)
        ci_exchange_refuse(exchange, NULL, "the request has no body; it must be a JSON object");
    else if (!json)
        ci_exchange_refuse(exchange, NULL, "the body is no JSON: line %d, column %d: %s", error.line, error.column,
                           error.text);
    else if (!json_is_object(json))
        ci_exchange_refuse(exchange, NULL, "the body must be a JSON object");
    if (json && !json_is_object(json)) {
        json_decref(json);
        json = NULL;
    }
    if (json && exchange->route && exchange->route->fields) ci_ignored_name(exchange, json, exchange->route->fields);
    return exchange->json = json;
}

bool ci_exchange_gone(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool gone = exchange->cancelled;
    pthread_mutex_unlock(&exchange->lock);
    return gone;
}

void ci_exchange_on_gone(struct ci_exchange *exchange, void (*gone)(void *user), void *user) {
    pthread_mutex_lock(&exchange->lock);
    while (exchange->going) pthread_cond_wait(&exchange->calm, &exchange->lock);
    bool left = exchange->cancelled;
    exchange->on_gone = left ? NULL : gone;
    exchange->on_gone_user = user;
    pthread_mutex_unlock(&exchange->lock);
    if (left && gone) gone(user);
}

/* ---- between the threads ---- */

/* The connection goes on: to its answer, to what a stream has to send, to its end. */
static void wake_locked(struct ci_exchange *exchange) {
    if (!exchange->suspended || exchange->finished) return;
    exchange->suspended = false;
    ci_mhd->resume_connection(exchange->connection);
}

void ci_exchange_set_gone(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->gone = true;
    wake_locked(exchange);
    pthread_mutex_unlock(&exchange->lock);
    ci_exchange_cancel(exchange);
}

void ci_exchange_cancel(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->cancelled = true;
    void (*on_gone)(void *user) = exchange->on_gone;
    exchange->on_gone = NULL;
    exchange->going = exchange->going || on_gone;
    pthread_mutex_unlock(&exchange->lock);
    if (!on_gone) return;
    on_gone(exchange->on_gone_user);
    pthread_mutex_lock(&exchange->lock);
    exchange->going = false;
    pthread_cond_broadcast(&exchange->calm);
    pthread_mutex_unlock(&exchange->lock);
}

/* ---- answers ---- */

static void set_header_locked(struct ci_exchange *exchange, const char *name, const char *value) {
    struct ci_arena *arena = &exchange->reply_arena;
    struct ci_pair *pair = exchange->reply_headers;
    while (pair && strcasecmp(pair->name, name) != 0) pair = pair->next;
    if (pair && !exchange->answered) {
        const char *later = ci_arena_string(arena, value, strcspn(value, "\r\n"));
        pair->value = later ? later : pair->value;
        return;
    }
    pair = exchange->answered ? NULL : ci_arena_alloc(arena, sizeof *pair);
    if (pair) {
        pair->name = ci_arena_string(arena, name, strlen(name));
        /* A line break in a value would begin a header of its own. */
        pair->value = ci_arena_string(arena, value, strcspn(value, "\r\n"));
        pair->next = exchange->reply_headers;
        if (pair->name && pair->value) exchange->reply_headers = pair;
    }
}

void ci_reply_header(struct ci_exchange *exchange, const char *name, const char *value) {
    pthread_mutex_lock(&exchange->lock);
    set_header_locked(exchange, name, value);
    pthread_mutex_unlock(&exchange->lock);
}

/* false: it has been answered before. */
static bool answer_locked(struct ci_exchange *exchange, int status, const char *type) {
    if (exchange->answered) return false;
    exchange->answered = true;
    exchange->status = status;
    exchange->type = type ? ci_arena_string(&exchange->reply_arena, type, strlen(type)) : NULL;
    return true;
}

/* `bytes` come from malloc. */
static void reply_owned(struct ci_exchange *exchange, int status, const char *type, char *bytes, size_t length) {
    pthread_mutex_lock(&exchange->lock);
    bool first = answer_locked(exchange, status, type);
    if (first) {
        exchange->bytes = bytes;
        exchange->length = length;
        wake_locked(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
    if (!first) free(bytes);
}

static void reply_no_memory(struct ci_exchange *exchange) {
    static const char text[] = "{\"error\":{\"message\":\"out of memory for an answer\",\"type\":\"server_error\","
                               "\"param\":null,\"code\":500}}";
    reply_owned(exchange, 500, "application/json", strdup(text), sizeof text - 1);
}

void ci_reply_json(struct ci_exchange *exchange, int status, json_t *value) {
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(value);
    if (text)
        reply_owned(exchange, status, "application/json; charset=utf-8", text, strlen(text));
    else
        reply_no_memory(exchange);
}

void ci_reply_bytes(struct ci_exchange *exchange, int status, const char *type, const void *bytes, size_t length) {
    char *copy = malloc(length + 1);
    if (!copy) {
        reply_no_memory(exchange);
        return;
    }
    if (length) memcpy(copy, bytes, length);
    reply_owned(exchange, status, type, copy, length);
}

/* ---- streams ---- */

static const char EVENTS[] = "text/event-stream";

static void begin_locked(struct ci_exchange *exchange, const char *type) {
    if (exchange->answered) return;
    set_header_locked(exchange, "Cache-Control", "no-cache");
    set_header_locked(exchange, "X-Accel-Buffering", "no");
    answer_locked(exchange, 200, type);
    exchange->streaming = true;
    exchange->is_events = strncmp(type, EVENTS, strlen(EVENTS)) == 0;
    exchange->between = true;
    exchange->written = ci_now();
    wake_locked(exchange);
}

void ci_stream_begin(struct ci_exchange *exchange, const char *type) {
    pthread_mutex_lock(&exchange->lock);
    begin_locked(exchange, type);
    pthread_mutex_unlock(&exchange->lock);
}

void ci_stream_expect_events(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    exchange->expected = ci_now();
    pthread_mutex_unlock(&exchange->lock);
}

bool ci_stream_begun(const struct ci_exchange *exchange) {
    pthread_mutex_t *lock = &((struct ci_exchange *)(uintptr_t)exchange)->lock;
    pthread_mutex_lock(lock);
    bool begun = exchange->streaming;
    pthread_mutex_unlock(lock);
    return begun;
}

/* The reader is too slow, or memory is out: its stream breaks. */
static bool lose_locked(struct ci_exchange *exchange, bool unread) {
    if (unread && !exchange->unread) ci_metrics_unread(&exchange->server->metrics);
    exchange->unread = exchange->unread || unread;
    exchange->ended = true;
    exchange->whole = false;
    wake_locked(exchange);
    return false;
}

static bool write_locked(struct ci_exchange *exchange, const char *bytes, size_t length) {
    if (!exchange->streaming || exchange->ended || exchange->gone || exchange->finished) return false;
    if (!length) return true;
    if (exchange->taken == exchange->length) exchange->taken = exchange->length = 0;
    if (exchange->taken > CI_STREAM_SOFT_BYTES) {
        memmove(exchange->bytes, exchange->bytes + exchange->taken, exchange->length - exchange->taken);
        exchange->length -= exchange->taken;
        exchange->taken = 0;
    }
    size_t unread = exchange->length - exchange->taken;
    if (unread > CI_STREAM_MOST_BYTES || length > CI_STREAM_MOST_BYTES - unread) return lose_locked(exchange, true);
    if (!ci_append(&exchange->bytes, &exchange->length, &exchange->capacity, bytes, length))
        return lose_locked(exchange, false);
    exchange->written = ci_now();
    if (unread + length <= CI_STREAM_SOFT_BYTES)
        exchange->full_since = 0;
    else if (exchange->full_since == 0)
        exchange->full_since = exchange->written;
    wake_locked(exchange);
    return true;
}

/* Nothing comes behind the event that says why a stream breaks, whatever the engine's thread still has to write. */
static bool broken_off_by_other(const struct ci_exchange *exchange) {
    return exchange->breaking && !pthread_equal(exchange->breaker, pthread_self());
}

bool ci_stream_write(struct ci_exchange *exchange, const char *bytes, size_t length) {
    pthread_mutex_lock(&exchange->lock);
    bool goes_on = !broken_off_by_other(exchange) && write_locked(exchange, bytes, length);
    exchange->between = length && bytes[length - 1] == '\n';
    pthread_mutex_unlock(&exchange->lock);
    return goes_on;
}

bool ci_stream_json(struct ci_exchange *exchange, const char *event, const json_t *value) {
    char *json = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY), *text = NULL;
    int length = -1;
    pthread_mutex_lock(&exchange->lock);
    bool events = exchange->is_events;
    pthread_mutex_unlock(&exchange->lock);
    if (json && events)
        length =
            asprintf(&text, "%s%s%sdata: %s\n\n", event ? "event: " : "", event ? event : "", event ? "\n" : "", json);
    else if (json)
        length = asprintf(&text, "%s\n", json);
    bool goes_on = length >= 0 && ci_stream_write(exchange, text, (size_t)length);
    if (length >= 0) free(text);
    free(json);
    return goes_on;
}

void ci_stream_end(struct ci_exchange *exchange, bool whole) {
    pthread_mutex_lock(&exchange->lock);
    if (exchange->streaming && !exchange->ended && !broken_off_by_other(exchange)) {
        exchange->ended = true;
        exchange->whole = whole;
        wake_locked(exchange);
    }
    pthread_mutex_unlock(&exchange->lock);
}

void ci_exchange_tick(struct ci_exchange *exchange, double now) {
    pthread_mutex_lock(&exchange->lock);
    bool full = exchange->full_since > 0 && exchange->length - exchange->taken > CI_STREAM_SOFT_BYTES;
    if (full && now - exchange->full_since > CI_STREAM_SOFT_SECONDS) lose_locked(exchange, true);
    double silence = exchange->server->options.ping;
    if (silence > 0 && exchange->expected > 0 && now - exchange->expected > silence && !exchange->answered) {
        begin_locked(exchange, EVENTS);
        exchange->written = exchange->expected;
    }
    if (silence > 0 && exchange->is_events && exchange->between && now - exchange->written > silence)
        write_locked(exchange, ": still here\n\n", strlen(": still here\n\n"));
    pthread_mutex_unlock(&exchange->lock);
}

/* ---- the log's line ---- */

static struct ci_note *find_note(struct ci_exchange *exchange, const char *name) {
    for (int i = 0; i < exchange->note_count; i++)
        if (strcmp(exchange->notes[i].name, name) == 0) return &exchange->notes[i];
    int most = (int)(sizeof exchange->notes / sizeof *exchange->notes);
    if (exchange->note_count == most) return NULL;
    exchange->notes[exchange->note_count].name = name;
    return &exchange->notes[exchange->note_count++];
}

void ci_exchange_note_number(struct ci_exchange *exchange, const char *name, double value) {
    pthread_mutex_lock(&exchange->lock);
    struct ci_note *note = find_note(exchange, name);
    if (note) *note = (struct ci_note){.name = name, .number = value};
    pthread_mutex_unlock(&exchange->lock);
}

void ci_exchange_note_text(struct ci_exchange *exchange, const char *name, const char *value) {
    pthread_mutex_lock(&exchange->lock);
    struct ci_note *note = find_note(exchange, name);
    if (note) snprintf(note->text, sizeof note->text, "%s", value);
    pthread_mutex_unlock(&exchange->lock);
}

/* ---- failures ---- */

/* false: another thread does it already. */
static bool begin_breaking(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool first = !exchange->breaking;
    if (first) {
        exchange->breaking = true;
        exchange->breaker = pthread_self();
    }
    pthread_mutex_unlock(&exchange->lock);
    return first;
}

/* Whether its stream has begun; where not, it does not begin by itself any more, in front of the failure's reply. */
static bool is_stream(struct ci_exchange *exchange) {
    pthread_mutex_lock(&exchange->lock);
    bool begun = exchange->streaming;
    if (!begun) exchange->expected = 0;
    pthread_mutex_unlock(&exchange->lock);
    return begun;
}

void ci_exchange_fail(struct ci_exchange *exchange, const struct ci_failure *said) {
    char message[2048];
    struct ci_failure changed = *said, *failure = &changed;
    if (said->status != CLINFER_OK) changed.message = ci_failure_words(said->message, message, sizeof message);
    if (is_stream(exchange)) {
        if (!begin_breaking(exchange)) return;
        exchange->dialect->break_off(exchange, failure);
        ci_stream_end(exchange, false);
        return;
    }
    if (failure->retry_after > 0) {
        char text[32];
        snprintf(text, sizeof text, "%.0f", failure->retry_after < 1 ? 1 : failure->retry_after);
        ci_reply_header(exchange, "Retry-After", text);
    }
    exchange->dialect->fail(exchange, failure);
}

void ci_exchange_refuse(struct ci_exchange *exchange, const char *param, const char *format, ...) {
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const struct ci_failure failure = {.kind = CI_FAIL_INVALID, .message = message, .param = param};
    ci_exchange_fail(exchange, &failure);
}

void ci_exchange_handle(struct ci_exchange *exchange) {
    exchange->route->handle(exchange);
    pthread_mutex_lock(&exchange->lock);
    bool answered = exchange->answered, open = exchange->streaming && !exchange->ended;
    bool gone = exchange->gone;
    pthread_mutex_unlock(&exchange->lock);
    const struct ci_failure failure = {.kind = gone ? CI_FAIL_CANCELLED : CI_FAIL_SERVER,
                                       .message = gone ? "cancelled" : "the server has no answer to this request"};
    if (!answered && !gone) ci_log(CLINFER_LOG_ERROR, "%s: no handler's answer", exchange->path);
    if (!answered) ci_exchange_fail(exchange, &failure);
    if (open) ci_stream_end(exchange, false);
}
