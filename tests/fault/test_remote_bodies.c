/* What a remote is sent, in both dialects: messages, sampling, tools, an answer that has begun; and which requests
 * cannot be one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "support/remote_server.h"
#include "text/tool_calls.h"

static const char *const dialects[] = {"openai", "anthropic"};

static const struct clinfer_message talk[] = {{.role = "system", .content = "Be brief."},
                                              {.role = "user", .content = "Hi\xFF"},
                                              {.role = "assistant", .content = "Hello."},
                                              {.role = "user", .content = "Why?"},
                                              {.role = "system", .content = "In rhymes."}};

static struct ci_remote_request full_request(void) {
    static const char *const stop[] = {"END", "STOP"};
    struct ci_remote_request request = remote_request();
    request.messages = talk;
    request.count = sizeof talk / sizeof *talk;
    request.temperature = 0.7f;
    request.top_p = 0.9f;
    request.seed = 42;
    request.max_tokens = 100;
    request.stop = stop;
    request.stop_count = 2;
    request.json_schema = "{\"type\": \"object\"}";
    return request;
}

static void check_body(const char *dialect, const struct ci_remote_request *request, const char *wanted) {
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    struct remote_asked asked;
    json_t *log, *expected = json_loads(wanted, 0, NULL);
    remote.dialect = dialect;
    remote_ask_well(&remote, request, &asked);
    json_t *body = json_object_get(remote_one_request(&log), "body");
    assert_non_null(expected);
    if (!json_equal(body, expected)) {
        char *got = json_dumps(body, 0);
        fail_msg("%s, not %s", got, wanted);
    }
    json_decref(expected);
    json_decref(log);
}

/* Only OpenAI's dialect has them. */
static void test_penalties_and_biases_go_where_they_are_known(void **state) {
    static const struct clinfer_logit_bias bias[] = {{17, 1.5f}, {4, -INFINITY}};
    struct ci_remote_request request = remote_request();
    (void)state;
    request.whole = true;
    request.presence_penalty = 0.5f;
    request.frequency_penalty = -0.25f;
    request.logit_bias = bias;
    request.logit_bias_count = 2;
    check_body(
        "openai", &request,
        "{\"model\":\"tiny\",\"stream\":false,\"presence_penalty\":0.5,\"frequency_penalty\":-0.25,\"logit_bias\":"
        "{\"17\":1.5,\"4\":-100.0},\"messages\":[{\"role\":\"user\",\"content\":\"Say hello.\"}]}");
}

static void test_openai_body(void **state) {
    struct ci_remote_request request = full_request(), plain = remote_request();
    (void)state;
    check_body("openai", &request,
               "{\"model\":\"tiny\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"temperature\":0.7,"
               "\"top_p\":0.9,\"seed\":42,\"max_tokens\":100,\"stop\":[\"END\",\"STOP\"],\"response_format\":"
               "{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"answer\",\"strict\":true,\"schema\":{\"type\":"
               "\"object\"}}},\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\","
               "\"content\":\"Hi\\ufffd\"},{\"role\":\"assistant\",\"content\":\"Hello.\"},{\"role\":\"user\","
               "\"content\":\"Why?\"},{\"role\":\"system\",\"content\":\"In rhymes.\"}]}");
    plain.whole = true;
    check_body("openai", &plain,
               "{\"model\":\"tiny\",\"stream\":false,\"messages\":[{\"role\":\"user\",\"content\":\"Say hello.\"}]}");
}

/* ---- tools ---- */

static const struct clinfer_tool_call earlier[] = {
    {.id = "call_0", .name = "weather", .arguments = "{\"city\": \"Rome\"}"},
    {.id = "call_9", .name = "time", .arguments = "{}"}};
static const struct clinfer_message tool_talk[] = {
    {.role = "user", .content = "Rome?"},
    {.role = "assistant", .content = "", .calls = earlier, .call_count = 2},
    {.role = "tool", .content = "Sun", .call_id = "call_0", .tool = "weather"},
    {.role = "tool", .content = "Noon", .call_id = "call_9", .tool = "time"}};

static json_t *two_tools(void) {
    return json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"d\",\"parameters\":"
                      "{\"type\":\"object\",\"properties\":{}}}},{\"type\":\"function\",\"function\":{\"name\":"
                      "\"time\"}}]",
                      0, NULL);
}

static struct ci_tool_calls got;

