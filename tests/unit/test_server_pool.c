/* The models of a server (server/pool.h): loading on demand, sharing a load, what goes out for whom, in what order.
 * Routers are imagined: opening one takes as long, and ends, as its model's name says. */
#define _GNU_SOURCE
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
#include "support/hub_folder.h"

/* ---- imagined routers ---- */

struct imagined {
    char model[64];
    atomic_int users;
};

static atomic_int opened, closed, open_now, most_open;
static atomic_bool gate; /* models named "gated" open when it does */
static atomic_int refusals;

static enum clinfer_status imagined_open(const struct clinfer_router_options *options, bool unproven,
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

static void imagined_describe(clinfer_router *router, struct ci_pool_facts *facts) {
    (void)router;
    *facts = (struct ci_pool_facts){.bytes = 100, .vocabulary = 7};
}

static void imagined_close(clinfer_router *router) {
    struct imagined *made = (struct imagined *)(void *)router;
    assert_int_equal(atomic_load(&made->users), 0); /* what is taken is never closed */
    usleep(1000);
    atomic_fetch_add(&closed, 1);
    atomic_fetch_sub(&open_now, 1);
    free(made);
}

static bool imagined_encodes(const struct clinfer_engine_options *options) { return *options->model == 'b'; }

static const struct ci_pool_methods methods = {imagined_encodes, imagined_open, imagined_describe, imagined_close};

static struct ci_pool_entry entry_of(const char *name) {
    struct ci_pool_entry entry = {.name = name, .keep_alive = (double)NAN};
    entry.router.engine.model = name;
    return entry;
}

static const char *const names[] = {"a", "b", "c", "slow", "broken", "gated", "large"};
enum { NAMES = sizeof names / sizeof *names };

static struct ci_pool *make(struct ci_pool_options options) {
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

static enum ci_pool_state state_of(struct ci_pool *pool, const char *name) {
    struct ci_pool_info *info;
    assert_ok(ci_pool_find(pool, name, &info));
    enum ci_pool_state state = info->state;
    free(info);
    return state;
}

static int waiting_for(struct ci_pool *pool, const char *name) {
    struct ci_pool_info *info;
    assert_ok(ci_pool_find(pool, name, &info));
    int waiting = info->waiting;
    free(info);
    return waiting;
}

/* Within ten seconds. */
static void await_state(struct ci_pool *pool, const char *name, enum ci_pool_state wanted) {
    double until = ci_now() + 10;
    while (state_of(pool, name) != wanted && ci_now() < until) usleep(1000);
    assert_string_equal(ci_pool_state_name(state_of(pool, name)), ci_pool_state_name(wanted));
}

static void await_waiters(struct ci_pool *pool, const char *name, int wanted) {
    double until = ci_now() + 10;
    while (waiting_for(pool, name) != wanted && ci_now() < until) usleep(1000);
    assert_int_equal(waiting_for(pool, name), wanted);
}

static void use(struct ci_pool *pool, const char *name, double keep_alive) {
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

static bool has_left(void *user) { return atomic_load(&((struct request *)user)->leaves); }

static void *take(void *user) {
    struct request *request = user;
    request->status = ci_pool_take(request->pool, request->name, has_left, request, &request->model);
    request->order = atomic_fetch_add(&served, 1);
    if (request->status != CLINFER_OK) snprintf(request->message, sizeof request->message, "%s", ci_status_message());
    return NULL;
}

static void *take_and_give_back(void *user) {
    struct request *request = user;
    take(request);
    if (request->model) ci_pool_give_back(request->pool, request->model, (double)NAN);
    return NULL;
}

static void begin(struct request *request, struct ci_pool *pool, const char *name, void *(*run)(void *)) {
    *request = (struct request){.pool = pool, .name = name};
    assert_int_equal(pthread_create(&request->thread, NULL, run, request), 0);
}

static void end(struct request *request) { pthread_join(request->thread, NULL); }

/* ---- tests ---- */

static const struct ci_pool_options usual = {.load_on_demand = true, .keep_alive = -1};

static void test_requests_for_a_missing_model_share_one_load(void **state) {
    (void)state;
    enum { REQUESTS = 16 };
    struct request requests[REQUESTS];
    struct ci_pool *pool = make(usual);
    for (int i = 0; i < REQUESTS; i++) begin(&requests[i], pool, "gated", take);
    await_waiters(pool, "gated", REQUESTS);
    assert_int_equal(state_of(pool, "gated"), CI_POOL_LOADING);
    use(pool, "a", (double)NAN); /* whom that does not disturb */
    atomic_store(&gate, true);
    for (int i = 0; i < REQUESTS; i++) {
        end(&requests[i]);
        assert_int_equal(requests[i].status, CLINFER_OK);
        assert_ptr_equal(requests[i].model, requests[0].model);
        assert_ptr_equal(ci_pool_router(requests[i].model), ci_pool_router(requests[0].model));
    }
    assert_int_equal(atomic_load(&opened), 2);
    for (int i = 0; i < REQUESTS; i++) ci_pool_give_back(pool, requests[i].model, (double)NAN);
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&closed), 2);
}

static void test_a_failed_load_is_told_to_all_who_wait_and_disturbs_nobody(void **state) {
    (void)state;
    enum { REQUESTS = 8 };
    struct request requests[REQUESTS];
    struct ci_pool_options options = usual;
    options.most_loaded = 2;
    struct ci_pool *pool = make(options);
    struct ci_pool_model *loaded;
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &loaded));
    for (int i = 0; i < REQUESTS; i++) begin(&requests[i], pool, "broken", take);
    for (int i = 0; i < REQUESTS; i++) {
        end(&requests[i]);
        assert_int_equal(requests[i].status, CLINFER_BAD_FILE);
        assert_string_equal(requests[i].message, "broken: is no model");
        assert_null(requests[i].model);
    }
    assert_int_equal(state_of(pool, "broken"), CI_POOL_FAILED);
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    assert_int_equal(atomic_load(&closed), 0);
    ci_pool_give_back(pool, loaded, (double)NAN);
    use(pool, "b", (double)NAN);
    ci_pool_destroy(pool);
}

