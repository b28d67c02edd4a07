/* Whose rows a step computes: requests run in the order in which they come, wait where there is no room for them, leave
 * within a step, and a long prompt does not stop the text of others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/cpu.h"
#include "engine/engine_private.h"
#include "engine/take_up.h"
#include "ops/product.h"
#include "support/asserts.h"
#include "support/model.h"
#include "support/tiny_model.h"

static const char tiny[] = "tests/data/llama_tiny.gguf";
enum { TOKENS_USED = 200 };

static void fill(int32_t *tokens, size_t count, int seed) {
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)((i * 79 + i * i * 7 + 13 + (size_t)seed * 101) % TOKENS_USED);
}

static clinfer_session *begin(clinfer_engine *engine) {
    struct clinfer_session_options options;
    clinfer_session *session;
    clinfer_session_options_default(engine, &options);
    options.temperature = 0;
    assert_ok(clinfer_session_create(engine, &options, &session));
    return session;
}

static void submit(clinfer_session *session, const int32_t *tokens, size_t count, int most) {
    const struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = most, .ignore_end = true};
    assert_ok(clinfer_submit(session, &request));
}

static void run_all(clinfer_engine *engine, int most_steps) {
    int steps = 0;
    while (ci_engine_turn(engine))
        if (++steps > most_steps) fail_msg("requests are not done after %d steps", steps);
}

/* ---- choices ---- */

static void test_choices_compute_their_prompt_once(void **state) {
    (void)state;
    enum { CHOICES = 8, PROMPT = 300, NEW = 4 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(tiny, *device);
        struct clinfer_engine_stats before, after;
        clinfer_session *sessions[CHOICES];
        int32_t tokens[PROMPT];
        options.batch = 64;
        options.prefix_bytes = -1;
        clinfer_engine *engine = test_engine_open(&options);
        fill(tokens, PROMPT, 1);
        clinfer_engine_get_stats(engine, &before);
        for (int i = 0; i < CHOICES; i++) {
            sessions[i] = begin(engine);
            submit(sessions[i], tokens, PROMPT, NEW);
            if (i == 3) ci_engine_turn(engine); /* some come while the prompt is computed */
        }
        run_all(engine, 100);
        clinfer_engine_get_stats(engine, &after);
        for (int i = 0; i < CHOICES; i++) {
            struct clinfer_result result, first;
            assert_ok(clinfer_wait(sessions[0], &first));
            assert_ok(clinfer_wait(sessions[i], &result));
            assert_int_equal(result.cached_tokens, i ? PROMPT - 1 : 0);
            assert_memory_equal(result.tokens, first.tokens, NEW * sizeof *result.tokens);
        }
        /* One row for a token, and the last of a choice's prompt; where steps are in flight one more may be in vain. */
        uint64_t rows = after.rows - before.rows;
        if (rows > PROMPT + CHOICES * (NEW + 2)) fail_msg("%llu rows", (unsigned long long)rows);
        for (int i = 0; i < CHOICES; i++) clinfer_session_destroy(sessions[i]);
        clinfer_engine_close(engine);
    }
}

/* ---- order ---- */

/* More than run at once: all are answered, and the first who came have their first token no later than those behind. */
static void test_more_than_run_at_once_wait_in_order(void **state) {
    (void)state;
    enum { SESSIONS = 150, PROMPT = 20, NEW = 3 };
    struct clinfer_engine_options options = test_engine_options(tiny, "cpu");
    static int32_t tokens[SESSIONS][PROMPT];
    clinfer_session *sessions[SESSIONS];
    struct clinfer_result result;
    double last = 0;
    clinfer_engine *engine = test_engine_open(&options);
    for (int i = 0; i < SESSIONS; i++) {
        fill(tokens[i], PROMPT, i);
        tokens[i][0] = (int32_t)i;
        sessions[i] = begin(engine);
        submit(sessions[i], tokens[i], PROMPT, NEW);
    }
    run_all(engine, 1000);
    for (int i = 0; i < SESSIONS; i++) {
        assert_ok(clinfer_wait(sessions[i], &result));
        assert_int_equal(result.generated_tokens, NEW);
        assert_int_equal(result.finish, CLINFER_FINISH_LENGTH);
        if (sessions[i]->first_token < last) fail_msg("session %d began before those that came before it", i);
        last = sessions[i]->first_token;
        clinfer_session_destroy(sessions[i]);
    }
    clinfer_engine_close(engine);
}

