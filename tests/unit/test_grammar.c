/* Grammars: what llama.cpp's own tests say that they accept and refuse (tests/data/grammars.json), masks beside what
 * each token does by itself, and what is wrong in a grammar's text.
 *
 *   test_grammar --time MODEL.gguf GRAMMAR.gbnf|SCHEMA.json [TEXT]    what masks cost with that model's tokens along a
 *                                                                     text, or along some at random */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/file.h"
#include "format/gguf.h"
#include "grammar/gbnf.h"
#include "grammar/schema.h"
#include "grammar/vocabulary.h"
#include "support/asserts.h"
#include "support/words.h"

static struct ci_tokenizer *tokenizer; /* all bytes, and some words */
static struct ci_grammar_vocabulary *vocabulary;

static struct ci_grammar *parse(const char *text) {
    struct ci_grammar *grammar;
    if (ci_gbnf_parse("test", text, strlen(text), tokenizer, &grammar) != CLINFER_OK)
        fail_msg("%s: %s", text, clinfer_error());
    return grammar;
}

static struct ci_matcher *match(const struct ci_grammar *grammar) {
    struct ci_matcher *matcher;
    assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
    return matcher;
}

/* Token by token, of which each is a byte. */
static void take_text(struct ci_matcher *matcher, const char *text, size_t length, ci_place *place) {
    int32_t *ids;
    size_t count;
    assert_ok(ci_tokenizer_encode(tokenizer, text, length, 0, &ids, &count));
    for (size_t i = 0; i < count; i++) assert_ok(ci_matcher_take(matcher, *place, ids[i], place));
    free(ids);
}

/* A text, or a list of texts and token ids. */
static bool accepts(struct ci_matcher *matcher, const json_t *answer) {
    ci_place place = ci_matcher_start(matcher);
    size_t count = json_is_array(answer) ? json_array_size(answer) : 1;
    for (size_t i = 0; i < count && place != CI_PLACE_DEAD; i++) {
        const json_t *part = json_is_array(answer) ? json_array_get(answer, i) : answer;
        if (json_is_integer(part))
            assert_ok(ci_matcher_take(matcher, place, (int32_t)json_integer_value(part), &place));
        else if (json_is_array(answer))
            take_text(matcher, json_string_value(part), json_string_length(part), &place);
        else
            assert_ok(ci_matcher_take_bytes(matcher, place, json_string_value(part), json_string_length(part), &place));
    }
    return ci_matcher_may_end(matcher, place);
}

static void check_answers(struct ci_matcher *matcher, const json_t *fact, const char *key, bool wanted) {
    const json_t *answer;
    size_t i;
    json_array_foreach(json_object_get(fact, key), i, answer) {
        if (accepts(matcher, answer) == wanted) continue;
        char *text = json_dumps(answer, JSON_ENCODE_ANY);
        fail_msg("%s: %s should be %sed", json_string_value(json_object_get(fact, "name")), text,
                 wanted ? "accept" : "refus");
    }
}

