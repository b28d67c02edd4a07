/* download.c: one file, from looking whether it is there to its place. What each step is for stands in its own file:
 * lock.h, space.h, part.h (what is there), transfer.h (the net), hasher.h (the digest). */
#define _GNU_SOURCE
#include "hub/download.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/gguf.h"
#include "hub/lock.h"
#include "hub/part.h"
#include "hub/space.h"
#include "hub/transfer.h"

static const double tell_seconds = 0.1;

/* ---- what transfer.h asks for ---- */

bool ci_download_is_cancelled(const struct ci_download_work *work) {
    return work->hub->cancel && atomic_load(work->hub->cancel);
}

void ci_download_tell(struct ci_download_work *work, const char *phase, uint64_t completed, bool always) {
    double now = ci_now();
    if (!work->hub->watch || (!always && now - work->progress_at < tell_seconds)) return;
    struct ci_hub_event event = {.kind = CI_HUB_PROGRESS,
                                 .phase = phase,
                                 .file = work->download->name,
                                 .digest = work->download->digest,
                                 .completed = completed,
                                 .total = work->size};
    work->hub->watch(work->hub->user, &event);
    work->progress_at = now;
}

static enum clinfer_status start_hasher(struct ci_download_work *work) {
    if (!*work->download->digest || work->size == UINT64_MAX || work->hasher) return CLINFER_OK;
    enum clinfer_status status =
        ci_hasher_create(ci_part_descriptor(work->part), work->download->digest, work->size, &work->hasher);
    if (status == CLINFER_OK) ci_hasher_advance(work->hasher, ci_ranges_front(ci_part_done(work->part)));
    return status;
}

enum clinfer_status ci_download_set_size(struct ci_download_work *work, uint64_t size) {
    uint64_t there = ci_ranges_bytes(ci_part_done(work->part));
    work->size = size;
    enum clinfer_status status = ci_hub_space_check(work->download->name, work->download->target,
                                                    size > there ? size - there : 0, work->hub->settings->spare_bytes);
    if (status != CLINFER_OK) return status;
    ci_part_set_size(work->part, size);
    return start_hasher(work);
}

enum clinfer_status ci_download_restart(struct ci_download_work *work) {
    ci_hasher_destroy(work->hasher);
    work->hasher = NULL;
    work->fetched = 0;
    enum clinfer_status status = ci_part_restart(work->part);
    return status == CLINFER_OK ? start_hasher(work) : status;
}

/* ---- the digest ---- */

/* *right: whether the bytes have it. */
static enum clinfer_status verify(struct ci_download_work *work, bool *right, char found[CI_DIGEST_BYTES]) {
    uint64_t hashed = 0;
    *right = true;
    if (!work->hasher) return CLINFER_OK;
    ci_hasher_advance(work->hasher, work->size);
    while ((hashed = ci_hasher_wait(work->hasher, work->size, tell_seconds)) < work->size) {
        if (ci_download_is_cancelled(work))
            return ci_fail(CLINFER_CANCELLED, "%s: cancelled; what has come is kept", work->download->name);
        ci_download_tell(work, "verify", hashed, false);
    }
    enum clinfer_status status = ci_hasher_end(work->hasher, found);
    if (status != CLINFER_OK) return ci_fail_prefix(status, "%s", work->download->name);
    *right = strcasecmp(found, work->download->digest) == 0;
    ci_download_tell(work, "verify", work->size, true);
    return CLINFER_OK;
}

/* Magic, version and two counts; what is shorter never showed that it begins otherwise. */
enum { GGUF_HEAD = 24 };

static enum clinfer_status check_length(const struct ci_download_work *work) {
    if (!work->download->gguf || work->size >= GGUF_HEAD) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE,
                   "%s: a file of %u bytes is no GGUF model; see whether its name or address is right",
                   work->download->name, ci_narrowed_unsigned(work->size));
}

/* Where no digest was told: that all of it is there which it says to have. */
static enum clinfer_status check_format(const struct ci_download_work *work) {
    struct ci_gguf *gguf = NULL;
    if (!work->download->gguf || *work->download->digest) return CLINFER_OK;
    enum clinfer_status status = ci_gguf_open(ci_part_path(work->part), &gguf);
    ci_gguf_close(gguf);
    if (status != CLINFER_BAD_FILE) return CLINFER_OK; /* what is only not understood is told by whoever opens it */
    char why[512];
    snprintf(why, sizeof why, "%s", clinfer_error());
    return ci_fail(status, "%s: came whole, but is damaged, and is removed (%s); see whether its address is right",
                   work->download->name, why);
}

