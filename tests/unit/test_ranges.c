#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hub/connection.h"
#include "hub/part_state.h"
#include "hub/ranges.h"
#include "hub/space.h"

/* As text, "!" where it is none. */
static const char *added(const char *before, uint64_t from, uint64_t to) {
    static char text[CI_RANGES_TEXT];
    struct ci_ranges ranges;
    assert_true(ci_ranges_parse(before, &ranges));
    if (!ci_ranges_add(&ranges, from, to)) return "!";
    ci_ranges_print(&ranges, text);
    return text;
}

static void test_ranges_that_touch_become_one(void **state) {
    (void)state;
    assert_string_equal(added("", 5, 7), "5-7");
    assert_string_equal(added("5-7", 7, 9), "5-9");
    assert_string_equal(added("5-7", 0, 5), "0-7");
    assert_string_equal(added("5-7", 8, 9), "5-7,8-9");
    assert_string_equal(added("5-7", 1, 2), "1-2,5-7");
    assert_string_equal(added("1-2,5-7,9-11", 2, 5), "1-7,9-11");
    assert_string_equal(added("1-2,5-7,9-11", 0, 20), "0-20");
    assert_string_equal(added("1-2,5-7,9-11", 6, 10), "1-2,5-11");
    assert_string_equal(added("1-20", 3, 4), "1-20");
    assert_string_equal(added("1-2,5-7", 7, 8), "1-2,5-8");
}

/* Against one flag per byte. */
static void test_ranges_agree_with_flags(void **state) {
    (void)state;
    enum { BYTES = 60, ROUNDS = 20000 };
    unsigned seed = 7;
    for (int round = 0; round < ROUNDS / 20; round++) {
        struct ci_ranges ranges = {.count = 0}, again;
        char flags[BYTES] = {0}, text[CI_RANGES_TEXT];
        for (int step = 0; step < 20; step++) {
            seed = seed * 1103515245 + 12345;
            unsigned from = (seed >> 16) % (BYTES - 1), length = 1 + (seed >> 24) % 6;
            unsigned to = from + length < BYTES ? from + length : BYTES;
            assert_true(ci_ranges_add(&ranges, from, to));
            memset(flags + from, 1, to - from);
            uint64_t sum = 0, front = 0;
            struct ci_range missing;
            for (int i = 0; i < BYTES; i++) sum += (uint64_t)flags[i];
            while (front < BYTES && flags[front]) front++;
            assert_int_equal(ci_ranges_bytes(&ranges), sum);
            assert_int_equal(ci_ranges_front(&ranges), front);
            assert_int_equal(ci_ranges_missing(&ranges, BYTES, &missing), front < BYTES);
            if (front == BYTES) continue;
            uint64_t end = front;
            while (end < BYTES && !flags[end]) end++;
            assert_int_equal(missing.from, front);
            assert_int_equal(missing.to, end);
        }
        ci_ranges_print(&ranges, text);
        assert_true(ci_ranges_parse(text, &again));
        assert_memory_equal(&again.at, &ranges.at, ranges.count * sizeof ranges.at[0]);
        ci_ranges_cut(&again, 30);
        uint64_t sum = 0;
        for (int i = 0; i < 30; i++) sum += (uint64_t)flags[i];
        assert_int_equal(ci_ranges_bytes(&again), sum);
    }
}

static void test_full_list_takes_only_what_touches(void **state) {
    (void)state;
    struct ci_ranges ranges = {.count = 0};
    for (unsigned i = 0; i < CI_RANGES; i++) assert_true(ci_ranges_add(&ranges, 10 * i, 10 * i + 5));
    assert_false(ci_ranges_add(&ranges, 1000, 1001));
    assert_int_equal(ranges.count, CI_RANGES);
    assert_true(ci_ranges_add(&ranges, 5, 10));
    assert_int_equal(ranges.count, CI_RANGES - 1);
    struct ci_ranges widest = {.count = 0};
    for (uint64_t i = 0; i < CI_RANGES; i++) {
        uint64_t from = UINT64_MAX - 4 * (CI_RANGES - i);
        assert_true(ci_ranges_add(&widest, from, from + 2));
    }
    char text[CI_RANGES_TEXT];
    ci_ranges_print(&widest, text);
    assert_true(strlen(text) < sizeof text);
}

static void test_damaged_lists_are_refused(void **state) {
    static const char *const bad[] = {"5",
                                      "5-",
                                      "-5",
                                      "7-5",
                                      "5-5",
                                      "5-7,",
                                      ",5-7",
                                      "5-7 8-9",
                                      "5-9,8-10",
                                      "5-7,7-9",
                                      "9-10,1-2",
                                      "0x5-7",
                                      "5-99999999999999999999"};
    (void)state;
    struct ci_ranges ranges;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ci_ranges_parse(bad[i], &ranges)) fail_msg("\"%s\" is taken", bad[i]);
}

