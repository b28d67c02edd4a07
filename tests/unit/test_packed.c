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
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
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

/* What was written just now may be written again without another time. */
static void age(const char *path) {
    const struct timespec times[2] = {{.tv_sec = time(NULL) - 60}, {.tv_sec = time(NULL) - 60}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int setup(void **state) {
    static int number;
    (void)state;
    snprintf(folder, sizeof folder, "%s/packed%d", process_folder(), number++);
    model = process_file("model.gguf", "x", 1);
    age(model);
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
    ci_packed_close(packed, false);
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
    ci_packed_close(packed, false);
    assert_int_equal(warnings, 0);
}

static void ask(const char *const names[], int count) {
    struct ci_packed *packed = open_packed();
    for (int i = 0; i < count; i++) has(packed, names[i]);
    ci_packed_finish(packed);
    ci_packed_close(packed, false);
}

/* A file never changes. One that has less than half of what a start wants is made anew by the next. */
static void test_a_start_that_wants_more(void **state) {
    (void)state;
    static const char *const names[] = {"one", "two", "three"};
    struct ci_tensor tensor = weight("two");
    uint64_t at;
    keep("one");
    off_t size = size_of(path());
    struct ci_packed *packed = open_packed();
    assert_true(has(packed, "one"));
    assert_false(has(packed, "two"));
    assert_null(ci_packed_add(packed, &tensor, &ci_layout_r16, &at));
    ci_packed_finish(packed);
    ci_packed_close(packed, false);
    assert_int_equal(size_of(path()), size);
    ask(names, 2);
    assert_non_null(path());
    ask(names, 3);
    assert_null(path());
}

static void test_nothing_stays_of_a_start_that_failed(void **state) {
    (void)state;
    struct ci_packed *packed = open_packed();
    add(packed, "one");
    assert_non_null(path());
    ci_packed_close(packed, false);
    assert_null(path());
}

/* The largest change that a stuck line of memory makes: the same bit of words that go through the same chain. */
static void test_paired_changes_do_not_cancel(void **state) {
    (void)state;
    keep("one");
    for (int i = 0; i < 2; i++) {
        int descriptor = open(path(), O_RDWR);
        uint8_t byte;
        off_t at = (2 << 20) + 7 + 64 * i;
        assert_int_equal(pread(descriptor, &byte, 1, at), 1);
        byte ^= 0x80;
        assert_int_equal(pwrite(descriptor, &byte, 1, at), 1);
        close(descriptor);
    }
    struct ci_packed *packed = open_packed();
    assert_false(has(packed, "one"));
    ci_packed_close(packed, false);
}

/* Any byte: of the weight, of the index behind it, of the head. */
static void test_damage_is_found_and_packed_again(void **state) {
    (void)state;
    struct ci_tensor tensor = weight("one");
    const off_t first = 2 << 20,
                places[] = {first, first + 70001, first + (off_t)bytes_of(&tensor) - 1, -1, 0, 12, 20, 28, 36};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        keep("one");
        change(places[i] < 0 ? size_of(path()) - 1 : places[i]);
        struct ci_packed *packed = open_packed();
        warnings = 0;
        if (packed && has(packed, "one")) fail_msg("byte %lld has changed, and nobody saw it", (long long)places[i]);
        if (packed && warnings != 1 && places[i] >= first) fail_msg("nobody was told");
        ci_packed_close(packed, false);
        keep("one");
        packed = open_packed();
        assert_true(has(packed, "one"));
        ci_packed_close(packed, false);
        assert_int_equal(unlink(path()), 0);
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
        ci_packed_close(packed, false);
        keep("one");
        assert_int_equal(size_of(path()), size);
    }
}

static void test_two_starts_at_once(void **state) {
    (void)state;
    struct ci_packed *first = open_packed(), *second = open_packed();
    struct ci_tensor tensor = weight("two");
    uint64_t at;
    add(first, "one");
    add(second, "one");
    assert_false(has(first, "two"));
    ci_packed_finish(first);
    assert_null(ci_packed_add(first, &tensor, &ci_layout_r16, &at)); /* that one is finished */
    struct ci_packed *third = open_packed();
    assert_true(has(third, "one"));
    ci_packed_finish(second); /* in the place of the first one's, which stays where it is mapped */
    assert_true(has(third, "one"));
    assert_true(has(first, "one"));
    ci_packed_close(first, false);
    ci_packed_close(second, false);
    ci_packed_close(third, false);
    third = open_packed();
    assert_true(has(third, "one"));
    ci_packed_close(third, false);
}

static void test_a_model_that_changed_has_a_file_of_its_own(void **state) {
    (void)state;
    keep("one");
    char *old = strdup(path());
    struct ci_packed *packed = ci_packed_open(model, identity + 1, MODEL_BYTES, threads);
    assert_non_null(packed);
    assert_false(has(packed, "one"));
    add(packed, "one");
    ci_packed_finish(packed);
    ci_packed_close(packed, false);
    assert_string_not_equal(path(), old); /* which is gone: path() finds one file */
    free(old);
}

static void refuses(uint64_t bytes) {
    struct ci_packed *packed = ci_packed_open(model, identity, bytes, threads);
    struct ci_tensor tensor = weight("one");
    uint64_t at;
    assert_null(ci_packed_find(packed, &tensor, &ci_layout_r16));
    assert_null(ci_packed_add(packed, &tensor, &ci_layout_r16, &at));
    ci_packed_finish(packed);
    ci_packed_close(packed, false);
    assert_null(path());
}

static void test_what_is_not_kept(void **state) {
    (void)state;
    struct rlimit limit, less;
    refuses(1 << 20);           /* a small model */
    refuses(UINT64_C(1) << 50); /* more than a quarter of any disk */
    assert_null(ci_packed_open("/no/such/model", identity, MODEL_BYTES, threads));
    assert_null(ci_packed_open(model, 0, MODEL_BYTES, threads)); /* from memory */
    assert_int_equal(utimensat(AT_FDCWD, model, NULL, 0), 0);
    assert_null(open_packed()); /* it may still be being written */
    age(model);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    less = limit;
    less.rlim_cur = 1 << 20;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &less), 0);
    refuses(MODEL_BYTES);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* What others may have written is not taken for weights, and what a link leads to is not removed. */
