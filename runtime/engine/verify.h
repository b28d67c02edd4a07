/* verify.h: a whole model against the reference, step by step, in every plan that it has: prompts of several lengths
 * and some tokens of decode. Nobody else may use the engine meanwhile. */
#ifndef CI_ENGINE_VERIFY_H
#define CI_ENGINE_VERIFY_H

#include "graph/verify.h"
#include "model/model.h"

/* The first step that was wrong; texts live until it is replaced. */
struct ci_wrong_step {
    bool found;
    int64_t rows; /* of the run */
    struct ci_verify_step step;
};

/* As clinfer_engine_open, but nothing is compared with the CPU backend beforehand: for who is about to do more. */
enum clinfer_status ci_engine_open_unproven(const struct clinfer_engine_options *options, clinfer_engine **engine);

/* What the model's file has and its graph does without; belongs to the engine. */
const struct ci_finding *ci_engine_findings(const clinfer_engine *engine);

/* `tokens` are repeated as often as it takes. The callback may end it. */
enum clinfer_status ci_engine_verify(clinfer_engine *engine, const int32_t *tokens, size_t count,
                                     ci_verify_callback *callback, void *user, struct ci_wrong_step *wrong);

/* Sets the variant of that step aside (graph/verify.h) and makes the plans without it, which the log tells.
 * *quarantined: for good and all models. CLINFER_WRONG_RESULT when nothing can take its place. */
enum clinfer_status ci_engine_verify_replace(clinfer_engine *engine, const struct ci_wrong_step *wrong,
                                             bool *quarantined);

#endif
