/* remove_repo.c: what goes of a repo in the Hub's layout with one of its models.
 *
 * The model's links go from its snapshot, and the same files' links from all other snapshots that lead to the same
 * bytes; other versions, and other quants, stay. If nothing but small companions (config.json, tokenizers) is left of a
 * snapshot, they go with it. Then the blobs go that no link of a snapshot leads to any more: those of this repo only,
 * and not those that another repo's blobs/ leads to. What huggingface_hub shares between repos stays; the repo's own
 * link to it goes. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/status.h"
#include "hub/remove_private.h"
#include "hub/stores_private.h"

/* ---- what there is ---- */

static bool keep(void *user, const struct ci_hub_cache_entry *entry) {
    struct ci_repo_entries *entries = user;
    const char *slash = strchr(entry->below, '/');
    if (!slash || slash - entry->below != CI_HUB_COMMIT_BYTES - 1) return true;
    if (entries->count == entries->capacity) {
        size_t room = entries->capacity ? entries->capacity * 2 : 16;
        struct ci_repo_entry *grown = realloc(entries->items, room * sizeof *grown);
        if (!grown) return false;
        entries->items = grown;
        entries->capacity = room;
    }
    struct ci_repo_entry added = {
        .path = strdup(entry->path), .own = entry->own, .info = entry->info, .there = entry->there, .why = entry->why};
    if (!added.path) return false;
    memcpy(added.commit, entry->below, sizeof added.commit - 1);
    added.file = added.path + strlen(added.path) - strlen(slash + 1);
    entries->items[entries->count++] = added;
    return ci_hub_cache_is_commit(added.commit) || (free(entries->items[--entries->count].path), true);
}

bool ci_repo_read(const char *cache, const char *repo, struct ci_repo_entries *entries) {
    *entries = (struct ci_repo_entries){0};
    char *folder = ci_hub_cache_folder(cache, repo), *snapshots = folder ? ci_store_text("%s/snapshots", folder) : NULL;
    bool fine = snapshots && ci_hub_cache_each(snapshots, keep, entries);
    free(folder);
    free(snapshots);
    return fine;
}

void ci_repo_free(struct ci_repo_entries *entries) {
    for (size_t i = 0; i < entries->count; i++) free(entries->items[i].path);
    free(entries->items);
    *entries = (struct ci_repo_entries){0};
}

static bool is_same_file(const struct stat *left, const struct stat *right) {
    return left->st_ino == right->st_ino && left->st_dev == right->st_dev;
}

/* ---- which of its links go ---- */

static bool ends(const char *name, const char *end) {
    size_t length = strlen(name), wanted = strlen(end);
    return length > wanted && strcmp(name + length - wanted, end) == 0;
}

static bool is_of_model(const struct ci_stored *model, const struct ci_repo_entry *entry) {
    if (strcmp(entry->commit, model->revision) != 0) return false;
    if (!model->folder) return ci_store_is_part(model->file, entry->file);
    bool weights = ends(entry->file, ".safetensors") || ends(entry->file, ".safetensors.index.json");
    return weights && !strchr(entry->file, '/');
}

/* The same file in other snapshots, leading to the same bytes. */
static void mark_same(struct ci_repo_entries *entries, const struct ci_repo_entry *marked) {
    for (size_t i = 0; i < entries->count && marked->there; i++) {
        struct ci_repo_entry *entry = &entries->items[i];
        if (entry->there && is_same_file(&entry->info, &marked->info) && strcmp(entry->file, marked->file) == 0)
            entry->goes = true;
    }
}

/* What is left of a snapshot is of no use. */
static void mark_companions(struct ci_repo_entries *entries, const char *commit) {
    for (size_t i = 0; i < entries->count; i++) {
        const struct ci_repo_entry *entry = &entries->items[i];
        if (strcmp(entry->commit, commit) == 0 && !entry->goes && !ci_removal_is_companion(entry->file)) return;
    }
    for (size_t i = 0; i < entries->count; i++)
        if (strcmp(entries->items[i].commit, commit) == 0) entries->items[i].goes = true;
}

static bool mark(struct ci_repo_entries *entries, const struct ci_stored *model, struct ci_removal *removal) {
    for (size_t i = 0; i < entries->count; i++)
        if (is_of_model(model, &entries->items[i])) entries->items[i].goes = true;
    for (size_t i = 0; i < entries->count; i++)
        if (entries->items[i].goes && is_of_model(model, &entries->items[i])) mark_same(entries, &entries->items[i]);
    bool fine = true;
    for (size_t i = 0; i < entries->count && fine; i++) {
        if (!entries->items[i].goes) continue;
        fine = ci_removal_touch(removal, model->root, model->repo, entries->items[i].commit);
        mark_companions(entries, entries->items[i].commit);
    }
    return fine;
}

/* ---- which blobs go with them ---- */

/* A link that stays leads to these bytes. */
static bool is_needed(const struct ci_repo_entries *entries, const struct stat *blob) {
    for (size_t i = 0; i < entries->count; i++)
        if (!entries->items[i].goes && entries->items[i].there && is_same_file(&entries->items[i].info, blob))
            return true;
    return false;
}

