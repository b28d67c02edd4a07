#define _GNU_SOURCE
#include "tuner/problems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "format/gguf.h"
#include "graph/passes.h"
#include "model/model.h"
#include "model/numbers.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "tensor/op_params.h"

const int64_t ci_tune_rows[CI_TUNE_RUNS] = {1, 8, 64, 512};

/* Pages that the sequence has in each run, its rows being the last: decoding in the middle of a conversation, prompts
 * from their start. Caches have CACHE_PAGES, so that the slots of test data are distinct. */
static const int run_pages[CI_TUNE_RUNS] = {3, 3, 1, 4};
enum { CACHE_PAGES = 7, MOST_TILES = 40, MOST_SEQUENCES = 64 };

/* More than processors' caches hold, and no more than is soon made ready. */
static const uint64_t most_cycle_bytes = UINT64_C(256) << 20;

/* What a device does that nobody has measured yet. */
static const double usual_bandwidth = 1e10, usual_operations = 5e10, usual_launch = 5e-6;

/* ---- lists ---- */

/* The list with room for one more; its capacity is the next power of two. NULL: out of memory, the list is as it was.
 */
static void *grow(void *list, int count, size_t size) {
    if (count & (count - 1)) return list;
    return realloc(list, (size_t)(count ? 2 * count : 1) * size);
}

static enum clinfer_status out_of_memory(void) {
    return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for the list of what to tune");
}

void ci_problems_free(struct ci_problems *problems) {
    free(problems->items);
    free(problems->uses);
    free(problems->models);
    *problems = (struct ci_problems){0};
}

/* ---- one call of a graph as a problem ---- */

static bool is_attention(const struct ci_op *op) { return op == &ci_op_attention || op == &ci_op_attention_quantise; }

/* A graph knows how long caches and lists of pages may become; a problem has those of its run. */
static void take_context(const struct ci_op *op, int run, struct ci_call *call) {
    int64_t cache_rows = (int64_t)CACHE_PAGES * CI_PAGE_ROWS;
    for (int i = 0; i < op->outputs; i++)
        if (op->state_outputs >> i & 1) call->out[i].rows = cache_rows;
    if (!is_attention(op)) return;
    call->in[1].rows = call->in[2].rows = cache_rows;
    call->in[3].rows = (call->in[0].rows + CI_TILE_ROWS - 1) / CI_TILE_ROWS;
    call->in[4].rows = 1;
    call->in[4].cols = run_pages[run];
}

/* Bytes and operations of attention depend on where its tiles are. */
static void measure_call(const struct ci_op *op, struct ci_call call, double *bytes, double *operations) {
    int32_t tiles[MOST_TILES][4];
    if (is_attention(op)) {
        int64_t rows = call.in[0].rows, start = call.in[4].cols * CI_PAGE_ROWS - rows;
        for (int64_t t = 0; t < call.in[3].rows && t < MOST_TILES; t++) {
            int64_t left = rows - t * CI_TILE_ROWS;
            tiles[t][0] = (int32_t)(t * CI_TILE_ROWS);
            tiles[t][1] = (int32_t)(left < CI_TILE_ROWS ? left : CI_TILE_ROWS);
            tiles[t][2] = 0;
            tiles[t][3] = (int32_t)(start + t * CI_TILE_ROWS);
        }
        call.in[3].data = tiles;
    }
    *bytes = ci_op_bytes(op, &call);
    *operations = ci_op_operations(op, &call);
}

static struct ci_case_shape shape_of(const struct ci_view *view) {
    return (struct ci_case_shape){view->type, view->type ? view->rows : 0, view->type ? view->cols : 0};
}

static void describe(const struct ci_op *op, const struct ci_call *call, uint64_t cycle_bytes,
                     struct ci_tune_problem *item) {
    *item = (struct ci_tune_problem){.call = *call, .first = -1, .second = -1};
    item->problem = (struct ci_problem){.op = op, .shape = {.name = "tuned", .params = call->params}};
    for (int i = 0; i < op->inputs; i++) item->problem.shape.in[i] = shape_of(&call->in[i]);
    for (int i = 0; i < op->outputs; i++)
        if (op->state_outputs >> i & 1) item->problem.shape.state[i] = shape_of(&call->out[i]);
    if (is_attention(op)) item->problem.context = call->in[4].cols * CI_PAGE_ROWS - call->in[0].rows;
    /* While decoding, the weights of all layers pass through the caches between two visits of one KV cache. */
    bool cold_cache = is_attention(op) && call->in[0].rows <= ci_tune_rows[CI_TUNE_FEW];
    if ((op->weight_inputs & ~op->looked_up_inputs) || cold_cache) item->problem.cycle_bytes = cycle_bytes;
    ci_signature_of(op, call, &item->signature);
    measure_call(op, *call, &item->bytes, &item->operations);
}

