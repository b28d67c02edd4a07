/* Whether who waits for a command computes those behind it too, found by experiment.
 *
 * A driver for CPUs may compute in the thread that waits, and go on there with whatever is in the queue: Intel's
 * runtime returns from a wait when the queue is empty. With a step enqueued behind the one that is waited for, each
 * token would be known only with the next one. GPUs are not asked: they have no use for the host's threads. */
#define _GNU_SOURCE
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

/* Copying takes 0.1 ms or more, several times what a thread needs to wait. */
enum { BYTES = 2 << 20, ATTEMPTS = 3 };
static const double least_seconds = 30e-6, least_share = 0.5;

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
    for (int i = 0; i < 2 && status == CLINFER_OK; i++) {
        status = ci_buffer_copy(buffer, 0, buffer, BYTES, BYTES);
        if (status == CLINFER_OK) status = ci_buffer_read_start(buffer, BYTES, device->staging + 4 * i, 4, i);
        if (status == CLINFER_OK) status = ci_device_flush(device);
    }
    double start = ci_now(), own = thread_seconds();
    enum clinfer_status first = ci_buffer_read_wait(device, 0);
    own = thread_seconds() - own;
    *computes = ci_buffer_read_is_done(device, 1) && own > least_seconds && own > least_share * (ci_now() - start);
    enum clinfer_status second = ci_buffer_read_wait(device, 1);
    return status != CLINFER_OK ? status : first != CLINFER_OK ? first : second;
}

void ci_device_measure_waiting(struct ci_device *device) {
    struct ci_buffer *buffer = NULL;
    bool computes = false;
    device->caps.waits_for_all = false;
    if (device->caps.kind != CI_DEVICE_CPU) return;
    enum clinfer_status status = ci_buffer_create(device, 2 * BYTES, NULL, &buffer);
    for (int i = 0; i < ATTEMPTS && status == CLINFER_OK && !computes; i++) status = look(device, buffer, &computes);
    ci_buffer_destroy(buffer);
    device->caps.waits_for_all = status == CLINFER_OK && computes;
    ci_log(CLINFER_LOG_DEBUG, "\"%s\" (%s): a wait ends with %s", device->caps.name, device->caps.platform,
           device->caps.waits_for_all ? "all that is enqueued" : "what is waited for");
}
