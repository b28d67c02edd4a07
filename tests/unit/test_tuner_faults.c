/* tuner/tune.h: what a tune makes of candidates that fail, of fused ops, and of a model that got slower. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "tuner/search.h"
#include "unit/fake_tuner.h"

/* ---- faults ---- */

static const char *faulty; /* a variant's name */
static enum ci_trial_outcome fault;

static enum ci_trial_outcome one_is_faulty(const struct ci_problem *problem,
                                           const struct ci_tuner_candidate *candidate) {
    (void)problem;
    return strcmp(candidate->variant->name, faulty) == 0 ? fault : CI_TRIAL_PASSED;
}

static int tries_of(const char *variant) {
    int count = 0;
    for (int i = 0; i < fake.try_count; i++) count += strcmp(fake.tries[i].candidate.variant->name, variant) == 0;
    return count;
}

static void assert_not_in_profile(const struct ci_profile *profile, const char *variant) {
    for (int i = 0; i < profile->entry_count; i++) assert_string_not_equal(profile->entries[i].variant, variant);
}

static void test_what_is_wrong_goes_to_the_quarantine(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_quarantine quarantine;
    faulty = "gemv_subgroup";
    fault = CI_TRIAL_WRONG;
    fake.outcome = one_is_faulty;
    assert_ok(tune(&usual, &result));
    int first = tries_of(faulty);
    assert_true(first >= 1 && first <= 6); /* not for ever with other numbers */
    assert_not_in_profile(&result.profile, faulty);
    assert_int_equal(result.refused, first);
    ci_tune_free(&result);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, first);
    assert_non_null(strstr(quarantine.items[0].reason, "wrong result: as the test wants"));
    assert_string_equal(quarantine.items[0].device_name, imagined_gpu.name);
    ci_quarantine_free(&quarantine);

    /* It is not tried again, */
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_true(heard.skips > 0);
    assert_not_in_profile(&result.profile, faulty);
    ci_tune_free(&result);

    /* but a thorough tune lets it prove itself. */
    fake.outcome = NULL;
    assert_ok(tune(&(struct wish){.budget = 30, .thorough = true}, &result));
    assert_true(tries_of(faulty) > 0);
    ci_tune_free(&result);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, 0);
    ci_quarantine_free(&quarantine);
}

static void test_what_crashes_or_hangs_is_not_tried_even_by_a_thorough_tune(void **state) {
    (void)state;
    static const enum ci_trial_outcome faults[] = {CI_TRIAL_CRASHED, CI_TRIAL_TIMED_OUT};
    struct ci_tune_result result;
    for (size_t i = 0; i < 2; i++) {
        set_up(NULL);
        faulty = "gemv_subgroup";
        fault = faults[i];
        fake.outcome = one_is_faulty;
        assert_ok(tune(&usual, &result));
        int tries = tries_of(faulty);
        assert_true(tries >= 1 && tries <= 4);
        assert_int_equal(result.crashed, tries);
        assert_not_in_profile(&result.profile, faulty);
        struct try bad[4];
        int count = 0;
        for (int k = 0; k < fake.try_count; k++)
            if (strcmp(fake.tries[k].candidate.variant->name, faulty) == 0) bad[count++] = fake.tries[k];
        ci_tune_free(&result);
        assert_ok(tune(&(struct wish){.budget = 30, .thorough = true}, &result));
        assert_true(heard.skips > 0);
        for (int k = 0; k < fake.try_count; k++)
            for (int j = 0; j < count; j++) {
                bool same = fake.tries[k].op == bad[j].op &&
                            memcmp(fake.tries[k].types, bad[j].types, sizeof bad[j].types) == 0 &&
                            ci_candidates_equal(&fake.tries[k].candidate, &bad[j].candidate);
                assert_false(same);
            }
        ci_tune_free(&result);
    }
}

static void test_what_does_not_build_is_no_fault(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_quarantine quarantine;
    faulty = "gemv_subgroup";
    fault = CI_TRIAL_UNUSABLE;
    fake.outcome = one_is_faulty;
    assert_ok(tune(&usual, &result));
    assert_true(result.refused > 0);
    assert_ok(ci_quarantine_read(&quarantine));
    assert_int_equal(quarantine.count, 0);
    ci_tune_free(&result);
}

static enum ci_trial_outcome attention_is_faulty(const struct ci_problem *problem,
                                                 const struct ci_tuner_candidate *candidate) {
    (void)candidate;
    return strcmp(problem->op->name, "attention") == 0 ? CI_TRIAL_UNUSABLE : CI_TRIAL_PASSED;
}