static void test_content_range_is_read_strictly(void **state) {
    struct ci_content_range range;
    (void)state;
    assert_true(ci_content_range_parse("bytes 5-9/20", &range));
    assert_int_equal(range.from, 5);
    assert_int_equal(range.to, 10);
    assert_int_equal(range.total, 20);
    assert_true(ci_content_range_parse("bytes 5-9/*", &range));
    assert_true(range.total == UINT64_MAX);
    assert_true(ci_content_range_parse("bytes */20", &range));
    assert_int_equal(range.total, 20);
    assert_true(range.from == UINT64_MAX);
    static const char *const bad[] = {"",
                                      "5-9/20",
                                      "bytes 9-5/20",
                                      "bytes 5-20/20",
                                      "bytes 5-9",
                                      "bytes 5-9/",
                                      "bytes -9/20",
                                      "bytes 5-18446744073709551615/*",
                                      "bytes 5-9/20x",
                                      "items 5-9/20",
                                      "bytes 5-9/99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ci_content_range_parse(bad[i], &range)) fail_msg("\"%s\" is taken", bad[i]);
    assert_false(ci_content_range_parse(NULL, &range));
}

static struct ci_part_state sample(void) {
    struct ci_part_state state = {.sequence = 7, .size = 100, .digest = "ab", .version = "\"tag\"", .boot = "b-1"};
    ci_ranges_add(&state.synced, 0, 10);
    ci_ranges_add(&state.written, 0, 10);
    ci_ranges_add(&state.written, 50, 60);
    return state;
}

static void test_record_survives_any_damage_to_the_other(void **state) {
    char slot[CI_PART_SLOT], damaged[CI_PART_SLOT];
    struct ci_part_state made = sample(), found;
    (void)state;
    ci_part_state_print(&made, slot);
    assert_true(ci_part_state_parse(slot, &found));
    assert_int_equal(found.sequence, 7);
    assert_int_equal(found.size, 100);
    assert_string_equal(found.version, "\"tag\"");
    assert_int_equal(ci_ranges_bytes(&found.written), 20);
    assert_int_equal(ci_ranges_bytes(&found.synced), 10);
    size_t length = strlen(slot);
    for (size_t i = 0; i < length; i++) { /* cut off, and one bit of it another */
        memcpy(damaged, slot, sizeof slot);
        memset(damaged + i, 0, sizeof slot - i);
        if (i + 1 < length) assert_false(ci_part_state_parse(damaged, &found));
        for (int bit = 0; bit < 8 && i + 1 < length; bit++) {
            memcpy(damaged, slot, sizeof slot);
            damaged[i] = (char)(damaged[i] ^ (1 << bit));
            bool hexadecimal_case = bit == 5 && i >= length - 17 && slot[i] >= 'a' && slot[i] <= 'f';
            if (!hexadecimal_case && ci_part_state_parse(damaged, &found)) fail_msg("bit %d of byte %zu", bit, i);
        }
    }
}

static void test_record_has_room_for_the_longest(void **state) {
    char slot[CI_PART_SLOT];
    struct ci_part_state made = sample(), found;
    (void)state;
    made.size = made.sequence = UINT64_MAX - 1;
    memset(made.digest, 'f', sizeof made.digest - 1);
    memset(made.version, 'v', sizeof made.version - 1);
    memset(made.boot, 'b', sizeof made.boot - 1);
    made.synced.count = 0;
    for (uint64_t i = 0; i < CI_RANGES; i++) {
        uint64_t from = UINT64_MAX - 4 * (CI_RANGES - i);
        assert_true(ci_ranges_add(&made.synced, from, from + 2));
    }
    made.written = made.synced;
    ci_part_state_print(&made, slot);
    assert_true(ci_part_state_parse(slot, &found));
    assert_int_equal(found.written.count, CI_RANGES);
}

static void test_sizes_are_shown_in_three_digits(void **state) {
    char text[32];
    (void)state;
    assert_string_equal(ci_hub_size_text(0, text, sizeof text), "0 bytes");
    assert_string_equal(ci_hub_size_text(999, text, sizeof text), "999 bytes");
    assert_string_equal(ci_hub_size_text(1234, text, sizeof text), "1.23 kB");
    assert_string_equal(ci_hub_size_text(999999, text, sizeof text), "1.00 MB");
    assert_string_equal(ci_hub_size_text(1117320736, text, sizeof text), "1.12 GB");
    assert_string_equal(ci_hub_size_text(64 << 20, text, sizeof text), "67.1 MB");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges_that_touch_become_one),
        cmocka_unit_test(test_ranges_agree_with_flags),
        cmocka_unit_test(test_full_list_takes_only_what_touches),
        cmocka_unit_test(test_damaged_lists_are_refused),
        cmocka_unit_test(test_content_range_is_read_strictly),
        cmocka_unit_test(test_record_survives_any_damage_to_the_other),
        cmocka_unit_test(test_record_has_room_for_the_longest),
        cmocka_unit_test(test_sizes_are_shown_in_three_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
