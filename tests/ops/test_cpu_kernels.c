/* Every variant of the CPU backend that this processor can run, against its op's reference: on the op's own cases and,
 * for matmul and attention, on many small shapes at the edges of the tiles; with the work divided among one, two and
 * three threads. A processor with AVX-512 also runs what AVX2 would. Needs no OpenCL, so that it is cross-built for
 * other architectures and run under an emulator; that being slow, it does there one in three of the small shapes and of
 * the large cases. */
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
#include "base/status.h"
#include "base/threads.h"
#include "cpu/kernels.h"
#include "ops/op_list.h"
#include "ops/product.h"
#include "proof/gate.h"
#include "support/cache_overflow.h"
#include "support/sampling.h"
#include "tensor/op_params.h"

#ifdef CI_TESTS_CROSS_CMOCKA_H
enum { ONE_IN = 3 };
#else
enum { ONE_IN = 1 };
#endif
static const double large = 1e7; /* operations; a second or more under an emulator */
enum { MAX_THREADS = 3, SEED = 20 };

static const struct ci_variant *const *cpu_variant(const struct ci_variant *const *from) {
    while (*from && (*from)->backend != CI_BACKEND_CPU) from++;
    return from;
}

static struct ci_caps caps(void) { return (struct ci_caps){.cpu = ci_cpu_features(), .threads = 1}; }

/* Weights to the layout that the variant wants, in memory of its own. */
static void lay_out(const struct ci_variant *variant, struct ci_call *call, void **memory) {
    for (int i = 0; i < CI_MAX_INPUTS; i++) {
        struct ci_view *w = &call->in[i];
        memory[i] = NULL;
        if (!variant->weight_layout || !w->type || !(variant->op->weight_inputs >> i & 1)) continue;
        size_t bytes = ci_layout_bytes(variant->weight_layout, w->type, w->rows, w->cols);
        memory[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
        assert_non_null(memory[i]);
        ci_layout_pack(variant->weight_layout, w->type, w->rows, w->cols, w->data, memory[i], 0, w->rows);
        w->layout = variant->weight_layout;
        w->data = memory[i];
    }
}

/* One variant on one sample, `threads` shares, the last first: none may depend on another's. */
static void check_threads(const struct ci_variant *variant, const struct ci_case *shape,
                          const struct ci_sample_call *sample, const struct ci_sample_call *expected, int threads) {
    struct ci_sample_call actual;
    struct ci_gate_result result;
    void *weights[CI_MAX_INPUTS];
    int output;
    if (ci_sample_copy(sample, &actual) != CLINFER_OK) fail_msg("%s", ci_status_message());
    lay_out(variant, &actual.call, weights);
    ci_cpu_function *function = variant->cpu(&actual.call);
    for (int thread = threads - 1; thread >= 0; thread--) function(&actual.call, thread, threads);
    if (ci_gate_compare(variant->op, &expected->call, &actual.call, &result) != CLINFER_OK)
        fail_msg("%s", ci_status_message());
    if (!result.passed)
        fail_msg("%s by %s, case \"%s\", %d threads: %s", variant->op->name, variant->name, shape->name, threads,
                 result.text);
    if (!ci_sample_guards_hold(&actual, &output))
        fail_msg("%s by %s, case \"%s\", %d threads: writes beyond output %d", variant->op->name, variant->name,
                 shape->name, threads, output);
    for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
    ci_sample_destroy(&actual);
}

/* All variants of an op on one case; the reference, the slow part, is computed once. Returns how many ran. */
static int check_case(const struct ci_op *op, const struct ci_case *shape) {
    struct ci_caps here = caps();
    struct ci_sample_call sample, expected;
    int ran = 0;
    enum clinfer_status status = ci_sample_create(op, shape, SEED, &sample);
    if (status == CLINFER_UNSUPPORTED) return 0;
    if (status == CLINFER_OK && op->operations && op->operations(&sample.call) > large) {
        static int seen;
        if (!sampling_takes("large cases", seen++, ONE_IN, ONE_IN)) {
            ci_sample_destroy(&sample);
            return 0;
        }
    }
    if (status != CLINFER_OK || ci_sample_copy(&sample, &expected) != CLINFER_OK ||
        ci_op_reference(op, &expected.call) != CLINFER_OK)
        fail_msg("%s, case \"%s\": %s", op->name, shape->name, ci_status_message());
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        if ((*v)->op != op || !ci_variant_fits(*v, &here, &sample.call)) continue;
        for (int threads = 1; threads <= MAX_THREADS; threads++) check_threads(*v, shape, &sample, &expected, threads);
        ran++;
    }
    ci_sample_destroy(&sample);
    ci_sample_destroy(&expected);
    return ran;
}

