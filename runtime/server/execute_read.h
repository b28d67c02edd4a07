/* execute_read.h: bodies of POST /execute to the library's request. */
#ifndef CI_SERVER_EXECUTE_READ_H
#define CI_SERVER_EXECUTE_READ_H

#include <jansson.h>
#include <stdbool.h>

#include "base/arena.h"
#include "server/job.h"

/* *errors: [{"field", "constraint", "message"}], all that is wrong; the caller's. NULL: memory is out. Whether the body
 * is well. */
bool ci_execute_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                     struct ci_job *job, json_t **errors);

/* The member "job_id", NULL if it is none. */
const char *ci_execute_id(const json_t *body);

#endif
