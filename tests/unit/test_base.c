/* The base layer: text that grows, status, log, arena, pages, hash. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/append.h"
#include "base/arena.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/pages.h"
#include "base/status.h"

/* ---- text that grows ---- */

static void test_append_keeps_every_byte_and_ends_with_zero(void **state) {
    char *text = NULL, piece[300];
    size_t length = 0, capacity = 0, moved = 0;
    (void)state;
    assert_true(ci_append(&text, &length, &capacity, NULL, 0));
    assert_string_equal(text, "");
    for (size_t i = 0; i < sizeof piece; i++) piece[i] = (char)i;
    for (size_t count = 0; count <= sizeof piece; count++) {
        size_t before = capacity;
        assert_true(ci_append(&text, &length, &capacity, piece, count));
        assert_true(length < capacity);
        assert_int_equal(text[length], 0);
        moved += before != capacity;
    }
    assert_int_equal(length, sizeof piece * (sizeof piece + 1) / 2);
    assert_true(moved < 12); /* not each time */
    for (size_t count = 0, at = 0; count <= sizeof piece; at += count, count++)
        assert_memory_equal(text + at, piece, count);
    size_t kept = length;
    assert_false(ci_append(&text, &length, &capacity, piece, SIZE_MAX - 10));
    assert_int_equal(length, kept);
    free(text);
}

/* ---- status ---- */

static void test_status_has_a_text_for_every_code(void **state) {
    (void)state;
#define CHECK_TEXT(code, exit_status, text) assert_string_equal(clinfer_status_text(code), text);
    CLINFER_STATUS_LIST(CHECK_TEXT)
#undef CHECK_TEXT
    assert_string_equal(clinfer_status_text((enum clinfer_status)9999), "unknown status");
}

static void test_fail_keeps_message_and_returns_status(void **state) {
    (void)state;
    assert_int_equal(ci_fail(CLINFER_IO, "%s: %d", "file", 7), CLINFER_IO);
    assert_string_equal(ci_status_message(), "file: 7");
    assert_string_equal(clinfer_error(), "file: 7");
    assert_int_equal(ci_fail_prefix(CLINFER_BAD_FILE, "model %d", 3), CLINFER_BAD_FILE);
    assert_string_equal(ci_status_message(), "model 3: file: 7");
    ci_fail(CLINFER_IO, "again: %s", ci_status_message());
    assert_string_equal(ci_status_message(), "again: model 3: file: 7");
}

static void test_fail_cuts_long_messages(void **state) {
    (void)state;
    char text[5000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ci_fail(CLINFER_IO, "start %s", text);
    assert_memory_equal(ci_status_message(), "start xxx", 9);
    assert_in_range(strlen(ci_status_message()), 500, 4999);
    ci_fail_prefix(CLINFER_IO, "%s", text);
    ci_fail_prefix(CLINFER_IO, "first");
    assert_memory_equal(ci_status_message(), "first: xxx", 10);
}

static void *fail_elsewhere(void *argument) {
    (void)argument;
    const bool clean = ci_status_message()[0] == '\0';
    ci_fail(CLINFER_IO, "other thread");
    return clean ? (void *)1 : NULL;
}

static void test_messages_belong_to_their_thread(void **state) {
    (void)state;
    pthread_t thread;
    void *clean = NULL;
    ci_fail(CLINFER_IO, "this thread");
    assert_int_equal(pthread_create(&thread, NULL, fail_elsewhere, NULL), 0);
    pthread_join(thread, &clean);
    assert_non_null(clean);
    assert_string_equal(ci_status_message(), "this thread");
}

/* ---- log ---- */

struct heard {
    enum clinfer_log_level level;
    int count;
    char text[64];
};

static void hear(void *user, enum clinfer_log_level level, const char *message) {
    struct heard *heard = user;
    heard->level = level;
    heard->count++;
    snprintf(heard->text, sizeof heard->text, "%s", message);
}

static void test_log_reaches_the_receiver_only(void **state) {
    (void)state;
    struct heard heard = {0};
    ci_log(CLINFER_LOG_ERROR, "to nobody");
    clinfer_log_to(hear, &heard);
    ci_log(CLINFER_LOG_WARNING, "%d of %s", 2, "two");
    assert_int_equal(heard.count, 1);
    assert_int_equal(heard.level, CLINFER_LOG_WARNING);
    assert_string_equal(heard.text, "2 of two");
    clinfer_log_to(NULL, NULL);
    ci_log(CLINFER_LOG_ERROR, "to nobody");
    assert_int_equal(heard.count, 1);
}

/* ---- arena ---- */

static void test_arena_gives_zeroed_aligned_memory_that_stays(void **state) {
    (void)state;
    enum { BLOCKS = 500 };
    struct ci_arena arena = {0};
    unsigned char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        size_t size = (size_t)(i * 37 % 3000); /* some 750 KB: a dozen chunks */
        blocks[i] = ci_arena_alloc(&arena, size);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        for (size_t b = 0; b < size; b++) assert_int_equal(blocks[i][b], 0);
        memset(blocks[i], i & 0xff, size);
    }
    for (int i = 0; i < BLOCKS; i++)
        for (size_t b = 0; b < (size_t)(i * 37 % 3000); b++) assert_int_equal(blocks[i][b], i & 0xff);
    unsigned char *large = ci_arena_alloc(&arena, 1 << 20);
    assert_non_null(large);
    assert_int_equal(large[(1 << 20) - 1], 0);
    ci_arena_destroy(&arena);
    assert_null(arena.chunks);
    assert_non_null(ci_arena_alloc(&arena, 8));
    ci_arena_destroy(&arena);
}

