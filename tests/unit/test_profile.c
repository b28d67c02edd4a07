/* profile/: the file as written and read, every refusal, the nearest entry, look-up, the lock. */
#define _GNU_SOURCE
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "profile/profile.h"
#include "profile/shipped.h"
#include "support/process.h"

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        if ((call) != CLINFER_OK) fail_msg("%s: %s", #call, clinfer_error());                                          \
    } while (0)

#define assert_message(part)                                                                                           \
    do {                                                                                                               \
        if (!strstr(clinfer_error(), part)) fail_msg("\"%s\" is not in: %s", part, clinfer_error());                   \
    } while (0)

static struct ci_profile_key sample_key(void) {
    return (struct ci_profile_key){.kind = "gpu",
                                   .platform = "Some Platform",
                                   .platform_version = "OpenCL 3.0 v1",
                                   .device = "Thing 9000 \"µ\" (TM)",
                                   .driver = "535.1",
                                   .compute_units = 12,
                                   .threads = 4,
                                   .cpu = "avx2,avx512vnni"};
}

static struct ci_profile_entry sample_entry(const char *op, int64_t rows, int64_t k, int64_t n) {
    struct ci_profile_entry entry = {
        .signature = {.types = "q8,q4_1,-", .params = "9,-3", .rows = rows, .k = k, .n = n},
        .layout = "r16",
        .variant = "gemm_vec",
        .tunables = {{"STREAMS", 4}, {"OFFSET", -1}},
        .tunable_count = 2,
        .source = UINT64_C(0xfedcba9876543210),
        .seconds = 1.25e-5,
        .default_seconds = 2.5e-5,
        .bytes = 12345678,
        .operations = 2.5e9,
        .nmse = 1e-10,
        .tried = 40,
        .refused = 3,
        .crashed = 1};
    snprintf(entry.signature.op, sizeof entry.signature.op, "%s", op);
    return entry;
}

static void make_sample(struct ci_profile *profile) {
    *profile = (struct ci_profile){.key = sample_key(),
                                   .clinfer = "0.1.0",
                                   .created = "2026-11-21T10:00:00Z",
                                   .tune_seconds = 58.5,
                                   .measured = {1e10, 2e11, 7e11, 3e-6, 4e-5, 5e-5, 6e9}};
    struct ci_profile_entry first = sample_entry("matmul", 1, 576, 1536),
                            second = sample_entry("rmsnorm", 512, 576, 576);
    memset(second.layout, 0, sizeof second.layout);
    second.tunable_count = 0;
    memset(second.tunables, 0, sizeof second.tunables);
    assert_ok(ci_profile_set(profile, &first));
    assert_ok(ci_profile_set(profile, &second));
    profile->models = calloc(1, sizeof *profile->models);
    assert_non_null(profile->models);
    profile->model_count = 1;
    profile->models[0] = (struct ci_profile_model){"SmolLM2", 0x123, 10.5, 20.25, 100, 200, 0.875};
}

static void assert_same(const struct ci_profile *a, const struct ci_profile *b) {
    assert_int_equal(a->entry_count, b->entry_count);
    assert_int_equal(a->model_count, b->model_count);
    assert_memory_equal(&a->key, &b->key, sizeof a->key);
    assert_string_equal(a->clinfer, b->clinfer);
    assert_string_equal(a->created, b->created);
    assert_true(a->tune_seconds == b->tune_seconds && a->imported == b->imported);
    assert_memory_equal(&a->measured, &b->measured, sizeof a->measured);
    for (int i = 0; i < a->entry_count; i++) assert_memory_equal(&a->entries[i], &b->entries[i], sizeof *a->entries);
    for (int i = 0; i < a->model_count; i++) assert_memory_equal(&a->models[i], &b->models[i], sizeof *a->models);
}

/* ---- round trip ---- */

static void test_profile_comes_back_as_it_was_written(void **state) {
    struct ci_profile profile, back;
    (void)state;
    make_sample(&profile);
    profile.imported = true;
    char *path = NULL;
    assert_true(asprintf(&path, "%s/new/folder/profile.json", process_folder()) > 0);
    assert_ok(ci_profile_write(path, &profile));
    assert_ok(ci_profile_read(path, &back));
    assert_same(&profile, &back);
    ci_profile_free(&back);
    ci_profile_free(&profile);
    assert_null(profile.entries);
    free(path);
}

static char *print_sample(void) {
    struct ci_profile profile;
    char *text;
    make_sample(&profile);
    assert_ok(ci_profile_print("sample", &profile, &text));
    ci_profile_free(&profile);
    return text;
}

