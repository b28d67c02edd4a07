/* What the bodies of each dialect become, without a server and without a model. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/anthropic_read.h"
#include "server/execute_read.h"
#include "server/ollama_read.h"
#include "server/responses_read.h"

enum dialect { ANTHROPIC, RESPONSES, OLLAMA_CHAT, OLLAMA_GENERATE };

struct reading {
    struct ci_arena arena;
    struct ci_translation translation;
    struct ci_job job;
    struct ci_ollama_request ollama;
    json_t *body;
    bool stream, fine;
};

static void read_body(struct reading *reading, enum dialect dialect, const char *text) {
    json_error_t error;
    *reading = (struct reading){0};
    reading->body = json_loads(text, JSON_ALLOW_NUL, &error);
    if (!reading->body) fail_msg("the test's own body: %s", error.text);
    if (dialect == ANTHROPIC)
        reading->fine = ci_anthropic_read(reading->body, NULL, &reading->arena, &reading->job, &reading->translation,
                                          &reading->stream);
    else if (dialect == RESPONSES)
        reading->fine = ci_responses_read(reading->body, NULL, &reading->arena, &reading->job, &reading->translation,
                                          &reading->stream);
    else
        reading->fine = ci_ollama_read(reading->body, dialect == OLLAMA_CHAT, NULL, &reading->arena, &reading->job,
                                       &reading->translation, &reading->ollama);
}

static void end(struct reading *reading) {
    json_decref(reading->body);
    ci_arena_destroy(&reading->arena);
}

static void expect_fine(const struct reading *reading) {
    if (!reading->fine) fail_msg("refused: %s", reading->translation.problem);
}

static void expect_message(const struct reading *reading, size_t index, const char *role, const char *content) {
    assert_true(index < reading->job.request.count);
    assert_string_equal(reading->job.request.messages[index].role, role);
    assert_string_equal(reading->job.request.messages[index].content, content);
}

static void expect_refused(enum dialect dialect, const char *body, const char *param, const char *word) {
    struct reading reading;
    read_body(&reading, dialect, body);
    if (reading.fine) fail_msg("not refused: %s", body);
    if (param) assert_string_equal(reading.translation.param, param);
    if (!strstr(reading.translation.problem, word)) fail_msg("\"%s\" is not in: %s", word, reading.translation.problem);
    end(&reading);
}

/* ---- Anthropic ---- */

static void test_results_come_directly_behind_the_calls(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, ANTHROPIC,
              "{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
              "{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"\"},"
              "{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"},"
              "{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"get\",\"input\":{\"x\":1}}]},"
              "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"and\"},"
              "{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":[{\"type\":\"text\",\"text\":\"5\"}]},"
              "{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":\"6\",\"is_error\":true}]},"
              "{\"role\":\"user\",\"content\":\"more\"}]}");
    expect_fine(&reading);
    assert_int_equal(reading.job.request.count, 5);
    expect_message(&reading, 1, "assistant", "a\nb");
    assert_string_equal(reading.job.request.messages[1].reasoning, "hm");
    assert_int_equal(reading.job.request.messages[1].call_count, 1);
    assert_string_equal(reading.job.request.messages[1].calls[0].arguments, "{\"x\":1}");
    expect_message(&reading, 2, "tool", "5");
    assert_string_equal(reading.job.request.messages[2].call_id, "toolu_1");
    assert_string_equal(reading.job.request.messages[2].tool, "get");
    expect_message(&reading, 3, "tool", "6");
    expect_message(&reading, 4, "user", "and\nmore");
    assert_false(reading.job.request.continue_last);
    end(&reading);
}

static void test_the_stamp_of_claude_code_is_blanked(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, ANTHROPIC,
              "{\"system\":[{\"type\":\"text\",\"text\":\"x-anthropic-billing-header: cc_version=2.1; cch=a5145;You\"},"
              "{\"type\":\"text\",\"text\":\"cch=12345; stays\"}],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
              "{\"role\":\"system\",\"content\":\"later\"}]}");
    expect_fine(&reading);
    assert_int_equal(reading.job.request.count, 2);
    expect_message(&reading, 0, "system",
                   "x-anthropic-billing-header: cc_version=2.1; cch=fffff;You\ncch=12345; stays\n\nlater");
    assert_int_equal(reading.job.request.max_tokens, 4096);
    end(&reading);
}

