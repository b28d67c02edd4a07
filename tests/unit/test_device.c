/* device/ on every OpenCL device of this machine: memory in and out, kernels, the binary cache and what happens to
 * damaged files, failures and their texts. `CLINFER_TEST_DEVICE=<index>` tests one device only. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/status.h"
#include "device/device.h"
#include "device/internal.h"
#include "device/kernels.h"

extern char **environ;

static int device_index;
static struct ci_device *device;
static char scratch[] = "/tmp/clinfer-test-device-XXXXXX";
static char kernels[64], cache[64];

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        enum clinfer_status status_ = (call);                                                                          \
        if (status_ != CLINFER_OK) fail_msg("%s: %s: %s", #call, clinfer_status_text(status_), clinfer_error());       \
    } while (0)

#define assert_message(text)                                                                                           \
    do {                                                                                                               \
        if (!strstr(clinfer_error(), text)) fail_msg("\"%s\" is not in the message: %s", text, clinfer_error());       \
    } while (0)

static const char scale_source[] = "#ifndef FACTOR\n"
                                   "#define FACTOR 2\n"
                                   "#endif\n"
                                   "__kernel void scale(__global int *data, int add, __local int *spare) {\n"
                                   "    const size_t i = get_global_id(0);\n"
                                   "    spare[get_local_id(0)] = data[i];\n"
                                   "    barrier(CLK_LOCAL_MEM_FENCE);\n"
                                   "    data[i] = spare[get_local_id(0)] * FACTOR + add;\n"
                                   "}\n"
                                   "__kernel void slow(__global int *data, int rounds) {\n"
                                   "    uint x = (uint)data[get_global_id(0)];\n"
                                   "    for (int i = 0; i < rounds; i++) x = x * 1664525u + 1013904223u + (x >> 7);\n"
                                   "    data[get_global_id(0)] = (int)x;\n"
                                   "}\n";

static const char *const scale_sources[] = {"prelude.clh", "scale.cl"};

static void write_text(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(ci_file_write(path, text, strlen(text)));
}

static void remove_files(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    closedir(directory);
}

static int setup(void **state) {
    (void)state;
    remove_files(cache);
    if (ci_device_open(device_index, cache, &device) != CLINFER_OK) {
        print_error("device %d does not open: %s\n", device_index, clinfer_error());
        return -1;
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    ci_device_close(device);
    device = NULL;
    return 0;
}

static void reopen(void) {
    ci_device_close(device);
    device = NULL;
    assert_ok(ci_device_open(device_index, cache, &device));
}

static struct ci_buffer *buffer_of(size_t bytes) {
    struct ci_buffer *buffer = NULL;
    assert_ok(ci_buffer_create(device, bytes, NULL, &buffer));
    return buffer;
}

static struct ci_kernel *kernel_of(const char *options, const char *name) {
    struct ci_kernel *kernel = NULL;
    assert_ok(ci_kernel_create(device, scale_sources, 2, options, name, &kernel));
    return kernel;
}

static struct ci_device_counts counts(void) {
    struct ci_device_counts result;
    ci_device_counts(device, &result);
    return result;
}

/* data[i] = i -> i * factor + 5, and looks. */
static void run_scale(const char *options, int factor, size_t local) {
    enum { N = 64 };
    int data[N], add = 5;
    const size_t global = N;
    struct ci_buffer *buffer = buffer_of(sizeof data);
    struct ci_kernel *kernel = kernel_of(options, "scale");
    for (int i = 0; i < N; i++) data[i] = i;
    assert_ok(ci_buffer_write(buffer, 0, data, sizeof data));
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, local * sizeof(int)));
    assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    for (int i = 0; i < N; i++) assert_int_equal(data[i], i * factor + add);
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
}

static void test_list_describes_devices_in_order(void **state) {
    struct ci_device_list list;
    (void)state;
    assert_ok(ci_device_list(&list));
    assert_true(list.count > device_index);
    for (int i = 0; i < list.count; i++) {
        const struct ci_device_caps *caps = &list.caps[i];
        assert_true(caps->name[0] && caps->platform[0] && caps->driver[0]);
        assert_true(caps->opencl_major * 10 + caps->opencl_minor >= 12);
        assert_true(caps->compute_units > 0 && caps->global_bytes > 0 && caps->local_bytes >= 32768);
        assert_true(caps->max_alloc_bytes > 0 && caps->max_alloc_bytes <= caps->global_bytes);
        assert_true(caps->max_work_group > 0 && caps->max_work_item[0] > 0 && caps->base_align_bytes >= 16);
        if (i > 0) assert_true(caps[-1].kind <= caps->kind);
        for (int other = 0; other < i; other++) assert_true(list.caps[other].key != caps->key);
    }
    ci_device_list_free(&list);
    ci_device_list_free(&list);
}

