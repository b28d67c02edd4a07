/* find.c: see find.h. All stores are listed once (names, sizes and links: nothing is opened), and what is meant is
 * picked from that list. Where several fit and are the same bytes, the first of them is as good as any; where they
 * differ, the name has to say which. */
#define _GNU_SOURCE
#include "hub/find.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/folder.h"
#include "format/kind.h"
#include "hub/cache.h"
#include "hub/near.h"
#include "hub/pull.h"
#include "hub/quant.h"
#include "hub/stores.h"

enum { LIST_BYTES = 512, NAME_BYTES = CI_HUB_URL_BYTES };

/* One look for one name. */
struct search {
    const struct ci_hub_settings *settings;
    const char *wanted;
    struct ci_stored *models; /* [count] */
    size_t count;
};

static bool is_folder(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

bool ci_hub_is_model(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && (!S_ISDIR(status.st_mode) || ci_folder_is(path));
}

static enum clinfer_status set(struct ci_hub_found *found, const char *store, const char *path, const char *name) {
    ci_hub_found_free(found);
    *found = (struct ci_hub_found){.path = strdup(path), .name = strdup(name), .store = store};
    if (found->path && found->name) return CLINFER_OK;
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
}

void ci_hub_found_free(struct ci_hub_found *found) {
    free(found->path);
    free(found->name);
    *found = (struct ci_hub_found){0};
}

/* ---- which of the list ---- */

static bool is_store(const struct ci_stored *model, const char *store) { return strcmp(model->store, store) == 0; }

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Without ".gguf" in whatever case. */
static size_t stem_of(const char *name) {
    size_t length = strlen(name);
    return length > 5 && strcasecmp(name + length - 5, ".gguf") == 0 ? length - 5 : length;
}

static bool is_called(const char *name, const char *wanted) {
    size_t length = strlen(wanted);
    return strcmp(name, wanted) == 0 || (length == stem_of(name) && memcmp(name, wanted, length) == 0);
}

/* By its path from the folder or its name alone, with or without ".gguf". */
static bool is_own(const struct ci_stored *model, const char *wanted) {
    return is_store(model, "models") && (is_called(model->name, wanted) || is_called(base_of(model->name), wanted));
}

/* By the folder that it is in, as "user/repo" or "user/repo:quant" where it was fetched into such folders. */
static bool is_own_below(const struct ci_stored *model, const char *wanted) {
    const char *base = base_of(wanted), *colon = strchr(base, ':');
    size_t length = colon ? (size_t)(colon - wanted) : strlen(wanted);
    if (!is_store(model, "models") || !model->whole || !length) return false;
    if (strncmp(model->name, wanted, length) != 0 || model->name[length] != '/') return false;
    return !colon || ci_hub_tag_fits(model->name + length + 1, colon + 1) > 0;
}

/* A bare file name, in any store whose files have names. */
static bool is_file_elsewhere(const struct ci_stored *model, const char *wanted) {
    if (is_store(model, "models") || is_store(model, "ollama") || !model->whole) return false;
    return is_called(model->name, wanted) || is_called(base_of(model->name), wanted) ||
           (model->file && *model->file && is_called(base_of(model->file), wanted));
}

static bool is_same(const struct ci_stored *a, const struct ci_stored *b) {
    return (a->device == b->device && a->number == b->number) || (a->digest[0] && strcmp(a->digest, b->digest) == 0);
}

/* The one that fits, or the failure that there are several; CLINFER_NOT_FOUND without a message: none. */
static enum clinfer_status pick(const struct search *search, bool (*fits)(const struct ci_stored *, const char *),
                                const char *where, struct ci_hub_found *found) {
    char list[LIST_BYTES] = "";
    const struct ci_stored *first = NULL;
    bool several = false;
    for (size_t i = 0; i < search->count; i++) {
        const struct ci_stored *model = &search->models[i];
        if (!fits(model, search->wanted)) continue;
        ci_names_add(list, sizeof list, model->name);
        /* In the own folder all names are somebody's; of other programs' copies any is as good. */
        several = several || (first && (is_store(model, "models") || !is_same(first, model)));
        if (!first) first = model;
    }
    if (!first) return CLINFER_NOT_FOUND;
    if (!several) return set(found, first->store, first->path, first->name);
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: in %s that may be any of: %s. Give one of these names",
                   search->wanted, where, list);
}

