/* trial.c: "trying X", on disk before X starts. One file per process, profiles/trying/XXXXXX.json, which the process
 * keeps locked: a mark whose lock can be taken belongs to nobody any more, be it after a crash, kill -9 or a power cut.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "profile/profile_fields.h"
#include "profile/quarantine.h"

enum { MARK_BYTES = 64 << 10 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *mark_path; /* of this process, while it tries something */
static int mark_descriptor = -1;

static char *trying_folder(void) {
    char *folder = ci_profile_folder(), *path = NULL;
    if (folder && asprintf(&path, "%s/trying", folder) < 0) path = NULL;
    free(folder);
    return path;
}

static void end_locked(void) {
    if (mark_path) unlink(mark_path);
    if (mark_descriptor >= 0) close(mark_descriptor);
    free(mark_path);
    mark_path = NULL;
    mark_descriptor = -1;
}

/* A new file, locked. Between its making and its locking another process may take it for left over and remove it. */
static enum clinfer_status create_mark(const char *folder) {
    for (int attempt = 0; attempt < 10; attempt++) {
        struct stat info;
        if (asprintf(&mark_path, "%s/XXXXXX.json", folder) < 0) {
            mark_path = NULL;
            return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", folder);
        }
        (void)ci_file_make_parents(mark_path);
        mark_descriptor = mkostemps(mark_path, sizeof ".json" - 1, O_CLOEXEC);
        if (mark_descriptor < 0)
            return ci_fail(CLINFER_IO,
                           "%s: cannot create a file: %s; make the folder writable, or name another by "
                           "XDG_DATA_HOME",
                           folder, strerror(errno));
        if (flock(mark_descriptor, LOCK_EX) == 0 && fstat(mark_descriptor, &info) == 0 && info.st_nlink > 0)
            return CLINFER_OK;
        end_locked();
    }
    return ci_fail(CLINFER_IO, "%s: cannot lock a file in it", folder);
}

static enum clinfer_status write_mark(const char *text, size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t written = write(mark_descriptor, text + done, length - done);
        if (written < 0 && errno != EINTR)
            return ci_fail(CLINFER_IO, "%s: cannot write: %s", mark_path, strerror(errno));
        if (written > 0) done += (size_t)written;
    }
    if (fsync(mark_descriptor) != 0) return ci_fail(CLINFER_IO, "%s: cannot write: %s", mark_path, strerror(errno));
    return ci_file_sync_folder(mark_path);
}

enum clinfer_status ci_trial_begin(const struct ci_quarantined *candidate) {
    const struct ci_field_place place = {.file = "trial"};
    char *folder = trying_folder(), *text = NULL;
    if (!folder) return ci_file_no_xdg("DATA", "trials");
    json_t *object = json_object();
    enum clinfer_status status = object ? ci_quarantine_write_item(&place, candidate, object)
                                        : ci_fail(CLINFER_OUT_OF_MEMORY, "trial: out of memory");
    if (status == CLINFER_OK && !(text = json_dumps(object, JSON_INDENT(1))))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "trial: out of memory");
    json_decref(object);
    pthread_mutex_lock(&mutex);
    end_locked();
    if (status == CLINFER_OK) status = create_mark(folder);
    if (status == CLINFER_OK) status = write_mark(text, strlen(text));
    if (status != CLINFER_OK) end_locked();
    pthread_mutex_unlock(&mutex);
    free(text);
    free(folder);
    return status;
}

void ci_trial_end(void) {
    pthread_mutex_lock(&mutex);
    end_locked();
    pthread_mutex_unlock(&mutex);
}

/* ---- what others left ---- */

/* A mark that is cut was not yet synced: its candidate had not started. */
static bool read_mark(const char *path, struct ci_quarantined *item) {
    const struct ci_field_place place = {.file = path};
    char *text;
    size_t length;
    json_t *object = NULL;
    *item = (struct ci_quarantined){0};
    enum clinfer_status status = ci_file_read(path, MARK_BYTES, &text, &length);
    if (status == CLINFER_OK) status = ci_field_parse(path, text, length, MARK_BYTES, &object);
    if (status == CLINFER_OK) status = ci_quarantine_read_item(&place, object, item);
    json_decref(object);
    free(text);
    if (status != CLINFER_OK) ci_log(CLINFER_LOG_INFO, "%s; nothing had started there", ci_status_message());
    return status == CLINFER_OK;
}

/* Whether a candidate went to the quarantine. The lock keeps two processes from recovering the same mark. */
static bool recover(const char *path) {
    struct ci_quarantined item;
    struct stat info;
    bool added = false;
    int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0) return false;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0 && fstat(descriptor, &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_nlink > 0) {
        bool found = read_mark(path, &item);
        if (found) {
            snprintf(item.reason, sizeof item.reason, CI_QUARANTINED_STOPPED);
            item.date[0] = '\0';
            added = ci_quarantine_add(&item) == CLINFER_OK;
            if (added)
                ci_log(CLINFER_LOG_NOTICE, "%s %s is quarantined on %s: %s", item.op, item.variant, item.device_name,
                       item.reason);
            else
                ci_log(CLINFER_LOG_WARNING, "%s", ci_status_message());
        }
        if (!found || added) unlink(path);
    }
    close(descriptor);
    return added;
}

int ci_trial_recover(void) {
    char *folder = trying_folder();
    DIR *directory = folder ? opendir(folder) : NULL;
    int count = 0;
    for (const struct dirent *entry; directory && (entry = readdir(directory)) != NULL;) {
        char *path = NULL;
        if (entry->d_name[0] == '.' || asprintf(&path, "%s/%s", folder, entry->d_name) < 0) continue;
        count += recover(path);
        free(path);
    }
    if (directory) closedir(directory);
    free(folder);
    return count;
}
