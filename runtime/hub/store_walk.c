/* store_walk.c: the walk of stores_private.h. A folder is read once and sorted; what kind an entry is, readdir(3)
 * mostly says, so that only models cost a stat(2). */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/log.h"
#include "hub/quant.h"
#include "hub/stores_private.h"

static const char gguf[] = ".gguf", safetensors[] = ".safetensors", config_name[] = "config.json";

enum entry_kind { FILE_GGUF, FILE_SAFETENSORS, FOLDER };

struct entry {
    char *name;
    enum entry_kind kind;
    bool done;
    struct stat info; /* of files */
};

/* What is in one folder. */
struct folder {
    struct entry *entries;
    size_t count, capacity;
    bool has_config, cut; /* cut: there is more */
};

struct identity {
    dev_t device;
    ino_t number;
    bool taken;
};

struct walker {
    const struct ci_store_walk *walk;
    struct identity *seen; /* [seen_capacity], a power of two: a hash table of the folders that were looked into */
    size_t seen_count, seen_capacity;
    bool told; /* that there are too many */
};

static bool ends(const char *name, const char *end) {
    size_t length = strlen(name), wanted = strlen(end);
    return length > wanted && strcasecmp(name + length - wanted, end) == 0;
}

/* ---- one folder ---- */

static void free_folder(struct folder *folder) {
    for (size_t i = 0; i < folder->count; i++) free(folder->entries[i].name);
    free(folder->entries);
}

static bool add_entry(struct folder *folder, const char *name, enum entry_kind kind, const struct stat *info) {
    if (folder->count == CI_STORE_ENTRIES) {
        folder->cut = true;
        return true;
    }
    if (folder->count == folder->capacity) {
        size_t room = folder->capacity ? folder->capacity * 2 : 16;
        struct entry *grown = realloc(folder->entries, room * sizeof *grown);
        if (!grown) return false;
        folder->entries = grown;
        folder->capacity = room;
    }
    char *kept = strdup(name);
    if (!kept) return false;
    folder->entries[folder->count++] = (struct entry){.name = kept, .kind = kind, .info = *info};
    return true;
}

/* A change to a model (LoRA) and none itself has weights of this name. */
static bool is_weights(const char *name) {
    static const char adapter[] = "adapter_model";
    return ends(name, safetensors) && strncmp(name, adapter, sizeof adapter - 1) != 0;
}

/* Files of other kinds, and links that lead nowhere, are nothing. */
static bool take_entry(struct folder *folder, int descriptor, const struct dirent *entry) {
    static const struct stat unknown;
    const char *name = entry->d_name;
    if (name[0] == '.') return true;
    bool is_gguf = ends(name, gguf), is_safetensors = is_weights(name);
    bool maybe_folder = entry->d_type == DT_DIR || entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN;
    if (entry->d_type == DT_DIR) return add_entry(folder, name, FOLDER, &unknown);
    bool is_config = strcmp(name, config_name) == 0;
    struct stat info;
    if (!is_gguf && !is_safetensors && !is_config && !maybe_folder) return true;
    if (fstatat(descriptor, name, &info, 0) != 0) return true;
    if (S_ISDIR(info.st_mode)) return add_entry(folder, name, FOLDER, &unknown);
    if (!S_ISREG(info.st_mode)) return true;
    folder->has_config |= is_config;
    if (!is_gguf && !is_safetensors) return true;
    return add_entry(folder, name, is_gguf ? FILE_GGUF : FILE_SAFETENSORS, &info);
}

static int by_name(const void *left, const void *right) {
    return strcmp(((const struct entry *)left)->name, ((const struct entry *)right)->name);
}

/* false: out of memory. */
static bool read_folder(const char *path, DIR *stream, struct folder *folder) {
    bool fine = true;
    errno = 0;
    for (struct dirent *entry; fine && (entry = readdir(stream)); errno = 0)
        fine = take_entry(folder, dirfd(stream), entry);
    if (fine && errno) ci_log(CLINFER_LOG_WARNING, "%s: cannot be read to its end: %s", path, strerror(errno));
    if (folder->cut)
        ci_log(CLINFER_LOG_WARNING, "%s: has more than %d models and folders; the others are not found", path,
               CI_STORE_ENTRIES);
    if (folder->count) qsort(folder->entries, folder->count, sizeof *folder->entries, by_name);
    return fine;
}

