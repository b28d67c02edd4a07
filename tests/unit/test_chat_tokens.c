/* From a conversation to a prompt's tokens: which are control tokens, who may write them, and what answers keep. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/chat_fixture.h"
#include "text/prompt.h"

/* ---- types of tokens ---- */

static void expect_prompt(struct fixture *fixture, const struct clinfer_message *messages, size_t count,
                          bool parse_special, const int32_t *expected, size_t expected_count) {
    struct ci_rendered rendered;
    int32_t *tokens;
    size_t found;
    if (ci_chat_render(fixture->chat, messages, count, NULL, true, &rendered) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    if (ci_prompt_tokens(fixture->tokenizer, &rendered, messages, count, parse_special, &tokens, &found) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    for (size_t i = 0; i < found && i < expected_count; i++)
        if (tokens[i] != expected[i]) fail_msg("token %zu is %d, not %d", i, tokens[i], expected[i]);
    assert_int_equal(found, expected_count);
    free(tokens);
    ci_rendered_free(&rendered);
}

/* Each byte of a text is a token in these vocabularies. */
static size_t add_bytes(int32_t *tokens, size_t at, const char *text) {
    for (; *text; text++) tokens[at++] = (uint8_t)*text;
    return at;
}

static void test_signs_of_any_type_are_control_tokens(void **state) {
    (void)state;
    static const enum ci_token_type types[] = {CI_TOKEN_NORMAL, CI_TOKEN_UNUSED, CI_TOKEN_UNDEFINED, CI_TOKEN_BYTE};
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    for (size_t i = 0; i <= COUNT(types); i++) {
        struct fixture fixture;
        begin_with_chatml(&fixture, i < COUNT(types) ? types[i] : CI_TOKEN_NORMAL);
        if (i == COUNT(types)) fixture.words.source.types = NULL; /* a file without types */
        must_make(&fixture, CHATML, NULL);
        assert_true(ci_tokenizer_is_end(fixture.tokenizer, fixture.end));
        assert_false(ci_tokenizer_is_end(fixture.tokenizer, fixture.start));
        assert_true(ci_tokenizer_is_control(fixture.tokenizer, fixture.start));
        assert_true(ci_tokenizer_is_control(fixture.tokenizer, fixture.end));
        int32_t expected[64] = {fixture.start};
        size_t at = add_bytes(expected, 1, "user\nHi");
        expected[at++] = fixture.end;
        at = add_bytes(expected, at, "\n");
        expected[at++] = fixture.start;
        at = add_bytes(expected, at, "assistant\n");
        assert_int_equal(fixture.warnings, 0);
        expect_prompt(&fixture, message, 1, false, expected, at);
        expect_prompt(&fixture, message, 1, false, expected, at);
        expect_warnings(&fixture, 1, "tokenizer.ggml.token_type");
        expect_warnings(&fixture, 1, "<|im_end|>, <|im_start|>");
        end(&fixture);
    }
}

static void test_a_sign_behind_answers_ends_them(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "Hi")};
    struct fixture fixture;
    begin(&fixture);
    int32_t user = add_token(&fixture.words, "<|user|>", CI_TOKEN_NORMAL);
    int32_t model = add_token(&fixture.words, "<|assistant|>", CI_TOKEN_NORMAL);
    int32_t over = add_token(&fixture.words, "[over]", CI_TOKEN_NORMAL);
    int32_t never = add_token(&fixture.words, "<|never|>", CI_TOKEN_NORMAL);
    int32_t typed = add_token(&fixture.words, "[typed]", CI_TOKEN_CONTROL);
    /* Signs that only roles make, too. */
    must_make(&fixture, "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}[over][typed]{% endfor %}<|assistant|>",
              NULL);
    assert_true(ci_tokenizer_is_end(fixture.tokenizer, over));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, typed));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, user));
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, never));
    const int32_t expected[] = {user, 'H', 'i', over, typed, model};
    expect_prompt(&fixture, message, 1, false, expected, COUNT(expected));
    end(&fixture);
    /* One whose type is right already is an end only if its name or the file says so. */
    begin(&fixture);
    typed = add_token(&fixture.words, "[typed]", CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}{{ m.content }}[typed]{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, typed));
    end(&fixture);
}

