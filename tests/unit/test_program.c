/* Programs and kernels on every OpenCL device of this machine: building, limits, failures and their texts, and the
 * cache of binaries with what happens to damaged files. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/device_fixture.h"

#include "base/file.h"
#include "device/internal.h"
#include "device/kernels.h"
#include "ops/bind.h"
#include "ops/op_list.h"
#include "proof/known_answer.h"

static void test_kernel_computes(void **state) {
    (void)state;
    fixture_run_scale(NULL, 2, 8);
    fixture_run_scale("-DFACTOR=3", 3, 1);
    fixture_run_scale("-cl-std=CL1.2 -DFACTOR=4", 4, 16);
    fixture_run_scale("", 2, 32);
}

static void test_kernel_says_its_limits(void **state) {
    struct ci_kernel *kernel = fixture_kernel(NULL, "scale");
    size_t limit = ci_kernel_max_work_group(kernel);
    (void)state;
    assert_true(limit > 0 && limit <= ci_device_caps(fixture_device)->max_work_group);
    assert_true(ci_kernel_local_bytes(kernel) <= ci_device_caps(fixture_device)->local_bytes);
    ci_kernel_destroy(kernel);
}

static void test_too_large_a_group_is_an_error_with_the_sizes(void **state) {
    struct ci_kernel *kernel = fixture_kernel(NULL, "slow");
    struct ci_buffer *buffer = fixture_buffer(64);
    size_t local = ci_device_caps(fixture_device)->max_work_group * 2;
    int rounds = 1;
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &rounds, sizeof rounds));
    assert_int_equal(ci_kernel_enqueue(kernel, 1, &local, &local), CLINFER_DEVICE_ERROR);
    assert_message("clEnqueueNDRangeKernel: CL_INVALID_WORK");
    assert_message("kernel slow");
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
}

static void test_wrong_argument_is_an_error_that_names_it(void **state) {
    struct ci_kernel *kernel = fixture_kernel(NULL, "scale");
    int value = 0;
    (void)state;
    assert_int_equal(ci_kernel_set_bytes(kernel, 17, &value, sizeof value), CLINFER_DEVICE_ERROR);
    assert_message("clSetKernelArg: CL_INVALID_ARG_INDEX");
    assert_message("argument 17");
    ci_kernel_destroy(kernel);
}

static void test_build_failure_carries_the_log(void **state) {
    static const char *const broken[] = {"prelude.clh", "broken.cl"};
    struct ci_kernel *kernel = NULL;
    (void)state;
    for (int attempt = 0; attempt < 2; attempt++) {
        assert_int_equal(ci_kernel_create(fixture_device, broken, 2, NULL, "broken", &kernel), CLINFER_DEVICE_ERROR);
        assert_null(kernel);
        assert_message("clBuildProgram: CL_BUILD_PROGRAM_FAILURE on \"");
        assert_message(ci_device_caps(fixture_device)->name);
        assert_message("undeclared_thing");
    }
    /* The second failure was remembered. One build more is the sharing probe where it was made. */
    assert_true(fixture_counts().builds <= 2);
}

/* PoCL reads short declarations in place of its header; what they lack it finds in that. */
static void test_functions_without_short_declaration_are_found(void **state) {
    static const char text[] =
        "__kernel void turn(__global float *x) { x[get_global_id(0)] = sinpi(x[0]) + rotate(3, 1); }\n";
    struct ci_kernel *kernel = NULL;
    (void)state;
    assert_ok(ci_kernel_create_from_text(fixture_device, text, "turn", &kernel));
    ci_kernel_destroy(kernel);
}

static void test_pocl_reads_short_declarations(void **state) {
    static const char text[] = "#ifndef SHORT_BUILTINS\n#error\n#endif\n"
                               "__kernel void turn(__global float *x) { x[get_global_id(0)] = sin(x[0]); }\n";
    struct ci_kernel *kernel = NULL;
    (void)state;
    if (strcmp(ci_device_caps(fixture_device)->platform, "Portable Computing Language") != 0) skip();
    assert_ok(ci_kernel_create_from_text(fixture_device, text, "turn", &kernel));
    ci_kernel_destroy(kernel);
}

