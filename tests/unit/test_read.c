/* What a model file advises about sampling: numbers are taken however they are stored, and what cannot be followed is
 * said. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/threads.h"
#include "engine/read.h"
#include "support/gguf_writer.h"

static char warnings[2048];

static void keep_warning(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    size_t used = strlen(warnings);
    if (level == CLINFER_LOG_WARNING) snprintf(warnings + used, sizeof warnings - used, "%s\n", message);
}

/* With a vocabulary of two. */
static struct gguf_writer *tiny_model(void) {
    static const char *const tokens[] = {"a", "b"};
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_one_layer(writer);
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, 2);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
    gguf_writer_random(writer, "token_embd.weight", 0, 2, 2, 1);
    return writer;
}

static enum clinfer_status read_model(struct gguf_writer *writer, struct clinfer_engine_info *info) {
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(writer, &size);
    struct ci_gguf *gguf;
    struct ci_model model;
    struct ci_threads *threads;
    *info = (struct clinfer_engine_info){0};
    warnings[0] = 0;
    clinfer_log_to(keep_warning, NULL);
    assert_int_equal(ci_threads_create(1, &threads), CLINFER_OK);
    if (ci_gguf_open_memory(bytes, size, "x.gguf", &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    enum clinfer_status status = ci_read_model(gguf, threads, NULL, &model, info);
    clinfer_log_to(NULL, NULL);
    ci_model_close(&model);
    ci_gguf_close(gguf);
    ci_threads_destroy(threads);
    gguf_writer_destroy(writer);
    return status;
}

static void test_sampling_numbers_may_be_integers(void **state) {
    (void)state;
    const double half = 0.5;
    const int64_t none = -1;
    struct clinfer_engine_info info;
    struct gguf_writer *writer = tiny_model();
    gguf_writer_u32(writer, "general.sampling.temp", 0);
    gguf_writer_value(writer, "general.sampling.top_p", CI_GGUF_UINT8, &(uint8_t){1});
    gguf_writer_value(writer, "general.sampling.min_p", CI_GGUF_FLOAT64, &half);
    gguf_writer_value(writer, "general.sampling.penalty_repeat", CI_GGUF_INT64, &(int64_t){2});
    gguf_writer_f32(writer, "general.sampling.top_k", 20.0f);
    if (read_model(writer, &info) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_true(info.temperature == 0 && info.top_p == 1 && info.min_p == 0.5f && info.repeat_penalty == 2);
    assert_int_equal(info.top_k, 20);
    assert_string_equal(warnings, "");

    writer = tiny_model();
    gguf_writer_value(writer, "general.sampling.top_k", CI_GGUF_INT64, &none);
    if (read_model(writer, &info) != CLINFER_OK) fail_msg("%s", clinfer_error());
    assert_int_equal(info.top_k, 0);

    writer = tiny_model();
    gguf_writer_string(writer, "general.sampling.temp", "0.5");
    assert_int_equal(read_model(writer, &info), CLINFER_BAD_FILE);
    assert_non_null(strstr(clinfer_error(), "general.sampling.temp: is of type string: must be a number"));
}

static void test_sampling_is_as_the_file_advises(void **state) {
    (void)state;
    struct clinfer_engine_info info;
    assert_int_equal(read_model(tiny_model(), &info), CLINFER_OK);
    assert_true(info.repeat_last_n == 64 && info.mirostat == 0 && info.xtc_probability == 0);
    assert_true(info.xtc_threshold == 0.1f && info.mirostat_tau == 5 && info.mirostat_eta == 0.1f);
    struct gguf_writer *writer = tiny_model();
    gguf_writer_u32(writer, "general.sampling.mirostat", 2);
    gguf_writer_f32(writer, "general.sampling.mirostat_tau", 3);
    gguf_writer_f32(writer, "general.sampling.xtc_probability", 0.5f);
    gguf_writer_u32(writer, "general.sampling.penalty_last_n", 7);
    assert_int_equal(read_model(writer, &info), CLINFER_OK);
    assert_true(info.repeat_last_n == 7 && info.mirostat == 2 && info.mirostat_tau == 3 &&
                info.xtc_probability == 0.5f);
    assert_string_equal(warnings, "");
    writer = tiny_model();
    gguf_writer_u32(writer, "general.sampling.mirostat", 3);
    assert_int_equal(read_model(writer, &info), CLINFER_BAD_FILE);
}

static void test_advice_that_is_not_followed_is_said(void **state) {
    (void)state;
    struct clinfer_engine_info info;
    struct gguf_writer *writer;
    const int32_t tokens[] = {1, 3};
    for (int count = 0; count <= 2; count += 2) {
        writer = tiny_model();
        gguf_writer_array(writer, "tokenizer.ggml.suppress_tokens", CI_GGUF_INT32, tokens, count);
        assert_int_equal(read_model(writer, &info), CLINFER_OK);
        assert_true((strstr(warnings, "tokenizer.ggml.suppress_tokens: not followed") != NULL) == (count > 0));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sampling_numbers_may_be_integers),
        cmocka_unit_test(test_sampling_is_as_the_file_advises),
        cmocka_unit_test(test_advice_that_is_not_followed_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
