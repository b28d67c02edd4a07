/* smollm3: SmolLM3: Llama, every fourth layer without positions. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .unrotated_every = 4};

static const char *const architectures[] = {"SmolLM3ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_MUST_BE("no_rope_layer_interval", "4", "every fourth layer has to know no positions"),
    CI_FIELD_BY_CODE("no_rope_layers"),
    {0},
};

/* 0 is a layer without positions. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    const json_t *layers = ci_checkpoint_find(reading, "no_rope_layers");
    for (size_t i = 0; i < json_array_size(layers); i++)
        if (json_integer_value(json_array_get(layers, i)) != ((i + 1) % 4 != 0))
            ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "no_rope_layers",
                                 "every fourth layer has to know no positions");
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tied = true, .rope_halves = true, .derive = derive_checkpoint};

const struct ci_family ci_family_smollm3 = {
    .architecture = "smollm3", .keys = ci_rms_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