static void test_answers_are_accepted_and_refused_as_in_llama_cpp(void **state) {
    (void)state;
    json_error_t error;
    json_t *facts = json_load_file("tests/data/grammars.json", 0, &error);
    const json_t *fact;
    size_t i;
    assert_non_null(facts);
    assert_true(json_array_size(json_object_get(facts, "grammars")) >= 14);
    json_array_foreach(json_object_get(facts, "grammars"), i, fact) {
        struct ci_grammar *grammar = parse(json_string_value(json_object_get(fact, "text")));
        struct ci_matcher *matcher = match(grammar);
        check_answers(matcher, fact, "accepts", true);
        check_answers(matcher, fact, "refuses", false);
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
    json_decref(facts);
}

/* ---- masks ---- */

static bool is_set(const uint32_t *bits, int32_t token) { return bits[token / 32] >> token % 32 & 1; }

/* At a place and some behind it: a token is in the mask exactly if taking it leads somewhere. */
static void check_masks(struct ci_matcher *matcher, ci_place place, int depth) {
    const uint32_t *bits;
    size_t count, found = 0;
    int32_t only, tokens = (int32_t)ci_tokenizer_size(tokenizer), last = -1;
    assert_ok(ci_matcher_mask(matcher, place, &bits, &count));
    uint32_t *kept = malloc((size_t)(tokens + 31) / 32 * sizeof *kept); /* the next mask may take its place */
    assert_non_null(kept);
    memcpy(kept, bits, (size_t)(tokens + 31) / 32 * sizeof *kept);
    for (int32_t token = 0; token < tokens; token++) {
        ci_place to;
        assert_ok(ci_matcher_take(matcher, place, token, &to));
        if (is_set(kept, token) != (to != CI_PLACE_DEAD)) fail_msg("token %d: mask %d", token, is_set(kept, token));
        if (to == CI_PLACE_DEAD) continue;
        found++;
        last = token;
        if (depth > 0 && to != place && found % 7 == 1) check_masks(matcher, to, depth - 1);
    }
    assert_int_equal(found, count);
    assert_ok(ci_matcher_only(matcher, place, &only));
    assert_int_equal(only, count == 1 ? last : -1);
    free(kept);
}

/* Copies of a repetition share masks where as many are behind them as a token can read, and only there. */
static void test_masks_along_repetitions(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *begin, *step;
        size_t steps, most_masks;
    } cases[] = {
        {"root ::= \"'\" ([^'x] | \"x\" [a-d]){30,150} \"'\"", "'", "e", 150, 40},
        {"root ::= \"'\" ([^'x] | \"x\" [a-d]){150} \"'\"", "'", "xa", 150, 10},
        {"root ::= \"[\" item{0,120} \"]\"\nitem ::= \"(\" [a-z]{0,60} \")\"", "[", "(the)", 119, 10},
        {"root ::= (\"(\" [a-z]{40,60} \")\")* \"end\"", "(", "t", 59, 30},
        {"root ::= ([a-z]? [0-9]?){40}", "", "t", 40, 41}, /* copies may be nothing */
        {"root ::= (a \"-\"){0,100} \"end\"\na ::= \"the\" | \"t\" a", "t", "the-", 99, 10},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_grammar *grammar = parse(cases[i].grammar);
        struct ci_matcher *matcher = match(grammar);
        struct ci_matcher_counts counts;
        ci_place place = ci_matcher_start(matcher);
        assert_ok(ci_matcher_take_bytes(matcher, place, cases[i].begin, strlen(cases[i].begin), &place));
        for (size_t k = 0; k < cases[i].steps; k++) {
            check_masks(matcher, place, 0);
            assert_ok(ci_matcher_take_bytes(matcher, place, cases[i].step, strlen(cases[i].step), &place));
            if (place == CI_PLACE_DEAD) fail_msg("case %zu: step %zu", i, k);
        }
        ci_matcher_counts(matcher, &counts);
        if (counts.masks > cases[i].most_masks) fail_msg("case %zu: %zu masks", i, counts.masks);
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
}

static void test_masks_are_what_tokens_do(void **state) {
    (void)state;
    static const char *const grammars[] = {
        "root ::= \"ab\" [a-c]* | \"the \" (\"cat\" | \"car\")",
        "root ::= item+\nitem ::= \"{\" item* \"}\" | [^{}]",
        "root ::= [\xc3\xa0-\xe4\xb8\xad]{2} \"!\"",
        "root ::= \"the\" <[300]> | !<[300]> \"the\"",
        "root ::= . [^a]",
        "root ::= \"'\" ([^'x] | \"x\" [a-d]{40}){0,200} \"'\"",
        "root ::= \"\\\"\" ([^\"\\\\] | \"\\\\\" [nt]){33,200} \"\\\"\"",
    };
    for (size_t i = 0; i < sizeof grammars / sizeof *grammars; i++) {
        struct ci_grammar *grammar = parse(grammars[i]);
        struct ci_matcher *matcher = match(grammar);
        check_masks(matcher, ci_matcher_start(matcher), 3);
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
}

static void check_completion(const char *text, const char *begun, const char *wanted) {
    struct ci_grammar *grammar = parse(text);
    struct ci_matcher *matcher = match(grammar);
    ci_place place;
    char *rest;
    size_t length;
    assert_ok(ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), begun, strlen(begun), &place));
    assert_int_not_equal(place, CI_PLACE_DEAD);
    assert_ok(ci_matcher_completion(matcher, place, &rest, &length));
    assert_int_equal(length, strlen(rest));
    assert_string_equal(rest, wanted);
    free(rest);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

static void test_the_shortest_end_is_found(void **state) {
    (void)state;
    check_completion("root ::= \"a\"+", "aa", "");
    check_completion("root ::= \"a\"+", "", "a");
    check_completion("root ::= value\nvalue ::= \"[\" value (\",\" value)* \"]\" | [0-9]+ | \"\\\"\" [^\"]* \"\\\"\"",
                     "[[1,\"x", "\"]]");
    check_completion("root ::= [a-z]{3,5}", "q", "aa");
    check_completion("root ::= \"x\" (\"long\" | \"b\" | \"a\")", "x", "a");
}

static void check_forced(const char *text, const char *begun, const char *wanted) {
    struct ci_grammar *grammar = parse(text);
    struct ci_matcher *matcher = match(grammar);
    ci_place place;
    char *forced;
    size_t length;
    assert_ok(ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), begun, strlen(begun), &place));
    assert_ok(ci_matcher_forced(matcher, place, &forced, &length));
    if (length != strlen(wanted) || (length && memcmp(forced, wanted, length)))
        fail_msg("%s: %.*s is forced, not %s", text, (int)length, forced, wanted);
    free(forced);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

