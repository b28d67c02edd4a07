/* llama: Llama 1 to 3 and what shares their architecture (Mistral, SmolLM2, TinyLlama): RoPE on neighbours, with
 * factors from the file since Llama 3. */
#include "model/transformer.h"

static const struct ci_transformer kind = {.neox = false, .ffn_scales = true};

static const struct ci_key_rule keys[] = {
    {"vocab_size", CI_KEY_NO_EFFECT, .why = "the rows of token_embd.weight count"},
    {0},
};

static enum clinfer_status load(struct ci_model *model) { return ci_transformer_load(model, &kind); }

static void build(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run) {
    ci_transformer_build(model, &kind, graph, run);
}

const struct ci_family ci_family_llama = {
    .architecture = "llama", .keys = keys, .rope_factors = true, .load = load, .build = build};
