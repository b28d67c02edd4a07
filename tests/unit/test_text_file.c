/* Texts from files and pipes: whole, without their byte order mark, or an error that says why. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/text_file.h"
#include "support/process.h"

static void expect_text(const char *path, const char *text, size_t length) {
    char *read;
    size_t read_length;
    if (ci_text_file_read(path, CI_TEXT_FILE_BYTES, &read, &read_length) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(read_length, length);
    assert_memory_equal(read, text, length);
    assert_int_equal(read[length], 0);
    free(read);
}

static void expect_failure(const char *path, size_t most, enum clinfer_status status, const char *message) {
    char *read;
    size_t length;
    assert_int_equal(ci_text_file_read(path, most, &read, &length), status);
    assert_null(read);
    if (!strstr(clinfer_error(), message)) fail_msg("\"%s\" is not in: %s", message, clinfer_error());
}

static void test_a_byte_order_mark_is_no_text(void **state) {
    (void)state;
    expect_text(process_file("marked", "\xef\xbb\xbfhello\n", 9), "hello\n", 6);
    expect_text(process_file("only", "\xef\xbb\xbf", 3), "", 0);
    /* Not where it stands within, and not half of one. */
    expect_text(process_file("within", "a\xef\xbb\xbf", 4), "a\xef\xbb\xbf", 4);
    expect_text(process_file("half", "\xef\xbb", 2), "\xef\xbb", 2);
    expect_text(process_file("twice", "\xef\xbb\xbf\xef\xbb\xbfx", 7), "\xef\xbb\xbfx", 4);
    expect_failure(process_file("utf16", "\xff\xfeh\0i\0", 6), CI_TEXT_FILE_BYTES, CLINFER_BAD_FILE,
                   "utf16: is UTF-16; save it as UTF-8");
    expect_failure(process_file("utf16be", "\xfe\xff\0h", 4), CI_TEXT_FILE_BYTES, CLINFER_BAD_FILE, "UTF-16");
}

static void test_zeros_and_long_texts_stay(void **state) {
    (void)state;
    size_t length = 100003;
    char *text = malloc(length);
    assert_non_null(text);
    for (size_t i = 0; i < length; i++) text[i] = (char)(i % 251);
    expect_text(process_file("long", text, length), text, length);
    expect_text(process_file("empty", "", 0), "", 0);
    free(text);
}

static void test_a_file_that_is_too_large_is_refused_with_its_size(void **state) {
    (void)state;
    const char *path = process_file("large", "", 0);
    assert_int_equal(truncate(path, ((off_t)256 << 20) + 5), 0);
    expect_failure(path, CI_TEXT_FILE_BYTES, CLINFER_BAD_FILE, "large: has 268435461 bytes; a text may have 268435456");
    expect_text(process_file("fits", "12345", 5), "12345", 5);
    expect_failure(process_file("fits", "12345", 5), 4, CLINFER_BAD_FILE, "has 5 bytes; a text may have 4");
}

static void *fill_pipe(void *path) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    char block[4096];
    memset(block, 'x', sizeof block);
    while (write(descriptor, block, sizeof block) > 0) {
    }
    close(descriptor);
    return NULL;
}

static void test_an_endless_text_ends_at_the_limit(void **state) {
    (void)state;
    char path[600];
    pthread_t thread;
    snprintf(path, sizeof path, "%s/pipe", process_folder());
    assert_int_equal(mkfifo(path, 0600), 0);
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pthread_create(&thread, NULL, fill_pipe, path), 0);
    expect_failure(path, 200000, CLINFER_BAD_FILE, "bytes and does not end; a text may have 200000");
    pthread_join(thread, NULL);
    expect_failure("/dev/zero", CI_TEXT_FILE_BYTES, CLINFER_IO, "/dev/zero: is a device, not a file with text");
    expect_text("/dev/null", "", 0);
    expect_failure(process_folder(), CI_TEXT_FILE_BYTES, CLINFER_IO, "is a folder; name a file in it");
    expect_failure("/nonexistent/x", CI_TEXT_FILE_BYTES, CLINFER_NOT_FOUND, "No such file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_byte_order_mark_is_no_text),
        cmocka_unit_test(test_zeros_and_long_texts_stay),
        cmocka_unit_test(test_a_file_that_is_too_large_is_refused_with_its_size),
        cmocka_unit_test(test_an_endless_text_ends_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
