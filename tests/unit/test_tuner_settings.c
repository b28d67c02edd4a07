/* What kernels cannot (tuner/settings.c): the settings that are best are known to the test, the tune has to find them,
 * and to leave alone what gains nothing or what would change answers. The clock is the test's own. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "tuner/tuner_private.h"
#include "unit/fake_tuner.h"

static double clock_seconds = 1000;

double ci_now(void) { return clock_seconds; }

static void pass(double seconds) { clock_seconds += seconds; }

static double try_seconds(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    (void)problem;
    (void)candidate;
    return 0.05;
}

/* ---- the machine that there is not ---- */

static struct {
    int threads;        /* the best number; 0: all */
    double f32, large;  /* seconds by those of what a run does by itself: decoding in f32; with small pages */
    double f32_prefill; /* of prompts in f32 */
    int batch;          /* the best number of rows of a step; 0: all are alike */
    double load;        /* everything takes so many times as long: other programs run */
} machine;

static double model_seconds(const struct ci_profile *profile, bool decode) {
    const struct ci_profile_settings nothing = {0},
                                     *now = profile && profile->model_count ? &profile->models[0].settings : &nothing;
    static unsigned turn;
    double seconds = machine.load * (decode ? 0.01 : 1) * (turn++ % 2 ? 1.002 : 0.998);
    int threads = now->threads ? now->threads : ci_threads_default();
    int batch = now->batch ? now->batch : 512;
    if (machine.threads) seconds *= 1 + 0.1 * abs(threads - machine.threads);
    if (!decode && machine.batch) seconds *= 1 + 0.1 * fabs(log2(batch) - log2(machine.batch));
    if (strcmp(now->activations, "f32") == 0) seconds *= decode ? machine.f32 : machine.f32_prefill;
    if (strcmp(now->pages, "small") == 0) seconds *= machine.large;
    return seconds;
}

static int set_up_settings(void **state) {
    set_up(state);
    fake.seconds = seconds_by_size;
    fake.try_seconds = try_seconds;
    fake.pass = pass;
    fake.model_seconds = model_seconds;
    machine = (__typeof__(machine)){.load = 1, .batch = 512, .f32 = 1.5, .f32_prefill = 1.5, .large = 1.05};
    return 0;
}

static const struct wish on_cpu = {.budget = 120, .cpu = true};

static const struct ci_tune_setting *setting(const struct ci_tune_result *result, const char *name, const char *value) {
    for (int i = 0; i < result->setting_count; i++)
        if (strcmp(result->settings[i].name, name) == 0 && strcmp(result->settings[i].value, value) == 0)
            return &result->settings[i];
    return NULL;
}

static struct ci_profile_settings written(const struct ci_tune_result *result) {
    struct ci_profile profile;
    assert_ok(ci_profile_read(result->path, &profile));
    assert_int_equal(profile.model_count, 1);
    struct ci_profile_settings settings = profile.models[0].settings;
    ci_profile_free(&profile);
    return settings;
}

static void test_what_runs_do_by_themselves_stays_where_it_is_best(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&on_cpu, &result));
    const struct ci_profile_settings settings = written(&result);
    assert_false(ci_profile_settings_say(&settings));
    assert_int_equal(setting(&result, "activations", "f32")->what, CI_TUNE_NO_BETTER);
    assert_true(setting(&result, "activations", "f32")->all.high < 0.7);
    /* One that is clearly slower: fewer still are not looked at. */
    assert_int_equal(setting(&result, "batch", "256")->what, CI_TUNE_NO_BETTER);
    assert_null(setting(&result, "batch", "128"));
    ci_tune_free(&result);
    machine.batch = 0;
    assert_ok(tune(&(struct wish){.budget = 120, .cpu = true, .again = true}, &result));
    assert_non_null(setting(&result, "batch", "256"));
    assert_null(setting(&result, "batch", "128"));
    /* What changes answers is measured, and never kept. */
    assert_int_equal(setting(&result, "activations", "q8")->what, CI_TUNE_REPORTED);
    assert_int_equal(setting(&result, "KV cache", "q8_0")->what, CI_TUNE_REPORTED);
    assert_true(result.profile.models[0].steps.seconds[2] == 0.012);
    ci_tune_free(&result);
}