static void test_variants_pass_the_gate_on_their_ops_cases(void **state) {
    (void)state;
    for (int i = 0; ci_ops[i]; i++)
        for (const struct ci_case *shape = ci_ops[i]->cases; shape->name; shape++) {
            struct ci_case wide = *shape;
            wide.params.i[CI_QUANTISE_I_16_BITS] = 1;
            check_case(ci_ops[i], shape);
            if (ci_op_rounds(ci_ops[i])) check_case(ci_ops[i], &wide);
        }
}

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
            if (!sampling_takes(set, j, W, ONE_IN)) continue;
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
            int ran = check_case(&ci_op_matmul_add, &shape);
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
        if (!check_case(&ci_op_matmul, &shape) && (ci_cpu_features()->avx2 || ci_cpu_features()->neon))
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

/* Guessed tokens and kept prefixes rest on it. */
static void check_rows_alone(const struct ci_variant *variant, const struct ci_case *shape) {
    struct ci_sample_call sample, together, alone;
    void *weights[CI_MAX_INPUTS], *none[CI_MAX_INPUTS];
    if (ci_sample_create(variant->op, shape, SEED, &sample) != CLINFER_OK) fail_msg("%s", ci_status_message());
    const size_t row_bytes = ci_type_row_bytes(sample.call.in[0].type, sample.call.in[0].cols);
    for (int64_t rows = 2; rows <= sample.call.in[0].rows; rows += rows < 5 ? 1 : 13) {
        if (ci_sample_copy(&sample, &together) != CLINFER_OK) fail_msg("%s", ci_status_message());
        lay_out(variant, &together.call, weights);
        together.call.in[0].rows = together.call.out[0].rows = rows;
        variant->cpu (&together.call)(&together.call, 0, 1);
        for (int64_t row = 0; row<rows; row += rows> 4 ? 3 : 1) {
            if (ci_sample_copy(&sample, &alone) != CLINFER_OK) fail_msg("%s", ci_status_message());
            lay_out(variant, &alone.call, none);
            alone.call.in[0].rows = alone.call.out[0].rows = 1;
            alone.call.in[0].data = (uint8_t *)alone.call.in[0].data + (size_t)row * row_bytes;
            variant->cpu (&alone.call)(&alone.call, 0, 1);
            const float *one = alone.call.out[0].data, *many = together.call.out[0].data;
            for (int64_t i = 0; i < together.call.out[0].cols; i++)
                if (memcmp(&one[i], &many[row * together.call.out[0].cols + i], sizeof *one) != 0)
                    fail_msg("%s, %s: row %d of %d, column %d: %.9g alone, %.9g beside others", variant->name,
                             shape->name, (int)row, (int)rows, (int)i, (double)one[i],
                             (double)many[row * together.call.out[0].cols + i]);
            alone.call.in[0].data = (uint8_t *)alone.call.in[0].data - (size_t)row * row_bytes;
            for (int i = 0; i < CI_MAX_INPUTS; i++) free(none[i]);
            ci_sample_destroy(&alone);
        }
        for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
        ci_sample_destroy(&together);
    }
    ci_sample_destroy(&sample);
}