/* ---- models in it ---- */

static long digits(const char *text, size_t count) {
    long number = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') return -1;
        number = number * 10 + (text[i] - '0');
    }
    return number;
}

size_t ci_store_split(const char *name, const char *extension, size_t *count) {
    enum { MARK = sizeof "-00001-of-00003" - 1 };
    size_t length = strlen(name) - strlen(extension);
    if (length <= MARK) return 0;
    const char *mark = name + length - MARK;
    long number = digits(mark + 1, 5), all = digits(mark + 10, 5);
    if (mark[0] != '-' || memcmp(mark + 6, "-of-", 4) != 0 || number < 1 || all < number) return 0;
    *count = (size_t)all;
    return length - MARK;
}

bool ci_store_is_part(const char *first, const char *path) {
    size_t count = 0, other = 0;
    if (strcmp(first, path) == 0) return true;
    size_t stem = ends(first, gguf) ? ci_store_split(first, gguf, &count) : 0;
    return stem && ends(path, gguf) && ci_store_split(path, gguf, &other) == stem && other == count &&
           memcmp(first, path, stem) == 0;
}

static void add_file(struct ci_store_found *found, const struct stat *info) {
    found->parts++;
    found->bytes += (uint64_t)info->st_size;
    if (found->modified < info->st_mtime) found->modified = info->st_mtime;
    if (!info->st_size) found->whole = false;
}

/* Adds the parts of what entry `first` is one of, itself first. */
static void gather(struct folder *folder, size_t first, const char *extension, struct ci_store_found *found) {
    struct entry *entries = folder->entries, *begun = &entries[first];
    size_t count = 1, other = 0, stem = ci_store_split(begun->name, extension, &count), there = 0;
    for (size_t i = first; i < folder->count; i++) {
        struct entry *entry = &entries[i];
        /* They are sorted: parts of one model stand together, and no folder of thousands is walked for each of them. */
        if (i > first && (!stem || strncmp(entry->name, begun->name, stem) != 0)) break;
        bool part = i == first || (!entry->done && entry->kind == begun->kind &&
                                   ci_store_split(entry->name, extension, &other) == stem && other == count);
        if (!part) continue;
        entry->done = true;
        add_file(found, &entry->info);
        there++;
    }
    if (there < count) {
        found->missing += count - there;
        found->parts += count - there;
        found->whole = false;
    }
}

static bool tell(const struct walker *walker, const char *below, const char *name, struct ci_store_found *found,
                 const struct stat *first) {
    char *inner = ci_store_text("%s%s%s", below, *below && *name ? "/" : "", name);
    char *path = ci_store_text("%s%s%s", walker->walk->root, inner && *inner ? "/" : "", inner ? inner : "");
    found->path = path;
    found->below = inner;
    found->device = first->st_dev;
    found->number = first->st_ino;
    bool fine = inner && path && walker->walk->found(walker->walk->user, found);
    free(inner);
    free(path);
    return fine;
}

/* The folder itself, if there are SafeTensors in it; they are half a model without config.json. */
static bool tell_folder(const struct walker *walker, const char *below, struct folder *folder) {
    struct ci_store_found found = {.folder = true, .whole = folder->has_config};
    const struct stat *first = NULL;
    for (size_t i = 0; i < folder->count; i++) {
        struct entry *entry = &folder->entries[i];
        if (entry->kind != FILE_SAFETENSORS || entry->done) continue;
        if (!first) first = &entry->info;
        gather(folder, i, safetensors, &found);
    }
    return !first || tell(walker, below, "", &found, first);
}

static bool tell_files(const struct walker *walker, const char *below, struct folder *folder) {
    bool fine = true;
    for (size_t i = 0; i < folder->count && fine; i++) {
        struct entry *entry = &folder->entries[i];
        if (entry->kind != FILE_GGUF || entry->done || !ci_hub_is_model_file(entry->name)) continue;
        struct ci_store_found found = {.whole = true};
        gather(folder, i, gguf, &found);
        fine = tell(walker, below, entry->name, &found, &entry->info);
    }
    return fine;
}

/* ---- folders below ---- */

