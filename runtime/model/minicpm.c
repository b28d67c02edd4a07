/* minicpm: MiniCPM 1 and 2 and MiniCPM-MoE: Granite whose old files leave out the scales. */
#include <math.h>

#include "base/status.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true};

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "embedding_scale", .use = CI_KEY_READ, .number = 12},
    {.key = "residual_scale", .use = CI_KEY_READ, .number = (double)NAN},
    {.key = "logit_scale", .use = CI_KEY_READ, .number = (double)NAN},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {0},
};

/* What is absent follows from the model's size; logits are divided. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (isnan(h->residual_scale)) h->residual_scale = 1.4f / sqrtf((float)h->layers);
    if (isnan(h->logit_scale)) h->logit_scale = 256 / (float)h->embedding;
    if (h->logit_scale == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: minicpm.logit_scale: 0: logits are divided by it",
                       ci_gguf_path(model->gguf));
    h->logit_scale = 1 / h->logit_scale;
    return CLINFER_OK;
}

const struct ci_family ci_family_minicpm = {
    .architecture = "minicpm", .keys = keys, .decoder = &decoder, .derive = derive};
