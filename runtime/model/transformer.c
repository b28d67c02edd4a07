#include "model/transformer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

enum { STEM_BYTES = 64 };

/* Matrices of a layer, in the order in which they lie side by side. */
struct part {
    const char *name;
    int64_t rows;
};

static enum clinfer_status load_parts(struct ci_model *model, struct ci_projection *projection, enum ci_scaling scaling,
                                      int layer, const struct part *parts, int count, int64_t cols) {
    struct ci_projection_load load = {.model = model, .projection = projection, .scaling = scaling};
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        char stem[STEM_BYTES];
        snprintf(stem, sizeof stem, "blk.%d.%s", layer, parts[i].name);
        status = ci_projection_add(&load, i, true, stem, parts[i].rows, cols);
    }
    return status == CLINFER_OK ? ci_projection_finish(&load) : status;
}

/* One matrix that holds queries, keys and values may come with three biases. */
static enum clinfer_status join_biases(struct ci_model *model, struct ci_projection *qkv, int layer,
                                       const struct part parts[3], int64_t rows) {
    struct ci_tensor *biases[3];
    for (int i = 0; i < 3; i++) {
        enum clinfer_status status =
            ci_model_weight(model, &biases[i], i > 0, 1, parts[i].rows, "blk.%d.%s.bias", layer, parts[i].name);
        if (status != CLINFER_OK || !biases[0]) return status;
    }
    float *numbers;
    qkv->biases[0] = ci_model_computed(model, "attn_qkv.bias", rows, &numbers);
    if (!qkv->biases[0]) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(model->gguf));
    for (int i = 0; i < 3; numbers += parts[i++].rows)
        memcpy(numbers, biases[i]->host, (size_t)parts[i].rows * sizeof *numbers);
    return CLINFER_OK;
}

static enum clinfer_status load_qkv(struct ci_model *model, struct ci_layer *layer, int i) {
    const struct ci_hyper *h = &model->hyper;
    int64_t queries = (int64_t)h->heads * h->head_dim, kv = (int64_t)h->kv_heads * h->head_dim, rows = queries + 2 * kv;
    const struct part parts[] = {{"attn_q", queries}, {"attn_k", kv}, {"attn_v", kv}};
    char stem[STEM_BYTES];
    snprintf(stem, sizeof stem, "blk.%d.attn_qkv.weight", i);
    if (!ci_gguf_find_tensor(model->gguf, stem))
        return load_parts(model, &layer->qkv, CI_SCALES_PRODUCT, i, parts, 3, h->embedding);
    struct ci_projection_load load = {.model = model, .projection = &layer->qkv, .scaling = CI_SCALES_PRODUCT};
    snprintf(stem, sizeof stem, "blk.%d.attn_qkv", i);
    enum clinfer_status status = ci_projection_add(&load, 0, true, stem, rows, h->embedding);
    if (status == CLINFER_OK && !layer->qkv.biases[0]) status = join_biases(model, &layer->qkv, i, parts, rows);
    return status == CLINFER_OK ? ci_projection_finish(&load) : status;
}

static enum clinfer_status load_layer(struct ci_model *model, const struct ci_transformer *kind, int i) {
    const struct ci_hyper *h = &model->hyper;
    struct ci_layer *layer = &model->layers[i];
    const struct part output = {"attn_output", h->embedding}, down = {"ffn_down", h->embedding},
                      gate_up[] = {{"ffn_gate", h->feed_forward}, {"ffn_up", h->feed_forward}};
    enum ci_scaling ffn = kind->ffn_scales ? CI_SCALES_SUM : CI_NOT_SCALED;
    enum clinfer_status status =
        ci_model_weight(model, &layer->attention_norm, true, 1, h->embedding, "blk.%d.attn_norm.weight", i);
    if (status == CLINFER_OK) status = load_qkv(model, layer, i);
    if (status == CLINFER_OK)
        status = load_parts(model, &layer->attention_output, CI_SCALES_PRODUCT, i, &output, 1,
                            (int64_t)h->heads * h->head_dim);
    if (status == CLINFER_OK)
        status = ci_model_weight(model, &layer->ffn_norm, true, 1, h->embedding, "blk.%d.ffn_norm.weight", i);
    if (status == CLINFER_OK) status = load_parts(model, &layer->gate_up, ffn, i, gate_up, 2, h->embedding);
    if (status == CLINFER_OK) status = load_parts(model, &layer->down, ffn, i, &down, 1, h->feed_forward);
    return status;
}

