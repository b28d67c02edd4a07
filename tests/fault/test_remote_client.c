/* How a remote's answer is read, in both dialects; who ends a request, and which remotes are left alone for a while.
 * What is sent is in test_remote_bodies.c, the failures of the other side in test_remote.c, policy and keys in
 * test_remote_policy.c. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "remote/logprobs.h"
#include "remote/retry.h"
#include "support/asserts.h"
#include "support/remote_server.h"

static const char *const dialects[] = {"openai", "anthropic"};

/* ---- good answers ---- */

static void test_good_answers(void **state) {
    static const char *const scripts[] = {"good", "bytewise", "never_streams", "untyped", "compressed", "stays_open"};
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        for (int which = 0; which < 4; which++) {
            struct clinfer_remote remote = remote_at(remote_server_url("http", scripts[i]));
            struct ci_remote_request request = remote_request();
            struct remote_asked asked;
            remote.dialect = dialects[which % 2];
            request.whole = which / 2;
            remote_ask_well(&remote, &request, &asked);
            assert_string_equal(asked.text, REMOTE_TEXT);
            assert_int_equal(asked.result.finish, CLINFER_FINISH_END);
            assert_int_equal(asked.result.prompt_tokens, 11);
            assert_int_equal(asked.result.generated_tokens, 3);
            assert_int_equal(asked.result.requests, 1);
            assert_true(asked.result.first_byte_seconds > 0 && asked.result.first_byte_seconds <= asked.seconds);
            assert_true(asked.seconds < 5);
            remote_check_requests(1, which % 2);
        }
    }
    remote_assert_no_key(remote_log);
}

static void test_good_answer_over_tls(void **state) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    struct clinfer_remote remote = remote_at(remote_server_url("good", "good"));
    remote_ask_well(&remote, &request, &asked);
    assert_string_equal(asked.text, REMOTE_TEXT);
}

static void test_probabilities_are_asked_for_and_told(void **state) {
    (void)state;
    struct ci_text_logprobs logprobs = {.width = 3};
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    struct clinfer_remote remote = remote_at(remote_server_url("http", "logprobs"));
    request.logprobs = &logprobs;
    request.whole = true;
    for (int times = 0; times < 2; times++) { /* those of the answer before are forgotten */
        remote_ask_well(&remote, &request, &asked);
        assert_false(logprobs.failed);
        assert_int_equal(logprobs.count, 2);
        const struct clinfer_text_logprob *rows = logprobs.items;
        assert_string_equal(rows[0].text, "He");
        assert_float_equal(rows[0].logprob, -0.5f, 1e-6f);
        assert_string_equal(rows[1].text, "He");
        assert_string_equal(rows[2].text, "She");
        assert_float_equal(rows[2].logprob, -1.5f, 1e-6f);
        assert_string_equal(rows[3].text, "\xc3"); /* bytes, where they are told */
        assert_int_equal(rows[3].length, 1);
        assert_null(rows[5].text);
    }
    ci_text_logprobs_free(&logprobs);
}

/* OpenAI's, where a schema was asked for and the model does not want to. */
static void test_refusal_is_an_answer(void **state) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    struct clinfer_remote remote = remote_at(remote_server_url("http", "refusal"));
    remote_ask_well(&remote, &request, &asked);
    assert_string_equal(asked.text, "I would rather not.");
}

static void test_reason_of_the_end(void **state) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    request.whole = true;
    for (int i = 0; i < 2; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", "reason_length"));
        remote.dialect = dialects[i];
        remote_ask_well(&remote, &request, &asked);
        assert_int_equal(asked.result.finish, CLINFER_FINISH_LENGTH);
    }
}

static int connection_of_next(const struct clinfer_remote *remote) {
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    json_t *log;
    remote_ask_well(remote, &request, &asked);
    int connection = (int)json_integer_value(json_object_get(remote_one_request(&log), "connection"));
    json_decref(log);
    return connection;
}

static void test_connections_are_used_again(void **state) {
    (void)state;
    struct clinfer_remote remote = remote_at(remote_server_url("http", "good"));
    int connection = connection_of_next(&remote);
    assert_int_equal(connection_of_next(&remote), connection);
    struct clinfer_remote closing = remote_at(remote_server_url("http", "says_closed"));
    connection_of_next(&closing);
    assert_int_not_equal(connection_of_next(&closing), connection); /* and not an error */
}

static void *ask_ten_times(void *result) {
    struct clinfer_remote remote = remote_at(*(char **)result);
    for (int i = 0; i < 10; i++) {
        struct ci_remote_request request = remote_request();
        struct remote_asked asked;
        remote_ask(&remote, &request, &asked);
        if (asked.status != CLINFER_OK || strcmp(asked.text, REMOTE_TEXT) != 0) return NULL;
    }
    return result;
}

