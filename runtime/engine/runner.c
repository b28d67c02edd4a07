#define _GNU_SOURCE
#include "engine/runner_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/stop.h"
#include "base/threads.h"
#include "engine/engine_private.h"
#include "engine/prove.h"

/* ---- on the runner's thread ---- */

static void remove_task(struct ci_runner *runner, const struct ci_task *task) {
    struct ci_task **link = &runner->tasks;
    while (*link != task) link = &(*link)->next;
    *link = task->next;
}

void ci_task_free(struct ci_task *task) {
    free(task->messages);
    free(task->prompt);
    free(task->sampling);
    json_decref(task->request.prompt.tools);
    json_decref(task->request.prompt.variables);
    free((char *)(uintptr_t)task->request.tool_choice);
    free(task->tokens);
    free((char *)(uintptr_t)task->grammar.text);
    clinfer_free(task->prepared.tokens);
    ci_compiled_release(task->prepared.compiled);
    ci_cancel_release(task->request.cancel);
    free(task);
}

/* Who is told belongs to those that an abandoned runner is nothing to any more. With the lock held. */
static void ring(const struct ci_runner *runner) {
    if (runner->own.bell && !runner->abandoned) sem_post(runner->own.bell);
}

/* The failure's message is ci_status_message(). With the lock held. */
static void end_task(struct ci_task *task, enum clinfer_status status) {
    task->status = status;
    if (status != CLINFER_OK) strncpy(task->message, ci_status_message(), sizeof task->message - 1);
    remove_task(task->runner, task);
    task->state = CI_TASK_DONE;
    ring(task->runner);
    if (task->released) ci_task_free(task);
}

/* What takes no time, or had no thread of its own. */
static void prepare_here(struct ci_task *task) {
    if (task->preparation == CI_PREPARATION_DONE) return;
    const struct ci_watch_pause pause = ci_watch_pause();
    ci_task_prepare(task);
    ci_watch_resume(&pause);
}

/* With the lock held, which is let go of while sessions start. */
static void start_tasks(struct ci_runner *runner) {
    for (struct ci_task *task = runner->tasks; task; task = task->next) {
        bool of_model;
        if (task->state != CI_TASK_WAITS || task->preparation == CI_PREPARATION_RUNS) continue;
        if (ci_task_is_cancelled(task)) { /* before anybody could begin */
            task->result.finish = CLINFER_FINISH_CANCELLED;
            end_task(task, CLINFER_OK);
            pthread_cond_broadcast(&runner->changed);
            return;
        }
        if (ci_task_prepare_aside(task)) continue;
        task->state = CI_TASK_RUNS;
        pthread_mutex_unlock(&runner->lock);
        prepare_here(task);
        enum clinfer_status status = ci_task_start(task, &of_model);
        pthread_mutex_lock(&runner->lock);
        if (status == CLINFER_OK) continue;
        if (status == CLINFER_CANCELLED) { /* while its prompt was made */
            task->result.finish = CLINFER_FINISH_CANCELLED;
            status = CLINFER_OK;
        }
        task->of_model = of_model;
        end_task(task, status);
        pthread_cond_broadcast(&runner->changed);
        return; /* the list has changed: the caller comes again */
    }
}

/* After a step that computed some of a prompt. With the lock held, which is let go of while the receiver is told. */
static void tell_if_in_prompt(struct ci_task *task, size_t before) {
    size_t total = task->prompt_tokens, done = task->computed < total ? task->computed : total;
    if (!task->request.progress || before >= total || done <= before) return;
    pthread_mutex_unlock(&task->runner->lock);
    ci_task_tell_progress(task, done, total);
    pthread_mutex_lock(&task->runner->lock);
}

/* After a step: what has become of the tasks. With the lock held. */
static void look_at_tasks(struct ci_runner *runner) {
    bool some = false;
    for (struct ci_task *task = runner->tasks, *next; task; task = next) {
        next = task->next;
        if (task->state != CI_TASK_RUNS) continue;
        clinfer_session *session = task->seat->session;
        if (ci_task_is_cancelled(task)) clinfer_cancel(session);
        size_t before = task->computed;
        task->computed = ci_session_computed(session);
        tell_if_in_prompt(task, before);
        next = task->next; /* only now: others came in behind while the lock was open */
        if (ci_session_is_active(session)) continue;
        enum clinfer_status status = clinfer_wait(session, &task->result);
        end_task(task, status);
        some = true;
    }
    if (some) pthread_cond_broadcast(&runner->changed);
}

