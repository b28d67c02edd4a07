/* pool_names.c: which model a name means, and the list of all.
 *
 * A client's word never becomes a path: of the machine only what `clinfer list` knows can be loaded, by its name there
 * or by what `clinfer run -m` would take the word for. Where the list shows the same bytes once, here each name of a
 * store that has several answers; what another store has of them is left out. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/status.h"
#include "hub/find.h"
#include "hub/stores.h"
#include "server/pool_private.h"

/* ---- making models known ---- */

static struct ci_pool_model *append(struct ci_pool *pool) {
    struct ci_pool_model *model = calloc(1, sizeof *model), **end = &pool->models;
    if (!model) return NULL;
    model->pool = pool;
    while (*end) end = &(*end)->next;
    return *end = model;
}

struct ci_pool_model *ci_pool_add_entry(struct ci_pool *pool, const struct ci_pool_entry *entry) {
    struct ci_pool_model *model = append(pool);
    struct stat file;
    if (!model) return NULL;
    model->entry = *entry;
    model->of_entry = true;
    if (entry->router.engine.model && stat(entry->router.engine.model, &file) == 0) {
        model->file_bytes = S_ISREG(file.st_mode) ? (uint64_t)file.st_size : 0;
        model->modified = (int64_t)file.st_mtime;
    }
    return model;
}

static struct ci_pool_model *add_of_machine(struct ci_pool *pool, const struct ci_stored *found) {
    size_t name = strlen(found->name) + 1, path = strlen(found->path) + 1;
    struct ci_pool_model *model = append(pool);
    if (!model) return NULL;
    model->texts = malloc(name + path);
    model->store = strdup(found->store);
    model->digest = strdup(found->digest);
    if (!model->texts || !model->store || !model->digest) {
        struct ci_pool_model **link = &pool->models;
        while (*link != model) link = &(*link)->next;
        *link = NULL;
        ci_pool_free_model(model);
        return NULL;
    }
    memcpy(model->texts, found->name, name);
    memcpy(model->texts + name, found->path, path);
    model->entry =
        (struct ci_pool_entry){.name = model->texts, .router = pool->options.router, .keep_alive = (double)NAN};
    model->entry.router.engine.model = model->texts + name;
    model->file_bytes = found->bytes;
    model->modified = found->modified;
    return model;
}

/* Its texts are the other's, which is never freed before it. */
struct ci_pool_model *ci_pool_add_vectors(struct ci_pool_model *model) {
    struct ci_pool_model *added = append(model->pool);
    if (!added) return NULL;
    added->is_vectors = true;
    added->entry = model->entry;
    added->of_entry = model->of_entry;
    added->entry.release = NULL;
    added->entry.router.engine.embeddings = true;
    added->file_bytes = model->file_bytes;
    added->modified = model->modified;
    return model->vectors = added;
}

void ci_pool_free_model(struct ci_pool_model *model) {
    if (model->entry.release) model->entry.release(model->entry.owner);
    free(model->texts);
    free(model->store);
    free(model->digest);
    clinfer_free(model->rungs);
    free(model);
}

/* ---- the machine ---- */

static bool is_elsewhere(const struct ci_stored *models, size_t count, const struct ci_stored *model) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(models[i].store, model->store) != 0 &&
            ((models[i].device == model->device && models[i].number == model->number) ||
             (*model->digest && strcmp(models[i].digest, model->digest) == 0)))
            return true;
    return false;
}

/* *count of them are for ci_stores_free(), also after a failure. */
static enum clinfer_status list_machine(struct ci_stored **models, size_t *count) {
    struct ci_hub_settings settings;
    size_t kept = 0;
    *models = NULL;
    *count = 0;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_stores_scan(&settings, NULL, models, count);
    for (size_t i = 0; status == CLINFER_OK && i < *count; i++) {
        if (is_elsewhere(*models, kept, &(*models)[i])) continue;
        const struct ci_stored swapped = (*models)[kept];
        (*models)[kept++] = (*models)[i];
        if (kept - 1 != i) (*models)[i] = swapped;
    }
    for (size_t i = kept; i < *count; i++) (*models)[i].whole = false; /* which nothing here shows or loads */
    ci_hub_settings_free(&settings);
    return status;
}

/* ---- names ---- */

/* `x` is `x:latest`, as Ollama's users type it; the case of a quant does not matter. */
static bool is_name(const char *name, const char *wanted) {
    static const char latest[] = ":latest";
    size_t length = strlen(wanted), tag = sizeof latest - 1;
    if (strcasecmp(name, wanted) == 0) return true;
    if (length > tag && strcasecmp(wanted + length - tag, latest) == 0)
        return strlen(name) == length - tag && strncasecmp(name, wanted, length - tag) == 0;
    return strlen(name) == length + tag && strncasecmp(name, wanted, length) == 0 &&
           strcasecmp(name + length, latest) == 0;
}

