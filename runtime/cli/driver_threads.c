/* driver_threads.c: PoCL's threads wait for the next kernel on a condition variable, and are woken twice for each, when
 * a kernel is over and when the next one begins. In a virtual machine a wake-up takes 10 to 17 us, of which both sides
 * have their part: with some 250 kernels a token that is more than a tenth of decoding a model of 1 GB, and half of it
 * with a small one. PoCL has no setting for that. But it looks at its queue again whenever a wait ends, whatever ended
 * it, as POSIX has it. So the tool exports functions of these names (Makefile), which the dynamic linker finds first:
 * who waits on PoCL's queue watches for a while without sleeping, and who calls finds nobody asleep, which costs no
 * system call.
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

static void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* What the C library has under this name; functions and pointers to data are one size wherever there is dlsym. */
static void find_next(const char *name, _Atomic(void *) *known, void *function) {
    void *found = atomic_load_explicit(known, memory_order_relaxed);
    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        atomic_store_explicit(known, found, memory_order_relaxed);
    }
    memcpy(function, &found, sizeof found);
}

static bool is_queue(pthread_cond_t *condition) {
    struct dl_find_object object;
    return _dl_find_object(condition, &object) == 0 && object.dlfo_link_map->l_name &&
           strstr(object.dlfo_link_map->l_name, "/libpocl");
}

/* Until somebody calls, for as long as it seems worth while. Whoever calls holds the mutex, as PoCL does: so what came
 * after `seen` was read under it is not missed. */
static void watch(unsigned seen) {
    for (int64_t start = now(); now() - start < patience;) {
        for (int i = 0; i < PAUSES; i++) {
            if (atomic_load_explicit(&calls, memory_order_acquire) != seen) {
                patience = patience < MOST_PATIENCE - MORE_PATIENCE ? patience + MORE_PATIENCE : MOST_PATIENCE;
                return;
            }
            pause_briefly();
        }
    }
    patience = patience / 2 > LEAST_PATIENCE ? patience / 2 : LEAST_PATIENCE;
}

__attribute__((visibility("default"))) int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    static _Atomic(void *) known;
    wait_function *next;
    find_next("pthread_cond_wait", &known, &next);
    if (!is_queue(condition)) return next(condition, mutex);
    unsigned seen = atomic_load_explicit(&calls, memory_order_relaxed);
    int error = pthread_mutex_unlock(mutex);
    if (error != 0) return error;
    watch(seen);
    error = pthread_mutex_lock(mutex);
    if (error != 0 || atomic_load_explicit(&calls, memory_order_relaxed) != seen) return error;
    return next(condition, mutex);
}

static int call(const char *name, _Atomic(void *) *known, pthread_cond_t *condition) {
    call_function *next;
    find_next(name, known, &next);
    if (is_queue(condition)) atomic_fetch_add_explicit(&calls, 1, memory_order_release);
    return next(condition);
}

__attribute__((visibility("default"))) int pthread_cond_broadcast(pthread_cond_t *condition) {
    static _Atomic(void *) known;
    return call("pthread_cond_broadcast", &known, condition);
}

__attribute__((visibility("default"))) int pthread_cond_signal(pthread_cond_t *condition) {
    static _Atomic(void *) known;
    return call("pthread_cond_signal", &known, condition);
}

#endif
