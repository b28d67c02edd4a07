/* command-r: Command R: layer norm, attention and feed-forward side by side; in the large one heads are normalised. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .head_norm = CI_HEAD_NORM_EACH, .rope = CI_ROPE_NEIGHBOURS, .parallel = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "logit_scale", .use = CI_KEY_READ},
    {0},
};

static const char *const architectures[] = {"CohereForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("layer_norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_NUMBER("logit_scale", "logit_scale"),
    CI_FIELD_BY_CODE("max_position_embeddings"),
    CI_FIELD_BY_CODE("model_max_length"),
    CI_FIELD_NO_EFFECT("use_qk_norm"),
    {0},
};

/* Models that were trained further say so in a field of their own. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    const char *field =
        ci_checkpoint_find(reading, "model_max_length") ? "model_max_length" : "max_position_embeddings";
    ci_checkpoint_integer(reading, field, "context_length", (int64_t)ci_checkpoint_number_of(reading, field, 8192));
    ci_checkpoint_default_number(reading, "logit_scale", "logit_scale", 0.0625);
    ci_checkpoint_default_number(reading, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_command_r = {
    .architecture = "command-r", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