static bool any(const struct ci_runner *runner, enum ci_task_state state) {
    for (const struct ci_task *task = runner->tasks; task; task = task->next)
        if (task->state == state && task->preparation != CI_PREPARATION_RUNS) return true;
    return false;
}

static bool any_prepares(const struct ci_runner *runner) {
    for (const struct ci_task *task = runner->tasks; task; task = task->next)
        if (task->preparation == CI_PREPARATION_RUNS) return true;
    return false;
}

static void destroy_seats(struct ci_runner *runner) {
    while (runner->leaving) {
        struct ci_seat *seat = runner->leaving;
        runner->leaving = seat->next;
        runner->seats--;
        pthread_mutex_unlock(&runner->lock);
        clinfer_session_destroy(seat->session);
        free(seat);
        pthread_mutex_lock(&runner->lock);
    }
}

static bool may_close(const struct ci_runner *runner) {
    return runner->must_close || (runner->closing && runner->seats == 0);
}

/* Until something changes. What was freed before goes back to the system when it has been calm for a while. With the
 * lock held, which is let go of meanwhile. */
static void rest(struct ci_runner *runner, bool *tidy) {
    const double calm_seconds = 1;
    double until = ci_now() + calm_seconds;
    ci_watch_begin(CI_WATCH_IDLE, 0);
    if (*tidy)
        pthread_cond_wait(&runner->changed, &runner->lock);
    else
        ci_runner_wait_for_change(runner, until);
    if (!*tidy && ci_now() >= until) {
        *tidy = true;
        pthread_mutex_unlock(&runner->lock);
        ci_memory_give_back();
        pthread_mutex_lock(&runner->lock);
    }
    ci_watch_begin_alone(0);
}

static bool is_late(const struct ci_runner *runner) {
    return runner->close_until > 0 && ci_now() > runner->close_until;
}

/* Saving programs: for who comes, or where closing may take no longer. */
static bool stops_saving(void *user) {
    struct ci_runner *runner = user;
    pthread_mutex_lock(&runner->lock);
    bool stops = runner->abandoned || any(runner, CI_TASK_WAITS) || is_late(runner);
    pthread_mutex_unlock(&runner->lock);
    return stops;
}

/* The text is out: who wants more of it waits for one program at most. Returns whether some are left. With the lock
 * held, which is let go of meanwhile. */
static bool save_programs(struct ci_runner *runner) {
    pthread_mutex_unlock(&runner->lock);
    ci_stop_by(stops_saving, runner);
    bool all = ci_engine_save_programs(runner->engine);
    ci_stop_by(NULL, NULL);
    ci_watch_begin_alone(0);
    pthread_mutex_lock(&runner->lock);
    return !all && !is_late(runner);
}

/* Until it is closed or abandoned. With the lock held. */
static void serve(struct ci_runner *runner) {
    bool computed = runner->own.prove, tidy = false;
    struct clinfer_engine_stats seen;
    while (!runner->abandoned) {
        destroy_seats(runner);
        start_tasks(runner);
        if (any(runner, CI_TASK_RUNS)) {
            pthread_mutex_unlock(&runner->lock);
            computed = ci_engine_turn(runner->engine) || computed;
            clinfer_engine_get_stats(runner->engine, &seen);
            pthread_mutex_lock(&runner->lock);
            runner->seen = seen;
            look_at_tasks(runner);
        } else if (any(runner, CI_TASK_WAITS) || runner->leaving) {
            continue;
        } else if (computed) {
            tidy = false;
            computed = save_programs(runner);
        } else if (may_close(runner) && !any_prepares(runner)) {
            break;
        } else {
            rest(runner, &tidy);
            computed = ci_engine_is_built_aside(runner->engine); /* looked after once a second */
        }
    }
}

/* The engine could not be opened: nor can what was asked of it be done. With the lock held. */
static void refuse_tasks(struct ci_runner *runner) {
    for (;;) {
        destroy_seats(runner);
        while (runner->tasks) {
            struct ci_task *task = runner->tasks;
            task->of_engine = true;
            task->of_model = !runner->of_device;
            ci_fail(runner->status, "%s", runner->message);
            end_task(task, runner->status);
        }
        pthread_cond_broadcast(&runner->changed);
        if (may_close(runner) || runner->abandoned) return;
        if (!runner->leaving) pthread_cond_wait(&runner->changed, &runner->lock);
    }
}

