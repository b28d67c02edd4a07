/* A rung whose device failed comes back: what is under way goes on elsewhere meanwhile, the device is tried again after
 * a while, more and more seldom, and has to compute before requests go there; one that hung is never tried. How things
 * stand is told at once, whatever hangs. Run from the top of the repository. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "support/asserts.h"
#include "support/layer.h"
#include "support/process.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

enum { ANSWER = 12, TEXT = 1024, PATIENCE = 120 };

static clinfer_router *router;
static clinfer_conversation *conversation;
static char text[TEXT];
static size_t length;
static double save_seconds;

static bool hear(void *user, const char *piece, size_t bytes) {
    (void)user;
    if (length + bytes < TEXT) memcpy(text + length, piece, bytes);
    length += length + bytes < TEXT ? bytes : 0;
    text[length] = 0;
    return true;
}

/* With f32 activations and greedy, so that devices agree. */
static void open_router(double watchdog_seconds) {
    struct clinfer_session_options sampling;
    const struct clinfer_router_options options = {.engine = {.model = TINY_MODEL,
                                                              .device = "0",
                                                              .device_layers = -1,
                                                              .tuning = "none",
                                                              .activations = CLINFER_ACTIVATIONS_F32},
                                                   .watchdog_seconds = watchdog_seconds,
                                                   .prove = true,
                                                   .retry_seconds = 0.3,
                                                   .retry_most_seconds = 1,
                                                   .save_seconds = save_seconds};
    clinfer_session_options_default(NULL, &sampling);
    sampling.temperature = 0;
    assert_ok(clinfer_router_open(&options, &router));
    assert_ok(clinfer_router_start(router));
    assert_ok(clinfer_conversation_create(router, &sampling, &conversation));
}

static void close_router(void) {
    clinfer_conversation_destroy(conversation);
    clinfer_router_close(router);
}

static const struct clinfer_route *ask(void) {
    static const struct clinfer_message message = {.role = "user", .content = "Why is the sky blue?"};
    const struct clinfer_chat_request request = {
        .messages = &message, .count = 1, .raw = true, .max_tokens = ANSWER, .ignore_end = true, .callback = hear};
    const struct clinfer_route *route;
    length = 0;
    assert_ok(clinfer_chat_submit(conversation, &request));
    assert_ok(clinfer_chat_wait(conversation, &route));
    return route;
}

static struct clinfer_router_state state_of_router(void) {
    struct clinfer_router_state state;
    double start = ci_now();
    clinfer_router_get_state(router, &state);
    assert_true(ci_now() - start < 1);
    return state;
}

static double again_seconds(void) {
    struct clinfer_rung *rungs;
    size_t count;
    assert_ok(clinfer_router_rungs(router, &rungs, &count));
    assert_true(count > 1);
    double seconds = rungs[0].again_seconds;
    clinfer_free(rungs);
    return seconds;
}

static void pause_a_little(void) {
    const struct timespec a_little = {.tv_nsec = 10000000};
    nanosleep(&a_little, NULL);
}

static void wait_for_rung(int rung) {
    double until = ci_now() + PATIENCE;
    while (state_of_router().rung != rung && ci_now() < until) pause_a_little();
    assert_int_equal(state_of_router().rung, rung);
}

/* Of all engines that are open. */
static size_t cache_tokens(void) {
    struct clinfer_router_stats stats;
    clinfer_router_get_stats(router, &stats);
    return stats.cache_tokens;
}

static void test_a_failed_device_comes_back(void **state) {
    char expected[TEXT];
    (void)state;
    open_router(60);
    assert_int_equal(state_of_router().condition, CLINFER_ROUTER_READY);
    assert_int_equal(state_of_router().rung, 0);
    assert_int_equal(ask()->answered, 0);
    memcpy(expected, text, TEXT);
    layer_arm("clEnqueueNDRangeKernel/sample_merge@4+:lost");
    const struct clinfer_route *route = ask();
    assert_true(route->answered > 0);
    assert_true(route->rungs[0].tokens > 0);
    assert_string_equal(text, expected);
    assert_true(again_seconds() >= 0);
    /* It is tried in vain, and nobody is sent there. */
    double until = ci_now() + 3;
    while (ci_now() < until) {
        assert_true(ask()->answered > 0);
        assert_string_equal(text, expected);
        assert_true(state_of_router().rung > 0 && *state_of_router().reason);
        pause_a_little();
    }
    assert_true(layer_calls("*") > 0);
    layer_disarm();
    wait_for_rung(0);
    assert_int_equal(state_of_router().condition, CLINFER_ROUTER_READY);
    assert_string_equal(state_of_router().reason, "");
    route = ask();
    assert_int_equal(route->answered, 0);
    assert_false(route->fell_back);
    assert_string_equal(text, expected);
    close_router();
    assert_false(clinfer_left_behind());
}

