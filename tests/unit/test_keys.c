/* Keys of a file: what asks for more than there is, is refused with its value; what changes nothing is named; RoPE
 * scaling of every age is read as llama.cpp reads it. */
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

/* ---- keys ---- */

static void test_keys_that_ask_for_more_are_refused_with_their_value(void **state) {
    (void)state;
    static const char *const counts[] = {"expert_count", "expert_used_count", "expert_group_count"};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct tiny_file file = tiny_file_start("qwen2");
        gguf_writer_u32(file.writer, tiny_file_key(&file, counts[i]), 4);
        char expected[64];
        snprintf(expected, sizeof expected, "%s: 4: mixtures of experts", counts[i]);
        tiny_file_refused(&file, CLINFER_UNSUPPORTED, expected, "choose a dense model");
    }
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_bool(file.writer, "llama.attention.causal", false);
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "llama.attention.causal: false", "later tokens");
    file = tiny_file_start("llama");
    gguf_writer_string(file.writer, "llama.expert_count", "many");
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.expert_count: is of type string", "an integer");
    file = tiny_file_start("qwen2");
    gguf_writer_string(file.writer, "qwen2.expert_count", "many");
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "qwen2.expert_count: a string", "experts");
    file = tiny_file_start("llama");
    gguf_writer_u32(file.writer, "llama.expert_count", 4);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.expert_used_count: 0", "llama.expert_count 4");
    file = tiny_file_start("llama");
    gguf_writer_string(file.writer, "llama.rope.scaling.type", "dynamic");
    tiny_file_refused(&file, CLINFER_UNSUPPORTED, "llama.rope.scaling.type: \"dynamic\"", "not supported");
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
    struct tiny_file file = tiny_file_start("llama");
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) gguf_writer_f32(file.writer, keys[i].key, 0.5f);
    gguf_writer_u32(file.writer, "llama.attention.sliding_window", 4);
    gguf_writer_bool(file.writer, "llama.attention.causal", true);
    gguf_writer_u32(file.writer, "llama.expert_count", 0);
    assert_ok(tiny_file_open(&file));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].kind >= 0)
            tiny_file_has_finding(&file, keys[i].key, (enum ci_finding_kind)keys[i].kind);
        else
            assert_null(tiny_file_find(&file, keys[i].key));
    }
    tiny_file_has_finding(&file, "llama.attention.sliding_window", CI_FINDING_NO_EFFECT);
    assert_null(tiny_file_find(&file, "llama.attention.causal"));
    assert_null(tiny_file_find(&file, "llama.expert_count"));
    tiny_file_end(&file);
}

/* A number per layer, of a width of its own; *count 0: as many as layers. */
static struct tiny_file start_listed(const int32_t *heads, size_t count) {
    static const int64_t feed_forward[LAYERS] = {FF, FF};
    static const uint8_t kv_heads[LAYERS] = {1, 1};
    struct tiny_file file = tiny_file_begin("llama");
    gguf_writer_u32(file.writer, "llama.block_count", LAYERS);
    gguf_writer_array(file.writer, "llama.feed_forward_length", CI_GGUF_INT64, feed_forward, LAYERS);
    gguf_writer_array(file.writer, "llama.attention.head_count", CI_GGUF_INT32, heads, count);
    gguf_writer_array(file.writer, "llama.attention.head_count_kv", CI_GGUF_UINT8, kv_heads, LAYERS);
    for (int i = 0; i < LAYERS; i++) tiny_file_add_layer(&file, i);
    return file;
}

