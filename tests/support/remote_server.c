#define _GNU_SOURCE
#include "support/remote_server.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/clock.h"
#include "remote/retry.h"
#include "support/process.h"

enum { URLS = 8, START_SECONDS = 60, LOG_SECONDS = 20, SHOWN_OF_KEY = 8 };

char remote_log[1 << 16];

static struct ci_dialogue server;
static json_t *ready;

static void keep_log(void *user, enum clinfer_log_level level, const char *message) {
    (void)user, (void)level;
    size_t used = strlen(remote_log);
    snprintf(remote_log + used, sizeof remote_log - used, "%s\n", message);
}

static json_t *receive(double seconds) {
    const char *line;
    enum ci_dialogue_event event = ci_dialogue_receive(&server, seconds, &line);
    if (event != CI_DIALOGUE_LINE) fail_msg("remote_server.py says nothing (status %d)", server.exit_status);
    json_t *value = json_loads(line, 0, NULL);
    if (!value) fail_msg("remote_server.py says no JSON: %s", line);
    return value;
}

int remote_server_start(void **state) {
    const char *const arguments[] = {"env", "python3", "tests/support/remote_server.py", process_folder(), NULL};
    (void)state;
    if (ci_dialogue_start("/usr/bin/env", arguments, NULL, &server) != CLINFER_OK) fail_msg("%s", clinfer_error());
    ready = receive(START_SECONDS);
    setenv("SSL_CERT_FILE", json_string_value(json_object_get(ready, "authority")), 1);
    setenv(REMOTE_KEY_VARIABLE, REMOTE_KEY, 1);
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("CLINFER_NO_REMOTE");
    clinfer_log_to(keep_log, NULL);
    return 0;
}

int remote_server_stop(void **state) {
    (void)state;
    clinfer_log_to(NULL, NULL);
    ci_dialogue_end(&server, 5);
    json_decref(ready);
    return 0;
}

int remote_server_reset(void **state) {
    static const struct ci_retry_policy quick = {
        .retries = 2, .first_seconds = 0.02, .all_seconds = 60, .cooldown_seconds = 60};
    (void)state;
    ci_retry_set_policy(&quick);
    remote_log[0] = 0;
    json_decref(remote_server_log());
    return 0;
}

const char *remote_server_url(const char *kind, const char *script) {
    static char urls[URLS][256];
    static int next;
    char *url = urls[next++ % URLS];
    const json_t *plain = json_object_get(ready, kind), *tls = json_object_get(json_object_get(ready, "tls"), kind);
    assert_true(plain || tls);
    snprintf(url, sizeof urls[0], "%s://127.0.0.1:%d/%s/v1", tls ? "https" : "http",
             (int)json_integer_value(tls ? tls : plain), script);
    return url;
}

json_t *remote_server_log(void) {
    assert_int_equal(ci_dialogue_send(&server, "log", LOG_SECONDS), CLINFER_OK);
    json_t *log = receive(LOG_SECONDS), *entry;
    size_t index;
    json_array_foreach(log, index, entry) {
        const char *exception = json_string_value(json_object_get(entry, "exception"));
        if (exception) fail_msg("remote_server.py: %s", exception);
    }
    return log;
}

size_t remote_server_count(void) {
    json_t *log = remote_server_log();
    size_t count = json_array_size(log);
    json_decref(log);
    return count;
}

struct clinfer_remote remote_at(const char *url) {
    return (struct clinfer_remote){.name = "test",
                                   .url = url,
                                   .model = "tiny",
                                   .key_variable = REMOTE_KEY_VARIABLE,
                                   .connect_seconds = 10,
                                   .first_byte_seconds = 20,
                                   .idle_seconds = 20,
                                   .total_seconds = 60};
}

struct clinfer_remote remote_without_key(const char *url) {
    struct clinfer_remote remote = remote_at(url);
    remote.key_variable = NULL;
    return remote;
}