static void test_open_of_absent_device_says_how_many(void **state) {
    struct ci_device *none = NULL;
    (void)state;
    assert_int_equal(ci_device_open(1000, NULL, &none), CLINFER_NO_DEVICE);
    assert_null(none);
    assert_message("device 1000");
    assert_int_equal(ci_device_open(-1, NULL, &none), CLINFER_NO_DEVICE);
}

static void test_open_agrees_with_list(void **state) {
    struct ci_device_list list;
    (void)state;
    assert_ok(ci_device_list(&list));
    assert_string_equal(ci_device_caps(device)->name, list.caps[device_index].name);
    assert_true(ci_device_caps(device)->key == list.caps[device_index].key);
    ci_device_list_free(&list);
}

static void test_bytes_come_back_at_odd_offsets(void **state) {
    enum { SIZE = 100003 };
    static uint8_t sent[SIZE], got[SIZE], zero[SIZE];
    static const struct {
        size_t offset, bytes;
    } pieces[] = {{0, SIZE}, {1, 1}, {3, 77}, {4097, 8191}, {SIZE - 1, 1}, {SIZE - 333, 333}, {SIZE, 0}, {5, 0}};
    (void)state;
    struct ci_buffer *first = buffer_of(SIZE), *second = buffer_of(SIZE);
    assert_int_equal(ci_buffer_bytes(first), SIZE);
    for (size_t i = 0; i < SIZE; i++) sent[i] = (uint8_t)(i * 131 + 7);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        size_t offset = pieces[i].offset, bytes = pieces[i].bytes;
        assert_ok(ci_buffer_write(first, 0, zero, SIZE));
        assert_ok(ci_buffer_write(first, offset, sent, bytes));
        assert_ok(ci_buffer_copy(first, offset, second, SIZE - offset - bytes, bytes));
        memset(got, 0xee, SIZE);
        assert_ok(ci_buffer_read(second, SIZE - offset - bytes, got, bytes));
        assert_memory_equal(got, sent, bytes);
        for (size_t k = bytes; k < SIZE; k++) assert_int_equal(got[k], 0xee);
        assert_ok(ci_buffer_read(first, 0, got, SIZE));
        for (size_t k = 0; k < SIZE; k++)
            assert_int_equal(got[k], k >= offset && k < offset + bytes ? sent[k - offset] : 0);
    }
    ci_buffer_destroy(first);
    ci_buffer_destroy(second);
}

/* What the model loader does: a file mapped read-only, wrapped, read by a kernel and by copies. */
static void test_mapped_file_is_a_buffer(void **state) {
    enum { N = 3 * 1024 + 5 };
    static int numbers[N], got[N];
    char path[256];
    struct ci_file file;
    struct ci_buffer *weights = NULL, *copy = buffer_of(sizeof numbers);
    (void)state;
    for (int i = 0; i < N; i++) numbers[i] = i * 3 - 1;
    snprintf(path, sizeof path, "%s/weights", scratch);
    assert_ok(ci_file_write(path, numbers, sizeof numbers));
    assert_ok(ci_file_map(path, &file));
    assert_ok(ci_buffer_create(device, file.size, file.data, &weights));
    assert_int_equal(ci_buffer_bytes(weights), sizeof numbers);
    if (!ci_device_caps(device)->shares_host_memory) assert_false(ci_buffer_is_shared(weights));
    assert_ok(ci_buffer_read(weights, 0, got, sizeof got));
    assert_memory_equal(got, numbers, sizeof got);
    assert_ok(ci_buffer_copy(weights, 0, copy, 0, sizeof numbers));
    memset(got, 0, sizeof got);
    assert_ok(ci_buffer_read(copy, 0, got, sizeof got));
    assert_memory_equal(got, numbers, sizeof got);
    ci_buffer_destroy(copy);
    ci_buffer_destroy(weights);
    ci_file_unmap(&file);
    unlink(path);
}