static void test_the_least_recently_used_one_goes_out(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    options.most_loaded = 2;
    struct ci_pool *pool = make(options);
    use(pool, "a", (double)NAN);
    use(pool, "b", (double)NAN);
    use(pool, "a", (double)NAN);
    use(pool, "c", (double)NAN);
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    assert_int_equal(state_of(pool, "b"), CI_POOL_UNLOADED);
    assert_int_equal(state_of(pool, "c"), CI_POOL_LOADED);
    assert_int_equal(atomic_load(&most_open), 2);
    ci_pool_destroy(pool);
}

static void test_a_busy_model_stays_and_who_waits_comes_in_order(void **state) {
    (void)state;
    struct request b, c, again;
    struct ci_pool_model *busy;
    struct ci_pool_options options = usual;
    options.most_loaded = 1;
    struct ci_pool *pool = make(options);
    atomic_store(&served, 0);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &busy));
    begin(&b, pool, "b", take_and_give_back);
    await_waiters(pool, "b", 1);
    begin(&c, pool, "c", take_and_give_back);
    await_waiters(pool, "c", 1);
    begin(&again, pool, "a", take_and_give_back); /* not before those: they would wait for ever */
    await_waiters(pool, "a", 1);
    usleep(20000);
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    assert_int_equal(atomic_load(&opened), 1);
    ci_pool_give_back(pool, busy, (double)NAN);
    end(&b);
    end(&c);
    end(&again);
    assert_true(b.status == CLINFER_OK && c.status == CLINFER_OK && again.status == CLINFER_OK);
    assert_int_equal(b.order, 0);
    assert_int_equal(c.order, 1);
    assert_int_equal(again.order, 2);
    assert_int_equal(atomic_load(&most_open), 1);
    assert_int_equal(atomic_load(&opened), 4);
    ci_pool_destroy(pool);
}

