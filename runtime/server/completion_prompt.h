/* completion_prompt.h: the `prompt` of completions: a text; ids; both in turn, [1, 2, "text", 3]; {"prompt_string":
 * text}; or a list of any of these. */
#ifndef CI_SERVER_COMPLETION_PROMPT_H
#define CI_SERVER_COMPLETION_PROMPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "server/openai_request.h"

struct ci_completion_prompt {
    struct clinfer_message message; /* its content, where it is a text */
    const int32_t *tokens;          /* [count], where it is not */
    size_t count;
};

struct ci_completion_prompts {
    struct ci_completion_prompt *list; /* [count], in the exchange's arena */
    size_t count;
    bool many; /* a list was sent, whatever its length */
};

/* Texts among ids need the tokenizer: then the request's model is taken. false: the exchange has been answered. */
bool ci_completion_prompts_read(struct ci_exchange *exchange, const json_t *prompt, struct ci_openai_request *request,
                                struct ci_completion_prompts *prompts);

/* The job's next run is for this prompt. */
void ci_completion_prompt_use(const struct ci_completion_prompt *prompt, struct ci_job *job);

#endif
