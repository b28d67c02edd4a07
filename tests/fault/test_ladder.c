/* The request ladder from the outside: `clinfer run` with devices that die, hang and go wrong in the middle of an
 * answer, with too little time, context or memory, and with a remote at the end. What is out stays as it is, what
 * follows is what an undisturbed run says, and the route tells what happened. Run from the top of the repository. */
#define _GNU_SOURCE /* memmem */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/asserts.h"
#include "support/patched.h"
#include "support/process.h"
#include "support/remote_server.h"

enum {
    TOKENS = 16,
    NOT_FOUND = 3,
    UNSUPPORTED = 6,
    OUT_OF_MEMORY = 7,
    NO_DEVICE = 8,
    DEVICE_ERROR = 9,
    CONTEXT_FULL = 10,
    CANCELLED = 12,
    REFUSED = 13,
    REMOTE_FAILED = 14,
    OUT_OF_TIME = 15
};

#define QUESTION "Why is the sky blue?"

/* Long enough for some words, and too short for thousands of tokens. */
#ifdef __SANITIZE_ADDRESS__
#define A_WHILE "20s"
#else
#define A_WHILE "3s"
#endif

/* Once a step; the whole list is armed anew in each process. */
#define EACH_STEP "clEnqueueNDRangeKernel/sample_merge"

static char layer_path[4096];
static char *expected; /* what a run without faults says */

/* With the layer and these faults ("": none), on the first OpenCL device; words end with NULL. */
#define RUN(result, faults, ...) run(result, faults, __VA_ARGS__, NULL)

static void run(struct process_result *result, const char *faults, const char *first, ...) {
    static char layers[4200], fault[512];
    const char *words[24] = {"run", "-m", process_model(), "--temp", "0", "--activations", "f32", "-n", "16", "--json"};
    const char *const environment[] = {layers, fault, NULL};
    const struct process_options options = {.environment = environment};
    int count = 10;
    va_list more;
    snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s", layer_path);
    snprintf(fault, sizeof fault, "FAKE_LAYER=%s", faults);
    va_start(more, first);
    for (const char *word = first; word; word = va_arg(more, const char *)) words[count++] = word;
    va_end(more);
    while (count < 24) words[count++] = NULL;
    process_run(result, &options, process_tool(), words[0], words[1], words[2], words[3], words[4], words[5], words[6],
                words[7], words[8], words[9], words[10], words[11], words[12], words[13], words[14], words[15],
                words[16], words[17], words[18], words[19], words[20], words[21], words[22], words[23], NULL);
}

static json_t *parse(const struct process_result *result) {
    json_error_t error;
    json_t *json = json_loadb(result->out, result->out_length, 0, &error);
    if (!json) fail_msg("%s in: %s%s", error.text, result->out, result->err);
    return json;
}

static const char *text_of(const json_t *json) { return json_string_value(json_object_get(json, "text")); }

static const json_t *rung(const json_t *json, size_t index) {
    return json_array_get(json_object_get(json_object_get(json, "route"), "rungs"), index);
}

static const char *backend_of(const json_t *json) {
    return json_string_value(json_object_get(json_object_get(json, "route"), "backend"));
}

static int count_of(const char *text, const char *wanted) {
    int count = 0;
    for (const char *at = text; (at = strstr(at, wanted)); at += strlen(wanted)) count++;
    return count;
}

/* Another rung than the first has ended the answer, which is what it would have been. */
static json_t *assert_went_on(const struct process_result *result, const char *reason) {
    process_assert_status(result, 0);
    json_t *json = parse(result);
    assert_string_equal(text_of(json), expected);
    assert_true(json_is_true(json_object_get(json_object_get(json, "route"), "fell_back")));
    assert_contains(json_string_value(json_object_get(rung(json, 0), "reason")), reason);
    assert_contains(result->err, reason);
    return json;
}

/* ---- devices that fail ---- */

static void test_a_lost_device_hands_its_answer_to_another(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, EACH_STEP "@8+:lost", "--device", "0", QUESTION);
    json_t *json = assert_went_on(&result, "CL_OUT_OF_RESOURCES");
    assert_int_equal(count_of(result.err, "CL_OUT_OF_RESOURCES"), 1);
    assert_string_not_equal(backend_of(json), json_string_value(json_object_get(rung(json, 0), "name")));
    /* Both have made some of its tokens. */
    json_int_t first = json_integer_value(json_object_get(rung(json, 0), "tokens"));
    assert_in_range(first, 4, 10);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "timings"), "predicted_n")), TOKENS);
    json_decref(json);
    process_free(&result);
}

