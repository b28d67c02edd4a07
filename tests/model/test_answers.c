/* What a program gets of an answer, and what it may say of its prompt: pieces with tokens and probabilities, prompts as
 * tokens, answers that have begun, variables of the template. With a tiny model on the CPU backend. Run from the top of
 * the repository. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/asserts.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

/* It tells what it was given, and thinks first where it is told to. */
#define TEMPLATE                                                                                                       \
    "{# </think> #}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"                                   \
    "{% if add_generation_prompt %}[assistant]{% if thinks %}<think>\n{% endif %}{% endif %}"

enum { MOST = 64, LIKELIEST = 2 };

struct heard {
    char text[4096];
    size_t length;
    int32_t tokens[MOST];
    struct clinfer_logprob logprobs[MOST][1 + LIKELIEST];
    size_t count, pieces, empty, started, prompt_tokens, done, total, progressed;
    bool stops, cancels;
};

static struct heard heard;
static clinfer_router *router;
static clinfer_conversation *conversation;

static bool on_piece(void *user, const struct clinfer_piece *piece) {
    struct heard *into = user;
    into->pieces++;
    into->empty += piece->length == 0;
    memcpy(into->text + into->length, piece->text, piece->length);
    into->length += piece->length;
    for (size_t i = 0; i < piece->token_count && into->count < MOST; i++) {
        into->tokens[into->count] = piece->tokens[i];
        if (piece->logprobs)
            memcpy(into->logprobs[into->count], piece->logprobs + i * (1 + LIKELIEST), sizeof *into->logprobs);
        into->count++;
    }
    return !into->stops;
}

static void on_start(void *user, size_t prompt_tokens, size_t cached_tokens) {
    struct heard *into = user;
    (void)cached_tokens;
    assert_int_equal(into->pieces, 0);
    into->started++;
    into->prompt_tokens = prompt_tokens;
}

static void on_progress(void *user, size_t done, size_t total) {
    struct heard *into = user;
    if (into->cancels) clinfer_chat_cancel(conversation);
    assert_true(done > into->done && done <= total);
    into->done = done;
    into->total = total;
    into->progressed++;
}

static const struct clinfer_message question = {.role = "user", .content = "hello"};

static struct clinfer_chat_request request_of(int most) {
    memset(&heard, 0, sizeof heard);
    return (struct clinfer_chat_request){.messages = &question,
                                         .count = 1,
                                         .max_tokens = most,
                                         .piece = on_piece,
                                         .started = on_start,
                                         .progress = on_progress,
                                         .user = &heard};
}

static int open_router(void **state) {
    struct clinfer_session_options sampling;
    const struct clinfer_router_options options = {
        .engine = {.model = TINY_MODEL, .device = "cpu", .device_layers = -1, .batch = 8, .chat_template = TEMPLATE}};
    (void)state;
    clinfer_session_options_default(NULL, &sampling);
    sampling.temperature = 0;
    sampling.logprobs = LIKELIEST;
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, &sampling, &conversation));
    return 0;
}

static int close_router(void **state) {
    (void)state;
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
    return 0;
}

static const struct clinfer_route *answer(const struct clinfer_chat_request *request) {
    const struct clinfer_route *route;
    assert_ok(clinfer_chat_submit(conversation, request));
    assert_ok(clinfer_chat_wait(conversation, &route));
    return route;
}

static void assert_same_tokens(const struct clinfer_result *result) {
    assert_int_equal(heard.count, result->generated_tokens);
    assert_memory_equal(heard.tokens, result->tokens, result->generated_tokens * sizeof *result->tokens);
    for (size_t i = 0; i < heard.count; i++)
        for (size_t k = 0; k < 1 + LIKELIEST; k++) {
            const struct clinfer_logprob *here = &heard.logprobs[i][k],
                                         *there = &result->logprobs[i * (1 + LIKELIEST) + k];
            assert_int_equal(here->token, there->token);
            assert_memory_equal(&here->logprob, &there->logprob, sizeof here->logprob);
        }
}

static void test_pieces_have_the_tokens_of_the_result(void **state) {
    struct clinfer_chat_request request = request_of(12);
    (void)state;
    request.ignore_end = true;
    const struct clinfer_route *route = answer(&request);
    assert_int_equal(route->result.generated_tokens, 12);
    assert_same_tokens(&route->result);
    assert_true(heard.pieces > 1 && heard.length > 0);
    assert_int_equal(heard.started, 1);
    assert_int_equal(heard.prompt_tokens, route->result.prompt_tokens);
    assert_true(heard.progressed > 1); /* a prompt of more tokens than a step has */
    assert_int_equal(heard.done, heard.total);
}

static void test_tokens_of_a_stop_text_come_last(void **state) {
    struct clinfer_chat_request request = request_of(12);
    char stop[16];
    (void)state;
    request.ignore_end = true;
    answer(&request);
    /* Characters in the middle of what it says. */
    size_t middle = heard.length / 2;
    while ((heard.text[middle] & 0xc0) == 0x80) middle++;
    snprintf(stop, sizeof stop, "%.*s", 4, heard.text + middle);
    const char *const stops[] = {"never said, that", stop};
    char before[sizeof heard.text];
    const char *at = strstr(heard.text, stop);
    assert_non_null(at);
    snprintf(before, sizeof before, "%.*s", (int)(at - heard.text), heard.text);
    request = request_of(12);
    request.ignore_end = true;
    request.stop = stops;
    request.stop_count = 2;
    const struct clinfer_route *route = answer(&request);
    assert_int_equal(route->result.finish, CLINFER_FINISH_END);
    assert_ptr_equal(route->result.stop_text, stops[1]);
    assert_string_equal(heard.text, before);
    assert_same_tokens(&route->result);
}