static void test_the_best_settings_are_found_and_written(void **state) {
    (void)state;
    struct ci_tune_result result;
    machine.batch = 128;
    machine.f32 = 0.7;
    machine.f32_prefill = 0.9;
    machine.large = 0.9;
    int all = ci_threads_default(), cores = ci_threads_cores();
    machine.threads = cores < all ? cores : all > 1 ? all - 1 : 0;
    assert_ok(tune(&on_cpu, &result));
    const struct ci_profile_settings settings = written(&result);
    assert_int_equal(settings.batch, 128);
    assert_string_equal(settings.activations, "f32");
    assert_int_equal(settings.threads, machine.threads);
    const struct ci_tune_setting *f32 = setting(&result, "activations", "f32");
    assert_int_equal(f32->what, CI_TUNE_KEPT);
    assert_true(f32->decode.low > 1.3 && f32->decode.high < 1.5 && f32->prefill.low > 1.05);
    assert_true(result.models[0].decode_after > 1.3 * result.models[0].decode_before);
    ci_tune_free(&result);
    /* They are what ran before, for the next tune: as good as then they stay, worse than nothing they go. */
    assert_ok(tune(&(struct wish){.budget = 120, .cpu = true, .again = true}, &result));
    const struct ci_profile_settings again = written(&result);
    assert_memory_equal(&again, &settings, sizeof again);
    ci_tune_free(&result);
    machine.batch = 512;
    assert_ok(tune(&(struct wish){.budget = 120, .cpu = true, .again = true}, &result));
    assert_int_equal(written(&result).batch, 0);
    assert_int_equal(setting(&result, "batch", "default")->what, CI_TUNE_KEPT);
    ci_tune_free(&result);
}

/* Decoding is faster, and prompts are slower by more: both together count. */
static void test_what_one_run_gains_the_other_must_not_lose(void **state) {
    (void)state;
    struct ci_tune_result result;
    machine.f32 = 0.95;
    machine.f32_prefill = 1.5;
    assert_ok(tune(&on_cpu, &result));
    assert_string_equal(written(&result).activations, "");
    assert_true(setting(&result, "activations", "f32")->decode.low > 1);
    ci_tune_free(&result);
}

static void test_the_budget_holds_and_says_what_was_left(void **state) {
    (void)state;
    struct ci_tune_result result;
    double start = ci_now();
    assert_ok(tune(&(struct wish){.budget = 8, .cpu = true}, &result));
    assert_true(ci_now() - start < 9);
    assert_int_equal(setting(&result, "KV cache", "q4_0")->what, CI_TUNE_NOT_MEASURED);
    ci_tune_free(&result);
}

/* Threads are the CPU backend's, and nobody who asked for so many wants others. */
static void test_threads_are_not_looked_at_on_a_device(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    for (int i = 0; i < result.setting_count; i++) assert_string_not_equal(result.settings[i].name, "threads");
    assert_non_null(setting(&result, "activations", "f32"));
    ci_tune_free(&result);
}

/* Which of the two is faster with this model is kept for whoever opens it without --device, and said. */
static void test_a_device_is_compared_with_the_cpu_backend(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.cpu_speed = 2;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_int_equal(setting(&result, "place", "cpu")->what, CI_TUNE_KEPT);
    assert_true(fabs(result.profile.models[0].cpu_speed - 2) < 0.1);
    assert_non_null(strstr(heard.said, "times as fast as this device: it comes before this device without --device"));
    ci_tune_free(&result);
    fake.cpu_speed = 0.5;
    assert_ok(tune(&(struct wish){.budget = 120, .again = true}, &result));
    assert_int_equal(setting(&result, "place", "cpu")->what, CI_TUNE_NO_BETTER);
    assert_true(fabs(result.profile.models[0].cpu_speed - 0.5) < 0.1);
    assert_non_null(strstr(heard.said, ": this device comes before it without --device"));
    ci_tune_free(&result);
    assert_ok(tune(&on_cpu, &result));
    assert_null(setting(&result, "place", "cpu"));
    ci_tune_free(&result);
}

