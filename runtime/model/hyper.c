/* hyper.c: metadata keys as numbers. One table says which key is which field, what it may be, and whether layers may
 * differ in it; a family says which of them it reads (its rules), besides those that every family reads. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "graph/places.h"
#include "model/model.h"

enum {
    MAX_LAYERS = CI_MAX_UNITS - 2, /* what stands before and behind them are units, too */
    MAX_WIDTH = 1 << 20,
    MAX_HEADS = 4096,
    MAX_HEAD_DIM = 512,
    MAX_EXPERTS = 1 << 10,
    KEY_BYTES = 160
};

enum kind { INTEGER, NUMBER, FLAG };
enum place { MODEL, LAYER };

struct field {
    const char *key;
    enum kind kind;
    enum place place;
    size_t at; /* in ci_hyper or ci_layer */
    double minimum, maximum;
    bool always; /* read for every family */
    bool required;
};

#define OF_MODEL(name, kind, field, minimum, maximum)                                                                  \
    { name, kind, MODEL, offsetof(struct ci_hyper, field), minimum, maximum, false, false }
#define EVERY_MODEL(name, kind, field, minimum, maximum, required)                                                     \
    { name, kind, MODEL, offsetof(struct ci_hyper, field), minimum, maximum, true, required }
#define EVERY_LAYER(name, kind, field, minimum, maximum, required)                                                     \
    { name, kind, LAYER, offsetof(struct ci_layer, field), minimum, maximum, true, required }
#define ANY (double)INFINITY

/* The least positive number that f32 holds, for what must be more than 0. */
#define POSITIVE 1.4e-45

static const struct field fields[] = {
    EVERY_MODEL("embedding_length", INTEGER, embedding, 1, MAX_WIDTH, true),
    EVERY_MODEL("context_length", INTEGER, context, 1, CI_MAX_CONTEXT, true),
    EVERY_LAYER("feed_forward_length", INTEGER, feed_forward, 1, MAX_WIDTH, true),
    EVERY_LAYER("attention.head_count", INTEGER, heads, 1, MAX_HEADS, true),
    EVERY_LAYER("attention.head_count_kv", INTEGER, kv_heads, 1, MAX_HEADS, false),
    EVERY_LAYER("attention.key_length", INTEGER, head_dim, 1, MAX_HEAD_DIM, false),
    EVERY_LAYER("attention.value_length", INTEGER, value_dim, 1, MAX_HEAD_DIM, false),
    EVERY_LAYER("rope.dimension_count", INTEGER, rotated, 2, MAX_HEAD_DIM, false),
    EVERY_MODEL("rope.freq_base", NUMBER, rope_base, POSITIVE, ANY, false),
    OF_MODEL("rope.freq_base_swa", NUMBER, window_rope_base, POSITIVE, ANY),
    OF_MODEL("rope.scaling.finetuned", FLAG, rope_finetuned, 0, 1),
    OF_MODEL("rope.scaling.yarn_ext_factor", NUMBER, yarn_extrapolation, 0, ANY),
    OF_MODEL("rope.scaling.yarn_beta_fast", NUMBER, yarn_beta_fast, POSITIVE, ANY),
    OF_MODEL("rope.scaling.yarn_beta_slow", NUMBER, yarn_beta_slow, POSITIVE, ANY),
    OF_MODEL("rope.scaling.yarn_log_multiplier", NUMBER, yarn_log_multiplier, -ANY, ANY),
    OF_MODEL("attention.layer_norm_rms_epsilon", NUMBER, eps, POSITIVE, ANY),
    OF_MODEL("attention.layer_norm_epsilon", NUMBER, eps, POSITIVE, ANY),
    OF_MODEL("attention.scale", NUMBER, attention_scale, -ANY, ANY),
    OF_MODEL("attention.temperature_scale", NUMBER, attention_temperature, -ANY, ANY),
    OF_MODEL("attention.temperature_length", INTEGER, temperature_floor, 1, INT32_MAX),
    OF_MODEL("attention.sliding_window", INTEGER, window, 0, CI_MAX_CONTEXT),
    OF_MODEL("attention.clamp_kqv", NUMBER, attention_clamp, 0, ANY),
    OF_MODEL("attn_logit_softcapping", NUMBER, attention_softcap, 0, ANY),
    OF_MODEL("final_logit_softcapping", NUMBER, final_softcap, 0, ANY),
    OF_MODEL("embedding_scale", NUMBER, embedding_scale, -ANY, ANY),
    OF_MODEL("residual_scale", NUMBER, residual_scale, -ANY, ANY),
    OF_MODEL("logit_scale", NUMBER, logit_scale, -ANY, ANY),
    OF_MODEL("use_parallel_residual", FLAG, parallel_residual, 0, 1),
    OF_MODEL("expert_count", INTEGER, experts, 0, MAX_EXPERTS),
    OF_MODEL("expert_used_count", INTEGER, experts_used, 0, MAX_EXPERTS),
    EVERY_MODEL("expert_group_count", INTEGER, expert_groups, 0, MAX_EXPERTS, false),
    EVERY_MODEL("expert_group_used_count", INTEGER, expert_groups_used, 0, MAX_EXPERTS, false),
    OF_MODEL("expert_feed_forward_length", INTEGER, expert_feed_forward, 0, MAX_WIDTH),
    OF_MODEL("expert_shared_count", INTEGER, shared_experts, 0, MAX_EXPERTS),
    OF_MODEL("expert_shared_feed_forward_length", INTEGER, shared_feed_forward, 0, MAX_WIDTH),
    OF_MODEL("expert_weights_scale", NUMBER, expert_scale, -ANY, ANY),
    OF_MODEL("expert_weights_norm", FLAG, experts_normalised, 0, 1),
    OF_MODEL("expert_gating_func", INTEGER, expert_gating, 0, 4),
    OF_MODEL("interleave_moe_layer_step", INTEGER, expert_step, 0, MAX_LAYERS),
    OF_MODEL("leading_dense_block_count", INTEGER, dense_layers, 0, MAX_LAYERS),
};

