/* The models of a server (server/pool.h): loading on demand, sharing a load, what goes out for whom, in what order. */
#define _GNU_SOURCE
#include "support/imagined_pool.h"

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
        cmocka_unit_test(test_many_threads_and_few_places),
        cmocka_unit_test(test_who_waits_is_let_go_when_the_server_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
