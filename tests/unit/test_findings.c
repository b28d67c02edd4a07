/* Tensors that the graph does not use: refused by name, or named among the findings; and what is used: biases and
 * scales. What numbers then do is held to recorded truth by tests/model/test_model.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "support/asserts.h"
#include "support/tiny_file.h"

enum {
    LAYERS = TINY_FILE_LAYERS,
    WIDTH = TINY_FILE_WIDTH,
    FF = TINY_FILE_FF,
    HEADS = TINY_FILE_HEADS,
    HEAD = TINY_FILE_HEAD,
    VOCABULARY = TINY_FILE_VOCABULARY,
    F32 = TINY_FILE_F32
};

static void test_architectures_are_refused_with_what_they_need(void **state) {
    (void)state;
    struct tiny_file file = tiny_file_start("mamba");
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "general.architecture: \"mamba\"",
                      "needs state-space layers (Mamba)");
    file = tiny_file_start("nobodys");
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "general.architecture: \"nobodys\"", "supported are: llama, qwen2");
}

static void test_heads_of_windows_are_like_the_others(void **state) {
    (void)state;
    struct tiny_file file = tiny_file_start("olmo2");
    gguf_writer_u32(file.writer, "olmo2.attention.sliding_window", 8);
    gguf_writer_u32(file.writer, "olmo2.rope.dimension_count_swa", 2);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "olmo2.rope.dimension_count_swa: 2", "heads of another size");
}

/* ---- tensors ---- */

static void test_types_that_nothing_reads_are_refused_with_those_that_are(void **state) {
    (void)state;
    enum { F64 = 28 };
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F64, 2, (const uint64_t[]){WIDTH, VOCABULARY}, NULL);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "output.weight: type F64 is not supported",
                      "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0");
}

static void test_tensors_that_nothing_takes_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *architecture, *name, *why;
        uint64_t size;
    } tensors[] = {
        {"llama", "blk.1.attn_q_norm.weight", "another conversion", HEAD},
        {"qwen2", "blk.0.attn_k_norm.weight", "another conversion", HEAD},
        {"llama", "blk.0.attn_norm.bias", "layer norm", WIDTH},
        {"llama", "output_norm.bias", "layer norm", WIDTH},
        {"qwen2", "rope_factors_long.weight", "LongRoPE", HEAD / 2},
        {"llama", "blk.0.rope_freqs.weight", "another conversion", HEAD / 2},
        {"qwen2", "rope_freqs.weight", "another conversion", HEAD / 2},
        {"llama", "blk.2.attn_norm.weight", "llama.block_count is 2", WIDTH},
        {"llama", "blk.9223372036854775808.ffn_norm.weight", "llama.block_count is 2", WIDTH},
        {"llama", "blk.0.ffn_gate_exps.weight", "mixtures of experts", WIDTH},
        {"llama", "blk.0.ffn_norm.scale", "another conversion", 1},
        {"llama", "blk.0.attn_q.weight.lora_a", "adapter", 4},
        {"llama", "some.other.weight", "another conversion", 5},
    };
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        struct tiny_file file = tiny_file_start(tensors[i].architecture);
        tiny_file_vector(&file, tensors[i].name, tensors[i].size);
        tiny_file_refused(&file, CLINFER_UNSUPPORTED, tensors[i].name, tensors[i].why);
    }
    struct tiny_file file = tiny_file_start("llama");
    tiny_file_vector(&file, "one", 3);
    tiny_file_vector(&file, "two", 3);
    tiny_file_vector(&file, "three", 3);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "tensor one (and 2 more)", "answers would be wrong");
}

static void test_what_may_be_left_out_is_named(void **state) {
    (void)state;
    static const char *const names[] = {"blk.0.attn_q.input_scale", "blk.1.ffn_down.input_scale", "output.input_scale"};
    for (int qwen2 = 0; qwen2 < 2; qwen2++) {
        struct tiny_file file = tiny_file_start(qwen2 ? "qwen2" : "llama");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) tiny_file_vector(&file, names[i], 1);
        tiny_file_vector(&file, "blk.0.ffn_up.scale", 1);
        assert_ok(tiny_file_open(&file));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            tiny_file_has_finding(&file, names[i], CI_FINDING_LEFT_OUT);
        if (qwen2)
            tiny_file_has_finding(&file, "blk.0.ffn_up.scale", CI_FINDING_LEFT_OUT);
        else
            assert_null(tiny_file_find(&file, "blk.0.ffn_up.scale"));
        assert_int_equal(ci_model_find(&file.model, "blk.0.ffn_gate_up.factors") == NULL, qwen2);
        tiny_file_end(&file);
    }
}

