/* minicpm: MiniCPM 1 and 2 and MiniCPM-MoE: Granite whose old files leave out the scales. */
#include <math.h>

#include "base/status.h"
#include "model/checkpoint.h"
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

static const char *const architectures[] = {"MiniCPMForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("scale_emb", "embedding_scale"),
    CI_FIELD_BY_CODE("scale_depth"),
    CI_FIELD_BY_CODE("dim_model_base"),
    CI_FIELD_INTEGER("num_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    {0},
};

/* As these models' own code has it. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    double layers = ci_checkpoint_number_of(reading, "num_hidden_layers", 1);
    double width = ci_checkpoint_number_of(reading, "hidden_size", 1);
    double base = ci_checkpoint_number_of(reading, "dim_model_base", 256);
    if (!(layers >= 1) || !(base > 0)) {
        ci_checkpoint_refuse(reading, CLINFER_BAD_FILE, base > 0 ? "num_hidden_layers" : "dim_model_base",
                             "must be positive");
        return;
    }
    ci_checkpoint_number(reading, "scale_depth", "residual_scale",
                         ci_checkpoint_number_of(reading, "scale_depth", 1.4) / sqrt(layers));
    ci_checkpoint_number(reading, "dim_model_base", "logit_scale", width / base);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tied = true, .rope_halves = true, .derive = derive_checkpoint};

const struct ci_family ci_family_minicpm = {
    .architecture = "minicpm", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
