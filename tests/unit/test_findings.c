/* What a file says and the graph does not use: refused by name, or named among the findings; and what is used: biases,
 * scales, RoPE scaling of every age. Tiny files are made here, and only opened: what the numbers then do is held to
 * recorded truth by tests/model/test_model.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/status.h"
#include "model/model.h"
#include "support/asserts.h"
#include "support/gguf_writer.h"

enum { LAYERS = 2, WIDTH = 32, FF = 64, HEADS = 2, HEAD = 16, VOCABULARY = 48, F32 = 0 };

/* ---- files ---- */

struct file {
    struct gguf_writer *writer;
    const char *architecture;
    struct ci_gguf *gguf;
    struct ci_model model;
};

static const char *key_of(const struct file *file, const char *key) {
    static char text[128];
    snprintf(text, sizeof text, "%s.%s", file->architecture, key);
    return text;
}

static void vector(struct file *file, const char *name, uint64_t size) {
    gguf_writer_random(file->writer, name, F32, size, 0, 0.5f);
}

static void add_layer(struct file *file, int layer) {
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"attn_norm", WIDTH, 0}, {"ffn_norm", WIDTH, 0},  {"attn_q", WIDTH, HEADS * HEAD},
                   {"attn_k", WIDTH, HEAD}, {"attn_v", WIDTH, HEAD}, {"attn_output", HEADS * HEAD, WIDTH},
                   {"ffn_gate", WIDTH, FF}, {"ffn_up", WIDTH, FF},   {"ffn_down", FF, WIDTH}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", layer, tensors[i].name);
        gguf_writer_random(file->writer, name, F32, tensors[i].cols, tensors[i].rows, 0.1f);
    }
}

/* Everything but head counts and feed_forward_length, so that tests can say them in their own way. */
static struct file begin(const char *architecture) {
    struct file file = {.writer = gguf_writer_create(), .architecture = architecture};
    gguf_writer_string(file.writer, "general.architecture", architecture);
    gguf_writer_u32(file.writer, key_of(&file, "context_length"), 128);
    gguf_writer_u32(file.writer, key_of(&file, "embedding_length"), WIDTH);
    gguf_writer_f32(file.writer, key_of(&file, "attention.layer_norm_rms_epsilon"), 1e-5f);
    gguf_writer_random(file.writer, "token_embd.weight", F32, WIDTH, VOCABULARY, 0.1f);
    vector(&file, "output_norm.weight", WIDTH);
    return file;
}

static struct file start(const char *architecture) {
    struct file file = begin(architecture);
    gguf_writer_u32(file.writer, key_of(&file, "block_count"), LAYERS);
    gguf_writer_u32(file.writer, key_of(&file, "feed_forward_length"), FF);
    gguf_writer_u32(file.writer, key_of(&file, "attention.head_count"), HEADS);
    gguf_writer_u32(file.writer, key_of(&file, "attention.head_count_kv"), 1);
    for (int i = 0; i < LAYERS; i++) add_layer(&file, i);
    return file;
}

static enum clinfer_status open_file(struct file *file) {
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(file->writer, &size);
    assert_ok(ci_gguf_open_memory(bytes, size, "tiny.gguf", &file->gguf));
    return ci_model_open(file->gguf, &file->model);
}

static void end(struct file *file) {
    ci_model_close(&file->model);
    ci_gguf_close(file->gguf);
    gguf_writer_destroy(file->writer);
}

/* The model is refused, with these words. */
static void expect_refusal(struct file *file, enum clinfer_status expected, const char *first, const char *second) {
    enum clinfer_status status = open_file(file);
    if (status != expected) fail_msg("%s: status %d, not %d", first, status, expected);
    assert_message(first);
    assert_message(second);
    end(file);
}

static const struct ci_finding *find(const struct file *file, const char *name) {
    const struct ci_finding *finding = file->model.findings;
    while (finding && strcmp(finding->name, name) != 0) finding = finding->next;
    return finding;
}

static void expect_finding(const struct file *file, const char *name, enum ci_finding_kind kind) {
    const struct ci_finding *finding = find(file, name);
    if (!finding) fail_msg("%s is not among the findings", name);
    if (finding->kind != kind) fail_msg("%s: a finding of kind %d, not %d", name, finding->kind, kind);
    assert_true(strlen(finding->why) > 0);
}

