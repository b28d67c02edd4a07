/* model.c: what all families share: finding weights, checking shapes, making states. */
#include "model/model.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/kind.h"
#include "graph/places.h"
#include "tensor/op_params.h"

#define CI_FAMILY(symbol) extern const struct ci_family ci_family_##symbol;
#include "model/family_list.inc"
#undef CI_FAMILY

const struct ci_family *const ci_families[] = {
#define CI_FAMILY(symbol) &ci_family_##symbol,
#include "model/family_list.inc"
#undef CI_FAMILY
    NULL};

enum {
    MAX_LAYERS = CI_MAX_UNITS - 2, /* what stands before and behind them are units, too */
    MAX_WIDTH = 1 << 20,
    MAX_HEADS = 4096,
    MAX_CONTEXT = 1 << 28,
    MAX_HEAD_DIM = 512,
    KEY_BYTES = 160
};

static void full_key(const struct ci_model *model, const char *key, char text[KEY_BYTES]) {
    snprintf(text, KEY_BYTES, "%s.%s", model->family->architecture, key);
}

/* A list with a number per layer that says the same for all of them. */
static enum clinfer_status equal_numbers(const struct ci_model *model, const struct ci_gguf_value *list,
                                         uint32_t minimum, uint32_t maximum, int *value) {
    const char *path = ci_gguf_path(model->gguf);
    if (list->count != (uint64_t)model->hyper.blocks)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRIu64 " numbers for %d layers", path, list->key, list->count,
                       model->hyper.blocks);
    int64_t first = ci_gguf_integer_at(list, 0);
    for (uint64_t i = 1; i < list->count; i++)
        if (ci_gguf_integer_at(list, i) != first)
            return ci_fail(CLINFER_UNSUPPORTED,
                           "%s: %s: %" PRId64 " in layer 0, %" PRId64 " in layer %" PRIu64
                           ": layers that differ are not supported; choose a model whose layers are alike",
                           path, list->key, first, ci_gguf_integer_at(list, i), i);
    if (first < minimum || first > maximum)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s: %" PRId64 " in each layer: must be between %" PRIu32 " and %" PRIu32,
                       path, list->key, first, minimum, maximum);
    *value = ci_narrowed(first);
    return CLINFER_OK;
}

enum clinfer_status ci_model_integer(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                     uint32_t minimum, uint32_t maximum, int *value) {
    char name[KEY_BYTES];
    full_key(model, key, name);
    const struct ci_gguf_value *found = ci_gguf_find(model->gguf, name);
    if (found && found->type == CI_GGUF_ARRAY && ci_gguf_type_is_integer(found->element_type) && model->hyper.blocks)
        return equal_numbers(model, found, minimum, maximum, value);
    uint32_t number = (uint32_t)*value;
    enum clinfer_status status = ci_gguf_get_u32_range(model->gguf, name, need, minimum, maximum, &number);
    if (status == CLINFER_OK) *value = (int)number;
    return status;
}

enum clinfer_status ci_model_float(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                   float *value) {
    char name[KEY_BYTES];
    full_key(model, key, name);
    return ci_gguf_get_f32(model->gguf, name, need, value);
}

static struct ci_tensor *make_tensor(struct ci_model *model, enum ci_tensor_kind kind, const char *name,
                                     const struct ci_type *type, int64_t rows, int64_t cols) {
    struct ci_tensor *tensor = ci_arena_alloc(&model->arena, sizeof *tensor);
    const char *kept = ci_arena_string(&model->arena, name, strlen(name));
    if (!tensor || !kept) {
        ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
        return NULL;
    }
    *tensor = (struct ci_tensor){.name = kept, .kind = kind, .place = -1};
    ci_view_set(&tensor->view, type, rows, cols);
    return tensor;
}

/* Dimensions of 1 behind the last one change nothing. */
static enum clinfer_status check_shape(const struct ci_model *model, const struct ci_gguf_tensor *found, int64_t rows,
                                       int64_t cols) {
    const char *path = ci_gguf_path(model->gguf);
    if (found->dims[2] != 1 || found->dims[3] != 1 || found->dims[0] != (uint64_t)cols ||
        (rows >= 0 && found->dims[1] != (uint64_t)rows)) {
        char wanted[24] = "any";
        if (rows >= 0) snprintf(wanted, sizeof wanted, "%" PRId64, rows);
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: tensor %s: shape is [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                       "], expected [%" PRId64 ", %s]; the file does not fit its own metadata",
                       path, found->name, found->dims[0], found->dims[1], found->dims[2], found->dims[3], cols, wanted);
    }
    const struct ci_type *type = ci_type_from_gguf(found->type);
    const struct ci_gguf_tensor_type *known = ci_gguf_tensor_type(found->type);
    if (!type)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: tensor %s: type %s is not supported; choose a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, "
            "Q8_0 or Q6_K",
            path, found->name, known ? known->name : "unknown");
    if (!ci_type_fits_cols(type, cols))
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: rows of %" PRId64 " are no whole number of %s blocks", path,
                       found->name, cols, type->name);
    if (rows == 1 && type != &ci_type_f32)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: tensor %s: type %s where only F32 is supported", path, found->name,
                       type->name);
    return CLINFER_OK;
}

