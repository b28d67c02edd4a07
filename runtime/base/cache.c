#define _GNU_SOURCE
#include "base/cache.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/temporary.h"

/* ---- saying it once ---- */

static atomic_flag told_refused = ATOMIC_FLAG_INIT, told_unwritable = ATOMIC_FLAG_INIT;

static void tell(enum clinfer_status status) {
    bool refused = status == CLINFER_REFUSED;
    bool told = atomic_flag_test_and_set(refused ? &told_refused : &told_unwritable);
    ci_log(told ? CLINFER_LOG_DEBUG : CLINFER_LOG_WARNING, "%s%s", ci_status_message(),
           refused
               ? "; what it would hold is made anew"
               : "; what is built, checked or converted now is so again at the next start: make the folder writable, "
                 "or room in it, or name another by XDG_CACHE_HOME");
}

/* ---- the folder ---- */

/* Of a process that was killed: a file or folder that was to be renamed, a set of drivers, a trial of the doctor's. */
static bool is_left_over(const char *name, const char *user) {
    (void)user;
    const char *dot = strrchr(name, '.');
    bool probe = strncmp(name, "probe-", strlen("probe-")) == 0 && isdigit((unsigned char)name[strlen("probe-")]);
    bool doctor = strncmp(name, "doctor-", strlen("doctor-")) == 0;
    return probe || doctor || (dot && dot != name && ci_temporary_is_suffix(dot));
}

void ci_cache_sweep(const char *folder) {
    static const char *const below[] = {"", "/programs", "/proof", "/compilers", "/weights", "/packed"};
    for (size_t i = 0; i < sizeof below / sizeof *below; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s%s", folder, below[i]) < 0) return;
        if (ci_file_check_own(path, "clinfer") == CLINFER_OK) ci_temporary_sweep(path, is_left_over, NULL);
        free(path);
    }
}

/* Whose folder it is; *folder may become another one. */
static void settle(char **folder) {
    static atomic_flag swept = ATOMIC_FLAG_INIT;
    enum clinfer_status status = ci_file_check_own(*folder, "clinfer");
    if (status == CLINFER_REFUSED) {
        char *own = ci_file_private_folder("cache");
        tell(status);
        if (own) {
            ci_log(CLINFER_LOG_INFO, "%s takes its place", own);
            free(*folder);
            *folder = own;
        }
    }
    if (!atomic_flag_test_and_set(&swept)) ci_cache_sweep(*folder);
}

char *ci_cache_path(const char *name) {
    char *folder = ci_file_xdg("CACHE", NULL), *path = NULL;
    if (!folder) return NULL;
    settle(&folder);
    if (!name) return folder;
    if (asprintf(&path, "%s/%s", folder, name) < 0) path = NULL;
    free(folder);
    return path;
}

/* ---- its files ---- */

enum clinfer_status ci_cache_read(const char *path, size_t most, char **data, size_t *size) {
    enum clinfer_status status = ci_file_read_own(path, most, data, size);
    if (status == CLINFER_REFUSED) tell(status);
    return status;
}

/* A folder that is not there yet will be ours. */
static enum clinfer_status check_folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
    if (!folder) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    enum clinfer_status status = ci_file_check_own(folder, "clinfer");
    free(folder);
    return status == CLINFER_NOT_FOUND ? CLINFER_OK : status;
}

enum clinfer_status ci_cache_write(const char *path, const void *data, size_t size) {
    enum clinfer_status status = check_folder_of(path);
    if (status == CLINFER_OK) status = ci_file_write(path, data, size);
    if (status != CLINFER_OK) tell(status);
    return status;
}

enum clinfer_status ci_cache_write_by(const char *path, ci_file_writer *writer, void *user) {
    enum clinfer_status status = check_folder_of(path);
    if (status == CLINFER_OK) status = ci_file_write_by(path, writer, user);
    if (status == CLINFER_IO || status == CLINFER_REFUSED) tell(status);
    return status;
}

/* All of it or nothing. */
static enum clinfer_status append(int descriptor, const char *path, const void *record, size_t size) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return ci_fail(CLINFER_IO, "%s: cannot stat: %s", path, strerror(errno));
    ssize_t written = write(descriptor, record, size);
    if (written == (ssize_t)size) return CLINFER_OK;
    int error = written < 0 ? errno : ENOSPC;
    if (written > 0 && ftruncate(descriptor, info.st_size) != 0) error = errno;
    return ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(error));
}

enum clinfer_status ci_cache_append(const char *path, const void *record, size_t size) {
    enum clinfer_status status = ci_file_check_own(path, "clinfer");
    /* A new one, or one in the place of somebody else's. */
    if (status == CLINFER_NOT_FOUND || status == CLINFER_REFUSED) return ci_cache_write(path, record, size);
    int descriptor = status == CLINFER_OK ? open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (status == CLINFER_OK)
        status = descriptor < 0 ? ci_fail(CLINFER_IO, "%s: cannot open: %s", path, strerror(errno))
                                : append(descriptor, path, record, size);
    if (descriptor >= 0) close(descriptor);
    if (status != CLINFER_OK) tell(status);
    return status;
}
