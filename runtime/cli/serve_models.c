/* serve_models.c: see serve_models.h. */
#define _GNU_SOURCE
#include "cli/serve_models.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "server/pool.h"

bool ci_serve_read_time(const char *text, double *seconds) {
    double sum = 0, sign = 1;
    if (*text == '-') sign = -1, text++;
    if (!*text) return false;
    while (*text) {
        char *end;
        double number = strtod(text, &end);
        if (end == text || !(number >= 0) || isinf(number)) return false;
        double unit = *end == 'h' ? 3600 : *end == 'm' && end[1] == 's' ? 1e-3 : *end == 'm' ? 60 : 1;
        end += *end == 'm' && end[1] == 's' ? 2 : *end == 'h' || *end == 'm' || *end == 's' ? 1 : 0;
        if (*end && !(*end >= '0' && *end <= '9')) return false;
        sum += number * unit;
        text = end;
    }
    *seconds = sign < 0 && sum > 0 ? -1 : sum;
    return true;
}

static enum clinfer_status read_keep_alive(const struct ci_serve_flags *flags, double *seconds) {
    const char *variable = getenv("OLLAMA_KEEP_ALIVE");
    const char *text = flags->keep_alive ? flags->keep_alive : variable && *variable ? variable : "5m";
    if (ci_serve_read_time(text, seconds)) return CLINFER_OK;
    return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: '%s' is no time: 90, 5m, 1h30m, or -1 for ever",
                   flags->keep_alive ? "--keep-alive" : "OLLAMA_KEEP_ALIVE", text);
}

/* ---- the one that was named ---- */

static bool is_one_named(const struct ci_serve_flags *flags) {
    const struct ci_model_flags *from = &flags->engine.from;
    const char *variable = getenv("CLINFER_MODEL");
    return from->model || from->repo || from->file || from->url || (variable && *variable) ||
           flags->engine.config.model;
}

static const char *last_part(const char *path) {
    const char *slash = path ? strrchr(path, '/') : NULL;
    return slash && slash[1] ? slash + 1 : path;
}