enum clinfer_status ci_model_weight(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                    int64_t cols, const char *format, ...) {
    char name[KEY_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof name, format, arguments);
    va_end(arguments);
    *weight = NULL;
    const struct ci_gguf_tensor *found = ci_gguf_find_tensor(model->gguf, name);
    if (!found && !required) return CLINFER_OK;
    if (!found)
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: is missing; the file is no complete %s model",
                       ci_gguf_path(model->gguf), name, model->family->architecture);
    enum clinfer_status status = check_shape(model, found, rows, cols);
    if (status != CLINFER_OK) return status;
    model->taken[found - ci_gguf_tensor_at(model->gguf, 0)] = true;
    int64_t has_rows = (int64_t)found->dims[1];
    *weight = make_tensor(model, CI_TENSOR_WEIGHT, name, ci_type_from_gguf(found->type), has_rows, cols);
    if (!*weight) return CLINFER_OUT_OF_MEMORY;
    (*weight)->host = found->data;
    model->parameters += (uint64_t)has_rows * (uint64_t)cols;
    return CLINFER_OK;
}

struct ci_tensor *ci_model_computed(struct ci_model *model, const char *name, int64_t cols, float **numbers) {
    *numbers = ci_arena_array(&model->arena, (size_t)cols, sizeof **numbers);
    struct ci_tensor *tensor = *numbers ? make_tensor(model, CI_TENSOR_WEIGHT, name, &ci_type_f32, 1, cols) : NULL;
    if (tensor) tensor->host = *numbers;
    return tensor;
}

/* The last blocks of some files predict tokens further ahead, for speculative decoding; they are known by the matrix
 * that joins the two inputs of such a block. The graph runs those before them. */
static enum clinfer_status count_layers(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    int predicting = 0;
    enum clinfer_status status =
        ci_model_integer(model, "nextn_predict_layers", CI_GGUF_OPTIONAL, 0, (uint32_t)h->blocks - 1, &predicting);
    h->layers = h->blocks - predicting;
    for (int i = h->layers; i < h->blocks && status == CLINFER_OK; i++)
        if (!ci_model_predicts_ahead(model, i))
            status = ci_fail(CLINFER_UNSUPPORTED,
                             "%s: %s.nextn_predict_layers: %d, but blk.%d is an ordinary layer (it has no "
                             "nextn.eh_proj.weight); convert the model again",
                             ci_gguf_path(model->gguf), model->family->architecture, predicting, i);
    return status;
}

bool ci_model_predicts_ahead(const struct ci_model *model, int block) {
    char name[KEY_BYTES];
    snprintf(name, sizeof name, "blk.%d.nextn.eh_proj.weight", block);
    return ci_gguf_find_tensor(model->gguf, name) != NULL;
}

static enum clinfer_status read_integers(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    const struct {
        const char *key;
        enum ci_gguf_need need;
        uint32_t minimum, maximum;
        int *value;
    } keys[] = {{"block_count", CI_GGUF_REQUIRED, 1, MAX_LAYERS, &h->blocks},
                {"embedding_length", CI_GGUF_REQUIRED, 1, MAX_WIDTH, &h->embedding},
                {"feed_forward_length", CI_GGUF_REQUIRED, 1, MAX_WIDTH, &h->feed_forward},
                {"context_length", CI_GGUF_REQUIRED, 1, MAX_CONTEXT, &h->context},
                {"attention.head_count", CI_GGUF_REQUIRED, 1, MAX_HEADS, &h->heads},
                {"attention.head_count_kv", CI_GGUF_OPTIONAL, 1, MAX_HEADS, &h->kv_heads},
                {"attention.key_length", CI_GGUF_OPTIONAL, 1, MAX_HEAD_DIM, &h->head_dim},
                {"rope.dimension_count", CI_GGUF_OPTIONAL, 2, MAX_HEAD_DIM, &h->rotated}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        enum clinfer_status status =
            ci_model_integer(model, keys[i].key, keys[i].need, keys[i].minimum, keys[i].maximum, keys[i].value);
        if (status != CLINFER_OK) return status;
    }
    if (!h->kv_heads) h->kv_heads = h->heads;
    if (!h->head_dim) h->head_dim = h->embedding / h->heads;
    if (!h->rotated) h->rotated = h->head_dim;
    return count_layers(model);
}

