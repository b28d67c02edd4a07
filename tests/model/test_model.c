/* Whole models against the recorded truth (tests/support/reference.h), on every OpenCL device and on the CPU backend,
 * through the public header. CLINFER_TEST_DEVICE restricts to one device ("cpu", an index),
 * CLINFER_TEST_SMALL to the tiny models against the truth, for drivers that are very slow. Run from the top of the
 * repository. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "support/model.h"
#include "support/nmse.h"
#include "support/reference.h"

/* A model with what it is to be compared with. */
struct subject {
    const char *name, *file, *record; /* file NULL: the default model */
};

static const struct subject subjects[] = {
    {"smollm2 q4_1", NULL, "tests/data/smollm2_reference.bin"},
    {"tiny qwen2", "tests/data/qwen2_tiny.gguf", "tests/data/qwen2_tiny_reference.bin"},
    {"tiny llama", "tests/data/llama_tiny.gguf", "tests/data/llama_tiny_reference.bin"},
    {"tiny qwen2 with all", "tests/data/qwen2_all_tiny.gguf", "tests/data/qwen2_all_tiny_reference.bin"},
    {"tiny llama with all", "tests/data/llama_all_tiny.gguf", "tests/data/llama_all_tiny_reference.bin"},
};

static clinfer_engine *open_engine(const struct subject *subject, const char *device,
                                   struct clinfer_engine_options *options) {
    clinfer_engine *engine;
    options->model = subject->file ? subject->file : test_model_path();
    options->device = device;
    options->fallback = strcmp(device, "cpu") == 0 ? CLINFER_FALLBACK_CPU : CLINFER_FALLBACK_NONE;
    if (clinfer_engine_open(options, &engine) != CLINFER_OK)
        fail_msg("%s on %s: %s", subject->name, device, clinfer_error());
    return engine;
}

static clinfer_session *open_session(clinfer_engine *engine, float temperature) {
    clinfer_session *session;
    struct clinfer_session_options options;
    clinfer_session_options_default(engine, &options);
    options.temperature = temperature;
    if (clinfer_session_create(engine, &options, &session) != CLINFER_OK) fail_msg("%s", clinfer_error());
    return session;
}

