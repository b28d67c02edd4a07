#define _GNU_SOURCE
#include "cli/pull_progress.h"

#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "hub/space.h"

static const double redraw_seconds = 0.1, line_seconds = 10, sample_seconds = 0.5;

/* ---- texts ---- */

/* "35 s", "4 min 10 s", "2 h 5 min". */
static const char *duration(double seconds, char text[CI_AMOUNT_BYTES]) {
    long long whole = seconds < 1e9 ? (long long)(seconds + 0.5) : 1000000000;
    if (whole < 60)
        snprintf(text, CI_AMOUNT_BYTES, "%lld s", whole);
    else if (whole < 3600)
        snprintf(text, CI_AMOUNT_BYTES, "%lld min %lld s", whole / 60, whole % 60);
    else
        snprintf(text, CI_AMOUNT_BYTES, "%lld h %lld min", whole / 3600, whole / 60 % 60);
    return text;
}

struct line {
    char text[512];
    size_t used;
};

static void add(struct line *line, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct line *line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int wrote = vsnprintf(line->text + line->used, sizeof line->text - line->used, format, arguments);
    va_end(arguments);
    if (wrote > 0)
        line->used +=
            (size_t)wrote < sizeof line->text - line->used ? (size_t)wrote : sizeof line->text - line->used - 1;
}

/* What is known of a file on its way: "m-Q4_K_M.gguf  312 MB of 1.12 GB (28%), 9.8 MB/s, 1 min 22 s left"; of several
 * "2 of 3: ...", and the time is that of all that are still to come. */
static void describe(const struct ci_pull_progress *progress, const struct ci_hub_event *event, struct line *line) {
    char text[CI_AMOUNT_BYTES];
    bool known = event->total && event->total != UINT64_MAX, fetches = strcmp(event->phase, "download") == 0;
    uint64_t left = known ? event->total - event->completed : 0;
    if (fetches && event->all_total > event->all_completed) left = event->all_total - event->all_completed;
    if (event->count && fetches) add(line, "%zu of %zu: ", event->number, event->count);
    if (!fetches) add(line, "%s", strcmp(event->phase, "verify") == 0 ? "checking " : "waiting for another process: ");
    add(line, "%s  %s", event->file, ci_hub_size_text(event->completed, text, sizeof text));
    if (known)
        add(line, " of %s (%d%%)", ci_hub_size_text(event->total, text, sizeof text),
            (int)((double)event->completed / (double)event->total * 100));
    if (progress->speed < 1) return;
    add(line, ", %s/s", ci_hub_size_text((uint64_t)progress->speed, text, sizeof text));
    if (left) add(line, ", %s left", duration((double)left / progress->speed, text));
}

/* ---- JSON ---- */

void ci_pull_print_line(json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text) ci_printf("%s\n", text);
    ci_flush();
    free(text);
    json_decref(object);
}

/* Ollama's way to write a digest; git's is of another kind. */
static json_t *digest_json(const char *digest) {
    if (!digest || !*digest) return json_null();
    return strlen(digest) == 64 ? json_sprintf("sha256:%s", digest) : json_sprintf("git:%s", digest);
}

static void print_event(const struct ci_hub_event *event) {
    json_t *line = json_object();
    bool fetched = strcmp(event->phase, "download") == 0;
    json_t *status = json_sprintf("%s %s",
                                  fetched                               ? "pulling"
                                  : strcmp(event->phase, "verify") == 0 ? "verifying"
                                                                        : "waiting for",
                                  event->file);
    json_object_set_new(line, "status", status ? status : json_string(event->phase));
    json_object_set_new(line, "digest", digest_json(event->digest));
    if (event->total != UINT64_MAX) json_object_set_new(line, "total", json_integer((json_int_t)event->total));
    json_object_set_new(line, "completed", json_integer((json_int_t)event->completed));
    ci_pull_print_line(line);
}

/* ---- events ---- */

/* A quarter of what was measured last, every half second: what one reads, and what is right after some seconds. */
static void measure(struct ci_pull_progress *progress, uint64_t completed, double now) {
    double seconds = now - progress->sampled;
    if (seconds < sample_seconds) return;
    double speed = completed > progress->sampled_bytes ? (double)(completed - progress->sampled_bytes) / seconds : 0;
    progress->speed = progress->speed > 0 ? progress->speed * 0.75 + speed * 0.25 : speed;
    progress->sampled = now;
    progress->sampled_bytes = completed;
}

static void begin(struct ci_pull_progress *progress, const struct ci_hub_event *event, double now) {
    ci_pull_progress_end(progress);
    snprintf(progress->file, sizeof progress->file, "%s", event->file);
    snprintf(progress->phase, sizeof progress->phase, "%s", event->phase);
    progress->began = progress->sampled = now;
    progress->first = progress->last = progress->sampled_bytes = event->completed;
    progress->speed = 0;
    /* Drawn at once on a terminal; a line only for what takes long. */
    progress->shown = progress->json ? now - redraw_seconds : now;
}