/* A device that was measured to share sees what the host changes later; one that was not has its own copy. */
static void test_sharing_is_what_was_measured(void **state) {
    enum { N = 1024 };
    int *page = mmap(NULL, N * sizeof *page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct ci_buffer *wrapped = NULL, *copy = buffer_of(N * sizeof *page);
    int got[N];
    (void)state;
    for (int i = 0; i < N; i++) page[i] = i;
    assert_ok(ci_buffer_create(device, N * sizeof *page, page, &wrapped));
    for (int i = 0; i < N; i++) page[i] = -i;
    assert_ok(ci_buffer_copy(wrapped, 0, copy, 0, sizeof got));
    assert_ok(ci_buffer_read(copy, 0, got, sizeof got));
    for (int i = 0; i < N; i++) assert_int_equal(got[i], ci_buffer_is_shared(wrapped) ? -i : i);
    ci_buffer_destroy(wrapped);
    ci_buffer_destroy(copy);
    munmap(page, N * sizeof *page);
}

static void test_oversize_buffer_names_both_sizes(void **state) {
    const struct ci_device_caps *caps = ci_device_caps(device);
    struct ci_buffer *buffer = NULL;
    char number[32];
    (void)state;
    assert_int_equal(ci_buffer_create(device, (size_t)caps->max_alloc_bytes + 1, NULL, &buffer), CLINFER_OUT_OF_MEMORY);
    assert_null(buffer);
    snprintf(number, sizeof number, "%zu", (size_t)caps->max_alloc_bytes + 1);
    assert_message(number);
    snprintf(number, sizeof number, "%zu", (size_t)caps->max_alloc_bytes);
    assert_message(number);
    assert_message(caps->name);
    assert_int_equal(ci_buffer_create(device, SIZE_MAX, NULL, &buffer), CLINFER_OUT_OF_MEMORY);
    assert_int_equal(ci_buffer_create(device, 0, NULL, &buffer), CLINFER_INVALID_ARGUMENT);
}

static void test_kernel_computes(void **state) {
    (void)state;
    run_scale(NULL, 2, 8);
    run_scale("-DFACTOR=3", 3, 1);
    run_scale("-cl-std=CL1.2 -DFACTOR=4", 4, 16);
    run_scale("", 2, 32);
}

static void test_kernel_says_its_limits(void **state) {
    struct ci_kernel *kernel = kernel_of(NULL, "scale");
    size_t limit = ci_kernel_max_work_group(kernel);
    (void)state;
    assert_true(limit > 0 && limit <= ci_device_caps(device)->max_work_group);
    assert_true(ci_kernel_local_bytes(kernel) <= ci_device_caps(device)->local_bytes);
    ci_kernel_destroy(kernel);
}

static void test_too_large_a_group_is_an_error_with_the_sizes(void **state) {
    struct ci_kernel *kernel = kernel_of(NULL, "slow");
    struct ci_buffer *buffer = buffer_of(64);
    size_t local = ci_device_caps(device)->max_work_group * 2;
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
    struct ci_kernel *kernel = kernel_of(NULL, "scale");
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
        assert_int_equal(ci_kernel_create(device, broken, 2, NULL, "broken", &kernel), CLINFER_DEVICE_ERROR);
        assert_null(kernel);
        assert_message("clBuildProgram: CL_BUILD_PROGRAM_FAILURE on \"");
        assert_message(ci_device_caps(device)->name);
        assert_message("undeclared_thing");
    }
    /* The second failure was remembered. One build more is the sharing probe where it was made. */
    assert_true(counts().builds <= 2);
}

static void test_absent_source_and_kernel_are_named(void **state) {
    static const char *const absent[] = {"nowhere.cl"};
    struct ci_kernel *kernel = NULL;
    (void)state;
    assert_int_equal(ci_kernel_create(device, absent, 1, NULL, "x", &kernel), CLINFER_NOT_FOUND);
    assert_message("nowhere.cl");
    assert_int_equal(ci_kernel_create(device, scale_sources, 2, NULL, "no_such_kernel", &kernel), CLINFER_DEVICE_ERROR);
    assert_message("no_such_kernel");
    assert_int_equal(ci_kernel_create(device, scale_sources, 0, NULL, "x", &kernel), CLINFER_INVALID_ARGUMENT);
    assert_null(kernel);
}

