/* engine/sampler.h on logits that are made up: the tokens are those that llama.cpp's own samplers chose
 * (scripts/record_samplers.cpp); base/mersenne.h gives std::mt19937's numbers. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "engine/engine_private.h"
#include "support/asserts.h"

enum { VOCABULARY = 500, TOKENS = 40 };

struct fixture {
    struct clinfer_engine engine;
    struct clinfer_session session;
    int32_t tokens[TOKENS];
    float logits[VOCABULARY];
};

static const char *const no_breakers[] = {"unused"};

static struct fixture *open_fixture(const struct clinfer_session_options *options) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->engine.model.hyper.vocabulary = VOCABULARY;
    f->engine.context = TOKENS;
    f->session.engine = &f->engine;
    f->session.tokens = f->tokens;
    if (ci_sampler_create(&f->engine, options, &f->session.sampler) != CLINFER_OK) fail_msg("%s", clinfer_error());
    f->session.on_host = ci_sampler_needs_host(&f->session.sampler);
    assert_int_equal(ci_sampler_reserve(&f->engine, &f->session.sampler), CLINFER_OK);
    return f;
}

static void close_fixture(struct fixture *f) {
    ci_sampler_destroy(&f->session.sampler);
    free(f->engine.host_logits);
    free(f->engine.room.candidates);
    free(f->engine.room.others);
    free(f->engine.room.marks);
    free(f->engine.room.repeats);
    free(f);
}

/* As the program that recorded the tokens makes them. */
static int32_t next_token(struct fixture *f) {
    uint64_t state = f->session.known % 3;
    for (int i = 0; i < VOCABULARY; i++) f->logits[i] = 16 * ci_random_float(&state) - 10;
    int32_t id = ci_sampler_choose(&f->session, f->logits);
    f->tokens[f->session.known++] = id;
    f->session.generated++;
    return id;
}

struct sampler_case {
    const char *name;
    struct clinfer_session_options options;
};

#define CASE(title, t, k, p, m, repeat, last, present, often, multiplier, base, length, dry_last, xtc, above, usual,   \
             sigma, version, tau, eta, number)                                                                         \
    {title,                                                                                                            \
     {.temperature = t,                                                                                                \
      .top_k = k,                                                                                                      \
      .top_p = p,                                                                                                      \
      .min_p = m,                                                                                                      \
      .repeat_penalty = repeat,                                                                                        \
      .repeat_last_n = last,                                                                                           \
      .presence_penalty = present,                                                                                     \
      .frequency_penalty = often,                                                                                      \
      .dry_multiplier = multiplier,                                                                                    \
      .dry_base = base,                                                                                                \
      .dry_allowed_length = length,                                                                                    \
      .dry_last_n = dry_last,                                                                                          \
      .dry_breakers = no_breakers,                                                                                     \
      .xtc_probability = xtc,                                                                                          \
      .xtc_threshold = above,                                                                                          \
      .typical_p = usual,                                                                                              \
      .top_n_sigma = sigma,                                                                                            \
      .mirostat = version,                                                                                             \
      .mirostat_tau = tau,                                                                                             \
      .mirostat_eta = eta,                                                                                             \
      .seed = number}},
static const struct sampler_case cases[] = {
#include "../data/sampler_cases.inc"
};
static const int32_t chosen[][TOKENS] = {
#include "../data/sampler_tokens.inc"
};
enum { CASES = sizeof cases / sizeof *cases };

static void test_the_tokens_are_llama_cpps(void **state) {
    (void)state;
    assert_int_equal(CASES, sizeof chosen / sizeof *chosen);
    for (size_t i = 0; i < CASES; i++) {
        struct fixture *f = open_fixture(&cases[i].options);
        for (int t = 0; t < TOKENS; t++) {
            int32_t id = next_token(f);
            if (id != chosen[i][t]) fail_msg("%s: token %d is %d, not %d", cases[i].name, t, id, chosen[i][t]);
        }
        for (int id = 0; id < VOCABULARY; id++) assert_int_equal(f->engine.room.marks[id], 0);
        close_fixture(f);
    }
}

/* What the memory holds and the number of the token are all that the next one needs. */
static void test_an_answer_goes_on_elsewhere(void **state) {
    (void)state;
    for (size_t i = 0; i < CASES; i++) {
        struct fixture *before = open_fixture(&cases[i].options), *f = open_fixture(&cases[i].options);
        for (int t = 0; t < TOKENS / 2; t++) f->tokens[t] = next_token(before);
        f->session.known = f->session.generated = TOKENS / 2;
        ci_sampler_begin(&f->session.sampler, &before->session.sampler.memory);
        for (int t = TOKENS / 2; t < TOKENS; t++) assert_int_equal(next_token(f), chosen[i][t]);
        close_fixture(before);
        close_fixture(f);
    }
}

static void test_names_give_the_order(void **state) {
    (void)state;
    struct clinfer_session_options options = cases[0].options;
    options.samplers = "top_k;top-p;;temp";
    struct fixture *f = open_fixture(&options);
    assert_int_equal(f->session.sampler.count, 3);
    assert_false(f->session.on_host);
    close_fixture(f);
    options.samplers = "temperature;top_k";
    f = open_fixture(&options);
    assert_true(f->session.on_host);
    assert_string_equal(f->session.sampler.chain[0]->name, "temperature");
    ci_sampler_destroy(&f->session.sampler);
    options.samplers = "top_k;top_q";
    assert_int_equal(ci_sampler_create(&f->engine, &options, &f->session.sampler), CLINFER_INVALID_ARGUMENT);
    assert_non_null(strstr(clinfer_error(), "\"top_q\" is none; there are penalties, dry"));
    close_fixture(f);
}

