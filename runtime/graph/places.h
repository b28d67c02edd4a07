/* places.h: where each unit of a model is wanted: unit 0 is what stands before the layers, 1.. are the layers, the last
 * is what stands behind them (graph.h). Consecutive units share a place, so that there are few crossings. */
#ifndef CI_GRAPH_PLACES_H
#define CI_GRAPH_PLACES_H

#include "graph/passes.h"
#include "graph/store.h"

enum { CI_MAX_UNITS = 1026 }; /* 1024 layers; model.c reads no more */

struct ci_places_request {
    int order[CI_MAX_PLACES]; /* places in the order of the user, the CPU's among them if it was named */
    int count;
    int device_layers; /* -ngl: so many units from the end are on devices, the rest on the CPU; -1: all that fit */
    int64_t context;   /* rows of KV cache to leave room for */
};

/* Splits by measured read bandwidth (evenly where one is not measured) and by free memory. What fits nowhere goes to
 * the CPU, the first layers before others; then `reason` says which and why, else it is "". */
void ci_places_decide(const struct ci_store *store, const struct ci_graph *graph,
                      const struct ci_places_request *request, int8_t *place_of_unit, int units, char *reason,
                      size_t size);

/* Adds `times` the measured time of the graph's units at a place to seconds[unit * stride]; what was not measured
 * counts by its bytes and the measured bandwidth. The graph is rewritten as a plan there would. */
enum clinfer_status ci_places_add_seconds(const struct ci_store *store, struct ci_graph *graph,
                                          enum ci_activations activations, int place, double times, double *seconds,
                                          int stride);

/* Where each unit runs so that all take least time together: a shortest path. seconds [units][count] by place of
 * `order`; crossing [count]: what it takes to enter or leave that place. Returns the sum. */
double ci_places_fastest(const double *seconds, const double *crossing, int units, const int *order, int count,
                         int8_t *place_of_unit);

/* The arithmetic of ci_places_decide. bytes [units]; capacity and speed [count], of the places of `order`. Returns how
 * many units did not fit. The CPU's capacity counts as unlimited. */
int ci_places_split(const uint64_t *bytes, int units, const int *order, const uint64_t *capacity, const double *speed,
                    int count, int device_layers, int8_t *place_of_unit);

#endif
