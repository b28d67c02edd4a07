#include "model/decoder.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "ops/op_list.h"

const struct ci_key_rule ci_rms_norm_keys[] = {{.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
                                               {0}};
const struct ci_key_rule ci_layer_norm_keys[] = {{.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED}, {0}};

/* ---- layers that differ ---- */

/* attention.sliding_window_pattern: true or false for each layer, or a number: of so many layers the last sees
 * everything, 0: none does. */
static enum clinfer_status read_pattern(struct ci_model *model, bool windowed[]) {
    const struct ci_hyper *h = &model->hyper;
    int every = model->family->decoder->window_pattern;
    char key[128];
    snprintf(key, sizeof key, "%s.attention.sliding_window_pattern", model->family->architecture);
    const struct ci_gguf_value *value = ci_gguf_find(model->gguf, key);
    bool list = value && value->type == CI_GGUF_ARRAY;
    bool flags = list && (value->element_type == CI_GGUF_BOOL || ci_gguf_type_is_integer(value->element_type));
    if (list && (!flags || value->count < (uint64_t)h->layers))
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: %s: %" PRIu64 " elements: must be a number, or true or false for each of %d layers",
                       CI_KEY_AT(model->gguf, key), value->count, h->layers);
    if (!list) {
        enum clinfer_status status =
            ci_model_integer(model, "attention.sliding_window_pattern", CI_GGUF_OPTIONAL, 0, INT32_MAX, &every);
        if (status != CLINFER_OK) return status;
    }
    for (int i = 0; i < h->layers; i++) {
        uint64_t at = (uint64_t)i;
        if (list)
            windowed[i] =
                value->element_type == CI_GGUF_BOOL ? ci_gguf_bool_at(value, at) : ci_gguf_integer_at(value, at) != 0;
        else
            windowed[i] = every == 0 || (model->family->decoder->whole_first ? i % every > 0 : i % every < every - 1);
    }
    return CLINFER_OK;
}

/* Keys of layers with a window that may only say what the others say. */
static enum clinfer_status check_heads(const struct ci_model *model, const struct ci_layer *layer) {
    const struct {
        const char *key;
        int number;
    } keys[] = {{"attention.key_length_swa", layer->head_dim},
                {"attention.value_length_swa", layer->value_dim},
                {"rope.dimension_count_swa", layer->rotated}};
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && status == CLINFER_OK; i++) {
        int number = keys[i].number;
        status = ci_model_integer(model, keys[i].key, CI_GGUF_OPTIONAL, 0, INT32_MAX, &number);
        if (status == CLINFER_OK && number != keys[i].number)
            status =
                ci_fail(CLINFER_UNSUPPORTED,
                        "%s: %s.%s: %d, and %d in the other layers: heads of another size in layers with a window "
                        "are not supported",
                        ci_gguf_path(model->gguf), model->family->architecture, keys[i].key, number, keys[i].number);
    }
    return status;
}

static enum clinfer_status derive_windows(struct ci_model *model) {
    const struct ci_decoder *kind = model->family->decoder;
    struct ci_hyper *h = &model->hyper;
    if (!kind->windows || h->window == 0) return CLINFER_OK;
    h->window_kind = (int)kind->window_kind;
    bool *windowed = ci_arena_array(&model->arena, (size_t)h->layers, sizeof *windowed);
    if (!windowed) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(model->gguf));
    enum clinfer_status status = read_pattern(model, windowed);
    if (h->window_rope_base == 0)
        h->window_rope_base = kind->window_rope_base != 0 ? kind->window_rope_base : h->rope_base;
    for (int i = 0; i < h->layers && status == CLINFER_OK; i++) {
        if (!windowed[i]) continue;
        model->layers[i].window = h->window;
        model->layers[i].rope_table = 1;
        status = check_heads(model, &model->layers[i]);
    }
    return status;
}

