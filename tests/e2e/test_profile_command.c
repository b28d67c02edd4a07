/* `clinfer profile`: list, show, export, import, rm, quarantine, on profiles of the CPU backend of this machine, which
 * is always there, and of devices that never are. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/threads.h"
#include "cpu/cpu.h"
#include "ops/signature.h"
#include "profile/quarantine.h"
#include "support/asserts.h"
#include "support/process.h"

static const char *model;

/* The tool and this process share a data folder of the test's own. */
static int set_home(void **state) {
    static int number;
    char folder[256];
    (void)state;
    if (!model) model = process_model(); /* before it would be looked for in the folder of the test */
    snprintf(folder, sizeof folder, "%s/home%d", process_folder(), number++);
    return setenv("XDG_DATA_HOME", folder, 1);
}

#define PROFILE(result, ...) process_run(result, NULL, process_tool(), "profile", __VA_ARGS__, NULL)

#define EXPECT(exit_status, out_part, err_part, ...)                                                                   \
    do {                                                                                                               \
        struct process_result result_;                                                                                 \
        PROFILE(&result_, __VA_ARGS__);                                                                                \
        process_assert_status(&result_, exit_status);                                                                  \
        assert_contains(result_.out, out_part);                                                                        \
        assert_contains(result_.err, err_part);                                                                        \
        process_free(&result_);                                                                                        \
    } while (0)

static json_t *run_json(const char *action) {
    struct process_result result;
    PROFILE(&result, action, "--json");
    process_assert_status(&result, 0);
    json_t *value = json_loadb(result.out, result.out_length, 0, NULL);
    if (!value) fail_msg("no JSON: %s", result.out);
    process_free(&result);
    return value;
}

static struct ci_profile_key cpu_key(void) {
    const struct ci_caps caps = {.cpu = ci_cpu_features(), .threads = ci_threads_default()};
    struct ci_profile_key key;
    ci_signature_key(&caps, &key);
    return key;
}

/* A profile with one entry, the reference's own way where there is no variant for this processor. */
static struct ci_profile sample(void) {
    struct ci_profile profile = {.key = cpu_key(),
                                 .clinfer = "0.1.0",
                                 .created = "2026-11-21T10:00:00Z",
                                 .measured = {.read_bytes_per_second = 1e10, .operations_per_second = 1e11}};
    struct ci_profile_entry entry = {.signature = {"glu", "f32,f32", "", 1, 1536, 1536},
                                     .variant = CI_PROFILE_UNFUSED,
                                     .seconds = 2e-6,
                                     .default_seconds = 3e-6,
                                     .bytes = 18432,
                                     .operations = 1536,
                                     .tried = 5,
                                     .refused = 1};
    assert_ok(ci_profile_set(&profile, &entry));
    return profile;
}

static char *store(const struct ci_profile *profile) {
    char *path = ci_profile_path(&profile->key);
    assert_ok(ci_profile_write(path, profile));
    return path;
}

static const char *outside(const char *name, const struct ci_profile *profile) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", process_folder(), name);
    assert_ok(ci_profile_write(path, profile));
    return path;
}

static void test_nothing_is_said_to_be_nothing(void **state) {
    (void)state;
    EXPECT(0, "", "`clinfer tune`", "list");
    EXPECT(3, "", "no such profile", "show", "nobody's");
    EXPECT(3, "", "no such profile", "rm", "no/such");
    EXPECT(0, "", "no kernel is in quarantine", "quarantine");
    EXPECT(2, "", "did you mean export?", "exprot");
    EXPECT(2, "", "called as: clinfer profile rm NAME", "rm");
    EXPECT(2, "", "called as: clinfer profile list", "list", "all");
    EXPECT(2, "", "choose one", "show", "x", "--device", "cpu");
    EXPECT(8, "", "no such device; there is", "show", "--device", "no such");
    json_t *list = run_json("list");
    assert_true(json_is_array(json_object_get(list, "profiles")));
    json_decref(list);
}

static void test_list_and_show_tell_what_is_used(void **state) {
    struct ci_profile own = sample(), other = sample();
    (void)state;
    other.key.threads += 3;
    char *path = store(&own), *other_path = store(&other);
    EXPECT(0, "used by --device cpu\n", "", "list");
    EXPECT(0, "not used: there is a nearer one for its device", "", "list");
    snprintf(other.key.device, sizeof other.key.device, "Another processor");
    free(store(&other));
    EXPECT(0, "not used: its device is not here", "", "list");
    EXPECT(0, "1.50x of 3.00 us before, 9.2 GB/s, 92% of the measured bandwidth; tried 5, refused 1, crashed 0", "",
           "show", "--device", "cpu");
    EXPECT(3, "", "several profiles", "show", "cpu");
    EXPECT(0, "Another processor", "", "show", "another proc");
    assert_int_equal(unlink(path), 0);
    EXPECT(0, "used by --device cpu (each kernel proven first)", "", "list");

    json_t *list = run_json("list"), *profiles = json_object_get(list, "profiles"), *item;
    size_t index, used = 0;
    json_array_foreach(profiles, index, item) {
        if (json_array_size(json_object_get(item, "used_by")) == 0) continue;
        const json_t *label = json_array_get(json_object_get(item, "used_by"), 0);
        /* An OpenCL device that is here may use one that was shipped. */
        if (!json_is_string(label) || strcmp(json_string_value(label), "cpu") != 0) continue;
        used++;
        assert_string_equal(json_string_value(json_object_get(item, "path")), other_path);
    }
    assert_int_equal(used, 1);
    json_decref(list);
    free(path);
    free(other_path);
    ci_profile_free(&own);
    ci_profile_free(&other);
}

