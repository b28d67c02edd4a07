/* place.c: where each layer of a model runs, of the devices that it may use and the CPU. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/status.h"
#include "engine/engine_private.h"
#include "engine/predict.h"

/* By measurements of a device and the CPU backend that were both tuned here: a layer goes to the CPU where that is
 * worth the crossings. */
static enum clinfer_status place_by_time(struct clinfer_engine *engine, int units) {
    static const int order[] = {1, CI_PLACE_CPU};
    static const struct {
        int64_t rows;
        double times;
    } usage[] = {{1, 256}, {512, 1}};
    const struct ci_profile_device *device = &engine->choices.places[1].profile.measured;
    double row_bytes = (double)engine->model.hyper.embedding * sizeof(float);
    double crossing[] = {0, 0}, *seconds = calloc(2 * (size_t)units, sizeof *seconds);
    if (!seconds) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = CLINFER_OK;
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++) {
        crossing[0] += usage[i].times * (device->crossing_seconds +
                                         (double)usage[i].rows * row_bytes / device->crossing_bytes_per_second);
        for (int p = 0; p < 2 && status == CLINFER_OK; p++) {
            struct ci_bucket bucket = {.rows = {[CI_EXTENT_ROWS] = usage[i].rows,
                                                [CI_EXTENT_WANTED] = 1,
                                                [CI_EXTENT_TILES] = usage[i].rows / CI_TILE_ROWS + 1}};
            struct ci_graph graph;
            status = ci_engine_graph(engine, &bucket, &graph);
            if (status != CLINFER_OK) break;
            status = ci_places_add_seconds(&engine->store, &graph, (enum ci_activations)engine->options.activations,
                                           order[p], usage[i].times, seconds + p, 2);
            ci_graph_destroy(&graph);
        }
    }
    if (status == CLINFER_OK) ci_places_fastest(seconds, crossing, units, order, 2, engine->place_of_unit);
    free(seconds);
    return status;
}

static bool was_measured(const struct clinfer_engine *engine, int place) {
    const struct ci_place_choices *at = &engine->choices.places[place];
    return at->origin == CI_PROFILE_EXACT && at->profile.entry_count > 0 &&
           (place == CI_PLACE_CPU || at->profile.measured.crossing_bytes_per_second > 0);
}

/* Of all places, with numbers of this type (NULL: those they have). */
static uint64_t cache_bytes(const struct clinfer_engine *engine, int context, const struct ci_type *type) {
    int64_t step = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    uint64_t bytes = 0;
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        const struct ci_view *view = &state->tensor->view;
        if (!ci_state_is_cache(state)) continue;
        uint64_t rows = (uint64_t)ci_engine_most_pages(state->window, context, step) * CI_PAGE_ROWS;
        bytes += rows * ci_type_row_bytes(type ? type : view->type, view->cols);
    }
    return bytes;
}

/* For how many tokens the host has room, in whole pages. */
static int tokens_that_fit(const struct clinfer_engine *engine, uint64_t room, const struct ci_type *type) {
    double share = (double)engine->predicted.cache / (double)cache_bytes(engine, engine->context, NULL);
    int pages = engine->pages_per_sequence;
    while (pages > 0 && share * (double)cache_bytes(engine, pages * CI_PAGE_ROWS, type) > (double)room) pages--;
    int tokens = pages * CI_PAGE_ROWS;
    return tokens < engine->context ? tokens : engine->context;
}

/* Whether caches of q8_0 are possible, and smaller than they are. */
static bool q8_helps(const struct clinfer_engine *engine) {
    bool smaller = false;
    for (const struct ci_state *state = engine->model.states; state; state = state->next) {
        const struct ci_view *view = &state->tensor->view;
        if (!ci_state_is_cache(state)) continue;
        if (!ci_type_fits_cols(&ci_type_q8_0, view->cols)) return false;
        smaller = smaller || ci_type_row_bytes(view->type, view->cols) > ci_type_row_bytes(&ci_type_q8_0, view->cols);
    }
    return smaller;
}

