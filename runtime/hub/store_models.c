/* store_models.c: the own models folder: what the user put there by hand or by link, named by its path from there, and
 * what clinfer fetched from elsewhere than the Hub: of an address, which an extended attribute tells, and of Ollama's
 * registry, below ollama/. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "hub/stores_private.h"

static const char origin[] = "user.clinfer.origin";

void ci_store_mark(const char *path, const char *from) {
    if (setxattr(path, origin, from, strlen(from), 0) != 0) return; /* as good as placed by hand */
}

/* "ollama:model:tag" of ollama/model:tag.gguf; NULL: it is none of these. */
static char *ollama_name(const char *below) {
    static const char folder[] = "ollama/", ending[] = ".gguf";
    size_t length = strlen(below), cut = sizeof folder - 1, end = sizeof ending - 1;
    bool is = length > cut + end && strncmp(below, folder, cut) == 0 && strcmp(below + length - end, ending) == 0 &&
              strchr(below + cut, ':');
    char *name = is ? ci_store_text("ollama:%s", below + cut) : NULL;
    if (name) name[strlen(name) - end] = 0;
    return name;
}

/* What it leads to stays where it is. */
static bool is_link(const char *path) {
    struct stat own;
    return lstat(path, &own) == 0 && S_ISLNK(own.st_mode);
}

static bool add(void *user, const struct ci_store_found *found) {
    struct ci_store_list *list = user;
    struct ci_stored model = ci_store_from(list->settings->models, found);
    model.name = ollama_name(found->below);
    model.placed = !model.name && getxattr(found->path, origin, NULL, 0) < 0;
    model.removable = !model.placed || is_link(found->path);
    if (!model.name) model.name = strdup(found->below);
    if (!found->folder) ci_store_digest_of(found->path, model.digest);
    return ci_store_add(list, &model);
}

bool ci_store_scan_models(struct ci_store_list *list) {
    if (!list->settings->models) return true;
    return ci_store_walk(&(struct ci_store_walk){.root = list->settings->models, .found = add, .user = list});
}
