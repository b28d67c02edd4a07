/* Several sessions on one engine from several threads, and what may happen between two steps. Greedy text must not
 * depend on any of it. */
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"

enum { LONG = 60, SHORT = 3 };

struct fixture {
    clinfer_engine *engine;
    int32_t *tokens[2];
    size_t counts[2];
    char alone[2][2048];
};

struct talk {
    struct fixture *fixture;
    int which, max_tokens;
    char text[2048];
    atomic_int pieces;
    clinfer_session *session;
    enum clinfer_status inside; /* of a call from the callback */
};

static bool collect(void *user, const char *bytes, size_t length) {
    struct talk *talk = user;
    size_t used = strlen(talk->text);
    assert_true(used + length < sizeof talk->text);
    memcpy(talk->text + used, bytes, length);
    atomic_fetch_add(&talk->pieces, 1);
    return true;
}

static void start(struct talk *talk, clinfer_text_callback *callback) {
    struct clinfer_session_options options;
    clinfer_session_options_default(talk->fixture->engine, &options);
    options.temperature = 0;
    assert_int_equal(clinfer_session_create(talk->fixture->engine, &options, &talk->session), CLINFER_OK);
    struct clinfer_request request = {.tokens = talk->fixture->tokens[talk->which],
                                      .count = talk->fixture->counts[talk->which],
                                      .max_tokens = talk->max_tokens,
                                      .callback = callback,
                                      .user = talk};
    if (clinfer_submit(talk->session, &request) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static struct clinfer_result end(struct talk *talk) {
    struct clinfer_result result;
    if (clinfer_wait(talk->session, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_destroy(talk->session);
    return result;
}

static void open_fixture(struct fixture *fixture, const char *device) {
    static const char *const prompts[2] = {"Tell me about rivers.", "What is a star?"};
    struct clinfer_engine_options options = test_engine_options(test_model_path(), device);
    memset(fixture, 0, sizeof *fixture);
    fixture->engine = test_engine_open(&options);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(clinfer_tokenize(fixture->engine, prompts[i], strlen(prompts[i]), true, true,
                                          &fixture->tokens[i], &fixture->counts[i]),
                         CLINFER_OK);
        struct talk talk = {.fixture = fixture, .which = i, .max_tokens = LONG};
        start(&talk, collect);
        end(&talk);
        memcpy(fixture->alone[i], talk.text, sizeof talk.text);
    }
}

static void close_fixture(struct fixture *fixture) {
    for (int i = 0; i < 2; i++) clinfer_free(fixture->tokens[i]);
    clinfer_engine_close(fixture->engine);
}

static void *talk_in_thread(void *user) {
    struct talk *talk = user;
    start(talk, collect);
    end(talk);
    return NULL;
}

static void test_a_second_thread_does_not_wait_for_the_first(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct fixture fixture;
        open_fixture(&fixture, *device);
        struct talk first = {.fixture = &fixture, .which = 0, .max_tokens = LONG};
        struct talk second = {.fixture = &fixture, .which = 1, .max_tokens = SHORT};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, talk_in_thread, &first), 0);
        while (atomic_load(&first.pieces) < 2) sched_yield();
        start(&second, collect);
        end(&second);
        int pieces = atomic_load(&first.pieces);
        pthread_join(thread, NULL);
        if (pieces >= LONG - 1)
            fail_msg("on %s: the second was done when the first had all of its %d pieces", *device, pieces);
        assert_string_equal(first.text, fixture.alone[0]);
        assert_memory_equal(second.text, fixture.alone[1], strlen(second.text));
        close_fixture(&fixture);
    }
}

static void test_logits_between_steps_change_no_text(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct fixture fixture;
        struct clinfer_engine_info info;
        struct clinfer_session_options options;
        clinfer_session *other;
        open_fixture(&fixture, *device);
        clinfer_engine_get_info(fixture.engine, &info);
        float *logits = malloc(sizeof *logits * (size_t)info.vocabulary);
        assert_non_null(logits);
        struct talk first = {.fixture = &fixture, .which = 0, .max_tokens = LONG};
        struct talk second = {.fixture = &fixture, .which = 1, .max_tokens = SHORT};
        start(&first, collect);
        start(&second, collect);
        end(&second); /* the first is now in the middle, with a step in flight */
        clinfer_session_options_default(fixture.engine, &options);
        assert_int_equal(clinfer_session_create(fixture.engine, &options, &other), CLINFER_OK);
        assert_int_equal(clinfer_logits(other, fixture.tokens[1], fixture.counts[1], false, logits), CLINFER_OK);
        clinfer_session_destroy(other);
        end(&first);
        assert_string_equal(first.text, fixture.alone[0]);
        free(logits);
        close_fixture(&fixture);
    }
}

