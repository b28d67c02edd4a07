/* `clinfer embed`: a row for each text, whatever it is and wherever it goes. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/process.h"

#define EMBED(result, ...)                                                                                             \
    process_run(result, NULL, process_tool(), "embed", "-m", "tests/data/llama_tiny.gguf", "--device", "cpu",          \
                __VA_ARGS__, NULL)
enum { WIDTH = 64, LINES = 3 };

/* A script that pairs rows with lines has them shifted where one is left out. */
static void test_every_line_has_a_row(void **state) {
    (void)state;
    static const char text[] = "hello\n\nhello\n";
    const char *path = process_file("lines.txt", text, sizeof text - 1);
    struct process_result result, alone;
    EMBED(&result, "--batch", path);
    EMBED(&alone, "hello");
    process_assert_status(&result, 0);
    process_assert_status(&alone, 0);
    size_t length = alone.out_length;
    assert_memory_equal(result.out, alone.out, length);
    const char *last = result.out + result.out_length - length;
    assert_string_equal(last, alone.out);
    int lines = 0, numbers = 0;
    for (const char *at = result.out; *at; at++) {
        lines += *at == '\n';
        numbers += *at == '\n' || *at == ' ';
    }
    assert_int_equal(lines, LINES);
    assert_int_equal(numbers, LINES * WIDTH);
    process_free(&result);
    process_free(&alone);
}

static void test_json_and_a_file_hold_the_same_numbers(void **state) {
    (void)state;
    char path[4096];
    snprintf(path, sizeof path, "%s/vectors.npy", process_folder());
    struct process_result result;
    EMBED(&result, "--json", "-o", path, "-p", "hello");
    process_assert_status(&result, 0);
    size_t size;
    char *file = process_read(path, &size);
    assert_true(size > WIDTH * sizeof(float));
    float *vector = malloc(WIDTH * sizeof *vector), sum = 0;
    assert_non_null(vector);
    memcpy(vector, file + size - WIDTH * sizeof *vector, WIDTH * sizeof *vector);
    const char *at = strstr(result.out, "\"embedding\": [");
    assert_non_null(at);
    at += strlen("\"embedding\": [");
    for (int i = 0; i < WIDTH; i++) {
        char *end;
        assert_true(strtof(at, &end) == vector[i]);
        assert_ptr_not_equal(at, end);
        at = end + 1; /* a comma */
        sum += vector[i] * vector[i];
    }
    assert_true(sum > 0.9999f && sum < 1.0001f);
    free(vector);
    free(file);
    process_free(&result);
}

static void test_what_cannot_be_written_is_an_error(void **state) {
    (void)state;
    struct process_result result;
    EMBED(&result, "-o", "/nonexistent/vectors.npy", "hello");
    process_assert_status(&result, 4);
    assert_non_null(strstr(result.err, "-o /nonexistent/vectors.npy: No such file or directory"));
    process_free(&result);
    EMBED(&result, "");
    process_assert_status(&result, 2);
    assert_non_null(strstr(result.err, "prompt is empty"));
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_line_has_a_row),
        cmocka_unit_test(test_json_and_a_file_hold_the_same_numbers),
        cmocka_unit_test(test_what_cannot_be_written_is_an_error),
    };
    return cmocka_run_group_tests_name("embed_command", tests, NULL, NULL);
}