static void test_architectures_are_refused_with_what_they_need(void **state) {
    (void)state;
    struct file file = start("mamba");
    expect_refusal(&file, CLINFER_UNSUPPORTED, "general.architecture: \"mamba\"", "needs state-space layers (Mamba)");
    file = start("nobodys");
    expect_refusal(&file, CLINFER_UNSUPPORTED, "general.architecture: \"nobodys\"", "supported are: llama, qwen2");
}

static void test_heads_of_windows_are_like_the_others(void **state) {
    (void)state;
    struct file file = start("olmo2");
    gguf_writer_u32(file.writer, "olmo2.attention.sliding_window", 8);
    gguf_writer_u32(file.writer, "olmo2.rope.dimension_count_swa", 2);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "olmo2.rope.dimension_count_swa: 2", "heads of another size");
}

/* ---- tensors ---- */

static void test_types_that_nothing_reads_are_refused_with_those_that_are(void **state) {
    (void)state;
    enum { F64 = 28 };
    struct file file = start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F64, 2, (const uint64_t[]){WIDTH, VOCABULARY}, NULL);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "output.weight: type F64 is not supported",
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
        struct file file = start(tensors[i].architecture);
        vector(&file, tensors[i].name, tensors[i].size);
        expect_refusal(&file, CLINFER_UNSUPPORTED, tensors[i].name, tensors[i].why);
    }
    struct file file = start("llama");
    vector(&file, "one", 3);
    vector(&file, "two", 3);
    vector(&file, "three", 3);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "tensor one (and 2 more)", "answers would be wrong");
}

static void test_what_may_be_left_out_is_named(void **state) {
    (void)state;
    static const char *const names[] = {"blk.0.attn_q.input_scale", "blk.1.ffn_down.input_scale", "output.input_scale"};
    for (int qwen2 = 0; qwen2 < 2; qwen2++) {
        struct file file = start(qwen2 ? "qwen2" : "llama");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) vector(&file, names[i], 1);
        vector(&file, "blk.0.ffn_up.scale", 1);
        assert_ok(open_file(&file));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) expect_finding(&file, names[i], CI_FINDING_LEFT_OUT);
        if (qwen2)
            expect_finding(&file, "blk.0.ffn_up.scale", CI_FINDING_LEFT_OUT);
        else
            assert_null(find(&file, "blk.0.ffn_up.scale"));
        assert_int_equal(ci_model_find(&file.model, "blk.0.ffn_gate_up.factors") == NULL, qwen2);
        end(&file);
    }
}

/* A third block that predicts further ahead. */
static struct file start_predicting(bool counted, bool joins) {
    struct file file = begin("llama");
    gguf_writer_u32(file.writer, "llama.block_count", counted ? LAYERS + 1 : LAYERS);
    gguf_writer_u32(file.writer, "llama.nextn_predict_layers", counted);
    gguf_writer_u32(file.writer, "llama.feed_forward_length", FF);
    gguf_writer_u32(file.writer, "llama.attention.head_count", HEADS);
    gguf_writer_u32(file.writer, "llama.attention.head_count_kv", 1);
    for (int i = 0; i <= LAYERS; i++) add_layer(&file, i);
    if (joins) gguf_writer_random(file.writer, "blk.2.nextn.eh_proj.weight", F32, 2 * WIDTH, WIDTH, 0.1f);
    return file;
}

static void test_blocks_for_multi_token_prediction_are_left_out(void **state) {
    (void)state;
    for (int counted = 0; counted < 2; counted++) {
        struct file file = start_predicting(counted, true);
        assert_ok(open_file(&file));
        assert_int_equal(file.model.hyper.layers, LAYERS);
        expect_finding(&file, "blk.2.attn_q.weight", CI_FINDING_LEFT_OUT);
        expect_finding(&file, "blk.2.nextn.eh_proj.weight", CI_FINDING_LEFT_OUT);
        end(&file);
    }
    struct file file = start_predicting(true, false);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "nextn_predict_layers: 1", "blk.2 is an ordinary layer");
    file = start_predicting(false, false);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "blk.2.attn_norm.weight", "block_count is 2");
}

