#include "model/build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "ops/op_list.h"

enum { NAME_BYTES = 96 };

static void set_status(struct ci_builder *b, enum clinfer_status status) {
    if (b->graph->status == CLINFER_OK) b->graph->status = status;
}

static bool failed(const struct ci_builder *b) { return b->graph->status != CLINFER_OK; }

void ci_build_enter(struct ci_builder *b, int layer) {
    b->layer = layer < b->model->hyper.layers ? layer : -1;
    b->graph->unit = 1 + layer;
}

static const char *full_name(const struct ci_builder *b, char text[NAME_BYTES], const char *stem, const char *end) {
    if (b->layer < 0)
        snprintf(text, NAME_BYTES, "%s%s", stem, end);
    else
        snprintf(text, NAME_BYTES, "blk.%d.%s%s", b->layer, stem, end);
    return text;
}

const char *ci_build_label(const struct ci_builder *b, const char *stem) {
    char text[NAME_BYTES];
    full_name(b, text, stem, "");
    const char *kept = ci_arena_string(&b->graph->arena, text, strlen(text));
    return kept ? kept : stem;
}

/* ---- weights ---- */

static struct ci_tensor *weight(struct ci_builder *b, bool required, int64_t rows, int64_t cols, const char *stem,
                                const char *end) {
    char name[NAME_BYTES];
    struct ci_tensor *found = NULL;
    if (failed(b)) return NULL;
    set_status(b, ci_model_weight(b->model, &found, required, rows, cols, full_name(b, name, stem, end)));
    return found;
}

struct ci_tensor *ci_build_weight(struct ci_builder *b, bool required, int64_t rows, int64_t cols, const char *name) {
    return weight(b, required, rows, cols, name, "");
}

bool ci_build_has(const struct ci_builder *b, const char *name) {
    char text[NAME_BYTES];
    full_name(b, text, name, "");
    return ci_model_has(b->model, text);
}

/* Numbers lie anywhere in the file. */
static float number_of(const struct ci_tensor *tensor, int64_t index, float otherwise) {
    float number = otherwise;
    if (tensor && tensor->host) memcpy(&number, (const float *)tensor->host + index, sizeof number);
    return number;
}

/* ---- matrices ---- */

struct projection {
    struct ci_tensor *weights[CI_MATMUL_MAX_WEIGHTS], *biases[CI_MATMUL_MAX_WEIGHTS], *scales[CI_MATMUL_MAX_WEIGHTS];
    struct ci_tensor *factors, *offsets; /* [1, rows of all weights], computed */
};

/* Biases alone are an input of the product. With a scale, product and bias become one affine op behind it, whose
 * vectors are computed here once, so that in either order of scale and bias there is one op and no number is divided.
 * Scales belong to formats whose blocks have too few bits for their range. */
static void join_scales(struct ci_builder *b, const char *label, struct projection *p, enum ci_scaling scaling) {
    bool scaled = false, shifted = false;
    int64_t cols = 0, at = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && p->weights[i]; i++) {
        scaled = scaled || p->scales[i];
        shifted = shifted || p->biases[i];
        cols += p->weights[i]->view.rows;
    }
    if (!scaled) return;
    char name[NAME_BYTES];
    float *factors, *offsets = NULL;
    p->factors = ci_model_computed(b->model, full_name(b, name, label, ".factors"), cols, &factors);
    if (shifted) p->offsets = ci_model_computed(b->model, full_name(b, name, label, ".offsets"), cols, &offsets);
    if (!p->factors || (shifted && !p->offsets)) set_status(b, CLINFER_OUT_OF_MEMORY);
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && p->weights[i]; i++) {
        float scale = number_of(p->scales[i], 0, 1), of_bias = scaling == CI_SCALES_SUM ? scale : 1;
        for (int64_t row = 0; row < p->weights[i]->view.rows; row++, at++) {
            if (factors) factors[at] = scale;
            if (offsets) offsets[at] = of_bias * number_of(p->biases[i], row, 0);
        }
        p->biases[i] = NULL;
    }
}

/* One node where the types of the weights agree, else one each and a concat; behind it what the file scales. */
static struct ci_tensor *project(struct ci_builder *b, const char *label, struct ci_tensor *x,
                                 const struct projection *p) {
    struct ci_tensor *const *w = p->weights, *const *bias = p->biases, *product;
    const char *name = ci_build_label(b, label);
    bool alike = true;
    if (failed(b)) return NULL;
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
    if (!p->factors) return product;
    struct ci_tensor *in[CI_MAX_INPUTS] = {product, p->factors, p->offsets};
    return ci_graph_add(b->graph, &ci_op_affine, name, in, NULL, NULL);
}

