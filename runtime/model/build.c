#include "model/build.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "ops/op_list.h"
#include "types/layout.h"

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

struct ci_tensor *ci_build_refuse(struct ci_builder *b, const char *stem, const char *reason) {
    char name[NAME_BYTES];
    if (!failed(b))
        set_status(b, ci_fail(CLINFER_UNSUPPORTED, "%s: tensor %s: %s",
                              b->model->gguf ? ci_gguf_path(b->model->gguf) : b->model->family->architecture,
                              full_name(b, name, stem, ".*"), reason));
    return NULL;
}

struct ci_tensor *ci_build_flat(struct ci_builder *b, struct ci_tensor *from) {
    if (failed(b) || !from) return NULL;
    struct ci_tensor *flat = ci_model_flat(b->model, from);
    if (!flat) set_status(b, CLINFER_OUT_OF_MEMORY);
    return flat;
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

struct ci_tensor *ci_build_unary(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind, float a) {
    struct ci_params params = {.i = {[CI_ACTIVATION_I_KIND] = kind}, .f = {[CI_ACTIVATION_F_A] = a}};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x};
    return ci_build_op(b, &ci_op_unary, label, in, &params);
}

struct ci_tensor *ci_build_scale(struct ci_builder *b, const char *label, struct ci_tensor *x, float factor) {
    return factor == 0 || factor == 1 ? x : ci_build_unary(b, label, x, CI_ACTIVATION_SCALE, factor);
}

struct ci_tensor *ci_build_glu(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind) {
    return ci_build_glu_slices(b, label, x, kind, 0);
}

struct ci_tensor *ci_build_glu_slices(struct ci_builder *b, const char *label, struct ci_tensor *x, int kind,
                                      int64_t width) {
    struct ci_params params = {.i = {[CI_ACTIVATION_I_KIND] = kind, [CI_ACTIVATION_I_WIDTH] = ci_narrowed(width)}};
    if (kind == CI_ACTIVATION_SWIGLU_OAI) {
        params.f[CI_ACTIVATION_F_A] = 1.702f;
        params.f[CI_ACTIVATION_F_LIMIT] = 7;
    }
    struct ci_tensor *in[CI_MAX_INPUTS] = {x};
    return ci_build_op(b, &ci_op_glu, label, in, &params);
}

struct ci_tensor *ci_build_norm(struct ci_builder *b, enum ci_norm kind, const char *stem, struct ci_tensor *x) {
    if (failed(b)) return NULL;
    struct ci_params params = {.f[CI_NORM_F_EPS] = b->model->hyper.eps};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x};
    if (kind != CI_NORM_LAYER_PLAIN) in[1] = weight(b, true, 1, x->view.cols, stem, ".weight");
    if (kind == CI_NORM_LAYER) in[2] = weight(b, false, 1, x->view.cols, stem, ".bias");
    return ci_build_op(b, kind == CI_NORM_RMS ? &ci_op_rmsnorm : &ci_op_layernorm, stem, in, &params);
}

static struct ci_tensor *norm_slices(struct ci_builder *b, const char *label, struct ci_tensor *x,
                                     struct ci_tensor *weights, int first, int groups, int width, bool centred) {
    struct ci_params params = {.i = {[CI_NORM_HEADS_I_FIRST] = first,
                                     [CI_NORM_HEADS_I_GROUPS] = groups,
                                     [CI_NORM_HEADS_I_WIDTH] = width,
                                     [CI_NORM_HEADS_I_CENTRED] = centred},
                               .f[CI_NORM_F_EPS] = b->model->hyper.eps};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, weights};
    return ci_build_op(b, &ci_op_norm_heads, label, in, &params);
}

/* Rows of any type in the order in which they lie. */
static void copy_rows(const struct ci_tensor *from, float *numbers) {
    struct ci_view view = from->view;
    view.data = (void *)from->host;
    for (int64_t row = 0; from->host && row < view.rows; row++) ci_view_row(&view, row, numbers + row * view.cols);
}

