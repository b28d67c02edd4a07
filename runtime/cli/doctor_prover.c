/* doctor_prover.c: `clinfer doctor_prover`: the process in which `clinfer doctor` loads drivers and proves devices; see
 * doctor_devices.c. It writes lines of JSON: "step" before anything that may crash or hang, then what came of it. It is
 * started with what to prove ("cpu" or an index), the first step that is to be done (those before it have been, or have
 * killed another process) and "thorough" or nothing; or with "list" and what --device said.
 *
 * It leaves by _exit: the destructors of drivers are another matter. */
#define _GNU_SOURCE
#include <clinfer.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/cache.h"
#include "base/status.h"
#include "base/threads.h"
#include "cli/command.h"
#include "cli/output.h"
#include "engine/devices.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "proof/known_answer.h"
#include "proof/measure.h"
#include "proof/survey.h"

struct prover {
    struct ci_device *device; /* NULL: the CPU backend */
    struct ci_threads *threads;
    struct ci_caps caps;
    int index, step, steps, first;
    bool thorough;
};

/* Takes the reference. */
static void send(const char *key, json_t *value) {
    json_t *message = json_pack("{s:o}", key, value);
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    if (text) printf("%s\n", text);
    fflush(stdout);
    free(text);
    json_decref(message);
}

static json_t *text_json(const char *text) { return ci_json_text(text, strlen(text)); }

/* Whether the next step is to be done; then it is announced. */
static bool begin(struct prover *prover, const char *name, const char *what) {
    int step = prover->step++;
    if (step < prover->first) return false;
    send("step",
         json_pack("{s:i, s:i, s:s, s:o}", "index", step, "of", prover->steps, "name", name, "what", text_json(what)));
    return true;
}

