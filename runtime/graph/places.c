#include "graph/places.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a driver, its kernels and our activations need beside weights and caches. */
static const double usable_share = 0.9;

/* Gives units [first, units) to the places in order, to each its share; returns false when they do not fit. */
static bool assign(const uint64_t *bytes, int first, int units, const int *order, const uint64_t *capacity,
                   const double *speed, int count, int8_t *place_of_unit) {
    double total = 0, speeds = 0, share_end = 0, walked = 0;
    int unit = first;
    for (int u = first; u < units; u++) total += (double)bytes[u];
    for (int i = 0; i < count; i++) speeds += speed[i];
    for (int i = 0; i < count; i++) {
        uint64_t used = 0;
        share_end += total * speed[i] / speeds;
        while (unit < units && used + bytes[unit] <= capacity[i]) {
            bool over = walked + (double)bytes[unit] / 2 > share_end; /* most of it belongs to the next place */
            if (over && i + 1 < count) break;
            place_of_unit[unit] = (int8_t)order[i];
            used += bytes[unit];
            walked += (double)bytes[unit++];
        }
    }
    return unit == units;
}

int ci_places_split(const uint64_t *bytes, int units, const int *order, const uint64_t *capacity, const double *speed,
                    int count, int device_layers, int8_t *place_of_unit) {
    memset(place_of_unit, CI_PLACE_CPU, (size_t)units);
    int first = 1;
    if (device_layers >= 0 && device_layers < units - 1) first = units - device_layers;
    int asked = first;
    while (first < units && !assign(bytes, first, units, order, capacity, speed, count, place_of_unit))
        place_of_unit[first++] = CI_PLACE_CPU;
    place_of_unit[0] = place_of_unit[1];
    return first - asked;
}

/* Bytes of weights and caches by unit; a weight that two units read counts for the later one, and *tied tells. */
static void measure_units(const struct ci_graph *graph, int64_t context, uint64_t *bytes, int units, bool *tied) {
    memset(bytes, 0, sizeof *bytes * (size_t)units);
    *tied = false;
    for (const struct ci_node *node = graph->first; node; node = node->next) {
        assert(node->unit < units);
        for (int i = 0; i < node->op->inputs; i++) {
            const struct ci_tensor *tensor = node->in[i];
            if (!tensor || tensor->kind != CI_TENSOR_WEIGHT) continue;
            bool again = false;
            for (const struct ci_node *later = node->next; later && !again; later = later->next)
                for (int k = 0; k < later->op->inputs; k++) again = again || later->in[k] == tensor;
            const struct ci_view *view = &tensor->view;
            if (!again) bytes[node->unit] += ci_layout_bytes(&ci_layout_stored, view->type, view->rows, view->cols);
            if (again && node->unit == 0) *tied = true;
        }
        for (int i = 0; i < node->op->outputs; i++) {
            const struct ci_tensor *tensor = node->out[i];
            if (tensor->kind == CI_TENSOR_STATE && tensor->view.extent == CI_EXTENT_FIXED)
                bytes[node->unit] += (uint64_t)context * ci_type_row_bytes(tensor->view.type, tensor->view.cols);
        }
    }
}

static uint64_t capacity_of(const struct ci_device_caps *device) {
    if (!device || device->shares_host_memory) return UINT64_MAX / 4;
    return (uint64_t)((double)device->global_bytes * usable_share);
}

void ci_places_decide(const struct ci_store *store, const struct ci_graph *graph,
                      const struct ci_places_request *request, int8_t *place_of_unit, int units, char *reason,
                      size_t size) {
    uint64_t bytes[CI_MAX_UNITS], capacity[CI_MAX_PLACES], total = 0, room = 0;
    double speed[CI_MAX_PLACES];
    bool tied, measured = store->choices != NULL;
    assert(units <= CI_MAX_UNITS && request->count > 0);
    measure_units(graph, request->context, bytes, units, &tied);
    for (int i = 0; i < request->count; i++) {
        int place = request->order[i];
        capacity[i] = capacity_of(store->places[place].caps.device);
        room += capacity[i];
        speed[i] = measured ? store->choices->places[place].profile.measured.read_bytes_per_second : 0;
        measured = measured && speed[i] > 0;
    }
    for (int i = 0; i < request->count && !measured; i++) speed[i] = 1;
    int left = ci_places_split(bytes, units, request->order, capacity, speed, request->count, request->device_layers,
                               place_of_unit);
    /* The table of a tied output matrix is looked up where the matrix is. */
    if (tied) place_of_unit[0] = place_of_unit[units - 1];
    reason[0] = 0;
    for (int u = 0; u < units; u++) total += bytes[u];
    if (left > 0)
        snprintf(reason, size,
                 "weights and %" PRId64 " rows of KV cache need %" PRIu64 " MiB, there are %" PRIu64
                 " MiB: %d layers stay on the CPU",
                 request->context, total >> 20, room >> 20, left);
}

enum clinfer_status ci_places_add_seconds(const struct ci_store *store, struct ci_graph *graph,
                                          enum ci_activations activations, int place, double times, double *seconds,
                                          int stride) {
    struct ci_chooser by_place[CI_MAX_PLACES];
    const struct ci_profile_device *measured = &store->choices->places[place].profile.measured;
    for (int i = 0; i < store->place_count; i++) by_place[i] = ci_store_chooser(store, i);
    for (struct ci_node *node = graph->first; node; node = node->next) node->place = place;
    enum clinfer_status status = ci_pass_activations(graph, activations, by_place);
    if (status == CLINFER_OK) status = ci_pass_fuse(graph, by_place);
    for (const struct ci_node *node = graph->first; node && status == CLINFER_OK; node = node->next) {
        struct ci_call call;
        double took = ci_choices_seconds(&by_place[place], node);
        ci_node_call(node, &call);
        if (took == 0 && measured->read_bytes_per_second > 0)
            took = ci_op_bytes(node->op, &call) / measured->read_bytes_per_second + measured->launch_seconds;
        seconds[node->unit * stride] += times * took;
    }
    return status;
}

double ci_places_fastest(const double *seconds, const double *crossing, int units, const int *order, int count,
                         int8_t *place_of_unit) {
    double least[CI_MAX_PLACES];
    int from[CI_MAX_UNITS][CI_MAX_PLACES] = {0};
    assert(units <= CI_MAX_UNITS && count > 0 && count <= CI_MAX_PLACES);
    for (int p = 0; p < count; p++) least[p] = seconds[p];
    for (int unit = 1; unit < units; unit++) {
        double next[CI_MAX_PLACES];
        for (int p = 0; p < count; p++) {
            next[p] = INFINITY;
            for (int q = 0; q < count; q++) {
                double cost = least[q] + (p == q ? 0 : crossing[p] + crossing[q]);
                if (cost >= next[p]) continue;
                next[p] = cost;
                from[unit][p] = q;
            }
            next[p] += seconds[unit * count + p];
        }
        memcpy(least, next, sizeof *least * (size_t)count);
    }
    int best = 0;
    for (int p = 1; p < count; p++)
        if (least[p] < least[best]) best = p;
    double sum = least[best];
    for (int unit = units - 1; unit >= 0; unit--) {
        place_of_unit[unit] = (int8_t)order[best];
        if (unit > 0) best = from[unit][best];
    }
    return sum;
}
