/* Grammars of calls in models' own forms: what the facts of tests/data/tool_calls.json say is accepted, and what a
 * grammar allows at random is read as calls whose arguments are valid under the tool's schema. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "grammar/matcher.h"
#include "grammar/pieces.h"
#include "grammar/validate.h"
#include "support/asserts.h"
#include "support/words.h"
#include "text/tool_grammar.h"
#include "text/tool_parser.h"

enum { ROOM = 1 << 14 };

static json_t *facts, *tools;
static struct ci_tokenizer *tokenizer; /* all bytes, and marks of some forms as control tokens */
static struct ci_grammar_vocabulary *vocabulary;

static const char tools_text[] =
    "[{'function': {'name': 'edit', 'parameters': {'type': 'object', 'properties': {'path': {'type': 'string'},"
    "'line': {'type': 'integer', 'minimum': 1, 'maximum': 99}, 'mode': {'enum': ['insert', 'replace']},"
    "'flags': {'$ref': '#/$defs/flags'}}, 'required': ['path', 'line'],"
    "'$defs': {'flags': {'type': 'object', 'properties': {'deep': {'type': 'boolean'}, 'note': {'type': "
    "'string'}}}}}}},"
    "{'function': {'name': 'wait', 'parameters': {'type': 'object', 'properties': {'seconds': {'type': 'number',"
    "'minimum': 0, 'maximum': 10}, 'why': {'type': ['string', 'null']}}}}},"
    "{'function': {'name': 'stop'}}]";

static json_t *tools_of(const char *text) {
    char *copy = strdup(text);
    for (char *at = copy; *at; at++)
        if (*at == '\'') *at = '"';
    json_t *read = json_loads(copy, 0, NULL);
    free(copy);
    assert_non_null(read);
    return read;
}

static struct ci_matcher *matcher_of(const struct ci_tool_format *format, const json_t *of, const char *choice,
                                     bool whole, struct ci_grammar **grammar) {
    struct ci_matcher *matcher;
    char *pieces;
    assert_ok(ci_tools_pieces(format, of, choice, whole, &pieces));
    if (ci_pieces_compile("tools", pieces, strlen(pieces), tokenizer, grammar) != CLINFER_OK)
        fail_msg("%s: %s: %s", format->name, clinfer_error(), pieces);
    assert_ok(ci_matcher_create(*grammar, vocabulary, &matcher));
    free(pieces);
    return matcher;
}

static const struct ci_tool_format *form_of(const char *name) {
    const char *sign = json_string_value(json_object_get(json_object_get(facts, "signs"), name));
    return ci_tool_format_find(sign, strlen(sign));
}

/* By the tokens that a tokenizer makes of it, marks as control tokens. */
static bool accepts(struct ci_matcher *matcher, const char *text) {
    int32_t *tokens;
    size_t count;
    ci_place place = ci_matcher_start(matcher);
    assert_ok(ci_tokenizer_encode(tokenizer, text, strlen(text), CI_TOKENIZER_PARSE_SPECIAL, &tokens, &count));
    for (size_t i = 0; i < count && place != CI_PLACE_DEAD; i++)
        assert_ok(ci_matcher_take(matcher, place, tokens[i], &place));
    clinfer_free(tokens);
    return place != CI_PLACE_DEAD && ci_matcher_may_end(matcher, place);
}

static bool is_plain(const json_t *fact, const struct ci_tool_format *format, const char *text) {
    const json_t *calls = json_object_get(fact, "calls");
    const char *open = format->marks[0].open, *name = json_string_value(json_array_get(json_array_get(calls, 0), 0));
    return format->holds && strncmp(text, open, strlen(open)) == 0 && json_array_size(calls) == 1 &&
           !json_object_get(fact, "content") && strcmp(name, "special_function") == 0 && !strstr(text + 1, open);
}

