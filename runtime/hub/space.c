#define _GNU_SOURCE
#include "hub/space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "base/status.h"

enum { NUMBER = 32, STAT_BLOCK = 512 };

char *ci_hub_size_text(uint64_t bytes, char *text, size_t size) {
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 999.5 && unit < 4; unit++) value /= 1000;
    snprintf(text, size, "%.*f %s", unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2, value, units[unit]);
    return text;
}

/* Of the nearest folder above `path` that is there. */
static int free_bytes(const char *path, uint64_t *bytes, char *folder, size_t size) {
    struct statvfs info;
    int failed = -1;
    snprintf(folder, size, "%s", path);
    for (char *slash; failed && (slash = strrchr(folder, '/'));) {
        slash[slash == folder] = '\0';
        failed = statvfs(folder, &info);
        if (slash == folder) break;
    }
    if (!failed) *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    /* Some network and virtual file systems tell no numbers. */
    return failed || info.f_blocks == 0 ? -1 : 0;
}

enum clinfer_status ci_hub_space_check(const char *name, const char *target, uint64_t bytes, uint64_t spare) {
    char folder[4096], wanted[NUMBER], there[NUMBER], kept[NUMBER], missing[NUMBER];
    uint64_t available, needed;
    if (__builtin_add_overflow(bytes, spare, &needed)) needed = UINT64_MAX;
    if (!bytes || free_bytes(target, &available, folder, sizeof folder) || available >= needed) return CLINFER_OK;
    return ci_fail(CLINFER_IO,
                   "%s: no space: %s are to come, %s are free in %s, of which %s stay free; free %s there, or name a "
                   "folder on another volume by HF_HUB_CACHE",
                   name, ci_hub_size_text(bytes, wanted, sizeof wanted),
                   ci_hub_size_text(available, there, sizeof there), folder, ci_hub_size_text(spare, kept, sizeof kept),
                   ci_hub_size_text(needed - available, missing, sizeof missing));
}

uint64_t ci_hub_space_taken(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 ? (uint64_t)info.st_blocks * STAT_BLOCK : 0;
}

enum clinfer_status ci_hub_write_failed(const char *path, uint64_t left, int error) {
    char missing[NUMBER];
    if (error == ENOSPC || error == EDQUOT)
        return ci_fail(CLINFER_IO, "%s: %s: %s are missing; free as much and pull again: what has come is kept", path,
                       error == ENOSPC ? "no space is left on the volume" : "the disk quota is used up",
                       ci_hub_size_text(left, missing, sizeof missing));
    if (error == EFBIG)
        return ci_fail(
            CLINFER_IO,
            "%s: its file system, or this user's limit, takes no file of that size; name a folder on another "
            "volume by HF_HUB_CACHE, or raise the limit (ulimit -f)",
            path);
    return ci_fail(CLINFER_IO, "%s: cannot write: %s; check the volume and pull again", path, strerror(error));
}
