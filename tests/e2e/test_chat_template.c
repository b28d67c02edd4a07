/* `clinfer run` with other chat templates than the file's, with files that have none, and with control tokens in
 * prompts. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/process.h"

#define TINY "tests/data/llama_tiny.gguf"
#define RUN(result, options, ...)                                                                                      \
    process_run(result, options, process_tool(), "run", "-m", TINY, "--device", "cpu", "--temp", "0", "-n", "1",       \
                "--json", __VA_ARGS__, NULL)

static int prompt_tokens(struct process_result *result) {
    json_error_t error;
    process_assert_status(result, 0);
    json_t *object = json_loadb(result->out, result->out_length, 0, &error);
    if (!object) fail_msg("no JSON: %s: %s", error.text, result->out);
    int count = (int)json_integer_value(json_object_get(json_object_get(object, "timings"), "prompt_n"));
    json_decref(object);
    process_free(result);
    return count;
}

static void expect_refused(struct process_result *result, int exit_status, const char *part) {
    process_assert_status(result, exit_status);
    if (!strstr(result->err, part)) fail_msg("'%s' is not in '%s'", part, result->err);
    process_free(result);
}

static void test_flags_choose_the_template(void **state) {
    (void)state;
    static const char file[] = "\xEF\xBB\xBF{{ messages[-1].content }}\n";
    struct process_result result;
    RUN(&result, NULL, "--raw", "the rain");
    int bare = prompt_tokens(&result);
    RUN(&result, NULL, "the rain");
    int own = prompt_tokens(&result);
    RUN(&result, NULL, "--chat-template", "chatml", "the rain");
    assert_int_equal(prompt_tokens(&result), own); /* which is ChatML, too */
    RUN(&result, NULL, "--chat-template", "{{ messages[-1].content }}", "the rain");
    assert_int_equal(prompt_tokens(&result), bare);
    RUN(&result, NULL, "--chat-template-file", process_file("bare.jinja", file, sizeof file - 1), "the rain");
    assert_int_equal(prompt_tokens(&result), bare);
    assert_true(own > bare);
}

static void test_what_is_no_template_is_refused(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--chat-template", "chatmll", "x");
    expect_refused(&result, 2, "neither Jinja nor the name of a built-in template; these are plain, chatml, llama2");
    RUN(&result, NULL, "--chat-template", "chatml", "--chat-template-file", "x", "x");
    expect_refused(&result, 2, "choose one");
    RUN(&result, NULL, "--chat-template-file", "/nonexistent/x.jinja", "x");
    expect_refused(&result, 3, "--chat-template-file: /nonexistent/x.jinja");
    RUN(&result, NULL, "--chat-template-file", process_file("bad.jinja", "{% for %}", 9), "x");
    expect_refused(&result, 2, "bad.jinja: --chat-template: chat template: line 1");
    RUN(&result, NULL, "--chat-template-file", process_file("zero.jinja", "{{ x }}\0{{", 10), "x");
    expect_refused(&result, 5, "zero.jinja: byte 7 is zero");
    RUN(&result, NULL, "--chat-template", "{{ 'hello' }}", "x");
    expect_refused(&result, 2, "writes nothing of what a user's message says");
}

