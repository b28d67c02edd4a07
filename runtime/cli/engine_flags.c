#define _GNU_SOURCE
#include "cli/engine_flags.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "engine/verify.h"

/* An op that a flag names is the flag's alone: its lines of the file would be choices that nobody uses, which the
 * engine refuses. */
static bool is_named(const struct ci_texts *ops, const char *text) {
    size_t length = strcspn(text, "=");
    for (size_t i = 0; i < ops->count; i++)
        if (strcspn(ops->items[i], "=") == length && strncmp(ops->items[i], text, length) == 0) return true;
    return false;
}

static enum clinfer_status add_ops(struct ci_texts *ops, const struct ci_texts *more) {
    if (!more->count) return CLINFER_OK;
    struct ci_texts both = {calloc(ops->count + more->count, sizeof *both.items), 0};
    if (!both.items) return ci_fail(CLINFER_OUT_OF_MEMORY, "--op: out of memory");
    for (size_t i = 0; i < more->count; i++)
        if (!is_named(ops, more->items[i])) both.items[both.count++] = more->items[i];
    for (size_t i = 0; i < ops->count; i++) both.items[both.count++] = ops->items[i];
    ci_texts_free(ops);
    *ops = both;
    return CLINFER_OK;
}

enum clinfer_status ci_engine_flags_complete(struct ci_engine_flags *flags) {
    if (flags->completed) return CLINFER_OK;
    enum clinfer_status status = ci_config_read(&flags->config);
    const struct ci_config *config = &flags->config;
    if (status == CLINFER_OK) status = add_ops(&flags->ops, &config->ops);
    if (status != CLINFER_OK) {
        ci_config_free(&flags->config);
        return status;
    }
    flags->completed = true;
    flags->fallback_flag = flags->fallback;
    if (!flags->device) flags->device = config->device;
    if (flags->threads < 0) flags->threads = config->threads;
    if (flags->fallback < 0) flags->fallback = config->fallback;
    if (flags->activations < 0) flags->activations = config->activations;
    if (flags->threads < 0) flags->threads = 0;
    if (flags->fallback < 0) flags->fallback = CLINFER_FALLBACK_CPU;
    if (flags->activations < 0) flags->activations = CLINFER_ACTIVATIONS_AUTO;
    return CLINFER_OK;
}

void ci_engine_flags_free(struct ci_engine_flags *flags) {
    ci_texts_free(&flags->ops);
    ci_config_free(&flags->config);
}

enum clinfer_status ci_engine_flags_explain(const struct ci_engine_flags *flags, enum clinfer_status status) {
    for (size_t i = 0; i < flags->config.ops.count; i++) {
        const char *at = strstr(clinfer_error(), "--op "), *text = flags->config.ops.items[i];
        if (!at || strncmp(at + strlen("--op "), text, strlen(text)) != 0) continue;
        char *path = ci_config_path();
        status = ci_fail_prefix(status, "%s: \"ops\"", path ? path : "config.json");
        free(path);
        return status;
    }
    return status;
}

enum clinfer_status ci_engine_flags_options(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                            struct clinfer_engine_options *options) {
    enum clinfer_status status = ci_models_choose(flags->model, choice);
    if (status == CLINFER_OK) status = ci_engine_flags_complete(flags);
    if (status != CLINFER_OK) return status;
    long long batch = flags->batch;
    if (flags->micro_batch && (!batch || flags->micro_batch < batch)) batch = flags->micro_batch;
    clinfer_engine_options_default(options);
    options->model = choice->path;
    options->device = flags->device;
    options->threads = (int)flags->threads;
    options->device_layers = (int)flags->device_layers;
    options->context = (int)flags->context;
    options->batch = (int)batch;
    options->activations = (enum clinfer_activations)flags->activations;
    options->key_type = (enum clinfer_cache_type)flags->key_type;
    options->value_type = (enum clinfer_cache_type)flags->value_type;
    options->fallback = (enum clinfer_fallback)flags->fallback;
    options->tuning = flags->tuning;
    options->ops = flags->ops.items;
    options->op_count = flags->ops.count;
    options->record = flags->record;
    return CLINFER_OK;
}

static enum clinfer_status
open_by(enum clinfer_status (*open)(const struct clinfer_engine_options *options, clinfer_engine **engine),
        struct ci_engine_flags *flags, bool all_logits, struct ci_model_choice *choice, clinfer_engine **engine) {
    struct clinfer_engine_options options;
    *engine = NULL;
    enum clinfer_status status = ci_engine_flags_options(flags, choice, &options);
    if (status != CLINFER_OK) return status;
    options.all_logits = all_logits;
    status = open(&options, engine);
    return status == CLINFER_INVALID_ARGUMENT ? ci_engine_flags_explain(flags, status) : status;
}

enum clinfer_status ci_engine_flags_open(struct ci_engine_flags *flags, bool all_logits, struct ci_model_choice *choice,
                                         clinfer_engine **engine) {
    return open_by(clinfer_engine_open, flags, all_logits, choice, engine);
}

enum clinfer_status ci_engine_flags_open_unproven(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                                  clinfer_engine **engine) {
    return open_by(ci_engine_open_unproven, flags, false, choice, engine);
}