/* rope.dimension_sections: a list of four, or a number for all four. */
static enum clinfer_status derive_sections(struct ci_model *model) {
    const struct ci_decoder *kind = model->family->decoder;
    int *sections = model->hyper.rope_sections, most = model->layers[0].head_dim, sum = 0;
    char key[128];
    if (!kind->sections) return CLINFER_OK;
    snprintf(key, sizeof key, "%s.rope.dimension_sections", model->family->architecture);
    const struct ci_gguf_value *value = ci_gguf_find(model->gguf, key);
    if (!value && kind->sections_optional) return CLINFER_OK;
    if (!value)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: is missing; the file is no complete %s model",
                       CI_KEY_AT(model->gguf, key), model->family->architecture);
    bool list = value->type == CI_GGUF_ARRAY;
    if (!ci_gguf_type_is_integer(value->element_type) || (list && value->count != 4))
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: must be four integers", CI_KEY_AT(model->gguf, key));
    for (int i = 0; i < 4; i++) {
        int64_t number = ci_gguf_integer_at(value, list ? (uint64_t)i : 0);
        if (number < 0 || number > most - sum)
            return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRId64 ": the sections must fit into a head of %d",
                           CI_KEY_AT(model->gguf, key), number, most);
        sum += sections[i] = ci_narrowed(number);
    }
    if (kind->sections_optional && (sections[0] == 0 || sections[1] == 0)) {
        memset(sections, 0, sizeof model->hyper.rope_sections);
        return CLINFER_OK;
    }
    if (sum == 0) return ci_fail(CLINFER_BAD_FILE, "%s: %s: all sections are empty", CI_KEY_AT(model->gguf, key));
    model->rope_halves = true;
    return CLINFER_OK;
}

/* What must be said where there are experts. */
static enum clinfer_status derive_experts(struct ci_model *model) {
    const struct ci_hyper *h = &model->hyper;
    char used[128], all[128];
    if (!model->family->decoder->experts || h->experts == 0) return CLINFER_OK;
    snprintf(used, sizeof used, "%s.expert_used_count", model->family->architecture);
    snprintf(all, sizeof all, "%s.expert_count", model->family->architecture);
    if (h->experts_used < 1 || h->experts_used > h->experts)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %d, must be between 1 and %s %d", CI_KEY_AT(model->gguf, used),
                       h->experts_used, ci_gguf_key_place(model->gguf, all).name, h->experts);
    int groups = h->expert_groups, groups_used = h->expert_groups_used;
    if (groups > 1 && (h->experts % groups || h->experts / groups < 2 || groups_used < 1 || groups_used > groups ||
                       h->experts_used > h->experts / groups * groups_used))
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: %s.expert_group_count: %d, with %d groups and %d of %d experts used: groups must be equal, "
                       "of two experts or more, and those used have as many experts as are used",
                       ci_gguf_path(model->gguf), model->family->architecture, groups, groups_used, h->experts_used,
                       h->experts);
    if (h->expert_gating > 3)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: %s.expert_gating_func: %d (square root of softplus) is not supported",
                       ci_gguf_path(model->gguf), model->family->architecture, h->expert_gating);
    return CLINFER_OK;
}

enum clinfer_status ci_decoder_derive(struct ci_model *model) {
    const struct ci_decoder *kind = model->family->decoder;
    if (kind->encoder) model->hyper.causal = false;
    if (kind->norm_by_epsilon) {
        char key[128];
        snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", model->family->architecture);
        model->hyper.rms_norm = ci_gguf_find(model->gguf, key) != NULL;
    }
    enum clinfer_status status = derive_windows(model);
    if (status == CLINFER_OK) status = derive_sections(model);
    if (status == CLINFER_OK) status = derive_experts(model);
    for (int i = 0; i < model->hyper.layers && status == CLINFER_OK; i++)
        if (kind->positions || (kind->unrotated_every && (i + 1) % kind->unrotated_every == 0))
            model->layers[i].rope_table = -1;
    return status;
}

/* ---- blocks ---- */

static const struct ci_decoder *kind_of(const struct ci_builder *b) { return b->model->family->decoder; }

static enum ci_norm norm_of(const struct ci_builder *b) {
    return b->model->hyper.rms_norm ? CI_NORM_RMS : kind_of(b)->norm;
}

static struct ci_tensor *norm_before(struct ci_builder *b, const char *stem, struct ci_tensor *x) {
    const struct ci_decoder *kind = kind_of(b);
    if (kind->starts_normed && strcmp(stem, "attn_norm") == 0 && !ci_build_has(b, "attn_norm.weight")) return x;
    return kind->norms == CI_NORM_BEFORE || kind->norms == CI_NORM_AROUND ? ci_build_norm(b, norm_of(b), stem, x) : x;
}

