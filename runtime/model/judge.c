/* judge.c: what a file says and the graph does not use. A model whose bias or whose scaling is left out answers in fine
 * sentences that are wrong, so nothing is passed over in silence: what the answers need is refused by name, what they
 * do not need stands in the findings, which `clinfer inspect` and `clinfer verify` show.
 *
 * Keys are judged by what llama.cpp reads for the family (src/models/<family>.cpp, and the common part of
 * src/llama-model.cpp): that decides what models in the field were made and tried with. A key that it reads and we do
 * not may only have values that change nothing. Tensors are judged by what the family took. All of it is data; a new
 * family brings its rules. */
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "model/decoder.h"

/* ---- the rules of all families ---- */

#define USED(name)                                                                                                     \
    { .key = name, .use = CI_KEY_USED }
#define NO_EFFECT(name, because)                                                                                       \
    { .key = name, .use = CI_KEY_NO_EFFECT, .why = because }
#define NEUTRAL(name, value, because)                                                                                  \
    { .key = name, .use = CI_KEY_NEUTRAL, .why = because, .number = value }
#define NO_EXPERTS "mixtures of experts are not supported in this family; choose a dense model"

static const struct ci_key_rule common_rules[] = {
    USED("block_count"),
    USED("context_length"),
    USED("embedding_length"),
    USED("feed_forward_length"),
    USED("nextn_predict_layers"),
    USED("attention.head_count"),
    USED("attention.head_count_kv"),
    USED("attention.key_length"),
    USED("attention.value_length"),
    USED("rope.dimension_count"),
    USED("rope.freq_base"),
    USED("rope.scale_linear"),
    USED("rope.dimension_count_swa"), /* these three where layers have a window */
    USED("attention.key_length_swa"),
    USED("attention.value_length_swa"),
    USED("rope.scaling.type"),
    USED("rope.scaling.factor"),
    USED("rope.scaling.attn_factor"),
    USED("rope.scaling.original_context_length"),

    NEUTRAL("attention.causal", 1, "attention to later tokens is not supported; choose a model that writes text"),
    NEUTRAL("expert_count", 0, NO_EXPERTS),
    NEUTRAL("expert_used_count", 0, NO_EXPERTS),
    NEUTRAL("expert_group_count", 0, NO_EXPERTS),

    NO_EFFECT("expert_group_used_count", "the model has no experts"),
    NO_EFFECT("embedding_length_out", "it is the width of embeddings, which are not asked for"),
    NO_EFFECT("pooling_type", "only embeddings are pooled"),
    NO_EFFECT("classifier.pooling_type", "only the head of rerankers reads it"),
    NO_EFFECT("classifier.output_labels", "only classifiers have labels"),
    NO_EFFECT("rope.scaling.finetuned", "it tells how the model was made"),
    NO_EFFECT("rope.scaling.alpha", "only other families stretch their context by it"),
    {0},
};

/* Of families with experts, before the others. */
static const struct ci_key_rule expert_rules[] = {USED("expert_group_count"), USED("expert_group_used_count"), {0}};

static const struct ci_left_out common_left_out[] = {
    {"lm_head.weight", "the embedding is the output"},
    {"*.rotary_emb.inv_freq", "frequencies follow from config.json"},
    {"vision_tower.*", "only pictures need it"},
    {"model.vision_tower.*", "only pictures need it"},
    {"visual.*", "only pictures need it"},
    {"model.visual.*", "only pictures need it"},
    {"multi_modal_projector.*", "only pictures need it"},
    {"model.multi_modal_projector.*", "only pictures need it"},
    {"*.input_scale", "it prepares inputs for kernels that compute in very few bits; the product itself is the same"},
    {0},
};

/* Of families that do not apply them. */
static const struct ci_left_out expert_scales[] = {
    {"blk.*.ffn_*_exps.scale", "llama.cpp loads the scales of this family's experts, but applies none"},
    {"blk.*.ffn_*_shexp.scale", "llama.cpp loads the scales of this family's experts, but applies none"},
    {0},
};

