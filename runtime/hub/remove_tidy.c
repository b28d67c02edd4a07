/* remove_tidy.c: the locks of a repo, and what is left of it when all of a snapshot is gone. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "hub/remove_private.h"
#include "hub/stores_private.h"

/* ---- locks ---- */

/* A free one is kept: nobody begins to fetch that while we remove. A part, which may itself be removed, is not. */
static void try_lock(const char *folder, const char *name, struct ci_repo_locks *locks) {
    char *path = ci_store_text("%s/%s", folder, name);
    int descriptor = path ? open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    if (path && descriptor < 0 && errno == EACCES)
        descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool held = descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (held) {
        locks->busy = path;
        path = NULL;
    }
    if (descriptor >= 0 && !held && !ci_removal_is_part(name) && locks->count < CI_REPO_LOCKS)
        locks->descriptors[locks->count++] = descriptor;
    else if (descriptor >= 0)
        close(descriptor);
    free(path);
}

static bool is_lock(const char *name) {
    size_t length = strlen(name);
    return length > 5 && strcmp(name + length - 5, ".lock") == 0;
}

static void lock_all(const char *folder, bool (*counts)(const char *name), struct ci_repo_locks *locks) {
    DIR *stream = opendir(folder);
    for (struct dirent *entry; stream && !locks->busy && (entry = readdir(stream));)
        if (counts(entry->d_name)) try_lock(folder, entry->d_name, locks);
    if (stream) closedir(stream);
}

void ci_repo_lock(const char *cache, const char *repo, struct ci_repo_locks *locks) {
    *locks = (struct ci_repo_locks){0};
    char *folder = ci_hub_cache_folder(cache, repo), *name = folder ? strrchr(folder, '/') : NULL;
    char *all = name ? ci_store_text("%s/.locks%s", cache, name) : NULL;
    char *blobs = folder ? ci_store_text("%s/blobs", folder) : NULL;
    if (all) lock_all(all, is_lock, locks);
    if (blobs && !locks->busy) lock_all(blobs, ci_removal_is_part, locks);
    free(folder);
    free(all);
    free(blobs);
    if (locks->busy) {
        char *busy = locks->busy;
        locks->busy = NULL;
        ci_repo_unlock(locks);
        locks->busy = busy;
    }
}

void ci_repo_unlock(struct ci_repo_locks *locks) {
    for (size_t i = 0; i < locks->count; i++) close(locks->descriptors[i]);
    free(locks->busy);
    *locks = (struct ci_repo_locks){0};
}

/* ---- what is left ---- */

/* Removes empty folders below one, and itself. Folders only: rmdir(2) takes nothing else. */
static void remove_empty(const char *path, int depth) {
    enum { MOST_DEPTH = 64 };
    struct stat own;
    if (depth == MOST_DEPTH || lstat(path, &own) != 0 || !S_ISDIR(own.st_mode)) return;
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, NULL);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        bool counts = strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        char *inner = counts ? ci_store_text("%s/%s", path, name) : NULL;
        if (inner) remove_empty(inner, depth + 1);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    rmdir(path);
}

static bool remove_entry(void *user, const struct ci_hub_cache_entry *entry) {
    const char *root = user;
    if (ci_removal_is_inside(root, entry->path)) unlink(entry->path);
    return true;
}

struct refs {
    const char *cache, *repo, *commit;
};

static bool remove_ref(void *user, const struct ci_hub_cache_entry *entry) {
    const struct refs *refs = user;
    char commit[CI_HUB_COMMIT_BYTES];
    if (ci_hub_cache_commit(refs->cache, refs->repo, entry->below, commit) == CLINFER_OK &&
        strcmp(commit, refs->commit) == 0 && ci_removal_is_inside(refs->cache, entry->path))
        unlink(entry->path);
    return true;
}

/* A snapshot that is empty has no refs, no list of files and no list of those that it lacks. */
static void tidy_snapshot(const char *folder, const struct ci_removal_snapshot *snapshot) {
    const char *commit = snapshot->commit;
    if (!ci_hub_cache_is_commit(commit)) return;
    char *path = ci_store_text("%s/snapshots/%s", folder, commit), *refs = ci_store_text("%s/refs", folder);
    char *tree = ci_store_text("%s/trees/%s.json", folder, commit);
    char *absent = ci_store_text("%s/.no_exist/%s", folder, commit);
    struct stat info;
    if (path && refs && tree && absent && ci_removal_is_inside(snapshot->cache, path)) {
        remove_empty(path, 0);
        if (lstat(path, &info) != 0 && errno == ENOENT) {
            struct refs user = {snapshot->cache, snapshot->repo, commit};
            ci_hub_cache_each(refs, remove_ref, &user);
            if (ci_removal_is_inside(snapshot->cache, tree)) unlink(tree);
            ci_hub_cache_each(absent, remove_entry, snapshot->cache);
        }
    }
    free(path);
    free(refs);
    free(tree);
    free(absent);
}

/* Whether there is nothing in a folder but one of this name. */
static bool holds_only(const char *folder, const char *name) {
    DIR *stream = opendir(folder);
    bool only = stream != NULL;
    for (struct dirent *entry; stream && only && (entry = readdir(stream));)
        only = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, name) == 0;
    if (stream) closedir(stream);
    return only;
}

void ci_repo_tidy(const struct ci_removal *removal, const char *cache, const char *repo) {
    static const char *const inner[] = {"refs", "trees", ".no_exist", "blobs"};
    char *folder = ci_hub_cache_folder(cache, repo), *snapshots = folder ? ci_store_text("%s/snapshots", folder) : NULL;
    for (size_t i = 0; i < removal->snapshot_count && snapshots; i++) {
        const struct ci_removal_snapshot *snapshot = &removal->snapshots[i];
        if (strcmp(snapshot->repo, repo) == 0 && strcmp(snapshot->cache, cache) == 0) tidy_snapshot(folder, snapshot);
    }
    for (size_t i = 0; i < sizeof inner / sizeof *inner && snapshots; i++) {
        char *path = ci_store_text("%s/%s", folder, inner[i]);
        if (path && ci_removal_is_inside(cache, path)) remove_empty(path, 0);
        free(path);
    }
    /* The Python reader wants snapshots/ in every repo, so it goes last, with the repo itself. */
    if (snapshots && ci_removal_is_inside(cache, snapshots) && holds_only(folder, "snapshots")) {
        rmdir(snapshots);
        rmdir(folder);
    }
    free(snapshots);
    free(folder);
}
