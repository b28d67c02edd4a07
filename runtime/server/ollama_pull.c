/* ollama_pull.c: a model by name onto this machine, as `clinfer pull` does it, told as Ollama tells it. */
#define _GNU_SOURCE
#include "server/ollama.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "server/downloads.h"
#include "server/ollama_read.h"
#include "server/server.h"

static const double progress_seconds = 0.1;

struct pull {
    struct ci_exchange *exchange;
    bool stream;
    atomic_bool cancelled;
    double told; /* when progress was last told */
    bool verifying;
};

static void line(struct pull *pull, json_t *value) {
    if (pull->stream && value && !ci_stream_json(pull->exchange, NULL, value)) atomic_store(&pull->cancelled, true);
    json_decref(value);
}

static void status_line(struct pull *pull, const char *status) { line(pull, json_pack("{s:s}", "status", status)); }

static void tell_progress(struct pull *pull, const struct ci_hub_event *event) {
    char digest[CI_DIGEST_BYTES + 16], status[64];
    bool known = event->total != UINT64_MAX, whole = known && event->completed >= event->total;
    double now = ci_now();
    if (!whole && now - pull->told < progress_seconds) return;
    pull->told = now;
    snprintf(digest, sizeof digest, "sha256:%s", event->digest ? event->digest : "");
    snprintf(status, sizeof status, "pulling %.12s", event->digest && *event->digest ? event->digest : event->file);
    json_t *value = json_pack("{s:o, s:o, s:I}", "status", ci_ollama_text(status), "digest", ci_ollama_text(digest),
                              "completed", (json_int_t)event->completed);
    if (known) json_object_set_new(value, "total", json_integer((json_int_t)event->total));
    line(pull, value);
}

static void watch(void *user, const struct ci_hub_event *event) {
    struct pull *pull = user;
    if (event->kind != CI_HUB_PROGRESS) return;
    bool verifies = strcmp(event->phase, "verify") == 0;
    if (strcmp(event->phase, "download") == 0) tell_progress(pull, event);
    if (verifies && !pull->verifying) status_line(pull, "verifying sha256 digest");
    pull->verifying = verifies;
}

static void on_gone(void *user) { atomic_store(&((struct pull *)user)->cancelled, true); }

static void answer(struct pull *pull, enum clinfer_status status) {
    if (status != CLINFER_OK) {
        struct ci_failure failure = ci_failure_of_status(status, clinfer_error());
        ci_exchange_fail(pull->exchange, &failure);
    } else if (pull->stream) {
        status_line(pull, "writing manifest");
        status_line(pull, "success");
        ci_stream_end(pull->exchange, true);
    } else {
        ci_reply_json(pull->exchange, 200, json_pack("{s:s}", "status", "success"));
    }
}

void ci_ollama_pull(struct ci_exchange *exchange) {
    struct pull pull = {.exchange = exchange};
    struct ci_hub_settings settings;
    struct ci_hub_name name;
    const json_t *body = ci_exchange_json(exchange);
    const char *word = body ? ci_ollama_named(exchange) : NULL;
    if (!word) return;
    bool offline = ci_server_get_options(ci_exchange_server(exchange))->offline;
    enum clinfer_status status = ci_download_name(word, offline, &settings, &name);
    pull.stream = status == CLINFER_OK && !json_is_false(json_object_get(body, "stream"));
    if (pull.stream) ci_stream_begin(exchange, "application/x-ndjson");
    ci_exchange_on_gone(exchange, on_gone, &pull);
    status_line(&pull, "pulling manifest");
    if (status == CLINFER_OK) status = ci_download(&settings, &name, watch, &pull, &pull.cancelled);
    ci_exchange_on_gone(exchange, NULL, NULL);
    answer(&pull, status);
    ci_hub_settings_free(&settings);
}