/* What a block gives, with the residual. */
static struct ci_tensor *join(struct ci_builder *b, struct ci_tensor *out, struct ci_tensor *residual,
                              const char *post_norm, const char *sum_norm, const char *label) {
    const struct ci_decoder *kind = kind_of(b);
    if (kind->norms == CI_NORM_AROUND || kind->norms == CI_NORM_AFTER)
        out = ci_build_norm(b, norm_of(b), post_norm, out);
    out = ci_build_scale(b, "residual_scale", out, b->model->hyper.residual_scale);
    out = ci_build_add(b, label, out, residual);
    return kind->norms == CI_NORM_OF_SUM ? ci_build_norm(b, norm_of(b), sum_norm, out) : out;
}

/* What attention gives times sigmoid(x w^T), number by number. */
static struct ci_tensor *gated(struct ci_builder *b, struct ci_tensor *x, struct ci_tensor *given) {
    const struct ci_layer *layer = ci_build_layer(b);
    const struct ci_part part[] = {{"attn_gate", (int64_t)layer->heads * layer->value_dim}, {0}};
    struct ci_tensor *gate = ci_build_linear(b, "attn_gate", x, part, CI_NOT_SCALED);
    struct ci_tensor *in[CI_MAX_INPUTS] = {given,
                                           ci_build_unary(b, "attn_gate_weight", gate, CI_ACTIVATION_SIGMOID, 0)};
    return ci_build_op(b, &ci_op_mul, "attn_gated", in, NULL);
}

static struct ci_tensor *attention(struct ci_builder *b, struct ci_tensor *hidden) {
    const struct ci_decoder *kind = kind_of(b);
    const struct ci_layer *layer = ci_build_layer(b);
    int heads = layer->heads + layer->kv_heads;
    int64_t keys = (int64_t)layer->kv_heads * layer->head_dim, values = (int64_t)layer->kv_heads * layer->value_dim;
    float clamp = b->model->hyper.attention_clamp;
    enum ci_head_norm head_norm = kind->head_norm;
    if (kind->head_norm_optional && !ci_build_has(b, "attn_q_norm.weight")) head_norm = CI_HEAD_NORM_NONE;
    bool norm_last = head_norm == CI_HEAD_NORM_HEADS_AFTER_ROPE;
    struct ci_tensor *x = ci_build_qkv(b, hidden, (int64_t)layer->heads * layer->head_dim, keys, values);
    if (clamp > 0) x = ci_build_unary(b, "attn_clamp", x, CI_ACTIVATION_CLAMP, clamp);
    if (!norm_last) x = ci_build_head_norm(b, head_norm, x);
    x = ci_build_rope(b, x, heads, kind->rope);
    if (norm_last) x = ci_build_head_norm(b, head_norm, x);
    x = ci_build_temperature(b, x, layer->heads * layer->head_dim);
    struct ci_tensor *sinks = kind->sinks ? ci_build_weight(b, true, 1, layer->heads, "attn_sinks.weight") : NULL;
    const struct ci_part output[] = {{"attn_output", b->model->hyper.embedding}, {0}};
    struct ci_tensor *given = ci_build_attention(b, x, sinks);
    if (kind->output_gate) given = gated(b, hidden, given);
    return ci_build_linear(b, "attn_output", given, output, CI_SCALES_PRODUCT);
}

static bool has_experts(const struct ci_builder *b) {
    const struct ci_hyper *h = &b->model->hyper;
    if (!kind_of(b)->experts || h->experts == 0 || b->layer < h->dense_layers) return false;
    return h->expert_step == 0 || (b->layer + 1) % h->expert_step == 0;
}

static struct ci_tensor *feed_forward(struct ci_builder *b, struct ci_tensor *hidden) {
    const struct ci_decoder *kind = kind_of(b);
    enum ci_scaling scaling = kind->ffn_scales ? CI_SCALES_SUM : CI_NOT_SCALED;
    int width = ci_build_layer(b)->feed_forward;
    if (has_experts(b)) return ci_build_experts(b, kind->experts, hidden);
    const struct ci_part gate_up[] = {{"ffn_gate", width}, {"ffn_up", width}, {0}};
    const struct ci_part both[] = {{"ffn_up", 2 * (int64_t)width}, {0}}, up[] = {{"ffn_up", width}, {0}};
    const struct ci_part down[] = {{"ffn_down", b->model->hyper.embedding}, {0}};
    struct ci_tensor *x;
    if (kind->ungated) {
        x = ci_build_linear(b, "ffn_up", hidden, up, scaling);
        x = ci_build_unary(b, "ffn_activation", x, kind->activation, 0);
    } else {
        x = ci_build_linear(b, "ffn_gate_up", hidden, kind->gate_in_up ? both : gate_up, scaling);
        x = ci_build_glu(b, "ffn_glu", x, kind->activation);
    }
    return ci_build_linear(b, "ffn_down", x, down, scaling);
}