static void test_facts_of_llama_cpp_are_accepted(void **state) {
    (void)state;
    const json_t *fact;
    size_t i, accepted = 0;
    json_array_foreach(json_object_get(facts, "facts"), i, fact) {
        const struct ci_tool_format *format = form_of(json_string_value(json_object_get(fact, "format")));
        char text[ROOM];
        struct ci_grammar *grammar;
        snprintf(text, sizeof text, "%s", json_string_value(json_object_get(fact, "text")));
        if (!is_plain(fact, format, text)) continue;
        while (strlen(text) && text[strlen(text) - 1] == '\n') text[strlen(text) - 1] = 0;
        struct ci_matcher *matcher = matcher_of(format, json_object_get(facts, "tools"), NULL, true, &grammar);
        if (!accepts(matcher, text)) fail_msg("%s: %s is refused", format->name, text);
        text[strlen(text) - 1] = 0;
        assert_false(accepts(matcher, text));
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
        accepted++;
    }
    assert_true(accepted >= 15);
}

/* ---- what it allows at random ---- */

static uint64_t random_state = 88172645463325252;

static uint32_t random_below(size_t bound) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)((random_state >> 33) % bound);
}

static int32_t choose(struct ci_matcher *matcher, ci_place place) {
    const uint32_t *mask;
    size_t count, tokens = ci_matcher_tokens(matcher);
    assert_ok(ci_matcher_mask(matcher, place, &mask, &count));
    if (!count) return -1;
    size_t nth = random_below(count);
    for (size_t token = 0; token < tokens; token++)
        if ((mask[token / 32] >> token % 32 & 1) && nth-- == 0) return (int32_t)token;
    return -1;
}

/* The token that brings the end nearest. */
static int32_t cheapest(struct ci_matcher *matcher, ci_place place) {
    const uint32_t *mask;
    size_t count, tokens = ci_matcher_tokens(matcher), best = SIZE_MAX;
    int32_t found = -1;
    assert_ok(ci_matcher_mask(matcher, place, &mask, &count));
    for (size_t token = 0; token < tokens; token++) {
        ci_place to;
        if (!(mask[token / 32] >> token % 32 & 1)) continue;
        assert_ok(ci_matcher_take(matcher, place, (int32_t)token, &to));
        if (to == CI_PLACE_DEAD || ci_tokenizer_is_end(tokenizer, (int32_t)token)) continue;
        if (ci_matcher_cost(matcher, to) < best) {
            best = ci_matcher_cost(matcher, to);
            found = (int32_t)token;
        }
    }
    return found;
}

static void walk(struct ci_matcher *matcher, char *text) {
    ci_place place = ci_matcher_start(matcher);
    size_t length = 0, random = random_below(120);
    for (size_t steps = 0; length < ROOM - 100; steps++) {
        if (steps >= random && ci_matcher_may_end(matcher, place)) break;
        int32_t token = steps < random ? choose(matcher, place) : cheapest(matcher, place);
        if (token < 0 || ci_tokenizer_is_end(tokenizer, token)) break;
        size_t bytes;
        const char *piece = ci_tokenizer_piece(tokenizer, token, true, &bytes);
        memcpy(text + length, piece, bytes);
        length += bytes;
        assert_ok(ci_matcher_take(matcher, place, token, &place));
    }
    assert_true(ci_matcher_may_end(matcher, place));
    text[length] = 0;
}

struct answer {
    struct ci_tool_calls calls;
    char text[ROOM];
};

static bool take_text(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    if (strlen(answer->text) + length < ROOM) strncat(answer->text, text, length);
    return true;
}

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    return ci_tool_calls_add(&answer->calls, piece);
}

