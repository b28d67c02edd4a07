/* Texts as vectors: a tiny BERT, made here, whose rows see each other, and a model that writes text. Its numbers are
 * held to llama.cpp's by test_families.c; here is what is made of them. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <clinfer.h>

#include "format/gguf.h"
#include "support/asserts.h"
#include "support/gguf_writer.h"
#include "support/model.h"
#include "support/tiny_model.h"

enum { WIDTH = 32, FF = 64, CONTEXT = 64, F32 = 0 };

static const char *const words[] = {"[PAD]",
                                    "[UNK]",
                                    "[CLS]",
                                    "[SEP]",
                                    "\342\226\201the",
                                    "\342\226\201sky",
                                    "\342\226\201is",
                                    "\342\226\201blue",
                                    "s",
                                    "\342\226\201.",
                                    "<PRE>",
                                    "<SUF>",
                                    "<MID>"};
enum { ALL_WORDS = sizeof words / sizeof *words, WORDS = 10, CLS = 2, SEP = 3, THE = 4, SKY, IS, BLUE, S };
enum { PRE = WORDS, SUF, MID };

static char path[] = "/tmp/clinfer_embed_XXXXXX";

static void vector(struct gguf_writer *writer, const char *name, uint64_t size) {
    gguf_writer_random(writer, name, F32, size, 0, 0.5f);
}

enum { LABELS = 2 };
static bool with_head, with_gaps;

static void write_bert(int32_t pooling) {
    static const int32_t types[ALL_WORDS] = {3, 1, 3, 3, 1, 1, 1, 1, 1, 1, 3, 3, 3};
    const uint64_t count = with_gaps ? ALL_WORDS : WORDS;
    struct gguf_writer *w = gguf_writer_create();
    gguf_writer_string(w, "general.architecture", "bert");
    gguf_writer_u32(w, "bert.context_length", CONTEXT);
    gguf_writer_u32(w, "bert.embedding_length", WIDTH);
    gguf_writer_u32(w, "bert.feed_forward_length", FF);
    gguf_writer_u32(w, "bert.block_count", 1);
    gguf_writer_u32(w, "bert.attention.head_count", 2);
    gguf_writer_f32(w, "bert.attention.layer_norm_epsilon", 1e-12f);
    gguf_writer_bool(w, "bert.attention.causal", false);
    if (pooling >= 0) gguf_writer_u32(w, "bert.pooling_type", (uint32_t)pooling);
    gguf_writer_string(w, "tokenizer.ggml.model", "bert");
    gguf_writer_strings(w, "tokenizer.ggml.tokens", words, count);
    gguf_writer_array(w, "tokenizer.ggml.token_type", CI_GGUF_INT32, types, count);
    gguf_writer_u32(w, "tokenizer.ggml.unknown_token_id", 1);
    gguf_writer_u32(w, "tokenizer.ggml.cls_token_id", CLS);
    gguf_writer_u32(w, "tokenizer.ggml.seperator_token_id", SEP);
    gguf_writer_u32(w, "tokenizer.ggml.token_type_count", 2);
    gguf_writer_random(w, "token_embd.weight", F32, WIDTH, count, 0.5f);
    gguf_writer_random(w, "token_types.weight", F32, WIDTH, 2, 0.5f);
    gguf_writer_random(w, "position_embd.weight", F32, WIDTH, CONTEXT, 0.5f);
    vector(w, "token_embd_norm.weight", WIDTH);
    vector(w, "token_embd_norm.bias", WIDTH);
    static const struct {
        const char *name;
        uint64_t cols, rows;
    } tensors[] = {{"attn_q", WIDTH, WIDTH},       {"attn_k", WIDTH, WIDTH},       {"attn_v", WIDTH, WIDTH},
                   {"attn_output", WIDTH, WIDTH},  {"ffn_up", WIDTH, FF},          {"ffn_down", FF, WIDTH},
                   {"attn_output_norm", WIDTH, 0}, {"layer_output_norm", WIDTH, 0}};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.0.%s.weight", tensors[i].name);
        gguf_writer_random(w, name, F32, tensors[i].cols, tensors[i].rows, 0.5f);
        snprintf(name, sizeof name, "blk.0.%s.bias", tensors[i].name);
        vector(w, name, tensors[i].rows ? tensors[i].rows : tensors[i].cols);
    }
    if (with_head) {
        gguf_writer_random(w, "cls.weight", F32, WIDTH, WIDTH, 0.5f);
        vector(w, "cls.bias", WIDTH);
        gguf_writer_random(w, "cls.output.weight", F32, WIDTH, LABELS, 0.5f);
        vector(w, "cls.output.bias", LABELS);
    }
    gguf_writer_save(w, path);
    gguf_writer_destroy(w);
}

static clinfer_engine *open_engine(const char *model, const char *device, bool embeddings, clinfer_session **session) {
    struct clinfer_engine_options options = test_engine_options(model, device);
    struct clinfer_session_options of_session;
    options.context = 0;
    options.batch = 4; /* an encoder's text is one step all the same */
    options.embeddings = embeddings;
    options.key_type = options.value_type = CLINFER_CACHE_F32;
    clinfer_engine *engine = test_engine_open(&options);
    clinfer_session_options_default(engine, &of_session);
    assert_ok(clinfer_session_create(engine, &of_session, session));
    return engine;
}

