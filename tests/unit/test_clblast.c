/* device/clblast.c on every OpenCL device: products with strides, offsets and both of CLBlast's kernels, what building
 * them costs, and parameters. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support/device_fixture.h"

/* c [m, n] inside [m, stride] floats, everything between guards; offsets as weights in a mapped file have them. */
struct product {
    int m, n, k, stride;
    float beta;
};

enum { OFFSET = 8, GUARD = 64 }; /* floats */

static float number(int i) { return (float)((i * 37 + 11) % 29 - 14) / 8.0f; }

static struct ci_buffer *filled(int count, int seed) {
    float *values = malloc(sizeof *values * (size_t)(OFFSET + count));
    assert_non_null(values);
    for (int i = 0; i < OFFSET + count; i++) values[i] = number(i + seed);
    struct ci_buffer *buffer = fixture_buffer(sizeof *values * (size_t)(OFFSET + count));
    assert_ok(ci_buffer_write(buffer, 0, values, sizeof *values * (size_t)(OFFSET + count)));
    free(values);
    return buffer;
}

static float expected_at(const struct product *p, int row, int col, float before) {
    double sum = p->beta == 0.0f ? 0.0 : (double)p->beta * before;
    for (int i = 0; i < p->k; i++)
        sum += (double)number(OFFSET + row * p->k + i + 1) * number(OFFSET + col * p->k + i + 2);
    return (float)sum;
}

/* Where beta is 0 the output is NaN before: it must not be read. */
static void check_product(const struct product *p) {
    int count = p->m * p->stride + 2 * GUARD;
    float *before = malloc(sizeof *before * (size_t)count), *after = malloc(sizeof *after * (size_t)count);
    assert_true(before && after);
    for (int i = 0; i < count; i++) before[i] = number(i + 3);
    for (int row = 0; p->beta == 0.0f && row < p->m; row++)
        for (int col = 0; col < p->n; col++) before[GUARD + row * p->stride + col] = NAN;
    struct ci_buffer *a = filled(p->m * p->k, 1), *b = filled(p->n * p->k, 2);
    struct ci_buffer *c = fixture_buffer(sizeof *before * (size_t)count);
    assert_ok(ci_buffer_write(c, 0, before, sizeof *before * (size_t)count));
    struct ci_gemm gemm = {.a = a,
                           .b = b,
                           .c = c,
                           .a_offset = OFFSET * sizeof(float),
                           .b_offset = OFFSET * sizeof(float),
                           .c_offset = GUARD * sizeof(float),
                           .m = p->m,
                           .n = p->n,
                           .k = p->k,
                           .c_stride = p->stride,
                           .beta = p->beta};
    assert_ok(ci_gemm_prepare(fixture_device, &gemm));
    uint64_t objects = fixture_counts().objects;
    assert_ok(ci_gemm_enqueue(fixture_device, &gemm));
    assert_ok(ci_buffer_read(c, 0, after, sizeof *after * (size_t)count));
    assert_true(fixture_counts().objects == objects);
    for (int i = 0; i < count; i++) {
        int at = i - GUARD, row = at / p->stride, col = at % p->stride;
        bool inside = at >= 0 && row < p->m && col < p->n;
        float right = inside ? expected_at(p, row, col, before[i]) : before[i];
        if (!(fabsf(after[i] - right) <= (inside ? 1e-3f : 0.0f)))
            fail_msg("%d x %d x %d, stride %d, beta %g: [%d, %d] is %g, expected %g", p->m, p->n, p->k, p->stride,
                     (double)p->beta, row, col, (double)after[i], (double)right);
    }
    ci_buffer_destroy(a);
    ci_buffer_destroy(b);
    ci_buffer_destroy(c);
    free(before);
    free(after);
}

static void check_products(void) {
    static const struct product products[] = {
        {16, 32, 64, 32, 0}, {17, 37, 96, 37, 0}, {1, 5, 32, 9, 1}, {64, 64, 64, 100, 1}, {130, 101, 32, 101, 0}};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) check_product(&products[i]);
}

static void test_programs_are_built_by_the_first_product_only(void **state) {
    const struct ci_gemm gemm = {.m = 4, .n = 8, .k = 32, .c_stride = 8};
    (void)state;
    fixture_run_scale("-D FACTOR=3", 3, 8);
    assert_true(fixture_counts().clblast_seconds == 0);
    assert_ok(ci_gemm_prepare(fixture_device, &gemm));
    double seconds = fixture_counts().clblast_seconds;
    assert_true(seconds > 0);
    assert_ok(ci_gemm_prepare(fixture_device, &gemm));
    assert_true(fixture_counts().clblast_seconds == seconds);
}

static void test_products_are_right_beside_what_they_leave_alone(void **state) {
    (void)state;
    check_products();
}

/* Fewer rows than prepared for must do: a plan's last chunk has them. */
static void test_fewer_rows_need_no_preparation(void **state) {
    struct ci_gemm gemm = {.m = 512, .n = 256, .k = 96, .c_stride = 256};
    (void)state;
    assert_ok(ci_gemm_prepare(fixture_device, &gemm));
    uint64_t objects = fixture_counts().objects;
    for (gemm.m = 511; gemm.m > 0; gemm.m = gemm.m * 3 / 4) assert_ok(ci_gemm_prepare(fixture_device, &gemm));
    assert_true(fixture_counts().objects == objects);
}

static enum clinfer_status prepare(void) {
    const struct ci_gemm gemm = {.m = 4, .n = 8, .k = 32, .c_stride = 8};
    return ci_gemm_prepare(fixture_device, &gemm);
}

static void test_parameters_are_taken_or_refused(void **state) {
    const char *names[] = {"XGEMM_MIN_INDIRECT_SIZE"};
    const size_t indirect = 1, direct = 100000;
    (void)state;
    ci_device_clblast_parameters(fixture_device, "GemmRoutine", 1, names, &indirect);
    check_products();
    ci_device_clblast_parameters(fixture_device, "GemmRoutine", 1, names, &direct);
    check_products();
    ci_device_clblast_parameters(fixture_device, "Xgemm", 1, names, &indirect);
    assert_int_equal(prepare(), CLINFER_DEVICE_ERROR);
    assert_message("Xgemm");
}

static void test_an_unknown_kernel_has_no_parameters(void **state) {
    const char *names[] = {"XGEMM_MIN_INDIRECT_SIZE"};
    const size_t indirect = 1;
    (void)state;
    ci_device_clblast_parameters(fixture_device, "NoSuchKernel", 1, names, &indirect);
    assert_true(fixture_counts().clblast_seconds == 0);
    assert_int_equal(prepare(), CLINFER_DEVICE_ERROR);
    assert_message("NoSuchKernel");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_programs_are_built_by_the_first_product_only, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_products_are_right_beside_what_they_leave_alone, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(test_fewer_rows_need_no_preparation, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_parameters_are_taken_or_refused, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_an_unknown_kernel_has_no_parameters, fixture_open, fixture_close),
    };
    return fixture_run(tests, sizeof tests / sizeof *tests);
}
