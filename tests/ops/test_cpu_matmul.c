/* Matmuls of the CPU backend, those of experts included, on many small shapes at the edges of their tiles; and that a
 * row is the same bits whatever is beside it. Cross-built like test_cpu_kernels.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ops/product.h"
#include "support/cpu_cases.h"
#include "tensor/op_params.h"

/* Rows of x around the tiles of 1, 2, 4, 8 and 16; rows of the weight around groups of 16 and streams of four. */
static void check_matmul_shapes(const struct ci_type *x, const struct ci_type *w) {
    enum { X = 7, W = 5 };
    static const int64_t x_rows[X] = {1, 2, 3, 5, 8, 15, CI_PRODUCT_MANY - 1}, w_rows[W] = {1, 15, 17, 50, 131};
    int64_t cols = w->block_cols < 32 ? 43 : w->block_cols < 256 ? 96 : 512;
    char name[96], set[48];
    for (int i = 0; i < X; i++) {
        snprintf(set, sizeof set, "%s by %s, %d rows", x->name, w->name, (int)x_rows[i]);
        for (int j = 0; j < W; j++) {
            int64_t m = x_rows[i], n = w_rows[j], n2 = 19;
            if (!sampling_takes(set, j, W, CPU_ONE_IN)) continue;
            snprintf(name, sizeof name, "%s by %s, %d x (%d + %d) x %d", x->name, w->name, (int)m, (int)n, (int)n2,
                     (int)cols);
            struct ci_case shape = {.name = name,
                                    .in = {{x, m, cols},
                                           {w, n, cols},
                                           {w, n2, cols},
                                           {0},
                                           {0},
                                           {&ci_type_f32, 1, n2},
                                           {0},
                                           {&ci_type_f32, m, n + n2}}};
            int ran = cpu_check_case(&ci_op_matmul_add, &shape);
            if (ci_type_planes(x) && (ci_cpu_features()->avx2 || ci_cpu_features()->neondot) && !ran)
                fail_msg("no variant does %s", name);
        }
    }
}

static void test_matmul_is_right_at_the_edges_of_its_tiles(void **state) {
    (void)state;
    static const struct ci_type *const quantised[] = {
        &ci_type_q4_0, &ci_type_q4_1, &ci_type_q5_0, &ci_type_q5_1,   &ci_type_q8_0,   &ci_type_q2_k, &ci_type_q3_k,
        &ci_type_q4_k, &ci_type_q5_k, &ci_type_q6_k, &ci_type_iq4_nl, &ci_type_iq4_xs, &ci_type_mxfp4};
    static const struct ci_type *const plain[] = {&ci_type_f32, &ci_type_f16, &ci_type_bf16};
    for (size_t i = 0; i < sizeof quantised / sizeof *quantised; i++) {
        check_matmul_shapes(&ci_type_q8, quantised[i]);
        check_matmul_shapes(&ci_type_q16, quantised[i]);
        check_matmul_shapes(&ci_type_f32, quantised[i]);
    }
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) check_matmul_shapes(&ci_type_f32, plain[i]);
}

/* Rows that are longer than what kernels of r16 put on their stack. */
static void test_matmul_of_very_long_rows_has_a_kernel(void **state) {
    (void)state;
    static const struct ci_type *const kinds[] = {&ci_type_f32, &ci_type_q8, &ci_type_q16};
    for (int i = 0; i < 6; i++) {
        const int64_t rows = i < 3 ? 1 : 2, cols = CI_R16_MOST_COLS + (i < 3 ? 32 : 0);
        const struct ci_case shape = {.name = "long rows",
                                      .in = {{kinds[i % 3], rows, cols}, {&ci_type_q4_0, 3, cols}}};
        if (!cpu_check_case(&ci_op_matmul, &shape) && (ci_cpu_features()->avx2 || ci_cpu_features()->neon))
            fail_msg("%s by q4_0, %d columns: no variant", kinds[i % 3]->name, (int)cols);
    }
}