static void test_dimensions_of_one_behind_the_last_change_nothing(void **state) {
    (void)state;
    static const uint64_t matrix[4] = {WIDTH, VOCABULARY, 1, 1}, vector_dims[3] = {WIDTH, 1, 1},
                          wrong[3] = {WIDTH, VOCABULARY, 2};
    struct file file = start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F32, 4, matrix, NULL);
    gguf_writer_tensor(file.writer, "blk.0.attn_output.bias", F32, 3, vector_dims, NULL);
    assert_ok(open_file(&file));
    assert_int_equal(ci_model_find(&file.model, "output.weight")->view.rows, VOCABULARY);
    end(&file);
    file = start("llama");
    gguf_writer_tensor(file.writer, "output.weight", F32, 3, wrong, NULL);
    expect_refusal(&file, CLINFER_BAD_FILE, "output.weight", "[32, 48, 2, 1], expected [32, 48]");
}

/* ---- biases and scales ---- */

static void number(struct file *file, const char *name, float value) {
    gguf_writer_tensor(file->writer, name, F32, 1, (uint64_t[]){1}, &value);
}

static void test_every_bias_is_taken(void **state) {
    (void)state;
    static const char *const architectures[] = {"llama", "qwen2"};
    for (size_t i = 0; i < 2; i++) {
        struct file file = start(architectures[i]);
        vector(&file, "blk.1.attn_q.bias", HEADS * HEAD);
        vector(&file, "blk.1.attn_k.bias", HEAD);
        vector(&file, "blk.1.attn_v.bias", HEAD);
        vector(&file, "blk.1.attn_output.bias", WIDTH);
        vector(&file, "blk.1.ffn_gate.bias", FF);
        vector(&file, "blk.1.ffn_up.bias", FF);
        vector(&file, "blk.1.ffn_down.bias", WIDTH);
        vector(&file, "output.bias", VOCABULARY);
        assert_ok(open_file(&file));
        assert_null(file.model.findings);
        end(&file);
    }
}

static float at(const struct ci_tensor *tensor, int64_t index) {
    float value;
    assert_non_null(tensor);
    memcpy(&value, (const float *)tensor->host + index, sizeof value);
    return value;
}

static void test_scales_multiply_the_product_or_the_sum(void **state) {
    (void)state;
    struct file file = start("llama");
    float ones[FF];
    for (int i = 0; i < FF; i++) ones[i] = 1;
    number(&file, "blk.0.attn_k.scale", 3);
    number(&file, "blk.0.attn_output.scale", 0.5f);
    number(&file, "blk.0.ffn_up.scale", 4);
    gguf_writer_tensor(file.writer, "blk.0.attn_k.bias", F32, 1, (uint64_t[]){HEAD}, ones);
    gguf_writer_tensor(file.writer, "blk.0.ffn_up.bias", F32, 1, (uint64_t[]){FF}, ones);
    assert_ok(open_file(&file));
    const struct ci_tensor *qkv = ci_model_find(&file.model, "blk.0.attn_qkv.factors"),
                           *qkv_offsets = ci_model_find(&file.model, "blk.0.attn_qkv.offsets"),
                           *ffn = ci_model_find(&file.model, "blk.0.ffn_gate_up.factors"),
                           *ffn_offsets = ci_model_find(&file.model, "blk.0.ffn_gate_up.offsets");
    assert_true(at(qkv, 0) == 1 && at(qkv, HEADS * HEAD) == 3 && at(qkv_offsets, HEADS * HEAD) == 1);
    assert_true(at(qkv_offsets, 0) == 0 && at(qkv, (HEADS + 1) * HEAD) == 1);
    assert_true(at(ffn, 0) == 1 && at(ffn, FF) == 4 && at(ffn_offsets, FF) == 4);
    assert_true(at(ci_model_find(&file.model, "blk.0.attn_output.factors"), 0) == 0.5f);
    assert_null(ci_model_find(&file.model, "blk.0.attn_output.offsets"));
    assert_null(ci_model_find(&file.model, "blk.1.attn_qkv.factors"));
    end(&file);
    file = start("llama");
    vector(&file, "blk.0.attn_k.scale", 2);
    expect_refusal(&file, CLINFER_BAD_FILE, "blk.0.attn_k.scale", "expected [1, 1]");
}