static void test_a_row_of_a_matmul_does_not_depend_on_how_many_there_are(void **state) {
    (void)state;
    static const struct ci_type *const types[] = {&ci_type_q4_0, &ci_type_q8_0,   &ci_type_q4_k,
                                                  &ci_type_q6_k, &ci_type_iq4_nl, &ci_type_q2_k};
    struct ci_caps here = caps();
    for (size_t i = 0; i < 2 * sizeof types / sizeof *types; i++) {
        const struct ci_type *x = i % 2 ? &ci_type_q16 : &ci_type_q8, *w = types[i / 2];
        const struct ci_case shape = {.name = w->name, .in = {{x, 70, 512}, {w, 50, 512}}};
        struct ci_sample_call sample;
        if (ci_sample_create(&ci_op_matmul, &shape, SEED, &sample) != CLINFER_OK) fail_msg("%s", ci_status_message());
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
                if (!sampling_takes(set, j, W * COLS, ONE_IN)) continue;
                bool blocks = types[t]->block_cols > 1;
                int64_t m = x_rows[i], n = w_rows[j % W], k = blocks ? 768 : cols[j / W];
                const struct ci_type *x = blocks && j % 2 ? &ci_type_q8 : &ci_type_f32;
                snprintf(name, sizeof name, "%s by %s, %d x %d x %d", x->name, types[t]->name, (int)m, (int)n, (int)k);
                struct ci_case shape = {
                    .name = name,
                    .in = {
                        {x, m, k}, {types[t], n, k}, {0}, {0}, {&ci_type_f32, 1, n}, {0}, {0}, {&ci_type_f32, m, n}}};
                int ran = check_case(&ci_op_matmul_add, &shape);
                if ((ci_cpu_features()->avx2 || ci_cpu_features()->neon) && !ran) fail_msg("no variant does %s", name);
            }
        }
}

/* Rows of a step are those of a step of one row: drafts and batches rest on it. */
static void test_rows_in_16_bits_are_the_same_bits_alone(void **state) {
    (void)state;
    enum { ROWS = 64, N = 33, COLS = 512 };
    static const struct ci_type *const types[] = {&ci_type_q4_0, &ci_type_q8_0, &ci_type_q4_k, &ci_type_q6_k};
    struct ci_caps here = caps();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        struct ci_sample_call sample;
        struct ci_case shape = {.name = "rows", .in = {{&ci_type_q16, ROWS, COLS}, {types[t], N, COLS}}};
        assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, SEED, &sample), CLINFER_OK);
        float *together = sample.call.out[0].data, alone[N];
        for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
            struct ci_call call = sample.call;
            void *weights[CI_MAX_INPUTS];
            if ((*v)->op != &ci_op_matmul || !(*v)->weight_layout || !ci_variant_fits(*v, &here, &call)) continue;
            lay_out(*v, &call, weights);
            for (int rows = 2; rows <= ROWS; rows += rows < 9 ? 1 : 11) {
                call.in[CI_MATMUL_X].rows = call.out[0].rows = rows;
                (*v)->cpu (&call)(&call, 0, 1);
                struct ci_call one = call;
                one.in[CI_MATMUL_X].rows = one.out[0].rows = 1;
                one.out[0].data = alone;
                for (int r = 0; r < rows; r++) {
                    one.in[CI_MATMUL_X].data =
                        (uint8_t *)sample.call.in[CI_MATMUL_X].data + (size_t)r * ci_type_row_bytes(&ci_type_q16, COLS);
                    (*v)->cpu (&one)(&one, 0, 1);
                    if (memcmp(alone, together + r * N, sizeof alone) != 0)
                        fail_msg("%s by %s: row %d of %d is another alone", types[t]->name, (*v)->name, r, rows);
                }
            }
            for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
        }
        ci_sample_destroy(&sample);
    }
}

/* What is rounded to 8 bits in an op's cases, rounded to 16. */
static void test_outputs_of_16_bits_pass_the_gate(void **state) {
    (void)state;
    for (int i = 0; ci_ops[i]; i++) {
        int ran = 0;
        if (ci_ops[i]->second != &ci_op_quantise) continue;
        for (const struct ci_case *one = ci_ops[i]->cases; one->name; one++) {
            struct ci_case shape = *one;
            shape.params.i[CI_QUANTISE_I_16_BITS] = 1;
            ran += check_case(ci_ops[i], &shape);
        }
        if ((ci_cpu_features()->avx2 || ci_cpu_features()->neon) && !ran) fail_msg("no variant of %s", ci_ops[i]->name);
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
            if (!sampling_takes(type->name, i, 2 * SHAPES, ONE_IN)) continue;
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
            int ran = check_case(&ci_op_matmul_add, &shape); /* large ones are left out at times */
            if (ONE_IN == 1 && ci_cpu_features()->avx2 && !ran) fail_msg("no variant does %s", name);
        }
    }
}

