/* `clinfer run` and `clinfer logits` with the default model, greedy and short: what comes out, where it ran, and how a
 * run ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/asserts.h"
#include "support/nmse.h"
#include "support/process.h"

#define RUN(result, options, ...)                                                                                      \
    process_run(result, options, process_tool(), "run", "-m", process_model(), "--temp", "0", __VA_ARGS__, NULL)

static const char question[] = "Why is the sky blue?";
/* What the truth says first; with f32 activations on every device. Rounded to 8 bits, a word may differ where two are
 * about equally likely. */
static const char first_words[] = "The answer to this question lies in the\n";
#define EXACT "--activations", "f32", "-n", "8"

static const char *const without_opencl[] = {"OCL_ICD_VENDORS=/nonexistent", NULL};

/* Share of op time that was spent on OpenCL devices. */
static double opencl_share(const json_t *object) {
    double share = 0;
    size_t index;
    json_t *device;
    json_array_foreach(json_object_get(object, "devices"), index, device) {
        if (json_is_true(json_object_get(device, "opencl")))
            share += json_number_value(json_object_get(device, "op_time_share"));
    }
    return share;
}

static void test_answer_goes_to_stdout_and_the_rest_to_stderr(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, EXACT, question);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, first_words);
    assert_contains(result.err, "(135M parameters, 92.1 MiB) on ");
    assert_contains(result.err, "36 prompt tokens at ");
    assert_contains(result.err, "8 generated at ");
    process_free(&result);
    RUN(&result, NULL, EXACT, "--quiet", "Why", "is the sky", "blue?");
    assert_string_equal(result.out, first_words);
    assert_string_equal(result.err, "");
    process_free(&result);
}

/* A greedy answer that turns on 0.08 between two logits, less than what codes of 8 bits are off by. Those are the
 * default where the kernels are for neither AVX-512 VNNI nor AVX2. */
static void test_answers_in_16_bits_are_those_of_the_exact_model(void **state) {
    (void)state;
    static const char *const devices[] = {"auto", "cpu"}, *const activations[] = {"q16", "auto"};
    for (int i = 0; i < 4; i++) {
        struct process_result result;
        RUN(&result, NULL, "--device", devices[i % 2], "--activations", activations[i / 2], "-v", "-n", "16",
            "What is the capital of France?");
        process_assert_status(&result, 0);
#if defined(__x86_64__)
        const bool fast = __builtin_cpu_supports("avx2");
#else
        const bool fast = false;
#endif
        if (fast || i / 2 == 0 || !strstr(result.err, "activations in q8"))
            assert_string_equal(result.out, "The capital of France is Paris.\n");
        process_free(&result);
    }
}

static void test_prompt_comes_from_file_or_standard_input(void **state) {
    (void)state;
    const char *file = process_file("question.txt", "Why is the sky blue?\n", 21);
    const struct process_options options = {.input = question, .input_length = strlen(question)};
    struct process_result result;
    RUN(&result, NULL, EXACT, "-f", file);
    assert_string_equal(result.out, first_words);
    process_free(&result);
    RUN(&result, &options, EXACT);
    assert_string_equal(result.out, first_words);
    process_free(&result);
}

static void test_readme_command_spends_its_op_time_on_opencl(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--json", "-p", question);
    process_assert_status(&result, 0);
    json_t *object = process_json(&result);
    if (opencl_share(object) < 0.95) fail_msg("only %.3f of op time was on OpenCL", opencl_share(object));
    assert_int_equal(json_integer_value(json_object_get(object, "fallbacks")), 0);
    /* In 8 bits, which processors without AVX-512 take, words differ with each order of a sum. */
    assert_contains(json_string_value(json_object_get(object, "text")), "scatter");
    /* What is shipped for processors is of the kernels of today. */
    if (strstr(result.err, "chosen by rule")) fail_msg("a shipped profile is stale: %s", result.err);
    json_decref(object);
    process_free(&result);
}