/* A device that is the same processor: what the CPU backend reaches with it no limit may deny. */
static void test_a_faster_cpu_backend_shows_that_more_is_possible(void **state) {
    struct ci_device_caps same_processor = imagined_gpu;
    struct ci_tune_result result;
    (void)state;
    same_processor.kind = CI_DEVICE_CPU;
    fake.device = (struct ci_profile_device){
        .read_bytes_per_second = 1e7, .operations_per_second = 1e7, .dot8_operations_per_second = 4e7};
    for (int i = 0; i < 2; i++) {
        fake.cpu_speed = i ? 2 : 0.5;
        assert_ok(tune(&(struct wish){.budget = 120, .device = &same_processor, .again = i == 1}, &result));
        for (int run = 0; run < 2; run++) {
            double share = result.gains[0][run].share;
            if (i ? fabs(share - 0.5) > 0.01 : share < 0.6)
                fail_msg("run %d beside %g: %g", run, fake.cpu_speed, share);
        }
        ci_tune_free(&result);
    }
}

static double seconds_less_of_codes(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    const struct ci_type *type = problem->shape.in[0].type;
    return seconds_by_size(problem, candidate) * (ci_type_planes(type) > 0 ? 0.1 : 1);
}

/* Where runs take floats by themselves, codes of 8 bits change something and are measured. */
static void test_codes_are_measured_where_runs_take_floats(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_true(result.problems.models[0].reads_floats);
    assert_int_equal(setting(&result, "activations", "q8")->what, CI_TUNE_REPORTED);
    assert_true(setting(&result, "activations", "q8")->all.ratio > 0);
    ci_tune_free(&result);
    /* With a dot product of bytes they take codes of 16 bits, and no others. */
    struct ci_device_caps with_dot4 = imagined_gpu;
    with_dot4.dot4 = true;
    fake.seconds = seconds_less_of_codes;
    assert_ok(tune(&(struct wish){.budget = 120, .device = &with_dot4, .again = true}, &result));
    assert_false(result.problems.models[0].reads_floats);
    assert_int_equal(setting(&result, "activations", "q8")->what, CI_TUNE_REPORTED);
    assert_string_equal(setting(&result, "activations", "q16")->reason, "changes nothing here");
    ci_tune_free(&result);
}

/* A machine that was busy during one tune and is not during the next has gained nothing by that. */
static void test_less_load_is_no_gain(void **state) {
    (void)state;
    struct ci_tune_result result;
    machine.batch = 128;
    machine.load = 2;
    assert_ok(tune(&on_cpu, &result));
    const double gain = result.profile.models[0].prefill_after / result.profile.models[0].prefill_before;
    const double speed = result.profile.models[0].prefill_after;
    assert_true(gain > 1.1);
    ci_tune_free(&result);
    machine.load = 1;
    assert_ok(tune(&(struct wish){.budget = 120, .cpu = true, .again = true}, &result));
    const struct ci_profile_model *model = &result.profile.models[0];
    assert_true(fabs(model->prefill_after / speed - 2) < 0.05);
    assert_true(fabs(model->prefill_after / model->prefill_before / gain - 1) < 0.02);
    assert_true(fabs(model->decode_after / model->decode_before - 1) < 0.02);
    ci_tune_free(&result);
    /* One that has nothing to measure says it again. */
    assert_ok(tune(&on_cpu, &result));
    assert_true(fabs(result.models[0].prefill_after / result.models[0].prefill_before / gain - 1) < 0.02);
    ci_tune_free(&result);
}

/* What the profile says a kernel was is not what it is. */
static void change_kernel(const char *path, const char *op) {
    struct ci_profile profile;
    int changed = 0;
    assert_ok(ci_profile_read(path, &profile));
    for (int i = 0; i < profile.entry_count; i++) {
        if (strcmp(profile.entries[i].signature.op, op) != 0) continue;
        profile.entries[i].source ^= 1;
        changed++;
    }
    assert_true(changed > 0);
    assert_ok(ci_profile_write(path, &profile));
    ci_profile_free(&profile);
}

/* The kernel is measured anew, and then somebody presses Ctrl-C: settings are still those of the old one. */
static void test_settings_that_a_stopped_tune_left_are_measured_by_the_next(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.cpu_speed = 2;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_false(result.profile.models[0].outdated);
    change_kernel(result.path, "sample");
    ci_tune_free(&result);
    fake.cpu_speed = 0.5;
    heard.stop_after_models = 1;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_true(result.interrupted && result.changed);
    assert_true(result.profile.models[0].outdated && result.profile.models[0].cpu_speed > 1);
    ci_tune_free(&result);
    heard.stop_after_models = 0;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_int_equal(fake.try_count, 0);
    assert_true(fabs(result.profile.models[0].cpu_speed - 0.5) < 0.1);
    assert_false(result.profile.models[0].outdated);
    ci_tune_free(&result);
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_int_equal(fake.models, 0);
    ci_tune_free(&result);
}