static void test_empty_profile_and_most_tunables_come_back(void **state) {
    struct ci_profile profile = {.key = sample_key()}, back;
    struct ci_profile_entry entry = sample_entry("matmul", 2147483647, 0, INT64_C(1) << 40);
    char *text;
    (void)state;
    assert_ok(ci_profile_print("empty", &profile, &text));
    assert_ok(ci_profile_parse("empty", text, strlen(text), &back));
    assert_same(&profile, &back);
    free(text);
    ci_profile_free(&back);
    memset(&entry.tunables, 0, sizeof entry.tunables);
    entry.tunable_count = CI_PROFILE_TUNABLES;
    for (int i = 0; i < CI_PROFILE_TUNABLES; i++) {
        memset(entry.tunables[i].name, 'a' + i, sizeof entry.tunables[i].name - 1);
        entry.tunables[i].value = i % 2 ? INT32_MIN + i : INT32_MAX - i;
    }
    memset(entry.signature.types, 'x', sizeof entry.signature.types - 1);
    assert_ok(ci_profile_set(&profile, &entry));
    assert_ok(ci_profile_print("full", &profile, &text));
    assert_ok(ci_profile_parse("full", text, strlen(text), &back));
    assert_same(&profile, &back);
    free(text);
    ci_profile_free(&back);
    ci_profile_free(&profile);
}

static void test_texts_of_a_strange_driver_are_cleaned(void **state) {
    struct ci_profile profile = {.key = sample_key()}, back;
    char *text;
    (void)state;
    snprintf(profile.key.device, sizeof profile.key.device, "Gr\xfc\x1b[31m");
    snprintf(profile.key.driver, sizeof profile.key.driver,
             "a\xc2\x9b"
             "31m\xc2\xb5");
    assert_ok(ci_profile_print("strange", &profile, &text));
    assert_ok(ci_profile_parse("strange", text, strlen(text), &back));
    assert_string_equal(back.key.device, "Gr??[31m");
    assert_string_equal(back.key.driver, "a??31m\xc2\xb5");
    free(text);
    ci_profile_free(&back);
}

static void test_what_could_not_be_read_is_not_written(void **state) {
    struct ci_profile profile;
    char *text, *path = NULL;
    (void)state;
    make_sample(&profile);
    profile.entries[1].seconds = (double)NAN;
    assert_int_equal(ci_profile_print("p", &profile, &text), CLINFER_BAD_FILE);
    assert_null(text);
    assert_message("p: field \"entries[1].seconds\"");
    profile.entries[1].seconds = 1e-5;
    profile.models[0].covered = 1.5;
    assert_true(asprintf(&path, "%s/never", process_folder()) > 0);
    assert_int_equal(ci_profile_write(path, &profile), CLINFER_BAD_FILE);
    assert_message("field \"models[0].covered\": value 1.5: must be a number from 0 to 1");
    assert_int_not_equal(access(path, F_OK), 0);
    free(path);
    profile.models[0].covered = 1;
    snprintf(profile.entries[0].tunables[1].name, sizeof profile.entries[0].tunables[1].name, "two words");
    assert_int_equal(ci_profile_print("p", &profile, &text), CLINFER_BAD_FILE);
    assert_message("entries[0].tunables");
    ci_profile_free(&profile);
}

/* ---- refusals ---- */

static enum clinfer_status parse_json(const json_t *object) {
    struct ci_profile profile;
    char *text = json_dumps(object, JSON_ENCODE_ANY);
    assert_non_null(text);
    enum clinfer_status status = ci_profile_parse("file.json", text, strlen(text), &profile);
    free(text);
    if (status == CLINFER_OK)
        ci_profile_free(&profile);
    else
        assert_true(!profile.entries && !profile.models && !profile.entry_count && !profile.model_count);
    return status;
}

static void expect_refusal(const json_t *top, const char *field) {
    char wanted[160];
    char *shown = json_dumps(top, JSON_INDENT(1));
    enum clinfer_status status = parse_json(top);
    if (status != CLINFER_BAD_FILE) fail_msg("%s: status %d, not refused: %s", field, status, shown);
    free(shown);
    snprintf(wanted, sizeof wanted, "file.json: field \"%s\": ", field);
    assert_message(wanted);
    assert_null(strchr(clinfer_error(), '\x1b'));
}

