/* tuner/tune.h: whole tunes: what is measured, kept and written, and for how long. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "ops/signature.h"
#include "tuner/search.h"
#include "unit/fake_tuner.h"

static const struct ci_profile_entry *entry_of(const struct ci_profile *profile, const char *op, int64_t rows,
                                               const char *layout) {
    for (int i = 0; i < profile->entry_count; i++) {
        const struct ci_profile_entry *entry = &profile->entries[i];
        if (strcmp(entry->signature.op, op) == 0 && entry->signature.rows == rows && strcmp(entry->layout, layout) == 0)
            return entry;
    }
    return NULL;
}

/* ---- whole tunes ---- */

static void test_tune_writes_the_fastest_in_each_layout(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_profile profile;
    assert_ok(tune(&usual, &result));
    assert_true(result.changed);
    assert_false(result.interrupted);
    assert_false(mark.set);
    assert_int_equal(fake.measured, 1);
    assert_true(fake.models > 0);
    assert_true(heard.progress > 0 && heard.trials == result.tried);
    assert_ok(ci_profile_read(result.path, &profile));
    assert_string_equal(profile.key.device, imagined_gpu.name);
    assert_true(profile.measured.read_bytes_per_second == 1e11);
    const struct ci_profile_entry *stored = entry_of(&profile, "matmul", 1, "stored");
    assert_non_null(stored);
    assert_non_null(entry_of(&profile, "matmul", 512, "r16"));
    assert_non_null(entry_of(&profile, "attention", 1, ""));
    assert_true(stored->default_seconds > stored->seconds * CI_SEARCH_GAIN);
    assert_true(stored->source != 0 && stored->tried > 1);
    assert_int_equal(profile.model_count, 1);
    assert_true(profile.models[0].covered > 0.99);
    assert_true(profile.models[0].decode_after > 0);
    assert_true(result.line_count > 10 && result.lines[0].decode_share + result.lines[0].prefill_share > 0);
    ci_profile_free(&profile);
    ci_tune_free(&result);
}

static void test_a_second_tune_measures_nothing(void **state) {
    (void)state;
    struct ci_tune_result first, second;
    assert_ok(tune(&usual, &first));
    assert_ok(tune(&usual, &second));
    assert_int_equal(fake.created + fake.try_count, 0);
    assert_false(second.changed);
    assert_int_equal(second.line_count, first.line_count);
    assert_int_equal(second.kept, second.line_count);
    assert_int_equal(second.waiting, 0);
    assert_true(second.models[0].decode_after > 0);
    assert_true(second.seconds < 1);
    ci_tune_free(&second);
    /* A longer one does, and --again. */
    assert_ok(tune(&(struct wish){.budget = 40}, &second));
    assert_true(fake.try_count > 0);
    ci_tune_free(&second);
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    assert_true(fake.try_count > 0);
    ci_tune_free(&second);
    ci_tune_free(&first);
}

static void test_an_entry_of_another_kernel_is_measured_again(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    struct ci_profile profile;
    assert_ok(ci_profile_read(result.path, &profile));
    for (int i = 0; i < profile.entry_count; i++)
        if (strcmp(profile.entries[i].signature.op, "sample") == 0) profile.entries[i].source ^= 1;
    assert_ok(ci_profile_write(result.path, &profile));
    ci_profile_free(&profile);
    ci_tune_free(&result);
    assert_ok(tune(&usual, &result));
    assert_true(fake.try_count > 0);
    for (int i = 0; i < fake.try_count; i++) assert_string_equal(fake.tries[i].op->name, "sample");
    assert_true(result.changed && result.kept > 0);
    ci_tune_free(&result);
}

static void test_what_was_known_of_other_models_stays(void **state) {
    (void)state;
    struct ci_tune_result result;
    assert_ok(tune(&usual, &result));
    struct ci_profile profile;
    assert_ok(ci_profile_read(result.path, &profile));
    int count = profile.entry_count;
    struct ci_profile_entry foreign = profile.entries[0];
    foreign.signature.k = 123456;
    assert_ok(ci_profile_set(&profile, &foreign));
    assert_ok(ci_profile_write(result.path, &profile));
    ci_profile_free(&profile);
    ci_tune_free(&result);
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &result));
    assert_true(result.profile.entry_count >= count + 1);
    bool found = false;
    for (int i = 0; i < result.profile.entry_count; i++)
        found = found || result.profile.entries[i].signature.k == 123456;
    assert_true(found);
    ci_tune_free(&result);
}

