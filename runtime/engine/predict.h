/* predict.h: how much memory a model will take, before its weights are loaded: the engine refuses what cannot be, and
 * `clinfer inspect` tells it. Counted is what clinfer allocates and maps, not what drivers take beside it. */
#ifndef CI_ENGINE_PREDICT_H
#define CI_ENGINE_PREDICT_H

#include "graph/store.h"
#include "model/model.h"

/* In the message of every refusal of what does not fit, before the number: the same status, CLINFER_OUT_OF_MEMORY, is
 * also that of a process that has run out of it. */
#define CI_PREDICT_NO_ROOM "this process can have"

/* By place. */
struct ci_prediction {
    uint64_t weights[CI_MAX_PLACES];
    uint64_t cache[CI_MAX_PLACES];       /* of one session whose context is full */
    uint64_t activations[CI_MAX_PLACES]; /* of the plans that one session needs */
};

/* For a context of so many tokens. The states must have their types (ci_model_make_states); place_of_unit as in
 * plan.h. */
enum clinfer_status ci_predict(struct ci_model *model, struct ci_store *store,
                               const struct clinfer_engine_options *options, const int8_t *place_of_unit, int context,
                               struct ci_prediction *prediction);

/* What lies in the host's memory. */
struct ci_host_bytes {
    uint64_t weights, cache, activations;
};
/* The same of an open model on the CPU backend, with caches of f16 and the usual options. */
enum clinfer_status ci_predict_cpu(struct ci_model *model, struct ci_threads *threads, int context,
                                   struct ci_host_bytes *bytes);

struct ci_host_bytes ci_predict_host(const struct ci_store *store, const struct ci_prediction *prediction);

#endif
