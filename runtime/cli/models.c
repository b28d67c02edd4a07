#define _GNU_SOURCE
#include "cli/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "base/status.h"
#include "cli/config.h"
#include "cli/pull_progress.h"
#include "hub/find.h"
#include "hub/pull.h"
#include "hub/stores.h"

static const char default_model[] = "smollm2-135m-instruct-q4_1.gguf";

/* ---- the own folder ---- */

static enum clinfer_status no_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of models");
}

static enum clinfer_status scan(const char *store, struct ci_stored **models, size_t *count) {
    struct ci_hub_settings settings;
    *models = NULL;
    *count = 0;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_stores_scan(&settings, store, models, count);
    ci_hub_settings_free(&settings);
    return status;
}

enum clinfer_status ci_models_own(struct ci_own_models *own) {
    struct ci_stored *models;
    size_t count;
    *own = (struct ci_own_models){0};
    enum clinfer_status status = scan("models", &models, &count);
    own->names = calloc(count + 1, sizeof *own->names);
    own->paths = calloc(count + 1, sizeof *own->paths);
    if (status == CLINFER_OK && (!own->names || !own->paths)) status = no_memory();
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        own->names[i] = strdup(models[i].name);
        own->paths[i] = strdup(models[i].path);
        own->count++;
        if (!own->names[i] || !own->paths[i]) status = no_memory();
    }
    ci_stores_free(models, count);
    return status;
}

void ci_models_own_free(struct ci_own_models *own) {
    for (size_t i = 0; i < own->count; i++) {
        if (own->names) free(own->names[i]);
        if (own->paths) free(own->paths[i]);
    }
    free(own->names);
    free(own->paths);
    *own = (struct ci_own_models){0};
}

/* ---- one choice ---- */

struct chooser {
    const struct ci_model_flags *flags;
    struct ci_hub_settings settings;
    struct ci_model_choice *choice;
};

static enum clinfer_status take(struct chooser *chooser, const char *why, char **path) {
    free(chooser->choice->path);
    *chooser->choice = (struct ci_model_choice){.path = *path, .why = why};
    *path = NULL;
    return chooser->choice->path ? CLINFER_OK : no_memory();
}

/* The message is that of ci_hub_find: what is missing, and which command would fetch it. */
static enum clinfer_status fetch(struct chooser *chooser, const char *why, const struct ci_hub_name *missing) {
    if (chooser->flags->local) return CLINFER_NOT_FOUND;
    const char *forbidden = chooser->flags->no_pull ? "--no-pull" : chooser->settings.offline_from;
    struct ci_hub_pulled pulled;
    if (forbidden) return ci_fail(CLINFER_NOT_FOUND, "%s (with %s nothing is fetched)", clinfer_error(), forbidden);
    enum clinfer_status status = ci_pull_shown(&chooser->settings, missing, &pulled);
    if (status == CLINFER_OK) status = take(chooser, why, &pulled.path);
    ci_hub_pulled_free(&pulled);
    return status;
}

static enum clinfer_status choose_named(struct chooser *chooser, const char *wanted, const char *why) {
    struct ci_hub_found found;
    struct ci_hub_name missing;
    enum clinfer_status status = ci_hub_find(&chooser->settings, wanted, &found, &missing);
    if (status == CLINFER_OK)
        status = take(chooser, why, &found.path);
    else if (status == CLINFER_NOT_FOUND && (missing.repo[0] || missing.url[0]))
        status = fetch(chooser, why, &missing);
    ci_hub_found_free(&found);
    return status;
}

/* ---- by flags of llama-cli ---- */

static enum clinfer_status read_repo(const struct chooser *chooser, struct ci_hub_name *name) {
    const struct ci_model_flags *flags = chooser->flags;
    enum clinfer_status status = ci_hub_name_parse(flags->repo, chooser->settings.endpoint, name);
    if (status != CLINFER_OK) return ci_fail_prefix(CLINFER_INVALID_ARGUMENT, "-hf");
    if (name->kind != CI_HUB_REPO)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "-hf %s: no repo of the Hub; those are called user/repo or "
                       "user/repo:QUANT",
                       flags->repo);
    if (!flags->file) return CLINFER_OK;
    const char *rule = strlen(flags->file) < sizeof name->file ? ci_hub_path_rule(flags->file) : "is too long";
    if (rule) return ci_fail(CLINFER_INVALID_ARGUMENT, "-hff %.200s: the path of the file %s", flags->file, rule);
    snprintf(name->file, sizeof name->file, "%s", flags->file);
    name->tag[0] = 0;
    name->alias = NULL;
    return CLINFER_OK;
}

static enum clinfer_status read_url(const struct chooser *chooser, struct ci_hub_name *name) {
    const char *url = chooser->flags->url;
    if (!ci_hub_is_url(url))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "-mu %.200s: no address; it begins with https://", url);
    enum clinfer_status status = ci_hub_name_parse(url, chooser->settings.endpoint, name);
    return status == CLINFER_OK ? status : ci_fail_prefix(status, "-mu");
}

