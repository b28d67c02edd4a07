/* store_hub.c: the Hub's cache (see cache.h), each of those that settings know: repos by their snapshots, and what else
 * lies in it as somebody put it there by hand.
 *
 * Of a repo the snapshot of refs/main counts first, then the newest. A file that an earlier one has as well, being the
 * same, is one model. Names are "user/repo:QUANT"; where two files of a snapshot have the same quant, or none, they are
 * called "user/repo/file.gguf", and where a name is that of a model of an earlier snapshot, the revision stands behind
 * it. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "hub/cache_private.h"
#include "hub/quant.h"
#include "hub/stores_private.h"

enum { REPO_BYTES = 256, SHORT_COMMIT = 8 };

struct snapshot {
    char commit[CI_HUB_COMMIT_BYTES];
    char *ref; /* a branch or tag that is this commit, or NULL */
    bool is_main;
    int64_t modified;
};

struct scan {
    struct ci_store_list *list;
    const char *cache;
    bool is_llama_cpp; /* the older files of that are another store's */
    char repo[REPO_BYTES];
    struct snapshot *snapshots;
    size_t snapshot_count, first; /* of this repo in the list */
    const struct snapshot *now;
};

/* ---- what is placed by hand ---- */

static bool add_placed(const struct scan *scan, const struct ci_store_found *found) {
    struct ci_stored model = ci_store_from(scan->cache, found);
    const char *slash = strrchr(found->path, '/');
    model.name = strdup(slash ? slash + 1 : found->path);
    model.placed = true;
    return ci_store_add(scan->list, &model);
}

static bool add_in_cache(void *user, const struct ci_store_found *found) {
    const struct scan *scan = user;
    if (scan->is_llama_cpp && !strchr(found->below, '/') && ci_store_is_old_llama_cpp(found->path)) return true;
    return add_placed(scan, found);
}

/* A repo's folders; and the blobs that repos share, whose names no model has. */
static bool skips_in_cache(void *user, const char *below) {
    const struct scan *scan = user;
    static const char *const repos[] = {"models--", "datasets--", "spaces--", "kernels--", "buckets--"};
    for (size_t i = 0; i < sizeof repos / sizeof *repos; i++)
        if (strncmp(below, repos[i], strlen(repos[i])) == 0) return true;
    if (strcmp(below, "blobs") != 0) return false;
    struct stat info;
    char *mark = ci_store_text("%s/blobs/.huggingface-shared-blobs", scan->cache);
    bool shared = mark && stat(mark, &info) == 0;
    free(mark);
    return shared;
}

static bool add_in_repo(void *user, const struct ci_store_found *found) { return add_placed(user, found); }

/* In a repo's folder: snapshots are looked into by themselves. */
static bool skips_in_repo(void *user, const char *below) {
    static const char snapshots[] = "snapshots/";
    (void)user;
    if (strcmp(below, "refs") == 0 || strcmp(below, "trees") == 0) return true;
    return strncmp(below, snapshots, sizeof snapshots - 1) == 0 && ci_hub_cache_is_commit(below + sizeof snapshots - 1);
}

/* ---- a repo's snapshots ---- */

/* The file of a snapshot was found in one that counts more, and is the same. */
static bool is_known(const struct scan *scan, const struct ci_store_found *found) {
    for (size_t i = scan->first; i < scan->list->count; i++) {
        const struct ci_stored *model = &scan->list->items[i];
        if (model->file && strcmp(model->file, found->below) == 0 && model->number == found->number &&
            model->device == found->device && (model->whole || !found->whole))
            return true;
    }
    return false;
}

