/* How positions become angles: what the keys of a family, its layers and the user's options make of the frequencies, of
 * their magnitude and of the context. The models are metadata and an embedding, of a family of the test's own; the
 * numbers of YaRN were computed by its paper's formulas. test_findings.c has how files say it. */
#include <math.h>
#include <stdio.h>

#include "model/decoder.h"
#include "support/asserts.h"
#include "support/gguf_writer.h"

enum { ROTATED = 16, PAIRS = ROTATED / 2, TRAINED = 256, F32 = 0 };

/* ---- a family: two layers, the second with a window ---- */

static enum clinfer_status derive(struct ci_model *model) {
    model->layers[1].rope_table = 1;
    return CLINFER_OK;
}

static void build(struct ci_builder *b) { ci_build_sampling(b, ci_build_output(b, ci_build_embedding(b))); }

static const struct ci_key_rule keys[] = {
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "rope.scaling.yarn_beta_fast", .use = CI_KEY_READ, .number = 32},
    {.key = "rope.scaling.yarn_beta_slow", .use = CI_KEY_READ, .number = 1},
    {.key = "rope.scaling.yarn_ext_factor", .use = CI_KEY_READ, .number = -1},
    {.key = "rope.scaling.yarn_log_multiplier", .use = CI_KEY_READ},
    {0},
};

static const struct ci_decoder scaled_decoder = {.rope_factors = true},
                               unscaled_decoder = {.window_scaling = CI_WINDOW_PLAIN},
                               learned_decoder = {.positions = true};
static const struct ci_family scaled = {
    .architecture = "scaled", .keys = keys, .decoder = &scaled_decoder, .derive = derive, .build = build};
static const struct ci_family unscaled = {
    .architecture = "unscaled", .keys = keys, .decoder = &unscaled_decoder, .derive = derive, .build = build};
static const struct ci_family learned = {
    .architecture = "learned", .keys = keys, .decoder = &learned_decoder, .derive = derive, .build = build};
static const struct ci_family *const families[] = {&scaled, &unscaled, &learned, NULL};

/* ---- its files ---- */

struct file {
    const char *architecture;
    struct gguf_writer *writer;
    struct ci_gguf *gguf;
    struct ci_model model;
    bool open;
};

static const char *key_of(const struct file *file, const char *key) {
    static char text[128];
    snprintf(text, sizeof text, "%s.%s", file->architecture, key);
    return text;
}

static void number(struct file *file, const char *key, float value) {
    gguf_writer_f32(file->writer, key_of(file, key), value);
}

static void whole(struct file *file, const char *key, uint32_t value) {
    gguf_writer_u32(file->writer, key_of(file, key), value);
}

static void type(struct file *file, const char *name) {
    gguf_writer_string(file->writer, key_of(file, "rope.scaling.type"), name);
}

static struct file start(const char *architecture) {
    struct file file = {.architecture = architecture, .writer = gguf_writer_create()};
    gguf_writer_string(file.writer, "general.architecture", architecture);
    whole(&file, "block_count", 2);
    whole(&file, "context_length", TRAINED);
    whole(&file, "embedding_length", 2 * ROTATED);
    whole(&file, "feed_forward_length", 1);
    whole(&file, "attention.head_count", 1);
    whole(&file, "rope.dimension_count", ROTATED);
    gguf_writer_random(file.writer, "token_embd.weight", F32, 2 * ROTATED, 4, 0.1f);
    return file;
}

static struct file start_yarn(const char *architecture) {
    struct file file = start(architecture);
    type(&file, "yarn");
    number(&file, "rope.scaling.factor", 4);
    whole(&file, "rope.scaling.original_context_length", TRAINED / 4);
    return file;
}

static enum clinfer_status open_file(struct file *file) {
    size_t size;
    if (file->open) return CLINFER_OK;
    const uint8_t *bytes = gguf_writer_bytes(file->writer, &size);
    assert_ok(ci_gguf_open_memory(bytes, size, "tiny.gguf", &file->gguf));
    enum clinfer_status status = ci_model_open_as(file->gguf, families, &file->model);
    file->open = status == CLINFER_OK;
    return status;
}