static enum clinfer_status read_hyper(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    const char *path = ci_gguf_path(model->gguf);
    enum clinfer_status status = read_integers(model);
    int value_length = h->head_dim;
    h->rope_base = 10000;
    if (status == CLINFER_OK)
        status = ci_model_integer(model, "attention.value_length", CI_GGUF_OPTIONAL, 1, MAX_HEAD_DIM, &value_length);
    if (status == CLINFER_OK)
        status = ci_model_float(model, "attention.layer_norm_rms_epsilon", CI_GGUF_REQUIRED, &h->eps);
    if (status == CLINFER_OK) status = ci_model_float(model, "rope.freq_base", CI_GGUF_OPTIONAL, &h->rope_base);
    if (status != CLINFER_OK) return status;
    if (h->heads % h->kv_heads)
        return ci_fail(CLINFER_BAD_FILE, "%s: attention.head_count_kv: %d does not divide attention.head_count %d",
                       path, h->kv_heads, h->heads);
    if (value_length != h->head_dim || h->head_dim < 1 || h->head_dim > MAX_HEAD_DIM || h->rotated > h->head_dim ||
        h->rotated % 2)
        return ci_fail(
            CLINFER_UNSUPPORTED,
            "%s: heads with keys of %d, values of %d and %d rotated are not supported: keys and values must be "
            "alike, at most %d, and the rotated part even and no larger",
            path, h->head_dim, value_length, h->rotated, MAX_HEAD_DIM);
    if (!(h->eps > 0) || !(h->rope_base > 0))
        return ci_fail(CLINFER_BAD_FILE, "%s: layer_norm_rms_epsilon %g and rope.freq_base %g must be positive", path,
                       (double)h->eps, (double)h->rope_base);
    return CLINFER_OK;
}

static enum clinfer_status find_family(struct ci_model *model) {
    struct ci_gguf_string name;
    enum clinfer_status status = ci_gguf_get_string(model->gguf, "general.architecture", CI_GGUF_REQUIRED, &name);
    if (status != CLINFER_OK) return status;
    char known[256] = "";
    for (int i = 0; ci_families[i]; i++) {
        const char *architecture = ci_families[i]->architecture;
        if (strlen(architecture) == name.length && memcmp(architecture, name.text, name.length) == 0) {
            model->family = ci_families[i];
            return CLINFER_OK;
        }
        ci_names_add(known, sizeof known, architecture);
    }
    return ci_fail(CLINFER_UNSUPPORTED, "%s: general.architecture: \"%.*s\" is not supported; supported are: %s",
                   ci_gguf_path(model->gguf), ci_shown(name.length, 64), name.text, known);
}

enum clinfer_status ci_model_open(const struct ci_gguf *gguf, struct ci_model *model) {
    *model = (struct ci_model){.gguf = gguf, .next_finding = &model->findings};
    enum clinfer_status status = ci_kind_check_metadata(gguf);
    if (status == CLINFER_OK) status = find_family(model);
    if (status == CLINFER_OK) status = ci_kind_check_weights(gguf);
    if (status == CLINFER_OK) status = ci_judge_keys(model);
    if (status == CLINFER_OK) status = read_hyper(model);
    model->taken = ci_arena_array(&model->arena, ci_gguf_tensor_count(gguf) + 1, sizeof *model->taken);
    if (status == CLINFER_OK && !model->taken)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(gguf));
    if (status == CLINFER_OK) status = ci_model_make_frequencies(model);
    if (status == CLINFER_OK)
        status = ci_model_weight(model, &model->embedding, true, -1, model->hyper.embedding, "token_embd.weight");
    if (status == CLINFER_OK && !ci_narrow(model->embedding->view.rows, &model->hyper.vocabulary))
        status =
            ci_fail(CLINFER_UNSUPPORTED, "%s: tensor token_embd.weight: %" PRId64 " rows: at most %d are supported",
                    ci_gguf_path(gguf), model->embedding->view.rows, INT32_MAX);
    if (status == CLINFER_OK) {
        model->layers = ci_arena_array(&model->arena, (size_t)model->hyper.layers, sizeof *model->layers);
        status = model->layers ? model->family->load(model)
                               : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", ci_gguf_path(gguf));
    }
    if (status == CLINFER_OK) status = ci_judge_tensors(model);
    if (status != CLINFER_OK) ci_model_close(model);
    return status;
}