/* Prompts with weights of 16 bits alone may be less exact than all else. */
static void test_only_many_rows_of_16_bit_weights_may_be_less_exact(void **state) {
    (void)state;
    static const struct ci_op *const ops[] = {&ci_op_matmul, &ci_op_matmul_add, &ci_op_matmul_experts};
    static const struct {
        const struct ci_type *x, *w;
        int64_t rows;
        double nmse;
    } cases[] = {{&ci_type_f32, &ci_type_f16, CI_PRODUCT_MANY, 1e-7},
                 {&ci_type_f32, &ci_type_f16, CI_PRODUCT_MANY - 1, 1e-9},
                 {&ci_type_f32, &ci_type_bf16, CI_PRODUCT_MANY, 1e-7},
                 {&ci_type_f32, &ci_type_f32, 512, 1e-9},
                 {&ci_type_q8, &ci_type_q4_0, 512, 1e-9},
                 {&ci_type_q16, &ci_type_q8_0, 512, 1e-9}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t op = 0; op < sizeof ops / sizeof *ops; op++) {
            struct ci_call call = {0};
            ci_view_set(&call.in[CI_MATMUL_X], cases[i].x, cases[i].rows, 64);
            ci_view_set(&call.in[CI_MATMUL_W0], cases[i].w, 32, 64);
            assert_true(ci_op_gate(ops[op], &call).nmse == cases[i].nmse);
        }
}

/* A row is the same bits alone as beside others: guessed tokens, kept prefixes and batches rest on it. */
static void check_rows_alone(const struct ci_variant *variant, const struct ci_case *shape) {
    enum { MOST_COLS = 64 };
    struct ci_sample_call sample;
    void *weights[CI_MAX_INPUTS];
    float alone[MOST_COLS];
    if (ci_sample_create(variant->op, shape, CPU_SEED, &sample) != CLINFER_OK) fail_msg("%s", ci_status_message());
    struct ci_call together = sample.call;
    const struct ci_view *x = &sample.call.in[CI_MATMUL_X];
    const float *out = together.out[0].data;
    const int64_t cols = together.out[0].cols;
    assert_true(cols >= 1 && cols <= MOST_COLS);
    cpu_lay_out(variant, &together, weights);
    for (int64_t rows = 2; rows <= x->rows; rows += rows < 9 ? 1 : 11) {
        together.in[CI_MATMUL_X].rows = together.out[0].rows = rows;
        variant->cpu (&together)(&together, 0, 1);
        struct ci_call one = together;
        one.in[CI_MATMUL_X].rows = one.out[0].rows = 1;
        one.out[0].data = alone;
        for (int64_t row = 0; row < rows; row++) {
            one.in[CI_MATMUL_X].data = (uint8_t *)x->data + (size_t)row * ci_type_row_bytes(x->type, x->cols);
            variant->cpu (&one)(&one, 0, 1);
            if (memcmp(alone, out + row * cols, (size_t)cols * sizeof *out) != 0)
                fail_msg("%s by %s, %s: row %d of %d is another alone", x->type->name, shape->name, variant->name,
                         (int)row, (int)rows);
        }
    }
    for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
    ci_sample_destroy(&sample);
}

static void test_a_row_of_a_matmul_does_not_depend_on_how_many_there_are(void **state) {
    (void)state;
    static const struct ci_type *const types[] = {&ci_type_q4_0, &ci_type_q8_0,   &ci_type_q4_k,
                                                  &ci_type_q6_k, &ci_type_iq4_nl, &ci_type_q2_k};
    struct ci_caps here = cpu_caps();
    for (size_t i = 0; i < 2 * sizeof types / sizeof *types; i++) {
        const struct ci_type *x = i % 2 ? &ci_type_q16 : &ci_type_q8, *w = types[i / 2];
        const struct ci_case shape = {.name = w->name, .in = {{x, 70, 512}, {w, 50, 512}}};
        struct ci_sample_call sample;
        if (ci_sample_create(&ci_op_matmul, &shape, CPU_SEED, &sample) != CLINFER_OK)
            fail_msg("%s", ci_status_message());
        for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1))
            if ((*v)->op == &ci_op_matmul && (*v)->weight_layout && ci_variant_fits(*v, &here, &sample.call))
                check_rows_alone(*v, &shape);
        ci_sample_destroy(&sample);
    }
}

/* Where many rows of x are the lanes: rows of x around one and two vectors and blocks of them, rows of the weight
 * around those that share what is loaded, columns around a piece of them. */
