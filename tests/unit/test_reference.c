/* The measure by which whole models are judged, judged itself. From a record, logits are rebuilt that fit it exactly
 * (recorded tokens as recorded, the rest of the mass spread over the rest); what is then done to them has figures that
 * are known in closed form or computed here over all logits. Run from the top of the repository. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/reference.h"

static const char *const records[] = {"tests/data/smollm2_reference.bin", "tests/data/qwen2_tiny_reference.bin",
                                      "tests/data/llama_tiny_reference.bin", "tests/data/qwen2_all_tiny_reference.bin",
                                      "tests/data/llama_all_tiny_reference.bin"};

/* Logits [vocabulary] of one position that agree with the record. */
static void rebuild(const struct reference *reference, size_t position, float *logits) {
    double lse = reference->log_sum_exp[position], mass = 1;
    size_t rest = 0;
    for (size_t i = 0; i < reference->vocabulary; i++) logits[i] = NAN;
    for (size_t i = 0; i < reference->uniform; i++)
        logits[reference->uniform_ids[i]] = reference->uniform_logits[position * reference->uniform + i];
    for (size_t i = 0; i < reference->sampled; i++)
        logits[reference->sampled_ids[position * reference->sampled + i]] =
            reference->sampled_logits[position * reference->sampled + i];
    for (size_t i = 0; i < reference->top; i++)
        logits[reference->top_ids[position * reference->top + i]] =
            reference->top_logits[position * reference->top + i];
    for (size_t i = 0; i < reference->vocabulary; i++) {
        if (isnan(logits[i]))
            rest++;
        else
            mass -= exp((double)logits[i] - lse);
    }
    float other = mass > 0 && rest > 0 ? (float)(lse + log(mass / (double)rest)) : (float)lse - 40.0f;
    for (size_t i = 0; i < reference->vocabulary; i++)
        if (isnan(logits[i])) logits[i] = other;
}

typedef void change_logits(const struct reference *reference, size_t position, float *logits);

/* Figures of changed logits; *full gets NMSE and mean KL over all logits against the rebuilt ones. */
static struct reference_figures measure(const struct reference *reference, change_logits *change,
                                        struct reference_figures *full) {
    size_t vocabulary = reference->vocabulary;
    float *truth = malloc(vocabulary * sizeof *truth), *ours = malloc(vocabulary * sizeof *ours);
    assert_true(truth && ours);
    struct reference_sum sum = reference_begin(reference);
    double error = 0, square = 0, kl = 0;
    for (size_t position = 0; position < reference->positions; position++) {
        rebuild(reference, position, truth);
        memcpy(ours, truth, vocabulary * sizeof *ours);
        if (change) change(reference, position, ours);
        reference_add(&sum, position, ours);
        double truth_sum = 0, our_sum = 0;
        for (size_t i = 0; full && i < vocabulary; i++) {
            double difference = (double)truth[i] - (double)ours[i];
            error += difference * difference;
            square += (double)truth[i] * (double)truth[i];
            truth_sum += exp((double)truth[i]);
            our_sum += exp((double)ours[i]);
        }
        for (size_t i = 0; full && i < vocabulary; i++)
            kl += exp((double)truth[i]) / truth_sum *
                  ((double)truth[i] - log(truth_sum) - (double)ours[i] + log(our_sum));
    }
    if (full) *full = (struct reference_figures){.nmse = error / square, .kl_mean = kl / (double)reference->positions};
    free(truth);
    free(ours);
    return reference_finish(&sum);
}

static void expect_near(const char *what, double value, double expected, double relative) {
    if (!(fabs(value - expected) <= relative * fabs(expected))) fail_msg("%s: %g instead of %g", what, value, expected);
}

static void test_the_truth_itself_has_no_error(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        struct reference reference;
        reference_open(records[i], &reference);
        struct reference_figures figures = measure(&reference, NULL, NULL);
        char text[REFERENCE_TEXT];
        if (!(figures.nmse == 0 && figures.kl_mean < 1e-9 && figures.kl_max < 1e-7 && figures.top1 == 1 &&
              figures.lost_margin == -1 && figures.positions == reference.positions))
            fail_msg("%s: %s", records[i], reference_text(&figures, text));
        reference_close(&reference);
    }
}

static void test_records_are_what_the_gates_ask_for(void **state) {
    (void)state;
    struct reference reference;
    reference_open(records[0], &reference);
    assert_true(reference.positions >= 500);
    assert_int_equal(reference.vocabulary, 49152);
    assert_int_equal(reference.n_prompt, 36);
    assert_int_equal(reference.prompt[0], 1); /* <|im_start|> */
    assert_int_equal(reference.n_greedy, 64);
    size_t decided = 0;
    for (size_t i = 0; i < reference.positions; i++) {
        assert_true(reference_margin(&reference, i) >= 0);
        decided += reference_margin(&reference, i) >= 0.02;
    }
    assert_in_range(decided * 100 / reference.positions, 95, 99);
    for (size_t i = 0; i < reference.n_greedy; i++) assert_true(reference.margins[i] > 0);
    assert_true(reference.has_peer);
    assert_true(reference.peer.nmse > 1e-5 && reference.peer.nmse < 1e-2);
    assert_true(reference.peer.kl_mean > 1e-4 && reference.peer.kl_mean < 1e-1);
    assert_true(reference.peer.top1 > 0.9 && reference.peer.top1 <= 1);
    reference_close(&reference);
}

