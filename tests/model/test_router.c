/* Router and runner from a program's point of view, with a tiny model on the CPU backend: who may be kept waiting by
 * whom, and what belongs to whom. How requests go down the ladder is in tests/fault/test_ladder.c. Run from the top of
 * the repository. */
#define _GNU_SOURCE
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

#include "base/file.h"
#include "engine/runner.h"
#include "support/asserts.h"
#include "support/process.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

static const struct clinfer_message hello = {.role = "user", .content = "hello"};

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
    assert_ok(ci_runner_create(&options, &rungs[0], NULL, &runner));
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

/* ---- a prompt that takes its time ---- */

/* Of nearly half a second for contents that say so, then it is refused: the bound on a template's steps. */
static const char slow_template[] = "{% for m in messages %}{% if 'slowly' in m.content %}{% for i in range(99999) %}"
                                    "{{ ('%f' % 1e308)[:0] }}{% endfor %}{% endif %}{{ m.content }}{% endfor %}";

/* The tiny model with that template in place of its own, which is longer. */
static const char *slow_model(void) {
    static const char first[] = "{% for message in messages %}", last[] = "assistant\n' }}{% endif %}";
    char *file;
    size_t size;
    assert_ok(ci_file_read(TINY_MODEL, 1 << 24, &file, &size));
    char *begin = memmem(file, size, first, sizeof first - 1);
    assert_non_null(begin);
    char *end = memmem(begin, size - (size_t)(begin - file), last, sizeof last - 1);
    assert_non_null(end);
    memset(begin, ' ', (size_t)(end - begin) + sizeof last - 1);
    assert_true(sizeof slow_template <= (size_t)(end - begin) + sizeof last);
    memcpy(begin, slow_template, sizeof slow_template - 1);
    const char *path = process_file("slow.gguf", file, size);
    free(file);
    return path;
}

static enum clinfer_status ask_slowly(clinfer_conversation *conversation, double deadline, double cancel_after,
                                      const struct clinfer_route **route) {
    const struct clinfer_message message = {.role = "user", .content = "slowly"};
    const struct clinfer_chat_request request = {
        .messages = &message, .count = 1, .max_tokens = 1, .deadline_seconds = deadline};
    assert_ok(clinfer_chat_submit(conversation, &request));
    if (cancel_after > 0) {
        const struct timespec pause = {.tv_nsec = (long)(cancel_after * 1e9)};
        nanosleep(&pause, NULL);
        clinfer_chat_cancel(conversation);
    }
    return clinfer_chat_wait(conversation, route);
}

static void test_time_and_cancellation_end_a_prompt_in_the_making(void **state) {
    struct clinfer_router_options options = {.engine = {.device = "cpu", .device_layers = -1}};
    const struct clinfer_route *route;
    clinfer_conversation *conversation;
    clinfer_router *router;
    size_t bytes = 0;
    (void)state;
    options.engine.model = slow_model();
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_conversation_create(router, NULL, &conversation));
    const struct clinfer_chat_request quickly = request_of(receive, &bytes);
    assert_ok(clinfer_chat_submit(conversation, &quickly));
    assert_ok(clinfer_chat_wait(conversation, NULL)); /* the model is open from here on */
    assert_int_equal(ask_slowly(conversation, 0, 0, NULL), CLINFER_BAD_FILE);
    assert_non_null(strstr(clinfer_error(), "too many steps"));
    assert_int_equal(ask_slowly(conversation, 0.05, 0, NULL), CLINFER_OUT_OF_TIME);
    assert_ok(ask_slowly(conversation, 0, 0.03, &route));
    assert_int_equal(route->result.finish, CLINFER_FINISH_CANCELLED);
    assert_int_equal(route->result.generated_tokens, 0);
    /* Neither says anything of the model. */
    assert_ok(clinfer_chat_submit(conversation, &quickly));
    assert_ok(clinfer_chat_wait(conversation, NULL));
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_receiver_that_blocks_keeps_nobody_else_waiting),
        cmocka_unit_test(test_a_runner_has_its_own_texts),
        cmocka_unit_test(test_time_and_cancellation_end_a_prompt_in_the_making),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
