/* cache_private.h: what the files of cache.h share. */
#ifndef CI_HUB_CACHE_PRIVATE_H
#define CI_HUB_CACHE_PRIVATE_H

#include <sys/stat.h>

#include "hub/cache.h"

/* Lower-case hexadecimal digits only. */
bool ci_hub_cache_is_hex(const char *text);

/* CACHE/models--user--repo/INNER/COMMIT/FILE, NULL: out of memory, or names that may be no path. */
char *ci_hub_cache_file(const char *cache, const char *repo, const char *inner, const char *commit, const char *file);

/* One file or link below a folder. */
struct ci_hub_cache_entry {
    const char *path, *below; /* whole, and from the folder where the walk began */
    struct stat own;          /* lstat(2) */
    bool there;               /* `info` is valid: it leads to something */
    int why;                  /* else why not: an errno of stat(2) */
    struct stat info;
};

/* All files and links below a folder, whatever their names; folders are entered, links to folders are not. `visit`
 * false ends it, and so does memory; then it is false. A folder that is not there is empty. */
typedef bool ci_hub_cache_visit(void *user, const struct ci_hub_cache_entry *entry);
bool ci_hub_cache_each(const char *folder, ci_hub_cache_visit *visit, void *user);

/* Whether a snapshot of the repo has a link to this file. */
bool ci_hub_cache_is_linked(const char *cache, const char *repo, const struct stat *file);

#endif
