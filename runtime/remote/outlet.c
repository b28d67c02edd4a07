/* outlet.c: what goes out of an answer to whoever asked: its text by parts, its tokens, its calls. It comes from one
 * rung's thread at a time, in this order: a token, then the text that it completes, through the stop texts and the
 * parser of calls, both of which may hold some back. */
#include <stdlib.h>
#include <string.h>

#include "base/append.h"
#include "base/status.h"
#include "remote/router.h"
#include "text/tool_prompt.h"

/* Whose callback this thread is in: it stands in a step, or in a wait, which would wait for itself. */
static _Thread_local const struct clinfer_router *inside;

enum clinfer_status ci_outlet_require_outside(const struct clinfer_router *router) {
    if (inside != router) return CLINFER_OK;
    return ci_fail(CLINFER_INVALID_ARGUMENT,
                   "called from a callback of a request, which may call clinfer_chat_cancel only");
}

/* ---- to the caller ---- */

static bool pass_piece(struct clinfer_conversation *conversation, const struct clinfer_piece *piece) {
    const struct clinfer_router *before = inside;
    inside = conversation->router;
    bool goes_on = conversation->request.piece(conversation->request.user, piece);
    inside = before;
    return goes_on;
}

/* Text with the tokens that are new. */
static bool pass_new(struct clinfer_conversation *conversation, enum clinfer_part part, const char *text,
                     size_t length) {
    struct ci_new_tokens *fresh = &conversation->new_tokens;
    const struct clinfer_piece piece = {.part = part,
                                        .text = text,
                                        .length = length,
                                        .tokens = fresh->count ? fresh->ids : NULL,
                                        .token_count = fresh->count,
                                        .logprobs = fresh->count && fresh->width ? fresh->logprobs : NULL};
    fresh->passed += fresh->count;
    fresh->count = 0;
    return pass_piece(conversation, &piece);
}

static bool pass_to(struct clinfer_conversation *conversation, enum clinfer_part part, const char *text,
                    size_t length) {
    const struct clinfer_chat_request *request = &conversation->request;
    clinfer_text_callback *callback = part == CLINFER_PART_REASONING ? request->reasoning : request->callback;
    if (length == 0) return true;
    if (request->piece) return pass_new(conversation, part, text, length);
    if (!callback) return true;
    const struct clinfer_router *before = inside;
    inside = conversation->router;
    bool goes_on = callback(request->user, text, length);
    inside = before;
    return goes_on;
}

static bool on_words(void *user, const char *text, size_t length) {
    return pass_to(user, CLINFER_PART_ANSWER, text, length);
}

/* A piece of a call, from the text or from a remote. */
static bool on_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct clinfer_conversation *conversation = user;
    if (!ci_tool_calls_add(&conversation->calls, piece)) return false;
    if (!conversation->request.call) return true;
    const struct clinfer_router *before = inside;
    inside = conversation->router;
    bool goes_on = conversation->request.call(conversation->request.user, piece);
    inside = before;
    return goes_on;
}

void ci_outlet_start(void *user, size_t prompt_tokens, size_t cached_tokens) {
    struct clinfer_conversation *conversation = user;
    if (conversation->told_start) return;
    conversation->told_start = true;
    const struct clinfer_router *before = inside;
    inside = conversation->router;
    conversation->request.started(conversation->request.user, prompt_tokens, cached_tokens);
    inside = before;
}

void ci_outlet_progress(void *user, size_t done, size_t total) {
    const struct clinfer_conversation *conversation = user;
    const struct clinfer_router *before = inside;
    inside = conversation->router;
    conversation->request.progress(conversation->request.user, done, total);
    inside = before;
}

/* ---- from a rung ---- */

/* Behind those that another rung has left. */
bool ci_outlet_remote_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct clinfer_conversation *conversation = user;
    struct clinfer_tool_call_piece shifted = *piece;
    shifted.index += conversation->calls_before;
    return on_call(conversation, &shifted);
}

/* A rung that goes on with an answer has the same model, so the same form. */
void ci_outlet_expect_calls(void *user, const struct ci_tool_format *format, enum ci_call_start start) {
    struct clinfer_conversation *conversation = user;
    bool first = !conversation->parser.format;
    conversation->parser.format = format;
    bool begun = start == CI_CALL_BEHIND_MARK || (start == CI_CALL_ANYWHERE && format->begun);
    if (first && (begun || start != CI_CALL_ANYWHERE)) ci_tool_parser_expect(&conversation->parser, begun);
}

bool ci_outlet_reasoning(void *user, const char *text, size_t length) {
    return pass_to(user, CLINFER_PART_REASONING, text, length);
}

static bool pass_text(void *user, const char *text, size_t length) {
    struct clinfer_conversation *conversation = user;
    return ci_tool_parser_push(&conversation->parser, text, length);
}

static bool keeps_text(const struct clinfer_conversation *conversation) {
    return conversation->router->options.remote_continues || conversation->request.continue_last;
}

