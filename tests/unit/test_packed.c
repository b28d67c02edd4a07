/* Packed weights on disk: what was put there is found by the next start, whole or not at all. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/packed.h"
#include "support/process.h"

enum { ROWS = 100, COLS = 6400, MODEL_BYTES = 20 << 20 };
static const uint64_t identity = 12345;

static char folder[256];
static const char *model;
static int warnings;
static struct ci_threads *threads;

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user, (void)message;
    warnings += level == CLINFER_LOG_WARNING;
}

static int setup(void **state) {
    static int number;
    (void)state;
    snprintf(folder, sizeof folder, "%s/packed%d", process_folder(), number++);
    model = process_file("model.gguf", "x", 1);
    warnings = 0;
    clinfer_log_to(listen, NULL);
    if (ci_threads_create(3, &threads) != CLINFER_OK) return -1;
    return setenv("XDG_CACHE_HOME", folder, 1) + mkdir(folder, 0700);
}

static int teardown(void **state) {
    (void)state;
    ci_threads_destroy(threads);
    clinfer_log_to(NULL, NULL);
    return 0;
}

static struct ci_tensor weight(const char *name) {
    struct ci_tensor tensor = {.name = name, .kind = CI_TENSOR_WEIGHT, .place = -1};
    ci_view_set(&tensor.view, &ci_type_q4_0, ROWS, COLS);
    return tensor;
}

/* Bytes that differ from weight to weight and from place to place; not a whole number of pages. */
static uint8_t byte_at(const char *name, size_t at) { return (uint8_t)(at * 2654435761u >> 13 ^ (uint8_t)name[0]); }

static size_t bytes_of(const struct ci_tensor *tensor) {
    return ci_layout_bytes(&ci_layout_r16, tensor->view.type, tensor->view.rows, tensor->view.cols);
}

static struct ci_packed *open_packed(void) { return ci_packed_open(model, identity, MODEL_BYTES, threads); }

static void add(struct ci_packed *packed, const char *name) {
    struct ci_tensor tensor = weight(name);
    size_t count = bytes_of(&tensor), half = count / 2;
    uint8_t *bytes = malloc(count);
    uint64_t at;
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) bytes[i] = byte_at(name, i);
    assert_null(ci_packed_find(packed, &tensor, &ci_layout_r16));
    const void *there = ci_packed_add(packed, &tensor, &ci_layout_r16, &at);
    assert_non_null(there);
    ci_packed_put(packed, at + half, bytes + half, count - half);
    ci_packed_put(packed, at, bytes, half);
    assert_true(ci_packed_added(packed));
    assert_memory_equal(there, bytes, count);
    free(bytes);
}

static bool has(struct ci_packed *packed, const char *name) {
    struct ci_tensor tensor = weight(name);
    const uint8_t *there = ci_packed_find(packed, &tensor, &ci_layout_r16);
    for (size_t i = 0; there && i < bytes_of(&tensor); i++)
        if (there[i] != byte_at(name, i)) fail_msg("%s: byte %zu is %d", name, i, there[i]);
    return there != NULL;
}

static void keep(const char *name) {
    struct ci_packed *packed = open_packed();
    assert_non_null(packed);
    add(packed, name);
    ci_packed_finish(packed);
    ci_packed_close(packed);
}

/* The only file of the folder; NULL: there is none. */
static const char *path(void) {
    static char path[600];
    char name[300];
    struct dirent *entry;
    int count = 0;
    snprintf(name, sizeof name, "%s/clinfer/packed", folder);
    DIR *directory = opendir(name);
    if (!directory) return NULL;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%.200s", name, entry->d_name);
            count++;
        }
    closedir(directory);
    assert_true(count <= 1);
    return count ? path : NULL;
}

static off_t size_of(const char *name) {
    struct stat info;
    assert_int_equal(stat(name, &info), 0);
    return info.st_size;
}

