/* driver_threads.c: PoCL's threads wait for the next kernel on a condition variable, and are woken twice for each, when
 * a kernel is over and when the next one begins. In a virtual machine a wake-up takes 10 to 17 us, of which both sides
 * have their part: with some 250 kernels a token that is more than a tenth of decoding a model of 1 GB, and half of it
 * with a small one. PoCL has no setting for that. But it looks at its queue again whenever a wait ends, whatever ended
 * it, as POSIX has it. So the tool exports functions of these names (Makefile), which the dynamic linker finds first:
 * who waits on PoCL's queue watches for a while without sleeping, and who calls finds nobody asleep, which costs no
 * system call.
 *
 * A wait that was watched ends, whether somebody called or not, and whoever waits looks at its queue again, under the
 * mutex; only then, where nothing has come, does it sleep, by the C library's function. So nothing is missed, also not
 * where who calls does not hold the mutex. Waits with a time limit are the C library's from the start.
 *
 * Only condition variables in PoCL's own static data are concerned: the queue of its threads. Events, on which our own
 * threads wait, are on the heap; they are many tokens' worth of time away, and the cores belong to the others.
 *
 * A program that uses the library has the C library's functions: these are not ours to replace there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/pause.h"

/* ThreadSanitizer has functions of these names itself. _dl_find_object takes no lock, so it may be asked anywhere. */
#if !defined(__SANITIZE_THREAD__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define CAN_WATCH
#endif
#endif

#ifdef CAN_WATCH

/* Longer than what separates two threads' parts of a kernel. Whoever watches in vain has less patience the next time,
 * since something else has the cores; what came in time adds to it. */
enum { LEAST_PATIENCE = 5000, MOST_PATIENCE = 100000, MORE_PATIENCE = 2000, PAUSES = 16 };

typedef int wait_function(pthread_cond_t *, pthread_mutex_t *);
typedef int call_function(pthread_cond_t *);

/* Calls to any such queue so far. */
static atomic_uint calls;
static _Thread_local int64_t patience = MOST_PATIENCE; /* ns */
/* The wait that was watched in vain, and ended. */
static _Thread_local struct {
    const pthread_cond_t *condition;
    unsigned seen; /* of calls */
} in_vain;

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* What the C library has under this name; functions and pointers to data are one size wherever there is dlsym. Where
 * there are functions for condition variables as they were before 2003, too (x86-64), these came first before glibc
 * 2.36; others than those of 2.3.2 nobody links to. */
static void find_next(const char *name, _Atomic(void *) *known, void *function) {
    void *found = atomic_load_explicit(known, memory_order_relaxed);
    if (!found) {
        found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
        if (!found) found = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(known, found, memory_order_relaxed);
    }
    memcpy(function, &found, sizeof found);
}

static bool is_queue(pthread_cond_t *condition) {
    struct dl_find_object object;
    return _dl_find_object(condition, &object) == 0 && object.dlfo_link_map->l_name &&
           strstr(object.dlfo_link_map->l_name, "/libpocl");
}

/* Until somebody calls, for as long as it seems worth while. false: nobody did. */
static bool watch(unsigned seen) {
    for (int64_t start = now(); now() - start < patience;) {
        for (int i = 0; i < PAUSES; i++) {
            if (atomic_load_explicit(&calls, memory_order_relaxed) != seen) {
                patience = patience < MOST_PATIENCE - MORE_PATIENCE ? patience + MORE_PATIENCE : MOST_PATIENCE;
                return true;
            }
            ci_pause();
        }
    }
    patience = patience / 2 > LEAST_PATIENCE ? patience / 2 : LEAST_PATIENCE;
    return false;
}

/* Found before main(), so that no thread waits for the dynamic linker when it first calls: who has its lock, loading a
 * library, may wait for that thread. */
static _Atomic(void *) known_wait, known_broadcast, known_signal;

__attribute__((constructor)) static void find_all(void) {
    void *function;
    find_next("pthread_cond_wait", &known_wait, &function);
    find_next("pthread_cond_broadcast", &known_broadcast, &function);
    find_next("pthread_cond_signal", &known_signal, &function);
}

__attribute__((visibility("default"))) int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    wait_function *next;
    find_next("pthread_cond_wait", &known_wait, &next);
    if (!is_queue(condition)) return next(condition, mutex);
    unsigned seen = atomic_load_explicit(&calls, memory_order_relaxed);
    if (in_vain.condition == condition && in_vain.seen == seen) return next(condition, mutex);
    int error = pthread_mutex_unlock(mutex);
    if (error != 0) return error;
    in_vain.condition = watch(seen) ? NULL : condition;
    in_vain.seen = seen;
    return pthread_mutex_lock(mutex);
}

/* The mutex orders what is read; a count that is seen late only makes a watch longer. */
static int call(const char *name, _Atomic(void *) *known, pthread_cond_t *condition) {
    call_function *next;
    find_next(name, known, &next);
    if (is_queue(condition)) atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
    return next(condition);
}

__attribute__((visibility("default"))) int pthread_cond_broadcast(pthread_cond_t *condition) {
    return call("pthread_cond_broadcast", &known_broadcast, condition);
}

__attribute__((visibility("default"))) int pthread_cond_signal(pthread_cond_t *condition) {
    return call("pthread_cond_signal", &known_signal, condition);
}

#endif
