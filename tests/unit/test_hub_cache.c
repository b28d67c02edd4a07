/* The Hub's layout on disk: what is read of it, what is written, and that names from the net stay in it. */
#define _GNU_SOURCE
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

#include "hub/cache.h"
#include "support/asserts.h"
#include "support/hub_folder.h"

#define REPO "hub/models--u--r"
#define SNAPSHOT REPO "/snapshots/" HUB_COMMIT

static void assert_text(char *text, const char *wanted) {
    assert_non_null(text);
    assert_string_equal(text, wanted);
    free(text);
}

static void assert_link(const char *path, const char *wanted) {
    char text[512];
    ssize_t length = readlink(hub_path(path), text, sizeof text - 1);
    if (length < 0) fail_msg("%s: is no link", path);
    text[length] = 0;
    assert_string_equal(text, wanted);
}

static void assert_bytes(const char *path, const char *wanted, size_t size) {
    char bytes[256];
    FILE *file = fopen(hub_path(path), "rb");
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof bytes, file), size);
    fclose(file);
    assert_memory_equal(bytes, wanted, size);
}

static void test_paths(void **state) {
    (void)state;
    assert_text(ci_hub_cache_blob("/c", "u/r", "abc"), "/c/models--u--r/blobs/abc");
    assert_text(ci_hub_cache_lock("/c", "u/r", "abc"), "/c/.locks/models--u--r/abc.lock");
    assert_text(ci_hub_cache_snapshot("/c", "gpt2", HUB_COMMIT), "/c/models--gpt2/snapshots/" HUB_COMMIT);
    assert_null(ci_hub_cache_blob("/c", "u/r", "../abc"));
    assert_null(ci_hub_cache_blob("/c", "u/r/s", "abc"));
    assert_null(ci_hub_cache_blob("/c", "../r", "abc"));
    assert_null(ci_hub_cache_blob("/c", "/r", "abc"));
    assert_null(ci_hub_cache_snapshot("/c", "u/r", ".."));
}

static void test_names_cannot_leave_the_folder(void **state) {
    (void)state;
    static const char *const bad[] = {"", "/x", "x/", "a//b", ".", "..", "../x", "a/../b", "a/.", "a\nb", "\x7f", NULL};
    static const char *const good[] = {"x", "a/b/c.gguf", "..x", "a b", "\xc3\xa4", ".gitattributes", NULL};
    for (size_t i = 0; bad[i]; i++) assert_false(ci_hub_cache_is_path(bad[i]));
    for (size_t i = 0; good[i]; i++) assert_true(ci_hub_cache_is_path(good[i]));
    hub_put(REPO "/blobs/abc", "bytes");
    for (size_t i = 0; bad[i]; i++)
        assert_int_equal(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, bad[i], "abc", false),
                         CLINFER_BAD_FILE);
    assert_int_equal(ci_hub_cache_link(hub_settings.cache, "u/r", "../x", "f", "abc", false), CLINFER_BAD_FILE);
    assert_int_equal(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "f", "../abc", false), CLINFER_BAD_FILE);
    assert_int_not_equal(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "../../x", HUB_COMMIT), CLINFER_OK);
    assert_int_equal(hub_count("."), 1);
}

static void test_folders_are_repos_at_the_first_mark(void **state) {
    (void)state;
    char repo[64];
    assert_true(ci_hub_cache_repo_of("models--user--a--b", repo, sizeof repo));
    assert_string_equal(repo, "user/a--b");
    assert_true(ci_hub_cache_repo_of("models--gpt2", repo, sizeof repo));
    assert_string_equal(repo, "gpt2");
    assert_false(ci_hub_cache_repo_of("datasets--a--b", repo, sizeof repo));
    assert_false(ci_hub_cache_repo_of("models--", repo, sizeof repo));
    assert_false(ci_hub_cache_repo_of("models--..", repo, sizeof repo));
    assert_false(ci_hub_cache_repo_of("models--a--..", repo, sizeof repo));
    assert_false(ci_hub_cache_repo_of("models--user--0123456789012345678901234567890123456789012345678901234567890",
                                      repo, sizeof repo));
}

static void assert_commit(const char *revision, const char *wanted) {
    char commit[CI_HUB_COMMIT_BYTES];
    enum clinfer_status status = ci_hub_cache_commit(hub_settings.cache, "u/r", revision, commit);
    assert_int_equal(status, wanted ? CLINFER_OK : CLINFER_NOT_FOUND);
    if (wanted) assert_string_equal(commit, wanted);
}

