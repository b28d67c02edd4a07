/* serve.c: `clinfer serve`: from the flags to a server that answers, and to its end.
 *
 * It listens before the model is loaded, so that who asks learns that it loads. The main thread takes the signals,
 * which all others have blocked; another one loads. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/threads.h"
#include "cli/command.h"
#include "cli/config.h"
#include "cli/serve_flags.h"
#include "cli/serve_models.h"
#include "engine/aside.h"
#include "server/notify.h"
#include "server/pool.h"

/* Between two looks at config.json. */
enum { LOOK_SECONDS = 2 };

struct serving {
    struct ci_serve_flags flags;
    struct ci_server_options options;
    struct ci_server *server;
    struct ci_serve_models models;
    pthread_t loader;
    pthread_mutex_t lock;
    bool loaded; /* or failed; under the lock, as the next two */
    enum clinfer_status status;
    char message[2048];
    bool listens;       /* it was said where; under the lock, as the next one */
    bool following;     /* a thread takes up what config.json says; under the lock */
    struct stat config; /* as it was when it was read last */
};

static sigset_t handled_signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    return set;
}

/* ---- loading ---- */

/* Once, when it is known that there is such a model, or when to find that out takes its time: who has misspelt its name
 * is told only that. */
static void say_where(void *user) {
    struct serving *serving = user;
    pthread_mutex_lock(&serving->lock);
    for (size_t i = 0; !serving->listens && ci_server_url(serving->server, i); i++) {
        const char *url = ci_server_url(serving->server, i), *scheme = strstr(url, "://");
        ci_say("listens at %s", url);
        ci_server_log(serving->server, CLINFER_LOG_INFO, "HTTP server listening",
                      json_pack("{s:s, s:s}", "addr", scheme ? scheme + 3 : url, "url", url));
    }
    serving->listens = true;
    pthread_mutex_unlock(&serving->lock);
}

/* That the model of this name ("": none is loaded yet) answers from now on. */
static void log_ready(const struct serving *serving, const char *name) {
    struct ci_server_condition now;
    struct ci_pool_info *info = NULL;
    if (*name && ci_pool_find(serving->models.pool, name, &info) == CLINFER_OK)
        ci_server_log(serving->server, CLINFER_LOG_INFO, serving->flags.no_warmup ? "model loaded" : "warmup complete",
                      json_pack("{s:s, s:f}", "model", name, "duration_ms", info->load_seconds * 1e3));
    free(info);
    ci_server_look(serving->server, &now);
    ci_server_log(serving->server, CLINFER_LOG_INFO, "ready for inference",
                  json_pack("{s:s, s:s}", "model", name, "route", now.rung));
}

static void *load(void *user) {
    struct serving *serving = user;
    const char *name = "";
    enum clinfer_status status = ci_serve_models_open(&serving->models, &serving->flags, &name);
    if (status == CLINFER_OK) {
        ci_server_serve(serving->server, serving->models.pool, name);
        ci_say("ready: %s", *name ? name : "models are loaded when they are asked for");
        log_ready(serving, name);
        ci_notify("READY=1\nSTATUS=ready");
    }
    pthread_mutex_lock(&serving->lock);
    serving->loaded = true;
    serving->status = status;
    if (status != CLINFER_OK) snprintf(serving->message, sizeof serving->message, "%s", clinfer_error());
    pthread_mutex_unlock(&serving->lock);
    /* Wakes the main thread, which then ends. */
    if (status != CLINFER_OK) kill(getpid(), SIGTERM);
    return NULL;
}

/* ---- config.json ---- */

static void *follow(void *user) {
    struct serving *serving = user;
    const char *name = NULL;
    enum clinfer_status status = ci_serve_models_follow(&serving->models, &serving->flags, &name);
    if (status != CLINFER_OK)
        ci_warn("the model stays as it was: %s", clinfer_error());
    else if (name) {
        ci_server_serve(serving->server, serving->models.pool, name);
        ci_say("ready: %s, which config.json names now", name);
        log_ready(serving, name);
    }
    pthread_mutex_lock(&serving->lock);
    serving->following = false;
    pthread_mutex_unlock(&serving->lock);
    return NULL;
}