static void add_part(struct ci_builder *b, struct projection *p, int index, const struct ci_part *part, int64_t cols,
                     enum ci_scaling scaling) {
    p->weights[index] = weight(b, true, part->rows, cols, part->stem, ".weight");
    p->biases[index] = weight(b, false, 1, part->rows, part->stem, ".bias");
    if (scaling != CI_NOT_SCALED) p->scales[index] = weight(b, false, 1, 1, part->stem, ".scale");
}

struct ci_tensor *ci_build_linear(struct ci_builder *b, const char *label, struct ci_tensor *x,
                                  const struct ci_part *parts, enum ci_scaling scaling) {
    struct projection p = {0};
    if (failed(b)) return NULL;
    for (int i = 0; parts[i].stem; i++) add_part(b, &p, i, &parts[i], x->view.cols, scaling);
    if (!failed(b)) join_scales(b, label, &p, scaling);
    return project(b, label, x, &p);
}

/* One matrix that holds queries, keys and values may come with three biases. */
static struct ci_tensor *join_biases(struct ci_builder *b, const struct ci_part parts[3]) {
    struct ci_tensor *biases[3];
    char name[NAME_BYTES];
    int64_t rows = 0;
    for (int i = 0; i < 3; rows += parts[i++].rows) {
        biases[i] = weight(b, i > 0, 1, parts[i].rows, parts[i].stem, ".bias");
        if (failed(b) || !biases[0]) return NULL;
    }
    float *numbers;
    struct ci_tensor *joined = ci_model_computed(b->model, full_name(b, name, "attn_qkv", ".bias"), rows, &numbers);
    if (!joined) set_status(b, CLINFER_OUT_OF_MEMORY);
    for (int i = 0; numbers && i < 3; numbers += parts[i++].rows)
        if (biases[i]->host) memcpy(numbers, biases[i]->host, (size_t)parts[i].rows * sizeof *numbers);
    return joined;
}

struct ci_tensor *ci_build_qkv(struct ci_builder *b, struct ci_tensor *x, int64_t queries, int64_t keys,
                               int64_t values) {
    const struct ci_part parts[] = {{"attn_q", queries}, {"attn_k", keys}, {"attn_v", values}, {0}};
    const struct ci_part joined = {"attn_qkv", queries + keys + values};
    if (failed(b)) return NULL;
    if (!ci_build_has(b, "attn_qkv.weight")) return ci_build_linear(b, "attn_qkv", x, parts, CI_SCALES_PRODUCT);
    struct projection p = {0};
    add_part(b, &p, 0, &joined, x->view.cols, CI_SCALES_PRODUCT);
    if (!p.biases[0]) p.biases[0] = join_biases(b, parts);
    if (!failed(b)) join_scales(b, "attn_qkv", &p, CI_SCALES_PRODUCT);
    return project(b, "attn_qkv", x, &p);
}

/* ---- ops ---- */

struct ci_tensor *ci_build_op(struct ci_builder *b, const struct ci_op *op, const char *label,
                              struct ci_tensor *const in[CI_MAX_INPUTS], const struct ci_params *params) {
    return failed(b) ? NULL : ci_graph_add(b->graph, op, ci_build_label(b, label), in, NULL, params);
}

struct ci_tensor *ci_build_add(struct ci_builder *b, const char *label, struct ci_tensor *a, struct ci_tensor *addend) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {a, addend};
    return ci_build_op(b, &ci_op_add, label, in, NULL);
}

struct ci_tensor *ci_build_rmsnorm(struct ci_builder *b, const char *stem, struct ci_tensor *x) {
    if (failed(b)) return NULL;
    struct ci_params params = {.f[CI_NORM_F_EPS] = b->model->hyper.eps};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, weight(b, true, 1, x->view.cols, stem, ".weight")};
    return ci_build_op(b, &ci_op_rmsnorm, stem, in, &params);
}

void ci_build_rope_tables(struct ci_builder *b) {
    static const char *const labels[CI_ROPE_TABLES] = {"rope_table", "rope_table_window"};
    for (int i = 0; i < CI_ROPE_TABLES && !failed(b); i++) {
        struct ci_tensor *in[CI_MAX_INPUTS] = {b->run->positions, b->model->rope[i].frequencies};
        struct ci_params params = {.f = {[CI_ROPE_TABLE_F_MAGNITUDE] = b->model->rope[i].magnitude}};
        if (in[1]) b->rope_tables[i] = ci_graph_add(b->graph, &ci_op_rope_table, labels[i], in, NULL, &params);
    }
}

