/* router.c: the rungs of a ladder, and the engines on them. */
#define _GNU_SOURCE
#include "remote/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"

/* ---- making the ladder ---- */

static bool allows_remotes(const struct clinfer_router_options *options) {
    return options->remote_only || options->engine.fallback == CLINFER_FALLBACK_REMOTE;
}

static enum clinfer_status add_local(struct clinfer_router *router, const struct ci_engine_rung *place) {
    struct ci_rung *rung = &router->rungs[router->count++];
    rung->kind = place->devices.count ? CLINFER_RUNG_DEVICE : CLINFER_RUNG_CPU;
    rung->place = *place;
    rung->name = strdup(place->name);
    router->local_count = router->count;
    return rung->name ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
}

/* What was asked for and is not there: a rung all the same, so that the route tells. */
static enum clinfer_status add_missing(struct clinfer_router *router, const char *name, enum clinfer_status status,
                                       const char *reason) {
    struct ci_rung *rung = &router->rungs[router->count++];
    rung->kind = CLINFER_RUNG_DEVICE;
    rung->out = true;
    rung->status = status;
    snprintf(rung->reason, sizeof rung->reason, "%s", reason);
    rung->name = strdup(name);
    router->local_count = router->count;
    return rung->name ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
}

static enum clinfer_status add_locals(struct clinfer_router *router, const struct ci_engine_rung *places, int count,
                                      enum clinfer_status listed) {
    const struct clinfer_router_options *options = &router->options;
    bool first_only = options->engine.fallback == CLINFER_FALLBACK_NONE;
    enum clinfer_status status = CLINFER_OK;
    if (listed != CLINFER_OK) {
        if (first_only || count == 0) return listed;
        status = add_missing(router, options->engine.device, listed, ci_status_message());
    }
    for (int i = 0; i < count && status == CLINFER_OK && !(first_only && router->count); i++)
        status = add_local(router, &places[i]);
    return status;
}

static enum clinfer_status add_remotes(struct clinfer_router *router) {
    enum clinfer_status status = CLINFER_OK;
    if (!allows_remotes(&router->options)) return CLINFER_OK;
    for (size_t i = 0; i < router->options.remote_count && status == CLINFER_OK; i++) {
        if (!router->remotes[i].name || !router->remotes[i].url)
            return ci_fail(CLINFER_INVALID_ARGUMENT, "remotes[%zu]: its %s is NULL", i,
                           router->remotes[i].name ? "url" : "name");
        struct ci_rung *rung = &router->rungs[router->count++];
        rung->kind = CLINFER_RUNG_REMOTE;
        rung->remote = &router->remotes[i];
        rung->name = strdup(rung->remote->name);
        status = rung->name ? ci_remote_check(rung->remote) : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    }
    return status;
}

static enum clinfer_status make_ladder(struct clinfer_router *router) {
    const struct clinfer_router_options *options = &router->options;
    struct ci_engine_rung *places = NULL;
    int count = 0;
    enum clinfer_status listed = CLINFER_OK, status = CLINFER_OK;
    bool local = !options->remote_only && options->engine.model;
    if (local) listed = ci_engine_rungs(&options->engine, &places, &count);
    size_t most = (size_t)count + options->remote_count + 1;
    router->rungs = calloc(most, sizeof *router->rungs);
    router->remotes = calloc(options->remote_count + 1, sizeof *router->remotes);
    if (!router->rungs || !router->remotes)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    else if (local)
        status = add_locals(router, places, count, listed);
    else if (!options->remote_only)
        status = add_missing(router, "this machine", CLINFER_NOT_FOUND,
                             options->why_no_model ? options->why_no_model : "no model was given");
    for (size_t i = 0; i < options->remote_count && status == CLINFER_OK; i++) router->remotes[i] = options->remotes[i];
    if (status == CLINFER_OK) status = add_remotes(router);
    if (status == CLINFER_OK && router->count == 0)
        status = ci_fail(CLINFER_INVALID_ARGUMENT, "nothing may answer: no remote, and nothing may run here");
    free(places);
    return status;
}

static enum clinfer_status check_options(const struct clinfer_router_options *options) {
    enum clinfer_status status = ci_engine_check_options(&options->engine);
    if (status != CLINFER_OK) return status;
    if (options->remote_count && !options->remotes)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "router options: remotes is NULL, remote_count %zu",
                       options->remote_count);
    if (!(options->watchdog_seconds >= 0))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "router options: watchdog_seconds: %g, must be 0 or more",
                       options->watchdog_seconds);
    if (!(options->save_seconds >= 0))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "router options: save_seconds: %g, must be 0 or more",
                       options->save_seconds);
    return CLINFER_OK;
}