static void test_a_user_defined_sign_behind_answers_ends_them(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "[over]")};
    struct fixture fixture;
    begin(&fixture);
    int32_t over = add_token(&fixture.words, "[over]", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}{{ m.content }} [over]{% endfor %}", NULL);
    assert_true(ci_tokenizer_is_end(fixture.tokenizer, over));
    int32_t expected[16];
    size_t count = add_bytes(expected, 0, "[over] ");
    expected[count++] = over;
    expect_prompt(&fixture, message, 1, false, expected, count);
    end(&fixture);
    /* In harmony's format this ends a message, and the answer goes on. */
    begin(&fixture);
    over = add_token(&fixture.words, "<|end|>", CI_TOKEN_USER_DEFINED);
    add_token(&fixture.words, "<|return|>", CI_TOKEN_CONTROL);
    add_token(&fixture.words, "<|call|>", CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}{{ m.content }}<|end|>{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, over));
    end(&fixture);
    /* Markup is part of answers. */
    begin(&fixture);
    add_token(&fixture.words, "<said>", CI_TOKEN_USER_DEFINED);
    int32_t said = add_token(&fixture.words, "</said>", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}<said>{{ m.content }}</said>{% endfor %}", NULL);
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, said));
    end(&fixture);
}

static void test_words_stay_words_and_markup_stays_visible(void **state) {
    (void)state;
    struct fixture fixture;
    begin(&fixture);
    /* What merges make is a word, whatever it looks like. */
    int32_t word = add_token(&fixture.words, "<>", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "< >");
    int32_t think = add_token(&fixture.words, "<think>", CI_TOKEN_NORMAL);
    int32_t thought = add_token(&fixture.words, "</think>", CI_TOKEN_NORMAL);
    int32_t turn = add_token(&fixture.words, "<turn>", CI_TOKEN_NORMAL);
    must_make(&fixture, "{% for m in messages %}<turn>{{ m.content }}<>{% endfor %}<think></think>", NULL);
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, word));
    assert_false(ci_tokenizer_is_end(fixture.tokenizer, word));
    assert_true(ci_tokenizer_is_control(fixture.tokenizer, turn));
    size_t length;
    assert_false(ci_tokenizer_is_control(fixture.tokenizer, think));
    assert_memory_equal(ci_tokenizer_piece(fixture.tokenizer, thought, false, &length), "</think>", 8);
    expect_ids(fixture.tokenizer, "<think>a</think>", 0, 3, think, 'a', thought);
    end(&fixture);
}

/* ---- who may write control tokens ---- */

static void test_control_tokens_in_contents_are_text(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "<|im_end|><own>")};
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    int32_t own = add_token(&fixture.words, "<own>", CI_TOKEN_USER_DEFINED);
    must_make(&fixture, "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}", NULL);
    int32_t expected[32] = {fixture.start};
    size_t at = add_bytes(expected, 1, "<|im_end|>");
    expected[at++] = own; /* user-defined: part of the text */
    expected[at++] = fixture.end;
    expect_prompt(&fixture, message, 1, false, expected, at);
    const int32_t parsed[] = {fixture.start, fixture.end, own, fixture.end};
    expect_prompt(&fixture, message, 1, true, parsed, COUNT(parsed));
    end(&fixture);
}

/* Neither alone nor together with what stands around it. */
static void test_contents_do_not_complete_a_control_token(void **state) {
    (void)state;
    static const struct clinfer_message halves[] = {MESSAGE("user", "im_end|>"), MESSAGE("user", "<|im_")},
                                        other_role[] = {MESSAGE("im_end", "x")};
    struct fixture fixture;
    int32_t expected[64];
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}<|{{ m.content }}end|>{% endfor %}", NULL);
    size_t count = add_bytes(expected, 0, "<|im_end|>end|><|<|im_end|>");
    expect_prompt(&fixture, halves, 2, false, expected, count);
    end(&fixture);
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    must_make(&fixture, "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}", NULL);
    count = add_bytes(expected, 0, "<|im_end|>x");
    expect_prompt(&fixture, other_role, 1, false, expected, count);
    end(&fixture);
}

static void test_words_are_formed_across_origins(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "b")};
    struct fixture fixture;
    begin(&fixture);
    const int32_t ab = add_token(&fixture.words, "ab", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "a b");
    must_make(&fixture, "a{{ messages[-1].content }}", NULL);
    expect_prompt(&fixture, message, 1, false, &ab, 1);
    end(&fixture);
}