static void check_call(const struct ci_tool_format *format, const struct clinfer_tool_call *call, const char *text) {
    const json_t *tool;
    size_t i;
    if (call->cut) fail_msg("%s: %s: %s(%s) is cut", format->name, text, call->name, call->arguments);
    json_array_foreach(tools, i, tool) {
        const json_t *function = json_object_get(tool, "function"), *schema = json_object_get(function, "parameters");
        if (strcmp(json_string_value(json_object_get(function, "name")), call->name) != 0) continue;
        char *written = schema ? json_dumps(schema, 0) : strdup("{\"type\": \"object\"}");
        if (ci_schema_validate("tool", written, strlen(written), call->arguments, strlen(call->arguments)) !=
            CLINFER_OK)
            fail_msg("%s: %s: %s(%s): %s", format->name, text, call->name, call->arguments, clinfer_error());
        free(written);
        return;
    }
    fail_msg("%s: %s: there is no %s", format->name, text, call->name);
}

static void check_answer(const struct ci_tool_format *format, const char *text, bool whole) {
    static struct answer answer;
    struct ci_tool_parser parser;
    const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = &answer};
    memset(&answer, 0, sizeof answer);
    ci_tool_parser_begin(&parser, format, tools, 1, &sink);
    if (!whole) ci_tool_parser_expect(&parser, true);
    ci_tool_parser_push(&parser, text, strlen(text));
    ci_tool_parser_end(&parser);
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer.calls);
    if (answer.calls.count == 0 || answer.text[strspn(answer.text, " \n")])
        fail_msg("%s: %s: %zu calls, and the text '%s'", format->name, text, answer.calls.count, answer.text);
    for (size_t i = 0; i < answer.calls.count; i++) check_call(format, &calls[i], text);
    ci_tool_calls_free(&answer.calls);
}

static void test_what_is_allowed_is_read_and_valid(void **state) {
    (void)state;
    static char text[ROOM];
    const char *name;
    json_t *sign;
    size_t held = 0;
    json_object_foreach(json_object_get(facts, "signs"), name, sign) {
        const struct ci_tool_format *format = form_of(name);
        if (!format->holds) continue;
        for (int whole = 0; whole < 2; whole++) {
            struct ci_grammar *grammar;
            struct ci_matcher *matcher = matcher_of(format, tools, "required", whole, &grammar);
            for (int i = 0; i < 100; i++) {
                walk(matcher, text);
                check_answer(format, text, whole);
            }
            ci_matcher_destroy(matcher);
            ci_grammar_destroy(grammar);
        }
        held++;
    }
    assert_true(held >= 18);
}

static void test_a_named_tool_is_the_only_one(void **state) {
    (void)state;
    struct ci_grammar *grammar;
    struct ci_matcher *matcher = matcher_of(form_of("qwen3_coder"), tools, "stop", false, &grammar);
    assert_true(accepts(matcher, "\n<function=stop>\n</function>\n</tool_call>"));
    assert_false(accepts(matcher, "\n<function=wait>\n</function>\n</tool_call>"));
    ci_matcher_destroy(matcher);
    ci_grammar_destroy(grammar);
}

/* Where marks are around each, more calls may follow one that has to come; one that may come ends with its mark. */
static void test_several_calls_are_held(void **state) {
    (void)state;
    static const char one[] = "\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>",
                      two[] = "\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n"
                              "{\"name\": \"wait\", \"arguments\": {\"seconds\": 3}}\n</tool_call>",
                      wrong[] = "\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n"
                                "{\"name\": \"wait\", \"arguments\": {\"seconds\": 11}}\n</tool_call>";
    static const char *const choices[] = {"required", "auto", "stop"};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        struct ci_grammar *grammar;
        struct ci_matcher *matcher = matcher_of(form_of("hermes"), tools, choices[i], false, &grammar);
        assert_true(accepts(matcher, one));
        assert_int_equal(accepts(matcher, two), i == 0);
        assert_false(accepts(matcher, wrong));
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
}