/* Heads are equally wide, so one op does them all, with the weight of queries or keys once for each head. */
static struct ci_tensor *norm_each_head(struct ci_builder *b, struct ci_tensor *x, bool own_weights) {
    const struct ci_layer *layer = ci_build_layer(b);
    int width = layer->head_dim, heads = layer->heads + layer->kv_heads;
    struct ci_tensor *q = weight(b, true, own_weights ? layer->heads : 1, width, "attn_q_norm", ".weight");
    struct ci_tensor *k = weight(b, true, own_weights ? layer->kv_heads : 1, width, "attn_k_norm", ".weight");
    if (failed(b)) return NULL;
    char name[NAME_BYTES];
    float *numbers;
    full_name(b, name, "attn_qk_norm", "");
    struct ci_tensor *both = ci_model_computed(b->model, name, (int64_t)heads * width, &numbers);
    if (!both) set_status(b, CLINFER_OUT_OF_MEMORY);
    for (int i = 0, rows; numbers && i < heads; i += rows) {
        const struct ci_tensor *from = i < layer->heads ? q : k;
        rows = ci_narrowed(from->view.rows);
        copy_rows(from, numbers + (size_t)i * (size_t)width);
    }
    return norm_slices(b, "attn_qk_norm", x, both, 0, heads, width, own_weights);
}

struct ci_tensor *ci_build_head_norm(struct ci_builder *b, enum ci_head_norm kind, struct ci_tensor *x) {
    const struct ci_layer *layer = ci_build_layer(b);
    int queries = layer->heads * layer->head_dim, keys = layer->kv_heads * layer->head_dim;
    if (failed(b) || kind == CI_HEAD_NORM_NONE) return x;
    if (kind == CI_HEAD_NORM_EACH && !ci_build_has(b, "attn_q_norm.weight") && !ci_build_has(b, "attn_k_norm.weight"))
        return x;
    if (kind != CI_HEAD_NORM_ROWS) return norm_each_head(b, x, kind == CI_HEAD_NORM_EACH);
    struct ci_tensor *q = weight(b, true, 1, queries, "attn_q_norm", ".weight");
    struct ci_tensor *k = weight(b, true, 1, keys, "attn_k_norm", ".weight");
    x = norm_slices(b, "attn_q_norm", x, q, 0, 1, queries, false);
    return norm_slices(b, "attn_k_norm", x, k, queries, 1, keys, false);
}

struct ci_tensor *ci_build_temperature(struct ci_builder *b, struct ci_tensor *x, int columns) {
    const struct ci_hyper *h = &b->model->hyper;
    if (h->attention_temperature == 0) return x;
    struct ci_params params = {.i = {[CI_TEMPERATURE_I_COLUMNS] = columns},
                               .f = {[CI_TEMPERATURE_F_SCALE] = h->attention_temperature,
                                     [CI_TEMPERATURE_F_LENGTH] = (float)h->temperature_floor}};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, b->run->positions};
    return ci_build_op(b, &ci_op_temperature, "attn_temperature", in, &params);
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
                                     [CI_ROPE_I_NEOX] = pairs == CI_ROPE_HALVES || b->model->rope_halves}};
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, b->rope_tables[layer->rope_table]};
    return ci_build_op(b, &ci_op_rope, "rope", in, &params);
}

struct ci_tensor *ci_build_attention(struct ci_builder *b, struct ci_tensor *x, struct ci_tensor *sinks) {
    if (failed(b)) return NULL;
    const struct ci_layer *layer = ci_build_layer(b);
    int queries = layer->heads * layer->head_dim, keys = layer->kv_heads * layer->head_dim;
    enum ci_cache_group group = ci_cache_group(layer->window);
    struct ci_tensor *cache[CI_MAX_OUTPUTS] = {
        ci_model_state(b->model, CI_STATE_KEYS, b->layer, keys, layer->window),
        ci_model_state(b->model, CI_STATE_VALUES, b->layer, layer->kv_heads * layer->value_dim, layer->window)};
    if (!cache[0] || !cache[1]) set_status(b, CLINFER_OUT_OF_MEMORY);
    struct ci_params append = {.i = {[CI_KV_I_KEY_COLUMN] = queries, [CI_KV_I_VALUE_COLUMN] = queries + keys}};
    struct ci_tensor *append_in[CI_MAX_INPUTS] = {x, b->run->slots[group]};
    ci_graph_add(b->graph, &ci_op_kv_append, ci_build_label(b, "kv_append"), append_in, cache, &append);

