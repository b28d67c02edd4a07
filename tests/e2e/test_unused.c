/* What a model file says and the graph does not use, as the tool tells it: refused by every command alike, named by
 * inspect and verify, warned of by a run. Run from the top of the repository. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "support/asserts.h"
#include "support/gguf_writer.h"
#include "support/process.h"

#define TOOL(result, ...) process_run(result, NULL, process_tool(), __VA_ARGS__, NULL)

enum { WIDTH = 32, FF = 64, VOCABULARY = 48, F32 = 0 };

static const char with_all[] = "tests/data/llama_all_tiny.gguf";

/* A llama of one layer that takes token ids; more may be added before it is saved. */
static struct gguf_writer *start_model(void) {
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"token_embd.weight", WIDTH, VOCABULARY},  {"output_norm.weight", WIDTH, 0},
                   {"blk.0.attn_norm.weight", WIDTH, 0},      {"blk.0.ffn_norm.weight", WIDTH, 0},
                   {"blk.0.attn_q.weight", WIDTH, WIDTH},     {"blk.0.attn_k.weight", WIDTH, WIDTH / 2},
                   {"blk.0.attn_v.weight", WIDTH, WIDTH / 2}, {"blk.0.attn_output.weight", WIDTH, WIDTH},
                   {"blk.0.ffn_gate.weight", WIDTH, FF},      {"blk.0.ffn_up.weight", WIDTH, FF},
                   {"blk.0.ffn_down.weight", FF, WIDTH}};
    static const struct {
        const char *key;
        uint32_t value;
    } numbers[] = {{"llama.block_count", 1},          {"llama.context_length", 128},
                   {"llama.embedding_length", WIDTH}, {"llama.feed_forward_length", FF},
                   {"llama.attention.head_count", 2}, {"llama.attention.head_count_kv", 1}};
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_string(writer, "tokenizer.ggml.model", "none");
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        gguf_writer_u32(writer, numbers[i].key, numbers[i].value);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        gguf_writer_random(writer, tensors[i].name, F32, tensors[i].cols, tensors[i].rows, 0.1f);
    return writer;
}

static const char *finish_model(struct gguf_writer *writer, const char *name) {
    const char *path = process_file(name, "", 0);
    gguf_writer_save(writer, path);
    gguf_writer_destroy(writer);
    return path;
}

/* Of a list of {"name", "why"}: the name stands in it, with a reason. */
static void assert_listed(json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(item, "name")), name) != 0) continue;
        assert_true(json_string_length(json_object_get(item, "why")) > 0);
        return;
    }
    fail_msg("%s is not listed", name);
}

static void test_unknown_keys_are_warned_of_and_named(void **state) {
    (void)state;
    struct gguf_writer *writer = start_model();
    gguf_writer_u32(writer, "llama.attention.twist", 4);
    gguf_writer_u32(writer, "llama.attention.sliding_window", 4);
    gguf_writer_random(writer, "blk.0.attn_q.input_scale", F32, 1, 0, 1);
    const char *path = finish_model(writer, "twisted.gguf");
    struct process_result result;
    TOOL(&result, "logits", "-m", path, "--device", "cpu", "--tokens", "1,2,3", "-o", "/dev/null");
    process_assert_status(&result, 0);
    assert_contains(result.err, "warning: ");
    assert_contains(result.err, "nobody knows and that is not used: llama.attention.twist\n");
    process_free(&result);

    writer = start_model();
    for (int i = 0; i < 11; i++) {
        char key[32];
        snprintf(key, sizeof key, "somebody.key_%d", i);
        gguf_writer_u32(writer, key, 1);
    }
    TOOL(&result, "logits", "-m", finish_model(writer, "many.gguf"), "--device", "cpu", "--tokens", "1", "-o",
         "/dev/null");
    assert_contains(result.err, "somebody.key_7 and 3 more, which `clinfer inspect` lists\n");
    process_free(&result);

    TOOL(&result, "inspect", path);
    process_assert_status(&result, 0);
    assert_contains(result.out, "\nNot used\n");
    assert_contains(result.out, "unknown llama.attention.twist ");
    assert_contains(result.out, "key     llama.attention.sliding_window ");
    assert_contains(result.out, "tensor  blk.0.attn_q.input_scale ");
    process_free(&result);

    TOOL(&result, "inspect", "--json", path);
    json_t *object = process_json(&result);
    assert_true(json_is_true(json_object_get(object, "runs")));
    assert_listed(json_object_get(object, "unknown_keys"), "llama.attention.twist");
    assert_listed(json_object_get(object, "keys_without_effect"), "llama.attention.sliding_window");
    assert_listed(json_object_get(object, "left_out"), "blk.0.attn_q.input_scale");
    json_decref(object);
    process_free(&result);
}

