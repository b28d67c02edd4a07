#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/narrow.h"
#include "base/status.h"
#include "base/temporary.h"

/* ---- opening ---- */

static enum clinfer_status fail_to_open(const char *path) {
    bool absent = errno == ENOENT || errno == ENOTDIR; /* ENOTDIR: it would lie below a file */
    return ci_fail(absent ? CLINFER_NOT_FOUND : CLINFER_IO, "%s: cannot open: %s", path, strerror(errno));
}

static enum clinfer_status open_any(const char *path, int *descriptor) {
    /* Not to wait for whoever might write into a pipe of this name. */
    *descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *descriptor < 0 ? fail_to_open(path) : CLINFER_OK;
}

static enum clinfer_status refuse(const char *path, size_t length, const char *why, unsigned long number) {
    char what[96];
    snprintf(what, sizeof what, why, number);
    return ci_fail(CLINFER_REFUSED,
                   "%.*s: %s, so it is not used; remove it, or make it yours alone (chown, chmod go-w)",
                   ci_shown(length, PATH_MAX), path, what);
}

/* Owner and mode of what `path` [length] named when it was opened. */
static enum clinfer_status check_owner(int descriptor, const char *path, size_t length) {
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        return ci_fail(CLINFER_IO, "%.*s: cannot stat: %s", ci_shown(length, PATH_MAX), path, strerror(errno));
    if (S_ISLNK(info.st_mode)) return refuse(path, length, "is a link", 0);
    if (info.st_uid != geteuid() && info.st_uid != 0)
        return refuse(path, length, "belongs to user %lu", (unsigned long)info.st_uid);
    if (info.st_mode & (S_IWGRP | S_IWOTH))
        return refuse(path, length, "others may write to it (mode %04lo)", (unsigned long)(info.st_mode & 07777));
    return CLINFER_OK;
}

/* The length of `path` up to the first folder that has to be ours: the last that is named `ours`, else the file's own;
 * `ours` NULL: all of it. */
static size_t first_own_folder(const char *path, const char *ours) {
    if (!ours) return strlen(path);
    const char *slash = strrchr(path, '/'), *end = slash ? slash : path;
    size_t length = strlen(ours);
    for (const char *at = path; (at = strchr(at, '/')); at++)
        if (strncmp(at + 1, ours, length) == 0 && (at[1 + length] == '/' || !at[1 + length])) end = at + 1 + length;
    return (size_t)(end - path);
}

/* How that one is reached is the user's business; a link in its place has to be the user's, too. */
static enum clinfer_status open_first(const char *path, size_t length, int *descriptor) {
    struct stat info;
    char *folder = length ? strndup(path, length) : strdup(path[0] == '/' ? "/" : ".");
    if (!folder) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    enum clinfer_status status = CLINFER_OK;
    if (lstat(folder, &info) == 0 && S_ISLNK(info.st_mode) && info.st_uid != geteuid() && info.st_uid != 0)
        status = refuse(path, length, "is a link of user %lu", (unsigned long)info.st_uid);
    if (status == CLINFER_OK) *descriptor = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (status == CLINFER_OK) status = *descriptor < 0 ? fail_to_open(folder) : check_owner(*descriptor, path, length);
    free(folder);
    return status;
}

/* The next part of `path`, from *length on, below *descriptor, which becomes its own. No link is followed, so that what
 * is checked is what is used. `flags`: of the last part. */
