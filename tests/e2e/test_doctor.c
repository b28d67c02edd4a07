/* `clinfer doctor` on this machine's PoCL, on a machine without OpenCL, and with everything broken that it is to find:
 * a driver that crashes, a folder that cannot be written to, kernels that compute wrong numbers, crash or never end. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/threads.h"
#include "device/kernels.h"
#include "ops/op_list.h"
#include "ops/signature.h"
#include "profile/quarantine.h"
#include "proof/known_answer.h"
#include "support/patched.h"
#include "support/process.h"

static const char pocl[] = "/etc/OpenCL/vendors/pocl.icd";

#define assert_contains(text, word)                                                                                    \
    do {                                                                                                               \
        if (!strstr(text, word)) fail_msg("\"%s\" is not in: %s", word, text);                                         \
    } while (0)

#define assert_lacks(text, word)                                                                                       \
    do {                                                                                                               \
        if (strstr(text, word)) fail_msg("\"%s\" is in: %s", word, text);                                              \
    } while (0)

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* A folder below the test's own; stays valid. */
static char *make_folder(const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", process_folder(), name) > 0);
    mkdir(path, 0700);
    return path;
}

/* A setting of the environment that lives as long as the test. */
static const char *setting(const char *name, const char *value) {
    char *text = NULL;
    assert_true(asprintf(&text, "%s=%s", name, value) > 0);
    return text;
}

/* The report of a run with --json that ended with `status`; the caller drops it. */
static json_t *report(const char *const *environment, const char *device, int status) {
    struct process_result result;
    const struct process_options options = {.environment = environment};
    process_run(&result, &options, process_tool(), "doctor", "--json", "--device", device, NULL);
    process_assert_status(&result, status);
    json_error_t error;
    json_t *json = json_loads(result.out, 0, &error);
    if (!json) fail_msg("line %d: %s: %s", error.line, error.text, result.out);
    process_free(&result);
    return json;
}

/* The first check with this name, verdict and word in its text; NULL: none. */
static const json_t *find_check(const json_t *json, const char *name, const char *verdict, const char *word) {
    size_t index;
    json_t *check;
    json_array_foreach(json_object_get(json, "checks"), index, check) {
        if (strcmp(text_of(check, "name"), name) == 0 && strcmp(text_of(check, "verdict"), verdict) == 0 &&
            strstr(text_of(check, "text"), word))
            return check;
    }
    return NULL;
}

static void assert_check(const json_t *json, const char *name, const char *verdict, const char *word) {
    const json_t *check = find_check(json, name, verdict, word);
    char *all = json_dumps(json_object_get(json, "checks"), 0);
    if (!check) fail_msg("no check \"%s\" says %s with \"%s\": %s", name, verdict, word, all);
    if (strcmp(verdict, "ok") != 0) assert_string_not_equal(text_of(check, "todo"), "");
    free(all);
}

/* Every known-answer test of `device` whose variant is not op/variant has passed. */
static void assert_others_right(const json_t *device, const char *op, const char *outcome) {
    size_t index;
    json_t *test;
    int right = 0, as_expected = 0;
    json_array_foreach(json_object_get(device, "tests"), index, test) {
        if (strcmp(text_of(test, "op"), op) == 0) {
            as_expected += strcmp(text_of(test, "outcome"), outcome) == 0;
            continue;
        }
        if (strcmp(text_of(test, "outcome"), "right") != 0)
            fail_msg("%s/%s (%s): %s", text_of(test, "op"), text_of(test, "variant"), text_of(test, "types"),
                     text_of(test, "text"));
        right++;
    }
    assert_true(right >= 25);
    if (*outcome) assert_true(as_expected >= 1);
}

/* Only PoCL, whatever else is installed. */
static const char *only_pocl(void) { return setting("OCL_ICD_VENDORS", pocl); }

/* ---- a machine that is well ---- */