static void test_threads_at_once(void **state) {
    char *url = strdup(remote_server_url("good", "good"));
    pthread_t threads[6];
    (void)state;
    for (int i = 0; i < 6; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_ten_times, &url), 0);
    for (int i = 0; i < 6; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_non_null(result);
    }
    assert_int_equal(remote_server_count(), 60);
    free(url);
}

/* ---- who ends a request ---- */

struct canceller {
    atomic_bool flag;
    double seconds, at;
};

static void *cancel_later(void *user) {
    struct canceller *canceller = user;
    const struct timespec time = {.tv_nsec = (long)(canceller->seconds * 1e9)};
    nanosleep(&time, NULL);
    canceller->at = ci_now();
    atomic_store(&canceller->flag, true);
    return NULL;
}

/* How long after the flag was set the request ended. */
static double cancel(const struct clinfer_remote *remote, double seconds, struct remote_asked *asked) {
    struct canceller canceller = {.seconds = seconds};
    struct ci_remote_request request = remote_request();
    pthread_t thread;
    request.cancel = &canceller.flag;
    assert_int_equal(pthread_create(&thread, NULL, cancel_later, &canceller), 0);
    remote_ask_well(remote, &request, asked);
    double end = ci_now();
    pthread_join(thread, NULL);
    assert_int_equal(asked->result.finish, CLINFER_FINISH_CANCELLED);
    return end - canceller.at;
}

static void test_cancel_ends_at_once(void **state) {
    static const char *const scripts[] = {"slow_words", "silent", "slow_pings", "slow_headers", "idle"};
    struct remote_asked asked;
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", scripts[i]));
        double late = cancel(&remote, 0.3, &asked);
        if (late > 0.5) fail_msg("%s: ended %.2f s late", scripts[i], late); /* 0.02 on an idle machine */
        if (i == 0) assert_true(strncmp(asked.text, "word ", 5) == 0);
    }
    /* Between two requests. */
    const struct ci_retry_policy patient = {2, 30, 60, 60};
    ci_retry_set_policy(&patient);
    struct clinfer_remote remote = remote_at(remote_server_url("http", "status_503"));
    assert_true(cancel(&remote, 0.3, &asked) < 0.5);
    /* While the key is fetched. */
    remote = remote_without_key(remote_server_url("http", "good"));
    remote.key_command = "sleep 30; echo key";
    assert_true(cancel(&remote, 0.3, &asked) < 0.5);
    assert_int_equal(asked.result.requests, 0);
}

static void test_deadline(void **state) {
    static const char *const scripts[] = {"slow_words", "silent", "slow_headers"};
    (void)state;
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", scripts[i]));
        struct ci_remote_request request = remote_request();
        struct remote_asked asked;
        request.deadline = ci_now() + 0.4;
        remote_ask(&remote, &request, &asked);
        assert_int_equal(asked.status, CLINFER_OUT_OF_TIME);
        assert_non_null(strstr(asked.message, "deadline"));
        assert_true(asked.seconds < 1.5);
    }
    /* The deadline says nothing of the remote: it is not left alone. Nor is there a limit of its own for a key. */
    struct clinfer_remote remote = remote_without_key(remote_server_url("http", "silent"));
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    for (int i = 0; i < 2; i++) {
        request.deadline = ci_now() + 0.2;
        remote_ask(&remote, &request, &asked);
        assert_int_equal(asked.status, CLINFER_OUT_OF_TIME);
        assert_int_equal(asked.result.requests, i == 0);
        remote.key_command = "sleep 20";
    }
}

static bool stop_at_once(void *user, const char *text, size_t length) {
    (void)text, (void)length;
    ++*(int *)user;
    return false;
}

static void test_reader_ends_the_answer(void **state) {
    struct clinfer_remote remote = remote_at(remote_server_url("http", "slow_words"));
    struct ci_remote_request request = remote_request();
    struct ci_remote_result result;
    int calls = 0;
    (void)state;
    request.callback = stop_at_once;
    request.user = &calls;
    assert_ok(ci_remote_ask(&remote, &request, &result));
    assert_int_equal(calls, 1);
    assert_int_equal(result.finish, CLINFER_FINISH_CANCELLED);
    assert_int_equal(result.text_bytes, 5);
}

/* ---- retries and rest ---- */

static void test_server_says_how_long_to_wait(void **state) {
    static const char *const scripts[] = {"after_seconds", "after_date"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct clinfer_remote remote = remote_at(remote_server_url("http", scripts[i]));
        struct ci_remote_request request = remote_request();
        struct remote_asked asked;
        remote_ask_well(&remote, &request, &asked);
        assert_int_equal(asked.result.requests, 2);
        assert_true(asked.seconds > 0.9 && asked.seconds < 8);
    }
    assert_non_null(strstr(remote_log, "asking again in 1.0 s"));
}