static enum clinfer_status open_next(const char *path, int flags, size_t *length, int *descriptor) {
    struct stat info;
    size_t name = strcspn(path + *length, "/");
    bool last = !path[*length + name + strspn(path + *length + name, "/")];
    char *part = strndup(path + *length, name);
    if (!part) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    *length += name;
    enum clinfer_status status;
    int below = openat(*descriptor, part, O_NOFOLLOW | O_CLOEXEC | (last ? flags : O_PATH | O_DIRECTORY));
    if (below >= 0)
        status = check_owner(below, path, *length);
    else
        status = fail_to_open(path);
    if (below < 0 && fstatat(*descriptor, part, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(info.st_mode))
        status = refuse(path, *length, "is a link", 0);
    free(part);
    close(*descriptor);
    *descriptor = below;
    return status;
}

/* -1: it failed. */
static enum clinfer_status open_own(const char *path, const char *ours, int flags, int *descriptor) {
    size_t length = first_own_folder(path, ours);
    *descriptor = -1;
    enum clinfer_status status = open_first(path, length, descriptor);
    while (status == CLINFER_OK && path[length += strspn(path + length, "/")])
        status = open_next(path, flags, &length, descriptor);
    if (status == CLINFER_OK || *descriptor < 0) return status;
    close(*descriptor);
    *descriptor = -1;
    return status;
}

enum clinfer_status ci_file_check_own(const char *path, const char *ours) {
    int descriptor;
    enum clinfer_status status = open_own(path, ours, O_PATH, &descriptor);
    if (descriptor >= 0) close(descriptor);
    return status;
}

/* ---- reading ---- */

/* The time of the last change of the inode, too, which nobody can set back. */
static uint64_t identity_of(const struct stat *info) {
    const int64_t parts[] = {(int64_t)info->st_dev,         (int64_t)info->st_ino, (int64_t)info->st_size,
                             (int64_t)info->st_mtim.tv_sec, info->st_mtim.tv_nsec, (int64_t)info->st_ctim.tv_sec,
                             info->st_ctim.tv_nsec};
    return ci_hash(CI_HASH_START, parts, sizeof parts);
}

static enum clinfer_status map(const char *path, int descriptor, struct ci_file *file) {
    enum clinfer_status status = CLINFER_OK;
    struct stat info;
    if (fstat(descriptor, &info) != 0) {
        status = ci_fail(CLINFER_IO, "%s: cannot stat: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        status = ci_fail(CLINFER_IO, "%s: is not a regular file", path);
    } else if (info.st_size > 0) {
        void *data = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED)
            status = ci_fail(errno == ENOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_IO, "%s: cannot map %lld bytes: %s",
                             path, (long long)info.st_size, strerror(errno));
        else
            *file = (struct ci_file){data, (size_t)info.st_size, identity_of(&info)};
    }
    return status;
}

enum clinfer_status ci_file_map_kept(const char *path, struct ci_file *file, int *descriptor) {
    *file = (struct ci_file){0};
    enum clinfer_status status = open_any(path, descriptor);
    if (status != CLINFER_OK) return status;
    status = map(path, *descriptor, file);
    if (status == CLINFER_OK) return status;
    close(*descriptor);
    *descriptor = -1;
    return status;
}

enum clinfer_status ci_file_map(const char *path, struct ci_file *file) {
    int descriptor;
    enum clinfer_status status = ci_file_map_kept(path, file, &descriptor);
    if (status == CLINFER_OK) close(descriptor);
    return status;
}

void ci_file_unmap(struct ci_file *file) {
    if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
    *file = (struct ci_file){0};
}

static enum clinfer_status read_all(const char *path, int descriptor, size_t most, char **data, size_t *size) {
    enum clinfer_status status = CLINFER_OK;
    struct stat info;
    if (fstat(descriptor, &info) != 0)
        status = ci_fail(CLINFER_IO, "%s: cannot stat: %s", path, strerror(errno));
    else if (!S_ISREG(info.st_mode))
        status = ci_fail(CLINFER_IO, "%s: is not a regular file", path);
    else if ((uintmax_t)info.st_size > most)
        status =
            ci_fail(CLINFER_BAD_FILE, "%s: has %lld bytes: at most %zu are read", path, (long long)info.st_size, most);
    size_t capacity = status == CLINFER_OK ? (size_t)info.st_size : 0;
    if (status == CLINFER_OK && !(*data = malloc(capacity + 1)))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    while (status == CLINFER_OK && *size < capacity) {
        ssize_t got = read(descriptor, *data + *size, capacity - *size);
        if (got == 0) break;
        if (got > 0)
            *size += (size_t)got;
        else if (errno != EINTR)
            status = ci_fail(CLINFER_IO, "%s: cannot read: %s", path, strerror(errno));
    }
    close(descriptor);
    if (status == CLINFER_OK) {
        (*data)[*size] = '\0';
    } else {
        free(*data);
        *data = NULL;
        *size = 0;
    }
    return status;
}

enum clinfer_status ci_file_read(const char *path, size_t most, char **data, size_t *size) {
    int descriptor;
    *data = NULL;
    *size = 0;
    enum clinfer_status status = open_any(path, &descriptor);
    return status == CLINFER_OK ? read_all(path, descriptor, most, data, size) : status;
}

enum clinfer_status ci_file_read_own(const char *path, size_t most, char **data, size_t *size) {
    int descriptor;
    *data = NULL;
    *size = 0;
    enum clinfer_status status = open_own(path, "clinfer", O_RDONLY | O_NONBLOCK, &descriptor);
    return status == CLINFER_OK ? read_all(path, descriptor, most, data, size) : status;
}

/* ---- writing ---- */

int ci_file_make_parents(char *path) {
    int failure = 0;
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) && errno != EEXIST && !failure) failure = errno;
        *slash = '/';
    }
    return failure;
}

