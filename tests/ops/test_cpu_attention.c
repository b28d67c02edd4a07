/* Attention of the CPU backend at the edges of its tiles, over caches of all types, and with all else that it can do.
 * Cross-built like test_cpu_kernels.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "support/cpu_cases.h"
#include "tensor/op_params.h"

static void test_attention_is_right_at_the_edges_of_its_tiles(void **state) {
    (void)state;
    enum { ROWS = 5, HEADS = 4, DIMS = 4 };
    static const int rows[ROWS] = {1, 2, 5, 16, 18}, heads[HEADS][2] = {{1, 1}, {3, 3}, {6, 2}, {9, 1}},
                     dims[DIMS] = {16, 48, 80, 256};
    char name[96], set[48];
    for (int r = 0; r < ROWS; r++)
        for (int h = 0; h < HEADS; h++) {
            snprintf(set, sizeof set, "%d rows, %d heads over %d", rows[r], heads[h][0], heads[h][1]);
            for (int d = 0; d < DIMS; d++) {
                int q = heads[h][0], kv = heads[h][1], dim = dims[d];
                if (!sampling_takes(set, d, DIMS, CPU_ONE_IN)) continue;
                const struct ci_type *type = d % 2 ? &ci_type_f16 : &ci_type_f32;
                snprintf(name, sizeof name, "%d rows, %d heads over %d of %d", rows[r], q, kv, dim);
                struct ci_case shape = {.name = name,
                                        .in = {{&ci_type_f32, rows[r], (q + 2 * kv) * dim},
                                               {type, 3 * CI_PAGE_ROWS, kv * dim},
                                               {type, 3 * CI_PAGE_ROWS, kv * dim},
                                               {&ci_type_i32, rows[r] / 16 + 2, CI_TILE_COLS},
                                               {&ci_type_i32, 1, 1}},
                                        .params = {.i = {q, kv, dim}, .f = {1 / sqrtf((float)dim)}}};
                cpu_check_case(&ci_op_attention, &shape);
                if (dim * q % 32 == 0) cpu_check_case(&ci_op_attention_quantise, &shape);
            }
        }
}

/* Heads of any size over caches of all types, each with the others, with what else attention can do drawn at random:
 * windows of each kind and of sizes around those of blocks and pages, both ways, soft caps, sinks, values that are
 * narrower than the keys or wider. */
static void test_attention_does_everything_at_once(void **state) {
    (void)state;
    enum { TYPES = 4, TRIES = 64 };
    static const struct ci_type *const types[TYPES] = {&ci_type_f16, &ci_type_f32, &ci_type_q8_0, &ci_type_q4_0};
    static const int dims[] = {10, 32, 72, 80, 96, 160}, windows[] = {0, 1, 2, 31, 32, 33, 100, 128, 129, 200};
    static const int rows[] = {1, 2, 7, 18}, heads[][2] = {{1, 1}, {4, 2}, {6, 1}};
    uint64_t random = CPU_SEED;
    int ran = 0, wanted = 0;
    for (int i = 0; i < TRIES; i++) {
        const struct ci_type *key = types[i % TYPES], *value = types[i / TYPES % TYPES];
#define DRAW(list) list[ci_random(&random) % (sizeof(list) / sizeof *(list))]
        int dim = DRAW(dims), value_dim = DRAW(dims), row_count = DRAW(rows), window = DRAW(windows);
        const int *head = DRAW(heads);
#undef DRAW
        if (key->block_cols == 32 && head[1] * dim % 32) dim = 96;
        if (value->block_cols == 32 && head[1] * value_dim % 32) value_dim = 32;
        int kind = (int)(ci_random(&random) % 3), both_ways = (int)(ci_random(&random) % 2);
        float cap = ci_random(&random) % 2 ? 5 : 0;
        bool sinks = ci_random(&random) % 2;
        char name[160];
        snprintf(name, sizeof name, "%d: %d rows, %d heads over %d of %d %s, %d %s, window %d of kind %d%s%s%s", i,
                 row_count, head[0], head[1], dim, key->name, value_dim, value->name, window, kind,
                 both_ways ? ", both ways" : "", cap > 0 ? ", cap" : "", sinks ? ", sinks" : "");
        if (!sampling_takes("attention", i, TRIES, CPU_ONE_IN)) continue;
        struct ci_case shape = {.name = name,
                                .in = {{&ci_type_f32, row_count, head[0] * dim},
                                       {key, 8 * CI_PAGE_ROWS, head[1] * dim},
                                       {value, 8 * CI_PAGE_ROWS, head[1] * value_dim},
                                       {&ci_type_i32, row_count / 16 + 4, CI_TILE_COLS},
                                       {&ci_type_i32, row_count > 1 ? 2 : 1, 2},
                                       {sinks ? &ci_type_f32 : NULL, 1, head[0]}},
                                .params = {.i = {head[0], head[1], dim, value_dim, window, kind, both_ways},
                                           .f = {2 / sqrtf((float)dim), cap}}};
        ran += cpu_check_case(&ci_op_attention, &shape);
        wanted += ci_cpu_features()->avx2 || ci_cpu_features()->neon;
        /* Of few numbers the gate of q8 does not forgive a single one that lay between two codes. */
        if (value_dim % 32 == 0 && row_count == 18) cpu_check_case(&ci_op_attention_quantise, &shape);
    }
    assert_true(ran >= wanted);
}

