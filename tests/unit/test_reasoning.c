/* What of an answer is reasoning: each form of marks, in pieces of every length, with what begins and ends within it;
 * and marks that an answer only speaks of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/reasoning.h"

struct parts {
    char text[2][512]; /* answer, reasoning */
    int calls, most;   /* so many calls are taken */
};

static bool take(void *user, enum ci_text_part part, const char *text, size_t length) {
    struct parts *parts = user;
    assert_true(part == CI_PART_ANSWER || part == CI_PART_REASONING);
    assert_true(length > 0);
    assert_true(((unsigned char)text[0] & 0xc0) != 0x80); /* characters come whole */
    strncat(parts->text[part], text, length);
    return ++parts->calls != parts->most;
}

/* In pieces of `piece` bytes, as far as characters stay whole. */
static void split(struct ci_parts *state, const char *text, size_t piece, struct parts *parts) {
    size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        size_t count = length - at < piece ? length - at : piece;
        while (at + count < length && ((unsigned char)text[at + count] & 0xc0) == 0x80) count++;
        assert_true(ci_parts_push(state, text + at, count, take, parts));
        at += count;
    }
    assert_true(ci_parts_flush(state, take, parts));
}

static void expect(const char *template, bool begun, const char *text, const char *reasoning, const char *answer) {
    const struct ci_reasoning_form *form = ci_reasoning_find(template, strlen(template));
    if (!form) fail_msg("no form in: %s", template);
    for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
        struct ci_parts state;
        struct parts parts = {.most = 1 << 20};
        ci_parts_begin(&state, form, begun);
        split(&state, text, piece, &parts);
        if (strcmp(parts.text[1], reasoning) != 0)
            fail_msg("%s by %zu: the reasoning is '%s', not '%s'", text, piece, parts.text[1], reasoning);
        if (strcmp(parts.text[0], answer) != 0)
            fail_msg("%s by %zu: the answer is '%s', not '%s'", text, piece, parts.text[0], answer);
        assert_int_equal(state.marked, begun || strcmp(text, answer) != 0);
    }
}

#define THINK "{{ '<think>' + x + '</think>' }}"
#define HARMONY "{{ '<|start|>assistant<|channel|>analysis<|message|>' }}"

static void test_each_form_is_known_by_its_template(void **state) {
    (void)state;
    expect(THINK, false, "<think>\nSo: 4.\n</think>\n\nFour.\n", "So: 4.", "Four.\n");
    expect("{{ x.split('</think>') }}", false, "<think>a</think>b", "a", "b");
    expect("[THINK]{{ x }}[/THINK]", false, "[THINK]é\n\n b[/THINK]ü", "é\n\n b", "ü");
    expect("<seed:think></seed:think>", false, "<seed:think>a</seed:think>b", "a", "b");
    expect("<mm:think></mm:think>", false, "<mm:think>a</mm:think>b", "a", "b");
    expect("<|inner_prefix|>a<|inner_suffix|>", false, "<|inner_prefix|>a<|inner_suffix|>b", "a", "b");
    expect("<thinking>a</thinking>", false, "<thinking>a</thinking>b", "a", "b");
    expect("<think:opensource></think:opensource>", false, "<think:opensource>a</think:opensource>b", "a", "b");
    expect("<|START_THINKING|>", false, "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>b<|END_RESPONSE|>", "a",
           "b");
    expect("<|channel>thought\n<channel|>", false, "<|channel>thought\na\n<channel|>b", "a", "b");
    expect("[BEGIN FINAL RESPONSE]", true, "1. a\n[BEGIN FINAL RESPONSE]\nb\n[END FINAL RESPONSE]\n", "1. a", "b\n");
    expect("your thoughts between <think></think> and write your response between <response></response>", false,
           "<think>a</think><response>b</response>", "a", "b");
    expect("<|open|>think<|sep|>", true, "a<|close|>think<|sep|><|open|>response<|sep|>b<|close|>response<|sep|>", "a",
           "b");
    expect("<|begin|>assistant<|think|>", false, "<|think|>a<|end|><|begin|>assistant<|content|>b<|end|>", "a", "b");
}

static void test_channels_are_parts(void **state) {
    (void)state;
    expect(HARMONY, false, "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final<|message|>Four.",
           "So.", "Four.");
    expect(HARMONY, false, "<|channel|>final<|message|>Four.", "", "Four.");
    expect(HARMONY, false,
           "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=functions.x "
           "<|constrain|>json<|message|>{}",
           "a", " to=functions.x {}"); /* whose it is, the answer says (text/tool_gpt_oss.c) */
    expect(HARMONY, false, " to=functions.x<|channel|>analysis<|message|>{}", "", " to=functions.x{}");
    expect(HARMONY, false, "<|channel|>analysis<|message|>a to=functions.x b", "a to=functions.x b", "");
    expect(HARMONY, false, "<|channel|>final<|message|>a to=functions.x b", "", "a to=functions.x b");
}

