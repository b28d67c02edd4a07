/* stores.c: see stores.h: the list, and which of its models are the same bytes. */
#define _GNU_SOURCE
#include "hub/stores.h"

#include <ctype.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/narrow.h"
#include "base/status.h"
#include "format/json.h"
#include "hub/digest.h"
#include "hub/stores_private.h"

enum { MOST_JSON = 1 << 20 };

static const struct store {
    const char *name, *title;
    bool ours;
    bool (*scan)(struct ci_store_list *list);
} stores[] = {
#define CI_STORE(id, name, title, ours) {name, title, ours, ci_store_scan_##id},
#include "hub/store_list.inc"
#undef CI_STORE
};

enum { STORES = sizeof stores / sizeof *stores };

static const struct store *store_of(const char *name) {
    for (int i = 0; i < STORES; i++)
        if (strcmp(stores[i].name, name) == 0) return &stores[i];
    return NULL;
}

const char *ci_store_title(const char *store) {
    const struct store *known = store_of(store);
    return known ? known->title : store;
}

bool ci_store_is_ours(const char *store) {
    const struct store *known = store_of(store);
    return known && known->ours;
}

/* ---- for the stores ---- */

static void free_model(struct ci_stored *model) {
    free(model->name);
    free(model->path);
    free(model->root);
    free(model->repo);
    free(model->revision);
    free(model->file);
    for (size_t i = 0; i < model->place_count; i++) {
        free(model->places[i].name);
        free(model->places[i].path);
    }
    free(model->places);
}

bool ci_store_add(struct ci_store_list *list, struct ci_stored *model) {
    bool fine = model->name && model->path && model->root;
    if (fine && list->count == list->capacity) {
        size_t room = list->capacity ? list->capacity * 2 : 32;
        struct ci_stored *grown = realloc(list->items, room * sizeof *grown);
        fine = grown != NULL;
        if (grown) {
            list->items = grown;
            list->capacity = room;
        }
    }
    if (!fine) {
        free_model(model);
        return false;
    }
    model->store = list->store;
    list->items[list->count++] = *model;
    return true;
}

char *ci_store_text(const char *format, ...) {
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : text;
}

bool ci_store_home(const char *variable, const char *otherwise, const char *rest, char **path) {
    const char *base = variable ? getenv(variable) : NULL, *home = getenv("HOME");
    *path = NULL;
    if (base && base[0] == '/')
        *path = ci_store_text("%s/%s", base, rest);
    else if (home && *home)
        *path = ci_store_text("%s/%s/%s", home, otherwise, rest);
    else
        return true;
    return *path != NULL;
}

bool ci_store_is_hex(const char *text, size_t length) {
    static const char all[] = "0123456789abcdefABCDEF";
    return strspn(text, all) >= length;
}

bool ci_store_is_same(const char *left, const char *right) {
    struct stat one, other;
    return left && right && stat(left, &one) == 0 && stat(right, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* Whether a path ends as blobs/<digest> or blobs/sha256-<digest>, which is Ollama's. Blobs that huggingface_hub shares
 * between repos lie one folder deeper, and are called after another hash. */
static bool is_blob(const char *path, char digest[CI_DIGEST_BYTES]) {
    static const char blobs[] = "blobs", ollama[] = "sha256-";
    const char *name = strrchr(path, '/');
    if (!name || (size_t)(name - path) < sizeof blobs - 1) return false;
    const char *folder = name - (sizeof blobs - 1);
    if (memcmp(folder, blobs, sizeof blobs - 1) != 0 || (folder > path && folder[-1] != '/')) return false;
    name++;
    if (strncmp(name, ollama, sizeof ollama - 1) == 0) name += sizeof ollama - 1;
    if (!ci_hub_is_digest(name)) return false;
    for (size_t i = 0; i <= strlen(name); i++) digest[i] = (char)tolower((unsigned char)name[i]);
    return true;
}

void ci_store_digest_of(const char *path, char digest[CI_DIGEST_BYTES]) {
    enum { HOPS = 16 };
    char here[PATH_MAX], next[PATH_MAX];
    int length = snprintf(here, sizeof here, "%s", path);
    digest[0] = 0;
    for (int hop = 0; hop < HOPS && length >= 0 && (size_t)length < sizeof here; hop++) {
        if (is_blob(here, digest)) return;
        ssize_t got = readlink(here, next, sizeof next - 1);
        if (got < 0) return;
        next[got] = 0;
        char *slash = strrchr(here, '/');
        size_t folder = next[0] == '/' || !slash ? 0 : (size_t)(slash + 1 - here);
        length = snprintf(here + folder, sizeof here - folder, "%s", next);
        if (length >= 0) length += ci_narrowed((int64_t)folder);
    }
}

bool ci_store_json(const char *path, json_t **object) {
    *object = NULL;
    enum clinfer_status status = ci_json_read(path, MOST_JSON, object);
    if (status != CLINFER_OK) *object = NULL;
    return status != CLINFER_OUT_OF_MEMORY;
}

/* ---- the list ---- */

enum clinfer_status ci_stores_scan(const struct ci_hub_settings *settings, const char *store, struct ci_stored **models,
                                   size_t *count) {
    struct ci_store_list list = {.settings = settings};
    bool fine = true;
    for (int i = 0; i < STORES && fine; i++) {
        if (store && strcmp(store, stores[i].name) != 0) continue;
        list.store = stores[i].name;
        fine = stores[i].scan(&list);
    }
    *models = list.items;
    *count = list.count;
    return fine ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
}

/* One file by two names, or two files whose names say that the same is in them. Of split models the first parts say it
 * for all, if the sizes agree. */
static bool are_same(const struct ci_stored *a, const struct ci_stored *b) {
    if (a->bytes != b->bytes || a->parts != b->parts || a->whole != b->whole || a->folder != b->folder) return false;
    if (a->number && a->number == b->number && a->device == b->device) return true; /* 0: no file at all */
    return a->digest[0] && strcmp(a->digest, b->digest) == 0;
}

/* `model` becomes a place of `first`; its other texts go. */
static bool merge(struct ci_stored *first, struct ci_stored *model) {
    struct ci_stored_place *grown = realloc(first->places, (first->place_count + 1) * sizeof *grown);
    if (!grown) return false;
    first->places = grown;
    first->places[first->place_count++] =
        (struct ci_stored_place){.store = model->store, .name = model->name, .path = model->path};
    if (!first->digest[0]) memcpy(first->digest, model->digest, sizeof first->digest);
    model->name = NULL;
    model->path = NULL;
    free_model(model);
    return true;
}

enum clinfer_status ci_stores_list(const struct ci_hub_settings *settings, struct ci_stored **models, size_t *count) {
    size_t kept = 0, found = 0;
    struct ci_stored *items = NULL;
    enum clinfer_status status = ci_stores_scan(settings, NULL, &items, &found);
    for (size_t i = 0; i < found; i++) {
        struct ci_stored *model = &items[i], *same = NULL;
        for (size_t other = 0; other < kept && !same; other++)
            if (are_same(&items[other], model)) same = &items[other];
        if (same && merge(same, model)) continue;
        if (same) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
        items[kept++] = *model;
    }
    *models = items;
    *count = kept;
    return status;
}

void ci_stores_free(struct ci_stored *models, size_t count) {
    for (size_t i = 0; i < count; i++) free_model(&models[i]);
    free(models);
}