enum clinfer_status ci_transformer_load(struct ci_model *model, const struct ci_transformer *kind) {
    const struct ci_hyper *h = &model->hyper;
    struct ci_projection_load output = {.model = model, .projection = &model->output, .scaling = CI_SCALES_PRODUCT};
    enum clinfer_status status =
        ci_model_weight(model, &model->output_norm, true, 1, h->embedding, "output_norm.weight");
    if (status == CLINFER_OK) status = ci_projection_add(&output, 0, false, "output", h->vocabulary, h->embedding);
    if (!model->output.weights[0]) model->output.weights[0] = model->embedding;
    if (status == CLINFER_OK) status = ci_projection_finish(&output);
    for (int i = 0; i < h->layers && status == CLINFER_OK; i++) status = load_layer(model, kind, i);
    return status;
}

/* One graph in the making. */
struct builder {
    const struct ci_model *model;
    const struct ci_transformer *kind;
    struct ci_graph *graph;
    struct ci_run *run;
    struct ci_tensor *rope_table;
    int layer;
};

static const char *label(const struct builder *b, const char *what) {
    char text[64];
    int length = snprintf(text, sizeof text, "blk.%d.%s", b->layer, what);
    const char *kept = ci_arena_string(&b->graph->arena, text, (size_t)length);
    return kept ? kept : what;
}

static struct ci_tensor *norm(const struct builder *b, const char *name, struct ci_tensor *x,
                              struct ci_tensor *weight) {
    struct ci_params params = {.f[CI_NORM_F_EPS] = b->model->hyper.eps};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, weight};
    return ci_graph_add(b->graph, &ci_op_rmsnorm, name, in, NULL, &params);
}

/* One node where the types of the weights agree, else one each and a concat; behind it what the file scales. */
static struct ci_tensor *project(const struct builder *b, const char *name, struct ci_tensor *x,
                                 const struct ci_projection *projection) {
    struct ci_tensor *const *w = projection->weights, *const *bias = projection->biases, *product;
    bool alike = true;
    for (int i = 1; i < CI_MATMUL_MAX_WEIGHTS; i++) alike = alike && (!w[i] || w[i]->view.type == w[0]->view.type);
    if (alike) {
        struct ci_tensor *in[CI_MAX_INPUTS] = {x, w[0], w[1], w[2], bias[0], bias[1], bias[2]};
        product = ci_graph_add(b->graph, &ci_op_matmul, name, in, NULL, NULL);
    } else {
        struct ci_tensor *parts[CI_MAX_INPUTS] = {0};
        for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
            if (!w[i]) continue;
            struct ci_tensor *in[CI_MAX_INPUTS] = {x, w[i], NULL, NULL, bias[i]};
            parts[i] = ci_graph_add(b->graph, &ci_op_matmul, name, in, NULL, NULL);
        }
        product = ci_graph_add(b->graph, &ci_op_concat, name, parts, NULL, NULL);
    }
    if (!projection->factors) return product;
    struct ci_tensor *in[CI_MAX_INPUTS] = {product, projection->factors, projection->offsets};
    return ci_graph_add(b->graph, &ci_op_affine, name, in, NULL, NULL);
}

static struct ci_tensor *add(const struct builder *b, const char *name, struct ci_tensor *a,
                             struct ci_tensor *residual) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {a, residual};
    return ci_graph_add(b->graph, &ci_op_add, name, in, NULL, NULL);
}

static struct ci_tensor *attention(const struct builder *b, const struct ci_layer *layer, struct ci_tensor *x) {
    const struct ci_hyper *h = &b->model->hyper;
    struct ci_tensor *hidden = norm(b, label(b, "attn_norm"), x, layer->attention_norm);
    struct ci_tensor *qkv = project(b, label(b, "attn_qkv"), hidden, &layer->qkv);
    struct ci_params rope = {.i = {[CI_ROPE_I_HEADS] = h->heads + h->kv_heads,
                                   [CI_ROPE_I_HEAD_DIM] = h->head_dim,
                                   [CI_ROPE_I_NEOX] = b->kind->neox}};
    struct ci_tensor *rope_in[CI_MAX_INPUTS] = {qkv, b->rope_table};
    struct ci_tensor *rotated = ci_graph_add(b->graph, &ci_op_rope, label(b, "rope"), rope_in, NULL, &rope);

