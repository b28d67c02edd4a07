/* mistral3: Ministral 3 and Mistral Small 3.1: Llama whose queries grow with their position. */
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .ffn_scales = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.temperature_scale", .use = CI_KEY_READ},
    {.key = "rope.scaling.yarn_beta_fast", .use = CI_KEY_READ, .number = 32},
    {.key = "rope.scaling.yarn_beta_slow", .use = CI_KEY_READ, .number = 1},
    {.key = "rope.scaling.yarn_log_multiplier", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {0},
};

/* Positions are counted in contexts of the training. */
static enum clinfer_status derive(struct ci_model *model) {
    int length = model->hyper.context;
    enum clinfer_status status =
        ci_model_integer(model, "rope.scaling.original_context_length", CI_GGUF_OPTIONAL, 0, INT32_MAX, &length);
    if (status == CLINFER_OK && length == 0 && model->hyper.attention_temperature != 0)
        status = ci_fail(CLINFER_BAD_FILE,
                         "%s: mistral3.rope.scaling.original_context_length: 0, but temperature_scale counts in it",
                         ci_gguf_path(model->gguf));
    model->hyper.temperature_floor = length;
    return status;
}

static const char *const architectures[] = {"Ministral3ForCausalLM", "Mistral3ForConditionalGeneration", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_MUST_BE("rope_parameters.mscale", "1|1.0", "sines and cosines of that size are not supported"),
    CI_FIELD_NUMBER("rope_parameters.mscale_all_dim", "rope.scaling.yarn_log_multiplier"),
    CI_FIELD_NUMBER("rope_parameters.llama_4_scaling_beta", "attention.temperature_scale"),
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .rope_halves = true};

const struct ci_family ci_family_mistral3 = {
    .architecture = "mistral3", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