/* Side by side both read the same, or what norms of their own make of it: attn_norm_2 is the attention's. */
static struct ci_tensor *parallel_layer(struct ci_builder *b, struct ci_tensor *x) {
    struct ci_tensor *hidden = norm_before(b, "attn_norm", x), *beside = hidden, *out;
    if (ci_build_has(b, "attn_norm_2.weight")) hidden = norm_before(b, "attn_norm_2", x);
    if (ci_build_has(b, "ffn_norm.weight")) beside = norm_before(b, "ffn_norm", x);
    out = ci_build_add(b, "attn_ffn", attention(b, hidden), feed_forward(b, beside));
    return join(b, out, x, "post_attention_norm", "attn_output_norm", "residual");
}

static struct ci_tensor *layer(struct ci_builder *b, struct ci_tensor *x) {
    const struct ci_decoder *kind = kind_of(b);
    b->layer_input = x;
    if (kind->parallel || b->model->hyper.parallel_residual) return parallel_layer(b, x);
    struct ci_tensor *hidden = norm_before(b, "attn_norm", x);
    x = join(b, attention(b, hidden), x, "post_attention_norm", "attn_output_norm", "attn_residual");
    hidden = norm_before(b, kind->ffn_norm ? kind->ffn_norm : "ffn_norm", x);
    return join(b, feed_forward(b, hidden), x, "post_ffw_norm", "layer_output_norm", "ffn_residual");
}

static struct ci_tensor *embedding(struct ci_builder *b) {
    const struct ci_decoder *kind = kind_of(b);
    struct ci_tensor *x = ci_build_scale(b, "embedding_scale", ci_build_embedding(b), b->model->hyper.embedding_scale);
    if (kind->token_types) x = ci_build_first_row(b, "token_types", x);
    if (kind->positions) x = ci_build_add(b, "positions", x, ci_build_positions(b));
    return kind->embedding_norm ? ci_build_norm(b, norm_of(b), "token_embd_norm", x) : x;
}

/* What comes behind the pooling, which is a mean or one of the rows: made of the rows before, it is the same. */
static struct ci_tensor *dense(struct ci_builder *b, struct ci_tensor *x) {
    static const char *const stems[] = {"dense_2", "dense_3"};
    for (int i = 0; i < 2; i++) {
        char name[32], key[32];
        int width = b->model->hyper.embedding;
        snprintf(name, sizeof name, "%s.weight", stems[i]);
        snprintf(key, sizeof key, "%s_feat_out", stems[i]);
        if (!ci_build_has(b, name)) continue;
        if (b->model->gguf && b->graph->status == CLINFER_OK)
            b->graph->status = ci_model_integer(b->model, key, CI_GGUF_REQUIRED, 1, 1 << 20, &width);
        const struct ci_part part[] = {{stems[i], width}, {0}};
        x = ci_build_linear(b, stems[i], x, part, CI_NOT_SCALED);
    }
    return x;
}

void ci_decoder_build(struct ci_builder *b) {
    const struct ci_decoder *kind = kind_of(b);
    const struct ci_hyper *h = &b->model->hyper;
    struct ci_tensor *x = embedding(b);
    for (int i = 0; i < h->layers; i++) {
        ci_build_enter(b, i);
        x = layer(b, x);
    }
    ci_build_enter(b, h->layers);
    x = ci_build_wanted(b, x);
    if (kind->norms != CI_NORM_OF_SUM)
        x = ci_build_norm(b, norm_of(b), kind->output_norm ? kind->output_norm : "output_norm", x);
    if (kind->dense) x = dense(b, x);
    if (!ci_model_makes_vectors(b->model)) {
        x = ci_build_scale(b, "logit_scale", ci_build_output(b, x), h->logit_scale);
        if (h->final_softcap != 0) x = ci_build_unary(b, "logit_softcap", x, CI_ACTIVATION_SOFTCAP, h->final_softcap);
    }
    ci_build_sampling(b, x);
}
