/* What the Hub answers, taken apart: refs, pages of a tree, links to the next page; and what goes into addresses and
 * messages. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include <cmocka.h>

#include "hub/hub.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define OTHER "ffffffffffffffffffffffffffffffffffffffff"
#define SHA256 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void says(const char *part) {
    if (!strstr(clinfer_error(), part)) fail_msg("\"%s\" is not in: %s", part, clinfer_error());
}

/* ---- refs ---- */

static const char refs[] =
    "{\"branches\":[{\"name\":\"main\",\"ref\":\"refs/heads/main\",\"targetCommit\":\"" COMMIT "\"}],"
    "\"converts\":[{\"name\":\"parquet\",\"ref\":\"refs/convert/parquet\",\"targetCommit\":\"" OTHER "\"}],"
    "\"tags\":[{\"name\":\"v1\",\"ref\":\"refs/tags/"
    "v1\",\"targetCommit\":\"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF\"}]}";

static void test_a_revision_is_found_in_refs(void **state) {
    (void)state;
    static const struct {
        const char *revision, *commit;
    } found[] = {{"main", COMMIT}, {"refs/heads/main", COMMIT}, {"v1", OTHER}, {"refs/convert/parquet", OTHER}};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        char commit[41];
        assert_int_equal(ci_hub_refs_parse(refs, strlen(refs), found[i].revision, commit), CLINFER_OK);
        assert_string_equal(commit, found[i].commit);
    }
}

static void test_a_revision_that_is_not_there_names_those_that_are(void **state) {
    (void)state;
    char commit[41];
    assert_int_equal(ci_hub_refs_parse(refs, strlen(refs), "v2", commit), CLINFER_NOT_FOUND);
    says("main, v1, parquet");
    assert_string_equal(commit, "");
}

static void test_refs_of_no_hub_are_told(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } others[] = {{"", "not the JSON"},
                  {"<!DOCTYPE html><html>", "web page"},
                  {"  \n<html>", "web page"},
                  {"[]", "branches"},
                  {"{\"branches\":7}", "branches"},
                  {"null", "not the JSON"},
                  {"{\"branches\":[", "not the JSON"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char commit[41];
        assert_int_equal(ci_hub_refs_parse(others[i].text, strlen(others[i].text), "main", commit),
                         CLINFER_REMOTE_FAILED);
        says(others[i].says);
        says("HF_ENDPOINT");
    }
}

static void test_a_commit_of_refs_is_one(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "\"\"", "\"../../../../../../../../../../../../etc/pass\"", "7", "null", "\"" COMMIT "0\"", "\"" SHA256 "\""};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[300], commit[41];
        snprintf(text, sizeof text, "{\"branches\":[{\"name\":\"main\",\"targetCommit\":%s}]}", wrong[i]);
        assert_int_not_equal(ci_hub_refs_parse(text, strlen(text), "main", commit), CLINFER_OK);
        assert_string_equal(commit, "");
    }
}

/* ---- trees ---- */

static void test_a_page_of_a_tree_is_read(void **state) {
    (void)state;
    static const char text[] =
        "[{\"type\":\"directory\",\"oid\":\"" COMMIT "\",\"size\":0,\"path\":\"sub\"},"
        "{\"type\":\"file\",\"oid\":\"" COMMIT "\",\"size\":12,\"path\":\"config.json\"},"
        "{\"type\":\"file\",\"oid\":\"" COMMIT "\",\"size\":134,\"lfs\":{\"oid\":\"" SHA256
        "\",\"size\":99999999999,\"pointerSize\":134},\"xetHash\":\"x\",\"path\":\"sub/a b.gguf\"},"
        "{\"type\":\"file\",\"oid\":\"" COMMIT "\",\"lfs\":{\"oid\":\"sha256:" SHA256 "\"},\"path\":\"old.gguf\"},"
        "{\"type\":\"file\",\"oid\":\"zz\",\"size\":-1,\"path\":\"odd\"}]";
    struct ci_hub_tree tree = {0};
    assert_int_equal(ci_hub_tree_parse(text, strlen(text), &tree), CLINFER_OK);
    assert_int_equal(tree.count, 4);
    assert_string_equal(tree.files[0].path, "config.json");
    assert_int_equal(tree.files[0].size, 12);
    assert_string_equal(tree.files[0].digest, COMMIT);
    assert_string_equal(tree.files[1].path, "sub/a b.gguf");
    assert_true(tree.files[1].size == 99999999999);
    assert_string_equal(tree.files[1].digest, SHA256);
    assert_string_equal(tree.files[2].digest, SHA256);
    assert_true(tree.files[2].size == UINT64_MAX);
    assert_string_equal(tree.files[3].digest, "");
    assert_true(tree.files[3].size == UINT64_MAX);
    ci_hub_tree_free(&tree);
}

