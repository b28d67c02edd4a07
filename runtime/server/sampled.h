/* sampled.h: how probable tokens were when they were drawn: after temperature and samplers, as llama-server's
 * post_sampling_probs tells it. The library tells what the model gave, so the samplers are applied here once more, to
 * the likeliest tokens. */
#ifndef CI_SERVER_SAMPLED_H
#define CI_SERVER_SAMPLED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/openai_request.h"

/* Asks for as many of the likeliest tokens as the samplers choose among. false: the exchange has been refused, since
 * what is to be told depends on more than these. */
bool ci_sampled_prepare(struct ci_exchange *exchange, struct ci_openai_request *request);

/* As ci_answer_add_logprobs(), with prob and top_probs in place of logprob and top_logprobs. */
bool ci_sampled_add(json_t *entries, const clinfer_engine *engine, const struct clinfer_session_options *sampling,
                    const struct clinfer_logprob *logprobs, size_t count, size_t row, size_t top);

#endif