/* What it is called where no --alias says it: by the name that was given, or by its file's. */
static const char *name_of(const struct ci_serve_models *models, const struct ci_model_flags *from) {
    if (from->repo && !from->file) return from->repo;
    if (from->model && access(from->model, F_OK) != 0) return from->model;
    if (models->choice.path) return last_part(models->choice.path);
    return models->remotes.count ? models->remotes.items[0].name : "none";
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* As llama-server: of several aliases the first one in the alphabet is the model's name. */
static enum clinfer_status name_entry(struct ci_serve_models *models, const struct ci_serve_flags *flags) {
    const char *own = name_of(models, &flags->engine.from), *file = last_part(models->choice.path);
    bool read = ci_serve_add_parts(&models->names, &models->name_count, flags->alias ? flags->alias : "", ",") &&
                ci_serve_add_parts(&models->tags, &models->tag_count, flags->tags ? flags->tags : "", ",");
    if (read && models->name_count) qsort(models->names, models->name_count, sizeof *models->names, by_text);
    size_t said = models->name_count;
    read = read && ci_serve_add_parts(&models->names, &models->name_count, own, "\n");
    if (read && file) read = ci_serve_add_parts(&models->names, &models->name_count, file, "\n");
    if (!read || !models->name_count) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the model's names");
    models->entry.name = models->names[0];
    models->entry.aliases = (const char *const *)models->names;
    models->entry.alias_count = said;
    models->entry.others = (const char *const *)models->names + said;
    models->entry.other_count = models->name_count - said;
    models->entry.tags = (const char *const *)models->tags;
    models->entry.tag_count = models->tag_count;
    return CLINFER_OK;
}

static enum clinfer_status name_model(struct ci_serve_models *models, struct ci_serve_flags *flags) {
    struct clinfer_router_options *router = &models->entry.router;
    models->entry = (struct ci_pool_entry){.router = models->router, .keep_alive = -1};
    enum clinfer_status status = CLINFER_OK;
    if (!models->remotes.only) {
        status = ci_models_choose(&flags->engine.from, &models->choice);
        router->engine.model = models->choice.path;
    }
    bool missing = status == CLINFER_NOT_FOUND || status == CLINFER_REMOTE_FAILED;
    if (missing && models->remotes.count) {
        models->no_model = strdup(clinfer_error());
        router->why_no_model = models->no_model;
        router->engine.model = NULL;
        status = CLINFER_OK;
    }
    return status == CLINFER_OK ? name_entry(models, flags) : status;
}

/* ---- all of them ---- */

static enum clinfer_status read_router(struct ci_serve_models *models, struct ci_serve_flags *flags) {
    struct clinfer_router_options *router = &models->router;
    router->watchdog_seconds = flags->watchdog;
    router->save_seconds = 3;   /* who stops a server, or sends a model out, waits for it */
    router->retry_seconds = 30; /* a device that failed is tried again, doubling to ten minutes */
    enum clinfer_status status = ci_engine_flags_without_model(&flags->engine, &router->engine);
    if (status == CLINFER_OK)
        status =
            ci_remotes_resolve(&flags->remote, &flags->engine.config, flags->engine.fallback_flag, &models->remotes);
    if (status != CLINFER_OK) return status;
    router->remotes = models->remotes.items;
    router->remote_count = models->remotes.count;
    router->remote_only = models->remotes.only;
    router->remote_continues = models->remotes.go_on;
    if (models->remotes.count) router->engine.fallback = CLINFER_FALLBACK_REMOTE;
    return CLINFER_OK;
}

static enum clinfer_status load_named(struct ci_serve_models *models, const char *name) {
    struct ci_pool_model *model;
    enum clinfer_status status = ci_pool_take(models->pool, name, NULL, NULL, &model);
    if (status == CLINFER_OK) ci_pool_give_back(models->pool, model, (double)NAN);
    return status;
}

static enum clinfer_status read_catalog(void *user, struct ci_pool_entry **entries, size_t *count) {
    struct ci_serve_models *models = user;
    pthread_mutex_lock(&models->lock);
    enum clinfer_status status = ci_catalog_read(&models->catalog, entries, count);
    pthread_mutex_unlock(&models->lock);
    return status;
}

static char *copied(const char *text) { return text ? strdup(text) : NULL; }

enum clinfer_status ci_serve_models_open(struct ci_serve_models *models, struct ci_serve_flags *flags,
                                         const char **name) {
    double keep_alive = 0;
    *name = "";
    enum clinfer_status status = read_keep_alive(flags, &keep_alive);
    if (status == CLINFER_OK) status = read_router(models, flags);
    bool named = is_one_named(flags) || models->remotes.only;
    bool typed = flags->engine.from.model || flags->engine.from.repo || flags->engine.from.url;
    if (status == CLINFER_OK && named) status = name_model(models, flags);
    if (status != CLINFER_OK) return ci_engine_flags_explain(&flags->engine, status);
    models->chosen(models->user);
    models->catalog = (struct ci_catalog){.named = &models->entry,
                                          .named_count = named,
                                          .folder = flags->models_dir,
                                          .presets = flags->models_preset,
                                          .router = &models->router};
    const struct ci_pool_options options = {
        .read = read_catalog,
        .user = models,
        .of_machine = !typed && !flags->models_dir && !models->remotes.only,
        .router = models->router,
        .load_on_demand = !flags->no_autoload,
        .most_loaded = (int)flags->models_max,
        .most_bytes = (uint64_t)(flags->models_memory * 1e9),
        .keep_alive = keep_alive,
        .sleep_seconds = flags->sleep_seconds > 0 ? flags->sleep_seconds : 0,
        .unproven = flags->no_warmup,
    };
    const char *variable = getenv("CLINFER_MODEL");
    models->follows = options.of_machine && !(variable && *variable);
    models->configured = models->follows ? copied(flags->engine.config.model) : NULL;
    status = ci_pool_create(&options, &models->pool);
    if (status == CLINFER_OK && named) {
        *name = models->entry.name;
        status = ci_pool_load(models->pool, *name);
        if (status == CLINFER_OK) status = load_named(models, *name);
    }
    return status == CLINFER_INVALID_ARGUMENT ? ci_engine_flags_explain(&flags->engine, status) : status;
}

/* ---- config.json names another one ---- */

static enum clinfer_status set_named(struct ci_serve_models *models, const struct ci_pool_entry *named, size_t count) {
    pthread_mutex_lock(&models->lock);
    models->catalog.named = named;
    models->catalog.named_count = count;
    pthread_mutex_unlock(&models->lock);
    return ci_pool_reload(models->pool);
}

static const struct ci_serve_models *present(const struct ci_serve_models *models) {
    return models->later ? models->later : models;
}

/* Both are there until the new one is loaded; of the same name (--alias) they cannot be. */
static enum clinfer_status replace(struct ci_serve_models *models, struct ci_serve_models *next) {
    const struct ci_pool_entry *old = models->catalog.named;
    const size_t old_count = models->catalog.named_count;
    const bool same_name = old_count && strcmp(old->name, next->entry.name) == 0;
    next->entry.version = old_count ? old->version + 1 : 1;
    struct ci_pool_entry both[] = {next->entry, old_count ? *old : next->entry};
    enum clinfer_status status = set_named(models, both, old_count && !same_name ? 2 : 1);
    if (status == CLINFER_OK) status = ci_pool_load(models->pool, next->entry.name);
    if (status == CLINFER_OK) status = load_named(models, next->entry.name);
    if (status == CLINFER_OK) return set_named(models, &next->entry, 1);
    char *why = strdup(clinfer_error());
    set_named(models, old, old_count);
    status = ci_fail(status, "%s", why ? why : "out of memory");
    free(why);
    return status;
}

static void free_named(struct ci_serve_models *models) {
    ci_models_free(&models->choice);
    free(models->no_model);
    for (size_t i = 0; i < models->name_count; i++) free(models->names[i]);
    for (size_t i = 0; i < models->tag_count; i++) free(models->tags[i]);
    free(models->names);
    free(models->tags);
}

static enum clinfer_status take_up(struct ci_serve_models *models, struct ci_serve_flags *flags, const char **name) {
    struct ci_serve_models *next = calloc(1, sizeof *next);
    if (!next) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for another model");
    next->router = models->router;
    enum clinfer_status status = name_model(next, flags);
    const char *old = present(models)->choice.path;
    const bool same = status == CLINFER_OK && old && next->choice.path && strcmp(old, next->choice.path) == 0;
    if (status == CLINFER_OK && !same) status = replace(models, next);
    /* Of one that did not load somebody may still have the entry: it stays until the end. */
    next->later = models->later;
    if (status == CLINFER_OK && !same) {
        models->later = next;
        *name = next->entry.name;
        return status;
    }
    next->later = models->failed;
    models->failed = next;
    return status;
}

enum clinfer_status ci_serve_models_follow(struct ci_serve_models *models, struct ci_serve_flags *flags,
                                           const char **name) {
    struct ci_config config = {0};
    *name = NULL;
    if (!models->follows) return CLINFER_OK;
    enum clinfer_status status = ci_config_read(&config);
    const char *wanted = config.model, *before = models->configured;
    bool changed = status == CLINFER_OK && wanted && (!before || strcmp(wanted, before) != 0);
    if (changed) status = take_up(models, flags, name);
    if (changed && status == CLINFER_OK) {
        free(models->configured);
        models->configured = copied(wanted);
    }
    ci_config_free(&config);
    return status;
}

static void free_list(struct ci_serve_models *list) {
    while (list) {
        struct ci_serve_models *gone = list;
        list = gone->later;
        free_named(gone);
        free(gone);
    }
}

void ci_serve_models_close(struct ci_serve_models *models) {
    ci_pool_destroy(models->pool);
    free_list(models->later);
    free_list(models->failed);
    free(models->configured);
    ci_remotes_free(&models->remotes);
    free_named(models);
}