static void test_revisions(void **state) {
    (void)state;
    assert_commit("main", NULL);
    hub_folder(REPO "/snapshots/" HUB_OLDER);
    hub_folder(SNAPSHOT);
    hub_age(SNAPSHOT, 10);
    hub_put(REPO "/snapshots/notes", "");
    assert_commit("main", HUB_OLDER); /* the newest */
    hub_ref("u--r", "main", HUB_COMMIT);
    assert_commit("main", HUB_COMMIT);
    hub_ref("u--r", "v1", HUB_OLDER "\r\n");
    hub_ref("u--r", "refs/pr/1", HUB_OLDER);
    hub_ref("u--r", "bad", "0123");
    hub_put_bytes(REPO "/refs/large", 100000);
    assert_commit("v1", HUB_OLDER);
    assert_commit("refs/pr/1", HUB_OLDER);
    assert_commit("bad", NULL);
    assert_commit("large", NULL);
    assert_commit("v2", NULL);
    assert_commit("../refs/v1", NULL);
    assert_commit(HUB_OLDER, HUB_OLDER);
    assert_commit("fedcba9", HUB_OLDER);
    assert_commit("fedcba", NULL); /* too short to mean one */
}

static void test_files_of_a_snapshot(void **state) {
    (void)state;
    char *path;
    hub_blob("u--r", HUB_COMMIT, "sub/f.gguf", HUB_DIGEST("a"), 5);
    hub_link(SNAPSHOT "/gone", "../../blobs/nothing");
    hub_put(REPO "/.no_exist/" HUB_COMMIT "/config.json", "");
    assert_ok(ci_hub_cache_find(hub_settings.cache, "u/r", HUB_COMMIT, "sub/f.gguf", &path));
    assert_text(path, hub_path(SNAPSHOT "/sub/f.gguf"));
    static const char *const absent[] = {"gone", "sub", "f.gguf", "../../refs/main", "", NULL};
    for (size_t i = 0; absent[i]; i++)
        assert_int_equal(ci_hub_cache_find(hub_settings.cache, "u/r", HUB_COMMIT, absent[i], &path), CLINFER_NOT_FOUND);
    assert_null(path);
    assert_true(ci_hub_cache_is_absent(hub_settings.cache, "u/r", HUB_COMMIT, "config.json"));
    assert_false(ci_hub_cache_is_absent(hub_settings.cache, "u/r", HUB_COMMIT, "tokenizer.json"));
}

static void test_links_are_relative(void **state) {
    (void)state;
    hub_put(REPO "/blobs/" HUB_DIGEST("a"), "bytes");
    for (int i = 0; i < 2; i++) {
        assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "f.gguf", HUB_DIGEST("a"), false));
        assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "a/b/f.gguf", HUB_DIGEST("a"), false));
    }
    assert_link(SNAPSHOT "/f.gguf", "../../blobs/" HUB_DIGEST("a"));
    assert_link(SNAPSHOT "/a/b/f.gguf", "../../../../blobs/" HUB_DIGEST("a"));
    assert_bytes(SNAPSHOT "/a/b/f.gguf", "bytes", 5);
    hub_link(SNAPSHOT "/old", "/nowhere");
    assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "old", HUB_DIGEST("a"), false));
    assert_link(SNAPSHOT "/old", "../../blobs/" HUB_DIGEST("a"));
    assert_int_equal(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "f", HUB_DIGEST("b"), false), CLINFER_IO);
    assert_int_equal(hub_count(REPO), 4); /* the blob and three links: nothing temporary */
}

/* The blob moves, unless a snapshot has it already by a link: then it is a copy. */
static void test_without_links_the_bytes_are_there(void **state) {
    (void)state;
    hub_put(REPO "/blobs/" HUB_DIGEST("a"), "bytes");
    assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "sub/f.gguf", HUB_DIGEST("a"), true));
    assert_false(hub_is(REPO "/blobs/" HUB_DIGEST("a")));
    assert_bytes(SNAPSHOT "/sub/f.gguf", "bytes", 5);
    hub_put(REPO "/blobs/" HUB_DIGEST("b"), "other");
    assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_OLDER, "g.gguf", HUB_DIGEST("b"), false));
    assert_ok(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "g.gguf", HUB_DIGEST("b"), true));
    assert_bytes(SNAPSHOT "/g.gguf", "other", 5);
    assert_bytes(REPO "/snapshots/" HUB_OLDER "/g.gguf", "other", 5);
    struct stat info;
    assert_int_equal(lstat(hub_path(SNAPSHOT "/g.gguf"), &info), 0);
    assert_true(S_ISREG(info.st_mode));
}

