/* openai_verbose.h: what a request was made into and what came of it, as llama-server's /completion answers; other
 * answers have it as `__verbose` where a body or the command line asks for that. */
#ifndef CI_SERVER_OPENAI_VERBOSE_H
#define CI_SERVER_OPENAI_VERBOSE_H

#include <jansson.h>

#include "server/job.h"
#include "server/openai_request.h"

/* A choice's answer. The engine must have been taken. */
json_t *ci_openai_verbose(const struct ci_openai_request *request, const struct ci_job_result *result, int index);

/* The prompt as the model reads it, control tokens shown as text. An empty text where that is not known. */
json_t *ci_openai_prompt(const struct ci_openai_request *request);

/* All that decided how tokens were chosen. `engine` may be NULL. */
json_t *ci_openai_settings(const clinfer_engine *engine, const struct ci_openai_request *request);

#endif
