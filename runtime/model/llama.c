/* llama: Llama 1 to 3 and what shares their architecture (Mistral, SmolLM2, TinyLlama): RoPE on neighbours, no biases
 * needed. */
#include "model/transformer.h"

static const struct ci_transformer kind = {.neox = false, .qkv_biases = false};

static enum clinfer_status load(struct ci_model *model) { return ci_transformer_load(model, &kind); }

static void build(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run) {
    ci_transformer_build(model, &kind, graph, run);
}

const struct ci_family ci_family_llama = {"llama", load, build};
