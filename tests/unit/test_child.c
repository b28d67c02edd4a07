/* Programs run aside: what they print, how they end, and that none outlives its deadline. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/child.h"
#include "base/clock.h"

static void start(const char *script, const char *const *changes, struct ci_child *child) {
    const char *const arguments[] = {"sh", "-c", script, NULL};
    if (ci_child_start("/bin/sh", arguments, changes, child) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void run(const char *script, double seconds, struct ci_child *child) {
    start(script, NULL, child);
    ci_child_wait(child, 1, seconds);
}

static void test_output_and_status_come_back(void **state) {
    struct ci_child child;
    (void)state;
    run("echo hello; echo noise >&2; exit 7", 10, &child);
    assert_string_equal(child.output, "hello\n");
    assert_int_equal(child.output_bytes, 6);
    assert_int_equal(child.exit_status, 7);
    assert_int_equal(child.signal, 0);
    assert_false(child.timed_out);
    run("read line && echo $line; exit 0", 10, &child); /* stdin is empty */
    assert_string_equal(child.output, "");
    assert_int_equal(child.exit_status, 0);
}

static void test_signal_is_told(void **state) {
    struct ci_child child;
    (void)state;
    run("kill -SEGV $$", 10, &child);
    assert_int_equal(child.signal, SIGSEGV);
    assert_int_equal(child.exit_status, -1);
    assert_false(child.timed_out);
}

static void test_late_child_is_killed_with_what_it_started(void **state) {
    struct ci_child child;
    double begin = ci_now();
    pid_t other = 0;
    (void)state;
    run("trap '' TERM INT HUP; sleep 100 & echo $!; wait", 0.3, &child);
    assert_true(child.timed_out);
    assert_true(ci_now() - begin < 5);
    assert_int_equal(sscanf(child.output, "%d", &other), 1);
    for (int i = 0; i < 500 && kill(other, 0) == 0; i++) usleep(10000);
    assert_int_equal(kill(other, 0), -1);
}

/* A hang behind a closed stdout, as in a destructor. */
static void test_child_that_closes_its_output_is_still_waited_for(void **state) {
    struct ci_child child;
    (void)state;
    run("exec >&-; sleep 0.2; exit 5", 10, &child);
    assert_int_equal(child.exit_status, 5);
    run("exec >&-; sleep 100", 0.3, &child);
    assert_true(child.timed_out);
}

/* What outlives the child holds its stdout open: that is no reason to wait. */
static void test_grandchild_does_not_hold_us_up(void **state) {
    struct ci_child child;
    double begin = ci_now();
    (void)state;
    run("sleep 3 & echo started", 10, &child);
    assert_string_equal(child.output, "started\n");
    assert_int_equal(child.exit_status, 0);
    assert_true(ci_now() - begin < 2);
}

static void test_long_output_is_cut_and_does_not_block(void **state) {
    struct ci_child child;
    (void)state;
    run("i=0; while [ $i -lt 20000 ]; do echo 0123456789; i=$((i + 1)); done; exit 4", 30, &child);
    assert_int_equal(child.exit_status, 4);
    assert_int_equal(child.output_bytes, CI_CHILD_OUTPUT - 1);
    assert_int_equal(strlen(child.output), CI_CHILD_OUTPUT - 1);
    assert_memory_equal(child.output, "0123456789\n0123456789\n", 22);
}

static void test_environment_is_changed(void **state) {
    static const char *const changes[] = {"TEST_CHILD_A=first",
                                          "TEST_CHILD_A=new",
                                          "TEST_CHILD_B=x",
                                          "TEST_CHILD_B",
                                          "TEST_CHILD_C",
                                          "TEST_CHILD_C=added",
                                          NULL};
    struct ci_child child;
    (void)state;
    setenv("TEST_CHILD_A", "old", 1);
    setenv("TEST_CHILD_AB", "kept", 1);
    setenv("TEST_CHILD_B", "removed", 1);
    start("echo $TEST_CHILD_A ${TEST_CHILD_B-unset} $TEST_CHILD_C $TEST_CHILD_AB", changes, &child);
    ci_child_wait(&child, 1, 10);
    assert_string_equal(child.output, "new unset added kept\n");
    assert_string_equal(getenv("TEST_CHILD_A"), "old");
}

static void test_several_run_at_the_same_time(void **state) {
    enum { COUNT = 5 };
    struct ci_child *children = calloc(COUNT + 1, sizeof *children);
    double begin = ci_now();
    (void)state;
    for (int i = 0; i < COUNT; i++) start(i == 2 ? "sleep 100" : "sleep 0.5; echo done; exit 2", NULL, &children[i]);
    ci_child_wait(children, COUNT + 1, 2.0); /* the last was never started */
    assert_true(ci_now() - begin < 4);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(children[i].timed_out, i == 2);
        assert_int_equal(children[i].exit_status, i == 2 ? -1 : 2);
    }
    free(children);
}