static void test_all_is_well_on_pocl(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), NULL};
    json_t *json = report(environment, "auto", 0);
    assert_string_not_equal(text_of(json, "verdict"), "fail");
    assert_string_equal(text_of(json, "clinfer"), CLINFER_VERSION);
    assert_check(json, "pocl.icd", "ok", "Portable Computing Language, 1 device");
    assert_check(json, "devices", "ok", "1 can be used");
    assert_check(json, "compiler", "ok", "builds a kernel");
    assert_check(json, "memory", "ok", "one buffer");
    assert_check(json, "kernels", "ok", "are right");
    const json_t *device = json_array_get(json_object_get(json, "devices"), 0),
                 *system = json_object_get(json, "system");
    assert_string_not_equal(text_of(device, "driver"), "");
    assert_string_not_equal(text_of(device, "platform_version"), "");
    assert_true(json_is_boolean(json_object_get(device, "shares_host_memory")));
    assert_true(json_is_false(json_object_get(device, "waits_for_all"))); /* it has threads of its own */
    assert_true(json_integer_value(json_object_get(device, "max_alloc_bytes")) > 0);
    assert_others_right(device, "", "");
    assert_others_right(json_object_get(json, "cpu_backend"), "", "");
    assert_string_not_equal(text_of(json_object_get(system, "kernel"), "release"), "");
    assert_string_not_equal(text_of(json_object_get(system, "cpu"), "isa"), "");
    json_decref(json);
}

/* A report is made public: whose machine it is must not stand in it. */
static void test_report_names_no_home_folder(void **state) {
    (void)state;
    const char *home = make_folder("joanna");
    char data[256];
    snprintf(data, sizeof data, "%s/data", home);
    const char *environment[] = {setting("HOME", home), setting("XDG_DATA_HOME", data), only_pocl(),
                                 setting("CLINFER_MODEL", "/nowhere/at all.gguf"), NULL};
    json_t *json = report(environment, "cpu", 0);
    char *text = json_dumps(json, 0);
    assert_lacks(text, "joanna");
    assert_check(json, "data", "ok", "~/data/clinfer");
    assert_check(json, "models", "warn", "/nowhere/at all.gguf");
    free(text);
    json_decref(json);
    struct process_result result;
    const struct process_options options = {.environment = environment};
    process_run(&result, &options, process_tool(), "doctor", "--device", "cpu", NULL);
    process_assert_status(&result, 0);
    assert_lacks(result.out, "joanna");
    assert_contains(result.out, "  ok    data         ~/data/clinfer\n");
    assert_contains(result.out, "  warn  models ");
    assert_contains(result.out, " -> ");
    assert_string_equal(result.err, "");
    process_free(&result);
}

/* Kernels have tables of 1.2 MB on the stack. */
static void test_a_small_stack_blames_no_kernel(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), NULL};
    struct process_result result;
    const struct process_options options = {.environment = environment};
    process_run(&result, &options, "/bin/sh", "-c", "ulimit -s 256 && exec \"$0\" doctor --device cpu", process_tool(),
                NULL);
    assert_lacks(result.out, "crashed");
    assert_contains(result.out, ", 0 failed");
    process_free(&result);
}

static void test_device_that_is_not_there_is_an_error(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), NULL};
    struct process_result result;
    const struct process_options options = {.environment = environment};
    process_run(&result, &options, process_tool(), "doctor", "--json", "--device", "0,no such thing", NULL);
    process_assert_status(&result, 8);
    assert_contains(result.err, "no such thing");
    process_free(&result);
}

/* ---- drivers ---- */

static void test_without_opencl_the_cpu_backend_is_proven(void **state) {
    (void)state;
    const char *environment[] = {setting("OCL_ICD_VENDORS", make_folder("empty")), NULL};
    json_t *json = report(environment, "auto", 0);
    assert_string_equal(text_of(json, "verdict"), "warn");
    assert_check(json, "devices", "warn", "there is no OpenCL device");
    assert_others_right(json_object_get(json, "cpu_backend"), "", "");
    json_decref(json);
}

