/* remove.c: see remove.h: the plan, and doing it. */
#define _GNU_SOURCE
#include "hub/remove.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/narrow.h"
#include "base/status.h"
#include "hub/place.h"
#include "hub/remove_private.h"
#include "hub/stores_private.h"

/* ---- the plan ---- */

bool ci_removal_add(struct ci_removal *removal, enum ci_removal_kind kind, const char *root, const char *path,
                    uint64_t bytes) {
    if (removal->count == removal->capacity) {
        size_t room = removal->capacity ? removal->capacity * 2 : 16;
        struct ci_removal_step *grown = realloc(removal->steps, room * sizeof *grown);
        if (!grown) return false;
        removal->steps = grown;
        removal->capacity = room;
    }
    struct ci_removal_step step = {.kind = kind, .root = strdup(root), .path = strdup(path), .bytes = bytes};
    if (!step.root || !step.path) {
        free(step.root);
        free(step.path);
        return false;
    }
    removal->steps[removal->count++] = step;
    return true;
}

static void free_snapshot(struct ci_removal_snapshot *snapshot) {
    free(snapshot->cache);
    free(snapshot->repo);
    free(snapshot->commit);
}

bool ci_removal_touch(struct ci_removal *removal, const char *cache, const char *repo, const char *commit) {
    for (size_t i = 0; i < removal->snapshot_count; i++) {
        const struct ci_removal_snapshot *known = &removal->snapshots[i];
        if (strcmp(known->commit, commit) == 0 && strcmp(known->repo, repo) == 0 && strcmp(known->cache, cache) == 0)
            return true;
    }
    struct ci_removal_snapshot *grown =
        realloc(removal->snapshots, (removal->snapshot_count + 1) * sizeof *removal->snapshots);
    if (!grown) return false;
    removal->snapshots = grown;
    struct ci_removal_snapshot added = {strdup(cache), strdup(repo), strdup(commit)};
    if (!added.cache || !added.repo || !added.commit) {
        free_snapshot(&added);
        return false;
    }
    grown[removal->snapshot_count++] = added;
    return true;
}

bool ci_removal_note(struct ci_removal *removal, const char *format, ...) {
    char *line = NULL, *notes = NULL;
    va_list arguments;
    va_start(arguments, format);
    bool fine = vasprintf(&line, format, arguments) >= 0;
    va_end(arguments);
    if (!fine) return false;
    fine = asprintf(&notes, "%s%s\n", removal->notes ? removal->notes : "", line) >= 0;
    free(line);
    if (!fine) return false;
    free(removal->notes);
    removal->notes = notes;
    return true;
}

uint64_t ci_removal_size(const struct stat *own) {
    if (!S_ISREG(own->st_mode) || own->st_nlink > 1) return 0;
    uint64_t on_disk = (uint64_t)own->st_blocks * 512, length = (uint64_t)own->st_size;
    return on_disk < length ? on_disk : length;
}

uint64_t ci_removal_bytes(const struct ci_removal *removal, const enum ci_removal_kind *kind) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < removal->count; i++)
        if (!kind || removal->steps[i].kind == *kind) bytes += removal->steps[i].bytes;
    return bytes;
}

void ci_removal_free(struct ci_removal *removal) {
    for (size_t i = 0; i < removal->count; i++) {
        free(removal->steps[i].root);
        free(removal->steps[i].path);
    }
    for (size_t i = 0; i < removal->snapshot_count; i++) free_snapshot(&removal->snapshots[i]);
    free(removal->steps);
    free(removal->snapshots);
    free(removal->notes);
    *removal = (struct ci_removal){0};
}

/* ---- names ---- */

static bool ends(const char *name, const char *end) {
    size_t length = strlen(name), wanted = strlen(end);
    return length > wanted && strcasecmp(name + length - wanted, end) == 0;
}

bool ci_removal_is_part(const char *name) {
    return ends(name, ".clinfer.incomplete") || ends(name, ".clinfer.state.incomplete");
}

