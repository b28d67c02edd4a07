/* store_models.c: the own models folder: what the user put there by hand or by link, named by its path from there. */
#define _GNU_SOURCE
#include <string.h>

#include "hub/stores_private.h"

static bool add(void *user, const struct ci_store_found *found) {
    struct ci_store_list *list = user;
    struct ci_stored model = ci_store_from(list->settings->models, found);
    model.name = strdup(found->below);
    model.placed = true;
    if (!found->folder) ci_store_digest_of(found->path, model.digest);
    return ci_store_add(list, &model);
}

bool ci_store_scan_models(struct ci_store_list *list) {
    if (!list->settings->models) return true;
    return ci_store_walk(&(struct ci_store_walk){.root = list->settings->models, .found = add, .user = list});
}