static void close_runner(const struct clinfer_router *router, struct ci_runner *runner) {
    if (runner && !ci_runner_close(runner, &router->limits)) ci_rungs_note_left_behind();
}

static void destroy(struct clinfer_router *router) {
    ci_keeper_end(router);
    for (int i = 0; i < router->count; i++) {
        struct ci_rung *rung = &router->rungs[i];
        close_runner(router, rung->runner);
        close_runner(router, rung->trial);
        free(rung->name);
    }
    for (int i = 0; i < router->ended_count; i++) close_runner(router, router->ended[i]);
    free(router->rungs);
    free(router->ended);
    free(router->remotes);
    sem_destroy(&router->bell);
    pthread_cond_destroy(&router->changed);
    pthread_mutex_destroy(&router->state_lock);
    pthread_mutex_destroy(&router->lock);
    free(router);
}

enum clinfer_status clinfer_router_open(const struct clinfer_router_options *options, clinfer_router **out) {
    CI_REQUIRE(out, "router");
    *out = NULL;
    CI_REQUIRE(options, "options");
    enum clinfer_status status = check_options(options);
    if (status != CLINFER_OK) return status;
    struct clinfer_router *router = calloc(1, sizeof *router);
    if (!router) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    router->process = getpid();
    router->options = *options;
    pthread_mutex_init(&router->lock, NULL);
    pthread_mutex_init(&router->state_lock, NULL);
    pthread_cond_init(&router->changed, NULL);
    sem_init(&router->bell, 0, 0);
    double watchdog = options->watchdog_seconds;
    router->limits = watchdog > 0 ? (struct ci_watch_limits){.step = watchdog, .build = 10 * watchdog}
                                  : (struct ci_watch_limits){.step = 30, .build = 300, .times = 10};
    status = make_ladder(router);
    if (status != CLINFER_OK) {
        destroy(router);
        return status;
    }
    ci_keeper_note_state(router);
    *out = router;
    return CLINFER_OK;
}

void clinfer_router_close(clinfer_router *router) {
    if (!router || !ci_process_owns(router->process)) return;
    pthread_mutex_lock(&router->lock);
    bool left = router->closing = router->conversations != NULL;
    pthread_mutex_unlock(&router->lock);
    if (left)
        ci_log(CLINFER_LOG_ERROR, "clinfer_router_close: conversations of the router are left; the last one closes it "
                                  "when it is destroyed");
    else
        destroy(router);
}

/* ---- engines ---- */

enum clinfer_status clinfer_router_begin(clinfer_router *router) {
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    enum clinfer_status status = ci_keeper_start(router);
    if (status != CLINFER_OK) return status;
    pthread_mutex_lock(&router->lock);
    router->wanted = true;
    pthread_mutex_unlock(&router->lock);
    sem_post(&router->bell);
    return CLINFER_OK;
}

/* The first rung of this machine that is in use; NULL: none. With the lock held. */
static struct ci_rung *first_local(const struct clinfer_router *router) {
    for (int i = 0; i < router->local_count; i++)
        if (!router->rungs[i].out) return &router->rungs[i];
    return NULL;
}

enum clinfer_status clinfer_router_start(clinfer_router *router) {
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    enum clinfer_status status = router->local_count ? clinfer_router_begin(router) : CLINFER_OK;
    if (status != CLINFER_OK || router->local_count == 0) return status;
    pthread_mutex_lock(&router->lock);
    const struct ci_rung *rung = first_local(router);
    while (router->wanted && !(rung && rung->ready)) {
        pthread_cond_wait(&router->changed, &router->lock);
        rung = first_local(router);
    }
    bool ready = rung && rung->ready;
    if (!ready) status = ci_fail(router->start_status, "%s", router->start_message);
    pthread_mutex_unlock(&router->lock);
    bool remotes = router->count > router->local_count && status != CLINFER_INVALID_ARGUMENT;
    return remotes ? CLINFER_OK : status;
}

/* ---- engines ---- */

clinfer_engine *clinfer_router_engine(clinfer_router *router) {
    clinfer_engine *engine = NULL;
    if (!router || !ci_process_owns(router->process)) return NULL;
    pthread_mutex_lock(&router->lock);
    for (int i = 0; i < router->local_count && !engine; i++)
        if (router->rungs[i].runner) {
            engine = ci_runner_engine(router->rungs[i].runner);
            router->rungs[i].shown = router->rungs[i].shown || engine;
        }
    pthread_mutex_unlock(&router->lock);
    return engine;
}

