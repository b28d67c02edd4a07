/* downloads.c: see downloads.h. */
#include "server/downloads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "hub/pull.h"
#include "text/utf8_json.h"

enum { MOST_AT_ONCE = 4 };

static const double progress_seconds = 0.1;

struct download {
    struct download *next;
    struct ci_downloads *downloads;
    char *word;
    struct ci_hub_settings settings;
    struct ci_hub_name name;
    pthread_t thread;
    atomic_bool cancelled;
    bool done;   /* under the lock: its thread can be joined */
    double told; /* when progress was last told */
};

struct ci_downloads {
    struct ci_events *events;
    pthread_mutex_t lock;
    struct download *list;
    int running;
};

/* ---- one ---- */

enum clinfer_status ci_download_name(const char *word, bool offline, struct ci_hub_settings *settings,
                                     struct ci_hub_name *name) {
    char of_ollama[512];
    enum clinfer_status status = ci_hub_settings_read(settings);
    if (status == CLINFER_OK && (offline || settings->offline))
        status = ci_fail(CLINFER_REFUSED, "%s: this server was started with the word to fetch nothing", word);
    if (status == CLINFER_OK) status = ci_hub_name_parse(word, settings->endpoint, name);
    if (status == CLINFER_NOT_FOUND) {
        int length = snprintf(of_ollama, sizeof of_ollama, "ollama:%s", word);
        if ((size_t)length >= sizeof of_ollama)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "the name of a model is too long");
        status = ci_hub_name_parse(of_ollama, settings->endpoint, name);
    }
    /* Else whoever may ask could make this machine ask others that only it can reach. */
    if (status == CLINFER_OK && (name->kind == CI_HUB_URL || (name->kind == CI_HUB_OLLAMA && *name->host)))
        return ci_fail(CLINFER_REFUSED,
                       "%.200s: requests may name models of the Hub and of Ollama's registry, not other addresses; on "
                       "the server's machine `clinfer pull` fetches from those",
                       word);
    return status;
}

enum clinfer_status ci_download(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                ci_hub_watch *watch, void *user, const atomic_bool *cancel) {
    const struct ci_hub_pull_options options = {0};
    struct ci_hub_pulled pulled = {0};
    struct ci_hub hub = {.settings = settings, .watch = watch, .user = user, .cancel = cancel};
    enum clinfer_status status = ci_fetcher_create(&hub.fetcher);
    if (status != CLINFER_OK) return status;
    status = ci_hub_pull(&hub, name, &options, &pulled);
    ci_fetcher_destroy(hub.fetcher);
    ci_hub_pulled_free(&pulled);
    return status;
}

/* ---- in a thread ---- */

static void watch(void *user, const struct ci_hub_event *event) {
    struct download *download = user;
    if (event->kind != CI_HUB_PROGRESS || strcmp(event->phase, "download") != 0) return;
    bool known = event->total != UINT64_MAX, whole = known && event->completed >= event->total;
    double now = ci_now();
    if (!whole && now - download->told < progress_seconds) return;
    download->told = now;
    json_t *file = json_pack("{s:I}", "done", (json_int_t)event->completed);
    if (known) json_object_set_new(file, "total", json_integer((json_int_t)event->total));
    json_t *files = json_object();
    json_object_set_new(files, event->file, file); /* a name that is no UTF-8 is left out */
    ci_events_tell(download->downloads->events, download->word, "download_progress",
                   json_pack("{s:o}", "progress", files));
}

static void *run(void *user) {
    struct download *download = user;
    struct ci_downloads *downloads = download->downloads;
    enum clinfer_status status =
        ci_download(&download->settings, &download->name, watch, download, &download->cancelled);
    pthread_mutex_lock(&downloads->lock);
    download->done = true;
    downloads->running--;
    pthread_mutex_unlock(&downloads->lock);
    json_t *why = status == CLINFER_OK
                      ? NULL
                      : json_pack("{s:o}", "message", ci_utf8_json(clinfer_error(), strlen(clinfer_error())));
    ci_events_tell(downloads->events, download->word, status == CLINFER_OK ? "download_finished" : "download_failed",
                   why);
    return NULL;
}

static void free_download(struct download *download) {
    ci_hub_settings_free(&download->settings);
    free(download->word);
    free(download);
}

/* Those that are over; without the lock a thread that still tells its end can do so. */
static void join_done(struct ci_downloads *downloads, bool all) {
    struct download *joined = NULL;
    pthread_mutex_lock(&downloads->lock);
    for (struct download **link = &downloads->list; *link;) {
        struct download *download = *link;
        if (all) atomic_store(&download->cancelled, true);
        if (!all && !download->done) {
            link = &download->next;
            continue;
        }
        *link = download->next;
        download->next = joined;
        joined = download;
    }
    pthread_mutex_unlock(&downloads->lock);
    while (joined) {
        struct download *download = joined;
        joined = download->next;
        pthread_join(download->thread, NULL);
        free_download(download);
    }
}

struct ci_downloads *ci_downloads_create(struct ci_events *events) {
    struct ci_downloads *downloads = calloc(1, sizeof *downloads);
    if (!downloads) return NULL;
    downloads->events = events;
    pthread_mutex_init(&downloads->lock, NULL);
    return downloads;
}

void ci_downloads_destroy(struct ci_downloads *downloads) {
    if (!downloads) return;
    join_done(downloads, true);
    pthread_mutex_destroy(&downloads->lock);
    free(downloads);
}

static struct download *find_locked(struct ci_downloads *downloads, const char *word) {
    struct download *download = downloads->list;
    while (download && (download->done || strcmp(download->word, word) != 0)) download = download->next;
    return download;
}

static enum clinfer_status start_locked(struct ci_downloads *downloads, struct download *download) {
    if (find_locked(downloads, download->word))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: is being fetched already", download->word);
    if (downloads->running >= MOST_AT_ONCE)
        return ci_fail(CLINFER_REFUSED, "%s: %d models are being fetched already; ask again when one is there",
                       download->word, MOST_AT_ONCE);
    if (pthread_create(&download->thread, NULL, run, download) != 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: no thread to fetch it", download->word);
    download->next = downloads->list;
    downloads->list = download;
    downloads->running++;
    return CLINFER_OK;
}

enum clinfer_status ci_downloads_begin(struct ci_downloads *downloads, const char *word, bool offline) {
    struct download *download = calloc(1, sizeof *download);
    if (!download) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory to fetch a model");
    join_done(downloads, false);
    download->downloads = downloads;
    download->word = strdup(word);
    enum clinfer_status status = ci_download_name(word, offline, &download->settings, &download->name);
    if (status == CLINFER_OK && !download->word) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    if (status == CLINFER_OK) {
        pthread_mutex_lock(&downloads->lock);
        status = start_locked(downloads, download);
        pthread_mutex_unlock(&downloads->lock);
    }
    if (status != CLINFER_OK) free_download(download);
    return status;
}

bool ci_downloads_cancel(struct ci_downloads *downloads, const char *word) {
    pthread_mutex_lock(&downloads->lock);
    struct download *download = find_locked(downloads, word);
    if (download) atomic_store(&download->cancelled, true);
    pthread_mutex_unlock(&downloads->lock);
    return download;
}