static bool take_call(void *user, const struct clinfer_tool_call_piece *piece) {
    (void)user;
    return ci_tool_calls_add(&got, piece);
}

static struct ci_remote_request tool_request(const json_t *tools, const char *choice) {
    struct ci_remote_request request = remote_request();
    request.messages = tool_talk;
    request.count = sizeof tool_talk / sizeof *tool_talk;
    request.tools = tools;
    request.tool_choice = choice;
    request.call = take_call;
    return request;
}

static void test_tools_in_bodies(void **state) {
    (void)state;
    json_t *tools = two_tools();
    struct ci_remote_request request = tool_request(tools, "weather");
    request.whole = true;
    check_body("openai", &request,
               "{\"model\":\"tiny\",\"stream\":false,\"messages\":[{\"role\":\"user\",\"content\":\"Rome?\"},"
               "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_0\",\"type\":\"function\","
               "\"function\":{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\": \\\"Rome\\\"}\"}},{\"id\":\"call_9\","
               "\"type\":\"function\",\"function\":{\"name\":\"time\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\","
               "\"content\":\"Sun\",\"tool_call_id\":\"call_0\"},{\"role\":\"tool\",\"content\":\"Noon\","
               "\"tool_call_id\":\"call_9\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\","
               "\"description\":\"d\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}},{\"type\":\"function\","
               "\"function\":{\"name\":\"time\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":"
               "\"weather\"}}}");
    request.tool_choice = "required";
    check_body(
        "anthropic", &request,
        "{\"model\":\"tiny\",\"stream\":false,\"max_tokens\":4096,\"messages\":[{\"role\":\"user\",\"content\":"
        "\"Rome?\"},{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"call_0\",\"name\":"
        "\"weather\",\"input\":{\"city\":\"Rome\"}},{\"type\":\"tool_use\",\"id\":\"call_9\",\"name\":\"time\","
        "\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"tool_use_id\":\"call_0\","
        "\"content\":\"Sun\"},{\"type\":\"tool_result\",\"tool_use_id\":\"call_9\",\"content\":\"Noon\"}]}],"
        "\"tools\":[{\"name\":\"weather\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\","
        "\"properties\":{}}},{\"name\":\"time\",\"input_schema\":{\"type\":\"object\"}}],\"tool_choice\":{\"type\":"
        "\"any\"}}");
    json_decref(tools);
}

static void test_calls_of_an_answer(void **state) {
    (void)state;
    json_t *tools = two_tools();
    for (int i = 0; i < 4; i++) {
        struct ci_remote_request request = tool_request(tools, NULL);
        struct clinfer_remote remote = remote_at(remote_server_url("http", "calls"));
        struct remote_asked asked;
        remote.dialect = dialects[i % 2];
        request.whole = i >= 2;
        remote_ask(&remote, &request, &asked);
        assert_string_equal(asked.message, "");
        assert_string_equal(asked.text, "Well.");
        const struct clinfer_tool_call *calls = ci_tool_calls_view(&got);
        assert_int_equal(got.count, 2);
        assert_string_equal(calls[0].id, "call_1");
        assert_string_equal(calls[0].name, "weather");
        assert_string_equal(calls[0].arguments, "{\"city\": \"Paris\"}");
        assert_string_equal(calls[1].id, "call_2");
        assert_string_equal(calls[1].arguments, "{}");
        assert_false(calls[0].cut || calls[1].cut);
        ci_tool_calls_free(&got);
    }
    json_decref(tools);
}

static void test_anthropic_body(void **state) {
    struct ci_remote_request request = full_request(), plain = remote_request();
    (void)state;
    request.temperature = 1.5f; /* more than this API takes */
    check_body(
        "anthropic", &request,
        "{\"model\":\"tiny\",\"stream\":true,\"temperature\":1.0,\"max_tokens\":100,"
        "\"stop_sequences\":[\"END\",\"STOP\"],\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":"
        "{\"type\":\"object\"}}},\"system\":\"Be brief.\\n\\nIn rhymes.\",\"messages\":[{\"role\":\"user\","
        "\"content\":\"Hi\\ufffd\"},{\"role\":\"assistant\",\"content\":\"Hello.\"},{\"role\":\"user\",\"content\":"
        "\"Why?\"}]}");
    assert_non_null(strstr(remote_log, "temperature 1.5: this API takes 1 at most"));
    assert_non_null(strstr(remote_log, "top_p 0.9 is not sent"));
    plain.whole = true;
    plain.top_p = 0.9f;
    check_body("anthropic", &plain,
               "{\"model\":\"tiny\",\"stream\":false,\"max_tokens\":4096,\"top_p\":0.9,\"messages\":[{\"role\":"
               "\"user\",\"content\":\"Say hello.\"}]}");
    plain.top_p = NAN;
    check_body("anthropic", &plain,
               "{\"model\":\"tiny\",\"stream\":false,\"max_tokens\":4096,\"messages\":[{\"role\":\"user\",\"content\":"
               "\"Say hello.\"}]}");
}

