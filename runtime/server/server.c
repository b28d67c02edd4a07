/* server.c: see server.h. */
#define _GNU_SOURCE
#include "server/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "server/downloads.h"
#include "server/pool.h"
#include "server/server_private.h"
#include "server/slots.h"

enum { SPARE_WORKERS = 64, SPARE_FILES = 256 };

static void set_defaults(struct ci_server_options *options) {
    if (!options->most_connections) options->most_connections = 1024;
    if (!options->most_header) options->most_header = 16 << 10;
    if (!options->most_body) options->most_body = (size_t)64 << 20;
    if (!options->queue) options->queue = 512;
    if (options->timeout <= 0) options->timeout = 600;
    if (options->ping == 0) options->ping = 15;
    if (options->parallel <= 0) options->parallel = 4;
}

/* A file for each connection, and some for the rest of the process. */
static void raise_file_limit(const struct ci_server_options *options) {
    struct rlimit limit;
    rlim_t wanted = (rlim_t)options->most_connections + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted)
        ci_log(CLINFER_LOG_WARNING, "%d connections need %llu open files; the limit (ulimit -n) is %llu",
               options->most_connections, (unsigned long long)wanted, (unsigned long long)limit.rlim_cur);
}

static enum clinfer_status open_log(struct ci_server *server) {
    server->log_fd = -1;
    if (!server->options.log_path) return CLINFER_OK;
    server->log_fd = open(server->options.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (server->log_fd >= 0) return CLINFER_OK;
    return ci_fail(CLINFER_IO, "--log-jsonl %s: %s", server->options.log_path, strerror(errno));
}

static void free_texts(char **texts, size_t count) {
    for (size_t i = 0; texts && i < count; i++) free(texts[i]);
    free(texts);
}

enum clinfer_status ci_server_set_keys(struct ci_server *server, const struct ci_server_key *keys, size_t count) {
    char **texts = calloc(count + 1, sizeof *texts), **names = calloc(count + 1, sizeof *names);
    bool copied = texts && names;
    for (size_t i = 0; copied && i < count; i++)
        copied = (texts[i] = strdup(keys[i].text)) && (names[i] = strdup(keys[i].name));
    pthread_mutex_lock(&server->lock);
    bool lost = server->key_count && !count;
    if (copied && !lost) {
        char **old = server->keys, **old_names = server->key_names;
        size_t old_count = server->key_count;
        server->keys = texts;
        server->key_names = names;
        server->key_count = count;
        texts = old;
        names = old_names;
        count = old_count;
    }
    pthread_mutex_unlock(&server->lock);
    free_texts(texts, count);
    free_texts(names, count);
    if (lost) return ci_fail(CLINFER_INVALID_ARGUMENT, "there is no key any more; the old ones stay");
    return copied ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for keys");
}

void ci_server_reopen_log(struct ci_server *server) {
    if (server->log_fd < 0) return;
    int fd = open(server->options.log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) return;
    dup3(fd, server->log_fd, O_CLOEXEC);
    close(fd);
}

static enum clinfer_status copy_tls(struct ci_server *server) {
    const struct ci_server_options *options = &server->options;
    if (!options->certificate) return CLINFER_OK;
    server->certificate = strdup(options->certificate);
    server->certificate_key = strdup(options->certificate_key);
    if (server->certificate && server->certificate_key) return CLINFER_OK;
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a certificate");
}

enum clinfer_status ci_server_open(const struct ci_server_options *options, struct ci_server **out) {
    *out = NULL;
    enum clinfer_status status = ci_mhd_load();
    if (status != CLINFER_OK) return status;
    struct ci_server *server = calloc(1, sizeof *server);
    if (!server) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a server");
    server->options = *options;
    set_defaults(&server->options);
    server->opened = ci_now();
    server->started = time(NULL);
    server->epoll = server->wake = -1;
    pthread_mutex_init(&server->lock, NULL);
    pthread_cond_init(&server->changed, NULL);
    ci_metrics_init(&server->metrics);
    raise_file_limit(&server->options);
    server->events = ci_events_create();
    server->downloads = server->events ? ci_downloads_create(server->events) : NULL;
    if (options->slot_save_path) server->slots = ci_slots_create(server->options.parallel);
    const bool made = server->downloads && (server->slots || !options->slot_save_path);
    status = made ? open_log(server) : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a server");
    if (status == CLINFER_OK) status = copy_tls(server);
    if (status == CLINFER_OK) status = ci_server_set_keys(server, options->keys, options->key_count);
    if (status == CLINFER_OK)
        status = ci_workers_create(server->options.queue + server->options.parallel + SPARE_WORKERS, &server->workers);
    if (status == CLINFER_OK) status = ci_watcher_start(server);
    if (status == CLINFER_OK) status = ci_network_start(server);
    if (status != CLINFER_OK) {
        ci_server_close(server);
        return status;
    }
    *out = server;
    return CLINFER_OK;
}

static void tell_state(void *user, const char *model, enum ci_pool_state state) {
    struct ci_server *server = user;
    ci_events_tell(server->events, model, "status_change", json_pack("{s:s}", "status", ci_pool_state_name(state)));
}

void ci_server_serve(struct ci_server *server, struct ci_pool *pool, const char *name) {
    ci_pool_watch(pool, tell_state, server);
    pthread_mutex_lock(&server->lock);
    server->pool = pool;
    server->model = name;
    pthread_mutex_unlock(&server->lock);
}

bool ci_server_drain(struct ci_server *server, double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += (time_t)seconds;
    pthread_mutex_lock(&server->lock);
    server->draining = true;
    pthread_mutex_unlock(&server->lock);
    ci_events_end(server->events);
    ci_network_quiesce(server);
    int late = 0;
    pthread_mutex_lock(&server->lock);
    while (server->exchange_count && !late)
        late = pthread_cond_timedwait(&server->changed, &server->lock, &at) == ETIMEDOUT;
    bool all = server->exchange_count == 0;
    pthread_mutex_unlock(&server->lock);
    return all;
}

/* Held; NULL: all have been told. */
static struct ci_exchange *next_to_tell(struct ci_server *server, int what) {
    pthread_mutex_lock(&server->lock);
    struct ci_exchange *exchange = server->exchanges;
    while (exchange && exchange->told >= what) exchange = exchange->next;
    if (exchange) exchange->told = what;
    if (exchange) ci_exchange_hold(exchange);
    pthread_mutex_unlock(&server->lock);
    return exchange;
}

enum { TOLD_END = 1, TOLD_GONE };

/* Breaks off what still runs: nobody may wait for a connection that will not come back. */
static void end_all(struct ci_server *server) {
    static const struct ci_failure ending = {.kind = CI_FAIL_UNAVAILABLE, .message = "the server has ended"};
    struct ci_exchange *exchange;
    while ((exchange = next_to_tell(server, TOLD_END))) {
        if (exchange->dispatched) ci_exchange_fail(exchange, &ending);
        ci_exchange_cancel(exchange);
        ci_exchange_release(exchange);
    }
}

/* What has not gone by then hangs, or its client does not read. */
static void leave_all(struct ci_server *server) {
    struct ci_exchange *exchange;
    while ((exchange = next_to_tell(server, TOLD_GONE))) {
        ci_exchange_set_gone(exchange);
        ci_exchange_release(exchange);
    }
}

void ci_server_close(struct ci_server *server) {
    if (!server) return;
    server->draining = true;
    if (server->pool) ci_pool_watch(server->pool, NULL, NULL);
    end_all(server);
    ci_server_drain(server, server->daemon_count ? 2 : 0);
    leave_all(server);
    ci_network_stop(server);
    ci_watcher_stop(server);
    bool all = ci_workers_destroy(server->workers, 5);
    for (int i = 0; i < CI_SERVER_ADDRESSES; i++) {
        free(server->urls[i]);
        free(server->paths[i]);
    }
    if (server->log_fd >= 0) close(server->log_fd);
    free_texts(server->keys, server->key_count);
    free_texts(server->key_names, server->key_count);
    free(server->certificate);
    free(server->certificate_key);
    if (!all) return; /* a handler that hangs still has it */
    ci_downloads_destroy(server->downloads);
    ci_events_destroy(server->events);
    ci_slots_destroy(server->slots);
    free(server);
}

/* ---- what others ask ---- */

const char *ci_server_url(const struct ci_server *server, size_t index) {
    return index < (size_t)server->daemon_count ? server->urls[index] : NULL;
}

const struct ci_server_options *ci_server_get_options(const struct ci_server *server) { return &server->options; }
struct ci_metrics *ci_server_metrics(struct ci_server *server) {
    return &server->metrics;
}
struct ci_events *ci_server_events(struct ci_server *server) {
    return server->events;
}
struct ci_downloads *ci_server_downloads(struct ci_server *server) {
    return server->downloads;
}
struct ci_slots *ci_server_slots(struct ci_server *server) {
    return server->slots;
}
int64_t ci_server_started(const struct ci_server *server) { return server->started; }

void ci_server_load(struct ci_server *server, int *running, int *waiting) {
    pthread_mutex_lock(&server->lock);
    *running = server->running_count;
    *waiting = server->waiting_count;
    pthread_mutex_unlock(&server->lock);
}

const char *ci_server_model(struct ci_server *server) {
    pthread_mutex_lock(&server->lock);
    const char *model = server->model;
    pthread_mutex_unlock(&server->lock);
    return model ? model : "";
}

struct ci_pool *ci_server_pool(struct ci_server *server) {
    pthread_mutex_lock(&server->lock);
    struct ci_pool *pool = server->pool;
    pthread_mutex_unlock(&server->lock);
    return pool;
}

const char *ci_server_loading(struct ci_server *server) {
    pthread_mutex_lock(&server->lock);
    const char *why = server->pool ? NULL : "Loading model";
    pthread_mutex_unlock(&server->lock);
    return why;
}

static void look_at_state(void *user, const char *name, clinfer_router *router) {
    struct ci_server_condition *condition = user;
    struct clinfer_router_state state;
    clinfer_router_get_state(router, &state);
    bool answers = state.condition == CLINFER_ROUTER_READY || state.condition == CLINFER_ROUTER_DEGRADED;
    static const char *const whys[] = {
        [CLINFER_ROUTER_LOADING] = "it is being made ready",
        [CLINFER_ROUTER_HANGING] = "its device gives no sign of life",
        [CLINFER_ROUTER_FAILED] = "nothing is left that could run it",
    };
    condition->answering += answers;
    condition->degraded += state.condition == CLINFER_ROUTER_DEGRADED;
    if (answers && !*condition->rung) snprintf(condition->rung, sizeof condition->rung, "%s", state.name);
    const char *why = *state.reason ? state.reason : whys[state.condition];
    /* An answer from below the first rung says why it comes from there. */
    if ((!answers || *state.reason) && !*condition->why)
        snprintf(condition->why, sizeof condition->why, "%s: %s", name, why ? why : "");
}

void ci_server_look(struct ci_server *server, struct ci_server_condition *condition) {
    *condition = (struct ci_server_condition){0};
    pthread_mutex_lock(&server->lock);
    struct ci_pool *pool = server->pool;
    const char *why = server->draining ? "the server is ending" : pool ? "" : "Loading model";
    snprintf(condition->why, sizeof condition->why, "%s", why);
    pthread_mutex_unlock(&server->lock);
    if (*condition->why) return;
    ci_pool_each(pool, look_at_state, condition);
    /* Where no model is loaded, one that is asked for will be. */
    condition->ready = condition->answering > 0 || !*condition->why;
}
