/* pool_loads.c: what is loaded when, and what goes out for it.
 *
 * ci_pool_schedule() is called whenever anything has changed, and does what can be done: the model with the lowest
 * ticket is loaded if there is room; else the least recently used one that nobody has goes out, and its thread calls
 * again when it is closed. Where all are busy, the least recently used one drains. Nothing here waits with the lock
 * held. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "base/threads.h"
#include "server/pool_private.h"

void ci_pool_wait(struct ci_pool *pool, double until) {
    if (isinf(until)) {
        pthread_cond_wait(&pool->changed, &pool->lock);
        return;
    }
    struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    pthread_cond_clockwait(&pool->changed, &pool->lock, CLOCK_MONOTONIC, &at);
}

/* ---- room ---- */

static bool has_memory(const struct ci_pool_model *model) {
    return model->state == CI_POOL_LOADING || model->state == CI_POOL_LOADED || model->state == CI_POOL_UNLOADING;
}

static uint64_t bytes_of(const struct ci_pool_model *model) {
    return model->facts.bytes > model->file_bytes ? model->facts.bytes : model->file_bytes;
}

/* Of all that are in memory; *count of them. */
static uint64_t bytes_in_use(const struct ci_pool *pool, int *count) {
    uint64_t bytes = 0;
    *count = 0;
    for (const struct ci_pool_model *model = pool->models; model; model = model->next) {
        if (!has_memory(model)) continue;
        ++*count;
        bytes = bytes_of(model) < UINT64_MAX - bytes ? bytes + bytes_of(model) : UINT64_MAX;
    }
    return bytes;
}

static bool has_room_for(const struct ci_pool *pool, const struct ci_pool_model *wanted) {
    int count;
    uint64_t most = pool->options.most_bytes, used = bytes_in_use(pool, &count);
    uint64_t bytes = bytes_of(wanted) < UINT64_MAX - used ? used + bytes_of(wanted) : UINT64_MAX;
    return (!pool->options.most_loaded || count < pool->options.most_loaded) && (!most || bytes <= most);
}

/* Of the loaded ones, and of those only idle ones if so wanted; what has to go anyway first. NULL: none. */
static struct ci_pool_model *least_recently_used(const struct ci_pool *pool, bool idle,
                                                 const struct ci_pool_model *except) {
    struct ci_pool_model *found = NULL;
    for (struct ci_pool_model *model = pool->models; model; model = model->next) {
        if (model == except || model->state != CI_POOL_LOADED || (idle && model->users)) continue;
        if (!found || model->drains > found->drains ||
            (model->drains == found->drains && model->last_used < found->last_used))
            found = model;
    }
    return found;
}

static bool any_in(const struct ci_pool *pool, enum ci_pool_state state) {
    for (const struct ci_pool_model *model = pool->models; model; model = model->next)
        if (model->state == state) return true;
    return false;
}

/* ---- waiters ---- */

static void serve(struct ci_pool_model *model, enum clinfer_status status) {
    while (model->waiters) {
        struct ci_pool_waiter *waiter = model->waiters;
        model->waiters = waiter->next;
        waiter->status = status;
        if (status == CLINFER_OK)
            model->users++;
        else
            snprintf(waiter->message, sizeof waiter->message, "%s", model->failure);
        waiter->served = true;
    }
    model->ticket = 0;
    model->asked = false;
    pthread_cond_broadcast(&model->pool->changed);
}

void ci_pool_enter(struct ci_pool_model *model, enum ci_pool_state state) {
    struct ci_pool *pool = model->pool;
    model->state = state;
    if (state == CI_POOL_LOADED || state == CI_POOL_FAILED || state == CI_POOL_UNLOADED) {
        clinfer_free(model->rungs);
        model->rungs = NULL;
    }
    if (pool->watch && !model->is_vectors) pool->watch(pool->watch_user, model->entry.name, state);
}

static void fail(struct ci_pool_model *model, enum clinfer_status status, const char *message) {
    ci_pool_enter(model, CI_POOL_FAILED);
    snprintf(model->failure, sizeof model->failure, "%s", message);
    serve(model, status);
}

/* ---- threads that load and close ---- */

static bool begin_thread(struct ci_pool_model *model, void *(*run)(void *)) {
    pthread_t thread;
    if (ci_threads_start(&thread, run, model) != 0) return false;
    pthread_detach(thread);
    model->pool->threads++;
    return true;
}

