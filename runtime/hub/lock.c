#define _GNU_SOURCE
#include "hub/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/status.h"
#include "hub/cache.h"

enum { LOOK_NANOSECONDS = 50000000, TRIES = 3 };

/* A number that changes when whoever holds the lock moves: names, lengths and times of the files beside the target that
 * begin as it does, whatever program makes them. */
static uint64_t movement(const char *target) {
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    char *folder = slash ? strndup(target, (size_t)(slash - target) + 1) : strdup(".");
    DIR *open = folder ? opendir(folder) : NULL;
    uint64_t sum = 0;
    for (const struct dirent *entry; open && (entry = readdir(open));) {
        struct stat info;
        if (strncmp(entry->d_name, name, strlen(name)) || fstatat(dirfd(open), entry->d_name, &info, 0)) continue;
        uint64_t hash = ci_hash(CI_HASH_START, entry->d_name, strlen(entry->d_name));
        hash = ci_hash(hash, &info.st_size, sizeof info.st_size);
        sum += ci_hash(hash, &info.st_mtim, sizeof info.st_mtim);
    }
    if (open) closedir(open);
    free(folder);
    return sum;
}

struct wait {
    uint64_t movement;
    double end, told; /* on ci_now() */
    bool said;
};

static enum clinfer_status wait_more(struct ci_hub *hub, const struct ci_hub_wanted *wanted, const char *path,
                                     struct wait *wait) {
    double now = ci_now();
    uint64_t moved = movement(wanted->target);
    if (!wait->said) ci_hub_say(hub, false, "%s: another process fetches it: waiting for that", wanted->name);
    if (!wait->said || moved != wait->movement) wait->end = now + hub->settings->lock_seconds;
    wait->movement = moved;
    if (hub->cancel && atomic_load(hub->cancel)) return ci_fail(CLINFER_CANCELLED, "%s: cancelled", wanted->name);
    if (now >= wait->end)
        return ci_fail(CLINFER_IO,
                       "%s: another process has locked %s and has not moved for %.0f s; end that one, or wait for it",
                       wanted->name, path, hub->settings->lock_seconds);
    if (hub->watch && (!wait->said || now - wait->told >= 0.5)) {
        struct ci_hub_event event = {
            .kind = CI_HUB_PROGRESS, .phase = "wait", .file = wanted->name, .digest = "", .total = wanted->size};
        hub->watch(hub->user, &event);
        wait->told = now;
    }
    wait->said = true;
    nanosleep(&(struct timespec){.tv_nsec = LOOK_NANOSECONDS}, NULL);
    return CLINFER_OK;
}

/* Whether the name still is that of the open file: whoever had it before may have removed or renamed it. */
static bool is_current(int descriptor, const char *path) {
    struct stat mine, named;
    return fstat(descriptor, &mine) == 0 && stat(path, &named) == 0 && mine.st_dev == named.st_dev &&
           mine.st_ino == named.st_ino;
}

static int open_lock(const char *path, unsigned mode, bool writes) {
    int descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
    /* Another process may remove the empty folder between the making and the use: then once more. */
    for (int i = 0; i < TRIES && descriptor < 0 && errno == ENOENT; i++) {
        char *own = strdup(path);
        int failure = own ? ci_hub_cache_make_parents(own) : ENOMEM;
        free(own);
        descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, mode);
        if (descriptor < 0 && failure) errno = failure;
    }
    /* Another user's, in a cache that is shared: reading suffices for flock. */
    if (descriptor < 0 && errno == EACCES && !writes) {
        descriptor = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
        if (descriptor < 0) errno = EACCES;
    }
    return descriptor;
}

enum clinfer_status ci_hub_lock(struct ci_hub *hub, const char *path, unsigned mode, bool writes,
                                const struct ci_hub_wanted *wanted, int *descriptor, int *why) {
    struct wait wait = {0};
    enum clinfer_status status = CLINFER_OK;
    *why = 0;
    *descriptor = -1;
    while (status == CLINFER_OK && *descriptor < 0 && !*why) {
        int opened = open_lock(path, mode, writes);
        int error = opened < 0 || flock(opened, LOCK_EX | LOCK_NB) ? errno : 0;
        if (!error && is_current(opened, path)) *descriptor = opened;
        if (opened >= 0 && error == EWOULDBLOCK)
            status = wait_more(hub, wanted, path, &wait);
        else if (error && error != EINTR)
            *why = error;
        if (opened >= 0 && *descriptor < 0) close(opened);
    }
    return status;
}
