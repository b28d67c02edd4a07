/* arcee: AFM: Llama with a feed-forward of relu^2 without gate. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .activation = CI_ACTIVATION_RELU_SQUARED, .ungated = true};

static const char *const architectures[] = {"ArceeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_MUST_BE("hidden_act", "\"relu2\"", "this family computes with relu^2"),
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .rope_halves = true};

const struct ci_family ci_family_arcee = {
    .architecture = "arcee", .keys = ci_rms_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
