/* The tuner's worker: candidates that are right are timed; one that crashes, hangs, compiles for ever, computes
 * nonsense, writes out of bounds or takes all memory costs itself and nothing else, and is named. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/child.h"
#include "device/kernels.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "proof/measure.h"
#include "support/device_fixture.h"
#include "support/process.h"
#include "tuner/builders.h"
#include "tuner/worker.h"
#include "tuner/worker_wire.h"

static struct ci_worker *worker;
static char build[512];

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
    print_message("timed by the %s: %.3g s a call\n", trial.device_clock ? "device's events" : "time on the wall",
                  trial.seconds);
}

/* On the CPU backend as well, whose right candidate is whatever this processor has. */
static void test_cpu_candidate_is_timed(void **state) {
    (void)state;
    struct ci_problem problem = problem_of(&ci_op_rmsnorm, "smollm2, one token");
    const struct ci_cpu_features *cpu = ci_cpu_features();
    const struct ci_worker_options options = {.device = -1, .threads = 2};
    const char *name = cpu->avx512vnni ? "avx512vnni" : cpu->avx2 ? "avx2" : cpu->neon ? "neon" : NULL;
    if (!name) {
        print_message("skip: this processor has no vector instructions\n");
        skip();
        return;
    }
    struct ci_tuner_candidate candidate = candidate_of(problem.op, CI_BACKEND_CPU, name, NULL);
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
    assert_true(measured.dot8_operations_per_second > 1e6 && measured.dot8_operations_per_second < 1e17);
    assert_true(measured.launch_seconds > 0 && measured.launch_seconds < 0.1);
    assert_true(measured.wait_seconds > 0 && measured.wait_seconds < 0.1);
    assert_true(measured.crossing_seconds > 0 && measured.crossing_seconds < 0.1);
    assert_true(measured.crossing_bytes_per_second > 1e6);
}

/* Dot products of bytes are not slower than floats on processors, also where PoCL computes on them. */
static void test_bytes_are_as_fast_as_floats(void **state) {
    (void)state;
    struct ci_device *devices[2] = {NULL, NULL};
    struct ci_threads *threads = NULL;
    assert_ok(ci_threads_create(1, &threads));
    assert_ok(ci_device_open(0, NULL, &devices[1]));
    for (int i = 0; i < 2; i++) {
        double floats = 0, bytes = 0;
        if (devices[i] && strcmp(ci_device_caps(devices[i])->platform, "Portable Computing Language") != 0) continue;
        enum clinfer_status status = ci_measure_arithmetic(devices[i], threads, CI_MEASURE_DOT8, &bytes);
        if (!devices[i] && status == CLINFER_UNSUPPORTED) continue;
        assert_ok(status);
        assert_ok(ci_measure_arithmetic(devices[i], threads, CI_MEASURE_F32, &floats));
        print_message("%.3g operations/s in f32, %.3g in 8 bits\n", floats, bytes);
        if (!(bytes > 0.8 * floats)) fail_msg("%.3g operations/s in f32, but %.3g in 8 bits", floats, bytes);
    }
    ci_device_close(devices[1]);
    ci_threads_destroy(threads);
}

static void test_candidates_are_compared(void **state) {
    (void)state;
    enum { ROUNDS = 3 };
    struct ci_problem problem = problem_of(&ci_op_matmul, "smollm2 ffn down, prompt, q4_1 f32");
    struct ci_tuner_candidate candidates[] = {
        candidate_of(&ci_op_matmul, CI_BACKEND_OPENCL, "gemm_vec", &ci_layout_stored),
        candidate_of(&ci_op_matmul, CI_BACKEND_OPENCL, "gemm_vec", &ci_layout_r16)};
    double samples[ROUNDS][2] = {0};
    struct ci_trial trial;
    assert_ok(ci_worker_compare(worker, &problem, candidates, 2, ROUNDS, 100, &samples[0][0], &trial));
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    for (int i = 0; i < ROUNDS; i++)
        for (int k = 0; k < 2; k++)
            if (!(samples[i][k] > 1e-7 && samples[i][k] < 10)) fail_msg("sample %d of %d: %g s", i, k, samples[i][k]);
    candidates[1] = candidate_of(&ci_op_matmul, CI_BACKEND_OPENCL, "gemv_vec", &ci_layout_stored); /* for one row */
    candidates[1].layout = &ci_layout_stored;
    problem.shape.in[1].cols = 40; /* no whole blocks */
    assert_ok(ci_worker_compare(worker, &problem, candidates, 2, ROUNDS, 100, &samples[0][0], &trial));
    assert_int_equal(trial.outcome, CI_TRIAL_UNUSABLE);
}

