#define _GNU_SOURCE
#include "base/threads.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/narrow.h"
#include "base/pause.h"
#include "base/status.h"

/* A step takes tens of microseconds: waiting for the others spins that long, since a sleep and a wake-up cost as much.
 * Who still waits then waits for a thread that has lost its core: for a moment to one that passes a token on, which is
 * worth spinning for, or for a time slice to another program. Spinning on would use up our own time slice there, and
 * an idle core could take the other thread over, so it sleeps; at once where the other one was on this very core last,
 * and waits for it. How long is worth while depends on what the machine does: a wait that was over soon after all
 * doubles the next one's patience, one that took as long as time slices do halves it, each that never slept adds a
 * little. */
enum { LEAST_SPINS = 100, FIRST_SPINS = 1500, MOST_SPINS = 6000, MORE_SPINS = 32, CACHE_LINE = 64 };

static const double short_seconds = 300e-6; /* of a wait that another program would have made longer */

static _Thread_local int patience = FIRST_SPINS;
static _Thread_local int own_index; /* among the threads that it runs with */

/* What others may look at of a thread. */
struct place {
    _Alignas(CACHE_LINE) atomic_int cpu;
    atomic_uint arrived; /* the phase at the end of which it waits, or waited last */
};

struct worker {
    struct ci_threads *owner;
    int index;
    pthread_t handle;
};

struct ci_threads {
    int count;
    struct worker *workers; /* [count - 1] */
    struct place *places;   /* [count] */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned long run; /* number of the current run, under lock */
    bool stop;         /* under lock */
    ci_threads_function *function;
    void *argument;
    _Alignas(CACHE_LINE) atomic_int arrived;
    _Alignas(CACHE_LINE) atomic_uint phase;
    atomic_int sleepers;
};

static void sleep_until_changed(struct ci_threads *threads, unsigned phase) {
    atomic_fetch_add(&threads->sleepers, 1);
    while (atomic_load(&threads->phase) == phase)
        syscall(SYS_futex, (unsigned *)&threads->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
    atomic_fetch_sub(&threads->sleepers, 1);
}

/* One that has not arrived waits for this core, as far as can be known. */
static bool is_in_the_way(struct ci_threads *threads, unsigned phase, int cpu) {
    for (int i = 0; i < threads->count; i++) {
        const struct place *place = &threads->places[i];
        if (atomic_load_explicit(&place->arrived, memory_order_relaxed) != phase &&
            atomic_load_explicit(&place->cpu, memory_order_relaxed) == cpu)
            return true;
    }
    return false;
}

/* false: in vain. */
static bool spin_until_changed(struct ci_threads *threads, unsigned phase, int cpu) {
    for (int spins = 0; spins < patience; spins++) {
        if (atomic_load_explicit(&threads->phase, memory_order_acquire) != phase) {
            if (patience < MOST_SPINS) patience += MORE_SPINS;
            return true;
        }
        ci_pause();
        if (spins == LEAST_SPINS && is_in_the_way(threads, phase, cpu)) return false;
    }
    return false;
}

void ci_threads_barrier(struct ci_threads *threads) {
    if (threads->count == 1) return;
    unsigned phase = atomic_load_explicit(&threads->phase, memory_order_acquire);
    struct place *place = &threads->places[own_index];
    int cpu = sched_getcpu();
    atomic_store_explicit(&place->cpu, cpu, memory_order_relaxed);
    atomic_store_explicit(&place->arrived, phase, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&threads->arrived, 1, memory_order_acq_rel) == threads->count - 1) {
        atomic_store_explicit(&threads->arrived, 0, memory_order_relaxed);
        /* In one order for all: who slept before is seen in `sleepers`, who comes later sees the new phase. */
        atomic_store(&threads->phase, phase + 1);
        if (atomic_load(&threads->sleepers) > 0)
            syscall(SYS_futex, (unsigned *)&threads->phase, FUTEX_WAKE_PRIVATE, threads->count, NULL, NULL, 0);
        return;
    }
    if (spin_until_changed(threads, phase, cpu)) return;
    double start = ci_now();
    sleep_until_changed(threads, phase);
    patience = ci_now() - start < short_seconds ? 2 * patience : patience / 2;
    patience = patience < LEAST_SPINS ? LEAST_SPINS : patience > MOST_SPINS ? MOST_SPINS : patience;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    struct ci_threads *threads = worker->owner;
    unsigned long seen = 0;
    own_index = worker->index;
    for (;;) {
        pthread_mutex_lock(&threads->lock);
        while (threads->run == seen && !threads->stop) pthread_cond_wait(&threads->wake, &threads->lock);
        bool stop = threads->stop;
        seen = threads->run;
        pthread_mutex_unlock(&threads->lock);
        if (stop) return NULL;
        threads->function(threads->argument, worker->index, threads->count);
        ci_threads_barrier(threads);
    }
}