/* A file whose layer has one matrix for queries, keys and values. */
static struct file start_joined(bool own_bias, bool all_three) {
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
    struct file file = begin("llama");
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
        vector(&file, "blk.0.attn_qkv.bias", (HEADS + 2) * HEAD);
        return file;
    }
    vector(&file, "blk.0.attn_q.bias", HEADS * HEAD);
    if (all_three) vector(&file, "blk.0.attn_k.bias", HEAD);
    vector(&file, "blk.0.attn_v.bias", HEAD);
    return file;
}

static void test_queries_keys_and_values_may_be_one_matrix(void **state) {
    (void)state;
    for (int own = 0; own < 2; own++) {
        struct file file = start_joined(own, true);
        assert_ok(open_file(&file));
        assert_int_equal(ci_model_find(&file.model, "blk.0.attn_qkv.weight")->view.rows, (HEADS + 2) * HEAD);
        const struct ci_tensor *bias = ci_model_find(&file.model, "blk.0.attn_qkv.bias");
        assert_int_equal(bias->view.cols, (HEADS + 2) * HEAD);
        const struct ci_gguf_tensor *values = ci_gguf_find_tensor(file.gguf, "blk.0.attn_v.bias");
        if (!own) assert_memory_equal((const float *)bias->host + 3 * HEAD, values->data, HEAD * sizeof(float));
        end(&file);
    }
    struct file file = start_joined(false, false);
    expect_refusal(&file, CLINFER_BAD_FILE, "blk.0.attn_k.bias", "missing");
}

/* ---- keys ---- */

static void test_keys_that_ask_for_more_are_refused_with_their_value(void **state) {
    (void)state;
    static const char *const counts[] = {"expert_count", "expert_used_count", "expert_group_count"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct file file = start("qwen2");
        gguf_writer_u32(file.writer, key_of(&file, counts[i]), 4);
        char expected[64];
        snprintf(expected, sizeof expected, "%s: 4: mixtures of experts", counts[i]);
        expect_refusal(&file, CLINFER_UNSUPPORTED, expected, "choose a dense model");
    }
    struct file file = start("llama");
    gguf_writer_bool(file.writer, "llama.attention.causal", false);
    expect_refusal(&file, CLINFER_UNSUPPORTED, "llama.attention.causal: false", "later tokens");
    file = start("llama");
    gguf_writer_string(file.writer, "llama.expert_count", "many");
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.expert_count: is of type string", "an integer");
    file = start("qwen2");
    gguf_writer_string(file.writer, "qwen2.expert_count", "many");
    expect_refusal(&file, CLINFER_UNSUPPORTED, "qwen2.expert_count: a string", "experts");
    file = start("llama");
    gguf_writer_u32(file.writer, "llama.expert_count", 4);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.expert_used_count: 0", "llama.expert_count 4");
    file = start("llama");
    gguf_writer_string(file.writer, "llama.rope.scaling.type", "dynamic");
    expect_refusal(&file, CLINFER_UNSUPPORTED, "llama.rope.scaling.type: \"dynamic\"", "not supported");
}

static void test_keys_are_judged_by_family(void **state) {
    (void)state;
    static const struct {
        const char *key;
        int kind; /* -1: no finding */
    } keys[] = {
        {"llama.logit_scale", CI_FINDING_NO_EFFECT},
        {"llama.attention.clamp_kqv", CI_FINDING_NO_EFFECT},
        {"llama.rope.scaling.alpha", CI_FINDING_NO_EFFECT},
        {"llama.vocab_size", CI_FINDING_NO_EFFECT},
        {"llama.attention.shape_of_things", CI_FINDING_UNKNOWN},
        {"qwen2.attention.scale", CI_FINDING_UNKNOWN},
        {"general.base_model.0.name", -1},
        {"tokenizer.chat_template.tool_use", -1},
        {"quantize.imatrix.file", -1},
        {"general.colour", CI_FINDING_UNKNOWN},
        {"somebody.else", CI_FINDING_UNKNOWN},
        {"llamas.count", CI_FINDING_UNKNOWN},
    };
    struct file file = start("llama");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) gguf_writer_f32(file.writer, keys[i].key, 0.5f);
    gguf_writer_u32(file.writer, "llama.attention.sliding_window", 4);
    gguf_writer_bool(file.writer, "llama.attention.causal", true);
    gguf_writer_u32(file.writer, "llama.expert_count", 0);
    assert_ok(open_file(&file));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].kind >= 0)
            expect_finding(&file, keys[i].key, (enum ci_finding_kind)keys[i].kind);
        else
            assert_null(find(&file, keys[i].key));
    }
    expect_finding(&file, "llama.attention.sliding_window", CI_FINDING_NO_EFFECT);
    assert_null(find(&file, "llama.attention.causal"));
    assert_null(find(&file, "llama.expert_count"));
    end(&file);
}

