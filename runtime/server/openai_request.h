/* openai_request.h: bodies of OpenAI's chat completions, and of completions and llama-server's /completion in what they
 * have in common, as jobs. */
#ifndef CI_SERVER_OPENAI_REQUEST_H
#define CI_SERVER_OPENAI_REQUEST_H

#include <jansson.h>
#include <stdbool.h>

#include "server/ignored.h"
#include "server/job.h"

/* What is read of each of these bodies, and of chats and completions besides (see ignored.h). */
#define CI_OPENAI_FIELDS                                                                                               \
    CI_SAMPLING_FIELDS " model stream stream_options stream_options.include_usage stop logit_bias logprobs "           \
                       "top_logprobs n_probs n n_cmpl max_tokens max_completion_tokens n_predict ignore_eos grammar "  \
                       "json_schema response_format force_bytes cache_prompt id_slot timings_per_token "               \
                       "return_progress verbose post_sampling_probs num_ctx "
#define CI_OPENAI_CHAT_FIELDS                                                                                          \
    CI_OPENAI_FIELDS "messages tools tool_choice parallel_tool_calls add_generation_prompt continue_final_message "    \
                     "chat_template_kwargs reasoning_effort reasoning_format return_tokens"
#define CI_NATIVE_FIELDS CI_OPENAI_FIELDS "prompt return_tokens response_fields n_indent"

/* What a body wants beside its job. Texts are borrowed from the body, lists from the exchange's arena. */
struct ci_openai_request {
    struct ci_job job;
    bool stream, include_usage, timings_per_token, return_progress, verbose;
    bool echo, return_tokens, post_sampling_probs, cache_prompt;
    bool add_generation_prompt, parallel_tool_calls;
    bool logprobs;    /* wanted, `likeliest` of them for each token */
    int likeliest;    /* top_logprobs, logprobs of completions, n_probs */
    int choices;      /* n */
    int slot, indent; /* id_slot, n_indent: accepted */
    const char *reasoning_format, *reasoning_effort;
    const json_t *template_variables, *stream_options, *response_fields;
    char *schema;           /* free()d by ci_openai_request_free() */
    clinfer_router *router; /* of the engine, which is NULL until it is taken, or where only a remote answers */
    clinfer_engine *engine;
};

/* Reads what all of them have: sampling, limits, stop texts, form, options. `chat`: logprobs is true or false there, a
 * number in completions. false: the exchange has been answered. In any case ci_openai_request_free() is due. */
bool ci_openai_read_common(struct ci_exchange *exchange, const json_t *body, bool chat,
                           struct ci_openai_request *request);

/* The same, and messages, tools, what the template is told. */
bool ci_openai_read_chat(struct ci_exchange *exchange, const json_t *body, struct ci_openai_request *request);

/* Takes the job's model, where nobody did, and its engine, for what tokens are as text. Before each run of the job
 * whose answer needs that. false: the exchange has been answered. */
bool ci_openai_take_engine(struct ci_exchange *exchange, struct ci_openai_request *request);
/* Before the job's result is freed, which gives the model back. */
void ci_openai_give_engine(struct ci_openai_request *request);

/* Gives the job's model back where it was taken and never ran. */
void ci_openai_request_free(struct ci_exchange *exchange, struct ci_openai_request *request);

#endif
