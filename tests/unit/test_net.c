/* Header lines, addresses and checksums, without a net. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/curl.h"
#include "net/digest.h"
#include "net/headers.h"
#include "net/policy.h"
#include "net/url.h"

/* ---- headers ---- */

static enum ci_headers_result add(struct ci_headers *headers, const char *line) {
    return ci_headers_add(headers, line, strlen(line));
}

static void test_headers_are_found_in_any_case_and_of_the_right_answer(void **state) {
    (void)state;
    struct ci_headers headers = {0};
    add(&headers, "HTTP/1.1 302 Found\r\n");
    add(&headers, "X-Repo-Commit:  abc \r\n");
    add(&headers, "ETag: \"one\"\r\n");
    add(&headers, "\r\n");
    ci_headers_next(&headers, false);
    add(&headers, "etag: \"two\"\r\n");
    add(&headers, "ETag: \"three\"\r\n");
    assert_string_equal(ci_headers_get(&headers, "ETAG"), "\"two\"");
    assert_string_equal(ci_headers_first(&headers, "ETAG"), "\"one\"");
    assert_null(ci_headers_get(&headers, "x-repo-commit"));
    assert_string_equal(ci_headers_first(&headers, "x-repo-commit"), "abc");
    assert_null(ci_headers_first(&headers, "X-Repo"));
    ci_headers_free(&headers);
}

static void test_headers_of_an_interim_answer_are_forgotten(void **state) {
    (void)state;
    struct ci_headers headers = {0};
    add(&headers, "ETag: early\r\n");
    ci_headers_next(&headers, true);
    assert_null(ci_headers_first(&headers, "ETag"));
    add(&headers, "ETag: late\r\n");
    assert_string_equal(ci_headers_get(&headers, "ETag"), "late");
    ci_headers_free(&headers);
}

static void test_headers_are_made_fit_to_be_shown(void **state) {
    (void)state;
    struct ci_headers headers = {0};
    add(&headers, "X-Error-Message: a\x1b[31m\tb\x7f"
                  "c\r\n");
    assert_string_equal(ci_headers_get(&headers, "X-Error-Message"), "a?[31m b?c");
    add(&headers, "Long: one\r\n");
    add(&headers, "   two\r\n");
    assert_string_equal(ci_headers_get(&headers, "Long"), "one two");
    add(&headers, "no colon here\r\n");
    add(&headers, "Empty:\r\n");
    assert_string_equal(ci_headers_get(&headers, "Empty"), "");
    ci_headers_free(&headers);
    assert_int_equal(add(&headers, "  goes on with nothing\r\n"), CI_HEADERS_GOOD);
    assert_int_equal(headers.count, 0);
    ci_headers_free(&headers);
}

static void test_headers_without_end_are_told(void **state) {
    (void)state;
    struct ci_headers headers = {0};
    char line[1024];
    memset(line, 'x', sizeof line);
    line[1] = ':';
    enum ci_headers_result result = CI_HEADERS_GOOD;
    int lines = 0;
    while (result == CI_HEADERS_GOOD && lines++ < 1000) result = ci_headers_add(&headers, line, sizeof line);
    assert_int_equal(result, CI_HEADERS_TOO_LONG);
    assert_int_equal(lines, CI_HEADERS_BYTES / (int)sizeof line + 1);
    ci_headers_free(&headers);
}

/* ---- addresses ---- */

static const char base[] = "http://a/b/c/d;p?q";

/* RFC 3986, section 5.4.1, and what servers of models answer; the fragment is left out. NULL: refused. */
static const struct {
    const char *reference, *whole;
} references[] = {{"g", "http://a/b/c/g"},
                  {"./g", "http://a/b/c/g"},
                  {"g/", "http://a/b/c/g/"},
                  {"/g", "http://a/g"},
                  {"//g/x", "http://g/x"},
                  {"?y", "http://a/b/c/d;p?y"},
                  {"g?y", "http://a/b/c/g?y"},
                  {"g#s", "http://a/b/c/g"},
                  {"../g", "http://a/b/g"},
                  {"../../g", "http://a/g"},
                  {"../../../g", "http://a/g"},
                  {"https://other:444/x?Signature=a%2Bb&Expires=1", "https://other:444/x?Signature=a%2Bb&Expires=1"},
                  {"/api/resolve-cache/models/u/r/c/tokenizer.json?%2Fu=&etag=%22ab%22",
                   "http://a/api/resolve-cache/models/u/r/c/tokenizer.json?%2Fu=&etag=%22ab%22"},
                  {"with space", "http://a/b/c/with%20space"},
                  {"", NULL},
                  {"file:///etc/passwd", NULL},
                  {"ftp://a/b", NULL},
                  {"javascript:alert(1)", NULL},
                  {"http://name:word@a/b", NULL},
                  {"http://", NULL},
                  {"http://a:99999/", NULL},
                  {"/a\r\nSet-Cookie: b", NULL},
                  {"/a\x01", NULL}};

static void test_references_are_resolved_as_rfc_3986_says(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof references / sizeof *references; i++) {
        const char *problem = NULL;
        char *whole = ci_url_resolve(base, references[i].reference, &problem);
        if (!references[i].whole) {
            if (whole) fail_msg("\"%s\" became %s", references[i].reference, whole);
            assert_non_null(problem);
        } else if (!whole || strcmp(whole, references[i].whole) != 0) {
            fail_msg("\"%s\" became %s, not %s", references[i].reference, whole ? whole : problem, references[i].whole);
        }
        free(whole);
    }
}