/* Whether config.json is another file than it was; once for each change. */
static bool has_changed(struct serving *serving) {
    struct stat now = {0};
    char *path = ci_config_path();
    if (path && stat(path, &now) != 0) now = (struct stat){0};
    free(path);
    const struct stat *then = &serving->config;
    bool same = now.st_ino == then->st_ino && now.st_size == then->st_size &&
                now.st_mtim.tv_sec == then->st_mtim.tv_sec && now.st_mtim.tv_nsec == then->st_mtim.tv_nsec;
    serving->config = now;
    return !same;
}

/* In a thread of its own: loading takes its time. One at a time; what changes meanwhile is seen afterwards. */
static void follow_config(struct serving *serving, bool asked) {
    pthread_t thread;
    pthread_mutex_lock(&serving->lock);
    bool can = serving->loaded && serving->status == CLINFER_OK && !serving->following && serving->models.follows;
    if (can && (has_changed(serving) || asked)) {
        serving->following = pthread_create(&thread, NULL, follow, serving) == 0;
        if (serving->following) pthread_detach(thread);
    }
    pthread_mutex_unlock(&serving->lock);
}

/* ---- its life ---- */

/* The next signal; 0: none yet, systemd has had its sign of life. */
static int wait_for_signal(double seconds) {
    sigset_t set = handled_signals();
    double period = ci_notify_watchdog();
    if (seconds <= 0 && period <= 0) {
        int caught = sigwaitinfo(&set, NULL);
        return caught > 0 ? caught : 0;
    }
    if (seconds <= 0 || (period > 0 && period < seconds)) seconds = period;
    struct timespec span = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    int caught = sigtimedwait(&set, NULL, &span);
    if (period > 0) ci_notify("WATCHDOG=1");
    return caught > 0 ? caught : 0;
}

static bool has_failed(struct serving *serving) {
    pthread_mutex_lock(&serving->lock);
    bool failed = serving->loaded && serving->status != CLINFER_OK;
    pthread_mutex_unlock(&serving->lock);
    return failed;
}

/* A second signal does not wait. */
static void *end_at_once(void *user) {
    sigset_t set = handled_signals();
    int caught;
    (void)user;
    do {
        if (sigwait(&set, &caught) != 0) return NULL;
    } while (caught == SIGHUP);
    ci_output_finish(0);
    _exit(0);
}

static int end(struct serving *serving) {
    pthread_t impatient;
    bool failed = has_failed(serving);
    if (failed) {
        ci_server_log(serving->server, CLINFER_LOG_ERROR, "the model was not loaded",
                      json_pack("{s:s}", "error", serving->message));
        ci_server_close(serving->server);
        pthread_join(serving->loader, NULL);
        return ci_refuse(serving->status, "%s", serving->message);
    }
    ci_say("ends: answers that are under way have %g seconds; another signal ends at once", serving->flags.drain);
    ci_notify("STOPPING=1\nSTATUS=ends when all answers are out");
    if (pthread_create(&impatient, NULL, end_at_once, NULL) == 0) pthread_detach(impatient);
    ci_server_log(serving->server, CLINFER_LOG_INFO, "shutting down",
                  json_pack("{s:f}", "drain_seconds", serving->flags.drain));
    bool all = ci_server_drain(serving->server, serving->flags.drain);
    ci_server_log(serving->server, all ? CLINFER_LOG_INFO : CLINFER_LOG_WARNING, "stopped",
                  json_pack("{s:b}", "all_answered", all));
    ci_server_close(serving->server);
    pthread_mutex_lock(&serving->lock);
    bool loaded = serving->loaded && !serving->following;
    pthread_mutex_unlock(&serving->lock);
    if (!loaded || clinfer_left_behind()) { /* it may hang in a driver */
        ci_output_finish(0);
        _exit(0);
    }
    pthread_join(serving->loader, NULL);
    return 0;
}

