/* settings.c: what `clinfer tune` measured to be fastest with this very model on this very place, beside kernels, where
 * nobody asked for something else. */
#include <string.h>

#include "base/log.h"
#include "base/names.h"
#include "base/pages.h"
#include "base/status.h"
#include "engine/engine_private.h"

static const struct ci_profile_model *find(const struct clinfer_engine *engine) {
    const struct ci_place_choices *at = &engine->choices.places[engine->store.preferred];
    uint64_t fingerprint = ci_model_fingerprint(&engine->model);
    for (int i = 0; i < at->profile.model_count && at->origin == CI_PROFILE_EXACT; i++)
        if (at->profile.models[i].fingerprint == fingerprint) return &at->profile.models[i];
    return NULL;
}

/* What has been read so far needs none of them any more. */
static enum clinfer_status take_threads(struct clinfer_engine *engine, int count) {
    struct ci_threads *threads;
    enum clinfer_status status = ci_threads_create(count, &threads);
    if (status != CLINFER_OK) return status;
    ci_threads_destroy(engine->threads);
    engine->threads = engine->store.threads = threads;
    engine->options.threads = count; /* those of a model that guesses are as many */
    return CLINFER_OK;
}

static bool is_word(const char *word, const char *name) { return strcmp(word, name) == 0; }

static enum clinfer_activations activations_of(const struct ci_profile_settings *settings) {
    return is_word(settings->activations, "f32")   ? CLINFER_ACTIVATIONS_F32
           : is_word(settings->activations, "q16") ? CLINFER_ACTIVATIONS_Q16
           : is_word(settings->activations, "q8")  ? CLINFER_ACTIVATIONS_Q8
                                                   : CLINFER_ACTIVATIONS_AUTO;
}

enum clinfer_status ci_engine_take_settings(struct clinfer_engine *engine) {
    const struct ci_profile_model *model = find(engine);
    const struct ci_profile_settings *settings = model ? &model->settings : NULL;
    struct clinfer_engine_options *options = &engine->options;
    enum clinfer_status status = CLINFER_OK;
    ci_pages_ask_for_large(!settings || !is_word(settings->pages, "small"));
    for (int i = 0; i < CI_PROFILE_STEPS && model; i++)
        if (model->steps.seconds[i] > 0) ci_draft_pace_note(&engine->draft, INT64_C(1) << i, model->steps.seconds[i]);
    if (!settings || !ci_profile_settings_say(settings)) return CLINFER_OK;
    char taken[160] = "", text[48];
    if (settings->threads > 0 && options->threads == 0) {
        status = take_threads(engine, settings->threads);
        snprintf(text, sizeof text, "-t %d", settings->threads);
        ci_names_add(taken, sizeof taken, text);
    }
    if (settings->batch > 0 && options->batch == 0) {
        options->batch = settings->batch;
        snprintf(text, sizeof text, "-b %d", settings->batch);
        ci_names_add(taken, sizeof taken, text);
    }
    if (options->activations == CLINFER_ACTIVATIONS_AUTO && activations_of(settings) != CLINFER_ACTIVATIONS_AUTO) {
        options->activations = activations_of(settings);
        snprintf(text, sizeof text, "--activations %s", settings->activations);
        ci_names_add(taken, sizeof taken, text);
    }
    if (is_word(settings->pages, "small")) ci_names_add(taken, sizeof taken, "small pages");
    if (*taken) ci_log(CLINFER_LOG_INFO, "as `clinfer tune` measured with this model: %s", taken);
    return status;
}