bool ci_removal_is_companion(const char *name) {
    static const char *const endings[] = {".json", ".jinja", ".txt", ".md", "tokenizer.model", ".tiktoken"};
    static const char *const names[] = {".gitattributes", "tokenizer.model", "LICENSE", "NOTICE", "USE_POLICY"};
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends(name, endings[i])) return !strchr(name, '/');
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

/* ---- a model ---- */

/* What says where a file was pulled from. */
static bool add_note(struct ci_removal *removal, const struct ci_stored *model, const char *path) {
    struct stat own;
    char *note = ci_hub_place_note(path);
    bool there = note && lstat(note, &own) == 0 && S_ISREG(own.st_mode);
    bool fine = note && (!there || ci_removal_add(removal, CI_REMOVAL_FILE, model->root, note, ci_removal_size(&own)));
    free(note);
    return fine;
}

/* A file's own name in its folder, or a link of that name. */
static bool add_placed(struct ci_removal *removal, const struct ci_stored *model, const char *path) {
    struct stat own;
    if (lstat(path, &own) != 0 || S_ISDIR(own.st_mode)) return true;
    if (S_ISLNK(own.st_mode) && !ci_removal_note(removal, "%s is a link: what it leads to stays", path)) return false;
    return ci_removal_add(removal, S_ISLNK(own.st_mode) ? CI_REMOVAL_LINK : CI_REMOVAL_FILE, model->root, path,
                          ci_removal_size(&own)) &&
           add_note(removal, model, path);
}

struct placed {
    struct ci_removal *removal;
    const struct ci_stored *model;
    const char *first; /* the file by its path from the folder */
    bool others;       /* there is something else in the folder */
};

static bool is_weights(const char *name) { return ends(name, ".safetensors") && !strchr(name, '/'); }

static bool add_part(void *user, const struct ci_hub_cache_entry *entry) {
    const struct placed *placed = user;
    if (!ci_store_is_part(placed->first, entry->below)) return true;
    return add_placed(placed->removal, placed->model, entry->path);
}

static bool see_other(void *user, const struct ci_hub_cache_entry *entry) {
    struct placed *placed = user;
    placed->others |= !is_weights(entry->below) && !ci_removal_is_companion(entry->below);
    return true;
}

static bool add_of_folder(void *user, const struct ci_hub_cache_entry *entry) {
    const struct placed *placed = user;
    bool goes = is_weights(entry->below) || ends(entry->below, ".safetensors.index.json") ||
                (!placed->others && ci_removal_is_companion(entry->below));
    return !goes || strchr(entry->below, '/') || add_placed(placed->removal, placed->model, entry->path);
}

static bool placed_parts(struct ci_removal *removal, const struct ci_stored *model) {
    struct placed placed = {.removal = removal, .model = model};
    struct stat own;
    if (model->folder && lstat(model->path, &own) == 0 && S_ISLNK(own.st_mode))
        return add_placed(removal, model, model->path);
    if (model->folder)
        return ci_hub_cache_each(model->path, see_other, &placed) &&
               ci_hub_cache_each(model->path, add_of_folder, &placed);
    if (model->parts == 1) return add_placed(removal, model, model->path);
    const char *slash = strrchr(model->path, '/');
    char *folder = slash ? strndup(model->path, (size_t)(slash - model->path)) : NULL;
    placed.first = slash ? slash + 1 : "";
    bool fine = folder && ci_hub_cache_each(folder, add_part, &placed);
    free(folder);
    return fine;
}

static enum clinfer_status refuse_foreign(const struct ci_stored *model) {
    const char *title = ci_store_title(model->store);
    if (strcmp(model->store, "ollama") == 0)
        return ci_fail(CLINFER_REFUSED,
                       "%s: is in Ollama's store, which clinfer only reads; remove it with `ollama rm %s`", model->name,
                       model->name + strlen("ollama:"));
    return ci_fail(CLINFER_REFUSED,
                   "%s: is in %s, which clinfer only reads; remove it with that program, or the file: %s", model->name,
                   title, model->path);
}