static enum clinfer_status refuse_number(const struct ci_model *model, const struct ci_gguf_value *value,
                                         const struct field *field, double number, int64_t layer) {
    char where[48] = "";
    if (value->type == CI_GGUF_ARRAY) snprintf(where, sizeof where, " in layer %" PRId64, layer);
    const struct ci_gguf *gguf = model->gguf;
    if (field->maximum < ANY)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %.9g%s: must be between %.9g and %.9g", CI_KEY_AT(gguf, value->key),
                       number, where, field->minimum, field->maximum);
    return ci_fail(CLINFER_BAD_FILE, "%s: %s: %.9g%s: must be positive%s", CI_KEY_AT(gguf, value->key), number, where,
                   field->minimum > 0 ? "" : ", or 0 for none");
}

static void put(void *base, const struct field *field, double number) {
    char *at = (char *)base + field->at;
    if (field->kind == INTEGER) *(int *)(void *)at = (int)number;
    if (field->kind == NUMBER) *(float *)(void *)at = (float)number;
    if (field->kind == FLAG) *(bool *)(void *)at = number != 0;
}

static enum clinfer_status wrong_type(const struct ci_model *model, const struct ci_gguf_value *value,
                                      const struct field *field) {
    static const char *const wanted[] = {"an integer", "a number", "true or false"};
    return ci_fail(CLINFER_BAD_FILE, "%s: %s: is of type %s%s, must be %s", CI_KEY_AT(model->gguf, value->key),
                   value->type == CI_GGUF_ARRAY ? "array of " : "", ci_gguf_type_name(value->element_type),
                   wanted[field->kind]);
}