static void check(const char *name, const char *verdict, const char *todo, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static void check(const char *name, const char *verdict, const char *todo, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    json_t *object = json_pack("{s:s, s:s, s:o}", "name", name, "verdict", verdict, "text", text_json(text));
    if (todo) json_object_set_new(object, "todo", json_string(todo));
    send("check", object);
}

/* ---- the list ---- */

static json_t *caps_json(const struct ci_device_caps *caps) {
    static const char *const kinds[] = {"gpu", "accelerator", "cpu"};
    json_t *object = json_object();
    const struct {
        const char *key, *value;
    } texts[] = {{"name", caps->name},         {"vendor", caps->vendor},
                 {"platform", caps->platform}, {"platform_version", caps->platform_version},
                 {"version", caps->version},   {"driver", caps->driver},
                 {"kind", kinds[caps->kind]}};
    const struct {
        const char *key;
        uint64_t value;
    } numbers[] = {{"compute_units", caps->compute_units},     {"global_bytes", caps->global_bytes},
                   {"max_alloc_bytes", caps->max_alloc_bytes}, {"local_bytes", caps->local_bytes},
                   {"max_work_group", caps->max_work_group},   {"base_align_bytes", caps->base_align_bytes}};
    const struct {
        const char *key;
        bool value;
    } flags[] = {{"local_is_dedicated", caps->local_is_dedicated},
                 {"unified_memory", caps->unified_memory},
                 {"fp16", caps->fp16},
                 {"fp64", caps->fp64},
                 {"subgroups", caps->subgroups},
                 {"intel_required_subgroup_size", caps->intel_required_subgroup_size},
                 {"integer_dot_product", caps->integer_dot_product}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        json_object_set_new(object, texts[i].key, text_json(texts[i].value));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        json_object_set_new(object, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        json_object_set_new(object, flags[i].key, json_boolean(flags[i].value));
    json_object_set_new(object, "max_work_item",
                        json_pack("[I, I, I]", (json_int_t)caps->max_work_item[0], (json_int_t)caps->max_work_item[1],
                                  (json_int_t)caps->max_work_item[2]));
    return object;
}

static void forward_log(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    if (level <= CLINFER_LOG_INFO) send("log", text_json(message));
}

/* All devices, and which of them `wanted` means; -1 is the CPU backend. */
static enum clinfer_status list(const char *wanted) {
    struct ci_device_list devices;
    struct ci_engine_devices picked = {0};
    clinfer_log_to(forward_log, NULL);
    enum clinfer_status status = ci_device_list(&devices);
    clinfer_log_to(NULL, NULL);
    if (status != CLINFER_OK) return status;
    for (int i = 0; i < devices.count; i++) send("device", caps_json(&devices.caps[i]));
    if (strcasecmp(wanted, "auto") == 0) {
        for (int i = 0; i < devices.count; i++) send("pick", json_integer(i));
        send("pick", json_integer(-1));
    } else if (ci_engine_pick_devices(&devices, wanted, &picked) != CLINFER_OK) {
        send("refusal", text_json(ci_status_message()));
        return CLINFER_OK;
    }
    for (int i = 0; i < picked.order_count; i++) send("pick", json_integer(ci_engine_picked(&picked, i)));
    return CLINFER_OK;
}

/* ---- steps ---- */

/* Whatever was found out about it earlier. */
static enum clinfer_status forget_compiler(const struct prover *prover) {
    struct ci_device_list devices;
    enum clinfer_status status = ci_device_list(&devices);
    if (status == CLINFER_OK && prover->index < devices.count) ci_device_forget_compiler(&devices.caps[prover->index]);
    if (status == CLINFER_OK) ci_device_list_free(&devices);
    return status;
}

/* Whether the compiler works, past all caches: the options have something new in them. */
static void try_compiler(struct prover *prover) {
    struct ci_device *device = NULL;
    struct ci_kernel *kernel = NULL;
    struct ci_call call;
    const char *sources[CI_BIND_SOURCES];
    char options[CI_BIND_OPTIONS_BYTES + 64] = "";
    int count, tunables[CI_MAX_TUNABLES] = {0};
    const struct ci_variant *variant = ci_variant_find(&ci_op_add, CI_BACKEND_OPENCL, "portable");
    if (!begin(prover, "compiler", "")) return;
    ci_bind_defaults(variant, tunables);
    enum clinfer_status status = forget_compiler(prover);
    if (status == CLINFER_OK && !ci_proof_signature(variant->op, variant->op->cases, &call))
        status = CLINFER_UNSUPPORTED;
    if (status == CLINFER_OK) status = ci_bind_options(variant, tunables, &call, sources, &count, options);
    if (status == CLINFER_OK) status = ci_device_open(prover->index, NULL, &device);
    size_t used = strlen(options);
    snprintf(options + used, sizeof options - used, " -D DOCTOR_%lld_%d", (long long)time(NULL), (int)getpid());
    double start = ci_seconds();
    if (status == CLINFER_OK)
        status = ci_kernel_create(device, sources, count, options, variant->launches[0].kernel, &kernel);
    if (status == CLINFER_OK)
        check("compiler", "ok", NULL, "builds a kernel in %.2f s", ci_seconds() - start);
    else
        check("compiler", "fail", "install the driver anew: some bring their compiler in a package of its own", "%s",
              ci_status_message());
    ci_kernel_destroy(kernel);
    ci_device_close(device);
}

static void tell_memory(const struct prover *prover) {
    const struct ci_device_caps *caps = prover->caps.device;
    char all[CI_AMOUNT_BYTES], one[CI_AMOUNT_BYTES];
    if (!caps || prover->first > 0) return;
    send("facts",
         json_pack("{s:b, s:b}", "shares_host_memory", caps->shares_host_memory, "waits_for_all", caps->waits_for_all));
    check("memory", "ok", NULL, "%s, one buffer %s; host memory is %s (measured%s)",
          ci_format_bytes(caps->global_bytes, all), ci_format_bytes(caps->max_alloc_bytes, one),
          caps->shares_host_memory ? "used in place" : "copied",
          caps->unified_memory != caps->shares_host_memory ? ", other than the driver says" : "");
}

/* ---- how fast ---- */

static void measure(struct prover *prover) {
    enum { READ_BYTES = 256 << 20 };
    static const char todo[] = "update the driver";
    struct ci_profile_device m;
    if (!begin(prover, "speed", "reading, launches, copies")) return;
    if (ci_measure(prover->device, prover->threads, READ_BYTES, &m) != CLINFER_OK) {
        check("speed", "fail", todo, "%s", ci_status_message());
        return;
    }
    send("facts", json_pack("{s:{s:f, s:f, s:f, s:f, s:f, s:f, s:f}}", "measured", "read_bytes_per_second",
                            m.read_bytes_per_second, "operations_per_second", m.operations_per_second,
                            "dot8_operations_per_second", m.dot8_operations_per_second, "launch_seconds",
                            m.launch_seconds, "wait_seconds", m.wait_seconds, "crossing_seconds", m.crossing_seconds,
                            "crossing_bytes_per_second", m.crossing_bytes_per_second));
    check("reads", "ok", NULL, "%.1f GB/s", 1e-9 * m.read_bytes_per_second);
    if (prover->device)
        check(
            "latency", "ok", NULL, "%.1f us a kernel, %.1f us a round trip, %.1f us a small copy, %.1f GB/s large ones",
            1e6 * m.launch_seconds, 1e6 * m.wait_seconds, 1e6 * m.crossing_seconds, 1e-9 * m.crossing_bytes_per_second);
}

/* Multiply-adds of each kind that the device has. */
static void measure_arithmetic(struct prover *prover) {
    static const struct {
        enum ci_measure_kind kind;
        const char *name, *key;
    } kinds[] = {{CI_MEASURE_F32, "f32", "f32"},
                 {CI_MEASURE_F16, "f16", "f16"},
                 {CI_MEASURE_I32, "integers", "i32"},
                 {CI_MEASURE_DOT8, "dot products of bytes", "dot8"}};
    char text[256] = "";
    bool failed = false;
    if (!begin(prover, "arithmetic", "")) return;
    json_t *measured = json_object();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        double rate = 0;
        size_t used = strlen(text);
        enum clinfer_status status = ci_measure_arithmetic(prover->device, prover->threads, kinds[i].kind, &rate);
        if (status == CLINFER_UNSUPPORTED) continue;
        if (status != CLINFER_OK)
            check("arithmetic", "fail", "update the driver", "%s: %s", kinds[i].name, ci_status_message());
        failed = failed || status != CLINFER_OK;
        if (status != CLINFER_OK) continue;
        json_object_set_new(measured, kinds[i].key, json_real(rate));
        snprintf(text + used, sizeof text - used, "%s%.1f billion operations/s in %s", used ? ", " : "", 1e-9 * rate,
                 kinds[i].name);
    }
    send("facts", json_pack("{s:o}", "arithmetic", measured));
    if (!failed) check("arithmetic", "ok", NULL, "%s", *text ? text : "cannot be measured here");
}

/* ---- CLBlast ---- */

enum { SIDE = 64 };

/* c = a b^T of small whole numbers, which floats hold exactly. */
static enum clinfer_status multiply(struct ci_device *device, struct ci_buffer *buffers[3]) {
    static float values[3][SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        values[0][i] = (float)(i % 7 - 3);
        values[1][i] = (float)(i % 5 - 2);
    }
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < 3 && status == CLINFER_OK; i++) {
        status = ci_buffer_create(device, sizeof values[i], NULL, &buffers[i]);
        if (status == CLINFER_OK) status = ci_buffer_write(buffers[i], 0, values[i], sizeof values[i]);
    }
    const struct ci_gemm gemm = {
        .a = buffers[0], .b = buffers[1], .c = buffers[2], .m = SIDE, .n = SIDE, .k = SIDE, .c_stride = SIDE};
    if (status == CLINFER_OK) status = ci_gemm_prepare(device, &gemm);
    if (status == CLINFER_OK) status = ci_gemm_enqueue(device, &gemm);
    if (status == CLINFER_OK) status = ci_buffer_read(buffers[2], 0, values[2], sizeof values[2]);
    for (int i = 0; i < SIDE * SIDE && status == CLINFER_OK; i++) {
        const float *a = values[0] + i / SIDE * SIDE, *b = values[1] + i % SIDE * SIDE;
        float sum = 0;
        for (int k = 0; k < SIDE; k++) sum += a[k] * b[k];
        if (values[2][i] != sum)
            status = ci_fail(CLINFER_WRONG_RESULT, "SGEMM: number %d is %g, expected %g", i, (double)values[2][i],
                             (double)sum);
    }
    return status;
}

static void try_clblast(struct prover *prover) {
    struct ci_buffer *buffers[3] = {NULL};
    struct ci_device_counts counts;
    if (!begin(prover, "clblast", "its programs are built")) return;
    enum clinfer_status status = multiply(prover->device, buffers);
    for (int i = 0; i < 3; i++) ci_buffer_destroy(buffers[i]);
    ci_device_counts(prover->device, &counts);
    send("facts", json_pack("{s:f}", "clblast_build_seconds", counts.clblast_seconds));
    if (status == CLINFER_OK)
        check("clblast", "ok", NULL, "SGEMM is right; its programs took %.2f s", counts.clblast_seconds);
    else
        check("clblast", "warn", "clinfer's own kernels multiply instead; a newer libclblast may help", "%s",
              ci_status_message());
}

/* ---- known-answer tests ---- */

static const char *outcome_of(enum clinfer_status status) {
    if (status == CLINFER_OK) return "right";
    if (status == CLINFER_UNSUPPORTED) return "unusable";
    return status == CLINFER_WRONG_RESULT ? "wrong" : "failed";
}

static void run_test(struct prover *prover, const struct ci_survey_test *test) {
    char types[96], what[192];
    const struct ci_variant *variant = test->variant;
    ci_survey_describe(test, types, sizeof types);
    snprintf(what, sizeof what, "%s/%s (%s)", variant->op->name, variant->name, types);
    if (!begin(prover, "kernels", what)) return;
    double start = ci_seconds();
    enum clinfer_status status = ci_proof_again(prover->device, &prover->caps, variant, NULL, &test->call);
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:f}", "op", variant->op->name, "variant", variant->name, "types",
                               types, "outcome", outcome_of(status), "seconds", ci_seconds() - start);
    if (status != CLINFER_OK) json_object_set_new(object, "text", text_json(ci_status_message()));
    send("test", object);
}