static void test_programs_are_built_once(void **state) {
    struct ci_kernel *first = kernel_of(NULL, "scale");
    uint64_t builds = counts().builds;
    struct ci_kernel *second = kernel_of(NULL, "slow"), *third = kernel_of("-DFACTOR=9", "scale");
    (void)state;
    assert_int_equal(counts().builds, builds + 1);
    ci_kernel_destroy(first);
    ci_kernel_destroy(second);
    ci_kernel_destroy(third);
}

static void test_many_kernels_at_once_report_one_by_one(void **state) {
    enum { COUNT = 9 };
    static const char *const broken[] = {"broken.cl"};
    static struct ci_kernel_request requests[COUNT];
    char options[COUNT][32];
    uint64_t builds = counts().builds;
    (void)state;
    for (int i = 0; i < COUNT; i++) {
        snprintf(options[i], sizeof options[i], "-DFACTOR=%d", 100 + i / 2);
        requests[i] = (struct ci_kernel_request){.sources = scale_sources,
                                                 .source_count = 2,
                                                 .options = options[i],
                                                 .kernel_name = i % 2 ? "slow" : "scale"};
    }
    requests[4].sources = broken;
    requests[4].source_count = 1;
    requests[7].kernel_name = "no_such_kernel";
    assert_int_equal(ci_kernel_create_many(device, requests, COUNT), CLINFER_DEVICE_ERROR);
    for (int i = 0; i < COUNT; i++) {
        bool bad = i == 4 || i == 7;
        assert_int_equal(requests[i].status, bad ? CLINFER_DEVICE_ERROR : CLINFER_OK);
        assert_true((requests[i].kernel == NULL) == bad);
        assert_true((requests[i].message[0] != '\0') == bad);
        ci_kernel_destroy(requests[i].kernel);
    }
    assert_non_null(strstr(requests[4].message, "undeclared_thing"));
    assert_non_null(strstr(requests[7].message, "no_such_kernel"));
    assert_int_equal(counts().builds, builds + 6); /* factors 100 to 104, and the broken one */
    run_scale("-DFACTOR=101", 101, 4);
    assert_int_equal(counts().builds, builds + 6);
    assert_ok(ci_kernel_create_many(device, requests, 0));
}

static void test_second_open_takes_programs_from_the_cache(void **state) {
    (void)state;
    run_scale("-DFACTOR=6", 6, 8);
    assert_int_equal(counts().cache_hits, 0);
    assert_true(counts().builds >= 1 && counts().build_seconds > 0);
    ci_device_save_programs(device);
    reopen();
    run_scale("-DFACTOR=6", 6, 8);
    assert_int_equal(counts().builds, 0);
    assert_true(counts().cache_hits >= 1);
    assert_true(counts().build_seconds == 0);
}

/* The cache file whose name and size are told; the sharing probe has one as well, which is smaller. */
static void largest_file(char *path, size_t path_bytes, struct stat *found) {
    DIR *directory = opendir(cache);
    assert_non_null(directory);
    found->st_size = -1;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char candidate[512];
        struct stat info;
        snprintf(candidate, sizeof candidate, "%s/%s", cache, entry->d_name);
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
    run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(device);
    largest_file(path, sizeof path, &before);
    reopen();
    run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(device);
    largest_file(path, sizeof path, &after);
    assert_true(before.st_ino == after.st_ino); /* a file that is written anew is another one */
    run_scale("-DFACTOR=6", 6, 16);
    ci_device_save_programs(device);
    largest_file(path, sizeof path, &after);
    assert_true(before.st_ino != after.st_ino);
    reopen();
    run_scale("-DFACTOR=6", 6, 8);
    run_scale("-DFACTOR=6", 6, 16);
    assert_int_equal(counts().builds, 0);
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
    run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(device);
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
        reopen();
        run_scale("-DFACTOR=6", 6, 8);
        if (counts().builds != 1) fail_msg("damage %d: %d builds, expected 1", kind, (int)counts().builds);
        ci_device_save_programs(device);
        reopen();
        run_scale("-DFACTOR=6", 6, 8);
        if (counts().builds != 0) fail_msg("damage %d: the file was not written again", kind);
    }
    free(good);
    free(bad);
}