static void test_folders_that_are_not_ours(void **state) {
    (void)state;
    char file[512], other[512];
    uint64_t freed;
    keep("one");
    snprintf(file, sizeof file, "%s/clinfer/packed", folder);
    assert_int_equal(chmod(file, 0777), 0);
    struct ci_packed *packed = open_packed();
    assert_false(has(packed, "one"));
    ci_packed_close(packed, false);
    assert_int_equal(chmod(file, 0700), 0);
    snprintf(other, sizeof other, "%s/elsewhere", folder);
    assert_int_equal(rename(file, other), 0);
    assert_int_equal(symlink(other, file), 0);
    assert_int_equal(ci_packed_clear(&freed), CLINFER_OK);
    assert_int_equal(freed, 0);
    assert_non_null(path());
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rename(other, file), 0);
    assert_int_equal(ci_packed_clear(&freed), CLINFER_OK);
    assert_true(freed > 360000);
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
    assert_int_equal(ci_packed_list(note, &seen), CLINFER_OK);
    assert_int_equal(seen.weights, 1);
    assert_true(seen.model_is_there && seen.bytes > 360000);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        TEST(test_what_was_kept_is_found),
        TEST(test_a_start_that_wants_more),
        TEST(test_nothing_stays_of_a_start_that_failed),
        TEST(test_damage_is_found_and_packed_again),
        TEST(test_paired_changes_do_not_cancel),
        TEST(test_a_file_cut_off_is_not_read),
        TEST(test_two_starts_at_once),
        TEST(test_a_model_that_changed_has_a_file_of_its_own),
        TEST(test_what_is_not_kept),
        TEST(test_folders_that_are_not_ours),
        TEST(test_the_list_knows_model_and_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
