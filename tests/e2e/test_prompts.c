/* Where prompts come from, what becomes of their bytes, seen as tokens of a tiny model, and what `run` makes of them.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/process.h"

#define TINY "tests/data/llama_tiny.gguf"
#define TOKENIZE(result, ...)                                                                                          \
    process_run(result, NULL, process_tool(), "tokenize", "-m", TINY, "--ids", __VA_ARGS__, NULL)

/* Both give the same tokens. */
#define SAME(first, second)                                                                                            \
    do {                                                                                                               \
        process_assert_status(first, 0);                                                                               \
        process_assert_status(second, 0);                                                                              \
        assert_string_equal((first)->out, (second)->out);                                                              \
        process_free(first);                                                                                           \
        process_free(second);                                                                                          \
    } while (0)

static void expect_failure(const char *wanted, int exit_status, const char *flag, const char *value) {
    struct process_result result;
    TOKENIZE(&result, flag, value);
    process_assert_status(&result, exit_status);
    if (!strstr(result.err, wanted)) fail_msg("\"%s\" is not in: %s", wanted, result.err);
    assert_string_equal(result.out, "");
    process_free(&result);
}

static void test_a_byte_order_mark_is_no_part_of_a_prompt(void **state) {
    (void)state;
    static const char marked[] = "\xef\xbb\xbfhello";
    struct process_result plain, other;
    TOKENIZE(&plain, "-p", "hello");
    TOKENIZE(&other, "-f", process_file("marked.txt", marked, strlen(marked)));
    SAME(&plain, &other);
    TOKENIZE(&plain, "-p", "hello");
    TOKENIZE(&other, "-p", marked);
    SAME(&plain, &other);
    const struct process_options input = {.input = marked, .input_length = strlen(marked)};
    TOKENIZE(&plain, "-p", "hello");
    process_run(&other, &input, process_tool(), "tokenize", "-m", TINY, "--ids", NULL);
    SAME(&plain, &other);
}

static void test_escapes_are_read_only_where_asked_for(void **state) {
    (void)state;
    struct process_result plain, other;
    TOKENIZE(&plain, "-p", "a\nb\tc\r\"'\\A\\q\\x4\\");
    TOKENIZE(&other, "-e", "-p", "a\\nb\\tc\\r\\\"\\'\\\\\\x41\\q\\x4\\");
    SAME(&plain, &other);
    TOKENIZE(&plain, "a\nb", "\xc3\xa9");
    TOKENIZE(&other, "--escape", "a\\nb", "\\xC3\\xa9");
    SAME(&plain, &other);
    TOKENIZE(&plain, "-p", "a\\nb");
    TOKENIZE(&other, "-e", "--no-escape", "-f", process_file("escapes.txt", "a\\nb", 4));
    SAME(&plain, &other);
    TOKENIZE(&plain, "-p", "a\nb");
    TOKENIZE(&other, "--no-escape", "-e", "-f", process_file("escapes.txt", "a\\nb", 4));
    SAME(&plain, &other);
    TOKENIZE(&other, "-p", "a\\nb");
    TOKENIZE(&plain, "-p", "a\nb");
    assert_string_not_equal(plain.out, other.out);
    process_free(&plain);
    process_free(&other);
}

static void test_what_a_zero_would_cut_is_an_error(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "run", "-m", TINY, "--device", "cpu", "-e", "-p", "q\\x00w", NULL);
    process_assert_status(&result, 2);
    assert_non_null(strstr(result.err, "prompt: byte 1 is zero; a prompt is text"));
    process_free(&result);
    process_run(&result, NULL, process_tool(), "run", "-m", TINY, "-e", "-sys", "you\\x00", "-p", "q", NULL);
    process_assert_status(&result, 2);
    assert_non_null(strstr(result.err, "-sys: byte 3 is zero"));
    process_free(&result);
}

static void test_files_without_end_are_refused(void **state) {
    (void)state;
    const char *large = process_file("large.txt", "", 0);
    assert_int_equal(truncate(large, ((off_t)256 << 20) + 1), 0);
    expect_failure("large.txt: has 268435457 bytes; a text may have 268435456", 5, "-f", large);
    expect_failure("/dev/zero: is a device, not a file with text", 4, "-f", "/dev/zero");
    expect_failure("is a folder; name a file in it", 4, "-f", process_folder());
    expect_failure("is UTF-16; save it as UTF-8", 5, "-f", process_file("wide.txt", "\xff\xfeh\0", 4));
}

/* The tool itself needs more than this where every access is checked. */
#ifndef __SANITIZE_ADDRESS__
static void test_a_template_that_nests_deeply_ends_under_a_small_stack(void **state) {
    (void)state;
    static const char template[] = "{% macro f(x) %}{{ [f([x])]|map('upper')|list }}{% endmacro %}{{ f(1) }}";
    struct process_result result;
    process_run(&result, NULL, "/bin/sh", "-c",
                "ulimit -s 256 && exec \"$0\" run -m " TINY " --device cpu -n 1 --chat-template \"$1\" hello",
                process_tool(), template, NULL);
    process_assert_status(&result, 2);
    /* Threads that compute have stack for as many levels as there may be. */
    assert_non_null(strstr(result.err, "more than 800 levels of nesting; a macro may be calling itself"));
    process_free(&result);
}
#endif

/* ---- run ---- */