static void test_full_cache_loses_what_was_used_least_recently(void **state) {
    enum { FILES = 10 };
    struct ci_cached_binary binary = {.bytes = (uint8_t *)"12345678", .size = 8}, found;
    char path[512];
    struct stat info;
    (void)state;
    ci_device_close(device); /* whose own file would be counted */
    device = NULL;
    remove_files(cache);
    for (int key = 0; key < FILES; key++) { /* all long ago; 7 oldest, then 3, then in order */
        const struct timespec time = {.tv_sec = 1000000 + (key == 7 ? 0 : key == 3 ? 1 : 10 + key)};
        const struct timespec times[2] = {time, time};
        ci_program_cache_store(cache, (uint64_t)key, &binary);
        snprintf(path, sizeof path, "%s/%016d.bin", cache, key);
        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    }
    assert_int_equal(stat(path, &info), 0);
    write_text(cache, "stranger", "is left alone");
    assert_true(ci_program_cache_load(cache, 7, &found)); /* and is young by that */
    free(found.bytes);
    for (int keep = FILES; keep > FILES - 3; keep -= 2) {
        ci_program_cache_trim(cache, (uint64_t)info.st_size * (uint64_t)keep);
        for (int key = 0; key < FILES; key++) {
            snprintf(path, sizeof path, "%s/%016d.bin", cache, key);
            bool removed = keep < FILES && (key == 3 || key == 0);
            if ((access(path, F_OK) != 0) != removed) fail_msg("room for %d files: key %d is wrong", keep, key);
        }
    }
    snprintf(path, sizeof path, "%s/stranger", cache);
    assert_int_equal(access(path, F_OK), 0);
    ci_program_cache_trim("/nonexistent", 0);
}

static void test_unwritable_cache_is_no_error(void **state) {
    char path[256];
    (void)state;
    snprintf(path, sizeof path, "%s/a-file", scratch);
    assert_ok(ci_file_write(path, "x", 1));
    ci_device_close(device);
    device = NULL;
    assert_ok(ci_device_open(device_index, path, &device)); /* a folder that is a file */
    run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(device);
    ci_device_close(device);
    device = NULL;
    assert_ok(ci_device_open(device_index, NULL, &device));
    run_scale("-DFACTOR=6", 6, 8);
    ci_device_save_programs(device);
}

static void test_pipelined_reads_see_their_own_round(void **state) {
    enum { ROUNDS = 40, N = 64 };
    struct ci_buffer *buffer = buffer_of(N * sizeof(int));
    struct ci_kernel *kernel = kernel_of("-DFACTOR=1", "scale");
    const size_t global = N, local = 8;
    int start[N] = {0}, add = 1, got[CI_READ_SLOTS][N];
    (void)state;
    assert_ok(ci_buffer_write(buffer, 0, start, sizeof start));
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, local * sizeof(int)));
    uint64_t waits = counts().waits;
    for (int round = 0; round < ROUNDS + CI_READ_SLOTS; round++) {
        int slot = round % CI_READ_SLOTS;
        if (round >= CI_READ_SLOTS) {
            assert_ok(ci_buffer_read_wait(device, slot));
            for (int i = 0; i < N; i++) assert_int_equal(got[slot][i], round - CI_READ_SLOTS + 1);
        }
        if (round >= ROUNDS) continue;
        assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
        assert_ok(ci_buffer_read_start(buffer, 0, got[slot], sizeof got[slot], slot));
        assert_ok(ci_device_flush(device));
    }
    assert_int_equal(counts().waits - waits, ROUNDS);
    assert_ok(ci_buffer_read_wait(device, 0)); /* nothing under way */
    assert_int_equal(counts().waits - waits, ROUNDS);
    /* One that nobody waits for: closing the device (teardown) must end it before `got` is gone. */
    assert_ok(ci_buffer_read_start(buffer, 0, got[0], sizeof got[0], 0));
    assert_ok(ci_device_finish(device));
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
}

