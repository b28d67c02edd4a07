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
    options.device_layers = (int)flags->device_layers;
    options.context = (int)flags->context;
    options.batch = (int)batch;
    options.all_logits = all_logits;
    options.activations = (enum clinfer_activations)flags->activations;
    options.key_type = (enum clinfer_cache_type)flags->key_type;
    options.value_type = (enum clinfer_cache_type)flags->value_type;
    options.fallback = (enum clinfer_fallback)flags->fallback;
    return clinfer_engine_open(&options, engine);
}
