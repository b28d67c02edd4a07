#include "server/completion_prompt.h"

#include <stdint.h>
#include <string.h>

#include "base/arena.h"
#include "base/status.h"

enum { MOST_PROMPTS = 1024 };

static bool no_memory(struct ci_exchange *exchange) {
    ci_exchange_fail(exchange, &(struct ci_failure){.kind = CI_FAIL_SERVER, .message = "prompt: out of memory"});
    return false;
}

static bool wrong(struct ci_exchange *exchange) {
    ci_exchange_refuse(exchange, "prompt", "prompt: must be a text, a list of ids of tokens, or a list of such");
    return false;
}

static bool is_text(const json_t *value) {
    return json_is_string(value) && strlen(json_string_value(value)) == json_string_length(value);
}

static bool is_id(const json_t *value) {
    return json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= INT32_MAX;
}

/* Tokens of one prompt as they are added. */
struct tokens {
    int32_t *list;
    size_t count, capacity;
};

static bool add(struct ci_arena *arena, struct tokens *tokens, const int32_t *more, size_t count) {
    if (tokens->count + count > tokens->capacity) {
        size_t capacity = 2 * (tokens->count + count);
        int32_t *list = ci_arena_array(arena, capacity, sizeof *list);
        if (!list) return false;
        if (tokens->count) memcpy(list, tokens->list, tokens->count * sizeof *list);
        tokens->list = list;
        tokens->capacity = capacity;
    }
    if (count) memcpy(tokens->list + tokens->count, more, count * sizeof *more);
    tokens->count += count;
    return true;
}

/* A text's tokens, with the one that begins texts where it is the first of the prompt. */
static bool add_text(struct ci_exchange *exchange, const json_t *text, struct ci_openai_request *request,
                     struct tokens *tokens) {
    int32_t *list = NULL;
    size_t count = 0;
    if (!ci_openai_take_engine(exchange, request)) return false;
    if (!request->engine) {
        ci_exchange_refuse(exchange, "prompt", "prompt: no model is here that could say which tokens a text has");
        return false;
    }
    enum clinfer_status status = clinfer_tokenize(request->engine, json_string_value(text), json_string_length(text),
                                                  !tokens->count, true, &list, &count);
    bool fits = status == CLINFER_OK && add(ci_exchange_arena(exchange), tokens, list, count);
    clinfer_free(list);
    return fits || no_memory(exchange);
}

static bool read_mixed(struct ci_exchange *exchange, const json_t *list, struct ci_openai_request *request,
                       struct ci_completion_prompt *prompt) {
    struct tokens tokens = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (is_text(one)) {
            if (!add_text(exchange, one, request, &tokens)) return false;
        } else if (is_id(one)) {
            int32_t id = (int32_t)json_integer_value(one);
            if (!add(ci_exchange_arena(exchange), &tokens, &id, 1)) return no_memory(exchange);
        } else {
            return wrong(exchange);
        }
    }
    prompt->tokens = tokens.list;
    prompt->count = tokens.count;
    return tokens.count ? true : wrong(exchange);
}

static bool read_one(struct ci_exchange *exchange, const json_t *value, struct ci_openai_request *request,
                     struct ci_completion_prompt *prompt) {
    const json_t *text = json_is_object(value) ? json_object_get(value, "prompt_string") : value;
    if (json_is_object(value) && json_object_get(value, "multimodal_data")) {
        ci_exchange_refuse(exchange, "prompt.multimodal_data",
                           "prompt.multimodal_data: the model here reads text only; leave it out");
        return false;
    }
    if (json_is_array(value)) return read_mixed(exchange, value, request, prompt);
    if (!is_text(text)) return wrong(exchange);
    prompt->message = (struct clinfer_message){.role = "user", .content = json_string_value(text)};
    return true;
}

/* [1, 2, "text"] is one prompt, ["text", "text"] and [[1], "text"] are two. */
static bool is_list(const json_t *prompt) {
    for (size_t i = 0; i < json_array_size(prompt); i++)
        if (json_is_integer(json_array_get(prompt, i))) return false;
    return json_is_array(prompt);
}

bool ci_completion_prompts_read(struct ci_exchange *exchange, const json_t *prompt, struct ci_openai_request *request,
                                struct ci_completion_prompts *prompts) {
    *prompts = (struct ci_completion_prompts){.many = is_list(prompt), .count = 1};
    if (prompts->many) prompts->count = json_array_size(prompt);
    if (!prompt || json_is_null(prompt)) {
        ci_exchange_refuse(exchange, "prompt", "prompt: is missing");
        return false;
    }
    if (!prompts->count) return wrong(exchange);
    if (prompts->count > MOST_PROMPTS) {
        ci_exchange_refuse(exchange, "prompt", "prompt: has %zu prompts; %d is the most", prompts->count, MOST_PROMPTS);
        return false;
    }
    prompts->list = ci_arena_array(ci_exchange_arena(exchange), prompts->count, sizeof *prompts->list);
    if (!prompts->list) return no_memory(exchange);
    for (size_t i = 0; i < prompts->count; i++)
        if (!read_one(exchange, prompts->many ? json_array_get(prompt, i) : prompt, request, &prompts->list[i]))
            return false;
    return true;
}

void ci_completion_prompt_use(const struct ci_completion_prompt *prompt, struct ci_job *job) {
    job->request.raw = !prompt->tokens;
    job->request.messages = prompt->tokens ? NULL : &prompt->message;
    job->request.count = !prompt->tokens;
    job->request.tokens = prompt->tokens;
    job->request.token_count = prompt->count;
}
