/* place.c: where each layer of a model runs, of the devices that it may use and the CPU. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/status.h"
#include "engine/engine_private.h"

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

/* What cannot be kept is said before it is loaded. Caches grow with the text and are another matter. */
static enum clinfer_status check_memory(const struct clinfer_engine *engine, uint64_t weight_bytes) {
    uint64_t most = ci_memory_limit();
    if (weight_bytes <= most) return CLINFER_OK;
    return ci_fail(CLINFER_OUT_OF_MEMORY,
                   "%s: its weights take %" PRIu64 " MiB of memory, this process can have %" PRIu64
                   " MiB; a smaller quantisation of the model may fit",
                   engine->options.model, weight_bytes >> 20, most >> 20);
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
    status = check_memory(engine, ci_places_host_bytes(&engine->store, &graph, engine->place_of_unit, units));
    ci_graph_destroy(&graph);
    if (status != CLINFER_OK) return status;
    if (devices->automatic && !*engine->moved && engine->options.device_layers < 0 && was_measured(engine, 1) &&
        was_measured(engine, CI_PLACE_CPU))
        return place_by_time(engine, units);
    if (*engine->moved && engine->options.fallback == CLINFER_FALLBACK_NONE)
        return ci_fail(CLINFER_OUT_OF_MEMORY, "\"%s\": %s; --fallback cpu allows that", engine->device_names,
                       engine->moved);
    return CLINFER_OK;
}
