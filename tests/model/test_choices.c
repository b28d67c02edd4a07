/* What requests and sessions say of an answer beside its tokens: probabilities, and texts that end it. */
#define _GNU_SOURCE
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <clinfer.h>

#include "support/asserts.h"
#include "support/model.h"

enum { TOKENS = 24, LIKELIEST = 3, PROMPT = 5, MOST_TEXT = 4096 };

struct text {
    char bytes[MOST_TEXT];
    size_t length;
};

static bool collect(void *user, const char *bytes, size_t length) {
    struct text *text = user;
    if (text->length + length > sizeof text->bytes) return false;
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
    return true;
}

static const int32_t prompt[PROMPT] = {5, 17, 60, 80, 33};

struct fixture {
    clinfer_engine *engine;
    clinfer_session *session;
    struct clinfer_session_options sampling;
};

static void open_fixture(struct fixture *f, float temperature, int logprobs) {
    struct clinfer_engine_options options = test_engine_options("tests/data/llama_tiny.gguf", "cpu");
    options.activations = CLINFER_ACTIVATIONS_F32;
    if (clinfer_engine_open(&options, &f->engine) != CLINFER_OK) fail_msg("%s", clinfer_error());
    clinfer_session_options_default(f->engine, &f->sampling);
    f->sampling.temperature = temperature;
    f->sampling.logprobs = logprobs;
    f->sampling.seed = 3;
    if (clinfer_session_create(f->engine, &f->sampling, &f->session) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

static void close_fixture(struct fixture *f) {
    clinfer_session_destroy(f->session);
    clinfer_engine_close(f->engine);
}

static void generate(const struct fixture *f, const char *const *stop, size_t stop_count, struct text *text,
                     struct clinfer_result *result) {
    const struct clinfer_request request = {.tokens = prompt,
                                            .count = PROMPT,
                                            .max_tokens = TOKENS,
                                            .ignore_end = true,
                                            .callback = collect,
                                            .user = text,
                                            .stop = stop,
                                            .stop_count = stop_count};
    text->length = 0;
    if (clinfer_generate(f->session, &request, result) != CLINFER_OK) fail_msg("%s", clinfer_error());
}

/* The logarithm of the probability of a token behind the prompt, from its logits. */
static double logprob_of(const struct fixture *f, int32_t token) {
    struct clinfer_engine_info info;
    clinfer_engine_get_info(f->engine, &info);
    float *logits = malloc(sizeof *logits * (size_t)info.outputs);
    double sum = 0;
    assert_non_null(logits);
    assert_int_equal(clinfer_logits(f->session, prompt, PROMPT, false, logits), CLINFER_OK);
    for (int i = 0; i < info.outputs; i++) sum += exp((double)logits[i]);
    double logprob = (double)logits[token] - log(sum);
    free(logits);
    return logprob;
}

static void test_each_token_has_its_probability_and_the_likeliest(void **state) {
    (void)state;
    for (int greedy = 0; greedy < 2; greedy++) {
        struct fixture f;
        struct clinfer_result result;
        static struct text text;
        open_fixture(&f, greedy ? 0 : 1.5f, LIKELIEST);
        generate(&f, NULL, 0, &text, &result);
        assert_int_equal(result.generated_tokens, TOKENS);
        assert_non_null(result.logprobs);
        for (size_t i = 0; i < TOKENS; i++) {
            const struct clinfer_logprob *row = result.logprobs + i * (LIKELIEST + 1);
            assert_int_equal(row[0].token, result.tokens[i]);
            if (greedy) assert_true(row[1].token == row[0].token && row[1].logprob == row[0].logprob);
            for (int k = 1; k <= LIKELIEST; k++) {
                assert_true(row[k].logprob < 0 && row[0].logprob <= row[1].logprob);
                if (k > 1) assert_true(row[k].logprob <= row[k - 1].logprob);
            }
        }
        float first = result.logprobs[0].logprob, likeliest = result.logprobs[1].logprob;
        int32_t own = result.logprobs[0].token, other = result.logprobs[1].token;
        assert_true(fabs(logprob_of(&f, own) - (double)first) < 1e-3);
        assert_true(fabs(logprob_of(&f, other) - (double)likeliest) < 1e-3);
        close_fixture(&f);
    }
}

static void test_nobody_pays_for_probabilities_that_are_not_wanted(void **state) {
    (void)state;
    struct fixture f;
    struct clinfer_result result;
    static struct text text;
    open_fixture(&f, 0.8f, 0);
    generate(&f, NULL, 0, &text, &result);
    assert_null(result.logprobs);
    close_fixture(&f);
}

static void test_a_text_that_comes_up_ends_the_answer_before_it(void **state) {
    (void)state;
    enum { BEFORE = 7, LENGTH = 4 };
    struct fixture f;
    struct clinfer_result result;
    static struct text whole, ended;
    open_fixture(&f, 0.8f, 0);
    generate(&f, NULL, 0, &whole, &result);
    assert_int_equal(result.finish, CLINFER_FINISH_LENGTH);
    assert_in_range(whole.length, BEFORE + LENGTH + 1, MOST_TEXT);
    char stop[LENGTH + 1] = "";
    memcpy(stop, whole.bytes + BEFORE, LENGTH);
    if (strlen(stop) != LENGTH) fail_msg("the text has a zero");
    const char *const texts[] = {"never in it", stop};
    generate(&f, texts, 2, &ended, &result);
    const char *at = memmem(whole.bytes, whole.length, stop, LENGTH);
    assert_int_equal(ended.length, at - whole.bytes);
    assert_memory_equal(ended.bytes, whole.bytes, ended.length);
    assert_int_equal(result.finish, CLINFER_FINISH_END);
    generate(&f, texts, 1, &ended, &result);
    assert_int_equal(ended.length, whole.length);
    assert_int_equal(result.finish, CLINFER_FINISH_LENGTH);
    const char *const empty[] = {""};
    const struct clinfer_request request = {.tokens = prompt, .count = PROMPT, .stop = empty, .stop_count = 1};
    assert_int_equal(clinfer_submit(f.session, &request), CLINFER_INVALID_ARGUMENT);
    close_fixture(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_token_has_its_probability_and_the_likeliest),
        cmocka_unit_test(test_nobody_pays_for_probabilities_that_are_not_wanted),
        cmocka_unit_test(test_a_text_that_comes_up_ends_the_answer_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