/* A third block that predicts further ahead. */
static struct tiny_file start_predicting(bool counted, bool joins) {
    struct tiny_file file = tiny_file_begin("llama");
    gguf_writer_u32(file.writer, "llama.block_count", counted ? LAYERS + 1 : LAYERS);
    gguf_writer_u32(file.writer, "llama.nextn_predict_layers", counted);
    gguf_writer_u32(file.writer, "llama.feed_forward_length", FF);
    gguf_writer_u32(file.writer, "llama.attention.head_count", HEADS);
    gguf_writer_u32(file.writer, "llama.attention.head_count_kv", 1);
    for (int i = 0; i <= LAYERS; i++) tiny_file_add_layer(&file, i);
    if (joins) gguf_writer_random(file.writer, "blk.2.nextn.eh_proj.weight", F32, 2 * WIDTH, WIDTH, 0.1f);
    return file;
}

static void test_blocks_for_multi_token_prediction_are_left_out(void **state) {
    (void)state;
    for (int counted = 0; counted < 2; counted++) {
        struct tiny_file file = start_predicting(counted, true);
        assert_ok(tiny_file_open(&file));
        assert_int_equal(file.model.hyper.layers, LAYERS);
        tiny_file_has_finding(&file, "blk.2.attn_q.weight", CI_FINDING_LEFT_OUT);
        tiny_file_has_finding(&file, "blk.2.nextn.eh_proj.weight", CI_FINDING_LEFT_OUT);
        tiny_file_end(&file);
    }
    struct tiny_file file = start_predicting(true, false);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "nextn_predict_layers: 1", "blk.2 is an ordinary layer");
    file = start_predicting(false, false);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "blk.2.attn_norm.weight", "block_count is 2");
}

static void test_dimensions_of_one_behind_the_last_change_nothing(void **state) {
    (void)state;
    static const uint64_t matrix[4] = {WIDTH, VOCABULARY, 1, 1}, vector_dims[3] = {WIDTH, 1, 1},
                          wrong[3] = {WIDTH, VOCABULARY, 2};
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F32, 4, matrix, NULL);
    gguf_writer_tensor(file.writer, "blk.0.attn_output.bias", F32, 3, vector_dims, NULL);
    assert_ok(tiny_file_open(&file));
    assert_int_equal(ci_model_find(&file.model, "output.weight")->view.rows, VOCABULARY);
    tiny_file_end(&file);
    file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F32, 3, wrong, NULL);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "output.weight", "[32, 48, 2, 1], expected [32, 48]");
}

/* ---- biases and scales ---- */

static void number(struct tiny_file *file, const char *name, float value) {
    gguf_writer_tensor(file->writer, name, F32, 1, (uint64_t[]){1}, &value);
}

static void test_every_bias_is_taken(void **state) {
    (void)state;
    static const char *const architectures[] = {"llama", "qwen2"};
    for (size_t i = 0; i < 2; i++) {
        struct tiny_file file = tiny_file_start(architectures[i]);
        tiny_file_vector(&file, "blk.1.attn_q.bias", HEADS * HEAD);
        tiny_file_vector(&file, "blk.1.attn_k.bias", HEAD);
        tiny_file_vector(&file, "blk.1.attn_v.bias", HEAD);
        tiny_file_vector(&file, "blk.1.attn_output.bias", WIDTH);
        tiny_file_vector(&file, "blk.1.ffn_gate.bias", FF);
        tiny_file_vector(&file, "blk.1.ffn_up.bias", FF);
        tiny_file_vector(&file, "blk.1.ffn_down.bias", WIDTH);
        tiny_file_vector(&file, "output.bias", VOCABULARY);
        assert_ok(tiny_file_open(&file));
        assert_null(file.model.findings);
        tiny_file_end(&file);
    }
}

