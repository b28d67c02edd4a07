/* A remote API that fails in every way we know of: each ends as it should, in time, with words that name the remote and
 * say what to do, after as many requests as the rules for retries allow, and without the key in any of it. The scripts
 * are those of tests/support/remote_server.py. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "remote/retry.h"
#include "support/remote_server.h"

enum { SAYS = 3 };

/* What is not named is as in remote_at(): chat completions, a stream, plain http, and a failure of the remote. */
struct fault {
    const char *script;
    const char *says[SAYS]; /* parts of the message */
    const char *kind;       /* NULL: "http" */
    const char *dialect;
    const char *text; /* that came before the failure */
    bool whole, good;
    int requests; /* that the server got; 0: one */
    bool unsent;  /* none */
    double first_byte_seconds, idle_seconds, total_seconds;
};

static const struct fault faults[] = {
    /* Statuses that stay as they are. */
    {.script = "status_400", .says = {"HTTP 400", "no 400: [key] [31mred", "--remote-model"}, .whole = true},
    {.script = "status_401", .says = {"HTTP 401", "no 401: [key]", "check $" REMOTE_KEY_VARIABLE}},
    {.script = "status_402", .says = {"HTTP 402", "billing"}},
    {.script = "status_403", .says = {"HTTP 403", "the key is not allowed"}},
    {.script = "status_404", .says = {"HTTP 404", "--remote-dialect"}},
    {.script = "status_405", .says = {"HTTP 405", "no such API"}},
    {.script = "status_408", .says = {"HTTP 408", "took too long"}},
    {.script = "status_409", .says = {"HTTP 409", "take another remote"}},
    {.script = "status_413", .says = {"HTTP 413", "shorten the prompt"}},
    {.script = "status_422", .says = {"HTTP 422", "the options"}},
    {.script = "status_501", .says = {"HTTP 501", "take another remote"}},
    /* Statuses that may pass. */
    {.script = "status_429", .says = {"HTTP 429", "no 429: [key]", "(sent 3 times)"}, .requests = 3},
    {.script = "status_500", .says = {"HTTP 500", "a problem of its own"}, .requests = 3},
    {.script = "status_502", .says = {"HTTP 502", "whether that runs"}, .requests = 3},
    {.script = "status_503", .says = {"HTTP 503", "still loading"}, .requests = 3},
    {.script = "status_504", .says = {"HTTP 504", "too slow"}, .requests = 3},
    {.script = "status_529", .says = {"HTTP 529", "overloaded"}, .requests = 3, .dialect = "anthropic"},
    {.script = "once_429", .says = {NULL}, .good = true, .requests = 2},
    {.script = "once_500", .says = {NULL}, .good = true, .requests = 2, .whole = true},
    {.script = "once_503", .says = {NULL}, .good = true, .requests = 2},
    {.script = "once_529", .says = {NULL}, .good = true, .requests = 2, .dialect = "anthropic"},
    {.script = "after_nonsense", .says = {NULL}, .good = true, .requests = 2},
    {.script = "after_an_hour", .says = {"HTTP 429", "asks to wait 3600 s"}},
    /* What would take the key elsewhere. */
    {.script = "redirect_301", .says = {"HTTP 301", "a redirect to http://127.0.0.1", "make that the remote's URL"}},
    {.script = "redirect_302", .says = {"HTTP 302", "/trap/v1/chat/completions"}},
    {.script = "redirect_303", .says = {"HTTP 303", "not followed"}},
    {.script = "redirect_307", .says = {"HTTP 307", "not followed"}},
    {.script = "redirect_308", .says = {"HTTP 308", "not followed"}},
    /* The forms in which servers speak of errors. */
    {.script = "error_text", .says = {"HTTP 404", "model \"x\" not found"}},
    {.script = "error_vllm", .says = {"HTTP 404", "\"model x not found\" (NotFoundError)"}},
    {.script = "error_detail", .says = {"HTTP 404", "\"model x not found\""}},
    {.script = "error_anthropic",
     .says = {"HTTP 404", "\"model x not found\" (not_found_error)"},
     .dialect = "anthropic"},
    {.script = "error_plain", .says = {"HTTP 404", "\"model x not found\""}},
    {.script = "error_html", .says = {"HTTP 404; it has no such path"}},
    {.script = "error_empty", .says = {"HTTP 404; it has no such path"}},
    {.script = "error_endless", .says = {"HTTP 400", "xxxx..."}},
    /* JSON. */
    {.script = "json_truncated", .says = {"not as the dialect \"openai\" has it", "no JSON object"}, .whole = true},
    {.script = "json_malformed", .says = {"no JSON object", "--remote-dialect"}, .whole = true},
    {.script = "json_array", .says = {"no JSON object"}, .whole = true},
    {.script = "json_nothing", .says = {"choices is missing"}, .whole = true},
    {.script = "json_nothing", .says = {"\"anthropic\"", "content is missing"}, .whole = true, .dialect = "anthropic"},
    {.script = "json_no_choice", .says = {"choices is missing"}, .whole = true},
    {.script = "json_number", .says = {"content is no text"}, .whole = true},
    {.script = "json_no_reason", .says = {"finish_reason is missing"}, .whole = true, .text = "Hello"},
    {.script = "json_nul", .says = {"no JSON object"}, .whole = true},
    {.script = "json_utf8", .says = {"no JSON object"}, .whole = true},
    {.script = "json_deep", .says = {"no JSON object"}, .whole = true},
    {.script = "json_error",
     .says = {"HTTP 200 and then an error", "the model is gone", "no such path or model"},
     .whole = true},
    {.script = "json_error", .says = {"HTTP 200 and then an error", "the model is gone"}},
    {.script = "empty", .says = {"its answer is empty"}, .requests = 3},
    {.script = "empty", .says = {"its answer is empty"}, .requests = 3, .whole = true},
    /* Events. */
    {.script = "sse_malformed", .says = {"an event is no JSON object"}},
    {.script = "sse_no_object", .says = {"an event is no JSON object"}},
    {.script = "sse_utf8", .says = {"an event is no JSON object"}},
    {.script = "sse_nul", .says = {"an event is no JSON object"}},
    {.script = "sse_wrong_shape", .says = {"choices is no array"}},
    {.script = "sse_no_delta", .says = {"choices[0].delta is missing"}},
    {.script = "sse_no_delta", .says = {"an event has no type"}, .dialect = "anthropic"},
    {.script = "sse_garbage", .says = {"its answer stopped before its end"}, .requests = 3},
    {.script = "sse_error", .says = {"HTTP 200 and then an error \"the model is gone\""}},
    {.script = "sse_error_text", .says = {"\"out of slots\""}},
    {.script = "sse_error_vllm", .says = {"\"out of slots\"", "not ready"}, .requests = 3},
    {.script = "sse_overloaded",
     .says = {"\"Overloaded\" (overloaded_error)", "try later"},
     .requests = 3,
     .dialect = "anthropic"},
    {.script = "sse_event_error", .says = {"an error without words"}, .dialect = "anthropic"},
    {.script = "sse_filtered", .says = {"content filter"}},
    {.script = "late_error",
     .says = {"\"Overloaded\"", "12 bytes of the answer"},
     .dialect = "anthropic",
     .text = REMOTE_TEXT},
    {.script = "no_end", .says = {"stopped before its end", "are not the whole"}, .text = REMOTE_TEXT},
    {.script = "no_end", .says = {"stopped before its end"}, .dialect = "anthropic", .text = REMOTE_TEXT},
    {.script = "cut_in_event", .says = {"stopped before its end"}, .dialect = "anthropic", .text = REMOTE_TEXT},
    {.script = "broken_after_text", .says = {"the connection broke", "12 bytes"}, .text = REMOTE_TEXT},
    {.script = "no_done", .says = {NULL}, .good = true},
    /* Things too large, and of the wrong kind. */
    {.script = "html", .says = {"of type \"text/html; charset=utf-8\"", "that of an API"}},
    {.script = "huge_whole", .says = {"more than 16 MiB"}, .whole = true},
    {.script = "huge_event", .says = {"an event has more than 1048576 bytes"}},
    {.script = "huge_headers", .says = {"no usable HTTP", "header"}},
    {.script = "huge_header_line", .says = {"no usable HTTP"}},
    {.script = "bomb", .says = {"more than 16 MiB"}, .whole = true},
    {.script = "gzip_broken", .says = {"no usable HTTP"}, .whole = true},
    /* Slowness. */
    {.script = "silent",
     .says = {"nothing of an answer came within 0.3 s", "first_byte_timeout"},
     .first_byte_seconds = 0.3},
    {.script = "slow_headers", .says = {"nothing of an answer came within 0.3 s"}, .first_byte_seconds = 0.3},
    {.script = "silent", .says = {"not whole after 0.4 s", "raise its timeout"}, .whole = true, .total_seconds = 0.4},
    {.script = "slow_body", .says = {"not whole after 0.5 s"}, .total_seconds = 0.5},
    {.script = "slow_pings", .says = {"not whole after 0.5 s"}, .total_seconds = 0.5, .dialect = "anthropic"},
    {.script = "idle",
     .says = {"nothing more came for 0.3 s", "idle_timeout"},
     .text = REMOTE_TEXT,
     .idle_seconds = 0.3},
    {.script = "slow_words", .says = {"not whole after 0.5 s"}, .total_seconds = 0.5, .text = "word "},
    /* What is no HTTP, or breaks its rules. */
    {.script = "hangs_up", .says = {"the connection broke", "(sent 3 times)"}, .requests = 3},
    {.script = "resets", .says = {"the connection broke"}, .requests = 3},
    {.script = "no_http", .says = {"no usable HTTP"}},
    {.script = "bad_status_line", .says = {"see to"}},
    {.script = "chunk_garbage", .says = {"the connection broke"}, .requests = 3},
    {.script = "chunk_cut", .says = {"the connection broke"}, .requests = 3},
    {.script = "length_too_long", .says = {NULL}, .good = true, .whole = true}, /* nothing of the JSON is missing */
    {.script = "length_cut", .says = {"the connection broke"}, .requests = 3, .whole = true},
    {.script = "length_too_short", .says = {"no JSON object"}, .whole = true},
    {.script = "length_negative", .says = {"see to"}},
    /* TLS. */
    {.script = "good",
     .says = {"certificate is not to be trusted", "SSL_CERT_FILE"},
     .kind = "stranger",
     .unsent = true},
    {.script = "good", .says = {"certificate is not to be trusted", "127.0.0.1"}, .kind = "other_host", .unsent = true},
    {.script = "good", .says = {"certificate is not to be trusted", "expired"}, .kind = "expired", .unsent = true},
    {.script = "good", .says = {"cannot be reached", "whether it runs"}, .kind = "closed", .unsent = true},
};
enum { FAULTS = sizeof faults / sizeof *faults };

