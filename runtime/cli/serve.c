/* serve.c: `clinfer serve`: from the flags to a server that answers, and to its end.
 *
 * It listens before the model is loaded, so that who asks learns that it loads. The main thread takes the signals,
 * which all others have blocked; another one loads. */
#define _GNU_SOURCE
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/narrow.h"
#include "cli/command.h"
#include "cli/serve_flags.h"
#include "format/gguf.h"
#include "server/notify.h"
#include "server/pool.h"

struct serving {
    struct ci_serve_flags flags;
    struct ci_server_options options;
    struct ci_server *server;
    struct ci_model_choice model;
    struct ci_remotes remotes;
    char *no_model;
    struct ci_pool *pool;
    struct ci_pool_entry entry; /* the model that is there from the start */
    char **names, **tags;       /* of it; the first name is its own */
    size_t name_count, tag_count;
    pthread_t loader;
    pthread_mutex_t lock;
    bool loaded; /* or failed; under the lock, as the next two */
    enum clinfer_status status;
    char message[2048];
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

/* Two things in which programs that start llama-server rely on it: a file that brings no template gets ChatML (the
 * library's own would be lines "User: ..."), and a context longer than the model was made for is no error. */
static void adapt_to_file(struct clinfer_engine_options *engine) {
    struct ci_gguf *gguf;
    struct ci_gguf_string architecture = {0};
    uint32_t trained = 0;
    char key[128];
    if (!engine->model || ci_gguf_open(engine->model, &gguf) != CLINFER_OK) return;
    if (!engine->chat_template && !ci_gguf_find(gguf, "tokenizer.chat_template")) engine->chat_template = "chatml";
    ci_gguf_get_string(gguf, "general.architecture", CI_GGUF_OPTIONAL, &architecture);
    snprintf(key, sizeof key, "%.*s.context_length", ci_shown(architecture.length, 64), architecture.text);
    bool stretched = engine->rope.scaling != CLINFER_ROPE_OF_MODEL || engine->rope.freq_base > 0;
    if (ci_gguf_get_u32(gguf, key, CI_GGUF_OPTIONAL, &trained) == CLINFER_OK && trained && !stretched &&
        engine->context > (int64_t)trained) {
        ci_warn("-c: the model was made for %u tokens, not %d: each request has those", trained, engine->context);
        engine->context = 0;
    }
    ci_gguf_close(gguf);
}

/* The ladder of the model that is there from the start. */
static enum clinfer_status read_router(struct serving *serving, struct clinfer_router_options *options) {
    struct ci_serve_flags *flags = &serving->flags;
    *options = (struct clinfer_router_options){.watchdog_seconds = flags->watchdog};
    enum clinfer_status status = ci_engine_flags_complete(&flags->engine);
    if (status == CLINFER_OK)
        status =
            ci_remotes_resolve(&flags->remote, &flags->engine.config, flags->engine.fallback_flag, &serving->remotes);
    if (status != CLINFER_OK) return status;
    options->remotes = serving->remotes.items;
    options->remote_count = serving->remotes.count;
    options->remote_only = serving->remotes.only;
    options->remote_continues = serving->remotes.go_on;
    if (!serving->remotes.only) status = ci_engine_flags_options(&flags->engine, &serving->model, &options->engine);
    bool no_model = status == CLINFER_NOT_FOUND || status == CLINFER_REMOTE_FAILED;
    if (no_model && serving->remotes.count) {
        serving->no_model = strdup(clinfer_error());
        options->why_no_model = serving->no_model;
        options->engine.model = NULL;
        status = CLINFER_OK;
    }
    if (serving->remotes.count) options->engine.fallback = CLINFER_FALLBACK_REMOTE;
    options->engine.embeddings = flags->embeddings || flags->reranking;
    if (status == CLINFER_OK) adapt_to_file(&options->engine);
    return status;
}

static const char *last_part(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash && slash[1] ? slash + 1 : path;
}

/* What it is called where no --alias says it: by the name that was given, or by its file's. */
static const char *name_of(const struct serving *serving) {
    const struct ci_model_flags *from = &serving->flags.engine.from;
    if (from->repo && !from->file) return from->repo;
    if (from->model && access(from->model, F_OK) != 0) return from->model;
    if (serving->model.path) return last_part(serving->model.path);
    return serving->remotes.count ? serving->remotes.items[0].name : "none";
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* As llama-server: of several aliases the first one in the alphabet is the model's name. */
static enum clinfer_status read_names(struct serving *serving) {
    const char *alias = serving->flags.alias, *tags = serving->flags.tags, *own = name_of(serving);
    bool read = ci_serve_add_parts(&serving->names, &serving->name_count, alias ? alias : "", ",") &&
                ci_serve_add_parts(&serving->tags, &serving->tag_count, tags ? tags : "", ",");
    if (read && serving->name_count) qsort(serving->names, serving->name_count, sizeof *serving->names, by_text);
    read = read && ci_serve_add_parts(&serving->names, &serving->name_count, own, "\n");
    if (!read || !serving->name_count) return CLINFER_OUT_OF_MEMORY;
    serving->entry.name = serving->names[0];
    serving->entry.aliases = (const char *const *)serving->names + 1;
    serving->entry.alias_count = serving->name_count - 1;
    serving->entry.tags = (const char *const *)serving->tags;
    serving->entry.tag_count = serving->tag_count;
    serving->entry.keep_alive = -1;
    return CLINFER_OK;
}

/* Whether the command line names one model; where it names none, all of the machine may be asked for. */
static bool is_named(const struct ci_model_flags *from) { return from->model || from->repo || from->url; }

static enum clinfer_status make_pool(struct serving *serving) {
    enum clinfer_status status = read_router(serving, &serving->entry.router);
    if (status == CLINFER_OK) status = read_names(serving);
    if (status != CLINFER_OK) return status;
    const struct ci_pool_options options = {.entries = &serving->entry,
                                            .count = 1,
                                            .of_machine = !is_named(&serving->flags.engine.from),
                                            .router = serving->entry.router,
                                            .load_on_demand = true,
                                            .keep_alive = 300};
    return ci_pool_create(&options, &serving->pool);
}

/* A prompt of several tokens and a few behind it: what is wrong with a device past its first position shows before
 * anybody waits for it. */
static enum clinfer_status warm_up(clinfer_router *router) {
    clinfer_engine *engine = clinfer_router_take_engine(router);
    struct clinfer_engine_info info;
    clinfer_conversation *conversation;
    int32_t tokens[12]; /* no request begins with these, so that none finds its beginning in the cache for them */
    const struct clinfer_chat_request request = {
        .tokens = tokens, .token_count = sizeof tokens / sizeof *tokens, .max_tokens = 3, .ignore_end = true};
    if (!engine) return CLINFER_OK;
    clinfer_engine_get_info(engine, &info);
    clinfer_router_give_back_engine(router, engine);
    if (info.encoder || info.outputs != info.vocabulary || info.context < 32) return CLINFER_OK;
    for (int i = 0; i < 12; i++) tokens[i] = (int32_t)((info.vocabulary / 2 + 7 * i) % info.vocabulary);
    enum clinfer_status status = clinfer_conversation_create(router, NULL, &conversation);
    if (status != CLINFER_OK) return status;
    status = clinfer_chat_submit(conversation, &request);
    if (status == CLINFER_OK) status = clinfer_chat_wait(conversation, NULL);
    clinfer_conversation_destroy(conversation);
    return status;
}

/* Loads it and tries it out. */
static enum clinfer_status load_first(struct serving *serving) {
    struct ci_pool_model *model;
    enum clinfer_status status = ci_pool_take(serving->pool, serving->entry.name, NULL, NULL, &model);
    if (status == CLINFER_INVALID_ARGUMENT) status = ci_engine_flags_explain(&serving->flags.engine, status);
    if (status != CLINFER_OK) return status;
    if (!serving->flags.no_warmup) status = warm_up(ci_pool_router(model));
    ci_pool_give_back(serving->pool, model, NAN);
    return status;
}

static void *load(void *user) {
    struct serving *serving = user;
    enum clinfer_status status = make_pool(serving);
    if (status == CLINFER_OK) status = load_first(serving);
    if (status == CLINFER_OK) {
        ci_server_serve(serving->server, serving->pool, serving->entry.name);
        ci_say("ready: %s", serving->entry.name);
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
        ci_server_close(serving->server);
        pthread_join(serving->loader, NULL);
        return ci_refuse(serving->status, "%s", serving->message);
    }
    ci_say("ends: answers that are under way have %g seconds; another signal ends at once", serving->flags.drain);
    ci_notify("STOPPING=1\nSTATUS=ends when all answers are out");
    if (pthread_create(&impatient, NULL, end_at_once, NULL) == 0) pthread_detach(impatient);
    ci_server_drain(serving->server, serving->flags.drain);
    ci_server_close(serving->server);
    pthread_mutex_lock(&serving->lock);
    bool loaded = serving->loaded;
    pthread_mutex_unlock(&serving->lock);
    if (!loaded || clinfer_left_behind()) { /* it may hang in a driver */
        ci_output_finish(0);
        _exit(0);
    }
    pthread_join(serving->loader, NULL);
    return 0;
}

static int serve(struct serving *serving) {
    for (size_t i = 0; ci_server_url(serving->server, i); i++)
        ci_say("listens at %s", ci_server_url(serving->server, i));
    ci_notify("STATUS=loads the model");
    if (pthread_create(&serving->loader, NULL, load, serving) != 0) {
        ci_server_close(serving->server);
        return ci_refuse(CLINFER_OUT_OF_MEMORY, "no thread to load the model");
    }
    int caught;
    do {
        caught = wait_for_signal(0);
        if (caught == SIGHUP) ci_server_reopen_log(serving->server);
    } while (caught != SIGTERM && caught != SIGINT);
    return end(serving);
}

static int run(struct serving *serving) {
    sigset_t set = handled_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    enum clinfer_status status = ci_serve_flags_read(&serving->flags, &serving->options);
    if (status == CLINFER_OK) status = ci_server_open(&serving->options, &serving->server);
    int exit_status = status == CLINFER_OK ? serve(serving) : ci_complain(status);
    ci_pool_destroy(serving->pool);
    for (size_t i = 0; i < serving->name_count; i++) free(serving->names[i]);
    for (size_t i = 0; i < serving->tag_count; i++) free(serving->tags[i]);
    free(serving->names);
    free(serving->tags);
    ci_remotes_free(&serving->remotes);
    ci_models_free(&serving->model);
    free(serving->no_model);
    return exit_status;
}

int ci_command_serve(int argc, char **argv) {
    struct serving serving = {.flags = CI_SERVE_FLAGS_DEFAULT, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct ci_serve_flags *flags = &serving.flags;
    const struct ci_option options[] = {
        CI_SECTION("Network"),
        CI_SERVE_NETWORK_OPTIONS(flags),
        CI_SECTION("Answers"),
        CI_SERVE_ANSWER_OPTIONS(flags),
        CI_TEMPLATE_OPTIONS(&flags->engine),
        CI_SECTION("Sampling, where a request says nothing"),
        CI_SAMPLING_OPTIONS(&flags->sampling),
        CI_SECTION("Life"),
        CI_SERVE_LIFE_OPTIONS(flags),
        CI_LOG_OPTIONS(&flags->log),
        CI_ENGINE_OPTIONS(&flags->engine),
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