static void test_a_prompt_may_be_tokens(void **state) {
    struct clinfer_chat_request request = request_of(8);
    int32_t *tokens, first[MOST];
    char *text;
    size_t count, length;
    (void)state;
    request.ignore_end = true;
    assert_ok(clinfer_router_prompt(router, &request, &text, &length, &tokens, &count));
    assert_string_equal(text, "[user]hello[assistant]");
    assert_int_equal(length, strlen(text));
    const struct clinfer_route *route = answer(&request);
    assert_int_equal(route->result.prompt_tokens, count);
    memcpy(first, heard.tokens, sizeof first);
    request = request_of(8);
    request.ignore_end = true;
    request.messages = NULL;
    request.count = 0;
    request.tokens = tokens;
    request.token_count = count;
    route = answer(&request);
    assert_int_equal(route->result.prompt_tokens, count);
    assert_memory_equal(first, heard.tokens, 8 * sizeof *first);
    request.messages = &question;
    request.count = 1;
    assert_int_equal(clinfer_chat_submit(conversation, &request), CLINFER_INVALID_ARGUMENT);
    request.count = 0;
    tokens[0] = INT32_MAX;
    assert_ok(clinfer_chat_submit(conversation, &request));
    assert_int_equal(clinfer_chat_wait(conversation, NULL), CLINFER_INVALID_ARGUMENT);
    clinfer_free(tokens);
    clinfer_free(text);
}

static char *prompt_of(const struct clinfer_chat_request *request) {
    char *text;
    assert_ok(clinfer_router_prompt(router, request, &text, NULL, NULL, NULL));
    return text;
}

static void test_the_template_does_as_it_is_told(void **state) {
    const struct clinfer_message begun[] = {question, {.role = "assistant", .content = "Well, ", .reasoning = "hm"}};
    struct clinfer_chat_request request = request_of(4);
    (void)state;
    char *text;
    request.no_generation_prompt = true;
    assert_string_equal(text = prompt_of(&request), "[user]hello");
    clinfer_free(text);
    request = request_of(4);
    request.template_arguments = "{\"thinks\": true}";
    assert_string_equal(text = prompt_of(&request), "[user]hello[assistant]<think>\n");
    clinfer_free(text);
    request.messages = begun;
    request.count = 2;
    assert_string_equal(text = prompt_of(&request), "[user]hello[assistant]Well, [assistant]<think>\n");
    clinfer_free(text);
    request.continue_last = true;
    assert_string_equal(text = prompt_of(&request), "[user]hello[assistant]<think>\nhm\n</think>\n\nWell, ");
    clinfer_free(text);
    request.template_arguments = NULL;
    assert_string_equal(text = prompt_of(&request), "[user]hello[assistant]Well, ");
    clinfer_free(text);
    request.count = 1;
    assert_int_equal(clinfer_chat_submit(conversation, &request), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "must be the assistant's"));
    request = request_of(4);
    request.template_arguments = "{\"messages\": []}";
    assert_int_equal(clinfer_chat_submit(conversation, &request), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "template_arguments: \"messages\""));
}

static void test_a_receiver_of_pieces_can_end_the_answer(void **state) {
    struct clinfer_chat_request request = request_of(50);
    (void)state;
    heard.stops = request.ignore_end = true;
    const struct clinfer_route *route = answer(&request);
    assert_int_equal(route->result.finish, CLINFER_FINISH_CANCELLED);
    assert_true(route->result.generated_tokens < 50);
    assert_same_tokens(&route->result);
}

static void test_cancelling_ends_a_prompt_in_the_making(void **state) {
    static int32_t tokens[120];
    struct clinfer_chat_request request = request_of(4);
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) tokens[i] = (int32_t)(3 + i % 50);
    request.messages = NULL;
    request.count = 0;
    request.tokens = tokens;
    request.token_count = sizeof tokens / sizeof *tokens;
    heard.cancels = true;
    const struct clinfer_route *route = answer(&request);
    assert_int_equal(route->result.finish, CLINFER_FINISH_CANCELLED);
    assert_int_equal(route->result.generated_tokens, 0);
    assert_true(heard.progressed <= 2 && heard.done < heard.total); /* of 15 steps of 8 tokens */
    struct clinfer_router_stats stats;
    clinfer_router_get_stats(router, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_have_the_tokens_of_the_result),
        cmocka_unit_test(test_tokens_of_a_stop_text_come_last),
        cmocka_unit_test(test_a_prompt_may_be_tokens),
        cmocka_unit_test(test_the_template_does_as_it_is_told),
        cmocka_unit_test(test_a_receiver_of_pieces_can_end_the_answer),
        cmocka_unit_test(test_cancelling_ends_a_prompt_in_the_making),
    };
    return cmocka_run_group_tests(tests, open_router, close_router);
}
