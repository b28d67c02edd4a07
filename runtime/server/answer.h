/* answer.h: what the answers of OpenAI's dialect and of llama-server's own say in the same words. */
#ifndef CI_SERVER_ANSWER_H
#define CI_SERVER_ANSWER_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/job.h"

/* What `system_fingerprint` and `build_info` say. Peers' tests want it to begin with "b". */
#define CI_ANSWER_FINGERPRINT "b-clinfer-" CLINFER_VERSION

/* What is known of a choice while it is made, for the times that streams tell on the way. */
struct ci_answer_live {
    struct clinfer_result so_far; /* of it the counts and times */
    double begun, first;          /* ci_now(): the prompt's beginning, the first token; 0: not yet */
};
void ci_answer_started(struct ci_answer_live *live, size_t cached);
void ci_answer_computed(struct ci_answer_live *live, size_t prompt_tokens); /* so many of the prompt are there */
void ci_answer_made(struct ci_answer_live *live, size_t tokens);            /* so many more of the answer */

/* {"total", "cache", "processed", "time_ms"} */
json_t *ci_answer_progress(const struct ci_answer_live *live, size_t total);

/* "stop", "length" or "tool_calls". */
const char *ci_answer_finish(const struct ci_job_choice *choice);

/* prompt_tokens, counted once for all choices, completion_tokens, total_tokens, prompt_tokens_details.cached_tokens. */
json_t *ci_answer_usage(const struct ci_job_result *result);

/* Appends one entry for each of `count` tokens, rows of `row` logprobs each: id, token, bytes, logprob, top_logprobs of
 * the `top` likeliest. Tokens without text, which end answers or mark parts of it, have no entry unless `all`. */
bool ci_answer_add_logprobs(json_t *entries, const clinfer_engine *engine, const struct clinfer_logprob *logprobs,
                            size_t count, size_t row, size_t top, bool all);

/* Sets a member; `value` is taken. false: memory is out. */
bool ci_answer_set(json_t *object, const char *name, json_t *value);

#endif
