/* model_delete.h: a model is deleted by name, for each dialect that has a route for it. */
#ifndef CI_SERVER_MODEL_DELETE_H
#define CI_SERVER_MODEL_DELETE_H

#include "server/exchange.h"

struct ci_pool_info;

/* `wanted`: as the client said it; `info`: what the pool found by that. CLINFER_REFUSED: it is in use, or not ours to
 * delete; CLINFER_INVALID_ARGUMENT: there are several of that name. Answers nothing. */
enum clinfer_status ci_model_delete(struct ci_exchange *exchange, const char *wanted, const struct ci_pool_info *info);

#endif
