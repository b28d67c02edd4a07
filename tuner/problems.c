#define _GNU_SOURCE
#include "tuner/problems.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "graph/passes.h"
#include "model/model.h"
#include "model/numbers.h"
#include "model/source.h"
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
    int32_t tiles[MOST_TILES][CI_TILE_COLS];
    if (is_attention(op)) {
        int64_t rows = call.in[0].rows, start = call.in[4].cols * CI_PAGE_ROWS - rows;
        for (int64_t t = 0; t < call.in[3].rows && t < MOST_TILES; t++) {
            int64_t left = rows - t * CI_TILE_ROWS;
            tiles[t][CI_TILE_ROW] = (int32_t)(t * CI_TILE_ROWS);
            tiles[t][CI_TILE_COUNT] = (int32_t)(left < CI_TILE_ROWS ? left : CI_TILE_ROWS);
            tiles[t][CI_TILE_LINE] = 0;
            tiles[t][CI_TILE_POSITION] = (int32_t)(start + t * CI_TILE_ROWS);
            tiles[t][CI_TILE_LENGTH] = (int32_t)(start + rows);
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

static int products_of_floats(const struct ci_graph *graph) {
    int count = 0;
    for (const struct ci_node *node = graph->first; node; node = node->next) {
        bool is_product = node->op == &ci_op_matmul || node->op == &ci_op_matmul_experts;
        count += is_product && node->in[CI_MATMUL_X]->view.type == &ci_type_f32; /* in[0] of both */
    }
    return count;
}

/* *reads_floats: set where the run leaves products in floats that could read codes. */
static enum clinfer_status add_run(struct ci_problems *problems, const struct ci_caps *caps, struct ci_model *model,
                                   int kind, int run, uint64_t cycle_bytes, bool *reads_floats) {
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
    /* Where runs round to 16 bits by themselves, those are the codes to tune for. */
    if (kind == CI_TUNE_Q8) {
        status = ci_pass_activations(&graph, CI_ACTIVATIONS_AUTO, &chooser);
        int by_itself = products_of_floats(&graph);
        if (status == CLINFER_OK) status = ci_pass_activations(&graph, CI_ACTIVATIONS_Q8, &chooser);
        bool judged = run == CI_TUNE_DECODE || run == CI_TUNE_PROMPT;
        if (judged && products_of_floats(&graph) < by_itself) *reads_floats = true;
    }
    if (status == CLINFER_OK) status = ci_pass_fuse(&graph, &chooser);
    if (status == CLINFER_OK) status = add_graph(problems, &graph, kind, run, cycle_bytes);
    ci_graph_destroy(&graph);
    return status;
}

/* Takes the problems of an open model; `model` is closed. */
static enum clinfer_status add_model(struct ci_problems *problems, const struct ci_caps *caps, struct ci_model *model,
                                     const char *name, const char *path) {
    int count = problems->count, uses = problems->use_count;
    int64_t cache_rows = (int64_t)CACHE_PAGES * CI_PAGE_ROWS;
    struct ci_tune_model added = {.path = path,
                                  .fingerprint = ci_model_fingerprint(model),
                                  .weight_bytes = ci_model_token_bytes(model),
                                  .context = model->hyper.trained_context};
    uint64_t cycle_bytes = added.weight_bytes < most_cycle_bytes ? added.weight_bytes : most_cycle_bytes;
    snprintf(added.name, sizeof added.name, "%s", name);
    enum clinfer_status status = CLINFER_OK;
    ci_model_make_states(model, &ci_type_f16, &ci_type_f16, cache_rows, MOST_SEQUENCES);
    for (int run = 0; run < CI_TUNE_RUNS; run++)
        for (int kind = 0; kind < CI_TUNE_KINDS && status == CLINFER_OK; kind++)
            status = add_run(problems, caps, model, kind, run, cycle_bytes, &added.reads_floats);
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
    enum clinfer_status status = ci_source_open(path, NULL, &gguf);
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

#define SHAPE(layer_count, width, ff, head_count, kv, dim, ids)                                                        \
    .hyper = {.layers = layer_count, .embedding = width, .vocabulary = ids, .eps = 1e-5f},                             \
    .layer = {                                                                                                         \
        .heads = head_count, .kv_heads = kv, .head_dim = dim, .value_dim = dim, .rotated = dim, .feed_forward = ff}
#define SMOLLM2 .architecture = "llama", SHAPE(30, 576, 1536, 9, 3, 64, 49152)
#define QWEN2_1_5B                                                                                                     \
    .architecture = "qwen2", .optional = "blk.*.attn_[qkv].bias", SHAPE(28, 1536, 8960, 12, 2, 128, 151936)
#define LLAMA3_1B .architecture = "llama", SHAPE(16, 2048, 8192, 32, 8, 64, 128256)

/* The output matrix is the embedding. */
static const struct standard {
    const char *name;
    struct ci_imagined model;
} standard_set[] = {
    {"SmolLM2-135M q4_1", {SMOLLM2, .matrices = &ci_type_q4_1, .embedding = &ci_type_q8_0}},
    {"Qwen2.5-1.5B q4_0", {QWEN2_1_5B, .matrices = &ci_type_q4_0, .embedding = &ci_type_q6_k}},
    {"Llama-3.2-1B q4_k", {LLAMA3_1B, .matrices = &ci_type_q4_k, .embedding = &ci_type_q6_k}},
    {"Qwen2.5-1.5B q8_0", {QWEN2_1_5B, .matrices = &ci_type_q8_0, .embedding = &ci_type_q8_0}},
    {"SmolLM2-135M q8_0", {SMOLLM2, .matrices = &ci_type_q8_0, .embedding = &ci_type_q8_0}},
};

enum clinfer_status ci_problems_add_standard(struct ci_problems *problems, const struct ci_caps *caps, int most) {
    const int all = sizeof standard_set / sizeof *standard_set;
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < all && (i == 0 || i < most) && status == CLINFER_OK; i++) {
        struct ci_model model;
        status = ci_model_imagine(&standard_set[i].model, &model);
        if (status == CLINFER_OK) status = add_model(problems, caps, &model, standard_set[i].name, NULL);
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
    double sum = 0, least = 0;
    const struct ci_tune_use *before = NULL;
    for (int i = 0; i < problems->use_count; i++) {
        const struct ci_tune_use *use = &problems->uses[i];
        /* Uses of one run stand together. */
        if (!before || before->model != use->model || before->kind != use->kind || before->run != use->run) {
            sum = seconds_of_run(problems, seconds, use->model, use->kind, use->run, NULL, NULL);
            least = ci_problems_run(problems, seconds, use->model, use->run, NULL, NULL);
        }
        before = use;
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
