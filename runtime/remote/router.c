/* router.c: the rungs of a ladder, and the engines on them. */
#define _GNU_SOURCE
#include "remote/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/require.h"
#include "graph/choices.h"

static atomic_bool left_behind;

bool clinfer_left_behind(void) { return atomic_load(&left_behind); }

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
    router->shown = calloc(most, sizeof *router->shown);
    router->ended = calloc(most, sizeof *router->ended);
    router->remotes = calloc(options->remote_count + 1, sizeof *router->remotes);
    if (!router->rungs || !router->shown || !router->ended || !router->remotes)
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
    return CLINFER_OK;
}

static void destroy(struct clinfer_router *router) {
    for (int i = 0; i < router->count; i++) {
        struct ci_rung *rung = &router->rungs[i];
        if (rung->runner && !ci_runner_close(rung->runner, &router->limits)) atomic_store(&left_behind, true);
        free(rung->name);
    }
    for (int i = 0; i < router->ended_count; i++)
        if (!ci_runner_close(router->ended[i], &router->limits)) atomic_store(&left_behind, true);
    free(router->rungs);
    free(router->shown);
    free(router->ended);
    free(router->remotes);
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
    double watchdog = options->watchdog_seconds;
    router->limits = watchdog > 0 ? (struct ci_watch_limits){.step = watchdog, .build = 10 * watchdog}
                                  : (struct ci_watch_limits){.step = 30, .build = 300, .times = 10};
    status = make_ladder(router);
    if (status != CLINFER_OK) {
        destroy(router);
        return status;
    }
    *out = router;
    return CLINFER_OK;
}

void clinfer_router_close(clinfer_router *router) {
    if (!router || !ci_process_owns(router->process)) return;
    router->closing = router->conversations != NULL;
    if (router->closing)
        ci_log(CLINFER_LOG_ERROR, "clinfer_router_close: conversations of the router are left; the last one closes it "
                                  "when it is destroyed");
    else
        destroy(router);
}

/* ---- engines ---- */

/* What was said of the device that was asked for need not hold for another one. */
static struct clinfer_engine_options options_of(const struct clinfer_router *router, int rung) {
    struct clinfer_engine_options options = router->options.engine;
    if (rung == 0) return options;
    options.op_count = 0;
    options.device_layers = -1;
    if (ci_choices_is_file(options.tuning)) options.tuning = "auto";
    return options;
}

enum clinfer_status ci_router_runner(struct clinfer_router *router, int index, struct ci_runner **runner) {
    struct ci_rung *rung = &router->rungs[index];
    if (!rung->runner) {
        struct clinfer_engine_options options = options_of(router, index);
        enum clinfer_status status = ci_runner_create(&options, &rung->place, &rung->runner);
        if (status != CLINFER_OK) return status;
    }
    *runner = rung->runner;
    return CLINFER_OK;
}

void ci_router_retire(struct clinfer_router *router, int index, enum clinfer_status status, bool hangs) {
    struct ci_rung *rung = &router->rungs[index];
    rung->out = true;
    rung->status = status;
    snprintf(rung->reason, sizeof rung->reason, "%s", ci_status_message());
    if (!rung->runner) return;
    if (hangs) {
        ci_runner_abandon(rung->runner);
        atomic_store(&left_behind, true);
    } else {
        ci_runner_end(rung->runner);
        router->ended[router->ended_count++] = rung->runner;
    }
    rung->runner = NULL;
}

void ci_router_leave_ended(struct clinfer_router *router, struct ci_runner *runner) {
    for (int i = 0; i < router->ended_count; i++) {
        if (router->ended[i] != runner) continue;
        router->ended[i] = router->ended[--router->ended_count];
        ci_runner_abandon(runner);
        atomic_store(&left_behind, true);
        return;
    }
}

enum clinfer_status ci_router_fail_hanging(double silent, bool opening) {
    return ci_fail(CLINFER_DEVICE_ERROR, "nothing came for %.1f s %s: it hangs and is left behind (--watchdog)", silent,
                   opening ? "while the model was loaded and kernels were built" : "in the middle of a request");
}