static void test_a_second_page_is_added(void **state) {
    (void)state;
    struct ci_hub_tree tree = {0};
    for (int i = 0; i < 200; i++) {
        char text[100];
        snprintf(text, sizeof text, "[{\"type\":\"file\",\"size\":%d,\"path\":\"f%d\"}]", i, i);
        assert_int_equal(ci_hub_tree_parse(text, strlen(text), &tree), CLINFER_OK);
    }
    assert_int_equal(tree.count, 200);
    for (size_t i = 0; i < 200; i++) assert_int_equal(tree.files[i].size, i);
    ci_hub_tree_free(&tree);
}

static void test_paths_that_lead_out_are_left_out(void **state) {
    (void)state;
    static const char *const paths[] = {"../x",  "a/../x",  "/etc/passwd", "a//b",      "..", ".",
                                        "a/./b", "",        "a\\\\b",      "..\\\\x",   "a/", "a\\u0001b",
                                        "a\\nb", "\\u007f", "a/..",        "a\\u001b[m"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char text[200];
        struct ci_hub_tree tree = {0};
        snprintf(text, sizeof text, "[{\"type\":\"file\",\"path\":\"%s\"},{\"type\":\"file\",\"path\":\"good\"}]",
                 paths[i]);
        assert_int_equal(ci_hub_tree_parse(text, strlen(text), &tree), CLINFER_OK);
        if (tree.count != 1) fail_msg("\"%s\" was taken", paths[i]);
        assert_string_equal(tree.files[0].path, "good");
        assert_int_equal(tree.left_out, 1);
        for (const char *c = tree.first_left_out; *c; c++) assert_true(*c >= 0x20 && *c < 0x7f);
        ci_hub_tree_free(&tree);
    }
}

static void test_a_zero_byte_in_a_path_is_refused(void **state) {
    (void)state;
    static const char text[] = "[{\"type\":\"file\",\"path\":\"a\\u0000b\"}]";
    struct ci_hub_tree tree = {0};
    assert_int_equal(ci_hub_tree_parse(text, strlen(text), &tree), CLINFER_REMOTE_FAILED);
    ci_hub_tree_free(&tree);
}

static void test_trees_of_no_hub_are_told(void **state) {
    (void)state;
    static const char *const others[] = {"",       "{}",
                                         "7",      "[7]",
                                         "[{}]",   "[{\"path\":\"a\"}]",
                                         "[null]", "[{\"type\":\"file\",\"path\":7}]",
                                         "<html>", "[{\"type\":\"file\",\"path\":\"a\"}"};
    char *deep = malloc(100001);
    memset(deep, '[', 100000);
    deep[100000] = 0;
    struct ci_hub_tree tree = {0};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_int_equal(ci_hub_tree_parse(others[i], strlen(others[i]), &tree), CLINFER_REMOTE_FAILED);
        says("HF_ENDPOINT");
    }
    assert_int_equal(ci_hub_tree_parse(deep, strlen(deep), &tree), CLINFER_REMOTE_FAILED);
    assert_int_equal(tree.count, 0);
    ci_hub_tree_free(&tree);
    free(deep);
}

static void test_the_next_page_is_found_among_links(void **state) {
    (void)state;
    static const struct {
        const char *link, *next;
    } links[] = {{"<https://h/x?cursor=a>; rel=\"next\"", "https://h/x?cursor=a"},
                 {"<https://h/a>; rel=\"prev\", </x?cursor=b>; rel=\"next\"", "/x?cursor=b"},
                 {"</x>;rel=next", "/x"},
                 {"</x>; title=\"a\"; REL=\"Next\"", "/x"},
                 {"</token>; rel=\"xet-auth\"", NULL},
                 {"</x>; rel=\"nextest\"", NULL},
                 {"</x>", NULL},
                 {"</a>, </b>; rel=\"next\"", "/b"},
                 {"</x", NULL},
                 {"", NULL},
                 {"rel=\"next\"", NULL}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        char *next;
        assert_int_equal(ci_hub_next_link(links[i].link, &next), CLINFER_OK);
        if (!links[i].next != !next || (next && strcmp(next, links[i].next) != 0))
            fail_msg("%s gave %s", links[i].link, next ? next : "nothing");
        free(next);
    }
}

