/* Requests whose grammar takes long to compile, as an answer's form, as tools' parameters, while the engine opens, or
 * in vain: others begin and end meanwhile, who submits does not wait, each text is compiled once, and who leaves ends
 * it. Also under ThreadSanitizer (make tsan). With a tiny model on the CPU backend. Run from the top of the repository.
 */
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
#include "engine/constraint.h"
#include "support/asserts.h"

#define TINY_MODEL "tests/data/llama_tiny.gguf"

/* A model whose calls have the form of Hermes and Qwen. */
static const char template[] =
    "{% set marks = '<tool_call></tool_call>' %}{% if tools %}{{ tools[0].function.name }}{% endif %}"
    "{{ messages[-1].content }}";

enum { PROPERTIES = 2000, THREADS = 6 };

static clinfer_router *router;

static clinfer_router *make_router(void) {
    const struct clinfer_router_options options = {
        .engine = {.model = TINY_MODEL, .device = "cpu", .device_layers = -1, .chat_template = template},
        .prove = true};
    clinfer_router *made;
    assert_ok(clinfer_router_open(&options, &made));
    return made;
}

static int open_router(void **state) {
    (void)state;
    router = make_router();
    assert_ok(clinfer_router_start(router));
    return 0;
}

static int close_router(void **state) {
    (void)state;
    clinfer_router_close(router);
    return 0;
}

/* {"type": "object", "properties": {...}} with so many, and the last of them none where that is wanted. */
static void write_schema(FILE *out, int count, bool fails_late) {
    fputs("{\"type\": \"object\", \"properties\": {", out);
    for (int i = 0; i < count; i++) {
        fprintf(out, "%s\"property_%d\": {\"enum\": [", i ? ", " : "", i);
        for (int k = 0; k < 32; k++) fprintf(out, "%s\"value %d of %d\"", k ? ", " : "", k, i);
        fputs("]}", out);
    }
    fputs(fails_late ? "}, \"required\": [\"never\"], \"additionalProperties\": false}" : "}}", out);
}

/* For free(). */
static char *make_schema(int count, bool fails_late, bool as_tool) {
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    assert_non_null(out);
    if (as_tool) fputs("[{\"type\": \"function\", \"function\": {\"name\": \"x\", \"parameters\": ", out);
    write_schema(out, count, fails_late);
    if (as_tool) fputs("}}]", out);
    fclose(out);
    return text;
}

/* ---- a request that takes long, and those beside it ---- */

struct large {
    clinfer_router *router;
    const char *schema, *tools, *choice;
    double cancel_after; /* seconds; 0: never */

    enum clinfer_status status;
    enum clinfer_finish finish;
    double submit_seconds, seconds;
    atomic_bool ended;
    clinfer_conversation *conversation;
};

static bool take_text(void *user, const char *text, size_t length) {
    (void)user;
    (void)text;
    (void)length;
    return true;
}

static struct clinfer_chat_request request_of(const struct clinfer_message *message) {
    return (struct clinfer_chat_request){
        .messages = message, .count = 1, .max_tokens = 1, .ignore_end = true, .callback = take_text};
}

static clinfer_conversation *converse(clinfer_router *with) {
    clinfer_conversation *conversation;
    assert_ok(clinfer_conversation_create(with, NULL, &conversation));
    return conversation;
}

static void *cancel_later(void *user) {
    struct large *large = user;
    const struct timespec while_ = {.tv_nsec = (long)(large->cancel_after * 1e9)};
    nanosleep(&while_, NULL);
    clinfer_chat_cancel(large->conversation);
    return NULL;
}

