/* olmo: OLMo: Llama with layer norms that have no weights, some with queries, keys and values within bounds. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER_PLAIN, .rope = CI_ROPE_NEIGHBOURS};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.clamp_kqv", .use = CI_KEY_READ},
    {0},
};

static const char *const architectures[] = {"OlmoForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("clip_qkv", "attention.clamp_kqv"),
    {0},
};

/* transformers has no field for it. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_number(reading, "architectures", "attention.layer_norm_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .rope_halves = true, .derive = derive_checkpoint};

const struct ci_family ci_family_olmo = {
    .architecture = "olmo", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
