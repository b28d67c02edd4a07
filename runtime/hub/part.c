#define _GNU_SOURCE
#include "hub/part.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
#include "hub/part_state.h"
#include "hub/space.h"

/* What kill -9 may cost, and a power cut. */
static const uint64_t record_bytes = 1024 * 1024;
static const double record_seconds = 0.05;
enum { SYNC_SECONDS = 2 };

struct ci_part {
    char *target, *path, *state_path;
    int descriptor, state_descriptor;
    bool alone; /* no locks here: the files are of this process only */
    bool guess;
    uint64_t recorded_bytes; /* of what is done when the record was written */
    double recorded_at;

    pthread_t syncer;
    bool syncing;         /* it was started */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    bool quit;
    int error;           /* the errno of a sync that failed: what was not synced before may be lost */
    unsigned generation; /* of what restart forgets */
    struct ci_part_state state;
};

const struct ci_ranges *ci_part_done(const struct ci_part *part) { return &part->state.written; }
const char *ci_part_path(const struct ci_part *part) { return part->path; }
int ci_part_descriptor(const struct ci_part *part) { return part->descriptor; }
bool ci_part_is_guess(const struct ci_part *part) { return part->guess; }
const char *ci_part_version(const struct ci_part *part) { return part->state.version; }

/* ---- the record ---- */

static void record(struct ci_part *part) {
    /* A failure leaves the record before, which claims less. */
    (void)ci_part_state_write(part->state_descriptor, &part->state);
    part->recorded_bytes = ci_ranges_bytes(&part->state.written);
    part->recorded_at = ci_now();
}

void ci_part_set_version(struct ci_part *part, const char *version) {
    pthread_mutex_lock(&part->lock);
    /* One that does not fit, or would break the record's lines, is as good as none. */
    bool fits = strlen(version) < sizeof part->state.version && !strpbrk(version, "\r\n");
    snprintf(part->state.version, sizeof part->state.version, "%s", fits ? version : "");
    record(part);
    pthread_mutex_unlock(&part->lock);
}

void ci_part_set_size(struct ci_part *part, uint64_t size) {
    pthread_mutex_lock(&part->lock);
    part->state.size = size;
    record(part);
    pthread_mutex_unlock(&part->lock);
}

/* ---- to disk ---- */

/* Called with the lock held, which it lets go while the disk works. */
static void sync_now(struct ci_part *part) {
    struct ci_ranges written = part->state.written;
    unsigned generation = part->generation;
    pthread_mutex_unlock(&part->lock);
    int error = fdatasync(part->descriptor) ? errno : 0;
    pthread_mutex_lock(&part->lock);
    if (error) part->error = error;
    if (part->error || generation != part->generation) return;
    part->state.synced = written;
    record(part);
    pthread_mutex_unlock(&part->lock);
    (void)fdatasync(part->state_descriptor); /* if it is lost, the record before counts */
    pthread_mutex_lock(&part->lock);
}

static void *sync_often(void *user) {
    struct ci_part *part = user;
    struct timespec next;
    pthread_mutex_lock(&part->lock);
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!part->quit) {
        next.tv_sec += SYNC_SECONDS;
        while (!part->quit && pthread_cond_timedwait(&part->wake, &part->lock, &next) != ETIMEDOUT) continue;
        if (!part->quit && ci_ranges_bytes(&part->state.written) > ci_ranges_bytes(&part->state.synced)) {
            sync_now(part);
            clock_gettime(CLOCK_MONOTONIC, &next);
        }
    }
    pthread_mutex_unlock(&part->lock);
    return NULL;
}

static enum clinfer_status start_syncer(struct ci_part *part) {
    int error = pthread_create(&part->syncer, NULL, sync_often, part);
    part->syncing = !error;
    return error ? ci_fail(CLINFER_OUT_OF_MEMORY, "cannot start a thread: %s", strerror(error)) : CLINFER_OK;
}

static void stop_syncer(struct ci_part *part) {
    if (!part->syncing) return;
    pthread_mutex_lock(&part->lock);
    part->quit = true;
    pthread_cond_signal(&part->wake);
    pthread_mutex_unlock(&part->lock);
    pthread_join(part->syncer, NULL);
    part->syncing = false;
}

/* ---- opening ---- */