clinfer_engine *clinfer_router_take_engine(clinfer_router *router) {
    clinfer_engine *engine = NULL;
    if (!router || !ci_process_owns(router->process)) return NULL;
    pthread_mutex_lock(&router->lock);
    for (int i = 0; i < router->local_count && !engine; i++)
        if (router->rungs[i].runner) {
            engine = ci_runner_hold(router->rungs[i].runner);
            router->rungs[i].used = ci_now();
        }
    pthread_mutex_unlock(&router->lock);
    return engine;
}

/* One of a runner that was left behind stays where it is. */
void clinfer_router_give_back_engine(clinfer_router *router, clinfer_engine *engine) {
    if (!router || !engine || !ci_process_owns(router->process)) return;
    struct ci_runner *holder = NULL;
    pthread_mutex_lock(&router->lock);
    for (int i = 0; i < router->local_count && !holder; i++)
        if (router->rungs[i].runner && ci_runner_is_held(router->rungs[i].runner, engine))
            holder = router->rungs[i].runner;
    for (int i = 0; i < router->ended_count && !holder; i++)
        if (ci_runner_is_held(router->ended[i], engine)) holder = router->ended[i];
    if (holder) ci_runner_let_go(holder);
    pthread_mutex_unlock(&router->lock);
}

/* ---- to be looked at ---- */

struct clinfer_rung ci_router_show(const struct ci_rung *rung) {
    return (struct clinfer_rung){.kind = rung->kind,
                                 .name = rung->name,
                                 .url = rung->remote ? rung->remote->url : "",
                                 .status = rung->status,
                                 .reason = rung->reason};
}

/* The texts of all rungs behind them, in one block. */
static struct clinfer_rung *copy_rungs(const struct clinfer_router *router) {
    size_t bytes = 0, count = (size_t)router->count;
    double now = ci_now();
    for (size_t i = 0; i < count; i++) {
        const struct clinfer_rung rung = ci_router_show(&router->rungs[i]);
        bytes += strlen(rung.name) + strlen(rung.url) + strlen(rung.reason) + 3;
    }
    struct clinfer_rung *rungs = malloc(count * sizeof *rungs + bytes);
    if (!rungs) return NULL;
    char *text = (char *)(rungs + count);
    for (size_t i = 0; i < count; i++) {
        const struct ci_rung *from = &router->rungs[i];
        struct clinfer_rung *rung = &rungs[i];
        *rung = ci_router_show(from);
        const char **texts[] = {&rung->name, &rung->url, &rung->reason};
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
            char *copy = text;
            text = stpcpy(text, *texts[k]) + 1;
            *texts[k] = copy;
        }
        rung->again_seconds = !from->out ? 0 : !(from->again > 0) ? -1 : from->again > now ? from->again - now : 0;
        rung->answered = from->answered;
        rung->failed = from->failed;
        rung->total_tokens = from->tokens;
    }
    return rungs;
}

enum clinfer_status clinfer_router_rungs(clinfer_router *router, struct clinfer_rung **rungs, size_t *count) {
    CI_REQUIRE(rungs, "rungs");
    CI_REQUIRE(count, "count");
    *rungs = NULL;
    *count = 0;
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    pthread_mutex_lock(&router->lock);
    *rungs = copy_rungs(router);
    pthread_mutex_unlock(&router->lock);
    if (!*rungs) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d rungs", router->count);
    *count = (size_t)router->count;
    return CLINFER_OK;
}

void clinfer_router_get_stats(clinfer_router *router, struct clinfer_router_stats *stats) {
    if (!stats) return;
    *stats = (struct clinfer_router_stats){0};
    if (!router || !ci_process_owns(router->process)) return;
    pthread_mutex_lock(&router->lock);
    *stats = router->stats;
    for (const struct clinfer_conversation *each = router->conversations; each; each = each->next) {
        if (!each->active || each->ended || each->rung < 0) continue;
        bool runs = each->rung >= router->local_count || each->runs;
        stats->running += runs;
        stats->waiting += !runs;
    }
    for (int i = 0; i < router->local_count; i++)
        if (router->rungs[i].runner) ci_runner_add_stats(router->rungs[i].runner, stats);
    pthread_mutex_unlock(&router->lock);
}