static void test_crashing_driver_is_named(void **state) {
    (void)state;
    const char *build = getenv("CLINFER_TEST_BUILD"), *vendors = make_folder("vendors");
    char source[512], text[512];
    size_t size;
    snprintf(source, sizeof source, "%s/tests/fault/fake_icd.so", build ? build : "build/release");
    char *library = process_read(source, &size);
    snprintf(text, sizeof text, "%s\n", process_file("libcrash.so", library, size));
    process_file("vendors/bad.icd", text, strlen(text));
    free(library);
    char *good = process_read(pocl, &size);
    process_file("vendors/pocl.icd", good, size);
    free(good);
    const char *environment[] = {setting("OCL_ICD_VENDORS", vendors), NULL};
    json_t *json = report(environment, "cpu", 11);
    assert_string_equal(text_of(json, "verdict"), "fail");
    assert_check(json, "bad.icd", "fail", "it crashed (Aborted) while its devices were listed: it is left out");
    assert_check(json, "pocl.icd", "ok", "Portable Computing Language");
    assert_check(json, "devices", "ok", "1 can be used");
    json_decref(json);
}

/* ---- folders ---- */

static void test_unwritable_cache_is_a_warning(void **state) {
    (void)state;
    const char *environment[] = {setting("XDG_CACHE_HOME", "/dev/null/nowhere"), only_pocl(), NULL};
    json_t *json = report(environment, "cpu", 0);
    assert_check(json, "cache", "warn", "/dev/null/nowhere/clinfer/");
    assert_check(json, "data", "ok", "");
    json_decref(json);
}

static void test_cache_of_others_is_a_warning(void **state) {
    (void)state;
    const char *cache = make_folder("foreign"), *own = make_folder("foreign/clinfer");
    process_file("foreign/clinfer/platforms.json", "{}", 2);
    assert_int_equal(chmod(own, 0777), 0);
    const char *environment[] = {setting("XDG_CACHE_HOME", cache), only_pocl(), NULL};
    json_t *json = report(environment, "cpu", 0);
    assert_check(json, "cache", "warn", "foreign/clinfer: others may write to it (mode 0777)");
    json_decref(json);
    assert_int_equal(chmod(own, 0700), 0);
    char path[512];
    snprintf(path, sizeof path, "%s/platforms.json", own);
    assert_int_equal(chmod(path, 0622), 0);
    json = report(environment, "cpu", 0);
    assert_check(json, "cache", "warn", "platforms.json: others may write to it (mode 0622)");
    json_decref(json);
}