/* Weights of 16 bits by many rows of x (matmul_i16_rows.h): rows around blocks of 8 and a panel of 256, columns around
 * a piece of 2048, what is kept near of it, and groups of 32. */
static void test_matmul_of_many_rows_in_16_bits_is_right_at_the_edges_of_its_panels(void **state) {
    (void)state;
    enum { SHAPES = 5 };
    static const struct {
        int64_t x_rows, w_rows, cols;
    } shapes[SHAPES] = {{33, 33, 64}, {257, 31, 36}, {40, 33, 2085}, {39, 17, 530}, {264, 64, 33}};
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_bf16};
    char name[96];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < SHAPES; i++) {
            int64_t m = shapes[i].x_rows, n = shapes[i].w_rows, k = shapes[i].cols, n2 = 5;
            if (!sampling_takes(types[t]->name, i, SHAPES, ONE_IN)) continue;
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
            check_case(&ci_op_matmul_add, &shape);
        }
}

/* What the rounding of weights of 16 bits has to see: numbers that are not finite spoil their row and column alone, and
 * each row keeps its own size, be it the least that a type has. */
static void test_many_rows_in_16_bits_keep_sizes_and_what_is_not_finite(void **state) {
    (void)state;
    enum { ROWS = 40, OUT = 35, COLS = 96, X_SPOILT = 3, X_SMALL = 5, X_LARGE = 6, W_SPOILT = 7, W_SMALL = 9 };
    static const struct ci_type *const types[] = {&ci_type_f16, &ci_type_bf16};
    const struct ci_caps here = caps();
    for (int t = 0; t < 2; t++) {
        const struct ci_case shape = {.name = "sizes", .in = {{&ci_type_f32, ROWS, COLS}, {types[t], OUT, COLS}}};
        struct ci_sample_call sample, expected;
        assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, SEED, &sample), CLINFER_OK);
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
                if (!sampling_takes(set, j, WIDTHS, ONE_IN)) continue;
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
                int ran = check_case(&ci_op_matmul_experts, &shape);
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
        if (ci_sample_create(&ci_op_matmul_experts, &shape, SEED, &sample) != CLINFER_OK)
            fail_msg("%s", ci_status_message());
        ci_op_matmul_experts.like(&sample.call, &own);
        ci_sample_destroy(&sample);
        assert_ptr_equal(own.in[1].type, type);
        if (!check_case(&ci_op_matmul_experts, &own) && ci_cpu_features()->avx2)
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
    assert_int_equal(ci_sample_create(&ci_op_matmul_experts, &shape, SEED, &sample), CLINFER_OK);
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
                if (!sampling_takes(set, d, DIMS, ONE_IN)) continue;
                const struct ci_type *type = d % 2 ? &ci_type_f16 : &ci_type_f32;
                snprintf(name, sizeof name, "%d rows, %d heads over %d of %d", rows[r], q, kv, dim);
                struct ci_case shape = {.name = name,
                                        .in = {{&ci_type_f32, rows[r], (q + 2 * kv) * dim},
                                               {type, 3 * CI_PAGE_ROWS, kv * dim},
                                               {type, 3 * CI_PAGE_ROWS, kv * dim},
                                               {&ci_type_i32, rows[r] / 16 + 2, CI_TILE_COLS},
                                               {&ci_type_i32, 1, 1}},
                                        .params = {.i = {q, kv, dim}, .f = {1 / sqrtf((float)dim)}}};
                check_case(&ci_op_attention, &shape);
                if (dim * q % 32 == 0) check_case(&ci_op_attention_quantise, &shape);
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
    uint64_t random = SEED;
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
        if (!sampling_takes("attention", i, TRIES, ONE_IN)) continue;
        struct ci_case shape = {.name = name,
                                .in = {{&ci_type_f32, row_count, head[0] * dim},
                                       {key, 8 * CI_PAGE_ROWS, head[1] * dim},
                                       {value, 8 * CI_PAGE_ROWS, head[1] * value_dim},
                                       {&ci_type_i32, row_count / 16 + 4, CI_TILE_COLS},
                                       {&ci_type_i32, row_count > 1 ? 2 : 1, 2},
                                       {sinks ? &ci_type_f32 : NULL, 1, head[0]}},
                                .params = {.i = {head[0], head[1], dim, value_dim, window, kind, both_ways},
                                           .f = {2 / sqrtf((float)dim), cap}}};
        ran += check_case(&ci_op_attention, &shape);
        wanted += ci_cpu_features()->avx2 || ci_cpu_features()->neon;
        /* Of few numbers the gate of q8 does not forgive a single one that lay between two codes. */
        if (value_dim % 32 == 0 && row_count == 18) check_case(&ci_op_attention_quantise, &shape);
    }
    assert_true(ran >= wanted);
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
        int ran = check_case(&ci_op_attention, &shape);
        assert_true(ran > 0 || !(ci_cpu_features()->avx2 || ci_cpu_features()->neon));
    }
}

