/* qwen2: Qwen2 and Qwen2.5: RoPE on halves, biases on queries, keys and values. */
#include "model/transformer.h"

static const struct ci_transformer kind = {.neox = true, .qkv_biases = true};

static enum clinfer_status load(struct ci_model *model) { return ci_transformer_load(model, &kind); }

static void build(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run) {
    ci_transformer_build(model, &kind, graph, run);
}

const struct ci_family ci_family_qwen2 = {"qwen2", load, build};
