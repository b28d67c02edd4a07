/* Router and runner from a program's point of view, with a tiny model on the CPU backend: who may be kept waiting by
 * whom, what belongs to whom, and what becomes of text that waits for a stop text. How requests go down the ladder is
 * in tests/fault/test_ladder.c. Run from the top of the repository. */
#define _GNU_SOURCE
#include <jansson.h>
#include <math.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "engine/runner.h"
#include "support/asserts.h"
#include "support/remote_server.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

static const struct clinfer_message hello = {"user", "hello"};

static struct clinfer_chat_request request_of(clinfer_text_callback *callback, void *user) {
    return (struct clinfer_chat_request){
        .messages = &hello, .count = 1, .max_tokens = 8, .ignore_end = true, .callback = callback, .user = user};
}

/* ---- a receiver that takes its time ---- */

struct receiver {
    sem_t called, may_go_on;
    bool waits, kept_waiting;
    size_t bytes;
};

/* Holds the first piece until it is told to go on; false, after a while, as a test must end. */
static bool receive_slowly(void *user, const char *text, size_t length) {
    struct receiver *receiver = user;
    struct timespec until;
    (void)text;
    receiver->bytes += length;
    if (!receiver->waits) return true;
    receiver->waits = false;
    sem_post(&receiver->called);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    receiver->kept_waiting = sem_timedwait(&receiver->may_go_on, &until) != 0;
    return true;
}

static bool receive(void *user, const char *text, size_t length) {
    (void)text;
    *(size_t *)user += length;
    return true;
}

static void test_a_receiver_that_blocks_keeps_nobody_else_waiting(void **state) {
    struct clinfer_router_options options = {.engine = {.model = TINY_MODEL, .device = "cpu", .device_layers = -1}};
    struct receiver receiver = {.waits = true};
    clinfer_conversation *slow, *other;
    clinfer_router *router;
    size_t bytes = 0;
    (void)state;
    assert_int_equal(sem_init(&receiver.called, 0, 0) + sem_init(&receiver.may_go_on, 0, 0), 0);
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, NULL, &slow));
    assert_ok(clinfer_conversation_create(router, NULL, &other));
    const struct clinfer_chat_request slowly = request_of(receive_slowly, &receiver),
                                      quickly = request_of(receive, &bytes);
    assert_ok(clinfer_chat_submit(slow, &slowly));
    while (sem_wait(&receiver.called) != 0) {
    }
    /* All of these look at the engine that is computing, or was until it had to hand over the text. */
    assert_ok(clinfer_chat_submit(other, &quickly));
    assert_non_null(clinfer_router_engine(router));
    sem_post(&receiver.may_go_on);
    assert_ok(clinfer_chat_wait(slow, NULL));
    assert_ok(clinfer_chat_wait(other, NULL));
    assert_false(receiver.kept_waiting);
    assert_true(receiver.bytes > 0);
    assert_int_equal(bytes, receiver.bytes);
    clinfer_conversation_destroy(slow);
    clinfer_conversation_destroy(other);
    clinfer_router_close(router);
}

/* ---- texts ---- */

static char *fresh(const char *text) {
    char *copy = strdup(text);
    assert_non_null(copy);
    return copy;
}

static void spoil(char *text) {
    memset(text, 'x', strlen(text));
    free(text);
}

/* One that is left behind reads them whenever its driver wakes up. */
static void test_a_runner_has_its_own_texts(void **state) {
    char *model = fresh(TINY_MODEL), *device = fresh("cpu"), *tuning = fresh("none"), *op = fresh("matmul=cpu");
    const char **ops = malloc(sizeof *ops);
    const struct ci_watch_limits limits = {.step = 60, .build = 60};
    struct ci_engine_rung *rungs;
    struct ci_runner *runner;
    enum clinfer_status status;
    bool of_device;
    int count;
    (void)state;
    assert_non_null(ops);
    ops[0] = op;
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = model;
    options.device = device;
    options.tuning = tuning;
    options.ops = ops;
    options.op_count = 1;
    assert_ok(ci_engine_rungs(&options, &rungs, &count));
    assert_ok(ci_runner_create(&options, &rungs[0], &runner));
    spoil(model);
    spoil(device);
    spoil(tuning);
    spoil(op);
    ops[0] = NULL;
    free(ops);
    while (!ci_runner_wait_open(runner, 1, &status, &of_device)) {
    }
    assert_ok(status);
    struct clinfer_engine_info info;
    clinfer_engine_get_info(ci_runner_engine(runner), &info);
    assert_string_equal(info.architecture, "llama");
    assert_true(ci_runner_close(runner, &limits));
    free(rungs);
}

/* ---- text that may become a stop text ---- */

struct heard {
    char text[256];
};

static bool hear(void *user, const char *text, size_t length) {
    struct heard *heard = user;
    size_t used = strlen(heard->text);
    assert_true(used + length < sizeof heard->text);
    memcpy(heard->text + used, text, length);
    return true;
}

/* One after the other answers, the first without an end; `stop` is a text that does not come. */
static enum clinfer_status ask_remotes(const char *stop, size_t remotes, struct heard *heard) {
    const struct clinfer_remote items[] = {remote_at(remote_server_url("http", "no_end")),
                                           remote_at(remote_server_url("http", "good"))};
    const struct clinfer_router_options options = {
        .remotes = items, .remote_count = remotes, .remote_only = true, .remote_continues = true};
    struct clinfer_chat_request request = request_of(hear, heard);
    clinfer_conversation *conversation;
    clinfer_router *router;
    remote_server_reset(NULL);
    *heard = (struct heard){""};
    request.stop = &stop;
    request.stop_count = 1;
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, NULL, &conversation));
    assert_ok(clinfer_chat_submit(conversation, &request));
    enum clinfer_status status = clinfer_chat_wait(conversation, NULL);
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
    return status;
}

static const char *const held_back[] = {"w\xC3\xB6rld!", REMOTE_TEXT "!"}; /* the end of the answer; all of it */

/* Who goes on with an answer has to know all that came, not only what was shown. */
static void test_a_remote_is_told_what_was_held_back(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof held_back / sizeof *held_back; i++) {
        struct heard heard;
        assert_ok(ask_remotes(held_back[i], 2, &heard));
        assert_string_equal(heard.text, REMOTE_TEXT REMOTE_TEXT);
        json_t *log = remote_server_log();
        json_t *messages = json_object_get(json_object_get(json_array_get(log, 1), "body"), "messages");
        assert_int_equal(json_array_size(messages), 3);
        assert_string_equal(json_string_value(json_object_get(json_array_get(messages, 1), "content")), REMOTE_TEXT);
        json_decref(log);
    }
}

static void test_what_was_held_back_is_part_of_an_answer_that_fails(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof held_back / sizeof *held_back; i++) {
        struct heard heard;
        assert_int_equal(ask_remotes(held_back[i], 1, &heard), CLINFER_REMOTE_FAILED);
        assert_string_equal(heard.text, REMOTE_TEXT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_receiver_that_blocks_keeps_nobody_else_waiting),
        cmocka_unit_test(test_a_runner_has_its_own_texts),
        cmocka_unit_test(test_a_remote_is_told_what_was_held_back),
        cmocka_unit_test(test_what_was_held_back_is_part_of_an_answer_that_fails),
    };
    return cmocka_run_group_tests(tests, remote_server_start, remote_server_stop);
}
