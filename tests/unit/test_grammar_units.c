/* Masks over a vocabulary large enough that they are made from what its tokens have in common (grammar/units.c): each
 * is compared with what every token does by itself, along texts at random. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "grammar/gbnf.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"
#include "support/asserts.h"
#include "support/words.h"

enum { TOKENS = 6000, MOST_BYTES = 200, PLACES = 25 };

static struct ci_tokenizer *tokenizer;
static struct ci_grammar_vocabulary *vocabulary;
static uint64_t seed = 1;

static size_t random_below(size_t count) {
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return (size_t)(seed >> 33) % count;
}

/* Mostly words; some with other characters, of up to four bytes, a few cut within one or with bytes that are no UTF-8.
 */
static size_t make_token(char *bytes) {
    static const char *const units[] = {"a",
                                        "b",
                                        "c",
                                        "e",
                                        "q",
                                        "x",
                                        "A",
                                        "Z",
                                        "0",
                                        "7",
                                        " ",
                                        "d",
                                        "f",
                                        "g",
                                        "h",
                                        "i",
                                        "\xd0\xb6",
                                        "\xe4\xb8\xad",
                                        "\xc3\xa9",
                                        "\xe4\xba\xba",
                                        ",",
                                        "\"",
                                        "\\",
                                        "\n",
                                        "\x7f",
                                        "<",
                                        "/",
                                        "\xe2\x80\x9c",
                                        "\xf0\x9f\x98\x80",
                                        "\xed\x9f\xbf",
                                        "\x80",
                                        "\xff",
                                        "\xe4"};
    const size_t kinds = sizeof units / sizeof *units, plain = 20;
    const bool rare = random_below(12) == 0;
    size_t left = random_below(40) ? 2 + random_below(7) : 28 + random_below(12), length = 0;
    for (; left > 0; left--) {
        const char *unit = units[random_below(rare && random_below(2) ? kinds : plain)];
        memcpy(bytes + length, unit, strlen(unit));
        length += strlen(unit);
    }
    if (random_below(200) == 0) length--;
    return length;
}

/* Whether a spelling is new; it is kept. */
static bool is_new(const char *spelled) {
    enum { CAPACITY = 4 * TOKENS };
    static const char *known[CAPACITY];
    size_t at = (size_t)ci_hash(CI_HASH_START, spelled, strlen(spelled)) % CAPACITY;
    for (; known[at]; at = (at + 1) % CAPACITY)
        if (strcmp(known[at], spelled) == 0) return false;
    known[at] = spelled;
    return true;
}

static int make_vocabulary(void **state) {
    static struct words words;
    static struct ci_text_span tokens[TOKENS];
    static char spellings[TOKENS][MOST_BYTES * 2];
    static int32_t types[TOKENS];
    (void)state;
    make_words(&words);
    for (size_t i = 0; i < TOKENS; i++) {
        char bytes[MOST_BYTES] = {(char)i};
        do {
            size_t length = i < 256 ? 1 : make_token(bytes);
            spellings[i][0] = 0;
            for (size_t k = 0; k < length; k++) strcat(spellings[i], words.spelled[(unsigned char)bytes[k]]);
            if (i == TOKENS - 1) strcpy(spellings[i], "<|end|>");
        } while (!is_new(spellings[i]));
        tokens[i] = span(spellings[i]);
        types[i] = i == TOKENS - 1 ? CI_TOKEN_CONTROL : CI_TOKEN_NORMAL;
    }
    words.source.tokens = tokens;
    words.source.types = types;
    words.source.token_count = TOKENS;
    words.source.eos_id = TOKENS - 1;
    tokenizer = create_tokenizer(&words);
    return ci_grammar_vocabulary_create(tokenizer, &vocabulary) != CLINFER_OK;
}

static int free_vocabulary(void **state) {
    (void)state;
    ci_grammar_vocabulary_destroy(vocabulary);
    ci_tokenizer_destroy(tokenizer);
    return 0;
}

static bool is_set(const uint32_t *bits, int32_t token) { return bits[token / 32] >> token % 32 & 1; }

/* Compares the mask of a place with what tokens do there, and goes on with one of those that may come. */
static bool check_place(struct ci_matcher *matcher, const char *name, ci_place *place) {
    const uint32_t *bits;
    size_t count, found = 0;
    ci_place next = CI_PLACE_DEAD;
    assert_ok(ci_matcher_mask(matcher, *place, &bits, &count));
    size_t chosen = count ? random_below(count) : 0;
    for (int32_t token = 0; token < TOKENS; token++) {
        ci_place to;
        assert_ok(ci_matcher_take(matcher, *place, token, &to));
        if (is_set(bits, token) != (to != CI_PLACE_DEAD))
            fail_msg("%s: token %d: mask %d", name, token, is_set(bits, token));
        if (to == CI_PLACE_DEAD) continue;
        if (found++ == chosen && token < TOKENS - 1) next = to;
    }
    assert_int_equal(found, count);
    *place = next;
    return next != CI_PLACE_DEAD;
}