static struct clinfer_remote remote_of(const struct fault *fault) {
    struct clinfer_remote remote = remote_at(remote_server_url(fault->kind ? fault->kind : "http", fault->script));
    remote.dialect = fault->dialect;
    if (fault->first_byte_seconds > 0) remote.first_byte_seconds = fault->first_byte_seconds;
    if (fault->idle_seconds > 0) remote.idle_seconds = fault->idle_seconds;
    if (fault->total_seconds > 0) remote.total_seconds = fault->total_seconds;
    return remote;
}

static void check_words(const struct fault *fault, const struct remote_asked *asked) {
    remote_assert_no_key(asked->message);
    remote_assert_no_key(remote_log);
    if (fault->good) return;
    if (!strstr(asked->message, "remote \"test\" (127.0.0.1): ")) fail_msg("no name in: %s", asked->message);
    if (!strpbrk(asked->message, ";?")) fail_msg("nothing to do in: %s", asked->message);
    for (const char *at = asked->message; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f) fail_msg("a control character in: %s", asked->message);
    for (int i = 0; i < SAYS && fault->says[i]; i++)
        if (!strstr(asked->message, fault->says[i])) fail_msg("\"%s\" is not in: %s", fault->says[i], asked->message);
}

static void test_fault(void **state) {
    const struct fault *fault = *state;
    struct clinfer_remote remote = remote_of(fault);
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    remote_server_reset(NULL);
    request.whole = fault->whole;
    remote_ask(&remote, &request, &asked);
    if ((asked.status == CLINFER_OK) != fault->good)
        fail_msg("%s: %s", clinfer_status_text(asked.status), asked.message);
    if (!fault->good) assert_int_equal(asked.status, CLINFER_REMOTE_FAILED);
    check_words(fault, &asked);
    const char *text = fault->good ? REMOTE_TEXT : fault->text ? fault->text : "";
    if (strncmp(asked.text, text, strlen(text)) != 0 || (!*text && asked.used))
        fail_msg("the text is \"%s\", not \"%s\"", asked.text, text);
    int requests = fault->unsent ? 0 : fault->requests ? fault->requests : 1;
    assert_int_equal(remote_server_count(), requests);
    assert_int_equal(asked.result.requests, requests);
    if (asked.seconds > 15) fail_msg("took %.1f s", asked.seconds);
}