/* Logits [count, vocabulary] of the record's first tokens. */
static float *all_logits(clinfer_engine *engine, const struct reference *reference, size_t count) {
    float *logits = malloc(count * reference->vocabulary * sizeof *logits);
    int32_t *tokens = malloc(count * sizeof *tokens);
    assert_true(logits && tokens);
    for (size_t i = 0; i < count; i++) tokens[i] = (int32_t)reference->tokens[i];
    clinfer_session *session = open_session(engine, 0);
    if (clinfer_logits(session, tokens, count, true, logits) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_destroy(session);
    free(tokens);
    return logits;
}

static struct reference_figures measure(const struct subject *subject, const struct reference *reference,
                                        const char *device, enum clinfer_activations activations) {
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.activations = activations;
    options.all_logits = true;
    clinfer_engine *engine = open_engine(subject, device, &options);
    float *logits = all_logits(engine, reference, reference->positions);
    struct reference_figures figures = reference_measure(reference, logits);
    static const char *const names[] = {"any", "f32", "q8", "q16"};
    char text[REFERENCE_TEXT];
    struct clinfer_engine_info info;
    clinfer_engine_get_info(engine, &info);
    printf("%s, %s activations, on %s: %s\n", subject->name, names[activations], info.device,
           reference_text(&figures, text));
    free(logits);
    clinfer_engine_close(engine);
    return figures;
}

static void test_f32_activations_agree_with_the_truth(void **state) {
    (void)state;
    for (size_t i = getenv("CLINFER_TEST_SMALL") ? 1 : 0; i < sizeof subjects / sizeof *subjects; i++) {
        struct reference reference;
        reference_open(subjects[i].record, &reference);
        for (const char *const *device = test_devices(); *device; device++) {
            struct reference_figures figures = measure(&subjects[i], &reference, *device, CLINFER_ACTIVATIONS_F32);
            if (!(figures.nmse <= 1e-6))
                fail_msg("%s on %s: NMSE %.3g, allowed 1e-6", subjects[i].name, *device, figures.nmse);
            if (!(figures.lost_margin < 0.02))
                fail_msg("%s on %s: position %zu has another top token, the truth's margin is %.3f", subjects[i].name,
                         *device, figures.lost_position, figures.lost_margin);
        }
        reference_close(&reference);
    }
}

static void test_q16_activations_agree_with_the_truth(void **state) {
    (void)state;
    for (size_t i = getenv("CLINFER_TEST_SMALL") ? 1 : 0; i < sizeof subjects / sizeof *subjects; i++) {
        struct reference reference;
        reference_open(subjects[i].record, &reference);
        for (const char *const *device = test_devices(); *device; device++) {
            struct reference_figures figures = measure(&subjects[i], &reference, *device, CLINFER_ACTIVATIONS_Q16);
            if (!(figures.nmse <= 1e-6 && figures.kl_mean <= 1e-5))
                fail_msg("%s on %s: NMSE %.3g, mean KL %.3g, allowed 1e-6 and 1e-5", subjects[i].name, *device,
                         figures.nmse, figures.kl_mean);
            if (!(figures.lost_margin < 0.02))
                fail_msg("%s on %s: position %zu has another top token, the truth's margin is %.3f", subjects[i].name,
                         *device, figures.lost_position, figures.lost_margin);
        }
        reference_close(&reference);
    }
}

static void test_q8_activations_are_no_worse_than_the_peer(void **state) {
    (void)state;
    for (size_t i = getenv("CLINFER_TEST_SMALL") ? 1 : 0; i < sizeof subjects / sizeof *subjects; i++) {
        struct reference reference;
        reference_open(subjects[i].record, &reference);
        const struct reference_figures *peer = &reference.peer;
        for (const char *const *device = test_devices(); *device; device++) {
            struct reference_figures figures = measure(&subjects[i], &reference, *device, CLINFER_ACTIVATIONS_Q8);
            if (!(figures.nmse <= 1.1 * peer->nmse && figures.kl_mean <= 1.1 * peer->kl_mean))
                fail_msg("%s on %s: NMSE %.3g, mean KL %.3g; the peer has %.3g and %.3g", subjects[i].name, *device,
                         figures.nmse, figures.kl_mean, peer->nmse, peer->kl_mean);
            if (!(figures.lost_margin < 0.5))
                fail_msg("%s on %s: position %zu has another top token, the truth's margin is %.3f", subjects[i].name,
                         *device, figures.lost_position, figures.lost_margin);
            /* Which of the near ties turn is chance: of 160 positions that is one or two. */
            if (!(figures.top1 >= peer->top1 - 0.02))
                fail_msg("%s on %s: %.2f%% top tokens agree; the peer has %.2f%%", subjects[i].name, *device,
                         100 * figures.top1, 100 * peer->top1);
        }
        reference_close(&reference);
    }
}

static void test_pieces_of_a_prompt_agree(void **state) {
    (void)state;
    enum { POSITIONS = 150 };
    static const int batches[] = {POSITIONS, 37, 7, 1};
    struct reference reference;
    reference_open(subjects[0].record, &reference);
    for (const char *const *device = test_devices(); *device; device++) {
        float *whole = NULL;
        for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
            struct clinfer_engine_options options;
            clinfer_engine_options_default(&options);
            options.activations = CLINFER_ACTIVATIONS_F32;
            options.all_logits = true;
            options.batch = batches[i];
            clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
            float *logits = all_logits(engine, &reference, POSITIONS);
            clinfer_engine_close(engine);
            if (whole) {
                double difference = nmse(whole, logits, POSITIONS * reference.vocabulary);
                if (!(difference <= 1e-6))
                    fail_msg("in pieces of %d on %s: NMSE %.3g", batches[i], *device, difference);
                free(logits);
            } else {
                whole = logits;
            }
        }
        free(whole);
    }
    reference_close(&reference);
}

/* Against one of f32; the limits are some three times what was measured. */
static void test_a_narrow_cache_costs_little(void **state) {
    (void)state;
    enum { POSITIONS = 200, TYPES = 4 };
    static const struct {
        enum clinfer_cache_type key, value;
        double limit;
    } types[TYPES] = {{CLINFER_CACHE_F32, CLINFER_CACHE_F32, 0},
                      {CLINFER_CACHE_F16, CLINFER_CACHE_F16, 1e-6},
                      {CLINFER_CACHE_Q8_0, CLINFER_CACHE_F16, 2e-4},
                      {CLINFER_CACHE_Q8_0, CLINFER_CACHE_Q4_0, 6e-3}};
    struct reference reference;
    reference_open(subjects[0].record, &reference);
    for (const char *const *device = test_devices(); *device; device++) {
        float *logits[TYPES];
        for (int type = 0; type < TYPES; type++) {
            struct clinfer_engine_options options;
            clinfer_engine_options_default(&options);
            options.activations = CLINFER_ACTIVATIONS_F32;
            options.all_logits = true;
            options.key_type = types[type].key;
            options.value_type = types[type].value;
            clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
            logits[type] = all_logits(engine, &reference, POSITIONS);
            clinfer_engine_close(engine);
        }
        for (int type = 1; type < TYPES; type++) {
            double difference = nmse(logits[0], logits[type], POSITIONS * reference.vocabulary);
            if (!(difference <= types[type].limit && difference > types[type].limit / 100))
                fail_msg("cache of types %d and %d against f32 on %s: NMSE %.3g, expected %.3g, or up to a hundredth",
                         types[type].key, types[type].value, *device, difference, types[type].limit);
        }
        for (int type = 0; type < TYPES; type++) free(logits[type]);
    }
    reference_close(&reference);
}