static void test_who_leaves_costs_no_model_its_place(void **state) {
    (void)state;
    struct request b;
    struct ci_pool_model *busy, *second;
    struct ci_pool_options options = usual;
    options.most_loaded = 1;
    struct ci_pool *pool = make(options);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &busy));
    begin(&b, pool, "b", take);
    await_waiters(pool, "b", 1);
    atomic_store(&b.leaves, true);
    end(&b);
    assert_int_equal(b.status, CLINFER_CANCELLED);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &second)); /* at once */
    ci_pool_give_back(pool, busy, (double)NAN);
    ci_pool_give_back(pool, second, (double)NAN);
    usleep(20000);
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    assert_int_equal(state_of(pool, "b"), CI_POOL_UNLOADED);
    assert_int_equal(atomic_load(&opened), 1);
    ci_pool_destroy(pool);
}

static void test_idle_models_go_out_or_to_sleep(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    options.keep_alive = 0.05;
    struct ci_pool *pool = make(options);
    use(pool, "a", (double)NAN);
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    await_state(pool, "a", CI_POOL_UNLOADED);
    use(pool, "b", 0);
    await_state(pool, "b", CI_POOL_UNLOADED);
    use(pool, "c", -1);
    usleep(100000);
    assert_int_equal(state_of(pool, "c"), CI_POOL_LOADED);
    ci_pool_destroy(pool);

    options.keep_alive = -1;
    options.sleep_seconds = 0.05;
    options.load_on_demand = false;
    pool = make(options);
    assert_ok(ci_pool_load(pool, "a"));
    await_state(pool, "a", CI_POOL_SLEEPING);
    use(pool, "a", (double)NAN); /* wakes it */
    assert_int_equal(state_of(pool, "a"), CI_POOL_LOADED);
    ci_pool_destroy(pool);
}

static void test_without_demand_only_what_was_loaded_answers(void **state) {
    (void)state;
    struct ci_pool_model *model;
    struct ci_pool_options options = usual;
    options.load_on_demand = false;
    struct ci_pool *pool = make(options);
    assert_int_equal(ci_pool_take(pool, "a", NULL, NULL, &model), CLINFER_REFUSED);
    assert_null(model);
    assert_ok(ci_pool_load(pool, "slow"));
    use(pool, "slow", (double)NAN); /* which waits for it */
    assert_ok(ci_pool_unload(pool, "slow"));
    await_state(pool, "slow", CI_POOL_UNLOADED);
    assert_int_equal(ci_pool_take(pool, "slow", NULL, NULL, &model), CLINFER_REFUSED);
    assert_int_equal(ci_pool_take(pool, "nobody", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(ci_pool_load(pool, "nobody"), CLINFER_NOT_FOUND);
    ci_pool_destroy(pool);
}

static void test_unloading_waits_for_requests_and_new_ones_load_again(void **state) {
    (void)state;
    struct request next;
    struct ci_pool_model *model;
    struct ci_pool *pool = make(usual);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &model));
    assert_ok(ci_pool_unload(pool, "a"));
    usleep(10000);
    assert_int_equal(atomic_load(&closed), 0);
    begin(&next, pool, "a", take_and_give_back);
    await_waiters(pool, "a", 1);
    use(pool, "b", (double)NAN); /* nobody waits for that */
    ci_pool_give_back(pool, model, (double)NAN);
    end(&next);
    assert_int_equal(next.status, CLINFER_OK);
    assert_int_equal(atomic_load(&opened), 3);
    assert_int_equal(atomic_load(&closed), 1);
    ci_pool_destroy(pool);
}

static void test_memory_is_made_where_a_model_does_not_fit(void **state) {
    (void)state;
    struct ci_pool_model *model;
    struct ci_pool *pool = make(usual);
    use(pool, "a", (double)NAN);
    use(pool, "b", (double)NAN);
    use(pool, "large", (double)NAN); /* fits when both are out */
    assert_int_equal(atomic_load(&refusals), 2);
    assert_int_equal(state_of(pool, "a"), CI_POOL_UNLOADED);
    assert_int_equal(state_of(pool, "b"), CI_POOL_UNLOADED);
    assert_ok(ci_pool_take(pool, "large", NULL, NULL, &model));
    ci_pool_give_back(pool, model, 0);
    await_state(pool, "large", CI_POOL_UNLOADED);
    struct ci_pool_model *busy;
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &busy));
    assert_int_equal(ci_pool_take(pool, "large", NULL, NULL, &model), CLINFER_OUT_OF_MEMORY);
    ci_pool_give_back(pool, busy, (double)NAN);
    ci_pool_destroy(pool);
}