static void test_show_json_is_the_file(void **state) {
    struct ci_profile own = sample();
    char *path = store(&own), *file;
    struct process_result result;
    size_t size;
    (void)state;
    PROFILE(&result, "show", "--device", "cpu", "--json");
    process_assert_status(&result, 0);
    file = process_read(path, &size);
    json_t *shown = json_loads(result.out, 0, NULL), *there = json_loads(file, 0, NULL);
    assert_true(shown && json_equal(shown, there));
    json_decref(shown);
    json_decref(there);
    process_free(&result);
    free(file);
    free(path);
    ci_profile_free(&own);
}

static void test_bad_file_is_listed_with_its_fault_and_removed(void **state) {
    struct ci_profile own = sample();
    char *path = store(&own), *folder = ci_profile_folder(), bad[512];
    (void)state;
    snprintf(bad, sizeof bad, "%s/bad.json", folder);
    FILE *file = fopen(bad, "w");
    assert_non_null(file);
    fputs("{\"schema\": \"clinfer-profile\", \"version\": 9}", file);
    fclose(file);
    EXPECT(0, "cannot be used: ", "", "list");
    EXPECT(0, "field \"version\": value 9", "", "list");
    EXPECT(0, "used by --device cpu", "", "list");
    EXPECT(5, "", "`clinfer profile rm bad` removes it", "show", "bad");
    EXPECT(0, "", "bad.json is removed", "rm", "bad");
    assert_int_not_equal(access(bad, F_OK), 0);
    assert_int_equal(access(path, F_OK), 0);
    free(path);
    free(folder);
    ci_profile_free(&own);
}

static void test_export_import_and_rm(void **state) {
    struct ci_profile own = sample(), back;
    enum ci_profile_origin origin;
    char *path = store(&own), file[512];
    (void)state;
    snprintf(file, sizeof file, "%s/exported.json", process_folder());
    EXPECT(0, "", "exported.json: the profile of ", "export", file, "--device", "cpu");
    assert_ok(ci_profile_read(file, &back));
    assert_true(ci_profile_same_key(&back.key, &own.key) && back.entry_count == 1 && !back.imported);
    ci_profile_free(&back);
    EXPECT(0, "\"clinfer-profile\"", "", "export", "-");
    EXPECT(4, "", "cannot create", "export", "/proc/no/such.json");
    /* What was measured here counts. */
    EXPECT(2, "", "was tuned here with this very driver", "import", file);
    EXPECT(0, "", " is removed", "rm", "0");
    EXPECT(0, "", "is for --device cpu: each kernel that it names is proven", "import", file);
    EXPECT(0, "", "is stored as ", "import", file);
    assert_ok(ci_profile_lookup(&own.key, &back, &origin, NULL));
    assert_int_equal(origin, CI_PROFILE_DRIVER);
    assert_true(back.imported);
    ci_profile_free(&back);
    EXPECT(0, "imported, made 2026-11-21", "", "list");
    EXPECT(0, "(each kernel proven first)", "", "list");
    /* Passed on, it is nobody's import. */
    EXPECT(0, "\"imported\": false", "", "export", "-");
    free(path);
    ci_profile_free(&own);
}

static void test_import_refuses_what_cannot_be_used_here(void **state) {
    struct ci_profile profile = sample();
    (void)state;
    snprintf(profile.key.device, sizeof profile.key.device, "Thing 9000");
    EXPECT(8, "", "is for \"Thing 9000\" (cpu), which is not here; there is ", "import", outside("a.json", &profile));
    profile.key = cpu_key();
    snprintf(profile.entries[0].variant, sizeof profile.entries[0].variant, "miracle");
    EXPECT(5, "", "b.json: field \"entries[0].variant\": value \"miracle\": must be one of ", "import",
           outside("b.json", &profile));
    snprintf(profile.entries[0].signature.op, sizeof profile.entries[0].signature.op, "miracle");
    EXPECT(5, "", "field \"entries[0].signature.op\": value \"miracle\": must be one of ", "import",
           outside("c.json", &profile));
    snprintf(profile.entries[0].signature.op, sizeof profile.entries[0].signature.op, "glu");
    snprintf(profile.entries[0].layout, sizeof profile.entries[0].layout, "r77");
    EXPECT(5, "", "field \"entries[0].layout\": value \"r77\": must be one of stored,r16", "import",
           outside("d.json", &profile));
    EXPECT(5, "", "is not JSON", "import", process_file("e.json", "{", 1));
    EXPECT(3, "", "cannot open", "import", "/no/such.json");
    char *path = ci_profile_path(&profile.key);
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
    ci_profile_free(&profile);
}

