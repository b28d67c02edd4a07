/* JSON schemas as grammars: what llama.cpp's own tests say that they accept and refuse (tests/data/grammars.json),
 * cases for each keyword (tests/data/schemas.json), what cannot be held and hostile schemas.
 *
 *   test_schema --walk COUNT SEED SCHEMAS.json    that many random answers for each schema of an array, one array of
 *                                                 texts a line, or a message where the schema is refused
 *   test_schema --time SCHEMA.json                what it takes to make the grammar */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"
#include "grammar/matcher.h"
#include "grammar/schema.h"
#include "grammar/validate.h"
#include "support/asserts.h"
#include "support/words.h"

static struct ci_tokenizer *tokenizer; /* all bytes */
static struct ci_grammar_vocabulary *vocabulary;

/* NULL: refused. */
static struct ci_grammar *compile(const char *text) {
    struct ci_grammar *grammar;
    ci_schema_compile("test", text, strlen(text), &grammar);
    return grammar;
}

static bool accepts(struct ci_matcher *matcher, const char *answer, size_t length) {
    ci_place place;
    assert_ok(ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), answer, length, &place));
    return ci_matcher_may_end(matcher, place);
}

/* ---- answers ---- */

static void check_answers(struct ci_matcher *matcher, const json_t *fact, const char *key, bool wanted) {
    const json_t *answer;
    size_t i;
    json_array_foreach(json_object_get(fact, key), i, answer) {
        if (accepts(matcher, json_string_value(answer), json_string_length(answer)) == wanted) continue;
        char *text = json_dumps(json_object_get(fact, "schema") ? json_object_get(fact, "schema") : fact,
                                JSON_ENCODE_ANY | JSON_COMPACT);
        fail_msg("%s: %s: %s should be %sed", json_string_value(json_object_get(fact, "name")), text,
                 json_string_value(answer), wanted ? "accept" : "refus");
    }
}

