#include "engine/predict.h"

#include "engine/engine_private.h"

static int place_of(const struct ci_store *store, const int8_t *place_of_unit, int layer) {
    return place_of_unit ? place_of_unit[1 + layer] : store->preferred;
}

static void add_caches(struct ci_model *model, const struct ci_store *store, const int8_t *place_of_unit, int context,
                       int64_t step, uint64_t cache[CI_MAX_PLACES]) {
    for (const struct ci_state *state = model->states; state; state = state->next) {
        const struct ci_view *view = &state->tensor->view;
        if (!ci_state_is_cache(state)) continue;
        uint64_t pages = (uint64_t)ci_engine_most_pages(state->window, context, step);
        cache[place_of(store, place_of_unit, state->layer)] +=
            pages * CI_PAGE_ROWS * ci_type_row_bytes(view->type, view->cols);
    }
}

/* Plans for logits of more rows than one are for several sessions, where there are others. */
static bool is_for_one(bool all_rows, const struct ci_bucket *bucket) {
    return all_rows || bucket->rows[CI_EXTENT_WANTED] == 1;
}

static enum clinfer_status predict_plan(struct ci_model *model, struct ci_store *store,
                                        const struct ci_plan_options *options, const struct ci_bucket *bucket,
                                        int64_t pages, struct ci_plan_bytes *bytes) {
    struct ci_graph graph;
    struct ci_run run;
    int64_t rows = bucket->rows[CI_EXTENT_ROWS];
    enum clinfer_status status =
        ci_model_build(model, bucket->rows, rows < CI_MAX_SEQUENCES ? rows : CI_MAX_SEQUENCES, pages, &graph, &run);
    return status == CLINFER_OK ? ci_plan_predict(store, &graph, options, NULL, NULL, bytes) : status;
}

/* On the CPU alone the plans between the smallest and the largest, each 4 ms of a start, count by their rows: they are
 * little beside it. Not those of devices, of which some kernels want memory that no row asks for. */
enum clinfer_status ci_predict(struct ci_model *model, struct ci_store *store,
                               const struct clinfer_engine_options *options, const int8_t *place_of_unit, int context,
                               struct ci_prediction *prediction) {
    const struct ci_plan_options plan = {.activations = (enum ci_activations)options->activations,
                                         .place_of_unit = place_of_unit};
    struct ci_bucket buckets[CI_BUCKETS];
    struct ci_plan_bytes least, most, between;
    bool all_rows = options->all_logits || ci_model_makes_vectors(model), devices = false;
    int count = ci_engine_bucket_sizes(options, model, context, buckets), last = count - 1;
    int64_t pages = ((int64_t)context + CI_PAGE_ROWS - 1) / CI_PAGE_ROWS;
    *prediction = (struct ci_prediction){{0}, {0}, {0}};
    add_caches(model, store, place_of_unit, context, buckets[last].rows[CI_EXTENT_ROWS], prediction->cache);
    while (!is_for_one(all_rows, &buckets[last])) last--;
    for (int i = 0; i < store->place_count; i++) devices = devices || store->places[i].device;
    enum clinfer_status status = predict_plan(model, store, &plan, &buckets[0], pages, &least);
    if (status == CLINFER_OK) status = predict_plan(model, store, &plan, &buckets[last], pages, &most);
    if (status != CLINFER_OK) return status;
    for (int place = 0; place < CI_MAX_PLACES; place++) {
        prediction->weights[place] = least.weights[place];
        prediction->activations[place] = least.activations[place] + (last > 0 ? most.activations[place] : 0);
    }
    for (int i = 1; i < last && status == CLINFER_OK; i++) {
        if (!is_for_one(all_rows, &buckets[i])) continue;
        if (devices) status = predict_plan(model, store, &plan, &buckets[i], pages, &between);
        for (int place = 0; place < CI_MAX_PLACES && status == CLINFER_OK; place++)
            prediction->activations[place] += devices ? between.activations[place]
                                                      : most.activations[place] *
                                                            (uint64_t)buckets[i].rows[CI_EXTENT_ROWS] /
                                                            (uint64_t)buckets[last].rows[CI_EXTENT_ROWS];
    }
    return status;
}

struct ci_host_bytes ci_predict_host(const struct ci_store *store, const struct ci_prediction *prediction) {
    struct ci_host_bytes host = {0};
    for (int i = 0; i < store->place_count; i++) {
        const struct ci_device_caps *device = store->places[i].caps.device;
        if (device && !device->shares_host_memory) continue;
        host.weights += prediction->weights[i];
        host.cache += prediction->cache[i];
        host.activations += prediction->activations[i];
    }
    return host;
}

enum clinfer_status ci_predict_cpu(struct ci_model *model, struct ci_threads *threads, int context,
                                   struct ci_host_bytes *bytes) {
    struct clinfer_engine_options options;
    struct ci_prediction prediction;
    struct ci_choices choices = {0};
    struct ci_store store;
    clinfer_engine_options_default(&options);
    ci_store_init(&store, NULL, 0, threads);
    enum clinfer_status status = ci_choices_load(&choices, CI_PLACE_CPU, &store.places[CI_PLACE_CPU].caps, NULL);
    store.choices = &choices;
    ci_model_make_states(model, &ci_type_f16, &ci_type_f16, CI_PAGE_ROWS, 1);
    if (status == CLINFER_OK) status = ci_predict(model, &store, &options, NULL, context, &prediction);
    if (status == CLINFER_OK) *bytes = ci_predict_host(&store, &prediction);
    ci_choices_free(&choices);
    ci_store_destroy(&store);
    return status;
}