/* Every member of every object, gone and replaced by whatever it must not be. */
static void spoil(json_t *top, json_t *object, const char *where) {
    static const char *const never[] = {"null",   "{\"\": 1}",           "[[]]", "\"\\u001b[31m\"", "1e308",
                                        "-1e308", "-9223372036854775807"};
    const char *key;
    json_t *value, *members = json_copy(object);
    json_object_foreach(members, key, value) {
        char path[160];
        snprintf(path, sizeof path, "%s%s%s", where, *where ? "." : "", key);
        for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
            json_object_set_new(object, key, json_loads(never[i], JSON_DECODE_ANY, NULL));
            /* An empty map of another shape is caught one level down. */
            if (json_is_object(value) && never[i][0] == '{')
                assert_int_equal(parse_json(top), CLINFER_BAD_FILE);
            else if (json_is_array(value) && never[i][0] == '[')
                assert_int_equal(parse_json(top), CLINFER_BAD_FILE);
            else
                expect_refusal(top, path);
        }
        bool tunable = strstr(path, "tunables.") != NULL,
             optional = strcmp(key, "imported") == 0 || strcmp(key, "dot8_operations_per_second") == 0;
        if (json_is_number(value) && !tunable) {
            json_object_set_new(object, key, json_integer(-1));
            expect_refusal(top, path);
        }
        if (json_is_integer(value)) {
            json_object_set_new(object, key, json_real(1.5));
            expect_refusal(top, path);
        }
        if (json_is_string(value)) {
            char text[300];
            memset(text, '7', sizeof text - 1);
            text[sizeof text - 1] = '\0';
            json_object_set_new(object, key, json_string(text));
            expect_refusal(top, path);
            assert_message("777... (");
        }
        json_object_del(object, key);
        if (optional || tunable)
            assert_int_equal(parse_json(top), CLINFER_OK);
        else
            expect_refusal(top, path);
        json_object_set(object, key, value);
        if (json_is_object(value)) spoil(top, value, path);
        for (size_t i = 0; i < json_array_size(value); i++) {
            char item[192];
            snprintf(item, sizeof item, "%s[%zu]", path, i);
            spoil(top, json_array_get(value, i), item);
        }
    }
    json_decref(members);
    if (strstr(where, ".tunables")) return;
    json_object_set_new(object, "extra\x1b", json_integer(1));
    char path[200];
    snprintf(path, sizeof path, "%s%sextra?", where, *where ? "." : "");
    expect_refusal(top, path);
    assert_message("unknown; the fields here are ");
    json_object_del(object, "extra\x1b");
}

static void test_every_field_is_checked(void **state) {
    char *text = print_sample();
    json_t *top = json_loads(text, 0, NULL);
    (void)state;
    free(text);
    assert_non_null(top);
    spoil(top, top, "");
    assert_int_equal(parse_json(top), CLINFER_OK);
    json_decref(top);
}