static bool has_name(const struct ci_pool_model *model, const char *wanted) {
    bool is = is_name(model->entry.name, wanted);
    for (size_t i = 0; i < model->entry.alias_count && !is; i++) is = is_name(model->entry.aliases[i], wanted);
    for (size_t i = 0; i < model->entry.other_count && !is; i++) is = is_name(model->entry.others[i], wanted);
    return is;
}

/* Entries before what the machine has. */
static struct ci_pool_model *find_known(const struct ci_pool *pool, const char *wanted) {
    struct ci_pool_model *found = NULL;
    for (struct ci_pool_model *model = pool->models; model; model = model->next)
        if (!model->removed && !model->is_vectors && has_name(model, wanted) &&
            (!found || (!found->of_entry && model->of_entry)))
            found = model;
    return found;
}

static const struct ci_stored *find_listed(const struct ci_stored *models, size_t count, const char *wanted,
                                           const char *path) {
    for (size_t i = 0; i < count; i++)
        if (models[i].whole && (path ? strcmp(models[i].path, path) == 0 : is_name(models[i].name, wanted)))
            return &models[i];
    return NULL;
}

/* By whatever else means a model: an alias, a repo without a quant, a file's name. NULL: nothing, or no model's name.
 */
static char *path_of(const char *wanted) {
    struct ci_hub_settings settings;
    struct ci_hub_found found = {0};
    struct ci_hub_name missing;
    if (strchr("/.~", *wanted) || strstr(wanted, "..") || ci_hub_is_model(wanted)) return NULL;
    if (ci_hub_settings_read(&settings) == CLINFER_OK) ci_hub_find(&settings, wanted, &found, &missing);
    char *path = found.path ? strdup(found.path) : NULL;
    ci_hub_found_free(&found);
    ci_hub_settings_free(&settings);
    return path;
}

/* The only one that is whole; NULL: there is not just one. */
static const struct ci_stored *only_listed(const struct ci_stored *models, size_t count) {
    const struct ci_stored *found = NULL;
    size_t whole = 0;
    for (size_t i = 0; i < count; i++)
        if (models[i].whole && ++whole == 1) found = &models[i];
    return whole == 1 ? found : NULL;
}

/* Lets go of the lock meanwhile. NULL: nothing of that name, or, wanted being NULL, not just one. */
static struct ci_pool_model *find_on_machine(struct ci_pool *pool, const char *wanted) {
    struct ci_stored *models = NULL;
    struct ci_pool_model *model = NULL;
    size_t count = 0;
    pthread_mutex_unlock(&pool->lock);
    const struct ci_stored *found = NULL;
    if (list_machine(&models, &count) == CLINFER_OK) {
        found = wanted ? find_listed(models, count, wanted, NULL) : only_listed(models, count);
        char *path = found || !wanted ? NULL : path_of(wanted);
        if (path) found = find_listed(models, count, wanted, path);
        free(path);
    }
    pthread_mutex_lock(&pool->lock);
    if (found) model = find_known(pool, found->name);
    if (found && !model) model = add_of_machine(pool, found);
    ci_stores_free(models, count);
    return model;
}

/* Whoever names none means the only one: of entries, else of those that are loaded. */
static struct ci_pool_model *find_only(const struct ci_pool *pool, size_t *entries) {
    struct ci_pool_model *entry = NULL, *loaded = NULL, *loaded_entry = NULL;
    size_t loaded_count = 0, loaded_entries = 0;
    *entries = 0;
    for (struct ci_pool_model *model = pool->models; model; model = model->next) {
        if (model->removed || model->is_vectors) continue;
        bool is_loaded = model->state == CI_POOL_LOADED;
        if (model->of_entry && ++*entries == 1) entry = model;
        if (is_loaded && ++loaded_count == 1) loaded = model;
        if (is_loaded && model->of_entry && ++loaded_entries == 1) loaded_entry = model;
    }
    /* Of two entries one may be about to take the other's place. */
    return *entries == 1 ? entry : loaded_entries == 1 ? loaded_entry : loaded_count == 1 ? loaded : NULL;
}

static bool is_out(const struct ci_pool_model *model) {
    return model->state == CI_POOL_UNLOADED || model->state == CI_POOL_SLEEPING || model->state == CI_POOL_FAILED;
}