static void test_bytes_that_have_to_come_are_found(void **state) {
    (void)state;
    check_forced("root ::= \"the cat\" [a-z]", "", "the cat");
    check_forced("root ::= \"the cat\"", "the", " cat");
    check_forced("root ::= \"the cat\"", "the cat", "");
    check_forced("root ::= \"the \" (\"cat\" | \"car\" | \"cable\")", "", "the ca");
    check_forced("root ::= \"ab\"? \"cd\"", "", "");
    check_forced("root ::= \"ab\" \"cd\"?", "", "ab"); /* it may end there */
    check_forced("root ::= [a] [b-c] \"d\"", "", "a");
    check_forced("root ::= \"the\" <[300]>", "", "the");
    check_forced("root ::= \"a\" root | \"b\" dead\ndead ::= \"x\" dead | \"end\"", "b", "");
    check_forced("root ::= [\xc3\xa0\xc3\xa1]", "", "\xc3");
}

static void check_extends(const char *text, const char *begun, const char *bytes, bool wanted) {
    struct ci_grammar *grammar = parse(text);
    struct ci_matcher *matcher = match(grammar);
    ci_place place;
    bool extends;
    assert_ok(ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), begun, strlen(begun), &place));
    assert_ok(ci_matcher_extends(matcher, place, bytes, strlen(bytes), &extends));
    if (extends != wanted) fail_msg("%s behind %s: a token goes on behind %s: %d", text, begun, bytes, extends);
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

