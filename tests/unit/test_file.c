/* Files of the base layer: mapping, writing in one go, folders by the XDG specification. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
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

#include "base/file.h"
#include "base/status.h"

/* A fresh directory; each test removes what it made in it. */
static int make_directory(void **state) {
    const char *base = getenv("TMPDIR");
    char *path = NULL;
    if (asprintf(&path, "%s/clinfer-test-base-XXXXXX", base ? base : "/tmp") < 0) return -1;
    *state = path;
    return mkdtemp(path) ? 0 : -1;
}

static int remove_directory(void **state) {
    int result = rmdir(*state);
    free(*state);
    return result;
}

/* The caller frees it. */
static char *join(const char *directory, const char *name) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", directory, name) < 0) fail_msg("out of memory");
    return path;
}

static int entries_in(const char *path) {
    DIR *directory = opendir(path);
    int count = 0;
    while (directory && readdir(directory)) count++;
    if (directory) closedir(directory);
    return count - 2;
}

static void expect_content(const char *path, const void *data, size_t size) {
    struct ci_file file;
    assert_int_equal(ci_file_map(path, &file), CLINFER_OK);
    assert_int_equal(file.size, size);
    if (size) assert_memory_equal(file.data, data, size);
    assert_int_equal((uintptr_t)file.data % 4096, 0);
    ci_file_unmap(&file);
    assert_null(file.data);
}

static void test_write_makes_parents_and_replaces_whole_files(void **state) {
    char *above = join(*state, "a"), *path = join(above, "b/file");
    assert_int_equal(ci_file_write(path, "first content", 13), CLINFER_OK);
    expect_content(path, "first content", 13);
    struct ci_file old;
    assert_int_equal(ci_file_map(path, &old), CLINFER_OK);
    assert_int_equal(ci_file_write(path, "new", 3), CLINFER_OK);
    expect_content(path, "new", 3);
    assert_memory_equal(old.data, "first content", 13); /* a reader keeps what it opened */
    ci_file_unmap(&old);
    assert_int_equal(ci_file_write(path, "", 0), CLINFER_OK);
    expect_content(path, "", 0);
    struct stat info;
    assert_int_equal(stat(above, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(unlink(path), 0);
    path[strlen(above) + strlen("/b")] = '\0';
    assert_int_equal(entries_in(path), 0);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(above), 0);
    free(path);
    free(above);
}

static void test_failed_write_leaves_nothing_behind(void **state) {
    char *blocker = join(*state, "file"), *below = join(blocker, "x/y"), *directory = join(*state, "full");
    assert_int_equal(ci_file_write(blocker, "kept", 4), CLINFER_OK);
    assert_int_equal(ci_file_write(below, "lost", 4), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), below));
    assert_int_equal(mkdir(directory, 0700), 0);
    assert_int_equal(ci_file_write(directory, "lost", 4), CLINFER_IO); /* cannot take a directory's place */
    assert_non_null(strstr(clinfer_error(), directory));
    expect_content(blocker, "kept", 4);
    assert_int_equal(entries_in(*state), 2);
    assert_int_equal(unlink(blocker), 0);
    assert_int_equal(rmdir(directory), 0);
    free(blocker);
    free(below);
    free(directory);
}

static void test_map_names_what_it_cannot_open(void **state) {
    struct ci_file file = {.data = (const uint8_t *)"", .size = 1};
    assert_int_equal(ci_file_map("/nonexistent/model.gguf", &file), CLINFER_NOT_FOUND);
    assert_non_null(strstr(clinfer_error(), "/nonexistent/model.gguf"));
    assert_null(file.data);
    assert_int_equal(ci_file_map(*state, &file), CLINFER_IO);
    assert_non_null(strstr(clinfer_error(), *state));
    ci_file_unmap(&file); /* of nothing: allowed */
}

static void expect_xdg(const char *kind, const char *name, const char *expected) {
    char *path = ci_file_xdg(kind, name);
    if (!expected) {
        assert_null(path);
        return;
    }
    assert_non_null(path);
    assert_string_equal(path, expected);
    free(path);
}

static void test_xdg_follows_the_specification(void **state) {
    (void)state;
    static const char *const kinds[] = {"DATA", "CACHE", "CONFIG", "STATE"};
    char *saved_home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
    char *saved_data = getenv("XDG_DATA_HOME") ? strdup(getenv("XDG_DATA_HOME")) : NULL;
    setenv("HOME", "/home/user", 1);
    setenv("XDG_DATA_HOME", "/data", 1);
    expect_xdg("DATA", "models", "/data/clinfer/models");
    expect_xdg("DATA", NULL, "/data/clinfer");
    setenv("XDG_DATA_HOME", "relative/is/ignored", 1);
    expect_xdg("DATA", "models", "/home/user/.local/share/clinfer/models");
    for (int i = 0; i < 4; i++) {
        static const char *const defaults[] = {"/home/user/.local/share/clinfer/n", "/home/user/.cache/clinfer/n",
                                               "/home/user/.config/clinfer/n", "/home/user/.local/state/clinfer/n"};
        char variable[32];
        snprintf(variable, sizeof variable, "XDG_%s_HOME", kinds[i]);
        unsetenv(variable);
        expect_xdg(kinds[i], "n", defaults[i]);
    }
    unsetenv("HOME");
    expect_xdg("CACHE", "n", NULL);
    if (saved_home) setenv("HOME", saved_home, 1);
    if (saved_data) setenv("XDG_DATA_HOME", saved_data, 1);
    free(saved_home);
    free(saved_data);
}

/* /sys takes no folders from anybody: that is the reason, not that what lies in one is missing. */
static void test_a_folder_that_cannot_be_made_is_the_reason(void **state) {
    (void)state;
    int descriptor;
    assert_int_equal(ci_file_write("/sys/clinfer-test/folder/file", "x", 1), CLINFER_IO);
    assert_non_null(strstr(ci_status_message(), "/sys/clinfer-test/folder/file: cannot create: "));
    assert_null(strstr(ci_status_message(), strerror(ENOENT)));
    assert_int_equal(ci_file_lock("/sys/clinfer-test/folder/file", 0, &descriptor), CLINFER_IO);
    assert_non_null(strstr(ci_status_message(), "cannot create: "));
    assert_null(strstr(ci_status_message(), strerror(ENOENT)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_write_makes_parents_and_replaces_whole_files, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_failed_write_leaves_nothing_behind, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_map_names_what_it_cannot_open, make_directory, remove_directory),
        cmocka_unit_test(test_xdg_follows_the_specification),
        cmocka_unit_test(test_a_folder_that_cannot_be_made_is_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