static void test_model_is_timed_with_two_tunings(void **state) {
    (void)state;
    enum { ROUNDS = 2, DECODE_ROUNDS = 3 };
    double decode[DECODE_ROUNDS][2] = {0}, prefill[ROUNDS][2] = {0};
    struct ci_worker_model model = {.model = "tests/data/llama_tiny.gguf",
                                    .tunings = {"none", NULL},
                                    .context = 20,
                                    .prompt = 40,
                                    .seconds = 100,
                                    .rounds_seconds = 100,
                                    .decode_rounds = DECODE_ROUNDS,
                                    .prefill_rounds = ROUNDS,
                                    .decode = &decode[0][0],
                                    .prefill = &prefill[0][0]};
    struct ci_trial trial;
    assert_ok(ci_worker_model(worker, &model, 100, &trial));
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    assert_int_equal(model.decode_rounds, DECODE_ROUNDS);
    assert_int_equal(model.prefill_rounds, ROUNDS);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < DECODE_ROUNDS; i++)
            if (!(decode[i][k] > 1e-7 && decode[i][k] < 10)) fail_msg("round %d of %d: %g s", i, k, decode[i][k]);
        for (int i = 0; i < ROUNDS; i++)
            if (!(prefill[i][k] > 1e-7 && prefill[i][k] < 100)) fail_msg("round %d of %d: %g s", i, k, prefill[i][k]);
    }
    struct ci_worker_model more = model; /* of one of the two */
    more.prefill_rounds = 0;
    assert_ok(ci_worker_model(worker, &more, 100, &trial));
    assert_int_equal(trial.outcome, CI_TRIAL_PASSED);
    assert_int_equal(more.prefill_rounds, 0);
    struct ci_worker_model late = model; /* what was measured when the time is over counts */
    late.rounds_seconds = 1e-9;
    assert_ok(ci_worker_model(worker, &late, 100, &trial));
    assert_int_equal(trial.outcome, CI_TRIAL_PASSED);
    assert_true(late.decode_rounds <= 1 && late.prefill_rounds <= 1);
    struct ci_worker_model absent = model;
    absent.model = "/nonexistent.gguf";
    assert_ok(ci_worker_model(worker, &absent, 100, &trial));
    assert_int_equal(trial.outcome, CI_TRIAL_UNUSABLE);
    assert_non_null(strstr(trial.reason, "/nonexistent.gguf"));
}

/* ---- faults ---- */

/* The kernel of op add begins with `code`; all else is as it is. The worker finds it through CLINFER_KERNELS. */
static void poison(const char *before, const char *code) {
    static const char kernel[] = "__kernel void add(";
    const struct ci_kernel_source *source = ci_kernel_sources;
    while (source->name && !strstr(source->text, kernel)) source++;
    if (!source->name) fail_msg("no source has \"%s\"", kernel);
    const char *start = strstr(source->text, kernel), *body = strchr(start, '{') + 1;
    char *text = NULL;
    int length = asprintf(&text, "%.*s%s\n%.*s %s %s", (int)(start - source->text), source->text, before,
                          (int)(body - start), start, code, body);
    assert_true(length > 0);
    process_file(source->name, text, (size_t)length);
    free(text);
    setenv("CLINFER_KERNELS", process_folder(), 1);
}

/* The poisoned candidate; then another one, which must be as if nothing had been. */
static struct ci_trial try_poisoned(double deadline) {
    struct ci_problem sum = problem_of(&ci_op_add, "prompt"), norm = problem_of(&ci_op_rmsnorm, "smollm2, prompt");
    struct ci_tuner_candidate add = candidate_of(&ci_op_add, CI_BACKEND_OPENCL, "portable", NULL),
                              rmsnorm = candidate_of(&ci_op_rmsnorm, CI_BACKEND_OPENCL, "portable", NULL);
    struct ci_trial trial = try(&sum, &add, deadline), next = try(&norm, &rmsnorm, 60);
    if (next.outcome != CI_TRIAL_PASSED) fail_msg("the next one: outcome %d: %s", (int)next.outcome, next.reason);
    return trial;
}