/* ---- generating ---- */

struct text {
    char bytes[8192];
    size_t length;
    int calls, stop_after;
    clinfer_session *cancel;
};

static bool collect(void *user, const char *bytes, size_t length) {
    struct text *text = user;
    assert_true(text->length + length < sizeof text->bytes);
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    text->bytes[text->length] = 0;
    text->calls++;
    if (text->cancel && text->calls == 3) clinfer_cancel(text->cancel);
    return !text->stop_after || text->calls < text->stop_after;
}

static int32_t *tokens_of(clinfer_engine *engine, const char *user, size_t *count) {
    const struct clinfer_message message = {.role = "user", .content = user};
    int32_t *tokens;
    if (clinfer_chat_tokens(engine, &message, 1, true, false, &tokens, count) != CLINFER_OK)
        fail_msg("%s", clinfer_error());
    return tokens;
}

static void generate(clinfer_session *session, const int32_t *tokens, size_t count, int max_tokens, struct text *text,
                     struct clinfer_result *result) {
    struct clinfer_request request = {
        .tokens = tokens, .count = count, .max_tokens = max_tokens, .callback = collect, .user = text};
    if (clinfer_generate(session, &request, result) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void test_greedy_text_is_the_truths(void **state) {
    (void)state;
    struct reference reference;
    reference_open(subjects[0].record, &reference);
    for (const char *const *device = test_devices(); *device; device++)
        for (int activations = CLINFER_ACTIVATIONS_F32; activations <= CLINFER_ACTIVATIONS_Q16; activations++) {
            struct clinfer_engine_options options;
            clinfer_engine_options_default(&options);
            options.activations = (enum clinfer_activations)activations;
            clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
            clinfer_session *session = open_session(engine, 0);
            size_t count;
            int32_t *tokens = tokens_of(engine, "Why is the sky blue?", &count);
            assert_int_equal(count, reference.n_prompt);
            for (size_t i = 0; i < count; i++) assert_int_equal(tokens[i], reference.prompt[i]);
            struct text text = {.length = 0};
            struct clinfer_result result;
            generate(session, tokens, count, (int)reference.n_greedy, &text, &result);
            float least = activations == CLINFER_ACTIVATIONS_Q8 ? 0.5f : 0.02f;
            size_t i = 0;
            while (i < result.generated_tokens && result.tokens[i] == (int32_t)reference.greedy[i]) i++;
            if (i < reference.n_greedy && reference.margins[i] >= least)
                fail_msg("on %s: token %zu is %d, the truth's is %u with a margin of %.3f; text so far: %s", *device, i,
                         i < result.generated_tokens ? result.tokens[i] : -1, reference.greedy[i],
                         (double)reference.margins[i], text.bytes);
            clinfer_free(tokens);
            clinfer_session_destroy(session);
            clinfer_engine_close(engine);
        }
    reference_close(&reference);
}

static void test_the_end_of_an_answer_can_be_passed_over(void **state) {
    (void)state;
    enum { MORE = 4 };
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        options.activations = CLINFER_ACTIVATIONS_F32;
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        clinfer_session *session = open_session(engine, 0);
        size_t count;
        int32_t *tokens = tokens_of(engine, "What is 2 + 2?", &count), answer[64];
        struct text text = {.length = 0}, longer = {.length = 0};
        struct clinfer_result result;
        generate(session, tokens, count, 64, &text, &result);
        assert_int_equal(result.finish, CLINFER_FINISH_END);
        size_t length = result.generated_tokens;
        memcpy(answer, result.tokens, sizeof *answer * length);
        struct clinfer_request request = {.tokens = tokens,
                                          .count = count,
                                          .max_tokens = (int)length + MORE,
                                          .callback = collect,
                                          .user = &longer,
                                          .ignore_end = true};
        assert_int_equal(clinfer_generate(session, &request, &result), CLINFER_OK);
        assert_int_equal(result.finish, CLINFER_FINISH_LENGTH);
        assert_int_equal(result.generated_tokens, length + MORE);
        assert_memory_equal(result.tokens, answer, sizeof *answer * length);
        assert_memory_equal(longer.bytes, text.bytes, text.length);
        clinfer_free(tokens);
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
}

static const char *const prompts[] = {
    "Why is the sky blue?", "Name three colours.", "What is 2 + 2?",
    "Write a line about the sea, then a line about the mountains and one about the wind."};
enum { PROMPTS = sizeof prompts / sizeof *prompts, TOKENS = 24 };

static void test_sessions_together_say_what_each_says_alone(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        options.activations = CLINFER_ACTIVATIONS_F32;
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        struct text alone[PROMPTS] = {{.length = 0}}, together[PROMPTS] = {{.length = 0}};
        clinfer_session *sessions[PROMPTS];
        int32_t *tokens[PROMPTS];
        size_t counts[PROMPTS];
        for (int i = 0; i < PROMPTS; i++) {
            clinfer_session *session = open_session(engine, 0);
            tokens[i] = tokens_of(engine, prompts[i], &counts[i]);
            generate(session, tokens[i], counts[i], TOKENS, &alone[i], NULL);
            clinfer_session_destroy(session);
        }
        struct clinfer_engine_stats before, after;
        clinfer_engine_get_stats(engine, &before);
        for (int i = 0; i < PROMPTS; i++) {
            struct clinfer_request request = {.tokens = tokens[i],
                                              .count = counts[i],
                                              .max_tokens = TOKENS,
                                              .callback = collect,
                                              .user = &together[i]};
            sessions[i] = open_session(engine, 0);
            assert_int_equal(clinfer_submit(sessions[i], &request), CLINFER_OK);
        }
        for (int i = 0; i < PROMPTS; i++) assert_int_equal(clinfer_wait(sessions[i], NULL), CLINFER_OK);
        clinfer_engine_get_stats(engine, &after);
        for (int i = 0; i < PROMPTS; i++) {
            assert_string_equal(together[i].bytes, alone[i].bytes);
            clinfer_session_destroy(sessions[i]);
            clinfer_free(tokens[i]);
        }
        /* Not one after the other: hardly more steps than one session needs. */
        if (after.steps - before.steps > TOKENS + 4)
            fail_msg("on %s: %llu steps for %d sessions of %d tokens", *device,
                     (unsigned long long)(after.steps - before.steps), PROMPTS, TOKENS);
        clinfer_engine_close(engine);
    }
}

static void test_a_common_prefix_is_not_computed_again(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        options.activations = CLINFER_ACTIVATIONS_F32;
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        clinfer_session *first = open_session(engine, 0), *fresh = open_session(engine, 0);
        size_t count;
        int32_t *tokens = tokens_of(engine, prompts[3], &count);
        struct text unused = {.length = 0}, again = {.length = 0}, expected = {.length = 0};
        struct clinfer_result result;
        generate(first, tokens, count, TOKENS, &unused, &result);

        /* The conversation so far with another end. */
        size_t longer = count + result.generated_tokens - 4;
        int32_t *more = malloc((longer + 1) * sizeof *more);
        assert_non_null(more);
        memcpy(more, tokens, count * sizeof *more);
        memcpy(more + count, result.tokens, (longer - count) * sizeof *more);
        more[longer] = tokens[0];
        generate(first, more, longer + 1, TOKENS, &again, &result);
        assert_int_equal(result.cached_tokens, longer);
        generate(fresh, more, longer + 1, TOKENS, &expected, &result);
        assert_int_equal(result.cached_tokens, 0);
        assert_string_equal(again.bytes, expected.bytes);
        free(more);
        clinfer_free(tokens);
        clinfer_session_destroy(first);
        clinfer_session_destroy(fresh);
        clinfer_engine_close(engine);
    }
}

