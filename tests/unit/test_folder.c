/* Folders as the Hub has them: which files make a model, what is read from them, and more than a hundred ways to damage
 * one. Each is refused with its own status and a message that names the file, the field and the value. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "model/model.h"
#include "model/numbers.h"
#include "model/source.h"
#include "support/asserts.h"
#include "support/folder.h"

#define BAD CLINFER_BAD_FILE
#define UNS CLINFER_UNSUPPORTED

static const char llama[] = "tests/data/folders/llama", qwen2[] = "tests/data/folders/qwen2";
#define ONE "model-00001-of-00002.safetensors"
#define TWO "model-00002-of-00002.safetensors"
#define CONFIG "config.json"
#define INDEX "model.safetensors.index.json"

/* As a run opens it. */
static enum clinfer_status open_model(const char *path) {
    struct ci_gguf *gguf;
    struct ci_model model;
    enum clinfer_status status = ci_source_open(path, NULL, &gguf);
    if (status != CLINFER_OK) {
        assert_null(gguf);
        return status;
    }
    status = ci_model_open(gguf, &model);
    if (status == CLINFER_OK) ci_model_close(&model);
    ci_gguf_close(gguf);
    return status;
}

/* ---- what is read ---- */

static void test_a_folder_has_ggufs_names(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    uint32_t number = 0;
    float epsilon = 0;
    assert_ok(ci_source_open(llama, NULL, &gguf));
    assert_string_equal(ci_gguf_folder(gguf), llama);
    assert_ok(ci_gguf_get_u32(gguf, "llama.attention.head_count_kv", CI_GGUF_REQUIRED, &number));
    assert_int_equal(number, 2);
    assert_ok(ci_gguf_get_f32(gguf, "llama.attention.layer_norm_rms_epsilon", CI_GGUF_REQUIRED, &epsilon));
    assert_true(epsilon == 1e-5f);
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, "blk.1.ffn_down.weight");
    assert_non_null(tensor);
    assert_int_equal(tensor->dims[0], 64);
    assert_int_equal(tensor->dims[1], 32);
    assert_int_equal(tensor->type, 30); /* mapped as it is */
    assert_int_equal(ci_gguf_file_count(gguf), 2);
    const struct ci_gguf_tensor *norm = ci_gguf_find_tensor(gguf, "output_norm.weight");
    assert_non_null(norm);
    assert_int_equal(norm->type, 0);
    const struct ci_gguf_tensor *factors = ci_gguf_find_tensor(gguf, "rope_freqs.weight");
    assert_non_null(factors);
    assert_int_equal(factors->dims[0], 4);
    struct ci_gguf_place place = ci_gguf_tensor_place(gguf, "blk.1.attn_q.weight");
    assert_string_equal(place.name, "model.layers.1.self_attn.q_proj.weight");
    assert_non_null(strstr(place.file, "/" TWO));
    place = ci_gguf_key_place(gguf, "llama.attention.head_count");
    assert_string_equal(place.name, "num_attention_heads");
    assert_string_equal(place.file, "tests/data/folders/llama/config.json");
    ci_gguf_close(gguf);
}

static void test_any_of_its_files_names_a_folder(void **state) {
    (void)state;
    static const char *const files[] = {"", "/", "/" CONFIG, "/" INDEX, "/" ONE, "/" TWO};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", llama, files[i]);
        assert_ok(open_model(path));
    }
}

static char warning[512];

static void keep_warning(void *user, enum clinfer_log_level level, const char *text) {
    (void)user;
    if (level == CLINFER_LOG_WARNING && (strstr(text, "--type") || strstr(text, "layer_types")))
        snprintf(warning, sizeof warning, "%s", text);
}

/* Rows of 32 and 64 are no blocks of 256, but of 32 they are. */
static void test_matrices_that_stay_as_they_are_are_told_of(void **state) {
    (void)state;
    static const char *const types[] = {"q8_0", "q4_k"};
    struct ci_gguf *gguf;
    for (int i = 0; i < 2; i++) {
        warning[0] = 0;
        clinfer_log_to(keep_warning, NULL);
        assert_ok(ci_source_open(qwen2, types[i], &gguf));
        clinfer_log_to(NULL, NULL);
        ci_gguf_close(gguf);
        assert_true((warning[0] != 0) == (i == 1));
    }
    assert_non_null(strstr(warning, "--type q4_k: 15 matrices stay as they are"));
    assert_non_null(strstr(warning, "256"));
}

