/* engine/devices.h: what `--device auto` tries first follows what `clinfer tune` measured of the model, and else the
 * rule, whatever that is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/threads.h"
#include "engine/devices.h"
#include "format/gguf.h"
#include "model/model.h"
#include "model/source.h"
#include "ops/signature.h"
#include "profile/profile.h"
#include "support/asserts.h"
#include "support/data_home.h"
#include "support/imagined_gpu.h"

static const char model_path[] = "tests/data/llama_tiny.gguf";

enum { DEVICES = 3, CPU = -1 };

static struct ci_device_caps caps[DEVICES];
static const struct ci_device_list list = {.caps = caps, .count = DEVICES};
static uint64_t fingerprint;
static double bytes;

static int prepare(void **state) {
    struct ci_gguf *gguf;
    struct ci_model model;
    (void)state;
    for (int i = 0; i < DEVICES; i++) {
        caps[i] = imagined_gpu;
        caps[i].compute_units = (unsigned)i + 1;
    }
    assert_ok(ci_source_open(model_path, NULL, &gguf));
    assert_ok(ci_model_open(gguf, &model));
    fingerprint = ci_model_fingerprint(&model);
    bytes = (double)ci_model_token_bytes(&model);
    ci_model_close(&model);
    ci_gguf_close(gguf);
    return 0;
}

/* As a tune of that place leaves it, of the model or of another one that is so many times as large. */
static void tuned_other(int place, double rate, double cpu_speed, double larger) {
    struct ci_caps here = {ci_cpu_features(), place == CPU ? NULL : &caps[place], ci_threads_default()};
    struct ci_profile_model model = {.name = "tiny",
                                     .fingerprint = fingerprint + (larger > 0),
                                     .decode_before = rate,
                                     .decode_after = rate,
                                     .prefill_before = 10 * rate,
                                     .prefill_after = 10 * rate,
                                     .bytes = larger > 0 ? larger * bytes : bytes,
                                     .cpu_speed = cpu_speed};
    struct ci_profile profile = {.models = &model, .model_count = 1};
    ci_signature_key(&here, &profile.key);
    char *path = ci_profile_path(&profile.key);
    assert_non_null(path);
    assert_ok(ci_profile_write(path, &profile));
    free(path);
}

static void tuned(int place, double rate, double cpu_speed) { tuned_other(place, rate, cpu_speed, 0); }

static void find_order(const char *tuning, int threads, int order[DEVICES + 1]) {
    struct clinfer_engine_options options;
    clinfer_engine_options_default(&options);
    options.model = model_path;
    options.tuning = tuning;
    options.threads = threads;
    assert_ok(ci_engine_auto_order(&list, &options, order));
}

/* `first` in front, the others as by rule. */
static void expect_first(int first, int threads) {
    int rule[DEVICES + 1], order[DEVICES + 1];
    find_order("none", threads, rule);
    find_order(NULL, threads, order);
    assert_int_equal(order[0], first);
    for (int i = 0, at = 1; i <= DEVICES; i++)
        if (rule[i] != first) assert_int_equal(order[at++], rule[i]);
}

static void test_the_rule_holds_where_nothing_was_measured(void **state) {
    (void)state;
    expect_first(0, 0);
    tuned(1, 100, 0.5);
    expect_first(0, 0); /* what comes first by rule was not: it may be faster still */
}

static void test_the_faster_one_beside_the_cpu_backend_comes_first(void **state) {
    (void)state;
    tuned(0, 100, 2);
    expect_first(CPU, 0);
    tuned(0, 100, 0.5);
    expect_first(0, 0);
    tuned(2, 1, 0.4); /* its rate is of another time */
    expect_first(2, 0);
}

static void test_chance_changes_nothing(void **state) {
    (void)state;
    tuned(0, 100, 1.01);
    expect_first(0, 0);
}

static void test_other_threads_were_not_measured(void **state) {
    (void)state;
    tuned(0, 100, 2);
    expect_first(0, ci_threads_default() + 1);
}

static void test_a_model_of_about_the_size_tells_where_it_is_clear(void **state) {
    (void)state;
    tuned_other(0, 100, 1.5, 3);
    expect_first(CPU, 0);
    tuned_other(0, 100, 1.05, 3); /* not clear */
    expect_first(0, 0);
    tuned_other(0, 100, 1.5, 0.1); /* of another size */
    expect_first(0, 0);
}

/* Profiles that say nothing of the CPU backend beside the device, as those of two tunes. */
static void test_rates_of_two_tunes_are_compared(void **state) {
    (void)state;
    tuned(0, 100, 0);
    tuned(1, 120, 0);
    expect_first(1, 0);
    tuned(CPU, 200, 0);
    expect_first(CPU, 0);
    tuned(CPU, 90, 0);
    expect_first(1, 0);
}

int main(void) {
#define TEST(function) cmocka_unit_test_setup_teardown(function, data_home_set, data_home_unset)
    const struct CMUnitTest tests[] = {
        TEST(test_the_rule_holds_where_nothing_was_measured),
        TEST(test_the_faster_one_beside_the_cpu_backend_comes_first),
        TEST(test_chance_changes_nothing),
        TEST(test_other_threads_were_not_measured),
        TEST(test_a_model_of_about_the_size_tells_where_it_is_clear),
        TEST(test_rates_of_two_tunes_are_compared),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