/* The message stays that of the failure. */
static void close_failed(enum clinfer_status status, clinfer_engine **engine) {
    char message[sizeof((struct ci_runner *)NULL)->message];
    snprintf(message, sizeof message, "%s", ci_status_message());
    clinfer_engine_close(*engine);
    *engine = NULL;
    ci_fail(status, "%s", message);
}

static void *work(void *argument) {
    struct ci_runner *runner = argument;
    ci_watch_by(&runner->watch);
    ci_watch_begin(CI_WATCH_BUILD, 0);
    clinfer_engine *engine;
    bool of_device;
    enum clinfer_status status =
        ci_engine_open_on(&runner->options, &runner->rung.devices, CI_ENGINE_PROVEN, &engine, &of_device);
    if (status == CLINFER_OK && runner->own.prove) {
        engine->saves_later = true; /* requests wait for the proof already */
        status = ci_engine_prove(engine);
        engine->saves_later = false;
        of_device = true;
        if (status != CLINFER_OK) close_failed(status, &engine);
        ci_memory_give_back(); /* of loading, building and proving; who is to be proven will stay */
    }
    ci_watch_begin(CI_WATCH_IDLE, 0);
    pthread_mutex_lock(&runner->lock);
    runner->engine = engine;
    runner->status = status;
    runner->of_device = of_device;
    if (engine) clinfer_engine_get_stats(engine, &runner->seen);
    if (status != CLINFER_OK) strncpy(runner->message, ci_status_message(), sizeof runner->message - 1);
    runner->opened = true;
    ring(runner);
    pthread_cond_broadcast(&runner->changed);
    if (status == CLINFER_OK)
        serve(runner);
    else
        refuse_tasks(runner);
    bool abandoned = runner->abandoned;
    pthread_mutex_unlock(&runner->lock);
    if (abandoned) return NULL; /* nobody waits, and what the driver does cannot be known */
    ci_watch_begin(CI_WATCH_BUILD, 0);
    ci_stop_by(stops_saving, runner);
    clinfer_engine_close(engine);
    ci_stop_by(NULL, NULL);
    ci_memory_give_back();
    ci_watch_begin(CI_WATCH_IDLE, 0);
    pthread_mutex_lock(&runner->lock);
    runner->closed = true;
    ring(runner);
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    return NULL;
}

/* ---- on the threads that wait ---- */

/* The CPU backend is in no driver: it is slow where it is slow, and there is nothing behind it on this machine. */
bool ci_runner_is_silent(struct ci_runner *runner, const struct ci_watch_limits *limits, double *silent) {
    *silent = 0;
    return runner->rung.devices.count > 0 && ci_watch_expired(&runner->watch, limits, silent);
}

void ci_runner_wait_for_change(struct ci_runner *runner, double until) {
    struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    pthread_cond_clockwait(&runner->changed, &runner->lock, CLOCK_MONOTONIC, &at);
}

static void free_runner(struct ci_runner *runner) {
    pthread_cond_destroy(&runner->changed);
    pthread_mutex_destroy(&runner->lock);
    ci_arena_destroy(&runner->arena);
    free(runner);
}

/* NULL stays NULL. false: memory is out. */
static bool copy_text(struct ci_arena *arena, const char **text) {
    if (!*text) return true;
    *text = ci_arena_string(arena, *text, strlen(*text));
    return *text != NULL;
}

static bool copy_options(struct ci_runner *runner, const struct clinfer_engine_options *options) {
    struct clinfer_engine_options *own = &runner->options;
    const char **const texts[] = {
        &own->model,       &own->device,      &own->tuning, &own->chat_template, &own->chat_template_variables,
        &own->draft.model, &own->draft.device};
    *own = *options;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!copy_text(&runner->arena, texts[i])) return false;
    const char **ops = ci_arena_array(&runner->arena, own->op_count + 1, sizeof *ops);
    for (size_t i = 0; ops && i < own->op_count; i++) {
        ops[i] = options->ops[i];
        if (!copy_text(&runner->arena, &ops[i])) return false;
    }
    own->ops = ops;
    return ops != NULL;
}

