#define _GNU_SOURCE
#include "cli/engine_flags.h"

#include <stdlib.h>
#include <string.h>

#include "base/status.h"

enum clinfer_status ci_engine_flags_open(const struct ci_engine_flags *flags, bool all_logits,
                                         struct ci_model_choice *choice, clinfer_engine **engine) {
    *engine = NULL;
    enum clinfer_status status = ci_models_choose(flags->model, choice);
    if (status != CLINFER_OK) return status;
    long long batch = flags->batch;
    if (flags->micro_batch && (!batch || flags->micro_batch < batch)) batch = flags->micro_batch;
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = choice->path;
    options.device = flags->device;
    options.threads = (int)flags->threads;
    options.context = (int)flags->context;
    options.batch = (int)batch;
    options.all_logits = all_logits;
    options.activations = (enum clinfer_activations)flags->activations;
    options.key_type = (enum clinfer_cache_type)flags->key_type;
    options.value_type = (enum clinfer_cache_type)flags->value_type;
    options.fallback = (enum clinfer_fallback)flags->fallback;
    return clinfer_engine_open(&options, engine);
}

/* The token that the model wants before a text, -1 for none: seen on a letter, because the public header does not tell
 * and an end-of-text token may come too. */
static enum clinfer_status begin_of_text(const clinfer_engine *engine, int32_t *token) {
    int32_t *with = NULL, *without = NULL;
    size_t with_count = 0, without_count = 0;
    *token = -1;
    enum clinfer_status status = clinfer_tokenize(engine, "a", 1, true, false, &with, &with_count);
    if (status == CLINFER_OK) status = clinfer_tokenize(engine, "a", 1, false, false, &without, &without_count);
    if (status == CLINFER_OK && with_count > without_count && (!without_count || with[0] != without[0]))
        *token = with[0];
    clinfer_free(with);
    clinfer_free(without);
    return status;
}

enum clinfer_status ci_engine_tokens(const clinfer_engine *engine, const char *text, size_t length, int32_t **tokens,
                                     size_t *count) {
    int32_t first;
    *tokens = NULL;
    *count = 0;
    enum clinfer_status status = begin_of_text(engine, &first);
    if (status == CLINFER_OK) status = clinfer_tokenize(engine, text, length, false, true, tokens, count);
    if (status != CLINFER_OK || first < 0 || (*count && (*tokens)[0] == first)) return status;
    int32_t *grown = realloc(*tokens, (*count + 1) * sizeof *grown);
    if (!grown) {
        clinfer_free(*tokens);
        *tokens = NULL;
        return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %zu tokens", *count);
    }
    memmove(grown + 1, grown, *count * sizeof *grown);
    grown[0] = first;
    *tokens = grown;
    ++*count;
    return CLINFER_OK;
}