int ci_threads_start(pthread_t *thread, void *(*function)(void *), void *argument) {
    const size_t least = 2 << 20;
    size_t usual = 0;
    pthread_attr_t attributes;
    int error = pthread_attr_init(&attributes);
    if (error) return error;
    if (pthread_attr_getstacksize(&attributes, &usual) == 0 && usual < least)
        pthread_attr_setstacksize(&attributes, least);
    error = pthread_create(thread, &attributes, function, argument);
    pthread_attr_destroy(&attributes);
    return error;
}

int ci_threads_default(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? ci_narrowed(online) : 1;
}

/* The first of the processors that are this one's core, by number; itself where nobody says. */
static int first_sibling(int processor) {
    char path[96], text[16] = "";
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", processor);
    FILE *file = fopen(path, "re");
    bool said = file && fgets(text, sizeof text, file);
    if (file) fclose(file);
    long first = said ? strtol(text, NULL, 10) : processor;
    return first >= 0 && first < CPU_SETSIZE ? ci_narrowed(first) : processor;
}

int ci_threads_cores(void) {
    cpu_set_t set, cores;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return ci_threads_default();
    CPU_ZERO(&cores);
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) CPU_SET(first_sibling(i), &cores);
    return CPU_COUNT(&cores);
}

enum clinfer_status ci_threads_create(int count, struct ci_threads **out) {
    *out = NULL;
    if (count <= 0) count = ci_threads_default();
    struct ci_threads *threads =
        aligned_alloc(CACHE_LINE, (sizeof *threads + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE);
    if (!threads) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d threads", count);
    *threads = (struct ci_threads){.count = 1};
    threads->workers = calloc((size_t)count, sizeof *threads->workers);
    threads->places = aligned_alloc(CACHE_LINE, (size_t)count * sizeof *threads->places);
    if (!threads->workers || !threads->places) {
        free(threads->places);
        free(threads->workers);
        free(threads);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d threads", count);
    }
    for (int i = 0; i < count; i++) {
        atomic_init(&threads->places[i].cpu, -1);
        atomic_init(&threads->places[i].arrived, UINT_MAX);
    }
    pthread_mutex_init(&threads->lock, NULL);
    pthread_cond_init(&threads->wake, NULL);
    for (int i = 1; i < count; i++) {
        struct worker *worker = &threads->workers[i - 1];
        *worker = (struct worker){.owner = threads, .index = i};
        int error = ci_threads_start(&worker->handle, work, worker);
        if (error) {
            ci_threads_destroy(threads);
            return ci_fail(CLINFER_OUT_OF_MEMORY, "cannot start thread %d of %d (error %d); try fewer with -t", i,
                           count, error);
        }
        threads->count = i + 1;
    }
    *out = threads;
    return CLINFER_OK;
}

void ci_threads_destroy(struct ci_threads *threads) {
    if (!threads) return;
    pthread_mutex_lock(&threads->lock);
    threads->stop = true;
    pthread_cond_broadcast(&threads->wake);
    pthread_mutex_unlock(&threads->lock);
    for (int i = 1; i < threads->count; i++) pthread_join(threads->workers[i - 1].handle, NULL);
    pthread_cond_destroy(&threads->wake);
    pthread_mutex_destroy(&threads->lock);
    free(threads->places);
    free(threads->workers);
    free(threads);
}

int ci_threads_count(const struct ci_threads *threads) { return threads->count; }

void ci_threads_run(struct ci_threads *threads, ci_threads_function *function, void *argument) {
    if (threads->count > 1) {
        pthread_mutex_lock(&threads->lock);
        threads->function = function;
        threads->argument = argument;
        threads->run++;
        pthread_cond_broadcast(&threads->wake);
        pthread_mutex_unlock(&threads->lock);
    }
    int outer = own_index; /* of one that has threads of its own */
    own_index = 0;
    function(argument, 0, threads->count);
    ci_threads_barrier(threads);
    own_index = outer;
}
