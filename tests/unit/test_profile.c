/* profile/: the file as written and read, every refusal, the nearest entry. */
#define _GNU_SOURCE
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "profile/profile.h"
#include "support/asserts.h"
#include "support/process.h"
#include "support/profile_sample.h"

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
    profile_sample(&profile);
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
    profile_sample(&profile);
    assert_ok(ci_profile_print("sample", &profile, &text));
    ci_profile_free(&profile);
    return text;
}

static void test_empty_profile_and_most_tunables_come_back(void **state) {
    struct ci_profile profile = {.key = profile_sample_key()}, back;
    struct ci_profile_entry entry = profile_sample_entry("matmul", 2147483647, 0, INT64_C(1) << 40);
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
    struct ci_profile profile = {.key = profile_sample_key()}, back;
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
    profile_sample(&profile);
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
             optional = strcmp(key, "imported") == 0 || strcmp(key, "outdated") == 0 || strstr(path, ".settings") ||
                        strstr(path, ".steps") || strcmp(key, "dot8_operations_per_second") == 0 ||
                        strcmp(key, "cpu_speed") == 0 || (strcmp(key, "bytes") == 0 && strstr(path, "models"));
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
    profile_sample(&profile);
    struct ci_profile_entry entry = profile_sample_entry("matmul", 1, 576, 1536);
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
    struct ci_profile profile = {.key = profile_sample_key()};
    static const int64_t shapes[][3] = {{1, 576, 576},    {1, 576, 1536},   {1, 576, 49152}, {16, 576, 576},
                                        {64, 576, 49152}, {512, 576, 1536}, {4, 1000, 1000}};
    struct ci_profile_signature wanted = profile_sample_entry("matmul", 1, 576, 1536).signature;
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct ci_profile_entry entry = profile_sample_entry("matmul", shapes[i][0], shapes[i][1], shapes[i][2]);
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

static void test_rate_is_of_the_nearer_limit(void **state) {
    (void)state;
    struct ci_profile_device measured = {.read_bytes_per_second = 1000, .operations_per_second = 100};
    struct ci_profile_entry entry = {
        .signature.types = "f32,q4_1", .seconds = 2, .bytes = 400, .operations = 150, .tried = 1}; /* 20% and 75% */
    struct ci_profile_rate rate = ci_profile_rate(&entry, &measured);
    assert_true(!rate.by_bytes && rate.per_second == 75 && rate.share == 0.75);
    measured.operations_per_second = 1000;
    rate = ci_profile_rate(&entry, &measured);
    assert_true(rate.by_bytes && rate.per_second == 200 && rate.share == 0.2);
    rate = ci_profile_rate(&entry, &(struct ci_profile_device){0});
    assert_true(rate.by_bytes && rate.per_second == 200 && rate.share == 0);
    entry.seconds = 0;
    rate = ci_profile_rate(&entry, &measured);
    assert_true(rate.per_second == 0 && rate.share == 0);
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
        cmocka_unit_test(test_rate_is_of_the_nearer_limit),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
