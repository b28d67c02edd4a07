/* Whether the thread that waits for a command also computes what is enqueued behind it, found by experiment.
 *
 * A driver for CPUs may compute in the thread that waits, and go on there with whatever is in the queue: Intel's
 * runtime returns from a wait when the queue is empty. With a step enqueued behind the one that is waited for, each
 * token would be known only with the next one. GPUs are not asked: they have no use for the host's threads. */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

/* Copying takes 0.1 ms or more, several times what enqueueing and a wait that sleeps take of a thread's own time. */
enum { BYTES = 2 << 20, ATTEMPTS = 5, MOST_KNOWN = 16 };
static const double least_share = 0.5;

/* A process asks each device once, so that its engines run alike: the tuner compares them. */
static struct {
    cl_device_id id;
    bool waits_for_all;
} known[MOST_KNOWN];
static int known_count;
static pthread_mutex_t known_mutex = PTHREAD_MUTEX_INITIALIZER;

static double thread_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Two copies, each with a read behind it that tells when it is over. *computes: the second is over when the first was
 * waited for, and the time until then is this thread's own; a thread that only slept for too long has none. What is
 * read goes where it may still be written when the device can no more be waited for. */
static enum clinfer_status look(struct ci_device *device, struct ci_buffer *buffer, bool *computes) {
    enum clinfer_status status = CLINFER_OK;
    double start = ci_now(), own = thread_seconds();
    for (int i = 0; i < 2 && status == CLINFER_OK; i++) {
        status = ci_buffer_copy(buffer, 0, buffer, BYTES, BYTES);
        if (status == CLINFER_OK) status = ci_buffer_read_start(buffer, BYTES, device->staging + 4 * i, 4, i);
        if (status == CLINFER_OK) status = ci_device_flush(device);
    }
    enum clinfer_status first = ci_buffer_read_wait(device, 0);
    own = thread_seconds() - own;
    *computes = device->reads[1] && ci_buffer_read_is_done(device, 1) && own > least_share * (ci_now() - start);
    enum clinfer_status second = ci_buffer_read_wait(device, 1);
    return status != CLINFER_OK ? status : first != CLINFER_OK ? first : second;
}

/* false: a call failed. */
static bool measure(struct ci_device *device) {
    struct ci_buffer *buffer = NULL;
    bool computes = false;
    enum clinfer_status status = ci_buffer_create(device, 2 * BYTES, NULL, &buffer);
    for (int i = 0; i < ATTEMPTS && status == CLINFER_OK && !computes; i++) status = look(device, buffer, &computes);
    ci_buffer_destroy(buffer);
    device->caps.waits_for_all = status == CLINFER_OK && computes;
    /* Reads that nobody could wait for may still be under way. */
    if (status != CLINFER_OK) clFinish(device->queue);
    return status == CLINFER_OK;
}

static bool recall(struct ci_device *device) {
    int at = 0;
    pthread_mutex_lock(&known_mutex);
    while (at < known_count && known[at].id != device->id) at++;
    bool found = at < known_count;
    if (found) device->caps.waits_for_all = known[at].waits_for_all;
    pthread_mutex_unlock(&known_mutex);
    return found;
}

static void remember(const struct ci_device *device) {
    pthread_mutex_lock(&known_mutex);
    if (known_count < MOST_KNOWN) {
        known[known_count].id = device->id;
        known[known_count++].waits_for_all = device->caps.waits_for_all;
    }
    pthread_mutex_unlock(&known_mutex);
}

void ci_device_measure_waiting(struct ci_device *device) {
    device->caps.waits_for_all = false;
    if (device->caps.kind != CI_DEVICE_CPU || recall(device)) return;
    /* Not under the mutex: where a driver hangs, others can still be opened. */
    if (measure(device)) remember(device);
    ci_log(CLINFER_LOG_DEBUG, "\"%s\" (%s): a wait ends with %s", device->caps.name, device->caps.platform,
           device->caps.waits_for_all ? "all that is enqueued" : "what is waited for");
}
