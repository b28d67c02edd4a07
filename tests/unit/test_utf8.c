/* UTF-8: what is well formed, against a table written from the standard's definition rather than from its table of
 * bytes; and the stream, whose output for every cutting of every input must be the input, whole characters at a time.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/utf8.h"

/* By decoding and encoding again: a sequence is good when it is the shortest form of a scalar value. */
static size_t slow_character(const uint8_t *bytes, size_t length) {
    size_t need = bytes[0] < 0x80 ? 1 : bytes[0] < 0xc0 ? 0 : bytes[0] < 0xe0 ? 2 : bytes[0] < 0xf0 ? 3 : 4;
    if (need == 0 || need > length || bytes[0] >= 0xf8) return 0;
    uint32_t value = need == 1 ? bytes[0] : bytes[0] & (0xffu >> (need + 1));
    for (size_t i = 1; i < need; i++) {
        if (bytes[i] >> 6 != 2) return 0;
        value = value << 6 | (bytes[i] & 0x3f);
    }
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    bool surrogate = value >= 0xd800 && value < 0xe000;
    return value < smallest[need] || value > 0x10ffff || surrogate ? 0 : need;
}

/* All sequences of up to three bytes, and those of four with the interesting values at the end. */
static void test_characters_are_those_of_the_standard(void **state) {
    (void)state;
    static const uint8_t last[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    for (uint32_t code = 0; code < 1 << 24; code++) {
        uint8_t bytes[4] = {(uint8_t)(code >> 16), (uint8_t)(code >> 8), (uint8_t)code, 0};
        bool four = bytes[0] >= 0xf0;
        for (size_t i = 0; i < (four ? sizeof last : 1); i++) {
            bytes[3] = last[i];
            size_t length = four ? 4 : 3;
            size_t is = ci_utf8_character((const char *)bytes, length), should = slow_character(bytes, length);
            if (is != should)
                fail_msg("%02x %02x %02x %02x: %zu bytes, not %zu", bytes[0], bytes[1], bytes[2], bytes[3], is, should);
        }
    }
}

static void test_code_points_come_back(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char bytes[4];
        size_t length = ci_utf8_encode(c, bytes);
        bool surrogate = c >= 0xd800 && c < 0xe000;
        if (ci_utf8_character(bytes, length) != length) fail_msg("U+%04X is encoded badly", c);
        if (ci_utf8_decode(bytes, length) != (surrogate ? 0xfffd : c)) fail_msg("U+%04X does not come back", c);
        for (size_t cut = 1; cut < length; cut++)
            if (ci_utf8_character(bytes, cut)) fail_msg("U+%04X is whole after %zu bytes", c, cut);
    }
    char bytes[4];
    assert_int_equal(ci_utf8_encode(0x110000, bytes), 3);
    assert_memory_equal(bytes, "\xef\xbf\xbd", 3);
}

static void test_runs_are_measured(void **state) {
    (void)state;
    static const char text[] = "a\xc3\xa9\xff\xe2\x82z\xe2\x82\xac";
    assert_int_equal(ci_utf8_valid(text, 10), 3);
    assert_int_equal(ci_utf8_invalid(text + 3, 7), 3);
    assert_int_equal(ci_utf8_valid(text + 6, 4), 4);
    assert_int_equal(ci_utf8_invalid(text, 10), 0);
    assert_int_equal(ci_utf8_valid(text, 0), 0);
    assert_int_equal(ci_utf8_invalid(text, 0), 0);
    assert_int_equal(ci_utf8_valid(text + 6, 3), 1); /* a character cut short is not valid */
}

static size_t push(struct ci_utf8_stream *stream, const char *bytes, char *out) {
    return ci_utf8_stream_push(stream, bytes, strlen(bytes), out);
}

static void test_stream_holds_what_is_incomplete(void **state) {
    (void)state;
    struct ci_utf8_stream stream = {0};
    char out[64];
    assert_int_equal(push(&stream, "a\xf0\x9f", out), 1);
    assert_int_equal(push(&stream, "\x98", out), 0);
    assert_int_equal(push(&stream, "", out), 0);
    assert_int_equal(push(&stream, "\x80", out), 4);
    assert_memory_equal(out, "\xf0\x9f\x98\x80", 4);
    assert_int_equal(ci_utf8_stream_flush(&stream, out), 0);
    /* What turns out to be no character goes out as it is. */
    assert_int_equal(push(&stream, "\xe2\x82", out), 0);
    assert_int_equal(push(&stream, "x", out), 3);
    assert_memory_equal(out, "\xe2\x82x", 3);
    /* What cannot become one is not held: overlong, surrogate, too large, a stray byte. */
    assert_int_equal(push(&stream, "\xe0\x80", out), 2);
    assert_int_equal(push(&stream, "\xed\xa0", out), 2);
    assert_int_equal(push(&stream, "\xf4\x90", out), 2);
    assert_int_equal(push(&stream, "\xff", out), 1);
    assert_int_equal(push(&stream, "\x80", out), 1);
    /* The end of the text gives up on it. */
    assert_int_equal(push(&stream, "\xf0\x9f\x98", out), 0);
    assert_int_equal(ci_utf8_stream_flush(&stream, out), 3);
    assert_memory_equal(out, "\xf0\x9f\x98", 3);
    assert_int_equal(ci_utf8_stream_flush(&stream, out), 0);
}

/* Random bytes that are often nearly characters, cut at random: everything comes out in order, never more than three
 * bytes are held, and no output ends inside a character that the input completes. */
static void test_stream_never_cuts_a_character(void **state) {
    (void)state;
    static const char kinds[] = "ab\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xed\xff\xc0";
    uint64_t random = 7;
    for (int round = 0; round < 20000; round++) {
        char text[48], out[48 + 2 * CI_UTF8_HELD];
        size_t length = (size_t)round % sizeof text, in = 0, at = 0;
        for (size_t i = 0; i < length; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            text[i] = kinds[(random >> 33) % (sizeof kinds - 1)];
            /* Mostly let a character go on. */
            if (i && (random >> 60) > 3) text[i] = kinds[(size_t)((strchr(kinds, text[i - 1]) - kinds) + 1) % 14];
        }
        struct ci_utf8_stream stream = {0};
        while (in < length) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t step = 1 + (random >> 40) % 5;
            if (step > length - in) step = length - in;
            at += ci_utf8_stream_push(&stream, text + in, step, out + at);
            in += step;
            if (in - at > CI_UTF8_HELD) fail_msg("round %d: %zu bytes held", round, in - at);
            /* Is `at` inside a character of the text? */
            for (size_t begin = 0; begin < at;) {
                size_t bytes = ci_utf8_character(text + begin, length - begin);
                begin += bytes ? bytes : 1;
                if (begin > at) fail_msg("round %d: the output stops inside a character", round);
            }
        }
        at += ci_utf8_stream_flush(&stream, out + at);
        assert_int_equal(at, length);
        assert_memory_equal(out, text, length);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_characters_are_those_of_the_standard),
        cmocka_unit_test(test_code_points_come_back),
        cmocka_unit_test(test_runs_are_measured),
        cmocka_unit_test(test_stream_holds_what_is_incomplete),
        cmocka_unit_test(test_stream_never_cuts_a_character),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
