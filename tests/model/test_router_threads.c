/* One router, many threads: each has conversations of its own, some of which are cancelled at any moment or destroyed
 * while they run; others ask it things meanwhile. What comes is what comes without the others. Also under
 * ThreadSanitizer (make tsan). With a tiny model on the CPU backend. Run from the top of the repository. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "support/asserts.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

enum { THREADS = 16, ROUNDS = 12, ANSWER = 24, TEXT = 4096, SLEEPERS = 64 };

static clinfer_router *router;
static atomic_int wrong, ended, cancelled;
static atomic_bool stops;

struct heard {
    char text[TEXT];
    size_t length;
    atomic_int inside; /* callbacks that are under way */
    double first;
};

static bool hear(void *user, const char *text, size_t length) {
    struct heard *heard = user;
    if (atomic_fetch_add(&heard->inside, 1) != 0) atomic_fetch_add(&wrong, 1);
    if (!(heard->first > 0)) heard->first = ci_now();
    if (heard->length + length < TEXT) {
        memcpy(heard->text + heard->length, text, length);
        heard->length += length;
        heard->text[heard->length] = 0;
    }
    atomic_fetch_sub(&heard->inside, 1);
    return true;
}

static clinfer_conversation *converse(void) {
    clinfer_conversation *conversation;
    struct clinfer_session_options sampling;
    clinfer_session_options_default(NULL, &sampling);
    sampling.temperature = 0;
    return clinfer_conversation_create(router, &sampling, &conversation) == CLINFER_OK ? conversation : NULL;
}

static struct clinfer_chat_request request_of(const struct clinfer_message *message, int most, struct heard *heard) {
    memset(heard->text, 0, sizeof heard->text);
    heard->length = 0;
    heard->first = 0;
    return (struct clinfer_chat_request){.messages = message,
                                         .count = 1,
                                         .raw = true,
                                         .max_tokens = most,
                                         .ignore_end = true,
                                         .callback = hear,
                                         .user = heard};
}

/* Whether a row has the same bits beside others is no question here: with 8-bit activations, and with F16 weights in
 * steps of more rows, it has not, and this model's near ties show it. */
enum { FEW_ROWS = 15 };

static int open_router(void **state) {
    const struct clinfer_router_options options = {.engine = {.model = TINY_MODEL,
                                                              .device = "cpu",
                                                              .device_layers = -1,
                                                              .batch = FEW_ROWS,
                                                              .activations = CLINFER_ACTIVATIONS_F32},
                                                   .prove = true};
    (void)state;
    assert_ok(clinfer_router_open(&options, &router));
    return 0;
}

static int close_router(void **state) {
    (void)state;
    clinfer_router_close(router);
    return 0;
}

/* ---- many at once ---- */

struct worker {
    pthread_t thread;
    unsigned seed;
    char prompt[64], alone[TEXT]; /* what is said to it by one that is alone */
};

static void *cancel_soon(void *user) {
    const struct timespec while_ = {.tv_nsec = 1500000};
    nanosleep(&while_, NULL);
    clinfer_chat_cancel(user);
    return NULL;
}

static void ask(struct worker *worker, struct heard *heard, clinfer_conversation *conversation) {
    const struct clinfer_message message = {.role = "user", .content = worker->prompt};
    const struct clinfer_chat_request request = request_of(&message, ANSWER, heard);
    const struct clinfer_route *route;
    if (clinfer_chat_submit(conversation, &request) != CLINFER_OK ||
        clinfer_chat_wait(conversation, &route) != CLINFER_OK || strcmp(heard->text, worker->alone) != 0 ||
        route->result.generated_tokens != ANSWER)
        atomic_fetch_add(&wrong, 1);
    atomic_fetch_add(&ended, 1);
}

static void ask_and_cancel(struct worker *worker, struct heard *heard, clinfer_conversation *conversation) {
    const struct clinfer_message message = {.role = "user", .content = worker->prompt};
    const struct clinfer_chat_request request = request_of(&message, 100000, heard);
    const struct clinfer_route *route;
    pthread_t other;
    if (clinfer_chat_submit(conversation, &request) != CLINFER_OK ||
        pthread_create(&other, NULL, cancel_soon, conversation) != 0) {
        atomic_fetch_add(&wrong, 1);
        return;
    }
    /* Its context may be full before that. */
    if (clinfer_chat_wait(conversation, &route) != CLINFER_OK || route->result.finish == CLINFER_FINISH_LENGTH)
        atomic_fetch_add(&wrong, 1);
    else
        atomic_fetch_add(&cancelled, route->result.finish == CLINFER_FINISH_CANCELLED);
    pthread_join(other, NULL);
}