static bool keep_text(struct clinfer_conversation *conversation, const char *text, size_t length) {
    return !keeps_text(conversation) ||
           ci_append(&conversation->text, &conversation->text_length, &conversation->text_capacity, text, length);
}

/* Whether what comes is a call's: a call is due, or has its name. */
static bool in_call(const struct clinfer_conversation *conversation) {
    const struct ci_tool_parser *parser = &conversation->parser;
    return parser->format && (ci_tool_choice_requires(conversation->request.tool_choice) ||
                              (parser->told && parser->state != CI_TOOL_TEXT));
}

/* A stop text ends text. In a call it would leave arguments that are no JSON, which nobody could use. */
bool ci_outlet_text(void *user, const char *text, size_t length) {
    struct clinfer_conversation *conversation = user;
    struct ci_stop_texts *stop = &conversation->stop;
    if (!keep_text(conversation, text, length)) return false;
    if (!in_call(conversation)) return ci_stop_texts_push(stop, text, length, pass_text, conversation);
    return ci_stop_texts_flush(stop, pass_text, conversation) && !stop->found && pass_text(conversation, text, length);
}

/* Without memory for them tokens come with the last piece. */
void ci_outlet_token(void *user, int32_t token, const struct clinfer_logprob *row) {
    struct clinfer_conversation *conversation = user;
    struct ci_new_tokens *fresh = &conversation->new_tokens;
    if (fresh->late) return;
    if (fresh->count == fresh->capacity) {
        size_t capacity = 2 * fresh->capacity + 16;
        int32_t *ids = realloc(fresh->ids, capacity * sizeof *ids);
        if (ids) fresh->ids = ids;
        size_t bytes = capacity * fresh->width * sizeof *fresh->logprobs;
        struct clinfer_logprob *logprobs = fresh->width ? realloc(fresh->logprobs, bytes) : NULL;
        if (logprobs) fresh->logprobs = logprobs;
        fresh->late = !ids || (fresh->width && !logprobs);
        if (fresh->late) return;
        fresh->capacity = capacity;
    }
    fresh->ids[fresh->count] = token;
    if (row && fresh->width) memcpy(fresh->logprobs + fresh->count * fresh->width, row, fresh->width * sizeof *row);
    fresh->count++;
}

/* ---- begin and end ---- */

void ci_outlet_begin(struct clinfer_conversation *conversation) {
    const struct clinfer_chat_request *request = &conversation->request;
    struct ci_new_tokens *fresh = &conversation->new_tokens;
    int likeliest = conversation->sampling.logprobs;
    conversation->told_start = false;
    conversation->text_length = 0;
    if (request->continue_last) {
        const char *begun = request->messages[request->count - 1].content;
        keep_text(conversation, begun, strlen(begun));
    }
    fresh->count = fresh->passed = 0;
    fresh->late = false;
    fresh->width = likeliest > 0 ? (size_t)likeliest + 1 : 0;
    ci_stop_texts_begin(&conversation->stop, request->stop, request->stop_count);
    const struct ci_tool_sink sink = {.text = on_words, .call = on_call, .user = conversation};
    uint64_t seed = conversation->sampling.seed + (request->count << 32); /* each turn has ids of its own */
    ci_tool_parser_begin(&conversation->parser, NULL, conversation->tools, seed, &sink);
    ci_tool_calls_free(&conversation->calls);
    ci_text_logprobs_free(&conversation->remote_logprobs);
}

const char *ci_outlet_begun(const struct clinfer_conversation *conversation) {
    bool begun = conversation->text_bytes > 0 || conversation->request.continue_last;
    return begun && conversation->text_length ? conversation->text : NULL;
}

/* Tokens whose text was held back or that have none, such as the one that ends an answer. */
static void pass_last(struct clinfer_conversation *conversation, const struct clinfer_result *result) {
    const struct ci_new_tokens *fresh = &conversation->new_tokens;
    if (!result || !result->tokens || result->generated_tokens <= fresh->passed) return;
    const struct clinfer_piece piece = {
        .text = "",
        .tokens = result->tokens + fresh->passed,
        .token_count = result->generated_tokens - fresh->passed,
        .logprobs = result->logprobs && fresh->width ? result->logprobs + fresh->passed * fresh->width : NULL};
    pass_piece(conversation, &piece);
}

void ci_outlet_end(struct clinfer_conversation *conversation, const struct clinfer_result *result) {
    ci_stop_texts_flush(&conversation->stop, pass_text, conversation);
    ci_tool_parser_end(&conversation->parser);
    if (conversation->request.piece) pass_last(conversation, result);
}

void ci_outlet_free(struct clinfer_conversation *conversation) {
    free(conversation->text);
    free(conversation->new_tokens.ids);
    free(conversation->new_tokens.logprobs);
    ci_stop_texts_free(&conversation->stop);
    ci_tool_parser_end(&conversation->parser);
    ci_tool_calls_free(&conversation->calls);
}