/* The vocabulary is read on a thread of its own: whoever is first, the file's fault is what is told. */
static void test_a_files_fault_comes_before_the_devices(void **state) {
    (void)state;
    static const char key[] = "tokenizer.ggml.model";
    enum { TYPE_AND_LENGTH = 12 };
    struct patched file;
    patched_begin(&file, process_model());
    uint8_t *kind = memmem(file.bytes, file.size, key, strlen(key));
    assert_non_null(kind);
    kind[strlen(key) + TYPE_AND_LENGTH] = 'X';
    const char *path = patched_end(&file, "unknown_tokenizer.gguf");
    char layers[4200];
    snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s", layer_path);
    const char *const environment[] = {layers, "FAKE_LAYER=clCreateCommandQueue@1+:-5", NULL};
    const struct process_options options = {.environment = environment};
    struct process_result result;
    process_run(&result, &options, process_tool(), "run", "-m", path, "--device", "0", "-n", "4", QUESTION, NULL);
    process_assert_status(&result, UNSUPPORTED);
    assert_contains(result.err, "unknown_tokenizer.gguf");
    assert_contains(result.err, "tokenizer");
    assert_int_equal(count_of(result.err, "CL_OUT_OF_RESOURCES"), 0);
    process_free(&result);
}

static void test_the_line_at_the_end_is_short(void **state) {
    (void)state;
    char layers[4200];
    snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s", layer_path);
    const char *const environment[] = {layers, "FAKE_LAYER=" EACH_STEP "@8+:lost", NULL};
    const struct process_options options = {.environment = environment};
    struct process_result result;
    process_run(&result, &options, process_tool(), "run", "-m", process_model(), "--device", "0", "--temp", "0", "-n",
                "16", QUESTION, NULL);
    process_assert_status(&result, 0);
    assert_int_equal(count_of(result.err, "CL_OUT_OF_RESOURCES"), 1);
    assert_contains(result.err, " tokens, then the device or its driver failed (");
    process_free(&result);
}

static void test_fallback_none_makes_a_lost_device_an_error(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, EACH_STEP "@8+:lost", "--device", "0", "--fallback", "none", QUESTION);
    process_assert_status(&result, DEVICE_ERROR);
    json_t *json = parse(&result);
    assert_true(json_is_true(json_object_get(json, "partial")));
    assert_int_equal(strncmp(text_of(json), expected, strlen(text_of(json))), 0);
    assert_contains(result.err, "only the beginning");
    /* The engine is gone; what was known of it is not. */
    const json_t *model = json_object_get(json, "model");
    const json_t *device = json_array_get(json_object_get(json, "devices"), 0);
    assert_string_equal(json_string_value(json_object_get(model, "path")), process_model());
    assert_string_equal(json_string_value(json_object_get(model, "architecture")), "llama");
    assert_true(json_integer_value(json_object_get(model, "parameters")) > 1000000);
    assert_true(json_is_true(json_object_get(device, "opencl")));
    assert_contains(json_string_value(json_object_get(rung(json, 0), "name")),
                    json_string_value(json_object_get(device, "name")));
    assert_true(json_integer_value(json_object_get(json_object_get(json, "memory"), "peak_resident_bytes")) > 0);
    assert_non_null(json_object_get(json, "seed"));
    json_decref(json);
    process_free(&result);
}

static void test_a_device_that_hangs_is_left_behind(void **state) {
    (void)state;
    struct process_result result;
    double start = ci_now();
    RUN(&result, EACH_STEP "@6:hang", "--device", "0", "--watchdog", "1", QUESTION);
    json_t *json = assert_went_on(&result, "it hangs");
    assert_true(ci_now() - start < 45);
    json_decref(json);
    process_free(&result);
}

static void test_a_device_that_hangs_while_loading_is_left_behind(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, "clCreateBuffer@4:hang", "--device", "0", "--watchdog", "0.3", QUESTION);
    json_t *json = assert_went_on(&result, "while the model was loaded");
    json_decref(json);
    process_free(&result);
}

static void test_interrupt_ends_a_device_that_hangs(void **state) {
    (void)state;
    char layers[4200];
    snprintf(layers, sizeof layers, "OPENCL_LAYERS=%s", layer_path);
    const char *const environment[] = {layers, "FAKE_LAYER=" EACH_STEP "@6:hang", NULL};
    const struct process_options options = {.environment = environment, .signal_at_first = SIGINT};
    struct process_result result;
    double start = ci_now();
    process_run(&result, &options, process_tool(), "run", "-m", process_model(), "--device", "0", "--temp", "0", "-n",
                "64", QUESTION, NULL);
    process_assert_status(&result, CANCELLED);
    assert_true(ci_now() - start < 30); /* the watchdog alone would take longer */
    process_free(&result);
}