static void test_arena_refuses_sizes_that_overflow(void **state) {
    (void)state;
    struct ci_arena arena = {0};
    assert_null(ci_arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(ci_arena_array(&arena, SIZE_MAX, SIZE_MAX));
    assert_null(ci_arena_alloc(&arena, SIZE_MAX));
    assert_non_null(ci_arena_array(&arena, 0, SIZE_MAX));
    assert_non_null(ci_arena_array(&arena, SIZE_MAX, 0));
    ci_arena_destroy(&arena);
}

static void test_arena_string_is_terminated(void **state) {
    (void)state;
    struct ci_arena arena = {0};
    assert_string_equal(ci_arena_string(&arena, "prefix and more", 6), "prefix");
    assert_string_equal(ci_arena_string(&arena, "", 0), "");
    ci_arena_destroy(&arena);
}

/* ---- pages ---- */

static void test_pages_are_aligned(void **state) {
    (void)state;
    const size_t sizes[] = {1, CI_PAGE_BYTES + 1, CI_LARGE_PAGE_BYTES - 1, CI_LARGE_PAGE_BYTES,
                            3 * CI_LARGE_PAGE_BYTES + 5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t page = sizes[i] < CI_LARGE_PAGE_BYTES ? CI_PAGE_BYTES : CI_LARGE_PAGE_BYTES;
        uint8_t *memory = ci_pages_alloc(sizes[i]);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % page, 0);
        memset(memory, 1, sizes[i]);
        free(memory);
    }
    assert_null(ci_pages_alloc(SIZE_MAX)); /* no size that wraps around */
    assert_null(ci_pages_zeros(SIZE_MAX));
    uint8_t *zeros = ci_pages_zeros(CI_PAGE_BYTES + 3);
    assert_non_null(zeros);
    for (int i = 0; i < CI_PAGE_BYTES + 3; i++) assert_int_equal(zeros[i], 0);
    free(zeros);
}

/* ---- hash ---- */

/* Vectors from http://www.isthe.com/chongo/src/fnv/test_fnv.c */
static void test_hash_is_fnv_1a(void **state) {
    (void)state;
    assert_true(ci_hash(CI_HASH_START, "", 0) == UINT64_C(0xcbf29ce484222325));
    assert_true(ci_hash(CI_HASH_START, "a", 1) == UINT64_C(0xaf63dc4c8601ec8c));
    assert_true(ci_hash(CI_HASH_START, "foobar", 6) == UINT64_C(0x85944171f73967e8));
    assert_true(ci_hash(ci_hash(CI_HASH_START, "foo", 3), "bar", 3) == UINT64_C(0x85944171f73967e8));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_append_keeps_every_byte_and_ends_with_zero),
        cmocka_unit_test(test_status_has_a_text_for_every_code),
        cmocka_unit_test(test_fail_keeps_message_and_returns_status),
        cmocka_unit_test(test_fail_cuts_long_messages),
        cmocka_unit_test(test_messages_belong_to_their_thread),
        cmocka_unit_test(test_log_reaches_the_receiver_only),
        cmocka_unit_test(test_arena_gives_zeroed_aligned_memory_that_stays),
        cmocka_unit_test(test_arena_refuses_sizes_that_overflow),
        cmocka_unit_test(test_arena_string_is_terminated),
        cmocka_unit_test(test_pages_are_aligned),
        cmocka_unit_test(test_hash_is_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
