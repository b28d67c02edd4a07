/* ask.c: a rung that is a remote API: asked by the thread that waits for the request. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "remote/checked.h"
#include "remote/router.h"

static enum clinfer_finish finish_of(const struct clinfer_conversation *conversation,
                                     const struct ci_remote_result *answer) {
    return ci_conversation_is_cancelled(conversation) ? CLINFER_FINISH_CANCELLED : answer->finish;
}

/* Once for all conversations. */
static void announce(struct clinfer_router *router, struct ci_rung *rung) {
    const struct clinfer_remote *remote = rung->remote;
    pthread_mutex_lock(&router->lock);
    bool announced = rung->announced;
    rung->announced = true;
    pthread_mutex_unlock(&router->lock);
    if (announced) return;
    bool named = strcmp(rung->name, remote->url) != 0;
    ci_log(CLINFER_LOG_NOTICE, "the prompt leaves this machine: it goes to %s%s%s%s%s", rung->name, named ? ", " : "",
           named ? remote->url : "", remote->model ? ", model " : "", remote->model ? remote->model : "");
}

enum clinfer_status ci_ask_remote(struct clinfer_conversation *conversation, struct clinfer_result *result) {
    struct ci_rung *rung = &conversation->router->rungs[conversation->rung];
    const struct clinfer_chat_request *request = &conversation->request;
    const struct clinfer_session_options *sampling = &conversation->sampling;
    struct ci_remote_result answer = {0};
    double start = ci_now();
    int most = request->max_tokens;
    if (most >= 0) most = most > (int)conversation->token_count ? most - (int)conversation->token_count : 1;
    size_t begun_before = request->continue_last;
    struct ci_text_logprobs *logprobs = sampling->logprobs > 0 ? &conversation->remote_logprobs : NULL;
    ci_text_logprobs_free(&conversation->remote_logprobs);
    if (logprobs) logprobs->width = 1 + (size_t)sampling->logprobs;
    const struct ci_remote_request asked = {.messages = request->messages,
                                            .count = request->count - begun_before,
                                            .begun = ci_outlet_begun(conversation),
                                            .temperature = sampling->temperature,
                                            .top_p = sampling->top_p,
                                            .presence_penalty = sampling->presence_penalty,
                                            .frequency_penalty = sampling->frequency_penalty,
                                            .logit_bias = sampling->logit_bias,
                                            .logit_bias_count = sampling->logit_bias_count,
                                            .logprobs = logprobs,
                                            .seed = (int64_t)(sampling->seed & INT32_MAX),
                                            .max_tokens = most,
                                            .stop = request->stop,
                                            .stop_count = request->stop_count,
                                            .json_schema = request->grammar ? request->grammar->text : NULL,
                                            .tools = conversation->tools,
                                            .tool_choice = request->tool_choice,
                                            .call = ci_outlet_remote_call,
                                            .callback = ci_outlet_text,
                                            .user = conversation,
                                            .cancel = &conversation->cancel->wanted};
    announce(conversation->router, rung);
    conversation->calls_before = conversation->calls.count;
    enum clinfer_status status = ci_remote_ask_checked(rung->remote, &asked, &answer);
    conversation->text_bytes += answer.text_bytes;
    conversation->visits[conversation->rung].tokens = answer.generated_tokens;
    *result = (struct clinfer_result){.finish = finish_of(conversation, &answer),
                                      .prompt_tokens = answer.prompt_tokens,
                                      .generated_tokens = conversation->token_count + answer.generated_tokens,
                                      .prompt_seconds = answer.first_byte_seconds,
                                      .generate_seconds = ci_now() - start - answer.first_byte_seconds};
    if (logprobs && !logprobs->failed) {
        result->remote_logprobs = logprobs->items;
        result->remote_logprob_count = logprobs->count;
    }
    return status;
}