/* A kernel that several models have is renewed by the tune of one. */
static void test_settings_of_other_models_with_a_changed_kernel_are_measured_by_their_next_tune(void **state) {
    const struct wish other = {.budget = 120, .model = "tests/data/qwen2_tiny.gguf"};
    struct ci_tune_result result;
    (void)state;
    fake.cpu_speed = 2;
    assert_ok(tune(&other, &result));
    ci_tune_free(&result);
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_int_equal(result.profile.model_count, 2);
    change_kernel(result.path, "sample");
    ci_tune_free(&result);
    fake.cpu_speed = 0.5;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    ci_tune_free(&result);
    assert_ok(tune(&other, &result));
    assert_non_null(setting(&result, "place", "cpu"));
    for (int i = 0; i < 2; i++) assert_true(fabs(result.profile.models[i].cpu_speed - 0.5) < 0.1);
    ci_tune_free(&result);
}

/* The same version, but another kernel: what was measured with the old one is measured anew, without --again. */
static void test_places_are_compared_anew_where_a_kernel_has_changed(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.cpu_speed = 2;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    ci_tune_free(&result);
    fake.cpu_speed = 0.5;
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_null(setting(&result, "place", "cpu"));
    assert_true(result.profile.models[0].cpu_speed > 1);
    change_kernel(result.path, "sample");
    ci_tune_free(&result);
    assert_ok(tune(&(struct wish){.budget = 120}, &result));
    assert_true(fabs(result.profile.models[0].cpu_speed - 0.5) < 0.1);
    ci_tune_free(&result);
}

/* Wilcoxon's tables: of eight pairs without ties the least rank alone may be against it one time in a hundred. */
static void test_pairs_are_weighed_by_their_ranks(void **state) {
    (void)state;
    double pairs[2 * 8];
    for (int i = 0; i < 8; i++) {
        pairs[2 * i] = 1;
        pairs[2 * i + 1] = 0.9 - 0.01 * i;
    }
    assert_false(ci_pairs_are_surely_less(pairs, 6, 0.01)); /* 1 / 64 */
    assert_true(ci_pairs_are_surely_less(pairs, 7, 0.01));  /* 1 / 128 */
    pairs[1] = 1.01;
    assert_true(ci_pairs_are_surely_less(pairs, 8, 0.01)); /* rank 1: 2 / 256 */
    assert_false(ci_pairs_are_sure(7, 8, 0.01));           /* by signs alone it is not */
    pairs[3] = 1.02;
    assert_false(ci_pairs_are_surely_less(pairs, 8, 0.01)); /* ranks 1 and 2: 5 / 256 */
    assert_true(ci_pairs_are_surely_less(pairs, 8, 5. / 256));
    pairs[3] = 0.5;
    pairs[1] = 2.5;
    assert_false(ci_pairs_are_surely_less(pairs, 8, 0.05)); /* the greatest of all is against it */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_what_runs_do_by_themselves_stays_where_it_is_best, set_up_settings),
        cmocka_unit_test_setup(test_the_best_settings_are_found_and_written, set_up_settings),
        cmocka_unit_test_setup(test_what_one_run_gains_the_other_must_not_lose, set_up_settings),
        cmocka_unit_test_setup(test_the_budget_holds_and_says_what_was_left, set_up_settings),
        cmocka_unit_test_setup(test_threads_are_not_looked_at_on_a_device, set_up_settings),
        cmocka_unit_test_setup(test_a_device_is_compared_with_the_cpu_backend, set_up_settings),
        cmocka_unit_test_setup(test_a_faster_cpu_backend_shows_that_more_is_possible, set_up_settings),
        cmocka_unit_test_setup(test_codes_are_measured_where_runs_take_floats, set_up_settings),
        cmocka_unit_test_setup(test_places_are_compared_anew_where_a_kernel_has_changed, set_up_settings),
        cmocka_unit_test_setup(test_less_load_is_no_gain, set_up_settings),
        cmocka_unit_test_setup(test_settings_that_a_stopped_tune_left_are_measured_by_the_next, set_up_settings),
        cmocka_unit_test_setup(test_settings_of_other_models_with_a_changed_kernel_are_measured_by_their_next_tune,
                               set_up_settings),
        cmocka_unit_test(test_pairs_are_weighed_by_their_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
