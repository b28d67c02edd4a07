/* Every type that a file may have, of matrices and of vectors, from the file to the logits: a tiny model whose matrices
 * are of that type gives the logits of the one that has the same numbers as f32. On the CPU backend; what OpenCL makes
 * of a type is for the tests of its kernels. Of the types of matrices a part is drawn (support/sampling.h). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#include "base/random.h"
#include "support/gguf_writer.h"
#include "support/model.h"
#include "support/process.h"
#include "support/sampling.h"
#include "types/type.h"

enum { WIDTH = 256, VOCABULARY = 16, TOKENS = 5, ONE_IN = 4, MOST_COLS = 1024, MOST_VOCABULARY = 1024 };

static const struct ci_type *const types[] = {
#define CI_TYPE(symbol) &ci_type_##symbol,
#include "types/type_list.inc"
#undef CI_TYPE
};
enum { TYPES = sizeof types / sizeof *types };

/* A matrix of this type with numbers of about `size`, as it is or as floats. */
static void put_matrix(struct gguf_writer *writer, const char *name, const struct ci_type *type, uint64_t rows,
                       float size, bool as_floats, uint64_t *random) {
    size_t count = (size_t)rows * WIDTH, blocks = count / (size_t)type->block_cols, bytes = (size_t)type->block_bytes;
    uint64_t dims[2] = {WIDTH, rows};
    float *values = malloc(count * sizeof *values);
    uint8_t *stored = malloc(blocks * bytes);
    assert_true(values && stored);
    for (size_t i = 0; i < count; i++) values[i] = size * (2 * ci_random_float(random) - 1);
    if (type->quantise) {
        type->quantise(values, stored, (int64_t)blocks);
    } else {
        for (size_t i = 0; i < blocks * bytes; i++) stored[i] = (uint8_t)(ci_random(random) >> 56);
        for (size_t b = 0; b < blocks; b++) type->set_size(stored + b * bytes, size / 2);
    }
    type->dequantise(stored, values, (int64_t)blocks);
    gguf_writer_tensor(writer, name, as_floats ? 0 : (uint32_t)type->gguf_id, 2, dims,
                       as_floats ? (const void *)values : stored);
    free(values);
    free(stored);
}

/* The path of the file. */
static const char *write_model(const struct ci_type *type, bool as_floats) {
    static const char *const matrices[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                           "ffn_gate", "ffn_up", "ffn_down"};
    static const char *const norms[] = {"blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"};
    char letters[VOCABULARY][2] = {{0}};
    const char *tokens[VOCABULARY];
    uint64_t random = 5;
    struct gguf_writer *writer = gguf_writer_create();
    gguf_writer_string(writer, "general.architecture", "llama");
    gguf_writer_u32(writer, "llama.block_count", 1);
    gguf_writer_u32(writer, "llama.context_length", 64);
    gguf_writer_u32(writer, "llama.embedding_length", WIDTH);
    gguf_writer_u32(writer, "llama.feed_forward_length", WIDTH);
    gguf_writer_u32(writer, "llama.attention.head_count", 4);
    gguf_writer_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    for (int i = 0; i < VOCABULARY; i++) {
        letters[i][0] = (char)('a' + i);
        tokens[i] = letters[i];
    }
    gguf_writer_string(writer, "tokenizer.ggml.model", "gpt2");
    gguf_writer_string(writer, "tokenizer.ggml.pre", "gpt-2");
    gguf_writer_strings(writer, "tokenizer.ggml.tokens", tokens, VOCABULARY);
    gguf_writer_strings(writer, "tokenizer.ggml.merges", NULL, 0);
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) gguf_writer_random(writer, norms[i], 0, WIDTH, 0, 1);
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight", matrices[i]);
        put_matrix(writer, name, type, WIDTH, 0.1f, as_floats, &random);
    }
    put_matrix(writer, "token_embd.weight", type, VOCABULARY, 1, as_floats, &random);
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(writer, &size);
    const char *path = process_file(as_floats ? "floats.gguf" : "typed.gguf", bytes, size);
    gguf_writer_destroy(writer);
    return path;
}