/* "user/other", whose blobs/<digest> is a link to this one; the caller frees it. */
static char *other_user(const struct ci_hub_settings *settings, const struct ci_stored *model, const char *digest,
                        const struct stat *blob) {
    char repo[256], *found = NULL;
    for (char **cache = settings->caches; cache && *cache && !found; cache++) {
        DIR *stream = opendir(*cache);
        for (struct dirent *entry; stream && !found && (entry = readdir(stream));) {
            if (!ci_hub_cache_repo_of(entry->d_name, repo, sizeof repo)) continue;
            if (strcmp(repo, model->repo) == 0 && ci_store_is_same(*cache, model->root)) continue;
            char *path = ci_hub_cache_blob(*cache, repo, digest);
            struct stat own, info;
            if (path && lstat(path, &own) == 0 && S_ISLNK(own.st_mode) && stat(path, &info) == 0 &&
                is_same_file(&info, blob))
                found = strdup(repo);
            free(path);
        }
        if (stream) closedir(stream);
    }
    return found;
}

static bool is_planned(const struct ci_removal *removal, const char *path) {
    for (size_t i = 0; i < removal->count; i++)
        if (strcmp(removal->steps[i].path, path) == 0) return true;
    return false;
}

static bool add_blob(const struct ci_hub_settings *settings, const struct ci_stored *model,
                     const struct ci_repo_entry *entry, struct ci_removal *removal) {
    char digest[CI_DIGEST_BYTES];
    ci_store_digest_of(entry->path, digest);
    if (!digest[0]) return true;
    char *blob = ci_hub_cache_blob(model->root, model->repo, digest);
    struct stat own, info;
    bool fine = blob != NULL;
    bool ours = blob && lstat(blob, &own) == 0 && stat(blob, &info) == 0 && is_same_file(&info, &entry->info);
    if (ours && !is_planned(removal, blob)) {
        char *other = S_ISREG(own.st_mode) ? other_user(settings, model, digest, &info) : NULL;
        if (other)
            fine = ci_removal_note(removal, "%s stays: %s needs it", blob, other);
        else
            fine = ci_removal_add(removal, S_ISLNK(own.st_mode) ? CI_REMOVAL_LINK : CI_REMOVAL_FILE, model->root, blob,
                                  ci_removal_size(&own));
        if (fine && S_ISLNK(own.st_mode))
            fine = ci_removal_note(removal,
                                   "what %s leads to stays, since repos may share it; `hf cache prune` removes it "
                                   "when none does",
                                   blob);
        free(other);
    }
    free(blob);
    return fine;
}

/* ---- the plan ---- */

/* A link that stays and leads through one that goes. */
static bool leads_through(const struct ci_repo_entries *entries, const struct ci_repo_entry *entry) {
    char text[512], *target = NULL;
    ssize_t length = S_ISLNK(entry->own.st_mode) ? readlink(entry->path, text, sizeof text - 1) : -1;
    if (length < 0 || entry->goes || !entry->there) return false;
    text[length] = 0;
    if (strstr(text, "blobs/")) return false;
    for (size_t i = 0; i < entries->count && !target; i++)
        if (entries->items[i].goes && entries->items[i].there && is_same_file(&entries->items[i].info, &entry->info))
            return true;
    return false;
}

static bool plan(const struct ci_hub_settings *settings, const struct ci_stored *model, struct ci_removal *removal,
                 struct ci_repo_entries *entries) {
    const char *root = model->root;
    bool fine = ci_repo_read(root, model->repo, entries) && mark(entries, model, removal);
    for (size_t i = 0; i < entries->count && fine; i++)
        if (leads_through(entries, &entries->items[i]))
            fine = ci_removal_add(removal, CI_REMOVAL_RELINK, root, entries->items[i].path, 0);
    for (size_t i = 0; i < entries->count && fine; i++) {
        const struct ci_repo_entry *entry = &entries->items[i];
        if (!entry->goes) continue;
        fine = ci_removal_add(removal, S_ISLNK(entry->own.st_mode) ? CI_REMOVAL_LINK : CI_REMOVAL_FILE, root,
                              entry->path, ci_removal_size(&entry->own));
    }
    for (size_t i = 0; i < entries->count && fine; i++) {
        const struct ci_repo_entry *entry = &entries->items[i];
        if (entry->goes && entry->there && S_ISLNK(entry->own.st_mode) && !is_needed(entries, &entry->info))
            fine = add_blob(settings, model, entry, removal);
    }
    return fine;
}

enum clinfer_status ci_removal_of_repo(const struct ci_hub_settings *settings, const struct ci_stored *model,
                                       struct ci_removal *removal) {
    struct ci_repo_entries entries;
    struct ci_repo_locks locks;
    ci_repo_lock(model->root, model->repo, &locks);
    enum clinfer_status status = CLINFER_OK;
    if (locks.busy)
        status = ci_fail(
            CLINFER_IO, "%s: another process is fetching something of it (%s is locked); wait for it to end, or end it",
            model->repo, locks.busy);
    ci_repo_unlock(&locks);
    if (status != CLINFER_OK) return status;
    if (!plan(settings, model, removal, &entries))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", model->name);
    for (size_t i = 0; i < removal->count && status == CLINFER_OK; i++)
        if (!ci_removal_is_inside(model->root, removal->steps[i].path))
            status =
                ci_fail(CLINFER_REFUSED, "%s: a folder on the way there is a link out of %s; remove it there by hand",
                        removal->steps[i].path, model->root);
    ci_repo_free(&entries);
    return status;
}