/* Each takes 100 bytes, which is known once it has been loaded. */
static void test_a_budget_of_memory_is_kept(void **state) {
    (void)state;
    struct ci_pool_model *model;
    struct ci_pool_options options = usual;
    options.most_bytes = 250;
    struct ci_pool *pool = make(options);
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 3; i++) use(pool, names[i], (double)NAN);
    assert_int_equal(state_of(pool, "a"), CI_POOL_UNLOADED);
    assert_int_equal(state_of(pool, "b"), CI_POOL_LOADED);
    assert_int_equal(state_of(pool, "c"), CI_POOL_LOADED);
    ci_pool_destroy(pool);
    options.most_bytes = 50;
    pool = make(options);
    use(pool, "a", 0);
    await_state(pool, "a", CI_POOL_UNLOADED);
    assert_int_equal(ci_pool_take(pool, "a", NULL, NULL, &model), CLINFER_OUT_OF_MEMORY);
    assert_non_null(strstr(ci_status_message(), "all models together"));
    ci_pool_destroy(pool);
}

static atomic_int released;
static void release(void *owner) {
    (void)owner;
    atomic_fetch_add(&released, 1);
}

static void test_a_new_list_leaves_what_is_the_same(void **state) {
    (void)state;
    static const char *const alias[] = {"the-first"};
    struct ci_pool_options options = usual;
    struct ci_pool_entry entries[] = {entry_of("a"), entry_of("b"), entry_of("c")};
    struct ci_pool *pool;
    struct ci_pool_info *list;
    struct ci_pool_model *busy, *model;
    size_t count;
    for (int i = 0; i < 3; i++) entries[i].release = release;
    entries[0].aliases = alias;
    entries[0].alias_count = 1;
    options.entries = entries;
    options.count = 3;
    options.methods = &methods;
    atomic_store(&opened, 0);
    assert_ok(ci_pool_create(&options, &pool));
    assert_ok(ci_pool_take(pool, "the-first", NULL, NULL, &busy));
    assert_string_equal(ci_pool_name(busy), "a");
    use(pool, "b", (double)NAN);
    use(pool, "c", (double)NAN);
    struct ci_pool_entry later[] = {entries[1], entries[2], entry_of("slow")};
    later[1].version = 2;
    assert_ok(ci_pool_set(pool, later, 3));
    assert_int_equal(ci_pool_take(pool, "a", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, 3);
    assert_string_equal(list[0].name, "b");
    assert_int_equal(list[0].state, CI_POOL_LOADED);
    assert_int_equal(list[0].facts.vocabulary, 7);
    assert_string_equal(list[1].name, "c");
    assert_string_equal(list[2].name, "slow");
    free(list);
    use(pool, "c", (double)NAN); /* the new one */
    assert_int_equal(atomic_load(&opened), 4);
    ci_pool_give_back(pool, busy, (double)NAN);
    double until = ci_now() + 10;
    while (atomic_load(&released) < 3 && ci_now() < until) usleep(1000);
    assert_int_equal(atomic_load(&released), 3); /* the new b, the old c, a */
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&released), 5);
}