    struct ci_params append = {.i = {[CI_KV_I_KEY_COLUMN] = h->heads * h->head_dim,
                                     [CI_KV_I_VALUE_COLUMN] = (h->heads + h->kv_heads) * h->head_dim}};
    struct ci_tensor *append_in[CI_MAX_INPUTS] = {rotated, b->run->slots};
    struct ci_tensor *cache[CI_MAX_OUTPUTS] = {layer->keys, layer->values};
    ci_graph_add(b->graph, &ci_op_kv_append, label(b, "kv_append"), append_in, cache, &append);

    float scale = h->attention_scale != 0 ? h->attention_scale : 1.0f / sqrtf((float)h->head_dim);
    struct ci_params attend = {.i = {[CI_ATTENTION_I_HEADS] = h->heads,
                                     [CI_ATTENTION_I_KV_HEADS] = h->kv_heads,
                                     [CI_ATTENTION_I_HEAD_DIM] = h->head_dim},
                               .f[CI_ATTENTION_F_SCALE] = scale};
    struct ci_tensor *in[CI_MAX_INPUTS] = {rotated, layer->keys, layer->values, b->run->tiles, b->run->pages};
    struct ci_tensor *attended = ci_graph_add(b->graph, &ci_op_attention, label(b, "attention"), in, NULL, &attend);
    struct ci_tensor *out = project(b, label(b, "attn_output"), attended, &layer->attention_output);
    return add(b, label(b, "attn_residual"), out, x);
}

static struct ci_tensor *feed_forward(const struct builder *b, const struct ci_layer *layer, struct ci_tensor *x) {
    struct ci_tensor *hidden = norm(b, label(b, "ffn_norm"), x, layer->ffn_norm);
    struct ci_tensor *both = project(b, label(b, "ffn_gate_up"), hidden, &layer->gate_up);
    struct ci_tensor *in[CI_MAX_INPUTS] = {both};
    struct ci_tensor *active = ci_graph_add(b->graph, &ci_op_swiglu, label(b, "swiglu"), in, NULL, NULL);
    struct ci_tensor *out = project(b, label(b, "ffn_down"), active, &layer->down);
    return add(b, label(b, "ffn_residual"), out, x);
}

void ci_transformer_build(const struct ci_model *model, const struct ci_transformer *kind, struct ci_graph *graph,
                          struct ci_run *run) {
    struct builder b = {.model = model, .kind = kind, .graph = graph, .run = run};
    struct ci_tensor *table_in[CI_MAX_INPUTS] = {run->positions, model->rope_frequencies};
    b.rope_table = ci_graph_add(graph, &ci_op_rope_table, "rope_table", table_in, NULL, NULL);
    struct ci_tensor *embed_in[CI_MAX_INPUTS] = {model->embedding, run->ids, model->sampled};
    struct ci_tensor *x = ci_graph_add(graph, &ci_op_embed, "token_embd", embed_in, NULL, NULL);
    for (b.layer = 0; b.layer < model->hyper.layers; b.layer++) {
        graph->unit = 1 + b.layer;
        x = attention(&b, &model->layers[b.layer], x);
        x = feed_forward(&b, &model->layers[b.layer], x);
    }
    graph->unit = 1 + b.layer;
    struct ci_tensor *gather_in[CI_MAX_INPUTS] = {x, run->wanted};
    x = ci_graph_add(graph, &ci_op_gather, "wanted_rows", gather_in, NULL, NULL);
    x = norm(&b, "output_norm", x, model->output_norm);
    run->logits = project(&b, "output", x, &model->output);

    struct ci_tensor *sample_in[CI_MAX_INPUTS] = {run->logits, run->sampler};
    struct ci_tensor *sample_out[CI_MAX_OUTPUTS] = {model->sampled};
    ci_graph_add(graph, &ci_op_sample, "sample", sample_in, sample_out, NULL);
    run->not_finite = graph->last ? graph->last->out[1] : NULL;
}