/* What a window hides is not read: pages that are gone are numbers of no page. */
static void test_attention_does_not_read_what_a_window_hides(void **state) {
    (void)state;
    enum { PAGES = 4, WINDOW = 140 };
    struct ci_caps here = caps();
    struct ci_case shape = {.name = "pages that are gone",
                            .in = {{&ci_type_f32, 9, 64},
                                   {&ci_type_f16, (PAGES + 2) * CI_PAGE_ROWS, 64},
                                   {&ci_type_f16, (PAGES + 2) * CI_PAGE_ROWS, 64},
                                   {&ci_type_i32, 2, CI_TILE_COLS},
                                   {&ci_type_i32, 1, PAGES}},
                            .params = {.i = {1, 1, 64, 0, WINDOW}, .f = {0.125f}}};
    struct ci_sample_call sample, expected;
    assert_int_equal(ci_sample_create(&ci_op_attention, &shape, SEED, &sample), CLINFER_OK);
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
            check_threads(*v, &shape, &sample, &expected, 1);
    ci_sample_destroy(&sample);
    ci_sample_destroy(&expected);
}

/* A code cannot be "not a number"; the scale of its 32 columns must be, or a broken step before would not be noticed.
 */
static void test_what_is_not_finite_stays_so_in_q8(void **state) {
    (void)state;
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    struct ci_caps here = caps();
    struct ci_case shape = {.name = "not finite", .in = {{&ci_type_f32, 3, 96}}};
    struct ci_sample_call sample;
    assert_int_equal(ci_sample_create(&ci_op_quantise, &shape, SEED, &sample), CLINFER_OK);
    for (int row = 0; row < 3; row++) ((float *)sample.call.in[0].data)[row * 96 + 32 + 7 * row] = broken[row];
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        if ((*v)->op != &ci_op_quantise || !ci_variant_fits(*v, &here, &sample.call)) continue;
        (*v)->cpu (&sample.call)(&sample.call, 0, 1);
        for (int row = 0; row < 3; row++) {
            const uint8_t *q8 =
                (const uint8_t *)sample.call.out[0].data + (size_t)row * ci_type_row_bytes(&ci_type_q8, 96);
            const float *scales = ci_q8_scales(q8, 96), *sums = ci_q8_sums(q8, 96);
            if (!isfinite(scales[0]) || !isnan(scales[1]) || !isnan(sums[1]) || !isfinite(scales[2]))
                fail_msg("quantise by %s: %g among 32 columns gives the scales %g %g %g", (*v)->name,
                         (double)broken[row], (double)scales[0], (double)scales[1], (double)scales[2]);
        }
    }
    ci_sample_destroy(&sample);
}