/* ---- names of the Hub ---- */

/* How well a model of the list answers a name of the Hub; the greater, the better, each before what follows it. */
struct fitness {
    int cache;    /* LLAMA_CACHE goes first, as in llama.cpp; then caches and stores in their order */
    int revision; /* of the commit that the revision means now */
    int tag;
    int quant;
    int64_t modified;
};

static int compare(const struct fitness *a, const struct fitness *b) {
    if (a->cache != b->cache) return a->cache < b->cache ? -1 : 1;
    if (a->revision != b->revision) return a->revision < b->revision ? -1 : 1;
    if (a->tag != b->tag) return a->tag < b->tag ? -1 : 1;
    if (a->quant != b->quant) return a->quant < b->quant ? -1 : 1;
    return a->modified < b->modified ? -1 : a->modified > b->modified;
}

/* Of a split file every part means all of it. */
static bool is_file(const char *file, const char *wanted) {
    int number, count;
    size_t stem = ci_kind_split_name(file, &number, &count), other = ci_kind_split_name(wanted, &number, &count);
    return strcmp(file, wanted) == 0 || (stem && stem == other && memcmp(file, wanted, stem) == 0);
}

/* Of a folder with SafeTensors the files in it mean all of it. */
static bool fits_file(const struct ci_stored *model, const char *file, const char *wanted) {
    if (!model->folder) return is_file(file, wanted);
    size_t length = strlen(file);
    if (length && (strncmp(wanted, file, length) != 0 || wanted[length] != '/')) return false;
    const char *base = wanted + length + (length > 0);
    return !strchr(base, '/') && (strcasestr(base, ".safetensors") || strcmp(base, "config.json") == 0);
}

/* A file that is the same in several snapshots is listed once. */
static bool is_in(const struct ci_stored *model, const char *commit) {
    struct stat status;
    char *path = NULL;
    if (strcmp(commit, model->revision) == 0) return true;
    bool there = *model->file &&
                 ci_hub_cache_find(model->root, model->repo, commit, model->file, &path) == CLINFER_OK &&
                 stat(path, &status) == 0 && status.st_dev == model->device && status.st_ino == model->number;
    free(path);
    return there;
}

static bool fits_commit(const struct ci_stored *model, const struct ci_hub_name *name, struct fitness *fitness) {
    char commit[CI_HUB_COMMIT_BYTES];
    fitness->revision = model->revision &&
                        ci_hub_cache_commit(model->root, model->repo, name->revision, commit) == CLINFER_OK &&
                        is_in(model, commit);
    return fitness->revision || strcmp(name->revision, "main") == 0;
}

/* Its path in the repo; NULL: it is of another. Older files of llama.cpp are called user_repo_file.gguf. */
static const char *file_in(const struct ci_stored *model, const char *repo) {
    if (model->repo) return strcasecmp(model->repo, repo) == 0 ? model->file : NULL;
    if (!is_store(model, "llama.cpp")) return NULL;
    size_t length = strlen(repo);
    for (size_t i = 0; i < length; i++)
        if (model->name[i] != (repo[i] == '/' ? '_' : repo[i])) return NULL;
    return model->name[length] == '_' ? model->name + length + 1 : NULL;
}

