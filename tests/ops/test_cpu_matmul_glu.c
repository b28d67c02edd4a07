/* matmul_glu_quantise of the CPU backend: right by its reference, and bit for bit what matmul and glu_quantise give by
 * the same kernels, whatever rows there are and whoever shares them. Cross-built like test_cpu_kernels.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/cpu_cases.h"
#include "tensor/op_params.h"

static const struct ci_type *const types[] = {
    &ci_type_q4_0, &ci_type_q4_1, &ci_type_q5_0, &ci_type_q5_1,   &ci_type_q8_0,   &ci_type_q2_k, &ci_type_q3_k,
    &ci_type_q4_k, &ci_type_q5_k, &ci_type_q6_k, &ci_type_iq4_nl, &ci_type_iq4_xs, &ci_type_mxfp4};
enum { TYPES = sizeof types / sizeof *types };

static const int kinds[] = {CI_ACTIVATION_SILU, CI_ACTIVATION_GELU, CI_ACTIVATION_RELU, CI_ACTIVATION_SWIGLU_OAI};

/* Gate and up of `outputs` each, in one matrix where i is odd; of each three cases one has biases. */
static struct ci_case gated(const char *name, const struct ci_type *x, const struct ci_type *w, int64_t rows,
                            int64_t outputs, int64_t cols, int i) {
    const bool one = i % 2, biases = i % 3 == 2;
    const int64_t own = one ? 2 * outputs : outputs;
    struct ci_case shape = {.name = name,
                            .in = {{x, rows, cols}, {w, own, cols}},
                            .params = {{[CI_ACTIVATION_I_KIND] = kinds[i % 4]}, {1.702f, 7}}};
    if (!one) shape.in[CI_MATMUL_W0 + 1] = shape.in[CI_MATMUL_W0];
    if (biases) shape.in[CI_MATMUL_B0] = (struct ci_case_shape){&ci_type_f32, 1, own};
    if (biases && !one) shape.in[CI_MATMUL_B0 + 1] = shape.in[CI_MATMUL_B0];
    if (i % 5 == 4) shape.params.i[CI_ACTIVATION_I_WIDTH] = (int32_t)outputs;
    shape.params.i[CI_QUANTISE_I_16_BITS] = i / 2 % 2;
    return shape;
}

/* Rows of x around tiles of 1, 2, 4, 8, 16 and 32, and several of them. With few a plan takes two ops, but what was
 * planned for more runs with few, too. */
static const int64_t x_rows[] = {1, 2, 3, 5, 8, 15, 17, 31, 33, 70};
enum { ROWS = sizeof x_rows / sizeof *x_rows, FEW = 4, PLANNED = 64 };

static void test_every_type_is_right_at_the_edges_of_its_tiles(void **state) {
    (void)state;
    static const int64_t outputs[] = {32, 96, 64};
    char name[96];
    for (int t = 0; t < 2 * TYPES; t++)
        for (int i = FEW; i < ROWS; i++) {
            const struct ci_type *x = t < TYPES ? &ci_type_q8 : &ci_type_q16, *w = types[t % TYPES];
            if (!sampling_takes(w->name, i - FEW, ROWS - FEW, 3)) continue;
            int64_t m = x_rows[i], n = outputs[(i + t) % 3], cols = w->block_cols < 256 ? 96 : 512;
            snprintf(name, sizeof name, "%s by %s, %d x 2 %d x %d", x->name, w->name, (int)m, (int)n, (int)cols);
            const struct ci_case shape = gated(name, x, w, m, n, cols, i + t);
            int ran = cpu_check_case(&ci_op_matmul_glu_quantise, &shape); /* large ones are left out at times */
            if (CPU_ONE_IN == 1 && ci_cpu_features()->avx2 && !ran) fail_msg("no variant does %s", name);
        }
}

/* The variant of this name for another op; "q8_r16_avx2" has "avx2" behind its last line. */
static ci_cpu_function *function_of(const struct ci_op *op, const char *name, const struct ci_call *call) {
    struct ci_caps here = cpu_caps();
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1))
        if ((*v)->op == op && strcmp((*v)->name, name) == 0 && ci_variant_fits(*v, &here, call)) return (*v)->cpu(call);
    fail_msg("op %s has no variant %s", op->name, name);
    return NULL;
}

