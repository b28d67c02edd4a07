/* Kernels with __asm__ for this processor (gemv_r16_*, gemm_r16_* of ops/opencl_matmul.c): they may be offered to the
 * device that is this processor and to no other, since elsewhere they would be instructions that do not exist. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ops/op_list.h"
#include "tensor/op_params.h"

static struct ci_cpu_features cpu;
static struct ci_device_caps device;
static struct ci_call call;

/* PoCL on a processor with everything, and a q4_1 weight by one row of q8. */
static int setup(void **state) {
    (void)state;
    cpu = (struct ci_cpu_features){.name = "Some Processor 9", .avx2 = true, .avx512vnni = true};
    device = (struct ci_device_caps){.kind = CI_DEVICE_CPU,
                                     .name = "pthread-haswell-Some Processor 9",
                                     .platform = "Portable Computing Language",
                                     .compute_units = 2};
    call = (struct ci_call){0};
    ci_view_set(&call.in[CI_MATMUL_X], &ci_type_q8, 1, 256);
    ci_view_set(&call.in[CI_MATMUL_W0], &ci_type_q4_1, 48, 256);
    ci_view_set(&call.out[0], &ci_type_f32, 1, 48);
    return 0;
}

/* How many variants whose name ends so fit. */
static int fitting(const char *ending) {
    struct ci_caps caps = {.cpu = &cpu, .device = &device, .threads = 2};
    int count = 0;
    for (int i = 0; ci_variants[i]; i++) {
        const struct ci_variant *variant = ci_variants[i];
        size_t length = strlen(variant->name), tail = strlen(ending);
        if (variant->op == &ci_op_matmul && variant->backend == CI_BACKEND_OPENCL && length > tail &&
            strcmp(variant->name + length - tail, ending) == 0)
            count += ci_variant_fits(variant, &caps, &call);
    }
    return count;
}

#if defined(__x86_64__)
static void test_they_fit_where_the_processor_has_the_instructions(void **state) {
    (void)state;
    assert_int_equal(fitting("_r16_vnni"), 2);
    assert_int_equal(fitting("_r16_avx2"), 2);
    cpu.avx512vnni = false;
    assert_int_equal(fitting("_r16_vnni"), 0);
    assert_int_equal(fitting("_r16_avx2"), 2);
    cpu.avx2 = false;
    assert_int_equal(fitting("_r16_avx2"), 0);
}

static void test_many_rows_are_for_the_gemm_alone(void **state) {
    (void)state;
    call.in[CI_MATMUL_X].rows = call.out[0].rows = 128;
    assert_int_equal(fitting("_r16_vnni"), 1);
    assert_int_equal(fitting("_r16_avx2"), 1);
}

static void test_every_type_with_the_layout_is_theirs(void **state) {
    (void)state;
    static const struct ci_type *const types[] = {&ci_type_q4_0, &ci_type_q4_1, &ci_type_q5_0, &ci_type_q5_1,
                                                  &ci_type_q8_0, &ci_type_q2_k, &ci_type_q3_k, &ci_type_q4_k,
                                                  &ci_type_q5_k, &ci_type_q6_k};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        call.in[CI_MATMUL_W0].type = types[i];
        assert_int_equal(fitting("_r16_vnni"), 2);
        assert_int_equal(fitting("_r16_avx2"), 2);
    }
}
#endif

static void test_they_never_fit_another_device(void **state) {
    snprintf(device.name, sizeof device.name, "pthread-haswell-Another Processor");
    assert_int_equal(fitting("_r16_vnni") + fitting("_r16_avx2"), 0);
    setup(state);
    snprintf(device.platform, sizeof device.platform, "Oclgrind");
    assert_int_equal(fitting("_r16_vnni") + fitting("_r16_avx2"), 0);
    setup(state);
    device.kind = CI_DEVICE_GPU;
    assert_int_equal(fitting("_r16_vnni") + fitting("_r16_avx2"), 0);
}

static void test_they_never_fit_other_operands(void **state) {
    call.in[CI_MATMUL_X].type = &ci_type_f32;
    assert_int_equal(fitting("_r16_vnni") + fitting("_r16_avx2"), 0);
    setup(state);
    call.in[CI_MATMUL_W0].type = &ci_type_f16;
    assert_int_equal(fitting("_r16_vnni") + fitting("_r16_avx2"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test_setup(test_they_fit_where_the_processor_has_the_instructions, setup),
        cmocka_unit_test_setup(test_many_rows_are_for_the_gemm_alone, setup),
        cmocka_unit_test_setup(test_every_type_with_the_layout_is_theirs, setup),
#endif
        cmocka_unit_test_setup(test_they_never_fit_another_device, setup),
        cmocka_unit_test_setup(test_they_never_fit_other_operands, setup),
    };
    return cmocka_run_group_tests_name("kernels with __asm__", tests, NULL, NULL);
}