static void test_messages_name_value_and_what_it_must_be(void **state) {
    static const struct {
        const char *find, *replace, *message;
    } cases[] = {
        {"\"STREAMS\": 4", "\"STREAMS\": 1e99",
         "f: field \"entries[0].tunables.STREAMS\": value 1e99: must be a whole number from -2147483648 to "
         "2147483647"},
        {"\"STREAMS\": 4", "\"STREAMS\": 4, \"STREAMS\": 5", "is not JSON: duplicate object key near"},
        {"\"STREAMS\": 4", "\"STR EAMS\": 4",
         "f: field \"entries[0].tunables\": value \"STR EAMS\": must have letters"},
        {"\"version\": 1", "\"version\": 2", "f: field \"version\": value 2: this clinfer reads version 1 only"},
        {"clinfer-profile", "clinfer-quarantine",
         "f: field \"schema\": value \"clinfer-quarantine\": must be \"clinfer-profile\""},
        {"fedcba9876543210", "fedcba987654321",
         "f: field \"entries[0].source\": value \"fedcba987654321\": must be a "
         "text of 16 hexadecimal digits"},
        {"fedcba9876543210", "FEDCBA9876543210", "16 hexadecimal digits"},
        {"fedcba9876543210", "0xcba9876543210f", "16 hexadecimal digits"},
        {"1.25e-5", "1e999", "is not JSON"},
        {"1.25e-5", "NaN", "is not JSON"},
        {"1.25e-5", "3601", "f: field \"entries[0].seconds\": value 3601: must be a number from 0 to 3600"},
        {"\"avx2,avx512vnni\"", "\"avx2\\u0000\"", "is not JSON"},
        {"\"rows\": 1,", "\"rows\": 0,",
         "f: field \"entries[0].signature.rows\": value 0: must be a whole number from 1"},
        {"\"op\": \"rmsnorm\"", "\"op\": \"\"",
         "f: field \"entries[1].signature.op\": value \"\": must have 1 to 47 bytes"},
        {"\"platform\": \"Some", "\"platform\": \"\xff", "is not JSON"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = print_sample(), *changed = NULL;
        char *at = strstr(text, cases[i].find);
        if (!at) fail_msg("%s is not in: %s", cases[i].find, text);
        *at = '\0';
        assert_true(asprintf(&changed, "%s%s%s", text, cases[i].replace, at + strlen(cases[i].find)) > 0);
        struct ci_profile profile;
        assert_int_equal(ci_profile_parse("f", changed, strlen(changed), &profile), CLINFER_BAD_FILE);
        assert_message(cases[i].message);
        free(changed);
        free(text);
    }
}

static void test_every_truncation_is_refused(void **state) {
    char *text = print_sample();
    (void)state;
    for (size_t length = 0; length < strlen(text); length++) {
        struct ci_profile profile;
        char *cut = malloc(length ? length : 1); /* so that a sanitizer sees the first byte behind */
        assert_non_null(cut);
        memcpy(cut, text, length);
        assert_int_equal(ci_profile_parse("cut", cut, length, &profile), CLINFER_BAD_FILE);
        assert_message("cut: line ");
        free(cut);
    }
    free(text);
}

static void test_counts_and_sizes_are_limited(void **state) {
    char *text = print_sample();
    json_t *top = json_loads(text, 0, NULL), *entries = json_object_get(top, "entries");
    (void)state;
    free(text);
    json_array_append(entries, json_array_get(entries, 0));
    assert_int_equal(parse_json(top), CLINFER_BAD_FILE);
    assert_message(
        "field \"entries[2]\": value (an object): is for the same op, types, layout and shape as entries[0]");
    json_array_clear(entries);
    for (int i = 0; i <= CI_PROFILE_ENTRIES; i++) json_array_append_new(entries, json_object());
    expect_refusal(top, "entries");
    assert_message("has 4097 items: at most 4096 are read");
    json_array_clear(entries);
    for (int i = 0; i <= CI_PROFILE_MODELS; i++) json_array_append_new(json_object_get(top, "models"), json_object());
    expect_refusal(top, "models");
    json_decref(top);

    struct ci_profile profile;
    size_t size = CI_PROFILE_FILE_BYTES + 1;
    char *spaces = malloc(size);
    assert_non_null(spaces);
    memset(spaces, ' ', size);
    assert_int_equal(ci_profile_parse("big", spaces, size, &profile), CLINFER_BAD_FILE);
    assert_message("big: has 8388609 bytes: at most 8388608 are read");
    const char *path = process_file("big.json", spaces, size);
    assert_int_equal(ci_profile_read(path, &profile), CLINFER_BAD_FILE);
    assert_message("at most 8388608 are read");
    memset(spaces, '[', size);
    assert_int_equal(ci_profile_parse("deep", spaces, 100000, &profile), CLINFER_BAD_FILE);
    assert_int_equal(ci_profile_parse("no object", "[]", 2, &profile), CLINFER_BAD_FILE);
    assert_int_equal(ci_profile_read("/no/such/profile", &profile), CLINFER_NOT_FOUND);
    assert_int_equal(ci_profile_read(process_folder(), &profile), CLINFER_IO);
    free(spaces);
}

/* ---- entries ---- */

static void test_set_replaces_the_same_shape_only(void **state) {
    struct ci_profile profile;
    (void)state;
    make_sample(&profile);
    struct ci_profile_entry entry = sample_entry("matmul", 1, 576, 1536);
    entry.tried = 99;
    assert_ok(ci_profile_set(&profile, &entry));
    assert_int_equal(profile.entry_count, 2);
    assert_int_equal(profile.entries[0].tried, 99);
    entry.signature.rows = 2;
    assert_ok(ci_profile_set(&profile, &entry));
    snprintf(entry.layout, sizeof entry.layout, "stored");
    assert_ok(ci_profile_set(&profile, &entry));
    assert_int_equal(profile.entry_count, 4);
    ci_profile_free(&profile);
}

static void test_find_takes_the_nearest_shape_of_the_bucket(void **state) {
    struct ci_profile profile = {.key = sample_key()};
    static const int64_t shapes[][3] = {{1, 576, 576},    {1, 576, 1536},   {1, 576, 49152}, {16, 576, 576},
                                        {64, 576, 49152}, {512, 576, 1536}, {4, 1000, 1000}};
    struct ci_profile_signature wanted = sample_entry("matmul", 1, 576, 1536).signature;
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct ci_profile_entry entry = sample_entry("matmul", shapes[i][0], shapes[i][1], shapes[i][2]);
        assert_ok(ci_profile_set(&profile, &entry));
    }
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[1]);
    wanted.n = 40000;
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[2]);
    wanted.n = 600;
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[0]);
    wanted.rows = 33;
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[3]);
    wanted.rows = 8;
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[6]);
    wanted.rows = 65;
    assert_ptr_equal(ci_profile_find(&profile, &wanted, "r16"), &profile.entries[5]);
    assert_null(ci_profile_find(&profile, &wanted, "stored"));
    snprintf(wanted.params, sizeof wanted.params, "9");
    assert_null(ci_profile_find(&profile, &wanted, "r16"));
    ci_profile_free(&profile);
    assert_null(ci_profile_find(&profile, &wanted, "r16"));
}

