/* models.c: the models that are on this machine, and which of them options.model names. */
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/read.h"
#include "hub/find.h"
#include "hub/stores.h"
#include "model/source.h"

/* The texts of all lie behind the array, one behind the other. */
static char *keep(char **at, const char *text) {
    size_t bytes = strlen(text) + 1;
    char *kept = *at;
    memcpy(kept, text, bytes);
    *at += bytes;
    return kept;
}

static enum clinfer_status export_all(const struct ci_stored *stored, size_t count, struct clinfer_model **models) {
    size_t bytes = (count + 1) * sizeof **models;
    for (size_t i = 0; i < count; i++)
        bytes +=
            strlen(stored[i].name) + strlen(stored[i].path) + strlen(stored[i].store) + strlen(stored[i].digest) + 4;
    struct clinfer_model *list = calloc(1, bytes);
    if (!list) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a list of %zu models", count);
    char *at = (char *)(list + count + 1);
    for (size_t i = 0; i < count; i++) {
        const struct ci_stored *model = &stored[i];
        list[i] = (struct clinfer_model){.name = keep(&at, model->name),
                                         .path = keep(&at, model->path),
                                         .store = keep(&at, model->store),
                                         .digest = keep(&at, model->digest),
                                         .bytes = model->bytes,
                                         .modified = model->modified,
                                         .whole = model->whole};
    }
    *models = list;
    return CLINFER_OK;
}

enum clinfer_status clinfer_models(struct clinfer_model **models, size_t *count) {
    struct ci_hub_settings settings;
    struct ci_stored *stored = NULL;
    size_t found = 0;
    CI_REQUIRE(models, "models");
    CI_REQUIRE(count, "count");
    *models = NULL;
    *count = 0;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_stores_list(&settings, &stored, &found);
    if (status == CLINFER_OK) status = export_all(stored, found, models);
    if (status == CLINFER_OK) *count = found;
    ci_stores_free(stored, found);
    ci_hub_settings_free(&settings);
    return status;
}

void clinfer_models_free(struct clinfer_model *models, size_t count) {
    (void)count;
    free(models);
}

/* A name that is none of a path; what begins like one, and is none, is told as one. */
static enum clinfer_status find_named(const char *wanted, struct ci_hub_found *found) {
    struct ci_hub_settings settings;
    struct ci_hub_name missing;
    enum clinfer_status status = ci_hub_settings_read(&settings);
    if (status == CLINFER_OK) status = ci_hub_find(&settings, wanted, found, &missing);
    ci_hub_settings_free(&settings);
    return status;
}

enum clinfer_status ci_engine_find_model(struct clinfer_engine *engine) {
    const char *wanted = engine->options.model;
    struct ci_hub_found found = {0};
    enum clinfer_status status = CLINFER_OK;
    if (*wanted && !strchr("/.~", *wanted) && !ci_hub_is_model(wanted)) status = find_named(wanted, &found);
    const char *path = found.path ? found.path : wanted;
    engine->options.model = ci_arena_string(&engine->texts, path, strlen(path));
    ci_hub_found_free(&found);
    if (status == CLINFER_OK && !engine->options.model) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    return status;
}

bool ci_model_file_encodes(const char *name) {
    struct clinfer_engine engine = {.options.model = name};
    struct ci_gguf *gguf = NULL;
    struct ci_model model = {0};
    enum clinfer_status status = ci_engine_find_model(&engine);
    if (status == CLINFER_OK) status = ci_source_open(engine.options.model, NULL, &gguf);
    if (status == CLINFER_OK) status = ci_model_open(gguf, &model);
    bool encodes = status == CLINFER_OK && ci_model_encodes(&model);
    if (status == CLINFER_OK) ci_model_close(&model);
    ci_gguf_close(gguf);
    ci_arena_destroy(&engine.texts);
    return encodes;
}
