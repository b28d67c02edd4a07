#define _GNU_SOURCE
#include "base/temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"

enum { DAY = 24 * 60 * 60 };

static const char suffix[] = ".XXXXXX"; /* as mkstemp(3) wants it */

static char *pattern_of(const char *path) {
    char *name = NULL;
    if (asprintf(&name, "%s%s", path, suffix) >= 0) return name;
    errno = ENOMEM;
    return NULL;
}

int ci_temporary_file(const char *path, char **name) {
    *name = pattern_of(path);
    if (!*name) return -1;
    int descriptor = mkostemp(*name, O_CLOEXEC);
    if (descriptor >= 0) return descriptor;
    free(*name);
    *name = NULL;
    return -1;
}

char *ci_temporary_folder(const char *path) {
    char *name = pattern_of(path);
    if (!name || mkdtemp(name)) return name;
    free(name);
    return NULL;
}

bool ci_temporary_is_suffix(const char *rest) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    return *rest == '.' && strlen(rest) == sizeof suffix - 1 && strspn(rest + 1, alphabet) == sizeof suffix - 2;
}

/* Ours hold links and files, no folders. */
static void remove_folder(int above, const char *name) {
    int descriptor = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = descriptor < 0 ? NULL : fdopendir(descriptor);
    if (!directory && descriptor >= 0) close(descriptor);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory) closedir(directory);
    unlinkat(above, name, AT_REMOVEDIR);
}

void ci_temporary_sweep(const char *folder, ci_temporary_is_ours *is_ours, const char *user) {
    DIR *directory = opendir(folder);
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        struct stat info;
        if (!is_ours(entry->d_name, user)) continue;
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (time(NULL) - info.st_mtime <= DAY) continue;
        if (S_ISDIR(info.st_mode))
            remove_folder(dirfd(directory), entry->d_name);
        else
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory) closedir(directory);
}

/* Random letters are hardly ever all small or all digits. */
static bool is_beside(const char *name, const char *file) {
    size_t length = strlen(file);
    if (strncmp(name, file, length) != 0 || !ci_temporary_is_suffix(name + length)) return false;
    const char *letters = name + length + 1;
    return letters[strspn(letters, "abcdefghijklmnopqrstuvwxyz")] && letters[strspn(letters, "0123456789")];
}

void ci_temporary_sweep_beside(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    if (folder && ci_file_check_own(folder, NULL) == CLINFER_OK) ci_temporary_sweep(folder, is_beside, slash + 1);
    free(folder);
}
