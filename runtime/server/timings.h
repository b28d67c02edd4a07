/* timings.h: how long an answer took, by llama-server's names, which several dialects add to theirs. */
#ifndef CI_SERVER_TIMINGS_H
#define CI_SERVER_TIMINGS_H

#include <clinfer.h>
#include <jansson.h>

/* cache_n, prompt_n, prompt_ms, prompt_per_token_ms, prompt_per_second, predicted_n, predicted_ms,
 * predicted_per_token_ms, predicted_per_second. The first token is the prompt's time, so that the rate of the answer is
 * that of the tokens after it: 0 where there is none. All are numbers, whatever happened. NULL: out of memory. */
json_t *ci_timings_json(const struct clinfer_result *result);

#endif