static void end(struct file *file) {
    if (file->open) ci_model_close(&file->model);
    ci_gguf_close(file->gguf);
    gguf_writer_destroy(file->writer);
}

static float frequency(const struct file *file, int table, int pair) {
    return ((const float *)file->model.rope[table].frequencies->host)[pair];
}

static void expect_table(const struct file *file, int table, const float expected[PAIRS], float magnitude) {
    for (int i = 0; i < PAIRS; i++)
        if (!(fabsf(frequency(file, table, i) - expected[i]) <= 2e-6f * expected[i]))
            fail_msg("table %d: frequency %d is %.9g, not %.9g", table, i, (double)frequency(file, table, i),
                     (double)expected[i]);
    if (!(fabsf(file->model.rope[table].magnitude - magnitude) <= 1e-6f))
        fail_msg("table %d: the magnitude is %.9g, not %.9g", table, (double)file->model.rope[table].magnitude,
                 (double)magnitude);
}

/* base 10000 */
static const float plain[PAIRS] = {1,     0.316227766f,   0.1f,   0.0316227766f,
                                   0.01f, 0.00316227766f, 0.001f, 0.000316227766f};
static const float quarter[PAIRS] = {0.25f,   0.0790569415f,   0.025f,   0.00790569415f,
                                     0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f};
static const float yarn[PAIRS] = {1,       0.237170825f,    0.05f,    0.00790569415f,
                                  0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f};
static const float yarn_8_2[PAIRS] = {1,       0.197642354f,    0.025f,   0.00790569415f,
                                      0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f};
static const float yarn_half[PAIRS] = {0.625f,  0.158113883f,    0.0375f,  0.00790569415f,
                                       0.0025f, 0.000790569415f, 0.00025f, 0.0000790569415f};
static const float yarn_2_128[PAIRS] = {1,      0.263523138f,   0.0666666667f, 0.0158113883f,
                                        0.005f, 0.00158113883f, 0.0005f,       0.000158113883f};
#define YARN_MAGNITUDE 1.13862944f /* 1 + 0.1 ln 4 */

static void divide(float out[PAIRS], const float by[PAIRS]) {
    for (int i = 0; i < PAIRS; i++) out[i] = plain[i] / by[i];
}

/* ---- what files say ---- */

static void test_yarn_follows_all_its_keys(void **state) {
    (void)state;
    struct file file = start_yarn("scaled");
    assert_ok(open_file(&file));
    expect_table(&file, 0, yarn, YARN_MAGNITUDE);
    assert_int_equal(file.model.hyper.original_context, TRAINED / 4);
    end(&file);
    file = start_yarn("scaled");
    number(&file, "rope.scaling.yarn_beta_fast", 8);
    number(&file, "rope.scaling.yarn_beta_slow", 2);
    assert_ok(open_file(&file));
    expect_table(&file, 0, yarn_8_2, YARN_MAGNITUDE);
    end(&file);
    file = start_yarn("scaled");
    number(&file, "rope.scaling.yarn_ext_factor", 0.5f);
    number(&file, "rope.scaling.yarn_log_multiplier", 0.5f);
    assert_ok(open_file(&file));
    expect_table(&file, 0, yarn_half, 1.06482163f);
    end(&file);
    file = start_yarn("scaled");
    number(&file, "rope.scaling.yarn_ext_factor", 0);
    number(&file, "rope.scaling.attn_factor", 1.5f);
    assert_ok(open_file(&file));
    expect_table(&file, 0, quarter, 1.5f);
    end(&file);
}

static void test_layers_with_a_window_have_a_table_of_their_own(void **state) {
    (void)state;
    float other[PAIRS];
    for (int i = 0; i < PAIRS; i++) other[i] = powf(100, -(float)i / PAIRS);
    struct file file = start_yarn("unscaled");
    number(&file, "rope.freq_base_swa", 100);
    assert_ok(open_file(&file));
    expect_table(&file, 0, yarn, YARN_MAGNITUDE);
    expect_table(&file, 1, other, 1);
    end(&file);
    file = start_yarn("scaled"); /* the same base and scaling as the others */
    assert_ok(open_file(&file));
    expect_table(&file, 1, yarn, YARN_MAGNITUDE);
    end(&file);
}