static void check_overflow(const struct ci_op *op, const struct ci_case *shape) {
    struct ci_caps here = caps();
    struct ci_sample_call sample;
    assert_int_equal(ci_sample_create(op, shape, SEED, &sample), CLINFER_OK);
    cache_overflow_fill(&sample);
    assert_int_equal(ci_op_reference(op, &sample.call), CLINFER_OK);
    if (cache_overflow_wrong(&sample) >= 0)
        fail_msg("%s by the reference, case \"%s\": value %d", op->name, shape->name,
                 (int)cache_overflow_wrong(&sample));
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        if ((*v)->op != op || !ci_variant_fits(*v, &here, &sample.call)) continue;
        struct ci_view *cache = &sample.call.out[op->outputs - 1];
        memset(cache->data, 0, ci_view_bytes(cache));
        (*v)->cpu (&sample.call)(&sample.call, 0, 1);
        if (cache_overflow_wrong(&sample) >= 0)
            fail_msg("%s by %s, case \"%s\": value %d", op->name, (*v)->name, shape->name,
                     (int)cache_overflow_wrong(&sample));
    }
    ci_sample_destroy(&sample);
}

/* An infinite key may give a token no weight and show nowhere. */
static void test_what_a_cache_does_not_hold_is_not_a_number_there(void **state) {
    (void)state;
    static const struct ci_op *const ops[] = {&ci_op_kv_append, &ci_op_rope_kv_append};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (const struct ci_case *shape = ops[i]->cases; shape->name; shape++) check_overflow(ops[i], shape);
}

/* Codes that lie between two may go either way; a kernel that rounds down would be wrong in a third of them or more. */
static void test_codes_of_a_cache_may_differ_by_one_here_and_there(void **state) {
    (void)state;
    static const struct {
        int every, by; /* so many-th code of q8_0 differs by so much */
        bool passes;
    } changes[] = {{0, 0, true}, {900, 1, true}, {900, 2, false}, {3, 1, false}};
    const struct ci_case *shape = ci_op_kv_append.cases;
    while (shape->state[0].type != &ci_type_q8_0) shape++;
    struct ci_sample_call expected, actual;
    struct ci_gate_result result;
    assert_int_equal(ci_sample_create(&ci_op_kv_append, shape, SEED, &expected), CLINFER_OK);
    assert_int_equal(ci_op_reference(&ci_op_kv_append, &expected.call), CLINFER_OK);
    for (size_t c = 0; c < sizeof changes / sizeof *changes; c++) {
        assert_int_equal(ci_sample_copy(&expected, &actual), CLINFER_OK);
        assert_int_equal(ci_op_reference(&ci_op_kv_append, &actual.call), CLINFER_OK);
        const struct ci_view *keys = &actual.call.out[0];
        int8_t *codes = keys->data;
        for (int64_t i = 1; changes[c].every && i < keys->rows * keys->cols; i += changes[c].every) {
            int8_t *code = codes + i / 32 * 34 + 2 + i % 32;
            *code = (int8_t)(*code > 0 ? *code - changes[c].by : *code + changes[c].by);
        }
        assert_int_equal(ci_gate_compare(&ci_op_kv_append, &expected.call, &actual.call, &result), CLINFER_OK);
        if (result.passed != changes[c].passes)
            fail_msg("each %d-th code differs by %d: %s", changes[c].every, changes[c].by, result.text);
        ci_sample_destroy(&actual);
    }
    ci_sample_destroy(&expected);
}

struct run {
    ci_cpu_function *function;
    struct ci_call *call;
};

static void run_share(void *argument, int thread, int threads) {
    struct run *run = argument;
    run->function(run->call, thread, threads);
}

