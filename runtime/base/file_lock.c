/* file_lock.c: one writer at a time, by flock(2) on a file beside: it ends with the process, however that ends, and a
 * file that is renamed into place cannot carry the lock itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"

/* The holder writes who it is; a text only, the lock is what counts. */
static void sign(int descriptor) {
    char text[32];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, text, (size_t)length, 0) != length) return;
}

static enum clinfer_status in_the_way(int descriptor, const char *path, double seconds) {
    char text[32] = "";
    ssize_t got = pread(descriptor, text, sizeof text - 1, 0);
    long process = got > 0 ? strtol(text, NULL, 10) : 0;
    return ci_fail(CLINFER_IO,
                   "%s: process %ld has been writing there for more than %.0f s: wait for it to end, or end it", path,
                   process, seconds);
}

static enum clinfer_status take(int descriptor, const char *path, const char *beside, double seconds) {
    for (double end = ci_now() + seconds; flock(descriptor, LOCK_EX | LOCK_NB) != 0;) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return ci_fail(CLINFER_IO, "%s: cannot lock: %s", beside, strerror(errno));
        if (ci_now() >= end) return in_the_way(descriptor, path, seconds);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    sign(descriptor);
    return CLINFER_OK;
}

enum clinfer_status ci_file_lock(const char *path, double seconds, int *descriptor) {
    char *beside = NULL;
    *descriptor = -1;
    if (asprintf(&beside, "%s.lock", path) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    int no_folder = ci_file_make_parents(beside);
    enum clinfer_status status;
    int opened = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (opened < 0)
        status = ci_fail(
            CLINFER_IO,
            "%s: cannot create: %s; make the folder writable, or name another by XDG_DATA_HOME or XDG_CONFIG_HOME",
            beside, strerror(errno == ENOENT && no_folder ? no_folder : errno));
    else
        status = take(opened, path, beside, seconds);
    if (status == CLINFER_OK)
        *descriptor = opened;
    else if (opened >= 0)
        close(opened);
    free(beside);
    return status;
}
