/* The forms in which models write calls of tools, by the facts of tests/data/tool_calls.json: a sign of the template,
 * an answer, and what it is, in pieces of every length, through the parts of reasoning first, as in a conversation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/reasoning.h"
#include "text/tool_parser.h"

enum { ROOM = 1 << 14 };

struct answer {
    struct ci_tool_parser parser;
    struct ci_tool_calls calls;
    char text[ROOM];
    size_t most_piece; /* of arguments */
};

static json_t *facts;

static bool take_text(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    assert_true(length > 0 && strlen(answer->text) + length < ROOM);
    assert_true(((unsigned char)text[0] & 0xc0) != 0x80);
    strncat(answer->text, text, length);
    return true;
}

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    assert_true((piece->index == answer->calls.count) == (piece->name != NULL));
    if (piece->length > answer->most_piece) answer->most_piece = piece->length;
    return ci_tool_calls_add(&answer->calls, piece);
}

static bool take_part(void *user, enum ci_text_part part, const char *text, size_t length) {
    struct answer *answer = user;
    return part == CI_PART_REASONING || ci_tool_parser_push(&answer->parser, text, length);
}

static const struct ci_tool_format *form_of(const char *name) {
    const char *sign = json_string_value(json_object_get(json_object_get(facts, "signs"), name));
    const struct ci_tool_format *format = sign ? ci_tool_format_find(sign, strlen(sign)) : NULL;
    if (!format || strcmp(format->name, name) != 0)
        fail_msg("the sign of %s is that of %s", name, format ? format->name : "none");
    return format;
}

static void parse(const struct ci_tool_format *format, const char *text, size_t piece, struct answer *answer) {
    const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = answer};
    static const char harmony[] = "<|channel|>analysis";
    bool channels = strcmp(format->name, "gpt_oss") == 0;
    struct ci_parts parts;
    size_t length = strlen(text);
    memset(answer, 0, sizeof *answer);
    ci_parts_begin(&parts, channels ? ci_reasoning_find(harmony, strlen(harmony)) : NULL, false);
    ci_tool_parser_begin(&answer->parser, format, json_object_get(facts, "tools"), 7, &sink);
    if (format->begun) ci_tool_parser_expect(&answer->parser, true);
    for (size_t at = 0; at < length;) {
        size_t count = length - at < piece ? length - at : piece;
        while (at + count < length && ((unsigned char)text[at + count] & 0xc0) == 0x80) count++;
        assert_true(ci_parts_push(&parts, text + at, count, take_part, answer));
        at += count;
    }
    assert_true(ci_parts_flush(&parts, take_part, answer));
    assert_true(ci_tool_parser_end(&answer->parser));
}

static const char *text_of(const json_t *fact, const char *key) {
    const char *text = json_string_value(json_object_get(fact, key));
    return text ? text : "";
}

static void compare_calls(const json_t *fact, struct answer *answer, size_t piece) {
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer->calls);
    const char *text = text_of(fact, "text");
    const json_t *wanted = json_object_get(fact, "calls"), *ids = json_object_get(fact, "ids"), *call;
    size_t i;
    if (answer->calls.count != json_array_size(wanted))
        fail_msg("%s by %zu: %zu calls; the text is '%s'", text, piece, answer->calls.count, answer->text);
    json_array_foreach(wanted, i, call) {
        const char *name = json_string_value(json_array_get(call, 0));
        const char *id = json_string_value(json_array_get(ids, i));
        json_t *arguments = json_loads(calls[i].arguments, 0, NULL);
        if (strcmp(name, calls[i].name) != 0 || calls[i].cut || !json_equal(arguments, json_array_get(call, 1)))
            fail_msg("%s by %zu: call %zu is %s(%s)%s", text, piece, i, calls[i].name, calls[i].arguments,
                     calls[i].cut ? ", cut" : "");
        if (id && strcmp(id, calls[i].id) != 0) fail_msg("%s by %zu: the id is %s", text, piece, calls[i].id);
        assert_true(*calls[i].id);
        json_decref(arguments);
    }
}