/* ---- addresses and messages ---- */

static void test_addresses_are_percent_encoded(void **state) {
    (void)state;
    char endpoint[] = "http://h:8080/mirror";
    const struct ci_hub_settings settings = {.endpoint = endpoint};
    char *url = ci_hub_resolve_url(&settings, "user/repo", "refs/pr/1", "sub/a b?#%\xc3\xa4.gguf");
    assert_string_equal(url, "http://h:8080/mirror/user/repo/resolve/refs%2Fpr%2F1/sub/a%20b%3F%23%25%C3%A4.gguf");
    free(url);
}

static void check_shown(const char *token, const char *text, const char *wanted) {
    char copy[100], shown[32];
    snprintf(copy, sizeof copy, "%s", token ? token : "");
    const struct ci_hub_settings settings = {.token = token ? copy : NULL};
    assert_string_equal(ci_hub_shown(&settings, text, shown, sizeof shown), wanted);
}

static void test_what_a_server_said_is_made_fit_to_be_shown(void **state) {
    (void)state;
    check_shown(NULL, " a\x1b[31m \n\tb\x7f ", "a [31m b");
    check_shown(NULL,
                "gr\xc3\xbc\xc3\x9f"
                "e \xe2\x82\xac \xf0\x9f\x98\x80",
                "gr\xc3\xbc\xc3\x9f"
                "e \xe2\x82\xac \xf0\x9f\x98\x80");
    check_shown(NULL, "bad \xff\xc3 end\xe2\x82", "bad end");
    check_shown(NULL,
                "c1 \xc2\x9b"
                "31m",
                "c1 31m");
    check_shown(NULL, "0123456789012345678901234567890123456789", "0123456789012345678901234567890");
    check_shown(NULL, "012345678901234567890123456789\xe2\x82\xac", "012345678901234567890123456789");
}

static void test_a_token_is_never_shown(void **state) {
    (void)state;
    check_shown("hf_abcdefghijkl", "your hf_abcdefghijkl is bad", "");
    check_shown("hf_abcdefghijkl", "a part, CDEFGHIJ, of it", "");
    check_shown("hf_abcdefghijkl", "seven, cdefghi, may", "seven, cdefghi, may");
    check_shown("short", "it is SHORT", "");
}

static void test_a_token_goes_into_authorization_alone(void **state) {
    (void)state;
    char token[] = "hf_x", text[CI_HUB_AUTHORIZATION_BYTES];
    struct ci_hub_settings settings = {.token = token};
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 1);
    assert_string_equal(ci_hub_authorization(&settings, text), "Bearer hf_x");
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0); /* no core from then on */
    settings.token = NULL;
    assert_null(ci_hub_authorization(&settings, text));
    assert_string_equal(text, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_revision_is_found_in_refs),
        cmocka_unit_test(test_a_revision_that_is_not_there_names_those_that_are),
        cmocka_unit_test(test_refs_of_no_hub_are_told),
        cmocka_unit_test(test_a_commit_of_refs_is_one),
        cmocka_unit_test(test_a_page_of_a_tree_is_read),
        cmocka_unit_test(test_a_second_page_is_added),
        cmocka_unit_test(test_paths_that_lead_out_are_left_out),
        cmocka_unit_test(test_a_zero_byte_in_a_path_is_refused),
        cmocka_unit_test(test_trees_of_no_hub_are_told),
        cmocka_unit_test(test_the_next_page_is_found_among_links),
        cmocka_unit_test(test_addresses_are_percent_encoded),
        cmocka_unit_test(test_what_a_server_said_is_made_fit_to_be_shown),
        cmocka_unit_test(test_a_token_is_never_shown),
        cmocka_unit_test(test_a_token_goes_into_authorization_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
