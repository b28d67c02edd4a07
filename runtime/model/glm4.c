/* glm4: GLM-4-0414, GLM-Z1 and the text of GLM-4V and GLM-OCR: norms around attention and feed-forward, gate and up in
 * one matrix, a part of each head rotated. Models that read pictures have sections, and turn halves. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .rope = CI_ROPE_NEIGHBOURS,
                                          .sections = CI_SECTIONS_IN_TURN,
                                          .sections_optional = true,
                                          .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {0},
};

static const char *const architectures[] = {"Glm4ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.post_self_attn_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.post_mlp_layernorm", "blk.*.post_ffw_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.gate_up_proj", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_default(reading, "head_dim", "attention.key_length", 128);
    ci_checkpoint_default(reading, "head_dim", "attention.value_length", 128);
    ci_checkpoint_partial(reading, 0.5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_glm4 = {
    .architecture = "glm4", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
