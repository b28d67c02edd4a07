/* responses_read.h: bodies of OpenAI's Responses API to the library's request. */
#ifndef CI_SERVER_RESPONSES_READ_H
#define CI_SERVER_RESPONSES_READ_H

#include <stdbool.h>

#include "server/translate.h"

/* Calls ci_translate_begin and _finish; false: translation->problem says why. */
bool ci_responses_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                       struct ci_job *job, struct ci_translation *translation, bool *stream);

#endif