static int find(const struct ci_problems *problems, const struct ci_profile_signature *signature) {
    for (int i = 0; i < problems->count; i++)
        if (memcmp(&problems->items[i].signature, signature, sizeof *signature) == 0) return i;
    return -1;
}

/* The index of the problem that this call is, made if need be together with its parts. */
static enum clinfer_status add_problem(struct ci_problems *problems, const struct ci_op *op, const struct ci_call *call,
                                       uint64_t cycle_bytes, int *index) {
    struct ci_tune_problem item;
    describe(op, call, cycle_bytes, &item);
    *index = find(problems, &item.signature);
    if (*index >= 0) {
        struct ci_problem *known = &problems->items[*index].problem;
        if (known->cycle_bytes < item.problem.cycle_bytes) known->cycle_bytes = item.problem.cycle_bytes;
        return CLINFER_OK;
    }
    if (op->first) {
        struct ci_call first, second;
        enum clinfer_status status = ci_op_split(op, call, &first, &second);
        if (status == CLINFER_OK) status = add_problem(problems, op->first, &first, cycle_bytes, &item.first);
        if (status == CLINFER_OK) status = add_problem(problems, op->second, &second, cycle_bytes, &item.second);
        if (status != CLINFER_OK) return status;
    }
    struct ci_tune_problem *items = grow(problems->items, problems->count, sizeof item);
    if (!items) return out_of_memory();
    problems->items = items;
    *index = problems->count++;
    problems->items[*index] = item;
    return CLINFER_OK;
}

/* ---- a model's graphs ---- */

static enum clinfer_status add_use(struct ci_problems *problems, const struct ci_tune_use *use) {
    for (int i = problems->use_count - 1; i >= 0 && problems->uses[i].model == use->model; i--) {
        struct ci_tune_use *known = &problems->uses[i];
        if (known->kind != use->kind || known->run != use->run || known->problem != use->problem) continue;
        known->calls += use->calls;
        return CLINFER_OK;
    }
    struct ci_tune_use *uses = grow(problems->uses, problems->use_count, sizeof *use);
    if (!uses) return out_of_memory();
    problems->uses = uses;
    problems->uses[problems->use_count++] = *use;
    return CLINFER_OK;
}

static enum clinfer_status add_graph(struct ci_problems *problems, const struct ci_graph *graph, int kind, int run,
                                     uint64_t cycle_bytes) {
    for (const struct ci_node *node = graph->first; node; node = node->next) {
        struct ci_tune_use use = {.model = problems->model_count, .kind = kind, .run = run, .calls = 1};
        struct ci_call call;
        ci_node_call(node, &call);
        take_context(node->op, run, &call);
        enum clinfer_status status = add_problem(problems, node->op, &call, cycle_bytes, &use.problem);
        if (status != CLINFER_OK) return status;
        status = add_use(problems, &use);
        if (status != CLINFER_OK) return status;
    }
    return CLINFER_OK;
}

static enum clinfer_status add_run(struct ci_problems *problems, const struct ci_caps *caps,
                                   const struct ci_model *model, int kind, int run, uint64_t cycle_bytes) {
    int64_t most = ci_tune_rows[run], sequences = most < MOST_SEQUENCES ? most : MOST_SEQUENCES;
    /* Of a prompt the last row's logits are wanted. */
    int64_t rows[CI_EXTENT_COUNT] = {[CI_EXTENT_ROWS] = most,
                                     [CI_EXTENT_WANTED] = run == CI_TUNE_FEW ? most : 1,
                                     [CI_EXTENT_TILES] = most / CI_TILE_ROWS + sequences};
    const struct ci_chooser chooser = {.caps = caps}; /* of place 0, where all nodes are; no profile, no quarantine */
    struct ci_graph graph;
    struct ci_run of_graph;
    enum clinfer_status status = ci_model_build(model, rows, sequences, CACHE_PAGES, &graph, &of_graph);
    if (status != CLINFER_OK) return status;
    status = ci_pass_activations(&graph, kind == CI_TUNE_Q8 ? CI_ACTIVATIONS_Q8 : CI_ACTIVATIONS_F32, &chooser);
    if (status == CLINFER_OK) status = ci_pass_fuse(&graph, &chooser);
    if (status == CLINFER_OK) status = add_graph(problems, &graph, kind, run, cycle_bytes);
    ci_graph_destroy(&graph);
    return status;
}