static void test_import_refuses_tunables_of_an_opencl_profile(void **state) {
    struct ci_profile profile = sample();
    (void)state;
    profile.key = (struct ci_profile_key){.kind = "gpu", .platform = "P", .device = "D", .compute_units = 1};
    struct ci_profile_entry *entry = &profile.entries[0];
    snprintf(entry->signature.op, sizeof entry->signature.op, "matmul");
    snprintf(entry->variant, sizeof entry->variant, "gemm_local");
    entry->tunables[0] = (struct ci_profile_tunable){"NO_SUCH", 1};
    entry->tunable_count = 1;
    EXPECT(5, "", "field \"entries[0].tunables\": variant gemm_local of op matmul has no tunable \"NO_SUCH\"", "import",
           outside("f.json", &profile));
    entry->tunable_count = 0;
    EXPECT(8, "", "which is not here", "import", outside("g.json", &profile));
    ci_profile_free(&profile);
}

/* A run goes on without what is wrong, and says it. */
static void test_run_passes_over_bad_profiles(void **state) {
    struct ci_profile profile = sample();
    struct process_result result;
    char *path;
    (void)state;
#define RUN(...)                                                                                                       \
    process_run(&result, NULL, process_tool(), "run", "-m", model, "--device", "cpu", "--temp", "0", "-n", "2",        \
                __VA_ARGS__, NULL)
    snprintf(profile.entries[0].variant, sizeof profile.entries[0].variant, "miracle");
    path = store(&profile);
    RUN("Hello");
    process_assert_status(&result, 0);
    assert_contains(result.err, "field \"entries[0].variant\": value \"miracle\": must be one of ");
    assert_contains(result.err, "this entry is not used: `clinfer tune`");
    process_free(&result);
    RUN("--tuning", path, "Hello");
    process_assert_status(&result, 5);
    process_free(&result);
    assert_int_equal(truncate(path, 200), 0);
    RUN("Hello");
    process_assert_status(&result, 0);
    assert_contains(result.err, "is not JSON");
    const char *first = strstr(result.err, "this profile is not used: `clinfer tune`");
    if (!first || strstr(first + 1, "this profile is not used")) fail_msg("not once: %s", result.err);
    process_free(&result);
    RUN("--tuning", path, "Hello");
    process_assert_status(&result, 5);
    process_free(&result);
#undef RUN
    free(path);
    ci_profile_free(&profile);
}

static void test_quarantine_is_listed_and_cleared(void **state) {
    struct ci_profile_key key = cpu_key();
    struct ci_quarantined item = {.device = ci_quarantine_device(&key),
                                  .device_name = "This processor",
                                  .op = "matmul",
                                  .variant = "gemm_vec",
                                  .tunables = {{"STREAMS", 4}},
                                  .tunable_count = 1,
                                  .types = "f32,q4_0",
                                  .reason = "error 0.3",
                                  .date = "2026-11-20"};
    (void)state;
    assert_ok(ci_quarantine_add(&item));
    EXPECT(0, "matmul             gemm_vec (STREAMS=4) f32,q4_0", "", "quarantine");
    EXPECT(0, "on This processor: error 0.3 (2026-11-20)", "", "quarantine");
    json_t *list = run_json("quarantine"), *first = json_array_get(json_object_get(list, "quarantine"), 0);
    assert_string_equal(json_string_value(json_object_get(first, "reason")), "error 0.3");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(first, "tunables"), "STREAMS")), 4);
    json_decref(list);
    EXPECT(0, "", "1 kernel left quarantine", "quarantine", "--clear");
    EXPECT(0, "", "no kernel is in quarantine", "quarantine");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_is_said_to_be_nothing, set_home),
        cmocka_unit_test_setup(test_list_and_show_tell_what_is_used, set_home),
        cmocka_unit_test_setup(test_show_json_is_the_file, set_home),
        cmocka_unit_test_setup(test_bad_file_is_listed_with_its_fault_and_removed, set_home),
        cmocka_unit_test_setup(test_export_import_and_rm, set_home),
        cmocka_unit_test_setup(test_import_refuses_what_cannot_be_used_here, set_home),
        cmocka_unit_test_setup(test_import_refuses_tunables_of_an_opencl_profile, set_home),
        cmocka_unit_test_setup(test_run_passes_over_bad_profiles, set_home),
        cmocka_unit_test_setup(test_quarantine_is_listed_and_cleared, set_home),
    };
    return cmocka_run_group_tests_name("profile command", tests, NULL, NULL);
}