static void test_fields_of_anthropic_are_honoured(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, ANTHROPIC,
              "{\"model\":\"m\",\"max_tokens\":0,\"temperature\":0.5,\"top_p\":0.9,\"top_k\":5,\"stream\":true,"
              "\"stop_sequences\":[\"END\",\"\"],\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
              "{\"role\":\"assistant\",\"content\":\"The\"}],\"tools\":[{\"name\":\"get\",\"description\":\"d\","
              "\"input_schema\":{\"type\":\"object\"}},{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}],"
              "\"tool_choice\":{\"type\":\"tool\",\"name\":\"get\"},\"thinking\":{\"type\":\"disabled\"},"
              "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"object\"}}}}");
    expect_fine(&reading);
    assert_string_equal(reading.job.model, "m");
    assert_true(reading.stream && reading.job.request.continue_last);
    assert_int_equal(reading.job.request.max_tokens, 0);
    assert_int_equal(reading.job.sampling.top_k, 5);
    assert_true(reading.job.sampling.temperature == 0.5F && reading.job.sampling.top_p == 0.9F);
    assert_int_equal(reading.job.request.stop_count, 1);
    assert_string_equal(reading.job.request.tool_choice, "get");
    assert_string_equal(reading.job.request.tools,
                        "[{\"type\":\"function\",\"function\":{\"name\":\"get\",\"description\":\"d\",\"parameters\":"
                        "{\"type\":\"object\"}}}]");
    assert_string_equal(reading.job.request.template_arguments, "{\"enable_thinking\":false}");
    assert_string_equal(reading.job.request.grammar->text, "{\"type\":\"object\"}");
    end(&reading);
}

static void test_keywords_that_are_none_are_notes(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, OLLAMA_CHAT,
              "{\"model\":\"m\",\"format\":{\"type\":\"object\",\"foo\":\"bar\",\"properties\":{\"foo\":{\"type\":"
              "\"string\",\"x-order\":1}},\"anyOf\":[{\"foo\":1}],\"not\":{\"foo\":2},\"enum\":[{\"foo\":3}],\"$defs\":"
              "{\"foo\":{\"foo\":4}},\"items\":[{\"foo\":5}]}}");
    expect_fine(&reading);
    assert_string_equal(reading.job.request.grammar->text,
                        "{\"type\":\"object\",\"properties\":{\"foo\":{\"type\":\"string\"}},\"anyOf\":[{}],\"not\":"
                        "{},\"enum\":[{\"foo\":3}],\"$defs\":{\"foo\":{}},\"items\":[{}]}");
    end(&reading);
}

static void test_what_is_wrong_for_anthropic_is_said(void **state) {
    (void)state;
    expect_refused(ANTHROPIC, "{}", "messages", "missing");
    expect_refused(ANTHROPIC, "{\"messages\":5}", "messages", "list");
    expect_refused(ANTHROPIC, "{\"messages\":[{\"role\":\"judge\",\"content\":\"\"}]}", "messages", "role");
    expect_refused(ANTHROPIC, "{\"messages\":[],\"max_tokens\":-1}", "max_tokens", "from 0");
    expect_refused(ANTHROPIC, "{\"messages\":[],\"temperature\":\"hot\"}", "temperature", "a text");
    expect_refused(ANTHROPIC, "{\"messages\":[],\"model\":7}", "model", "text");
    expect_refused(ANTHROPIC, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u0000b\"}]}", "messages", "U+0000");
    expect_refused(ANTHROPIC, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}", "messages",
                   "image input is not supported");
    expect_refused(ANTHROPIC, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"smell\"}]}]}", "messages",
                   "smell");
    expect_refused(ANTHROPIC, "{\"messages\":[{\"role\":\"user\",\"content\":[7]}]}", "messages", "no object");
    expect_refused(ANTHROPIC, "{\"messages\":[],\"tool_choice\":{\"type\":\"tool\"}}", "tool_choice", "name");
    expect_refused(ANTHROPIC, "{\"messages\":[],\"tools\":[{\"name\":\"\",\"input_schema\":{}}]}", "tools", "empty");
}

/* ---- Responses ---- */

static void test_items_of_one_answer_are_one_message(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, RESPONSES,
              "{\"instructions\":\"be\",\"max_output_tokens\":8,\"seed\":7,\"input\":["
              "{\"role\":\"developer\",\"content\":\"Book\"},{\"role\":\"user\",\"content\":[{\"type\":\"input_text\","
              "\"text\":\"hi\"}]},{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\","
              "\"text\":\"r\"}]},{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\","
              "\"text\":\"a\"}]},{\"type\":\"function_call\",\"call_id\":\"call_1\",\"name\":\"get\",\"arguments\":"
              "\"{\\\"x\\\": 1}\"},{\"type\":\"function_call_output\",\"call_id\":\"call_1\",\"output\":\"5\"}],"
              "\"tools\":[{\"type\":\"function\",\"name\":\"get\",\"parameters\":{\"type\":\"object\"}},"
              "{\"type\":\"web_search\"}],\"tool_choice\":\"required\",\"reasoning\":{\"effort\":\"low\"}}");
    expect_fine(&reading);
    assert_int_equal(reading.job.request.count, 4);
    expect_message(&reading, 0, "system", "be\n\nBook");
    expect_message(&reading, 1, "user", "hi");
    expect_message(&reading, 2, "assistant", "a");
    assert_string_equal(reading.job.request.messages[2].reasoning, "r");
    assert_int_equal(reading.job.request.messages[2].call_count, 1);
    expect_message(&reading, 3, "tool", "5");
    assert_string_equal(reading.job.request.messages[3].tool, "get");
    assert_int_equal(reading.job.request.max_tokens, 8);
    assert_int_equal(reading.job.sampling.seed, 7);
    assert_string_equal(reading.job.request.template_arguments, "{\"reasoning_effort\":\"low\"}");
    end(&reading);
}

