#define _GNU_SOURCE
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/status.h"

/* The time of the last change of the inode, too, which nobody can set back. */
static uint64_t identity_of(const struct stat *info) {
    const int64_t parts[] = {(int64_t)info->st_dev,         (int64_t)info->st_ino, (int64_t)info->st_size,
                             (int64_t)info->st_mtim.tv_sec, info->st_mtim.tv_nsec, (int64_t)info->st_ctim.tv_sec,
                             info->st_ctim.tv_nsec};
    return ci_hash(CI_HASH_START, parts, sizeof parts);
}

enum clinfer_status ci_file_map(const char *path, struct ci_file *file) {
    *file = (struct ci_file){0};
    /* Not to wait for whoever might write into a pipe of this name. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0)
        return ci_fail(errno == ENOENT ? CLINFER_NOT_FOUND : CLINFER_IO, "%s: cannot open: %s", path, strerror(errno));
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
    close(descriptor);
    return status;
}

void ci_file_unmap(struct ci_file *file) {
    if (file->data) munmap((void *)(uintptr_t)file->data, file->size);
    *file = (struct ci_file){0};
}

enum clinfer_status ci_file_read(const char *path, size_t most, char **data, size_t *size) {
    *data = NULL;
    *size = 0;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* as above */
    if (descriptor < 0)
        return ci_fail(errno == ENOENT ? CLINFER_NOT_FOUND : CLINFER_IO, "%s: cannot open: %s", path, strerror(errno));
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

void ci_file_make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
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

enum clinfer_status ci_file_write(const char *path, const void *data, size_t size) {
    char *temporary = NULL;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    ci_file_make_parents(temporary);
    enum clinfer_status status = CLINFER_OK;
    int descriptor = mkostemp(temporary, O_CLOEXEC);
    if (descriptor < 0) {
        status = ci_fail(CLINFER_IO, "%s: cannot create: %s", path, strerror(errno));
        free(temporary);
        return status;
    }
    for (size_t done = 0; done < size && status == CLINFER_OK;) {
        ssize_t written = write(descriptor, (const char *)data + done, size - done);
        if (written >= 0)
            done += (size_t)written;
        else if (errno != EINTR)
            status = ci_fail(CLINFER_IO, "%s: cannot write: %s", path, strerror(errno));
    }
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