static void close_engine(clinfer_engine *engine, clinfer_session *session) {
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

static double distance(const float *a, const float *b) {
    double sum = 0;
    for (int i = 0; i < WIDTH; i++) sum += fabs((double)a[i] - (double)b[i]);
    return sum;
}

static const int32_t text[] = {CLS, THE, SKY, IS, BLUE, SEP}, other[] = {CLS, THE, SKY, IS, S, SEP};
enum { COUNT = sizeof text / sizeof *text };

static void check_poolings(clinfer_session *session) {
    float rows[COUNT][WIDTH], of_other[COUNT][WIDTH], pooled[WIDTH], mean[WIDTH] = {0};
    assert_ok(clinfer_logits(session, text, COUNT, true, rows[0]));
    assert_ok(clinfer_logits(session, other, COUNT, true, of_other[0]));
    assert_true(distance(rows[0], of_other[0]) > 1e-3); /* the first row sees the last but one */
    for (int i = 0; i < WIDTH; i++)
        for (int row = 0; row < COUNT; row++) mean[i] += rows[row][i] / COUNT;
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_CLS, pooled));
    assert_true(distance(pooled, rows[0]) < 1e-4);
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_LAST, pooled));
    assert_true(distance(pooled, rows[COUNT - 1]) < 1e-4);
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_MEAN, pooled));
    assert_true(distance(pooled, mean) < 1e-4);
    assert_int_equal(clinfer_embed(session, text, COUNT, (enum clinfer_pooling)7, pooled), CLINFER_INVALID_ARGUMENT);
}

static void test_rows_of_an_encoder_see_each_other_and_are_pooled(void **state) {
    (void)state;
    float vectors[2][WIDTH];
    write_bert(2);
    const char *const *devices = test_devices();
    for (int i = 0; devices[i]; i++) {
        clinfer_session *session;
        clinfer_engine *engine = open_engine(path, devices[i], false, &session);
        struct clinfer_engine_info info;
        clinfer_engine_get_info(engine, &info);
        assert_true(info.encoder && info.pooling_is_said && info.pooling == CLINFER_POOLING_CLS);
        assert_int_equal(info.outputs, WIDTH);
        check_poolings(session);
        assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_MEAN, vectors[i > 0]));
        assert_true(distance(vectors[0], vectors[i > 0]) < 1e-3); /* the CPU's */
        close_engine(engine, session);
    }
    unlink(path);
}

static void test_a_text_has_its_marks_and_an_encoder_writes_none(void **state) {
    (void)state;
    write_bert(-1);
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", false, &session);
    struct clinfer_engine_info info;
    clinfer_engine_get_info(engine, &info);
    assert_true(!info.pooling_is_said && info.pooling == CLINFER_POOLING_MEAN);
    int32_t *tokens;
    size_t count;
    assert_ok(clinfer_tokenize_whole(engine, "The sky is blue", 15, &tokens, &count));
    assert_int_equal(count, COUNT);
    assert_memory_equal(tokens, text, sizeof text);
    const struct clinfer_request request = {.tokens = tokens, .count = count, .max_tokens = 4};
    struct clinfer_result result;
    assert_int_equal(clinfer_generate(session, &request, &result), CLINFER_UNSUPPORTED);
    assert_message("clinfer embed");
    clinfer_free(tokens);
    close_engine(engine, session);
    write_bert(4);
    struct clinfer_engine_options options = test_engine_options(path, "cpu");
    options.context = 0;
    assert_int_equal(clinfer_engine_open(&options, &engine), CLINFER_BAD_FILE);
    assert_message("neither cls.weight nor cls.output.weight");
    unlink(path);
}