static void test_waits_have_full_jitter_and_an_end(void **state) {
    double least[2] = {1e9, 1e9}, most[2] = {0, 0};
    (void)state;
    ci_retry_set_policy(NULL);
    for (int i = 0; i < 2000; i++) {
        for (int failed = 1; failed <= 2; failed++) {
            double delay = ci_retry_delay(failed, 0, 0);
            if (delay < least[failed - 1]) least[failed - 1] = delay;
            if (delay > most[failed - 1]) most[failed - 1] = delay;
        }
    }
    assert_true(least[0] >= 0 && least[0] < 0.05 && most[0] > 0.95 && most[0] <= 1);
    assert_true(least[1] >= 0 && least[1] < 0.05 && most[1] > 1.9 && most[1] <= 2);
    assert_true(ci_retry_delay(3, 0, 0) < 0);
    assert_true(ci_retry_delay(1, 60, 0) < 0);
    assert_true(ci_retry_delay(1, 0, 60) < 0);
    assert_true(ci_retry_delay(1, 0, 20) >= 20 && ci_retry_delay(1, 0, 20) <= 21);
}

static void test_failed_remote_is_left_alone(void **state) {
    static const struct ci_retry_policy short_rest = {0, 0.01, 60, 0.4};
    struct ci_remote_request request = remote_request();
    struct remote_asked asked;
    (void)state;
    struct clinfer_remote remote = remote_at(remote_server_url("http", "status_401"));
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "HTTP 401");
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "left alone for another 60 s, since it failed: HTTP 401");
    assert_int_equal(remote_server_count(), 1);
    struct clinfer_remote other = remote_at(remote_server_url("http", "good"));
    remote_ask_well(&other, &request, &asked);
    /* What was wrong with one request is not wrong with the next. */
    struct clinfer_remote picky = remote_at(remote_server_url("http", "status_400"));
    remote_ask_badly(&picky, CLINFER_REMOTE_FAILED, "HTTP 400");
    remote_ask_badly(&picky, CLINFER_REMOTE_FAILED, "HTTP 400");
    ci_retry_set_policy(&short_rest);
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "HTTP 401");
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "left alone");
    usleep(450000);
    remote_ask_badly(&remote, CLINFER_REMOTE_FAILED, "HTTP 401");
}

/* ---- ci_remote_test ---- */

struct steps {
    char names[128], last[1100];
    enum clinfer_status status;
};

static void note_step(void *user, const struct ci_remote_step *step) {
    struct steps *steps = user;
    assert_int_equal(steps->status, CLINFER_OK);
    assert_true(step->seconds >= 0);
    snprintf(steps->names + strlen(steps->names), sizeof steps->names - strlen(steps->names), "%s ", step->name);
    snprintf(steps->last, sizeof steps->last, "%s", step->text);
    steps->status = step->status;
    remote_assert_no_key(step->text);
}

static void check_steps(struct clinfer_remote remote, const char *names, const char *says) {
    struct steps steps = {.status = CLINFER_OK};
    enum clinfer_status status = ci_remote_test(&remote, note_step, &steps);
    assert_int_equal(status, steps.status);
    assert_string_equal(steps.names, names);
    if (!strstr(steps.last, says)) fail_msg("\"%s\" is not in: %s", says, steps.last);
    if (status != CLINFER_OK) assert_string_equal(clinfer_error(), steps.last);
}

#define CERTIFIED "resolve connect certificate "

static void test_steps(void **state) {
    (void)state;
    check_steps(remote_at(remote_server_url("good", "good")), CERTIFIED "authenticate answer ",
                "11 tokens of prompt, 3 of");
    check_steps(remote_without_key(remote_server_url("http", "good")), CERTIFIED "authenticate answer ",
                "\"Hello w\xC3\xB6rld\"");
    check_steps(remote_at("https://a"
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid/v1"),
                "resolve ", "cannot be reached");
    check_steps(remote_at(remote_server_url("closed", "good")), "resolve connect ", "whether it runs");
    check_steps(remote_at(remote_server_url("expired", "good")), CERTIFIED, "SSL_CERT_FILE");
    check_steps(remote_at(remote_server_url("http", "status_401")), CERTIFIED "authenticate ",
                "does not accept the key");
    check_steps(remote_without_key(remote_server_url("http", "status_401")), CERTIFIED "authenticate ",
                "none is configured");
    check_steps(remote_at(remote_server_url("http", "status_404")), CERTIFIED "answer ", "--remote-model");
    check_steps(remote_at(remote_server_url("http", "no_end")), CERTIFIED "answer ", "stopped before its end");
}

#define TEST(name) cmocka_unit_test_setup(test_##name, remote_server_reset)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(good_answers),
        TEST(good_answer_over_tls),
        TEST(probabilities_are_asked_for_and_told),
        TEST(refusal_is_an_answer),
        TEST(reason_of_the_end),
        TEST(connections_are_used_again),
        TEST(threads_at_once),
        TEST(cancel_ends_at_once),
        TEST(deadline),
        TEST(reader_ends_the_answer),
        TEST(server_says_how_long_to_wait),
        TEST(waits_have_full_jitter_and_an_end),
        TEST(failed_remote_is_left_alone),
        TEST(steps),
    };
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
