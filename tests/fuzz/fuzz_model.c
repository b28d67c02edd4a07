/* Any bytes as the metadata and the shapes of a model file: the model is refused with a message that begins with the
 * file's name, or the plans of a token and of a prompt are made for it, on the CPU; they are not run. The input is the
 * beginning of the file, zeros follow: weights need no bytes of their own. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/threads.h"
#include "gguf_mutator.h"
#include "graph/plan.h"
#include "model/model.h"
#include "tensor/op_params.h"
#include "types/type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A plan for more than these would take long, not find more. */
enum { ZEROS = 1 << 18, MOST_PARAMETERS = 1 << 17, MOST_LAYERS = 4, MOST_CACHE_COLUMNS = 4096 };

static enum clinfer_status open_input(const uint8_t *data, size_t size, uint8_t **copy, struct ci_gguf **gguf) {
    *copy = aligned_alloc(4096, (size + ZEROS + 4095) / 4096 * 4096);
    if (!*copy) abort();
    memcpy(*copy, data, size);
    memset(*copy + size, 0, ZEROS);
    enum clinfer_status status = ci_gguf_open_memory(*copy, size ? size + ZEROS : 0, "input", gguf);
    if (status != CLINFER_OK) free(*copy);
    return status;
}

static void check_refusal(enum clinfer_status status) {
    if (status != CLINFER_BAD_FILE && status != CLINFER_UNSUPPORTED) abort();
    if (strncmp(clinfer_error(), "input: ", 7) != 0) abort();
}

/* What the graph is built from; whoever divides by it or allocates that much relies on these. */
static void check_hyper(const struct ci_model *model) {
    const struct ci_hyper *h = &model->hyper;
    if (h->layers < 1 || h->embedding < 1 || h->context < 1 || h->vocabulary < 1) abort();
    for (int i = 0; i < h->layers; i++) {
        const struct ci_layer *layer = &model->layers[i];
        if (layer->feed_forward < 1 || layer->heads < 1 || layer->kv_heads < 1) abort();
        if (layer->heads % layer->kv_heads || layer->head_dim < 1 || layer->value_dim < 1) abort();
        if (layer->rotated < 2 || layer->rotated > layer->head_dim || layer->rotated % 2) abort();
    }
    const struct ci_tensor *embedding = ci_model_find(model, "token_embd.weight");
    if (!embedding || h->vocabulary != embedding->view.rows) abort();
}

/* Of the widest layer. */
static int64_t cache_columns(const struct ci_model *model) {
    int64_t most = 0;
    for (const struct ci_state *state = model->states; state; state = state->next)
        if (state->tensor->view.cols > most) most = state->tensor->view.cols;
    return most;
}

static void make_plan(struct ci_model *model, struct ci_store *store, int64_t rows) {
    const int64_t extents[CI_EXTENT_COUNT] = {
        [CI_EXTENT_ROWS] = rows, [CI_EXTENT_WANTED] = 1, [CI_EXTENT_TILES] = rows / CI_TILE_ROWS + 1};
    const struct ci_plan_options options = {.moved = ""};
    struct ci_graph graph;
    struct ci_run run;
    struct ci_plan *plan;
    enum clinfer_status status = ci_model_build(model, extents, 1, 1, &graph, &run);
    if (status == CLINFER_OK) status = ci_plan_create(store, &graph, &options, &plan);
    if (status != CLINFER_OK) abort(); /* what ci_model_open takes can be run */
    if (ci_plan_steps(plan) < 5 * model->hyper.layers) abort();
    if (ci_plan_set_rows(plan, extents) != CLINFER_OK) abort();
    ci_plan_destroy(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct ci_threads *threads;
    struct ci_gguf *gguf;
    struct ci_model model;
    uint8_t *copy;
    if (!threads && ci_threads_create(1, &threads) != CLINFER_OK) abort();
    enum clinfer_status status = open_input(data, size, &copy, &gguf);
    if (status != CLINFER_OK) {
        check_refusal(status);
        return 0;
    }
    status = ci_model_open(gguf, &model);
    if (status != CLINFER_OK) {
        check_refusal(status);
    } else {
        check_hyper(&model);
        if (model.parameters <= MOST_PARAMETERS && model.hyper.layers <= MOST_LAYERS &&
            cache_columns(&model) <= MOST_CACHE_COLUMNS) {
            struct ci_store store;
            ci_store_init(&store, NULL, 0, threads);
            if (ci_store_add_file(&store, copy, size + ZEROS) != CLINFER_OK) abort();
            ci_model_make_states(&model, &ci_type_f16, &ci_type_f16, CI_PAGE_ROWS, 1);
            make_plan(&model, &store, 1);
            make_plan(&model, &store, 20);
            ci_store_destroy(&store);
        }
        ci_model_close(&model);
    }
    ci_gguf_close(gguf);
    free(copy);
    return 0;
}