static void test_sampling_that_is_refused_is_left_out(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", "own_sampling"));
        struct ci_remote_request request = remote_request();
        struct remote_asked asked;
        json_t *log = NULL;
        remote.dialect = dialects[i % 2];
        remote.model = i < 2 ? "cold" : "narrow";
        if (i < 2)
            request.temperature = 0;
        else
            request.top_p = 0.5f;
        remote_ask_well(&remote, &request, &asked);
        assert_string_equal(asked.text, REMOTE_TEXT);
        assert_int_equal(asked.result.requests, 2);
        log = remote_server_log();
        json_t *first = json_object_get(json_array_get(log, 0), "body"),
               *last = json_object_get(json_array_get(log, 1), "body");
        json_object_del(first, "temperature");
        json_object_del(first, "top_p");
        assert_true(json_equal(first, last));
        /* And from then on. */
        remote_ask_well(&remote, &request, &asked);
        assert_int_equal(asked.result.requests, 1);
        json_t *again = remote_server_log();
        assert_true(json_equal(json_object_get(json_array_get(again, 0), "body"), last));
        json_decref(again);
        json_decref(log);
    }
    assert_non_null(strstr(remote_log, "is deprecated for this model"));
    assert_non_null(strstr(remote_log, "asking again without temperature and top_p"));
    /* Once; and not where there is nothing to leave out. */
    struct clinfer_remote remote = remote_at(remote_server_url("http", "never_cold"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    for (int i = 0; i < 2; i++) {
        remote_ask(&remote, &request, &asked);
        assert_int_equal(asked.status, CLINFER_REMOTE_FAILED);
        assert_int_equal(asked.result.requests, 1 + i);
        request.temperature = 0.5f;
    }
}

/* No dialect lets the assistant have the last word. */
static void test_begun_answer_is_to_be_continued(void **state) {
    struct ci_remote_request request = remote_request();
    (void)state;
    request.begun = "Hello, my na";
    for (int i = 0; i < 2; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
        struct remote_asked asked;
        json_t *log;
        remote.dialect = dialects[i];
        remote_ask_well(&remote, &request, &asked);
        const json_t *messages = json_object_get(json_object_get(remote_one_request(&log), "body"), "messages");
        assert_int_equal(json_array_size(messages), 3);
        const json_t *begun = json_array_get(messages, 1), *last = json_array_get(messages, 2);
        assert_string_equal(json_string_value(json_object_get(begun, "role")), "assistant");
        assert_string_equal(json_string_value(json_object_get(begun, "content")), "Hello, my na");
        assert_string_equal(json_string_value(json_object_get(last, "role")), "user");
        assert_non_null(strstr(json_string_value(json_object_get(last, "content")), "exactly where it stops"));
        json_decref(log);
    }
}

static void test_requests_that_cannot_be(void **state) {
    static const struct clinfer_message system = {.role = "system", .content = "Be brief."};
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    request.json_schema = "{nope";
    remote_ask(&remote, &request, &asked);
    assert_int_equal(asked.status, CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(asked.message, "the JSON schema is no JSON: line 1"));
    request = remote_request();
    request.messages = &system;
    remote.dialect = "anthropic";
    remote_ask(&remote, &request, &asked);
    assert_int_equal(asked.status, CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(asked.message, "no message for it to answer"));
    assert_int_equal(remote_server_count(), 0);
}

#define TEST(name) cmocka_unit_test_setup(test_##name, remote_server_reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(openai_body),
        TEST(anthropic_body),
        TEST(penalties_and_biases_go_where_they_are_known),
        TEST(tools_in_bodies),
        TEST(calls_of_an_answer),
        TEST(sampling_that_is_refused_is_left_out),
        TEST(begun_answer_is_to_be_continued),
        TEST(requests_that_cannot_be),
    };
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