static void test_buckets(void **state) {
    static const int64_t rows[] = {1, 2, 8, 9, 64, 65, 512}, buckets[] = {0, 1, 1, 2, 2, 3, 3};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(ci_profile_bucket(rows[i]), buckets[i]);
}

/* ---- look-up ---- */

static char messages[4096];

static void listen(void *user, enum clinfer_log_level level, const char *message) {
    (void)user;
    (void)level;
    size_t used = strlen(messages);
    snprintf(messages + used, sizeof messages - used, "%s\n", message);
}

/* An empty folder for profiles of the test's own. */
static int set_home(void **state) {
    static int number;
    char folder[256];
    (void)state;
    snprintf(folder, sizeof folder, "%s/home%d", process_folder(), number++);
    messages[0] = '\0';
    clinfer_log_to(listen, NULL);
    return setenv("XDG_DATA_HOME", folder, 1);
}

static int unset_home(void **state) {
    (void)state;
    clinfer_log_to(NULL, NULL);
    return 0;
}

/* Writes an empty profile for this key, made at `created`; its place. */
static void store(const struct ci_profile_key *key, const char *created, bool imported, const char *name) {
    struct ci_profile profile = {.key = *key, .imported = imported};
    char *path = ci_profile_path(key), *other = NULL;
    assert_non_null(path);
    snprintf(profile.created, sizeof profile.created, "%s", created);
    if (name) {
        char *folder = ci_profile_folder();
        assert_true(asprintf(&other, "%s/%s", folder, name) > 0);
        free(folder);
    }
    assert_ok(ci_profile_write(other ? other : path, &profile));
    free(path);
    free(other);
}

static void expect_lookup(const struct ci_profile_key *key, enum ci_profile_origin wanted, const char *created) {
    struct ci_profile profile;
    enum ci_profile_origin origin;
    char *path;
    assert_ok(ci_profile_lookup(key, &profile, &origin, &path));
    if (origin != wanted || strcmp(profile.created, created) != 0)
        fail_msg("origin %d, made \"%s\" (%s); wanted %d, \"%s\"", origin, profile.created, path ? path : "no path",
                 wanted, created);
    assert_true((origin == CI_PROFILE_NONE) == (path == NULL));
    free(path);
    ci_profile_free(&profile);
    assert_ok(ci_profile_lookup(key, &profile, &origin, NULL));
    ci_profile_free(&profile);
}

/* Of bytes or of floats, whichever is faster, where there are bytes; what nobody has measured is no limit. */
static void test_peak_is_that_of_the_unit(void **state) {
    (void)state;
    struct ci_profile_device measured = {.operations_per_second = 100, .dot8_operations_per_second = 300};
    struct ci_profile_signature bytes = {.types = "q8,q4_1,-"}, floats = {.types = "f32,q4_1"},
                                table = {.types = "q8_0"};
    assert_true(ci_profile_peak(&measured, &bytes) == 300);
    assert_true(ci_profile_peak(&measured, &floats) == 100);
    assert_true(ci_profile_peak(&measured, &table) == 100);
    measured.dot8_operations_per_second = 50;
    assert_true(ci_profile_peak(&measured, &bytes) == 100);
    measured.dot8_operations_per_second = 0;
    assert_true(ci_profile_peak(&measured, &bytes) == 0);
}

