/* The tuner's worker: candidates that are right are timed; one that crashes, hangs, compiles for ever, computes
 * nonsense, writes out of bounds or takes all memory costs itself and nothing else, and is named. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "support/device_fixture.h"
#include "support/process.h"
#include "tuner/worker.h"

static struct ci_worker *worker;

static struct ci_problem problem_of(const struct ci_op *op, const char *name) {
    const struct ci_case *shape = op->cases;
    while (shape->name && strcmp(shape->name, name) != 0) shape++;
    if (!shape->name) fail_msg("op %s has no case \"%s\"", op->name, name);
    return (struct ci_problem){.op = op, .shape = *shape, .cycle_bytes = 8 << 20};
}

static struct ci_tuner_candidate candidate_of(const struct ci_op *op, enum ci_backend backend, const char *name,
                                              const struct ci_layout *layout) {
    struct ci_tuner_candidate candidate = {.variant = ci_variant_find(op, backend, name), .layout = layout};
    if (!candidate.variant) fail_msg("op %s has no variant %s", op->name, name);
    ci_bind_defaults(candidate.variant, candidate.tunables);
    return candidate;
}

static struct ci_trial try(const struct ci_problem *problem, const struct ci_tuner_candidate *candidate,
                           double deadline) {
    struct ci_trial trial;
    assert_ok(ci_worker_try(worker, problem, candidate, deadline, &trial));
    return trial;
}

static void test_right_candidate_is_timed(void **state) {
    (void)state;
    struct ci_problem problem = problem_of(&ci_op_matmul, "smollm2 ffn down, one token, q4_1 q8");
    struct ci_tuner_candidate candidate = candidate_of(&ci_op_matmul, CI_BACKEND_OPENCL, "gemv_vec", &ci_layout_stored);
    struct ci_trial trial = try(&problem, &candidate, 60);
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    if (!(trial.seconds > 1e-7 && trial.seconds < 1)) fail_msg("%g s a call", trial.seconds);
    assert_true(trial.nmse > 0 && trial.nmse < 1e-9);
    trial = try(&problem, &candidate, 60);
    assert_int_equal(trial.outcome, CI_TRIAL_PASSED);
    assert_true(trial.cached);
}

/* On the CPU backend as well, whose right candidate is whatever this processor has. */
static void test_cpu_candidate_is_timed(void **state) {
    (void)state;
    struct ci_problem problem = problem_of(&ci_op_rmsnorm, "smollm2, one token");
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .threads = 2};
    const struct ci_worker_options options = {.device = -1, .threads = 2};
    struct ci_tuner_candidate candidate = {0};
    for (int i = 0; ci_variants[i] && !candidate.variant; i++)
        if (ci_variants[i]->op == problem.op && ci_variants[i]->backend == CI_BACKEND_CPU &&
            ci_variants[i]->fits(&caps, &(struct ci_call){0}))
            candidate.variant = ci_variants[i];
    if (!candidate.variant) skip();
    ci_worker_destroy(worker);
    assert_ok(ci_worker_create(&options, &worker));
    struct ci_trial trial = try(&problem, &candidate, 60);
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    if (!(trial.seconds > 1e-9 && trial.seconds < 1e-2)) fail_msg("%g s a call", trial.seconds);
}

static void test_device_is_measured(void **state) {
    (void)state;
    struct ci_profile_device measured;
    struct ci_trial trial;
    assert_ok(ci_worker_measure(worker, 16 << 20, 60, &measured, &trial));
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    assert_true(measured.read_bytes_per_second > 1e7 && measured.read_bytes_per_second < 1e14);
    assert_true(measured.operations_per_second > 1e7 && measured.operations_per_second < 1e16);
    assert_true(measured.launch_seconds > 0 && measured.launch_seconds < 0.1);
    assert_true(measured.wait_seconds > 0 && measured.wait_seconds < 0.1);
    assert_true(measured.crossing_seconds > 0 && measured.crossing_seconds < 0.1);
    assert_true(measured.crossing_bytes_per_second > 1e6);
}

static int set_up(void **state) {
    (void)state;
    setenv("CLINFER_WORKER", process_tool(), 0);
    const struct ci_worker_options options = {.device = 0};
    assert_ok(ci_worker_create(&options, &worker));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    ci_worker_destroy(worker);
    return 0;
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_right_candidate_is_timed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cpu_candidate_is_timed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_device_is_measured, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