/* Until the engine on this rung is open. *of_device: the failure is no fault of the model. */
static enum clinfer_status open_rung(struct clinfer_router *router, int index, bool *of_device) {
    struct ci_runner *runner;
    double silent;
    *of_device = true;
    enum clinfer_status status = ci_router_runner(router, index, &runner);
    if (status != CLINFER_OK) return status;
    while (!ci_runner_wait_open(runner, 0.1, &status, of_device)) {
        if (!ci_runner_hangs(runner, &router->limits, &silent)) continue;
        status = ci_router_fail_hanging(silent, true);
        ci_router_retire(router, index, status, true);
        return status;
    }
    if (status != CLINFER_OK) ci_router_retire(router, index, status, false);
    return status;
}

enum clinfer_status clinfer_router_start(clinfer_router *router) {
    CI_REQUIRE(router, "router");
    CI_REQUIRE_PROCESS(router->process, "router");
    enum clinfer_status status = CLINFER_OK;
    bool remotes = router->count > router->local_count;
    for (int i = 0; i < router->local_count; i++) {
        bool of_device;
        if (router->rungs[i].out) {
            status = ci_fail(router->rungs[i].status, "%s", router->rungs[i].reason);
            continue;
        }
        if (i > 0 && status != CLINFER_OK) {
            ci_log(CLINFER_LOG_WARNING, "%s: %s; %s is next", router->rungs[i - 1].name, ci_status_message(),
                   router->rungs[i].name);
            router->rungs[i - 1].told = true;
        }
        status = open_rung(router, i, &of_device);
        if (status == CLINFER_OK || status == CLINFER_INVALID_ARGUMENT) return status;
        if (of_device) continue;
        for (int k = i + 1; k < router->local_count; k++) ci_router_retire(router, k, status, false);
        break;
    }
    return remotes ? CLINFER_OK : status;
}

clinfer_engine *clinfer_router_engine(clinfer_router *router) {
    if (!router || !ci_process_owns(router->process)) return NULL;
    for (int i = 0; i < router->local_count; i++) {
        struct ci_runner *runner = router->rungs[i].runner;
        clinfer_engine *engine = runner ? ci_runner_engine(runner) : NULL;
        if (engine) return engine;
    }
    return NULL;
}

clinfer_engine *clinfer_router_take_engine(clinfer_router *router) {
    if (!router || !ci_process_owns(router->process)) return NULL;
    for (int i = 0; i < router->local_count; i++) {
        struct ci_runner *runner = router->rungs[i].runner;
        clinfer_engine *engine = runner ? ci_runner_hold(runner) : NULL;
        if (engine) return engine;
    }
    return NULL;
}

/* One of a runner that was left behind stays where it is. */
void clinfer_router_give_back_engine(clinfer_router *router, clinfer_engine *engine) {
    if (!router || !engine || !ci_process_owns(router->process)) return;
    struct ci_runner *holder = NULL;
    for (int i = 0; i < router->local_count && !holder; i++)
        if (router->rungs[i].runner && ci_runner_is_held(router->rungs[i].runner, engine))
            holder = router->rungs[i].runner;
    for (int i = 0; i < router->ended_count && !holder; i++)
        if (ci_runner_is_held(router->ended[i], engine)) holder = router->ended[i];
    if (holder) ci_runner_let_go(holder);
}

struct clinfer_rung ci_router_show(const struct ci_rung *rung) {
    return (struct clinfer_rung){.kind = rung->kind,
                                 .name = rung->name,
                                 .url = rung->remote ? rung->remote->url : "",
                                 .status = rung->status,
                                 .reason = rung->reason};
}

const struct clinfer_rung *clinfer_router_rungs(clinfer_router *router, size_t *count) {
    if (count) *count = 0;
    if (!router || !count) return NULL;
    for (int i = 0; i < router->count; i++) router->shown[i] = ci_router_show(&router->rungs[i]);
    *count = (size_t)router->count;
    return router->shown;
}