/* A number per layer, of a width of its own; *count 0: as many as layers. */
static struct file start_listed(const int32_t *heads, size_t count) {
    static const int64_t feed_forward[LAYERS] = {FF, FF};
    static const uint8_t kv_heads[LAYERS] = {1, 1};
    struct file file = begin("llama");
    gguf_writer_u32(file.writer, "llama.block_count", LAYERS);
    gguf_writer_array(file.writer, "llama.feed_forward_length", CI_GGUF_INT64, feed_forward, LAYERS);
    gguf_writer_array(file.writer, "llama.attention.head_count", CI_GGUF_INT32, heads, count);
    gguf_writer_array(file.writer, "llama.attention.head_count_kv", CI_GGUF_UINT8, kv_heads, LAYERS);
    for (int i = 0; i < LAYERS; i++) add_layer(&file, i);
    return file;
}

static void test_a_number_per_layer_is_taken(void **state) {
    (void)state;
    struct file file = start_listed((int32_t[]){HEADS, HEADS}, LAYERS);
    assert_ok(open_file(&file));
    assert_int_equal(file.model.layers[1].heads, HEADS);
    assert_int_equal(file.model.layers[1].kv_heads, 1);
    assert_int_equal(file.model.layers[1].feed_forward, FF);
    end(&file);
    file = start_listed((int32_t[]){HEADS, 0}, LAYERS);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.attention.head_count: 0 in layer 1", "between 1 and");
    file = start_listed((int32_t[]){HEADS, HEADS, HEADS}, 3);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.attention.head_count: 3 numbers for 2 layers", "");
    file = start_listed((int32_t[]){-1, -1}, LAYERS);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.attention.head_count: -1 in layer 0", "between 1 and");
}

/* llama.cpp's test-llama-archs writes all keys that its savers know into every file, with its defaults. */
static void test_a_file_with_every_key_of_llama_cpp_opens(void **state) {
    (void)state;
    static const char *const architectures[] = {"llama", "qwen2"};
    static const char *const names[] = {
#define CI_KEY(name)
#define CI_ARCHITECTURE_KEY(name) name,
#include "model/known_keys.inc"
#undef CI_ARCHITECTURE_KEY
#undef CI_KEY
    };
    static const char *const said[] = {"context_length",
                                       "embedding_length",
                                       "block_count",
                                       "feed_forward_length",
                                       "attention.head_count",
                                       "attention.head_count_kv",
                                       "attention.key_length",
                                       "attention.value_length",
                                       "attention.layer_norm_rms_epsilon",
                                       "attention.causal",
                                       "rope.dimension_count",
                                       "rope.freq_base",
                                       "rope.scaling.type",
                                       "rope.scaling.factor",
                                       "rope.scaling.attn_factor",
                                       "rope.scaling.original_context_length",
                                       "rope.scale_linear"};
    for (size_t k = 0; k < 2; k++) {
        struct file file = start(architectures[k]);
        gguf_writer_u32(file.writer, key_of(&file, "attention.key_length"), HEAD);
        gguf_writer_u32(file.writer, key_of(&file, "attention.value_length"), HEAD);
        gguf_writer_bool(file.writer, key_of(&file, "attention.causal"), true);
        gguf_writer_u32(file.writer, key_of(&file, "rope.dimension_count"), HEAD);
        gguf_writer_f32(file.writer, key_of(&file, "rope.freq_base"), 10000);
        gguf_writer_string(file.writer, key_of(&file, "rope.scaling.type"), "linear");
        gguf_writer_f32(file.writer, key_of(&file, "rope.scaling.factor"), 0);
        gguf_writer_f32(file.writer, key_of(&file, "rope.scaling.attn_factor"), 1);
        gguf_writer_u32(file.writer, key_of(&file, "rope.scaling.original_context_length"), 128);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            size_t which = 0;
            while (which < sizeof said / sizeof *said && strcmp(said[which], names[i]) != 0) which++;
            if (which == sizeof said / sizeof *said) gguf_writer_u32(file.writer, key_of(&file, names[i]), 0);
        }
        assert_ok(open_file(&file));
        for (const struct ci_finding *finding = file.model.findings; finding; finding = finding->next)
            if (finding->kind != CI_FINDING_NO_EFFECT) fail_msg("%s: %s", finding->name, finding->why);
        end(&file);
    }
}