static bool add_in_snapshot(void *user, const struct ci_store_found *found) {
    const struct scan *scan = user;
    char quant[CI_HUB_QUANT_BYTES] = "";
    if ((found->folder && *found->below) || is_known(scan, found)) return true; /* parts of pipelines, no models */
    struct ci_stored model = ci_store_from(scan->cache, found);
    model.repo = strdup(scan->repo);
    model.revision = strdup(scan->now->commit);
    model.file = strdup(found->below);
    model.removable = true;
    if (!found->folder) {
        ci_store_digest_of(found->path, model.digest);
        ci_hub_quant_of(found->below, quant);
    }
    model.name = found->folder ? strdup(scan->repo)
                 : *quant      ? ci_store_text("%s:%s", scan->repo, quant)
                               : ci_store_text("%s/%s", scan->repo, found->below);
    if (model.repo && model.revision && model.file) return ci_store_add(scan->list, &model);
    free(model.name); /* so that it is not added */
    model.name = NULL;
    return ci_store_add(scan->list, &model);
}

static bool see_ref(struct scan *scan, const char *ref, const char *commit) {
    for (size_t i = 0; i < scan->snapshot_count; i++) {
        struct snapshot *snapshot = &scan->snapshots[i];
        if (strcmp(snapshot->commit, commit) != 0) continue;
        snapshot->is_main |= strcmp(ref, "main") == 0;
        if (!snapshot->ref && !(snapshot->ref = strdup(ref))) return false;
    }
    return true;
}

/* A file of refs/, with '/' in its name perhaps (refs/pr/1). */
static bool read_ref(void *user, const struct ci_hub_cache_entry *entry) {
    struct scan *scan = user;
    char commit[CI_HUB_COMMIT_BYTES];
    enum clinfer_status status = ci_hub_cache_commit(scan->cache, scan->repo, entry->below, commit);
    return status == CLINFER_OK ? see_ref(scan, entry->below, commit) : status == CLINFER_NOT_FOUND;
}

static int by_weight(const void *left, const void *right) {
    const struct snapshot *a = left, *b = right;
    if (a->is_main != b->is_main) return a->is_main ? -1 : 1;
    if (a->modified != b->modified) return a->modified > b->modified ? -1 : 1;
    return strcmp(a->commit, b->commit);
}

/* The snapshots of a repo, the one that counts most first. */
static bool read_snapshots(struct scan *scan, const char *folder) {
    char *path = ci_store_text("%s/snapshots", folder), *refs = ci_store_text("%s/refs", folder);
    DIR *stream = path ? opendir(path) : NULL;
    bool fine = path && refs;
    for (struct dirent *entry; fine && stream && (entry = readdir(stream));) {
        struct stat info;
        if (!ci_hub_cache_is_commit(entry->d_name) || fstatat(dirfd(stream), entry->d_name, &info, 0) != 0 ||
            !S_ISDIR(info.st_mode))
            continue;
        struct snapshot *grown = realloc(scan->snapshots, (scan->snapshot_count + 1) * sizeof *grown);
        fine = grown != NULL;
        if (!grown) continue;
        scan->snapshots = grown;
        struct snapshot *added = &grown[scan->snapshot_count++];
        *added = (struct snapshot){.modified = info.st_mtime};
        memcpy(added->commit, entry->d_name, sizeof added->commit);
    }
    if (stream) closedir(stream);
    if (fine && scan->snapshot_count) fine = ci_hub_cache_each(refs, read_ref, scan);
    if (scan->snapshot_count) qsort(scan->snapshots, scan->snapshot_count, sizeof *scan->snapshots, by_weight);
    free(path);
    free(refs);
    return fine;
}

/* ---- names that mean one model ---- */

static bool rename_to(struct ci_stored *model, char *name) {
    free(model->name);
    model->name = name;
    return name != NULL;
}

/* One that counts more has this name. */
static bool is_taken(const struct scan *scan, size_t index) {
    const struct ci_stored *items = scan->list->items;
    for (size_t i = scan->first; i < index; i++)
        if (strcmp(items[i].name, items[index].name) == 0) return true;
    return false;
}

/* Two files of one snapshot that would have the same name. */
static bool clash(const struct ci_stored *a, const struct ci_stored *b) {
    char one[CI_HUB_QUANT_BYTES], other[CI_HUB_QUANT_BYTES];
    if (!a->revision || !b->revision || a->folder || b->folder) return false;
    return strcmp(a->revision, b->revision) == 0 && strcmp(a->file, b->file) != 0 &&
           strcmp(ci_hub_quant_of(a->file, one), ci_hub_quant_of(b->file, other)) == 0;
}

