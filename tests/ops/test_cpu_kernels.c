/* Every variant of the CPU backend that this processor can run, against its op's reference, on the op's own cases;
 * small shapes at the edges of the tiles are in test_cpu_matmul.c and test_cpu_attention.c. A processor with AVX-512
 * also runs what AVX2 would. Needs no OpenCL, so that it is cross-built for other architectures and run under an
 * emulator. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/threads.h"
#include "support/cache_overflow.h"
#include "support/cpu_cases.h"
#include "tensor/op_params.h"

static void test_variants_pass_the_gate_on_their_ops_cases(void **state) {
    (void)state;
    for (int i = 0; ci_ops[i]; i++)
        for (const struct ci_case *shape = ci_ops[i]->cases; shape->name; shape++) cpu_check_case(ci_ops[i], shape);
}

/* What is rounded to 8 bits in an op's cases, rounded to 16. */
static void test_outputs_of_16_bits_pass_the_gate(void **state) {
    (void)state;
    for (int i = 0; ci_ops[i]; i++) {
        int ran = 0;
        if (!ci_op_rounds(ci_ops[i])) continue;
        for (const struct ci_case *one = ci_ops[i]->cases; one->name; one++) {
            struct ci_case shape = *one;
            shape.params.i[CI_QUANTISE_I_16_BITS] = 1;
            ran += cpu_check_case(ci_ops[i], &shape);
        }
        if ((ci_cpu_features()->avx2 || ci_cpu_features()->neon) && !ran) fail_msg("no variant of %s", ci_ops[i]->name);
    }
}

/* A code cannot be "not a number"; the scale of its 32 columns must be, or a broken step before would not be noticed.
 */
static void test_what_is_not_finite_stays_so_in_q8(void **state) {
    (void)state;
    static const float broken[] = {NAN, INFINITY, -INFINITY};
    struct ci_caps here = cpu_caps();
    struct ci_case shape = {.name = "not finite", .in = {{&ci_type_f32, 3, 96}}};
    struct ci_sample_call sample;
    assert_int_equal(ci_sample_create(&ci_op_quantise, &shape, CPU_SEED, &sample), CLINFER_OK);
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
    struct ci_caps here = cpu_caps();
    struct ci_sample_call sample;
    assert_int_equal(ci_sample_create(op, shape, CPU_SEED, &sample), CLINFER_OK);
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
    assert_int_equal(ci_sample_create(&ci_op_kv_append, shape, CPU_SEED, &expected), CLINFER_OK);
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
    struct ci_caps here = cpu_caps();
    struct ci_threads *threads;
    struct ci_sample_call sample, alone, together;
    struct ci_case shape = {.name = "two threads", .in = {{&ci_type_f32, 5, 64}, {&ci_type_f32, 100, 64}}};
    int output, ran = 0;
    assert_int_equal(ci_threads_create(2, &threads), CLINFER_OK);
    assert_int_equal(ci_sample_create(&ci_op_matmul, &shape, CPU_SEED, &sample), CLINFER_OK);
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
    struct ci_caps here = cpu_caps();
    for (const struct ci_variant *const *v = cpu_variant(ci_variants); *v; v = cpu_variant(v + 1)) {
        struct ci_call none = {0};
        bool there = false;
        if ((*v)->fits && !(*v)->fits(&here, &none)) continue;
        for (const struct ci_case *shape = (*v)->op->cases; shape->name && !there; shape++) {
            struct ci_sample_call sample;
            if (ci_sample_create((*v)->op, shape, CPU_SEED, &sample) != CLINFER_OK) continue;
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
        cmocka_unit_test(test_outputs_of_16_bits_pass_the_gate),
        cmocka_unit_test(test_what_is_not_finite_stays_so_in_q8),
        cmocka_unit_test(test_what_a_cache_does_not_hold_is_not_a_number_there),
        cmocka_unit_test(test_codes_of_a_cache_may_differ_by_one_here_and_there),
        cmocka_unit_test(test_threads_together_give_the_same_result),
    };
    return cmocka_run_group_tests_name("cpu_kernels", tests, NULL, NULL);
}
