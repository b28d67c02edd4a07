/* weights.c: tensors that outlive a graph: weights by name, what is computed from them once, and states. Whoever builds
 * asks for them; the first time they are made, and every later graph gets the same ones. */
#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "model/model.h"
#include "types/layout.h"

static enum clinfer_status out_of_memory(const char *name) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
}

static struct ci_tensor *make_tensor(struct ci_model *model, enum ci_tensor_kind kind, const char *name,
                                     const struct ci_type *type, int64_t rows, int64_t cols) {
    struct ci_tensor *tensor = ci_arena_alloc(&model->arena, sizeof *tensor);
    const char *kept = ci_arena_string(&model->arena, name, strlen(name));
    if (!tensor || !kept) return NULL;
    *tensor = (struct ci_tensor){.name = kept, .kind = kind, .place = -1};
    ci_view_set(&tensor->view, type, rows, cols);
    return tensor;
}

static struct ci_tensor *add_weight(struct ci_model *model, const char *name, const struct ci_type *type, int64_t rows,
                                    int64_t cols, const void *host) {
    struct ci_weight *weight = ci_arena_alloc(&model->arena, sizeof *weight);
    struct ci_tensor *tensor = weight ? make_tensor(model, CI_TENSOR_WEIGHT, name, type, rows, cols) : NULL;
    if (!tensor) return NULL;
    tensor->host = host;
    *weight = (struct ci_weight){.tensor = tensor};
    *model->next_weight = weight;
    model->next_weight = &weight->next;
    return tensor;
}

/* ---- weights of the file ---- */

/* What is added or multiplied number by number, be it for each of many experts. */
static bool is_vector(const char *name, int64_t rows) { return rows == 1 || fnmatch("*.bias", name, 0) == 0; }

/* Dimensions of 1 behind the last one change nothing; those of experts lie one behind the other as rows. */
static enum clinfer_status check_shape(const struct ci_model *model, const struct ci_gguf_tensor *found, int64_t rows,
                                       int64_t cols) {
    const struct ci_gguf *gguf = model->gguf;
    if (found->dims[3] != 1 || found->dims[0] != (uint64_t)cols ||
        (rows < 0 ? found->dims[2] != 1 : found->dims[1] * found->dims[2] != (uint64_t)rows)) {
        char wanted[24] = "any";
        if (rows >= 0) snprintf(wanted, sizeof wanted, "%" PRId64, rows);
        return ci_fail(CLINFER_BAD_FILE,
                       "%s: tensor %s: shape is [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                       "], expected [%" PRId64 ", %s]; the file does not fit its own metadata",
                       CI_TENSOR_AT(gguf, found->name), found->dims[0], found->dims[1], found->dims[2], found->dims[3],
                       cols, wanted);
    }
    const struct ci_type *type = ci_type_from_gguf(found->type);
    const struct ci_gguf_tensor_type *known = ci_gguf_tensor_type(found->type);
    if (!type) {
        char types[512] = "";
        for (int i = 0; ci_types[i]; i++)
            if (ci_types[i]->gguf_id != CI_TYPE_NOT_IN_FILES)
                ci_names_add(types, sizeof types, ci_gguf_tensor_type((uint32_t)ci_types[i]->gguf_id)->name);
        return ci_fail(CLINFER_UNSUPPORTED, "%s: tensor %s: type %s is not supported; choose a file with types of %s",
                       CI_TENSOR_AT(gguf, found->name), known ? known->name : "unknown", types);
    }
    if (!ci_type_fits_cols(type, cols))
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: rows of %" PRId64 " are no whole number of %s blocks",
                       CI_TENSOR_AT(gguf, found->name), cols, type->name);
    if (is_vector(found->name, rows) && type->quantised)
        return ci_fail(CLINFER_UNSUPPORTED, "%s: tensor %s: type %s where only F32, F16 and BF16 are supported",
                       CI_TENSOR_AT(gguf, found->name), known->name);
    return CLINFER_OK;
}

/* Vectors are f32 in every graph: halves become that here, once. NULL without memory. */
static struct ci_tensor *add_from_file(struct ci_model *model, const struct ci_gguf_tensor *found, bool vector) {
    const struct ci_type *type = ci_type_from_gguf(found->type);
    int64_t rows = (int64_t)(found->dims[1] * found->dims[2]), cols = (int64_t)found->dims[0];
    const void *host = found->data;
    if (vector && type != &ci_type_f32) {
        float *numbers = ci_arena_array(&model->arena, (size_t)(rows * cols), sizeof *numbers);
        if (!numbers) return NULL;
        type->dequantise(found->data, numbers, rows * cols);
        type = &ci_type_f32;
        host = numbers;
    }
    model->parameters += (uint64_t)rows * (uint64_t)cols;
    return add_weight(model, found->name, type, rows, cols, host);
}