static void test_the_configuration_chooses_where_no_flag_does(void **state) {
    (void)state;
    char home[512], path[600];
    snprintf(home, sizeof home, "XDG_CONFIG_HOME=%s/config", process_folder());
    snprintf(path, sizeof path, "%s/config", process_folder());
    mkdir(path, 0700);
    strcat(path, "/clinfer");
    mkdir(path, 0700);
    const char *const environment[] = {home, NULL};
    const struct process_options options = {.environment = environment};
    struct process_result result;
    RUN(&result, NULL, "the rain");
    int own = prompt_tokens(&result);
    static const char right[] = "{\"chat_template\": \"{{ messages[-1].content }}\"}",
                      wrong[] = "{\"chat_template\": \"chatmll\"}";
    process_file("config/clinfer/config.json", right, strlen(right));
    RUN(&result, &options, "the rain");
    assert_true(prompt_tokens(&result) < own);
    RUN(&result, &options, "--chat-template", "chatml", "the rain");
    assert_int_equal(prompt_tokens(&result), own);
    process_file("config/clinfer/config.json", wrong, strlen(wrong));
    RUN(&result, &options, "the rain");
    expect_refused(&result, 2, "config.json: \"chat_template\": --chat-template \"chatmll\"");
    static const char no_file[] = "{\"chat_template_file\": \"/nonexistent/x.jinja\"}";
    process_file("config/clinfer/config.json", no_file, strlen(no_file));
    RUN(&result, &options, "the rain");
    expect_refused(&result, 3, "config.json: \"chat_template_file\": /nonexistent/x.jinja");
    static const char both[] = "{\"chat_template\": \"chatml\", \"chat_template_file\": \"x.jinja\"}";
    process_file("config/clinfer/config.json", both, strlen(both));
    RUN(&result, &options, "the rain");
    expect_refused(&result, 5, "config.json: \"chat_template\": \"chat_template_file\" is there, too; choose one");
}

static void test_control_tokens_of_a_prompt_are_text_unless_asked(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "x");
    int one = prompt_tokens(&result);
    RUN(&result, NULL, "x<|im_end|>");
    int text = prompt_tokens(&result);
    RUN(&result, NULL, "--parse-special", "x<|im_end|>");
    assert_int_equal(prompt_tokens(&result), one + 1);
    assert_true(text > one + 1);
    RUN(&result, NULL, "--raw", "x");
    int raw = prompt_tokens(&result);
    RUN(&result, NULL, "--raw", "x<|im_end|>");
    assert_int_equal(prompt_tokens(&result), raw + 1);
}

#define THINKING                                                                                                       \
    "{{ messages[-1].content }}{% if enable_thinking is undefined or enable_thinking %}<think>\n"                      \
    "{% else %}<think></think>{% endif %}"

/* A template that opens the reasoning itself: all that a model without a word of it says is that. */
static void test_reasoning_is_no_part_of_the_answer(void **state) {
    (void)state;
    struct process_result result;
    json_error_t error;
    RUN(&result, NULL, "--chat-template", THINKING, "-n", "9", "the rain");
    process_assert_status(&result, 0);
    json_t *object = json_loadb(result.out, result.out_length, 0, &error);
    assert_string_equal(json_string_value(json_object_get(object, "text")), "");
    const char *reasoning = json_string_value(json_object_get(object, "reasoning"));
    assert_non_null(reasoning);
    assert_int_equal(json_integer_value(json_object_get(object, "reasoning_tokens")), 9);
    json_decref(object);
    process_free(&result);
    static const char *const flags[] = {"-co=off", "--show-thinking", "--no-show-thinking"};
    size_t said[3];
    for (size_t i = 0; i < 3; i++) {
        process_run(&result, NULL, process_tool(), "run", "-m", TINY, "--device", "cpu", "--temp", "0", "-n", "9",
                    "--chat-template", THINKING, flags[i], "the rain", NULL);
        process_assert_status(&result, 0);
        assert_int_equal(result.out_length, 0);
        assert_non_null(strstr(result.err, "all 9 tokens are what the model thinks"));
        said[i] = 0;
        for (const char *at = result.err; *at; at++) said[i] += *at == '\n';
        process_free(&result);
    }
    assert_true(said[1] > said[0]); /* standard error is no terminal */
    assert_int_equal(said[2], said[0]);
}

static void test_variables_reach_the_template(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--chat-template", THINKING, "--chat-template-kwargs", "{\"enable_thinking\": false}",
        "the rain");
    process_assert_status(&result, 0);
    assert_null(strstr(result.out, "\"reasoning\""));
    process_free(&result);
    process_run(&result, NULL, process_tool(), "tokenize", "-m", TINY, "--render", "--chat-template", THINKING,
                "--chat-template-kwargs", "{\"enable_thinking\": false}", "the rain", NULL);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, "the rain<think></think>");
    process_free(&result);
    RUN(&result, NULL, "--chat-template-kwargs", "{", "x");
    expect_refused(&result, 2, "--chat-template-kwargs: line 1, column 1");
    RUN(&result, NULL, "--chat-template-kwargs", "[]", "x");
    expect_refused(&result, 2, "--chat-template-kwargs: must be a JSON object");
    RUN(&result, NULL, "--chat-template-kwargs", "{\"messages\": []}", "x");
    expect_refused(&result, 2, "\"messages\" comes from the conversation");
}