static bool call_inside(void *user, const char *bytes, size_t length) {
    struct talk *talk = user;
    struct clinfer_request request = {
        .tokens = talk->fixture->tokens[0], .count = talk->fixture->counts[0], .max_tokens = 1};
    (void)bytes, (void)length;
    talk->inside = clinfer_submit(talk->session, &request);
    return false;
}

static void test_a_callback_that_calls_back_is_told_so(void **state) {
    (void)state;
    struct fixture fixture;
    open_fixture(&fixture, "cpu");
    struct talk talk = {.fixture = &fixture, .max_tokens = SHORT, .inside = CLINFER_OK};
    start(&talk, call_inside);
    end(&talk);
    assert_int_equal(talk.inside, CLINFER_INVALID_ARGUMENT);
    close_fixture(&fixture);
}

static void test_a_tiny_context_cannot_shift(void **state) {
    (void)state;
    struct clinfer_engine_options options = test_engine_options(test_model_path(), "cpu");
    struct clinfer_session_options sampling;
    clinfer_session *session;
    options.context = 1;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session_options_default(engine, &sampling);
    sampling.shift = true;
    assert_int_equal(clinfer_session_create(engine, &sampling, &session), CLINFER_INVALID_ARGUMENT);
    clinfer_engine_close(engine);
}