static void assert_outcome(const struct ci_trial *trial, enum ci_trial_outcome expected, const char *word) {
    if (trial->outcome != expected || !strstr(trial->reason, word))
        fail_msg("outcome %d, not %d with \"%s\": %s", (int)trial->outcome, (int)expected, word, trial->reason);
}

static void test_crash_costs_the_candidate_only(void **state) {
    (void)state;
    poison("", "*(volatile __global int *)(ulong)(get_global_id(0) + 16) = 1;");
    struct ci_trial trial = try_poisoned(60);
#ifdef __SANITIZE_ADDRESS__ /* it turns the signal into an exit */
    assert_outcome(&trial, CI_TRIAL_CRASHED, "the process ended with status 1 while running");
#else
    assert_outcome(&trial, CI_TRIAL_CRASHED, "Segmentation fault while running");
#endif
}

static void test_hang_ends_at_the_deadline(void **state) {
    (void)state;
    poison("", "volatile int on = 1; while (on) {}");
    struct ci_trial trial = try_poisoned(5); /* a busy machine may still be compiling then */
    assert_outcome(&trial, CI_TRIAL_TIMED_OUT, "no end within 5 s while ");
}

static void test_endless_compile_ends_at_the_deadline(void **state) {
    (void)state;
    poison("#define TEN(x) x x x x x x x x x x\n#define A TEN(TEN(TEN(TEN(TEN(TEN(y += x * y; x += y * y;))))))\n",
           "float x = cols, y = 1; A if (y == x) return;");
    struct ci_trial trial = try_poisoned(3);
    assert_outcome(&trial, CI_TRIAL_TIMED_OUT, "no end within 3 s while compiling");
}

/* ---- building ahead ---- */

/* Seconds that the worker takes for a program that nobody has built yet, but perhaps two builders just now. */
static double seconds_to_build(struct ci_builders *builders, const char *what) {
    static int programs;
    char name[96];
    struct ci_problem sum = problem_of(&ci_op_add, "prompt"), norm = problem_of(&ci_op_rmsnorm, "smollm2, prompt");
    struct ci_build list[] = {{.problem = &sum}, {.problem = &norm}};
    list[0].candidate = candidate_of(&ci_op_add, CI_BACKEND_OPENCL, "portable", NULL);
    list[1].candidate = candidate_of(&ci_op_rmsnorm, CI_BACKEND_OPENCL, "portable", NULL);
    /* Not in a comment: PoCL knows programs by what the preprocessor leaves of them. */
    snprintf(name, sizeof name, "__constant int %s_%d_%d_%ld = 0;", what, programs++, (int)getpid(), (long)time(NULL));
    poison(name, "");
    if (builders) ci_builders_build(builders, list, 2, 60);
    assert_false(list[0].failed || list[1].failed);
    ci_worker_destroy(worker);
    assert_ok(ci_worker_create(&(struct ci_worker_options){0}, &worker));
    struct ci_trial trial = try(&sum, &list[0].candidate, 60);
    if (trial.outcome != CI_TRIAL_PASSED) fail_msg("outcome %d: %s", (int)trial.outcome, trial.reason);
    return trial.build_seconds;
}

static void test_what_builders_built_the_worker_finds(void **state) {
    (void)state;
    struct ci_builders *builders = ci_builders_create(&(struct ci_worker_options){0});
    if (!builders) skip(); /* one processor */
    double alone = 0, ahead = 0;
    bool faster = false;
    for (int turn = 0; turn < 4 && !faster; turn++) { /* another program may have the processor in one of them */
        alone = seconds_to_build(NULL, "alone");
        ahead = seconds_to_build(builders, "ahead");
        print_message("a program takes %.3f s, built ahead %.3f s\n", alone, ahead);
        faster = ahead < 0.7 * alone;
    }
    assert_true(faster);
    ci_builders_destroy(builders);
}

