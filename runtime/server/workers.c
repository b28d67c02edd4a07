/* workers.c: threads that run handlers. A handler blocks while its answer is made, so there is one for each request
 * under way; one that has had nothing to do for a while ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/status.h"
#include "server/server_private.h"

/* Grammars, templates and JSON nest on the stack. */
enum { STACK_BYTES = 2 << 20, IDLE_SECONDS = 20 };

struct ci_workers {
    pthread_mutex_t lock;
    pthread_cond_t work, ended;
    struct ci_exchange **queue; /* [most], a ring */
    int first, queued, idle, count, most;
    bool stop;
};

static struct timespec later(double seconds) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += (time_t)seconds;
    at.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (at.tv_nsec >= 1000000000) at.tv_sec++;
    if (at.tv_nsec >= 1000000000) at.tv_nsec -= 1000000000;
    return at;
}

/* NULL: there was nothing for a while, or the end has come. */
static struct ci_exchange *take(struct ci_workers *workers) {
    struct timespec at = later(IDLE_SECONDS);
    workers->idle++;
    int late = 0;
    while (!workers->queued && !workers->stop && !late)
        late = pthread_cond_timedwait(&workers->work, &workers->lock, &at) == ETIMEDOUT;
    workers->idle--;
    if (!workers->queued) return NULL;
    struct ci_exchange *exchange = workers->queue[workers->first];
    workers->first = (workers->first + 1) % workers->most;
    workers->queued--;
    return exchange;
}

static void *work(void *user) {
    struct ci_workers *workers = user;
    struct ci_exchange *exchange;
    pthread_mutex_lock(&workers->lock);
    while ((exchange = take(workers))) {
        pthread_mutex_unlock(&workers->lock);
        ci_exchange_handle(exchange);
        ci_exchange_release(exchange);
        pthread_mutex_lock(&workers->lock);
    }
    workers->count--;
    pthread_cond_broadcast(&workers->ended);
    pthread_mutex_unlock(&workers->lock);
    return NULL;
}

enum clinfer_status ci_workers_create(int most, struct ci_workers **out) {
    struct ci_workers *workers = calloc(1, sizeof *workers);
    *out = NULL;
    if (workers) workers->queue = calloc((size_t)most, sizeof *workers->queue);
    if (!workers || !workers->queue) {
        free(workers);
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a server");
    }
    workers->most = most;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->work, NULL);
    pthread_cond_init(&workers->ended, NULL);
    *out = workers;
    return CLINFER_OK;
}

static bool start_thread(struct ci_workers *workers) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    bool started = pthread_create(&thread, &attributes, work, workers) == 0;
    pthread_attr_destroy(&attributes);
    workers->count += started;
    return started;
}

bool ci_workers_submit(struct ci_workers *workers, struct ci_exchange *exchange) {
    pthread_mutex_lock(&workers->lock);
    bool room = workers->queued < workers->most && !workers->stop;
    if (room && workers->idle <= workers->queued)
        room = (workers->count < workers->most && start_thread(workers)) || workers->idle > 0;
    if (room) {
        ci_exchange_hold(exchange);
        workers->queue[(workers->first + workers->queued) % workers->most] = exchange;
        workers->queued++;
        pthread_cond_signal(&workers->work);
    }
    pthread_mutex_unlock(&workers->lock);
    return room;
}

bool ci_workers_destroy(struct ci_workers *workers, double seconds) {
    if (!workers) return true;
    struct timespec at = later(seconds);
    int late = 0;
    pthread_mutex_lock(&workers->lock);
    workers->stop = true;
    pthread_cond_broadcast(&workers->work);
    while (workers->count && !late) late = pthread_cond_timedwait(&workers->ended, &workers->lock, &at) == ETIMEDOUT;
    bool all = workers->count == 0;
    pthread_mutex_unlock(&workers->lock);
    if (!all) return false;
    pthread_mutex_destroy(&workers->lock);
    pthread_cond_destroy(&workers->work);
    pthread_cond_destroy(&workers->ended);
    free(workers->queue);
    free(workers);
    return true;
}
