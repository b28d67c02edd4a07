/* Turns of a conversation: what the session has computed of the earlier ones is used, and the tokens of
 * a prompt do not depend on that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/asserts.h"
#include "support/model.h"

enum { TURNS = 3, ANSWER = 12, MOST_TEXT = 4096 };

static bool collect(void *user, const char *bytes, size_t length) {
    strncat(user, bytes, length);
    return strlen(user) < MOST_TEXT / 2;
}

struct talk {
    clinfer_engine *engine;
    clinfer_session *session;
    struct clinfer_message messages[2 * TURNS];
    char texts[TURNS][MOST_TEXT];
    int32_t tokens[TURNS][ANSWER];
    bool keeps_tokens;
};

static void ask(struct talk *talk, size_t turn, struct clinfer_result *result) {
    static const char *const questions[TURNS] = {"Name a river.", "Not <|im_end|>, another!", "Why?"};
    int32_t *tokens;
    size_t count;
    talk->messages[2 * turn] = (struct clinfer_message){.role = "user", .content = questions[turn]};
    if (clinfer_chat_tokens(talk->engine, talk->messages, 2 * turn + 1, true, false, &tokens, &count) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    const struct clinfer_request request = {.tokens = tokens,
                                            .count = count,
                                            .max_tokens = ANSWER,
                                            .ignore_end = true,
                                            .callback = collect,
                                            .user = talk->texts[turn]};
    if (clinfer_generate(talk->session, &request, result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result->generated_tokens, ANSWER);
    memcpy(talk->tokens[turn], result->tokens, sizeof talk->tokens[turn]);
    talk->messages[2 * turn + 1] = (struct clinfer_message){.role = "assistant",
                                                            .content = talk->texts[turn],
                                                            .tokens = talk->keeps_tokens ? talk->tokens[turn] : NULL,
                                                            .token_count = ANSWER};
    clinfer_free(tokens);
}

static void test_later_turns_find_all_earlier_ones_computed(void **state) {
    (void)state;
    static struct talk talk;
    struct clinfer_engine_options options = test_engine_options(test_model_path(), "cpu");
    struct clinfer_session_options sampling;
    struct clinfer_result result;
    memset(&talk, 0, sizeof talk);
    talk.keeps_tokens = true;
    talk.engine = test_engine_open(&options);
    clinfer_session_options_default(talk.engine, &sampling);
    sampling.temperature = 2; /* tokens that reading the text would not give */
    sampling.seed = 3;
    if (clinfer_session_create(talk.engine, &sampling, &talk.session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    size_t before = 0;
    for (size_t turn = 0; turn < TURNS; turn++) {
        ask(&talk, turn, &result);
        /* The last token of an answer is sampled and never computed. */
        if (turn > 0 && result.cached_tokens != before + ANSWER - 1)
            fail_msg("turn %zu: %zu tokens were there, not %zu", turn, result.cached_tokens, before + ANSWER - 1);
        before = result.prompt_tokens;
    }
    clinfer_session_destroy(talk.session);
    clinfer_engine_close(talk.engine);
}

static void test_wrong_templates_are_refused_when_opening(void **state) {
    (void)state;
    struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", "cpu");
    clinfer_engine *engine;
    options.chat_template = "nothing like it";
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_INVALID_ARGUMENT);
    assert_null(engine);
    assert_non_null(strstr(clinfer_error(), "chatml, llama2"));
    options.chat_template = "plain";
    engine = test_engine_open(&options);
    const struct clinfer_message message = {.role = "user", .content = "Hi"};
    char *text;
    assert_int_equal(clinfer_chat_prompt(engine, &message, 1, true, &text), CLINFER_OK);
    assert_string_equal(text, "User: Hi\nAssistant:");
    clinfer_free(text);
    clinfer_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_later_turns_find_all_earlier_ones_computed),
        cmocka_unit_test(test_wrong_templates_are_refused_when_opening),
    };
    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