static uint64_t key_of_a_proof(void) {
    const struct ci_op *op = &ci_op_add;
    const struct ci_variant *variant = NULL;
    struct ci_call call;
    int values[CI_MAX_TUNABLES] = {0};
    uint64_t key = 0;
    for (int v = 0; ci_variants[v] && !variant; v++)
        if (ci_variants[v]->op == op && ci_variants[v]->backend == CI_BACKEND_OPENCL) variant = ci_variants[v];
    assert_non_null(variant);
    assert_true(ci_proof_signature(op, &op->cases[0], &call));
    ci_bind_defaults(variant, values);
    assert_ok(ci_proof_key(fixture_device, variant, values, &call, &key));
    return key;
}

/* What was right with some declarations is to be proven with others. */
static void test_proofs_depend_on_short_declarations(void **state) {
    const bool read = strcmp(ci_device_caps(fixture_device)->platform, "Portable Computing Language") == 0;
    char folder[128];
    (void)state;
    const uint64_t before = key_of_a_proof();
    assert_true(key_of_a_proof() == before);
    fixture_write(fixture_kernels, "common/builtins.clh", "/* others */\n");
    const uint64_t after = key_of_a_proof();
    snprintf(folder, sizeof folder, "%s/common", fixture_kernels);
    fixture_remove_files(folder);
    rmdir(folder);
    assert_true((after != before) == read);
}

static void test_absent_source_and_kernel_are_named(void **state) {
    static const char *const absent[] = {"nowhere.cl"};
    struct ci_kernel *kernel = NULL;
    (void)state;
    assert_int_equal(ci_kernel_create(fixture_device, absent, 1, NULL, "x", &kernel), CLINFER_NOT_FOUND);
    assert_message("nowhere.cl");
    assert_int_equal(ci_kernel_create(fixture_device, fixture_sources, 2, NULL, "no_such_kernel", &kernel),
                     CLINFER_DEVICE_ERROR);
    assert_message("no_such_kernel");
    assert_int_equal(ci_kernel_create(fixture_device, fixture_sources, 0, NULL, "x", &kernel),
                     CLINFER_INVALID_ARGUMENT);
    assert_null(kernel);
}

static void test_programs_are_built_once(void **state) {
    struct ci_kernel *first = fixture_kernel(NULL, "scale");
    uint64_t builds = fixture_counts().builds;
    struct ci_kernel *second = fixture_kernel(NULL, "slow"), *third = fixture_kernel("-DFACTOR=9", "scale");
    (void)state;
    assert_int_equal(fixture_counts().builds, builds + 1);
    ci_kernel_destroy(first);
    ci_kernel_destroy(second);
    ci_kernel_destroy(third);
}

static void test_many_kernels_at_once_report_one_by_one(void **state) {
    enum { COUNT = 9 };
    static const char *const broken[] = {"broken.cl"};
    static struct ci_kernel_request requests[COUNT];
    char options[COUNT][32];
    uint64_t builds = fixture_counts().builds;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(options[i], sizeof options[i], "-DFACTOR=%d", 100 + i / 2);
        requests[i] = (struct ci_kernel_request){.sources = fixture_sources,
                                                 .source_count = 2,
                                                 .options = options[i],
                                                 .kernel_name = i % 2 ? "slow" : "scale"};
    }
    requests[4].sources = broken;
    requests[4].source_count = 1;
    requests[7].kernel_name = "no_such_kernel";
    assert_int_equal(ci_kernel_create_many(fixture_device, requests, COUNT), CLINFER_DEVICE_ERROR);
    for (int i = 0; i < COUNT; i++) {
        bool bad = i == 4 || i == 7;
        assert_int_equal(requests[i].status, bad ? CLINFER_DEVICE_ERROR : CLINFER_OK);
        assert_true((requests[i].kernel == NULL) == bad);
        assert_true((requests[i].message[0] != '\0') == bad);
        ci_kernel_destroy(requests[i].kernel);
    }
    assert_non_null(strstr(requests[4].message, "undeclared_thing"));
    assert_non_null(strstr(requests[7].message, "no_such_kernel"));
    assert_int_equal(fixture_counts().builds, builds + 6); /* factors 100 to 104, and the broken one */
    fixture_run_scale("-DFACTOR=101", 101, 4);
    assert_int_equal(fixture_counts().builds, builds + 6);
    assert_ok(ci_kernel_create_many(fixture_device, requests, 0));
}

