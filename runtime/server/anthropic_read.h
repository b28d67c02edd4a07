/* anthropic_read.h: bodies of Anthropic's Messages API to the library's request. */
#ifndef CI_SERVER_ANTHROPIC_READ_H
#define CI_SERVER_ANTHROPIC_READ_H

#include <stdbool.h>

#include "server/translate.h"

/* Calls ci_translate_begin and _finish; false: translation->problem says why. */
bool ci_anthropic_read(const json_t *body, const struct clinfer_session_options *defaults, struct ci_arena *arena,
                       struct ci_job *job, struct ci_translation *translation, bool *stream);

#endif
