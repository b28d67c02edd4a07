/* prompt.h: from what a request says to the tokens of its prompt. */
#ifndef CI_ENGINE_PROMPT_H
#define CI_ENGINE_PROMPT_H

#include <jansson.h>

#include <clinfer.h>

struct ci_prompt_request {
    const struct clinfer_message *messages;
    size_t count;
    const int32_t *tokens; /* [token_count]: they are the prompt; NULL: messages are */
    size_t token_count;
    bool raw;           /* the last message's content as it is */
    bool parse_special; /* control tokens in contents count */
    bool no_generation_prompt;
    bool continue_last; /* the last message is an answer that has begun */
    json_t *tools;      /* as ci_chat_render() has them */
    json_t *variables;  /* of the template, NULL: the chat's own alone */
};

struct ci_prompt {
    int32_t *tokens;
    size_t count;
    char *text; /* [length], zero-terminated; NULL where tokens were given */
    size_t length;
    bool reasoning_begun; /* it ends within reasoning */
};

/* CLINFER_INVALID_ARGUMENT: what does not fit together. */
enum clinfer_status ci_prompt_check(const struct ci_prompt_request *request);

/* Of a request that is checked. To be freed by ci_prompt_free() whatever comes. From any thread. */
enum clinfer_status ci_engine_prompt(const clinfer_engine *engine, const struct ci_prompt_request *request,
                                     struct ci_prompt *prompt);
void ci_prompt_free(struct ci_prompt *prompt);

#endif