static void test_the_first_token_comes_once(void **state) {
    (void)state;
    static const struct clinfer_message message[] = {MESSAGE("user", "x")};
    static const char *const templates[] = {"{{ messages[-1].content }}", "{{ bos_token }}{{ messages[-1].content }}"};
    for (size_t i = 0; i < COUNT(templates); i++) {
        struct fixture fixture;
        begin(&fixture);
        int32_t bos = add_token(&fixture.words, "<s>", CI_TOKEN_CONTROL);
        fixture.words.source.bos_id = bos;
        fixture.words.source.add_bos = 1;
        must_make(&fixture, templates[i], NULL);
        const int32_t expected[] = {bos, 'x'};
        expect_prompt(&fixture, message, 1, false, expected, 2);
        end(&fixture);
    }
}

/* ---- answers ---- */

/* In a vocabulary with "ab", which merges make of a and b: an answer of two single letters keeps them. */
static void test_answers_keep_their_tokens(void **state) {
    (void)state;
    struct fixture fixture;
    begin_with_chatml(&fixture, CI_TOKEN_CONTROL);
    const int32_t start = fixture.start, over = fixture.end;
    const int32_t hidden = add_token(&fixture.words, "<|hidden|>", CI_TOKEN_CONTROL);
    const int32_t ab = add_token(&fixture.words, "ab", CI_TOKEN_NORMAL);
    add_merge(&fixture.words, "a b");
    must_make(&fixture, "{% for m in messages %}<|im_start|>{{ m.content | trim }}<|im_end|>{% endfor %}", NULL);
    const struct {
        const char *content;
        int32_t tokens[8];
        size_t count;
        int32_t expected[8]; /* between the template's */
        size_t expected_count;
    } cases[] = {
        {"ab", {'a', 'b', over}, 3, {'a', 'b'}, 2},                 /* the end token is the template's to write */
        {"ab", {'a', 'b'}, 2, {'a', 'b'}, 2},                       /* an answer that was cut short */
        {"ab", {'a', hidden, 'b', over}, 4, {'a', hidden, 'b'}, 3}, /* a control token within, which has no text */
        {" ab\n", {' ', 'a', 'b', '\n', over}, 5, {'a', 'b'}, 2},   /* trimmed by the template */
        {"ab", {'a', 'b', 'S', 'T', over}, 5, {'a', 'b'}, 2},       /* ended by a stop text */
        {"ab", {'a', 'x', over}, 3, {ab}, 1},                       /* of another text */
        {"a", {ab, over}, 2, {'a'}, 1},                             /* ends within a token */
        {"b", {ab, over}, 2, {'b'}, 1},
        {" ab", {' ', ab}, 2, {ab}, 1},
        {"<|im_end|>ab", {'<', '|', 'i', 'm'}, 4, {0}, 0}, /* the beginning of it */
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct clinfer_message messages[] = {
            MESSAGE("user", "ab"),
            {.role = "assistant",
             .content = cases[i].content,
             .tokens = cases[i].tokens,
             .token_count = cases[i].count},
            MESSAGE("user", "ab"),
        };
        int32_t expected[64] = {start, ab, over, start};
        size_t at = 4;
        if (cases[i].expected_count) {
            memcpy(expected + at, cases[i].expected, cases[i].expected_count * sizeof *expected);
            at += cases[i].expected_count;
        } else {
            at = add_bytes(expected, at, "<|im_end|>");
            expected[at++] = ab;
        }
        const int32_t rest[] = {over, start, ab, over};
        memcpy(expected + at, rest, sizeof rest);
        expect_prompt(&fixture, messages, 3, false, expected, at + COUNT(rest));
    }
    end(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs_of_any_type_are_control_tokens),
        cmocka_unit_test(test_a_sign_behind_answers_ends_them),
        cmocka_unit_test(test_a_user_defined_sign_behind_answers_ends_them),
        cmocka_unit_test(test_words_stay_words_and_markup_stays_visible),
        cmocka_unit_test(test_control_tokens_in_contents_are_text),
        cmocka_unit_test(test_contents_do_not_complete_a_control_token),
        cmocka_unit_test(test_words_are_formed_across_origins),
        cmocka_unit_test(test_the_first_token_comes_once),
        cmocka_unit_test(test_answers_keep_their_tokens),
    };
    return cmocka_run_group_tests_name("chat_tokens", tests, NULL, NULL);
}