struct ci_remote_request remote_request(void) {
    static const struct clinfer_message message = {.role = "user", .content = "Say hello."};
    return (struct ci_remote_request){
        .messages = &message, .count = 1, .temperature = NAN, .top_p = NAN, .seed = -1, .max_tokens = -1};
}

static bool keep_text(void *user, const char *text, size_t length) {
    struct remote_asked *asked = user;
    size_t room = sizeof asked->text - 1 - asked->used;
    memcpy(asked->text + asked->used, text, length < room ? length : room);
    asked->used += length < room ? length : room;
    asked->text[asked->used] = 0;
    return true;
}

void remote_ask(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                struct remote_asked *asked) {
    struct ci_remote_request own = *request;
    *asked = (struct remote_asked){.used = 0};
    own.callback = keep_text;
    own.user = asked;
    double start = ci_now();
    asked->status = ci_remote_ask(remote, &own, &asked->result);
    asked->seconds = ci_now() - start;
    if (asked->status != CLINFER_OK) snprintf(asked->message, sizeof asked->message, "%s", clinfer_error());
    if (asked->result.text_bytes < sizeof asked->text) assert_int_equal(asked->result.text_bytes, asked->used);
}

void remote_assert_no_key(const char *text) {
    for (size_t at = 0; at + SHOWN_OF_KEY <= strlen(REMOTE_KEY); at++) {
        char part[SHOWN_OF_KEY + 1] = "";
        memcpy(part, &REMOTE_KEY[at], SHOWN_OF_KEY);
        if (strstr(text, part)) fail_msg("a part of the key, %s, is in: %s", part, text);
    }
}

void remote_ask_well(const struct clinfer_remote *remote, const struct ci_remote_request *request,
                     struct remote_asked *asked) {
    remote_ask(remote, request, asked);
    if (asked->status != CLINFER_OK) fail_msg("%s: %s", remote->url, asked->message);
}

void remote_ask_badly(const struct clinfer_remote *remote, enum clinfer_status status, const char *says) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    remote_ask(remote, &request, &asked);
    if (asked.status != status) fail_msg("%s: %s: %s", remote->url, clinfer_status_text(asked.status), asked.message);
    if (!strstr(asked.message, says)) fail_msg("\"%s\" is not in: %s", says, asked.message);
    remote_assert_no_key(asked.message);
}

/* The only request that the server got. */
json_t *remote_one_request(json_t **log) {
    *log = remote_server_log();
    assert_int_equal(json_array_size(*log), 1);
    return json_array_get(*log, 0);
}

static const char *remote_header(const json_t *request, const char *name) {
    const char *value = json_string_value(json_object_get(json_object_get(request, "headers"), name));
    return value ? value : "";
}

static void check_headers(const json_t *request, bool anthropic) {
    const json_t *line;
    size_t index, with_key = 0;
    json_array_foreach(json_object_get(request, "lines"), index, line) with_key +=
        strstr(json_string_value(line), REMOTE_KEY) != NULL;
    assert_int_equal(with_key, 1);
    assert_string_equal(remote_header(request, "x-api-key"), anthropic ? REMOTE_KEY : "");
    assert_string_equal(remote_header(request, "authorization"), anthropic ? "" : "Bearer " REMOTE_KEY);
    assert_string_equal(remote_header(request, "anthropic-version"), anthropic ? "2023-06-01" : "");
    assert_string_equal(remote_header(request, "content-type"), "application/json");
    const char *path = json_string_value(json_object_get(request, "path"));
    assert_non_null(strstr(path, anthropic ? "/v1/messages" : "/v1/chat/completions"));
    assert_null(strstr(path, "/v1/v1"));
}

void remote_check_requests(size_t count, bool anthropic) {
    json_t *log = remote_server_log(), *request;
    size_t index;
    assert_int_equal(json_array_size(log), count);
    json_array_foreach(log, index, request) check_headers(request, anthropic);
    json_decref(log);
}