/* Tokens: "the", "the ", "cat", "car", "ab", "aba", "abc" ... */
static void test_tokens_that_go_on_behind_others_are_found(void **state) {
    (void)state;
    check_extends("root ::= \"the\" [ x]", "the", "the", true);
    check_extends("root ::= \"the\" [x]", "the", "the", false);
    check_extends("root ::= \"the\" [ x]", "the", "e", false);
    check_extends("root ::= \"ca\" [t]", "ca", "ca", true);
    check_extends("root ::= \"a\" \"bc\"", "a", "a", true);
    check_extends("root ::= \"a\" \"bx\"", "a", "a", true); /* "ab" */
    check_extends("root ::= \"a\" \"cx\"", "a", "a", false);
    check_extends("root ::= \"ab\"", "ab", "ab", false);
    check_extends("root ::= \"lo\" \"ng\"", "lo", "lo", true);
    check_extends("root ::= \"zz\" .", "zz", "zz", false);
}

/* ---- what is wrong ---- */

static void expect_wrong(const char *text, const char *message) {
    struct ci_grammar *grammar;
    enum clinfer_status status = ci_gbnf_parse("file.gbnf", text, strlen(text), tokenizer, &grammar);
    if (status != CLINFER_INVALID_ARGUMENT || !strstr(clinfer_error(), message) ||
        strncmp(clinfer_error(), "file.gbnf: ", 11) != 0)
        fail_msg("%s: status %d, %s; expected: %s", text, (int)status, clinfer_error(), message);
    assert_null(grammar);
}

static void test_what_is_wrong_is_told_with_its_place(void **state) {
    (void)state;
    expect_wrong("", "no rule 'root'");
    expect_wrong("rot ::= \"a\"", "no rule 'root'");
    expect_wrong("root ::= numero\n", "file.gbnf: rule 'numero' is called, but nowhere defined");
    expect_wrong("root ::= \"a\" | root \"a\"", "left recursion");
    expect_wrong(
        "root ::= asdf\nasdf ::= \"a\" | foo \"b\"\nfoo ::= \"c\" | empty asdf \"d\" | \"e\"\nempty ::= \"blah\" |",
        "left recursion");
    expect_wrong("root ::= \"a\" root", "file.gbnf: nothing that it allows ever comes to an end");
    expect_wrong("root ::= \"a", "line 1, column 12: the text ends before its closing sign");
    expect_wrong("root ::= \"a\"\nb := \"c\"", "line 2, column 3: '::=' is needed here; here stands ':= \"c\"'");
    expect_wrong("root ::= [z-a]", "ends before it begins");
    expect_wrong("root ::= []", "no characters");
    expect_wrong("root ::= (\"a\"", "')' is needed here; here stands the end");
    expect_wrong("root ::= * \"a\"", "nothing before this");
    expect_wrong("root ::= \"a\"{2,1}", "at most 1, but at least 2");
    expect_wrong("root ::= \"a\"{x}", "a number is needed");
    expect_wrong("root ::= \"\\q\"", "this escape is not known");
    expect_wrong("root ::= \"\\ud800\"", "is no character");
    expect_wrong("root ::= \"\xff\"", "no UTF-8");
    expect_wrong("root ::= <nothing>", "no token of the model");
    expect_wrong("root ::= <[99999]>", "the model has");
    expect_wrong("root ::= ((([a-z]{1000}){1000}){1000})", "file.gbnf: it is too large");
    expect_wrong("root ::= \"a\" %", "the end of the line is needed");
}

/* Nested deeper than anybody writes: an answer in time, whatever it is. */
static void test_hostile_grammars_end(void **state) {
    (void)state;
    enum { DEEP = 100000 };
    static char text[DEEP * 2 + 100];
    double start = ci_now();
    strcpy(text, "root ::= ");
    memset(text + 9, '(', DEEP);
    expect_wrong(text, "groups in more than");
    strcpy(text, "root ::= \"a\"");
    for (size_t i = 0; i < 400; i++) strcat(text, "*");
    struct ci_grammar *grammar = parse(text);
    struct ci_matcher *matcher = match(grammar);
    ci_place place;
    assert_ok(ci_matcher_take_bytes(matcher, ci_matcher_start(matcher), "aaaaaaaa", 8, &place));
    assert_true(ci_matcher_may_end(matcher, place));
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
    assert_true(ci_now() - start < 5);
}