static void test_what_a_form_cannot_hold_is_told(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"qwen3_coder",
         "[{'function': {'name': 'f', 'parameters': {'properties': {'a': {'type': 'string', 'minLength': "
         "3}}}}}]"},
        {"glm", "[{'function': {'name': 'f', 'parameters': {'properties': {}, 'minProperties': 1}}}]"},
        {"gpt_oss", "[{'function': {'name': 'f'}}]"},
        {"kimi_k2", "[{'function': {'name': 'f', 'parameters': {'$defs': {'a': {}}}}}, {'function': {'name': 'g', "
                    "'parameters': {'$defs': {'a': true}}}}]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *read = tools_of(cases[i][1]);
        char *pieces;
        assert_int_equal(ci_tools_pieces(form_of(cases[i][0]), read, "required", false, &pieces), CLINFER_UNSUPPORTED);
        assert_null(pieces);
        json_decref(read);
    }
}

static void test_texts_end_at_the_first_mark(void **state) {
    (void)state;
    static const char *const documents[] = {"{\"root\": [{\"until\": \"aab\"}]}",
                                            "{\"root\": [{\"until\": \"é</é>\"}]}"};
    static const char *const good[] = {"caaaab", "éé</é</é>"}, *const bad[] = {"aabaab", "é</é>é</é>"};
    for (size_t i = 0; i < 2; i++) {
        struct ci_grammar *grammar;
        struct ci_matcher *matcher;
        assert_ok(ci_pieces_compile("test", documents[i], strlen(documents[i]), tokenizer, &grammar));
        assert_ok(ci_matcher_create(grammar, vocabulary, &matcher));
        assert_true(accepts(matcher, good[i]));
        assert_false(accepts(matcher, bad[i]));
        ci_matcher_destroy(matcher);
        ci_grammar_destroy(grammar);
    }
}

static void test_what_is_no_document_is_refused(void **state) {
    (void)state;
    static const char *const documents[] = {"{}",
                                            "[]",
                                            "{\"root\": 1}",
                                            "{\"root\": [1]}",
                                            "{\"root\": [{\"until\": \"\"}]}",
                                            "{\"root\": [{\"any\": [1]}]}",
                                            "{\"root\": [{\"any\": []}]}",
                                            "{\"root\": [{\"many\": 1}]}",
                                            "{\"root\": [{\"schema\": {\"type\": \"no\"}}]}"};
    for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
        struct ci_grammar *grammar;
        if (ci_pieces_compile("test", documents[i], strlen(documents[i]), NULL, &grammar) != CLINFER_INVALID_ARGUMENT)
            fail_msg("%s", documents[i]);
        assert_null(grammar);
    }
}

static int set_up(void **state) {
    static const char *const marks[] = {"<|tool_calls_section_begin|>",
                                        "<|tool_calls_section_end|>",
                                        "<|tool_call_begin|>",
                                        "<|tool_call_end|>",
                                        "<|tool_call_argument_begin|>",
                                        "｜DSML｜",
                                        "<｜tool▁calls▁begin｜>",
                                        "<｜tool▁sep｜>",
                                        "[TOOL_CALLS]",
                                        "<|\"|>"};
    static struct words words;
    (void)state;
    make_words(&words);
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) add_token(&words, marks[i], CI_TOKEN_CONTROL);
    words.source.eos_id = add_token(&words, "<|end|>", CI_TOKEN_CONTROL);
    tokenizer = create_tokenizer(&words);
    facts = json_load_file("tests/data/tool_calls.json", 0, NULL);
    tools = tools_of(tools_text);
    return facts && ci_grammar_vocabulary_create(tokenizer, &vocabulary) == CLINFER_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    ci_grammar_vocabulary_destroy(vocabulary);
    ci_tokenizer_destroy(tokenizer);
    json_decref(facts);
    json_decref(tools);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_llama_cpp_are_accepted),
        cmocka_unit_test(test_what_is_allowed_is_read_and_valid),
        cmocka_unit_test(test_a_named_tool_is_the_only_one),
        cmocka_unit_test(test_several_calls_are_held),
        cmocka_unit_test(test_what_a_form_cannot_hold_is_told),
        cmocka_unit_test(test_texts_end_at_the_first_mark),
        cmocka_unit_test(test_what_is_no_document_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
