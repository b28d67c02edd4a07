/* Where prompts come from and what becomes of their bytes, seen as tokens of a tiny model. */
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
static void test_a_template_that_nests_deeply_ends_before_a_small_stack(void **state) {
    (void)state;
    static const char template[] = "{% macro f(x) %}{{ [f([x])]|map('upper')|list }}{% endmacro %}{{ f(1) }}";
    struct process_result result;
    process_run(&result, NULL, "/bin/sh", "-c",
                "ulimit -s 256 && exec \"$0\" run -m " TINY " --device cpu -n 1 --chat-template \"$1\" hello",
                process_tool(), template, NULL);
    process_assert_status(&result, 2);
    assert_non_null(strstr(result.err, "levels of nesting the stack of this thread ends"));
    process_free(&result);
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(test_a_template_that_nests_deeply_ends_before_a_small_stack),
#endif
        cmocka_unit_test(test_a_byte_order_mark_is_no_part_of_a_prompt),
        cmocka_unit_test(test_escapes_are_read_only_where_asked_for),
        cmocka_unit_test(test_what_a_zero_would_cut_is_an_error),
        cmocka_unit_test(test_files_without_end_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