/* ---- RoPE ---- */

struct rope {
    const char *type;
    float factor, scale_linear, attention_factor; /* below 0: absent */
    uint32_t original_context;
    float frequencies[HEAD / 2], magnitude;
};

/* base 10000, heads of 16 */
#define PLAIN                                                                                                          \
    { 1, 0.316227766f, 0.1f, 0.0316227766f, 0.01f, 0.00316227766f, 0.001f, 0.000316227766f }
#define QUARTER                                                                                                        \
    { 0.25f, 0.0790569415f, 0.025f, 0.00790569415f, 0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f }
#define YARN                                                                                                           \
    { 1, 0.237170825f, 0.05f, 0.00790569415f, 0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f }

static void expect_rope(const struct rope *rope) {
    struct file file = start("llama");
    if (rope->type) gguf_writer_string(file.writer, "llama.rope.scaling.type", rope->type);
    if (rope->factor >= 0) gguf_writer_f32(file.writer, "llama.rope.scaling.factor", rope->factor);
    if (rope->scale_linear >= 0) gguf_writer_f32(file.writer, "llama.rope.scale_linear", rope->scale_linear);
    if (rope->attention_factor >= 0)
        gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", rope->attention_factor);
    if (rope->original_context)
        gguf_writer_u32(file.writer, "llama.rope.scaling.original_context_length", rope->original_context);
    assert_ok(open_file(&file));
    for (int i = 0; i < HEAD / 2; i++) {
        float frequency = at(file.model.rope[0].frequencies, i);
        if (!(fabsf(frequency - rope->frequencies[i]) <= 1e-6f * rope->frequencies[i]))
            fail_msg("type %s, factor %g: frequency %d is %.9g, not %.9g", rope->type ? rope->type : "absent",
                     (double)rope->factor, i, (double)frequency, (double)rope->frequencies[i]);
    }
    if (!(fabsf(file.model.rope[0].magnitude - rope->magnitude) <= 1e-6f))
        fail_msg("type %s: the magnitude is %.9g, not %.9g", rope->type ? rope->type : "absent",
                 (double)file.model.rope[0].magnitude, (double)rope->magnitude);
    end(&file);
}

static void test_rope_is_scaled_as_llama_cpp_reads_it(void **state) {
    (void)state;
    static const struct rope ropes[] = {
        {NULL, -1, -1, -1, 0, PLAIN, 1},
        {NULL, 4, -1, -1, 0, QUARTER, 1},
        {NULL, -1, 4, -1, 0, QUARTER, 1},
        {NULL, 0, 4, -1, 0, PLAIN, 1}, /* the new key counts, whatever it says */
        {"linear", 4, -1, -1, 0, QUARTER, 1},
        {"linear", 4, 8, -1, 0, QUARTER, 1},
        {"linear", -1, 4, -1, 0, QUARTER, 1},
        {"linear", -1, -1, -1, 0, PLAIN, 1},
        {"linear", 0, -1, -1, 0, PLAIN, 1},
        {"none", 4, -1, -1, 0, PLAIN, 1},
        {"longrope", 4, -1, -1, 0, QUARTER, 1},
        {NULL, -1, -1, 3, 0, PLAIN, 3},
        {"none", 4, -1, 3, 0, PLAIN, 3},
        {"yarn", 4, -1, -1, 64, YARN, 1.13862944f},
        {"yarn", 4, -1, 2, 64, YARN, 2 * 1.13862944f},
        {"yarn", 0, -1, -1, 64, PLAIN, 1},
    };
    for (size_t i = 0; i < sizeof ropes / sizeof *ropes; i++) expect_rope(&ropes[i]);
}