/* What may have changed on disk. What is wrong with it leaves everything as it was. */
static void read_again(struct serving *serving) {
    ci_server_reopen_log(serving->server);
    struct ci_serve_flags *flags = &serving->flags;
    enum clinfer_status read = ci_serve_flags_read_keys(flags);
    if (read == CLINFER_OK) read = ci_server_set_keys(serving->server, flags->server_keys, flags->key_count);
    if (read != CLINFER_OK) ci_warn("the keys stay as they were: %s", clinfer_error());
    struct ci_pool *pool = ci_server_pool(serving->server);
    if (!pool) return;
    enum clinfer_status status = ci_pool_reload(pool);
    if (status != CLINFER_OK)
        ci_warn("the models stay as they were: %s", clinfer_error());
    else
        ci_say("read again: the list of models, the log");
}

static int serve(struct serving *serving) {
    serving->models.chosen = say_where;
    serving->models.user = serving;
    ci_notify("STATUS=loads the model");
    if (ci_threads_start(&serving->loader, load, serving) != 0) {
        ci_server_close(serving->server);
        return ci_refuse(CLINFER_OUT_OF_MEMORY, "no thread to load the model");
    }
    int caught;
    has_changed(serving);
    do {
        caught = wait_for_signal(LOOK_SECONDS);
        if (caught == 0) say_where(serving);
        if (caught == SIGHUP) read_again(serving);
        follow_config(serving, caught == SIGHUP);
    } while (caught != SIGTERM && caught != SIGINT);
    return end(serving);
}

static int run(struct serving *serving) {
    ci_memory_for_long();
    ci_aside_allow();
    sigset_t set = handled_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    enum clinfer_status status = ci_serve_flags_read(&serving->flags, &serving->options);
    if (status == CLINFER_OK) status = ci_server_open(&serving->options, &serving->server);
    int exit_status = status == CLINFER_OK ? serve(serving) : ci_complain(status);
    ci_serve_models_close(&serving->models);
    return exit_status;
}

int ci_command_serve(int argc, char **argv) {
    struct serving serving = {
        .flags = CI_SERVE_FLAGS_DEFAULT, .lock = PTHREAD_MUTEX_INITIALIZER, .models.lock = PTHREAD_MUTEX_INITIALIZER};
    struct ci_serve_flags *flags = &serving.flags;
    const struct ci_option options[] = {
        CI_SECTION("Network"),
        CI_SERVE_NETWORK_OPTIONS(flags),
        CI_SECTION("Answers"),
        CI_SERVE_ANSWER_OPTIONS(flags),
        CI_TEMPLATE_OPTIONS(&flags->engine),
        CI_SECTION("Sampling, where a request says nothing"),
        CI_SAMPLING_OPTIONS(&flags->sampling),
        CI_SECTION("Models"),
        CI_SERVE_MODEL_OPTIONS(flags),
        CI_SECTION("Life"),
        CI_SERVE_LIFE_OPTIONS(flags),
        CI_LOG_OPTIONS(&flags->log),
        CI_ENGINE_OPTIONS(&flags->engine),
        CI_DRAFT_OPTIONS(&flags->engine),
        CI_REMOTE_OPTIONS(&flags->remote),
        CI_SECTION("Of llama-server, accepted without effect"),
        CI_SERVE_IGNORED_OPTIONS(flags),
    };
    const struct ci_usage usage = {
        .command = "serve",
        .synopsis = "[options]",
        .about = "Answers over HTTP what programs ask for that speak OpenAI's, Anthropic's or Ollama's API, or\n"
                 "llama-server's. Only this machine can reach it unless --host says otherwise, which needs a key.",
        .examples = "  clinfer serve\n"
                    "  clinfer serve -m qwen2.5-1.5b-q4_0 --port 11434\n"
                    "  clinfer serve --host 0.0.0.0 --api-key-file keys.txt --metrics\n"
                    "  curl http://127.0.0.1:8080/health",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status == CI_OPTIONS_GO_ON) {
        enum clinfer_status status = ci_log_start(&flags->log);
        exit_status = status == CLINFER_OK ? run(&serving) : ci_exit_status(status);
        ci_log_end();
    }
    ci_serve_flags_free(flags);
    ci_engine_flags_free(&flags->engine);
    return exit_status;
}