static bool is_llama_cache(const char *root) {
    const char *cache = getenv("LLAMA_CACHE");
    struct stat one, other;
    return cache && *cache && stat(cache, &one) == 0 && stat(root, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* `place`: its place in the list. */
static bool fits_repo(const struct ci_stored *model, const struct ci_hub_name *name, int place,
                      struct fitness *fitness) {
    char quant[CI_HUB_QUANT_BYTES];
    const char *file = file_in(model, name->repo);
    if (!file) return false;
    *fitness = (struct fitness){.modified = model->modified};
    if (name->file[0]) {
        if (!fits_file(model, file, name->file)) return false;
    } else if (name->tag[0]) {
        fitness->tag = model->folder ? 0 : ci_hub_tag_fits(file, name->tag);
        if (fitness->tag == 0) return false;
    } else {
        ci_hub_quant_of(file, quant);
        fitness->quant = ci_hub_quant_runs(quant) ? -ci_hub_quant_rank(quant) : -10000;
    }
    fitness->cache = is_llama_cache(model->root) ? 1 : -place;
    return fits_commit(model, name, fitness);
}

/* What there is of the repo, but not what is wanted. */
static const struct ci_stored *best_of_repo(const struct search *search, const struct ci_hub_name *name, bool whole) {
    const struct ci_stored *best = NULL;
    struct fitness best_fitness = {0}, fitness;
    int place = 0;
    for (size_t i = 0; i < search->count; i++) {
        const struct ci_stored *model = &search->models[i];
        if (i && strcmp(model->root, search->models[i - 1].root) != 0) place++;
        if (model->whole != whole || !fits_repo(model, name, place, &fitness)) continue;
        if (best && compare(&fitness, &best_fitness) <= 0) continue;
        best = model;
        best_fitness = fitness;
    }
    return best;
}

static const struct ci_stored *best_of_ollama(const struct search *search, const struct ci_hub_name *name, bool whole) {
    struct ci_hub_name other;
    for (size_t i = 0; i < search->count; i++) {
        const struct ci_stored *model = &search->models[i];
        if (!is_store(model, "ollama") || model->whole != whole) continue;
        if (ci_hub_name_parse(model->name, NULL, &other) != CLINFER_OK || other.kind != CI_HUB_OLLAMA) continue;
        if (strcasecmp(other.host, name->host) == 0 && strcasecmp(other.repo, name->repo) == 0 &&
            strcasecmp(other.tag, name->tag) == 0)
            return model;
    }
    return NULL;
}

static const struct ci_stored *best_of(const struct search *search, const struct ci_hub_name *name, bool whole) {
    if (name->kind == CI_HUB_OLLAMA) return best_of_ollama(search, name, whole);
    return name->kind == CI_HUB_REPO ? best_of_repo(search, name, whole) : NULL;
}

/* Other files of the same repo. */
static void list_repo(const struct search *search, const struct ci_hub_name *name, char *list, size_t size) {
    for (size_t i = 0; i < search->count; i++) {
        const struct ci_stored *model = &search->models[i];
        if (name->kind == CI_HUB_REPO && model->whole && model->repo && strcasecmp(model->repo, name->repo) == 0)
            ci_names_add(list, size, model->name);
    }
}

static enum clinfer_status tell_missing(const struct search *search, const struct ci_hub_name *name) {
    char text[NAME_BYTES], list[LIST_BYTES] = "";
    const struct ci_stored *part = best_of(search, name, false);
    if (name->alias && strcmp(name->alias, search->wanted) == 0)
        snprintf(text, sizeof text, "%s", name->alias);
    else
        ci_hub_name_text(name, text, sizeof text);
    if (part)
        return ci_fail(CLINFER_NOT_FOUND,
                       "%s: not whole on this machine, %zu of its files are missing; `clinfer pull %s` "
                       "fetches them",
                       search->wanted, part->missing ? part->missing : 1, text);
    list_repo(search, name, list, sizeof list);
    const char *intro = " (of this repo there is: ", *end = *list ? ")" : "";
    if (!*list && !name->alias) {
        ci_hub_near_names(search->wanted, search->models, search->count, list, sizeof list);
        intro = " (did you mean ";
        end = *list ? "?)" : "";
    }
    return ci_fail(CLINFER_NOT_FOUND, "%s: not on this machine%s%s%s; `clinfer pull %s` fetches it", search->wanted,
                   *list ? intro : "", list, end, text);
}

/* ---- what is neither ---- */

/* Why there is nothing at a path, where that is not plainly because nobody put it there. */
static enum clinfer_status tell_why(const char *wanted) {
    struct stat status;
    if (stat(wanted, &status) == 0) return CLINFER_OK;
    int why = errno;
    if (why == ENOENT && lstat(wanted, &status) == 0)
        return ci_fail(CLINFER_NOT_FOUND, "%s: a link to a file that is not there; give -m the path of a GGUF file",
                       wanted);
    if (why == ENOTDIR)
        return ci_fail(CLINFER_NOT_FOUND, "%s: no such model: what stands before a '/' in it is a file, not a folder",
                       wanted);
    if (why == EACCES || why == ELOOP)
        return ci_fail(CLINFER_IO, "%s: cannot be reached: %s; give -m the path of a GGUF file", wanted, strerror(why));
    return CLINFER_OK;
}

/* How many are there besides the own ones: the same bytes in two places are one, as `clinfer list` has it. */
static size_t count_elsewhere(const struct search *search) {
    size_t count = 0;
    for (size_t i = 0; i < search->count; i++) {
        bool counted = is_store(&search->models[i], "models");
        for (size_t j = 0; j < i && !counted; j++) counted = is_same(&search->models[j], &search->models[i]);
        count += !counted;
    }
    return count;
}

static enum clinfer_status tell_unknown(const struct search *search) {
    const char *folder = search->settings->models;
    char list[LIST_BYTES] = "", near[LIST_BYTES] = "", more[64] = "", mean[LIST_BYTES + 32] = "";
    size_t own = 0, elsewhere = count_elsewhere(search);
    if (!folder) folder = "(no models folder: neither XDG_DATA_HOME nor HOME is set)";
    for (size_t i = 0; i < search->count; i++) {
        if (!is_store(&search->models[i], "models")) continue;
        ci_names_add(list, sizeof list, search->models[i].name);
        own++;
    }
    ci_hub_near_names(search->wanted, search->models, search->count, near, sizeof near);
    if (*near) snprintf(mean, sizeof mean, " (did you mean %s?)", near);
    if (elsewhere) snprintf(more, sizeof more, "; `clinfer list` shows %zu more", elsewhere);
    if (own)
        return ci_fail(CLINFER_NOT_FOUND,
                       "%s: no such model%s; in %s there %s: %s%s. Choose one with -m, or give a path", search->wanted,
                       mean, folder, own == 1 ? "is" : "are", list, more);
    return ci_fail(
        CLINFER_NOT_FOUND,
        "%s: no such model%s, and none in %s%s. `clinfer pull smollm2-135m` fetches a small one, `make run` or "
        "`scripts/fetch_model.sh` in clinfer's source folder the default model; -m takes the path of any GGUF "
        "file, or of a folder with SafeTensors",
        search->wanted, mean, folder, more);
}

/* A file that is missing in a folder that is there was not meant as one of the Hub's, though it is spelled like that.
 */
static bool is_path_beside(const char *wanted, const struct ci_hub_name *name) {
    char folder[CI_HUB_URL_BYTES];
    const char *slash = strrchr(wanted, '/');
    if (name->kind != CI_HUB_REPO || !name->file[0] || !slash || strstr(wanted, "://")) return false;
    snprintf(folder, sizeof folder, "%.*s", ci_narrowed(slash - wanted), wanted);
    return is_folder(folder);
}

static bool is_explicit(const char *wanted) {
    return ci_hub_is_url(wanted) || strncasecmp(wanted, "hf://", 5) == 0 || strncasecmp(wanted, "ollama:", 7) == 0;
}

/* ---- in order ---- */

/* What lies in the own folder itself goes before what has the same name below it. */
static enum clinfer_status find_own(const struct search *search, struct ci_hub_found *found) {
    static const char *const extensions[] = {"", ".gguf"};
    const char *folder = search->settings->models;
    if (!folder || search->wanted[0] == '/') return CLINFER_NOT_FOUND;
    for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++) {
        char *path = NULL;
        if (asprintf(&path, "%s/%s%s", folder, search->wanted, extensions[i]) < 0)
            return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", search->wanted);
        bool there = ci_hub_is_model(path);
        enum clinfer_status status = there ? set(found, "models", path, path + strlen(folder) + 1) : CLINFER_NOT_FOUND;
        free(path);
        if (status != CLINFER_NOT_FOUND) return status;
    }
    enum clinfer_status status = pick(search, is_own, folder, found);
    return status == CLINFER_NOT_FOUND ? pick(search, is_own_below, folder, found) : status;
}

/* What was fetched from an address, or from Ollama's registry, lies in the models folder, where a pull would put it. */
static enum clinfer_status find_target(const struct search *search, const struct ci_hub_name *name,
                                       struct ci_hub_found *found) {
    char text[NAME_BYTES];
    char *path = name->kind == CI_HUB_REPO ? NULL : ci_hub_pull_target(search->settings, name);
    bool there = path && ci_hub_is_model(path) && !ci_hub_pull_is_other(path, name);
    if (there && name->kind == CI_HUB_URL)
        snprintf(text, sizeof text, "%s", base_of(path));
    else
        ci_hub_name_text(name, text, sizeof text);
    enum clinfer_status status = there ? set(found, "models", path, text) : CLINFER_NOT_FOUND;
    free(path);
    return status;
}

static enum clinfer_status find_name(const struct search *search, const struct ci_hub_name *name,
                                     struct ci_hub_found *found) {
    const struct ci_stored *model = best_of(search, name, true);
    if (model) return set(found, model->store, model->path, model->name);
    enum clinfer_status status = find_target(search, name, found);
    return status == CLINFER_NOT_FOUND ? tell_missing(search, name) : status;
}

static enum clinfer_status find_otherwise(const struct search *search, struct ci_hub_found *found,
                                          struct ci_hub_name *missing) {
    struct ci_hub_name name;
    enum clinfer_status parsed = ci_hub_name_parse(search->wanted, search->settings->endpoint, &name);
    if (parsed == CLINFER_OK && name.kind == CI_HUB_URL) {
        enum clinfer_status status = find_target(search, &name, found);
        return status == CLINFER_NOT_FOUND ? ci_kind_check_path(search->wanted) : status;
    }
    if (parsed == CLINFER_OK && !is_path_beside(search->wanted, &name)) {
        enum clinfer_status status = find_name(search, &name, found);
        if (status == CLINFER_NOT_FOUND) *missing = name;
        return status;
    }
    if (parsed == CLINFER_INVALID_ARGUMENT && is_explicit(search->wanted)) return parsed;
    char rule[LIST_BYTES];
    const char *said = ci_status_message();
    size_t length = strlen(search->wanted);
    bool names_it = strncmp(said, search->wanted, length) == 0 && strncmp(said + length, ": ", 2) == 0;
    snprintf(rule, sizeof rule, "%s", names_it ? said + length + 2 : said);
    enum clinfer_status status = pick(search, is_file_elsewhere, "other programs' stores", found);
    if (status != CLINFER_NOT_FOUND) return status;
    if (parsed != CLINFER_INVALID_ARGUMENT) return tell_unknown(search);
    return ci_fail(CLINFER_NOT_FOUND, "%s: no such model, and no name of the Hub: %s", search->wanted, rule);
}

static enum clinfer_status find_listed(const struct search *search, struct ci_hub_found *found,
                                       struct ci_hub_name *missing) {
    enum clinfer_status status = find_own(search, found);
    if (status == CLINFER_NOT_FOUND) status = find_otherwise(search, found, missing);
    if (status != CLINFER_NOT_FOUND) return status;
    /* A folder without a model that happens to have the name is what was meant only if there is nothing else. */
    if (is_folder(search->wanted) && !missing->repo[0]) return set(found, NULL, search->wanted, search->wanted);
    enum clinfer_status told = tell_why(search->wanted);
    return told == CLINFER_OK ? status : told;
}

enum clinfer_status ci_hub_find(const struct ci_hub_settings *settings, const char *wanted, struct ci_hub_found *found,
                                struct ci_hub_name *missing) {
    struct search search = {.settings = settings, .wanted = wanted};
    *found = (struct ci_hub_found){0};
    *missing = (struct ci_hub_name){0};
    if (ci_hub_is_model(wanted)) return set(found, NULL, wanted, wanted);
    enum clinfer_status status = is_folder(wanted) || is_explicit(wanted) ? CLINFER_OK : ci_kind_check_path(wanted);
    if (status == CLINFER_OK) status = ci_stores_scan(settings, NULL, &search.models, &search.count);
    if (status == CLINFER_OK) status = find_listed(&search, found, missing);
    ci_stores_free(search.models, search.count);
    return status;
}

enum clinfer_status ci_hub_find_name(const struct ci_hub_settings *settings, const struct ci_hub_name *name,
                                     struct ci_hub_found *found) {
    char text[NAME_BYTES];
    ci_hub_name_text(name, text, sizeof text);
    struct search search = {.settings = settings, .wanted = text};
    *found = (struct ci_hub_found){0};
    enum clinfer_status status = ci_stores_scan(settings, NULL, &search.models, &search.count);
    if (status == CLINFER_OK) status = find_name(&search, name, found);
    ci_stores_free(search.models, search.count);
    return status;
}
