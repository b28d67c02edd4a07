#include "model/transformer.h"

#include <math.h>
#include <stdio.h>

#include "base/status.h"
#include "ops/op_list.h"
#include "tensor/op_params.h"

static enum clinfer_status load_layer(struct ci_model *model, const struct ci_transformer *kind, int i) {
    const struct ci_hyper *h = &model->hyper;
    struct ci_layer *layer = &model->layers[i];
    int64_t width = h->embedding, queries = (int64_t)h->heads * h->head_dim, kv = (int64_t)h->kv_heads * h->head_dim;
    const struct {
        struct ci_tensor **weight;
        const char *name;
        bool required;
        int64_t rows, cols;
    } wanted[] = {
        {&layer->attention_norm, "attn_norm.weight", true, 1, width},
        {&layer->q, "attn_q.weight", true, queries, width},
        {&layer->k, "attn_k.weight", true, kv, width},
        {&layer->v, "attn_v.weight", true, kv, width},
        {&layer->q_bias, "attn_q.bias", kind->qkv_biases, 1, queries},
        {&layer->k_bias, "attn_k.bias", kind->qkv_biases, 1, kv},
        {&layer->v_bias, "attn_v.bias", kind->qkv_biases, 1, kv},
        {&layer->attention_output, "attn_output.weight", true, width, queries},
        {&layer->ffn_norm, "ffn_norm.weight", true, 1, width},
        {&layer->gate, "ffn_gate.weight", true, h->feed_forward, width},
        {&layer->up, "ffn_up.weight", true, h->feed_forward, width},
        {&layer->down, "ffn_down.weight", true, width, h->feed_forward},
    };
    for (size_t k = 0; k < sizeof wanted / sizeof *wanted; k++) {
        enum clinfer_status status = ci_model_weight(model, wanted[k].weight, wanted[k].required, wanted[k].rows,
                                                     wanted[k].cols, "blk.%d.%s", i, wanted[k].name);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_transformer_load(struct ci_model *model, const struct ci_transformer *kind) {
    const struct ci_hyper *h = &model->hyper;
    enum clinfer_status status =
        ci_model_weight(model, &model->output_norm, true, 1, h->embedding, "output_norm.weight");
    if (status == CLINFER_OK)
        status = ci_model_weight(model, &model->output, false, h->vocabulary, h->embedding, "output.weight");
    if (!model->output) model->output = model->embedding;
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
    struct ci_params params = {.f[CI_RMSNORM_F_EPS] = b->model->hyper.eps};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, weight};
    return ci_graph_add(b->graph, &ci_op_rmsnorm, name, in, NULL, &params);
}

/* Up to three weights on the same input, side by side: one node where their types agree, else one each and a concat. */
static struct ci_tensor *multiply(const struct builder *b, const char *name, struct ci_tensor *x,
                                  struct ci_tensor *const w[3], struct ci_tensor *const bias[3]) {
    bool alike = true;
    for (int i = 1; i < CI_MATMUL_MAX_WEIGHTS; i++) alike = alike && (!w[i] || w[i]->view.type == w[0]->view.type);
    if (alike) {
        struct ci_tensor *in[CI_MAX_INPUTS] = {x, w[0], w[1], w[2], bias[0], bias[1], bias[2]};
        return ci_graph_add(b->graph, &ci_op_matmul, name, in, NULL, NULL);
    }
    struct ci_tensor *parts[CI_MAX_INPUTS] = {0};
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS; i++) {
        if (!w[i]) continue;
        struct ci_tensor *in[CI_MAX_INPUTS] = {x, w[i], NULL, NULL, bias[i]};
        parts[i] = ci_graph_add(b->graph, &ci_op_matmul, name, in, NULL, NULL);
    }
    return ci_graph_add(b->graph, &ci_op_concat, name, parts, NULL, NULL);
}

static struct ci_tensor *add(const struct builder *b, const char *name, struct ci_tensor *a,
                             struct ci_tensor *residual) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {a, residual};
    return ci_graph_add(b->graph, &ci_op_add, name, in, NULL, NULL);
}

static struct ci_tensor *attention(const struct builder *b, const struct ci_layer *layer, struct ci_tensor *x) {
    const struct ci_hyper *h = &b->model->hyper;
    struct ci_tensor *hidden = norm(b, label(b, "attn_norm"), x, layer->attention_norm);
    struct ci_tensor *qkv =
        multiply(b, label(b, "attn_qkv"), hidden, (struct ci_tensor *[]){layer->q, layer->k, layer->v},
                 (struct ci_tensor *[]){layer->q_bias, layer->k_bias, layer->v_bias});
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

    struct ci_params attend = {.i = {[CI_ATTENTION_I_HEADS] = h->heads,
                                     [CI_ATTENTION_I_KV_HEADS] = h->kv_heads,
                                     [CI_ATTENTION_I_HEAD_DIM] = h->head_dim},
                               .f[CI_ATTENTION_F_SCALE] = 1.0f / sqrtf((float)h->head_dim)};
    struct ci_tensor *in[CI_MAX_INPUTS] = {rotated, layer->keys, layer->values, b->run->tiles, b->run->pages};
    struct ci_tensor *attended = ci_graph_add(b->graph, &ci_op_attention, label(b, "attention"), in, NULL, &attend);
    struct ci_tensor *none[3] = {0};
    struct ci_tensor *out =
        multiply(b, label(b, "attn_output"), attended, (struct ci_tensor *[3]){layer->attention_output}, none);
    return add(b, label(b, "attn_residual"), out, x);
}

static struct ci_tensor *feed_forward(const struct builder *b, const struct ci_layer *layer, struct ci_tensor *x) {
    struct ci_tensor *none[3] = {0};
    struct ci_tensor *hidden = norm(b, label(b, "ffn_norm"), x, layer->ffn_norm);
    struct ci_tensor *both =
        multiply(b, label(b, "ffn_gate_up"), hidden, (struct ci_tensor *[3]){layer->gate, layer->up}, none);
    struct ci_tensor *in[CI_MAX_INPUTS] = {both};
    struct ci_tensor *active = ci_graph_add(b->graph, &ci_op_swiglu, label(b, "swiglu"), in, NULL, NULL);
    struct ci_tensor *out = multiply(b, label(b, "ffn_down"), active, (struct ci_tensor *[3]){layer->down}, none);
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
    struct ci_tensor *none[3] = {0};
    run->logits = multiply(&b, "output", x, (struct ci_tensor *[3]){model->output}, none);

    struct ci_tensor *sample_in[CI_MAX_INPUTS] = {run->logits, run->sampler};
    struct ci_tensor *sample_out[CI_MAX_OUTPUTS] = {model->sampled};
    ci_graph_add(graph, &ci_op_sample, "sample", sample_in, sample_out, NULL);
    run->not_finite = graph->last ? graph->last->out[1] : NULL;
}
