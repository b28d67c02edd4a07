/* lock.c: one writer at a time, by flock(2) on a file beside: it ends with the process, however that ends, and a file
 * that is renamed into place cannot carry the lock itself. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "profile/profile.h"

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
                   "%s: process %ld has been writing there for more than %.0f s: wait for it to end (another `clinfer "
                   "tune`?), or end it",
                   path, process, seconds);
}

/* `rest` is what stands behind the profile's name: CI_PROFILE_TRIAL, or what ci_file_write adds to either. */
static bool is_temporary(const char *rest) {
    size_t trial = strlen(CI_PROFILE_TRIAL);
    if (strncmp(rest, CI_PROFILE_TRIAL, trial) == 0 && (rest[trial] == '.' || !rest[trial])) rest += trial;
    return !*rest || (*rest == '.' && strlen(rest) == strlen(".XXXXXX"));
}

/* Only whoever holds the lock writes temporary files, so those that are there are left over. */
static void remove_leftovers(const char *path) {
    char *folder = strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (slash) *slash = '\0';
    DIR *directory = slash ? opendir(folder) : NULL;
    const char *name = slash ? slash + 1 : "";
    size_t length = strlen(name);
    for (const struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
        if (strncmp(entry->d_name, name, length) == 0 && entry->d_name[length] && is_temporary(entry->d_name + length))
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory) closedir(directory);
    free(folder);
}

enum clinfer_status ci_profile_lock_file(const char *path, double seconds, struct ci_profile_lock *lock) {
    char *beside = NULL;
    *lock = (struct ci_profile_lock){-1};
    if (asprintf(&beside, "%s.lock", path) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    ci_file_make_parents(beside);
    enum clinfer_status status = CLINFER_OK;
    int descriptor = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0)
        status =
            ci_fail(CLINFER_IO, "%s: cannot create: %s; make the folder writable, or name another by XDG_DATA_HOME",
                    beside, strerror(errno));
    for (double end = ci_now() + seconds; descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) != 0;) {
        bool waits = errno == EWOULDBLOCK || errno == EINTR;
        if (waits && ci_now() < end) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            continue;
        }
        status = waits ? in_the_way(descriptor, path, seconds)
                       : ci_fail(CLINFER_IO, "%s: cannot lock: %s", beside, strerror(errno));
        close(descriptor);
        descriptor = -1;
    }
    free(beside);
    if (status != CLINFER_OK) return status;
    sign(descriptor);
    remove_leftovers(path);
    lock->descriptor = descriptor;
    return CLINFER_OK;
}

enum clinfer_status ci_profile_lock(const struct ci_profile_key *key, double seconds, struct ci_profile_lock *lock) {
    *lock = (struct ci_profile_lock){-1};
    char *path = ci_profile_path(key);
    if (!path) return ci_file_no_xdg("DATA", "profiles");
    enum clinfer_status status = ci_profile_lock_file(path, seconds, lock);
    free(path);
    return status;
}

/* Closing releases; the file stays: removing it would let two processes lock two files of one name. */
void ci_profile_unlock(struct ci_profile_lock *lock) {
    if (lock->descriptor >= 0) close(lock->descriptor);
    *lock = (struct ci_profile_lock){-1};
}