static void test_second_open_takes_programs_from_the_cache(void **state) {
    (void)state;
    fixture_run_scale("-DFACTOR=6", 6, 8);
    assert_int_equal(fixture_counts().cache_hits, 0);
    assert_true(fixture_counts().builds >= 1 && fixture_counts().build_seconds > 0);
    ci_device_save_programs(fixture_device);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8);
    assert_int_equal(fixture_counts().builds, 0);
    assert_true(fixture_counts().cache_hits >= 1);
    assert_true(fixture_counts().build_seconds == 0);
}

/* The fixture_cache file whose name and size are told; the sharing probe has one as well, which is smaller. */
static void largest_file(char *path, size_t path_bytes, struct stat *found) {
    DIR *directory = opendir(fixture_cache);
    assert_non_null(directory);
    found->st_size = -1;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char candidate[512];
        struct stat info;
        snprintf(candidate, sizeof candidate, "%s/%s", fixture_cache, entry->d_name);
        if (stat(candidate, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > found->st_size) {
            *found = info;
            snprintf(path, path_bytes, "%s", candidate);
        }
    }
    closedir(directory);
    assert_true(found->st_size > 0);
}

static void test_cache_file_is_written_again_only_for_new_local_sizes(void **state) {
    char path[512];
    struct stat before, after;
    (void)state;
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
    largest_file(path, sizeof path, &before);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
    largest_file(path, sizeof path, &after);
    assert_true(before.st_ino == after.st_ino); /* a file that is written anew is another one */
    fixture_run_scale("-DFACTOR=6", 6, 16);
    ci_device_save_programs(fixture_device);
    largest_file(path, sizeof path, &after);
    assert_true(before.st_ino != after.st_ino);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8);
    fixture_run_scale("-DFACTOR=6", 6, 16);
    assert_int_equal(fixture_counts().builds, 0);
}

static void test_damaged_cache_file_is_built_again(void **state) {
    enum damage {
        TRUNCATED,
        EMPTY,
        MAGIC,
        FOREIGN_KEY,
        HEADER_SIZE,
        FIRST_BYTE,
        MIDDLE_BYTE,
        LAST_BYTE,
        LONGER,
        KINDS
    };
    char path[512];
    struct stat info;
    (void)state;
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
    largest_file(path, sizeof path, &info);
    size_t size = (size_t)info.st_size, header = 5 * 8 + 24 * 8;
    uint8_t *good = malloc(size + 1), *bad = malloc(size + 1);
    struct ci_file file;
    assert_ok(ci_file_map(path, &file));
    memcpy(good, file.data, size);
    good[size] = 0;
    ci_file_unmap(&file);
    for (int kind = 0; kind < KINDS; kind++) {
        const size_t sizes[KINDS] = {[TRUNCATED] = size / 2, [EMPTY] = 0, [LONGER] = size + 1};
        const size_t places[KINDS] = {[MAGIC] = 1,           [FOREIGN_KEY] = 8,        [HEADER_SIZE] = 17,
                                      [FIRST_BYTE] = header, [MIDDLE_BYTE] = size / 2, [LAST_BYTE] = size - 1};
        memcpy(bad, good, size + 1);
        bad[places[kind]] ^= 0x41;
        bool same_size = kind != TRUNCATED && kind != EMPTY && kind != LONGER;
        assert_ok(ci_file_write(path, bad, same_size ? size : sizes[kind]));
        fixture_reopen();
        fixture_run_scale("-DFACTOR=6", 6, 8);
        if (fixture_counts().builds != 1)
            fail_msg("damage %d: %d builds, expected 1", kind, (int)fixture_counts().builds);
        ci_device_save_programs(fixture_device);
        fixture_reopen();
        fixture_run_scale("-DFACTOR=6", 6, 8);
        if (fixture_counts().builds != 0) fail_msg("damage %d: the file was not written again", kind);
    }
    free(good);
    free(bad);
}

/* What others may have written would run in this process. */
static void test_cache_file_of_others_is_built_again(void **state) {
    char path[512];
    struct stat info;
    (void)state;
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
    largest_file(path, sizeof path, &info);
    assert_int_equal(chmod(path, 0666), 0);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8);
    assert_int_equal(fixture_counts().builds, 1);
    ci_device_save_programs(fixture_device);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8); /* it was written anew */
    assert_int_equal(fixture_counts().builds, 0);
    assert_int_equal(chmod(fixture_cache, 0777), 0);
    fixture_reopen();
    fixture_run_scale("-DFACTOR=6", 6, 8);
    assert_true(fixture_counts().builds > 0);
    assert_int_equal(chmod(fixture_cache, 0700), 0);
}