enum clinfer_status ci_removal_of(const struct ci_hub_settings *settings, const struct ci_stored *model, bool force,
                                  struct ci_removal *removal) {
    *removal = (struct ci_removal){0};
    if (!ci_store_is_ours(model->store)) return refuse_foreign(model);
    if (!model->removable && !force)
        return ci_fail(CLINFER_REFUSED,
                       "%s: was put into %s by hand and may be nowhere else; --force removes it all the same (%s)",
                       model->name, ci_store_title(model->store), model->path);
    if (model->repo && model->revision) return ci_removal_of_repo(settings, model, removal);
    if (!placed_parts(removal, model)) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", model->name);
    return CLINFER_OK;
}

/* ---- doing it ---- */

bool ci_removal_is_inside(const char *root, const char *path) {
    char real_root[PATH_MAX], real[PATH_MAX], folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path || (size_t)(slash - path) >= sizeof folder) return false;
    memcpy(folder, path, (size_t)(slash - path));
    folder[slash - path] = 0;
    size_t length = realpath(root, real_root) ? strlen(real_root) : 0;
    return length && realpath(folder, real) && strncmp(real, real_root, length) == 0 &&
           (!real[length] || real[length] == '/');
}

static enum clinfer_status unlink_file(const char *path, uint64_t *freed) {
    struct stat own;
    if (lstat(path, &own) != 0) return CLINFER_OK; /* somebody was faster */
    uint64_t bytes = ci_removal_size(&own);
    if (unlink(path) != 0 && errno != ENOENT)
        return ci_fail(CLINFER_IO, "%s: cannot be removed: %s; whoever owns the folder can, or make it writable", path,
                       strerror(errno));
    *freed += bytes;
    return CLINFER_OK;
}

/* Where there are no locks, what nobody has written for a day is nobody's. */
static bool is_free(int descriptor) {
    enum { DAY = 24 * 60 * 60 };
    struct stat own;
    if (flock(descriptor, LOCK_EX | LOCK_NB) == 0) return true;
    return errno != EWOULDBLOCK && fstat(descriptor, &own) == 0 && time(NULL) - own.st_mtime > DAY;
}