/* NAN: not a number of this kind. */
static double number_at(const struct ci_gguf_value *value, enum kind kind, uint64_t index) {
    if (kind == FLAG) return value->element_type == CI_GGUF_BOOL ? ci_gguf_bool_at(value, index) : (double)NAN;
    if (ci_gguf_type_is_integer(value->element_type)) return (double)ci_gguf_integer_at(value, index);
    if (kind == NUMBER && ci_gguf_type_is_float(value->element_type)) return ci_gguf_float_at(value, index);
    return (double)NAN;
}

static enum clinfer_status check(const struct ci_model *model, const struct ci_gguf_value *value,
                                 const struct field *field, uint64_t index, double *number) {
    *number = number_at(value, field->kind, index);
    if (isnan(*number)) {
        if (!ci_gguf_type_is_float(value->element_type) || field->kind != NUMBER)
            return wrong_type(model, value, field);
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: is no number", CI_KEY_AT(model->gguf, value->key));
    }
    /* Neither zero nor infinity, once it is a float. */
    if (isinf(field->kind == NUMBER ? (float)*number : *number))
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %g is not finite in 32 bits", CI_KEY_AT(model->gguf, value->key),
                       *number);
    double kept = field->kind == NUMBER ? (double)(float)*number : *number;
    if (kept < field->minimum || kept > field->maximum)
        return refuse_number(model, value, field, *number, (int64_t)index);
    return CLINFER_OK;
}

static enum clinfer_status read_layers(struct ci_model *model, const struct ci_gguf_value *value,
                                       const struct field *field) {
    const struct ci_hyper *h = &model->hyper;
    if (value->type == CI_GGUF_ARRAY && value->count != (uint64_t)h->blocks)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRIu64 " numbers for %d layers",
                       CI_KEY_AT(model->gguf, value->key), value->count, h->blocks);
    for (int i = 0; i < h->layers; i++) {
        double number;
        enum clinfer_status status =
            check(model, value, field, value->type == CI_GGUF_ARRAY ? (uint64_t)i : 0, &number);
        if (status != CLINFER_OK) return status;
        put(&model->layers[i], field, number);
    }
    return CLINFER_OK;
}

/* A list where one number is wanted is as good as the number if all are equal. */
static enum clinfer_status read_one(struct ci_model *model, const struct ci_gguf_value *value,
                                    const struct field *field) {
    double number = 0, other;
    enum clinfer_status status = value->count ? CLINFER_OK : wrong_type(model, value, field);
    if (status == CLINFER_OK) status = check(model, value, field, 0, &number);
    for (uint64_t i = 1; i < value->count && status == CLINFER_OK; i++) {
        status = check(model, value, field, i, &other);
        if (status == CLINFER_OK && other != number)
            status = ci_fail(CLINFER_UNSUPPORTED,
                             "%s: %s: %.9g in layer 0, %.9g in layer %" PRIu64
                             ": layers that differ in this are not supported; choose a model whose layers are alike",
                             CI_KEY_AT(model->gguf, value->key), number, other, i);
    }
    if (status == CLINFER_OK) put(&model->hyper, field, number);
    return status;
}

static enum clinfer_status read_field(struct ci_model *model, const struct field *field,
                                      const struct ci_key_rule *rule) {
    char key[KEY_BYTES];
    snprintf(key, sizeof key, "%s.%s", model->family->architecture, field->key);
    const struct ci_gguf_value *value = ci_gguf_find(model->gguf, key);
    bool required = rule ? rule->use == CI_KEY_REQUIRED : field->required;
    if (!value && required)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: is missing; the file is no complete %s model",
                       CI_KEY_AT(model->gguf, key), model->family->architecture);
    if (value) return field->place == LAYER ? read_layers(model, value, field) : read_one(model, value, field);
    if (!rule) return CLINFER_OK;
    for (int i = 0; field->place == LAYER && i < model->hyper.layers; i++) put(&model->layers[i], field, rule->number);
    if (field->place == MODEL) put(&model->hyper, field, rule->number);
    return CLINFER_OK;
}

