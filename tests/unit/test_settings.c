/* engine/settings.c: what a tune found beside kernels is what an engine takes, unless its user asks for something else.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine_private.h"
#include "model/source.h"
#include "ops/signature.h"
#include "support/asserts.h"
#include "support/data_home.h"

static const char model_path[] = "tests/data/llama_tiny.gguf";

/* A profile of this very processor for the model, or for another one. */
static void write_profile(const struct ci_profile_settings *settings, uint64_t other) {
    struct ci_profile profile = {0};
    struct ci_gguf *gguf;
    struct ci_model model;
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .threads = ci_threads_default()};
    ci_signature_key(&caps, &profile.key);
    assert_ok(ci_source_open(model_path, NULL, &gguf));
    assert_ok(ci_model_open(gguf, &model));
    struct ci_profile_model record = {.name = "tiny",
                                      .steps = {{0.01, 0.02}},
                                      .fingerprint = ci_model_fingerprint(&model) ^ other,
                                      .settings = *settings};
    ci_model_close(&model);
    ci_gguf_close(gguf);
    profile.models = &record;
    profile.model_count = 1;
    char *path = ci_profile_path(&profile.key);
    assert_non_null(path);
    assert_ok(ci_profile_write(path, &profile));
    free(path);
}

static clinfer_engine *open_with(struct clinfer_engine_options *options) {
    clinfer_engine *engine;
    options->model = model_path;
    options->device = "cpu";
    assert_ok(clinfer_engine_open(options, &engine));
    return engine;
}

static const struct ci_profile_settings found = {.threads = 1, .batch = 64, .activations = "f32"};

static void test_settings_of_a_tune_are_taken(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    write_profile(&found, 0);
    clinfer_engine_options_default(&options);
    clinfer_engine *engine = open_with(&options);
    assert_int_equal(ci_threads_count(engine->threads), 1);
    assert_ptr_equal(engine->threads, engine->store.threads);
    assert_true(ci_draft_pace(&engine->draft, 1) == 0.01 && ci_draft_pace(&engine->draft, 2) == 0.02);
    assert_int_equal(engine->options.batch, 64);
    assert_int_equal(engine->buckets[engine->bucket_count - 1].rows[CI_EXTENT_ROWS], 64);
    assert_int_equal(engine->options.activations, CLINFER_ACTIVATIONS_F32);
    clinfer_engine_close(engine);
}

static void test_what_the_user_says_comes_first(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    write_profile(&found, 0);
    clinfer_engine_options_default(&options);
    options.threads = ci_threads_default();
    options.batch = 128;
    options.activations = CLINFER_ACTIVATIONS_Q8;
    clinfer_engine *engine = open_with(&options);
    assert_int_equal(ci_threads_count(engine->threads), ci_threads_default());
    assert_int_equal(engine->options.batch, 128);
    assert_int_equal(engine->options.activations, CLINFER_ACTIVATIONS_Q8);
    clinfer_engine_close(engine);
    clinfer_engine_options_default(&options);
    options.tuning = "none";
    engine = open_with(&options);
    assert_int_equal(ci_threads_count(engine->threads), ci_threads_default());
    assert_int_equal(engine->options.batch, 0);
    clinfer_engine_close(engine);
}

static void test_other_models_run_as_before(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    write_profile(&found, 1);
    clinfer_engine_options_default(&options);
    clinfer_engine *engine = open_with(&options);
    assert_int_equal(ci_threads_count(engine->threads), ci_threads_default());
    assert_int_equal(engine->options.batch, 0);
    assert_int_equal(engine->options.activations, CLINFER_ACTIVATIONS_AUTO);
    clinfer_engine_close(engine);
}

/* Of a clinfer to come. */
static void test_words_that_nobody_knows_are_passed_over(void **state) {
    (void)state;
    struct clinfer_engine_options options;
    write_profile(&(struct ci_profile_settings){.activations = "q12", .pages = "huge"}, 0);
    clinfer_engine_options_default(&options);
    clinfer_engine *engine = open_with(&options);
    assert_int_equal(engine->options.activations, CLINFER_ACTIVATIONS_AUTO);
    clinfer_engine_close(engine);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_settings_of_a_tune_are_taken, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_what_the_user_says_comes_first, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_other_models_run_as_before, data_home_set, data_home_unset),
        cmocka_unit_test_setup_teardown(test_words_that_nobody_knows_are_passed_over, data_home_set, data_home_unset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