static void test_an_op_of_which_nothing_passes_is_left_alone(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.outcome = attention_is_faulty;
    double begun = ci_now();
    assert_ok(tune(&usual, &result));
    assert_true(ci_now() - begun < 0.3 * usual.budget); /* nothing is left to try long before */
    assert_true(result.refused > 0);
    for (int i = 0; i < result.profile.entry_count; i++)
        assert_string_not_equal(result.profile.entries[i].signature.op, "attention");
    ci_tune_free(&result);
}

static void test_what_was_being_tried_when_all_ended_is_skipped(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    /* Whoever won for one token is the one during which the machine stopped. */
    const struct ci_tune_line *line = NULL;
    for (int i = 0; i < result.line_count && !line; i++)
        if (strcmp(result.lines[i].entry.signature.op, "matmul") == 0) line = &result.lines[i];
    assert_non_null(line);
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_profile_key key;
    ci_signature_key(&caps, &key);
    struct ci_quarantined item = {
        .device = ci_quarantine_device(&key), .source = line->entry.source, .tunable_count = line->entry.tunable_count};
    memcpy(item.tunables, line->entry.tunables, sizeof item.tunables);
    snprintf(item.device_name, sizeof item.device_name, "%s", key.device);
    snprintf(item.op, sizeof item.op, "%s", line->entry.signature.op);
    snprintf(item.variant, sizeof item.variant, "%s", line->entry.variant);
    snprintf(item.types, sizeof item.types, "%s", line->entry.signature.types);
    mark.item = item;
    mark.left_over = true;
    struct ci_profile_entry lost = line->entry;
    ci_tune_free(&result);

    assert_ok(tune(&usual, &result));
    assert_int_equal(result.recovered, 1);
    assert_true(fake.try_count > 0); /* its problems have no winner any more */
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        if (memcmp(&entry->signature, &lost.signature, sizeof lost.signature) != 0 ||
            strcmp(entry->layout, lost.layout) != 0)
            continue;
        assert_false(strcmp(entry->variant, lost.variant) == 0 &&
                     memcmp(entry->tunables, lost.tunables, sizeof lost.tunables) == 0);
    }
    ci_tune_free(&result);
    /* Not even a thorough one: it may have been the machine. */
    assert_ok(tune(&(struct wish){.budget = 40, .thorough = true}, &result));
    assert_true(heard.skips > 0);
    ci_tune_free(&result);
}

static double never_faster(const struct ci_profile *profile, bool decode) {
    (void)profile;
    return decode ? 0.01 : 1;
}

static void test_what_makes_the_model_no_faster_is_given_back(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = never_faster;
    assert_ok(tune(&usual, &result));
    assert_true(result.given_back > 0);
    assert_float_equal(result.models[0].decode_after, result.models[0].decode_before, 1e-9);

    /* A winner that does make it faster stays. */
    int given_back = result.given_back;
    ci_tune_free(&result);
    fake.model_seconds = NULL;
    assert_ok(tune(&(struct wish){.budget = 40, .thorough = true}, &result));
    assert_true(result.given_back < given_back);
    ci_tune_free(&result);
}

/* Every other pair is faster, and by much. */
static double by_chance(const struct ci_profile *profile, bool decode) {
    static int calls;
    double before = decode ? 0.01 : 1;
    return !profile ? before : before * (calls++ % 2 ? 0.8 : 1.01);
}

static void test_what_may_be_chance_is_given_back(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = by_chance;
    assert_ok(tune(&(struct wish){.budget = 6}, &result));
    assert_true(result.given_back > 0);
    assert_non_null(strstr(heard.said, "did not make decoding faster for sure"));
    assert_float_equal(result.models[0].decode_after, result.models[0].decode_before, 1e-9);
    ci_tune_free(&result);
}

/* So much faster are other kernels than the default for one product of decoding, a sixteenth of its time. */
static double gain_of_one;

static double one_is_faster(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    bool faster = problem->shape.in[0].rows == 1 && problem->shape.in[1].type == &ci_type_q4_1;
    return 1e-5 * (faster && !has_defaults(candidate) ? 1 - gain_of_one : 1);
}

/* Behind an old profile, too: what its winners save by their own trials the whole model could not show. */
static void test_what_saves_too_little_to_be_seen_is_not_to_be_proven(void **state) {
    enum { BRIEF = 6 };
    const double gains[] = {0, 0.08, 0.5};
    struct ci_tune_result result;
    (void)state;
    fake.seconds = one_is_faster;
    fake.model_seconds = never_faster;
    for (int i = 0; i < 3; i++) {
        gain_of_one = gains[i];
        assert_ok(tune(&(struct wish){.budget = 20, .again = true, .thorough = true}, &result));
        assert_true(i < 2 ? fake.asked == BRIEF : fake.asked > BRIEF);
        ci_tune_free(&result);
    }
}

static struct {
    double gain[2]; /* of prompts, of decoding */
    int calls[2], slow_each;
} winners;