static void test_a_builder_that_crashes_fails_its_own_build(void **state) {
    (void)state;
    struct ci_builders *builders = ci_builders_create(&(struct ci_worker_options){0});
    if (!builders) skip();
    struct ci_problem sum = problem_of(&ci_op_add, "prompt"), norm = problem_of(&ci_op_rmsnorm, "smollm2, prompt");
    struct ci_build list[] = {{.problem = &sum}, {.problem = &norm}, {.problem = &norm}};
    list[0].candidate = candidate_of(&ci_op_add, CI_BACKEND_OPENCL, "portable", NULL);
    list[1].candidate = list[2].candidate = candidate_of(&ci_op_rmsnorm, CI_BACKEND_OPENCL, "portable", NULL);
    poison("", "*(volatile __global int *)(ulong)(get_global_id(0) + 16) = 1;");
    ci_builders_build(builders, list, 3, 60);
    assert_true(list[0].failed && !list[1].failed && !list[2].failed);
    ci_builders_build(builders, list + 1, 2, 60);
    assert_false(list[1].failed || list[2].failed);
    ci_builders_destroy(builders);
}

static void test_wrong_numbers_are_refused(void **state) {
    (void)state;
    const char *first_row =
        "if (get_global_id(1) == 0) { for (int i = 0; i < cols; i++) DATA(float, out)[i] = %s; return; }";
    char code[256];
    snprintf(code, sizeof code, first_row, "NAN");
    poison("", code);
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_WRONG, "output 0 [0, 0] is ");
    ci_worker_destroy(worker); /* it knows the kernel by now */
    assert_ok(ci_worker_create(&(struct ci_worker_options){0}, &worker));
    snprintf(code, sizeof code, first_row, "0");
    poison("", code);
    trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_WRONG, "output 0 [0, 0] is 0, expected ");
}

static void test_write_out_of_bounds_is_refused(void **state) {
    (void)state;
    poison("", "DATA(float, out)[(ulong)get_global_size(1) * cols] = 1;");
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_WRONG, "it writes beside output 0");
}

static void test_what_does_not_build_is_unusable(void **state) {
    (void)state;
    poison("", "this is no C;");
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_UNUSABLE, "clBuildProgram: CL_BUILD_PROGRAM_FAILURE");
}

/* Whatever a kernel or a driver prints is no answer. */
static void test_printing_disturbs_nobody(void **state) {
    (void)state;
    poison("", "if (get_global_id(0) == 0) printf(\"{\\\"outcome\\\":1}\\n\");");
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_PASSED, "");
}

static void use_layer(const char *faults) {
    char path[640];
    snprintf(path, sizeof path, "%s/tests/fault/fake_layer.so", build);
    setenv("OPENCL_LAYERS", path, 1);
    setenv("FAKE_LAYER", faults, 1);
}

static void test_who_takes_all_memory_is_stopped(void **state) {
    (void)state;
    const struct ci_worker_options options = {.memory = UINT64_C(1) << 30};
    use_layer("clCreateKernel/add@1+:eat");
    ci_worker_destroy(worker);
    assert_ok(ci_worker_create(&options, &worker));
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_OUT_OF_MEMORY, " MB of memory while compiling, of 1024 MB allowed");
}

static void test_kill_by_the_system_is_told_apart(void **state) {
    (void)state;
    use_layer("clCreateKernel/add@1+:kill");
    struct ci_trial trial = try_poisoned(60);
    assert_outcome(&trial, CI_TRIAL_OUT_OF_MEMORY, "killed while compiling");
}

/* Who kills a worker that has nothing to do, as the system may when others take the memory, costs nobody a trial. */
static void test_idle_worker_may_be_killed(void **state) {
    (void)state;
    struct ci_problem problem = problem_of(&ci_op_rmsnorm, "smollm2, prompt");
    struct ci_tuner_candidate candidate = candidate_of(&ci_op_rmsnorm, CI_BACKEND_OPENCL, "portable", NULL);
    for (int i = 0; i < 3; i++) {
        struct ci_trial trial = try(&problem, &candidate, 60);
        assert_outcome(&trial, CI_TRIAL_PASSED, "");
        pid_t process = ci_worker_process(worker);
        assert_true(process > 0);
        assert_int_equal(kill(process, SIGKILL), 0);
        if (i == 1) usleep(200000); /* it is dead before anybody asks, or dies while it is asked */
    }
}

