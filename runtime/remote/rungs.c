/* rungs.c: the rungs of this machine: their runners opened, given up, left behind when they hang, and tried again.
 *
 * A rung that failed is out of use. Where the failure was its device's, and the router is to try it again, another
 * engine is opened there after a while, behind everybody's back, and has to compute something; only then requests go
 * there again. Each failure doubles the while. One that hung holds a thread in its driver and is never asked again.
 *
 * All of it under the router's lock. */
#include "remote/router.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "graph/choices.h"

static atomic_bool left_behind;

bool clinfer_left_behind(void) { return atomic_load(&left_behind); }

void ci_rungs_note_left_behind(void) { atomic_store(&left_behind, true); }

/* What was said of the device that was asked for need not hold for another one. */
static struct clinfer_engine_options options_of(const struct clinfer_router *router, int rung) {
    struct clinfer_engine_options options = router->options.engine;
    if (rung == 0) return options;
    options.op_count = 0;
    options.device_layers = -1;
    if (ci_choices_is_file(options.tuning)) options.tuning = "auto";
    return options;
}

/* A runner that ends needs a place among those that have. */
static enum clinfer_status reserve_end(struct clinfer_router *router) {
    int needed = router->ended_count + 2 * router->local_count + 1;
    if (needed <= router->ended_capacity) return CLINFER_OK;
    struct ci_runner **ended = realloc(router->ended, (size_t)(2 * needed) * sizeof *ended);
    if (!ended) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    router->ended = ended;
    router->ended_capacity = 2 * needed;
    return CLINFER_OK;
}

static enum clinfer_status open_runner(struct clinfer_router *router, int index, bool prove,
                                       struct ci_runner **runner) {
    struct clinfer_engine_options options = options_of(router, index);
    const struct ci_runner_options own = {
        .prove = prove, .save_seconds = router->options.save_seconds, .bell = &router->bell};
    enum clinfer_status status = reserve_end(router);
    return status == CLINFER_OK ? ci_runner_create(&options, &router->rungs[index].place, &own, runner) : status;
}

enum clinfer_status ci_rungs_runner(struct clinfer_router *router, int index, struct ci_runner **runner) {
    struct ci_rung *rung = &router->rungs[index];
    if (!rung->runner) {
        rung->ready = false;
        enum clinfer_status status = open_runner(router, index, router->options.prove, &rung->runner);
        if (status != CLINFER_OK) return status;
    }
    *runner = rung->runner;
    return CLINFER_OK;
}

/* ---- out of use ---- */

static void note(struct clinfer_router *router, struct ci_rung *rung, enum clinfer_status status) {
    rung->out = true;
    rung->ready = rung->shown = false;
    rung->status = status;
    snprintf(rung->reason, sizeof rung->reason, "%s", ci_status_message());
    pthread_cond_broadcast(&router->changed);
}

static void end_runner(struct clinfer_router *router, struct ci_runner **runner) {
    if (!*runner) return;
    ci_runner_end(*runner);
    router->ended[router->ended_count++] = *runner;
    *runner = NULL;
}

/* A device that failed again soon after it came back is trusted for less time. */
static void plan_retry(const struct clinfer_router *router, struct ci_rung *rung) {
    const struct clinfer_router_options *options = &router->options;
    double most = options->retry_most_seconds > 0 ? options->retry_most_seconds : 600, now = ci_now();
    bool soon = rung->retry_seconds > 0 && now - rung->came_back < most;
    rung->retry_seconds = soon ? 2 * rung->retry_seconds : options->retry_seconds;
    if (rung->retry_seconds > most) rung->retry_seconds = most;
    rung->again = now + rung->retry_seconds;
}

void ci_rungs_retire(struct clinfer_router *router, int index, enum clinfer_status status, bool of_device) {
    struct ci_rung *rung = &router->rungs[index];
    note(router, rung, status);
    end_runner(router, &rung->runner);
    rung->again = 0;
    if (of_device && router->options.retry_seconds > 0) plan_retry(router, rung);
}