static uint64_t bytes_of(const struct ci_projection *projection) {
    uint64_t bytes = 0;
    for (int i = 0; i < CI_MATMUL_MAX_WEIGHTS && projection->weights[i]; i++) {
        const struct ci_view *view = &projection->weights[i]->view;
        bytes += ci_layout_bytes(view->layout, view->type, view->rows, view->cols);
    }
    return bytes;
}

/* What a token reads. */
static uint64_t weight_bytes(const struct ci_model *model) {
    uint64_t bytes = bytes_of(&model->output);
    for (int i = 0; i < model->hyper.layers; i++) {
        const struct ci_layer *layer = &model->layers[i];
        bytes += bytes_of(&layer->qkv) + bytes_of(&layer->attention_output) + bytes_of(&layer->gate_up) +
                 bytes_of(&layer->down);
    }
    return bytes;
}

/* Takes the problems of an open model; `model` is closed. */
static enum clinfer_status add_model(struct ci_problems *problems, const struct ci_caps *caps, struct ci_model *model,
                                     const char *name, const char *path) {
    int count = problems->count, uses = problems->use_count;
    int64_t cache_rows = (int64_t)CACHE_PAGES * CI_PAGE_ROWS;
    struct ci_tune_model added = {
        .path = path, .fingerprint = ci_model_fingerprint(model), .weight_bytes = weight_bytes(model)};
    uint64_t cycle_bytes = added.weight_bytes < most_cycle_bytes ? added.weight_bytes : most_cycle_bytes;
    snprintf(added.name, sizeof added.name, "%s", name);
    enum clinfer_status status = ci_model_make_states(model, &ci_type_f16, &ci_type_f16, cache_rows, MOST_SEQUENCES);
    for (int run = 0; run < CI_TUNE_RUNS; run++)
        for (int kind = 0; kind < CI_TUNE_KINDS && status == CLINFER_OK; kind++)
            status = add_run(problems, caps, model, kind, run, cycle_bytes);
    ci_model_close(model);
    struct ci_tune_model *models = NULL;
    if (status == CLINFER_OK) {
        models = grow(problems->models, problems->model_count, sizeof added);
        if (!models) status = out_of_memory();
    }
    if (status != CLINFER_OK) {
        problems->count = count;
        problems->use_count = uses;
        return status;
    }
    problems->models = models;
    problems->models[problems->model_count++] = added;
    return CLINFER_OK;
}

enum clinfer_status ci_problems_add_file(struct ci_problems *problems, const struct ci_caps *caps, const char *path) {
    struct ci_gguf *gguf;
    struct ci_model model;
    enum clinfer_status status = ci_gguf_open(path, &gguf);
    if (status != CLINFER_OK) return status;
    const char *slash = strrchr(path, '/');
    struct ci_threads *threads = NULL;
    status = ci_model_open(gguf, &model);
    /* What no run would load is not worth the time. */
    if (status == CLINFER_OK && (status = ci_threads_create(0, &threads)) == CLINFER_OK)
        status = ci_model_check_numbers(&model, threads);
    if (status == CLINFER_OK)
        status = add_model(problems, caps, &model, slash ? slash + 1 : path, path);
    else
        ci_model_close(&model);
    ci_threads_destroy(threads);
    ci_gguf_close(gguf);
    return status;
}

/* ---- models that need not be there ---- */

enum { KINDS = 2 }; /* of files of one model, at most */

struct kind {
    const struct ci_type *weights, *embedding; /* the output matrix is the embedding */
};