static void test_a_number_per_layer_is_taken(void **state) {
    (void)state;
    struct tiny_file file = start_listed((int32_t[]){HEADS, HEADS}, LAYERS);
    assert_ok(tiny_file_open(&file));
    assert_int_equal(file.model.layers[1].heads, HEADS);
    assert_int_equal(file.model.layers[1].kv_heads, 1);
    assert_int_equal(file.model.layers[1].feed_forward, FF);
    tiny_file_end(&file);
    file = start_listed((int32_t[]){HEADS, 0}, LAYERS);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.attention.head_count: 0 in layer 1", "between 1 and");
    file = start_listed((int32_t[]){HEADS, HEADS, HEADS}, 3);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.attention.head_count: 3 numbers for 2 layers", "");
    file = start_listed((int32_t[]){-1, -1}, LAYERS);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.attention.head_count: -1 in layer 0", "between 1 and");
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
        struct tiny_file file = tiny_file_start(architectures[k]);
        gguf_writer_u32(file.writer, tiny_file_key(&file, "attention.key_length"), HEAD);
        gguf_writer_u32(file.writer, tiny_file_key(&file, "attention.value_length"), HEAD);
        gguf_writer_bool(file.writer, tiny_file_key(&file, "attention.causal"), true);
        gguf_writer_u32(file.writer, tiny_file_key(&file, "rope.dimension_count"), HEAD);
        gguf_writer_f32(file.writer, tiny_file_key(&file, "rope.freq_base"), 10000);
        gguf_writer_string(file.writer, tiny_file_key(&file, "rope.scaling.type"), "linear");
        gguf_writer_f32(file.writer, tiny_file_key(&file, "rope.scaling.factor"), 0);
        gguf_writer_f32(file.writer, tiny_file_key(&file, "rope.scaling.attn_factor"), 1);
        gguf_writer_u32(file.writer, tiny_file_key(&file, "rope.scaling.original_context_length"), 128);
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            size_t which = 0;
            while (which < sizeof said / sizeof *said && strcmp(said[which], names[i]) != 0) which++;
            if (which == sizeof said / sizeof *said) gguf_writer_u32(file.writer, tiny_file_key(&file, names[i]), 0);
        }
        assert_ok(tiny_file_open(&file));
        for (const struct ci_finding *finding = file.model.findings; finding; finding = finding->next)
            if (finding->kind != CI_FINDING_NO_EFFECT) fail_msg("%s: %s", finding->name, finding->why);
        tiny_file_end(&file);
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
    struct tiny_file file = tiny_file_start("llama");
    if (rope->type) gguf_writer_string(file.writer, "llama.rope.scaling.type", rope->type);
    if (rope->factor >= 0) gguf_writer_f32(file.writer, "llama.rope.scaling.factor", rope->factor);
    if (rope->scale_linear >= 0) gguf_writer_f32(file.writer, "llama.rope.scale_linear", rope->scale_linear);
    if (rope->attention_factor >= 0)
        gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", rope->attention_factor);
    if (rope->original_context)
        gguf_writer_u32(file.writer, "llama.rope.scaling.original_context_length", rope->original_context);
    assert_ok(tiny_file_open(&file));
    for (int i = 0; i < HEAD / 2; i++) {
        float frequency = tiny_file_number(file.model.rope[0].frequencies, i);
        if (!(fabsf(frequency - rope->frequencies[i]) <= 1e-6f * rope->frequencies[i]))
            fail_msg("type %s, factor %g: frequency %d is %.9g, not %.9g", rope->type ? rope->type : "absent",
                     (double)rope->factor, i, (double)frequency, (double)rope->frequencies[i]);
    }
    if (!(fabsf(file.model.rope[0].magnitude - rope->magnitude) <= 1e-6f))
        fail_msg("type %s: the magnitude is %.9g, not %.9g", rope->type ? rope->type : "absent",
                 (double)file.model.rope[0].magnitude, (double)rope->magnitude);
    tiny_file_end(&file);
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
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.factor", -2);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.rope.scaling.factor: -2", "positive");
    file = tiny_file_start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", 0);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.rope.scaling.attn_factor: 0", "positive");
    static const float extremes[] = {1e30f, 1e-30f};
    for (int i = 0; i < 2; i++) {
        file = tiny_file_start("llama");
        gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", extremes[i]);
        tiny_file_refused(&file, CLINFER_BAD_FILE, "llama.rope.scaling: a magnitude of 1e", "attention");
    }
    file = tiny_file_start("llama");
    gguf_writer_u32(file.writer, "llama.rope.dimension_count", HEAD / 2);
    gguf_writer_f32(file.writer, "llama.rope.scaling.attn_factor", 2);
    assert_ok(tiny_file_open(&file)); /* part of a head */
    assert_true(file.model.rope[0].magnitude == 2);
    tiny_file_end(&file);
}