/* Where there are many sequences of few queries each, kv heads that lie next to each other may go together. */
static void test_attention_of_many_sequences_is_that_of_each(void **state) {
    (void)state;
    enum { SEQUENCES = 11, HEADS = 6 };
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_q8_0, &ci_type_f32, &ci_type_q4_0};
    static const int heads[HEADS][3] = {{12, 2, 128}, {9, 3, 64}, {8, 4, 32}, {6, 6, 64}, {7, 7, 32}, {16, 8, 48}};
    char name[96];
    int ran = 0;
    for (int h = 0; h < HEADS; h++)
        for (int rows = SEQUENCES; rows <= 2 * SEQUENCES; rows += SEQUENCES) {
            const struct ci_type *key = types[h % 4], *value = types[(h + rows) % 4];
            int q = heads[h][0], kv = heads[h][1], dim = heads[h][2];
            snprintf(name, sizeof name, "%d rows of %d sequences, %d heads over %d of %d %s and %s", rows, SEQUENCES, q,
                     kv, dim, key->name, value->name);
            struct ci_case shape = {.name = name,
                                    .in = {{&ci_type_f32, rows, q * dim},
                                           {key, 7 * CI_PAGE_ROWS, kv * dim},
                                           {value, 7 * CI_PAGE_ROWS, kv * dim},
                                           {&ci_type_i32, SEQUENCES, CI_TILE_COLS},
                                           {&ci_type_i32, SEQUENCES, 1}},
                                    .params = {.i = {q, kv, dim, 0, rows % 2 ? 70 : 0}, .f = {1 / sqrtf((float)dim)}}};
            ran += cpu_check_case(&ci_op_attention, &shape);
            cpu_check_case(&ci_op_attention_quantise, &shape);
        }
    /* Each run leaves out some of the large ones, never all. */
    assert_true(ran > 0 || !(ci_cpu_features()->avx2 || ci_cpu_features()->neon));
}

/* Multi-head latent attention: one head of keys, whose first columns are the values. */
static void test_attention_takes_values_from_wider_rows(void **state) {
    (void)state;
    enum { DIM = CI_ATTENTION_MAX_DIM, VALUE_DIM = 512, HEADS = 3, ROWS = 7 };
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_q8_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct ci_case shape = {.name = types[i]->name,
                                .in = {{&ci_type_f32, ROWS, HEADS * DIM},
                                       {types[i], 3 * CI_PAGE_ROWS, DIM},
                                       {types[i], 3 * CI_PAGE_ROWS, DIM},
                                       {&ci_type_i32, 2, CI_TILE_COLS},
                                       {&ci_type_i32, 1, 1}},
                                .params = {.i = {HEADS, 1, DIM, VALUE_DIM}, .f = {0.04f}}};
        int ran = cpu_check_case(&ci_op_attention, &shape);
        assert_true(ran > 0 || !(ci_cpu_features()->avx2 || ci_cpu_features()->neon));
    }
}

/* What a window hides is not read: pages that are gone are numbers of no page. */
static void test_attention_does_not_read_what_a_window_hides(void **state) {
    (void)state;
    enum { PAGES = 4, WINDOW = 140 };
    struct ci_caps here = cpu_caps();
    struct ci_case shape = {.name = "pages that are gone",
                            .in = {{&ci_type_f32, 9, 64},
                                   {&ci_type_f16, (PAGES + 2) * CI_PAGE_ROWS, 64},
                                   {&ci_type_f16, (PAGES + 2) * CI_PAGE_ROWS, 64},
                                   {&ci_type_i32, 2, CI_TILE_COLS},
                                   {&ci_type_i32, 1, PAGES}},
                            .params = {.i = {1, 1, 64, 0, WINDOW}, .f = {0.125f}}};
    struct ci_sample_call sample, expected;
    assert_int_equal(ci_sample_create(&ci_op_attention, &shape, CPU_SEED, &sample), CLINFER_OK);
    assert_int_equal(ci_sample_copy(&sample, &expected), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_attention, &expected.call), CLINFER_OK);
    const int32_t *tile = sample.call.in[3].data;
    int first_seen = tile[CI_TILE_POSITION] - WINDOW + 1;
    assert_true(first_seen >= CI_PAGE_ROWS);
    for (int page = 0; page < first_seen / CI_PAGE_ROWS; page++)
        ((int32_t *)sample.call.in[4].data)[page] = INT32_MIN / CI_PAGE_ROWS;
    assert_int_equal(ci_op_reference(&ci_op_attention, &sample.call), CLINFER_OK);
    assert_memory_equal(sample.call.out[0].data, expected.call.out[0].data, ci_view_bytes(&sample.call.out[0]));
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1))
        if ((*v)->op == &ci_op_attention && ci_variant_fits(*v, &here, &sample.call))
            cpu_check_threads(*v, &shape, &sample, &expected, 1);
    ci_sample_destroy(&sample);
    ci_sample_destroy(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_attention_does_everything_at_once),
        cmocka_unit_test(test_attention_of_many_sequences_is_that_of_each),
        cmocka_unit_test(test_attention_takes_values_from_wider_rows),
        cmocka_unit_test(test_attention_does_not_read_what_a_window_hides),
    };
    return cmocka_run_group_tests_name("cpu_attention", tests, NULL, NULL);
}
