/* A model file that somebody cuts while it is in use: an error with its name from the library and from the tool where
 * the size is looked at, a message and status 4 from the tool where it is read in between. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <clinfer.h>
#include <cmocka.h>

#include "base/file.h"
#include "cli/bus_error.h"
#include "format/gguf.h"
#include "support/process.h"

static const char tiny[] = "tests/data/llama_tiny.gguf";
static char self[512];

/* A copy to be cut; the path is valid until the end. */
static const char *copy_model(const char *name) {
    size_t size;
    char *bytes = process_read(tiny, &size);
    const char *path = process_file(name, bytes, size);
    free(bytes);
    return path;
}

static void cut(const char *path, long bytes) { assert_int_equal(truncate(path, bytes), 0); }

#define assert_contains(text, word)                                                                                    \
    do {                                                                                                               \
        if (!strstr(text, word)) fail_msg("\"%s\" is not in: %s", word, text);                                         \
    } while (0)

static void test_open_files_are_found_by_address(void **state) {
    struct ci_gguf *gguf, *other;
    (void)state;
    const char *path = copy_model("found.gguf");
    if (ci_gguf_open(path, &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(ci_gguf_open(tiny, &other), CLINFER_OK);
    const struct ci_file *file = ci_gguf_file_at(gguf, 0);
    const uint8_t *bytes = file->data, *others = ci_gguf_file_at(other, 0)->data;
    assert_string_equal(clinfer_file_at(bytes), path);
    assert_string_equal(clinfer_file_at(bytes + file->size - 1), path);
    assert_string_equal(clinfer_file_at(others + 1), tiny);
    assert_null(clinfer_file_at(&path));
    assert_null(clinfer_file_at(NULL));
    ci_gguf_close(gguf);
    assert_null(clinfer_file_at(bytes));
    assert_string_equal(clinfer_file_at(others), tiny);
    ci_gguf_close(other);
}

static void test_a_file_that_was_cut_is_not_whole(void **state) {
    struct ci_gguf *gguf;
    size_t size;
    (void)state;
    const char *path = copy_model("whole.gguf");
    assert_int_equal(ci_gguf_open(path, &gguf), CLINFER_OK);
    size = ci_gguf_file_at(gguf, 0)->size;
    assert_int_equal(ci_gguf_check_whole(gguf), CLINFER_OK);
    cut(path, (long)size + 10); /* longer does no harm */
    assert_int_equal(ci_gguf_check_whole(gguf), CLINFER_OK);
    cut(path, (long)size - 1);
    assert_int_equal(ci_gguf_check_whole(gguf), CLINFER_IO);
    assert_contains(clinfer_error(), path);
    ci_gguf_close(gguf);
}

static enum clinfer_status ask(clinfer_engine *engine, clinfer_session *session) {
    int32_t *tokens;
    size_t count;
    struct clinfer_result result;
    assert_int_equal(clinfer_tokenize(engine, "Why", 3, true, true, &tokens, &count), CLINFER_OK);
    struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = 2};
    enum clinfer_status status = clinfer_submit(session, &request);
    if (status == CLINFER_OK) status = clinfer_wait(session, &result);
    clinfer_free(tokens);
    return status;
}

static void test_the_library_returns_an_error(void **state) {
    struct clinfer_engine_options options;
    struct clinfer_session_options session_options;
    clinfer_engine *engine;
    clinfer_session *session;
    (void)state;
    clinfer_engine_options_default(&options);
    options.model = copy_model("library.gguf");
    options.device = "cpu";
    if (clinfer_engine_open(&options, &engine) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_options_default(engine, &session_options);
    assert_int_equal(clinfer_session_create(engine, &session_options, &session), CLINFER_OK);
    if (ask(engine, session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    cut(options.model, 4096);
    assert_int_equal(ask(engine, session), CLINFER_IO);
    assert_contains(clinfer_error(), options.model);
    assert_contains(clinfer_error(), "was cut");
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static void test_a_chat_names_the_file(void **state) {
    struct process_terminal terminal;
    size_t at = 0;
    (void)state;
    const char *path = copy_model("chat.gguf");
    process_terminal_start(&terminal, process_tool(), "run", "-m", path, "--device", "cpu", "-n", "2", "--temp", "0",
                           "--color", "off", NULL);
    assert_true(process_terminal_expect(&terminal, &at, "> "));
    cut(path, 4096);
    process_terminal_type(&terminal, "Why\n");
    if (!process_terminal_expect(&terminal, &at, "chat.gguf: was cut from ")) fail_msg("%s", terminal.text);
    assert_true(process_terminal_expect(&terminal, &at, "> ")); /* a remote might go on */
    process_terminal_type(&terminal, "/exit\n");
    assert_int_equal(process_terminal_finish(&terminal), 0);
}

/* What no look at the size can prevent: this program with --read catches the signal as the tool does. */
static void test_reading_what_is_gone_ends_with_a_message(void **state) {
    struct process_result result;
    (void)state;
    const char *path = copy_model("read.gguf");
    process_run(&result, NULL, self, "--read", path, NULL);
    process_assert_status(&result, 4);
    assert_contains(result.err, "clinfer: ");
    assert_contains(result.err, "read.gguf: cannot be read any more");
    process_free(&result);
    /* Any other such signal is what it was. */
    process_run(&result, NULL, self, "--raise", path, NULL);
    process_assert_status(&result, -SIGBUS);
    process_free(&result);
}

/* The tool, cut at whatever moment: after its start it either has answered before, or says what happened. */
static void test_the_tool_never_dies_of_it(void **state) {
    static const char script[] =
        "\"$1\" run -m \"$2\" --device cpu --temp 0 -n 30 -p Why 2>&1 & "
        "while ! grep -qs \"$2\" /proc/$!/maps && kill -0 $! 2>/dev/null; do :; done; : >\"$2\"; "
        "wait $!";
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct process_result result;
        const char *path = copy_model("tool.gguf");
        process_run(&result, NULL, "/bin/sh", "-c", script, "sh", process_tool(), path, NULL);
        if (result.status != 0) {
            if (result.status != 4 && result.status != 5) fail_msg("status %d: %s", result.status, result.out);
            assert_contains(result.out, "tool.gguf: ");
        }
        process_free(&result);
    }
}

static int read_cut_file(const char *path) {
    struct ci_gguf *gguf;
    volatile char sum = 0;
    ci_bus_error_catch();
    if (ci_gguf_open(path, &gguf) != CLINFER_OK || truncate(path, 0) != 0) return 1;
    const struct ci_file *file = ci_gguf_file_at(gguf, 0);
    for (size_t i = 0; i < file->size; i += 512) sum = (char)(sum + file->data[i]);
    return 2; /* not reached */
}

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_files_are_found_by_address),
        cmocka_unit_test(test_a_file_that_was_cut_is_not_whole),
        cmocka_unit_test(test_the_library_returns_an_error),
        cmocka_unit_test(test_a_chat_names_the_file),
        cmocka_unit_test(test_reading_what_is_gone_ends_with_a_message),
        cmocka_unit_test(test_the_tool_never_dies_of_it),
    };
    if (argc > 2 && strcmp(argv[1], "--read") == 0) return read_cut_file(argv[2]);
    if (argc > 2 && strcmp(argv[1], "--raise") == 0) {
        ci_bus_error_catch();
        return raise(SIGBUS);
    }
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = '\0';
    return cmocka_run_group_tests(tests, NULL, NULL);
}
