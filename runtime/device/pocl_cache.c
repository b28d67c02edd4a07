/* PoCL keeps what it compiles in a folder, and without one that it can write it has no device and does not say why. A
 * service without a home, or with a read-only one, meets that. And it runs what it finds there, whoever wrote it. So
 * before PoCL is loaded the folder it would choose is looked at, and if that is of no use or somebody else's it is
 * given one of ours below the folder for temporary files. A folder that the user chose (POCL_CACHE_DIR) is left alone,
 * with a word on the log. */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
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

void ci_pocl_cache_prepare(void) {
    const char *chosen = getenv("POCL_CACHE_DIR");
    if (chosen) {
        if (!is_usable(chosen))
            ci_log(CLINFER_LOG_WARNING,
                   "POCL_CACHE_DIR: %s: is no folder that can be written to: PoCL has no device then", chosen);
        else if (ci_file_check_own(chosen, NULL) == CLINFER_REFUSED)
            ci_log(CLINFER_LOG_WARNING, "POCL_CACHE_DIR: %s; PoCL runs what it finds there all the same",
                   ci_status_message());
        return;
    }
    char *usual = usual_folder();
    bool usable = usual && is_usable(usual);
    bool refused = usable && ci_file_check_own(usual, "pocl") == CLINFER_REFUSED;
    if (usual && (!usable || refused)) {
        char *own = ci_file_private_folder("pocl");
        if (refused) ci_log(CLINFER_LOG_WARNING, "%s", ci_status_message());
        ci_log(own ? CLINFER_LOG_INFO : CLINFER_LOG_WARNING, "%s: cannot be used; PoCL %s%s", usual,
               own       ? "compiles in "
               : refused ? "runs what it finds there all the same: set POCL_CACHE_DIR to a folder of yours"
                         : "has no device then: set POCL_CACHE_DIR to a folder that can be written to",
               own ? own : "");
        if (own) setenv("POCL_CACHE_DIR", own, 1);
        free(own);
    }
    free(usual);
}
