/* logprobs.h: probabilities of the tokens of a remote's answer, of which an API tells the texts, and no numbers. */
#ifndef CI_REMOTE_LOGPROBS_H
#define CI_REMOTE_LOGPROBS_H

#include <stdbool.h>
#include <stddef.h>

#include <clinfer.h>
#include <jansson.h>

/* All zeros but for `width`: none have come. */
struct ci_text_logprobs {
    struct clinfer_text_logprob *items; /* [count, width]: the token, then the likeliest; their texts are owned */
    size_t count, capacity, width;
    bool failed; /* memory was out */
};

/* Those that came are forgotten. */
void ci_text_logprobs_clear(struct ci_text_logprobs *logprobs);
void ci_text_logprobs_free(struct ci_text_logprobs *logprobs);

/* A token as OpenAI's API has it: {"token": ..., "bytes": [...], "logprob": ..., "top_logprobs": [{...}, ...]}; what is
 * none is passed over. */
void ci_text_logprobs_add(struct ci_text_logprobs *logprobs, const json_t *entry);

#endif