static bool abandon(struct ci_runner *runner) {
    bool left = ci_runner_abandon(runner);
    if (left) atomic_store(&left_behind, true);
    return left;
}

bool ci_rungs_leave(struct clinfer_router *router, int index, struct ci_runner *runner) {
    if (index >= 0) {
        struct ci_rung *rung = &router->rungs[index];
        if (!abandon(runner)) return false;
        rung->runner = NULL;
        rung->hung = true;
        rung->again = 0;
        note(router, rung, CLINFER_DEVICE_ERROR);
        return true;
    }
    for (int i = 0; i < router->ended_count; i++) {
        if (router->ended[i] != runner) continue;
        if (!abandon(runner)) return false;
        router->ended[i] = router->ended[--router->ended_count];
        return true;
    }
    return true; /* it was left before */
}

struct ci_runner *ci_rungs_ending(const struct clinfer_router *router, const clinfer_engine *engine) {
    for (int i = 0; i < router->ended_count; i++)
        if (ci_runner_is_held(router->ended[i], engine)) return router->ended[i];
    return NULL;
}

enum clinfer_status ci_rungs_fail_hanging(double silent, bool opening) {
    return ci_fail(CLINFER_DEVICE_ERROR, "nothing came for %.1f s %s: it hangs and is left behind (--watchdog)", silent,
                   opening ? "while the model was loaded and kernels were built" : "in the middle of a request");
}

/* ---- looked after ---- */

/* The rung's engine is open, or never will be. */
static void look_at_opening(struct clinfer_router *router, int index) {
    struct ci_rung *rung = &router->rungs[index];
    enum clinfer_status status;
    bool of_device;
    double silent;
    if (ci_runner_wait_open(rung->runner, 0, &status, &of_device)) {
        rung->ready = status == CLINFER_OK;
        rung->of_model = !of_device;
        if (status != CLINFER_OK) ci_rungs_retire(router, index, status, of_device);
        pthread_cond_broadcast(&router->changed);
    } else if (ci_runner_hangs(rung->runner, &router->limits, &silent)) {
        ci_rungs_fail_hanging(silent, true);
        ci_rungs_leave(router, index, rung->runner);
    }
}

static void come_back(struct ci_rung *rung) {
    ci_log(CLINFER_LOG_NOTICE, "%s: it works again; requests go there from now on", rung->name);
    rung->runner = rung->trial;
    rung->trial = NULL;
    rung->out = rung->told = rung->of_model = false;
    rung->ready = true;
    rung->status = CLINFER_OK;
    rung->reason[0] = 0;
    rung->again = 0;
    rung->came_back = ci_now();
}

static void look_at_trial(struct clinfer_router *router, struct ci_rung *rung) {
    enum clinfer_status status;
    bool of_device;
    double silent;
    if (ci_runner_wait_open(rung->trial, 0, &status, &of_device)) {
        if (status == CLINFER_OK) {
            come_back(rung);
            pthread_cond_broadcast(&router->changed);
            return;
        }
        note(router, rung, status);
        end_runner(router, &rung->trial);
        plan_retry(router, rung);
        ci_log(CLINFER_LOG_WARNING, "%s: tried again, and still: %s; again in %.0f s", rung->name, rung->reason,
               rung->retry_seconds);
    } else if (ci_runner_hangs(rung->trial, &router->limits, &silent)) {
        ci_rungs_fail_hanging(silent, true);
        if (!abandon(rung->trial)) return;
        rung->trial = NULL;
        rung->hung = true;
        rung->again = 0;
        note(router, rung, CLINFER_DEVICE_ERROR);
        ci_log(CLINFER_LOG_WARNING, "%s: tried again: %s; it is not asked any more", rung->name, rung->reason);
    }
}

static void try_again(struct clinfer_router *router, int index) {
    struct ci_rung *rung = &router->rungs[index];
    if (open_runner(router, index, true, &rung->trial) == CLINFER_OK) return;
    rung->trial = NULL;
    note(router, rung, CLINFER_OUT_OF_MEMORY);
    plan_retry(router, rung);
}

