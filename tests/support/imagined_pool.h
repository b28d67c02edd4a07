/* imagined_pool.h: a pool of models (server/pool.h) whose routers are imagined: opening one takes as long, and ends, as
 * its model's name says; and requests on threads of their own. */
#ifndef TESTS_SUPPORT_IMAGINED_POOL_H
#define TESTS_SUPPORT_IMAGINED_POOL_H

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/status.h"
#include "server/pool.h"
#include "support/asserts.h"

/* ---- imagined routers ---- */

struct imagined {
    char model[64];
    atomic_int users;
};

static atomic_int opened, closed, open_now, most_open;
static atomic_bool gate; /* models named "gated" open when it does */
static atomic_int refusals;

static inline enum clinfer_status imagined_open(const struct clinfer_router_options *options, bool unproven,
                                                clinfer_router **router) {
    (void)unproven;
    const char *model = options->engine.model;
    if (strstr(model, "slow")) usleep(50000);
    while (strstr(model, "gated") && !atomic_load(&gate)) usleep(1000);
    if (strstr(model, "broken")) return ci_fail(CLINFER_BAD_FILE, "%s: is no model", model);
    if (strstr(model, "large") && atomic_load(&open_now) > 0) {
        atomic_fetch_add(&refusals, 1);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: does not fit", model);
    }
    struct imagined *made = calloc(1, sizeof *made);
    snprintf(made->model, sizeof made->model, "%s", model);
    atomic_fetch_add(&opened, 1);
    int now = atomic_fetch_add(&open_now, 1) + 1, most = atomic_load(&most_open);
    while (now > most && !atomic_compare_exchange_weak(&most_open, &most, now)) {
    }
    *router = (clinfer_router *)(void *)made;
    return CLINFER_OK;
}

static inline void imagined_describe(clinfer_router *router, struct ci_pool_facts *facts) {
    (void)router;
    *facts = (struct ci_pool_facts){.bytes = 100, .vocabulary = 7};
}

static inline void imagined_close(clinfer_router *router) {
    struct imagined *made = (struct imagined *)(void *)router;
    assert_int_equal(atomic_load(&made->users), 0); /* what is taken is never closed */
    usleep(1000);
    atomic_fetch_add(&closed, 1);
    atomic_fetch_sub(&open_now, 1);
    free(made);
}

static inline bool imagined_encodes(const struct clinfer_engine_options *options) { return *options->model == 'b'; }

static const struct ci_pool_methods methods = {imagined_encodes, imagined_open, imagined_describe, imagined_close,
                                               NULL};

static inline struct ci_pool_entry entry_of(const char *name) {
    struct ci_pool_entry entry = {.name = name, .keep_alive = (double)NAN};
    entry.router.engine.model = name;
    return entry;
}

static const char *const names[] = {"a", "b", "c", "slow", "broken", "gated", "large"};
enum { NAMES = sizeof names / sizeof *names };

static inline struct ci_pool *make(struct ci_pool_options options) {
    struct ci_pool_entry entries[NAMES];
    struct ci_pool *pool;
    for (int i = 0; i < NAMES; i++) entries[i] = entry_of(names[i]);
    atomic_store(&opened, 0);
    atomic_store(&closed, 0);
    atomic_store(&open_now, 0);
    atomic_store(&most_open, 0);
    atomic_store(&refusals, 0);
    atomic_store(&gate, false);
    options.entries = entries;
    options.count = NAMES;
    options.methods = &methods;
    assert_ok(ci_pool_create(&options, &pool));
    return pool;
}

static inline enum ci_pool_state state_of(struct ci_pool *pool, const char *name) {
    struct ci_pool_info *info;
    assert_ok(ci_pool_find(pool, name, &info));
    enum ci_pool_state state = info->state;
    free(info);
    return state;
}

static inline int waiting_for(struct ci_pool *pool, const char *name) {
    struct ci_pool_info *info;
    assert_ok(ci_pool_find(pool, name, &info));
    int waiting = info->waiting;
    free(info);
    return waiting;
}

/* Within ten seconds. */
static inline void await_state(struct ci_pool *pool, const char *name, enum ci_pool_state wanted) {
    double until = ci_now() + 10;
    while (state_of(pool, name) != wanted && ci_now() < until) usleep(1000);
    assert_string_equal(ci_pool_state_name(state_of(pool, name)), ci_pool_state_name(wanted));
}

static inline void await_waiters(struct ci_pool *pool, const char *name, int wanted) {
    double until = ci_now() + 10;
    while (waiting_for(pool, name) != wanted && ci_now() < until) usleep(1000);
    assert_int_equal(waiting_for(pool, name), wanted);
}

static inline void use(struct ci_pool *pool, const char *name, double keep_alive) {
    struct ci_pool_model *model;
    assert_ok(ci_pool_take(pool, name, NULL, NULL, &model));
    assert_string_equal(ci_pool_name(model), name);
    ci_pool_give_back(pool, model, keep_alive);
}

/* ---- requests on threads of their own ---- */

struct request {
    struct ci_pool *pool;
    const char *name;
    atomic_bool leaves;
    enum clinfer_status status;
    char message[256];
    struct ci_pool_model *model;
    int order; /* in which they were served */
    pthread_t thread;
};

static atomic_int served;

static inline bool has_left(void *user) { return atomic_load(&((struct request *)user)->leaves); }

static inline void *take(void *user) {
    struct request *request = user;
    request->status = ci_pool_take(request->pool, request->name, has_left, request, &request->model);
    request->order = atomic_fetch_add(&served, 1);
    if (request->status != CLINFER_OK) snprintf(request->message, sizeof request->message, "%s", ci_status_message());
    return NULL;
}

static inline void *take_and_give_back(void *user) {
    struct request *request = user;
    take(request);
    if (request->model) ci_pool_give_back(request->pool, request->model, (double)NAN);
    return NULL;
}

static inline void begin(struct request *request, struct ci_pool *pool, const char *name, void *(*run)(void *)) {
    *request = (struct request){.pool = pool, .name = name};
    assert_int_equal(pthread_create(&request->thread, NULL, run, request), 0);
}

static inline void end(struct request *request) { pthread_join(request->thread, NULL); }

static const struct ci_pool_options usual = {.load_on_demand = true, .keep_alive = -1};

#endif