/* What has arrived by then decides: nothing of the text, and it is tried again; a part, and it is not; all, and it is
 * good. */
static void test_reset_at_each_byte(void **state) {
    static const char text_event[] = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    struct ci_remote_request request = remote_request();
    int good = 0, partial = 0, at = 0;
    (void)state;
    for (; good < (int)sizeof text_event / 2; at++) {
        char script[32];
        struct remote_asked asked;
        snprintf(script, sizeof script, "reset_at_%d", at);
        struct clinfer_remote remote = remote_at(remote_server_url("http", script));
        remote_server_reset(NULL);
        remote_ask(&remote, &request, &asked);
        size_t requests = remote_server_count();
        assert_true(asked.status == CLINFER_OK || asked.status == CLINFER_REMOTE_FAILED);
        assert_true(asked.used == 0 || strcmp(asked.text, "Hi") == 0);
        if (asked.status == CLINFER_OK) {
            assert_int_equal(asked.used, 2);
            good++;
            continue;
        }
        assert_int_equal(good, 0); /* from the byte on that completes it, it is complete */
        assert_int_equal(requests, asked.used ? 1 : 3);
        partial += asked.used != 0;
    }
    assert_true(partial > 0 && at > 190);
}

/* Names that no server is asked about: a label has 63 bytes at most. */
static void test_name_that_is_not_found(void **state) {
    struct clinfer_remote remote =
        remote_at("https://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid/v1");
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    remote_ask(&remote, &request, &asked);
    assert_int_equal(asked.status, CLINFER_REMOTE_FAILED);
    assert_int_equal(asked.result.requests, 0);
    assert_non_null(strstr(asked.message, "remote \"test\" (aaaa"));
    assert_non_null(strstr(asked.message, "cannot be reached: "));
    assert_non_null(strstr(asked.message, "see to the network"));
}

int main(void) {
    struct CMUnitTest tests[FAULTS + 2];
    static char names[FAULTS][96];
    for (int i = 0; i < FAULTS; i++) {
        snprintf(names[i], sizeof names[i], "test_fault %s%s%s%s%s", faults[i].script, faults[i].whole ? " whole" : "",
                 faults[i].kind ? " " : "", faults[i].kind ? faults[i].kind : "",
                 faults[i].dialect ? " anthropic" : "");
        /* The cast: cmocka hands the state back as it is. */
        tests[i] = (struct CMUnitTest){names[i], test_fault, NULL, NULL, (void *)(uintptr_t)&faults[i]};
    }
    tests[FAULTS] = (struct CMUnitTest)cmocka_unit_test_setup(test_reset_at_each_byte, remote_server_reset);
    tests[FAULTS + 1] = (struct CMUnitTest)cmocka_unit_test_setup(test_name_that_is_not_found, remote_server_reset);
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