static void test_a_model_that_writes_makes_vectors_where_asked(void **state) {
    (void)state;
    static const int32_t tokens[] = {1, 5, 9};
    static const char tiny[] = "tests/data/llama_tiny.gguf";
    clinfer_session *session;
    struct clinfer_engine_info info;
    clinfer_engine *engine = open_engine(tiny, "cpu", true, &session);
    clinfer_engine_get_info(engine, &info);
    assert_true(!info.encoder && info.outputs < info.vocabulary && info.pooling == CLINFER_POOLING_LAST);
    float *rows = calloc(3 * (size_t)info.outputs, sizeof *rows), *last = calloc((size_t)info.outputs, sizeof *last);
    assert_true(rows && last);
    assert_ok(clinfer_logits(session, tokens, 3, true, rows));
    assert_ok(clinfer_embed(session, tokens, 3, CLINFER_POOLING_LAST, last));
    for (int i = 0; i < info.outputs; i++) assert_true(fabsf(last[i] - rows[2 * info.outputs + i]) < 1e-5f);
    close_engine(engine, session);
    engine = open_engine(tiny, "cpu", false, &session);
    assert_int_equal(clinfer_embed(session, tokens, 3, CLINFER_POOLING_LAST, last), CLINFER_INVALID_ARGUMENT);
    assert_message("embeddings");
    close_engine(engine, session);
    free(rows);
    free(last);
}

static int make_path(void **state) {
    (void)state;
    int file = mkstemp(path);
    return file < 0 ? -1 : close(file);
}

/* ---- dense layers behind the pooling ---- */

static const char gemma_keys[] = "embedding_length=32 attention.sliding_window=10 dense_2_feat_in=32 "
                                 "dense_2_feat_out=64 dense_3_feat_in=64 dense_3_feat_out=32";
static const struct tiny_model plain = {"plain", "gemma-embedding", .keys = gemma_keys};
static const struct tiny_model denser = {"dense", "gemma-embedding", .keys = gemma_keys, .optional = "dense_*.weight"};

/* [1, 32] of three tokens, as the model gives it. */
static void embed_tiny(const struct tiny_model *model, float vector[32]) {
    static const int32_t tokens[] = {3, 17, 9};
    tiny_model_write(model, path);
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", true, &session);
    assert_ok(clinfer_embed(session, tokens, 3, CLINFER_POOLING_MEAN, vector));
    clinfer_session_destroy(session);
    clinfer_engine_close(engine);
}

/* y = x w^T of the file that was written last. */
static void multiply(const char *name, const float *x, int cols, float *y, int rows) {
    struct ci_gguf *gguf;
    assert_ok(ci_gguf_open(path, &gguf));
    const float *w = ci_gguf_find_tensor(gguf, name)->data;
    for (int row = 0; row < rows; row++) {
        double sum = 0;
        for (int i = 0; i < cols; i++) sum += (double)x[i] * (double)w[row * cols + i];
        y[row] = (float)sum;
    }
    ci_gguf_close(gguf);
}

static void test_dense_layers_come_behind_the_pooling(void **state) {
    (void)state;
    float before[32], wide[64], expected[32], found[32];
    embed_tiny(&plain, before);
    embed_tiny(&denser, found);
    multiply("dense_2.weight", before, 32, wide, 64);
    multiply("dense_3.weight", wide, 64, expected, 32);
    for (int i = 0; i < 32; i++) assert_float_equal(found[i], expected[i], 1e-4f);
}

/* ---- scores ---- */

static void add(const char *name, float *y, int rows) {
    struct ci_gguf *gguf;
    assert_ok(ci_gguf_open(path, &gguf));
    const float *bias = ci_gguf_find_tensor(gguf, name)->data;
    for (int i = 0; i < rows; i++) y[i] += bias[i];
    ci_gguf_close(gguf);
}