static const struct standard {
    const char *name, *architecture;
    struct ci_hyper hyper;
    bool biases;
    struct kind kinds[KINDS];
} standard_set[] = {
    {"SmolLM2-135M",
     "llama",
     {.layers = 30,
      .embedding = 576,
      .feed_forward = 1536,
      .heads = 9,
      .kv_heads = 3,
      .head_dim = 64,
      .rotated = 64,
      .vocabulary = 49152},
     false,
     {{&ci_type_q4_1, &ci_type_q8_0}, {&ci_type_q8_0, &ci_type_q8_0}}},
    {"Qwen2.5-1.5B",
     "qwen2",
     {.layers = 28,
      .embedding = 1536,
      .feed_forward = 8960,
      .heads = 12,
      .kv_heads = 2,
      .head_dim = 128,
      .rotated = 128,
      .vocabulary = 151936},
     true,
     {{&ci_type_q4_0, &ci_type_q6_k}, {&ci_type_q8_0, &ci_type_q8_0}}},
    {"Llama-3.2-1B",
     "llama",
     {.layers = 16,
      .embedding = 2048,
      .feed_forward = 8192,
      .heads = 32,
      .kv_heads = 8,
      .head_dim = 64,
      .rotated = 64,
      .vocabulary = 128256},
     false,
     {{&ci_type_q4_0, &ci_type_q6_k}}},
};

static struct ci_tensor *stand_in(struct ci_model *model, const struct ci_type *type, int64_t rows, int64_t cols) {
    struct ci_tensor *tensor = ci_arena_alloc(&model->arena, sizeof *tensor);
    if (!tensor) return NULL;
    *tensor = (struct ci_tensor){.name = "standard", .kind = CI_TENSOR_WEIGHT, .place = -1};
    ci_view_set(&tensor->view, type, rows, cols);
    return tensor;
}

static bool stand_in_layer(struct ci_model *model, const struct standard *shape, const struct ci_type *weights,
                           struct ci_layer *layer) {
    const struct ci_hyper *h = &shape->hyper;
    int64_t queries = (int64_t)h->heads * h->head_dim, kv = (int64_t)h->kv_heads * h->head_dim;
    layer->attention_norm = stand_in(model, &ci_type_f32, 1, h->embedding);
    layer->ffn_norm = stand_in(model, &ci_type_f32, 1, h->embedding);
    layer->qkv.weights[0] = stand_in(model, weights, queries, h->embedding);
    layer->qkv.weights[1] = stand_in(model, weights, kv, h->embedding);
    layer->qkv.weights[2] = stand_in(model, weights, kv, h->embedding);
    layer->attention_output.weights[0] = stand_in(model, weights, h->embedding, queries);
    layer->gate_up.weights[0] = stand_in(model, weights, h->feed_forward, h->embedding);
    layer->gate_up.weights[1] = stand_in(model, weights, h->feed_forward, h->embedding);
    layer->down.weights[0] = stand_in(model, weights, h->embedding, h->feed_forward);
    if (shape->biases) {
        layer->qkv.biases[0] = stand_in(model, &ci_type_f32, 1, queries);
        layer->qkv.biases[1] = stand_in(model, &ci_type_f32, 1, kv);
        layer->qkv.biases[2] = stand_in(model, &ci_type_f32, 1, kv);
    }
    /* The arena has no memory left for later ones either. */
    return shape->biases ? layer->qkv.biases[2] != NULL : layer->down.weights[0] != NULL;
}

/* A model of that shape without a single weight. */
static enum clinfer_status open_standard(const struct standard *shape, const struct kind *kind,
                                         struct ci_model *model) {
    const struct ci_hyper *h = &shape->hyper;
    *model = (struct ci_model){.hyper = *h};
    for (int i = 0; ci_families[i]; i++)
        if (strcmp(ci_families[i]->architecture, shape->architecture) == 0) model->family = ci_families[i];
    if (!model->family) return ci_fail(CLINFER_UNSUPPORTED, "%s: architecture %s", shape->name, shape->architecture);
    model->hyper.eps = 1e-5f;
    model->embedding = model->output.weights[0] = stand_in(model, kind->embedding, h->vocabulary, h->embedding);
    model->output_norm = stand_in(model, &ci_type_f32, 1, h->embedding);
    model->rope_frequencies = stand_in(model, &ci_type_f32, 1, h->rotated / 2);
    model->layers = ci_arena_array(&model->arena, (size_t)h->layers, sizeof *model->layers);
    bool complete = model->embedding && model->output_norm && model->rope_frequencies && model->layers;
    for (int i = 0; i < h->layers && complete; i++)
        complete = stand_in_layer(model, shape, kind->weights, &model->layers[i]);
    if (complete) return CLINFER_OK;
    ci_model_close(model);
    return out_of_memory();
}