/* Where a folder is in the table, or the free place where it would be. */
static struct identity *find_seen(const struct walker *walker, const struct identity *folder) {
    uint64_t hash =
        ci_hash(ci_hash(CI_HASH_START, &folder->device, sizeof folder->device), &folder->number, sizeof folder->number);
    for (size_t at = hash;; at++) {
        struct identity *place = &walker->seen[at & (walker->seen_capacity - 1)];
        if (!place->taken || (place->device == folder->device && place->number == folder->number)) return place;
    }
}

/* So that the table is half empty at least. */
static bool make_room(struct walker *walker) {
    if (2 * walker->seen_count < walker->seen_capacity) return true;
    struct walker grown = *walker;
    grown.seen_capacity = walker->seen_capacity ? 2 * walker->seen_capacity : 32;
    grown.seen = calloc(grown.seen_capacity, sizeof *grown.seen);
    if (!grown.seen) return false;
    for (size_t i = 0; i < walker->seen_capacity; i++)
        if (walker->seen[i].taken) *find_seen(&grown, &walker->seen[i]) = walker->seen[i];
    free(walker->seen);
    *walker = grown;
    return true;
}

static bool is_new(struct walker *walker, int descriptor, bool *fine) {
    struct stat info;
    if (fstat(descriptor, &info) != 0) return false;
    *fine = make_room(walker);
    if (!*fine) return false;
    const struct identity folder = {.device = info.st_dev, .number = info.st_ino, .taken = true};
    struct identity *place = find_seen(walker, &folder);
    if (place->taken) return false;
    if (walker->seen_count == CI_STORE_FOLDERS) {
        if (!walker->told)
            ci_log(CLINFER_LOG_WARNING, "%s: has more than %d folders; models in the others are not found",
                   walker->walk->root, CI_STORE_FOLDERS);
        walker->told = true;
        return false;
    }
    *place = folder;
    walker->seen_count++;
    return true;
}

static bool walk_folder(struct walker *walker, const char *below, int depth);

static bool walk_below(struct walker *walker, const char *below, const struct folder *folder, int depth) {
    const struct ci_store_walk *walk = walker->walk;
    bool fine = true;
    for (size_t i = 0; i < folder->count && fine; i++) {
        if (folder->entries[i].kind != FOLDER) continue;
        char *inner = ci_store_text("%s%s%s", below, *below ? "/" : "", folder->entries[i].name);
        fine = inner && ((walk->skips && walk->skips(walk->user, inner)) || walk_folder(walker, inner, depth + 1));
        free(inner);
    }
    return fine;
}

static bool walk_folder(struct walker *walker, const char *below, int depth) {
    const struct ci_store_walk *walk = walker->walk;
    char *path = ci_store_text("%s%s%s", walk->root, *below ? "/" : "", below);
    if (!path) return false;
    DIR *stream = opendir(path);
    if (!stream && errno != ENOENT && errno != ENOTDIR)
        ci_log(CLINFER_LOG_WARNING, "%s: cannot be searched for models: %s", path, strerror(errno));
    struct folder folder = {0};
    bool fine = true, wanted = stream && is_new(walker, dirfd(stream), &fine);
    if (wanted) fine = read_folder(path, stream, &folder);
    if (stream) closedir(stream);
    free(path);
    if (fine && (*below || walk->root_counts)) fine = tell_folder(walker, below, &folder);
    if (fine) fine = tell_files(walker, below, &folder);
    if (fine && depth < (walk->depth ? walk->depth : CI_STORE_DEPTH)) fine = walk_below(walker, below, &folder, depth);
    free_folder(&folder);
    return fine;
}

bool ci_store_walk(const struct ci_store_walk *walk) {
    struct walker walker = {.walk = walk};
    bool fine = walk_folder(&walker, "", 0);
    free(walker.seen);
    return fine;
}

struct ci_stored ci_store_from(const char *root, const struct ci_store_found *found) {
    struct ci_stored model = {
        .path = strdup(found->path),
        .root = strdup(root),
        .bytes = found->bytes,
        .modified = found->modified,
        .parts = found->parts,
        .missing = found->missing,
        .whole = found->whole,
        .folder = found->folder,
        .device = found->device,
        .number = found->number,
    };
    return model;
}
