/* qwen3vl: the text of Qwen3-VL: Qwen3 with multi-section RoPE. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_HALVES, .sections = CI_SECTIONS_INTERLEAVED, .head_norm = CI_HEAD_NORM_HEADS};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {.key = "n_deepstack_layers", .use = CI_KEY_NO_EFFECT, .why = "only pictures have more to add to the first layers"},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.output.*", "the head of rerankers is no part of the graph, and answers do not need it"},
    {0},
};

static const char *const architectures[] = {"Qwen3VLForConditionalGeneration", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELDS_OF_SECTIONS,
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) { ci_checkpoint_sections(reading); }

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .derive = derive_checkpoint};

const struct ci_family ci_family_qwen3vl = {
    .architecture = "qwen3vl", .keys = keys, .left_out = left_out, .decoder = &decoder, .checkpoint = &checkpoint};