/* ---- what it costs ---- */

/* What masks have cost along texts. */
struct costs {
    size_t masks;
    double all, worst; /* s */
    char at[96];       /* behind which text the dearest was made */
};

/* The mask before a token, and the step behind it; `text`: what has come. */
static bool time_token(struct ci_matcher *matcher, ci_place *place, int32_t token, const char *text,
                       struct costs *costs) {
    const uint32_t *bits;
    size_t count, length = strlen(text), most = sizeof costs->at - 1;
    double start = ci_now();
    if (ci_matcher_mask(matcher, *place, &bits, &count) != CLINFER_OK) return false;
    if (token >= 0 && ci_matcher_take(matcher, *place, token, place) != CLINFER_OK) return false;
    double seconds = ci_now() - start;
    costs->masks++;
    costs->all += seconds;
    if (seconds <= costs->worst) return true;
    costs->worst = seconds;
    snprintf(costs->at, sizeof costs->at, "%s", length > most ? text + length - most : text);
    return true;
}

static bool time_text(struct ci_matcher *matcher, const struct ci_tokenizer *own, const char *file,
                      struct costs *costs) {
    char *answer;
    int32_t *ids;
    size_t length, count;
    if (ci_file_read(file, 1 << 24, &answer, &length) != CLINFER_OK ||
        ci_tokenizer_encode(own, answer, length, 0, &ids, &count) != CLINFER_OK)
        return false;
    ci_place place = ci_matcher_start(matcher);
    size_t done = 0;
    for (size_t i = 0; i <= count; i++) {
        char saved = answer[done];
        answer[done] = 0;
        if (!time_token(matcher, &place, i < count ? ids[i] : -1, answer, costs)) return false;
        answer[done] = saved;
        if (place == CI_PLACE_DEAD) printf("token %zu is not allowed\n", i);
        if (place == CI_PLACE_DEAD) break;
        if (i < count) done += vocabulary->offsets[ids[i] + 1] - vocabulary->offsets[ids[i]];
    }
    free(ids);
    free(answer);
    return true;
}

/* One of the tokens that may come; -1: none. */
static int32_t pick(const uint32_t *bits, size_t count, uint64_t *random) {
    *random = *random * UINT64_C(6364136223846793005) + 1442695040888963407u;
    size_t left = count ? (size_t)(*random >> 33) % count : 0;
    for (int32_t token = 0; count && (size_t)token < vocabulary->token_count; token++)
        if (bits[token / 32] >> token % 32 & 1 && left-- == 0) return token;
    return -1;
}

/* Texts at random. */
static bool time_walks(struct ci_matcher *matcher, struct costs *costs) {
    enum { WALKS = 30, LONGEST = 100 };
    static char text[1 << 16];
    uint64_t random = 1;
    for (int walk = 0; walk < WALKS; walk++) {
        ci_place place = ci_matcher_start(matcher);
        size_t length = 0;
        text[0] = 0;
        for (int i = 0; i < LONGEST && place != CI_PLACE_DEAD; i++) {
            const uint32_t *bits;
            size_t count;
            if (!time_token(matcher, &place, -1, text, costs) ||
                ci_matcher_mask(matcher, place, &bits, &count) != CLINFER_OK)
                return false;
            int32_t token = pick(bits, count, &random);
            if (token < 0 || ci_grammar_vocabulary_is_end(vocabulary, token)) break;
            size_t bytes = vocabulary->offsets[token + 1] - vocabulary->offsets[token];
            if (length + bytes < sizeof text)
                memcpy(text + length, vocabulary->bytes + vocabulary->offsets[token], bytes);
            if (length + bytes < sizeof text) length += bytes;
            text[length] = 0;
            if (ci_matcher_take(matcher, place, token, &place) != CLINFER_OK) return false;
        }
    }
    return true;
}