static void test_matmul_of_many_rows_is_right_at_the_edges_of_its_tiles(void **state) {
    (void)state;
    enum { X = 7, W = 5, COLS = 3, TYPES = 4 };
    static const int64_t x_rows[X] = {16, 31, 32, 33, 64, 81, 98}, w_rows[W] = {1, 13, 14, 29, 43},
                         cols[COLS] = {43, 512, 1030};
    static const struct ci_type *const types[TYPES] = {&ci_type_f32, &ci_type_f16, &ci_type_bf16, &ci_type_iq2_xs};
    char name[96], set[48];
    for (int t = 0; t < TYPES; t++)
        for (int i = 0; i < X; i++) {
            snprintf(set, sizeof set, "%s, %d rows", types[t]->name, (int)x_rows[i]);
            for (int j = 0; j < W * COLS; j++) {
                if (!sampling_takes(set, j, W * COLS, CPU_ONE_IN)) continue;
                bool blocks = types[t]->block_cols > 1;
                int64_t m = x_rows[i], n = w_rows[j % W], k = blocks ? 768 : cols[j / W];
                const struct ci_type *x = blocks && j % 2 ? &ci_type_q8 : &ci_type_f32;
                snprintf(name, sizeof name, "%s by %s, %d x %d x %d", x->name, types[t]->name, (int)m, (int)n, (int)k);
                struct ci_case shape = {
                    .name = name,
                    .in = {
                        {x, m, k}, {types[t], n, k}, {0}, {0}, {&ci_type_f32, 1, n}, {0}, {0}, {&ci_type_f32, m, n}}};
                int ran = cpu_check_case(&ci_op_matmul_add, &shape);
                if ((ci_cpu_features()->avx2 || ci_cpu_features()->neon) && !ran) fail_msg("no variant does %s", name);
            }
        }
}

/* The same in codes (matmul_r16_pairs.h): rows of x around a tile, several tiles and several panels of them; rows of
 * the weight with and without a second group. */
static void test_matmul_of_many_rows_in_codes_is_right_at_the_edges_of_its_panels(void **state) {
    (void)state;
    enum { SHAPES = 6 };
    static const struct {
        int64_t x_rows, w_rows, groups; /* of 32 columns */
    } shapes[SHAPES] = {{32, 16, 3}, {33, 1, 72}, {49, 17, 64}, {50, 2, 280}, {257, 33, 2}, {289, 1, 8}};
    char name[96];
    for (int t = 0; ci_types[t]; t++) {
        const struct ci_type *type = ci_types[t];
        if (!type->quantised || type->gguf_id == CI_TYPE_NOT_IN_FILES) continue;
        for (int i = 0; i < 2 * SHAPES; i++) {
            const struct ci_type *x = i < SHAPES ? &ci_type_q8 : &ci_type_q16;
            if (!sampling_takes(type->name, i, 2 * SHAPES, CPU_ONE_IN)) continue;
            int64_t m = shapes[i % SHAPES].x_rows, n = shapes[i % SHAPES].w_rows, n2 = 5;
            int64_t block = type->block_cols, k = (32 * shapes[i % SHAPES].groups + block - 1) / block * block;
            snprintf(name, sizeof name, "%s by %s, %d x (%d + %d) x %d", x->name, type->name, (int)m, (int)n, (int)n2,
                     (int)k);
            struct ci_case shape = {.name = name,
                                    .in = {{x, m, k},
                                           {type, n, k},
                                           {type, n2, k},
                                           {0},
                                           {0},
                                           {&ci_type_f32, 1, n2},
                                           {0},
                                           {&ci_type_f32, m, n + n2}}};
            int ran = cpu_check_case(&ci_op_matmul_add, &shape); /* large ones are left out at times */
            if (CPU_ONE_IN == 1 && ci_cpu_features()->avx2 && !ran) fail_msg("no variant does %s", name);
        }
    }
}

/* Weights of 16 bits by many rows of x (matmul_i16_rows.h): rows around blocks of 8 and a panel of 512, columns around
 * a piece of 1920, what is kept near of it, and groups of 128. */