static enum clinfer_status take(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                int64_t cols, const char *name) {
    const struct ci_gguf_tensor *found = ci_gguf_find_tensor(model->gguf, name);
    if (!found && !required) return CLINFER_OK;
    if (!found)
        return ci_fail(CLINFER_BAD_FILE, "%s: tensor %s: is missing; the file is no complete %s model",
                       CI_TENSOR_AT(model->gguf, name), model->family->architecture);
    enum clinfer_status status = check_shape(model, found, rows, cols);
    if (status != CLINFER_OK) return status;
    struct ci_tensor **taken = &model->taken[found - ci_gguf_tensor_at(model->gguf, 0)];
    if (!*taken) *taken = add_from_file(model, found, is_vector(name, rows));
    if (!*taken) return out_of_memory(name);
    *weight = *taken;
    return CLINFER_OK;
}

/* Of a model without a file, which has what it is asked for. */
static enum clinfer_status imagine(struct ci_model *model, struct ci_tensor **weight, int64_t rows, int64_t cols,
                                   const char *name) {
    bool embedding = rows < 0 || rows == model->hyper.vocabulary;
    const struct ci_type *type = embedding ? model->imagined->embedding : model->imagined->matrices;
    if (rows < 0) rows = model->hyper.vocabulary;
    if (rows == 1) type = &ci_type_f32;
    if (!ci_type_fits_cols(type, cols)) type = &ci_type_q8_0;
    *weight = ci_model_find(model, name);
    if (!*weight) *weight = add_weight(model, name, type, rows, cols, NULL);
    return *weight ? CLINFER_OK : out_of_memory(name);
}

bool ci_model_has(const struct ci_model *model, const char *name) {
    if (!model->imagined) return ci_gguf_find_tensor(model->gguf, name) != NULL;
    const char *at = model->imagined->optional;
    char pattern[128];
    for (size_t length; at && *at; at += length + strspn(at + length, " ")) {
        length = strcspn(at, " ");
        snprintf(pattern, sizeof pattern, "%.*s", ci_shown(length, sizeof pattern - 1), at);
        if (fnmatch(pattern, name, 0) == 0) return true;
    }
    return false;
}

static bool is_unused(const struct ci_model *model, const char *name) {
    for (const struct ci_left_out *unused = model->family->unused; unused && unused->pattern; unused++)
        if (fnmatch(unused->pattern, name, 0) == 0) return true;
    return false;
}

enum clinfer_status ci_model_weight(struct ci_model *model, struct ci_tensor **weight, bool required, int64_t rows,
                                    int64_t cols, const char *name) {
    *weight = NULL;
    if (!required && is_unused(model, name)) return CLINFER_OK;
    if (!model->imagined) return take(model, weight, required, rows, cols, name);
    return required || ci_model_has(model, name) ? imagine(model, weight, rows, cols, name) : CLINFER_OK;
}

uint64_t ci_model_token_bytes(const struct ci_model *model) {
    bool untied = ci_model_find(model, "output.weight") != NULL;
    uint64_t bytes = 0;
    for (const struct ci_weight *weight = model->weights; weight; weight = weight->next) {
        const struct ci_view *view = &weight->tensor->view;
        if (untied && strcmp(weight->tensor->name, "token_embd.weight") == 0) continue;
        uint64_t all = ci_layout_bytes(view->layout, view->type, view->rows, view->cols);
        bool experts = fnmatch("*_exps.weight", weight->tensor->name, 0) == 0 && model->hyper.experts > 0;
        bytes += experts ? all / (uint64_t)model->hyper.experts * (uint64_t)model->hyper.experts_used : all;
    }
    return bytes;
}

/* ---- what is computed ---- */

/* One that is in no file under this name. */
static struct ci_tensor *add_computed(struct ci_model *model, const char *name, const struct ci_type *type,
                                      int64_t cols, const void *host) {
    struct ci_weight **weight = model->next_weight;
    struct ci_tensor *tensor = add_weight(model, name, type, 1, cols, host);
    if (tensor) (*weight)->computed = true;
    if (!tensor) out_of_memory(name);
    return tensor;
}

struct ci_tensor *ci_model_find(const struct ci_model *model, const char *name) {
    for (const struct ci_weight *weight = model->weights; weight; weight = weight->next)
        if (strcmp(weight->tensor->name, name) == 0) return weight->tensor;
    return NULL;
}