enum clinfer_status ci_file_sync_folder(const char *path) {
    char *folder = strdup(path);
    if (!folder) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    enum clinfer_status status = CLINFER_OK;
    int descriptor = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* EACCES: one may write there, but not list. EINVAL: a file system that has nothing to sync here. */
    if (descriptor < 0 ? errno != EACCES : fsync(descriptor) != 0 && errno != EINVAL)
        status = ci_fail(CLINFER_IO, "%s: cannot sync its folder: %s", path, strerror(errno));
    if (descriptor >= 0) close(descriptor);
    free(folder);
    return status;
}

enum clinfer_status ci_file_put(int descriptor, const char *path, const void *data, size_t size) {
    for (size_t done = 0; done < size;) {
        ssize_t written = write(descriptor, (const char *)data + done, size - done);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            return ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(errno));
    }
    return CLINFER_OK;
}

enum clinfer_status ci_file_write_by(const char *path, ci_file_writer *writer, void *user) {
    char *temporary, *folders = strdup(path);
    if (!folders) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    int no_folder = ci_file_make_parents(folders);
    free(folders);
    int descriptor = ci_temporary_file(path, &temporary);
    if (descriptor < 0)
        return ci_fail(errno == ENOMEM ? CLINFER_OUT_OF_MEMORY : CLINFER_IO, "%s: cannot create: %s", path,
                       strerror(errno == ENOENT && no_folder ? no_folder : errno));
    enum clinfer_status status = writer(descriptor, path, user);
    if (fsync(descriptor) != 0 && status == CLINFER_OK)
        status = ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(errno));
    if (close(descriptor) != 0 && status == CLINFER_OK)
        status = ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(errno));
    if (status == CLINFER_OK && rename(temporary, path) != 0)
        status = ci_fail(CLINFER_IO, "%s: cannot rename into place: %s", path, strerror(errno));
    if (status != CLINFER_OK)
        unlink(temporary);
    else
        status = ci_file_sync_folder(path);
    free(temporary);
    return status;
}

struct bytes {
    const void *data;
    size_t size;
};

static enum clinfer_status put_bytes(int descriptor, const char *path, void *user) {
    const struct bytes *bytes = user;
    return ci_file_put(descriptor, path, bytes->data, bytes->size);
}

enum clinfer_status ci_file_write(const char *path, const void *data, size_t size) {
    return ci_file_write_by(path, put_bytes, &(struct bytes){data, size});
}

/* ---- where files lie ---- */

char *ci_file_private_folder(const char *name) {
    const char *temporary = getenv("TMPDIR");
    char *path = NULL;
    struct stat info;
    if (asprintf(&path, "%s/clinfer-%s-%u", temporary && *temporary ? temporary : "/tmp", name, (unsigned)geteuid()) <
        0)
        return NULL;
    mkdir(path, 0700);
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() && (info.st_mode & 077) == 0)
        return path;
    free(path);
    return NULL;
}

/* Below which folder: one of the variable's, or `below_home` of $HOME. NULL: neither variable is set. */
static const char *xdg_base(const char *kind, const char **below_home) {
    static const char *const defaults[][2] = {
        {"DATA", ".local/share"}, {"CACHE", ".cache"}, {"CONFIG", ".config"}, {"STATE", ".local/state"}};
    char variable[32];
    snprintf(variable, sizeof variable, "XDG_%s_HOME", kind);
    const char *base = getenv(variable), *home = getenv("HOME");
    *below_home = NULL;
    if (base && base[0] == '/') return base;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        if (strcmp(kind, defaults[i][0]) == 0) *below_home = defaults[i][1];
    return *below_home && home && *home ? home : NULL;
}

char *ci_file_xdg(const char *kind, const char *name) {
    const char *below_home, *base = xdg_base(kind, &below_home);
    char *path = NULL;
    if (!base) return NULL;
    int length = asprintf(&path, "%s%s%s/clinfer%s%s", base, below_home ? "/" : "", below_home ? below_home : "",
                          name ? "/" : "", name ? name : "");
    return length < 0 ? NULL : path;
}

enum clinfer_status ci_file_no_xdg(const char *kind, const char *what) {
    const char *below_home;
    if (xdg_base(kind, &below_home)) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", what);
    return ci_fail(CLINFER_IO, "%s: there is no folder: neither XDG_%s_HOME nor HOME is set; set one of them", what,
                   kind);
}