static void test_lookup_prefers_exact_then_nearest_key(void **state) {
    struct ci_profile_key key = sample_key(), other = sample_key();
    (void)state;
    expect_lookup(&key, CI_PROFILE_NONE, "");
    snprintf(other.device, sizeof other.device, "Another thing");
    store(&other, "2026-01-01T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_NONE, "");
    other = key;
    snprintf(other.driver, sizeof other.driver, "534");
    snprintf(other.platform_version, sizeof other.platform_version, "OpenCL 3.0 v0");
    store(&other, "2026-02-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-02-02T00:00:00Z");
    other = key;
    other.threads = 2;
    store(&other, "2026-01-03T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-01-03T00:00:00Z");
    /* Equally near: the later one. */
    other = key;
    snprintf(other.cpu, sizeof other.cpu, "avx2");
    store(&other, "2026-01-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2026-01-03T00:00:00Z");
    store(&key, "2020-01-01T00:00:00Z", true, NULL);
    expect_lookup(&key, CI_PROFILE_DRIVER, "2020-01-01T00:00:00Z");
    store(&key, "2020-01-02T00:00:00Z", false, NULL);
    expect_lookup(&key, CI_PROFILE_EXACT, "2020-01-02T00:00:00Z");
    assert_string_equal(messages, "");
}

static void test_lookup_goes_by_content_and_passes_over_bad_files(void **state) {
    struct ci_profile_key key = sample_key();
    char *folder = ci_profile_folder(), path[512];
    (void)state;
    store(&key, "2026-01-01T00:00:00Z", false, "copied by hand.json");
    expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
    snprintf(path, sizeof path, "%s/aaa.json", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs("{\"schema\": \"clinfer-profile\", \"version\": 7}", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/folder.json", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
    if (!strstr(messages, "aaa.json: field \"version\": value 7") || !strstr(messages, "clinfer tune"))
        fail_msg("the log: %s", messages);
    /* Once, although there were two look-ups. */
    assert_null(strstr(strstr(messages, "aaa.json") + 1, "aaa.json"));
    snprintf(path, sizeof path, "%s/\x1b[31m.json", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    struct ci_profile_files files;
    assert_ok(ci_profile_files(&files));
    assert_int_equal(files.count, 3);
    ci_profile_files_free(&files);
    free(folder);
}

static void test_path_is_for_people_and_unique(void **state) {
    struct ci_profile_key key = sample_key();
    char *path = ci_profile_path(&key), *same = ci_profile_path(&key);
    (void)state;
    assert_string_equal(path, same);
    assert_non_null(strstr(path, "/clinfer/profiles/thing-9000-tm-"));
    struct ci_profile_key others[8];
    for (int i = 0; i < 8; i++) others[i] = key;
    others[0].kind[0] = 'x';
    others[1].platform[0] = 'x';
    others[2].platform_version[0] = 'x';
    others[3].device[0] = 'x';
    others[4].driver[0] = 'x';
    others[5].compute_units++;
    others[6].threads++;
    others[7].cpu[0] = 'x';
    for (int i = 0; i < 8; i++) {
        char *different = ci_profile_path(&others[i]);
        assert_string_not_equal(path, different);
        assert_false(ci_profile_same_key(&key, &others[i]));
        assert_int_equal(ci_profile_same_device(&key, &others[i]), i != 0 && i != 1 && i != 3);
        free(different);
    }
    assert_true(ci_profile_same_key(&key, &key));
    free(path);
    free(same);
    memset(key.device, '/', sizeof key.device - 1);
    path = ci_profile_path(&key);
    assert_non_null(strstr(path, "/profiles/device-"));
    free(path);
}

static void test_shipped_profiles_are_good_and_found(void **state) {
    (void)state;
    for (const struct ci_profile_shipped *file = ci_profiles_shipped; file->name; file++) {
        struct ci_profile profile, found;
        enum ci_profile_origin origin;
        assert_int_equal(strlen(file->text), file->length);
        assert_ok(ci_profile_parse(file->name, file->text, file->length, &profile));
        assert_false(profile.imported);
        assert_true(profile.entry_count > 0);
        assert_ok(ci_profile_lookup(&profile.key, &found, &origin, NULL));
        assert_int_equal(origin, CI_PROFILE_SHIPPED);
        assert_true(ci_profile_same_key(&found.key, &profile.key));
        ci_profile_free(&found);
        struct ci_profile_key stranger = profile.key;
        snprintf(stranger.platform, sizeof stranger.platform, "no such platform");
        assert_ok(ci_profile_lookup_shipped(&stranger, &found, &origin, NULL));
        assert_int_equal(origin, CI_PROFILE_NONE);
        ci_profile_free(&profile);
    }
}

static void test_shipped_cpus_are_matched_by_their_vectors(void **state) {
    static const struct {
        const char *cpu, *device;
        unsigned units;
    } shipped[] = {{"avx2", "Xeon", 8},
                   {"avx2", "EPYC", 64},
                   {"avx2,avx512vnni", "EPYC 9", 16},
                   {"avx2,avx512vnni,avx512bf16", "EPYC 9", 16},
                   {"neon,neondot", "Graviton", 16},
                   {"", "Old", 1}};
    static const struct {
        const char *cpu, *device;
        unsigned units;
        int wanted;
    } devices[] = {{"avx2", "Ryzen", 6, 0},
                   {"avx2", "Ryzen", 128, 1},
                   {"avx2", "EPYC", 2, 1}, /* the very same name */
                   {"avx2,avx512vnni", "Xeon", 2, 2},
                   {"avx2,avx512vnni,avx512bf16", "Xeon", 2, 3},
                   {"neon", "Pi", 4, 4},
                   {"", "486", 1, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        struct ci_profile_key key = {.kind = "cpu", .platform = "Portable Computing Language"}, other = key;
        double best = -1;
        int nearest = -1;
        snprintf(key.cpu, sizeof key.cpu, "%s", devices[i].cpu);
        snprintf(key.device, sizeof key.device, "%s", devices[i].device);
        key.compute_units = devices[i].units;
        for (size_t k = 0; k < sizeof shipped / sizeof *shipped; k++) {
            snprintf(other.cpu, sizeof other.cpu, "%s", shipped[k].cpu);
            snprintf(other.device, sizeof other.device, "%s", shipped[k].device);
            other.compute_units = shipped[k].units;
            double score = ci_profile_shipped_score(&other, &key);
            if (score > best) nearest = (int)k;
            if (score > best) best = score;
        }
        if (nearest != devices[i].wanted)
            fail_msg("%s with %u units takes %d, not %d", devices[i].cpu, devices[i].units, nearest, devices[i].wanted);
        snprintf(other.cpu, sizeof other.cpu, "%s", devices[i].cpu);
        snprintf(other.platform, sizeof other.platform, "Intel(R) OpenCL");
        assert_true(ci_profile_shipped_score(&other, &key) < 0);
    }
}

static void test_shipped_gpus_are_matched_by_name_and_platform(void **state) {
    struct ci_profile_key key = sample_key(), other = sample_key();
    (void)state;
    double same = ci_profile_shipped_score(&other, &key);
    snprintf(other.driver, sizeof other.driver, "another");
    snprintf(other.cpu, sizeof other.cpu, "neon");
    double nearly = ci_profile_shipped_score(&other, &key);
    assert_true(same > nearly && nearly >= 0);
    snprintf(other.device, sizeof other.device, "Thing 8000");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
    other = key;
    snprintf(other.platform, sizeof other.platform, "rusticl");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
    other = key;
    snprintf(other.kind, sizeof other.kind, "cpu");
    assert_true(ci_profile_shipped_score(&other, &key) < 0);
}

/* ---- several processes, and none that survives ---- */

static void test_lock_keeps_a_second_process_out_and_names_it(void **state) {
    struct ci_profile_key key = sample_key(), other = sample_key();
    struct ci_profile_lock lock, second;
    int ready[2];
    char byte;
    (void)state;
    other.threads++;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        struct ci_profile_lock held;
        if (ci_profile_lock(&key, 5, &held) != CLINFER_OK || write(ready[1], "x", 1) != 1) _exit(1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    char who[64];
    snprintf(who, sizeof who, "process %d ", (int)child);
    assert_int_equal(ci_profile_lock(&key, 0.1, &lock), CLINFER_IO);
    assert_message(who);
    assert_message("wait for it to end");
    assert_ok(ci_profile_lock(&other, 0, &second));
    ci_profile_unlock(&second);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    assert_ok(ci_profile_lock(&key, 2, &lock));
    ci_profile_unlock(&lock);
    ci_profile_unlock(&lock);
    close(ready[0]);
    close(ready[1]);
}

static void write_for_ever(const struct ci_profile_key *key, const char *path) {
    for (int i = 0;; i++) {
        struct ci_profile profile;
        struct ci_profile_lock lock;
        make_sample(&profile);
        profile.key = *key;
        profile.tune_seconds = i;
        for (int n = 0; n < 40 + i % 40; n++) {
            struct ci_profile_entry entry = sample_entry("matmul", 1, 1000 + n, 576);
            if (ci_profile_set(&profile, &entry) != CLINFER_OK) _exit(1);
        }
        if (ci_profile_lock(key, 5, &lock) != CLINFER_OK || ci_profile_write(path, &profile) != CLINFER_OK) _exit(1);
        ci_profile_unlock(&lock);
        ci_profile_free(&profile);
    }
}

static int count_files(void) {
    char *folder = ci_profile_folder(), command[512];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
    FILE *pipe = popen(command, "r");
    int count = -1;
    assert_true(pipe && fscanf(pipe, "%d", &count) == 1);
    pclose(pipe);
    free(folder);
    return count;
}

static void test_kill_while_writing_leaves_a_whole_file(void **state) {
    struct ci_profile_key key = sample_key();
    struct ci_profile_lock lock;
    char *path = ci_profile_path(&key);
    (void)state;
    store(&key, "2026-01-01T00:00:00Z", false, NULL);
    srand(7);
    for (int round = 0; round < 20; round++) {
        pid_t child = fork();
        if (child == 0) write_for_ever(&key, path);
        nanosleep(&(struct timespec){.tv_nsec = 1000000L * (1 + rand() % 40)}, NULL);
        kill(child, SIGKILL);
        int status;
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status));
        struct ci_profile profile;
        assert_ok(ci_profile_read(path, &profile));
        ci_profile_free(&profile);
    }
    assert_ok(ci_profile_lock(&key, 2, &lock));
    assert_int_equal(count_files(), 2); /* the profile and its lock, nothing left over */
    ci_profile_unlock(&lock);
    free(path);
}

/* Runs `body` in a child, which tells by its exit status what the write said; then the old file must be whole. */
static void expect_failed_write(bool (*prepare)(const char *folder), const char *part) {
    struct ci_profile_key key = sample_key();
    char *path = ci_profile_path(&key), *folder = ci_profile_folder();
    store(&key, "2026-01-01T00:00:00Z", false, NULL);
    pid_t child = fork();
    if (child == 0) {
        struct ci_profile profile;
        make_sample(&profile);
        for (int n = 0; n < 2000; n++) {
            struct ci_profile_entry entry = sample_entry("matmul", 1, 1000 + n, 576);
            if (ci_profile_set(&profile, &entry) != CLINFER_OK) _exit(1);
        }
        if (!prepare(folder)) _exit(77);
        if (ci_profile_write(path, &profile) != CLINFER_IO) _exit(2);
        _exit(strstr(clinfer_error(), part) ? 0 : 3);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) != 77) {
        assert_int_equal(WEXITSTATUS(status), 0);
        expect_lookup(&key, CI_PROFILE_EXACT, "2026-01-01T00:00:00Z");
        assert_int_equal(count_files(), 1);
    }
    free(path);
    free(folder);
    if (WEXITSTATUS(status) == 77) {
        print_message("skip: this machine lets us make no such folder\n");
        skip();
    }
}

static bool small_files_only(const char *folder) {
    (void)folder;
    signal(SIGXFSZ, SIG_IGN);
    return setrlimit(RLIMIT_FSIZE, &(struct rlimit){10000, 10000}) == 0;
}

static void test_file_size_limit_leaves_the_old_file(void **state) {
    (void)state;
    expect_failed_write(small_files_only, "cannot write: File too large");
}

/* A file system of the child's own over the folder, where the machine lets us. */
static bool full_disk(const char *folder) {
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", folder, "tmpfs", 0, "size=64k") == 0;
}

static void test_full_disk_is_said(void **state) {
    (void)state;
    expect_failed_write(full_disk, "cannot write: No space left on device");
}

static bool folder_is_closed(const char *folder) {
    if (chmod(folder, 0500) != 0) return false;
    return geteuid() != 0 || seteuid(65534) == 0;
}

static void test_unwritable_folder_is_said(void **state) {
    (void)state;
    expect_failed_write(folder_is_closed, "cannot create: Permission denied");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_comes_back_as_it_was_written),
        cmocka_unit_test(test_empty_profile_and_most_tunables_come_back),
        cmocka_unit_test(test_texts_of_a_strange_driver_are_cleaned),
        cmocka_unit_test(test_what_could_not_be_read_is_not_written),
        cmocka_unit_test(test_every_field_is_checked),
        cmocka_unit_test(test_messages_name_value_and_what_it_must_be),
        cmocka_unit_test(test_every_truncation_is_refused),
        cmocka_unit_test(test_counts_and_sizes_are_limited),
        cmocka_unit_test(test_set_replaces_the_same_shape_only),
        cmocka_unit_test(test_find_takes_the_nearest_shape_of_the_bucket),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_peak_is_that_of_the_unit),
        cmocka_unit_test_setup_teardown(test_lookup_prefers_exact_then_nearest_key, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_lookup_goes_by_content_and_passes_over_bad_files, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_path_is_for_people_and_unique, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_shipped_profiles_are_good_and_found, set_home, unset_home),
        cmocka_unit_test(test_shipped_cpus_are_matched_by_their_vectors),
        cmocka_unit_test(test_shipped_gpus_are_matched_by_name_and_platform),
        cmocka_unit_test_setup_teardown(test_lock_keeps_a_second_process_out_and_names_it, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_kill_while_writing_leaves_a_whole_file, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_file_size_limit_leaves_the_old_file, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_full_disk_is_said, set_home, unset_home),
        cmocka_unit_test_setup_teardown(test_unwritable_folder_is_said, set_home, unset_home),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
