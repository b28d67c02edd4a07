/* profile/: the file as written and read, every refusal, the nearest entry, look-up, the lock. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/status.h"
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
                                   .measured = {1e10, 2e11, 3e-6, 4e-5, 5e-5, 6e9}};
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_profile_comes_back_as_it_was_written),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