static void compare(const json_t *fact, struct answer *answer, size_t piece) {
    const char *text = text_of(fact, "text"), *content = text_of(fact, "content");
    const json_t *cut = json_object_get(fact, "cut");
    if (strcmp(answer->text, content) != 0)
        fail_msg("%s by %zu: the text is '%s', not '%s'", text, piece, answer->text, content);
    if (!cut) {
        compare_calls(fact, answer, piece);
        return;
    }
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer->calls);
    assert_int_equal(answer->calls.count, 1);
    assert_true(calls[0].cut);
    assert_string_equal(calls[0].name, json_string_value(json_array_get(cut, 0)));
    assert_string_equal(calls[0].arguments, json_string_value(json_array_get(cut, 1)));
}

static void test_facts_of_llama_cpp(void **state) {
    (void)state;
    static struct answer answer;
    const json_t *list = json_object_get(facts, "facts"), *fact;
    size_t i;
    assert_true(json_array_size(list) > 100);
    json_array_foreach(list, i, fact) {
        const struct ci_tool_format *format = form_of(text_of(fact, "format"));
        size_t length = strlen(text_of(fact, "text"));
        for (size_t piece = 1; piece <= length; piece += piece < 24 ? 1 : 97) {
            parse(format, text_of(fact, "text"), piece, &answer);
            compare(fact, &answer, piece);
            ci_tool_calls_free(&answer.calls);
        }
        parse(format, text_of(fact, "text"), length, &answer);
        compare(fact, &answer, length);
        ci_tool_calls_free(&answer.calls);
    }
}

/* Wherever an answer breaks off, it is text and calls in the order of what came, and no call is whole that is not. */
static void test_answers_may_break_off_anywhere(void **state) {
    (void)state;
    static struct answer answer;
    const json_t *list = json_object_get(facts, "facts"), *fact;
    static char text[ROOM];
    size_t i;
    json_array_foreach(list, i, fact) {
        const struct ci_tool_format *format = form_of(text_of(fact, "format"));
        size_t length = strlen(text_of(fact, "text"));
        for (size_t end = 0; end < length; end++) {
            if (((unsigned char)text_of(fact, "text")[end] & 0xc0) == 0x80) continue;
            snprintf(text, end + 1, "%s", text_of(fact, "text"));
            parse(format, text, 3, &answer);
            const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer.calls);
            assert_true(answer.calls.count <=
                        json_array_size(json_object_get(fact, "calls")) + (json_object_get(fact, "cut") != NULL));
            for (size_t k = 0; k < answer.calls.count; k++) {
                json_t *arguments = json_loads(calls[k].arguments, 0, NULL);
                assert_true(calls[k].cut || json_is_object(arguments));
                json_decref(arguments);
            }
            ci_tool_calls_free(&answer.calls);
        }
    }
}

/* A long text that is a parameter goes out as it comes. */
static void test_texts_go_out_as_they_come(void **state) {
    (void)state;
    static struct answer answer;
    static const struct {
        const char *format, *begin;
    } cases[] = {{"qwen3_coder", "<tool_call>\n<function=python>\n<parameter=code>\n"},
                 {"seed", "<seed:tool_call><function=python><parameter=code>"},
                 {"glm", "<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>"},
                 {"deepseek_v32", "<｜DSML｜function_calls><｜DSML｜invoke name=\"f\"><｜DSML｜parameter name=\"x\" "
                                  "string=\"true\">"},
                 {"kimi_k2", "<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"x\": \""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = &answer};
        memset(&answer, 0, sizeof answer);
        ci_tool_parser_begin(&answer.parser, form_of(cases[i].format), json_object_get(facts, "tools"), 7, &sink);
        assert_true(ci_tool_parser_push(&answer.parser, cases[i].begin, strlen(cases[i].begin)));
        for (int k = 0; k < 100; k++) assert_true(ci_tool_parser_push(&answer.parser, "print(1) < 2", 12));
        const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer.calls);
        assert_int_equal(answer.calls.count, 1);
        assert_true(strlen(calls[0].arguments) > 1200 && answer.most_piece < 64);
        ci_tool_parser_end(&answer.parser);
        ci_tool_calls_free(&answer.calls);
    }
}