static const struct ci_key_rule *rule_of(const struct ci_model *model, const char *key) {
    for (const struct ci_key_rule *rule = model->family->keys; rule && rule->key; rule++)
        if (strcmp(rule->key, key) == 0) return rule;
    return NULL;
}

/* The last blocks of some files predict tokens further ahead, for speculative decoding; they are known by the matrix
 * that joins the two inputs of such a block. The graph runs those before them. */
static enum clinfer_status count_layers(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    int predicting = 0;
    enum clinfer_status status = ci_model_integer(model, "block_count", CI_GGUF_REQUIRED, 1, MAX_LAYERS, &h->blocks);
    if (status != CLINFER_OK) return status;
    status = ci_model_integer(model, "nextn_predict_layers", CI_GGUF_OPTIONAL, 0, (uint32_t)h->blocks - 1, &predicting);
    h->layers = h->blocks - predicting;
    for (int i = h->layers; i < h->blocks && status == CLINFER_OK; i++)
        if (!ci_model_predicts_ahead(model, i))
            status = ci_fail(CLINFER_UNSUPPORTED,
                             "%s: %s.nextn_predict_layers: %d, but blk.%d is an ordinary layer (it has no "
                             "nextn.eh_proj.weight); convert the model again",
                             ci_gguf_path(model->gguf), model->family->architecture, predicting, i);
    if (status != CLINFER_OK) return status;
    model->layers = ci_arena_array(&model->arena, (size_t)h->layers, sizeof *model->layers);
    return model->layers ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(model->gguf));
}

/* What is absent follows from the rest. */
static enum clinfer_status complete_layer(const struct ci_model *model, struct ci_layer *layer, int index) {
    char key[KEY_BYTES];
    if (!layer->kv_heads) layer->kv_heads = layer->heads;
    if (!layer->head_dim) layer->head_dim = model->hyper.embedding / layer->heads;
    if (!layer->value_dim) layer->value_dim = layer->head_dim;
    if (!layer->rotated) layer->rotated = layer->head_dim;
    snprintf(key, sizeof key, "%s.attention.head_count_kv", model->family->architecture);
    if (layer->heads % layer->kv_heads)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %d does not divide the %d heads of queries (layer %d)",
                       CI_KEY_AT(model->gguf, key), layer->kv_heads, layer->heads, index);
    if (layer->value_dim != layer->head_dim || layer->head_dim < 1 || layer->head_dim > MAX_HEAD_DIM ||
        layer->rotated > layer->head_dim || layer->rotated % 2)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: heads with keys of %d, values of %d and %d rotated are not supported: keys and values must be "
            "alike, at most %d, and the rotated part even and no larger",
            ci_gguf_path(model->gguf), layer->head_dim, layer->value_dim, layer->rotated, MAX_HEAD_DIM);
    return CLINFER_OK;
}

enum clinfer_status ci_model_read_hyper(struct ci_model *model) {
    enum clinfer_status status = count_layers(model);
    model->hyper.rope_base = 10000;
    model->hyper.yarn_beta_fast = 32;
    model->hyper.yarn_beta_slow = 1;
    model->hyper.yarn_extrapolation = -1;
    model->hyper.causal = true;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == CLINFER_OK; i++) {
        const struct ci_key_rule *rule = rule_of(model, fields[i].key);
        if (rule && rule->use != CI_KEY_READ && rule->use != CI_KEY_REQUIRED) rule = NULL;
        if (rule || fields[i].always) status = read_field(model, &fields[i], rule);
    }
    model->hyper.trained_context = model->hyper.context;
    for (int i = 0; i < model->hyper.layers && status == CLINFER_OK; i++)
        status = complete_layer(model, &model->layers[i], i);
    return status;
}