static enum clinfer_status choose_flagged(struct chooser *chooser) {
    struct ci_hub_found found = {0};
    struct ci_hub_name name;
    enum clinfer_status status = chooser->flags->repo ? read_repo(chooser, &name) : read_url(chooser, &name);
    if (status != CLINFER_OK) return status;
    status = ci_hub_find_name(&chooser->settings, &name, &found);
    if (status == CLINFER_OK)
        status = take(chooser, "given", &found.path);
    else if (status == CLINFER_NOT_FOUND)
        status = fetch(chooser, "given", &name);
    ci_hub_found_free(&found);
    return status;
}

/* ---- where nothing is said ---- */

/* The only one of the store; *count: how many there are; their names in list. */
static enum clinfer_status choose_only(struct chooser *chooser, const char *store, size_t *whole, char *list,
                                       size_t size) {
    struct ci_stored *models;
    size_t count, only = 0;
    enum clinfer_status status = ci_stores_scan(&chooser->settings, store, &models, &count);
    *whole = 0;
    for (size_t i = 0; i < count && status == CLINFER_OK; i++) {
        if (!models[i].whole && strcmp(store, "models") != 0) continue;
        ci_names_add(list, size, models[i].name);
        only = i;
        (*whole)++;
    }
    if (status == CLINFER_OK)
        status = *whole == 1 ? take(chooser, "the only model there is", &models[only].path) : CLINFER_NOT_FOUND;
    ci_stores_free(models, count);
    return status;
}

static enum clinfer_status choose_default(struct chooser *chooser) {
    size_t own, fetched;
    char list[512] = "";
    enum clinfer_status status = choose_only(chooser, "models", &own, list, sizeof list);
    if (status != CLINFER_NOT_FOUND) return status;
    if (own > 0) return choose_named(chooser, default_model, "the default model");
    status = choose_only(chooser, "hub", &fetched, list, sizeof list);
    if (status != CLINFER_NOT_FOUND || fetched == 0)
        return status == CLINFER_NOT_FOUND ? choose_named(chooser, default_model, "the default model") : status;
    return ci_fail(
        CLINFER_NOT_FOUND,
        "no model is said, and there are several: %s. Choose one with -m, or for good with `clinfer config set "
        "model NAME`",
        list);
}

static bool is_said(const char *text) { return text && *text; }

static enum clinfer_status blame(enum clinfer_status status, const char *who) {
    return status == CLINFER_NOT_FOUND ? ci_fail_prefix(status, "%s", who) : status;
}

static enum clinfer_status choose(struct chooser *chooser, const char *variable, const char *configured) {
    const struct ci_model_flags *flags = chooser->flags;
    if (flags->model) return choose_named(chooser, flags->model, "given");
    if (flags->repo || flags->url) return choose_flagged(chooser);
    if (is_said(variable)) return blame(choose_named(chooser, variable, "CLINFER_MODEL"), "CLINFER_MODEL");
    if (configured) return blame(choose_named(chooser, configured, "config.json"), "config.json");
    return choose_default(chooser);
}

static enum clinfer_status check(const struct ci_model_flags *flags) {
    if (flags->token)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "-hft: who can list processes reads a token there: set HF_TOKEN, or put it into the file "
                       "HF_TOKEN_PATH, and leave the flag out");
    if (flags->model && !*flags->model) return ci_fail(CLINFER_INVALID_ARGUMENT, "-m: the name of the model is empty");
    if ((flags->model != NULL) + (flags->repo != NULL) + (flags->url != NULL) > 1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "-m, -hf and -mu each name a model; give one of them");
    if (flags->file && !flags->repo)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "-hff %.200s: the repo is missing: give -hf USER/REPO", flags->file);
    return CLINFER_OK;
}

/* A path needs neither the settings of the Hub nor a list of what there is. */
static enum clinfer_status choose_path(struct chooser *chooser) {
    char *path = strdup(chooser->flags->model);
    enum clinfer_status status = take(chooser, "given", &path);
    free(path);
    return status;
}

enum clinfer_status ci_models_choose(const struct ci_model_flags *flags, struct ci_model_choice *choice) {
    struct chooser chooser = {.flags = flags, .choice = choice};
    const char *variable = getenv("CLINFER_MODEL");
    struct ci_config config = {0};
    *choice = (struct ci_model_choice){0};
    enum clinfer_status status = check(flags);
    if (status != CLINFER_OK) return status;
    if (flags->model && ci_hub_is_model(flags->model)) return choose_path(&chooser);
    bool flagged = flags->model || flags->repo || flags->url;
    if (!flagged && !is_said(variable)) status = ci_config_read(&config);
    if (status == CLINFER_OK) status = ci_hub_settings_read(&chooser.settings);
    if (flags->offline) ci_hub_settings_go_offline(&chooser.settings, "--offline");
    if (status == CLINFER_OK) status = choose(&chooser, variable, config.model);
    ci_hub_settings_free(&chooser.settings);
    ci_config_free(&config);
    return status;
}

void ci_models_free(struct ci_model_choice *choice) {
    free(choice->path);
    *choice = (struct ci_model_choice){0};
}
