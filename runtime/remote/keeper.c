/* keeper.c: the thread of a router that looks after all of its requests and rungs, so that those who wait for an answer
 * sleep until it is there. It is woken by a bell: by runners when something of theirs has ended, by who asks or
 * cancels. Only while something is under way it looks by itself, at what rings no bell: a driver that hangs, a time
 * that is over.
 *
 * Bell and not condition: it may be rung by a signal handler, and by runners with their own locks held. */
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/require.h"
#include "remote/router.h"

static const double look_seconds = 0.03;

static void move(struct clinfer_conversation *conversation) {
    struct clinfer_result result = {0};
    enum ci_reach reach = CI_REACH_ALL;
    enum clinfer_status status;
    if (!ci_here_look(conversation, &result, &reach, &status)) return;
    ci_descent_leave(conversation, status, &result, reach);
    if (!ci_conversation_is_here(conversation)) pthread_cond_broadcast(&conversation->changed);
}

/* ---- how things stand ---- */

static void set_text(char *to, size_t size, const char *text) {
    size_t length = strlen(text) < size - 1 ? strlen(text) : size - 1;
    memcpy(to, text, length);
    to[length] = 0;
}

/* The first rung that may be used; -1: none. */
static int first_rung(const struct clinfer_router *router) {
    for (int i = 0; i < router->count; i++)
        if (!router->rungs[i].out) return i;
    return -1;
}

/* Half of what it is allowed before it is left. */
static bool is_silent(const struct clinfer_router *router, struct ci_runner *runner, double *silent) {
    struct ci_watch_limits half = router->limits;
    half.step /= 2;
    half.build /= 2;
    half.times /= 2;
    return ci_runner_hangs(runner, &half, silent);
}

static enum clinfer_router_condition condition_of(const struct clinfer_router *router, int rung, double *silent) {
    bool hung = false;
    for (int i = 0; i < router->local_count; i++) hung = hung || router->rungs[i].hung;
    *silent = 0;
    if (rung < 0) return hung ? CLINFER_ROUTER_HANGING : CLINFER_ROUTER_FAILED;
    if (rung >= router->local_count) return router->local_count ? CLINFER_ROUTER_DEGRADED : CLINFER_ROUTER_READY;
    struct ci_runner *runner = router->rungs[rung].runner;
    if (runner && is_silent(router, runner, silent)) return CLINFER_ROUTER_HANGING;
    *silent = 0;
    return router->rungs[rung].ready ? CLINFER_ROUTER_READY : CLINFER_ROUTER_LOADING;
}

void ci_keeper_note_state(struct clinfer_router *router) {
    struct clinfer_router_state state = {.rung = first_rung(router)};
    state.condition = condition_of(router, state.rung, &state.silent_seconds);
    if (state.rung >= 0) set_text(state.name, sizeof state.name, router->rungs[state.rung].name);
    const struct ci_rung *first = &router->rungs[0];
    if (first->out) set_text(state.reason, sizeof state.reason, first->reason);
    pthread_mutex_lock(&router->state_lock);
    router->state = state;
    pthread_mutex_unlock(&router->state_lock);
}

void clinfer_router_get_state(clinfer_router *router, struct clinfer_router_state *state) {
    if (!state) return;
    *state = (struct clinfer_router_state){.condition = CLINFER_ROUTER_FAILED, .rung = -1};
    if (!router || !ci_process_owns(router->process)) return;
    pthread_mutex_lock(&router->state_lock);
    *state = router->state;
    pthread_mutex_unlock(&router->state_lock);
}

/* ---- the thread ---- */

/* When to look next, 0: when the bell rings. */
static double look(struct clinfer_router *router) {
    ci_rungs_keep_open(router);
    bool busy = ci_rungs_look(router);
    ci_rungs_keep_open(router); /* where one has just failed */
    for (struct clinfer_conversation *each = router->conversations; each; each = each->next) {
        if (ci_conversation_is_here(each)) move(each);
        busy = busy || ci_conversation_is_here(each);
    }
    ci_keeper_note_state(router);
    return busy || router->wanted ? ci_now() + look_seconds : ci_rungs_next_look(router);
}

static void wait_for_bell(struct clinfer_router *router, double until) {
    struct timespec at = {.tv_sec = (time_t)until, .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    if (until > 0)
        sem_clockwait(&router->bell, CLOCK_MONOTONIC, &at);
    else
        sem_wait(&router->bell);
    while (sem_trywait(&router->bell) == 0) {
    }
}

static void *keep(void *argument) {
    struct clinfer_router *router = argument;
    double until = ci_now();
    for (;;) {
        wait_for_bell(router, until);
        pthread_mutex_lock(&router->lock);
        bool stops = router->stops;
        if (!stops) until = look(router);
        pthread_mutex_unlock(&router->lock);
        if (stops) return NULL;
    }
}

/* Signals are for the program's own threads. */
static int create_thread(struct clinfer_router *router) {
    sigset_t all, before;
    /* Faults come to who makes them: blocked, they would end the process past any handler. Threads that this one makes
     * inherit it, which read models. */
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&router->keeper, NULL, keep, router);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

enum clinfer_status ci_keeper_start(struct clinfer_router *router) {
    pthread_mutex_lock(&router->lock);
    int error = router->keeps ? 0 : create_thread(router);
    router->keeps = error == 0;
    pthread_mutex_unlock(&router->lock);
    return error ? ci_fail(CLINFER_OUT_OF_MEMORY, "no memory, or no thread, for requests: %s", strerror(error))
                 : CLINFER_OK;
}

void ci_keeper_end(struct clinfer_router *router) {
    if (!router->keeps) return;
    pthread_mutex_lock(&router->lock);
    router->stops = true;
    pthread_mutex_unlock(&router->lock);
    sem_post(&router->bell);
    pthread_join(router->keeper, NULL);
    router->keeps = false;
}