static void test_matmul_of_many_rows_in_16_bits_is_right_at_the_edges_of_its_panels(void **state) {
    (void)state;
    enum { SHAPES = 5 };
    static const struct {
        int64_t x_rows, w_rows, cols;
    } shapes[SHAPES] = {{33, 33, 128}, {513, 31, 36}, {40, 33, 2085}, {39, 17, 530}, {264, 64, 161}};
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_bf16};
    char name[96];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < SHAPES; i++) {
            int64_t m = shapes[i].x_rows, n = shapes[i].w_rows, k = shapes[i].cols, n2 = 5;
            if (!sampling_takes(types[t]->name, i, SHAPES, CPU_ONE_IN)) continue;
            snprintf(name, sizeof name, "f32 by %s, %d x (%d + %d) x %d", types[t]->name, (int)m, (int)n, (int)n2,
                     (int)k);
            struct ci_case shape = {.name = name,
                                    .in = {{&ci_type_f32, m, k},
                                           {types[t], n, k},
                                           {types[t], n2, k},
                                           {0},
                                           {0},
                                           {&ci_type_f32, 1, n2},
                                           {0},
                                           {&ci_type_f32, m, n + n2}}};
            cpu_check_case(&ci_op_matmul_add, &shape);
        }
}

/* What the rounding of weights of 16 bits has to see: numbers that are not finite spoil their row and column alone, and
 * each row keeps its own size, be it the least that a type has. */
static void test_many_rows_in_16_bits_keep_sizes_and_what_is_not_finite(void **state) {
    (void)state;
    enum { ROWS = 40, OUT = 35, COLS = 96, X_SPOILT = 3, X_SMALL = 5, X_LARGE = 6, W_SPOILT = 7, W_SMALL = 9 };
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_bf16};
    const struct ci_caps here = cpu_caps();
    for (int t = 0; t < 2; t++) {
        const struct ci_case shape = {.name = "sizes", .in = {{&ci_type_f32, ROWS, COLS}, {types[t], OUT, COLS}}};
        struct ci_sample_call sample, expected;
        assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, CPU_SEED, &sample), CLINFER_OK);
        float *x = sample.call.in[CI_MATMUL_X].data;
        uint16_t *w = sample.call.in[CI_MATMUL_W0].data;
        w[W_SPOILT * COLS + 50] = types[t] == &ci_type_f16 ? 0x7c00 : 0x7fc0; /* infinity, no number */
        x[X_SPOILT * COLS + 70] = t ? -INFINITY : NAN;
        for (int k = 0; k < COLS; k++) {
            w[W_SMALL * COLS + k] = (uint16_t)(k % 5 << (types[t] == &ci_type_f16 ? 0 : 10)); /* f16: denormal */
            x[X_SMALL * COLS + k] *= 1e-25f;
            x[X_LARGE * COLS + k] *= 1e25f;
        }
        assert_int_equal(ci_sample_copy(&sample, &expected), CLINFER_OK);
        assert_int_equal(ci_op_reference(&ci_op_matmul, &expected.call), CLINFER_OK);
        for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
            struct ci_sample_call actual;
            if ((*v)->op != &ci_op_matmul || !ci_variant_fits(*v, &here, &sample.call)) continue;
            assert_int_equal(ci_sample_copy(&sample, &actual), CLINFER_OK);
            (*v)->cpu (&actual.call)(&actual.call, 0, 1);
            const float *right = expected.call.out[0].data, *out = actual.call.out[0].data;
            for (int row = 0; row < ROWS; row++)
                for (int i = 0; i < OUT; i++) {
                    double a = out[row * OUT + i], b = right[row * OUT + i], size = 0;
                    if (row == X_SPOILT || i == W_SPOILT) {
                        if (isfinite(a)) fail_msg("%s, %s: [%d, %d] is %g", (*v)->name, types[t]->name, row, i, a);
                        continue;
                    }
                    float weights[COLS];
                    ci_view_row(&sample.call.in[CI_MATMUL_W0], i, weights);
                    double w_squares = 0, x_squares = 0;
                    for (int k = 0; k < COLS; k++) {
                        w_squares += (double)weights[k] * weights[k];
                        x_squares += (double)x[row * COLS + k] * x[row * COLS + k];
                    }
                    size = sqrt(w_squares * x_squares);
                    if (!(fabs(a - b) <= 2e-4 * size + 1e-37))
                        fail_msg("%s, %s: [%d, %d] is %g, expected %g +- %g", (*v)->name, types[t]->name, row, i, a, b,
                                 2e-4 * size);
                }
            ci_sample_destroy(&actual);
        }
        ci_sample_destroy(&sample);
        ci_sample_destroy(&expected);
    }
}