static void test_any_name_means_the_only_model(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    struct ci_pool_entry entry = entry_of("a");
    struct ci_pool *pool;
    struct ci_pool_model *model;
    options.entries = &entry;
    options.count = 1;
    options.methods = &methods;
    assert_ok(ci_pool_create(&options, &pool));
    static const char *const said[] = {"gpt-4", "", NULL, "a:latest", "A"};
    for (int i = 0; i < 5; i++) {
        assert_ok(ci_pool_take(pool, said[i], NULL, NULL, &model));
        assert_string_equal(ci_pool_name(model), "a");
        ci_pool_give_back(pool, model, (double)NAN);
    }
    /* To be answered, and not to be changed. */
    struct ci_pool_info *info;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ci_pool_find(pool, said[i], &info), CLINFER_NOT_FOUND);
        assert_int_equal(ci_pool_load(pool, said[i]), CLINFER_NOT_FOUND);
        assert_int_equal(ci_pool_unload(pool, said[i]), CLINFER_NOT_FOUND);
        assert_ok(ci_pool_look(pool, said[i], &model, &info));
        assert_string_equal(info->name, "a");
        ci_pool_looked(pool, model);
        free(info);
    }
    assert_int_equal(state_of(pool, "A"), CI_POOL_LOADED);
    ci_pool_destroy(pool);
}

/* Of the machine only what is listed can be loaded, by its name and never by a path. */
static void test_models_of_the_machine_are_loaded_by_name(void **state) {
    (void)state;
    struct ci_pool_options options = usual;
    struct ci_pool *pool;
    struct ci_pool_info *list;
    struct ci_pool_model *model;
    size_t count;
    hub_put(".local/share/clinfer/models/first.gguf", "GGUF");
    hub_put("other.gguf", "GGUF");
    assert_int_equal(chdir(hub_path(".local/share/clinfer/models")), 0);
    options.of_machine = true;
    options.methods = &methods;
    assert_ok(ci_pool_create(&options, &pool));
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, 1);
    assert_string_equal(list[0].name, "first.gguf");
    assert_int_equal(list[0].bytes, 4);
    free(list);
    use(pool, "first.gguf", (double)NAN);
    assert_ok(ci_pool_take(pool, "first", NULL, NULL, &model));
    assert_string_equal(ci_pool_name(model), "first.gguf");
    ci_pool_give_back(pool, model, (double)NAN);
    assert_int_equal(ci_pool_take(pool, hub_path("other.gguf"), NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(ci_pool_take(pool, "../../../../other.gguf", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(ci_pool_take(pool, "nobody/nothing", NULL, NULL, &model), CLINFER_NOT_FOUND);
    assert_int_equal(chdir("/"), 0);
    ci_pool_destroy(pool);
}

/* "b" is an encoder; what writes text is opened once more, and goes with what it was made of. */
static void test_vectors_are_made_by_a_form_of_its_own(void **state) {
    (void)state;
    struct ci_pool *pool = make(usual);
    struct ci_pool_model *model, *writes, *vectors;
    struct ci_pool_info *list;
    size_t count;
    assert_ok(ci_pool_take_vectors(pool, "b", NULL, NULL, &vectors));
    assert_ok(ci_pool_take(pool, "b", NULL, NULL, &model));
    assert_ptr_equal(model, vectors);
    ci_pool_give_back(pool, model, (double)NAN);
    ci_pool_give_back(pool, vectors, (double)NAN);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &writes));
    for (int i = 0; i < 2; i++) {
        assert_ok(ci_pool_take_vectors(pool, "a", NULL, NULL, &vectors));
        assert_ptr_not_equal(writes, vectors);
        assert_string_equal(ci_pool_name(vectors), "a");
        ci_pool_give_back(pool, vectors, (double)NAN);
    }
    assert_int_equal(atomic_load(&opened), 3);
    assert_ok(ci_pool_list(pool, &list, &count));
    assert_int_equal(count, NAMES);
    free(list);
    ci_pool_give_back(pool, writes, (double)NAN);
    assert_ok(ci_pool_unload(pool, "a"));
    double until = ci_now() + 10;
    while (atomic_load(&closed) < 2 && ci_now() < until) usleep(1000);
    assert_int_equal(atomic_load(&closed), 2);
    assert_ok(ci_pool_take_vectors(pool, "a", NULL, NULL, &vectors));
    assert_ok(ci_pool_set(pool, NULL, 0)); /* while somebody has it */
    ci_pool_give_back(pool, vectors, (double)NAN);
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&open_now), 0);
}