static bool name_by_files(const struct scan *scan) {
    struct ci_stored *items = scan->list->items;
    bool fine = true;
    for (size_t i = scan->first; i < scan->list->count && fine; i++) {
        bool clashes = false;
        for (size_t other = scan->first; other < scan->list->count; other++)
            clashes |= other != i && clash(&items[i], &items[other]);
        if (clashes) fine = rename_to(&items[i], ci_store_text("%s/%s", items[i].repo, items[i].file));
    }
    return fine;
}

static bool name_by_revisions(const struct scan *scan) {
    struct ci_stored *items = scan->list->items;
    bool fine = true;
    for (size_t i = scan->first; i < scan->list->count && fine; i++) {
        if (!items[i].revision || !is_taken(scan, i)) continue;
        const char *ref = NULL;
        for (size_t at = 0; at < scan->snapshot_count; at++)
            if (strcmp(scan->snapshots[at].commit, items[i].revision) == 0) ref = scan->snapshots[at].ref;
        if (ref)
            fine = rename_to(&items[i], ci_store_text("%s@%s", items[i].name, ref));
        else
            fine = rename_to(&items[i], ci_store_text("%s@%.*s", items[i].name, SHORT_COMMIT, items[i].revision));
    }
    return fine;
}

static bool scan_repo(struct scan *scan) {
    char *folder = ci_hub_cache_folder(scan->cache, scan->repo);
    bool fine = folder && read_snapshots(scan, folder);
    scan->first = scan->list->count;
    for (size_t i = 0; i < scan->snapshot_count && fine; i++) {
        scan->now = &scan->snapshots[i];
        char *path = ci_hub_cache_snapshot(scan->cache, scan->repo, scan->now->commit);
        fine = path && ci_store_walk(&(struct ci_store_walk){
                           .root = path, .root_counts = true, .found = add_in_snapshot, .user = scan});
        free(path);
    }
    fine = fine && name_by_files(scan) && name_by_revisions(scan);
    if (fine)
        fine = ci_store_walk(&(struct ci_store_walk){
            .root = folder, .depth = 2, .skips = skips_in_repo, .found = add_in_repo, .user = scan});
    for (size_t i = 0; i < scan->snapshot_count; i++) free(scan->snapshots[i].ref);
    free(scan->snapshots);
    scan->snapshots = NULL;
    scan->snapshot_count = 0;
    free(folder);
    return fine;
}

static bool scan_cache(struct ci_store_list *list, const char *cache) {
    struct scan scan = {.list = list, .cache = cache, .is_llama_cpp = ci_store_is_same(getenv("LLAMA_CACHE"), cache)};
    struct dirent **entries = NULL;
    int count = scandir(cache, &entries, NULL, alphasort);
    bool fine = count >= 0 || errno != ENOMEM;
    if (count < 0 && errno != ENOENT && errno != ENOTDIR)
        ci_log(CLINFER_LOG_WARNING, "%s: cannot be searched for models: %s", cache, strerror(errno));
    for (int i = 0; i < count; i++) {
        if (fine && ci_hub_cache_repo_of(entries[i]->d_name, scan.repo, sizeof scan.repo)) fine = scan_repo(&scan);
        free(entries[i]);
    }
    free(entries);
    return fine && (count <= 0 || ci_store_walk(&(struct ci_store_walk){
                                      .root = cache, .skips = skips_in_cache, .found = add_in_cache, .user = &scan}));
}

bool ci_store_scan_hub(struct ci_store_list *list) {
    bool fine = true;
    char **caches = list->settings->caches;
    for (size_t i = 0; caches && caches[i] && fine; i++) {
        bool seen = false;
        for (size_t before = 0; before < i; before++) seen |= ci_store_is_same(caches[before], caches[i]);
        if (!seen) fine = scan_cache(list, caches[i]);
    }
    return fine;
}
