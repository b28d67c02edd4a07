/* Memory that grows: what was in it stays, what is new is 0, and it begins on a large page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/pages.h"

static void test_what_grows_keeps_its_bytes(void **state) {
    (void)state;
    static const size_t sizes[] = {1000, 5000, 5001, 3 << 20, 9 << 20, 40 << 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    uint8_t *memory = ci_pages_map(sizes[0]);
    assert_non_null(memory);
    for (size_t i = 0; i < sizes[0]; i++) memory[i] = (uint8_t)(i % 251);
    for (int n = 1; n < COUNT; n++) {
        memory = ci_pages_grow(memory, sizes[n - 1], sizes[n]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % CI_LARGE_PAGE_BYTES, 0);
        for (size_t i = 0; i < sizes[n - 1]; i++)
            if (memory[i] != i % 251) fail_msg("byte %zu is %d after it grew to %zu bytes", i, memory[i], sizes[n]);
        for (size_t i = sizes[n - 1]; i < sizes[n]; i++) {
            if (memory[i] != 0) fail_msg("new byte %zu of %zu is %d", i, sizes[n], memory[i]);
            memory[i] = (uint8_t)(i % 251);
        }
    }
    ci_pages_unmap(memory, sizes[COUNT - 1]);
}

static void test_more_than_there_are_addresses_is_refused(void **state) {
    (void)state;
    uint8_t *memory = ci_pages_map(100);
    assert_non_null(memory);
    memory[99] = 7;
    assert_null(ci_pages_map(SIZE_MAX));
    assert_null(ci_pages_grow(memory, 100, SIZE_MAX / 2));
    assert_int_equal(memory[99], 7);
    ci_pages_unmap(memory, 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_grows_keeps_its_bytes),
        cmocka_unit_test(test_more_than_there_are_addresses_is_refused),
    };
    return cmocka_run_group_tests_name("pages", tests, NULL, NULL);
}