/* Memory for two or three of them: the others wait, and those that ran out of it begin again. */
static void test_more_than_memory_holds_wait(void **state) {
    (void)state;
    enum { SESSIONS = 9, PROMPT = 200, NEW = 120 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(tiny, *device);
        options.batch = CI_PRODUCT_MANY - 1; /* more rows round weights in F16 */
        static int32_t tokens[SESSIONS][PROMPT], alone[SESSIONS][NEW];
        clinfer_session *sessions[SESSIONS];
        struct clinfer_result result;
        clinfer_engine *engine = test_engine_open(&options);
        engine->cache_limit = 7 * ci_engine_page_bytes(engine, CI_CACHE_WHOLE);
        for (int i = 0; i < SESSIONS; i++) {
            fill(tokens[i], PROMPT, i);
            tokens[i][0] = (int32_t)i;
            sessions[i] = begin(engine);
            submit(sessions[i], tokens[i], PROMPT, NEW);
            assert_ok(clinfer_wait(sessions[i], &result));
            memcpy(alone[i], result.tokens, sizeof alone[i]);
            clinfer_session_destroy(sessions[i]);
        }
        ci_prefix_drop_all(engine);
        for (int i = 0; i < SESSIONS; i++) {
            sessions[i] = begin(engine);
            submit(sessions[i], tokens[i], PROMPT, NEW);
        }
        run_all(engine, 5000);
        for (int i = 0; i < SESSIONS; i++) {
            assert_ok(clinfer_wait(sessions[i], &result));
            assert_int_equal(result.generated_tokens, NEW);
            assert_memory_equal(result.tokens, alone[i], sizeof alone[i]);
            clinfer_session_destroy(sessions[i]);
        }
        assert_true(engine->pools[CI_CACHE_WHOLE].capacity <= 7);
        clinfer_engine_close(engine);
    }
}

