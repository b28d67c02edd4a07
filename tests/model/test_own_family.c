/* A family that the library does not have, in a test file: a build of shared blocks, a list of keys, and one line of
 * struct ci_family. Its file is opened, planned and computed like any other. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "graph/plan.h"
#include "model/build.h"
#include "ops/op_list.h"
#include "support/asserts.h"
#include "support/nmse.h"
#include "support/tiny_model.h"

/* ---- the family ---- */

static struct ci_tensor *attend(struct ci_builder *b, struct ci_tensor *x) {
    const struct ci_layer *layer = ci_build_layer(b);
    int64_t keys = (int64_t)layer->kv_heads * layer->head_dim;
    const struct ci_part output[] = {{"attn_output", b->model->hyper.embedding}, {0}};
    x = ci_build_norm(b, CI_NORM_RMS, "attn_norm", x);
    x = ci_build_qkv(b, x, (int64_t)layer->heads * layer->head_dim, keys, keys);
    x = ci_build_rope(b, x, layer->heads + layer->kv_heads, CI_ROPE_NEIGHBOURS);
    return ci_build_linear(b, "attn_output", ci_build_attention(b, x, NULL), output, CI_SCALES_PRODUCT);
}

static struct ci_tensor *feed_forward(struct ci_builder *b, struct ci_tensor *x) {
    int width = ci_build_layer(b)->feed_forward;
    const struct ci_part gate_up[] = {{"ffn_gate", width}, {"ffn_up", width}, {0}};
    const struct ci_part down[] = {{"ffn_down", b->model->hyper.embedding}, {0}};
    x = ci_build_norm(b, CI_NORM_RMS, "ffn_norm", x);
    x = ci_build_linear(b, "ffn_gate_up", x, gate_up, CI_SCALES_SUM);
    return ci_build_linear(b, "ffn_down", ci_build_glu(b, "ffn_glu", x, CI_ACTIVATION_SILU), down, CI_SCALES_SUM);
}

/* Llama, but that each layer adds the embedding again, number by number times a weight of the layer. */
static void build(struct ci_builder *b) {
    const struct ci_hyper *h = &b->model->hyper;
    struct ci_tensor *embedding = ci_build_embedding(b), *x = embedding;
    for (int i = 0; i < h->layers; i++) {
        ci_build_enter(b, i);
        x = ci_build_add(b, "attn_residual", attend(b, x), x);
        x = ci_build_add(b, "ffn_residual", feed_forward(b, x), x);
        struct ci_tensor *again[CI_MAX_INPUTS] = {embedding,
                                                  ci_build_weight(b, true, 1, h->embedding, "embedding_again.weight")};
        struct ci_tensor *part = ci_build_op(b, &ci_op_affine, "embedding_again", again, NULL);
        x = ci_build_add(b, "again_residual", ci_build_unary(b, "again", part, CI_ACTIVATION_SCALE, h->residual_scale),
                         x);
    }
    ci_build_enter(b, h->layers);
    x = ci_build_norm(b, CI_NORM_RMS, "output_norm", ci_build_wanted(b, x));
    ci_build_sampling(b, ci_build_output(b, x));
}

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "residual_scale", .use = CI_KEY_REQUIRED},
    {0},
};

static const struct ci_family family = {.architecture = "again", .keys = keys, .build = build};
static const struct ci_family *const families[] = {&family, NULL};

/* ---- what it computes ---- */

enum { TOKENS = 21, LOGITS = TOKENS * TINY_VOCABULARY };

static void fill_inputs(const struct ci_run *run, int first, int rows) {
    int32_t *ids = run->ids->view.data, *positions = run->positions->view.data,
            *slots = run->slots[CI_CACHE_WHOLE]->view.data;
    int32_t *wanted = run->wanted->view.data, *tile = run->tiles->view.data;
    for (int i = 0; i < rows; i++) {
        ids[i] = (first + i) * 7 % TINY_VOCABULARY;
        positions[i] = slots[i] = first + i;
        wanted[i] = i;
    }
    for (int at = 0; at < rows; at += CI_TILE_ROWS, tile += CI_TILE_COLS) {
        tile[CI_TILE_ROW] = at;
        tile[CI_TILE_COUNT] = rows - at < CI_TILE_ROWS ? rows - at : CI_TILE_ROWS;
        tile[CI_TILE_LINE] = 0;
        tile[CI_TILE_POSITION] = first + at;
        tile[CI_TILE_LENGTH] = first + rows;
    }
    *(int32_t *)run->pages[CI_CACHE_WHOLE]->view.data = 0;
    memset(run->sampler->view.data, 0, (size_t)rows * CI_SAMPLER_COLS * sizeof(float));
}