/* A part and its record, while its lock is held; a record alone, if there is no such part. */
static enum clinfer_status remove_part(const char *path, uint64_t *freed) {
    static const char record_end[] = ".clinfer.state.incomplete", part_end[] = ".clinfer.incomplete";
    bool is_record = ends(path, record_end);
    size_t target = strlen(path) - (is_record ? sizeof record_end : sizeof part_end) + 1;
    char *part = ci_store_text("%.*s%s", ci_shown(target, INT_MAX), path, part_end);
    char *record = ci_store_text("%.*s%s", ci_shown(target, INT_MAX), path, record_end);
    enum clinfer_status status = CLINFER_OK;
    int descriptor = part && record ? open(part, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    if (!part || !record)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    else if (descriptor >= 0 ? is_free(descriptor) : errno == ENOENT)
        status = unlink_file(record, freed);
    else if (descriptor < 0)
        status = ci_fail(CLINFER_IO, "%s: cannot be opened: %s", part, strerror(errno));
    if (status == CLINFER_OK && descriptor >= 0 && is_free(descriptor)) status = unlink_file(part, freed);
    if (descriptor >= 0) close(descriptor);
    free(part);
    free(record);
    return status;
}

static enum clinfer_status relink(const char *path) {
    char digest[CI_DIGEST_BYTES], *made = NULL, *text = NULL;
    ci_store_digest_of(path, digest);
    const char *snapshots = strstr(path, "/snapshots/");
    size_t depth = 0;
    for (const char *at = snapshots ? snapshots + strlen("/snapshots/") : ""; *at; at++) depth += *at == '/';
    if (!digest[0] || !depth) return CLINFER_OK;
    text = malloc(depth * 3 + 3 + sizeof "blobs/" + sizeof digest);
    if (!text || asprintf(&made, "%.*s/.clinfer.%ld.tmp", ci_shown((size_t)(snapshots - path), PATH_MAX), path,
                          (long)getpid()) < 0)
        made = NULL;
    if (text && made) {
        char *at = text;
        for (size_t i = 0; i <= depth; i++) at = stpcpy(at, "../");
        strcpy(stpcpy(at, "blobs/"), digest);
        if (symlink(text, made) == 0 && rename(made, path) != 0) unlink(made);
    }
    free(made);
    free(text);
    return CLINFER_OK;
}

static enum clinfer_status do_step(const struct ci_removal_step *step, uint64_t *freed) {
    struct stat own;
    if (lstat(step->path, &own) != 0) return CLINFER_OK; /* somebody was faster */
    if (!ci_removal_is_inside(step->root, step->path))
        return ci_fail(CLINFER_REFUSED, "%s: a folder on the way there is a link out of %s: remove it there by hand",
                       step->path, step->root);
    if (step->kind == CI_REMOVAL_RELINK) return relink(step->path);
    if (step->kind == CI_REMOVAL_PART) return remove_part(step->path, freed);
    return unlink_file(step->path, freed);
}

/* The folders of what was placed by hand, up to the store's, if they are empty now. */
static void remove_empty_folders(const struct ci_removal_step *step) {
    size_t root = strlen(step->root);
    char *path = strdup(step->path);
    for (char *slash; path && (slash = strrchr(path, '/')) && slash > path + root;) {
        *slash = 0;
        if (!ci_removal_is_inside(step->root, path) || rmdir(path) != 0) break;
    }
    free(path);
}

static enum clinfer_status do_steps(const struct ci_removal *removal, uint64_t *freed) {
    for (size_t i = 0; i < removal->count; i++) {
        enum clinfer_status status = do_step(&removal->steps[i], freed);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

/* Whether another snapshot of this repo stands before it. */
static bool is_first_of_repo(const struct ci_removal *removal, size_t index) {
    const struct ci_removal_snapshot *snapshots = removal->snapshots;
    for (size_t i = 0; i < index; i++)
        if (strcmp(snapshots[i].repo, snapshots[index].repo) == 0 &&
            strcmp(snapshots[i].cache, snapshots[index].cache) == 0)
            return false;
    return true;
}

enum clinfer_status ci_removal_do(const struct ci_removal *removal, uint64_t *freed) {
    *freed = 0;
    struct ci_repo_locks *locks = calloc(removal->snapshot_count + 1, sizeof *locks);
    if (!locks) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for removing");
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < removal->snapshot_count && status == CLINFER_OK; i++) {
        const struct ci_removal_snapshot *snapshot = &removal->snapshots[i];
        if (!is_first_of_repo(removal, i)) continue;
        ci_repo_lock(snapshot->cache, snapshot->repo, &locks[i]);
        if (locks[i].busy)
            status = ci_fail(CLINFER_IO,
                             "%s: another process is fetching something of it (%s is locked); wait for it to end, or "
                             "end it",
                             snapshot->repo, locks[i].busy);
    }
    if (status == CLINFER_OK) status = do_steps(removal, freed);
    for (size_t i = 0; i < removal->snapshot_count; i++) {
        const struct ci_removal_snapshot *snapshot = &removal->snapshots[i];
        if (is_first_of_repo(removal, i) && !locks[i].busy) ci_repo_tidy(removal, snapshot->cache, snapshot->repo);
        ci_repo_unlock(&locks[i]);
    }
    for (size_t i = 0; i < removal->count && !removal->snapshot_count; i++) remove_empty_folders(&removal->steps[i]);
    free(locks);
    return status;
}