static void test_a_reference_without_end_is_refused(void **state) {
    (void)state;
    const char *problem = NULL;
    char *reference = malloc(1 << 20);
    memset(reference, 'a', 1 << 20);
    reference[(1 << 20) - 1] = 0;
    assert_null(ci_url_resolve(base, reference, &problem));
    assert_string_equal(problem, "is too long");
    free(reference);
}

static bool same(const char *one, const char *other) {
    struct ci_url_origin first, second;
    assert_true(ci_url_origin(one, &first));
    assert_true(ci_url_origin(other, &second));
    return ci_url_same_origin(&first, &second);
}

static void test_an_origin_is_scheme_host_and_port(void **state) {
    (void)state;
    struct ci_url_origin origin;
    assert_true(same("https://Example.org/a", "https://example.org:443/b?c"));
    assert_true(same("http://[::1]/", "http://[::1]:80/x"));
    assert_false(same("https://example.org/", "http://example.org/"));
    assert_false(same("https://example.org/", "https://example.org:444/"));
    assert_false(same("https://example.org/", "https://example.org.evil/"));
    assert_false(same("http://127.0.0.1:80/", "http://localhost/"));
    assert_false(ci_url_origin("ftp://a/", &origin));
    assert_false(ci_url_origin("/path", &origin));
    assert_false(ci_url_origin("https://", &origin));
}

static void test_an_address_is_shown_without_what_may_be_secret(void **state) {
    (void)state;
    char text[64], tiny[12];
    assert_string_equal(ci_url_shown("https://n:p@h/a?Signature=s#f", text, sizeof text), "https://h/a");
    assert_string_equal(ci_url_shown("https://h/@a", text, sizeof text), "https://h/@a");
    assert_string_equal(ci_url_shown("https://n:p@", text, sizeof text), "https://");
    assert_string_equal(ci_url_shown("https://user:secret", text, sizeof text), "https://user:secret");
    assert_string_equal(ci_url_shown("/a\x1b"
                                     "b",
                                     text, sizeof text),
                        "/a?b");
    assert_string_equal(ci_url_shown("https://h/abcdefgh", tiny, sizeof tiny), "https://h/a");
    assert_string_equal(ci_url_shown("?://", text, sizeof text), "");
}

static void test_this_host_is_known_by_its_names(void **state) {
    (void)state;
    static const char *const own[] = {"localhost", "LOCALHOST", "127.0.0.1", "127.8.9.10", "[::1]"};
    static const char *const others[] = {"localhost.evil", "128.0.0.1", "127.0.0.1.evil", "example.org", "[::2]", ""};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) assert_true(ci_net_is_loopback(own[i]));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) assert_false(ci_net_is_loopback(others[i]));
}

/* ---- checksums ---- */

static const char sha256_like[] = "0000000000000000000000000000000000000000000000000000000000000000";
static const char sha1_like[] = "ABCDEF0000000000000000000000000000000000";

static void check_digest(const char *like, const char *text, size_t step, const char *wanted) {
    struct ci_digest *digest;
    char found[CI_DIGEST_BYTES];
    size_t length = strlen(text);
    assert_int_equal(ci_digest_create(like, length, &digest), CLINFER_OK);
    for (size_t at = 0; at < length; at += step)
        ci_digest_add(digest, text + at, length - at < step ? length - at : step);
    ci_digest_end(digest, found);
    assert_string_equal(found, wanted);
}

/* FIPS 180-4's examples; `git hash-object` of the same. */
static void test_digests_are_the_known_ones(void **state) {
    (void)state;
    static const char long_one[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    for (size_t step = 1; step < 60; step += 7) {
        check_digest(sha256_like, "abc", step, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check_digest(sha256_like, long_one, step, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
        check_digest(sha1_like, "hello\n", step, "ce013625030ba8dba906f756967f9e9ca394464a");
    }
    check_digest(sha256_like, "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_digest(sha1_like, "", 1, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
}

static void test_what_is_no_digest_is_refused(void **state) {
    (void)state;
    static const char *const others[] = {"", "abc", "ABCDEF000000000000000000000000000000000g",
                                         "00000000000000000000000000000000000000000000000000000000000000000"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct ci_digest *digest = (struct ci_digest *)1;
        assert_int_equal(ci_digest_create(others[i], 0, &digest), CLINFER_INVALID_ARGUMENT);
        assert_null(digest);
    }
    ci_digest_destroy(NULL);
    struct ci_digest *digest;
    assert_int_equal(ci_digest_create(sha256_like, 0, &digest), CLINFER_OK);
    ci_digest_destroy(digest);
}

static int load(void **state) {
    (void)state;
    return ci_curl_load() == CLINFER_OK ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers_are_found_in_any_case_and_of_the_right_answer),
        cmocka_unit_test(test_headers_of_an_interim_answer_are_forgotten),
        cmocka_unit_test(test_headers_are_made_fit_to_be_shown),
        cmocka_unit_test(test_headers_without_end_are_told),
        cmocka_unit_test(test_references_are_resolved_as_rfc_3986_says),
        cmocka_unit_test(test_a_reference_without_end_is_refused),
        cmocka_unit_test(test_an_origin_is_scheme_host_and_port),
        cmocka_unit_test(test_an_address_is_shown_without_what_may_be_secret),
        cmocka_unit_test(test_this_host_is_known_by_its_names),
        cmocka_unit_test(test_digests_are_the_known_ones),
        cmocka_unit_test(test_what_is_no_digest_is_refused),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