static void *ask_large(void *user) {
    struct large *large = user;
    const struct clinfer_message message = {.role = "user", .content = "Once"};
    const struct clinfer_grammar grammar = {
        .kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = large->schema, .name = "large", .leave_open = true};
    struct clinfer_chat_request request = request_of(&message);
    const struct clinfer_route *route = NULL;
    pthread_t other;
    request.grammar = large->schema ? &grammar : NULL;
    request.tools = large->tools;
    request.tool_choice = large->choice;
    if (large->choice) request.max_tokens = -1;
    large->conversation = converse(large->router);
    double start = ci_now();
    large->status = clinfer_chat_submit(large->conversation, &request);
    large->submit_seconds = ci_now() - start;
    bool cancels = large->cancel_after > 0 && pthread_create(&other, NULL, cancel_later, large) == 0;
    if (large->status == CLINFER_OK) large->status = clinfer_chat_wait(large->conversation, &route);
    if (large->status == CLINFER_OK) large->finish = route->result.finish;
    large->seconds = ci_now() - start;
    atomic_store(&large->ended, true);
    if (cancels) pthread_join(other, NULL);
    clinfer_conversation_destroy(large->conversation);
    return NULL;
}

/* Short answers until the large one has ended: how many, and the longest. */
static int ask_meanwhile(struct large *large, double *longest) {
    const struct clinfer_message message = {.role = "user", .content = "Once"};
    const struct clinfer_chat_request request = request_of(&message);
    int meanwhile = 0;
    *longest = 0;
    for (; !atomic_load(&large->ended); meanwhile++) {
        clinfer_conversation *conversation = converse(large->router);
        double start = ci_now();
        assert_ok(clinfer_chat_submit(conversation, &request));
        assert_ok(clinfer_chat_wait(conversation, NULL));
        double seconds = ci_now() - start;
        if (seconds > *longest) *longest = seconds;
        clinfer_conversation_destroy(conversation);
    }
    return meanwhile;
}

static void check_beside(struct large *large, enum clinfer_status wanted) {
    pthread_t thread;
    double longest;
    assert_int_equal(pthread_create(&thread, NULL, ask_large, large), 0);
    int meanwhile = ask_meanwhile(large, &longest);
    pthread_join(thread, NULL);
    if (large->status != wanted) fail_msg("status %d: %s", (int)large->status, clinfer_error());
    if (meanwhile < 5 || longest > large->seconds / 2 || large->submit_seconds > large->seconds / 2)
        fail_msg("in %.3f s there were %d short answers, the longest of %.3f s; to submit took %.3f s", large->seconds,
                 meanwhile, longest, large->submit_seconds);
}

static void test_a_large_grammar_holds_up_nobody(void **state) {
    (void)state;
    char *schema = make_schema(PROPERTIES, false, false);
    struct large large = {.router = router, .schema = schema};
    check_beside(&large, CLINFER_OK);
    free(schema);
}

static void test_one_that_fails_late_holds_up_nobody(void **state) {
    (void)state;
    char *schema = make_schema(PROPERTIES, true, false);
    struct large large = {.router = router, .schema = schema};
    check_beside(&large, CLINFER_INVALID_ARGUMENT);
    free(schema);
}

static void test_large_tools_hold_up_nobody(void **state) {
    (void)state;
    char *tools = make_schema(PROPERTIES, false, true);
    struct large may = {.router = router, .tools = tools};
    struct large must = {.router = router, .tools = tools, .choice = "required"};
    check_beside(&may, CLINFER_OK);
    check_beside(&must, CLINFER_OK);
    free(tools);
}

/* The engine is not there when it comes. */
static void test_a_request_that_comes_early_holds_up_nobody(void **state) {
    (void)state;
    char *schema = make_schema(PROPERTIES, false, false);
    struct large large = {.router = make_router(), .schema = schema};
    check_beside(&large, CLINFER_OK);
    clinfer_router_close(large.router);
    free(schema);
}