static double faster_but_each(const struct ci_profile *profile, bool decode) {
    double before = decode ? 0.01 : 1;
    if (!profile) return before;
    bool slow = winners.slow_each && ++winners.calls[decode] % winners.slow_each == 0;
    return before * (slow ? 1.2 : 1 - winners.gain[decode]);
}

/* In runs of five pairs, of which one in `slow_each` (0: none) says that the winners are slower. */
static void tune_with_gains(double prompt, double decode, int slow_each, struct ci_tune_result *result) {
    memset(&winners, 0, sizeof winners);
    winners.gain[0] = prompt;
    winners.gain[1] = decode;
    winners.slow_each = slow_each;
    fake.model_seconds = faster_but_each;
    fake.most_rounds = 5;
    assert_ok(tune(&usual, result));
}

static void test_a_small_gain_has_to_be_surer(void **state) {
    (void)state;
    struct ci_tune_result result;
    tune_with_gains(0.05, 0.05, 10, &result); /* in ten pairs chance says so in 1.07 of a hundred cases */
    assert_true(result.given_back > 0);
    assert_float_equal(result.models[0].decode_after, result.models[0].decode_before, 1e-9);
    assert_int_equal(fake.models, 2);
    ci_tune_free(&result);
}

/* A prompt gains this much and decoding 5%, in all pairs: both are kept, after so many runs. */
static void assert_kept(double prompt, int runs) {
    struct ci_tune_result result;
    tune_with_gains(prompt, 0.05, 0, &result);
    assert_int_equal(result.given_back, 0);
    assert_true(result.models[0].decode_after > 1.05 * result.models[0].decode_before);
    assert_int_equal(fake.models, runs);
    ci_tune_free(&result);
}

static void test_a_small_gain_of_all_pairs_is_kept(void **state) {
    (void)state;
    assert_kept(0.05, 2);
}

static void test_a_great_gain_is_soon_sure_and_a_small_one_beside_it(void **state) {
    (void)state;
    assert_kept(0.2, 1);
}

static double faster_by_tenth(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return 0.1 * seconds_by_tunables(problem, candidate);
}

/* Then the model's plan is what it was, also where the planner weighs times. */
static void tune_twice_and_compare(void) {
    struct ci_tune_result first, second;
    int fail_second = fake.fail_model;
    fake.fail_model = CI_TRIAL_PASSED;
    assert_ok(tune(&usual, &first));
    fake.fail_model = fail_second;
    fake.seconds = faster_by_tenth;
    fake.model_seconds = never_faster;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    int compared = 0;
    for (int i = 0; i < first.profile.entry_count; i++) {
        const struct ci_profile_entry *was = &first.profile.entries[i];
        /* Others are in neither run of the model. */
        if (was->signature.rows != 1 || strncmp(was->signature.types, "q8", 2) != 0) continue;
        const struct ci_profile_entry *now = ci_profile_find(&second.profile, &was->signature, was->layout);
        assert_non_null(now);
        assert_string_equal(now->variant, was->variant);
        assert_float_equal(now->seconds, was->seconds, 0);
        compared++;
    }
    assert_true(compared > 0);
    ci_tune_free(&first);
    ci_tune_free(&second);
}

static void test_given_back_is_as_before(void **state) {
    (void)state;
    tune_twice_and_compare();
}

static void test_without_a_look_at_the_model_it_stays_as_before(void **state) {
    (void)state;
    fake.fail_model = CI_TRIAL_TIMED_OUT;
    tune_twice_and_compare();
    assert_non_null(strstr(heard.said, "it goes on as before"));
}

/* Whether decoding's `sample` is not the default any more: what slows, or saves, the models below. */
static bool has_faster_sample(const struct ci_profile *profile) {
    bool found = false;
    for (int i = 0; profile && i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        found = found || (strcmp(entry->signature.op, "sample") == 0 && entry->signature.rows == 1 &&
                          entry->seconds < entry->default_seconds);
    }
    return found;
}

/* Prompts alone become faster; but without what decoding gained, they are slow. */
static double mixed_is_slow(const struct ci_profile *profile, bool decode) {
    if (decode) return 0.01;
    return !profile ? 1 : has_faster_sample(profile) ? 0.9 : 1.2;
}

static void test_what_is_left_has_to_help_alone(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = mixed_is_slow;
    assert_ok(tune(&usual, &result));
    assert_non_null(strstr(heard.said, "which alone make it slower"));
    assert_float_equal(result.models[0].prefill_after, result.models[0].prefill_before, 1e-9);
    ci_tune_free(&result);
}

/* ---- fused or not, CLBlast, the whole model ---- */

static double fused_is_slow(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return seconds_by_size(problem, candidate) * (problem->op == &ci_op_glu_quantise ? 5 : 1);
}