static void test_matrices_are_quantised_and_norms_are_not(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    assert_ok(ci_source_open(qwen2, "q8_0", &gguf));
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.attn_q.weight")->type, 8);
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.attn_q.bias")->type, 0);
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.attn_norm.weight")->type, 0);
    ci_gguf_close(gguf);
    assert_int_equal(ci_source_open(qwen2, "q9_9", &gguf), CLINFER_INVALID_ARGUMENT);
    assert_message("--type q9_9");
    assert_message("q4_0");
    assert_int_equal(ci_source_open("tests/data/llama_tiny.gguf", "q4_0", &gguf), CLINFER_INVALID_ARGUMENT);
    assert_message("their types");
}

static void test_other_files_say_how_to_sample_and_to_chat(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    float number = 0;
    struct ci_gguf_string text;
    char *path = folder_copy(qwen2);
    folder_patch(path, "generation_config.json", NULL,
                 "{\"temperature\": 0.5, \"top_k\": 20, \"top_p\": null, \"repetition_penalty\": 1.25}");
    folder_patch(path, "tokenizer_config.json", NULL,
                 "{\"chat_template\": [{\"name\": \"default\", \"template\": \"A\"}, {\"name\": \"tool_use\", "
                 "\"template\": \"B\"}]}");
    assert_ok(ci_source_open(path, NULL, &gguf));
    assert_ok(ci_gguf_get_number(gguf, "general.sampling.temp", CI_GGUF_REQUIRED, &number));
    assert_true(number == 0.5f);
    assert_ok(ci_gguf_get_number(gguf, "general.sampling.top_k", CI_GGUF_REQUIRED, &number));
    assert_true(number == 20);
    assert_ok(ci_gguf_get_number(gguf, "general.sampling.penalty_repeat", CI_GGUF_REQUIRED, &number));
    assert_true(number == 1.25f);
    assert_null(ci_gguf_find(gguf, "general.sampling.top_p"));
    assert_ok(ci_gguf_get_string(gguf, "tokenizer.chat_template.tool_use", CI_GGUF_REQUIRED, &text));
    assert_int_equal(text.text[0], 'B');
    ci_gguf_close(gguf);
    folder_patch(path, "chat_template.jinja", NULL, "{{ a file of its own }}");
    assert_ok(ci_source_open(path, NULL, &gguf));
    assert_ok(ci_gguf_get_string(gguf, "tokenizer.chat_template", CI_GGUF_REQUIRED, &text));
    assert_int_equal(text.text[0], '{');
    ci_gguf_close(gguf);
    folder_remove(path);
}

/* A config from the wild: what does no harm is no failure, and what nobody knows is found. */
static void test_fields_that_nobody_knows_are_findings(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    struct ci_model model;
    char *path = folder_copy(qwen2);
    folder_patch(path, CONFIG, "\"hidden_act\"",
                 "\"rope_scaling\": {\"type\": \"default\", \"new_turn\": 2}, \"new_trick\": 7, \"hidden_act\"");
    assert_ok(ci_source_open(path, NULL, &gguf));
    assert_ok(ci_model_open(gguf, &model));
    int found = 0;
    for (const struct ci_finding *finding = model.findings; finding; finding = finding->next)
        found += finding->kind == CI_FINDING_UNKNOWN &&
                 (strcmp(finding->name, "new_trick") == 0 || strcmp(finding->name, "rope_scaling.new_turn") == 0);
    assert_int_equal(found, 2);
    ci_model_close(&model);
    ci_gguf_close(gguf);
    folder_remove(path);
}

/* transformers 5 has all of it in one object; older files of Phi 3 have the original context in rope_scaling. */
static void test_longrope_is_read_wherever_it_stands(void **state) {
    (void)state;
    static const char partial[] = "  \"partial_rotary_factor\": 0.5,\n",
                      original[] = "  \"original_max_position_embeddings\": 16,\n";
    struct ci_gguf *gguf;
    uint32_t number = 0;
    for (int newer = 0; newer < 2; newer++) {
        char *path = folder_copy("tests/data/folders/phi3");
        folder_patch(path, CONFIG, original, "");
        if (newer) folder_patch(path, CONFIG, partial, "");
        folder_patch(path, CONFIG, "\"rope_scaling\": {",
                     newer ? "\"rope_parameters\": {\"original_max_position_embeddings\": 16, \"rope_theta\": 10000, "
                             "\"partial_rotary_factor\": 0.5,"
                           : "\"rope_scaling\": {\"original_max_position_embeddings\": 16,");
        assert_ok(ci_source_open(path, NULL, &gguf));
        assert_ok(ci_gguf_get_u32(gguf, "phi3.rope.scaling.original_context_length", CI_GGUF_REQUIRED, &number));
        assert_int_equal(number, 16);
        assert_ok(ci_gguf_get_u32(gguf, "phi3.rope.dimension_count", CI_GGUF_REQUIRED, &number));
        assert_int_equal(number, 4);
        ci_gguf_close(gguf);
        folder_remove(path);
    }
}

