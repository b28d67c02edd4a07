/* pool.c: models are taken and given back; see pool.h. */
#define _GNU_SOURCE
#include "server/pool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/narrow.h"
#include "base/require.h"
#include "engine/read.h"
#include "format/gguf.h"
#include "server/pool_private.h"

/* Between two looks whether who waits has left. */
#define LOOK_SECONDS 0.1

/* Until a device that failed is tried again for the first time. */
#define RETRY_SECONDS 30
#define RETRY_MOST_TIMES 20 /* the longest while is so many of these */

const char *ci_pool_state_name(enum ci_pool_state state) {
    static const char *const names[] = {"unloaded", "loading", "loaded", "unloading", "sleeping", "failed"};
    return names[state];
}

/* ---- real models ---- */

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
        ci_log(CLINFER_LOG_WARNING, "-c: %s was made for %u tokens, not %d: each request has those", engine->model,
               trained, engine->context);
        engine->context = 0;
    }
    ci_gguf_close(gguf);
}

static double retry_seconds(void) {
    const char *chosen = getenv("CLINFER_RETRY_SECONDS");
    double seconds = chosen ? strtod(chosen, NULL) : 0;
    return seconds >= 0.01 && seconds <= 1e6 ? seconds : RETRY_SECONDS;
}

static enum clinfer_status open_router(const struct clinfer_router_options *options, bool unproven,
                                       clinfer_router **router) {
    struct clinfer_router_options complete = *options;
    adapt_to_file(&complete.engine);
    complete.prove = !unproven;
    complete.retry_seconds = retry_seconds();
    complete.retry_most_seconds = RETRY_MOST_TIMES * complete.retry_seconds;
    enum clinfer_status status = clinfer_router_open(&complete, router);
    if (status == CLINFER_OK) status = clinfer_router_start(*router);
    if (status != CLINFER_OK) {
        clinfer_router_close(*router);
        *router = NULL;
    }
    return status;
}

static void describe_router(clinfer_router *router, struct ci_pool_facts *facts) {
    clinfer_engine *engine = clinfer_router_take_engine(router);
    struct clinfer_engine_info info;
    struct clinfer_engine_stats stats;
    if (!engine) return; /* remotes only */
    clinfer_engine_get_info(engine, &info);
    clinfer_engine_get_stats(engine, &stats);
    *facts = (struct ci_pool_facts){.bytes = stats.weight_bytes + stats.cache_bytes + stats.activation_bytes,
                                    .parameters = info.parameters,
                                    .weight_bytes = info.weight_bytes,
                                    .vocabulary = info.vocabulary,
                                    .context = info.context,
                                    .model_context = info.model_context,
                                    .width = info.embedding,
                                    .encoder = info.encoder};
    clinfer_router_give_back_engine(router, engine);
}

static bool encodes(const struct clinfer_engine_options *options) {
    return options->model && ci_model_file_encodes(options->model);
}

static const struct ci_pool_methods real = {encodes, open_router, describe_router, clinfer_router_close,
                                            clinfer_router_rungs};

/* ---- the pool ---- */

static enum clinfer_status check(const struct ci_pool_options *options) {
    if (options->count && !options->entries)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "the pool's entries are NULL, their count %zu", options->count);
    if (options->most_loaded < 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "most_loaded: %d, must be 0 or more", options->most_loaded);
    for (size_t i = 0; i < options->count; i++)
        if (!options->entries[i].name) return ci_fail(CLINFER_INVALID_ARGUMENT, "entry %zu of the pool has no name", i);
    return CLINFER_OK;
}

enum clinfer_status ci_pool_create(const struct ci_pool_options *options, struct ci_pool **out) {
    pthread_condattr_t monotonic;
    CI_REQUIRE(out, "pool");
    *out = NULL;
    CI_REQUIRE(options, "options");
    enum clinfer_status status = check(options);
    if (status != CLINFER_OK) return status;
    struct ci_pool *pool = calloc(1, sizeof *pool);
    if (!pool) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the models of a server");
    pool->options = *options;
    pool->options.entries = NULL;
    pool->methods = options->methods ? options->methods : &real;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (size_t i = 0; i < options->count && status == CLINFER_OK; i++)
        if (!ci_pool_add_entry(pool, &options->entries[i]))
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the models of a server");
    if (status == CLINFER_OK) status = ci_pool_reload(pool);
    if (status == CLINFER_OK && pthread_create(&pool->keeper, NULL, ci_pool_keep, pool) != 0)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "no thread to look after models");
    if (status != CLINFER_OK) {
        pool->ends = true; /* there is no keeper */
        ci_pool_destroy(pool);
        return status;
    }
    *out = pool;
    return CLINFER_OK;
}