/* ---- the profile ---- */

static void check_profile(struct prover *prover) {
    static const char *const origins[] = {"none", "own", "of another driver", "shipped"};
    static const char tune[] = "`clinfer tune` measures which kernels are fastest here";
    struct ci_profile_key key;
    struct ci_profile profile;
    enum ci_profile_origin origin;
    char *path = NULL;
    int stale = 0;
    if (!begin(prover, "profile", "")) return;
    ci_signature_key(&prover->caps, &key);
    if (ci_profile_lookup(&key, &profile, &origin, &path) != CLINFER_OK) {
        check("profile", "warn", tune, "%s", ci_status_message());
        return;
    }
    for (int i = 0; i < profile.entry_count; i++)
        stale += ci_survey_is_stale(prover->device != NULL, &profile.entries[i]);
    send("facts", json_pack("{s:{s:s, s:o, s:s, s:s, s:i, s:i}}", "profile", "origin", origins[origin], "path",
                            text_json(path ? path : ""), "created", profile.created, "clinfer", profile.clinfer,
                            "entries", profile.entry_count, "stale", stale));
    if (origin == CI_PROFILE_NONE)
        check("profile", "warn", tune, "none: kernels are chosen by rule");
    else if (origin == CI_PROFILE_SHIPPED)
        check("profile", "warn", tune, "none of its own; the one that is shipped for such a device is used");
    else if (origin == CI_PROFILE_DRIVER)
        check("profile", "warn", "`clinfer tune` renews it",
              "tuned with another driver, or imported (%s): what it says is proven again before it is used", path);
    else if (stale)
        check("profile", "warn", "`clinfer tune` renews it",
              "%d of %d entries are stale: their kernels have changed (%s)", stale, profile.entry_count, path);
    else
        check("profile", "ok", NULL, "fresh, %d entries of %.10s (%s)", profile.entry_count, profile.created, path);
    ci_profile_free(&profile);
    free(path);
}

