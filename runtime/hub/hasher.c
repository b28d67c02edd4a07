#define _GNU_SOURCE
#include "hub/hasher.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"

/* Small enough to stay in the second-level cache between the copy and the hash. */
enum { PIECE = 256 * 1024, STEP = 1024 * 1024, AHEAD = 8 * 1024 * 1024 };

struct ci_hasher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more, moved; /* for the thread; for whoever waits */
    struct ci_digest *digest;
    int descriptor, error; /* an errno; -1: the file is shorter than it was */
    uint64_t size, front, hashed;
    uint64_t old; /* where the first `front` was: those bytes may have to come from the disk */
    bool quit, begun;
    char piece[PIECE];
};

/* Where to read next and how much, once it is worth while. 0: over. */
static size_t next_piece(struct ci_hasher *hasher, uint64_t *at) {
    size_t length = 0;
    pthread_mutex_lock(&hasher->lock);
    while (!hasher->quit && hasher->hashed < hasher->size && hasher->front < hasher->size &&
           hasher->front - hasher->hashed < STEP)
        pthread_cond_wait(&hasher->more, &hasher->lock);
    *at = hasher->hashed;
    uint64_t left = hasher->front - hasher->hashed;
    if (!hasher->quit) length = left < PIECE ? (size_t)left : PIECE;
    pthread_mutex_unlock(&hasher->lock);
    return length;
}

static int add_piece(struct ci_hasher *hasher, uint64_t at, size_t length) {
    if (at < hasher->old && at % AHEAD == 0)
        posix_fadvise(hasher->descriptor, (off_t)at, (off_t)2 * AHEAD, POSIX_FADV_WILLNEED);
    for (size_t done = 0; done < length;) {
        ssize_t got = pread(hasher->descriptor, hasher->piece + done, length - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return got < 0 ? errno : -1;
        done += (size_t)got;
    }
    ci_digest_add(hasher->digest, hasher->piece, length);
    return 0;
}

static void *follow(void *user) {
    struct ci_hasher *hasher = user;
    uint64_t at;
    int error = 0;
    for (size_t length; !error && (length = next_piece(hasher, &at));) {
        error = add_piece(hasher, at, length);
        pthread_mutex_lock(&hasher->lock);
        hasher->error = error;
        if (!error) hasher->hashed += length;
        pthread_cond_signal(&hasher->moved);
        pthread_mutex_unlock(&hasher->lock);
    }
    return NULL;
}

enum clinfer_status ci_hasher_create(int descriptor, const char *like, uint64_t size, struct ci_hasher **hasher) {
    struct ci_hasher *made = calloc(1, sizeof *made);
    *hasher = NULL;
    if (!made) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = ci_digest_create(like, size, &made->digest);
    if (status == CLINFER_OK) {
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_mutex_init(&made->lock, NULL);
        pthread_cond_init(&made->more, NULL);
        pthread_cond_init(&made->moved, &monotonic);
        pthread_condattr_destroy(&monotonic);
        made->descriptor = descriptor;
        made->size = size;
        int error = pthread_create(&made->thread, NULL, follow, made);
        if (!error) {
            *hasher = made;
            return CLINFER_OK;
        }
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "cannot start a thread: %s", strerror(error));
        pthread_mutex_destroy(&made->lock);
        pthread_cond_destroy(&made->more);
        pthread_cond_destroy(&made->moved);
        ci_digest_destroy(made->digest);
    }
    free(made);
    return status;
}

void ci_hasher_advance(struct ci_hasher *hasher, uint64_t front) {
    pthread_mutex_lock(&hasher->lock);
    bool wake = front == hasher->size || front - hasher->hashed >= STEP;
    if (!hasher->begun) hasher->old = front;
    hasher->begun = true;
    hasher->front = front;
    if (wake) pthread_cond_signal(&hasher->more);
    pthread_mutex_unlock(&hasher->lock);
}

uint64_t ci_hasher_wait(struct ci_hasher *hasher, uint64_t bytes, double seconds) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    int64_t nanoseconds = (int64_t)end.tv_nsec + (int64_t)(seconds * 1e9);
    end.tv_sec += (time_t)(nanoseconds / 1000000000);
    end.tv_nsec = (long)(nanoseconds % 1000000000);
    pthread_mutex_lock(&hasher->lock);
    int late = 0;
    while (hasher->hashed < bytes && !hasher->error && !late)
        late = pthread_cond_timedwait(&hasher->moved, &hasher->lock, &end);
    uint64_t hashed = hasher->error ? bytes : hasher->hashed;
    pthread_mutex_unlock(&hasher->lock);
    return hashed;
}

enum clinfer_status ci_hasher_end(struct ci_hasher *hasher, char text[CI_DIGEST_BYTES]) {
    pthread_mutex_lock(&hasher->lock);
    int error = hasher->error;
    assert(error || hasher->hashed == hasher->size);
    pthread_mutex_unlock(&hasher->lock);
    if (error)
        return ci_fail(CLINFER_IO, "cannot read what was written: %s",
                       error > 0 ? strerror(error) : "the file has become shorter");
    ci_digest_end(hasher->digest, text);
    hasher->digest = NULL;
    return CLINFER_OK;
}

void ci_hasher_destroy(struct ci_hasher *hasher) {
    if (!hasher) return;
    pthread_mutex_lock(&hasher->lock);
    hasher->quit = true;
    pthread_cond_signal(&hasher->more);
    pthread_mutex_unlock(&hasher->lock);
    pthread_join(hasher->thread, NULL);
    pthread_mutex_destroy(&hasher->lock);
    pthread_cond_destroy(&hasher->more);
    pthread_cond_destroy(&hasher->moved);
    ci_digest_destroy(hasher->digest);
    free(hasher);
}