/* A download is over: what it was, where somebody has watched it or it took long. */
static void tell_end(const struct ci_pull_progress *progress, const struct ci_hub_event *event, double now) {
    char bytes[CI_AMOUNT_BYTES], seconds[CI_AMOUNT_BYTES], speed[CI_AMOUNT_BYTES];
    double took = now - progress->began;
    uint64_t came = event->completed - progress->first;
    ci_hub_size_text(event->completed, bytes, sizeof bytes);
    if (took >= 1 && came)
        ci_say("%s: %s in %s, %s/s", event->file, bytes, duration(took, seconds),
               ci_hub_size_text((uint64_t)((double)came / took), speed, sizeof speed));
    else if (isatty(STDERR_FILENO))
        ci_say("%s: %s", event->file, bytes);
}

static void show(struct ci_pull_progress *progress, const struct ci_hub_event *event, double now) {
    struct line line = {.used = 0};
    bool over = event->completed == event->total && strcmp(event->phase, "download") == 0;
    bool fetches = event->completed > progress->last || event->completed > progress->first;
    progress->last = event->completed;
    if (progress->json) {
        if (now - progress->shown < redraw_seconds && event->completed != event->total) return;
        progress->shown = now;
        print_event(event);
        return;
    }
    if (progress->silent) return;
    if (over) {
        ci_progress(NULL);
        if (fetches) tell_end(progress, event, now);
        progress->first = event->completed;
        return;
    }
    describe(progress, event, &line);
    bool due = now - progress->shown >= redraw_seconds;
    if (due && ci_progress(line.text)) {
        progress->shown = now;
    } else if (now - progress->shown >= line_seconds) {
        ci_say("%s", line.text);
        progress->shown = now;
    }
}

void ci_pull_watch(void *user, const struct ci_hub_event *event) {
    struct ci_pull_progress *progress = user;
    double now = ci_seconds();
    if (event->kind == CI_HUB_SAID) {
        if (event->warning)
            ci_warn("%s", event->text);
        else if (progress->json)
            ci_pull_print_line(json_pack("{s:o}", "status", ci_json_text(event->text, strlen(event->text))));
        else
            ci_say("%s", event->text);
        return;
    }
    if (strncmp(progress->file, event->file, sizeof progress->file - 1) != 0 ||
        strcmp(progress->phase, event->phase) != 0)
        begin(progress, event, now);
    measure(progress, event->completed, now);
    show(progress, event, now);
}

void ci_pull_progress_end(struct ci_pull_progress *progress) {
    if (!progress->json && !progress->silent) ci_progress(NULL);
    progress->file[0] = 0;
}

/* ---- a pull that Ctrl-C can end ---- */

static void cancel(void *flag) { atomic_store((atomic_bool *)flag, true); }

static enum clinfer_status stopped(const struct ci_hub_name *name) {
    char text[CI_HUB_URL_BYTES + 16];
    ci_hub_name_text(name, text, sizeof text);
    return ci_fail(CLINFER_CANCELLED, "stopped; what has come is kept, and `clinfer pull %s` goes on with it", text);
}

enum clinfer_status ci_pull_with(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                 const struct ci_hub_pull_options *options, struct ci_pull_progress *progress,
                                 struct ci_hub_pulled *pulled) {
    atomic_bool cancelled = false;
    struct sigaction before;
    struct ci_hub hub = {.settings = settings, .watch = ci_pull_watch, .user = progress, .cancel = &cancelled};
    *pulled = (struct ci_hub_pulled){0};
    enum clinfer_status status = settings->offline ? CLINFER_OK : ci_fetcher_create(&hub.fetcher);
    if (status != CLINFER_OK) return status;
    /* What runs afterwards may want Ctrl-C to end it, as it did before. */
    bool known = sigaction(SIGINT, NULL, &before) == 0;
    ci_interrupt_start();
    ci_interrupt_watch(&cancelled, cancel);
    status = ci_hub_pull(&hub, name, options, pulled);
    ci_pull_progress_end(progress);
    ci_interrupt_unwatch(&cancelled);
    if (known) sigaction(SIGINT, &before, NULL);
    ci_fetcher_destroy(hub.fetcher);
    return status == CLINFER_CANCELLED ? stopped(name) : status;
}

enum clinfer_status ci_pull_shown(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                  struct ci_hub_pulled *pulled) {
    struct ci_pull_progress progress = {.silent = settings->no_progress_bars};
    const struct ci_hub_pull_options options = {0};
    return ci_pull_with(settings, name, &options, &progress, pulled);
}