static void test_windows_that_a_family_has_not_are_told_of(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    char *path = folder_copy(qwen2);
    folder_patch(path, CONFIG, "\"hidden_act\"",
                 "\"layer_types\": [\"full_attention\", \"sliding_attention\"], \"hidden_act\"");
    warning[0] = 0;
    clinfer_log_to(keep_warning, NULL);
    assert_ok(ci_source_open(path, NULL, &gguf));
    clinfer_log_to(NULL, NULL);
    assert_non_null(strstr(warning, CONFIG ": layer_types: 1 layers have a window"));
    ci_gguf_close(gguf);
    folder_remove(path);
}

/* Vectors that are pooled otherwise than their model wants look like vectors. */
static void test_pooling_is_what_the_model_wants_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *file, *text, *named;
    } cases[] = {
        {"1_Pooling/config.json", "{\"pooling_mode_max_tokens\": true}", "pooling_mode_max_tokens: true"},
        {"1_Pooling/config.json", "{\"pooling_mode_mean_tokens\": \"yes\"}", "pooling_mode_mean_tokens: \"yes\""},
        {"1_Pooling/config.json", "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": true}",
         "another way to pool"},
        {"2_Dense/config.json", "{\"in_features\": 32}", "a dense layer behind the pooling"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ci_gguf *gguf;
        char *path = folder_copy(qwen2), folder[200];
        snprintf(folder, sizeof folder, "%s/%.*s", path, (int)strcspn(cases[i].file, "/"), cases[i].file);
        assert_int_equal(mkdir(folder, 0700), 0);
        folder_write(path, CONFIG, "{\"architectures\": [\"BertModel\"]}", 32);
        folder_write(path, cases[i].file, cases[i].text, strlen(cases[i].text));
        assert_int_equal(ci_source_open(path, NULL, &gguf), CLINFER_UNSUPPORTED);
        assert_message(cases[i].file);
        assert_message(cases[i].named);
        folder_patch(path, cases[i].file, NULL, NULL);
        assert_int_equal(rmdir(folder), 0);
        folder_remove(path);
    }
}

/* Weights that were converted lie in no file: what lets go of a file's pages after a look must leave them. */
static void test_looking_at_converted_weights_leaves_them(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    struct ci_model model;
    struct ci_threads *threads;
    char *path = folder_copy("tests/data/folders/gpt2"), *cache = folder_copy("tests/data/folders/gpt2");
    setenv("XDG_CACHE_HOME", cache, 1); /* where nobody remembers that they are finite */
    assert_ok(ci_threads_create(1, &threads));
    assert_ok(ci_source_open(path, NULL, &gguf));
    const struct ci_gguf_tensor *tensor = ci_gguf_find_tensor(gguf, "blk.0.ffn_up.weight");
    assert_non_null(tensor);
    assert_true(tensor->bytes >= 2 * 4096); /* at least one whole page */
    char *before = malloc(tensor->bytes);
    memcpy(before, tensor->data, tensor->bytes);
    assert_ok(ci_model_open(gguf, &model));
    assert_ok(ci_model_check_numbers(&model, threads));
    assert_memory_equal(before, tensor->data, tensor->bytes);
    free(before);
    ci_model_close(&model);
    ci_gguf_close(gguf);
    ci_threads_destroy(threads);
    folder_remove(path);
    folder_remove(cache);
}

/* ---- damage ---- */

