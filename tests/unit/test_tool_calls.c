/* Calls of tools in answers: each form with its template's sign, in pieces of every length; facts of llama.cpp's
 * test-chat.cpp (one text and what it is, per template); what is no call, what breaks off, and hostile input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "text/tool_parser.h"
#include "text/tool_prompt.h"

enum { ROOM = 1 << 16 };

struct answer {
    char text[ROOM];
    struct ci_tool_calls calls;
    int events, most; /* so many are taken */
};

static bool take_text(void *user, const char *text, size_t length) {
    struct answer *answer = user;
    assert_true(length > 0);
    assert_true(((unsigned char)text[0] & 0xc0) != 0x80); /* characters come whole */
    assert_true(strlen(answer->text) + length < ROOM);
    strncat(answer->text, text, length);
    return ++answer->events != answer->most;
}

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    struct answer *answer = user;
    bool first = piece->index == answer->calls.count;
    assert_true(piece->index + 1 >= answer->calls.count && piece->index <= answer->calls.count);
    assert_true(first == (piece->name != NULL));
    assert_true(ci_tool_calls_add(&answer->calls, piece));
    return ++answer->events != answer->most;
}

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"special_function\", \"description\": \"I'm special\","
    "\"parameters\": {\"type\": \"object\", \"properties\": {\"arg1\": {\"type\": \"integer\"}}}}},"
    "{\"type\": \"function\", \"function\": {\"name\": \"special_function_with_opt\"}},"
    "{\"type\": \"function\", \"function\": {\"name\": \"python\"}}]";

static json_t *tools;

/* In pieces of `piece` bytes, as far as characters stay whole. */
static void parse(const struct ci_tool_format *format, const char *text, size_t piece, struct answer *answer) {
    const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = answer};
    struct ci_tool_parser parser = {0};
    size_t length = strlen(text);
    memset(answer, 0, sizeof *answer);
    answer->most = -1;
    ci_tool_parser_begin(&parser, format, tools, 7, &sink);
    for (size_t at = 0; at < length;) {
        size_t count = length - at < piece ? length - at : piece;
        while (at + count < length && ((unsigned char)text[at + count] & 0xc0) == 0x80) count++;
        assert_true(ci_tool_parser_push(&parser, text + at, count));
        at += count;
    }
    assert_true(ci_tool_parser_end(&parser));
}

/* Each call as NAME(ARGUMENTS), " cut" behind one that is; and "#ID" where `ids`. */
static void write_calls(struct answer *answer, bool ids, char *out, size_t room) {
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer->calls);
    *out = 0;
    for (size_t i = 0; i < answer->calls.count; i++) {
        size_t used = strlen(out);
        assert_true(*calls[i].id || calls[i].cut);
        snprintf(out + used, room - used, "%s%s(%s)%s%s%s", i ? " " : "", calls[i].name, calls[i].arguments,
                 calls[i].cut ? " cut" : "", ids ? "#" : "", ids ? calls[i].id : "");
    }
}

static void expect_of(const struct ci_tool_format *format, const char *text, const char *words, const char *calls) {
    static struct answer answer;
    static char got[ROOM];
    for (size_t piece = 1; piece <= strlen(text) + 1; piece++) {
        parse(format, text, piece, &answer);
        write_calls(&answer, strchr(calls, '#') != NULL, got, sizeof got);
        if (strcmp(answer.text, words) != 0)
            fail_msg("%s: %s by %zu: the text is '%s', not '%s'", format->name, text, piece, answer.text, words);
        if (strcmp(got, calls) != 0)
            fail_msg("%s: %s by %zu: the calls are '%s', not '%s'", format->name, text, piece, got, calls);
        ci_tool_calls_free(&answer.calls);
    }
}

static const struct ci_tool_format *form(const char *template) {
    const struct ci_tool_format *format = ci_tool_format_find(template, strlen(template));
    if (!format) fail_msg("no form in: %s", template);
    return format;
}

#define HERMES "<tool_call>\n{\"name\": <function-name>, \"arguments\": <args-json-object>}\n</tool_call>"
#define MISTRAL "{{- '[TOOL_CALLS]' + tool_call.function.name }}"
#define LLAMA                                                                                                          \
    "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its value}."