/* The engine that helped out closes when the device has worked for a while; not under one that still has it. */
static void test_what_helped_out_closes(void **state) {
    (void)state;
    open_router(60);
    ask();
    size_t alone = cache_tokens();
    assert_true(alone > 0);
    layer_arm("clEnqueueNDRangeKernel/sample_merge@4+:lost");
    assert_true(ask()->answered > 0);
    clinfer_engine *held = clinfer_router_take_engine(router);
    assert_non_null(held);
    layer_disarm();
    wait_for_rung(0);
    assert_int_equal(ask()->answered, 0);
    assert_int_equal(cache_tokens(), 2 * alone);
    double until = ci_now() + 3; /* twice the longest time that it was out, and more */
    while (ci_now() < until) pause_a_little();
    assert_int_equal(cache_tokens(), 2 * alone);
    int32_t *tokens;
    size_t count;
    assert_ok(clinfer_tokenize(held, "still here", strlen("still here"), false, false, &tokens, &count));
    clinfer_free(tokens);
    clinfer_router_give_back_engine(router, held);
    until = ci_now() + PATIENCE;
    while (cache_tokens() != alone && ci_now() < until) pause_a_little();
    assert_int_equal(cache_tokens(), alone);
    /* It is opened again where it is needed. */
    layer_arm("clEnqueueNDRangeKernel/sample_merge@4+:lost");
    assert_true(ask()->answered > 0);
    layer_disarm();
    close_router();
    assert_false(clinfer_left_behind());
}

/* Between two requests, by one who need not give it back. */
static void test_what_was_shown_stays_open(void **state) {
    (void)state;
    open_router(60);
    layer_arm("clEnqueueNDRangeKernel/sample_merge@4+:lost");
    assert_true(ask()->answered > 0);
    clinfer_engine *engine = clinfer_router_engine(router);
    assert_non_null(engine);
    size_t alone = cache_tokens();
    layer_disarm();
    wait_for_rung(0);
    assert_int_equal(ask()->answered, 0);
    double until = ci_now() + 3;
    while (ci_now() < until) pause_a_little();
    assert_int_equal(cache_tokens(), 2 * alone);
    int32_t *tokens;
    size_t count;
    assert_ok(clinfer_tokenize(engine, "still here", strlen("still here"), false, false, &tokens, &count));
    clinfer_free(tokens);
    close_router();
    assert_false(clinfer_left_behind());
}

/* What is seen of the router by who looks all the time. */
static atomic_bool stops, hangs;

static void *look(void *user) {
    (void)user;
    while (!atomic_load(&stops)) {
        struct clinfer_router_state state = state_of_router();
        if (state.condition == CLINFER_ROUTER_HANGING && state.rung == 0) atomic_store(&hangs, true);
        pause_a_little();
    }
    return NULL;
}

static void test_a_device_that_hung_stays_away(void **state) {
    char expected[TEXT];
    (void)state;
    open_router(2);
    ask();
    memcpy(expected, text, TEXT);
    layer_arm("clEnqueueNDRangeKernel/sample_merge@4:hang");
    double start = ci_now();
    pthread_t looker;
    assert_int_equal(pthread_create(&looker, NULL, look, NULL), 0);
    const struct clinfer_route *route = ask();
    assert_true(route->answered > 0 && ci_now() - start < PATIENCE);
    atomic_store(&stops, true);
    pthread_join(looker, NULL);
    assert_true(atomic_load(&hangs)); /* before it was given up */
    assert_string_equal(text, expected);
    assert_true(clinfer_left_behind());
    assert_true(again_seconds() < 0);
    double until = ci_now() + 1.5; /* longer than it takes to try again */
    while (ci_now() < until) {
        assert_true(state_of_router().rung > 0);
        pause_a_little();
    }
    assert_true(ask()->answered > 0);
    close_router();
}

/* What it has built is saved while nobody asks, between requests that come meanwhile; and at the end for a while. */
static void test_saving_programs_holds_up_nobody(void **state) {
    (void)state;
    const char *before = getenv("XDG_CACHE_HOME");
    char *kept = before ? strdup(before) : NULL;
    setenv("XDG_CACHE_HOME", process_folder(), 1);
    save_seconds = 0.5;
    open_router(60);
    layer_arm("clGetProgramInfo@1+:delay/500"); /* asked twice for each program */
    assert_int_equal(ask()->answered, 0);
    double asked = ci_now();
    ask();
    assert_true(ci_now() - asked < 4);
    double closed = ci_now();
    close_router();
    assert_true(ci_now() - closed < 8);
    long calls = layer_calls("clGetProgramInfo");
    if (calls < 2 || calls > 20) fail_msg("%ld calls, %ld all, %ld strikes", calls, layer_calls("*"), layer_strikes());
    layer_disarm();
    save_seconds = 0;
    if (kept) setenv("XDG_CACHE_HOME", kept, 1);
    if (!kept) unsetenv("XDG_CACHE_HOME");
    free(kept);
}

/* With a thread in a driver the process must end like this. */
static int run(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_failed_device_comes_back),    cmocka_unit_test(test_what_helped_out_closes),
        cmocka_unit_test(test_what_was_shown_stays_open),     cmocka_unit_test(test_saving_programs_holds_up_nobody),
        cmocka_unit_test(test_a_device_that_hung_stays_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void) {
    if (!layer_load()) return 1;
    int failed = run();
    fflush(stdout);
    fflush(stderr);
    _exit(failed);
}