static void test_a_bias_forbids_and_favours(void **state) {
    (void)state;
    const struct clinfer_logit_bias bias[] = {{490, -INFINITY}, {7, 100}};
    struct clinfer_session_options options = cases[0].options;
    options.logit_bias = bias;
    options.logit_bias_count = 1;
    struct fixture *f = open_fixture(&options);
    for (int t = 0; t < TOKENS; t++) assert_int_not_equal(next_token(f), 490);
    close_fixture(f);
    options.logit_bias_count = 2;
    f = open_fixture(&options);
    assert_int_equal(next_token(f), 7);
    ci_sampler_destroy(&f->session.sampler);
    const struct clinfer_logit_bias beyond = {VOCABULARY, 1};
    options.logit_bias = &beyond;
    options.logit_bias_count = 1;
    assert_int_equal(ci_sampler_create(&f->engine, &options, &f->session.sampler), CLINFER_INVALID_ARGUMENT);
    close_fixture(f);
}

static void test_random_numbers_are_those_of_mt19937(void **state) {
    (void)state;
    static const struct {
        uint32_t seed;
        double first, third, thousandth;
        float single;
    } facts[] = {{42, 0.79654298428784598, 0.77969099761266125, 0.086705210428948729, 0.37454012f},
                 {0, 0.59284461651668263, 0.85794561998982988, 0.9202717611549609, 0.548813522f},
                 {4294967294, 0.10184899170898529, 0.82893340139475558, 0.9919058657890093, 0.520666957f}};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        struct ci_draws draws;
        struct ci_mersenne mersenne;
        ci_draws_seed(&draws, facts[i].seed);
        assert_true(ci_draws_at(&draws, 1000) == facts[i].thousandth);
        assert_true(ci_draws_at(&draws, 2) == facts[i].third);
        assert_true(ci_draws_at(&draws, 0) == facts[i].first);
        assert_true(ci_draws_at(&draws, 2) == facts[i].third);
        ci_mersenne_seed(&mersenne, facts[i].seed);
        assert_true(ci_mersenne_float(&mersenne) == facts[i].single);
    }
}

/* ---- order ---- */

static int likelier(const void *a, const void *b) {
    const struct ci_candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int more_typical(const void *a, const void *b) {
    const struct ci_candidate *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return likelier(a, b);
}

static void expect_order(const struct ci_sampling *choice, const struct ci_candidate *sorted, size_t first) {
    for (size_t i = 0; i < first; i++)
        if (choice->items[i].id != sorted[i].id)
            fail_msg("%zu of %zu first: place %zu has %d, not %d", first, choice->count, i, choice->items[i].id,
                     sorted[i].id);
}

/* Many equals, both zeros and numbers without an end, in the order of ids and not. */
static void test_candidates_are_sorted_by_logit_score_and_id(void **state) {
    (void)state;
    enum { MOST = 3000 };
    static struct ci_candidate items[MOST], others[MOST], start[MOST], sorted[MOST];
    static const size_t counts[] = {1, 2, 255, 256, 257, 1000, MOST};
    struct ci_sampler_room room = {.others = others};
    uint64_t random = 5;
    for (size_t n = 0; n < sizeof counts / sizeof *counts; n++)
        for (int way = 0; way < 12; way++) {
            size_t count = counts[n], first = way % 3 ? count : (count + 3) / 4;
            for (size_t i = 0; i < count; i++) {
                float value = (float)(int)(ci_random(&random) % (way % 2 ? 40 : 100000)) - 20;
                if (i % 17 == 3) value = i % 2 ? -0.0f : 0.0f;
                if (i % 19 == 5) value = -INFINITY;
                items[i] = (struct ci_candidate){.logit = value, .score = fabsf(value / 2), .id = (int32_t)i};
            }
            for (size_t i = count; way % 4 == 3 && i-- > 1;) { /* another order */
                size_t k = (size_t)(ci_random(&random) % (i + 1));
                struct ci_candidate item = items[i];
                items[i] = items[k];
                items[k] = item;
            }
            memcpy(start, items, sizeof items);
            memcpy(sorted, items, sizeof items);
            struct ci_sampling choice = {.room = &room, .items = items, .count = count};
            qsort(sorted, count, sizeof *sorted, likelier);
            ci_sampler_sort(&choice, first);
            expect_order(&choice, sorted, first);
            assert_int_equal(choice.sorted, first == count);
            memcpy(items, start, sizeof items);
            choice.sorted = false;
            qsort(sorted, count, sizeof *sorted, more_typical);
            ci_sampler_sort_by_score(&choice, first);
            expect_order(&choice, sorted, first);
            assert_false(choice.sorted);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_candidates_are_sorted_by_logit_score_and_id),
        cmocka_unit_test(test_the_tokens_are_llama_cpps),
        cmocka_unit_test(test_an_answer_goes_on_elsewhere),
        cmocka_unit_test(test_names_give_the_order),
        cmocka_unit_test(test_a_bias_forbids_and_favours),
        cmocka_unit_test(test_random_numbers_are_those_of_mt19937),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