/* Greedy tokens behind a prompt. */
static void generate(clinfer_engine *engine, bool shift, const int32_t *prompt, size_t count, int most, int32_t *out) {
    struct clinfer_session_options sampling;
    struct clinfer_result result;
    clinfer_session *session;
    clinfer_session_options_default(engine, &sampling);
    sampling.temperature = 0;
    sampling.shift = shift;
    assert_int_equal(clinfer_session_create(engine, &sampling, &session), CLINFER_OK);
    const struct clinfer_request request = {.tokens = prompt, .count = count, .max_tokens = most, .ignore_end = true};
    if (clinfer_generate(session, &request, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, most);
    memcpy(out, result.tokens, sizeof *out * (size_t)most);
    clinfer_session_destroy(session);
}

/* What comes behind a shift is what comes behind a prompt of the tokens that it leaves. */
static void test_a_shifted_context_goes_on_from_what_is_left(void **state) {
    (void)state;
    enum { CONTEXT = 64, PROMPT = 36, TO_SHIFT = CONTEXT + 1 - PROMPT, BEHIND = 20, DROPPED = (CONTEXT + 1) / 2 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(test_model_path(), *device);
        int32_t tokens[PROMPT + TO_SHIFT + BEHIND], left[CONTEXT + 1 - DROPPED], behind[BEHIND];
        options.context = CONTEXT;
        clinfer_engine *engine = test_engine_open(&options);
        for (int i = 0; i < PROMPT; i++) tokens[i] = 1000 + 7 * i;
        generate(engine, true, tokens, PROMPT, TO_SHIFT + BEHIND, tokens + PROMPT);
        left[0] = tokens[0];
        memcpy(left + 1, tokens + 1 + DROPPED, sizeof left - sizeof *left);
        generate(engine, false, left, CONTEXT + 1 - DROPPED, BEHIND, behind);
        assert_memory_equal(tokens + PROMPT + TO_SHIFT, behind, sizeof behind);
        clinfer_engine_close(engine);
    }
}

enum { TINY_VOCABULARY_USED = 200, GROW_PROMPT = 300, GROW_FIRST = 8, GROW_SECOND = 60 };

/* A prompt, some tokens, a prompt of another session if `other`, and more tokens behind the first ones. */
static void talk_in_two_parts(clinfer_engine *engine, bool other, int32_t said[GROW_SECOND]) {
    int32_t tokens[GROW_PROMPT + GROW_FIRST], others[GROW_PROMPT];
    clinfer_session *sessions[2];
    struct clinfer_session_options options;
    struct clinfer_result result;
    clinfer_session_options_default(engine, &options);
    options.temperature = 1; /* drawn by numbers of seed and place: small differences show */
    options.seed = 7;
    for (int i = 0; i < 2; i++) assert_int_equal(clinfer_session_create(engine, &options, &sessions[i]), CLINFER_OK);
    for (int i = 0; i < GROW_PROMPT; i++) tokens[i] = (i * 79 + 13) % TINY_VOCABULARY_USED;
    for (int i = 0; i < GROW_PROMPT; i++) others[i] = (i * 31 + 7) % TINY_VOCABULARY_USED;
    const struct clinfer_request first = {
        .tokens = tokens, .count = GROW_PROMPT, .max_tokens = GROW_FIRST, .ignore_end = true};
    if (clinfer_generate(sessions[0], &first, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    memcpy(tokens + GROW_PROMPT, result.tokens, sizeof *tokens * GROW_FIRST);
    const struct clinfer_request between = {
        .tokens = others, .count = GROW_PROMPT, .max_tokens = GROW_FIRST, .ignore_end = true};
    if (other && clinfer_generate(sessions[1], &between, NULL) != CLINFER_OK) fail_msg("%s", clinfer_error());
    const struct clinfer_request more = {
        .tokens = tokens, .count = GROW_PROMPT + GROW_FIRST, .max_tokens = GROW_SECOND, .ignore_end = true};
    if (clinfer_generate(sessions[0], &more, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, GROW_SECOND);
    memcpy(said, result.tokens, sizeof *said * GROW_SECOND);
    for (int i = 0; i < 2; i++) clinfer_session_destroy(sessions[i]);
}

/* Two conversations need more pages than the KV cache has at first, four: what the first one has there stays; with keys
 * and values of different types. */
static void test_a_cache_that_grows_keeps_what_it_holds(void **state) {
    (void)state;
    mallopt(M_PERTURB, 0x5a); /* what is not copied is neither zero nor what was there before */
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", *device);
        struct clinfer_engine_stats at_first, alone, together;
        int32_t said[2][GROW_SECOND];
        options.value_type = CLINFER_CACHE_F32;
        clinfer_engine *engine = test_engine_open(&options);
        clinfer_engine_get_stats(engine, &at_first);
        talk_in_two_parts(engine, false, said[0]);
        clinfer_engine_get_stats(engine, &alone);
        talk_in_two_parts(engine, true, said[1]);
        clinfer_engine_get_stats(engine, &together);
        assert_int_equal(alone.cache_bytes, at_first.cache_bytes);
        assert_true(together.cache_bytes > alone.cache_bytes);
        assert_memory_equal(said[0], said[1], sizeof said[0]);
        clinfer_engine_close(engine);
    }
    mallopt(M_PERTURB, 0);
}

/* A token's, from the first one of an answer to the last. */
static double token_seconds(struct fixture *fixture, int tokens) {
    struct talk talk = {.fixture = fixture, .max_tokens = tokens};
    start(&talk, collect);
    struct clinfer_result result = end(&talk);
    assert_true(result.generated_tokens >= 2);
    return result.generate_seconds / (double)(result.generated_tokens - 1);
}

static int compare_doubles(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

/* And not together with the next one, which may be under way by then. On a busy machine, whoever waits for the first
 * wakes late now and then: most tries may be so, not nearly all. */
static void test_a_token_comes_when_it_is_computed(void **state) {
    (void)state;
    enum { TRIES = 9, SOME = 10, UPPER = TRIES - 3 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct fixture fixture;
        double token[TRIES], second[TRIES];
        open_fixture(&fixture, *device);
        for (int i = 0; i < TRIES; i++) {
            token[i] = token_seconds(&fixture, SOME);
            second[i] = token_seconds(&fixture, 2);
        }
        qsort(token, TRIES, sizeof *token, compare_doubles);
        qsort(second, TRIES, sizeof *second, compare_doubles);
        if (second[UPPER] < 0.25 * token[TRIES / 2])
            fail_msg("on %s a token takes %.3g s, but the second comes %.3g s after the first", *device,
                     token[TRIES / 2], second[UPPER]);
        close_fixture(&fixture);
    }
}

/* ---- seeds ---- */

/* At so high a temperature all candidates are nearly as likely: what is drawn is the random number, and last digits of
 * the logits, which other kernels may compute for more rows, play no part. */
enum { DRAWN = 6, TOGETHER = 4 };

static clinfer_session *start_draw(clinfer_engine *engine, int top_k, const int32_t *tokens, size_t count) {
    const struct clinfer_session_options options = {
        .temperature = 1000, .top_k = top_k, .top_p = 1, .repeat_penalty = 1, .seed = 5};
    clinfer_session *session;
    if (clinfer_session_create(engine, &options, &session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    const struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = DRAWN, .ignore_end = true};
    if (clinfer_submit(session, &request) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return session;
}

static void end_draw(clinfer_session *session, int32_t drawn[DRAWN]) {
    struct clinfer_result result;
    if (clinfer_wait(session, &result) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(result.generated_tokens, DRAWN);
    memcpy(drawn, result.tokens, sizeof *drawn * DRAWN);
}

static void draw_alone(clinfer_engine *engine, int top_k, const int32_t *tokens, size_t count, int32_t drawn[DRAWN]) {
    clinfer_session *session = start_draw(engine, top_k, tokens, count);
    end_draw(session, drawn);
    clinfer_session_destroy(session);
}

static void check_together(clinfer_engine *engine, int top_k) {
    int32_t prompts[TOGETHER][8], alone[DRAWN], together[DRAWN];
    clinfer_session *sessions[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) {
        for (int k = 0; k < 8; k++) prompts[i][k] = 3 + (31 * i + 7 * k) % TINY_VOCABULARY_USED;
        sessions[i] = start_draw(engine, top_k, prompts[i], 5 + (size_t)i);
    }
    for (int i = 0; i < TOGETHER; i++) {
        end_draw(sessions[i], together);
        clinfer_session_destroy(sessions[i]);
        draw_alone(engine, top_k, prompts[i], 5 + (size_t)i, alone);
        assert_memory_equal(together, alone, sizeof alone);
    }
}

/* A device computes a token in advance, in vain where an answer ends: that takes nothing from the next. */
static void check_second_turn(clinfer_engine *engine, int top_k) {
    int32_t tokens[4 + DRAWN + 3] = {5, 6, 7, 8}, second[DRAWN], fresh[DRAWN];
    clinfer_session *session = start_draw(engine, top_k, tokens, 4);
    end_draw(session, tokens + 4);
    for (int i = 0; i < 3; i++) tokens[4 + DRAWN + i] = 9 + i;
    const struct clinfer_request request = {
        .tokens = tokens, .count = 4 + DRAWN + 3, .max_tokens = DRAWN, .ignore_end = true};
    assert_int_equal(clinfer_submit(session, &request), CLINFER_OK);
    end_draw(session, second);
    clinfer_session_destroy(session);
    draw_alone(engine, top_k, tokens, 4 + DRAWN + 3, fresh);
    assert_memory_equal(second, fresh, sizeof fresh);
    assert_memory_not_equal(second, tokens + 4, sizeof fresh);
}

static void test_a_random_number_is_that_of_seed_and_place(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", *device);
        clinfer_engine *engine = test_engine_open(&options);
        for (int top_k = 40; top_k <= 100; top_k += 60) { /* more than 64 are drawn from on the host */
            check_together(engine, top_k);
            check_second_turn(engine, top_k);
        }
        clinfer_engine_close(engine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_second_thread_does_not_wait_for_the_first),
        cmocka_unit_test(test_a_token_comes_when_it_is_computed),
        cmocka_unit_test(test_logits_between_steps_change_no_text),
        cmocka_unit_test(test_a_callback_that_calls_back_is_told_so),
        cmocka_unit_test(test_a_random_number_is_that_of_seed_and_place),
        cmocka_unit_test(test_a_tiny_context_cannot_shift),
        cmocka_unit_test(test_a_shifted_context_goes_on_from_what_is_left),
        cmocka_unit_test(test_a_cache_that_grows_keeps_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