/* NEON with dot products has its other ops under the name of NEON. */
static const char *set_of(const struct ci_variant *variant) {
    const char *set = strrchr(variant->name, '_') + 1;
    return strcmp(set, "neondot") == 0 ? "neon" : set;
}

static ci_cpu_function *planned(const struct ci_variant *variant, const struct ci_call *call) {
    struct ci_caps here = cpu_caps();
    struct ci_call more = *call;
    more.in[CI_MATMUL_X].rows = more.out[0].rows = PLANNED;
    return ci_variant_fits(variant, &here, &more) ? variant->cpu(&more) : NULL;
}

static void check_same_bits(const struct ci_variant *variant, const struct ci_case *shape, int threads) {
    struct ci_sample_call sample, together;
    struct ci_call first, second;
    void *weights[CI_MAX_INPUTS];
    atomic_int taken = 0;
    int output;
    assert_int_equal(ci_sample_create(variant->op, shape, CPU_SEED, &sample), CLINFER_OK);
    assert_int_equal(ci_sample_copy(&sample, &together), CLINFER_OK);
    if (threads % 2 == 0) together.call.taken = &taken;
    cpu_lay_out(variant, &together.call, weights);
    sample.call.in[CI_MATMUL_W0] = together.call.in[CI_MATMUL_W0];
    sample.call.in[CI_MATMUL_W0 + 1] = together.call.in[CI_MATMUL_W0 + 1];
    for (int t = threads - 1; t >= 0; t--) planned(variant, &together.call)(&together.call, t, threads);
    if (!ci_sample_guards_hold(&together, &output)) fail_msg("%s: writes beyond its output", shape->name);

    assert_int_equal(ci_op_split(variant->op, &sample.call, &first, &second), CLINFER_OK);
    void *between = malloc(ci_view_bytes(&first.out[0]));
    assert_non_null(between);
    first.out[0].data = second.in[0].data = between;
    function_of(&ci_op_matmul, variant->name, &first)(&first, 0, 1);
    function_of(&ci_op_glu_quantise, set_of(variant), &second)(&second, 0, 1);
    const struct ci_view *out = &together.call.out[0];
    const size_t row_bytes = ci_type_row_bytes(out->type, out->cols);
    for (int64_t row = 0; row < out->rows; row++)
        if (memcmp((uint8_t *)out->data + row_bytes * (size_t)row,
                   (uint8_t *)sample.call.out[0].data + row_bytes * (size_t)row, row_bytes) != 0)
            fail_msg("%s, %s, %d threads: row %d is not what two ops give", variant->name, shape->name, threads,
                     (int)row);
    free(between);
    for (int i = 0; i < CI_MAX_INPUTS; i++) free(weights[i]);
    sample.call.in[CI_MATMUL_W0].data = sample.call.in[CI_MATMUL_W0 + 1].data = NULL;
    ci_sample_destroy(&sample);
    ci_sample_destroy(&together);
}

/* Real shapes, too: SmolLM2's, of which some groups of outputs, and rows as long as those of 1.5B. */
static void test_the_result_is_bit_for_bit_that_of_two_ops(void **state) {
    (void)state;
    char name[96];
    int ran = 0;
    for (int t = 0; t < 2 * TYPES; t++)
        for (int i = 0; i < ROWS; i++) {
            const struct ci_type *x = t < TYPES ? &ci_type_q8 : &ci_type_q16, *w = types[t % TYPES];
            if (!sampling_takes("same bits", i + ROWS * t, 2 * TYPES * ROWS, 4 * CPU_ONE_IN + 1)) continue;
            int64_t cols = w->block_cols < 256 ? 576 : 1536, outputs = 32 * (1 + (i + t) % 7);
            snprintf(name, sizeof name, "%s by %s, %d x 2 %d x %d", x->name, w->name, (int)x_rows[i], (int)outputs,
                     (int)cols);
            const struct ci_case shape = gated(name, x, w, x_rows[i], outputs, cols, i + t);
            struct ci_sample_call sample;
            assert_int_equal(ci_sample_create(&ci_op_matmul_glu_quantise, &shape, CPU_SEED, &sample), CLINFER_OK);
            for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
                if ((*v)->op != &ci_op_matmul_glu_quantise || !planned(*v, &sample.call)) continue;
                check_same_bits(*v, &shape, 1 + (i + t) % 5);
                ran++;
            }
            ci_sample_destroy(&sample);
        }
    if (!ran && (ci_cpu_features()->avx2 || ci_cpu_features()->neondot)) fail_msg("no variant ran");
}