static void expect(const char *format, const char *text, const char *words, const char *name, const char *arguments) {
    static struct answer answer;
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        parse(form_of(format), text, piece, &answer);
        const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer.calls);
        if (strcmp(answer.text, words) != 0) fail_msg("%s by %zu: the text is '%s'", text, piece, answer.text);
        if (answer.calls.count != (name != NULL)) fail_msg("%s: %zu calls", text, answer.calls.count);
        if (name && (strcmp(calls[0].name, name) != 0 || strcmp(calls[0].arguments, arguments) != 0))
            fail_msg("%s by %zu: %s(%s)", text, piece, calls[0].name, calls[0].arguments);
        ci_tool_calls_free(&answer.calls);
    }
}

static void test_what_is_no_call_is_text(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"qwen3_coder", "Write <tool_call> and then <function=f> to call."},
        {"qwen3_coder", "<function=nobody>\n</function>"},
        {"qwen3_coder", "<tool_call>x</tool_call>"},
        {"glm", "<tool_call>"},
        {"kimi_k2", "<|tool_calls_section_begin|>nothing"},
        {"lfm2", "<|tool_call_start|>[not a call]"},
        {"lfm2", "[python(code=1)]"},
        {"gpt_oss", "He sent it to=functions.nobody {}"},
        {"gemma4", "<|tool_call>come<tool_call|>"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect(cases[i][0], cases[i][1], cases[i][1], NULL, NULL);
}

static void test_marks_within_what_was_no_call_count(void **state) {
    (void)state;
    expect("qwen3_coder", "<tool_call>no<tool_call><function=f></function></tool_call> b", "<tool_call>nob", "f", "{}");
    expect("kimi_k2", "<|tool_calls_section_begin|>x<|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>{} y",
           "<|tool_calls_section_begin|>xy", "f", "{}");
}

static void test_literals_of_python(void **state) {
    (void)state;
    static const struct {
        const char *written, *json;
    } cases[] = {
        {"'it\\'s'", "\"it's\""},
        {"\"a, b) c\"", "\"a, b) c\""},
        {"(1, 2,)", "[1, 2]"},
        {"[]", "[]"},
        {"{'a': (1,), \"b\": {}}", "{\"a\": [1], \"b\": {}}"},
        {"-1.5e3", "-1.5e3"},
        {"\"\\x41\\u00e9\\q\"", "\"\\u0041\\u00e9\\\\q\""},
        {"word", "\"word\""},
        {"1 + 2", "\"1 + 2\""},
        {"'\n'", "\"\\n\""},
    };
    char text[256], json[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text, "<|tool_call_start|>[f(x=%s)]<|tool_call_end|>", cases[i].written);
        snprintf(json, sizeof json, "{\"x\": %s}", cases[i].json);
        expect("lfm2", text, "", "f", json);
    }
}

static int set_up(void **state) {
    (void)state;
    facts = json_load_file("tests/data/tool_calls.json", JSON_REJECT_DUPLICATES, NULL);
    return facts ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    json_decref(facts);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts_of_llama_cpp),
        cmocka_unit_test(test_answers_may_break_off_anywhere),
        cmocka_unit_test(test_texts_go_out_as_they_come),
        cmocka_unit_test(test_what_is_no_call_is_text),
        cmocka_unit_test(test_marks_within_what_was_no_call_count),
        cmocka_unit_test(test_literals_of_python),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