static const struct ci_left_out ffn_scales[] = {
    {"blk.*.ffn_gate.scale", "llama.cpp loads the scales of this family's feed-forward, but applies none"},
    {"blk.*.ffn_up.scale", "llama.cpp loads the scales of this family's feed-forward, but applies none"},
    {"blk.*.ffn_down.scale", "llama.cpp loads the scales of this family's feed-forward, but applies none"},
    {0},
};

/* What is missing for tensors that are known by their name. */
static const struct ci_left_out missing[] = {
    {"rope_factors_*",
     "LongRoPE, whose frequencies depend on the length of the context, is not supported for this family"},
    {"*_exps.*", NO_EXPERTS},
    {"*_norm.bias", "normalisation with a bias (layer norm) is not supported"},
    {"*.lora_*", "the file is an adapter or has one inside; choose the model itself, or merge them"},
    {0},
};

static const char *const architecture_keys[] = {
#define CI_KEY(name)
#define CI_ARCHITECTURE_KEY(name) name,
#include "model/known_keys.inc"
#undef CI_ARCHITECTURE_KEY
#undef CI_KEY
    NULL};

static const char *const other_keys[] = {
#define CI_KEY(name) name,
#define CI_ARCHITECTURE_KEY(name)
#include "model/known_keys.inc"
#undef CI_ARCHITECTURE_KEY
#undef CI_KEY
    NULL};

static bool is_known(const char *const *patterns, const char *name) {
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, name, 0) == 0) return true;
    return false;
}

static const char *find_reason(const struct ci_left_out *list, const char *name) {
    for (; list && list->pattern; list++)
        if (fnmatch(list->pattern, name, 0) == 0) return list->why;
    return NULL;
}

static enum clinfer_status add_finding(struct ci_model *model, enum ci_finding_kind kind, const char *name,
                                       const char *why) {
    struct ci_finding *finding = ci_arena_alloc(&model->arena, sizeof *finding);
    if (!finding) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(model->gguf));
    *finding = (struct ci_finding){.kind = kind, .name = name, .why = why};
    *model->next_finding = finding;
    model->next_finding = &finding->next;
    return CLINFER_OK;
}

/* ---- keys ---- */

/* NAN for what is no number. */
static double number_at(const struct ci_gguf_value *value, uint64_t index) {
    if (value->element_type == CI_GGUF_BOOL) return ci_gguf_bool_at(value, index);
    if (ci_gguf_type_is_integer(value->element_type)) return (double)ci_gguf_integer_at(value, index);
    if (ci_gguf_type_is_float(value->element_type)) return ci_gguf_float_at(value, index);
    return (double)NAN;
}

static bool is_neutral(const struct ci_key_rule *rule, const struct ci_gguf_value *value) {
    for (uint64_t i = 0; i < value->count; i++)
        if (number_at(value, i) != rule->number) return false;
    return true;
}

/* The value, or the first of a list that is not neutral. */
static const char *value_text(const struct ci_key_rule *rule, const struct ci_gguf_value *value, char *text,
                              size_t size) {
    uint64_t i = 0;
    while (i + 1 < value->count && number_at(value, i) == rule->number) i++;
    if (value->element_type == CI_GGUF_STRING)
        snprintf(text, size, "a string");
    else if (value->element_type == CI_GGUF_BOOL)
        snprintf(text, size, "%s", ci_gguf_bool_at(value, i) ? "true" : "false");
    else
        snprintf(text, size, "%.9g", number_at(value, i));
    return text;
}

static const struct ci_key_rule *find_rule(const struct ci_model *model, const char *key) {
    const struct ci_decoder *decoder = model->family->decoder;
    bool experts = decoder && decoder->experts;
    const struct ci_key_rule *const lists[] = {model->family->keys, experts ? expert_rules : NULL, common_rules};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (const struct ci_key_rule *rule = lists[i]; rule && rule->key; rule++)
            if (strcmp(rule->key, key) == 0) return rule;
    return NULL;
}