/* One of the machine that has been deleted since it was asked for is none any more. */
static struct ci_pool_model *drop_deleted(struct ci_pool_model *model) {
    if (model->of_entry || !is_out(model) || (model->vectors && !is_out(model->vectors)) ||
        access(model->entry.router.engine.model, F_OK) == 0)
        return model;
    model->removed = true;
    if (model->vectors) model->vectors->removed = true;
    pthread_cond_broadcast(&model->pool->changed); /* the keeper frees it */
    return NULL;
}

enum clinfer_status ci_pool_resolve_named(struct ci_pool *pool, const char *name, struct ci_pool_model **model) {
    *model = NULL;
    if (!name || !*name) return ci_fail(CLINFER_NOT_FOUND, "no model is named; name one of those here");
    *model = find_known(pool, name);
    if (*model) *model = drop_deleted(*model);
    if (!*model && pool->options.of_machine) *model = find_on_machine(pool, name);
    return *model ? CLINFER_OK : ci_fail(CLINFER_NOT_FOUND, "model '%s' not found", name);
}

enum clinfer_status ci_pool_resolve(struct ci_pool *pool, const char *name, struct ci_pool_model **model) {
    size_t entries;
    struct ci_pool_model *only = find_only(pool, &entries);
    if (name && *name) {
        enum clinfer_status status = ci_pool_resolve_named(pool, name, model);
        if (!*model && !pool->options.of_machine && entries == 1) *model = only;
        return *model ? CLINFER_OK : status;
    }
    *model = only || !pool->options.of_machine ? only : find_on_machine(pool, NULL);
    return *model ? CLINFER_OK
                  : ci_fail(CLINFER_NOT_FOUND, "no model is named, and there is not just one here; name one of them");
}

/* ---- lists ---- */

/* Everything in one block: `at` runs through its texts, or only counts them where there is none yet. */
struct block {
    char *start;
    size_t used;
};

static const char *put(struct block *block, const char *text) {
    size_t bytes = strlen(text ? text : "") + 1;
    char *at = block->start ? block->start + block->used : NULL;
    if (at) memcpy(at, text ? text : "", bytes);
    block->used += bytes;
    return at;
}

static const char **put_all(struct block *block, const char *const *texts, size_t count) {
    block->used = (block->used + sizeof(char *) - 1) / sizeof(char *) * sizeof(char *);
    const char **at = block->start ? (const char **)(void *)(block->start + block->used) : NULL;
    block->used += count * sizeof *at;
    for (size_t i = 0; i < count; i++) {
        const char *text = put(block, texts[i]);
        if (at) at[i] = text;
    }
    return at;
}

static double expires_in(const struct ci_pool_model *model) {
    enum ci_pool_state then;
    if (model->state != CI_POOL_LOADED) return 0;
    double expiry = ci_pool_expiry(model, &then);
    return isinf(expiry) ? -1 : expiry > ci_now() ? expiry - ci_now() : 0;
}

static struct ci_pool_info show(struct block *block, const struct ci_pool_model *model) {
    const struct ci_pool_entry *entry = &model->entry;
    int waiting = 0;
    for (const struct ci_pool_waiter *waiter = model->waiters; waiter; waiter = waiter->next) waiting++;
    bool failed = model->state == CI_POOL_FAILED;
    /* What has to be aligned first. */
    const char **aliases = put_all(block, entry->aliases, entry->alias_count);
    const char **tags = put_all(block, entry->tags, entry->tag_count);
    return (struct ci_pool_info){.name = put(block, entry->name),
                                 .path = put(block, entry->router.engine.model),
                                 .store = put(block, model->store),
                                 .digest = put(block, model->digest),
                                 .failure = put(block, failed ? model->failure : ""),
                                 .aliases = aliases,
                                 .alias_count = entry->alias_count,
                                 .tags = tags,
                                 .tag_count = entry->tag_count,
                                 .state = model->state,
                                 .entry = model->of_entry,
                                 .hidden = entry->hidden,
                                 .users = model->users,
                                 .waiting = waiting,
                                 .bytes = model->file_bytes,
                                 .modified = model->modified,
                                 .facts = model->facts,
                                 .expires = expires_in(model),
                                 .load_seconds = model->load_seconds,
                                 .loaded = model->loaded};
}

/* One that is on the machine, and never was asked for. */
static struct ci_pool_info show_listed(struct block *block, const struct ci_stored *model) {
    return (struct ci_pool_info){.name = put(block, model->name),
                                 .path = put(block, model->path),
                                 .store = put(block, model->store),
                                 .digest = put(block, model->digest),
                                 .failure = put(block, ""),
                                 .state = CI_POOL_UNLOADED,
                                 .bytes = model->bytes,
                                 .modified = model->modified};
}