static void check_fact(const json_t *fact, const char *text) {
    struct ci_grammar *grammar = compile(text);
    struct ci_matcher *matcher;
    if (!grammar) fail_msg("%s: %s", text, clinfer_error());
    assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
    check_answers(matcher, fact, "accepts", true);
    check_answers(matcher, fact, "refuses", false);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

static json_t *load(const char *path) {
    json_error_t error;
    json_t *facts = json_load_file(path, 0, &error);
    if (!facts) fail_msg("%s: line %d: %s", path, error.line, error.text);
    return facts;
}

/* But for one of them: its uniqueItems is refused here, and left out there. */
static void test_answers_are_accepted_and_refused_as_in_llama_cpp(void **state) {
    (void)state;
    json_t *facts = load("tests/data/grammars.json"), *list = json_object_get(facts, "schemas");
    const json_t *fact;
    size_t i;
    assert_true(json_array_size(list) >= 33);
    json_array_foreach(list, i, fact) {
        json_error_t error;
        json_t *schema = json_loads(json_string_value(json_object_get(fact, "text")), 0, &error);
        if (strcmp(json_string_value(json_object_get(fact, "name")), "required props") == 0) {
            assert_null(compile(json_string_value(json_object_get(fact, "text"))));
            assert_string_equal(clinfer_error(), "test: properties.tags: uniqueItems: a grammar cannot hold elements "
                                                 "apart; leave it out, and check the answer yourself");
            json_object_del(json_object_get(json_object_get(schema, "properties"), "tags"), "uniqueItems");
        }
        char *text = json_dumps(schema, 0);
        check_fact(fact, text);
        free(text);
        json_decref(schema);
    }
    json_decref(facts);
}

/* A string: its text, where jansson could not write it. */
static char *schema_text(const json_t *fact) {
    const json_t *schema = json_object_get(fact, "schema");
    return json_is_string(schema) ? strdup(json_string_value(schema)) : json_dumps(schema, JSON_ENCODE_ANY);
}

static void test_each_keyword_allows_what_it_should(void **state) {
    (void)state;
    json_t *facts = load("tests/data/schemas.json");
    const json_t *fact;
    size_t i;
    json_array_foreach(json_object_get(facts, "held"), i, fact) {
        char *text = schema_text(fact);
        check_fact(fact, text);
        free(text);
    }
    json_decref(facts);
}

/* ---- the test suite of JSON schema ---- */

struct suite {
    size_t groups, held, judged, valid, accepted;
};

static void check_valid(const char *name, const char *schema, const char *answer, bool valid, struct suite *suite) {
    enum clinfer_status status = ci_schema_validate(name, schema, strlen(schema), answer, strlen(answer));
    if (status == CLINFER_UNSUPPORTED || status == CLINFER_INVALID_ARGUMENT) return;
    suite->judged++;
    if ((status == CLINFER_OK) != valid)
        fail_msg("%s: %s: %s should be %s: %s", name, schema, answer, valid ? "valid" : "refused",
                 status == CLINFER_OK ? "" : clinfer_error());
}

static void check_suite(const json_t *group, const char *key, bool valid, struct suite *suite) {
    const char *name = json_string_value(json_object_get(group, "name"));
    char *schema = json_dumps(json_object_get(group, "schema"), JSON_ENCODE_ANY);
    struct ci_grammar *grammar = compile(schema);
    struct ci_matcher *matcher = NULL;
    const json_t *data;
    size_t i;
    if (grammar) assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
    json_array_foreach(json_object_get(group, key), i, data) {
        char *answer = json_dumps(data, JSON_ENCODE_ANY);
        bool accepted = matcher && accepts(matcher, answer, strlen(answer));
        if (accepted && !valid) fail_msg("%s: %s: %s should be refused", name, schema, answer);
        check_valid(name, schema, answer, valid, suite);
        suite->valid += valid && grammar;
        suite->accepted += accepted;
        free(answer);
    }
    suite->held += grammar && valid;
    free(schema);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

/* A grammar may accept less than is valid, never more; the validator judges both. */
static void test_grammars_and_validator_agree_with_the_test_suite(void **state) {
    (void)state;
    json_t *facts = load("tests/data/json_schema_suite.json");
    const json_t *group;
    struct suite suite = {0};
    size_t i;
    json_array_foreach(json_object_get(facts, "groups"), i, group) {
        suite.groups++;
        check_suite(group, "valid", true, &suite);
        check_suite(group, "invalid", false, &suite);
    }
    print_message("%zu groups, %zu held; %zu of their valid values, %zu accepted; %zu judged\n", suite.groups,
                  suite.held, suite.valid, suite.accepted, suite.judged);
    assert_true(suite.held >= 142 && suite.accepted >= 209 && suite.judged >= 800);
    json_decref(facts);
}

static void test_what_cannot_be_held_is_refused_with_its_path(void **state) {
    (void)state;
    json_t *facts = load("tests/data/schemas.json");
    const json_t *fact;
    size_t i;
    json_array_foreach(json_object_get(facts, "refused"), i, fact) {
        const char *wanted = json_string_value(json_object_get(fact, "message"));
        char *text = schema_text(fact);
        struct ci_grammar *grammar;
        enum clinfer_status status = ci_schema_compile("test", text, strlen(text), &grammar);
        if (status == CLINFER_OK) fail_msg("%s: not refused", text);
        if (strncmp(clinfer_error(), wanted, strlen(wanted)) != 0)
            fail_msg("%s:\n%s\nshould be\n%s", text, clinfer_error(), wanted);
        assert_null(grammar);
        assert_int_equal(status, json_is_true(json_object_get(fact, "invalid")) ? CLINFER_INVALID_ARGUMENT
                                                                                : CLINFER_UNSUPPORTED);
        free(text);
    }
    json_decref(facts);
}

/* ---- hostile schemas ---- */

/* `count` times the text, in which %d is the number and %e the number before. */
static char *repeat_text(const char *begin, const char *text, int count, const char *end) {
    char *all = NULL, number[16];
    size_t length = 0;
    FILE *stream = open_memstream(&all, &length);
    assert_non_null(stream);
    fputs(begin, stream);
    for (int i = 0; i < count; i++)
        for (const char *c = text; *c; c++) {
            bool is_number = c[0] == '%' && (c[1] == 'd' || c[1] == 'e');
            if (is_number) snprintf(number, sizeof number, "%d", c[1] == 'd' ? i + 1 : i);
            fputs(is_number ? number : (const char[]){*c, 0}, stream);
            c += is_number;
        }
    fputs(end, stream);
    fclose(stream);
    return all;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const double most_seconds = 10;
#else
static const double most_seconds = 1;
#endif

/* Of the processor's time; how it ends is the caller's to know. */
static void check_time(char *text, bool held) {
    clock_t begin = clock();
    struct ci_grammar *grammar = compile(text);
    double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
    if (seconds > most_seconds) fail_msg("%.100s...: %.2f s", text, seconds);
    if ((grammar != NULL) != held) fail_msg("%.100s...: %s", text, grammar ? "held" : clinfer_error());
    ci_grammar_destroy(grammar);
    free(text);
}

static void test_hostile_schemas_end_within_a_second(void **state) {
    (void)state;
    static const char *const patterns[] = {
        "((a{1000}){1000}){1000}", "(((){1000}){1000}){1000}", "^(.*a.{20})$", "((a|b)*c|d){500}",
        "[^a]{0,30000}",           "(a{0,1000}){0,1000}"};
    check_time(repeat_text("{\"$ref\":\"#/$defs/a50\",\"$defs\":{\"a0\":{\"type\":\"string\"}",
                           ",\"a%d\":{\"allOf\":[{\"$ref\":\"#/$defs/a%e\"},{\"$ref\":\"#/$defs/a%e\"}]}", 50, "}}"),
               true);
    check_time(
        repeat_text("{\"$ref\":\"#/$defs/a40\",\"$defs\":{\"a0\":{\"type\":\"string\"}",
                    ",\"a%d\":{\"anyOf\":[{\"$ref\":\"#/$defs/a%e\"},{\"$ref\":\"#/$defs/a%e\",\"minLength\":%d}]}", 40,
                    "}}"),
        false);
    check_time(
        repeat_text("{\"allOf\":[{}", ",{\"anyOf\":[{\"required\":[\"a%d\"]},{\"required\":[\"b%d\"]}]}", 30, "]}"),
        false);
    check_time(repeat_text("{\"$ref\":\"#/$defs/a0\",\"$defs\":{\"a50000\":{}", ",\"a%e\":{\"$ref\":\"#/$defs/a%d\"}",
                           50000, "}}"),
               false);
    check_time(repeat_text("{\"title\":\"", "0123456789", 1000000, "\"}"), false);
    check_time(repeat_text("{\"enum\":[0", ",\"v%d\"", 350000, "]}"), false);
    check_time(repeat_text("{\"properties\":{\"p\":true", ",\"p%d\":{\"type\":\"integer\"}", 100000, "}}"), false);
    check_time(repeat_text("{\"minProperties\":1500,\"maxProperties\":1600,\"properties\":{\"p\":true", ",\"p%d\":{}",
                           3000, "}}"),
               false);
    check_time(repeat_text("", "{\"items\":", 3000, ""), false);
    check_time(strdup("{\"type\":\"string\",\"maxLength\":1000000000}"), false);
    check_time(strdup("{\"type\":\"number\",\"multipleOf\":0.999}"), true);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        char *text = NULL;
        assert_true(asprintf(&text, "{\"pattern\":\"%s\"}", patterns[i]) > 0);
        check_time(text, false);
    }
}

/* ---- random answers ---- */

static uint64_t random_state;

static uint32_t random_below(uint32_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % bound;
}

/* Any byte that may come, or the more bytes there are the more often one that leads to an end. */
static json_t *walk(struct ci_matcher *matcher) {
    char text[100000];
    size_t length = 0;
    ci_place place = ci_matcher_start(matcher);
    while (length < sizeof text) {
        ci_place places[256], cheap = CI_PLACE_DEAD;
        uint8_t bytes[256], cheap_byte = 0;
        uint32_t count = 0;
        if (ci_matcher_may_end(matcher, place) && (ci_matcher_cost(matcher, place) == 0 && random_below(3) == 0)) break;
        for (int byte = 0; byte < 256; byte++) {
            char c = (char)byte;
            assert_ok(ci_matcher_take_bytes(matcher, place, &c, 1, &places[count]));
            if (places[count] == CI_PLACE_DEAD) continue;
            if (cheap == CI_PLACE_DEAD || ci_matcher_cost(matcher, places[count]) < ci_matcher_cost(matcher, cheap)) {
                cheap = places[count];
                cheap_byte = (uint8_t)byte;
            }
            bytes[count++] = (uint8_t)byte;
        }
        if (count == 0) break;
        if (ci_matcher_may_end(matcher, place) && length > 200) break;
        uint32_t chosen = random_below(count);
        bool end = random_below(300) < length;
        place = end ? cheap : places[chosen];
        text[length++] = (char)(end ? cheap_byte : bytes[chosen]);
    }
    assert_true(ci_matcher_may_end(matcher, place));
    return json_stringn_nocheck(text, length);
}

static int print_walks(size_t count, uint64_t seed, const char *path) {
    json_error_t error;
    json_t *schemas = json_load_file(path, JSON_DECODE_ANY, &error);
    const json_t *schema;
    size_t i;
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    json_array_foreach(schemas, i, schema) {
        char *text = json_dumps(schema, JSON_ENCODE_ANY);
        struct ci_grammar *grammar = compile(text);
        json_t *answers = grammar ? json_array() : json_string(clinfer_error());
        struct ci_matcher *matcher = NULL;
        if (grammar && ci_matcher_create(grammar, vocabulary, &matcher) != CLINFER_OK) return 1;
        for (size_t k = 0; k < count && grammar; k++) json_array_append_new(answers, walk(matcher));
        char *line = json_dumps(answers, JSON_ENCODE_ANY);
        puts(line);
        free(line);
        free(text);
        json_decref(answers);
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
    json_decref(schemas);
    return 0;
}

static int print_time(const char *path) {
    char *text;
    size_t length;
    struct ci_grammar *grammar;
    struct ci_matcher *matcher = NULL;
    if (ci_file_read(path, 64 << 20, &text, &length) != CLINFER_OK) return 1;
    double begin = ci_now();
    enum clinfer_status status = ci_schema_compile("schema", text, length, &grammar);
    double compiled = ci_now() - begin;
    if (status == CLINFER_OK) status = ci_matcher_create(grammar, vocabulary, &matcher);
    printf("%.3f s, %.3f s to begin: %s\n", compiled, ci_now() - begin - compiled,
           status == CLINFER_OK ? "held" : clinfer_error());
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
    free(text);
    return 0;
}

static void make_vocabulary(void) {
    static struct words words;
    make_words(&words);
    while (words.source.token_count < 305) {
        char name[16];
        snprintf(name, sizeof name, "<|%zu|>", words.source.token_count);
        add_token(&words, strdup(name), CI_TOKEN_CONTROL);
    }
    words.source.eos_id = 304;
    tokenizer = create_tokenizer(&words);
    if (ci_grammar_vocabulary_create(tokenizer, &vocabulary) != CLINFER_OK) abort();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_accepted_and_refused_as_in_llama_cpp),
        cmocka_unit_test(test_each_keyword_allows_what_it_should),
        cmocka_unit_test(test_grammars_and_validator_agree_with_the_test_suite),
        cmocka_unit_test(test_what_cannot_be_held_is_refused_with_its_path),
        cmocka_unit_test(test_hostile_schemas_end_within_a_second),
    };
    make_vocabulary();
    if (argc == 5 && strcmp(argv[1], "--walk") == 0)
        return print_walks(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), argv[4]);
    if (argc == 3 && strcmp(argv[1], "--time") == 0) return print_time(argv[2]);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    ci_grammar_vocabulary_destroy(vocabulary);
    ci_tokenizer_destroy(tokenizer);
    return failed;
}
