#define _GNU_SOURCE
#include "support/hub_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/child.h"
#include "support/process.h"

enum { START_SECONDS = 60, ANSWER_SECONDS = 30, SHOWN_OF_TOKEN = 8 };

static struct ci_dialogue server;
static json_t *ready;

static json_t *receive(double seconds) {
    const char *line;
    enum ci_dialogue_event event = ci_dialogue_receive(&server, seconds, &line);
    if (event != CI_DIALOGUE_LINE) fail_msg("hub_server.py says nothing (status %d)", server.exit_status);
    json_t *value = json_loads(line, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (!value) fail_msg("hub_server.py says no JSON: %s", line);
    return value;
}

static json_t *ask(const char *line) {
    assert_int_equal(ci_dialogue_send(&server, line, ANSWER_SECONDS), CLINFER_OK);
    return receive(ANSWER_SECONDS);
}

void hub_server_clear_environment(void) {
    static const char *const names[] = {"HF_ENDPOINT",
                                        "HF_HOME",
                                        "HF_HUB_CACHE",
                                        "HUGGINGFACE_HUB_CACHE",
                                        "HF_TOKEN",
                                        "HUGGING_FACE_HUB_TOKEN",
                                        "HF_TOKEN_PATH",
                                        "HF_HUB_OFFLINE",
                                        "TRANSFORMERS_OFFLINE",
                                        "HF_HUB_DISABLE_IMPLICIT_TOKEN",
                                        "HF_HUB_DISABLE_SYMLINKS",
                                        "HF_HUB_DISABLE_PROGRESS_BARS",
                                        "HF_HUB_ETAG_TIMEOUT",
                                        "HF_HUB_DOWNLOAD_TIMEOUT",
                                        "LLAMA_CACHE",
                                        "MODEL_ENDPOINT",
                                        "OLLAMA_MODELS",
                                        "OLLAMA_HOST",
                                        "XDG_CACHE_HOME",
                                        "XDG_DATA_HOME",
                                        "XDG_CONFIG_HOME",
                                        "CURL_CA_BUNDLE",
                                        "http_proxy",
                                        "https_proxy",
                                        "HTTPS_PROXY",
                                        "all_proxy",
                                        "ALL_PROXY",
                                        "no_proxy",
                                        "NO_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

int hub_server_start(void **state) {
    const char *const arguments[] = {"env", "python3", "tests/support/hub_server.py", process_folder(), NULL};
    (void)state;
    if (ci_dialogue_start("/usr/bin/env", arguments, NULL, &server) != CLINFER_OK) fail_msg("%s", clinfer_error());
    ready = receive(START_SECONDS);
    hub_server_clear_environment();
    setenv("SSL_CERT_FILE", json_string_value(json_object_get(ready, "authority")), 1);
    setenv("HOME", process_folder(), 1);
    return 0;
}

int hub_server_stop(void **state) {
    (void)state;
    ci_dialogue_end(&server, 5);
    json_decref(ready);
    ready = NULL;
    return 0;
}

const char *hub_server_url(const char *kind) {
    const char *url = json_string_value(json_object_get(ready, kind));
    assert_non_null(url);
    return url;
}

json_t *hub_server_log(void) {
    json_t *log = ask("log"), *entry;
    size_t index;
    json_array_foreach(log, index, entry) {
        const char *exception = json_string_value(json_object_get(entry, "exception"));
        if (exception) fail_msg("hub_server.py: %s", exception);
    }
    return log;
}

static bool is_text(const json_t *entry, const char *name, const char *wanted) {
    const char *value = json_string_value(json_object_get(entry, name));
    return !wanted || (value && !strcmp(value, wanted));
}

size_t hub_server_count(const json_t *log, const char *where, const char *method) {
    const json_t *entry;
    size_t index, count = 0;
    json_array_foreach(log, index, entry) count += is_text(entry, "where", where) && is_text(entry, "method", method);
    return count;
}

json_t *hub_server_files(const char *name, int version) {
    char line[256];
    snprintf(line, sizeof line, "files %s %d", name, version);
    json_t *files = ask(line);
    if (!json_is_object(files)) fail_msg("hub_server.py has no files of %s", name);
    return files;
}

void hub_server_set_version(const char *repo, int version) {
    char line[256];
    snprintf(line, sizeof line, "version %s %d", repo, version);
    json_decref(ask(line));
}

void hub_server_put(json_t *described) {
    char *text = json_dumps(described, JSON_COMPACT), *line = NULL;
    assert_true(text && asprintf(&line, "put %s", text) > 0);
    json_t *answer = ask(line);
    if (!json_is_true(answer)) fail_msg("hub_server.py does not take %s", text);
    json_decref(answer);
    json_decref(described);
    free(line);
    free(text);
}

void hub_server_check_token(const json_t *log, const char *endpoint) {
    const json_t *entry, *line;
    size_t index, number;
    json_array_foreach(log, index, entry) {
        const char *host = json_string_value(json_object_get(entry, "host"));
        const char *path = json_string_value(json_object_get(entry, "path"));
        bool has = strstr(path, HUB_TOKEN) != NULL;
        json_array_foreach(json_object_get(entry, "lines"), number, line) has |=
            strstr(json_string_value(line), HUB_TOKEN) != NULL;
        const char *own = strstr(endpoint, "://");
        if (has && (!own || strcmp(own + 3, host))) fail_msg("the token went to %s%s", host, path);
    }
}

void hub_assert_no_token(const char *text) {
    for (size_t at = 0; at + SHOWN_OF_TOKEN <= strlen(HUB_TOKEN); at++) {
        char part[SHOWN_OF_TOKEN + 1] = "";
        memcpy(part, &HUB_TOKEN[at], SHOWN_OF_TOKEN);
        if (strstr(text, part)) fail_msg("a part of the token, %s, is in: %s", part, text);
    }
}