static void test_without_opencl_the_cpu_answers_and_it_is_said(void **state) {
    (void)state;
    const struct process_options options = {.environment = without_opencl};
    struct process_result result;
    RUN(&result, &options, "--json", "-n", "8", question);
    process_assert_status(&result, 0);
    assert_contains(result.err, "no usable OpenCL device");
    assert_contains(result.err, "apt install");
    json_t *object = process_json(&result);
    assert_true(opencl_share(object) == 0);
    assert_memory_equal(json_string_value(json_object_get(object, "text")), first_words, strlen(first_words) - 1);
    json_decref(object);
    process_free(&result);
    RUN(&result, &options, "--fallback", "none", "-n", "8", question);
    process_assert_status(&result, 8);
    assert_string_equal(result.out, "");
    process_free(&result);
}

static void test_json_has_what_the_manual_promises(void **state) {
    (void)state;
    static const char *const members[] = {"text",  "tokens",  "finish_reason", "timings",  "seed",
                                          "model", "devices", "fallbacks",     "counters", "memory"};
    static const char *const timings[] = {"load_ms",           "prompt_n",       "prompt_ms",
                                          "prompt_per_second", "cached_n",       "predicted_n",
                                          "predicted_ms",      "first_token_ms", "predicted_per_second"};
    struct process_result result;
    RUN(&result, NULL, "--json", "--explain", "-n", "5", question);
    process_assert_status(&result, 0);
    json_t *object = process_json(&result), *times = json_object_get(object, "timings");
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (!json_object_get(object, members[i])) fail_msg("%s is missing", members[i]);
    for (size_t i = 0; i < sizeof timings / sizeof *timings; i++)
        if (!json_is_number(json_object_get(times, timings[i]))) fail_msg("timings.%s is missing", timings[i]);
    assert_int_equal(json_array_size(json_object_get(object, "tokens")), 5);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(object, "tokens"), 0)), 504);
    assert_string_equal(json_string_value(json_object_get(object, "finish_reason")), "length");
    assert_int_equal(json_integer_value(json_object_get(times, "prompt_n")), 36);
    json_t *plans = json_object_get(object, "explain");
    assert_int_equal(json_array_size(plans), 2);
    assert_true(json_array_size(json_object_get(json_array_get(plans, 0), "steps")) > 100);
    json_decref(object);
    process_free(&result);
}

static void test_explain_folds_layers_and_counts_waits(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--explain");
    process_assert_status(&result, 0);
    assert_string_equal(result.out, "");
    assert_contains(result.err, "plan for 1 row: ");
    assert_contains(result.err, "the host waits ");
    assert_contains(result.err, "  blk.0-29.");
    process_free(&result);
}

static void test_prompts_together_answer_as_each_alone(void **state) {
    (void)state;
    static const char *const prompts[] = {"What is the capital of France?", "Name three colours.",
                                          "Write one sentence about rain."};
    char lines[256] = "";
    for (size_t i = 0; i < 3; i++) snprintf(lines + strlen(lines), sizeof lines - strlen(lines), "%s\n\n", prompts[i]);
    const char *batch = process_file("prompts.txt", lines, strlen(lines));
    struct process_result together, two_at_a_time, alone;
    /* Several rows get other kernels than one: the same sums, in another order. */
    RUN(&together, NULL, "-n", "16", "--activations", "f32", "--json", "--batch", batch);
    RUN(&two_at_a_time, NULL, "-n", "16", "--activations", "f32", "-np", "2", "--batch", batch);
    process_assert_status(&together, 0);
    process_assert_status(&two_at_a_time, 0);
    assert_contains(two_at_a_time.err, "[3/3] line 5 of ");
    json_t *object = process_json(&together), *results = json_object_get(object, "results");
    assert_int_equal(json_array_size(results), 3);
    const char *at = two_at_a_time.out;
    size_t generated = 0;
    for (size_t i = 0; i < 3; i++) {
        RUN(&alone, NULL, "-n", "16", "--activations", "f32", prompts[i]);
        json_t *one = json_array_get(results, i);
        const char *text = json_string_value(json_object_get(one, "text"));
        assert_int_equal(strncmp(alone.out, text, strlen(text)), 0);
        if (strncmp(at, alone.out, alone.out_length) != 0) fail_msg("\"%s\" is not at \"%s\"", alone.out, at);
        at += alone.out_length;
        generated += json_array_size(json_object_get(one, "tokens"));
        process_free(&alone);
    }
    assert_string_equal(at, "");
    /* In the same steps: fewer of them than tokens. */
    json_int_t steps = json_integer_value(json_object_get(json_object_get(object, "counters"), "steps"));
    if ((size_t)steps >= generated) fail_msg("%d steps for %zu tokens", (int)steps, generated);
    json_decref(object);
    process_free(&together);
    process_free(&two_at_a_time);
}