static int time_masks(const char *model, const char *file, const char *text_file) {
    struct ci_gguf *gguf;
    struct ci_tokenizer *own;
    struct ci_grammar *grammar;
    struct ci_matcher *matcher;
    struct ci_matcher_counts counts;
    struct costs costs = {0};
    char *text;
    size_t length;
    if (ci_gguf_open(model, &gguf) != CLINFER_OK || ci_tokenizer_create_gguf(gguf, &own) != CLINFER_OK ||
        ci_file_read(file, 1 << 24, &text, &length) != CLINFER_OK)
        goto failed;
    double start = ci_now();
    if (ci_grammar_vocabulary_create(own, &vocabulary) != CLINFER_OK) goto failed;
    printf("vocabulary of %zu: %.2f ms\n", ci_tokenizer_size(own), (ci_now() - start) * 1e3);
    start = ci_now();
    bool is_schema = strcmp(strrchr(file, '.') ? strrchr(file, '.') : "", ".json") == 0;
    enum clinfer_status status =
        is_schema ? ci_schema_compile(file, text, length, &grammar) : ci_gbnf_parse(file, text, length, own, &grammar);
    if (status != CLINFER_OK || ci_matcher_create(grammar, vocabulary, &matcher) != CLINFER_OK) goto failed;
    printf("grammar: %.3f ms\n", (ci_now() - start) * 1e3);
    if (text_file ? !time_text(matcher, own, text_file, &costs) : !time_walks(matcher, &costs)) goto failed;
    ci_matcher_counts(matcher, &counts);
    printf("%zu tokens: %.4f ms each, at most %.3f ms; %zu places, %zu masks in %.2f ms, %zu bytes\n", costs.masks,
           costs.all * 1e3 / (double)costs.masks, costs.worst * 1e3, counts.places, counts.masks, counts.seconds * 1e3,
           counts.bytes);
    printf("the dearest behind: %s\n", costs.at);
    return 0;
failed:
    fprintf(stderr, "%s\n", clinfer_error());
    return 1;
}

static int make_vocabulary(void **state) {
    static struct words words;
    static const char *const texts[] = {"the", "the ", "cat",  "car",      "ab",    "aba", "{}", "}}",
                                        "[[1", "[1,",  "long", "\xe4\xb8", "\xad!", "a!",  "abc"};
    (void)state;
    make_words(&words);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char spelled[64] = "";
        for (const char *c = texts[i]; *c; c++) strcat(spelled, words.spelled[(unsigned char)*c]);
        add_token(&words, strdup(spelled), CI_TOKEN_NORMAL);
    }
    while (words.source.token_count < 305) {
        char name[32];
        snprintf(name, sizeof name, "<|%zu|>", words.source.token_count);
        add_token(&words, strdup(name), CI_TOKEN_CONTROL);
    }
    words.source.eos_id = 304;
    tokenizer = create_tokenizer(&words);
    return ci_grammar_vocabulary_create(tokenizer, &vocabulary) != CLINFER_OK;
}

static int free_vocabulary(void **state) {
    (void)state;
    ci_grammar_vocabulary_destroy(vocabulary);
    ci_tokenizer_destroy(tokenizer);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers_are_accepted_and_refused_as_in_llama_cpp),
        cmocka_unit_test(test_masks_along_repetitions),
        cmocka_unit_test(test_masks_are_what_tokens_do),
        cmocka_unit_test(test_the_shortest_end_is_found),
        cmocka_unit_test(test_bytes_that_have_to_come_are_found),
        cmocka_unit_test(test_tokens_that_go_on_behind_others_are_found),
        cmocka_unit_test(test_what_is_wrong_is_told_with_its_place),
        cmocka_unit_test(test_hostile_grammars_end),
    };
    if (argc > 3 && strcmp(argv[1], "--time") == 0) return time_masks(argv[2], argv[3], argc > 4 ? argv[4] : NULL);
    return cmocka_run_group_tests(tests, make_vocabulary, free_vocabulary);
}