/* What is left of the tokens is what an undisturbed run has left of them there. */
static void test_a_shifted_context_goes_on_too(void **state) {
    (void)state;
    struct process_result whole, result;
    RUN(&whole, "", "--device", "0", "-c", "64", "--context-shift", "-n", "100", "--ignore-eos", QUESTION);
    process_assert_status(&whole, 0);
    RUN(&result, EACH_STEP "@60+:lost", "--device", "0", "-c", "64", "--context-shift", "-n", "100", "--ignore-eos",
        QUESTION);
    process_assert_status(&result, 0);
    json_t *one = parse(&whole), *other = parse(&result);
    assert_true(json_is_true(json_object_get(json_object_get(other, "route"), "fell_back")));
    assert_string_equal(text_of(one), text_of(other));
    json_decref(one);
    json_decref(other);
    process_free(&whole);
    process_free(&result);
}

static void test_prompts_together_all_go_on(void **state) {
    (void)state;
    struct process_result result, whole;
    static const char lines[] = "One plus one is\nThe capital of France is\nA cat is\nThe sea is\n";
    const char *prompts = process_file("prompts.txt", lines, strlen(lines));
    RUN(&whole, "", "--device", "0", "--batch", prompts);
    process_assert_status(&whole, 0);
    RUN(&result, EACH_STEP "@8+:lost", "--device", "0", "--batch", prompts);
    process_assert_status(&result, 0);
    json_t *before = parse(&whole), *after = parse(&result);
    json_t *one = json_object_get(before, "results"), *other = json_object_get(after, "results");
    assert_int_equal(json_array_size(other), 4);
    json_int_t left = 0, most = 0;
    for (size_t i = 0; i < 4; i++) {
        const json_t *answer = json_array_get(other, i);
        json_int_t tokens = 0;
        assert_string_equal(text_of(json_array_get(one, i)), text_of(answer));
        for (size_t k = 1; k < json_array_size(json_object_get(json_object_get(answer, "route"), "rungs")); k++)
            tokens += json_integer_value(json_object_get(rung(answer, k), "tokens"));
        left += tokens;
        if (tokens > most) most = tokens;
    }
    /* In the same steps: hardly more of them than what the longest of the four takes alone. */
    json_int_t steps = json_integer_value(json_object_get(json_object_get(after, "counters"), "steps"));
    assert_true(left > 3 * 6);
    assert_in_range(steps, most, most + 8);
    assert_int_equal(count_of(result.err, "CL_OUT_OF_RESOURCES"), 1);
    assert_int_equal(count_of(result.err, "goes on after"), 4);
    json_decref(before);
    json_decref(after);
    process_free(&result);
    process_free(&whole);
}

static void test_no_device_of_that_name_is_a_rung_that_is_left(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, "", "--device", "nonesuch", QUESTION);
    json_t *json = assert_went_on(&result, "no OpenCL device \"nonesuch\"");
    json_decref(json);
    process_free(&result);
    RUN(&result, "", "--device", "nonesuch", "--fallback", "none", QUESTION);
    process_assert_status(&result, NO_DEVICE);
    process_free(&result);
}

/* ---- limits ---- */

static void test_a_deadline_ends_an_answer_that_is_too_long(void **state) {
    (void)state;
    struct process_result result;
    double start = ci_now();
    RUN(&result, "", "--device", "cpu", "--deadline", "700ms", "-n", "2000", "--ignore-eos", QUESTION);
    process_assert_status(&result, OUT_OF_TIME);
    assert_true(ci_now() - start < 20);
    assert_contains(result.err, "0.7 s were not enough");
    process_free(&result);
}

/* The sum is made before anything is loaded: a process that may have less data than the weights take. */
static void test_a_shifted_context_goes_on_beyond_its_length(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, "", "-m", "tests/data/llama_tiny.gguf", "--device", "cpu", "-c", "64", "--context-shift",
        "--ignore-eos", "-n", "-1", "--deadline", "3s", QUESTION);
    process_assert_status(&result, OUT_OF_TIME);
    json_t *json = parse(&result);
    assert_true(json_integer_value(json_object_get(json_object_get(json, "timings"), "predicted_n")) > 4 * 64);
    json_decref(json);
    process_free(&result);
}