#define NEMOTRON "<TOOLCALL>[{{ x }}]</TOOLCALL>"
#define APRIEL "<tool_calls>[{{ x }}]</tool_calls>"
#define FUNCTIONARY "<function={{ name }}>{{ arguments }}</function>"
#define MINIMAX "respond with <tool_calls></tool_calls> XML tags"
#define GRANITE "respond only with <|tool_call|> followed by a JSON list"
#define COHERE "<|START_ACTION|>"
#define CALL "special_function({\"arg1\": 1})"
#define HELLO "Hello, world!\nWhat's up?"

static void test_forms_are_known_by_their_templates(void **state) {
    (void)state;
    static const char *const cases[][2] = {{HERMES, "hermes"},
                                           {MISTRAL, "mistral"},
                                           {LLAMA, "llama3"},
                                           {NEMOTRON, "nemotron"},
                                           {APRIEL, "apriel"},
                                           {FUNCTIONARY, "functionary"},
                                           {"<|python_tag|>", "llama3"},
                                           {MINIMAX, "minimax"},
                                           {GRANITE, "granite"},
                                           {COHERE, "cohere"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_string_equal(form(cases[i][0])->name, cases[i][1]);
    static const char *const others[] = {"", "{{ message.content }}", "<tool_call>\n<invoke name=f>"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_null(ci_tool_format_find(others[i], strlen(others[i])));
}

static void test_facts_of_llama_cpp(void **state) {
    (void)state;
    static const char *const cases[][4] = {
        {HERMES, "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}</tool_call>", "", CALL},
        {HERMES, HELLO "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}</tool_call>", HELLO,
         CALL},
        {HERMES, "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}\n</tool_call>", "", CALL},
        {HERMES, HELLO "\n<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}\n</tool_call>",
         HELLO, CALL},
        {HERMES,
         "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}\n</tool_call>\n<tool_call>\n"
         "{\"name\": \"special_function_with_opt\", \"arguments\": {\"arg1\": 1, \"arg2\": 2}}\n</tool_call>",
         "", CALL " special_function_with_opt({\"arg1\": 1, \"arg2\": 2})"},
        {HERMES, "<tool_call>\n{\"name\": \"special_function\", \"arguments\": {\"arg", "",
         "special_function({\"arg) cut"},
        {HERMES, HELLO, HELLO, ""},
        {NEMOTRON, "<TOOLCALL>[{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}]</TOOLCALL>\n", "", CALL},
        {APRIEL, "<tool_calls>[{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}}]</tool_calls>", "", CALL},
        {FUNCTIONARY, "<function=special_function>{\"arg1\": 1}</function>", "", CALL},
        {FUNCTIONARY, HELLO, HELLO, ""},
        {MISTRAL, "[TOOL_CALLS][{\"name\": \"special_function\", \"arguments\": {\"arg1\": 1}, \"id\": \"123456789\"}]",
         "", CALL "#123456789"},
        {MISTRAL, "[TOOL_CALLS]special_function[CALL_ID]123456789[ARGS]{\"arg1\": 1}", "", CALL "#123456789"},
        {MISTRAL,
         "[TOOL_CALLS]special_function[CALL_ID]000000001[ARGS]{\"arg1\": 1}"
         "[TOOL_CALLS]special_function_with_opt[CALL_ID]000000002[ARGS]{\"arg1\": 1, \"arg2\": 2}",
         "", CALL "#000000001 special_function_with_opt({\"arg1\": 1, \"arg2\": 2})#000000002"},
        {MISTRAL, "[TOOL_CALLS]special_function[ARGS]{\"arg1\": 1}", "", CALL},
        {MISTRAL, HELLO "[TOOL_CALLS]special_function[ARGS]{\"arg1\": 1}", HELLO, CALL},
        {MISTRAL,
         "[TOOL_CALLS]special_function[ARGS]{\"arg1\": 1}"
         "[TOOL_CALLS]special_function_with_opt[ARGS]{\"arg1\": 1, \"arg2\": 2}",
         "", CALL " special_function_with_opt({\"arg1\": 1, \"arg2\": 2})"},
        {COHERE,
         "<|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"special_function\", \"parameters\": "
         "{\"arg1\": 1}}\n]<|END_ACTION|>",
         "", CALL "#0"},
        {LLAMA, HELLO, HELLO, ""},
        {LLAMA, "{\"name\": \"special_function\", \"parameters\": {\"arg1\": 1}}", "", CALL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_of(form(cases[i][0]), cases[i][1], cases[i][2], cases[i][3]);
}

static void test_calls_of_other_spellings(void **state) {
    (void)state;
    const struct ci_tool_format *json = ci_tool_format_generic();
    expect_of(json, "{\"name\": \"python\", \"arguments\": {}}", "", "python({})");
    expect_of(json,
              " [{\"name\": \"python\", \"arguments\": {}},\n{\"arguments\": {\"a\": [1, {}]}, \"name\": \"python\"}]",
              "", "python({}) python({\"a\": [1, {}]})");
    expect_of(json, "I will.\n```json\n{\"name\": \"python\", \"arguments\": {\"c\": \"é\\n\"}}\n```\n", "I will.",
              "python({\"c\": \"é\\n\"})");
    expect_of(json, "<tool_call>{\"name\": \"python\"}</tool_call> Done.", "Done.", "python({})");
    expect_of(form(LLAMA),
              "<|python_tag|>{\"name\": \"a\", \"parameters\": {}}; {\"type\": \"function\", \"name\": \"b\","
              " \"parameters\": {\"x\": -1.5e3}}",
              "", "a({}) b({\"x\": -1.5e3})");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "",
              "f({\"a\": 1})");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": null, \"more\": [true, 10]}</tool_call>", "",
              "f({})");
    expect_of(form(HERMES), "<tool_call>{\"id\": 12, \"name\": \"f\", \"arguments\": {\"n\": 1}, \"n\": 0}</tool_call>",
              "", "f({\"n\": 1})#12");
    expect_of(form(MISTRAL),
              "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}] x", "x",
              "f({}) g({})");
}

static void test_several_calls_between_the_same_marks(void **state) {
    (void)state;
    expect_of(form(MINIMAX),
              "<tool_calls>\n{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\", \"arguments\": {\"a\": 1}}\n"
              "</tool_calls>\n",
              "", "f({}) g({\"a\": 1})");
    expect_of(form(GRANITE),
              "<|tool_call|>[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]", "",
              "f({}) g({})");
}

static void test_what_is_no_call_is_text(void **state) {
    (void)state;
    const struct ci_tool_format *json = ci_tool_format_generic(), *hermes = form(HERMES);
    static const char *const texts[] = {
        "The mark <tool_call> begins a call.",
        "<tool_call>",
        "a <tool_cal",
        "<tool_call>{\"name\" \"f\"}",
        "<tool_call>{\"name\": \"f\", \"name\": 2",
        "<tool_call>{\"nam",
        "<tool_call>{\"name\": \"f\", \"arguments\": [1]}</tool_call>",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "\n  spaces stay  \n",
        "é",
        "",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) expect_of(hermes, texts[i], texts[i], "");
    static const char *const answers[] = {
        "{\"name\": \"Ann\", \"age\": 3}",
        "{\"age\": 3}",
        "[1, 2]",
        "{\"name\": \"python\"}",
        "{ x",
        "```json\n{\"name\": \"Ann\"}\n```",
        "a {\"name\": \"python\", \"arguments\": {}}",
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) expect_of(json, answers[i], answers[i], "");
}

static void test_calls_that_break_off_are_cut(void **state) {
    (void)state;
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": tru", "", "f({\"a\": tru) cut");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": x} b", "x} b", "f({\"a\": ) cut");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": {}", "", "f({})");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": {}}", "", "f({})");
    expect_of(form(HERMES), "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool", "", "f({})");
    expect_of(form(HERMES), "<tool_call><tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "<tool_call>",
              "f({})");
    expect_of(form(MISTRAL), "[TOOL_CALLS]f[ARGS]{\"a", "", "f({\"a) cut");
    expect_of(form(MISTRAL), "[TOOL_CALLS]f[AR", "[TOOL_CALLS]f[AR", "");
    expect_of(form(MISTRAL), "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}, x", " x", "f({})");
}