static void test_the_context_ends_or_shifts_as_asked(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        options.context = 64;
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        size_t count, long_count;
        int32_t *tokens = tokens_of(engine, prompts[0], &count);
        int32_t *many = tokens_of(
            engine,
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty twenty-one twenty-two twenty-three "
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
            &long_count);
        clinfer_session *session = open_session(engine, 0);
        struct text text = {.length = 0};
        struct clinfer_result result;
        generate(session, tokens, count, -1, &text, &result);
        assert_int_equal(result.finish, CLINFER_FINISH_CONTEXT);
        assert_int_equal(result.generated_tokens, 64 - count);

        struct clinfer_request too_long = {.tokens = many, .count = long_count, .max_tokens = 4};
        assert_true(long_count > 64);
        assert_int_equal(clinfer_generate(session, &too_long, NULL), CLINFER_CONTEXT_FULL);
        assert_non_null(strstr(clinfer_error(), "64"));
        clinfer_session_destroy(session);

        struct clinfer_session_options shifting;
        clinfer_session_options_default(engine, &shifting);
        shifting.temperature = 0;
        shifting.shift = true;
        assert_int_equal(clinfer_session_create(engine, &shifting, &session), CLINFER_OK);
        struct text longer = {.length = 0};
        generate(session, tokens, count, 100, &longer, &result);
        assert_true(result.finish == CLINFER_FINISH_LENGTH || result.finish == CLINFER_FINISH_END);
        assert_true(result.generated_tokens > 64 - count);
        assert_memory_equal(longer.bytes, text.bytes, text.length);
        clinfer_session_destroy(session);
        clinfer_free(tokens);
        clinfer_free(many);
        clinfer_engine_close(engine);
    }
}

