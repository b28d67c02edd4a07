/* Any bytes as the body of a request to OpenAI's chat completions, to its completions and to llama-server's
 * /completion. The exchange and what a server is asked for are of this file: a body is either read, or refused once
 * with a reason. */
#include <string.h>

#include "server/completion_prompt.h"
#include "server/openai_request.h"
#include "server/sampled.h"
#include "server/server.h"
#include "tests/fuzz/check_job.h"

struct ci_exchange {
    struct ci_arena arena;
    int failures;
};

struct ci_arena *ci_exchange_arena(struct ci_exchange *exchange) {
    return &exchange->arena;
}
struct ci_server *ci_exchange_server(struct ci_exchange *exchange) {
    return (struct ci_server *)(void *)exchange;
}

void ci_exchange_fail(struct ci_exchange *exchange, const struct ci_failure *failure) {
    if (!failure->message || !*failure->message) abort();
    exchange->failures++;
}

void ci_exchange_refuse(struct ci_exchange *exchange, const char *param, const char *format, ...) {
    (void)param;
    if (!*format) abort();
    exchange->failures++;
}

const struct ci_server_options *ci_server_get_options(const struct ci_server *server) {
    static struct ci_server_options options = {.predict = -1, .reasoning_format = "auto", .reasoning = "auto"};
    (void)server;
    clinfer_session_options_default(NULL, &options.sampling);
    options.sampling.seed = UINT64_MAX;
    return &options;
}

void ci_job_init(struct ci_job *job) {
    *job = (struct ci_job){.choices = 1, .keep_alive = (double)NAN, .request = {.max_tokens = -1}};
    clinfer_session_options_default(NULL, &job->sampling);
    job->sampling.seed = UINT64_MAX;
}

/* No model is here: what needs its tokenizer is refused. */
bool ci_job_take(struct ci_exchange *exchange, struct ci_job *job) {
    (void)job;
    exchange->failures++;
    return false;
}
void ci_job_give_back(struct ci_exchange *exchange, struct ci_job *job) { (void)exchange, (void)job; }
clinfer_router *ci_job_router(struct ci_exchange *exchange, const struct ci_job *job) {
    (void)exchange, (void)job;
    return NULL;
}

static void check_read(const struct ci_exchange *exchange, const struct ci_openai_request *request, bool fine) {
    if (exchange->failures != !fine) abort();
    if (!fine) return;
    check_job(&request->job);
    if (request->job.choices < 1 || request->likeliest < 0) abort();
    if (request->logprobs && request->job.sampling.logprobs < 1) abort();
}

static void check_prompts(const struct ci_completion_prompts *prompts) {
    if (!prompts->count) abort();
    for (size_t i = 0; i < prompts->count; i++) {
        const struct ci_completion_prompt *prompt = &prompts->list[i];
        if (prompt->tokens ? prompt->count == 0 : !prompt->message.content) abort();
        for (size_t j = 0; j < prompt->count; j++)
            if (prompt->tokens[j] < 0) abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *body = fuzz_body(data, size);
    for (int chat = 0; body && chat < 2; chat++) {
        struct ci_exchange exchange = {.failures = 0};
        struct ci_openai_request request;
        struct ci_completion_prompts prompts;
        bool fine =
            chat ? ci_openai_read_chat(&exchange, body, &request)
                 : ci_openai_read_common(&exchange, body, false, &request) && ci_sampled_prepare(&exchange, &request) &&
                       ci_completion_prompts_read(&exchange, json_object_get(body, "prompt"), &request, &prompts);
        check_read(&exchange, &request, fine);
        if (fine && !chat) check_prompts(&prompts);
        ci_openai_request_free(&exchange, &request);
        ci_arena_destroy(&exchange.arena);
    }
    json_decref(body);
    return 0;
}