    const struct ci_hyper *h = &b->model->hyper;
    struct ci_params params = {
        .i = {[CI_ATTENTION_I_HEADS] = layer->heads,
              [CI_ATTENTION_I_KV_HEADS] = layer->kv_heads,
              [CI_ATTENTION_I_HEAD_DIM] = layer->head_dim,
              [CI_ATTENTION_I_VALUE_DIM] = layer->value_dim == layer->head_dim ? 0 : layer->value_dim,
              [CI_ATTENTION_I_WINDOW] = layer->window,
              [CI_ATTENTION_I_WINDOW_KIND] = h->window_kind,
              [CI_ATTENTION_I_BOTH_WAYS] = !h->causal},
        .f = {[CI_ATTENTION_F_SOFTCAP] = h->attention_softcap}};
    params.f[CI_ATTENTION_F_SCALE] =
        h->attention_scale != 0 ? h->attention_scale : 1.0f / sqrtf((float)layer->head_dim);
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, cache[0], cache[1], b->run->tiles, b->run->pages[group], sinks};
    return ci_build_op(b, &ci_op_attention, "attention", in, &params);
}

struct ci_tensor *ci_build_embedding(struct ci_builder *b) {
    struct ci_tensor *table = weight(b, true, -1, b->model->hyper.embedding, "token_embd", ".weight");
    struct ci_tensor *in[CI_MAX_INPUTS] = {table, b->run->ids, b->model->sampled};
    return ci_build_op(b, &ci_op_embed, "token_embd", in, NULL);
}

struct ci_tensor *ci_build_positions(struct ci_builder *b) {
    const struct ci_hyper *h = &b->model->hyper;
    struct ci_tensor *table = weight(b, true, h->context, h->embedding, "position_embd", ".weight");
    struct ci_tensor *in[CI_MAX_INPUTS] = {table, b->run->positions, b->model->sampled};
    return ci_build_op(b, &ci_op_embed, "position_embd", in, NULL);
}

struct ci_tensor *ci_build_first_row(struct ci_builder *b, const char *stem, struct ci_tensor *x) {
    char name[NAME_BYTES];
    float *ones, *numbers;
    if (failed(b)) return NULL;
    int64_t cols = x->view.cols;
    struct ci_tensor *rows = weight(b, false, -1, cols, stem, ".weight");
    if (!rows) return x;
    struct ci_tensor *factors = ci_model_computed(b->model, full_name(b, name, stem, ".factors"), cols, &ones);
    struct ci_tensor *offsets = ci_model_computed(b->model, full_name(b, name, stem, ".offsets"), cols, &numbers);
    if (!factors || !offsets) set_status(b, CLINFER_OUT_OF_MEMORY);
    for (int64_t i = 0; ones && i < cols; i++) ones[i] = 1;
    if (numbers && rows->host) {
        struct ci_view view = rows->view;
        view.data = (void *)rows->host;
        ci_view_row(&view, 0, numbers);
    }
    struct ci_tensor *in[CI_MAX_INPUTS] = {x, factors, offsets};
    return ci_build_op(b, &ci_op_affine, stem, in, NULL);
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
    if (failed(b)) return;
    bool vectors = ci_model_makes_vectors(b->model); /* of which nobody samples, and which are as wide as they are */
    struct ci_tensor *mask =
        vectors ? NULL : ci_model_state(b->model, CI_STATE_MASK, -1, CI_MASK_WORDS(logits->view.cols), 0);
    if (!mask && !vectors) set_status(b, CLINFER_OUT_OF_MEMORY);
    b->model->mask = mask;
    struct ci_tensor *in[CI_MAX_INPUTS] = {logits, b->run->sampler, [CI_SAMPLE_MASK] = mask},
                     *out[CI_MAX_OUTPUTS] = {b->model->sampled};
    ci_graph_add(b->graph, &ci_op_sample, "sample", in, out, NULL);
    b->run->logits = logits;
    /* Once: when plans are made later, others read it. */
    if (b->model->outputs != logits->view.cols) b->model->outputs = ci_narrowed(logits->view.cols);
    b->run->not_finite = b->graph->last ? b->graph->last->out[1] : NULL;
}