/* In earnest, so that a sanitizer for threads has something to look at. */
static void test_threads_together_give_the_same_result(void **state) {
    (void)state;
    struct ci_caps here = caps();
    struct ci_threads *threads;
    struct ci_sample_call sample, alone, together;
    struct ci_case shape = {.name = "two threads", .in = {{&ci_type_f32, 5, 64}, {&ci_type_f32, 100, 64}}};
    int output, ran = 0;
    assert_int_equal(ci_threads_create(2, &threads), CLINFER_OK);
    assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, SEED, &sample), CLINFER_OK);
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        if ((*v)->op != &ci_op_matmul || !ci_variant_fits(*v, &here, &sample.call)) continue;
        assert_int_equal(ci_sample_copy(&sample, &alone), CLINFER_OK);
        assert_int_equal(ci_sample_copy(&sample, &together), CLINFER_OK);
        struct run run = {(*v)->cpu(&sample.call), &together.call};
        run.function(&alone.call, 0, 1);
        ci_threads_run(threads, run_share, &run);
        assert_true(ci_sample_guards_hold(&together, &output));
        assert_memory_equal(alone.call.out[0].data, together.call.out[0].data, ci_view_bytes(&alone.call.out[0]));
        ci_sample_destroy(&alone);
        ci_sample_destroy(&together);
        ran++;
    }
    ci_sample_destroy(&sample);
    ci_threads_destroy(threads);
    assert_true(ran > 0 || !(here.cpu->avx2 || here.cpu->neon));
}

static void test_every_variant_of_this_processor_does_some_case(void **state) {
    (void)state;
    struct ci_caps here = caps();
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        struct ci_call none = {0};
        bool there = false;
        if ((*v)->fits && !(*v)->fits(&here, &none)) continue;
        for (const struct ci_case *shape = (*v)->op->cases; shape->name && !there; shape++) {
            struct ci_sample_call sample;
            if (ci_sample_create((*v)->op, shape, SEED, &sample) != CLINFER_OK) continue;
            there = ci_variant_fits(*v, &here, &sample.call);
            ci_sample_destroy(&sample);
        }
        if (!there) fail_msg("%s by %s fits none of the op's cases", (*v)->op->name, (*v)->name);
    }
}

static void test_every_variant_says_whom_it_is_for(void **state) {
    (void)state;
    for (int i = 0; ci_variants[i]; i++)
        if (!ci_variants[i]->for_whom || !*ci_variants[i]->for_whom)
            fail_msg("%s by %s does not say where it wins or for which devices it is", ci_variants[i]->op->name,
                     ci_variants[i]->name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_variant_says_whom_it_is_for),
        cmocka_unit_test(test_every_variant_of_this_processor_does_some_case),
        cmocka_unit_test(test_variants_pass_the_gate_on_their_ops_cases),
        cmocka_unit_test(test_matmul_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_matmul_of_very_long_rows_has_a_kernel),
        cmocka_unit_test(test_only_many_rows_of_16_bit_weights_may_be_less_exact),
        cmocka_unit_test(test_a_row_of_a_matmul_does_not_depend_on_how_many_there_are),
        cmocka_unit_test(test_matmul_of_many_rows_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_rows_in_16_bits_are_the_same_bits_alone),
        cmocka_unit_test(test_outputs_of_16_bits_pass_the_gate),
        cmocka_unit_test(test_matmul_of_many_rows_in_codes_is_right_at_the_edges_of_its_panels),
        cmocka_unit_test(test_matmul_of_many_rows_in_16_bits_is_right_at_the_edges_of_its_panels),
        cmocka_unit_test(test_many_rows_in_16_bits_keep_sizes_and_what_is_not_finite),
        cmocka_unit_test(test_experts_are_right_at_the_edges_of_their_tiles),
        cmocka_unit_test(test_experts_of_every_type_have_a_case_that_proves_them),
        cmocka_unit_test(test_only_the_chosen_experts_count_as_read),
        cmocka_unit_test(test_attention_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_attention_does_everything_at_once),
        cmocka_unit_test(test_attention_takes_values_from_wider_rows),
        cmocka_unit_test(test_attention_does_not_read_what_a_window_hides),
        cmocka_unit_test(test_what_is_not_finite_stays_so_in_q8),
        cmocka_unit_test(test_what_a_cache_does_not_hold_is_not_a_number_there),
        cmocka_unit_test(test_codes_of_a_cache_may_differ_by_one_here_and_there),
        cmocka_unit_test(test_threads_together_give_the_same_result),
    };
    return cmocka_run_group_tests_name("cpu_kernels", tests, NULL, NULL);
}