/* ---- all at once ---- */

enum { THREADS = 12, ROUNDS = 60 };

static void *hammer(void *user) {
    struct request *request = user;
    unsigned seed = (unsigned)(uintptr_t)request;
    for (int i = 0; i < ROUNDS; i++) {
        const char *name = names[rand_r(&seed) % 5];
        struct ci_pool_model *model;
        enum clinfer_status status = ci_pool_take(request->pool, name, NULL, NULL, &model);
        if (status != CLINFER_OK) {
            request->status = strcmp(name, "broken") == 0 && status == CLINFER_BAD_FILE ? request->status : status;
            continue;
        }
        struct imagined *router = (struct imagined *)(void *)ci_pool_router(model);
        atomic_fetch_add(&router->users, 1);
        if (strcmp(router->model, name) != 0) request->status = CLINFER_WRONG_RESULT;
        usleep(rand_r(&seed) % 500);
        atomic_fetch_sub(&router->users, 1);
        ci_pool_give_back(request->pool, model, rand_r(&seed) % 8 ? (double)NAN : 0);
        if (rand_r(&seed) % 32 == 0) ci_pool_unload(request->pool, name);
    }
    return NULL;
}

static void test_many_threads_and_few_places(void **state) {
    (void)state;
    struct request requests[THREADS];
    struct ci_pool_options options = usual;
    options.most_loaded = 2;
    struct ci_pool *pool = make(options);
    for (int i = 0; i < THREADS; i++) begin(&requests[i], pool, NULL, hammer);
    for (int i = 0; i < THREADS; i++) {
        end(&requests[i]);
        assert_int_equal(requests[i].status, CLINFER_OK);
    }
    assert_true(atomic_load(&most_open) <= 2);
    ci_pool_destroy(pool);
    assert_int_equal(atomic_load(&opened), atomic_load(&closed));
    assert_int_equal(atomic_load(&open_now), 0);
}

static void test_who_waits_is_let_go_when_the_server_stops(void **state) {
    (void)state;
    struct request b;
    struct ci_pool_model *busy, *model;
    struct ci_pool_options options = usual;
    options.most_loaded = 1;
    struct ci_pool *pool = make(options);
    assert_ok(ci_pool_take(pool, "a", NULL, NULL, &busy));
    begin(&b, pool, "b", take);
    await_waiters(pool, "b", 1);
    ci_pool_stop(pool);
    end(&b);
    assert_int_equal(b.status, CLINFER_CANCELLED);
    assert_int_equal(ci_pool_take(pool, "a", NULL, NULL, &model), CLINFER_CANCELLED);
    ci_pool_give_back(pool, busy, (double)NAN);
    ci_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_for_a_missing_model_share_one_load),
        cmocka_unit_test(test_a_failed_load_is_told_to_all_who_wait_and_disturbs_nobody),
        cmocka_unit_test(test_the_least_recently_used_one_goes_out),
        cmocka_unit_test(test_a_busy_model_stays_and_who_waits_comes_in_order),
        cmocka_unit_test(test_who_leaves_costs_no_model_its_place),
        cmocka_unit_test(test_idle_models_go_out_or_to_sleep),
        cmocka_unit_test(test_without_demand_only_what_was_loaded_answers),
        cmocka_unit_test(test_unloading_waits_for_requests_and_new_ones_load_again),
        cmocka_unit_test(test_memory_is_made_where_a_model_does_not_fit),
        cmocka_unit_test(test_a_budget_of_memory_is_kept),
        cmocka_unit_test(test_a_new_list_leaves_what_is_the_same),
        cmocka_unit_test(test_any_name_means_the_only_model),
        cmocka_unit_test_setup_teardown(test_models_of_the_machine_are_loaded_by_name, hub_folder_set,
                                        hub_folder_unset),
        cmocka_unit_test(test_vectors_are_made_by_a_form_of_its_own),
        cmocka_unit_test(test_many_threads_and_few_places),
        cmocka_unit_test(test_who_waits_is_let_go_when_the_server_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
