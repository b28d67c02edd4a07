/* Threads of PoCL that wait for work watch for it awhile without sleeping (runtime/cli/driver_threads.c), and none of
 * it is missed; those of other libraries sleep as ever. A shared object with such a queue stands in for PoCL. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "support/asserts.h"
#include "support/process.h"

enum { ROUNDS = 100, ATTEMPTS = 100 };

/* A loaded copy of the fake queue. */
struct pool {
    void *library;
    void (*put)(int);
    int (*take)(void);
    atomic_int taken;
    long sleeps; /* of the thread that takes */
};

static void *find(void *library, const char *name) {
    void *found = dlsym(library, name);
    assert_non_null(found);
    return found;
}

static void open_as(struct pool *pool, const char *name) {
    const char *build = getenv("CLINFER_BUILD");
    char from[512];
    size_t size;
    memset(pool, 0, sizeof *pool);
    snprintf(from, sizeof from, "%s/tests/fault/fake_pool.so", build ? build : "build/release");
    char *library = process_read(from, &size);
    const char *path = process_file(name, library, size);
    free(library);
    pool->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!pool->library) fail_msg("%s: %s", path, dlerror());
    void *put = find(pool->library, "fake_pool_put"), *take = find(pool->library, "fake_pool_take");
    memcpy(&pool->put, &put, sizeof put);
    memcpy(&pool->take, &take, sizeof take);
}

static void *take_all(void *argument) {
    struct pool *pool = argument;
    struct rusage before, after;
    getrusage(RUSAGE_THREAD, &before);
    for (int i = 1; i <= ROUNDS; i++) {
        if (pool->take() != i) break;
        atomic_store(&pool->taken, i);
    }
    getrusage(RUSAGE_THREAD, &after);
    pool->sleeps = after.ru_nvcsw - before.ru_nvcsw;
    return NULL;
}

static void wait_for(double seconds) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do clock_gettime(CLOCK_MONOTONIC, &now);
    while ((double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec) < seconds);
}

/* How often the thread that takes has slept while ROUNDS numbers came, each `pause` seconds after the last was taken.
 */
static long sleeps_of(struct pool *pool, double pause) {
    pthread_t thread;
    atomic_store(&pool->taken, 0);
    assert_int_equal(pthread_create(&thread, NULL, take_all, pool), 0);
    for (int i = 1; i <= ROUNDS; i++) {
        while (atomic_load(&pool->taken) != i - 1) wait_for(0);
        wait_for(pause);
        pool->put(i);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(atomic_load(&pool->taken), ROUNDS);
    return pool->sleeps;
}

/* Other programs may have the cores for a while. */
static void test_queue_of_pocl_is_watched(void **state) {
    (void)state;
    struct pool pool;
    long least = ROUNDS;
    open_as(&pool, "libpocl-test.so");
    for (int i = 0; i < ATTEMPTS && least > ROUNDS / 4; i++) {
        long sleeps = sleeps_of(&pool, 1e-5);
        if (sleeps < least) least = sleeps;
    }
    if (least > ROUNDS / 4) fail_msg("%ld sleeps in %d waits of 10 us", least, ROUNDS);
    dlclose(pool.library);
}

static void test_long_waits_sleep_and_end(void **state) {
    (void)state;
    struct pool pool;
    open_as(&pool, "libpocl-test.so");
    long sleeps = sleeps_of(&pool, 5e-4);
    if (sleeps < ROUNDS / 2) fail_msg("%ld sleeps in %d waits of 500 us", sleeps, ROUNDS);
    dlclose(pool.library);
}

static void test_others_sleep(void **state) {
    (void)state;
    struct pool pool;
    long most = 0;
    open_as(&pool, "libother-test.so");
    for (int i = 0; i < ATTEMPTS && most < ROUNDS / 2; i++) {
        long sleeps = sleeps_of(&pool, 5e-5);
        if (sleeps > most) most = sleeps;
    }
    if (most < ROUNDS / 2) fail_msg("%ld sleeps in %d waits of 50 us", most, ROUNDS);
    dlclose(pool.library);
}

/* They are the C library's own, which knows nothing of this: both have to mean the same kind of condition variable. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool waits, called;
} timed = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static void *wait_for_call(void *argument) {
    int *error = argument;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    pthread_mutex_lock(&timed.lock);
    timed.waits = true;
    while (!timed.called && !*error) *error = pthread_cond_timedwait(&timed.wake, &timed.lock, &until);
    pthread_mutex_unlock(&timed.lock);
    return NULL;
}

static void test_calls_reach_waits_with_a_limit(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        int error = 0;
        timed.waits = timed.called = false;
        assert_int_equal(pthread_create(&thread, NULL, wait_for_call, &error), 0);
        for (bool waits = false; !waits;) {
            pthread_mutex_lock(&timed.lock);
            waits = timed.waits;
            timed.called = waits;
            if (waits) assert_int_equal(i ? pthread_cond_signal(&timed.wake) : pthread_cond_broadcast(&timed.wake), 0);
            pthread_mutex_unlock(&timed.lock);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(error, 0);
    }
}

int main(void) {
#if defined(__SANITIZE_THREAD__) || !defined(__GLIBC_PREREQ)
    const bool does_nothing = true;
#else
    const bool does_nothing = !__GLIBC_PREREQ(2, 35);
#endif
    if (does_nothing) {
        printf("1..0 # SKIP driver_threads.c does nothing here\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_of_pocl_is_watched),
        cmocka_unit_test(test_long_waits_sleep_and_end),
        cmocka_unit_test(test_others_sleep),
        cmocka_unit_test(test_calls_reach_waits_with_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
