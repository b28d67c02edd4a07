/* threads.h: the workers of the CPU backend. A run hands one function to all threads (the caller is thread 0) and
 * returns when all are through; inside it ci_threads_barrier() separates steps. Between runs workers sleep; within a
 * run they spin for some microseconds before they do. */
#ifndef CI_BASE_THREADS_H
#define CI_BASE_THREADS_H

#include <clinfer.h>
#include <pthread.h>

struct ci_threads;

typedef void ci_threads_function(void *argument, int thread, int threads);

enum { CI_MOST_THREADS = 1024 };

/* Processors that this process may run on. */
int ci_threads_default(void);
/* Cores that those processors are of: fewer where a core has several. */
int ci_threads_cores(void);

/* `count` includes the calling thread, CI_MOST_THREADS at most; 0 means ci_threads_default(). */
enum clinfer_status ci_threads_create(int count, struct ci_threads **threads);
void ci_threads_destroy(struct ci_threads *threads);

int ci_threads_count(const struct ci_threads *threads);

/* Only one run at a time per object; the caller holds whatever lock makes that so. */
void ci_threads_run(struct ci_threads *threads, ci_threads_function *function, void *argument);

/* pthread_create() for a thread that computes: kernels have tables of 0.75 MB on its stack, and not every system, nor
 * every `ulimit -s`, gives that much to a thread by itself. */
int ci_threads_start(pthread_t *thread, void *(*function)(void *), void *argument);

/* Inside a run, called by every thread: none passes before all have arrived. */
void ci_threads_barrier(struct ci_threads *threads);

#endif