/* Who waits for what another one compiles goes on with it where that one leaves. */
static void test_who_waits_goes_on_where_others_leave(void **state) {
    (void)state;
    char *schema = make_schema(PROPERTIES + 3, false, false);
    struct large larges[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        larges[i] =
            (struct large){.router = router, .schema = schema, .cancel_after = i == THREADS - 1 ? 0 : 0.01 + 0.01 * i};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_large, &larges[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(larges[i].status, CLINFER_OK);
    }
    assert_int_equal(larges[0].finish, CLINFER_FINISH_CANCELLED);
    assert_int_equal(larges[THREADS - 1].finish, CLINFER_FINISH_LENGTH);
    free(schema);
}

static void test_who_leaves_ends_it(void **state) {
    (void)state;
    char *schema = make_schema(2 * PROPERTIES, false, false);
    struct large whole = {.router = router, .schema = schema};
    struct large left = {.router = router, .schema = schema, .cancel_after = 0.02};
    ask_large(&left);
    ask_large(&whole);
    if (left.status != CLINFER_OK) fail_msg("status %d: %s", (int)left.status, clinfer_error());
    assert_int_equal(left.finish, CLINFER_FINISH_CANCELLED);
    assert_int_equal(whole.status, CLINFER_OK);
    if (left.seconds > whole.seconds / 2) fail_msg("%.3f s, and whole %.3f s", left.seconds, whole.seconds);
    free(schema);
}

/* ---- compiled once ---- */

static double processor_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct taker {
    pthread_t thread;
    clinfer_engine *engine;
    const struct clinfer_grammar *grammar;
    struct ci_compiled *compiled;
    enum clinfer_status status;
    char message[200];
};

static void *take(void *user) {
    struct taker *taker = user;
    taker->status = ci_compiled_take(taker->engine, taker->grammar, &taker->compiled);
    snprintf(taker->message, sizeof taker->message, "%s", clinfer_error());
    return NULL;
}

static double take_from_threads(clinfer_engine *engine, const struct clinfer_grammar *grammar, struct taker *takers,
                                int count) {
    double before = processor_seconds();
    for (int i = 0; i < count; i++) {
        takers[i] = (struct taker){.engine = engine, .grammar = grammar};
        assert_int_equal(pthread_create(&takers[i].thread, NULL, take, &takers[i]), 0);
    }
    for (int i = 0; i < count; i++) pthread_join(takers[i].thread, NULL);
    return processor_seconds() - before;
}

/* By processor time, which other programs do not change. */
static void test_threads_share_what_one_compiles(void **state) {
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        char *schema = make_schema(PROPERTIES + 1, fails, false), *other = make_schema(PROPERTIES + 2, fails, false);
        const struct clinfer_grammar first = {.kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = schema},
                                     second = {.kind = CLINFER_GRAMMAR_JSON_SCHEMA, .text = other};
        struct taker takers[THREADS];
        clinfer_engine *engine = clinfer_router_take_engine(router);
        double one = take_from_threads(engine, &first, takers, 1);
        ci_compiled_release(takers[0].compiled);
        double all = take_from_threads(engine, &second, takers, THREADS);
        for (int i = 0; i < THREADS; i++) {
            assert_int_equal(takers[i].status, fails ? CLINFER_INVALID_ARGUMENT : CLINFER_OK);
            assert_ptr_equal(takers[i].compiled, takers[0].compiled);
            if (fails) assert_string_equal(takers[i].message, takers[0].message);
            if (!fails) ci_compiled_release(takers[i].compiled);
        }
        clinfer_router_give_back_engine(router, engine);
        if (all > 2.5 * one) fail_msg("%.3f s for %d threads, %.3f s for one", all, THREADS, one);
        free(schema);
        free(other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_large_grammar_holds_up_nobody),
        cmocka_unit_test(test_one_that_fails_late_holds_up_nobody),
        cmocka_unit_test(test_large_tools_hold_up_nobody),
        cmocka_unit_test(test_a_request_that_comes_early_holds_up_nobody),
        cmocka_unit_test(test_who_leaves_ends_it),
        cmocka_unit_test(test_who_waits_goes_on_where_others_leave),
        cmocka_unit_test(test_threads_share_what_one_compiles),
    };
    return cmocka_run_group_tests(tests, open_router, close_router);
}
