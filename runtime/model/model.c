/* model.c: opening: the family, its numbers, one build that takes the weights, and what is left over; and building the
 * graph of a plan. */
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/names.h"
#include "base/narrow.h"
#include "base/status.h"
#include "format/kind.h"
#include "model/checkpoint.h"
#include "model/decoder.h"
#include "tensor/op_params.h"

#define CI_FAMILY(symbol) extern const struct ci_family ci_family_##symbol;
#include "model/family_list.inc"
#undef CI_FAMILY

const struct ci_family *const ci_families[] = {
#define CI_FAMILY(symbol) &ci_family_##symbol,
#include "model/family_list.inc"
#undef CI_FAMILY
    NULL};

static const struct {
    const char *architecture, *needs;
} unsupported[] = {
#define CI_UNSUPPORTED(architecture, needs) {architecture, needs},
#include "model/unsupported_list.inc"
#undef CI_UNSUPPORTED
};

enum { KEY_BYTES = 160 };

/* ---- single keys ---- */

static void full_key(const struct ci_model *model, const char *key, char text[KEY_BYTES]) {
    snprintf(text, KEY_BYTES, "%s.%s", model->family->architecture, key);
}

enum clinfer_status ci_model_integer(const struct ci_model *model, const char *key, enum ci_gguf_need need,
                                     uint32_t minimum, uint32_t maximum, int *value) {
    char name[KEY_BYTES];
    full_key(model, key, name);
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

bool ci_model_predicts_ahead(const struct ci_model *model, int block) {
    char name[KEY_BYTES];
    snprintf(name, sizeof name, "blk.%d.nextn.eh_proj.weight", block);
    return ci_gguf_find_tensor(model->gguf, name) != NULL;
}

/* ---- building ---- */

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

enum clinfer_status ci_model_build(struct ci_model *model, const int64_t rows[CI_EXTENT_COUNT], int64_t sequences,
                                   int64_t pages, struct ci_graph *graph, struct ci_run *run) {
    ci_graph_init(graph, rows);
    int64_t r = rows[CI_EXTENT_ROWS], w = rows[CI_EXTENT_WANTED], t = rows[CI_EXTENT_TILES];
    *run = (struct ci_run){
        .ids = run_input(graph, "ids", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
        .positions = run_input(graph, "positions", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
        .slots = {run_input(graph, "slots", &ci_type_i32, CI_EXTENT_ROWS, r, 1),
                  run_input(graph, "slots_window", &ci_type_i32, CI_EXTENT_ROWS, r, 1)},
        .wanted = run_input(graph, "wanted", &ci_type_i32, CI_EXTENT_WANTED, w, 1),
        .tiles = run_input(graph, "tiles", &ci_type_i32, CI_EXTENT_TILES, t, CI_TILE_COLS),
        .pages = {run_input(graph, "pages", &ci_type_i32, CI_EXTENT_FIXED, sequences, pages),
                  run_input(graph, "pages_window", &ci_type_i32, CI_EXTENT_FIXED, sequences, pages)},
        .sampler = run_input(graph, "sampler", &ci_type_f32, CI_EXTENT_WANTED, w, CI_SAMPLER_COLS),
    };
    struct ci_builder builder = {.model = model, .graph = graph, .run = run, .layer = -1};
    model->sampled = ci_model_state(model, CI_STATE_SAMPLED, -1, 1, 0);
    if (!model->sampled) graph->status = CLINFER_OUT_OF_MEMORY;
    ci_build_rope_tables(&builder);
    if (graph->status == CLINFER_OK) (model->family->build ? model->family->build : ci_decoder_build)(&builder);
    enum clinfer_status status = graph->status;
    if (status != CLINFER_OK) ci_graph_destroy(graph);
    return status;
}

/* Builds the graph once, so that weights and states are known. */
static enum clinfer_status take(struct ci_model *model) {
    static const int64_t rows[CI_EXTENT_COUNT] = {[CI_EXTENT_ROWS] = 1, [CI_EXTENT_WANTED] = 1, [CI_EXTENT_TILES] = 1};
    struct ci_graph graph;
    struct ci_run run;
    enum clinfer_status status = ci_model_build(model, rows, 1, 1, &graph, &run);
    if (status == CLINFER_OK) ci_graph_destroy(&graph);
    return status;
}

/* ---- opening ---- */

static bool is_named(const char *architecture, const struct ci_gguf_string *name) {
    return strlen(architecture) == name->length && memcmp(architecture, name->text, name->length) == 0;
}

static enum clinfer_status refuse_architecture(const struct ci_model *model, const struct ci_gguf_string *name,
                                               const struct ci_family *const *families) {
    const char *path = ci_gguf_path(model->gguf);
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++)
        if (is_named(unsupported[i].architecture, name))
            return ci_fail(CLINFER_UNSUPPORTED,
                           "%s: general.architecture: \"%s\" is not supported: it needs %s; choose another model", path,
                           unsupported[i].architecture, unsupported[i].needs);
    char known[768] = "";
    for (int i = 0; families[i]; i++) ci_names_add(known, sizeof known, families[i]->architecture);
    return ci_fail(CLINFER_UNSUPPORTED, "%s: general.architecture: \"%.*s\" is not supported; supported are: %s", path,
                   ci_shown(name->length, 64), name->text, known);
}

static enum clinfer_status find_family(struct ci_model *model, const struct ci_family *const *families) {
    struct ci_gguf_string name;
    enum clinfer_status status = ci_gguf_get_string(model->gguf, "general.architecture", CI_GGUF_REQUIRED, &name);
    for (int i = 0; families[i] && status == CLINFER_OK && !model->family; i++)
        if (is_named(families[i]->architecture, &name)) model->family = families[i];
    return status == CLINFER_OK && !model->family ? refuse_architecture(model, &name, families) : status;
}

static void init(struct ci_model *model) {
    *model = (struct ci_model){0};
    model->next_finding = &model->findings;
    model->next_weight = &model->weights;
    model->next_state = &model->states;
}

/* How many ids there are, is told by the matrix that they choose from. */
static enum clinfer_status count_vocabulary(struct ci_model *model) {
    const char *path = ci_gguf_path(model->gguf);
    model->taken = ci_arena_array(&model->arena, ci_gguf_tensor_count(model->gguf) + 1, sizeof(struct ci_tensor *));
    if (!model->taken) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
    struct ci_tensor *embedding;
    enum clinfer_status status =
        ci_model_weight(model, &embedding, true, -1, model->hyper.embedding, "token_embd.weight");
    if (status == CLINFER_OK && !ci_narrow(embedding->view.rows, &model->hyper.vocabulary))
        status =
            ci_fail(CLINFER_UNSUPPORTED, "%s: tensor token_embd.weight: %" PRId64 " rows: at most %d are supported",
                    path, embedding->view.rows, INT32_MAX);
    return status;
}

static enum clinfer_status open_keys(const struct ci_gguf *gguf, const struct ci_family *const *families,
                                     const struct ci_imagined *imagined, struct ci_model *model) {
    init(model);
    model->gguf = gguf;
    model->imagined = imagined;
    if (imagined) model->hyper.vocabulary = imagined->hyper.vocabulary;
    enum clinfer_status status = ci_kind_check_metadata(gguf);
    if (status == CLINFER_OK) status = find_family(model, families);
    if (status == CLINFER_OK && ci_gguf_folder(gguf) && model->family->checkpoint)
        model->rope_halves = model->family->checkpoint->rope_halves;
    if (status == CLINFER_OK && !imagined) status = ci_kind_check_weights(gguf);
    if (status == CLINFER_OK) status = ci_judge_keys(model);
    if (status == CLINFER_OK) status = ci_model_read_hyper(model);
    if (status == CLINFER_OK) status = count_vocabulary(model);
    if (status == CLINFER_OK && model->family->decoder) status = ci_decoder_derive(model);
    if (status == CLINFER_OK && model->family->derive) status = model->family->derive(model);
    int context;
    if (status == CLINFER_OK) status = ci_model_set_context(model, 0, NULL, &context);
    if (status == CLINFER_OK) status = take(model);
    if (status == CLINFER_OK) status = ci_judge_tensors(model);
    if (status != CLINFER_OK) ci_model_close(model);
    return status;
}

enum clinfer_status ci_model_open_as(const struct ci_gguf *gguf, const struct ci_family *const *families,
                                     struct ci_model *model) {
    return open_keys(gguf, families, NULL, model);
}

enum clinfer_status ci_model_open(const struct ci_gguf *gguf, struct ci_model *model) {
    return ci_model_open_as(gguf, ci_families, model);
}

enum clinfer_status ci_model_imagine(const struct ci_imagined *imagined, struct ci_model *model) {
    if (imagined->keys)
        return open_keys(imagined->keys, imagined->families ? imagined->families : ci_families, imagined, model);
    init(model);
    model->imagined = imagined;
    model->hyper = imagined->hyper;
    for (int i = 0; ci_families[i]; i++)
        if (strcmp(ci_families[i]->architecture, imagined->architecture) == 0) model->family = ci_families[i];
    if (!model->family) return ci_fail(CLINFER_UNSUPPORTED, "architecture %s: no such family", imagined->architecture);
    model->layers = ci_arena_array(&model->arena, (size_t)model->hyper.layers, sizeof *model->layers);
    struct ci_rope *rope = &model->rope[0];
    rope->magnitude = 1;
    rope->frequencies = ci_model_computed(model, "rope_frequencies", imagined->layer.rotated / 2, &rope->numbers);
    enum clinfer_status status = CLINFER_OK;
    if (!model->layers || !rope->frequencies)
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", imagined->architecture);
    for (int i = 0; i < model->hyper.layers && status == CLINFER_OK; i++) model->layers[i] = imagined->layer;
    if (status == CLINFER_OK) status = take(model);
    if (status != CLINFER_OK) ci_model_close(model);
    return status;
}

bool ci_model_encodes(const struct ci_model *model) {
    return model->family->decoder && model->family->decoder->encoder;
}

bool ci_model_makes_vectors(const struct ci_model *model) { return model->embeds || ci_model_encodes(model); }

void ci_model_close(struct ci_model *model) {
    ci_arena_destroy(&model->arena);
    *model = (struct ci_model){0};
}