static void check_grammar(const char *name, struct ci_grammar *grammar) {
    struct ci_matcher *matcher;
    assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
    ci_place place = ci_matcher_start(matcher);
    for (int i = 0; i < PLACES; i++)
        if (!check_place(matcher, name, &place)) place = ci_matcher_start(matcher);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

static void test_masks_of_grammars(void **state) {
    static const char *const grammars[] = {
        "root ::= .*",
        "root ::= .+ \"q\"",
        "root ::= . \"x\" .",
        "root ::= [^q]*",
        "root ::= [^e]* \"e\" [a-c]+",
        "root ::= \"\\\"\" [^\"\xe2\x80\x9c]* \"\\\"\" [0-9]",
        "root ::= [^\xe4\xb8\x80-\xe9\xbe\xa5]+",
        "root ::= ([\xd0\xb0-\xd1\x8f]+ \" \")+",
        "root ::= [A-Z] [a-z]* (\" \" [A-Za-z]+)* [.,]",
        "root ::= [a-e]{3} [0-9]{2} .{4} [^x]{7}",
        "root ::= ([^\\n]{1,9} \"\\n\")+",
        "root ::= ([^<] | \"<\" [^/] | \"</\" [^a])* \"</a\"",
        "root ::= [^a]{0,40} .",
        "root ::= ([a-c]? [0-9]?){40}",
        "root ::= \"\\\"\" ([^\"\\\\\\x00-\\x1f\\x7f] | \"\\\\\" [n\"\\\\]){0,35} \"\\\"\"",
        "root ::= ([a-c] | \"\\xe4\" | \"\\xff\" \"a\")*", /* bytes that are no UTF-8 */
        "root ::= ([\xc2\x80-\xf4\x8f\xbf\xbf] | \"a\"){1,6}",
        "root ::= (!<[300]> | .)*",
    };
    (void)state;
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        struct ci_grammar *grammar;
        assert_ok(ci_gbnf_parse("test", grammars[i], strlen(grammars[i]), tokenizer, &grammar));
        check_grammar(grammars[i], grammar);
    }
}

static void test_masks_of_schemas(void **state) {
    static const char *const schemas[] = {
        "{}",
        "{\"type\":\"string\"}",
        "{\"type\":\"string\",\"minLength\":2,\"maxLength\":12}",
        "{\"type\":\"string\",\"pattern\":\"^[^aeiou]{2,9}x.*$\"}",
        "{\"type\":\"string\",\"pattern\":\"ab|\xd0\xb6$\"}",
        "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"string\",\"maxLength\":3}}",
        "{\"enum\":[\"abc\",\"ab\",\"a\",\"\",\"abd\",\"b a\",\"b b\",\"bb\",\"bbc\",\"abc\",\"\\u00e9\"]}",
        "{\"enum\":[\"abc\",\"abe\",\"a c\",\"\xe4\xb8\xad\",\"q\",7,null,[\"x\"]]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
        struct ci_grammar *grammar;
        assert_ok(ci_schema_compile("test", schemas[i], strlen(schemas[i]), &grammar));
        check_grammar(schemas[i], grammar);
    }
}

/* Each text begins with the one before it: more of them than are made to share their beginnings. */
static void test_masks_of_many_texts(void **state) {
    enum { TEXTS = 400 };
    static char text[TEXTS * TEXTS], letters[TEXTS + 1];
    struct ci_grammar *grammar;
    struct ci_matcher *matcher;
    (void)state;
    memset(letters, 'a', TEXTS);
    size_t length = (size_t)sprintf(text, "root ::= ");
    for (int i = TEXTS; i > 0; i--)
        length += (size_t)sprintf(text + length, "\"%.*s\"%s", i, letters, i > 1 ? " | " : "");
    assert_ok(ci_gbnf_parse("test", text, length, tokenizer, &grammar));
    assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
    ci_place place = ci_matcher_start(matcher);
    for (int i = 0; i < TEXTS; i++) {
        assert_ok(ci_matcher_take_bytes(matcher, place, "a", 1, &place));
        assert_true(ci_matcher_may_end(matcher, place));
    }
    assert_true(ci_matcher_is_over(matcher, place));
    ci_matcher_destroy(matcher);
    check_grammar("many texts", grammar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_masks_of_grammars),
        cmocka_unit_test(test_masks_of_schemas),
        cmocka_unit_test(test_masks_of_many_texts),
    };
    return cmocka_run_group_tests(tests, make_vocabulary, free_vocabulary);
}
