/* cache_walk.c: all that lies below a folder of a cache. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hub/cache_private.h"

enum { MOST_DEPTH = 64 }; /* of folders; deeper ones are nobody's */

struct walk {
    ci_hub_cache_visit *visit;
    void *user;
    size_t root; /* length of the path where it began */
};

static bool walk_folder(const struct walk *walk, const char *folder, int depth);

static bool walk_entry(const struct walk *walk, const char *folder, const char *name, int depth) {
    struct ci_hub_cache_entry entry = {0};
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return false;
    bool fine = true;
    if (lstat(path, &entry.own) == 0) {
        entry.there = stat(path, &entry.info) == 0;
        entry.why = entry.there ? 0 : errno;
        entry.path = path;
        entry.below = path + walk->root + 1;
        if (S_ISDIR(entry.own.st_mode))
            fine = depth == MOST_DEPTH || walk_folder(walk, path, depth + 1);
        else
            fine = walk->visit(walk->user, &entry);
    }
    free(path);
    return fine;
}

static bool walk_folder(const struct walk *walk, const char *folder, int depth) {
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, NULL, alphasort);
    bool fine = count >= 0 || errno != ENOMEM;
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        bool counts = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        if (fine && counts) fine = walk_entry(walk, folder, name, depth);
        free(entries[i]);
    }
    free(entries);
    return fine;
}

bool ci_hub_cache_each(const char *folder, ci_hub_cache_visit *visit, void *user) {
    return walk_folder(&(struct walk){.visit = visit, .user = user, .root = strlen(folder)}, folder, 0);
}

struct sought {
    const struct stat *file;
    bool found;
};

static bool compare(void *user, const struct ci_hub_cache_entry *entry) {
    struct sought *sought = user;
    sought->found |=
        entry->there && entry->info.st_ino == sought->file->st_ino && entry->info.st_dev == sought->file->st_dev;
    return !sought->found;
}

bool ci_hub_cache_is_linked(const char *cache, const char *repo, const struct stat *file) {
    struct sought sought = {.file = file};
    char *folder = ci_hub_cache_folder(cache, repo), *snapshots = NULL;
    if (!folder || asprintf(&snapshots, "%s/snapshots", folder) < 0) snapshots = NULL;
    bool fine = snapshots && (ci_hub_cache_each(snapshots, compare, &sought) || sought.found);
    free(folder);
    free(snapshots);
    return sought.found || !fine; /* what cannot be told may be */
}