static void test_rope_numbers_without_a_meaning_are_refused(void **state) {
    (void)state;
    struct file file = start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.factor", -2);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.rope.scaling.factor: -2", "positive");
    file = start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", 0);
    expect_refusal(&file, CLINFER_BAD_FILE, "llama.rope.scaling.attn_factor: 0", "positive");
    static const float extremes[] = {1e30f, 1e-30f};
    for (int i = 0; i < 2; i++) {
        file = start("llama");
        gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", extremes[i]);
        expect_refusal(&file, CLINFER_BAD_FILE, "llama.rope.scaling: a magnitude of 1e", "attention");
    }
    file = start("llama");
    gguf_writer_u32(file.writer, "llama.rope.dimension_count", HEAD / 2);
    gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", 2);
    assert_ok(open_file(&file)); /* part of a head */
    assert_true(file.model.rope[0].magnitude == 2);
    end(&file);
}

/* Angles that 32 bits do not hold, whichever number they come from: it is the one that is named. */
static void test_frequencies_that_no_angle_comes_of_are_refused(void **state) {
    (void)state;
    static const float factors[] = {1e-6f, 1e-30f, 1e-42f};
    for (int i = 0; i < 3; i++) {
        struct file file = start("qwen2");
        gguf_writer_f32(file.writer, "qwen2.rope.scaling.factor", factors[i]);
        expect_refusal(&file, CLINFER_BAD_FILE, "qwen2.rope: with freq_base", "pair 0 of a head turns by");
    }
    struct file file = start("llama");
    gguf_writer_f32(file.writer, "llama.rope.freq_base", 1e-20f);
    expect_refusal(&file, CLINFER_BAD_FILE, "freq_base 1e-20", "radians from one position to the next");
    file = start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.factor", 0.001f);
    assert_ok(open_file(&file));
    assert_true(fabsf(at(file.model.rope[0].frequencies, 0) - 1000) < 0.01f);
    end(&file);
}

static void test_factors_of_the_file_divide_frequencies(void **state) {
    (void)state;
    float factors[HEAD / 2] = {1, -2, 1, 1, 1, 1, 1, 4};
    struct file file = start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    assert_ok(open_file(&file));
    assert_true(fabsf(at(file.model.rope[0].frequencies, 1) + 0.158113883f) < 1e-7f);
    assert_true(fabsf(at(file.model.rope[0].frequencies, 7) - 0.0000790569415f) < 1e-10f);
    end(&file);
    factors[3] = 0;
    file = start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    expect_refusal(&file, CLINFER_BAD_FILE, "rope_freqs.weight", "number 3 is 0");
    factors[3] = 1e-30f;
    file = start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    expect_refusal(&file, CLINFER_BAD_FILE, "rope_freqs.weight", "number 3 is 1e-30");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors_that_nothing_takes_are_refused_by_name),
        cmocka_unit_test(test_architectures_are_refused_with_what_they_need),
        cmocka_unit_test(test_heads_of_windows_are_like_the_others),
        cmocka_unit_test(test_types_that_nothing_reads_are_refused_with_those_that_are),
        cmocka_unit_test(test_what_may_be_left_out_is_named),
        cmocka_unit_test(test_blocks_for_multi_token_prediction_are_left_out),
        cmocka_unit_test(test_dimensions_of_one_behind_the_last_change_nothing),
        cmocka_unit_test(test_every_bias_is_taken),
        cmocka_unit_test(test_scales_multiply_the_product_or_the_sum),
        cmocka_unit_test(test_queries_keys_and_values_may_be_one_matrix),
        cmocka_unit_test(test_keys_that_ask_for_more_are_refused_with_their_value),
        cmocka_unit_test(test_keys_are_judged_by_family),
        cmocka_unit_test(test_a_number_per_layer_is_taken),
        cmocka_unit_test(test_a_file_with_every_key_of_llama_cpp_opens),
        cmocka_unit_test(test_rope_is_scaled_as_llama_cpp_reads_it),
        cmocka_unit_test(test_rope_numbers_without_a_meaning_are_refused),
        cmocka_unit_test(test_frequencies_that_no_angle_comes_of_are_refused),
        cmocka_unit_test(test_factors_of_the_file_divide_frequencies),
    };
    return cmocka_run_group_tests_name("findings", tests, NULL, NULL);
}
