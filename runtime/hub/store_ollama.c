/* store_ollama.c: Ollama's: manifests/<host>/<namespace>/<model>/<tag> is JSON that lists layers; the one of the type
 * "model" is a GGUF file, blobs/sha256-<hex>. The default host and the namespace "library" are no part of a name. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "hub/stores_private.h"

static const char model_type[] = "application/vnd.ollama.image.model";

/* The parts of a name are four folders below another: where we are in them. */
enum { HOST, NAMESPACE, MODEL, TAG, LEVELS };

struct scan {
    struct ci_store_list *list;
    const char *root;
    const char *parts[LEVELS];
};

/* blobs/sha256-<hex>, or sha256:<hex> of older versions. */
static char *blob_path(const char *root, const char *hex) {
    struct stat info;
    char *path = ci_store_text("%s/blobs/sha256-%s", root, hex), *older = NULL;
    if (path && stat(path, &info) != 0) {
        older = ci_store_text("%s/blobs/sha256:%s", root, hex);
        if (older && stat(older, &info) == 0) {
            free(path);
            return older;
        }
    }
    free(older);
    return path;
}

static char *name_of(const struct scan *scan) {
    const char *const *parts = scan->parts;
    bool own_host = strcmp(parts[HOST], "registry.ollama.ai") == 0;
    bool library = own_host && strcmp(parts[NAMESPACE], "library") == 0;
    return ci_store_text("ollama:%s%s%s%s%s:%s", own_host ? "" : parts[HOST], own_host ? "" : "/",
                         library ? "" : parts[NAMESPACE], library ? "" : "/", parts[MODEL], parts[TAG]);
}

static bool add_layer(const struct scan *scan, const char *hex, json_int_t size) {
    struct ci_stored model = {.name = name_of(scan), .root = strdup(scan->root), .path = blob_path(scan->root, hex)};
    struct stat info;
    bool there = model.path && stat(model.path, &info) == 0 && S_ISREG(info.st_mode);
    model.parts = 1;
    model.missing = there ? 0 : 1;
    if (there) {
        model.bytes = (uint64_t)info.st_size;
        model.modified = info.st_mtime;
        model.device = info.st_dev;
        model.number = info.st_ino;
        model.whole = info.st_size && (size <= 0 || info.st_size == size);
    }
    memcpy(model.digest, hex, strlen(hex) + 1);
    return ci_store_add(scan->list, &model);
}

static bool add_manifest(const struct scan *scan, const char *path) {
    static const char prefix[] = "sha256:";
    json_t *manifest, *layer;
    bool fine = ci_store_json(path, &manifest);
    json_t *layers = json_object_get(manifest, "layers");
    size_t index;
    json_array_foreach(layers, index, layer) {
        const char *type = json_string_value(json_object_get(layer, "mediaType"));
        const char *digest = json_string_value(json_object_get(layer, "digest"));
        if (!type || !digest || strcmp(type, model_type) != 0) continue;
        if (strncmp(digest, prefix, sizeof prefix - 1) != 0) continue;
        const char *hex = digest + sizeof prefix - 1;
        if (strlen(hex) != 64 || !ci_store_is_hex(hex, 64)) continue;
        fine = add_layer(scan, hex, json_integer_value(json_object_get(layer, "size")));
        break;
    }
    json_decref(manifest);
    return fine;
}

/* false: out of memory. */
static bool scan_level(struct scan *scan, const char *path, int level) {
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    bool fine = count >= 0 || errno != ENOMEM;
    if (count < 0 && fine && errno != ENOENT && errno != ENOTDIR)
        ci_log(CLINFER_LOG_WARNING, "%s: cannot be searched for models: %s", path, strerror(errno));
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char *inner = ci_store_text("%s/%s", path, name);
        scan->parts[level] = name;
        fine = fine && inner;
        if (fine && name[0] != '.')
            fine = level == TAG ? add_manifest(scan, inner) : scan_level(scan, inner, level + 1);
        free(inner);
        free(entries[i]);
    }
    free(entries);
    return fine;
}

static bool is_listed(char *const *roots, const struct stat *wanted) {
    struct stat info;
    for (; *roots; roots++)
        if (stat(*roots, &info) == 0 && info.st_dev == wanted->st_dev && info.st_ino == wanted->st_ino) return true;
    return false;
}

char **ci_store_ollama_roots(void) {
    const char *said = getenv("OLLAMA_MODELS");
    char *candidates[3] = {said && *said ? strdup(said) : NULL, NULL, strdup("/usr/share/ollama/.ollama/models")};
    enum { COUNT = sizeof candidates / sizeof *candidates };
    char **roots = calloc(COUNT + 1, sizeof *roots);
    bool fine = ci_store_home(NULL, ".ollama", "models", &candidates[1]) && roots && candidates[2] &&
                (candidates[0] || !said || !*said);
    size_t count = 0;
    struct stat info;
    for (int i = 0; i < COUNT; i++) {
        if (fine && candidates[i] && stat(candidates[i], &info) == 0 && !is_listed(roots, &info))
            roots[count++] = candidates[i];
        else
            free(candidates[i]);
    }
    if (fine) return roots;
    free(roots);
    return NULL;
}

bool ci_store_scan_ollama(struct ci_store_list *list) {
    char **roots = ci_store_ollama_roots();
    bool fine = roots != NULL;
    for (size_t i = 0; roots && roots[i]; i++) {
        struct scan scan = {.list = list, .root = roots[i]};
        char *path = ci_store_text("%s/manifests", roots[i]);
        fine = fine && path && scan_level(&scan, path, HOST);
        free(path);
        free(roots[i]);
    }
    free(roots);
    return fine;
}