static void test_a_head_scores_the_first_row(void **state) {
    (void)state;
    float rows[COUNT][WIDTH], dense[WIDTH], expected[LABELS], scores[LABELS];
    with_head = true;
    write_bert(4);
    with_head = false;
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", false, &session);
    struct clinfer_engine_info info;
    clinfer_engine_get_info(engine, &info);
    assert_int_equal(info.pooling, CLINFER_POOLING_RANK);
    assert_int_equal(info.scores, LABELS);
    assert_int_equal(info.embedding, WIDTH);
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_NONE, rows[0]));
    multiply("cls.weight", rows[0], WIDTH, dense, WIDTH);
    add("cls.bias", dense, WIDTH);
    for (int i = 0; i < WIDTH; i++) dense[i] = tanhf(dense[i]);
    multiply("cls.output.weight", dense, WIDTH, expected, LABELS);
    add("cls.output.bias", expected, LABELS);
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_RANK, scores));
    for (int i = 0; i < LABELS; i++) assert_float_equal(scores[i], expected[i], 1e-4f);
    assert_true(fabsf(scores[0] - scores[1]) > 1e-3f);
    close_engine(engine, session);
    write_bert(2);
    engine = open_engine(path, "cpu", false, &session);
    assert_int_equal(clinfer_embed(session, text, COUNT, CLINFER_POOLING_RANK, scores), CLINFER_INVALID_ARGUMENT);
    assert_message("scores no texts");
    close_engine(engine, session);
}

static void test_a_pair_has_a_mark_between_its_texts(void **state) {
    (void)state;
    static const int32_t expected[] = {CLS, THE, SKY, SEP, IS, BLUE};
    const struct clinfer_pair pair = {"The sky", "is blue", 7, 7};
    write_bert(2);
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", false, &session);
    int32_t *tokens;
    size_t count;
    assert_ok(clinfer_tokenize_pair(engine, &pair, &tokens, &count));
    assert_int_equal(count, sizeof expected / sizeof *expected);
    assert_memory_equal(tokens, expected, sizeof expected);
    clinfer_free(tokens);
    assert_int_equal(clinfer_tokenize_pair(engine, NULL, &tokens, &count), CLINFER_INVALID_ARGUMENT);
    const struct clinfer_infill infill = {.prefix = "The", .suffix = "blue"};
    assert_int_equal(clinfer_infill_tokens(engine, &infill, &tokens, &count), CLINFER_UNSUPPORTED);
    assert_message("no token that marks the prefix");
    close_engine(engine, session);
}