/* A line break, or a temporary file beside it, and the Python reader gives up. */
static void test_refs_are_forty_bytes(void **state) {
    (void)state;
    hub_folder(SNAPSHOT);
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "main", HUB_OLDER));
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "main", HUB_COMMIT));
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "refs/pr/7", HUB_COMMIT));
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", HUB_COMMIT, HUB_COMMIT)); /* says itself */
    struct stat before, after;
    assert_int_equal(stat(hub_path(REPO "/refs/main"), &before), 0);
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "main", HUB_COMMIT)); /* a cache may be read-only */
    assert_int_equal(stat(hub_path(REPO "/refs/main"), &after), 0);
    assert_int_equal(before.st_ctim.tv_nsec, after.st_ctim.tv_nsec);
    assert_bytes(REPO "/refs/main", HUB_COMMIT, 40);
    assert_bytes(REPO "/refs/refs/pr/7", HUB_COMMIT, 40);
    hub_ref("u--r", "main", HUB_COMMIT "\n");
    assert_ok(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "main", HUB_COMMIT));
    assert_bytes(REPO "/refs/main", HUB_COMMIT, 40);
    assert_int_equal(hub_count(REPO), 2);
}

static void test_a_cache_that_cannot_be_written(void **state) {
    (void)state;
    hub_put(REPO "/blobs/" HUB_DIGEST("a"), "bytes");
    hub_put(REPO "/snapshots", "in the way");
    hub_put(REPO "/refs", "in the way");
    assert_int_equal(ci_hub_cache_link(hub_settings.cache, "u/r", HUB_COMMIT, "f", HUB_DIGEST("a"), false), CLINFER_IO);
    assert_message("cannot be written");
    assert_message("HF_HUB_CACHE");
    assert_int_equal(ci_hub_cache_set_ref(hub_settings.cache, "u/r", "main", HUB_COMMIT), CLINFER_IO);
    assert_int_equal(hub_count(REPO), 3);
}

static void test_a_digest_is_found_wherever_it_is(void **state) {
    (void)state;
    assert_null(ci_hub_find_digest(&hub_settings, HUB_DIGEST("a"), 5));
    hub_put(REPO "/blobs/" HUB_DIGEST("a"), "bytes");
    hub_put(".ollama/models/blobs/sha256-" HUB_DIGEST("b"), "bytes");
    hub_put(".ollama/models/blobs/sha256-" HUB_DIGEST("c") "-partial", "bytes");
    hub_put_bytes(REPO "/blobs/" HUB_DIGEST("d") ".clinfer.incomplete", 5);
    assert_text(ci_hub_find_digest(&hub_settings, HUB_DIGEST("a"), 5), hub_path(REPO "/blobs/" HUB_DIGEST("a")));
    assert_text(ci_hub_find_digest(&hub_settings, HUB_DIGEST("b"), 5),
                hub_path(".ollama/models/blobs/sha256-" HUB_DIGEST("b")));
    assert_null(ci_hub_find_digest(&hub_settings, HUB_DIGEST("a"), 6)); /* cut off */
    assert_null(ci_hub_find_digest(&hub_settings, HUB_DIGEST("c"), 5));
    assert_null(ci_hub_find_digest(&hub_settings, HUB_DIGEST("d"), 5));
    assert_null(ci_hub_find_digest(&hub_settings, "../x", 5));
    assert_null(ci_hub_find_digest(&hub_settings, "", 5));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_folder_set, hub_folder_unset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_paths),
        TEST(test_names_cannot_leave_the_folder),
        TEST(test_folders_are_repos_at_the_first_mark),
        TEST(test_revisions),
        TEST(test_files_of_a_snapshot),
        TEST(test_links_are_relative),
        TEST(test_without_links_the_bytes_are_there),
        TEST(test_refs_are_forty_bytes),
        TEST(test_a_cache_that_cannot_be_written),
        TEST(test_a_digest_is_found_wherever_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