enum clinfer_status ci_runner_create(const struct clinfer_engine_options *options, const struct ci_engine_rung *rung,
                                     const struct ci_runner_options *own, struct ci_runner **out) {
    struct ci_runner *runner = calloc(1, sizeof *runner);
    *out = NULL;
    if (!runner) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    runner->rung = *rung;
    if (own) runner->own = *own;
    atomic_store(&runner->watch.since, ci_now());
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->changed, NULL);
    if (!copy_options(runner, options)) {
        free_runner(runner);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    }
    int error = ci_threads_start(&runner->thread, work, runner);
    if (error) {
        free_runner(runner);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "no memory, or no thread, for the engine: %s", strerror(error));
    }
    *out = runner;
    return CLINFER_OK;
}

bool ci_runner_wait_open(struct ci_runner *runner, double seconds, enum clinfer_status *status, bool *of_device) {
    double until = ci_now() + seconds;
    pthread_mutex_lock(&runner->lock);
    while (!runner->opened && ci_now() < until) ci_runner_wait_for_change(runner, until);
    bool opened = runner->opened;
    pthread_mutex_unlock(&runner->lock);
    if (!opened) return false;
    *status = runner->status == CLINFER_OK ? CLINFER_OK : ci_fail(runner->status, "%s", runner->message);
    *of_device = runner->of_device;
    return true;
}

clinfer_engine *ci_runner_engine(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    clinfer_engine *engine = runner->opened ? runner->engine : NULL;
    pthread_mutex_unlock(&runner->lock);
    return engine;
}

clinfer_engine *ci_runner_hold(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    clinfer_engine *engine = runner->opened && !runner->abandoned ? runner->engine : NULL;
    if (engine) {
        runner->seats++;
        runner->holds++;
    }
    pthread_mutex_unlock(&runner->lock);
    return engine;
}

void ci_runner_let_go(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    runner->seats--;
    runner->holds--;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
}

bool ci_runner_is_held(struct ci_runner *runner, const clinfer_engine *engine) {
    pthread_mutex_lock(&runner->lock);
    bool held = runner->holds > 0 && runner->engine == engine;
    pthread_mutex_unlock(&runner->lock);
    return held;
}

void ci_runner_add_stats(struct ci_runner *runner, struct clinfer_router_stats *stats) {
    pthread_mutex_lock(&runner->lock);
    stats->steps += runner->seen.steps;
    stats->rows += runner->seen.rows;
    stats->cache_tokens += runner->seen.cache_tokens;
    stats->cache_tokens_used += runner->seen.cache_tokens_used;
    stats->cache_bytes += runner->seen.cache_bytes;
    pthread_mutex_unlock(&runner->lock);
}

bool ci_runner_hangs(struct ci_runner *runner, const struct ci_watch_limits *limits, double *silent) {
    return ci_runner_is_silent(runner, limits, silent);
}

bool ci_runner_abandon(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    bool talks = runner->talks;
    runner->abandoned = !talks;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    if (!talks) pthread_detach(runner->thread);
    return !talks;
}

bool ci_runner_is_unused(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    bool unused = runner->seats == 0;
    pthread_mutex_unlock(&runner->lock);
    return unused;
}

bool ci_runner_is_closed(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    bool closed = runner->closed;
    pthread_mutex_unlock(&runner->lock);
    return closed;
}

void ci_runner_end(struct ci_runner *runner) {
    pthread_mutex_lock(&runner->lock);
    runner->closing = true;
    pthread_cond_broadcast(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
}

bool ci_runner_close(struct ci_runner *runner, const struct ci_watch_limits *limits) {
    const double patience = 2; /* with an engine that is still opened, and not wanted any more */
    double silent, start = ci_now();
    pthread_mutex_lock(&runner->lock);
    runner->closing = runner->must_close = true;
    if (runner->own.save_seconds > 0) runner->close_until = start + runner->own.save_seconds;
    pthread_cond_broadcast(&runner->changed);
    while (!runner->closed) {
        bool in_vain = !runner->opened && ci_now() - start > patience;
        if (in_vain || ci_runner_is_silent(runner, limits, &silent)) {
            pthread_mutex_unlock(&runner->lock);
            if (ci_runner_abandon(runner)) return false;
            pthread_mutex_lock(&runner->lock);
        }
        ci_runner_wait_for_change(runner, ci_now() + 0.1);
    }
    pthread_mutex_unlock(&runner->lock);
    pthread_join(runner->thread, NULL);
    free_runner(runner);
    return true;
}
