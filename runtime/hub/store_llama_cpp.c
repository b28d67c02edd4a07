/* store_llama_cpp.c: llama.cpp's cache before it used the Hub's layout: user_repo_file.gguf in one folder, beside a
 * .json that says from where it came, or an .etag. A file with neither was put there by hand; where the folder is also
 * one with the Hub's layout (LLAMA_CACHE), that store lists it. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "hub/quant.h"
#include "hub/stores_private.h"

struct scan {
    struct ci_store_list *list;
    const char *root;
    bool is_cache; /* of the Hub's layout, too */
};

static bool exists(const char *path, const char *ending) {
    struct stat info;
    char *beside = ci_store_text("%s%s", path, ending);
    bool there = beside && stat(beside, &info) == 0;
    free(beside);
    return there;
}

bool ci_store_is_old_llama_cpp(const char *path) { return exists(path, ".json") || exists(path, ".etag"); }

/* Repo and file of ".../user/repo/resolve/main/file.gguf" in the .json beside it, if they are known. false: out of
 * memory. */
static bool read_origin(const char *path, struct ci_stored *model, bool *known) {
    static const char mark[] = "/resolve/", scheme[] = "://";
    char *beside = ci_store_text("%s.json", path);
    json_t *object = NULL;
    bool fine = beside && ci_store_json(beside, &object);
    const char *url = json_string_value(json_object_get(object, "url"));
    const char *host = url ? strstr(url, scheme) : NULL, *end = host ? strstr(host, mark) : NULL;
    const char *repo = host ? strchr(host + strlen(scheme), '/') : NULL;
    const char *revision = end ? strchr(end + strlen(mark), '/') : NULL;
    *known = repo && revision && repo < end && memchr(repo + 1, '/', (size_t)(end - repo - 1));
    if (*known) {
        model->repo = strndup(repo + 1, (size_t)(end - repo - 1));
        model->file = strndup(revision + 1, strcspn(revision + 1, "?#"));
    }
    json_decref(object);
    free(beside);
    return fine && (!*known || (model->repo && model->file));
}

static bool add(void *user, const struct ci_store_found *found) {
    const struct scan *scan = user;
    bool old = ci_store_is_old_llama_cpp(found->path);
    if (found->folder || (!old && scan->is_cache)) return true;
    struct ci_stored model = ci_store_from(scan->root, found);
    char quant[CI_HUB_QUANT_BYTES];
    model.placed = !old;
    bool known = false, fine = !old || read_origin(found->path, &model, &known);
    if (fine && known && *ci_hub_quant_of(model.file, quant))
        model.name = ci_store_text("%s:%s", model.repo, quant);
    else if (fine)
        model.name = strdup(found->below);
    return ci_store_add(scan->list, &model);
}

static bool skips_all(void *user, const char *below) {
    (void)user;
    (void)below;
    return true;
}

static bool is_cache(const struct ci_hub_settings *settings, const char *root) {
    for (char **cache = settings->caches; cache && *cache; cache++)
        if (ci_store_is_same(root, *cache)) return true;
    return false;
}

static bool scan_root(struct ci_store_list *list, char *root) {
    if (!root) return true;
    struct scan scan = {list, root, is_cache(list->settings, root)};
    bool fine = ci_store_walk(&(struct ci_store_walk){.root = root, .skips = skips_all, .found = add, .user = &scan});
    free(root);
    return fine;
}

bool ci_store_scan_llama_cpp(struct ci_store_list *list) {
    const char *said = getenv("LLAMA_CACHE");
    char *usual, *root = said && *said ? strdup(said) : NULL;
    bool fine = ci_store_home("XDG_CACHE_HOME", ".cache", "llama.cpp", &usual) && (root || !said || !*said);
    fine = scan_root(list, root) && fine;
    if (ci_store_is_same(said, usual)) {
        free(usual);
        return fine;
    }
    return scan_root(list, usual) && fine;
}
