/* prune.c: what of our own folders is of no use to anybody: downloads that were never finished, links that lead
 * nowhere, and, where it is asked for, blobs that no link leads to. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"
#include "hub/digest.h"
#include "hub/remove_private.h"
#include "hub/stores_private.h"

enum { TEMPORARY_SECONDS = 60 };

struct prune {
    struct ci_removal *removal;
    const char *root; /* the cache, or the models folder */
    const char *repo;
    const struct ci_repo_entries *entries;
    bool all;
};

/* ---- parts ---- */

static bool add_part(const struct prune *prune, const struct ci_hub_cache_entry *entry) {
    return ci_removal_add(prune->removal, CI_REMOVAL_PART, prune->root, entry->path, ci_removal_size(&entry->own));
}

/* Links and refs are made beside and renamed within milliseconds (cache_write.c). */
static bool is_left_over(const char *name, const struct stat *own) {
    int length = 0;
    long process = 0;
    unsigned number = 0;
    bool ours = sscanf(name, ".clinfer.%ld.%u.tmp%n", &process, &number, &length) == 2 && length && !name[length];
    return ours && time(NULL) - own->st_mtime > TEMPORARY_SECONDS;
}

static bool see_part(void *user, const struct ci_hub_cache_entry *entry) {
    const char *slash = strrchr(entry->path, '/');
    if (!S_ISREG(entry->own.st_mode) || !ci_removal_is_part(slash + 1)) return true;
    return add_part(user, entry);
}

/* ---- links ---- */

/* Where its text leads, without looking: below the cache or out of it. */
static bool stays_inside(const char *cache, const char *path) {
    char text[4096];
    ssize_t length = readlink(path, text, sizeof text - 1);
    if (length < 0) return false;
    text[length] = 0;
    size_t root = strlen(cache);
    if (text[0] == '/') return strncmp(text, cache, root) == 0 && text[root] == '/' && !strstr(text, "/../");
    int depth = 0; /* of the link's folder below the cache */
    for (const char *at = path + root + 1; *at; at++) depth += *at == '/';
    for (const char *part = text; *part; part += strspn(part, "/")) {
        size_t size = strcspn(part, "/");
        bool up = size == 2 && part[0] == '.' && part[1] == '.';
        depth += up ? -1 : size == 1 && part[0] == '.' ? 0 : 1;
        if (depth < 0) return false;
        part += size;
    }
    return true;
}

/* A link that leads nowhere. One that leads out of the cache may only wait for its volume. */
static bool add_dangling(const struct prune *prune, const char *path, int why) {
    if (why != ENOENT) return true;
    if (prune->all || stays_inside(prune->root, path))
        return ci_removal_add(prune->removal, CI_REMOVAL_LINK, prune->root, path, 0);
    return ci_removal_note(prune->removal, "%s leads out of the cache to what is not there; --all removes it", path);
}

static bool add_links(const struct prune *prune) {
    bool fine = true;
    for (size_t i = 0; i < prune->entries->count && fine; i++) {
        const struct ci_repo_entry *entry = &prune->entries->items[i];
        if (entry->there || !S_ISLNK(entry->own.st_mode)) continue;
        fine = ci_removal_touch(prune->removal, prune->root, prune->repo, entry->commit) &&
               add_dangling(prune, entry->path, entry->why);
    }
    return fine;
}

/* ---- blobs ---- */

static bool is_linked(const struct ci_repo_entries *entries, const struct stat *blob) {
    for (size_t i = 0; i < entries->count; i++)
        if (entries->items[i].there && entries->items[i].info.st_ino == blob->st_ino &&
            entries->items[i].info.st_dev == blob->st_dev)
            return true;
    return false;
}

static bool see_blob(void *user, const struct ci_hub_cache_entry *entry) {
    const struct prune *prune = user;
    if (S_ISREG(entry->own.st_mode) && ci_removal_is_part(entry->below)) return add_part(prune, entry);
    if (!ci_hub_is_digest(entry->below)) return true;
    if (!entry->there) return add_dangling(prune, entry->path, entry->why);
    if (!prune->all || is_linked(prune->entries, &entry->info)) return true;
    enum ci_removal_kind kind = S_ISLNK(entry->own.st_mode) ? CI_REMOVAL_LINK : CI_REMOVAL_UNUSED;
    return ci_removal_add(prune->removal, kind, prune->root, entry->path, ci_removal_size(&entry->own));
}

/* ---- caches ---- */

static bool add_left_over(const struct prune *prune, const char *folder) {
    DIR *stream = opendir(folder);
    bool fine = true;
    for (struct dirent *entry; stream && fine && (entry = readdir(stream));) {
        char *path = ci_store_text("%s/%s", folder, entry->d_name);
        struct stat own;
        if (path && lstat(path, &own) == 0 && is_left_over(entry->d_name, &own))
            fine = ci_removal_add(prune->removal, CI_REMOVAL_FILE, prune->root, path, ci_removal_size(&own));
        free(path);
    }
    if (stream) closedir(stream);
    return fine;
}

static bool prune_repo(const struct prune *base, const char *repo) {
    struct prune prune = *base;
    struct ci_repo_entries entries;
    struct ci_repo_locks locks;
    prune.repo = repo;
    prune.entries = &entries;
    char *folder = ci_hub_cache_folder(prune.root, repo), *blobs = folder ? ci_store_text("%s/blobs", folder) : NULL;
    ci_repo_lock(prune.root, repo, &locks);
    bool busy = locks.busy != NULL, fine = blobs != NULL;
    if (busy)
        fine = ci_removal_note(prune.removal, "%s is left alone: another process is fetching something of it", repo);
    ci_repo_unlock(&locks);
    size_t before = prune.removal->count;
    if (fine && !busy && ci_removal_is_inside(prune.root, blobs)) {
        fine = ci_repo_read(prune.root, repo, &entries) && add_links(&prune) &&
               ci_hub_cache_each(blobs, see_blob, &prune) && add_left_over(&prune, folder);
        ci_repo_free(&entries);
        if (fine && prune.removal->count > before) fine = ci_removal_touch(prune.removal, prune.root, repo, "");
    }
    free(folder);
    free(blobs);
    return fine;
}

static bool prune_cache(struct prune *prune) {
    struct dirent **entries = NULL;
    char repo[256];
    int count = scandir(prune->root, &entries, NULL, alphasort);
    bool fine = count >= 0 || errno != ENOMEM;
    for (int i = 0; i < count; i++) {
        if (fine && ci_hub_cache_repo_of(entries[i]->d_name, repo, sizeof repo)) fine = prune_repo(prune, repo);
        free(entries[i]);
    }
    free(entries);
    return fine;
}

enum clinfer_status ci_removal_prune(const struct ci_hub_settings *settings, bool all, struct ci_removal *removal) {
    *removal = (struct ci_removal){0};
    struct prune prune = {.removal = removal, .all = all};
    bool fine = true;
    for (char **cache = settings->caches; cache && *cache && fine; cache++) {
        prune.root = *cache;
        fine = prune_cache(&prune);
    }
    prune.root = settings->models;
    if (fine && prune.root) fine = ci_hub_cache_each(prune.root, see_part, &prune);
    return fine ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of what is unused");
}
