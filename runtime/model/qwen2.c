/* qwen2: Qwen2 and Qwen2.5: RoPE on halves, biases on queries, keys and values. */
#include "model/transformer.h"

static const struct ci_transformer kind = {.neox = true};

#define FFN_SCALE(name)                                                                                                \
    { "blk.*.ffn_" name ".scale", "llama.cpp loads the scales of this family's feed-forward, but applies none" }

static const struct ci_left_out left_out[] = {
    FFN_SCALE("gate"),
    FFN_SCALE("up"),
    FFN_SCALE("down"),
    {0},
};

static enum clinfer_status load(struct ci_model *model) { return ci_transformer_load(model, &kind); }

static void build(const struct ci_model *model, struct ci_graph *graph, struct ci_run *run) {
    ci_transformer_build(model, &kind, graph, run);
}

const struct ci_family ci_family_qwen2 = {.architecture = "qwen2", .left_out = left_out, .load = load, .build = build};