static void test_scales_multiply_the_product_or_the_sum(void **state) {
    (void)state;
    struct tiny_file file = tiny_file_start("llama");
    float ones[FF];
    for (int i = 0; i < FF; i++) ones[i] = 1;
    number(&file, "blk.0.attn_k.scale", 3);
    number(&file, "blk.0.attn_output.scale", 0.5f);
    number(&file, "blk.0.ffn_up.scale", 4);
    gguf_writer_tensor(file.writer, "blk.0.attn_k.bias", F32, 1, (uint64_t[]){HEAD}, ones);
    gguf_writer_tensor(file.writer, "blk.0.ffn_up.bias", F32, 1, (uint64_t[]){FF}, ones);
    assert_ok(tiny_file_open(&file));
    const struct ci_tensor *qkv = ci_model_find(&file.model, "blk.0.attn_qkv.factors"),
                           *qkv_offsets = ci_model_find(&file.model, "blk.0.attn_qkv.offsets"),
                           *ffn = ci_model_find(&file.model, "blk.0.ffn_gate_up.factors"),
                           *ffn_offsets = ci_model_find(&file.model, "blk.0.ffn_gate_up.offsets");
    assert_true(tiny_file_number(qkv, 0) == 1 && tiny_file_number(qkv, HEADS * HEAD) == 3 &&
                tiny_file_number(qkv_offsets, HEADS * HEAD) == 1);
    assert_true(tiny_file_number(qkv_offsets, 0) == 0 && tiny_file_number(qkv, (HEADS + 1) * HEAD) == 1);
    assert_true(tiny_file_number(ffn, 0) == 1 && tiny_file_number(ffn, FF) == 4 &&
                tiny_file_number(ffn_offsets, FF) == 4);
    assert_true(tiny_file_number(ci_model_find(&file.model, "blk.0.attn_output.factors"), 0) == 0.5f);
    assert_null(ci_model_find(&file.model, "blk.0.attn_output.offsets"));
    assert_null(ci_model_find(&file.model, "blk.1.attn_qkv.factors"));
    tiny_file_end(&file);
    file = tiny_file_start("llama");
    tiny_file_vector(&file, "blk.0.attn_k.scale", 2);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "blk.0.attn_k.scale", "expected [1, 1]");
}

/* A file whose layer has one matrix for queries, keys and values. */
static struct tiny_file start_joined(bool own_bias, bool all_three) {
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"attn_norm.weight", WIDTH, 0},
                   {"ffn_norm.weight", WIDTH, 0},
                   {"attn_qkv.weight", WIDTH, (HEADS + 2) * HEAD},
                   {"attn_output.weight", HEADS * HEAD, WIDTH},
                   {"ffn_gate.weight", WIDTH, FF},
                   {"ffn_up.weight", WIDTH, FF},
                   {"ffn_down.weight", FF, WIDTH}};
    struct tiny_file file = tiny_file_begin("llama");
    gguf_writer_u32(file.writer, "llama.block_count", 1);
    gguf_writer_u32(file.writer, "llama.feed_forward_length", FF);
    gguf_writer_u32(file.writer, "llama.attention.head_count", HEADS);
    gguf_writer_u32(file.writer, "llama.attention.head_count_kv", 1);
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s", tensors[i].name);
        gguf_writer_random(file.writer, name, F32, tensors[i].cols, tensors[i].rows, 0.1f);
    }
    if (own_bias) {
        tiny_file_vector(&file, "blk.0.attn_qkv.bias", (HEADS + 2) * HEAD);
        return file;
    }
    tiny_file_vector(&file, "blk.0.attn_q.bias", HEADS * HEAD);
    if (all_three) tiny_file_vector(&file, "blk.0.attn_k.bias", HEAD);
    tiny_file_vector(&file, "blk.0.attn_v.bias", HEAD);
    return file;
}

static void test_queries_keys_and_values_may_be_one_matrix(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct tiny_file file = start_joined(own, true);
        assert_ok(tiny_file_open(&file));
        assert_int_equal(ci_model_find(&file.model, "blk.0.attn_qkv.weight")->view.rows, (HEADS + 2) * HEAD);
        const struct ci_tensor *bias = ci_model_find(&file.model, "blk.0.attn_qkv.bias");
        assert_int_equal(bias->view.cols, (HEADS + 2) * HEAD);
        const struct ci_gguf_tensor *values = ci_gguf_find_tensor(file.gguf, "blk.0.attn_v.bias");
        if (!own) assert_memory_equal((const float *)bias->host + 3 * HEAD, values->data, HEAD * sizeof(float));
        tiny_file_end(&file);
    }
    struct tiny_file file = start_joined(false, false);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "blk.0.attn_k.bias", "missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_architectures_are_refused_with_what_they_need),
        cmocka_unit_test(test_heads_of_windows_are_like_the_others),
        cmocka_unit_test(test_types_that_nothing_reads_are_refused_with_those_that_are),
        cmocka_unit_test(test_tensors_that_nothing_takes_are_refused_by_name),
        cmocka_unit_test(test_what_may_be_left_out_is_named),
        cmocka_unit_test(test_blocks_for_multi_token_prediction_are_left_out),
        cmocka_unit_test(test_dimensions_of_one_behind_the_last_change_nothing),
        cmocka_unit_test(test_every_bias_is_taken),
        cmocka_unit_test(test_scales_multiply_the_product_or_the_sum),
        cmocka_unit_test(test_queries_keys_and_values_may_be_one_matrix),
    };
    return cmocka_run_group_tests_name("findings", tests, NULL, NULL);
}
