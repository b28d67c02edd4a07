/* store_jan.c: Jan has a folder for each model, with its file model.gguf and a model.yml. A model is called after the
 * folder. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "hub/stores_private.h"

struct scan {
    struct ci_store_list *list;
    const char *root;
};

static bool add(void *user, const struct ci_store_found *found) {
    static const char usual[] = "model.gguf";
    const struct scan *scan = user;
    struct ci_stored model = ci_store_from(scan->root, found);
    const char *slash = strrchr(found->below, '/');
    bool by_folder = slash && strcmp(slash + 1, usual) == 0;
    size_t length = by_folder ? (size_t)(slash - found->below) : strlen(found->below);
    model.name = length < 4096 ? ci_store_text("jan:%.*s", ci_shown(length, 4096), found->below) : NULL;
    return ci_store_add(scan->list, &model);
}

bool ci_store_scan_jan(struct ci_store_list *list) {
    char *root;
    if (!ci_store_home("XDG_DATA_HOME", ".local/share", "Jan/data/llamacpp/models", &root)) return false;
    if (!root) return true;
    struct scan scan = {list, root};
    bool fine = ci_store_walk(&(struct ci_store_walk){.root = root, .found = add, .user = &scan});
    free(root);
    return fine;
}