static const struct damage {
    const char *file, *find, *put; /* folder_patch() */
    enum clinfer_status status;
    const char *named[3];
} damages[] = {
    /* config.json */
    {CONFIG, NULL, NULL, BAD, {CONFIG, "missing"}},
    {CONFIG, NULL, "", BAD, {CONFIG, "line 1"}},
    {CONFIG, NULL, "[]", BAD, {CONFIG, "one JSON object"}},
    {CONFIG, NULL, "{", BAD, {CONFIG, "line 1, column 1"}},
    {CONFIG, NULL, "{}", BAD, {CONFIG, "architectures", "missing"}},
    {CONFIG, NULL, "{\"a\": 1, \"a\": 2}", BAD, {CONFIG, "line 1", "duplicate"}},
    {CONFIG, "{\n", "{\n\xff", BAD, {CONFIG, "line 2"}},
    {CONFIG, "[\n    \"LlamaForCausalLM\"\n  ]", "\"LlamaForCausalLM\"", BAD, {CONFIG, "architectures", "list"}},
    {CONFIG, "[\n    \"LlamaForCausalLM\"\n  ]", "[]", BAD, {CONFIG, "architectures", "[]"}},
    {CONFIG, "[\n    \"LlamaForCausalLM\"\n  ]", "[7]", BAD, {CONFIG, "architectures", "[7]"}},
    {CONFIG, "LlamaForCausalLM", "NobodyForCausalLM", UNS, {CONFIG, "NobodyForCausalLM", "LlamaForCausalLM"}},
    {CONFIG, "LlamaForCausalLM", "Qwen2ForCausalLM", UNS, {CONFIG, "rope_scaling"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": \"32\"", BAD, {CONFIG, "hidden_size", "\"32\""}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 32.5", BAD, {CONFIG, "hidden_size", "32.5"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 0", BAD, {CONFIG, "hidden_size", "0"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": -32", BAD, {CONFIG, "hidden_size", "-32"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 64", BAD, {ONE, "model.embed_tokens.weight", "64"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 1e400", BAD, {CONFIG, "line"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 99999999999999999999", BAD, {CONFIG, "line"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": 9223372036854775807", BAD, {CONFIG, "hidden_size"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": true", BAD, {CONFIG, "hidden_size", "true"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": {}", BAD, {CONFIG, "hidden_size", "{}"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": []", BAD, {CONFIG, "hidden_size"}},
    {CONFIG, "\"hidden_size\": 32", "\"hidden_size\": [32, 64]", UNS, {CONFIG, "hidden_size", "64"}},
    {CONFIG, "\"hidden_size\": 32,", "", BAD, {CONFIG, "hidden_size", "missing"}},
    {CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", BAD, {"model.layers.2.", "missing"}},
    {CONFIG,
     "\"num_hidden_layers\": 2",
     "\"num_hidden_layers\": 1",
     UNS,
     {TWO, "model.layers.1.", "num_hidden_layers is 1"}},
    {CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 0", BAD, {CONFIG, "num_hidden_layers", "0"}},
    {CONFIG, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": null", BAD, {CONFIG, "num_hidden_layers", "missing"}},
    {CONFIG, "\"num_attention_heads\": 4", "\"num_attention_heads\": 0", BAD, {CONFIG, "num_attention_heads", "0"}},
    {CONFIG, "\"num_attention_heads\": 4", "\"num_attention_heads\": 5000", BAD, {CONFIG, "num_attention_heads"}},
    {CONFIG, "\"num_attention_heads\": 4", "\"num_attention_heads\": 3", BAD, {CONFIG, "num_key_value_heads", "3"}},
    {CONFIG, "\"num_attention_heads\": 4", "\"num_attention_heads\": 8", BAD, {ONE, "k_proj"}},
    {CONFIG, "\"num_attention_heads\": 4", "\"num_attention_heads\": \"4\"", BAD, {CONFIG, "num_attention_heads"}},
    {CONFIG, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", BAD, {CONFIG, "num_key_value_heads", "3"}},
    {CONFIG, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 4", BAD, {ONE, "k_proj.weight"}},
    {CONFIG, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 0", BAD, {CONFIG, "num_key_value_heads", "0"}},
    {CONFIG, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": false", BAD, {CONFIG, "num_key_value_heads"}},
    {CONFIG, "\"intermediate_size\": 64", "\"intermediate_size\": 65", BAD, {ONE, "mlp.gate_proj.weight", "65"}},
    {CONFIG, "\"intermediate_size\": 64", "\"intermediate_size\": 0", BAD, {CONFIG, "intermediate_size", "0"}},
    {CONFIG,
     "\"intermediate_size\": 64",
     "\"intermediate_size\": [64, 64, 64]",
     BAD,
     {CONFIG, "intermediate_size", "3"}},
    {CONFIG, "\"max_position_embeddings\": 64,", "", BAD, {CONFIG, "max_position_embeddings", "missing"}},
    {CONFIG,
     "\"max_position_embeddings\": 64",
     "\"max_position_embeddings\": 0",
     BAD,
     {CONFIG, "max_position_embeddings"}},
    {CONFIG, "\"vocab_size\": 96", "\"vocab_size\": 97", BAD, {CONFIG, "vocab_size: 97", "96 rows"}},
    {CONFIG, "\"vocab_size\": 96", "\"vocab_size\": \"x\"", BAD, {CONFIG, "vocab_size", "\"x\""}},
    {CONFIG, "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 0", BAD, {CONFIG, "rms_norm_eps", "0"}},
    {CONFIG, "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": -1e-5", BAD, {CONFIG, "rms_norm_eps"}},
    {CONFIG, "\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": \"small\"", BAD, {CONFIG, "rms_norm_eps", "\"small\""}},
    {CONFIG, "\"rms_norm_eps\": 1e-05,", "", BAD, {CONFIG, "rms_norm_eps", "missing"}},
    {CONFIG, "\"rope_theta\": 10000.0", "\"rope_theta\": \"x\"", BAD, {CONFIG, "rope_theta", "\"x\""}},
    {CONFIG, "\"rope_theta\": 10000.0", "\"rope_theta\": 0", BAD, {CONFIG, "rope_theta", "0"}},
    {CONFIG, "\"rope_theta\": 10000.0", "\"rope_theta\": -1", BAD, {CONFIG, "rope_theta", "-1"}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", UNS, {CONFIG, "hidden_act", "\"relu\""}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"hidden_act\": 1", UNS, {CONFIG, "hidden_act", "1"}},
    {CONFIG,
     "\"hidden_act\": \"silu\"",
     "\"quantization_config\": {\"quant_method\": \"awq\"}",
     UNS,
     {CONFIG, "quantization_config", "awq"}},
    {CONFIG,
     "\"hidden_act\": \"silu\"",
     "\"partial_rotary_factor\": 0.5",
     UNS,
     {CONFIG, "partial_rotary_factor", "0.5"}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"is_encoder_decoder\": true", UNS, {CONFIG, "is_encoder_decoder", "true"}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"head_dim\": 16", BAD, {ONE, "q_proj.weight"}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"head_dim\": 4096", BAD, {CONFIG, "head_dim", "4096"}},
    {CONFIG, "\"hidden_act\": \"silu\"", "\"head_dim\": \"8\"", BAD, {CONFIG, "head_dim", "\"8\""}},
    {CONFIG,
     "\"rope_type\": \"llama3\"",
     "\"rope_type\": \"newest\"",
     UNS,
     {CONFIG, "rope_scaling.rope_type", "newest"}},
    {CONFIG, "\"rope_type\": \"llama3\"", "\"rope_type\": 3", BAD, {CONFIG, "rope_scaling.rope_type", "3"}},
    {CONFIG, "\"factor\": 4.0", "\"factor\": 0", BAD, {CONFIG, "rope_scaling.factor", "0"}},
    {CONFIG, "\"factor\": 4.0", "\"factor\": \"4\"", BAD, {CONFIG, "rope_scaling.factor", "\"4\""}},
    {CONFIG, "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 0", BAD, {CONFIG, "low_freq_factor", "0"}},
    {CONFIG, "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 4", BAD, {CONFIG, "high_freq_factor"}},
    {CONFIG, "\"high_freq_factor\": 4.0", "\"high_freq_factor\": []", BAD, {CONFIG, "high_freq_factor", "[]"}},
    {CONFIG,
     "\"original_max_position_embeddings\": 16",
     "\"original_max_position_embeddings\": -16",
     BAD,
     {CONFIG, "original_max_position_embeddings", "-16"}},
    {CONFIG,
     "\"rope_type\": \"llama3\",\n    \"factor\": 4.0",
     "\"type\": \"linear\", \"factor\": -4",
     BAD,
     {CONFIG, "rope_scaling.factor", "-4"}},
    {CONFIG, "\"rope_scaling\": {", "\"rope_scaling\": 4, \"other\": {", BAD, {CONFIG, "rope_scaling", "4"}},
    {CONFIG,
     "\"rope_type\": \"llama3\",\n    \"factor\": 4.0",
     "\"type\": \"yarn\"",
     BAD,
     {CONFIG, "rope_scaling.factor", "missing"}},
    {CONFIG,
     "\"rope_theta\": 10000.0",
     "\"rope_parameters\": {\"rope_theta\": 10000, \"rope_type\": \"default\"}",
     BAD,
     {CONFIG, "rope_scaling.rope_type", "rope_parameters"}},
    {CONFIG,
     "\"rope_scaling\": {",
     "\"rope_parameters\": {\"partial_rotary_factor\": 0.5,",
     UNS,
     {CONFIG, "rope_parameters.partial_rotary_factor", "0.5"}},
    {CONFIG, "_embeddings\": false", "_embeddings\": \"no\"", BAD, {CONFIG, "tie_word_embeddings", "\"no\""}},

    {CONFIG,
     "\"hidden_act\": \"silu\"",
     "\"layer_types\": [\"linear_attention\", \"full_attention\"]",
     UNS,
     {CONFIG, "layer_types", "linear_attention"}},

    /* the index */
    {INDEX, NULL, "", BAD, {INDEX, "line 1"}},
    {INDEX, NULL, "{}", BAD, {INDEX, "weight_map", "missing"}},
    {INDEX, NULL, "[1]", BAD, {INDEX, "one JSON object"}},
    {INDEX, NULL, "{\"weight_map\": {}}", BAD, {INDEX, "weight_map", "empty"}},
    {INDEX, NULL, "{\"weight_map\": []}", BAD, {INDEX, "weight_map", "[]"}},
    {INDEX, NULL, "{\"weight_map\": {\"a\": 1}}", BAD, {INDEX, "weight_map: a", "1"}},
    {INDEX, NULL, "{\"weight_map\": {\"a\": \"../x.safetensors\"}}", BAD, {INDEX, "weight_map: a", "../x"}},
    {INDEX, NULL, "{\"weight_map\": {\"a\": \"/etc/passwd\"}}", BAD, {INDEX, "weight_map: a", "/etc/passwd"}},
    {INDEX, NULL, "{\"weight_map\": {\"a\": \".safetensors\"}}", BAD, {INDEX, "weight_map: a"}},
    {INDEX, NULL, "{\"weight_map\": {\"a\": \"b.safetensors\"}}", BAD, {INDEX, "b.safetensors", "no such file"}},
    {INDEX, "\"lm_head.weight\": \"" ONE, "\"lm_head.weight\": \"" TWO, BAD, {INDEX, "lm_head.weight", TWO}},
    {INDEX, "\"lm_head.weight\"", "\"other.weight\"", BAD, {INDEX, "other.weight", "is not in"}},
    {INDEX, NULL, NULL, BAD, {INDEX, "missing", ONE}},

    /* files that are not there, or no such files */
    {TWO, NULL, NULL, BAD, {INDEX, TWO, "no such file"}},
    {TWO, NULL, "", BAD, {TWO, "empty"}},
    {TWO, NULL, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 105453888\n", BAD, {TWO, "git-lfs"}},
    {TWO, NULL, "<!DOCTYPE html>\n<html><head><title>Sign in</title>", BAD, {TWO, "a web page"}},

    /* the header */
    {ONE, "{\"__metadata__\"", "[\"__metadata__\"", BAD, {ONE, "header"}},
    {ONE, "{\"__metadata__\"", "{\"__metadata__", BAD, {ONE, "line 1"}},
    {ONE, "{\"format\":\"pt\"}", "7", BAD, {ONE, "__metadata__", "7"}},
    {ONE, "{\"format\":\"pt\"}", "{\"format\":7}", BAD, {ONE, "__metadata__", "7"}},
    {ONE, "\"model.embed_tokens.weight\"", "\"lm_head.weight\"", BAD, {ONE, "duplicate"}},
    {ONE, "\"lm_head.weight\"", "\"\"", BAD, {ONE, "tensor name", "\"\""}},
    {ONE, "\"lm_head.weight\"", "\"lm_head\\u0007\"", BAD, {ONE, "tensor name", "lm_head?"}},
    {ONE, "\"lm_head.weight\"", "\"a\\u0000b\"", BAD, {ONE, "line 1"}},
    {ONE, "\"lm_head.weight\":{", "\"lm_head.weight\":7,\"b\":{", BAD, {ONE, "lm_head.weight", "7"}},
    {ONE, "\"dtype\":\"BF16\",\"shape\":[96,32]", "\"shape\":[96,32]", BAD, {ONE, "lm_head.weight", "dtype"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":16", BAD, {ONE, "lm_head.weight: dtype", "16"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":\"BF17\"", UNS, {ONE, "lm_head.weight: dtype", "BF17"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":\"F32\"", BAD, {ONE, "lm_head.weight: data_offsets", "12288"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":\"F8_E4M3\"", BAD, {ONE, "lm_head.weight: data_offsets", "3072"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":\"U16\"", UNS, {ONE, "lm_head.weight: dtype", "U16"}},
    {ONE, "\"dtype\":\"BF16\"", "\"dtype\":\"I16\"", UNS, {ONE, "lm_head.weight: dtype", "I16"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[96,31]", BAD, {ONE, "lm_head.weight: data_offsets", "5952"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[32,96]", BAD, {ONE, "lm_head.weight", "96"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[3072]", BAD, {ONE, "lm_head.weight", "3072"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[2,2,2,384]", BAD, {ONE, "lm_head.weight: shape"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[1,1,1,1,1,1,1,96,32]", UNS, {ONE, "lm_head.weight: shape", "9"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[-96,-32]", BAD, {ONE, "lm_head.weight: shape", "-96"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[96.0,32]", BAD, {ONE, "lm_head.weight: shape", "96.0"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":\"96,32\"", BAD, {ONE, "lm_head.weight: shape", "96,32"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[4294967296,4294967296]", BAD, {ONE, "lm_head.weight", "far more"}},
    {ONE, "\"shape\":[96,32]", "\"shape\":[0,32]", BAD, {ONE, "lm_head.weight: data_offsets", "0 of BF16"}},
    {ONE, "\"shape\":[96,32],", "", BAD, {ONE, "lm_head.weight: shape", "missing"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[0]", BAD, {ONE, "lm_head.weight: data_offsets", "[0]"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":7", BAD, {ONE, "lm_head.weight: data_offsets", "7"}},
    {ONE,
     "\"data_offsets\":[0,6144]",
     "\"data_offsets\":[6144,0]",
     BAD,
     {ONE, "lm_head.weight: data_offsets", "order"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[-1,6143]", BAD, {ONE, "lm_head.weight: data_offsets", "-1"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[\"0\",6144]", BAD, {ONE, "data_offsets", "\"0\""}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[64,6208]", BAD, {ONE, "data_offsets", "64"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[6144,12288]", BAD, {ONE, "data_offsets", "nobody has"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offsets\":[0,99999999]", BAD, {ONE, "data_offsets", "99999999"}},
    {ONE,
     "\"data_offsets\":[6144,12288]",
     "\"data_offsets\":[9223372036854769663,9223372036854775807]",
     BAD,
     {ONE, "model.embed_tokens.weight", "truncated"}},
    {ONE, "\"data_offsets\":[0,6144]", "\"data_offset\":[0,6144]", BAD, {ONE, "data_offsets", "missing"}},
    {ONE, "lm_head.weight", "lm_hood.weight", BAD, {INDEX, "lm_head.weight"}},

    /* beside the weights */
    {"generation_config.json",
     NULL,
     "{\"temperature\": \"hot\"}",
     BAD,
     {"generation_config.json", "temperature", "hot"}},
    {"generation_config.json", NULL, "{", BAD, {"generation_config.json", "line 1"}},
    {"tokenizer_config.json", NULL, "{\"chat_template\": 7}", BAD, {"tokenizer_config.json", "chat_template", "7"}},
    {"tokenizer_config.json", NULL, "{\"chat_template\": [7]}", BAD, {"tokenizer_config.json", "chat_template", "7"}},
    {"tokenizer_config.json", NULL, "x", BAD, {"tokenizer_config.json", "line 1"}},
};

static void check_damages(const char *source, const struct damage *list, size_t count) {
    char *path = folder_copy(source);
    for (size_t i = 0; i < count; i++) {
        const struct damage *damage = &list[i];
        if (!folder_patch(path, damage->file, damage->find, damage->put)) fail_msg("damage %zu does nothing", i);
        enum clinfer_status status = open_model(path);
        bool named = true;
        for (int k = 0; k < 3; k++) named = named && (!damage->named[k] || strstr(clinfer_error(), damage->named[k]));
        if (status != damage->status || !named)
            fail_msg("damage %zu of %s (%s): status %d, \"%s\"; expected %d, \"%s\", \"%s\", \"%s\"", i, damage->file,
                     damage->put ? damage->put : "removed", (int)status, clinfer_error(), (int)damage->status,
                     damage->named[0], damage->named[1], damage->named[2] ? damage->named[2] : "");
        folder_restore(path, source, damage->file);
    }
    folder_remove(path);
}

static const char gpt_oss[] = "tests/data/folders/gpt_oss";
#define WEIGHTS "model.safetensors"

/* Experts in MXFP4 come in two tensors, codes and exponents. */
static const struct damage expert_damages[] = {
    {CONFIG, "\"mxfp4\"", "\"gptq\"", UNS, {CONFIG, "quantization_config", "mxfp4"}},
    {CONFIG, "\"quant_method\": \"mxfp4\"", "\"bits\": 4", UNS, {CONFIG, "quantization_config", "mxfp4"}},
    {CONFIG, "\"swiglu_limit\": 7.0", "\"swiglu_limit\": 9.0", UNS, {CONFIG, "swiglu_limit", "9.0"}},
    {WEIGHTS,
     "model.layers.1.mlp.experts.down_proj_scales",
     "model.layers.1.mlp.experts.down_proj_scalez",
     BAD,
     {WEIGHTS, "model.layers.1.mlp.experts.down_proj_blocks", "down_proj_scales: is missing"}},
    {WEIGHTS,
     "model.layers.0.mlp.experts.gate_up_proj_blocks\":{\"dtype\":\"U8\",\"shape\":[4,128,1,16]",
     "model.layers.0.mlp.experts.gate_up_proj_blocks\":{\"dtype\":\"U8\",\"shape\":[4,128,2,8]",
     BAD,
     {WEIGHTS, "model.layers.0.mlp.experts.gate_up_proj_blocks", "[..., blocks, 16]"}},
    {WEIGHTS,
     "model.layers.0.mlp.experts.gate_up_proj_blocks\":{\"dtype\":\"U8\"",
     "model.layers.0.mlp.experts.gate_up_proj_blocks\":{\"dtype\":\"I8\"",
     BAD,
     {WEIGHTS, "model.layers.0.mlp.experts.gate_up_proj_blocks", "U8"}},
};

static void test_experts_in_mxfp4_are_one_tensor_or_refused(void **state) {
    (void)state;
    struct ci_gguf *gguf;
    assert_ok(ci_source_open(gpt_oss, "q8_0", &gguf));
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.attn_q.weight")->type, 8);
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.ffn_down_exps.weight")->type, 39); /* stays MXFP4 */
    assert_int_equal(ci_gguf_find_tensor(gguf, "blk.0.ffn_up_exps.bias")->type, 0);
    ci_gguf_close(gguf);
    check_damages(gpt_oss, expert_damages, sizeof expert_damages / sizeof *expert_damages);
}

static void test_damage_is_refused_by_file_field_and_value(void **state) {
    (void)state;
    size_t count = sizeof damages / sizeof *damages;
    assert_true(count >= 120);
    check_damages(llama, damages, count);
}

/* Wherever a file ends too early, it is refused by name; never read beyond. */
static void test_cut_files_are_refused(void **state) {
    (void)state;
    size_t size;
    char *path = folder_copy(llama), *data = folder_read(path, ONE, &size);
    for (size_t length = 0; length < size; length += length < 16 ? 1 : 2311) {
        folder_write(path, ONE, data, length);
        assert_int_equal(open_model(path), CLINFER_BAD_FILE);
        assert_message(ONE);
    }
    free(data);
    folder_remove(path);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_folder_has_ggufs_names),
        cmocka_unit_test(test_any_of_its_files_names_a_folder),
        cmocka_unit_test(test_matrices_are_quantised_and_norms_are_not),
        cmocka_unit_test(test_other_files_say_how_to_sample_and_to_chat),
        cmocka_unit_test(test_matrices_that_stay_as_they_are_are_told_of),
        cmocka_unit_test(test_fields_that_nobody_knows_are_findings),
        cmocka_unit_test(test_windows_that_a_family_has_not_are_told_of),
        cmocka_unit_test(test_pooling_is_what_the_model_wants_or_refused),
        cmocka_unit_test(test_longrope_is_read_wherever_it_stands),
        cmocka_unit_test(test_looking_at_converted_weights_leaves_them),
        cmocka_unit_test(test_damage_is_refused_by_file_field_and_value),
        cmocka_unit_test(test_experts_in_mxfp4_are_one_tensor_or_refused),
        cmocka_unit_test(test_cut_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
