/* The threads that compute, and their barrier. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/status.h"
#include "base/threads.h"

enum { MAX_THREADS = 8, STEPS = 200 };

struct work {
    struct ci_threads *threads;
    atomic_int seen[MAX_THREADS]; /* calls per thread index */
    int wrong_count;
    int ring[2][MAX_THREADS]; /* written in one step, read by the neighbour in the next */
    atomic_int out_of_order;
};

static void count_calls(void *argument, int thread, int threads) {
    struct work *work = argument;
    if (thread < 0 || thread >= threads || threads != ci_threads_count(work->threads)) work->wrong_count = 1;
    atomic_fetch_add(&work->seen[thread], 1);
}

/* Plain memory: only the barrier keeps a neighbour's value from being the one before or the one after. */
static void pass_around(void *argument, int thread, int threads) {
    struct work *work = argument;
    for (int step = 0; step < STEPS; step++) {
        work->ring[step % 2][thread] = step * threads + thread;
        ci_threads_barrier(work->threads);
        int neighbour = (thread + 1) % threads;
        if (work->ring[step % 2][neighbour] != step * threads + neighbour) atomic_fetch_add(&work->out_of_order, 1);
    }
}

static void test_threads_run_every_index_once(void **state) {
    (void)state;
    for (int count = 1; count <= MAX_THREADS; count++) {
        struct work work = {0};
        assert_int_equal(ci_threads_create(count, &work.threads), CLINFER_OK);
        assert_int_equal(ci_threads_count(work.threads), count);
        for (int run = 1; run <= 50; run++) {
            ci_threads_run(work.threads, count_calls, &work);
            for (int i = 0; i < count; i++) assert_int_equal(atomic_load(&work.seen[i]), run);
        }
        assert_int_equal(work.wrong_count, 0);
        ci_threads_destroy(work.threads);
    }
}

static void test_barrier_separates_steps(void **state) {
    (void)state;
    for (int count = 1; count <= MAX_THREADS; count++) {
        struct work work = {0};
        assert_int_equal(ci_threads_create(count, &work.threads), CLINFER_OK);
        for (int run = 0; run < 3; run++) ci_threads_run(work.threads, pass_around, &work);
        if (atomic_load(&work.out_of_order))
            fail_msg("%d threads: %d values out of order", count, atomic_load(&work.out_of_order));
        ci_threads_destroy(work.threads);
    }
}

/* As the largest kernel takes, with what else a thread needs. */
static void fill_stack(void *argument, int thread, int threads) {
    enum { BYTES = 3 << 19, PAGE = 4096 };
    atomic_int *filled = argument;
    (void)threads;
    if (thread == 0) return; /* the caller's */
    volatile char room[BYTES];
    for (int i = BYTES - 1; i >= 0; i -= PAGE) room[i] = 1;
    atomic_fetch_add(filled, room[PAGE - 1]);
}

static void test_threads_have_stack_for_kernels(void **state) {
    pthread_attr_t usual, small;
    struct ci_threads *threads;
    atomic_int filled = 0;
    (void)state;
    assert_int_equal(pthread_getattr_default_np(&usual), 0);
    assert_int_equal(pthread_attr_init(&small), 0);
    assert_int_equal(pthread_attr_setstacksize(&small, 256 << 10), 0);
    assert_int_equal(pthread_setattr_default_np(&small), 0); /* as `ulimit -s 256` does */
    assert_int_equal(ci_threads_create(3, &threads), CLINFER_OK);
    ci_threads_run(threads, fill_stack, &filled);
    assert_int_equal(atomic_load(&filled), 2);
    ci_threads_destroy(threads);
    assert_int_equal(pthread_setattr_default_np(&usual), 0);
    pthread_attr_destroy(&small);
    pthread_attr_destroy(&usual);
}

static void test_threads_default_to_the_processors_allowed(void **state) {
    (void)state;
    struct ci_threads *threads;
    assert_int_equal(ci_threads_create(0, &threads), CLINFER_OK);
    assert_in_range(ci_threads_count(threads), 1, sysconf(_SC_NPROCESSORS_CONF));
    ci_threads_destroy(threads); /* without a run */
    ci_threads_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_run_every_index_once),
        cmocka_unit_test(test_barrier_separates_steps),
        cmocka_unit_test(test_threads_have_stack_for_kernels),
        cmocka_unit_test(test_threads_default_to_the_processors_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
