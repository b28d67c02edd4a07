/* What the processor can do, and CLINFER_CPU, which takes away. The features are found once per process, so every
 * setting is asked of a child. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cpu/cpu.h"

enum { AVX2 = 1, AVX512VNNI = 2, AVX512BF16 = 4, NEON = 8, NEONDOT = 16 };

/* The features as bits, as a process with this setting sees them. */
static int features_with(const char *setting) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (setting)
            setenv("CLINFER_CPU", setting, 1);
        else
            unsetenv("CLINFER_CPU");
        const struct ci_cpu_features *features = ci_cpu_features();
        _exit((features->avx2 ? AVX2 : 0) | (features->avx512vnni ? AVX512VNNI : 0) |
              (features->avx512bf16 ? AVX512BF16 : 0) | (features->neon ? NEON : 0) |
              (features->neondot ? NEONDOT : 0));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_setting_takes_away_what_is_better(void **state) {
    (void)state;
    int all = features_with(NULL);
    assert_int_equal(features_with("scalar"), 0);
    assert_int_equal(features_with("avx2"), all & AVX2);
    assert_int_equal(features_with("avx512vnni"), all & (AVX2 | AVX512VNNI));
    assert_int_equal(features_with("avx512bf16"), all & (AVX2 | AVX512VNNI | AVX512BF16));
    assert_int_equal(features_with("neon"), all & NEON);
    assert_int_equal(features_with("neondot"), all & (NEON | NEONDOT));
    assert_int_equal(features_with("no such name"), all);
}

/* Kernels of a better set call functions of the lesser one. */
static void test_better_features_include_the_lesser(void **state) {
    (void)state;
    int all = features_with(NULL);
    if (all & AVX512VNNI) assert_true(all & AVX2);
    if (all & AVX512BF16) assert_true(all & AVX512VNNI);
    if (all & NEONDOT) assert_true(all & NEON);
}

/* The compiler's own look at the processor, made by other people. */
static void test_features_are_those_the_compiler_finds(void **state) {
    (void)state;
#if defined(__x86_64__)
    int expected = 0, all = features_with(NULL);
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) expected |= AVX2;
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        expected |= AVX512VNNI;
    assert_int_equal(all & (AVX2 | AVX512VNNI), expected);
#endif
    assert_true(strlen(ci_cpu_features()->name) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_setting_takes_away_what_is_better),
        cmocka_unit_test(test_better_features_include_the_lesser),
        cmocka_unit_test(test_features_are_those_the_compiler_finds),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
