/* embed.c: texts as vectors on the ladder: what a device cannot finish the next rung of this machine begins anew.
 * Nothing of it goes to remotes.
 *
 * What runs on a device is a thread of its own, which may hang in the driver: who asked waits for it with an eye on its
 * watch (base/watch.h), and leaves it and its device behind when that is silent for too long. So all that the thread
 * touches is a copy, and belongs to both. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "base/threads.h"
#include "remote/router.h"

/* Texts that a thread makes vectors of. */
struct errand {
    clinfer_engine *engine;
    struct clinfer_tokens *texts; /* their tokens behind them, in one block */
    size_t count;
    enum clinfer_pooling pooling;
    float *vectors;
    size_t numbers;
    atomic_bool cancelled;
    struct ci_watch watch;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
    enum clinfer_status status;
    char message[CI_REASON_BYTES];
};

/* Whose fault a failure is: the same texts may do on another device. */
static bool is_of_device(enum clinfer_status status) {
    return status == CLINFER_DEVICE_ERROR || status == CLINFER_NO_DEVICE || status == CLINFER_WRONG_RESULT;
}

/* ---- on the thread ---- */

static bool goes_on_there(void *user) {
    const struct errand *errand = user;
    ci_watch_begin_alone(0); /* what came before has been waited for */
    return !atomic_load(&errand->cancelled);
}

static void *run(void *user) {
    struct errand *errand = user;
    ci_watch_by(&errand->watch);
    enum clinfer_status status = clinfer_embed_all(errand->engine, errand->texts, errand->count, errand->pooling,
                                                   goes_on_there, errand, errand->vectors);
    ci_watch_begin(CI_WATCH_IDLE, 0);
    ci_watch_by(NULL);
    pthread_mutex_lock(&errand->lock);
    errand->status = status;
    if (status != CLINFER_OK) strncpy(errand->message, ci_status_message(), sizeof errand->message - 1);
    errand->done = true;
    pthread_cond_broadcast(&errand->changed);
    pthread_mutex_unlock(&errand->lock);
    return NULL;
}

/* ---- on the one that asks ---- */

static void free_errand(struct errand *errand) {
    if (!errand) return;
    free(errand->texts);
    free(errand->vectors);
    pthread_cond_destroy(&errand->changed);
    pthread_mutex_destroy(&errand->lock);
    free(errand);
}

/* Numbers that clinfer_embed_all() writes. */
static size_t count_numbers(clinfer_engine *engine, const struct clinfer_tokens *texts, size_t count,
                            enum clinfer_pooling pooling) {
    struct clinfer_engine_info info;
    size_t rows = 0;
    clinfer_engine_get_info(engine, &info);
    for (size_t i = 0; i < count; i++) rows += pooling == CLINFER_POOLING_NONE ? texts[i].count : 1;
    return rows * (size_t)(pooling == CLINFER_POOLING_RANK ? info.scores : info.outputs);
}

static struct errand *make_errand(clinfer_engine *engine, const struct clinfer_tokens *texts, size_t count,
                                  enum clinfer_pooling pooling) {
    struct errand *errand = calloc(1, sizeof *errand);
    size_t tokens = 0;
    if (!errand) return NULL;
    pthread_mutex_init(&errand->lock, NULL);
    pthread_cond_init(&errand->changed, NULL);
    for (size_t i = 0; i < count; i++) tokens += texts[i].count;
    errand->engine = engine;
    errand->count = count;
    errand->pooling = pooling;
    errand->numbers = count_numbers(engine, texts, count, pooling);
    errand->texts = malloc((count + 1) * sizeof *errand->texts + tokens * sizeof *texts->tokens);
    errand->vectors = calloc(errand->numbers + 1, sizeof *errand->vectors);
    if (!errand->texts || !errand->vectors) {
        free_errand(errand);
        return NULL;
    }
    int32_t *next = (int32_t *)(errand->texts + count + 1);
    for (size_t i = 0; i < count; i++) {
        errand->texts[i] = texts[i];
        errand->texts[i].tokens = next;
        if (texts[i].count) memcpy(next, texts[i].tokens, texts[i].count * sizeof *next);
        next += texts[i].count;
    }
    return errand;
}

/* false: it is not done yet. */
static bool wait_a_little(struct errand *errand) {
    double until = ci_now() + 0.05;
    struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    pthread_mutex_lock(&errand->lock);
    if (!errand->done) pthread_cond_clockwait(&errand->changed, &errand->lock, CLOCK_MONOTONIC, &at);
    bool done = errand->done;
    pthread_mutex_unlock(&errand->lock);
    return done;
}

/* The rung whose engine is held; -1: that engine is of none any more. With the lock held. */
static int rung_of(const struct clinfer_router *router, const clinfer_engine *engine) {
    for (int i = 0; i < router->local_count; i++) {
        const struct ci_rung *rung = &router->rungs[i];
        if (rung->runner && ci_runner_is_held(rung->runner, engine)) return i;
    }
    return -1;
}