static enum clinfer_status refuse_memory(const struct clinfer_engine *engine, uint64_t most, int fits) {
    const struct ci_host_bytes *host = &engine->predicted;
    uint64_t fixed = host->weights + host->activations;
    char smaller[160];
    bool device = engine->device && !engine->store.places[1].caps.device->shares_host_memory;
    if (fits <= 0)
        return ci_fail(CLINFER_OUT_OF_MEMORY,
                       "%s: its weights take %" PRIu64 " MiB of memory, " CI_PREDICT_NO_ROOM " %" PRIu64
                       " MiB; a smaller quantisation of the model may fit%s",
                       engine->options.model, host->weights >> 20, most >> 20,
                       device ? ", or more layers on the device (-ngl)" : "");
    if (q8_helps(engine))
        snprintf(smaller, sizeof smaller, "-c %d fits, or -c %d with -ctk q8_0 -ctv q8_0", fits,
                 tokens_that_fit(engine, most - fixed, &ci_type_q8_0));
    else
        snprintf(smaller, sizeof smaller, "-c %d fits", fits);
    return ci_fail(CLINFER_OUT_OF_MEMORY,
                   "%s: weights of %" PRIu64 " MiB, a KV cache of %" PRIu64 " MiB for %d tokens and %" PRIu64
                   " MiB to work in are more than " CI_PREDICT_NO_ROOM ", %" PRIu64 " MiB; %s",
                   engine->options.model, host->weights >> 20, host->cache >> 20, engine->context,
                   host->activations >> 20, most >> 20, smaller);
}

/* What cannot be kept is said before it is loaded. A context that nobody asked for is as long as there is room. */
static enum clinfer_status check_memory(struct clinfer_engine *engine) {
    uint64_t most = ci_memory_limit();
    struct ci_host_bytes *host = &engine->predicted;
    struct ci_prediction prediction;
    enum clinfer_status status = ci_predict(&engine->model, &engine->store, &engine->options, engine->place_of_unit,
                                            engine->context, &prediction);
    if (status != CLINFER_OK) return status;
    *host = ci_predict_host(&engine->store, &prediction);
    uint64_t fixed = host->weights + host->activations;
    if (fixed + host->cache <= most) return CLINFER_OK;
    int fits = 0, whole = engine->context;
    if (fixed < most) fits = tokens_that_fit(engine, most - fixed, NULL);
    if (engine->options.context > 0 || fits < CI_FIRST_PAGES * CI_PAGE_ROWS) return refuse_memory(engine, most, fits);
    ci_log(CLINFER_LOG_WARNING,
           "%s: the context is %d tokens, not the %d that the model was made for: " CI_PREDICT_NO_ROOM " %" PRIu64
           " MiB, of which weights and working memory take %" PRIu64,
           engine->options.model, fits, whole, most >> 20, fixed >> 20);
    return ci_engine_take_context(engine, fits);
}

enum clinfer_status ci_engine_place(struct clinfer_engine *engine, const struct ci_engine_devices *devices) {
    struct ci_places_request request = {
        .count = devices->order_count, .device_layers = engine->options.device_layers, .context = engine->context};
    memcpy(request.order, devices->order, sizeof request.order);
    int units = engine->model.hyper.layers + 2;
    struct ci_graph graph;
    engine->place_of_unit = calloc((size_t)units, sizeof *engine->place_of_unit);
    if (!engine->place_of_unit) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory");
    enum clinfer_status status = ci_engine_graph(engine, &engine->buckets[0], &graph);
    if (status != CLINFER_OK) return status;
    ci_places_decide(&engine->store, &graph, &request, engine->place_of_unit, units, engine->moved,
                     sizeof engine->moved);
    ci_graph_destroy(&graph);
    status = check_memory(engine);
    if (status != CLINFER_OK) return status;
    if (devices->automatic && !*engine->moved && engine->options.device_layers < 0 && was_measured(engine, 1) &&
        was_measured(engine, CI_PLACE_CPU))
        return place_by_time(engine, units);
    if (*engine->moved && engine->options.fallback == CLINFER_FALLBACK_NONE)
        return ci_fail(CLINFER_OUT_OF_MEMORY,
                       "\"%s\": %s; --fallback cpu allows that, a smaller -c or -ngl may do without",
                       engine->device_names, engine->moved);
    return CLINFER_OK;
}