void ci_pool_stop(struct ci_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->stopped = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

void ci_pool_destroy(struct ci_pool *pool) {
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    bool kept = !pool->ends;
    pool->stopped = pool->ends = true;
    pthread_cond_broadcast(&pool->changed);
    while (pool->threads > 0) pthread_cond_wait(&pool->changed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    if (kept) pthread_join(pool->keeper, NULL);
    /* One that the keeper has begun to close in between. */
    pthread_mutex_lock(&pool->lock);
    while (pool->threads > 0) pthread_cond_wait(&pool->changed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    while (pool->models) {
        struct ci_pool_model *model = pool->models;
        pool->models = model->next;
        if (model->router) pool->methods->close(model->router);
        ci_pool_free_model(model);
    }
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

/* ---- taking ---- */

static void get_in_line(struct ci_pool_model *model) {
    if (!model->ticket) model->ticket = ++model->pool->tickets;
}

static void leave_line(struct ci_pool_model *model, const struct ci_pool_waiter *waiter) {
    for (struct ci_pool_waiter **link = &model->waiters; *link; link = &(*link)->next)
        if (*link == waiter) {
            *link = waiter->next;
            break;
        }
    if (!model->waiters && !model->asked && model->state != CI_POOL_LOADING) model->ticket = 0;
    ci_pool_schedule(model->pool); /* who drained for it may stay */
}

static enum clinfer_status wait_for(struct ci_pool_model *model, bool (*gone)(void *), void *user) {
    struct ci_pool *pool = model->pool;
    struct ci_pool_waiter waiter = {0}, **end = &model->waiters;
    while (*end) end = &(*end)->next;
    *end = &waiter;
    get_in_line(model);
    ci_pool_schedule(pool);
    while (!waiter.served) {
        bool left = false;
        if (pool->stopped) {
            leave_line(model, &waiter);
            return ci_fail(CLINFER_CANCELLED, "%s: the server is shutting down", model->entry.name);
        }
        if (gone) {
            pthread_mutex_unlock(&pool->lock);
            left = gone(user);
            pthread_mutex_lock(&pool->lock);
        }
        if (waiter.served) break;
        if (left) {
            leave_line(model, &waiter);
            return ci_fail(CLINFER_CANCELLED, "%s: who asked for it has left", model->entry.name);
        }
        ci_pool_wait(pool, gone ? ci_now() + LOOK_SECONDS : (double)INFINITY);
    }
    return waiter.status == CLINFER_OK ? CLINFER_OK : ci_fail(waiter.status, "%s", waiter.message);
}

static bool may_load(const struct ci_pool_model *model) {
    return model->pool->options.load_on_demand || model->ticket || model->is_vectors ||
           model->state == CI_POOL_SLEEPING || model->state == CI_POOL_LOADING || model->state == CI_POOL_LOADED;
}

static enum clinfer_status refuse(const struct ci_pool_model *model) {
    bool failed = model->state == CI_POOL_FAILED;
    return ci_fail(CLINFER_REFUSED, "%s is not loaded, and models are not loaded on demand here%s%s", model->entry.name,
                   failed ? "; loading it failed: " : "", failed ? model->failure : "");
}

static enum clinfer_status take(struct ci_pool_model *model, bool (*gone)(void *), void *user) {
    if (model->state == CI_POOL_LOADED && !model->leaves && !model->drains) {
        model->users++;
        model->last_used = ci_now();
        return CLINFER_OK;
    }
    if (!may_load(model)) return refuse(model);
    return wait_for(model, gone, user);
}

enum clinfer_status ci_pool_take(struct ci_pool *pool, const char *name, bool (*gone)(void *), void *user,
                                 struct ci_pool_model **out) {
    struct ci_pool_model *model;
    *out = NULL;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status =
        pool->stopped ? ci_fail(CLINFER_CANCELLED, "the server is shutting down") : ci_pool_resolve(pool, name, &model);
    if (status == CLINFER_OK) status = take(model, gone, user);
    if (status == CLINFER_OK) *out = model;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void ci_pool_give_back(struct ci_pool *pool, struct ci_pool_model *model, double keep_alive) {
    if (!model) return;
    pthread_mutex_lock(&pool->lock);
    double own = model->entry.keep_alive;
    if (isnan(keep_alive)) keep_alive = isnan(own) ? pool->options.keep_alive : own;
    model->keep_alive = keep_alive;
    model->last_used = ci_now();
    model->users--;
    if (!model->users) {
        ci_pool_schedule(pool);
        pthread_cond_broadcast(&pool->changed); /* the keeper has another moment to wait for */
    }
    pthread_mutex_unlock(&pool->lock);
}

enum clinfer_status ci_pool_take_vectors(struct ci_pool *pool, const char *name, bool (*gone)(void *), void *user,
                                         struct ci_pool_model **out) {
    struct ci_pool_model *model;
    *out = NULL;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status =
        pool->stopped ? ci_fail(CLINFER_CANCELLED, "the server is shutting down") : ci_pool_resolve(pool, name, &model);
    if (status == CLINFER_OK && model->kind == CI_POOL_NOT_ASKED) {
        const struct clinfer_engine_options options = model->entry.router.engine;
        model->users++; /* so that it stays what it is */
        pthread_mutex_unlock(&pool->lock);
        bool encodes = pool->methods->encodes(&options);
        pthread_mutex_lock(&pool->lock);
        model->users--;
        model->kind = encodes ? CI_POOL_ENCODES : CI_POOL_WRITES;
        ci_pool_schedule(pool);
    }
    if (status == CLINFER_OK && model->kind == CI_POOL_WRITES) {
        if (!may_load(model))
            status = refuse(model);
        else if (!model->vectors && !ci_pool_add_vectors(model))
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a model");
        else
            model = model->vectors;
    }
    if (status == CLINFER_OK) status = take(model, gone, user);
    if (status == CLINFER_OK) *out = model;
    pthread_mutex_unlock(&pool->lock);
    return status;
}

clinfer_router *ci_pool_router(struct ci_pool_model *model) { return model->router; }
const char *ci_pool_name(const struct ci_pool_model *model) { return model->entry.name; }

enum clinfer_status ci_pool_look(struct ci_pool *pool, const char *name, struct ci_pool_model **out,
                                 struct ci_pool_info **info) {
    struct ci_pool_model *model;
    *out = NULL;
    *info = NULL;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status = ci_pool_resolve(pool, name, &model);
    if (status == CLINFER_OK) status = ci_pool_show(model, info);
    if (status == CLINFER_OK && model->state == CI_POOL_LOADED && !model->leaves && !model->drains) {
        model->users++;
        *out = model;
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void ci_pool_watch(struct ci_pool *pool, ci_pool_watcher *watch, void *user) {
    pthread_mutex_lock(&pool->lock);
    pool->watch = watch;
    pool->watch_user = user;
    pthread_mutex_unlock(&pool->lock);
}

void ci_pool_looked(struct ci_pool *pool, struct ci_pool_model *model) {
    if (!model) return;
    pthread_mutex_lock(&pool->lock);
    if (--model->users == 0) {
        ci_pool_schedule(pool);
        pthread_cond_broadcast(&pool->changed);
    }
    pthread_mutex_unlock(&pool->lock);
}

/* ---- by hand ---- */

enum clinfer_status ci_pool_load(struct ci_pool *pool, const char *name) {
    struct ci_pool_model *model;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status = ci_pool_resolve_named(pool, name, &model);
    if (status == CLINFER_OK && (model->state != CI_POOL_LOADED || model->leaves || model->drains)) {
        model->asked = true;
        get_in_line(model);
        ci_pool_schedule(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

static void send_out(struct ci_pool_model *model) {
    if (model->state == CI_POOL_LOADED || model->state == CI_POOL_LOADING) model->leaves = true;
    if (model->state == CI_POOL_UNLOADING) model->goes_out = CI_POOL_UNLOADED;
    if (model->state == CI_POOL_SLEEPING || model->state == CI_POOL_FAILED) ci_pool_enter(model, CI_POOL_UNLOADED);
}

/* One that is loaded just now goes out when it is there, but not before those have it who wait for it. */
enum clinfer_status ci_pool_unload(struct ci_pool *pool, const char *name) {
    struct ci_pool_model *model;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status = ci_pool_resolve_named(pool, name, &model);
    if (status == CLINFER_OK) {
        send_out(model);
        if (model->vectors) send_out(model->vectors);
        ci_pool_schedule(pool);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

static struct ci_pool_model *find_entry(const struct ci_pool *pool, const char *name) {
    for (struct ci_pool_model *model = pool->models; model; model = model->next)
        if (model->of_entry && !model->removed && !model->is_vectors && strcmp(model->entry.name, name) == 0)
            return model;
    return NULL;
}

static bool is_listed(const struct ci_pool_entry *entries, size_t count, const struct ci_pool_entry *entry) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(entries[i].name, entry->name) == 0) return entries[i].version == entry->version;
    return false;
}

/* What stays keeps its old texts, which its router may read. */
enum clinfer_status ci_pool_set(struct ci_pool *pool, const struct ci_pool_entry *entries, size_t count) {
    enum clinfer_status status = CLINFER_OK;
    pthread_mutex_lock(&pool->lock);
    for (struct ci_pool_model *model = pool->models; model; model = model->next) {
        if (!model->of_entry || model->removed || is_listed(entries, count, &model->entry)) continue;
        model->removed = true;
        model->leaves = model->state == CI_POOL_LOADED || model->state == CI_POOL_LOADING;
    }
    for (size_t i = 0; i < count; i++) {
        const struct ci_pool_entry *entry = &entries[i];
        if (find_entry(pool, entry->name)) {
            if (entry->release) entry->release(entry->owner);
        } else if (!ci_pool_add_entry(pool, entry)) {
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the models of a server");
        }
    }
    ci_pool_schedule(pool);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

const struct ci_pool_options *ci_pool_get_options(const struct ci_pool *pool) { return &pool->options; }

enum clinfer_status ci_pool_reload(struct ci_pool *pool) {
    struct ci_pool_entry *entries;
    size_t count;
    if (!pool->options.read) return CLINFER_OK;
    enum clinfer_status status = pool->options.read(pool->options.user, &entries, &count);
    if (status != CLINFER_OK) return status;
    status = ci_pool_set(pool, entries, count);
    free(entries);
    return status;
}