static void test_damaged_model_is_a_failure(void **state) {
    (void)state;
    const char *data = make_folder("damaged");
    make_folder("damaged/clinfer");
    make_folder("damaged/clinfer/models");
    const char *path = process_file("damaged/clinfer/models/short.gguf", "GGUF\3\0\0\0", 8);
    const char *environment[] = {setting("XDG_DATA_HOME", data), only_pocl(), NULL};
    json_t *json = report(environment, "cpu", 11);
    assert_check(json, "models", "fail", "short.gguf");
    json_decref(json);
    /* A pipe is no model, and makes nobody wait. */
    assert_int_equal(remove(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    json = report(environment, "cpu", 0);
    assert_check(json, "models", "warn", "no such model, and none in");
    json_decref(json);
    /* What a run would take is read as a run reads it. */
    assert_int_equal(remove(path), 0);
    struct patched file;
    size_t bytes;
    patched_begin(&file, "tests/data/llama_tiny.gguf");
    memset(patched_tensor(&file, "output_norm.weight", &bytes), 0xff, sizeof(float));
    patched_end(&file, "damaged/clinfer/models/short.gguf");
    json = report(environment, "cpu", 11);
    assert_check(json, "models", "fail", "short.gguf: tensor output_norm.weight (f32): number [0, 0] is");
    json_decref(json);
}

/* ---- what tuning has left ---- */

/* A profile of the CPU backend with one entry, whose kernel's hash is off by `change`. */
static void write_profile(uint64_t change) {
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .threads = ci_threads_default()};
    const struct ci_op *op = &ci_op_add;
    const struct ci_variant *variant = NULL;
    struct ci_profile profile = {.clinfer = CLINFER_VERSION, .created = "2026-11-21T10:00:00Z"};
    struct ci_profile_entry entry = {.seconds = 1e-6, .default_seconds = 2e-6, .tried = 1};
    struct ci_call call;
    assert_true(ci_proof_signature(op, &op->cases[0], &call));
    for (int i = 0; ci_variants[i] && !variant; i++)
        if (ci_variants[i]->op == op && ci_variant_fits(ci_variants[i], &caps, &call)) variant = ci_variants[i];
    if (!variant) return; /* a processor without kernels of its own */
    ci_signature_key(&caps, &profile.key);
    ci_signature_of(op, &call, &entry.signature);
    snprintf(entry.variant, sizeof entry.variant, "%s", variant->name);
    int values[CI_MAX_TUNABLES] = {0};
    assert_int_equal(ci_signature_source(variant, values, &call, &entry.source), CLINFER_OK);
    entry.source += change;
    assert_int_equal(ci_profile_set(&profile, &entry), CLINFER_OK);
    char *path = ci_profile_path(&profile.key);
    if (ci_profile_write(path, &profile) != CLINFER_OK) fail_msg("%s", clinfer_error());
    free(path);
    ci_profile_free(&profile);
}

static void test_profile_and_quarantine_are_looked_at(void **state) {
    (void)state;
    const char *environment[] = {setting("XDG_DATA_HOME", make_folder("tuned")), only_pocl(), NULL};
    const char *before = getenv("XDG_DATA_HOME");
    char *kept = before ? strdup(before) : NULL;
    setenv("XDG_DATA_HOME", make_folder("tuned"), 1);
    json_t *json = report(environment, "cpu", 0);
    assert_non_null(find_check(json, "profile", "warn", ""));
    assert_check(json, "quarantine", "ok", "no kernel");
    json_decref(json);
    write_profile(0);
    json = report(environment, "cpu", 0);
    assert_check(json, "profile", "ok", "fresh, 1 entries of 2026-11-21");
    json_decref(json);
    write_profile(1);
    const struct ci_quarantined item = {
        .device = 1, .device_name = "a card", .op = "add", .variant = "portable", .reason = "error 0.3"};
    assert_int_equal(ci_quarantine_add(&item), CLINFER_OK);
    /* With tunables: what a run has found is shown, what a tune has tried is not. */
    struct ci_quarantined tried = item, found = item;
    tried.tunables[0] = found.tunables[0] = (struct ci_profile_tunable){"TASKS", 1234};
    tried.tunable_count = found.tunable_count = 1;
    snprintf(tried.variant, sizeof tried.variant, "tried");
    snprintf(tried.reason, sizeof tried.reason, "wrong result: NMSE 3");
    snprintf(found.variant, sizeof found.variant, "found");
    snprintf(found.reason, sizeof found.reason, "output 0 [0, 0] is 3, expected 4 +- 1");
    assert_int_equal(ci_quarantine_add(&tried), CLINFER_OK);
    assert_int_equal(ci_quarantine_add(&found), CLINFER_OK);
    json = report(environment, "cpu", 0);
    assert_check(json, "profile", "warn", "1 of 1 entries are stale");
    assert_check(json, "quarantine", "warn", "add/portable on a card");
    assert_non_null(find_check(json, "quarantine", "warn", "add/found on a card"));
    assert_null(find_check(json, "quarantine", "warn", "add/tried on a card"));
    json_decref(json);
    if (kept)
        setenv("XDG_DATA_HOME", kept, 1);
    else
        unsetenv("XDG_DATA_HOME");
    free(kept);
}

/* ---- kernels ---- */

/* A folder for CLINFER_KERNELS in which kernel `add` has `text` before its work. */
static const char *poison_add(const char *name, const char *text) {
    static const char before[] = "__kernel void add(";
    char file[64], *patched = NULL;
    const char *folder = make_folder(name);
    const struct ci_kernel_source *source = ci_kernel_sources;
    while (source->name && strcmp(source->name, "elementwise.cl") != 0) source++;
    const char *start = source->name ? strstr(source->text, before) : NULL, *body = start ? strchr(start, '{') : NULL;
    if (!body) fail_msg("elementwise.cl no longer has \"%s\": change this test too", before);
    int length = asprintf(&patched, "%.*s\n%s\n%s", (int)(body + 1 - source->text), source->text, text, body + 1);
    assert_true(length > 0);
    snprintf(file, sizeof file, "%s/elementwise.cl", name);
    process_file(file, patched, (size_t)length);
    free(patched);
    return setting("CLINFER_KERNELS", folder);
}

static void test_wrong_kernel_is_found(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), poison_add("wrong", "if (get_global_id(0) == 0) return;"), NULL};
    json_t *json = report(environment, "0", 11);
    assert_check(json, "kernels", "fail", "add/portable: 1 of 1 tests failed (f32): known answer of op add");
    assert_others_right(json_array_get(json_object_get(json, "devices"), 0), "add", "wrong");
    json_decref(json);
}