/* The rung on which it failed is out of use, unless a request has seen to that already. */
static void retire(struct clinfer_router *router, const clinfer_engine *engine, enum clinfer_status status) {
    pthread_mutex_lock(&router->lock);
    int at = rung_of(router, engine);
    if (at >= 0 && !router->rungs[at].out) {
        struct ci_rung *rung = &router->rungs[at];
        ci_log(CLINFER_LOG_WARNING, "%s: %s; texts go on elsewhere", rung->name, ci_status_message());
        ci_rungs_retire(router, at, status, true);
        rung->told = true;
        rung->failed++;
    }
    pthread_mutex_unlock(&router->lock);
}

/* Whether its device is left behind, by this or by who found out first. */
static bool is_left(struct clinfer_router *router, struct errand *errand) {
    double silent;
    bool hangs = ci_watch_expired(&errand->watch, &router->limits, &silent), left = false;
    pthread_mutex_lock(&router->lock);
    int at = rung_of(router, errand->engine);
    struct ci_rung *rung = at >= 0 ? &router->rungs[at] : NULL;
    struct ci_runner *runner = rung ? rung->runner : ci_rungs_ending(router, errand->engine);
    ci_rungs_fail_hanging(silent, false);
    left = !runner || (hangs && ci_rungs_leave(router, at, runner));
    if (left && rung) {
        ci_log(CLINFER_LOG_WARNING, "%s: %s; texts go on elsewhere", rung->name, rung->reason);
        rung->told = true;
        rung->failed++;
    }
    pthread_mutex_unlock(&router->lock);
    if (left) sem_post(&router->bell);
    return left;
}

/* As clinfer_embed_all(), and *left: the engine is not to be given back. */
static enum clinfer_status embed_on_device(struct clinfer_router *router, clinfer_engine *engine,
                                           const struct clinfer_tokens *texts, size_t count,
                                           enum clinfer_pooling pooling, bool (*goes_on)(void *), void *user,
                                           float *vectors, bool *left) {
    struct errand *errand = make_errand(engine, texts, count, pooling);
    pthread_t thread;
    if (!errand || ci_threads_start(&thread, run, errand) != 0) {
        free_errand(errand);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "no memory, or no thread, for vectors of %zu texts", count);
    }
    while (!wait_a_little(errand)) {
        if (goes_on && !goes_on(user)) atomic_store(&errand->cancelled, true);
        if (!is_left(router, errand)) continue;
        *left = true;
        pthread_detach(thread);
        return CLINFER_DEVICE_ERROR; /* the errand is the thread's for ever */
    }
    pthread_join(thread, NULL);
    enum clinfer_status status = errand->status;
    if (status == CLINFER_OK)
        memcpy(vectors, errand->vectors, errand->numbers * sizeof *vectors);
    else
        ci_fail(status, "%s", errand->message);
    free_errand(errand);
    return status;
}

static bool is_on_device(struct clinfer_router *router, const clinfer_engine *engine) {
    pthread_mutex_lock(&router->lock);
    int at = rung_of(router, engine);
    bool device = at < 0 || router->rungs[at].kind == CLINFER_RUNG_DEVICE;
    pthread_mutex_unlock(&router->lock);
    return device;
}

enum clinfer_status clinfer_router_embed(clinfer_router *router, const struct clinfer_tokens *texts, size_t count,
                                         enum clinfer_pooling pooling, bool (*goes_on)(void *), void *user,
                                         float *vectors) {
    enum clinfer_status status = CLINFER_OK;
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    if (count) CI_REQUIRE(texts, "texts");
    if (count) CI_REQUIRE(vectors, "vectors");
    for (size_t i = 0; i < count; i++)
        if (texts[i].count) CI_REQUIRE(texts[i].tokens, "texts[].tokens");
    for (int attempt = 0; attempt <= router->local_count; attempt++) {
        bool left = false;
        clinfer_engine *engine = clinfer_router_take_engine(router);
        if (!engine) {
            status = clinfer_router_start(router);
            engine = status == CLINFER_OK ? clinfer_router_take_engine(router) : NULL;
        }
        if (!engine)
            return status == CLINFER_OK
                       ? ci_fail(CLINFER_UNSUPPORTED, "no model runs on this machine, and remotes make no vectors here")
                       : status;
        status = is_on_device(router, engine)
                     ? embed_on_device(router, engine, texts, count, pooling, goes_on, user, vectors, &left)
                     : clinfer_embed_all(engine, texts, count, pooling, goes_on, user, vectors);
        if (is_of_device(status) && !left) retire(router, engine, status);
        if (!left) clinfer_router_give_back_engine(router, engine);
        if (!is_of_device(status)) break;
    }
    return status;
}