enum clinfer_status ci_problems_add_standard(struct ci_problems *problems, const struct ci_caps *caps) {
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < sizeof standard_set / sizeof *standard_set; i++)
        for (int k = 0; k < KINDS && standard_set[i].kinds[k].weights && status == CLINFER_OK; k++) {
            struct ci_model model;
            char name[64];
            snprintf(name, sizeof name, "%s %s", standard_set[i].name, standard_set[i].kinds[k].weights->name);
            status = open_standard(&standard_set[i], &standard_set[i].kinds[k], &model);
            if (status == CLINFER_OK) status = add_model(problems, caps, &model, name, NULL);
        }
    return status;
}

/* ---- what matters ---- */

double ci_problems_estimate(const struct ci_tune_problem *problem, const struct ci_profile_device *measured) {
    double bandwidth = measured->read_bytes_per_second > 0 ? measured->read_bytes_per_second : usual_bandwidth;
    double peak = ci_profile_peak(measured, &problem->signature), operations = peak > 0 ? peak : usual_operations;
    double launch = measured->launch_seconds > 0 ? measured->launch_seconds : usual_launch;
    return fmax(problem->bytes / bandwidth, problem->operations / operations) + launch;
}

/* Seconds of one run with one kind of activations; and of that what `tuned` has. */
static double seconds_of_run(const struct ci_problems *problems, const double *seconds, int model, int kind, int run,
                             const bool *tuned, double *of_tuned) {
    double sum = 0, share = 0;
    for (int i = 0; i < problems->use_count; i++) {
        const struct ci_tune_use *use = &problems->uses[i];
        if (use->model != model || use->kind != kind || use->run != run) continue;
        double time = use->calls * seconds[use->problem];
        sum += time;
        if (tuned && tuned[use->problem]) share += time;
    }
    if (of_tuned) *of_tuned = share;
    return sum;
}

double ci_problems_run(const struct ci_problems *problems, const double *seconds, int model, int run, const bool *tuned,
                       double *covered) {
    double least = INFINITY, share = 0;
    for (int kind = 0; kind < CI_TUNE_KINDS; kind++) {
        double of_tuned, sum = seconds_of_run(problems, seconds, model, kind, run, tuned, &of_tuned);
        if (sum >= least) continue;
        least = sum;
        share = sum > 0 ? of_tuned / sum : 0;
    }
    if (covered) *covered = share;
    return least;
}

void ci_problems_weigh(const struct ci_problems *problems, const double *seconds, double *weights) {
    static const double run_weights[CI_TUNE_RUNS] = {1, 0.1, 0.3, 1};
    memset(weights, 0, (size_t)problems->count * sizeof *weights);
    for (int i = 0; i < problems->use_count; i++) {
        const struct ci_tune_use *use = &problems->uses[i];
        double sum = seconds_of_run(problems, seconds, use->model, use->kind, use->run, NULL, NULL);
        double least = ci_problems_run(problems, seconds, use->model, use->run, NULL, NULL);
        if (!(sum > 0)) continue;
        /* The slower kind of activations runs only where somebody asks for it. */
        double share = use->calls * seconds[use->problem] / sum, chance = least / sum;
        weights[use->problem] += share * chance * chance * run_weights[use->run] / problems->model_count;
    }
    /* A part stands in the list before what it is a part of. */
    for (int i = problems->count - 1; i >= 0; i--) {
        const struct ci_tune_problem *item = &problems->items[i];
        if (item->first < 0) continue;
        weights[item->first] += 0.25 * weights[i];
        weights[item->second] += 0.25 * weights[i];
    }
}

int ci_problems_calls(const struct ci_problems *problems, int problem) {
    int most = 1;
    for (int i = 0; i < problems->use_count; i++)
        if (problems->uses[i].problem == problem && problems->uses[i].calls > most) most = problems->uses[i].calls;
    return most;
}
