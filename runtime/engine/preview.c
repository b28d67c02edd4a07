#include "engine/preview.h"

#include <string.h>

#include "base/memory.h"
#include "base/require.h"
#include "base/status.h"
#include "engine/devices.h"
#include "engine/engine_private.h"
#include "ops/signature.h"

enum clinfer_status ci_preview_open(const struct clinfer_engine_options *options, clinfer_engine **engine, bool *fits) {
    enum clinfer_status status = ci_engine_open(options, CI_ENGINE_PLACED, engine);
    *fits = status != CLINFER_OUT_OF_MEMORY || !strstr(ci_status_message(), CI_PREDICT_NO_ROOM);
    return status;
}

/* Who hears of the steps. */
struct preview {
    const clinfer_engine *engine;
    clinfer_plan_callback *callback;
    void *user;
};

static void tell_step(void *user, const struct ci_node *node, const struct ci_choice *choice) {
    const struct preview *preview = user;
    const struct ci_store *store = &preview->engine->store;
    const int8_t *wanted = preview->engine->place_of_unit;
    const struct ci_device *device = store->places[node->place].device;
    struct ci_profile_signature signature;
    struct ci_call call;
    ci_node_call(node, &call);
    ci_signature_of(node->op, &call, &signature);
    const struct clinfer_plan_step step = {.label = node->label,
                                           .op = node->op->name,
                                           .variant = choice ? choice->variant->name : "reference",
                                           .place = device ? ci_device_caps(device)->name : "cpu",
                                           .reason = "",
                                           .types = signature.types,
                                           .layout = ci_signature_layout(node->op, &call),
                                           .tunables = "",
                                           .otherwise = "",
                                           .rows = signature.rows,
                                           .k = signature.k,
                                           .n = signature.n,
                                           .fallback = wanted && wanted[node->unit] != node->place};
    preview->callback(preview->user, &step);
}

enum clinfer_status ci_preview_steps(clinfer_engine *engine, int rows, clinfer_plan_callback *callback, void *user) {
    struct preview preview = {engine, callback, user};
    int64_t most = engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS];
    if (rows < 1 || rows > most)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "rows: %d, must be 1..%lld", rows, (long long)most);
    const struct ci_plan_options options = {.activations = (enum ci_activations)engine->options.activations,
                                            .place_of_unit = engine->place_of_unit};
    struct ci_bucket *bucket = engine->buckets;
    struct ci_plan_bytes bytes;
    struct ci_graph graph;
    while (bucket->rows[CI_EXTENT_ROWS] < rows) bucket++;
    enum clinfer_status status = ci_engine_graph(engine, bucket, &graph);
    if (status != CLINFER_OK) return status;
    return ci_plan_predict(&engine->store, &graph, &options, tell_step, &preview, &bytes);
}

enum clinfer_status ci_preview_memory(clinfer_engine *engine, ci_preview_memory_callback *callback, void *user) {
    struct ci_prediction prediction;
    enum clinfer_status status = ci_predict(&engine->model, &engine->store, &engine->options, engine->place_of_unit,
                                            engine->context, &prediction);
    if (status != CLINFER_OK) return status;
    const struct ci_host_bytes host = ci_predict_host(&engine->store, &prediction);
    const struct ci_preview_memory of_host = {"host", host.weights, host.cache, host.activations, ci_memory_limit()};
    callback(user, &of_host);
    for (int i = 1; i < engine->store.place_count; i++) {
        const struct ci_device_caps *device = engine->store.places[i].caps.device;
        if (device->shares_host_memory) continue;
        const struct ci_preview_memory there = {device->name, prediction.weights[i], prediction.cache[i],
                                                prediction.activations[i], device->global_bytes};
        callback(user, &there);
    }
    return CLINFER_OK;
}