/* What the record says is there, as far as it belongs to what is wanted. */
static void recall(struct ci_part *part, const struct ci_hub_wanted *wanted, const char *digest) {
    struct ci_part_state found;
    struct stat info;
    char boot[CI_PART_BOOT_BYTES];
    uint64_t length = fstat(part->descriptor, &info) == 0 ? (uint64_t)info.st_size : 0;
    ci_part_boot(boot);
    bool recorded = ci_part_state_read(part->state_descriptor, &found);
    bool same = recorded && !strcmp(found.digest, digest) &&
                (found.size == wanted->size || (wanted->size == UINT64_MAX && found.size != UINT64_MAX)) &&
                (*digest || *found.version);
    if (same) {
        bool running = *boot && !strcmp(boot, found.boot);
        part->state = found;
        if (!running) part->state.written = found.synced;
        ci_ranges_cut(&part->state.written, length);
        ci_ranges_cut(&part->state.synced, length);
    } else {
        part->state.sequence = recorded ? found.sequence : 0;
        part->state.size = wanted->size;
        snprintf(part->state.digest, sizeof part->state.digest, "%s", digest);
        part->guess = !recorded && *digest && length == wanted->size && length > 0;
        if (part->guess) ci_ranges_add(&part->state.written, 0, length);
    }
    snprintf(part->state.boot, sizeof part->state.boot, "%s", boot);
}

/* In a cache that users share, a link at a part's place would have us write over any file of ours. */
#define OWN (O_NOFOLLOW | O_CLOEXEC)

/* `size`: of what is to come. */
static enum clinfer_status cannot_create(const char *path, uint64_t size, int error) {
    if (error == ELOOP)
        return ci_fail(CLINFER_IO, "%s: is a link, which clinfer never makes there; remove it and pull again", path);
    if (error == ENOSPC || error == EDQUOT)
        return ci_hub_write_failed(path, size == UINT64_MAX ? 2 * CI_PART_SLOT : size, error);
    return ci_fail(CLINFER_IO, "%s: cannot create: %s; make the folder writable, or name another by HF_HUB_CACHE", path,
                   strerror(error));
}

static enum clinfer_status name_files(struct ci_part *part, const char *target) {
    char own[24] = "";
    if (part->alone) snprintf(own, sizeof own, ".%ld", (long)getpid());
    free(part->path);
    free(part->state_path);
    part->path = part->state_path = NULL;
    if (asprintf(&part->path, "%s%s%s", target, own, CI_PART_SUFFIX) < 0) part->path = NULL;
    if (asprintf(&part->state_path, "%s%s%s", target, own, CI_PART_STATE_SUFFIX) < 0) part->state_path = NULL;
    return part->path && part->state_path ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", target);
}

/* Why the usual part cannot be had although one of this process's own can, a clause; NULL: it is no such reason. */
static const char *why_alone(int error, const char *path) {
    if (error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP || error == EINVAL)
        return "its folder is on a file system without locks";
    if (error == EACCES && access(path, F_OK) == 0) return "another user has begun it, whose part cannot be written";
    return NULL;
}

static enum clinfer_status open_files(struct ci_part *part, struct ci_hub *hub, const struct ci_hub_wanted *wanted) {
    int why = 0;
    enum clinfer_status status = name_files(part, wanted->target);
    if (status == CLINFER_OK) status = ci_hub_lock(hub, part->path, 0666, true, wanted, &part->descriptor, &why);
    const char *alone = status == CLINFER_OK && part->descriptor < 0 ? why_alone(why, part->path) : NULL;
    if (alone) {
        ci_hub_say(hub, true, "%s: %s: what comes cannot be continued later", wanted->name, alone);
        if (why != EACCES) unlink(part->path);
        part->alone = true;
        status = name_files(part, wanted->target);
        if (status == CLINFER_OK) part->descriptor = open(part->path, O_RDWR | O_CREAT | O_TRUNC | OWN, 0666);
        why = errno;
    }
    if (status == CLINFER_OK && part->descriptor < 0) status = cannot_create(part->path, wanted->size, why);
    if (status != CLINFER_OK) return status;
    part->state_descriptor = open(part->state_path, O_RDWR | O_CREAT | OWN, 0666);
    return part->state_descriptor < 0 ? cannot_create(part->state_path, wanted->size, errno) : CLINFER_OK;
}

/* The first records: from here on the two pages have their place on the disk, and a full one cannot take it. */
static enum clinfer_status begin(struct ci_part *part) {
    bool recorded = true;
    for (int i = 0; i < 2; i++) recorded = recorded && ci_part_state_write(part->state_descriptor, &part->state);
    if (!recorded || fdatasync(part->state_descriptor))
        return cannot_create(part->state_path, part->state.size - ci_ranges_bytes(ci_part_done(part)), errno);
    if (ci_part_done(part)->count == 0 && ftruncate(part->descriptor, 0))
        return ci_hub_write_failed(part->path, 0, errno);
    enum clinfer_status status = ci_file_sync_folder(part->path);
    return status == CLINFER_OK ? start_syncer(part) : status;
}