static void test_factors_of_longrope_go_by_the_context(void **state) {
    (void)state;
    static const float both[2][PAIRS] = {{1, 1.5f, 2, 2.5f, 3, 3.5f, 4, 4.5f}, {2, 3, 5, 7, 11, 13, 17, 19}};
    static const char *const names[] = {"rope_factors_short.weight", "rope_factors_long.weight"};
    static const struct {
        int context;
        bool far;
    } uses[] = {{0, true}, {64, false}, {65, true}, {1, false}, {TRAINED, true}};
    float divided[2][PAIRS];
    int context;
    for (int only = 0; only < 2; only++) {
        struct file file = start("scaled");
        gguf_writer_tensor(file.writer, names[only], F32, 1, (uint64_t[]){PAIRS}, both[only]);
        assert_int_equal(open_file(&file), CLINFER_BAD_FILE);
        assert_message(names[1 - only]);
        end(&file);
        divide(divided[only], both[only]);
    }
    struct file file = start("scaled");
    type(&file, "longrope");
    whole(&file, "rope.scaling.original_context_length", TRAINED / 4);
    number(&file, "rope.scaling.attn_factor", 1.25f);
    for (int i = 0; i < 2; i++) gguf_writer_tensor(file.writer, names[i], F32, 1, (uint64_t[]){PAIRS}, both[i]);
    assert_ok(open_file(&file));
    for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) {
        assert_ok(ci_model_set_context(&file.model, uses[i].context, NULL, &context));
        assert_int_equal(context, uses[i].context ? uses[i].context : TRAINED);
        expect_table(&file, 0, divided[uses[i].far], 1.25f);
    }
    end(&file);
}

/* ---- what users ask for ---- */

static const struct clinfer_rope_options unchanged = {.yarn_extrapolation = -1};