static void test_a_fused_op_whose_parts_are_faster_is_taken_apart(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.seconds = fused_is_slow;
    assert_ok(tune(&usual, &result));
    bool found = false;
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        bool apart = strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0;
        bool slow = strcmp(entry->signature.op, "glu_quantise") == 0;
        if (slow && !apart) fail_msg("glu_quantise of %d rows stayed together", (int)entry->signature.rows);
        if (apart) assert_true(entry->seconds < entry->default_seconds && entry->tunable_count == 0);
        found = found || slow;
    }
    assert_true(found);
    ci_tune_free(&result);
    /* Kept like any other winner. */
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.try_count, 0);
    ci_tune_free(&result);
}

static double clblast_is_fast(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return 1e-3 * seconds_by_size(problem, candidate) * (candidate->variant->backend == CI_BACKEND_CLBLAST ? 0.5 : 1);
}

static double clblast_saves_much(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return 1e9 * clblast_is_fast(problem, candidate);
}

static bool has_clblast(const struct ci_profile *profile) {
    bool found = false;
    for (int i = 0; i < profile->entry_count; i++) found = found || strcmp(profile->entries[i].variant, "clblast") == 0;
    return found;
}

static void test_clblast_pays_for_its_programs(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.build_seconds = 1;
    fake.seconds = clblast_is_fast;
    assert_ok(tune(&usual, &result));
    assert_false(has_clblast(&result.profile));
    ci_tune_free(&result);
    set_up(NULL);
    fake.build_seconds = 1;
    fake.seconds = clblast_saves_much;
    assert_ok(tune(&usual, &result));
    assert_true(has_clblast(&result.profile));
    /* Which a driver may compile in a first run. */
    assert_true(fake.longest_clblast > fake.longest_usual);
    ci_tune_free(&result);
}

/* The model is slow with whatever is not the default for `sample`. */
static double slow_with_sample(const struct ci_profile *profile, bool decode) {
    if (!decode) return 1;
    return has_faster_sample(profile) ? 0.012 : 0.01;
}

static void test_winners_that_slow_the_whole_model_are_given_back(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.model_seconds = slow_with_sample;
    assert_ok(tune(&usual, &result));
    assert_true(result.given_back > 0);
    assert_non_null(strstr(heard.said, "got slower as a whole"));
    assert_false(has_faster_sample(&result.profile));
    int kept = 0;
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        kept += entry->seconds * CI_SEARCH_GAIN < entry->default_seconds;
    }
    assert_true(kept > 0); /* the others won all the same */
    assert_true(result.models[0].decode_after >= result.models[0].decode_before * 0.97);
    ci_tune_free(&result);
}

static void test_a_model_that_cannot_be_run_is_said(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.fail_model = CI_TRIAL_TIMED_OUT;
    assert_ok(tune(&usual, &result));
    assert_non_null(strstr(heard.said, "was not run as a whole"));
    assert_int_equal(result.given_back, 0);
    assert_true(result.changed);
    ci_tune_free(&result);
    /* It fails without the winners too: they are not to blame. */
    fake.fail_model = CI_TRIAL_CRASHED;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_int_equal(result.given_back, 0);
    ci_tune_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_is_wrong_goes_to_the_quarantine, set_up),
        cmocka_unit_test_setup(test_what_crashes_or_hangs_is_not_tried_even_by_a_thorough_tune, set_up),
        cmocka_unit_test_setup(test_what_does_not_build_is_no_fault, set_up),
        cmocka_unit_test_setup(test_an_op_of_which_nothing_passes_is_left_alone, set_up),
        cmocka_unit_test_setup(test_what_was_being_tried_when_all_ended_is_skipped, set_up),
        cmocka_unit_test_setup(test_what_makes_the_model_no_faster_is_given_back, set_up),
        cmocka_unit_test_setup(test_what_may_be_chance_is_given_back, set_up),
        cmocka_unit_test_setup(test_what_saves_too_little_to_be_seen_is_not_to_be_proven, set_up),
        cmocka_unit_test_setup(test_a_small_gain_has_to_be_surer, set_up),
        cmocka_unit_test_setup(test_a_small_gain_of_all_pairs_is_kept, set_up),
        cmocka_unit_test_setup(test_a_great_gain_is_soon_sure_and_a_small_one_beside_it, set_up),
        cmocka_unit_test_setup(test_given_back_is_as_before, set_up),
        cmocka_unit_test_setup(test_without_a_look_at_the_model_it_stays_as_before, set_up),
        cmocka_unit_test_setup(test_what_is_left_has_to_help_alone, set_up),
        cmocka_unit_test_setup(test_a_fused_op_whose_parts_are_faster_is_taken_apart, set_up),
        cmocka_unit_test_setup(test_clblast_pays_for_its_programs, set_up),
        cmocka_unit_test_setup(test_winners_that_slow_the_whole_model_are_given_back, set_up),
        cmocka_unit_test_setup(test_a_model_that_cannot_be_run_is_said, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
