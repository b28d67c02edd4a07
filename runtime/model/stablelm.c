/* stablelm: StableLM 2 and StableLM 3B: layer norm, of the heads in the one of 12B too, a part of each head rotated;
 * where the feed-forward has no norm, it stands beside the attention. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .head_norm = CI_HEAD_NORM_EACH, .rope = CI_ROPE_HALVES};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "use_parallel_residual",
     .use = CI_KEY_NO_EFFECT,
     .why = "whether the feed-forward has a norm of its own says it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    model->hyper.parallel_residual = !ci_model_has(model, "blk.0.ffn_norm.weight");
    return CLINFER_OK;
}

const struct ci_family ci_family_stablelm = {
    .architecture = "stablelm", .keys = keys, .decoder = &decoder, .derive = derive};