static void test_one_bad_prompt_does_not_stop_the_others(void **state) {
    (void)state;
    const char *good = process_file("good.txt", question, strlen(question));
    const char *bad = process_file("bad.txt", "a\0b", 3);
    struct process_result result;
    RUN(&result, NULL, EXACT, "-f", bad, "-f", good);
    process_assert_status(&result, 2);
    assert_contains(result.err, "bad.txt: byte 1 is zero");
    assert_string_equal(result.out, first_words);
    process_free(&result);
}

static void test_raw_text_is_continued_without_the_template(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--json", "--raw", "-n", "3", "The capital of France is");
    process_assert_status(&result, 0);
    json_t *object = process_json(&result);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(object, "timings"), "prompt_n")), 5);
    assert_contains(json_string_value(json_object_get(object, "text")), "Paris");
    json_decref(object);
    process_free(&result);
}

static void test_system_message_is_part_of_the_prompt(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "--json", "-sys", "You are a pirate.", "-n", "1", question);
    json_t *object = process_json(&result);
    /* The template's own system message gives way to the one given, which is shorter. */
    json_int_t count = json_integer_value(json_object_get(json_object_get(object, "timings"), "prompt_n"));
    if (count >= 36) fail_msg("%d prompt tokens", (int)count);
    json_decref(object);
    process_free(&result);
}

static void test_seed_decides_the_text(void **state) {
    (void)state;
    struct process_result first, again, other;
    process_run(&first, NULL, process_tool(), "run", "-q", "-m", process_model(), "-s", "7", "-n", "24", question,
                NULL);
    process_run(&again, NULL, process_tool(), "run", "-q", "-m", process_model(), "-s", "7", "-n", "24", question,
                NULL);
    process_run(&other, NULL, process_tool(), "run", "-q", "-m", process_model(), "-s", "8", "-n", "24", question,
                NULL);
    process_assert_status(&first, 0);
    assert_string_equal(first.out, again.out);
    assert_string_not_equal(first.out, other.out);
    process_free(&first);
    process_free(&again);
    process_free(&other);
}

static void test_closed_output_ends_the_run_quietly(void **state) {
    (void)state;
    const struct process_options options = {.close_after = 10};
    struct process_result result;
    RUN(&result, &options, "--quiet", "Write a long story about a dog.");
    process_assert_status(&result, 0);
    assert_string_equal(result.err, "");
    process_free(&result);
    const struct process_options full = {.output_path = "/dev/full"};
    RUN(&result, &full, "-n", "8", question);
    process_assert_status(&result, 4);
    assert_contains(result.err, "standard output: No space left");
    process_free(&result);
}

static void test_interrupt_keeps_what_was_said(void **state) {
    (void)state;
    const struct process_options options = {.signal_at_first = SIGINT};
    struct process_result result;
    RUN(&result, &options, "Write a long story about a dog.");
    process_assert_status(&result, 12);
    assert_contains(result.err, "cancelled");
    assert_true(result.out_length > 0);
    assert_int_equal(result.out[result.out_length - 1], '\n');
    process_free(&result);
}

static void test_context_and_device_errors_have_their_exit_status(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, NULL, "-c", "16", question);
    process_assert_status(&result, 10);
    assert_contains(result.err, "the prompt has 36 tokens, the context 16");
    process_free(&result);
    RUN(&result, NULL, "-c", "40", question);
    process_assert_status(&result, 0);
    assert_contains(result.err, "the context of 40 tokens is full");
    process_free(&result);
    RUN(&result, NULL, "--device", "no such thing", "--fallback", "none", question);
    process_assert_status(&result, 8);
    assert_contains(result.err, "no such thing");
    process_free(&result);
}

static void test_log_file_gets_the_messages(void **state) {
    (void)state;
    const char *log = process_file("messages.log", "", 0);
    struct process_result result;
    RUN(&result, NULL, "-n", "1", "--quiet", "--log-file", log, question);
    process_assert_status(&result, 0);
    size_t size;
    char *text = process_read(log, &size);
    assert_contains(text, "36 prompt tokens");
    free(text);
    process_free(&result);
}