static const float shift = 0.25f;

static void add_constant(const struct reference *reference, size_t position, float *logits) {
    (void)position;
    for (size_t i = 0; i < reference->vocabulary; i++) logits[i] += shift;
}

static void test_a_constant_changes_only_the_squared_error(void **state) {
    (void)state;
    struct reference reference;
    reference_open(records[0], &reference);
    double square = 0;
    size_t count = reference.positions * reference.uniform;
    for (size_t i = 0; i < count; i++)
        square += (double)reference.uniform_logits[i] * (double)reference.uniform_logits[i];
    struct reference_figures figures = measure(&reference, add_constant, NULL);
    expect_near("NMSE", figures.nmse, (double)shift * (double)shift * (double)count / square, 1e-5);
    assert_true(figures.kl_mean < 1e-9 && figures.top1 == 1);
    reference_close(&reference);
}

enum { BEATEN = 17 };
static const float drop = 1e-3f;

/* At one position the likeliest token falls just behind the second. */
static void beat_top(const struct reference *reference, size_t position, float *logits) {
    if (position == BEATEN)
        logits[reference->top_ids[position * reference->top]] -= (float)reference_margin(reference, position) + drop;
}

static void test_one_changed_logit_has_the_divergence_of_the_formula(void **state) {
    (void)state;
    struct reference reference;
    reference_open(records[1], &reference);
    struct reference_figures figures = measure(&reference, beat_top, NULL);
    double delta = -(reference_margin(&reference, BEATEN) + (double)drop);
    double p = exp((double)reference.top_logits[BEATEN * reference.top] - reference.log_sum_exp[BEATEN]);
    expect_near("KL", figures.kl_max, log1p(p * expm1(delta)) - p * delta, 1e-4);
    expect_near("mean KL", figures.kl_mean, figures.kl_max / (double)reference.positions, 1e-4);
    expect_near("top-1", figures.top1, 1 - 1.0 / (double)reference.positions, 1e-9);
    expect_near("lost margin", figures.lost_margin, reference_margin(&reference, BEATEN), 1e-9);
    assert_int_equal(figures.lost_position, BEATEN);
    reference_close(&reference);
}

/* Deviation 0.1, the size that 8-bit activations cause; xorshift of position and token. */
static void add_noise(const struct reference *reference, size_t position, float *logits) {
    uint64_t random = position * UINT64_C(0x9e3779b97f4a7c15) + 1;
    for (size_t i = 0; i < reference->vocabulary; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        logits[i] += 0.1f * 3.4641016f * ((float)(random >> 40) * 0x1p-24f - 0.5f);
    }
}

static void test_estimates_come_close_to_the_figures_over_all_logits(void **state) {
    (void)state;
    struct reference reference;
    reference_open(records[0], &reference);
    struct reference_figures full, figures = measure(&reference, add_noise, &full);
    expect_near("mean KL", figures.kl_mean, full.kl_mean, 0.03);
    double square = 0;
    size_t count = reference.positions * reference.uniform;
    for (size_t i = 0; i < count; i++)
        square += (double)reference.uniform_logits[i] * (double)reference.uniform_logits[i];
    expect_near("NMSE", figures.nmse, 0.01 / (square / (double)count), 0.03);
    assert_true(figures.top1 > 0.9 && figures.top1 < 1);
    assert_true(figures.lost_margin > 0 && figures.lost_margin < 0.4);
    reference_close(&reference);
}

static void spoil(const struct reference *reference, size_t position, float *logits) {
    if (position == 3) logits[reference->vocabulary - 1] = NAN;
}

static void overflow(const struct reference *reference, size_t position, float *logits) {
    if (position == 3) logits[reference->vocabulary / 2] = INFINITY;
}

static void test_logits_that_are_not_finite_fail_every_limit(void **state) {
    (void)state;
    change_logits *const changes[] = {spoil, overflow};
    for (int i = 0; i < 2; i++) {
        struct reference reference;
        reference_open(records[1], &reference);
        struct reference_figures figures = measure(&reference, changes[i], NULL);
        assert_true(figures.nmse == (double)INFINITY);
        assert_true(figures.kl_mean == (double)INFINITY);
        assert_true(figures.kl_max == (double)INFINITY);
        assert_true(figures.top1 < 1);
        assert_int_equal(figures.lost_position, 3);
        reference_close(&reference);
    }
}

static void test_text_says_all_figures(void **state) {
    (void)state;
    char text[REFERENCE_TEXT];
    struct reference_figures figures = {.nmse = 1e-6, .kl_mean = 2e-5, .kl_max = 0.5, .top1 = 0.75, .lost_margin = -1};
    assert_string_equal(reference_text(&figures, text), "NMSE 1.00e-06, KL mean 2.00e-05 max 5.00e-01, top-1 75.00%");
    figures.lost_margin = 0.25;
    figures.lost_position = 9;
    assert_non_null(strstr(reference_text(&figures, text), ", lost margin 0.25 at 9"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_truth_itself_has_no_error),
        cmocka_unit_test(test_records_are_what_the_gates_ask_for),
        cmocka_unit_test(test_a_constant_changes_only_the_squared_error),
        cmocka_unit_test(test_one_changed_logit_has_the_divergence_of_the_formula),
        cmocka_unit_test(test_estimates_come_close_to_the_figures_over_all_logits),
        cmocka_unit_test(test_logits_that_are_not_finite_fail_every_limit),
        cmocka_unit_test(test_text_says_all_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