#define RUN(result, options, ...)                                                                                      \
    process_run(result, options, process_tool(), "run", "-m", TINY, "--device", "cpu", "--temp", "0", "-n", "4",       \
                __VA_ARGS__, NULL)

static void expect_said(const struct process_result *result, const char *wanted) {
    if (!strstr(result->err, wanted)) fail_msg("\"%s\" is not in: %s", wanted, result->err);
}

static void test_a_conversation_needs_no_terminal(void **state) {
    (void)state;
    struct process_result result, alone;
    const struct process_options input = {.input = "hi\nthere", .input_length = 8};
    RUN(&alone, NULL, "hello");
    RUN(&result, &input, "-cnv", "-p", "hello");
    process_assert_status(&result, 0);
    assert_memory_equal(result.out, alone.out, alone.out_length);
    assert_true(result.out_length > alone.out_length);
    const char *second = strstr(result.err, " cached)");
    if (!second || !strstr(second + 1, " cached)")) fail_msg("no three turns: %s", result.err);
    process_free(&result);
    RUN(&result, NULL, "--conversation", "hello");
    process_assert_status(&result, 0);
    assert_string_equal(result.out, alone.out);
    process_free(&result);
    process_free(&alone);
    const struct process_options zero = {.input = "a\0b\n", .input_length = 4};
    RUN(&result, &zero, "-cnv");
    process_assert_status(&result, 2);
    expect_said(&result, "byte 1 of the message is zero");
    process_free(&result);
    RUN(&result, NULL, "-cnv", "-no-cnv", "hello");
    process_assert_status(&result, 2);
    expect_said(&result, "-cnv is a conversation, --raw and -no-cnv are none");
    process_free(&result);
    RUN(&result, NULL, "--no-conversation", "hello");
    process_assert_status(&result, 0);
    process_free(&result);
}

static void test_flash_attention_is_a_flag_that_says_what_it_means(void **state) {
    (void)state;
    static const char *const values[] = {"on", "off", "auto"};
    struct process_result plain, result;
    RUN(&plain, NULL, "hello");
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        RUN(&result, NULL, "-fa", values[i], "hello");
        process_assert_status(&result, 0);
        assert_string_equal(result.out, plain.out);
        assert_int_equal(strstr(result.err, "-fa off changes nothing") != NULL, i == 1);
        process_free(&result);
    }
    process_free(&plain);
    RUN(&result, NULL, "--flash-attn", "maybe", "hello");
    process_assert_status(&result, 2);
    expect_said(&result, "--flash-attn maybe: must be one of on|off|auto");
    process_free(&result);
}

static void test_a_context_that_cannot_grow_is_not_advised(void **state) {
    (void)state;
    char text[1000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    static const char *const contexts[] = {"0", "512", "64"}; /* the model's 512, and less */
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        struct process_result result;
        RUN(&result, NULL, "-c", contexts[i], text);
        process_assert_status(&result, 10);
        expect_said(&result, "tokens, and the model was made for 512; shorten it");
        assert_null(strstr(result.err, "-c"));
        process_free(&result);
    }
    text[100] = 0;
    struct process_result result;
    RUN(&result, NULL, "-c", "64", text);
    process_assert_status(&result, 10);
    expect_said(&result, "or raise -c (the model was made for 512)");
    process_free(&result);
    RUN(&result, NULL, "--ignore-eos", "-n", "-1", "hello");
    process_assert_status(&result, 0);
    expect_said(&result, "the context of 512 tokens is full; --context-shift goes on");
    process_free(&result);
    RUN(&result, NULL, "--ignore-eos", "-n", "-1", "-c", "64", "hello");
    expect_said(&result, "the context of 64 tokens is full; -c makes it larger, --context-shift goes on");
    process_free(&result);
}

static void test_a_context_grows_where_positions_are_stretched(void **state) {
    (void)state;
    char text[700];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct process_result result;
    RUN(&result, NULL, "-c", "1024", "hello");
    process_assert_status(&result, 2);
    expect_said(&result, "a context of 1024 tokens: the model was made for 512");
    expect_said(&result, "--rope-scaling yarn --rope-scale 2 stretches it further");
    process_free(&result);
    static const char *const flags[][2] = {
        {"--rope-scale", "2"}, {"--rope-freq-scale", "0.5"}, {"--rope-freq-base", "1e6"}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        RUN(&result, NULL, "-c", "1024", "-n", "2", flags[i][0], flags[i][1], text);
        process_assert_status(&result, 0);
        process_free(&result);
    }
    RUN(&result, NULL, "--rope-scale", "2", "--rope-freq-scale", "0.5", "hello");
    process_assert_status(&result, 2);
    expect_said(&result, "--rope-scale and --rope-freq-scale are given");
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(test_a_template_that_nests_deeply_ends_under_a_small_stack),
#endif
        cmocka_unit_test(test_a_byte_order_mark_is_no_part_of_a_prompt),
        cmocka_unit_test(test_escapes_are_read_only_where_asked_for),
        cmocka_unit_test(test_what_a_zero_would_cut_is_an_error),
        cmocka_unit_test(test_files_without_end_are_refused),
        cmocka_unit_test(test_a_conversation_needs_no_terminal),
        cmocka_unit_test(test_flash_attention_is_a_flag_that_says_what_it_means),
        cmocka_unit_test(test_a_context_that_cannot_grow_is_not_advised),
        cmocka_unit_test(test_a_context_grows_where_positions_are_stretched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
