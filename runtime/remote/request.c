/* request.c: what a request says: checked, copied, and as a prompt. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "base/require.h"
#include "remote/router.h"
#include "text/tool_prompt.h"

struct ci_prompt_request ci_chat_prompt_request(const struct clinfer_chat_request *request, json_t *tools,
                                                json_t *variables) {
    return (struct ci_prompt_request){.messages = request->messages,
                                      .count = request->count,
                                      .tokens = request->tokens,
                                      .token_count = request->token_count,
                                      .raw = request->raw,
                                      .parse_special = request->parse_special,
                                      .no_generation_prompt = request->no_generation_prompt,
                                      .continue_last = request->continue_last,
                                      .tools = tools,
                                      .variables = variables};
}

enum clinfer_status ci_request_check(const struct clinfer_chat_request *request) {
    const struct ci_prompt_request prompt = ci_chat_prompt_request(request, NULL, NULL);
    enum clinfer_status status = ci_prompt_check(&prompt);
    if (status == CLINFER_OK) status = ci_messages_check(request->messages, request->count);
    if (status != CLINFER_OK) return status;
    if ((request->raw || request->tokens) && request->template_arguments)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "template_arguments: a raw prompt has no chat template");
    if (request->piece && (request->callback || request->reasoning))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "piece takes the place of callback and reasoning; leave one");
    status = ci_stop_texts_check(request->stop, request->stop_count);
    if (status != CLINFER_OK) return status;
    if (request->grammar && ci_tool_choice_requires(request->tool_choice))
        return ci_fail(CLINFER_INVALID_ARGUMENT,
                       "a call is required, and the answer has to follow a grammar; leave one");
    if ((request->raw || request->tokens) && request->tools)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "tools: a raw prompt has none; the chat template writes them");
    if (request->max_tokens < -1)
        return ci_fail(CLINFER_INVALID_ARGUMENT, "max_tokens: %d, must be -1 or more", request->max_tokens);
    if (!(request->deadline_seconds >= 0))
        return ci_fail(CLINFER_INVALID_ARGUMENT, "deadline_seconds: %g, must be 0 or more", request->deadline_seconds);
    return CLINFER_OK;
}

enum clinfer_status ci_request_take(struct clinfer_conversation *conversation,
                                    const struct clinfer_chat_request *request) {
    json_t *tools, *variables = NULL;
    enum clinfer_status status = ci_tools_read(request->tools, request->tool_choice, &tools);
    if (status == CLINFER_OK) status = ci_chat_variables("template_arguments", request->template_arguments, &variables);
    struct clinfer_message *messages = ci_messages_copy(request->messages, request->count);
    int32_t *prompt = malloc((request->token_count + 1) * sizeof *prompt);
    if (status == CLINFER_OK && (!messages || !prompt))
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a request");
    if (status != CLINFER_OK) {
        json_decref(tools);
        json_decref(variables);
        free(messages);
        free(prompt);
        return status;
    }
    json_decref(conversation->tools);
    json_decref(conversation->variables);
    free(conversation->messages);
    free(conversation->prompt);
    if (request->token_count) memcpy(prompt, request->tokens, request->token_count * sizeof *prompt);
    conversation->tools = tools;
    conversation->variables = variables;
    conversation->messages = messages;
    conversation->prompt = prompt;
    conversation->request = *request;
    conversation->request.messages = messages;
    conversation->request.tokens = request->tokens ? prompt : NULL;
    conversation->request.template_arguments = NULL;
    return CLINFER_OK;
}

static enum clinfer_status make_prompt(const clinfer_engine *engine, const struct clinfer_chat_request *request,
                                       struct ci_prompt *prompt) {
    json_t *tools, *variables = NULL;
    enum clinfer_status status = ci_tools_read(request->tools, request->tool_choice, &tools);
    if (status == CLINFER_OK) status = ci_chat_variables("template_arguments", request->template_arguments, &variables);
    *prompt = (struct ci_prompt){0};
    const struct ci_prompt_request asked = ci_chat_prompt_request(request, tools, variables);
    if (status == CLINFER_OK) status = ci_engine_prompt(engine, &asked, prompt);
    json_decref(tools);
    json_decref(variables);
    return status;
}

enum clinfer_status clinfer_router_prompt(clinfer_router *router, const struct clinfer_chat_request *request,
                                          char **text, size_t *length, int32_t **tokens, size_t *token_count) {
    if (text) *text = NULL;
    if (length) *length = 0;
    if (tokens) *tokens = NULL;
    if (token_count) *token_count = 0;
    CI_REQUIRE(router, "router");
    CI_REQUIRE(request, "request");
    CI_REQUIRE_PROCESS(router->process, "router");
    if (ci_outlet_require_outside(router) != CLINFER_OK) return CLINFER_INVALID_ARGUMENT;
    struct ci_prompt prompt;
    clinfer_engine *engine = clinfer_router_take_engine(router);
    enum clinfer_status status = ci_request_check(request);
    if (status == CLINFER_OK && !engine) {
        status = clinfer_router_start(router);
        engine = clinfer_router_take_engine(router);
    }
    if (status != CLINFER_OK) {
        clinfer_router_give_back_engine(router, engine);
        return status;
    }
    if (!engine)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "no model runs here, and what a remote makes of messages is its own matter");
    status = make_prompt(engine, request, &prompt);
    clinfer_router_give_back_engine(router, engine);
    if (status == CLINFER_OK) {
        if (text && prompt.text) *text = prompt.text;
        if (text && !prompt.text) *text = strdup("");
        if (text) prompt.text = NULL;
        if (length) *length = prompt.length;
        if (tokens) *tokens = prompt.tokens;
        if (tokens) prompt.tokens = NULL;
        if (token_count) *token_count = prompt.count;
    }
    ci_prompt_free(&prompt);
    return status;
}