/* Angles that 32 bits do not hold, whichever number they come from: it is the one that is named. */
static void test_frequencies_that_no_angle_comes_of_are_refused(void **state) {
    (void)state;
    static const float factors[] = {1e-6f, 1e-30f, 1e-42f};
    for (int i = 0; i < 3; i++) {
        struct tiny_file file = tiny_file_start("qwen2");
        gguf_writer_f32(file.writer, "qwen2.rope.scaling.factor", factors[i]);
        tiny_file_refused(&file, CLINFER_BAD_FILE, "qwen2.rope: with freq_base", "pair 0 of a head turns by");
    }
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_f32(file.writer, "llama.rope.freq_base", 1e-20f);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "freq_base 1e-20", "radians from one position to the next");
    file = tiny_file_start("llama");
    gguf_writer_f32(file.writer, "llama.rope.scaling.factor", 0.001f);
    assert_ok(tiny_file_open(&file));
    assert_true(fabsf(tiny_file_number(file.model.rope[0].frequencies, 0) - 1000) < 0.01f);
    tiny_file_end(&file);
}

static void test_factors_of_the_file_divide_frequencies(void **state) {
    (void)state;
    float factors[HEAD / 2] = {1, -2, 1, 1, 1, 1, 1, 4};
    struct tiny_file file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    assert_ok(tiny_file_open(&file));
    assert_true(fabsf(tiny_file_number(file.model.rope[0].frequencies, 1) + 0.158113883f) < 1e-7f);
    assert_true(fabsf(tiny_file_number(file.model.rope[0].frequencies, 7) - 0.0000790569415f) < 1e-10f);
    tiny_file_end(&file);
    factors[3] = 0;
    file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "rope_freqs.weight", "number 3 is 0");
    factors[3] = 1e-30f;
    file = tiny_file_start("llama");
    gguf_writer_tensor(file.writer, "rope_freqs.weight", F32, 1, (uint64_t[]){HEAD / 2}, factors);
    tiny_file_refused(&file, CLINFER_BAD_FILE, "rope_freqs.weight", "number 3 is 1e-30");
}

static void test_sections_of_rope_fit_into_a_head(void **state) {
    (void)state;
    static const struct {
        int32_t sections[4];
        size_t count;
        const char *words;
    } wrong[] = {{{4, 2, 2}, 3, "must be four integers"},
                 {{4, 8, 4, 1}, 4, "1: the sections must fit into a head of 16"},
                 {{4, -1, 2, 0}, 4, "-1: the sections must fit"},
                 {{0, 0, 0, 0}, 4, "all sections are empty"}};
    struct tiny_file file = tiny_file_start("qwen2vl");
    tiny_file_refused(&file, CLINFER_BAD_FILE, "qwen2vl.rope.dimension_sections", "is missing");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        file = tiny_file_start("qwen2vl");
        gguf_writer_array(file.writer, tiny_file_key(&file, "rope.dimension_sections"), CI_GGUF_INT32,
                          wrong[i].sections, wrong[i].count);
        tiny_file_refused(&file, CLINFER_BAD_FILE, "qwen2vl.rope.dimension_sections", wrong[i].words);
    }
}

static void test_sections_that_only_pictures_fill_stand_still(void **state) {
    (void)state;
    static const int32_t sections[] = {2, 3, 2, 1};
    struct tiny_file file = tiny_file_start("qwen2vl");
    gguf_writer_array(file.writer, tiny_file_key(&file, "rope.dimension_sections"), CI_GGUF_INT32, sections, 4);
    assert_ok(tiny_file_open(&file));
    for (int i = 0; i < HEAD / 2; i++) assert_int_equal(file.model.rope[0].numbers[i] != 0, i < 7);
    tiny_file_end(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys_that_ask_for_more_are_refused_with_their_value),
        cmocka_unit_test(test_keys_are_judged_by_family),
        cmocka_unit_test(test_a_number_per_layer_is_taken),
        cmocka_unit_test(test_a_file_with_every_key_of_llama_cpp_opens),
        cmocka_unit_test(test_rope_is_scaled_as_llama_cpp_reads_it),
        cmocka_unit_test(test_rope_numbers_without_a_meaning_are_refused),
        cmocka_unit_test(test_frequencies_that_no_angle_comes_of_are_refused),
        cmocka_unit_test(test_factors_of_the_file_divide_frequencies),
        cmocka_unit_test(test_sections_of_rope_fit_into_a_head),
        cmocka_unit_test(test_sections_that_only_pictures_fill_stand_still),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
