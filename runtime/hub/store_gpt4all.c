/* store_gpt4all.c: GPT4All keeps its models in one folder; what it has not finished is called incomplete-NAME. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "hub/stores_private.h"

struct scan {
    struct ci_store_list *list;
    const char *root;
};

static bool add(void *user, const struct ci_store_found *found) {
    static const char unfinished[] = "incomplete-";
    const struct scan *scan = user;
    if (found->folder || strncmp(found->below, unfinished, sizeof unfinished - 1) == 0) return true;
    struct ci_stored model = ci_store_from(scan->root, found);
    model.name = strdup(found->below);
    return ci_store_add(scan->list, &model);
}

static bool skips_all(void *user, const char *below) {
    (void)user;
    (void)below;
    return true;
}

bool ci_store_scan_gpt4all(struct ci_store_list *list) {
    char *root;
    if (!ci_store_home("XDG_DATA_HOME", ".local/share", "nomic.ai/GPT4All", &root)) return false;
    if (!root) return true;
    struct scan scan = {list, root};
    bool fine = ci_store_walk(&(struct ci_store_walk){.root = root, .skips = skips_all, .found = add, .user = &scan});
    free(root);
    return fine;
}