/* Rows of x so long that a panel (512 KB) has no room for all of them: pieces of 32 at most in 8 bits, of 19 in
 * 16, and of a single one. */
static void test_rows_that_do_not_fit_one_panel_are_the_same_bits(void **state) {
    (void)state;
    enum { COLS = 10240, MANY = 41, FEWEST = 8, KINDS = CPU_ONE_IN == 1 ? 4 : 2 };
    static const struct ci_type *const weights[] = {&ci_type_q4_0, &ci_type_q4_1, &ci_type_q4_k, &ci_type_q6_k};
    for (int i = 0; i < KINDS; i++) {
        const struct ci_type *x = i % 2 ? &ci_type_q16 : &ci_type_q8;
        const struct ci_case shape = gated("several panels", x, weights[i], MANY, 32, COLS, i);
        const struct ci_case longest = gated("rows as long as a panel", x, weights[i], FEWEST, 32, CI_R16_MOST_COLS, i);
        struct ci_sample_call sample;
        assert_int_equal(ci_sample_create(&ci_op_matmul_glu_quantise, &shape, CPU_SEED, &sample), CLINFER_OK);
        for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
            if ((*v)->op != &ci_op_matmul_glu_quantise || !planned(*v, &sample.call)) continue;
            check_same_bits(*v, &shape, 2);
            if (CPU_ONE_IN == 1 && i == 1) check_same_bits(*v, &longest, 1);
        }
        ci_sample_destroy(&sample);
    }
}

/* Halves that are no weights, gates in slices, three weights, activations in floats, few rows. */
static void test_what_no_kernel_does_is_left_to_two_ops(void **state) {
    (void)state;
    struct ci_caps here = cpu_caps();
    for (int i = 0; i < 5; i++) {
        struct ci_case shape =
            gated("left out", i == 3 ? &ci_type_f32 : &ci_type_q8, &ci_type_q4_0, i == 4 ? 2 : 8, 64, 64, 0);
        if (i == 0) shape.in[CI_MATMUL_W0 + 1].rows = 128; /* and one third of it, as if it were a half */
        if (i == 1) shape.params.i[CI_ACTIVATION_I_WIDTH] = 32;
        if (i == 2) shape.in[CI_MATMUL_W0 + 2] = (struct ci_case_shape){&ci_type_q4_0, 64, 64};
        struct ci_sample_call sample;
        assert_int_equal(ci_sample_create(&ci_op_matmul_glu_quantise, &shape, CPU_SEED, &sample), CLINFER_OK);
        for (int k = 0; ci_variants[k]; k++)
            if (ci_variants[k]->op == &ci_op_matmul_glu_quantise && ci_variants[k]->backend == CI_BACKEND_CPU &&
                ci_variant_fits(ci_variants[k], &here, &sample.call))
                fail_msg("%s takes what it cannot do (%d)", ci_variants[k]->name, i);
        ci_sample_destroy(&sample);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_type_is_right_at_the_edges_of_its_tiles),
        cmocka_unit_test(test_the_result_is_bit_for_bit_that_of_two_ops),
        cmocka_unit_test(test_rows_that_do_not_fit_one_panel_are_the_same_bits),
        cmocka_unit_test(test_what_no_kernel_does_is_left_to_two_ops),
    };
    return cmocka_run_group_tests_name("cpu_matmul_glu", tests, NULL, NULL);
}