/* `key` is what stands behind "<architecture>." */
static enum clinfer_status judge_key(struct ci_model *model, const struct ci_gguf_value *value, const char *key) {
    const struct ci_key_rule *rule = find_rule(model, key);
    char text[64];
    if (!rule && is_known(architecture_keys, key))
        return add_finding(model, CI_FINDING_NO_EFFECT, value->key, "models of this family do not read it");
    if (!rule) return add_finding(model, CI_FINDING_UNKNOWN, value->key, "nobody knows it");
    if (rule->use == CI_KEY_USED || rule->use == CI_KEY_READ || rule->use == CI_KEY_REQUIRED ||
        (rule->use == CI_KEY_NEUTRAL && is_neutral(rule, value)))
        return CLINFER_OK;
    if (rule->use == CI_KEY_NO_EFFECT) return add_finding(model, CI_FINDING_NO_EFFECT, value->key, rule->why);
    return ci_fail(CLINFER_UNSUPPORTED, "%s: %s: %s: %s", CI_KEY_AT(model->gguf, value->key),
                   value_text(rule, value, text, sizeof text), rule->why);
}

enum clinfer_status ci_judge_keys(struct ci_model *model) {
    size_t length = strlen(model->family->architecture);
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < ci_gguf_value_count(model->gguf) && status == CLINFER_OK; i++) {
        const struct ci_gguf_value *value = ci_gguf_value_at(model->gguf, i);
        if (strncmp(value->key, model->family->architecture, length) == 0 && value->key[length] == '.')
            status = judge_key(model, value, value->key + length + 1);
        else if (!is_known(other_keys, value->key))
            status = add_finding(model, CI_FINDING_UNKNOWN, value->key, "nobody knows it");
    }
    return status;
}

/* ---- tensors ---- */

/* The number in "blk.<number>.", -1 for other names. */
static long block_of(const char *name) {
    char *end;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    long block = strtol(name + 4, &end, 10);
    return *end == '.' ? block : -1;
}

/* Why the model is right without the tensor; NULL when it is not. */
static const char *may_be_left_out(const struct ci_model *model, const char *name) {
    long block = block_of(name);
    if (block >= model->hyper.layers)
        return block <= INT32_MAX && ci_model_predicts_ahead(model, ci_narrowed(block))
                   ? "its block predicts tokens further ahead, which only speculative decoding needs"
                   : NULL;
    const struct ci_decoder *decoder = model->family->decoder;
    const char *why = find_reason(model->family->left_out, name);
    if (!why) why = find_reason(model->family->unused, name);
    if (!why && decoder && !decoder->ffn_scales) why = find_reason(ffn_scales, name);
    if (!why && decoder && decoder->experts && !decoder->experts->scales) why = find_reason(expert_scales, name);
    return why ? why : find_reason(common_left_out, name);
}

static enum clinfer_status refuse_tensor(const struct ci_model *model, const char *name, size_t others) {
    char more[48] = "", reason[320], key[128];
    const char *known = find_reason(missing, name);
    if (others) snprintf(more, sizeof more, " (and %zu more)", others);
    snprintf(key, sizeof key, "%s.block_count", model->family->architecture);
    if (block_of(name) >= model->hyper.layers)
        snprintf(reason, sizeof reason, "%s is %d; fetch or convert the model again",
                 ci_gguf_key_place(model->gguf, key).name, model->hyper.blocks);
    else
        snprintf(reason, sizeof reason, "%s",
                 known ? known : "choose another conversion of the model, or a newer clinfer that knows it");
    return ci_fail(CLINFER_UNSUPPORTED,
                   "%s: tensor %s%s: clinfer's %s does not use it, and without it the answers would be wrong: %s",
                   CI_TENSOR_AT(model->gguf, name), more, model->family->architecture, reason);
}

enum clinfer_status ci_judge_tensors(struct ci_model *model) {
    const char *refused = NULL;
    size_t others = 0;
    for (size_t i = 0; i < ci_gguf_tensor_count(model->gguf); i++) {
        if (model->taken[i]) continue;
        const char *name = ci_gguf_tensor_at(model->gguf, i)->name, *why = may_be_left_out(model, name);
        if (why) {
            enum clinfer_status status = add_finding(model, CI_FINDING_LEFT_OUT, name, why);
            if (status != CLINFER_OK) return status;
        } else if (!refused) {
            refused = name;
        } else {
            others++;
        }
    }
    return refused ? refuse_tensor(model, refused, others) : CLINFER_OK;
}
