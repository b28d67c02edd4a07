#define _GNU_SOURCE
#include "cli/engine_flags.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"
#include "engine/verify.h"

enum { TEMPLATE_BYTES = 512 * 1024 };

const char *const ci_cache_type_names[] = {[CLINFER_CACHE_F16] = "f16",
                                           [CLINFER_CACHE_F32] = "f32",
                                           [CLINFER_CACHE_Q8_0] = "q8_0",
                                           [CLINFER_CACHE_Q4_0] = "q4_0"};

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
    if (!flags->chat_template && !flags->chat_template_file) {
        flags->chat_template = config->chat_template;
        flags->chat_template_file = config->chat_template_file;
    }
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
    free(flags->template_text);
}

static enum clinfer_status blame_config(enum clinfer_status status, const char *key) {
    char *path = ci_config_path();
    status = ci_fail_prefix(status, "%s: \"%s\"", path ? path : "config.json", key);
    free(path);
    return status;
}

enum clinfer_status ci_engine_flags_explain(const struct ci_engine_flags *flags, enum clinfer_status status) {
    const struct ci_config *config = &flags->config;
    for (size_t i = 0; i < config->ops.count; i++) {
        const char *at = strstr(clinfer_error(), "--op "), *text = config->ops.items[i];
        if (at && strncmp(at + strlen("--op "), text, strlen(text)) == 0) return blame_config(status, "ops");
    }
    if (!strstr(clinfer_error(), "--chat-template")) return status;
    if (flags->chat_template && flags->chat_template == config->chat_template)
        return blame_config(status, "chat_template");
    if (flags->chat_template_file && flags->chat_template_file == config->chat_template_file)
        return blame_config(status, "chat_template_file");
    return flags->chat_template_file ? ci_fail_prefix(status, "%s", flags->chat_template_file) : status;
}

/* *text: what the engine takes. */
static enum clinfer_status read_template(struct ci_engine_flags *flags, const char **text) {
    size_t length;
    *text = flags->chat_template;
    if (!flags->chat_template_file) return CLINFER_OK;
    if (flags->chat_template && flags->chat_template == flags->config.chat_template)
        return blame_config(ci_fail(CLINFER_BAD_FILE, "\"chat_template_file\" is there, too; choose one"),
                            "chat_template");
    if (flags->chat_template)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "--chat-template and --chat-template-file are given; choose one");
    free(flags->template_text);
    flags->template_text = NULL;
    enum clinfer_status status =
        ci_file_read(flags->chat_template_file, TEMPLATE_BYTES, &flags->template_text, &length);
    if (status != CLINFER_OK) {
        bool of_config = flags->chat_template_file == flags->config.chat_template_file;
        return of_config ? blame_config(status, "chat_template_file") : ci_fail_prefix(status, "--chat-template-file");
    }
    *text = flags->template_text;
    if (strlen(*text) == length) return CLINFER_OK;
    return ci_fail(CLINFER_BAD_FILE, "--chat-template-file %s: byte %zu is zero; a template is text",
                   flags->chat_template_file, strlen(*text));
}

static enum clinfer_status read_rope(const struct ci_rope_flags *flags, struct clinfer_rope_options *rope) {
    if (flags->scale > 0 && flags->freq_scale > 0)
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "--rope-scale and --rope-freq-scale are given; the second is one by the first, choose one");
    *rope = (struct clinfer_rope_options){
        .scaling = (enum clinfer_rope_scaling)(flags->scaling + 1),
        .factor = (float)(flags->freq_scale > 0 ? 1 / flags->freq_scale : flags->scale),
        .freq_base = (float)flags->freq_base,
        .original_context = (int)flags->original_context,
        .yarn_extrapolation = (float)flags->ext_factor,
        .yarn_magnitude = (float)flags->attn_factor,
        .yarn_beta_fast = (float)flags->beta_fast,
        .yarn_beta_slow = (float)flags->beta_slow,
    };
    return CLINFER_OK;
}

enum clinfer_status ci_engine_flags_options(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                            struct clinfer_engine_options *options) {
    enum clinfer_status status = ci_models_choose(&flags->from, choice);
    if (status == CLINFER_OK) status = ci_engine_flags_without_model(flags, options);
    if (status == CLINFER_OK) options->model = choice->path;
    return status;
}

enum clinfer_status ci_engine_flags_without_model(struct ci_engine_flags *flags,
                                                  struct clinfer_engine_options *options) {
    const char *chat_template = NULL;
    enum clinfer_status status = ci_engine_flags_complete(flags);
    if (status == CLINFER_OK) status = read_template(flags, &chat_template);
    if (status != CLINFER_OK) return status;
    long long batch = flags->batch;
    if (flags->micro_batch && (!batch || flags->micro_batch < batch)) batch = flags->micro_batch;
    clinfer_engine_options_default(options);
    options->weight_type = flags->weight_type;
    options->device = flags->device;
    options->threads = (int)flags->threads;
    options->device_layers = (int)flags->device_layers;
    options->context = (int)flags->context;
    options->batch = (int)batch;
    options->activations = (enum clinfer_activations)flags->activations;
    options->key_type = (enum clinfer_cache_type)flags->key_type;
    options->value_type = (enum clinfer_cache_type)flags->value_type;
    options->prefix_bytes = flags->prefix_mib < 0 ? -1 : flags->prefix_mib << 20;
    options->packed_cache = (enum clinfer_packed_cache)flags->packed_cache;
    options->fallback = (enum clinfer_fallback)flags->fallback;
    options->tuning = flags->tuning;
    options->ops = flags->ops.items;
    options->op_count = flags->ops.count;
    options->record = flags->record;
    options->draft.lookup = flags->lookup;
    options->draft.model = flags->draft_model;
    options->draft.device = flags->draft_device;
    options->draft.p_min = (float)flags->draft_p_min;
    options->draft.most = (int)flags->draft_most;
    options->draft.least = (int)flags->draft_least;
    options->chat_template = chat_template;
    options->chat_template_variables = flags->template_variables;
    return read_rope(&flags->rope, &options->rope);
}

static enum clinfer_status open_by(enum clinfer_status (*open)(const struct clinfer_engine_options *options,
                                                               clinfer_engine **engine),
                                   struct ci_engine_flags *flags, enum ci_engine_rows rows,
                                   struct ci_model_choice *choice, clinfer_engine **engine) {
    struct clinfer_engine_options options;
    *engine = NULL;
    enum clinfer_status status = ci_engine_flags_options(flags, choice, &options);
    if (status != CLINFER_OK) return status;
    options.all_logits = rows == CI_LOGITS_OF_ALL;
    options.embeddings = rows == CI_VECTORS_OF_ALL;
    status = open(&options, engine);
    return status == CLINFER_INVALID_ARGUMENT ? ci_engine_flags_explain(flags, status) : status;
}

enum clinfer_status ci_engine_flags_open(struct ci_engine_flags *flags, enum ci_engine_rows rows,
                                         struct ci_model_choice *choice, clinfer_engine **engine) {
    return open_by(clinfer_engine_open, flags, rows, choice, engine);
}

enum clinfer_status ci_engine_flags_open_unproven(struct ci_engine_flags *flags, struct ci_model_choice *choice,
                                                  clinfer_engine **engine) {
    return open_by(ci_engine_open_unproven, flags, CI_LOGITS_OF_LAST, choice, engine);
}
