/* cache_digest.c: bytes that are here already, by what blobs are called. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hub/cache.h"
#include "hub/digest.h"
#include "hub/stores_private.h"

static char *keep_if_whole(char *path, uint64_t size) {
    struct stat info;
    if (path && stat(path, &info) == 0 && S_ISREG(info.st_mode) &&
        (size == UINT64_MAX || (uint64_t)info.st_size == size))
        return path;
    free(path);
    return NULL;
}

static char *in_cache(const char *cache, const char *digest, uint64_t size) {
    char *found = NULL, repo[256];
    DIR *stream = opendir(cache);
    for (struct dirent *entry; stream && !found && (entry = readdir(stream));)
        if (ci_hub_cache_repo_of(entry->d_name, repo, sizeof repo))
            found = keep_if_whole(ci_hub_cache_blob(cache, repo, digest), size);
    if (stream) closedir(stream);
    return found;
}

char *ci_hub_find_digest(const struct ci_hub_settings *settings, const char *digest, uint64_t size) {
    size_t length = strlen(digest);
    if (!ci_hub_is_digest(digest)) return NULL;
    char *found = NULL;
    for (char **cache = settings->caches; cache && *cache && !found; cache++) found = in_cache(*cache, digest, size);
    char **roots = found || length != 64 ? NULL : ci_store_ollama_roots();
    for (size_t i = 0; roots && roots[i]; i++) {
        if (!found) found = keep_if_whole(ci_store_text("%s/blobs/sha256-%s", roots[i], digest), size);
        free(roots[i]);
    }
    free(roots);
    return found;
}
