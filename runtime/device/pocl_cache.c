/* PoCL keeps what it compiles in a folder, and without one that it can write it has no device and does not say why. A
 * service without a home, or with a read-only one, meets that. So before PoCL is loaded the folder it would choose is
 * looked at, and if that is of no use it is given one of ours below the folder for temporary files. A folder that the
 * user chose (POCL_CACHE_DIR) is left alone, with a word on the log. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "device/probe.h"

/* Whether `path` is a folder that can be written to, or could be made: then what exists of it can. */
static bool is_usable(const char *path) {
    char *part = strdup(path);
    bool usable = false;
    while (part) {
        struct stat info;
        if (stat(part[0] ? part : "/", &info) == 0) {
            usable = S_ISDIR(info.st_mode) && access(part[0] ? part : "/", W_OK | X_OK) == 0;
            break;
        }
        char *slash = strrchr(part, '/');
        if (!slash) break;
        *slash = '\0';
    }
    free(part);
    return usable;
}

/* PoCL's own choice; the caller frees it. */
static char *usual_folder(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *path = NULL;
    int length;
    if (cache && *cache)
        length = asprintf(&path, "%s/pocl/kcache", cache);
    else if (home && *home)
        length = asprintf(&path, "%s/.cache/pocl/kcache", home);
    else
        length = asprintf(&path, "/tmp/pocl/kcache");
    return length < 0 ? NULL : path;
}

/* A folder that nobody else can have prepared: compiled code is loaded from it. */
static char *private_folder(void) {
    const char *temporary = getenv("TMPDIR");
    char *path = NULL;
    struct stat info;
    if (asprintf(&path, "%s/clinfer-pocl-%u", temporary && *temporary ? temporary : "/tmp", (unsigned)getuid()) < 0)
        return NULL;
    mkdir(path, 0700);
    if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == getuid() && (info.st_mode & 077) == 0)
        return path;
    free(path);
    return NULL;
}

void ci_pocl_cache_prepare(void) {
    const char *chosen = getenv("POCL_CACHE_DIR");
    if (chosen) {
        if (!is_usable(chosen))
            ci_log(CLINFER_LOG_WARNING,
                   "POCL_CACHE_DIR: %s: is no folder that can be written to: PoCL has no device then", chosen);
        return;
    }
    char *usual = usual_folder();
    if (usual && !is_usable(usual)) {
        char *own = private_folder();
        ci_log(own ? CLINFER_LOG_INFO : CLINFER_LOG_WARNING, "%s: cannot be written to; PoCL %s%s", usual,
               own ? "compiles in " : "has no device then: set POCL_CACHE_DIR to a folder that can", own ? own : "");
        if (own) setenv("POCL_CACHE_DIR", own, 1);
        free(own);
    }
    free(usual);
}