static void test_absent_program_is_an_error_that_names_it(void **state) {
    static const char *const arguments[] = {"x", NULL};
    struct ci_child child;
    (void)state;
    assert_int_equal(ci_child_start("/nonexistent/program", arguments, NULL, &child), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), "/nonexistent/program: cannot start: No such file"));
    ci_child_wait(&child, 1, 10);
    assert_int_equal(ci_child_start("/dev/null", arguments, NULL, &child), CLINFER_IO);
}

/* Some programs ignore SIGCHLD: then nobody learns the status, but the output and the end are seen. */
static void test_ignored_sigchld_loses_the_status_only(void **state) {
    struct ci_child child;
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    run("echo through; exit 7", 10, &child);
    signal(SIGCHLD, SIG_DFL);
    assert_string_equal(child.output, "through\n");
    assert_int_equal(child.exit_status, -1);
    assert_false(child.timed_out);
}

/* ---- dialogues ---- */

static void talk(const char *script, struct ci_dialogue *dialogue) {
    const char *const arguments[] = {"sh", "-c", script, NULL};
    if (ci_dialogue_start("/bin/sh", arguments, NULL, dialogue) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void test_dialogue_answers_line_by_line(void **state) {
    struct ci_dialogue dialogue;
    const char *line;
    (void)state;
    talk("while read line; do echo \"<$line>\"; echo more; done; exit 3", &dialogue);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ci_dialogue_send(&dialogue, i ? "again" : "hello", 10), CLINFER_OK);
        assert_int_equal(ci_dialogue_receive(&dialogue, 10, &line), CI_DIALOGUE_LINE);
        assert_string_equal(line, i ? "<again>" : "<hello>");
        assert_int_equal(ci_dialogue_receive(&dialogue, 10, &line), CI_DIALOGUE_LINE);
        assert_string_equal(line, "more");
    }
    assert_int_equal(ci_dialogue_receive(&dialogue, 0.05, &line), CI_DIALOGUE_SILENT);
    assert_true(ci_process_resident_bytes(dialogue.process) > 4096);
    ci_dialogue_end(&dialogue, 10); /* the end of its input */
    assert_int_equal(dialogue.exit_status, 3);
    assert_int_equal(dialogue.signal, 0);
    assert_int_equal(ci_dialogue_send(&dialogue, "nobody", 1), CLINFER_IO);
    ci_dialogue_end(&dialogue, 10);
}

static void test_dialogue_takes_long_lines(void **state) {
    enum { LENGTH = 300000 };
    struct ci_dialogue dialogue;
    const char *line;
    (void)state;
    char *text = malloc(LENGTH + 1);
    assert_non_null(text);
    memset(text, 'x', LENGTH);
    text[LENGTH] = 0;
    talk("cat", &dialogue);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ci_dialogue_send(&dialogue, text, 10), CLINFER_OK);
        assert_int_equal(ci_dialogue_receive(&dialogue, 10, &line), CI_DIALOGUE_LINE);
        assert_int_equal(strlen(line), LENGTH);
    }
    ci_dialogue_end(&dialogue, 10);
    free(text);
}

static void test_dialogue_tells_how_it_ended(void **state) {
    struct ci_dialogue dialogue;
    const char *line;
    (void)state;
    talk("read line; echo last words; kill -SEGV $$", &dialogue);
    assert_int_equal(ci_dialogue_send(&dialogue, "go", 10), CLINFER_OK);
    assert_int_equal(ci_dialogue_receive(&dialogue, 10, &line), CI_DIALOGUE_LINE);
    assert_int_equal(ci_dialogue_receive(&dialogue, 10, &line), CI_DIALOGUE_ENDED);
    assert_int_equal(dialogue.signal, SIGSEGV);
    assert_int_equal(ci_dialogue_send(&dialogue, "go", 1), CLINFER_IO);
    ci_dialogue_end(&dialogue, 0);
    assert_int_equal(dialogue.signal, SIGSEGV);
}

static void test_dialogue_that_does_not_end_is_killed(void **state) {
    struct ci_dialogue dialogue;
    double begin = ci_now();
    (void)state;
    talk("while true; do sleep 100; done", &dialogue);
    ci_dialogue_end(&dialogue, 0.2);
    assert_int_equal(dialogue.signal, SIGKILL);
    assert_true(ci_now() - begin < 5);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_and_status_come_back),
        cmocka_unit_test(test_signal_is_told),
        cmocka_unit_test(test_late_child_is_killed_with_what_it_started),
        cmocka_unit_test(test_child_that_closes_its_output_is_still_waited_for),
        cmocka_unit_test(test_grandchild_does_not_hold_us_up),
        cmocka_unit_test(test_long_output_is_cut_and_does_not_block),
        cmocka_unit_test(test_environment_is_changed),
        cmocka_unit_test(test_several_run_at_the_same_time),
        cmocka_unit_test(test_absent_program_is_an_error_that_names_it),
        cmocka_unit_test(test_ignored_sigchld_loses_the_status_only),
        cmocka_unit_test(test_dialogue_answers_line_by_line),
        cmocka_unit_test(test_dialogue_takes_long_lines),
        cmocka_unit_test(test_dialogue_tells_how_it_ended),
        cmocka_unit_test(test_dialogue_that_does_not_end_is_killed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