/* Leaves the lock: the pool may be gone afterwards. */
static void *end_thread(struct ci_pool *pool) {
    pool->threads--;
    ci_pool_schedule(pool);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void take_loaded(struct ci_pool_model *model, clinfer_router *router, double seconds) {
    model->router = router;
    ci_pool_enter(model, CI_POOL_LOADED);
    model->load_seconds = seconds;
    model->loaded = (int64_t)time(NULL);
    model->last_used = ci_now();
    model->failure[0] = '\0';
    double own = model->entry.keep_alive;
    model->keep_alive = isnan(own) ? model->pool->options.keep_alive : own;
    serve(model, CLINFER_OK);
}

/* Others may have the memory that it needs: then one of them goes out and it is tried again. */
static bool makes_room(struct ci_pool_model *model) {
    struct ci_pool_model *other = least_recently_used(model->pool, true, model);
    if (other) ci_pool_close_model(other, CI_POOL_UNLOADED);
    if (!any_in(model->pool, CI_POOL_UNLOADING)) return false;
    ci_pool_enter(model, CI_POOL_UNLOADED);
    model->starved = true;
    return true;
}

static void *load(void *user) {
    struct ci_pool_model *model = user;
    struct ci_pool *pool = model->pool;
    clinfer_router *router = NULL;
    struct ci_pool_facts facts = {0};
    pthread_mutex_lock(&pool->lock);
    struct clinfer_router_options options = model->entry.router;
    pthread_mutex_unlock(&pool->lock);
    double start = ci_now();
    enum clinfer_status status = pool->methods->open(&options, pool->options.unproven, &router);
    if (status == CLINFER_OK) pool->methods->describe(router, &facts);
    pthread_mutex_lock(&pool->lock);
    if (status == CLINFER_OK) {
        model->facts = facts;
        take_loaded(model, router, ci_now() - start);
    } else if (status != CLINFER_OUT_OF_MEMORY || !makes_room(model)) {
        ci_log(CLINFER_LOG_ERROR, "%s: %s", model->entry.name, ci_status_message());
        fail(model, status, ci_status_message());
    }
    return end_thread(pool);
}

static void *close_router(void *user) {
    struct ci_pool_model *model = user;
    struct ci_pool *pool = model->pool;
    pthread_mutex_lock(&pool->lock);
    clinfer_router *router = model->router;
    pthread_mutex_unlock(&pool->lock);
    pool->methods->close(router);
    pthread_mutex_lock(&pool->lock);
    model->router = NULL;
    ci_pool_enter(model, model->goes_out);
    return end_thread(pool);
}

void ci_pool_close_model(struct ci_pool_model *model, enum ci_pool_state then) {
    const struct ci_pool_methods *methods = model->pool->methods;
    model->goes_out = then;
    if (then == CI_POOL_SLEEPING && methods->rungs &&
        methods->rungs(model->router, &model->rungs, &model->rung_count) != CLINFER_OK)
        model->rungs = NULL;
    ci_pool_enter(model, CI_POOL_UNLOADING);
    if (begin_thread(model, close_router)) {
        model->leaves = model->drains = false;
        return;
    }
    ci_pool_enter(model, CI_POOL_LOADED);
    ci_log(CLINFER_LOG_WARNING, "%s stays loaded: no thread to close it", model->entry.name);
}

static void begin_load(struct ci_pool_model *model) {
    model->starved = false;
    ci_pool_enter(model, CI_POOL_LOADING); /* keeps its ticket, for another try */
    if (!begin_thread(model, load)) fail(model, CLINFER_OUT_OF_MEMORY, "no thread to load the model");
}

/* ---- who is next ---- */

/* One that is on its way out itself is passed over: it cannot come in before it is out. */
static bool is_in_line(const struct ci_pool_model *model) {
    if (!model->ticket || model->state == CI_POOL_LOADING || model->state == CI_POOL_UNLOADING) return false;
    return model->state != CI_POOL_LOADED || !model->leaves;
}

static struct ci_pool_model *first_in_line(const struct ci_pool *pool) {
    struct ci_pool_model *first = NULL;
    for (struct ci_pool_model *model = pool->models; model; model = model->next)
        if (is_in_line(model) && (!first || model->ticket < first->ticket)) first = model;
    return first;
}

static void drain_one(struct ci_pool *pool) {
    for (const struct ci_pool_model *model = pool->models; model; model = model->next)
        if (model->drains) return;
    struct ci_pool_model *model = least_recently_used(pool, false, NULL);
    if (model) model->drains = true;
}

/* What goes out because it was told to, by people or by a new list. */
static void let_go(struct ci_pool *pool) {
    for (struct ci_pool_model *model = pool->models; model; model = model->next)
        if (model->leaves && model->state == CI_POOL_LOADED && model->users == 0)
            ci_pool_close_model(model, CI_POOL_UNLOADED);
}

/* How much a model takes is known when it is loaded: then another one may have to go. */
static void keep_budget(struct ci_pool *pool) {
    int count;
    if (!pool->options.most_bytes || bytes_in_use(pool, &count) <= pool->options.most_bytes || count < 2) return;
    if (any_in(pool, CI_POOL_UNLOADING)) return;
    struct ci_pool_model *idle = least_recently_used(pool, true, NULL);
    if (idle) ci_pool_close_model(idle, CI_POOL_UNLOADED);
}

/* false: nothing more can be done for now. */
static bool advance(struct ci_pool *pool, struct ci_pool_model *wanted) {
    if (wanted->state == CI_POOL_LOADED) { /* it was to make room for one that is not wanted any more */
        wanted->last_used = ci_now();
        serve(wanted, CLINFER_OK);
        return true;
    }
    uint64_t most = pool->options.most_bytes, bytes = bytes_of(wanted);
    if (most && bytes > most) {
        char message[CI_POOL_MESSAGE_BYTES];
        snprintf(message, sizeof message,
                 "%.200s needs %.1f GB, and all models together may have %.1f GB; raise that, or take a smaller one",
                 wanted->entry.name, (double)bytes / 1e9, (double)most / 1e9);
        fail(wanted, CLINFER_OUT_OF_MEMORY, message);
        return true;
    }
    if (wanted->starved && any_in(pool, CI_POOL_UNLOADING)) return false;
    if (has_room_for(pool, wanted)) {
        begin_load(wanted);
        return true;
    }
    if (any_in(pool, CI_POOL_UNLOADING)) return false;
    struct ci_pool_model *idle = least_recently_used(pool, true, wanted);
    if (idle)
        ci_pool_close_model(idle, CI_POOL_UNLOADED);
    else
        drain_one(pool);
    return false;
}

void ci_pool_schedule(struct ci_pool *pool) {
    if (pool->stopped) return;
    let_go(pool);
    keep_budget(pool);
    struct ci_pool_model *wanted;
    while ((wanted = first_in_line(pool)))
        if (!advance(pool, wanted)) break;
    if (wanted) return;
    for (struct ci_pool_model *model = pool->models; model; model = model->next) model->drains = false;
}

/* ---- what nobody asks for ---- */

double ci_pool_expiry(const struct ci_pool_model *model, enum ci_pool_state *then) {
    double sleep = model->pool->options.sleep_seconds;
    double asleep = sleep > 0 ? model->last_used + sleep : (double)INFINITY;
    double out = model->keep_alive >= 0 ? model->last_used + model->keep_alive : (double)INFINITY;
    *then = asleep < out ? CI_POOL_SLEEPING : CI_POOL_UNLOADED;
    return asleep < out ? asleep : out;
}

static void forget_vectors(const struct ci_pool_model *vectors) {
    for (struct ci_pool_model *model = vectors->pool->models; model; model = model->next)
        if (model->vectors == vectors) model->vectors = NULL;
}

/* Those for vectors before what they were made of. */
static void free_removed(struct ci_pool *pool) {
    for (struct ci_pool_model **link = &pool->models; *link;) {
        struct ci_pool_model *model = *link;
        if (model->removed && !has_memory(model) && !model->users && !model->waiters && !model->ticket &&
            !model->vectors) {
            if (model->is_vectors) forget_vectors(model);
            *link = model->next;
            ci_pool_free_model(model);
        } else {
            link = &model->next;
        }
    }
}

void *ci_pool_keep(void *user) {
    struct ci_pool *pool = user;
    pthread_mutex_lock(&pool->lock);
    while (!pool->ends) {
        double next = (double)INFINITY;
        for (struct ci_pool_model *model = pool->models; model; model = model->next) {
            enum ci_pool_state then;
            if (model->state != CI_POOL_LOADED || model->users) continue;
            double expiry = ci_pool_expiry(model, &then);
            if (expiry <= ci_now())
                ci_pool_close_model(model, then);
            else if (expiry < next)
                next = expiry;
        }
        free_removed(pool);
        ci_pool_wait(pool, next);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}