struct ci_tensor *ci_build_rope(struct ci_builder *b, struct ci_tensor *x, int heads, enum ci_rope_pairs pairs) {
    const struct ci_layer *layer = ci_build_layer(b);
    if (failed(b) || layer->rope_table < 0) return x;
    struct ci_params params = {.i = {[CI_ROPE_I_HEADS] = heads,
                                     [CI_ROPE_I_HEAD_DIM] = layer->head_dim,
                                     [CI_ROPE_I_NEOX] = pairs == CI_ROPE_HALVES}};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, b->rope_tables[layer->rope_table]};
    return ci_build_op(b, &ci_op_rope, "rope", in, &params);
}

struct ci_tensor *ci_build_attention(struct ci_builder *b, struct ci_tensor *x, const struct ci_params *more) {
    if (failed(b)) return NULL;
    const struct ci_layer *layer = ci_build_layer(b);
    int queries = layer->heads * layer->head_dim, keys = layer->kv_heads * layer->head_dim;
    struct ci_tensor *cache[CI_MAX_OUTPUTS] = {
        ci_model_state(b->model, CI_STATE_KEYS, b->layer, keys, layer->window),
        ci_model_state(b->model, CI_STATE_VALUES, b->layer, layer->kv_heads * layer->value_dim, layer->window)};
    if (!cache[0] || !cache[1]) set_status(b, CLINFER_OUT_OF_MEMORY);
    struct ci_params append = {.i = {[CI_KV_I_KEY_COLUMN] = queries, [CI_KV_I_VALUE_COLUMN] = queries + keys}};
    struct ci_tensor *append_in[CI_MAX_INPUTS] = {x, b->run->slots};
    ci_graph_add(b->graph, &ci_op_kv_append, ci_build_label(b, "kv_append"), append_in, cache, &append);

    struct ci_params params = *more;
    params.i[CI_ATTENTION_I_HEADS] = layer->heads;
    params.i[CI_ATTENTION_I_KV_HEADS] = layer->kv_heads;
    params.i[CI_ATTENTION_I_HEAD_DIM] = layer->head_dim;
    float scale = b->model->hyper.attention_scale;
    params.f[CI_ATTENTION_F_SCALE] = scale != 0 ? scale : 1.0f / sqrtf((float)layer->head_dim);
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, cache[0], cache[1], b->run->tiles, b->run->pages};
    return ci_build_op(b, &ci_op_attention, "attention", in, &params);
}

struct ci_tensor *ci_build_embedding(struct ci_builder *b) {
    struct ci_tensor *table = weight(b, true, -1, b->model->hyper.embedding, "token_embd", ".weight");
    struct ci_tensor *in[CI_MAX_INPUTS] = {table, b->run->ids, b->model->sampled};
    return ci_build_op(b, &ci_op_embed, "token_embd", in, NULL);
}

struct ci_tensor *ci_build_wanted(struct ci_builder *b, struct ci_tensor *x) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, b->run->wanted};
    return ci_build_op(b, &ci_op_gather, "wanted_rows", in, NULL);
}

/* One matrix whose bias and scale belong to "output", wherever the numbers come from. */
struct ci_tensor *ci_build_output(struct ci_builder *b, struct ci_tensor *x) {
    struct projection p = {0};
    if (failed(b)) return NULL;
    const struct ci_part part = {"output", b->model->hyper.vocabulary};
    if (ci_build_has(b, "output.weight")) {
        add_part(b, &p, 0, &part, x->view.cols, CI_SCALES_PRODUCT);
    } else {
        p.weights[0] = weight(b, true, part.rows, x->view.cols, "token_embd", ".weight");
        p.biases[0] = weight(b, false, 1, part.rows, "output", ".bias");
        p.scales[0] = weight(b, false, 1, 1, "output", ".scale");
    }
    if (!failed(b)) join_scales(b, "output", &p, CI_SCALES_PRODUCT);
    return project(b, "output", x, &p);
}

void ci_build_sampling(struct ci_builder *b, struct ci_tensor *logits) {
    struct ci_tensor *in[CI_MAX_INPUTS] = {logits, b->run->sampler}, *out[CI_MAX_OUTPUTS] = {b->model->sampled};
    if (failed(b)) return;
    ci_graph_add(b->graph, &ci_op_sample, "sample", in, out, NULL);
    b->run->logits = logits;
    b->run->not_finite = b->graph->last ? b->graph->last->out[1] : NULL;
}