static void test_a_deadline_holds_while_a_device_is_opened(void **state) {
    (void)state;
    struct process_result result;
    double start = ci_now();
    RUN(&result, "clCreateCommandQueue@1+:hang", "--device", "0", "--deadline", "1s", QUESTION);
    process_assert_status(&result, OUT_OF_TIME);
    assert_true(ci_now() - start < 20);
    process_free(&result);
}

static void test_a_model_too_large_for_memory_is_refused_before_it_is_loaded(void **state) {
    (void)state;
    struct process_result result;
    char command[8192];
#ifdef __SANITIZE_ADDRESS__
    print_message("skip: AddressSanitizer needs more addresses than it uses\n");
    skip();
#endif
    snprintf(command, sizeof command, "ulimit -d 80000; exec %s run -m %s --device cpu hello", process_tool(),
             process_model());
    process_run(&result, NULL, "/bin/sh", "-c", command, NULL);
    process_assert_status(&result, OUT_OF_MEMORY);
    assert_contains(result.err, "its weights take 92 MiB of memory, this process can have 78 MiB");
    process_free(&result);
    /* The weights fit, a context of that length does not. */
    snprintf(command, sizeof command, "ulimit -d 200000; exec %s run -m %s --device cpu -c 8192 hello", process_tool(),
             process_model());
    process_run(&result, NULL, "/bin/sh", "-c", command, NULL);
    process_assert_status(&result, OUT_OF_MEMORY);
    assert_contains(result.err, "a KV cache of 180 MiB for 8192 tokens");
    assert_contains(result.err, "this process can have, 195 MiB; -c 4");
    process_free(&result);
    /* One that nobody asked for is as long as there is room. */
    snprintf(command, sizeof command, "ulimit -d 200000; exec %s run -m %s --device cpu -n 1 hello", process_tool(),
             process_model());
    process_run(&result, NULL, "/bin/sh", "-c", command, NULL);
    process_assert_status(&result, 0);
    assert_contains(result.err, "the context is 4");
    assert_contains(result.err, "not the 8192 that the model was made for");
    process_free(&result);
}

/* ---- remotes ---- */

static void test_a_prompt_longer_than_the_context_goes_to_the_remote(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, "", "--device", "cpu", "-c", "16", QUESTION " " QUESTION " " QUESTION " " QUESTION);
    process_assert_status(&result, CONTEXT_FULL);
    process_free(&result);
    RUN(&result, "", "--device", "cpu", "-c", "16", "--remote", remote_server_url("http", "good"),
        QUESTION " " QUESTION " " QUESTION " " QUESTION);
    process_assert_status(&result, 0);
    json_t *json = parse(&result);
    assert_string_equal(text_of(json), REMOTE_TEXT);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "route"), "kind")), "remote");
    assert_contains(result.err, "leaves this machine");
    json_decref(json);
    process_free(&result);
}

/* A model that cannot guess for this one is no fault of the device's, which another rung would be free of. */
static void test_a_wrong_smaller_model_is_no_devices_fault(void **state) {
    (void)state;
    struct process_result result;
    RUN(&result, "", "-md", "tests/data/folders/gpt2", "-p", QUESTION);
    assert_true(result.status != 0);
    assert_int_equal(count_of(result.err, "-md tests/data/folders/gpt2: it has"), 1);
    assert_int_equal(count_of(result.err, "is next"), 0);
    process_free(&result);
}

static void test_a_missing_model_goes_to_the_remote(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "run", "-m", "nonesuch", "--remote", remote_server_url("http", "good"),
                "hello", NULL);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, REMOTE_TEXT "\n");
    /* First why it is not this machine, then where the prompt goes, at the end what came of it, in short. */
    const char *why = strstr(result.err, "no such model"), *leaves = strstr(result.err, "leaves this machine");
    assert_true(why && leaves && why < leaves);
    assert_int_equal(count_of(result.err, "no such model"), 1);
    assert_contains(result.err, "this machine: file or model not found; 127.0.0.1:");
    process_free(&result);
    process_run(&result, NULL, process_tool(), "run", "-m", "nonesuch", "hello", NULL);
    process_assert_status(&result, NOT_FOUND);
    process_free(&result);
}