static void test_prompts_may_begin_the_reasoning(void **state) {
    (void)state;
    const struct ci_reasoning_form *form = ci_reasoning_usual();
    static const struct {
        const char *prompt;
        bool begun;
    } prompts[] = {{"<|im_start|>assistant\n<think>\n", true},
                   {"assistant\n<think>", true},
                   {"assistant\n<think>\n\n</think>\n\n", false},
                   {"assistant\n", false},
                   {"think>", false},
                   {"", false}};
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++)
        assert_int_equal(ci_reasoning_is_begun(form, prompts[i].prompt, strlen(prompts[i].prompt)), prompts[i].begun);
    expect(THINK, true, "\nSo.\n</think>\n\nFour.", "So.", "Four.");
    expect(THINK, true, "<think>\nSo.</think>Four.", "So.", "Four."); /* once more */
    expect(THINK, true, "So. \n", "So.", "");
}

static void test_what_is_no_mark_is_text(void **state) {
    (void)state;
    expect(THINK, false, "\n Four < five. ", "", "\n Four < five. ");
    expect(THINK, false, "The mark <think> begins, </think> ends.", "", "The mark <think> begins, </think> ends.");
    expect(THINK, false, "<think></think>\nFour.", "", "Four.");
    expect(THINK, false, "<think>a<think>b</think>c<think>d</think>", "a<think>b", "c<think>d</think>");
    expect(THINK, false, "<thin", "", "<thin");
    expect(THINK, false, "<think>So </thin", "So </thin", "");
    expect(THINK, false, "\n<think>a</think>b", "a", "b");
    expect(HARMONY, false, "Four.", "", "Four.");
    assert_null(ci_reasoning_find("{{ messages }}", 14));
    assert_ptr_equal(ci_reasoning_find("assistant\n<think>\n", 18), ci_reasoning_usual());
    struct ci_parts without;
    struct parts parts = {.most = 1 << 20};
    ci_parts_begin(&without, NULL, false);
    split(&without, "<think>a</think>", 3, &parts);
    assert_string_equal(parts.text[0], "<think>a</think>");
}

static void test_long_texts_come_in_order(void **state) {
    (void)state;
    char text[400] = "<think>";
    while (strlen(text) < 300) strcat(text, "ä€ ");
    char expected[400];
    strcpy(expected, text + 7);
    expected[strlen(expected) - 1] = 0; /* the space at its end */
    strcat(text, "</think>é");
    expect(THINK, false, text, expected, "é");
}

static void test_control_tokens_of_marks_are_known(void **state) {
    (void)state;
    struct ci_parts parts;
    struct parts taken = {.most = 1 << 20};
    ci_parts_begin(&parts, ci_reasoning_find(HARMONY, sizeof HARMONY - 1), false);
    assert_true(ci_parts_know(&parts, "<|channel|>", 11));
    assert_true(ci_parts_know(&parts, "<|end|>", 7));
    assert_false(ci_parts_know(&parts, "<|return|>", 10));
    assert_false(ci_parts_know(&parts, "", 0));
    assert_false(ci_parts_go_on(&parts, "<|end|>", 7));
    assert_true(ci_parts_push(&parts, "<|channel|>analysis<|message|>So.", 33, take, &taken));
    assert_true(ci_parts_go_on(&parts, "<|end|>", 7)); /* of the reasoning, not of the answer */
    assert_false(ci_parts_go_on(&parts, "<|return|>", 10));
    ci_parts_begin(&parts, ci_reasoning_usual(), true);
    assert_false(ci_parts_go_on(&parts, "</think>", 8));
}

static void test_who_wants_no_more_is_heard(void **state) {
    (void)state;
    struct ci_parts parts;
    struct parts taken = {.most = 1};
    ci_parts_begin(&parts, ci_reasoning_usual(), false);
    assert_false(ci_parts_push(&parts, "<think>a</think>b", 17, take, &taken));
    assert_int_equal(taken.calls, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_form_is_known_by_its_template),
        cmocka_unit_test(test_channels_are_parts),
        cmocka_unit_test(test_prompts_may_begin_the_reasoning),
        cmocka_unit_test(test_what_is_no_mark_is_text),
        cmocka_unit_test(test_long_texts_come_in_order),
        cmocka_unit_test(test_control_tokens_of_marks_are_known),
        cmocka_unit_test(test_who_wants_no_more_is_heard),
    };
    return cmocka_run_group_tests_name("reasoning", tests, NULL, NULL);
}