static void test_small_writes_keep_their_order_and_do_not_wait(void **state) {
    enum { ROUNDS = 200, N = 16 };
    struct ci_buffer *input = buffer_of(N * sizeof(int)), *all = buffer_of(ROUNDS * N * sizeof(int));
    struct ci_kernel *kernel = kernel_of(NULL, "slow");
    const size_t global = N, local = 1;
    int values[N] = {0}, rounds = 200000, *got = malloc(ROUNDS * sizeof values);
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, input));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &rounds, sizeof rounds));
    assert_ok(ci_buffer_write(input, 0, values, sizeof values));
    uint64_t waits = counts().waits;
    for (int i = 0; i < 20; i++) { /* behind a kernel that takes its time, fewer than the ring has pieces */
        if (i < 4) assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
        for (int k = 0; k < N; k++) values[k] = i * 1000 + k;
        assert_ok(ci_buffer_write_small(input, 0, values, sizeof values));
        memset(values, 0x55, sizeof values);
        assert_ok(ci_buffer_copy(input, 0, all, (uint64_t)i * sizeof values, sizeof values));
    }
    assert_int_equal(counts().waits, waits);
    for (int i = 20; i < ROUNDS; i++) {
        for (int k = 0; k < N; k++) values[k] = i * 1000 + k;
        assert_ok(ci_buffer_write_small(input, 4, values + 1, sizeof values - 4));
        assert_ok(ci_buffer_write_small(input, 0, values, 4));
        memset(values, 0x55, sizeof values);
        assert_ok(ci_buffer_copy(input, 0, all, (uint64_t)i * sizeof values, sizeof values));
    }
    assert_ok(ci_buffer_read(all, 0, got, ROUNDS * sizeof values));
    for (int i = 0; i < ROUNDS * N; i++) assert_int_equal(got[i], i / N * 1000 + i % N);
    free(got);
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(input);
    ci_buffer_destroy(all);
}

static void test_large_write_by_the_small_door_arrives(void **state) {
    enum { SIZE = 1024 * 1024 + 3 };
    uint8_t *sent = malloc(SIZE), *got = malloc(SIZE);
    struct ci_buffer *buffer = buffer_of(SIZE);
    (void)state;
    for (size_t i = 0; i < SIZE; i++) sent[i] = (uint8_t)(i ^ i >> 8);
    assert_ok(ci_buffer_write_small(buffer, 0, sent, SIZE));
    assert_ok(ci_buffer_read(buffer, 0, got, SIZE));
    assert_memory_equal(sent, got, SIZE);
    ci_buffer_destroy(buffer);
    free(sent);
    free(got);
}

static void test_counters_count(void **state) {
    enum { N = 8 };
    int data[N] = {0}, add = 0;
    const size_t global = N, local = 1;
    struct ci_buffer *buffer = buffer_of(sizeof data);
    struct ci_kernel *kernel = kernel_of(NULL, "scale");
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, 4));
    struct ci_device_counts before = counts();
    for (int i = 0; i < 10; i++) assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
    assert_int_equal(counts().enqueues, before.enqueues + 10);
    assert_int_equal(counts().waits, before.waits);
    assert_ok(ci_device_finish(device));
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    assert_int_equal(counts().waits, before.waits + 2);
    assert_int_equal(counts().objects, before.objects);
    struct ci_buffer *another = buffer_of(4);
    assert_int_equal(counts().objects, before.objects + 1);
    ci_buffer_destroy(another);
    ci_buffer_destroy(buffer);
    ci_kernel_destroy(kernel);
}

static void test_source_comes_from_the_folder_else_from_the_binary(void **state) {
    char *text = NULL;
    (void)state;
    assert_ok(ci_kernel_source_load("scale.cl", &text));
    assert_string_equal(text, scale_source);
    free(text);
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        assert_ok(ci_kernel_source_load(source->name, &text));
        assert_string_equal(text, source->text);
        free(text);
    }
    assert_int_equal(ci_kernel_source_load("nowhere.cl", &text), CLINFER_NOT_FOUND);
    assert_null(text);
}

/* In a process of its own: the loader reads its environment once. */
static int list_without_platforms(void) {
    struct ci_device_list list = {.count = 7};
    struct ci_device *none = NULL;
    enum clinfer_status status = ci_device_list(&list);
    if (status != CLINFER_OK || list.count != 0 || list.caps) return 1;
    return ci_device_open(0, NULL, &none) == CLINFER_NO_DEVICE ? 0 : 2;
}

