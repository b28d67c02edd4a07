/* The part of cmocka that cross-built tests use, printing TAP: Debian has no cmocka for a foreign architecture beside
 * the host's own. A failed assertion ends its test by longjmp, as cmocka's does. Only one test runs at a time. */
#ifndef CI_TESTS_CROSS_CMOCKA_H
#define CI_TESTS_CROSS_CMOCKA_H

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*function)(void **state);
};

#define cmocka_unit_test(function)                                                                                     \
    { #function, function }

enum cross_result { CROSS_PASSED, CROSS_FAILED, CROSS_SKIPPED };

static jmp_buf cross_end_of_test;

__attribute__((format(printf, 1, 2))) static inline void print_message(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

#define print_error print_message

__attribute__((format(printf, 3, 4), noreturn)) static inline void cross_fail(const char *file, int line,
                                                                              const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("# %s:%d: ", file, line);
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
    longjmp(cross_end_of_test, CROSS_FAILED);
}

#define fail_msg(...) cross_fail(__FILE__, __LINE__, __VA_ARGS__)
#define fail() fail_msg("failed")
#define skip() longjmp(cross_end_of_test, CROSS_SKIPPED)
#define assert_true(condition) ((condition) ? (void)0 : fail_msg("not true: %s", #condition))
#define assert_false(condition) ((condition) ? fail_msg("not false: %s", #condition) : (void)0)
#define assert_null(pointer) assert_true((pointer) == NULL)
#define assert_non_null(pointer) assert_true((pointer) != NULL)
#define assert_ptr_equal(a, b) assert_true((a) == (b))
#define assert_string_equal(a, b) assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, size) assert_true(memcmp(a, b, size) == 0)

static inline void cross_compare(int64_t a, int64_t b, int equal, const char *file, int line) {
    if ((a == b) != equal) cross_fail(file, line, "%" PRId64 " %s %" PRId64, a, equal ? "!=" : "==", b);
}

#define assert_int_equal(a, b) cross_compare((int64_t)(a), (int64_t)(b), 1, __FILE__, __LINE__)
#define assert_int_not_equal(a, b) cross_compare((int64_t)(a), (int64_t)(b), 0, __FILE__, __LINE__)

/* On its own, so that no local of the loop below lives across the longjmp. */
static __attribute__((noinline)) int cross_run_one(const struct CMUnitTest *test, void **state) {
    switch (setjmp(cross_end_of_test)) {
    case CROSS_PASSED: test->function(state); return CROSS_PASSED;
    case CROSS_SKIPPED: return CROSS_SKIPPED;
    default: return CROSS_FAILED;
    }
}

static inline int cross_run(const struct CMUnitTest *tests, size_t count, int (*setup)(void **),
                            int (*teardown)(void **)) {
    void *state = NULL;
    int failed = 0;
    print_message("1..%zu\n", count);
    if (setup && setup(&state) != 0) return 1;
    for (size_t i = 0; i < count; i++) {
        int result = cross_run_one(&tests[i], &state);
        failed += result == CROSS_FAILED;
        print_message("%sok %zu %s %s\n", result == CROSS_FAILED ? "not " : "", i + 1,
                      result == CROSS_SKIPPED ? "# SKIP" : "-", tests[i].name);
    }
    if (teardown && teardown(&state) != 0) failed++;
    return failed;
}

#define cmocka_run_group_tests(tests, setup, teardown)                                                                 \
    cross_run(tests, sizeof(tests) / sizeof((tests)[0]), setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown) cmocka_run_group_tests(tests, setup, teardown)

#endif