enum { STEPS_BEFORE_TESTS = 5 }; /* at most: compiler, speed, arithmetic, CLBlast, profile */

static void run_steps(struct prover *prover, const struct ci_survey *survey) {
    int tests = prover->thorough || !prover->device ? survey->count : survey->covering;
    prover->steps = STEPS_BEFORE_TESTS + tests;
    tell_memory(prover);
    measure(prover);
    measure_arithmetic(prover);
    if (prover->device) try_clblast(prover);
    check_profile(prover);
    prover->step = STEPS_BEFORE_TESTS;
    for (int i = 0; i < tests; i++) run_test(prover, &survey->tests[i]);
    send("facts", json_pack("{s:i}", "tests_left_out", survey->count - tests));
}

static enum clinfer_status prove(struct prover *prover) {
    struct ci_survey survey = {0};
    enum clinfer_status status = ci_threads_create(0, &prover->threads);
    if (status != CLINFER_OK) return status;
    char *cache = ci_cache_path("programs");
    if (prover->index >= 0) try_compiler(prover);
    if (prover->index >= 0) status = ci_device_open(prover->index, cache, &prover->device);
    free(cache);
    if (status != CLINFER_OK) return status;
    prover->caps = (struct ci_caps){.cpu = ci_cpu_features(),
                                    .device = prover->device ? ci_device_caps(prover->device) : NULL,
                                    .threads = ci_threads_count(prover->threads)};
    status = ci_survey_create(&prover->caps, &survey);
    if (status == CLINFER_OK) run_steps(prover, &survey);
    /* PoCL keeps what it compiles itself, and would compile all of it once more to give it to us. */
    if (prover->device && !strstr(prover->caps.device->platform, "Portable Computing Language"))
        ci_device_save_programs(prover->device);
    ci_survey_free(&survey);
    return status;
}

static void *prove_and_end(void *argument) {
    if (prove(argument) != CLINFER_OK)
        check("open", "fail", "update the driver, or leave the device out", "%s", ci_status_message());
    send("end", json_true());
    _exit(0);
}

int ci_command_doctor_prover(int argc, char **argv) {
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (argc < 3) return ci_exit_status(CLINFER_INVALID_ARGUMENT);
    struct prover prover = {.index = -1, .first = (int)strtol(argv[2], NULL, 10)};
    prover.thorough = argc > 3 && strcmp(argv[3], "thorough") == 0;
    if (strcmp(argv[1], "cpu") != 0) prover.index = (int)strtol(argv[1], NULL, 10);
    pthread_t thread;
    bool lists = strcmp(argv[1], "list") == 0;
    /* Kernels of the CPU backend run in the thread that proves them, which has to have room for their tables. */
    if (!lists && ci_threads_start(&thread, prove_and_end, &prover) == 0) pthread_join(thread, NULL);
    if (!lists || list(argv[2]) != CLINFER_OK)
        check("open", "fail", "update the driver, or leave the device out", "%s",
              lists ? ci_status_message() : "no thread could be started");
    send("end", json_true());
    _exit(0);
}