static void test_remote_only_asks_nothing_here(void **state) {
    (void)state;
    struct process_result result;
    process_run(&result, NULL, process_tool(), "run", "--remote-only", "--remote", remote_server_url("http", "good"),
                "hello", NULL);
    process_assert_status(&result, 0);
    assert_string_equal(result.out, REMOTE_TEXT "\n");
    process_free(&result);
    process_run(&result, NULL, process_tool(), "run", "--remote-only", "--remote", remote_server_url("closed", ""),
                "hello", NULL);
    process_assert_status(&result, REMOTE_FAILED);
    process_free(&result);
}

static void test_a_remote_goes_on_only_if_it_was_asked_for(void **state) {
    (void)state;
    struct process_result result;
    const char *url = remote_server_url("http", "good");
    RUN(&result, "", "--device", "cpu", "--deadline", A_WHILE, "-n", "8000", "--ignore-eos", "--remote", url, QUESTION);
    process_assert_status(&result, OUT_OF_TIME);
    assert_contains(result.err, "--remote-continue");
    process_free(&result);
    json_decref(remote_server_log());
    RUN(&result, "", "--device", "cpu", "--deadline", A_WHILE, "-n", "8000", "--ignore-eos", "--remote", url,
        "--remote-continue", QUESTION);
    process_assert_status(&result, 0);
    json_t *json = parse(&result);
    const char *text = text_of(json);
    size_t begun = strlen(text) - strlen(REMOTE_TEXT), known = strlen(expected);
    assert_true(begun > 0);
    assert_memory_equal(text, expected, begun < known ? begun : known);
    assert_string_equal(text + begun, REMOTE_TEXT);
    json_decref(json);
    process_free(&result);
}

static void test_an_answer_ends_before_a_stop_text(void **state) {
    (void)state;
    struct process_result result;
    /* Three words of the answer, which come in three tokens at least; and what only begins like it. */
    const char *second = strchr(strchr(expected, ' ') + 1, ' '), *fourth = strchr(strchr(second + 1, ' ') + 1, ' ');
    char stop[256];
    snprintf(stop, sizeof stop, "%.*s", (int)(fourth - second), second);
    RUN(&result, "", "--device", "cpu", "--stop", stop, "-r", "The answer never", QUESTION);
    process_assert_status(&result, 0);
    json_t *json = parse(&result);
    assert_int_equal(strlen(text_of(json)), second - expected);
    assert_memory_equal(text_of(json), expected, (size_t)(second - expected));
    assert_string_equal(json_string_value(json_object_get(json, "finish_reason")), "stop");
    json_decref(json);
    process_free(&result);
    RUN(&result, "", "--device", "cpu", "--stop", "nowhere", QUESTION);
    json = parse(&result);
    assert_string_equal(text_of(json), expected);
    json_decref(json);
    process_free(&result);
}

#define SCHEMA "{\"type\": \"object\", \"properties\": {\"cmd\": {\"type\": \"string\"}}, \"required\": [\"cmd\"]}"

static void expect_json(const struct process_result *result) {
    json_t *json = parse(result), *answer = json_loads(text_of(json), 0, NULL);
    if (!json_is_string(json_object_get(answer, "cmd"))) fail_msg("no answer by the schema: %s", text_of(json));
    json_decref(answer);
    json_decref(json);
}

/* How often the remote was asked with the schema. */
static void expect_asked(size_t times) {
    json_t *log = remote_server_log(), *request;
    size_t i;
    assert_int_equal(json_array_size(log), times);
    json_array_foreach(log, i, request)
        assert_non_null(json_object_get(json_object_get(request, "body"), "response_format"));
    json_decref(log);
}

static void test_an_answer_follows_a_schema_wherever_it_comes_from(void **state) {
    (void)state;
    struct process_result result;
    json_decref(remote_server_log());
    RUN(&result, "", "-j", SCHEMA, "-n", "40", "--remote", remote_server_url("http", "json"), QUESTION);
    process_assert_status(&result, 0);
    expect_json(&result);
    expect_asked(0);
    process_free(&result);
    RUN(&result, "", "-j", SCHEMA, "--remote-only", "--remote", remote_server_url("http", "json"), QUESTION);
    process_assert_status(&result, 0);
    expect_json(&result);
    expect_asked(1);
    process_free(&result);
}