static void test_kernel_that_does_not_build_is_found(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), poison_add("unbuilt", "undeclared_thing = 1;"), NULL};
    json_t *json = report(environment, "0", 11);
    assert_check(json, "kernels", "fail", "add/portable");
    json_decref(json);
}

/* The prover dies of it, and goes on behind it. */
static void test_crashing_kernel_is_named_and_the_others_are_proven(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), poison_add("crash", "*(volatile __global int *)8 = 1;"), NULL};
    json_t *json = report(environment, "0", 11);
    assert_check(json, "kernels", "fail", "add/portable (f32): it crashed (Segmentation fault)");
    assert_null(find_check(json, "kernels", "ok", ""));
    assert_others_right(json_array_get(json_object_get(json, "devices"), 0), "add", "");
    json_decref(json);
}

static void test_kernel_that_never_ends_is_named(void **state) {
    (void)state;
    const char *environment[] = {only_pocl(), poison_add("hang", "for (volatile int i = 0; i < 2; i = 0) continue;"),
                                 "CLINFER_DOCTOR_SECONDS=8", NULL};
    json_t *json = report(environment, "0", 11);
    assert_check(json, "kernels", "fail", "add/portable (f32): nothing was heard for 8 seconds");
    assert_others_right(json_array_get(json_object_get(json, "devices"), 0), "add", "");
    json_decref(json);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_is_well_on_pocl),
        cmocka_unit_test(test_report_names_no_home_folder),
        cmocka_unit_test(test_a_small_stack_blames_no_kernel),
        cmocka_unit_test(test_device_that_is_not_there_is_an_error),
        cmocka_unit_test(test_without_opencl_the_cpu_backend_is_proven),
        cmocka_unit_test(test_crashing_driver_is_named),
        cmocka_unit_test(test_unwritable_cache_is_a_warning),
        cmocka_unit_test(test_cache_of_others_is_a_warning),
        cmocka_unit_test(test_damaged_model_is_a_failure),
        cmocka_unit_test(test_profile_and_quarantine_are_looked_at),
        cmocka_unit_test(test_wrong_kernel_is_found),
        cmocka_unit_test(test_kernel_that_does_not_build_is_found),
        cmocka_unit_test(test_crashing_kernel_is_named_and_the_others_are_proven),
        cmocka_unit_test(test_kernel_that_never_ends_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