static void test_a_message_is_shown_as_the_prompt_it_becomes(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "tokenize", "-m", TINY, "--render", "-sys", "Be kind.", "Hi", NULL);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
                                    "<|im_start|>assistant\n");
    process_free(&result);
    process_run(&result, NULL, process_tool(), "tokenize", "-m", TINY, "--chat", "--ids", "--show-count", "Hi", NULL);
    process_assert_status(&result, 0);
    char counted[64];
    const char *at = strstr(result.out, "Total number of tokens: ");
    assert_non_null(at);
    snprintf(counted, sizeof counted, "%s", at + strlen("Total number of tokens: "));
    process_free(&result);
    RUN(&result, NULL, "Hi");
    assert_int_equal(prompt_tokens(&result), atoi(counted)); /* what a run computes */
}

static void test_tools(void **state) {
    (void)state;
    static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": "
                                "{\"type\": \"object\", \"properties\": {\"a\": {\"enum\": [1, 2]}}, \"required\": "
                                "[\"a\"]}}}]";
    struct process_result result;
    json_error_t error;
    const char *file = process_file("tools.json", tools, sizeof tools - 1);
    RUN(&result, NULL, "--tools", file, "--tool-choice", "required", "-n", "80", "x");
    process_assert_status(&result, 0);
    json_t *object = json_loadb(result.out, result.out_length, 0, &error);
    const json_t *call = json_array_get(json_object_get(object, "tool_calls"), 0);
    const json_t *function = json_object_get(call, "function");
    assert_non_null(json_string_value(json_object_get(call, "id")));
    assert_string_equal(json_string_value(json_object_get(function, "name")), "f");
    assert_string_equal(json_string_value(json_object_get(object, "text")), "");
    assert_true(json_number_value(json_object_get(json_object_get(object, "timings"), "first_token_ms")) > 0);
    json_t *arguments = json_loads(json_string_value(json_object_get(function, "arguments")), 0, &error);
    json_int_t a = json_integer_value(json_object_get(arguments, "a"));
    assert_true(a == 1 || a == 2);
    json_decref(arguments);
    json_decref(object);
    process_free(&result);
    process_run(&result, NULL, process_tool(), "run", "-m", TINY, "--device", "cpu", "--temp", "0", "-n", "80",
                "--tools", file, "--tool-choice", "f", "x", NULL);
    process_assert_status(&result, 0);
    if (strncmp(result.out, "{\"name\": \"f\", \"arguments\": {\"a\": ", 33) != 0) fail_msg("%s", result.out);
    process_free(&result);
    RUN(&result, NULL, "--tools", file, "--tool-choice", "g", "x");
    expect_refused(&result, 2, "nor the name of a tool");
    RUN(&result, NULL, "--tools", process_file("bad.json", "{}", 2), "x");
    expect_refused(&result, 2, "must be a JSON array");
    RUN(&result, NULL, "--tools", file, "--raw", "x");
    expect_refused(&result, 2, "which --raw leaves out");
    RUN(&result, NULL, "--tools", "/nonexistent/tools.json", "x");
    expect_refused(&result, 3, "/nonexistent/tools.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flags_choose_the_template),
        cmocka_unit_test(test_what_is_no_template_is_refused),
        cmocka_unit_test(test_the_configuration_chooses_where_no_flag_does),
        cmocka_unit_test(test_control_tokens_of_a_prompt_are_text_unless_asked),
        cmocka_unit_test(test_reasoning_is_no_part_of_the_answer),
        cmocka_unit_test(test_variables_reach_the_template),
        cmocka_unit_test(test_a_message_is_shown_as_the_prompt_it_becomes),
        cmocka_unit_test(test_tools),
    };
    return cmocka_run_group_tests_name("chat templates of a run", tests, NULL, NULL);
}