/* ---- logits ---- */

/* The numbers of a .npy file of this shape; the caller frees them. */
static float *read_npy(const char *path, size_t rows, size_t cols) {
    size_t size;
    char *file = process_read(path, &size), shape[64];
    assert_true(size > 128);
    assert_memory_equal(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    snprintf(shape, sizeof shape, "'shape': (%zu, %zu)", rows, cols);
    file[127] = 0;
    assert_contains(file + 10, "'descr': '<f4', 'fortran_order': False");
    assert_contains(file + 10, shape);
    assert_int_equal(size, 128 + rows * cols * sizeof(float));
    float *numbers = malloc(rows * cols * sizeof *numbers);
    assert_non_null(numbers);
    memcpy(numbers, file + 128, rows * cols * sizeof *numbers);
    free(file);
    return numbers;
}

static void test_logits_are_a_numpy_file(void **state) {
    (void)state;
    enum { VOCABULARY = 49152, TOKENS = 6 };
    const char *whole = process_file("whole.npy", "", 0), *steps = process_file("steps.npy", "", 0);
    const char *last = process_file("last.npy", "", 0);
    struct process_result result;
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "-p", question, "--all", "-o", whole,
                "--activations", "f32", NULL);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, "");
    process_free(&result);
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "--tokens",
                "4898,314, 260,6376,4461,47", "--all", "-o", steps, "--activations", "f32", "--batch-size", "1", NULL);
    process_assert_status(&result, 0);
    process_free(&result);
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "-o", last, "-p", question,
                "--activations", "f32", NULL);
    process_assert_status(&result, 0);
    process_free(&result);
    float *all = read_npy(whole, TOKENS, VOCABULARY), *one_by_one = read_npy(steps, TOKENS, VOCABULARY);
    float *end = read_npy(last, 1, VOCABULARY);
    assert_true(nmse(all, one_by_one, (size_t)TOKENS * VOCABULARY) <= 1e-6);
    assert_true(nmse(all + (size_t)(TOKENS - 1) * VOCABULARY, end, VOCABULARY) <= 1e-6);
    free(all);
    free(one_by_one);
    free(end);
}

static void test_logits_refuses_what_it_cannot_do(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "--tokens", "1,49152", "-o",
                "/dev/null", NULL);
    process_assert_status(&result, 2);
    assert_contains(result.err, "49152: the vocabulary has the ids 0 to 49151");
    process_free(&result);
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "--tokens", "1,,2", "-o", "/dev/null",
                NULL);
    process_assert_status(&result, 2);
    process_free(&result);
    process_run(&result, NULL, process_tool(), "logits", "-m", process_model(), "-p", "a", "-o", "/nonexistent/a.npy",
                NULL);
    process_assert_status(&result, 4);
    assert_contains(result.err, "/nonexistent/a.npy");
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_goes_to_stdout_and_the_rest_to_stderr),
        cmocka_unit_test(test_answers_in_16_bits_are_those_of_the_exact_model),
        cmocka_unit_test(test_prompt_comes_from_file_or_standard_input),
        cmocka_unit_test(test_readme_command_spends_its_op_time_on_opencl),
        cmocka_unit_test(test_without_opencl_the_cpu_answers_and_it_is_said),
        cmocka_unit_test(test_json_has_what_the_manual_promises),
        cmocka_unit_test(test_explain_folds_layers_and_counts_waits),
        cmocka_unit_test(test_prompts_together_answer_as_each_alone),
        cmocka_unit_test(test_one_bad_prompt_does_not_stop_the_others),
        cmocka_unit_test(test_raw_text_is_continued_without_the_template),
        cmocka_unit_test(test_system_message_is_part_of_the_prompt),
        cmocka_unit_test(test_seed_decides_the_text),
        cmocka_unit_test(test_closed_output_ends_the_run_quietly),
        cmocka_unit_test(test_interrupt_keeps_what_was_said),
        cmocka_unit_test(test_context_and_device_errors_have_their_exit_status),
        cmocka_unit_test(test_log_file_gets_the_messages),
        cmocka_unit_test(test_logits_are_a_numpy_file),
        cmocka_unit_test(test_logits_refuses_what_it_cannot_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