static void test_what_is_wrong_for_responses_is_said(void **state) {
    (void)state;
    expect_refused(RESPONSES, "{}", "input", "missing");
    expect_refused(RESPONSES, "{\"input\":[]}", "input", "empty");
    expect_refused(RESPONSES, "{\"input\":\"hi\",\"previous_response_id\":\"resp_1\"}", "previous_response_id",
                   "whole");
    expect_refused(RESPONSES, "{\"input\":\"hi\",\"background\":true}", "background", "stream");
    expect_refused(RESPONSES, "{\"input\":\"hi\",\"text\":{\"format\":{\"type\":\"xml\"}}}", "text.format", "json");
    expect_refused(RESPONSES, "{\"input\":\"hi\",\"temperature\":[]}", "temperature", "temperature");
    expect_refused(RESPONSES, "{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", "input", "item_reference");
    expect_refused(RESPONSES,
                   "{\"input\":[{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"[1]\"}]}",
                   "input", "object");
}

/* ---- Ollama ---- */

static void test_fields_of_ollama_are_honoured(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, OLLAMA_CHAT,
              "{\"name\":\"m:latest\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
              "\"content\":\"\",\"thinking\":\"t\",\"tool_calls\":[{\"function\":{\"name\":\"get\",\"arguments\":"
              "{\"x\":1}}}]},{\"role\":\"tool\",\"content\":\"5\",\"tool_name\":\"get\"}],\"tools\":[],\"format\":"
              "\"json\",\"keep_alive\":\"1h30m\",\"think\":\"high\",\"options\":{\"num_predict\":-2,\"temperature\":0,"
              "\"seed\":42,\"stop\":[\"\\n\"],\"num_ctx\":4096,\"use_mmap\":true}}");
    expect_fine(&reading);
    assert_string_equal(reading.ollama.model, "m:latest");
    assert_true(reading.ollama.stream && !reading.ollama.empty);
    assert_int_equal(reading.job.request.count, 3);
    assert_string_equal(reading.job.request.messages[1].reasoning, "t");
    assert_string_equal(reading.job.request.messages[1].calls[0].id, "call_2_0");
    assert_string_equal(reading.job.request.messages[2].tool, "get");
    assert_null(reading.job.request.tools);
    assert_int_equal(reading.job.request.max_tokens, -1);
    assert_true(reading.job.keep_alive == 5400 && reading.job.sampling.temperature == 0);
    assert_int_equal(reading.job.sampling.seed, 42);
    assert_int_equal(reading.job.request.stop_count, 1);
    end(&reading);
}

static void test_a_prompt_of_ollama(void **state) {
    struct reading reading;
    (void)state;
    read_body(&reading, OLLAMA_GENERATE, "{\"model\":\"m\",\"prompt\":\"why\",\"system\":\"s\",\"stream\":false}");
    expect_fine(&reading);
    expect_message(&reading, 0, "system", "s");
    expect_message(&reading, 1, "user", "why");
    assert_false(reading.ollama.stream || reading.ollama.empty || reading.job.request.raw);
    end(&reading);
    read_body(&reading, OLLAMA_GENERATE, "{\"model\":\"m\",\"keep_alive\":0}");
    expect_fine(&reading);
    assert_true(reading.ollama.empty && reading.job.keep_alive == 0);
    end(&reading);
    read_body(&reading, OLLAMA_CHAT, "{\"model\":\"m\",\"messages\":[]}");
    assert_true(reading.fine && reading.ollama.empty && isnan(reading.job.keep_alive));
    end(&reading);
}

static void test_durations(void **state) {
    static const struct {
        const char *text;
        double seconds; /* NAN: refused */
    } cases[] = {{"5", 5},           {"-1", -1},       {"\"5m\"", 300},    {"\"1h30m\"", 5400}, {"\"-1s\"", -1},
                 {"\"250ms\"", .25}, {"\"300\"", 300}, {"\"1.5h\"", 5400}, {"\"\"", NAN},       {"\"5 m\"", NAN},
                 {"\"m\"", NAN},     {"\"5m3\"", NAN}, {"\"0x10s\"", NAN}, {"true", NAN},       {"\"infs\"", NAN}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double seconds = 0;
        json_t *value = json_loads(cases[i].text, JSON_DECODE_ANY, NULL);
        bool read = ci_ollama_duration(value, &seconds), wanted = !isnan(cases[i].seconds);
        if (read != wanted || (wanted && fabs(seconds - cases[i].seconds) > 1e-9))
            fail_msg("%s: %s, %g", cases[i].text, read ? "read" : "refused", seconds);
        json_decref(value);
    }
}