static void test_one_that_never_fits_is_told_so(void **state) {
    (void)state;
    enum { PROMPT = 400 };
    struct clinfer_engine_options options = test_engine_options(tiny, "cpu");
    int32_t tokens[PROMPT];
    options.context = 512;
    clinfer_engine *engine = test_engine_open(&options);
    engine->pools[CI_CACHE_WHOLE].free_count = 2; /* as if there were no more */
    engine->cache_limit = 1;
    clinfer_session *session = begin(engine);
    fill(tokens, PROMPT, 1);
    submit(session, tokens, PROMPT, 4);
    assert_int_equal(clinfer_wait(session, NULL), CLINFER_OUT_OF_MEMORY);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* ---- leaving ---- */

static void test_who_leaves_is_gone_with_the_next_step(void **state) {
    (void)state;
    enum { SESSIONS = 70, PROMPT = 300, LONG = 400 };
    struct clinfer_engine_options options = test_engine_options(tiny, "cpu");
    int32_t tokens[PROMPT];
    clinfer_session *sessions[SESSIONS], *in_prompt = NULL;
    struct clinfer_result result;
    options.batch = 64;
    clinfer_engine *engine = test_engine_open(&options);
    for (int i = 0; i < SESSIONS; i++) {
        fill(tokens, PROMPT, i);
        tokens[0] = (int32_t)i;
        sessions[i] = begin(engine);
        submit(sessions[i], tokens, i < 3 ? 10 : PROMPT, LONG);
    }
    for (int i = 0; i < 3; i++) ci_engine_turn(engine);
    for (int i = 3; i < SESSIONS && !in_prompt; i++)
        if (sessions[i]->admitted && sessions[i]->computed < PROMPT) in_prompt = sessions[i];
    assert_non_null(in_prompt);
    clinfer_session *const leaving[] = {sessions[0], in_prompt, sessions[SESSIONS - 1]};
    assert_false(sessions[SESSIONS - 1]->told);
    for (size_t i = 0; i < sizeof leaving / sizeof *leaving; i++) clinfer_cancel(leaving[i]);
    ci_engine_turn(engine);
    for (size_t i = 0; i < sizeof leaving / sizeof *leaving; i++) {
        assert_false(ci_session_is_active(leaving[i]));
        assert_ok(clinfer_wait(leaving[i], &result));
        assert_int_equal(result.finish, CLINFER_FINISH_CANCELLED);
    }
    assert_false(sessions[SESSIONS - 1]->told); /* never begun */
    for (int i = 0; i < SESSIONS; i++) clinfer_session_destroy(sessions[i]);
    assert_null(engine->queue);
    clinfer_engine_close(engine);
}

static void test_a_full_context_is_said(void **state) {
    (void)state;
    enum { PROMPT = 60 };
    struct clinfer_engine_options options = test_engine_options(tiny, "cpu");
    int32_t tokens[PROMPT + 5];
    struct clinfer_result result;
    options.context = PROMPT + 4;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session *session = begin(engine);
    fill(tokens, PROMPT + 5, 1);
    submit(session, tokens, PROMPT, -1);
    assert_ok(clinfer_wait(session, &result));
    assert_int_equal(result.finish, CLINFER_FINISH_CONTEXT);
    assert_int_equal(result.generated_tokens, 4);
    for (int most = 3; most <= 5; most++) { /* told apart from one that has all it was asked for */
        submit(session, tokens, PROMPT, most);
        assert_ok(clinfer_wait(session, &result));
        assert_int_equal(result.finish, most <= 4 ? CLINFER_FINISH_LENGTH : CLINFER_FINISH_CONTEXT);
        assert_int_equal(result.generated_tokens, most <= 4 ? most : 4);
    }
    submit(session, tokens, PROMPT + 4, -1); /* the token behind its last row needs no row */
    assert_ok(clinfer_wait(session, &result));
    assert_int_equal(result.finish, CLINFER_FINISH_CONTEXT);
    assert_int_equal(result.generated_tokens, 1);
    const struct clinfer_request longer = {.tokens = tokens, .count = PROMPT + 5, .max_tokens = 1};
    assert_int_equal(clinfer_submit(session, &longer), CLINFER_CONTEXT_FULL);
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* ---- pieces of prompts ---- */

/* While somebody decodes no step has more rows of prompts than the piece, and where kernels compute blocks of 16 rows
 * what makes these whole; and each has the row of who decodes. */
static void test_a_long_prompt_stops_nobody(void **state) {
    (void)state;
    enum { PROMPT = 500, LONG = 400 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options = test_engine_options(tiny, *device);
        int32_t tokens[PROMPT], other[PROMPT];
        clinfer_engine *engine = test_engine_open(&options);
        const bool in_blocks =
            engine->device ? ci_device_caps(engine->device)->kind != CI_DEVICE_CPU : !ci_cpu_features()->avx512vnni;
        clinfer_session *talker = begin(engine), *reader = begin(engine);
        fill(tokens, 10, 1);
        fill(other, PROMPT, 2);
        submit(talker, tokens, 10, LONG);
        for (int i = 0; i < 5; i++) ci_engine_turn(engine);
        submit(reader, other, PROMPT, 4);
        for (int steps = 0; reader->computed < PROMPT; steps++) {
            size_t said = talker->generated, read = reader->computed;
            engine->pace.piece = 48; /* as if that were a tenth of a second */
            ci_engine_turn(engine);
            assert_int_equal(talker->generated, said + 1);
            assert_true(reader->computed - read <= (in_blocks ? 63 : 48));
            assert_true(!in_blocks || reader->computed == PROMPT || (reader->computed - read + 1) % 16 == 0);
            assert_true(reader->computed > read);
            assert_true(steps < 20);
        }
        clinfer_cancel(talker);
        run_all(engine, 100);
        clinfer_session_destroy(talker);
        clinfer_session_destroy(reader);
        clinfer_engine_close(engine);
    }
}

/* However many pages it needs, as long as memory has them. */
static void test_a_prompt_larger_than_the_cache_begins_at_once(void **state) {
    (void)state;
    enum { PROMPT = 2000 };
    static const struct tiny_model model = {"long", "llama", "context_length=4096", NULL, NULL};
    char path[] = "/tmp/clinfer_schedule_XXXXXX";
    int file = mkstemp(path);
    static int32_t tokens[PROMPT];
    assert_true(file >= 0);
    close(file);
    tiny_model_write(&model, path);
    struct clinfer_engine_options options = test_engine_options(path, "cpu");
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session *talker = begin(engine), *reader = begin(engine);
    for (int i = 0; i < PROMPT; i++) tokens[i] = i * i % TINY_VOCABULARY;
    submit(talker, tokens + 1, 10, 400);
    for (int i = 0; i < 3; i++) ci_engine_turn(engine);
    submit(reader, tokens, PROMPT, 4);
    ci_engine_turn(engine);
    assert_true(reader->computed > 0);
    run_all(engine, 1000);
    clinfer_session_destroy(talker);
    clinfer_session_destroy(reader);
    clinfer_engine_close(engine);
    unlink(path);
}

static struct ci_flight flight_of(int64_t decoding, int64_t prompt, double seconds) {
    return (struct ci_flight){.started = ci_now() - seconds,
                              .batch = {.rows = decoding + prompt, .decoding = decoding, .cut = true}};
}

/* A step of base + rows * each seconds: the piece comes to what fits into 90 ms, from either side. */
static void test_pieces_come_to_what_fits(void **state) {
    (void)state;
    static const struct {
        double base, each;
        int64_t from, expected;
    } cases[] = {{0.02, 0.001, 8, 70},
                 {0.02, 0.001, 512, 70},
                 {0.09, 0.001, 64, 63},
                 {0.001, 0.0001, 32, 512},
                 {0.05, 0.1, 64, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct clinfer_engine engine = {.bucket_count = 1, .buckets[0].rows[CI_EXTENT_ROWS] = 512};
        for (int step = 0; step < 10; step++) {
            engine.pace.landed = 0;
            struct ci_flight decode = flight_of(4, 0, cases[i].base);
            ci_pace_note(&engine, &decode);
        }
        engine.pace.piece = cases[i].from;
        for (int step = 0; step < 40; step++) {
            int64_t rows = engine.pace.piece;
            engine.pace.landed = 0;
            struct ci_flight mixed = flight_of(4, rows, cases[i].base + (double)rows * cases[i].each);
            ci_pace_note(&engine, &mixed);
        }
        if (llabs((long long)(engine.pace.piece - cases[i].expected)) > 3)
            fail_msg("case %zu: pieces of %lld rows, not %lld", i, (long long)engine.pace.piece,
                     (long long)cases[i].expected);
    }
}

/* ---- for ever ---- */

/* Short requests of mixed prefixes: after thousands nothing is more than after a hundred. */
static void test_requests_leave_nothing_behind(void **state) {
    (void)state;
    enum { AT_ONCE = 4, MOST = 150, ROUNDS = 600, SETTLED = 100 };
    struct clinfer_engine_options options = test_engine_options(tiny, "cpu");
    struct clinfer_engine_stats settled, after;
    int kept = 0;
    options.prefix_bytes = 1 << 20;
    clinfer_engine *engine = test_engine_open(&options);
    for (int round = 0; round < ROUNDS; round++) {
        clinfer_session *sessions[AT_ONCE];
        for (int i = 0; i < AT_ONCE; i++) {
            int number = round * AT_ONCE + i;
            int32_t tokens[MOST];
            size_t count = (size_t)(5 + number * 37 % (MOST - 5));
            fill(tokens, MOST, number % 7);
            for (size_t k = count / 2; k < count; k++) tokens[k] = (int32_t)((k * (size_t)number + k) % TOKENS_USED);
            sessions[i] = begin(engine);
            submit(sessions[i], tokens, count, number % 3 + 1);
            if (number % 11 == 0) clinfer_cancel(sessions[i]);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            assert_ok(clinfer_wait(sessions[i], NULL));
            clinfer_session_destroy(sessions[i]);
        }
        if (round == SETTLED) {
            clinfer_engine_get_stats(engine, &settled);
            kept = engine->kept_count;
        }
    }
    clinfer_engine_get_stats(engine, &after);
    assert_int_equal(after.cache_bytes, settled.cache_bytes);
    assert_true(engine->kept_count <= kept + engine->pools[CI_CACHE_WHOLE].capacity / 4);
    assert_true(engine->kept_count <= engine->pools[CI_CACHE_WHOLE].capacity);
    assert_null(engine->sessions);
    assert_null(engine->queue);
    ci_prefix_drop_all(engine);
    assert_int_equal(engine->pools[CI_CACHE_WHOLE].free_count, engine->pools[CI_CACHE_WHOLE].capacity);
    clinfer_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices_compute_their_prompt_once),
        cmocka_unit_test(test_more_than_run_at_once_wait_in_order),
        cmocka_unit_test(test_more_than_memory_holds_wait),
        cmocka_unit_test(test_one_that_never_fits_is_told_so),
        cmocka_unit_test(test_who_leaves_is_gone_with_the_next_step),
        cmocka_unit_test(test_a_full_context_is_said),
        cmocka_unit_test(test_a_long_prompt_stops_nobody),
        cmocka_unit_test(test_a_prompt_larger_than_the_cache_begins_at_once),
        cmocka_unit_test(test_pieces_come_to_what_fits),
        cmocka_unit_test(test_requests_leave_nothing_behind),
    };
    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