void ci_model_close(struct ci_model *model) {
    ci_arena_destroy(&model->arena);
    *model = (struct ci_model){0};
}

enum clinfer_status ci_model_make_states(struct ci_model *model, const struct ci_type *key_type,
                                         const struct ci_type *value_type, int64_t rows, int64_t wanted) {
    int64_t cols = (int64_t)model->hyper.kv_heads * model->hyper.head_dim;
    for (int i = 0; i < model->hyper.layers; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.keys", i);
        model->layers[i].keys = make_tensor(model, CI_TENSOR_STATE, name, key_type, rows, cols);
        snprintf(name, sizeof name, "blk.%d.values", i);
        model->layers[i].values = make_tensor(model, CI_TENSOR_STATE, name, value_type, rows, cols);
        if (!model->layers[i].keys || !model->layers[i].values) return CLINFER_OUT_OF_MEMORY;
    }
    model->sampled = make_tensor(model, CI_TENSOR_STATE, "sampled", &ci_type_i32, wanted, 1);
    if (!model->sampled) return CLINFER_OUT_OF_MEMORY;
    model->sampled->view.extent = CI_EXTENT_WANTED;
    return CLINFER_OK;
}

static struct ci_tensor *run_input(struct ci_graph *graph, const char *name, const struct ci_type *type,
                                   enum ci_extent extent, int64_t rows, int64_t cols) {
    struct ci_tensor *tensor = ci_arena_alloc(&graph->arena, sizeof *tensor);
    if (!tensor) {
        graph->status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
        return NULL;
    }
    *tensor = (struct ci_tensor){.name = name, .kind = CI_TENSOR_INPUT, .place = -1};
    ci_view_set(&tensor->view, type, rows, cols);
    tensor->view.extent = extent;
    return tensor;
}

enum clinfer_status ci_model_build(const struct ci_model *model, const int64_t rows[CI_EXTENT_COUNT], int64_t sequences,
                                   int64_t pages, struct ci_graph *graph, struct ci_run *run) {
    ci_graph_init(graph, rows);
    int64_t r = rows[CI_EXTENT_ROWS], w = rows[CI_EXTENT_WANTED], t = rows[CI_EXTENT_TILES];
    *run = (struct ci_run){
        .ids = run_input(graph, "ids", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
        .positions = run_input(graph, "positions", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
        .slots = run_input(graph, "slots", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
        .wanted = run_input(graph, "wanted", &ci_type_i32, CI_EXTENT_WANTED, w, 1),
        .tiles = run_input(graph, "tiles", &ci_type_i32, CI_EXTENT_TILES, t, 4),
        .pages = run_input(graph, "pages", &ci_type_i32, CI_EXTENT_FIXED, sequences, pages),
        .sampler = run_input(graph, "sampler", &ci_type_f32, CI_EXTENT_WANTED, w, CI_SAMPLER_COLS),
    };
    if (graph->status == CLINFER_OK) model->family->build(model, graph, run);
    enum clinfer_status status = graph->status;
    if (status != CLINFER_OK) ci_graph_destroy(graph);
    return status;
}

static uint64_t hash_weight(uint64_t hash, const struct ci_tensor *weight) {
    if (!weight) return ci_hash(hash, "", 1);
    const struct ci_view *view = &weight->view;
    hash = ci_hash(hash, view->type->name, strlen(view->type->name) + 1);
    hash = ci_hash(hash, &view->rows, sizeof view->rows);
    return ci_hash(hash, &view->cols, sizeof view->cols);
}

uint64_t ci_model_fingerprint(const struct ci_model *model) {
    const struct ci_hyper *h = &model->hyper;
    const int numbers[] = {h->layers, h->heads, h->kv_heads, h->head_dim, h->rotated};
    uint64_t hash = ci_hash(CI_HASH_START, model->family->architecture, strlen(model->family->architecture) + 1);
    hash = ci_hash(hash, numbers, sizeof numbers);
    hash = hash_weight(hash_weight(hash, model->embedding), model->output.weights[0]);
    for (int i = 0; i < h->layers; i++) {
        const struct ci_layer *layer = &model->layers[i];
        const struct ci_tensor *const weights[] = {layer->qkv.weights[0],     layer->qkv.weights[1],
                                                   layer->qkv.weights[2],     layer->attention_output.weights[0],
                                                   layer->qkv.biases[0],      layer->gate_up.weights[0],
                                                   layer->gate_up.weights[1], layer->down.weights[0]};
        for (size_t k = 0; k < sizeof weights / sizeof *weights; k++) hash = hash_weight(hash, weights[k]);
    }
    return hash;
}