static void test_a_gap_is_filled_between_marks(void **state) {
    (void)state;
    static const int32_t expected[] = {CLS, PRE, THE, SKY, SUF, BLUE, MID}, swapped[] = {CLS, SUF, BLUE, PRE, THE, MID},
                         cut[] = {CLS, PRE, IS, IS, IS, SUF, MID};
    with_gaps = true;
    write_bert(2);
    with_gaps = false;
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", false, &session);
    const struct {
        struct clinfer_infill infill;
        const int32_t *tokens;
        size_t count;
    } cases[] = {{{.prefix = "The", .suffix = "blue", .prompt = "sky"}, expected, 7},
                 {{.prefix = "The", .suffix = "blue", .suffix_first = true}, swapped, 6},
                 {{.prefix = "The is is is", .suffix = "blue", .room = 4}, cut, 7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t *tokens;
        size_t count;
        assert_ok(clinfer_infill_tokens(engine, &cases[i].infill, &tokens, &count));
        assert_int_equal(count, cases[i].count);
        assert_memory_equal(tokens, cases[i].tokens, count * sizeof *tokens);
        clinfer_free(tokens);
    }
    /* What another file says comes before all that, behind a mark in plain text where the vocabulary has none. */
    const struct clinfer_infill_file file = {"sky.c", "sky is"};
    const struct clinfer_infill with_file = {
        .prefix = "The", .suffix = "blue", .files = &file, .file_count = 1, .room = 8};
    int32_t *tokens;
    size_t count;
    assert_ok(clinfer_infill_tokens(engine, &with_file, &tokens, &count));
    assert_true(count > 8);
    assert_int_equal(tokens[count - 7], SKY);
    assert_int_equal(tokens[count - 6], IS);
    assert_memory_equal(tokens + count - 5, ((int32_t[]){CLS, PRE, THE, SUF, MID}), 5 * sizeof *tokens);
    clinfer_free(tokens);
    close_engine(engine, session);
}

/* ---- many at once ---- */

enum { TEXTS = 6, THREADS = 4 };

struct request {
    clinfer_engine *engine;
    int left; /* steps before it has enough; -1: never */
    enum clinfer_status status;
    float vectors[TEXTS][WIDTH];
    pthread_t thread;
};

static bool goes_on(void *user) {
    struct request *request = user;
    return request->left < 0 || request->left-- > 0;
}

static void *embed_all(void *user) {
    struct request *request = user;
    struct clinfer_tokens texts[TEXTS];
    for (int i = 0; i < TEXTS; i++) texts[i] = (struct clinfer_tokens){i % 2 ? other : text, COUNT};
    request->status =
        clinfer_embed_all(request->engine, texts, TEXTS, CLINFER_POOLING_MEAN, goes_on, request, request->vectors[0]);
    return NULL;
}

static void test_many_texts_from_several_threads(void **state) {
    (void)state;
    struct request requests[THREADS];
    float expected[2][WIDTH];
    write_bert(2);
    clinfer_session *session;
    clinfer_engine *engine = open_engine(path, "cpu", false, &session);
    assert_ok(clinfer_embed(session, text, COUNT, CLINFER_POOLING_MEAN, expected[0]));
    assert_ok(clinfer_embed(session, other, COUNT, CLINFER_POOLING_MEAN, expected[1]));
    for (int i = 0; i < THREADS; i++) {
        requests[i] = (struct request){.engine = engine, .left = i == 0 ? 0 : -1};
        assert_int_equal(pthread_create(&requests[i].thread, NULL, embed_all, &requests[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(requests[i].thread, NULL);
        assert_int_equal(requests[i].status, i == 0 ? CLINFER_CANCELLED : CLINFER_OK);
        for (int k = 0; k < (i == 0 ? 0 : TEXTS); k++)
            assert_true(distance(requests[i].vectors[k], expected[k % 2]) < 1e-5);
    }
    /* Texts of all lengths, more than one step holds, all their rows. */
    enum { LONG = 21, LONGEST = 13 };
    struct clinfer_tokens many[LONG];
    int32_t ids[LONGEST];
    float *all = calloc(LONG * LONGEST * WIDTH, sizeof *all), *at = all, alone[LONGEST][WIDTH];
    for (int i = 0; i < LONGEST; i++) ids[i] = CLS + i % (WORDS - CLS);
    for (int i = 0; i < LONG; i++) many[i] = (struct clinfer_tokens){ids, (size_t)(1 + i % LONGEST)};
    struct clinfer_engine_stats before, after;
    clinfer_engine_get_stats(engine, &before);
    assert_ok(clinfer_embed_all(engine, many, LONG, CLINFER_POOLING_NONE, NULL, NULL, all));
    clinfer_engine_get_stats(engine, &after);
    assert_true(after.steps - before.steps < LONG / 2);
    for (int i = 0; i < LONG; i++) {
        assert_ok(clinfer_embed(session, ids, many[i].count, CLINFER_POOLING_NONE, alone[0]));
        for (size_t row = 0; row < many[i].count; row++, at += WIDTH) assert_true(distance(at, alone[row]) < 1e-4);
    }
    free(all);
    static const int32_t outside[] = {CLS, WORDS};
    const struct clinfer_tokens texts[] = {{text, COUNT}, {outside, 2}};
    assert_int_equal(clinfer_embed_all(engine, texts, 2, CLINFER_POOLING_MEAN, NULL, NULL, requests[0].vectors[0]),
                     CLINFER_INVALID_ARGUMENT);
    assert_message("text 1: token 1 is 10");
    close_engine(engine, session);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_head_scores_the_first_row),
        cmocka_unit_test(test_a_pair_has_a_mark_between_its_texts),
        cmocka_unit_test(test_a_gap_is_filled_between_marks),
        cmocka_unit_test(test_many_texts_from_several_threads),
        cmocka_unit_test(test_rows_of_an_encoder_see_each_other_and_are_pooled),
        cmocka_unit_test(test_a_text_has_its_marks_and_an_encoder_writes_none),
        cmocka_unit_test(test_a_model_that_writes_makes_vectors_where_asked),
        cmocka_unit_test(test_dense_layers_come_behind_the_pooling),
    };
    return cmocka_run_group_tests_name("embed", tests, make_path, NULL);
}