static void test_no_platform_is_an_empty_list(void **state) {
    char *arguments[] = {(char *)"test_device", (char *)"--list-without-platforms", NULL};
    pid_t child = 0;
    int result = -1;
    (void)state;
    char *before = getenv("OCL_ICD_VENDORS");
    char *kept = before ? strdup(before) : NULL;
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environ), 0);
    if (kept)
        setenv("OCL_ICD_VENDORS", kept, 1);
    else
        unsetenv("OCL_ICD_VENDORS");
    free(kept);
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_list_describes_devices_in_order),
    cmocka_unit_test(test_open_of_absent_device_says_how_many),
    cmocka_unit_test(test_no_platform_is_an_empty_list),
    cmocka_unit_test(test_source_comes_from_the_folder_else_from_the_binary),
    cmocka_unit_test_setup_teardown(test_open_agrees_with_list, setup, teardown),
    cmocka_unit_test_setup_teardown(test_bytes_come_back_at_odd_offsets, setup, teardown),
    cmocka_unit_test_setup_teardown(test_mapped_file_is_a_buffer, setup, teardown),
    cmocka_unit_test_setup_teardown(test_sharing_is_what_was_measured, setup, teardown),
    cmocka_unit_test_setup_teardown(test_oversize_buffer_names_both_sizes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_kernel_computes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_kernel_says_its_limits, setup, teardown),
    cmocka_unit_test_setup_teardown(test_too_large_a_group_is_an_error_with_the_sizes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_wrong_argument_is_an_error_that_names_it, setup, teardown),
    cmocka_unit_test_setup_teardown(test_build_failure_carries_the_log, setup, teardown),
    cmocka_unit_test_setup_teardown(test_absent_source_and_kernel_are_named, setup, teardown),
    cmocka_unit_test_setup_teardown(test_programs_are_built_once, setup, teardown),
    cmocka_unit_test_setup_teardown(test_many_kernels_at_once_report_one_by_one, setup, teardown),
    cmocka_unit_test_setup_teardown(test_second_open_takes_programs_from_the_cache, setup, teardown),
    cmocka_unit_test_setup_teardown(test_cache_file_is_written_again_only_for_new_local_sizes, setup, teardown),
    cmocka_unit_test_setup_teardown(test_damaged_cache_file_is_built_again, setup, teardown),
    cmocka_unit_test_setup_teardown(test_full_cache_loses_what_was_used_least_recently, setup, teardown),
    cmocka_unit_test_setup_teardown(test_unwritable_cache_is_no_error, setup, teardown),
    cmocka_unit_test_setup_teardown(test_pipelined_reads_see_their_own_round, setup, teardown),
    cmocka_unit_test_setup_teardown(test_small_writes_keep_their_order_and_do_not_wait, setup, teardown),
    cmocka_unit_test_setup_teardown(test_large_write_by_the_small_door_arrives, setup, teardown),
    cmocka_unit_test_setup_teardown(test_counters_count, setup, teardown),
};

static int run_on_all_devices(void) {
    struct ci_device_list list;
    int failures = 0;
    const char *only = getenv("CLINFER_TEST_DEVICE");
    if (ci_device_list(&list) != CLINFER_OK || list.count == 0) {
        fprintf(stderr, "no usable OpenCL device; install pocl-opencl-icd\n");
        return 1;
    }
    for (int i = 0; i < list.count; i++) {
        if (only && atoi(only) != i) continue;
        printf("device %d: %s (%s)\n", i, list.caps[i].name, list.caps[i].platform);
        device_index = i;
        failures += cmocka_run_group_tests_name(list.caps[i].platform, tests, NULL, NULL);
    }
    ci_device_list_free(&list);
    return failures;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--list-without-platforms") == 0) return list_without_platforms();
    if (!mkdtemp(scratch)) return 1;
    snprintf(kernels, sizeof kernels, "%s/kernels", scratch);
    snprintf(cache, sizeof cache, "%s/cache", scratch);
    setenv("CLINFER_KERNELS", kernels, 1);
    write_text(kernels, "prelude.clh", "/* nothing */\n");
    write_text(kernels, "scale.cl", scale_source);
    write_text(kernels, "broken.cl", "__kernel void broken(__global int *data) { data[0] = undeclared_thing; }\n");
    int failures = run_on_all_devices();
    remove_files(kernels);
    remove_files(cache);
    remove_files(scratch);
    rmdir(kernels);
    rmdir(cache);
    rmdir(scratch);
    return failures != 0;
}