static void ask_and_destroy(struct worker *worker, struct heard *heard) {
    const struct clinfer_message message = {.role = "user", .content = worker->prompt};
    const struct clinfer_chat_request request = request_of(&message, 100000, heard);
    clinfer_conversation *conversation = converse();
    if (!conversation || clinfer_chat_submit(conversation, &request) != CLINFER_OK) atomic_fetch_add(&wrong, 1);
    clinfer_conversation_destroy(conversation);
}

static void *work(void *user) {
    struct worker *worker = user;
    struct heard *heard = calloc(1, sizeof *heard);
    clinfer_conversation *conversation = converse();
    for (int i = 0; heard && conversation && i < ROUNDS; i++) {
        switch (rand_r(&worker->seed) % 4) {
        case 0: ask_and_cancel(worker, heard, conversation); break;
        case 1: ask_and_destroy(worker, heard); break;
        default: ask(worker, heard, conversation);
        }
    }
    clinfer_conversation_destroy(conversation);
    free(heard);
    return NULL;
}

static void *look(void *user) {
    (void)user;
    while (!atomic_load(&stops)) {
        const struct clinfer_message message = {.role = "user", .content = "hello"};
        const struct clinfer_chat_request request = {.messages = &message, .count = 1};
        struct clinfer_router_state state;
        struct clinfer_router_stats stats;
        struct clinfer_rung *rungs;
        size_t count, length;
        int32_t *tokens;
        char *text;
        clinfer_router_get_state(router, &state);
        clinfer_router_get_stats(router, &stats);
        if (clinfer_router_rungs(router, &rungs, &count) != CLINFER_OK) return NULL;
        clinfer_free(rungs);
        if (clinfer_router_prompt(router, &request, &text, &length, &tokens, &count) != CLINFER_OK || count == 0)
            atomic_fetch_add(&wrong, 1);
        clinfer_free(text);
        clinfer_engine *engine = clinfer_router_take_engine(router);
        if (engine && *clinfer_token_text(engine, tokens[count - 1], true, &length) == 0) atomic_fetch_add(&wrong, 1);
        clinfer_free(tokens);
        clinfer_router_give_back_engine(router, engine);
    }
    return NULL;
}

static void test_threads_do_not_disturb_each_other(void **state) {
    static struct worker workers[THREADS];
    struct heard heard = {.length = 0};
    pthread_t looker;
    (void)state;
    for (int i = 0; i < THREADS; i++) {
        struct worker *worker = &workers[i];
        worker->seed = (unsigned)i;
        snprintf(worker->prompt, sizeof worker->prompt, "%d birds and a fish", i);
        clinfer_conversation *conversation = converse();
        assert_non_null(conversation);
        ask(worker, &heard, conversation); /* which counts as wrong, since nobody knows the answer yet */
        memcpy(worker->alone, heard.text, TEXT);
        clinfer_conversation_destroy(conversation);
        assert_true(heard.length > 0);
    }
    assert_int_equal(atomic_exchange(&wrong, 0), THREADS);
    atomic_store(&ended, 0);
    assert_int_equal(pthread_create(&looker, NULL, look, NULL), 0);
    for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++) pthread_join(workers[i].thread, NULL);
    atomic_store(&stops, true);
    pthread_join(looker, NULL);
    assert_int_equal(atomic_load(&wrong), 0);
    assert_true(atomic_load(&ended) > 0);
    struct clinfer_router_stats stats;
    clinfer_router_get_stats(router, &stats);
    assert_int_equal(stats.running + stats.waiting, 0);
    assert_int_equal(stats.requests, stats.answered + stats.cancelled);
    assert_int_equal(stats.failed, 0);
    assert_true(stats.steps > 0 && stats.generated_tokens >= (uint64_t)atomic_load(&ended) * ANSWER);
    assert_true(stats.cache_tokens_used <= stats.cache_tokens);
    struct clinfer_router_state now;
    clinfer_router_get_state(router, &now);
    assert_int_equal(now.condition, CLINFER_ROUTER_READY);
    assert_string_equal(now.name, "cpu");
    assert_string_equal(now.reason, "");
}