static void test_full_cache_loses_what_was_used_least_recently(void **state) {
    enum { FILES = 10 };
    struct ci_cached_binary binary = {.bytes = (uint8_t *)"12345678", .size = 8}, found;
    char path[512];
    struct stat info;
    (void)state;
    ci_device_close(fixture_device); /* whose own file would be counted */
    fixture_device = NULL;
    fixture_remove_files(fixture_cache);
    for (int key = 0; key < FILES; key++) { /* all long ago; 7 oldest, then 3, then in order */
        const struct timespec time = {.tv_sec = 1000000 + (key == 7 ? 0 : key == 3 ? 1 : 10 + key)};
        const struct timespec times[2] = {time, time};
        ci_program_cache_store(fixture_cache, (uint64_t)key, &binary);
        snprintf(path, sizeof path, "%s/%016d.bin", fixture_cache, key);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    assert_int_equal(stat(path, &info), 0);
    fixture_write(fixture_cache, "stranger", "is left alone");
    assert_true(ci_program_cache_load(fixture_cache, 7, &found)); /* and is young by that */
    free(found.bytes);
    for (int keep = FILES; keep > FILES - 3; keep -= 2) {
        ci_program_cache_trim(fixture_cache, (uint64_t)info.st_size * (uint64_t)keep);
        for (int key = 0; key < FILES; key++) {
            snprintf(path, sizeof path, "%s/%016d.bin", fixture_cache, key);
            bool removed = keep < FILES && (key == 3 || key == 0);
            if ((access(path, F_OK) != 0) != removed) fail_msg("room for %d files: key %d is wrong", keep, key);
        }
    }
    snprintf(path, sizeof path, "%s/stranger", fixture_cache);
    assert_int_equal(access(path, F_OK), 0);
    ci_program_cache_trim("/nonexistent", 0);
}

static void test_unwritable_cache_is_no_error(void **state) {
    char path[256];
    (void)state;
    snprintf(path, sizeof path, "%s/a-file", fixture_scratch);
    assert_ok(ci_file_write(path, "x", 1));
    ci_device_close(fixture_device);
    fixture_device = NULL;
    assert_ok(ci_device_open(fixture_index, path, &fixture_device)); /* a folder that is a file */
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
    ci_device_close(fixture_device);
    fixture_device = NULL;
    assert_ok(ci_device_open(fixture_index, NULL, &fixture_device));
    fixture_run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(fixture_device);
}

static void test_source_comes_from_the_folder_else_from_the_binary(void **state) {
    char *text = NULL;
    (void)state;
    assert_ok(ci_kernel_source_load("scale.cl", &text));
    assert_string_equal(text, fixture_scale_text);
    free(text);
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        assert_ok(ci_kernel_source_load(source->name, &text));
        assert_string_equal(text, source->text);
        free(text);
    }
    assert_int_equal(ci_kernel_source_load("nowhere.cl", &text), CLINFER_NOT_FOUND);
    assert_null(text);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_comes_from_the_folder_else_from_the_binary),
        cmocka_unit_test_setup_teardown(test_kernel_computes, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_kernel_says_its_limits, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_too_large_a_group_is_an_error_with_the_sizes, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_wrong_argument_is_an_error_that_names_it, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_build_failure_carries_the_log, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_functions_without_short_declaration_are_found, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(test_pocl_reads_short_declarations, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_proofs_depend_on_short_declarations, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_absent_source_and_kernel_are_named, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_programs_are_built_once, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_many_kernels_at_once_report_one_by_one, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_second_open_takes_programs_from_the_cache, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_cache_file_is_written_again_only_for_new_local_sizes, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(test_damaged_cache_file_is_built_again, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_cache_file_of_others_is_built_again, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_full_cache_loses_what_was_used_least_recently, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(test_unwritable_cache_is_no_error, fixture_open, fixture_close),
    };
    return fixture_run(tests, sizeof tests / sizeof *tests);
}