static void test_a_model_that_uses_all_it_has_is_silent(void **state) {
    (void)state;
    const char *path = finish_model(start_model(), "plain.gguf");
    struct process_result result;
    TOOL(&result, "inspect", path);
    assert_null(strstr(result.out, "Not used"));
    process_free(&result);
    TOOL(&result, "logits", "-m", path, "--device", "cpu", "--tokens", "1,2,3", "-o", "/dev/null");
    process_assert_status(&result, 0);
    assert_null(strstr(result.err, "warning"));
    process_free(&result);
    TOOL(&result, "logits", "-m", path, "--device", "cpu", "-p", "text", "-o", "/dev/null");
    process_assert_status(&result, 6);
    assert_contains(result.err, "no tokenizer");
    process_free(&result);
}

/* `inspect` gives the reason that stops every other command. */
static void expect_refused(const char *path, int exit_status, const char *why) {
    const char *const commands[][12] = {
        {"logits", "-m", path, "--device", "cpu", "--tokens", "1", "-o", "/dev/null", NULL},
        {"verify", "-m", path, "--device", "cpu", NULL},
        {"bench", "-m", path, "--device", "cpu", "-p", "16", "-n", "1", "-r", "1", NULL},
    };
    struct process_result result, inspected;
    TOOL(&inspected, "inspect", "--json", path);
    json_t *object = process_json(&inspected);
    assert_true(json_is_false(json_object_get(object, "runs")));
    const char *reason = json_string_value(json_object_get(object, "reason"));
    assert_contains(reason, why);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *const *w = commands[i];
        process_run(&result, NULL, process_tool(), w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10],
                    NULL);
        process_assert_status(&result, exit_status);
        assert_contains(result.err, reason);
        process_free(&result);
    }
    json_decref(object);
    process_free(&inspected);
}

static void test_inspect_says_what_every_command_says(void **state) {
    (void)state;
    struct gguf_writer *writer = start_model();
    gguf_writer_random(writer, "blk.0.attn_q_norm.weight", F32, WIDTH / 2, 0, 1);
    expect_refused(finish_model(writer, "norms.gguf"), 6, "tensor blk.0.attn_q_norm.weight");
    writer = start_model();
    gguf_writer_bool(writer, "llama.attention.causal", false);
    expect_refused(finish_model(writer, "both_ways.gguf"), 6, "llama.attention.causal: false");
    writer = start_model();
    gguf_writer_f32(writer, "general.sampling.temp", -1);
    expect_refused(finish_model(writer, "cold.gguf"), 5, "general.sampling.temp: -1");
}

static void test_verify_names_what_is_left_out(void **state) {
    (void)state;
    struct process_result result;
    TOOL(&result, "verify", "-m", with_all, "--device", "cpu", "-p", "the rain");
    process_assert_status(&result, 0);
    assert_contains(result.out, "\nleft out: blk.1.ffn_down.input_scale: ");
    assert_contains(result.out, "affine ");
    process_free(&result);
    TOOL(&result, "verify", "-m", with_all, "--device", "cpu", "-p", "the rain", "--json");
    process_assert_status(&result, 0);
    json_t *object = process_json(&result), *left_out = json_object_get(object, "left_out");
    assert_int_equal(json_array_size(left_out), 14);
    assert_listed(left_out, "blk.0.attn_q.input_scale");
    json_decref(object);
    process_free(&result);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unknown_keys_are_warned_of_and_named),
        cmocka_unit_test(test_a_model_that_uses_all_it_has_is_silent),
        cmocka_unit_test(test_inspect_says_what_every_command_says),
        cmocka_unit_test(test_verify_names_what_is_left_out),
    };
    return cmocka_run_group_tests_name("unused", tests, NULL, NULL);
}