/* ---- sessions of one's own on the router's engine ---- */

static void test_an_engine_in_use_takes_guests(void **state) {
    const struct clinfer_message message = {.role = "user", .content = "hello"};
    struct heard *heard = calloc(1, sizeof *heard);
    static const int32_t tokens[] = {1, 84, 104, 101};
    struct clinfer_session_options sampling;
    clinfer_session *session;
    (void)state;
    assert_non_null(heard);
    clinfer_session_options_default(NULL, &sampling);
    sampling.temperature = 0;
    sampling.shift = true; /* an answer without end */
    clinfer_conversation *conversation;
    assert_ok(clinfer_conversation_create(router, &sampling, &conversation));
    const struct clinfer_chat_request request = request_of(&message, -1, heard);
    assert_ok(clinfer_chat_submit(conversation, &request));
    clinfer_engine *engine = clinfer_router_take_engine(router);
    assert_non_null(engine);
    sampling.shift = false;
    const struct clinfer_request own = {.tokens = tokens, .count = 4, .max_tokens = 4, .ignore_end = true};
    for (int i = 0; i < ROUNDS; i++) {
        struct clinfer_result result;
        assert_ok(clinfer_session_create(engine, &sampling, &session));
        assert_ok(clinfer_generate(session, &own, &result));
        assert_int_equal(result.generated_tokens, 4);
        clinfer_session_destroy(session);
    }
    clinfer_router_give_back_engine(router, engine);
    clinfer_chat_cancel(conversation);
    assert_ok(clinfer_chat_wait(conversation, NULL));
    clinfer_conversation_destroy(conversation);
    free(heard);
}

/* ---- who waits sleeps ---- */

static void *wait_for(void *user) {
    clinfer_chat_wait(user, NULL);
    return NULL;
}

/* The receiver holds up the engine, so that nothing at all is to be done for a while. */
static bool hold(void *user, const char *text, size_t length) {
    const struct timespec while_ = {.tv_nsec = 300000000};
    (void)text;
    (void)length;
    if (!atomic_exchange((atomic_bool *)user, true)) nanosleep(&while_, NULL);
    return true;
}

static double processor_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void test_those_who_wait_sleep(void **state) {
    static clinfer_conversation *conversations[SLEEPERS];
    static pthread_t threads[SLEEPERS];
    const struct clinfer_message message = {.role = "user", .content = "hello"};
    atomic_bool held = false;
    (void)state;
    for (int i = 0; i < SLEEPERS; i++) {
        const struct clinfer_chat_request request = {.messages = &message,
                                                     .count = 1,
                                                     .raw = true,
                                                     .max_tokens = 2,
                                                     .ignore_end = true,
                                                     .callback = hold,
                                                     .user = &held};
        conversations[i] = converse();
        assert_non_null(conversations[i]);
        assert_ok(clinfer_chat_submit(conversations[i], &request));
        assert_int_equal(pthread_create(&threads[i], NULL, wait_for, conversations[i]), 0);
    }
    while (!atomic_load(&held)) {
        const struct timespec a_little = {.tv_nsec = 1000000};
        nanosleep(&a_little, NULL);
    }
    const struct timespec while_ = {.tv_nsec = 200000000};
    double before = processor_seconds();
    nanosleep(&while_, NULL);
    double spent = processor_seconds() - before;
    for (int i = 0; i < SLEEPERS; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < SLEEPERS; i++) clinfer_conversation_destroy(conversations[i]);
#ifndef __SANITIZE_THREAD__
    assert_true(spent < 0.02); /* of 64 threads in 0.2 s */
#endif
    (void)spent;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_disturb_each_other),
        cmocka_unit_test(test_an_engine_in_use_takes_guests),
        cmocka_unit_test(test_those_who_wait_sleep),
    };
    return cmocka_run_group_tests(tests, open_router, close_router);
}