static void test_a_generation_can_be_stopped(void **state) {
    (void)state;
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        clinfer_session *session = open_session(engine, 0);
        size_t count;
        int32_t *tokens = tokens_of(engine, prompts[0], &count);
        struct clinfer_result result;
        struct text refused = {.stop_after = 2}, cancelled = {.cancel = session}, whole = {.length = 0};
        generate(session, tokens, count, TOKENS, &refused, &result);
        assert_int_equal(result.finish, CLINFER_FINISH_CANCELLED);
        assert_int_equal(refused.calls, 2);
        generate(session, tokens, count, TOKENS, &cancelled, &result);
        assert_int_equal(result.finish, CLINFER_FINISH_CANCELLED);
        assert_in_range(cancelled.calls, 3, 5);
        generate(session, tokens, count, TOKENS, &whole, &result);
        assert_int_equal(result.finish, CLINFER_FINISH_LENGTH);
        assert_memory_equal(whole.bytes, cancelled.bytes, cancelled.length);
        clinfer_free(tokens);
        clinfer_session_destroy(session);
        clinfer_engine_close(engine);
    }
}

/* Settings that the device samples, and settings that only the host can. */
static void test_a_seed_repeats_its_text(void **state) {
    (void)state;
    static const struct {
        int top_k;
        float repeat_penalty;
    } settings[] = {{40, 1}, {0, 1}, {40, 1.3f}};
    for (const char *const *device = test_devices(); *device; device++) {
        struct clinfer_engine_options options;
        clinfer_engine_options_default(&options);
        clinfer_engine *engine = open_engine(&subjects[0], *device, &options);
        size_t count;
        int32_t *tokens = tokens_of(engine, prompts[0], &count);
        for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
            struct text texts[3] = {{.length = 0}};
            for (int k = 0; k < 3; k++) {
                struct clinfer_session_options sampling;
                clinfer_session *session;
                clinfer_session_options_default(engine, &sampling);
                sampling.temperature = 1.2f;
                sampling.top_k = settings[i].top_k;
                sampling.repeat_penalty = settings[i].repeat_penalty;
                sampling.seed = k < 2 ? 7 : 8;
                assert_int_equal(clinfer_session_create(engine, &sampling, &session), CLINFER_OK);
                generate(session, tokens, count, TOKENS, &texts[k], NULL);
                clinfer_session_destroy(session);
            }
            assert_string_equal(texts[0].bytes, texts[1].bytes);
            assert_string_not_equal(texts[0].bytes, texts[2].bytes);
        }
        clinfer_free(tokens);
        clinfer_engine_close(engine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32_activations_agree_with_the_truth),
        cmocka_unit_test(test_q16_activations_agree_with_the_truth),
        cmocka_unit_test(test_q8_activations_are_no_worse_than_the_peer),
        cmocka_unit_test(test_pieces_of_a_prompt_agree),
        cmocka_unit_test(test_a_narrow_cache_costs_little),
        cmocka_unit_test(test_greedy_text_is_the_truths),
        cmocka_unit_test(test_the_end_of_an_answer_can_be_passed_over),
        cmocka_unit_test(test_sessions_together_say_what_each_says_alone),
        cmocka_unit_test(test_a_common_prefix_is_not_computed_again),
        cmocka_unit_test(test_the_context_ends_or_shifts_as_asked),
        cmocka_unit_test(test_a_generation_can_be_stopped),
        cmocka_unit_test(test_a_seed_repeats_its_text),
    };
    const struct CMUnitTest small[] = {tests[0], tests[1]};
    return getenv("CLINFER_TEST_SMALL") ? cmocka_run_group_tests_name("tiny models", small, NULL, NULL)
                                        : cmocka_run_group_tests(tests, NULL, NULL);
}