/* What a remote says is looked at: an answer that is not valid is asked for once more, and is an error then. */
static void test_a_remotes_answer_is_checked(void **state) {
    (void)state;
    struct process_result result;
    json_decref(remote_server_log());
    RUN(&result, "", "-j", SCHEMA, "--remote-only", "--remote", remote_server_url("http", "json_second"), QUESTION);
    process_assert_status(&result, 0);
    expect_json(&result);
    expect_asked(2);
    process_free(&result);
    RUN(&result, "", "-j", SCHEMA, "--remote-only", "--remote", remote_server_url("http", "json_never"), QUESTION);
    process_assert_status(&result, 14);
    assert_non_null(strstr(result.err, "cmd"));
    expect_asked(2);
    process_free(&result);
}

static void test_a_switch_forbids_all_remotes(void **state) {
    (void)state;
    struct process_result result;
    const char *const environment[] = {"CLINFER_NO_REMOTE=1", NULL};
    const struct process_options options = {.environment = environment};
    json_decref(remote_server_log());
    process_run(&result, &options, process_tool(), "run", "--remote", remote_server_url("http", "good"), "hello", NULL);
    process_assert_status(&result, REFUSED);
    assert_int_equal(remote_server_count(), 0);
    process_free(&result);
}

static void test_dry_run_shows_the_ladder_and_asks_nobody(void **state) {
    (void)state;
    struct process_result result;
    json_decref(remote_server_log());
    RUN(&result, "", "--dry-run", "--remote", remote_server_url("http", "good"));
    process_assert_status(&result, 0);
    json_t *json = parse(&result), *ladder = json_object_get(json, "ladder");
    size_t count = json_array_size(ladder);
    assert_true(count >= 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(ladder, 0), "kind")), "device");
    assert_string_equal(json_string_value(json_object_get(json_array_get(ladder, count - 2), "kind")), "cpu");
    assert_string_equal(json_string_value(json_object_get(json_array_get(ladder, count - 1), "kind")), "remote");
    assert_int_equal(remote_server_count(), 0);
    json_decref(json);
    process_free(&result);
}

static int start(void **state) {
    struct process_result result;
    ssize_t length = readlink("/proc/self/exe", layer_path, sizeof layer_path - 32);
    assert_true(length > 0);
    layer_path[length] = 0;
    strcpy(strrchr(layer_path, '/'), "/fake_layer.so");
    RUN(&result, "", "--device", "0", QUESTION);
    process_assert_status(&result, 0);
    json_t *json = parse(&result);
    expected = strdup(text_of(json));
    assert_true(strlen(expected) > TOKENS);
    json_decref(json);
    process_free(&result);
    return remote_server_start(state);
}

static int stop(void **state) {
    free(expected);
    return remote_server_stop(state);
}

int main(void) {
    setenv("CLINFER_SINGLE_LAUNCHES", "1", 1); /* faults have the numbers of calls */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_lost_device_hands_its_answer_to_another),
        cmocka_unit_test(test_a_files_fault_comes_before_the_devices),
        cmocka_unit_test(test_the_line_at_the_end_is_short),
        cmocka_unit_test(test_fallback_none_makes_a_lost_device_an_error),
        cmocka_unit_test(test_a_device_that_hangs_is_left_behind),
        cmocka_unit_test(test_a_device_that_hangs_while_loading_is_left_behind),
        cmocka_unit_test(test_interrupt_ends_a_device_that_hangs),
        cmocka_unit_test(test_a_shifted_context_goes_on_too),
        cmocka_unit_test(test_prompts_together_all_go_on),
        cmocka_unit_test(test_no_device_of_that_name_is_a_rung_that_is_left),
        cmocka_unit_test(test_a_deadline_ends_an_answer_that_is_too_long),
        cmocka_unit_test(test_a_shifted_context_goes_on_beyond_its_length),
        cmocka_unit_test(test_a_deadline_holds_while_a_device_is_opened),
        cmocka_unit_test(test_a_model_too_large_for_memory_is_refused_before_it_is_loaded),
        cmocka_unit_test(test_a_prompt_longer_than_the_context_goes_to_the_remote),
        cmocka_unit_test(test_a_wrong_smaller_model_is_no_devices_fault),
        cmocka_unit_test(test_a_missing_model_goes_to_the_remote),
        cmocka_unit_test(test_remote_only_asks_nothing_here),
        cmocka_unit_test(test_a_remote_goes_on_only_if_it_was_asked_for),
        cmocka_unit_test(test_an_answer_ends_before_a_stop_text),
        cmocka_unit_test(test_an_answer_follows_a_schema_wherever_it_comes_from),
        cmocka_unit_test(test_a_remotes_answer_is_checked),
        cmocka_unit_test(test_a_switch_forbids_all_remotes),
        cmocka_unit_test(test_dry_run_shows_the_ladder_and_asks_nobody),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
