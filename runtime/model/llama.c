/* llama: Llama 1 to 3 and what shares their architecture (Mistral, Mixtral, SmolLM2, TinyLlama, Yi): RoPE on
 * neighbours, with factors from the file since Llama 3. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .ffn_scales = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {.key = "vocab_size", .use = CI_KEY_NO_EFFECT, .why = "the rows of token_embd.weight count"},
    {0},
};

static const char *const architectures[] = {"LlamaForCausalLM", "MistralForCausalLM", "LlamaModel", NULL};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .rope_halves = true};

const struct ci_family ci_family_llama = {
    .architecture = "llama", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