/* Integers of 16 bits are summed in 32: groups of numbers that are all as large as each other have the largest sums. */
static void test_many_rows_in_16_bits_do_not_overflow(void **state) {
    (void)state;
    enum { ROWS = 40, OUT = 35, COLS = 160 };
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_bf16};
    const struct ci_caps here = cpu_caps();
    for (int t = 0; t < 2; t++) {
        const struct ci_case shape = {.name = "largest", .in = {{&ci_type_f32, ROWS, COLS}, {types[t], OUT, COLS}}};
        struct ci_sample_call sample, expected;
        assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, CPU_SEED, &sample), CLINFER_OK);
        float *x = sample.call.in[CI_MATMUL_X].data;
        uint16_t *w = sample.call.in[CI_MATMUL_W0].data;
        /* Each row of the weight repeats one number, from just below 2 to just above 1, so that norms lie on both sides
         * of what they are bounded by; of some rows the sign goes to and fro, as it does in x. */
        for (int i = 0; i < OUT * COLS; i++) {
            int row = i / COLS, number = 0x3fff - (row * 29 >> (t ? 3 : 0));
            w[i] = (uint16_t)(number | (row % 2 && i % 3 == 0 ? 0x8000 : 0));
        }
        for (int i = 0; i < ROWS * COLS; i++) x[i] = i / COLS % 3 == 1 && i % COLS % 3 == 0 ? -1.F : 1.F;
        assert_int_equal(ci_sample_copy(&sample, &expected), CLINFER_OK);
        assert_int_equal(ci_op_reference(&ci_op_matmul, &expected.call), CLINFER_OK);
        for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1))
            if ((*v)->op == &ci_op_matmul && ci_variant_fits(*v, &here, &sample.call))
                cpu_check_threads(*v, &shape, &sample, &expected, 2);
        ci_sample_destroy(&sample);
        ci_sample_destroy(&expected);
    }
}

/* Experts with no, few and many rows, whose weights are one group of 16, several, or no whole number of them. */
static void test_experts_are_right_at_the_edges_of_their_tiles(void **state) {
    (void)state;
    enum { ROWS = 6, WIDTHS = 3 };
    static const int64_t rows[ROWS] = {1, 2, 5, 11, 23, 120}, widths[WIDTHS] = {16, 48, 21};
    static const struct ci_type *const types[] = {&ci_type_q4_0, &ci_type_q6_k, &ci_type_f16};
    char name[96], set[48];
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < ROWS; i++) {
            snprintf(set, sizeof set, "experts of %s, %d rows", types[t]->name, (int)rows[i]);
            for (int j = 0; j < WIDTHS; j++) {
                if (!sampling_takes(set, j, WIDTHS, CPU_ONE_IN)) continue;
                static const struct ci_type *const kinds[] = {&ci_type_f32, &ci_type_q8, &ci_type_q16};
                const struct ci_type *x = types[t]->quantised ? kinds[(i + j) % 3] : &ci_type_f32;
                int64_t cols = types[t]->block_cols < 256 ? 96 : 256, n = widths[j], used = 1 + (i + j) % 3,
                        experts = 5;
                snprintf(name, sizeof name, "%s by %s, %d rows to %d of 5, %d wide", x->name, types[t]->name,
                         (int)rows[i], (int)used, (int)n);
                struct ci_case shape = {.name = name,
                                        .in = {{x, rows[i], i % 2 ? used * cols : cols},
                                               {types[t], experts * n, cols},
                                               {i % 2 ? NULL : types[t], experts * n, cols},
                                               {&ci_type_i32, rows[i], used},
                                               {&ci_type_i32, rows[i], used},
                                               {&ci_type_i32, 1, experts + 1},
                                               {&ci_type_f32, 1, experts * n}}};
                int ran = cpu_check_case(&ci_op_matmul_experts, &shape);
                if ((ci_cpu_features()->avx2 || ci_cpu_features()->neondot) && !ran)
                    fail_msg("no variant does %s", name);
            }
        }
}

/* A kernel is used only where a case with the same types proves it; an op that comes with whatever type a file has
 * makes its own. */
