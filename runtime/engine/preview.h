/* preview.h: what running a model here would be like, without loading it: on which device, with which kernels, in how
 * much memory. Decided as opening an engine decides it, but nothing is built, proven or read, so that a kernel that
 * proves wrong later has another in its place then. */
#ifndef CI_ENGINE_PREVIEW_H
#define CI_ENGINE_PREVIEW_H

#include <clinfer.h>

#include "engine/predict.h"

/* As clinfer_engine_open(), whose failures these are; *fits: not that it does not fit into memory, for which the
 * message has the numbers and what would. Such an engine can be asked by the functions below, by
 * clinfer_engine_get_info(), and be closed. */
enum clinfer_status ci_preview_open(const struct clinfer_engine_options *options, clinfer_engine **engine, bool *fits);

/* The steps of a run of `rows` rows. Of struct clinfer_plan_step: op, variant, place, types, layout, rows, k, n,
 * fallback. Rows as of clinfer_engine_explain(). */
enum clinfer_status ci_preview_steps(clinfer_engine *engine, int rows, clinfer_plan_callback *callback, void *user);

/* Memory by place of the engine: of the host and of what shares its memory; then of the other devices, one call each.
 */
struct ci_preview_memory {
    const char *place;                          /* "host", or the device's name */
    uint64_t weights, cache, activations, most; /* `most`: what there is for a process, or on the device */
};
typedef void ci_preview_memory_callback(void *user, const struct ci_preview_memory *memory);
enum clinfer_status ci_preview_memory(clinfer_engine *engine, ci_preview_memory_callback *callback, void *user);

#endif