/* The known ones that are of use to a list: what has gone from the disk stays as long as it is loaded. */
static bool is_shown(const struct ci_pool_model *model, const struct ci_stored *models, size_t count) {
    if (model->removed || model->is_vectors) return false;
    if (model->of_entry || model->state != CI_POOL_UNLOADED) return true;
    return find_listed(models, count, model->entry.name, NULL) != NULL;
}

/* An entry shows it already: by its name, "user/repo:Q4_0", or by its repo. */
static bool is_hidden(const struct ci_pool *pool, const char *name) {
    for (const struct ci_pool_model *model = pool->models; model; model = model->next)
        for (size_t i = 0; i < model->entry.hide_count && !model->removed; i++) {
            size_t length = strlen(model->entry.hides[i]);
            if (strncasecmp(name, model->entry.hides[i], length) == 0 && (!name[length] || name[length] == ':'))
                return true;
        }
    return false;
}

static size_t fill(const struct ci_pool *pool, const struct ci_stored *models, size_t count, struct block *block,
                   struct ci_pool_info *list) {
    size_t shown = 0;
    for (int machine = 0; machine < 2; machine++)
        for (const struct ci_pool_model *model = pool->models; model; model = model->next) {
            if (model->of_entry == (machine != 0) || !is_shown(model, models, count)) continue;
            if (!model->of_entry && is_hidden(pool, model->entry.name)) continue;
            struct ci_pool_info info = show(block, model);
            if (list) list[shown] = info;
            shown++;
        }
    for (size_t i = 0; i < count; i++) {
        if (!models[i].whole || find_known(pool, models[i].name) || is_hidden(pool, models[i].name)) continue;
        struct ci_pool_info info = show_listed(block, &models[i]);
        if (list) list[shown] = info;
        shown++;
    }
    return shown;
}

enum clinfer_status ci_pool_list(struct ci_pool *pool, struct ci_pool_info **list, size_t *count) {
    struct ci_stored *models = NULL;
    size_t found = 0;
    struct block block = {0};
    *list = NULL;
    *count = 0;
    if (pool->options.of_machine) {
        enum clinfer_status status = list_machine(&models, &found);
        if (status != CLINFER_OK) return status;
    }
    pthread_mutex_lock(&pool->lock);
    size_t shown = fill(pool, models, found, &block, NULL), infos = (shown + 1) * sizeof **list;
    *list = malloc(infos + block.used);
    if (*list) {
        block = (struct block){.start = (char *)*list + infos};
        *count = fill(pool, models, found, &block, *list);
    }
    pthread_mutex_unlock(&pool->lock);
    ci_stores_free(models, found);
    return *list ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a list of models");
}

enum clinfer_status ci_pool_show(const struct ci_pool_model *model, struct ci_pool_info **info) {
    struct block block = {0};
    show(&block, model);
    *info = malloc(sizeof **info + block.used);
    if (!*info) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a model's description");
    block = (struct block){.start = (char *)(*info + 1)};
    **info = show(&block, model);
    return CLINFER_OK;
}

enum clinfer_status ci_pool_find(struct ci_pool *pool, const char *name, struct ci_pool_info **info) {
    struct ci_pool_model *model;
    *info = NULL;
    pthread_mutex_lock(&pool->lock);
    enum clinfer_status status = ci_pool_resolve_named(pool, name, &model);
    if (status == CLINFER_OK) status = ci_pool_show(model, info);
    pthread_mutex_unlock(&pool->lock);
    return status;
}

void ci_pool_each(struct ci_pool *pool, void (*look)(void *user, const char *name, clinfer_router *router),
                  void *user) {
    pthread_mutex_lock(&pool->lock);
    for (struct ci_pool_model *model = pool->models; model; model = model->next)
        if (model->state == CI_POOL_LOADED && model->router) look(user, model->entry.name, model->router);
    pthread_mutex_unlock(&pool->lock);
}

void ci_pool_each_rung(struct ci_pool *pool, void (*look)(void *user, const struct clinfer_rung *rung), void *user) {
    pthread_mutex_lock(&pool->lock);
    for (struct ci_pool_model *model = pool->models; model; model = model->next) {
        struct clinfer_rung *now = NULL;
        const struct clinfer_rung *rungs = model->rungs;
        size_t count = model->rung_count;
        if (model->state == CI_POOL_LOADED && pool->methods->rungs &&
            pool->methods->rungs(model->router, &now, &count) == CLINFER_OK)
            rungs = now;
        for (size_t i = 0; rungs && i < count; i++) look(user, &rungs[i]);
        clinfer_free(now);
    }
    pthread_mutex_unlock(&pool->lock);
}
