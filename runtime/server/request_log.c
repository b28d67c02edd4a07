/* request_log.c: --log-jsonl: a line for each request that has ended, and for what becomes of the server. Neither what
 * was asked nor what was answered is in it, nor a key: only its name.
 *
 * A line is {"timestamp", "level", "fields": {"message", ...}}, as structured logs of other programs are; of a request
 * the message is "request". */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/server_private.h"

static json_t *milliseconds(double seconds) { return json_real(round(seconds * 1e5) / 100); }

/* Takes the fields. */
static void write_line(struct ci_server *server, const char *level, const char *message, json_t *fields) {
    char time_text[64];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(time_text + length, sizeof time_text - length, ".%03ldZ", now.tv_nsec / 1000000);
    json_t *named = json_pack("{s:s}", "message", message);
    json_object_update_missing(named, fields);
    json_decref(fields);
    json_t *line = json_pack("{s:s, s:s, s:o}", "timestamp", time_text, "level", level, "fields", named);
    char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)), *ended = NULL;
    int count = text ? asprintf(&ended, "%s\n", text) : -1;
    /* One write, so that lines of several threads stay lines. A disk that is full costs lines, no requests. */
    ssize_t written = count > 0 ? write(server->log_fd, ended, (size_t)count) : 0;
    (void)written;
    if (count >= 0) free(ended);
    free(text);
    json_decref(line);
}

void ci_server_log(struct ci_server *server, enum clinfer_log_level level, const char *message, json_t *fields) {
    const char *name = level == CLINFER_LOG_ERROR ? "ERROR" : level == CLINFER_LOG_WARNING ? "WARN" : "INFO";
    if (server->log_fd >= 0)
        write_line(server, name, message, fields);
    else
        json_decref(fields);
}

/* Counts stay whole numbers. */
static json_t *note_json(const struct ci_note *note) {
    if (*note->text) return json_string(note->text);
    return note->number == floor(note->number) ? json_integer((json_int_t)note->number)
                                               : json_real(round(note->number * 100) / 100);
}

void ci_request_log(struct ci_server *server, const struct ci_exchange *exchange, bool whole) {
    if (server->log_fd < 0) return;
    json_t *line = json_object();
    json_object_set_new(line, "id", json_string(exchange->id));
    json_object_set_new(line, "method", json_string(exchange->head ? "HEAD" : exchange->method));
    /* A path that no route knows may be anything, a key in the wrong place too. */
    json_object_set_new(line, "path", json_string(exchange->route ? exchange->route->path : "?"));
    pthread_mutex_t *lock = &((struct ci_exchange *)(uintptr_t)exchange)->lock;
    pthread_mutex_lock(lock); /* a handler whose client has left may still answer */
    json_object_set_new(line, "status", json_integer(exchange->answered ? exchange->status : 499));
    json_object_set_new(line, "whole", json_boolean(whole && (!exchange->streaming || exchange->whole)));
    if (exchange->unread) json_object_set_new(line, "unread", json_true()); /* its client did not read it */
    json_object_set_new(line, "ms", milliseconds(ci_now() - exchange->arrived));
    json_object_set_new(line, "bytes_in", json_integer((json_int_t)exchange->body_length));
    json_object_set_new(line, "bytes_out", json_integer((json_int_t)exchange->sent));
    if (*exchange->key) json_object_set_new(line, "key", json_string(exchange->key));
    for (int i = 0; i < exchange->note_count; i++) {
        const struct ci_note *note = &exchange->notes[i];
        json_object_set_new(line, note->name, note_json(note));
    }
    bool failed = exchange->answered && exchange->status == 500; /* 501 and 503 are answers */
    pthread_mutex_unlock(lock);
    write_line(server, failed ? "ERROR" : "INFO", "request", line);
}
