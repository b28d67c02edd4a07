/* store_lm_studio.c: LM Studio's: publisher/repo/file.gguf, the names being those of the Hub. settings.json may say
 * that it lies elsewhere. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "hub/quant.h"
#include "hub/stores_private.h"

struct scan {
    struct ci_store_list *list;
    const char *root;
    size_t first; /* of this root in the list */
};

/* The repo is the first two folders; what lies elsewhere is called by its path. */
static bool add(void *user, const struct ci_store_found *found) {
    const struct scan *scan = user;
    struct ci_stored model = ci_store_from(scan->root, found);
    const char *slash = strchr(found->below, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    size_t length = second ? (size_t)(second - found->below) : found->folder && slash ? strlen(found->below) : 0;
    char quant[CI_HUB_QUANT_BYTES] = "";
    if (length) {
        model.repo = strndup(found->below, length);
        model.file = strdup(second ? second + 1 : "");
    }
    if (second && !found->folder) ci_hub_quant_of(second + 1, quant);
    model.name = !*quant ? strdup(found->below) : model.repo ? ci_store_text("%s:%s", model.repo, quant) : NULL;
    if (length && !model.file) { /* a model without a name is not added */
        free(model.name);
        model.name = NULL;
    }
    return ci_store_add(scan->list, &model);
}

/* Two files of one repo with the same quant are called by their paths. */
static bool tell_apart(struct ci_store_list *list, size_t first) {
    for (size_t i = first; i < list->count; i++) {
        struct ci_stored *model = &list->items[i];
        bool twice = false;
        for (size_t other = first; other < list->count && model->repo && model->file[0]; other++)
            twice |= other != i && strcmp(list->items[other].name, model->name) == 0;
        for (size_t other = first; other < list->count && twice; other++) {
            struct ci_stored *same = &list->items[other];
            if (other == i || strcmp(same->name, model->name) != 0 || !same->repo) continue;
            free(same->name);
            same->name = ci_store_text("%s/%s", same->repo, same->file);
            if (!same->name) return false;
        }
        if (!twice) continue;
        free(model->name);
        model->name = ci_store_text("%s/%s", model->repo, model->file);
        if (!model->name) return false;
    }
    return true;
}

static bool scan_root(struct ci_store_list *list, char *root) {
    struct scan scan = {list, root, list->count};
    bool fine = !root || (ci_store_walk(&(struct ci_store_walk){.root = root, .found = add, .user = &scan}) &&
                          tell_apart(list, scan.first));
    free(root);
    return fine;
}

/* false: out of memory. */
static bool said_folder(char **root) {
    char *path;
    json_t *settings = NULL;
    bool fine = ci_store_home(NULL, ".lmstudio", "settings.json", &path) && (!path || ci_store_json(path, &settings));
    const char *folder = json_string_value(json_object_get(settings, "downloadsFolder"));
    bool said = folder && folder[0] == '/';
    *root = said ? strdup(folder) : NULL;
    json_decref(settings);
    free(path);
    return fine && (*root || !said);
}

bool ci_store_scan_lm_studio(struct ci_store_list *list) {
    char *said = NULL, *usual = NULL, *older = NULL;
    bool fine = said_folder(&said) && ci_store_home(NULL, ".lmstudio", "models", &usual) &&
                ci_store_home(NULL, ".cache/lm-studio", "models", &older);
    if (ci_store_is_same(said, usual)) {
        free(said);
        said = NULL;
    }
    fine = scan_root(list, said) && fine;
    fine = scan_root(list, usual) && fine;
    return scan_root(list, older) && fine;
}