static void expect_context(struct file *file, const struct clinfer_rope_options *rope, int most) {
    int context = 0;
    assert_ok(open_file(file));
    assert_ok(ci_model_set_context(&file->model, most, rope, &context));
    assert_int_equal(context, most);
    assert_int_equal(file->model.hyper.context, most);
    assert_int_equal(ci_model_set_context(&file->model, most + 1, rope, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("--rope-scale");
    assert_ok(ci_model_set_context(&file->model, 0, rope, &context));
    assert_int_equal(context, most);
}

static void test_a_longer_context_is_refused_unless_it_is_stretched(void **state) {
    (void)state;
    struct file file = start("scaled");
    expect_context(&file, NULL, TRAINED);
    expect_context(&file, &unchanged, TRAINED);
    int context;
    assert_int_equal(ci_model_set_context(&file.model, 1000, NULL, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("tiny.gguf: a context of 1000 tokens: the model was made for 256");
    assert_message("--rope-scale 3.91");
    struct clinfer_rope_options rope = unchanged;
    rope.factor = 4;
    expect_context(&file, &rope, 4 * TRAINED);
    expect_table(&file, 0, quarter, 1);
    rope.original_context = 100;
    expect_context(&file, &rope, 400);
    end(&file);
    /* The file's own factor is in its context. */
    file = start_yarn("scaled");
    expect_context(&file, &unchanged, TRAINED);
    expect_table(&file, 0, yarn, YARN_MAGNITUDE);
    rope.original_context = 0;
    rope.factor = 8;
    expect_context(&file, &rope, 2 * TRAINED);
    rope.scaling = CLINFER_ROPE_NONE;
    expect_context(&file, &rope, TRAINED / 4);
    expect_table(&file, 0, plain, 1);
    end(&file);
}

static void test_options_count_before_the_file(void **state) {
    (void)state;
    struct clinfer_rope_options rope = unchanged;
    struct file file = start("scaled");
    int context;
    rope.scaling = CLINFER_ROPE_YARN;
    rope.factor = 2;
    rope.original_context = 128;
    expect_context(&file, &rope, TRAINED);
    expect_table(&file, 0, yarn_2_128, 1.06931472f);
    rope.yarn_magnitude = 2;
    expect_context(&file, &rope, TRAINED);
    expect_table(&file, 0, yarn_2_128, 2 * 1.06931472f);
    end(&file);
    file = start_yarn("scaled");
    assert_ok(open_file(&file));
    rope = unchanged;
    rope.yarn_beta_fast = 8;
    rope.yarn_beta_slow = 2;
    assert_ok(ci_model_set_context(&file.model, 0, &rope, &context));
    expect_table(&file, 0, yarn_8_2, YARN_MAGNITUDE);
    rope = unchanged;
    rope.yarn_extrapolation = 0;
    assert_ok(ci_model_set_context(&file.model, 0, &rope, &context));
    expect_table(&file, 0, quarter, 1);
    rope = unchanged;
    rope.scaling = CLINFER_ROPE_LINEAR;
    assert_ok(ci_model_set_context(&file.model, 0, &rope, &context));
    expect_table(&file, 0, quarter, 1);
    end(&file);
}

/* How far another base reaches nobody knows; layers with a window keep theirs. */
static void test_another_base_has_no_limit(void **state) {
    (void)state;
    struct clinfer_rope_options rope = unchanged;
    float other[PAIRS];
    for (int i = 0; i < PAIRS; i++) other[i] = powf(1e6f, -(float)i / PAIRS);
    struct file file = start("unscaled");
    int context;
    rope.freq_base = 1e6f;
    assert_ok(open_file(&file));
    assert_ok(ci_model_set_context(&file.model, 100 * TRAINED, &rope, &context));
    assert_int_equal(context, 100 * TRAINED);
    expect_table(&file, 0, other, 1);
    expect_table(&file, 1, other, 1); /* the same base, never stretched */
    assert_ok(ci_model_set_context(&file.model, 0, &rope, &context));
    assert_int_equal(context, TRAINED);
    rope.freq_base = 1e-20f;
    assert_int_equal(ci_model_set_context(&file.model, 0, &rope, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("--rope-freq-base 1e-20");
    end(&file);
    file = start("scaled");
    rope.freq_base = 1e6f;
    rope.scaling = CLINFER_ROPE_YARN;
    rope.factor = 4;
    assert_ok(open_file(&file));
    assert_ok(ci_model_set_context(&file.model, 0, &rope, &context));
    expect_table(&file, 1, plain, 1); /* as the file says it: what a window sees is near */
    end(&file);
}

/* A table of positions has as many rows as it has: nobody is told to stretch it, nor blamed for its size. */
static void test_learned_positions_cannot_be_stretched(void **state) {
    (void)state;
    struct clinfer_rope_options rope = unchanged;
    struct file file = start("learned");
    int context;
    assert_ok(open_file(&file));
    assert_ok(ci_model_set_context(&file.model, TRAINED, &rope, &context));
    assert_int_equal(ci_model_set_context(&file.model, TRAINED + 1, &rope, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("tiny.gguf: a context of 257 tokens: the model has learned 256 positions");
    assert_null(strstr(clinfer_error(), "--rope"));
    rope.factor = 2;
    assert_int_equal(ci_model_set_context(&file.model, 0, &rope, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("--rope-* and --yarn-* flags: models of the family learned");
    rope = unchanged;
    rope.freq_base = 1e6f;
    assert_int_equal(ci_model_set_context(&file.model, 0, &rope, &context), CLINFER_INVALID_ARGUMENT);
    assert_message("leave these flags out");
    end(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yarn_follows_all_its_keys),
        cmocka_unit_test(test_layers_with_a_window_have_a_table_of_their_own),
        cmocka_unit_test(test_factors_of_longrope_go_by_the_context),
        cmocka_unit_test(test_a_longer_context_is_refused_unless_it_is_stretched),
        cmocka_unit_test(test_options_count_before_the_file),
        cmocka_unit_test(test_another_base_has_no_limit),
        cmocka_unit_test(test_learned_positions_cannot_be_stretched),
    };
    return cmocka_run_group_tests_name("rope", tests, NULL, NULL);
}
