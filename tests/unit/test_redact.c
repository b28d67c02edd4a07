/* The key of a remote in what a server says: as it is, cut, and in the ways in which servers write what they were sent.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "remote/redact.h"

static const char key[] = "sk-Lan_7hX2/qP9+vB~4mZ";

static const char *redacted(const char *text) {
    static char out[2048];
    ci_redact(key, text, strlen(text), out, sizeof out);
    return out;
}

static void expect(const char *text, const char *wanted) {
    if (strcmp(redacted(text), wanted) != 0) fail_msg("%s -> %s, not %s", text, redacted(text), wanted);
}

/* No 12 characters in a row of what stands there are left. */
static void expect_gone(const char *text, const char *secret) {
    const char *out = redacted(text);
    size_t length = strlen(secret), part = length < 12 ? length : 12;
    if (!strstr(out, "[key]")) fail_msg("nothing is redacted in: %s", out);
    for (size_t at = 0; at + part <= length; at++) {
        char piece[16] = "";
        memcpy(piece, secret + at, part);
        if (strstr(out, piece)) fail_msg("%s is left in: %s", piece, out);
    }
}

static void base64(const char *bytes, size_t count, const char *digits, char *out) {
    for (size_t i = 0; i < count; i += 3) {
        unsigned bits = 0;
        for (size_t k = 0; k < 3; k++) bits = bits << 8 | (i + k < count ? (unsigned char)bytes[i + k] : 0u);
        for (size_t k = 0; k < 4; k++) *out++ = i + k <= count ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    *out = 0;
}

static void test_key_and_its_parts_are_hidden(void **state) {
    (void)state;
    expect("no key: sk-Lan_7hX2/qP9+vB~4mZ, sorry", "no key: [key], sorry");
    expect("SK-LAN_7HX2/QP9+VB~4MZ", "[key]");
    expect("cut: sk-Lan_7hX2/", "cut: [key]");
    expect("the middle: 7hX2/qP9+vB~ is", "the middle: [key] is");
    expect("sk-Lan is how keys begin", "sk-Lan is how keys begin");
    expect("nothing of it here", "nothing of it here");
    char out[32];
    ci_redact(NULL, "no key is known", 15, out, sizeof out);
    assert_string_equal(out, "no key is known");
}

static void test_percent_encoding_is_hidden(void **state) {
    (void)state;
    expect("/v1?key=sk-Lan_7hX2%2FqP9%2BvB%7E4mZ&x=1", "/v1?key=[key]&x=1");
    expect("/v1?key=sk-Lan_7hX2%2fqP9%2bvB~4mZ", "/v1?key=[key]");
    char all[256], *at = all;
    for (const char *c = key; *c; c++) at += sprintf(at, "%%%02x", (unsigned char)*c);
    expect(all, "[key]");
    expect("100%25 of %zz and %4", "100%25 of %zz and %4");
}

static void test_base64_is_hidden_wherever_the_key_begins(void **state) {
    static const char *const alphabets[] = {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
                                            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"};
    static const char *const before[] = {"", "u", "me", "all", "user:", "Bearer ", "Authorization: Bearer "};
    static const char *const behind[] = {"", "\n", ":x", " and more"};
    (void)state;
    for (size_t a = 0; a < 2; a++)
        for (size_t b = 0; b < sizeof before / sizeof *before; b++)
            for (size_t e = 0; e < sizeof behind / sizeof *behind; e++) {
                char plain[128], encoded[256], of_key[64], text[512];
                int length = snprintf(plain, sizeof plain, "%s%s%s", before[b], key, behind[e]);
                base64(plain, (size_t)length, alphabets[a], encoded);
                /* The digits that are the key's alone. */
                size_t first = (8 * strlen(before[b]) + 5) / 6, last = 8 * (strlen(before[b]) + strlen(key)) / 6;
                snprintf(of_key, sizeof of_key, "%.*s", (int)(last - first), encoded + first);
                snprintf(text, sizeof text, "Basic %s is not known", encoded);
                expect_gone(text, of_key);
            }
    expect("aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91", "aGVsbG8gd29ybGQsIGhvdyBhcmUgeW91");
}

static void test_hexadecimal_is_hidden(void **state) {
    char text[256], *at = text;
    (void)state;
    for (const char *c = key; *c; c++) at += sprintf(at, c - key > 4 ? "%02X" : "%02x", (unsigned char)*c);
    expect(text, "[key]");
}

/* One line, printable, bounded. */
static void test_what_is_no_text_becomes_spaces(void **state) {
    char out[16];
    (void)state;
    expect("a\n\x1b[31m  b\xc2\x9b\xff c", "a [31m b c");
    ci_redact(key, "0123456789abcdefghij", 20, out, sizeof out);
    assert_string_equal(out, "0123456789ab...");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_and_its_parts_are_hidden),
        cmocka_unit_test(test_percent_encoding_is_hidden),
        cmocka_unit_test(test_base64_is_hidden_wherever_the_key_begins),
        cmocka_unit_test(test_hexadecimal_is_hidden),
        cmocka_unit_test(test_what_is_no_text_becomes_spaces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