static void test_experts_of_every_type_have_a_case_that_proves_them(void **state) {
    (void)state;
    for (int t = 0; ci_types[t]; t++) {
        const struct ci_type *type = ci_types[t];
        if (type->gguf_id == CI_TYPE_NOT_IN_FILES || !sampling_takes("experts of all types", t, 30, 3)) continue;
        struct ci_case shape = {.name = type->name,
                                .in = {{&ci_type_f32, 1, 1024},
                                       {type, 8 * 48, 512},
                                       {0},
                                       {&ci_type_i32, 1, 2},
                                       {&ci_type_i32, 1, 2},
                                       {&ci_type_i32, 1, 9}}};
        struct ci_sample_call sample;
        struct ci_case own;
        if (ci_sample_create(&ci_op_matmul_experts, &shape, CPU_SEED, &sample) != CLINFER_OK)
            fail_msg("%s", ci_status_message());
        ci_op_matmul_experts.like(&sample.call, &own);
        ci_sample_destroy(&sample);
        assert_ptr_equal(own.in[1].type, type);
        if (!cpu_check_case(&ci_op_matmul_experts, &own) && ci_cpu_features()->avx2)
            fail_msg("no variant does its case with experts of %s", type->name);
    }
}

/* Of the weights only those of experts that some row goes to count; where nobody knows them yet, as many as to expect.
 */
static void test_only_the_chosen_experts_count_as_read(void **state) {
    (void)state;
    enum { EXPERTS = 64, USED = 8, N = 32, K = 96 };
    double expert = N * (double)ci_type_row_bytes(&ci_type_q4_0, K);
    struct ci_case shape = {.name = "8 of 64",
                            .in = {{&ci_type_f32, 2, K},
                                   {&ci_type_q4_0, EXPERTS * N, K},
                                   {0},
                                   {&ci_type_i32, 2, USED},
                                   {&ci_type_i32, 2, USED},
                                   {&ci_type_i32, 1, EXPERTS + 1}}};
    struct ci_sample_call sample;
    assert_int_equal(ci_sample_create(&ci_op_matmul_experts, &shape, CPU_SEED, &sample), CLINFER_OK);
    struct ci_call call = sample.call;
    double row = 4.0 * (K + 2 * USED + USED * N), starts = 4.0 * (EXPERTS + 1); /* x, ids, order, what is written */
    double others = 2 * row + starts;
    memcpy((int32_t *)call.in[CI_EXPERTS_IDS].data + USED, call.in[CI_EXPERTS_IDS].data, USED * sizeof(int32_t));
    assert_true(ci_op_bytes(&ci_op_matmul_experts, &call) == others + USED * expert);
    ((int32_t *)call.in[CI_EXPERTS_IDS].data)[USED] = ((int32_t *)call.in[CI_EXPERTS_IDS].data)[1];
    assert_true(ci_op_bytes(&ci_op_matmul_experts, &call) == others + USED * expert);
    call.in[CI_EXPERTS_IDS].data = NULL;
    double expected = EXPERTS * (1 - pow(1 - (double)USED / EXPERTS, 2));
    assert_true(fabs(ci_op_bytes(&ci_op_matmul_experts, &call) - others - expected * expert) < 1);
    for (int i = 0; i < CI_MAX_INPUTS; i++)
        if (call.in[i].extent == CI_EXTENT_ROWS) call.in[i].rows = 1;
    call.out[0].rows = 1;
    assert_true(fabs(ci_op_bytes(&ci_op_matmul_experts, &call) - row - starts - USED * expert) < 1);
    ci_sample_destroy(&sample);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_matmul_of_very_long_rows_has_a_kernel),
        cmocka_unit_test(test_only_many_rows_of_16_bit_weights_may_be_less_exact),
        cmocka_unit_test(test_a_row_of_a_matmul_does_not_depend_on_how_many_there_are),
        cmocka_unit_test(test_matmul_of_many_rows_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_matmul_of_many_rows_in_codes_is_right_at_the_edges_of_its_panels),
        cmocka_unit_test(test_matmul_of_many_rows_in_16_bits_is_right_at_the_edges_of_its_panels),
        cmocka_unit_test(test_many_rows_in_16_bits_keep_sizes_and_what_is_not_finite),
        cmocka_unit_test(test_many_rows_in_16_bits_do_not_overflow),
        cmocka_unit_test(test_experts_are_right_at_the_edges_of_their_tiles),
        cmocka_unit_test(test_experts_of_every_type_have_a_case_that_proves_them),
        cmocka_unit_test(test_only_the_chosen_experts_count_as_read),
    };
    return cmocka_run_group_tests_name("cpu_matmul", tests, NULL, NULL);
}
