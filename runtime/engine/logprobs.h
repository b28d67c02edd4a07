/* logprobs.h: how likely each token of an answer was, and which were the likeliest in its place. */
#ifndef CI_ENGINE_LOGPROBS_H
#define CI_ENGINE_LOGPROBS_H

#include <clinfer.h>

struct clinfer_engine;

struct ci_logprobs {
    struct clinfer_logprob *rows;  /* [capacity, width] */
    size_t count, capacity, width; /* width 0: nobody asked */
    double log_sum;                /* of the row under way: its logits' exponentials */
};

void ci_logprobs_begin(struct ci_logprobs *logprobs, int likeliest);

/* Before anything changes engine->host_logits: the row of token number `generated`; those before it of which nothing is
 * known are made up for, from output [generated]. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_logprobs_look(struct ci_logprobs *logprobs, struct clinfer_engine *engine, const int32_t *output,
                                     size_t generated);

/* The token of that row. A token that was chosen has the logit that it had. */
void ci_logprobs_take(struct ci_logprobs *logprobs, const float *logits, int32_t token);

/* The row of token number `index`, which may be one that nobody computed; NULL: nobody asked, or no memory. Valid until
 * the next call. */
const struct clinfer_logprob *ci_logprobs_row(struct ci_logprobs *logprobs, const int32_t *output, size_t index);

/* All rows; NULL: nobody asked, or no memory. */
const struct clinfer_logprob *ci_logprobs_end(struct ci_logprobs *logprobs, const int32_t *output, size_t generated);
void ci_logprobs_free(struct ci_logprobs *logprobs);

#endif
