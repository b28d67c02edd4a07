/* clkernels/chain.cl itself, compiled as C, for this processor and (cross-built) for ARM's: several threads are its
 * work-items, more than there are processors at times. Each step reads what all workers have written in the step
 * before, so that a wait that ends too early, or a fence that does nothing, gives another sum. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 61, STEPS = 40, RUNS = 25, MOST_WORKERS = 5, WORDS = 4 };

typedef unsigned long ulong;
typedef unsigned char uchar;

static _Thread_local int worker_id;
static int worker_count;

#define __kernel static
#define __global
#define MOST_BUFFERS 2
#define BUFFERS uchar *b0, uchar *b1
#define BASES b0, b1
#define get_global_id(d) worker_id
#define get_global_size(d) worker_count
#define mem_fence(flags) __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define atomic_inc(at) __atomic_fetch_add(at, 1, __ATOMIC_SEQ_CST)
#define atomic_add(at, number) __atomic_fetch_add(at, number, __ATOMIC_SEQ_CST)

/* Task `id0` of stage s: from buffer s to the other one, the sum of two neighbours and one far away. */
static void run(int stage, int id0, int id1, int size0, int size1, const ulong *words, uchar *const *bases) {
    const uint32_t *from = (const uint32_t *)(const void *)bases[stage];
    uint32_t *to = (uint32_t *)(void *)bases[1 - stage];
    (void)id1;
    (void)size1;
    (void)words;
    if (worker_id && id0 % 4 == 0) sched_yield(); /* so that others are at the end of the step while this one is not */
    to[id0] = from[id0] + 3 * from[(id0 + 1) % size0] + from[(id0 + size0 / 2) % size0] + 1;
}

#include "../../clkernels/chain.cl"

static uint32_t buffers[2][WIDTH], expected[2][WIDTH];
static ulong script[STEPS * WORDS];
static int *state_lines;
static int second;
static pthread_barrier_t begun;

static void *work(void *id) {
    worker_id = (int)(intptr_t)id;
    pthread_barrier_wait(&begun);
    chain(script, state_lines, STEPS, second, (uchar *)buffers[0], (uchar *)buffers[1]);
    return NULL;
}

static void run_once(int workers) {
    pthread_t threads[MOST_WORKERS];
    worker_count = workers;
    assert_int_equal(pthread_barrier_init(&begun, NULL, (unsigned)workers), 0);
    for (int i = 0; i < workers; i++) assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i), 0);
    for (int i = 0; i < workers; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&begun);
    second ^= 1;
}

static void expect(void) {
    for (int step = 0; step < STEPS; step++) {
        uchar *bases[] = {(uchar *)expected[0], (uchar *)expected[1]};
        for (int task = 0; task < WIDTH; task++) run(step % 2, task, 0, WIDTH, 1, NULL, bases);
    }
}

static void test_steps_see_what_other_workers_wrote(void **state) {
    (void)state;
    for (int step = 0; step < STEPS; step++)
        memcpy(script + step * WORDS, (ulong[]){WORDS, (ulong)step % 2, WIDTH, 1}, sizeof(ulong[WORDS]));
    for (int workers = 1; workers <= MOST_WORKERS; workers++) {
        state_lines = calloc((size_t)STEPS * (size_t)(workers + 1) * LINE * 2, sizeof *state_lines);
        assert_true(state_lines);
        second = 0;
        for (int i = 0; i < WIDTH; i++) buffers[0][i] = expected[0][i] = (uint32_t)(i * i);
        for (int i = 0; i < RUNS; i++) {
            run_once(workers);
            expect();
            assert_memory_equal(buffers[0], expected[0], sizeof expected[0]);
        }
        free(state_lines);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {cmocka_unit_test(test_steps_see_what_other_workers_wrote)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