/* When the engine of a rung below one that works may close, of ci_now(); 0: it is none of these, or may not. It stays
 * for a while, since a device that failed may do so again, and one that has no memory for a request may have none for
 * the next. */
static double spare_until(const struct clinfer_router *router, int index) {
    static const double least_seconds = 60;
    const struct ci_rung *rung = &router->rungs[index], *above = router->rungs;
    while (above < rung && above->out) above++;
    if (above == rung || !above->ready || !rung->ready || !rung->runner || rung->shown) return 0;
    double since = rung->used > above->came_back ? rung->used : above->came_back;
    return since + (above->retry_seconds > 0 ? 2 * above->retry_seconds : least_seconds);
}

/* What is under way there, or is still held, keeps it open. */
static void close_spare(struct clinfer_router *router) {
    for (int i = 1; i < router->local_count; i++) {
        struct ci_rung *rung = &router->rungs[i];
        double until = spare_until(router, i);
        if (!(until > 0) || ci_now() < until || !ci_runner_is_unused(rung->runner)) continue;
        ci_log(CLINFER_LOG_INFO, "%s: closed, since nothing has needed it for a while", rung->name);
        end_runner(router, &rung->runner);
        rung->ready = false;
    }
}

/* Those of which nobody has anything any more. */
static void close_ended(struct clinfer_router *router) {
    for (int i = router->ended_count - 1; i >= 0; i--) {
        if (!ci_runner_is_closed(router->ended[i])) continue;
        ci_runner_close(router->ended[i], &router->limits);
        router->ended[i] = router->ended[--router->ended_count];
    }
}

bool ci_rungs_look(struct clinfer_router *router) {
    bool busy = false;
    close_ended(router);
    close_spare(router);
    for (int i = 0; i < router->local_count; i++) {
        struct ci_rung *rung = &router->rungs[i];
        if (rung->runner && !rung->ready) look_at_opening(router, i);
        if (rung->trial)
            look_at_trial(router, rung);
        else if (rung->out && rung->again > 0 && ci_now() >= rung->again)
            try_again(router, i);
        busy = busy || rung->trial || (rung->runner && !rung->ready);
    }
    return busy;
}

double ci_rungs_next_look(const struct clinfer_router *router) {
    double next = 0, soon = ci_now() + 1;
    for (int i = 0; i < router->local_count; i++) {
        const struct ci_rung *rung = &router->rungs[i];
        double spare = spare_until(router, i), at = rung->out && !rung->trial ? rung->again : 0;
        if (spare > 0) at = spare > soon ? spare : soon;
        if (at > 0 && (!(next > 0) || at < next)) next = at;
    }
    return next;
}

/* ---- opened ahead of requests ---- */

static void retire_rest(struct clinfer_router *router, int from, enum clinfer_status status) {
    for (int i = from; i < router->local_count; i++)
        if (!router->rungs[i].out) ci_rungs_retire(router, i, status, false);
}

void ci_rungs_keep_open(struct clinfer_router *router) {
    struct ci_rung *failed = NULL;
    for (int i = 0; i < router->local_count && router->wanted; i++) {
        struct ci_rung *rung = &router->rungs[i];
        struct ci_runner *runner;
        if (!rung->out) {
            if (failed && !failed->told && !rung->runner)
                ci_log(CLINFER_LOG_WARNING, "%s: %s; %s is next", failed->name, failed->reason, rung->name);
            if (failed && !rung->runner) failed->told = true;
            enum clinfer_status status = ci_rungs_runner(router, i, &runner);
            if (status == CLINFER_OK) return;
            ci_rungs_retire(router, i, status, true);
        }
        router->start_status = rung->status;
        snprintf(router->start_message, sizeof router->start_message, "%s", rung->reason);
        failed = rung;
        bool of_options = rung->status == CLINFER_INVALID_ARGUMENT;
        if (!rung->of_model && !of_options) continue;
        ci_fail(rung->status, "%s", rung->reason);
        retire_rest(router, i + 1, rung->status);
        break;
    }
    router->wanted = false;
    pthread_cond_broadcast(&router->changed);
}