static void test_what_is_wrong_for_ollama_is_said(void **state) {
    (void)state;
    expect_refused(OLLAMA_CHAT, "{\"messages\":[]}", "model", "model is required");
    expect_refused(OLLAMA_CHAT, "{\"model\":\"m\",\"keep_alive\":\"soon\"}", "keep_alive", "seconds");
    expect_refused(OLLAMA_CHAT, "{\"model\":\"m\",\"format\":\"xml\"}", "format", "schema");
    expect_refused(OLLAMA_CHAT, "{\"model\":\"m\",\"options\":{\"temperature\":\"hot\"}}", "temperature", "options.");
    expect_refused(OLLAMA_CHAT,
                   "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\",\"images\":[\"a\"]}]}", "images",
                   "not supported");
    expect_refused(OLLAMA_GENERATE, "{\"model\":\"m\",\"prompt\":\"\",\"template\":\"{{ .Prompt }}\"}", "template",
                   "raw");
}

/* ---- a worker's jobs ---- */

static bool has_error(const json_t *errors, const char *field, const char *constraint) {
    const json_t *error;
    size_t i;
    json_array_foreach(errors, i, error) if (strcmp(json_string_value(json_object_get(error, "field")), field) == 0 &&
                                             strcmp(json_string_value(json_object_get(error, "constraint")),
                                                    constraint) == 0) return true;
    return false;
}

static void test_all_that_is_wrong_with_a_job_is_said(void **state) {
    struct ci_arena arena = {0};
    struct ci_job job;
    json_t *errors, *body = json_loads("{\"prompt\":\"\",\"max_tokens\":4096,\"temperature\":3,\"top_k\":1.5,"
                                       "\"stop\":[\"a\",\"b\",\"c\",\"d\",\"e\"],\"seed\":-1}",
                                       0, NULL);
    (void)state;
    assert_false(ci_execute_read(body, NULL, &arena, &job, &errors));
    assert_true(has_error(errors, "job_id", "required") && has_error(errors, "prompt", "length"));
    assert_true(has_error(errors, "max_tokens", "range") && has_error(errors, "temperature", "range"));
    assert_true(has_error(errors, "top_k", "type") && has_error(errors, "stop", "count"));
    assert_true(has_error(errors, "seed", "range"));
    assert_int_equal(json_array_size(errors), 7);
    json_decref(errors);
    json_decref(body);
    ci_arena_destroy(&arena);
}

static void test_a_job_is_taken_raw(void **state) {
    struct ci_arena arena = {0};
    struct ci_job job;
    json_t *errors,
        *body = json_loads("{\"job_id\":\"story\",\"prompt\":\"Once\",\"max_tokens\":50,\"temperature\":0.7,"
                           "\"repetition_penalty\":1.5,\"stop\":[\"END\"],\"seed\":42}",
                           0, NULL);
    (void)state;
    assert_true(ci_execute_read(body, NULL, &arena, &job, &errors));
    assert_true(job.request.raw && job.request.count == 1 && job.sampling.seed == 42);
    assert_true(job.sampling.temperature == 0.7F && job.sampling.repeat_penalty == 1.5F && job.sampling.top_k == -1);
    assert_string_equal(job.name, "story");
    assert_int_equal(job.request.max_tokens, 50);
    assert_string_equal(job.request.stop[0], "END");
    json_decref(errors);
    json_decref(body);
    ci_arena_destroy(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_results_come_directly_behind_the_calls),
        cmocka_unit_test(test_the_stamp_of_claude_code_is_blanked),
        cmocka_unit_test(test_fields_of_anthropic_are_honoured),
        cmocka_unit_test(test_keywords_that_are_none_are_notes),
        cmocka_unit_test(test_what_is_wrong_for_anthropic_is_said),
        cmocka_unit_test(test_items_of_one_answer_are_one_message),
        cmocka_unit_test(test_what_is_wrong_for_responses_is_said),
        cmocka_unit_test(test_fields_of_ollama_are_honoured),
        cmocka_unit_test(test_a_prompt_of_ollama),
        cmocka_unit_test(test_durations),
        cmocka_unit_test(test_what_is_wrong_for_ollama_is_said),
        cmocka_unit_test(test_all_that_is_wrong_with_a_job_is_said),
        cmocka_unit_test(test_a_job_is_taken_raw),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