static bool old_is_there;

/* The old winner: the last values; a challenger is 1% faster. */
static double nearly_alike(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    double seconds = seconds_by_tunables(problem, candidate);
    return has_defaults(candidate) ? seconds * 0.99 * (old_is_there ? 0.5 : 2) : seconds;
}

static void test_an_old_winner_stays_unless_beaten(void **state) {
    (void)state;
    struct ci_tune_result first, second;
    fake.seconds = seconds_by_tunables;
    assert_ok(tune(&usual, &first));
    /* Now all are alike: nobody beats anybody. */
    fake.seconds = seconds_by_size;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    for (int i = 0; i < first.profile.entry_count; i++) {
        const struct ci_profile_entry *before = &first.profile.entries[i];
        const struct ci_profile_entry *after =
            entry_of(&second.profile, before->signature.op, before->signature.rows, before->layout);
        if (strcmp(before->signature.op, "sample") != 0) continue;
        assert_non_null(after);
        assert_string_equal(after->variant, before->variant);
        assert_memory_equal(after->tunables, before->tunables, sizeof after->tunables);
    }
    ci_tune_free(&second);
    /* And when defaults are twice as fast as all others, they win. */
    old_is_there = true;
    fake.seconds = nearly_alike;
    assert_ok(tune(&(struct wish){.budget = 20, .again = true}, &second));
    const struct ci_profile_entry *sample = NULL;
    for (int i = 0; i < second.profile.entry_count; i++)
        if (strcmp(second.profile.entries[i].signature.op, "sample") == 0) sample = &second.profile.entries[i];
    assert_non_null(sample);
    assert_true(sample->seconds == sample->default_seconds);
    ci_tune_free(&second);
    ci_tune_free(&first);
}

static double noise(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate) {
    return seconds_by_size(problem, candidate) * (has_defaults(candidate) ? 1 : 0.98);
}

static void test_two_percent_are_noise(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.seconds = noise;
    assert_ok(tune(&usual, &result));
    for (int i = 0; i < result.profile.entry_count; i++) {
        const struct ci_profile_entry *entry = &result.profile.entries[i];
        if (strcmp(entry->variant, CI_PROFILE_UNFUSED) == 0) continue;
        if (entry->seconds < entry->default_seconds) fail_msg("%s %s won", entry->signature.op, entry->variant);
    }
    ci_tune_free(&result);
}

/* ---- time ---- */

static void test_the_budget_holds(void **state) {
    (void)state;
    struct ci_tune_result result;
    fake.sleep = 0.01;
    double start = ci_now();
    assert_ok(tune(&(struct wish){.budget = 1}, &result));
    assert_true(ci_now() - start < 2);
    assert_true(result.left > 0 && result.searched > 0 && result.waiting > 0 && result.waiting <= result.left);
    assert_false(result.interrupted);
    /* What matters most came first. */
    assert_int_equal(fake.tries[0].rows == 1 || fake.tries[0].rows == 512, 1);
    ci_tune_free(&result);
    /* Its time was over once: that is not tried again by a tune of the same length. */
    assert_ok(tune(&(struct wish){.budget = 1}, &result));
    assert_int_equal(fake.try_count, 0);
    assert_true(!result.changed && result.waiting > 0);
    ci_tune_free(&result);
}

static void test_an_interrupted_tune_keeps_what_is_known(void **state) {
    (void)state;
    struct ci_tune_result result;
    struct ci_profile profile;
    heard.stop_after = 40;
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.try_count, 40);
    assert_true(result.interrupted && result.changed);
    assert_false(mark.set);
    assert_ok(ci_profile_read(result.path, &profile));
    assert_true(profile.entry_count > 0 && profile.tune_seconds < 20);
    ci_profile_free(&profile);
    ci_tune_free(&result);
    /* The next one goes on. */
    heard.stop_after = 0;
    assert_ok(tune(&usual, &result));
    assert_true(fake.try_count > 40 && !result.interrupted);
    ci_tune_free(&result);
}