enum clinfer_status ci_part_open(struct ci_hub *hub, const struct ci_hub_wanted *wanted, const char *digest,
                                 struct ci_part **part) {
    pthread_condattr_t monotonic;
    struct ci_part *made = calloc(1, sizeof *made);
    *part = NULL;
    if (!made) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", wanted->name);
    made->descriptor = made->state_descriptor = -1;
    pthread_mutex_init(&made->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&made->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    made->target = strdup(wanted->target);
    enum clinfer_status status = made->target ? open_files(made, hub, wanted)
                                              : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", wanted->name);
    if (status == CLINFER_OK) {
        recall(made, wanted, digest);
        status = begin(made);
    }
    if (status == CLINFER_OK)
        *part = made;
    else
        ci_part_close(made, false);
    return status;
}

/* ---- writing ---- */

enum clinfer_status ci_part_write(struct ci_part *part, uint64_t at, const void *bytes, size_t length) {
    int error = 0;
    for (size_t done = 0; done < length && !error;) {
        ssize_t put = pwrite(part->descriptor, (const char *)bytes + done, length - done, (off_t)(at + done));
        if (put >= 0)
            done += (size_t)put;
        else if (errno != EINTR)
            error = errno;
    }
    pthread_mutex_lock(&part->lock);
    if (!error) error = part->error;
    /* A range for which there is no room is not recorded: it is fetched again, and none is begun that far. */
    if (!error) (void)ci_ranges_add(&part->state.written, at, at + length);
    uint64_t done = ci_ranges_bytes(&part->state.written);
    if (error || done - part->recorded_bytes >= record_bytes || ci_now() - part->recorded_at >= record_seconds)
        record(part);
    uint64_t left = part->state.size == UINT64_MAX ? 0 : part->state.size - done;
    pthread_mutex_unlock(&part->lock);
    return error ? ci_hub_write_failed(part->path, left, error) : CLINFER_OK;
}

enum clinfer_status ci_part_restart(struct ci_part *part) {
    pthread_mutex_lock(&part->lock);
    part->generation++;
    part->guess = false;
    part->state.synced.count = part->state.written.count = 0;
    part->state.version[0] = '\0';
    record(part);
    int error = fdatasync(part->state_descriptor) || ftruncate(part->descriptor, 0) ? errno : 0;
    pthread_mutex_unlock(&part->lock);
    return error ? ci_hub_write_failed(part->path, 0, error) : CLINFER_OK;
}

/* ---- the end ---- */

static void release(struct ci_part *part) {
    if (part->state_descriptor >= 0) close(part->state_descriptor);
    if (part->descriptor >= 0) close(part->descriptor);
    pthread_cond_destroy(&part->wake);
    pthread_mutex_destroy(&part->lock);
    free(part->target);
    free(part->path);
    free(part->state_path);
    free(part);
}

void ci_part_close(struct ci_part *part, bool remove) {
    if (!part) return;
    stop_syncer(part);
    bool locked = part->descriptor >= 0 && !part->alone;
    bool some = ci_part_done(part)->count > 0;
    if (locked && some && !remove && !part->guess) {
        pthread_mutex_lock(&part->lock);
        sync_now(part);
        if (part->error) part->state.written = part->state.synced;
        record(part);
        pthread_mutex_unlock(&part->lock);
    } else if (part->descriptor >= 0) {
        /* The record first: without it the part is nothing, unless it is a whole one. */
        unlink(part->state_path);
        if (!part->guess || remove) unlink(part->path);
    }
    release(part);
}

enum clinfer_status ci_part_finish(struct ci_part *part) {
    enum clinfer_status status = CLINFER_OK;
    stop_syncer(part);
    if (part->error || fsync(part->descriptor)) {
        status = ci_hub_write_failed(part->path, 0, part->error ? part->error : errno);
    } else {
        unlink(part->state_path);
        if (rename(part->path, part->target)) {
            status = ci_fail(CLINFER_IO, "%s: cannot rename into place: %s; see what lies there, and pull again",
                             part->target, strerror(errno));
            part->guess = true; /* whole and verified: the next pull finds it so */
        } else {
            status = ci_file_sync_folder(part->target);
            release(part);
            return status;
        }
    }
    ci_part_close(part, false);
    return status;
}

void ci_part_clean(const char *target) {
    struct ci_part part = {.descriptor = -1};
    if (name_files(&part, target) == CLINFER_OK && (part.descriptor = open(part.path, O_RDWR | OWN)) >= 0) {
        if (flock(part.descriptor, LOCK_EX | LOCK_NB) == 0) {
            unlink(part.state_path);
            unlink(part.path);
        }
        close(part.descriptor);
    } else if (part.state_path) {
        unlink(part.state_path);
    }
    free(part.path);
    free(part.state_path);
}
