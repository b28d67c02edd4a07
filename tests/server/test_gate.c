/* What may come in, without a network: names, origins, keys, percent signs, routes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/dialect.h"
#include "server/gate.h"

static void test_a_host_is_this_machine_or_refused(void **state) {
    (void)state;
    static const char *const names[] = {"my.name"};
    static const char *const mine[] = {"localhost", "LOCALHOST:80", "localhost.", "a.localhost:1",
                                       "127.0.0.1", "127.1.2.3:9",  "[::1]",      "[::1]:8080",
                                       "my.name",   "MY.name:7",    "10.0.0.7:80"};
    static const char *const foreign[] = {"evil.com",
                                          "localhost.evil.com",
                                          "127.0.0.1.evil.com",
                                          "notlocalhost",
                                          "::1",
                                          "[::1",
                                          "[::1]x",
                                          "localhost:80x",
                                          "",
                                          ":80",
                                          "10.0.0.8",
                                          "my.name.evil",
                                          "localhost@evil",
                                          "1.127.0.0"};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        if (!ci_gate_host_allowed(mine[i], "10.0.0.7", names, 1)) fail_msg("%s is refused", mine[i]);
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (ci_gate_host_allowed(foreign[i], "10.0.0.7", names, 1)) fail_msg("%s is let in", foreign[i]);
}

static void test_an_origin_is_of_the_list_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *origin, *allowed;
        bool expected;
    } cases[] = {{"http://localhost", NULL, true},
                 {"http://localhost:3000", NULL, true},
                 {"https://[::1]:3000", NULL, true},
                 {"http://127.0.0.1:1", "localhost", true},
                 {"http://own.name:8080", NULL, true}, /* the server's own page */
                 {"http://own.name:8081", NULL, false},
                 {"ftp://localhost", NULL, false},
                 {"localhost", NULL, false},
                 {"null", NULL, false},
                 {"", NULL, false},
                 {"http://notlocalhost", NULL, false},
                 {"http://localhost.evil.com", NULL, false},
                 {"http://localhost:80@evil.com", NULL, false},
                 {"http://localhost/evil", NULL, false},
                 {"http://evil.com", "*", true},
                 {"null", "*", true},
                 {"https://a.b", " localhost , https://a.b ", true},
                 {"HTTPS://A.B", "https://a.b", true},
                 {"https://a.b.c", "https://a.b", false},
                 {"http://a.b", "https://a.b", false},
                 {"http://localhost", "https://a.b", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (ci_gate_origin_allowed(cases[i].origin, cases[i].allowed, "own.name:8080") != cases[i].expected)
            fail_msg("%s by %s", cases[i].origin, cases[i].allowed ? cases[i].allowed : "the default");
}

static void test_keys_are_the_same_or_not(void **state) {
    (void)state;
    assert_true(ci_gate_same_key("sk-one", "sk-one"));
    static const char *const others[] = {"", "s", "sk-on", "sk-ones", "sk-onesk-one", "SK-ONE", "sk-onf"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (ci_gate_same_key(others[i], "sk-one")) fail_msg("'%s' is taken for the key", others[i]);
    assert_false(ci_gate_same_key("", ""));
    assert_false(ci_gate_same_key("a", ""));
}

static void test_percent_signs_are_decoded(void **state) {
    (void)state;
    char text[] = "/a%2Fb%3aQ4%20c%c3%A9+", bad[][8] = {"%", "%1", "%g0", "%0g", "a%00b", "%%31"};
    assert_true(ci_gate_unescape(text));
    assert_string_equal(text, "/a/b:Q4 c\xc3\xa9+");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (ci_gate_unescape(bad[i])) fail_msg("number %zu is taken", i);
}

static void test_routes_are_found(void **state) {
    (void)state;
    struct ci_route_match match;
    ci_route_find("GET", "/health", &match);
    assert_non_null(match.route);
    assert_true(match.route->flags & CI_ROUTE_OPEN);
    ci_route_find("POST", "/health", &match);
    assert_null(match.route);
    assert_string_equal(match.allow, "GET");
    ci_route_find("GET", "/v1/models/a/b:Q4_K_M", &match);
    assert_non_null(match.route);
    assert_string_equal(match.parameter, "a/b:Q4_K_M");
    ci_route_find("POST", "/chat/completions", &match);
    assert_non_null(match.route);
    static const char *const none[] = {"/", "/healthx", "/health/", "/v1", "/v1/models/", "//health", "/v1/v1/models"};
    for (size_t i = 1; i < sizeof none / sizeof *none; i++) {
        ci_route_find("GET", none[i], &match);
        if (match.route) fail_msg("%s leads to %s", none[i], match.route->path);
        assert_non_null(match.dialect);
    }
    /* What does not exist fails as what lies beside it. */
    ci_route_find("POST", "/v1/messages/nothing", &match);
    assert_string_equal(match.dialect->name, "anthropic");
    ci_route_find("POST", "/api/nothing", &match);
    assert_string_equal(match.dialect->name, "ollama");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_host_is_this_machine_or_refused),
        cmocka_unit_test(test_an_origin_is_of_the_list_or_refused),
        cmocka_unit_test(test_keys_are_the_same_or_not),
        cmocka_unit_test(test_percent_signs_are_decoded),
        cmocka_unit_test(test_routes_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