/* Arguments go out before the call is whole. */
static void test_arguments_come_as_they_are_written(void **state) {
    (void)state;
    static struct answer answer;
    const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = &answer};
    struct ci_tool_parser parser;
    memset(&answer, 0, sizeof answer);
    answer.most = -1;
    ci_tool_parser_begin(&parser, form(HERMES), tools, 7, &sink);
    static const char text[] = "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"lo";
    assert_true(ci_tool_parser_push(&parser, text, strlen(text)));
    const struct clinfer_tool_call *calls = ci_tool_calls_view(&answer.calls);
    assert_int_equal(answer.calls.count, 1);
    assert_int_equal(strlen(calls[0].id), 9);
    assert_string_equal(calls[0].arguments, "{\"a\": \"lo");
    ci_tool_parser_end(&parser);
    ci_tool_calls_free(&answer.calls);
}

static void test_depth_and_length_are_bounded(void **state) {
    (void)state;
    static struct answer answer;
    static char text[ROOM];
    char *end = stpcpy(text, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ");
    memset(end, '[', 1000);
    end[1000] = 0;
    parse(form(HERMES), text, 7, &answer);
    assert_int_equal(answer.calls.count, 1);
    assert_true(ci_tool_calls_view(&answer.calls)[0].cut);
    ci_tool_calls_free(&answer.calls);
    end = stpcpy(text, "[TOOL_CALLS]");
    memset(end, 'n', 2000);
    end[2000] = 0;
    parse(form(MISTRAL), text, 7, &answer);
    assert_int_equal(answer.calls.count, 0);
    assert_string_equal(answer.text, text);
}

static void test_a_sink_can_end_it_anywhere(void **state) {
    (void)state;
    static const char text[] = "a <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call> b";
    for (int most = 1; most < 40; most++) {
        static struct answer answer;
        const struct ci_tool_sink sink = {.text = take_text, .call = take_call, .user = &answer};
        struct ci_tool_parser parser = {0};
        memset(&answer, 0, sizeof answer);
        answer.most = most;
        ci_tool_parser_begin(&parser, form(HERMES), tools, 7, &sink);
        bool goes_on = true;
        for (size_t i = 0; i < strlen(text) && goes_on; i++) goes_on = ci_tool_parser_push(&parser, text + i, 1);
        ci_tool_parser_end(&parser);
        assert_true(answer.events <= most);
        ci_tool_calls_free(&answer.calls);
    }
}

static void test_tools_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *text, *choice, *says;
    } cases[] = {
        {"[", NULL, "line 1"},
        {"{}", NULL, "must be a JSON array"},
        {"[{}]", NULL, "tools[0].function.name: is missing"},
        {"[{\"function\": {\"name\": \"\"}}]", NULL, "is empty"},
        {"[{\"function\": {\"name\": \"f\", \"parameters\": 1}}]", NULL, "must be a JSON schema"},
        {"[{\"function\": {\"name\": \"f\"}}, {\"function\": {\"name\": \"f\"}}]", NULL, "that of tools[0], too"},
        {"[{\"function\": {\"name\": \"f\"}}]", "g", "nor the name of a tool"},
        {NULL, "required", "there are no tools"},
        {"[]", "required", "there are no tools"},
    };
    json_t *read;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ci_tools_read(cases[i].text, cases[i].choice, &read), CLINFER_INVALID_ARGUMENT);
        if (!strstr(clinfer_error(), cases[i].says)) fail_msg("case %zu: %s", i, clinfer_error());
        assert_null(read);
    }
    assert_int_equal(ci_tools_read(tools_text, "none", &read), CLINFER_OK);
    assert_null(read);
    assert_int_equal(ci_tools_read(tools_text, "python", &read), CLINFER_OK);
    assert_int_equal(json_array_size(read), 3);
    json_decref(read);
}

static void test_ids_differ(void **state) {
    (void)state;
    char first[CI_TOOL_ID_BYTES], second[CI_TOOL_ID_BYTES];
    ci_tool_call_id(1, 0, first);
    ci_tool_call_id(1, 1, second);
    assert_int_equal(strlen(first), 9);
    assert_string_not_equal(first, second);
    ci_tool_call_id(2, 0, second);
    assert_string_not_equal(first, second);
}

static int set_up(void **state) {
    (void)state;
    return ci_tools_read(tools_text, NULL, &tools) == CLINFER_OK ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    json_decref(tools);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_are_known_by_their_templates),
        cmocka_unit_test(test_facts_of_llama_cpp),
        cmocka_unit_test(test_calls_of_other_spellings),
        cmocka_unit_test(test_several_calls_between_the_same_marks),
        cmocka_unit_test(test_what_is_no_call_is_text),
        cmocka_unit_test(test_calls_that_break_off_are_cut),
        cmocka_unit_test(test_arguments_come_as_they_are_written),
        cmocka_unit_test(test_depth_and_length_are_bounded),
        cmocka_unit_test(test_a_sink_can_end_it_anywhere),
        cmocka_unit_test(test_tools_are_checked),
        cmocka_unit_test(test_ids_differ),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
