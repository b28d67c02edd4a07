/* What a terminal is given: text from outside without anything that would control it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/output.h"
#include "text/visible.h"

static void expect(const char *text, size_t length, bool lines, const char *shown) {
    char out[1024];
    size_t written = ci_visible(text, length, lines, out);
    assert_true(written <= CI_VISIBLE_GROWTH * length);
    out[written] = 0;
    assert_string_equal(out, shown);
}

#define EXPECT(text, shown) expect(text, sizeof(text) - 1, false, shown)

static void test_what_controls_a_terminal_is_spelled(void **state) {
    (void)state;
    EXPECT("", "");
    EXPECT("plain \\ \"text\" ~ \xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x98\x80",
           "plain \\ \"text\" ~ \xc3\xa9 \xe4\xbd\xa0 \xf0\x9f\x98\x80");
    EXPECT("\x1b[31mred\x1b]0;title\x07", "\\u001b[31mred\\u001b]0;title\\u0007");
    EXPECT("a\0b\b\x7f", "a\\u0000b\\u0008\\u007f");
    EXPECT("one\ntwo\tthree\rfour\r\n", "one\\ntwo\\tthree\\rfour\\r\\n");
    /* C1, as characters and as bytes. */
    EXPECT("\xc2\x9b"
           "2J\xc2\x80\xc2\x9f\xc2\xa0",
           "\\u009b2J\\u0080\\u009f\xc2\xa0");
    EXPECT("\x9b"
           "2J\x90\xff\xc3",
           "\\x9b2J\\x90\\xff\\xc3");
    EXPECT("\xe2\x82", "\\xe2\\x82");
    EXPECT("\xed\xa0\x80\xc0\x9b", "\\xed\\xa0\\x80\\xc0\\x9b");
    /* Overrides and isolates; marks that words in Arabic need stay. */
    EXPECT("gpj\xe2\x80\xae"
           "exe\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9\xe2\x80\x8f",
           "gpj\\u202eexe\\u202a\\u2066\\u2069\xe2\x80\x8f");
    expect("one\ntwo\tthree\r\n", 15, true, "one\ntwo\tthree\\r\n");
}

static void test_a_name_stays_on_its_line(void **state) {
    (void)state;
    char long_name[3000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = 0;
    assert_string_equal(ci_one_line("blk\n0\x1b"), "blk\\n0\\u001b");
    const char *shown = ci_one_line(long_name);
    assert_true(strlen(shown) < 1100);
    assert_string_equal(shown + strlen(shown) - 4, "x...");
}

/* Standard output is a terminal from here on; what it shows. */
static size_t show(int terminal, char *shown, size_t size) {
    ci_flush();
    ssize_t length = read(terminal, shown, size - 1);
    assert_true(length >= 0);
    shown[length] = 0;
    return (size_t)length;
}

static void test_an_answer_in_pieces_keeps_its_characters(void **state) {
    (void)state;
    char shown[4096], text[2000];
    int before = dup(STDOUT_FILENO), terminal = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(before >= 0 && terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    int theirs = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    fflush(stdout);
    assert_true(dup2(theirs, STDOUT_FILENO) >= 0);
    ci_print("\xe2", 1);
    ci_print("\x82", 1);
    ci_print("\xac \x1b[1m\xc2", 7);
    ci_print("\x9b|\xf0\x9f", 4);
    ci_print("\x98\x80\xe2", 3);
    ci_print("\n", 1);
    show(terminal, shown, sizeof shown);
    const char *wanted = "\xe2\x82\xac \\u001b[1m\\u009b|\xf0\x9f\x98\x80\\xe2\r\n";
    bool in_pieces = strcmp(shown, wanted) == 0;
    /* Longer than what is handled at once, at every place. */
    for (size_t i = 0; i + 3 <= sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 3);
    text[1998] = 0;
    ci_print(text, 1998);
    bool at_once = show(terminal, shown, sizeof shown) == 1998 && memcmp(shown, text, 1998) == 0;
    ci_printf("%s|%.5s\n", text + 1998 - 1200, "\x1b[2J");
    bool formatted = show(terminal, shown, sizeof shown) > 1200 && strstr(shown, "|\\u001b[2J\r\n");
    assert_true(dup2(before, STDOUT_FILENO) >= 0);
    close(before);
    close(theirs);
    close(terminal);
    assert_true(in_pieces);
    assert_true(at_once);
    assert_true(formatted);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_controls_a_terminal_is_spelled),
        cmocka_unit_test(test_a_name_stays_on_its_line),
        cmocka_unit_test(test_an_answer_in_pieces_keeps_its_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