/* Its end is ours, even when it hangs. */
static void test_worker_ends_with_its_tuner(void **state) {
    (void)state;
    static const char *const arguments[] = {"clinfer", "tune_worker", NULL};
    struct ci_problem problem = problem_of(&ci_op_add, "prompt");
    struct ci_tuner_candidate candidate = candidate_of(&ci_op_add, CI_BACKEND_OPENCL, "portable", NULL);
    struct ci_dialogue dialogue;
    const char *line = "";
    poison("", "volatile int on = 1; while (on) {}");
    assert_ok(ci_dialogue_start(getenv("CLINFER_WORKER"), arguments, NULL, &dialogue));
    assert_ok(ci_dialogue_send(&dialogue, "{\"do\":\"start\",\"device\":0,\"threads\":1,\"memory\":0}", 10));
    json_t *request = json_pack("{ss so so}", "do", "try", "problem", ci_wire_problem(&problem), "candidate",
                                ci_wire_candidate(&candidate));
    char *text = json_dumps(request, JSON_COMPACT);
    assert_non_null(text);
    assert_ok(ci_dialogue_send(&dialogue, text, 10));
    free(text);
    json_decref(request);
    while (!strstr(line, "running"))
        if (ci_dialogue_receive(&dialogue, 60, &line) != CI_DIALOGUE_LINE) fail_msg("the worker does not come so far");
    ci_dialogue_end(&dialogue, 10);
    assert_int_equal(dialogue.signal, 0); /* by itself */
    assert_int_equal(dialogue.exit_status, 0);
}

static void test_worker_that_does_not_start_is_an_error(void **state) {
    (void)state;
    const struct ci_worker_options options = {.device = 77};
    struct ci_problem problem = problem_of(&ci_op_add, "prompt");
    struct ci_tuner_candidate candidate = candidate_of(&ci_op_add, CI_BACKEND_OPENCL, "portable", NULL);
    struct ci_trial trial;
    ci_worker_destroy(worker);
    assert_ok(ci_worker_create(&options, &worker));
    assert_int_equal(ci_worker_try(worker, &problem, &candidate, 10, &trial), CLINFER_NO_DEVICE);
    assert_message("device 77");
    ci_worker_destroy(worker);
    setenv("CLINFER_WORKER", "/bin/true", 1);
    assert_ok(ci_worker_create(&options, &worker));
    assert_int_equal(ci_worker_try(worker, &problem, &candidate, 10, &trial), CLINFER_DEVICE_ERROR);
    assert_message("the tuner's worker does not start: the process ended with status 0");
}

static int set_up(void **state) {
    static char tool[512];
    (void)state;
    if (!realpath(process_tool(), tool)) fail_msg("no %s: make it first", process_tool());
    setenv("CLINFER_WORKER", tool, 1);
    assert_ok(ci_worker_create(&(struct ci_worker_options){0}, &worker));
    return 0;
}

static int tear_down(void **state) {
    static const char *const variables[] = {"CLINFER_KERNELS", "OPENCL_LAYERS", "FAKE_LAYER"};
    (void)state;
    ci_worker_destroy(worker);
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    return 0;
}

/* build/<config>, where this program lies in tests/fault. */
static void find_build(void) {
    ssize_t length = readlink("/proc/self/exe", build, sizeof build - 1);
    build[length > 0 ? length : 0] = 0;
    for (int i = 0; i < 3; i++) *(strrchr(build, '/') ? strrchr(build, '/') : build) = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(test_right_candidate_is_timed),
        TEST(test_cpu_candidate_is_timed),
        TEST(test_device_is_measured),
        TEST(test_bytes_are_as_fast_as_floats),
        TEST(test_candidates_are_compared),
        TEST(test_model_is_timed_with_two_tunings),
        TEST(test_crash_costs_the_candidate_only),
        TEST(test_hang_ends_at_the_deadline),
        TEST(test_endless_compile_ends_at_the_deadline),
        TEST(test_what_builders_built_the_worker_finds),
        TEST(test_a_builder_that_crashes_fails_its_own_build),
        TEST(test_wrong_numbers_are_refused),
        TEST(test_write_out_of_bounds_is_refused),
        TEST(test_what_does_not_build_is_unusable),
        TEST(test_printing_disturbs_nobody),
        TEST(test_who_takes_all_memory_is_stopped),
        TEST(test_kill_by_the_system_is_told_apart),
        TEST(test_idle_worker_may_be_killed),
        TEST(test_worker_ends_with_its_tuner),
        TEST(test_worker_that_does_not_start_is_an_error),
    };
    find_build();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