/* The profile that the whole model runs with is beside the other, and a kill leaves it there. */
static void test_what_a_killed_tune_left_is_removed(void **state) {
    (void)state;
    struct ci_tune_result result;
    char left[2][512];
    assert_ok(tune(&usual, &result));
    assert_true(fake.models > 0);
    snprintf(left[0], sizeof left[0], "%s.trial", result.path);
    snprintf(left[1], sizeof left[1], "%s.trial.aB3dE6", result.path);
    ci_tune_free(&result);
    for (int i = 0; i < 2; i++) {
        assert_int_not_equal(access(left[i], F_OK), 0);
        close(open(left[i], O_CREAT | O_WRONLY, 0600));
    }
    assert_ok(tune(&usual, &result));
    assert_int_equal(fake.models, 0); /* nothing to do */
    for (int i = 0; i < 2; i++) assert_int_not_equal(access(left[i], F_OK), 0);
    assert_int_equal(access(result.path, F_OK), 0);
    ci_tune_free(&result);
}

/* ---- others, and the disk ---- */

static void test_a_second_tune_waits_and_says_for_whom(void **state) {
    (void)state;
    struct ci_caps caps = imagined_gpu_caps();
    struct ci_profile_key key;
    struct ci_tune_result result;
    int ready[2];
    char byte;
    ci_signature_key(&caps, &key);
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct ci_profile_lock lock;
        if (ci_profile_lock(&key, 0, &lock) != CLINFER_OK || write(ready[1], "x", 1) != 1) _exit(1);
        usleep(1200000);
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    double start = ci_now();
    assert_ok(tune(&usual, &result));
    assert_true(ci_now() - start > 0.6);
    char who[32];
    snprintf(who, sizeof who, "process %d", (int)child);
    assert_non_null(strstr(heard.said, who));
    assert_non_null(strstr(heard.said, "; waiting"));
    ci_tune_free(&result);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
}

static void test_a_folder_that_cannot_be_written_is_said_at_once(void **state) {
    (void)state;
    struct ci_tune_result result;
    /* A file where the folder should be: that stops root too. */
    mkdir(data_folder, 0700);
    char path[300];
    snprintf(path, sizeof path, "%s/clinfer", data_folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(tune(&usual, &result), CLINFER_IO);
    assert_int_equal(fake.try_count, 0);
    assert_non_null(strstr(clinfer_error(), "profiles"));
    ci_tune_free(&result);
}

static void test_without_a_model_common_shapes_are_tuned(void **state) {
    (void)state;
    struct ci_tune_result result;
    heard.stop_after = 200;
    assert_ok(tune(&(struct wish){.budget = 40, .standard = true}, &result));
    assert_int_equal(fake.models, 0);
    assert_true(result.model_count >= 5 && result.profile.entry_count > 0);
    ci_tune_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tune_writes_the_fastest_in_each_layout, set_up),
        cmocka_unit_test_setup(test_a_second_tune_measures_nothing, set_up),
        cmocka_unit_test_setup(test_an_entry_of_another_kernel_is_measured_again, set_up),
        cmocka_unit_test_setup(test_what_was_known_of_other_models_stays, set_up),
        cmocka_unit_test_setup(test_an_old_winner_stays_unless_beaten, set_up),
        cmocka_unit_test_setup(test_two_percent_are_noise, set_up),
        cmocka_unit_test_setup(test_the_budget_holds, set_up),
        cmocka_unit_test_setup(test_an_interrupted_tune_keeps_what_is_known, set_up),
        cmocka_unit_test_setup(test_what_a_killed_tune_left_is_removed, set_up),
        cmocka_unit_test_setup(test_a_second_tune_waits_and_says_for_whom, set_up),
        cmocka_unit_test_setup(test_a_folder_that_cannot_be_written_is_said_at_once, set_up),
        cmocka_unit_test_setup(test_without_a_model_common_shapes_are_tuned, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