struct ci_tensor *ci_model_computed(struct ci_model *model, const char *name, int64_t cols, float **numbers) {
    struct ci_tensor *tensor = ci_model_find(model, name);
    *numbers = NULL;
    if (tensor) return tensor;
    *numbers = ci_arena_array(&model->arena, (size_t)cols, sizeof **numbers);
    if (*numbers) return add_computed(model, name, &ci_type_f32, cols, *numbers);
    out_of_memory(name);
    return NULL;
}

struct ci_tensor *ci_model_flat(struct ci_model *model, const struct ci_tensor *weight) {
    char name[128];
    snprintf(name, sizeof name, "%s.flat", weight->name);
    struct ci_tensor *flat = ci_model_find(model, name);
    if (flat) return flat;
    return add_computed(model, name, weight->view.type, weight->view.rows * weight->view.cols, weight->host);
}

/* ---- states ---- */

struct ci_tensor *ci_model_state(struct ci_model *model, enum ci_state_kind kind, int layer, int64_t cols, int window) {
    static const char *const names[] = {[CI_STATE_KEYS] = "keys",
                                        [CI_STATE_VALUES] = "values",
                                        [CI_STATE_SAMPLED] = "sampled",
                                        [CI_STATE_MASK] = "mask"};
    const bool is_cache = kind == CI_STATE_KEYS || kind == CI_STATE_VALUES;
    for (struct ci_state *state = model->states; state; state = state->next)
        if (state->kind == kind && state->layer == layer) return state->tensor;
    char name[64];
    if (layer < 0)
        snprintf(name, sizeof name, "%s", names[kind]);
    else
        snprintf(name, sizeof name, "blk.%d.%s", layer, names[kind]);
    struct ci_state *state = ci_arena_alloc(&model->arena, sizeof *state);
    const struct ci_type *type = is_cache ? &ci_type_f32 : &ci_type_i32;
    struct ci_tensor *tensor =
        state ? make_tensor(model, CI_TENSOR_STATE, name, type, is_cache ? CI_PAGE_ROWS : 1, cols) : NULL;
    if (!tensor) {
        out_of_memory(name);
        return NULL;
    }
    if (!is_cache) tensor->view.extent = CI_EXTENT_WANTED;
    *state = (struct ci_state){.kind = kind, .layer = layer, .window = window, .tensor = tensor};
    *model->next_state = state;
    model->next_state = &state->next;
    return tensor;
}

void ci_model_make_states(struct ci_model *model, const struct ci_type *key_type, const struct ci_type *value_type,
                          int64_t rows, int64_t wanted) {
    for (struct ci_state *state = model->states; state; state = state->next) {
        struct ci_view *view = &state->tensor->view;
        if (state->kind == CI_STATE_KEYS) ci_view_set(view, key_type, rows, view->cols);
        if (state->kind == CI_STATE_VALUES) ci_view_set(view, value_type, rows, view->cols);
        if (!ci_state_is_cache(state)) view->rows = wanted;
    }
}

uint64_t ci_model_cache_bytes(const struct ci_model *model, const struct ci_type *key_type,
                              const struct ci_type *value_type, int64_t positions, int64_t step) {
    uint64_t bytes = 0;
    int64_t kept = ci_model_window(model) + step < positions ? ci_model_window(model) + step : positions;
    for (const struct ci_state *state = model->states; state; state = state->next) {
        if (!ci_state_is_cache(state)) continue;
        const struct ci_type *type = state->kind == CI_STATE_KEYS ? key_type : value_type;
        bytes += ci_type_row_bytes(type, state->tensor->view.cols) * (uint64_t)(state->window ? kept : positions);
    }
    return bytes;
}

int ci_model_window(const struct ci_model *model) {
    int widest = 0;
    for (const struct ci_state *state = model->states; state; state = state->next)
        if (state->window > widest) widest = state->window;
    return widest;
}

uint64_t ci_model_fingerprint(const struct ci_model *model) {
    uint64_t hash = ci_hash(CI_HASH_START, model->family->architecture, strlen(model->family->architecture) + 1);
    for (int i = 0; i < model->hyper.layers; i++) hash = ci_hash(hash, &model->layers[i], sizeof *model->layers);
    for (const struct ci_weight *weight = model->weights; weight; weight = weight->next) {
        const struct ci_view *view = &weight->tensor->view;
        hash = ci_hash(hash, view->type->name, strlen(view->type->name) + 1);
        hash = ci_hash(hash, &view->rows, sizeof view->rows);
        hash = ci_hash(hash, &view->cols, sizeof view->cols);
    }
    return hash;
}