static enum clinfer_status fetch_and_verify(struct ci_download_work *work) {
    char found[CI_DIGEST_BYTES] = "";
    bool right = false, guess = false;
    enum clinfer_status status = CLINFER_OK;
    do {
        if (guess) status = ci_download_restart(work); /* its length was right, its bytes were not */
        guess = !guess && ci_part_is_guess(work->part);
        if (status == CLINFER_OK) status = start_hasher(work);
        if (status == CLINFER_OK) status = ci_hub_transfer(work);
        if (status == CLINFER_OK) ci_download_tell(work, "download", work->size, true);
        if (status == CLINFER_OK) status = check_length(work);
        if (status == CLINFER_OK) status = check_format(work);
        if (status == CLINFER_OK) status = verify(work, &right, found);
    } while (status == CLINFER_OK && !right && guess);
    if (status == CLINFER_OK && !right)
        status = ci_fail(CLINFER_BAD_FILE,
                         "%s: wrong checksum: %s was announced, %s came, and is removed; pull again, and over another "
                         "network if that happens twice",
                         work->download->name, work->download->digest, found);
    return status;
}

/* ---- the whole way ---- */

static bool is_there(const struct ci_download *download) {
    struct stat info;
    return stat(download->target, &info) == 0 && S_ISREG(info.st_mode) &&
           (download->size == UINT64_MAX || (uint64_t)info.st_size == download->size);
}

/* What is known before a request; what the part has already takes its space already. */
static enum clinfer_status check_space(struct ci_hub *hub, const struct ci_download *download) {
    char *part = NULL;
    if (download->size == UINT64_MAX) return CLINFER_OK;
    if (asprintf(&part, "%s%s", download->target, CI_PART_SUFFIX) < 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", download->name);
    uint64_t taken = ci_hub_space_taken(part);
    free(part);
    return ci_hub_space_check(download->name, download->target, download->size > taken ? download->size - taken : 0,
                              hub->settings->spare_bytes);
}

static enum clinfer_status download_into_part(struct ci_hub *hub, const struct ci_download *download,
                                              const struct ci_hub_wanted *wanted, struct ci_downloaded *done) {
    struct ci_download_work work = {.hub = hub, .download = download, .size = download->size};
    enum clinfer_status status = ci_part_open(hub, wanted, download->digest, &work.part);
    if (status != CLINFER_OK) return status;
    if (is_there(download)) { /* whoever had the part has finished it */
        ci_part_close(work.part, true);
        done->was_there = true;
        return CLINFER_OK;
    }
    done->resumed = ci_ranges_bytes(ci_part_done(work.part));
    if (done->resumed) {
        char there[32];
        ci_hub_say(hub, false, "%s: going on with an earlier download, of which %s are there", download->name,
                   ci_hub_size_text(done->resumed, there, sizeof there));
    }
    status = fetch_and_verify(&work);
    ci_hasher_destroy(work.hasher);
    done->fetched = work.fetched;
    if (work.size != UINT64_MAX && work.fetched + done->resumed > work.size) done->resumed = 0; /* it was of no use */
    if (status == CLINFER_OK)
        status = ci_part_finish(work.part);
    else
        ci_part_close(work.part, status == CLINFER_BAD_FILE);
    return status;
}

enum clinfer_status ci_hub_download(struct ci_hub *hub, const struct ci_download *download,
                                    struct ci_downloaded *done) {
    const struct ci_hub_wanted wanted = {download->name, download->target, download->size};
    int lock = -1, why = 0;
    *done = (struct ci_downloaded){0};
    done->was_there = is_there(download);
    enum clinfer_status status = CLINFER_OK;
    if (!done->was_there) status = ci_hub_check_online(hub->settings, download->name);
    if (!done->was_there && status == CLINFER_OK) status = check_space(hub, download);
    /* Where there is no lock to be had, that of the part is left, and the rename. */
    if (!done->was_there && status == CLINFER_OK && download->lock)
        status = ci_hub_lock(hub, download->lock, 0664, false, &wanted, &lock, &why);
    if (!done->was_there && status == CLINFER_OK) {
        done->was_there = is_there(download);
        if (!done->was_there) status = download_into_part(hub, download, &wanted, done);
    }
    if (status == CLINFER_OK && done->was_there) ci_part_clean(download->target);
    if (lock >= 0) close(lock);
    return status;
}