static void change(off_t at) {
    int descriptor = open(path(), O_RDWR);
    uint8_t byte;
    assert_true(descriptor >= 0);
    assert_int_equal(pread(descriptor, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(descriptor, &byte, 1, at), 1);
    close(descriptor);
}

static void test_what_was_kept_is_found(void **state) {
    (void)state;
    keep("one");
    struct ci_packed *packed = open_packed();
    assert_true(has(packed, "one"));
    assert_false(has(packed, "two"));
    struct ci_tensor other = weight("one");
    assert_null(ci_packed_find(packed, &other, &ci_layout_stored));
    other.view.rows = ROWS + 16;
    assert_null(ci_packed_find(packed, &other, &ci_layout_r16));
    ci_view_set(&other.view, &ci_type_q4_1, ROWS, COLS);
    assert_null(ci_packed_find(packed, &other, &ci_layout_r16));
    ci_packed_close(packed);
    assert_int_equal(warnings, 0);
}

static void test_more_is_added_behind(void **state) {
    (void)state;
    keep("one");
    keep("two");
    off_t size = size_of(path());
    struct ci_packed *packed = open_packed();
    assert_true(has(packed, "one") && has(packed, "two"));
    add(packed, "three"); /* and the model turns out to be cut off, say */
    assert_true(size_of(path()) > size);
    ci_packed_close(packed);
    assert_int_equal(size_of(path()), size);
    packed = open_packed();
    assert_true(has(packed, "one") && has(packed, "two"));
    assert_false(has(packed, "three"));
    ci_packed_close(packed);
}

static void test_nothing_stays_of_a_start_that_failed(void **state) {
    (void)state;
    struct ci_packed *packed = open_packed();
    add(packed, "one");
    assert_non_null(path());
    ci_packed_close(packed);
    assert_null(path());
}

/* Any byte: of the weight, of the index behind it, of the head. */
static void test_damage_is_found_and_packed_again(void **state) {
    (void)state;
    struct ci_tensor tensor = weight("one");
    const off_t first = 2 << 20,
                places[] = {first, first + 70001, first + (off_t)bytes_of(&tensor) - 1, -1, 0, 12, 20, 28};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        keep("one");
        change(places[i] < 0 ? size_of(path()) - 1 : places[i]);
        struct ci_packed *packed = open_packed();
        warnings = 0;
        if (packed && has(packed, "one")) fail_msg("byte %lld has changed, and nobody saw it", (long long)places[i]);
        if (packed && warnings != 1 && places[i] >= first) fail_msg("nobody was told");
        ci_packed_close(packed);
        keep("one");
        packed = open_packed();
        assert_true(has(packed, "one"));
        ci_packed_close(packed);
        unlink(path());
    }
}

static void test_a_file_cut_off_is_not_read(void **state) {
    (void)state;
    keep("one");
    off_t size = size_of(path());
    const off_t sizes[] = {0, 100, 4096, 5000, size / 2, size - 1}; /* the first three quarters are a hole */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(truncate(path(), sizes[i]), 0);
        struct ci_packed *packed = open_packed();
        assert_true(!packed || !has(packed, "one"));
        ci_packed_close(packed);
        keep("one");
        assert_int_equal(size_of(path()), size);
    }
}

static void test_one_writes_and_the_others_do_without(void **state) {
    (void)state;
    struct ci_packed *first = open_packed();
    add(first, "one");
    assert_null(open_packed()); /* nothing is whole yet */
    ci_packed_finish(first);
    struct ci_packed *second = open_packed(), *third = open_packed();
    struct ci_tensor tensor = weight("two");
    uint64_t at;
    assert_true(has(second, "one") && has(third, "one"));
    add(second, "two");
    assert_null(ci_packed_add(third, &tensor, &ci_layout_r16, &at));
    assert_null(ci_packed_add(first, &tensor, &ci_layout_r16, &at)); /* that one is finished */
    ci_packed_finish(second);
    ci_packed_close(second);
    assert_true(has(first, "one") && has(third, "one"));
    ci_packed_close(first);
    ci_packed_close(third);
}

static void test_a_model_that_changed_has_a_file_of_its_own(void **state) {
    (void)state;
    keep("one");
    char *old = strdup(path());
    struct ci_packed *packed = ci_packed_open(model, identity + 1, MODEL_BYTES, threads);
    assert_false(has(packed, "one"));
    add(packed, "one");
    ci_packed_finish(packed);
    ci_packed_close(packed);
    assert_string_not_equal(path(), old); /* which is gone: path() finds one file */
    free(old);
}

static void test_small_and_impossible_ones_are_not_kept(void **state) {
    (void)state;
    char file[512];
    assert_null(ci_packed_open(model, identity, 1 << 20, threads));
    assert_null(ci_packed_open(model, identity, UINT64_C(1) << 50, threads)); /* more than a quarter of any disk */
    assert_null(path());
    assert_null(ci_packed_open("/no/such/model", identity, MODEL_BYTES, threads));
    snprintf(file, sizeof file, "%s/clinfer/packed", folder);
    assert_int_equal(chmod(file, 0777), 0); /* what others may have written is not run */
    assert_null(open_packed());
    assert_int_equal(chmod(file, 0700), 0);
    assert_null(path());
}

static void note(void *user, const struct ci_packed_file *file) {
    struct ci_packed_file *seen = user;
    *seen = *file;
    assert_string_equal(file->path, path());
    assert_true(strstr(file->model, "model.gguf") != NULL);
}

static void test_the_list_knows_model_and_size(void **state) {
    (void)state;
    struct ci_packed_file seen = {0};
    assert_int_equal(ci_packed_list(note, &seen), CLINFER_OK);
    assert_int_equal(seen.weights, 0);
    keep("one");
    keep("two");
    assert_int_equal(ci_packed_list(note, &seen), CLINFER_OK);
    assert_int_equal(seen.weights, 2);
    assert_true(seen.model_is_there && !seen.slow && seen.bytes > 2 * 360000);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(test_what_was_kept_is_found),
        TEST(test_more_is_added_behind),
        TEST(test_nothing_stays_of_a_start_that_failed),
        TEST(test_damage_is_found_and_packed_again),
        TEST(test_a_file_cut_off_is_not_read),
        TEST(test_one_writes_and_the_others_do_without),
        TEST(test_a_model_that_changed_has_a_file_of_its_own),
        TEST(test_small_and_impossible_ones_are_not_kept),
        TEST(test_the_list_knows_model_and_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