static void read_logits(const char *path, enum clinfer_activations activations, float *logits) {
    static const int32_t prompt[TOKENS] = {1, 9, 4, 4, 15};
    struct clinfer_engine_options options = test_engine_options(path, "cpu");
    struct clinfer_session_options session_options;
    clinfer_session *session;
    options.activations = activations;
    options.all_logits = true;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session_options_default(engine, &session_options);
    if (clinfer_session_create(engine, &session_options, &session) != CLINFER_OK ||
        clinfer_logits(session, prompt, TOKENS, true, logits) != CLINFER_OK)
        fail_msg("%s: %s", path, clinfer_error());
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* The error of the squares, as a share. */
static double distance(const float *actual, const float *expected) {
    double error = 0, size = 0;
    for (int i = 0; i < TOKENS * VOCABULARY; i++) {
        double difference = (double)actual[i] - (double)expected[i];
        error += difference * difference;
        size += (double)expected[i] * (double)expected[i];
    }
    assert_true(size > 0);
    return error / size;
}

static void test_a_model_of_each_type_equals_its_floats(void **state) {
    (void)state;
    float expected[TOKENS * VOCABULARY], actual[TOKENS * VOCABULARY];
    int seen = 0;
    for (int t = 0; t < TYPES; t++) {
        if (types[t]->gguf_id == CI_TYPE_NOT_IN_FILES || !sampling_takes("types in a model", t, TYPES, ONE_IN))
            continue;
        read_logits(write_model(types[t], true), CLINFER_ACTIVATIONS_F32, expected);
        const char *path = write_model(types[t], false);
        read_logits(path, CLINFER_ACTIVATIONS_F32, actual);
        double exact = distance(actual, expected);
        read_logits(path, CLINFER_ACTIVATIONS_Q8, actual);
        double rounded = distance(actual, expected);
        if (!(exact < 1e-9)) fail_msg("%s: NMSE %g to the same numbers as floats", types[t]->name, exact);
        if (!(rounded < 1e-3)) fail_msg("%s: NMSE %g with rounded activations", types[t]->name, rounded);
        seen++;
    }
    assert_true(seen >= TYPES / ONE_IN - 1);
}

/* A copy of the file whose vectors are of this type, or what that leaves of their numbers as floats. */
static const char *with_vectors(const char *source, const struct ci_type *type, bool as_floats) {
    struct ci_gguf *gguf;
    struct gguf_writer *writer = gguf_writer_create();
    int vectors = 0;
    if (ci_gguf_open(source, &gguf) != CLINFER_OK) fail_msg("%s", clinfer_error());
    gguf_writer_copy_values(writer, gguf);
    for (size_t i = 0; i < ci_gguf_tensor_count(gguf); i++) {
        const struct ci_gguf_tensor *tensor = ci_gguf_tensor_at(gguf, i);
        int64_t count = (int64_t)tensor->dims[0];
        float numbers[MOST_COLS];
        uint8_t stored[sizeof numbers];
        if (tensor->n_dims > 1 || count % type->block_cols) {
            gguf_writer_tensor(writer, tensor->name, tensor->type, tensor->n_dims, tensor->dims, tensor->data);
            continue;
        }
        assert_true(tensor->type == 0 && count <= MOST_COLS);
        memcpy(numbers, tensor->data, tensor->bytes);
        type->quantise(numbers, stored, count / type->block_cols);
        type->dequantise(stored, numbers, count / type->block_cols);
        gguf_writer_tensor(writer, tensor->name, as_floats ? 0 : (uint32_t)type->gguf_id, 1, tensor->dims,
                           as_floats ? (const void *)numbers : stored);
        vectors++;
    }
    assert_true(vectors > 10);
    size_t size;
    const uint8_t *bytes = gguf_writer_bytes(writer, &size);
    const char *path = process_file(as_floats ? "floats.gguf" : "vectors.gguf", bytes, size);
    gguf_writer_destroy(writer);
    ci_gguf_close(gguf);
    return path;
}

/* Norms, biases, scales and frequency factors: these files have all that there are. */
static const char *const with_all[] = {"tests/data/llama_all_tiny.gguf", "tests/data/qwen2_all_tiny.gguf"};

static void test_vectors_of_halves_equal_their_floats(void **state) {
    (void)state;
    static const struct ci_type *const halves[] = {&ci_type_f16, &ci_type_bf16};
    static float expected[TOKENS * MOST_VOCABULARY], actual[TOKENS * MOST_VOCABULARY];
    for (int m = 0; m < 2; m++)
        for (int t = 0; t < 2; t++) {
            read_logits(with_vectors(with_all[m], halves[t], true), CLINFER_ACTIVATIONS_F32, expected);
            read_logits(with_vectors(with_all[m], halves[t], false), CLINFER_ACTIVATIONS_F32, actual);
            if (memcmp(actual, expected, sizeof actual) != 0)
                fail_msg("%s with vectors of %s gives other logits", with_all[m], halves[t]->name);
            assert_true(actual[0] != 0);
        }
}

static void test_vectors_of_blocks_are_refused(void **state) {
    (void)state;
    clinfer_engine *engine;
    struct clinfer_engine_options options = test_engine_options(with_vectors(with_all[0], &ci_type_q8_0, false), "cpu");
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_UNSUPPORTED);
    if (!strstr(clinfer_error(), "type Q8_0 where only F32, F16 and BF16 are supported"))
        fail_msg("%s", clinfer_error());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_model_of_each_type_equals_its_floats),
        cmocka_unit_test(test_vectors_of_halves_equal_their_floats),
        cmocka_unit_test(test_vectors_of_blocks_are_refused),
    };
    return cmocka_run_group_tests_name("every_type", tests, NULL, NULL);
}