/* In steps of so many rows. */
static void compute(const struct ci_gguf *gguf, struct ci_model *model, int step, float logits[LOGITS]) {
    struct ci_threads *threads;
    struct ci_store store;
    struct ci_graph graph;
    struct ci_run run;
    struct ci_plan *plan;
    const struct ci_plan_options options = {.activations = CI_ACTIVATIONS_F32, .moved = ""};
    int64_t rows[CI_EXTENT_COUNT] = {
        [CI_EXTENT_ROWS] = step, [CI_EXTENT_WANTED] = step, [CI_EXTENT_TILES] = step / CI_TILE_ROWS + 1};
    assert_ok(ci_threads_create(1, &threads));
    ci_store_init(&store, NULL, 0, threads);
    assert_ok(ci_store_add_file(&store, ci_gguf_file_at(gguf, 0)->data, ci_gguf_file_at(gguf, 0)->size));
    ci_model_make_states(model, &ci_type_f32, &ci_type_f32, CI_PAGE_ROWS, step);
    assert_ok(ci_model_build(model, rows, 1, 1, &graph, &run));
    assert_ok(ci_plan_create(&store, &graph, &options, &plan));
    for (int first = 0; first < TOKENS; first += step) {
        int count = TOKENS - first < step ? TOKENS - first : step;
        rows[CI_EXTENT_ROWS] = rows[CI_EXTENT_WANTED] = count;
        rows[CI_EXTENT_TILES] = (count + CI_TILE_ROWS - 1) / CI_TILE_ROWS;
        assert_ok(ci_plan_set_rows(plan, rows));
        fill_inputs(&run, first, count);
        assert_ok(ci_plan_run(plan));
        assert_ok(ci_plan_read(plan, run.logits, 0, count, logits + (size_t)first * TINY_VOCABULARY));
    }
    ci_plan_destroy(plan);
    ci_store_destroy(&store);
    ci_threads_destroy(threads);
}

static void logits_of(const struct tiny_model *tiny, int step, float logits[LOGITS]) {
    char path[] = "/tmp/clinfer_own_family_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0 && close(file) == 0);
    tiny_model_write(tiny, path);
    struct ci_gguf *gguf;
    struct ci_model model;
    assert_ok(ci_gguf_open(path, &gguf));
    assert_ok(ci_model_open_as(gguf, tiny->families ? tiny->families : ci_families, &model));
    compute(gguf, &model, step, logits);
    ci_model_close(&model);
    ci_gguf_close(gguf);
    unlink(path);
}

/* The weights are drawn by name, so both files have the same. */
static const struct tiny_model llama = {.name = "llama", .architecture = "llama"};
static const struct tiny_model without = {
    .name = "without", .architecture = "again", .keys = "residual_scale=0.0", .families = families};
static const struct tiny_model with = {
    .name = "with", .architecture = "again", .keys = "residual_scale=0.5", .families = families};

static void test_a_family_is_added_in_a_test_file(void **state) {
    (void)state;
    float usual[LOGITS], same[LOGITS], more[LOGITS], pieces[LOGITS];
    logits_of(&llama, TOKENS, usual);
    logits_of(&without, TOKENS, same);
    logits_of(&with, TOKENS, more);
    logits_of(&with, 1, pieces);
    assert_true(nmse(usual, same, LOGITS) < 1e-12);
    assert_true(nmse(usual, more, LOGITS) > 1e-3);
    assert_true(nmse(more, pieces, LOGITS) < 1e-12);
}

static void test_what_its_build_does_not_take_is_refused(void **state) {
    (void)state;
    static const struct ci_family *const only[] = {&family, NULL};
    char path[] = "/tmp/clinfer_own_family_XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0 && close(file) == 0);
    struct ci_gguf *gguf;
    struct ci_model model;
    tiny_model_write(&llama, path);
    assert_ok(ci_gguf_open(path, &gguf));
    assert_int_equal(ci_model_open_as(gguf, only, &model), CLINFER_UNSUPPORTED);
    assert_message("supported are: again");
    ci_gguf_close(gguf);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_family_is_added_in_a_test_file),
        cmocka_unit_test(test_what_its_build_does_not_take_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
