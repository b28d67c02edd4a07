/* device/ on every OpenCL device of this machine: discovery, memory in and out, sharing, pipelined reads, counters. */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/device_fixture.h"

#include "base/file.h"

extern char **environ;

static void test_list_describes_devices_in_order(void **state) {
    struct ci_device_list list;
    (void)state;
    assert_ok(ci_device_list(&list));
    assert_true(list.count > fixture_index);
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
    assert_string_equal(ci_device_caps(fixture_device)->name, list.caps[fixture_index].name);
    assert_true(ci_device_caps(fixture_device)->key == list.caps[fixture_index].key);
    ci_device_list_free(&list);
}

static void test_bytes_come_back_at_odd_offsets(void **state) {
    enum { SIZE = 100003 };
    static uint8_t sent[SIZE], got[SIZE], zero[SIZE];
    static const struct {
        size_t offset, bytes;
    } pieces[] = {{0, SIZE}, {1, 1}, {3, 77}, {4097, 8191}, {SIZE - 1, 1}, {SIZE - 333, 333}, {SIZE, 0}, {5, 0}};
    (void)state;
    struct ci_buffer *first = fixture_buffer(SIZE), *second = fixture_buffer(SIZE);
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
    struct ci_buffer *weights = NULL, *copy = fixture_buffer(sizeof numbers);
    (void)state;
    for (int i = 0; i < N; i++) numbers[i] = i * 3 - 1;
    snprintf(path, sizeof path, "%s/weights", fixture_scratch);
    assert_ok(ci_file_write(path, numbers, sizeof numbers));
    assert_ok(ci_file_map(path, &file));
    assert_ok(ci_buffer_create(fixture_device, file.size, file.data, &weights));
    assert_int_equal(ci_buffer_bytes(weights), sizeof numbers);
    if (!ci_device_caps(fixture_device)->shares_host_memory) assert_false(ci_buffer_is_shared(weights));
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
    struct ci_buffer *wrapped = NULL, *copy = fixture_buffer(N * sizeof *page);
    int got[N];
    (void)state;
    for (int i = 0; i < N; i++) page[i] = i;
    assert_ok(ci_buffer_create(fixture_device, N * sizeof *page, page, &wrapped));
    for (int i = 0; i < N; i++) page[i] = -i;
    assert_ok(ci_buffer_copy(wrapped, 0, copy, 0, sizeof got));
    assert_ok(ci_buffer_read(copy, 0, got, sizeof got));
    for (int i = 0; i < N; i++) assert_int_equal(got[i], ci_buffer_is_shared(wrapped) ? -i : i);
    ci_buffer_destroy(wrapped);
    ci_buffer_destroy(copy);
    munmap(page, N * sizeof *page);
}

static void test_oversize_buffer_names_both_sizes(void **state) {
    const struct ci_device_caps *caps = ci_device_caps(fixture_device);
    struct ci_buffer *buffer = NULL;
    char number[32];
    (void)state;
    assert_int_equal(ci_buffer_create(fixture_device, (size_t)caps->max_alloc_bytes + 1, NULL, &buffer),
                     CLINFER_OUT_OF_MEMORY);
    assert_null(buffer);
    snprintf(number, sizeof number, "%zu", (size_t)caps->max_alloc_bytes + 1);
    assert_message(number);
    snprintf(number, sizeof number, "%zu", (size_t)caps->max_alloc_bytes);
    assert_message(number);
    assert_message(caps->name);
    assert_int_equal(ci_buffer_create(fixture_device, SIZE_MAX, NULL, &buffer), CLINFER_OUT_OF_MEMORY);
    assert_int_equal(ci_buffer_create(fixture_device, 0, NULL, &buffer), CLINFER_INVALID_ARGUMENT);
}

static void test_pipelined_reads_see_their_own_round(void **state) {
    enum { ROUNDS = 40, N = 64 };
    struct ci_buffer *buffer = fixture_buffer(N * sizeof(int));
    struct ci_kernel *kernel = fixture_kernel("-DFACTOR=1", "scale");
    const size_t global = N, local = 8;
    int start[N] = {0}, add = 1, got[CI_READ_SLOTS][N];
    (void)state;
    assert_ok(ci_buffer_write(buffer, 0, start, sizeof start));
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, local * sizeof(int)));
    uint64_t waits = fixture_counts().waits;
    for (int round = 0; round < ROUNDS + CI_READ_SLOTS; round++) {
        int slot = round % CI_READ_SLOTS;
        if (round >= CI_READ_SLOTS) {
            assert_ok(ci_buffer_read_wait(fixture_device, slot));
            for (int i = 0; i < N; i++) assert_int_equal(got[slot][i], round - CI_READ_SLOTS + 1);
        }
        if (round >= ROUNDS) continue;
        assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
        assert_ok(ci_buffer_read_start(buffer, 0, got[slot], sizeof got[slot], slot));
        assert_ok(ci_device_flush(fixture_device));
    }
    /* What is there already is not waited for. */
    waits = fixture_counts().waits - waits;
    assert_true(waits <= ROUNDS);
    uint64_t before = fixture_counts().waits;
    assert_ok(ci_buffer_read_wait(fixture_device, 0)); /* nothing under way */
    assert_int_equal(fixture_counts().waits, before);
    /* One that nobody waits for: closing the device (fixture_close) must end it before `got` is gone. */
    assert_ok(ci_buffer_read_start(buffer, 0, got[0], sizeof got[0], 0));
    assert_ok(ci_device_finish(fixture_device));
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
}

static void test_small_writes_keep_their_order_and_do_not_wait(void **state) {
    enum { ROUNDS = 200, N = 16 };
    struct ci_buffer *input = fixture_buffer(N * sizeof(int)), *all = fixture_buffer(ROUNDS * N * sizeof(int));
    struct ci_kernel *kernel = fixture_kernel(NULL, "slow");
    const size_t global = N, local = 1;
    int values[N] = {0}, rounds = 200000, *got = malloc(ROUNDS * sizeof values);
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, input));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &rounds, sizeof rounds));
    assert_ok(ci_buffer_write(input, 0, values, sizeof values));
    uint64_t waits = fixture_counts().waits;
    for (int i = 0; i < 20; i++) { /* behind a kernel that takes its time, fewer than the ring has pieces */
        if (i < 4) assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
        for (int k = 0; k < N; k++) values[k] = i * 1000 + k;
        assert_ok(ci_buffer_write_small(input, 0, values, sizeof values));
        memset(values, 0x55, sizeof values);
        assert_ok(ci_buffer_copy(input, 0, all, (uint64_t)i * sizeof values, sizeof values));
    }
    assert_int_equal(fixture_counts().waits, waits);
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

/* Whether what the driver says is true is for others to find out; here it must lie within the time on the wall. */
static void test_clock_times_a_batch_of_kernels(void **state) {
    enum { N = 16, LAUNCHES = 20 };
    struct ci_buffer *buffer = fixture_buffer(N * sizeof(int));
    struct ci_kernel *kernel = fixture_kernel(NULL, "slow");
    const size_t global = N, local = 1;
    const int rounds = 300000;
    double seconds = -1, first = 0;
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &rounds, sizeof rounds));
    assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
    assert_ok(ci_device_clock(fixture_device, true));
    assert_ok(ci_device_clock_elapsed(fixture_device, &seconds));
    assert_true(seconds == 0); /* nothing was enqueued since it is on */
    for (int batch = 0; batch < 2; batch++) {
        double start = ci_now();
        for (int i = 0; i < (batch ? LAUNCHES : 1); i++) assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
        assert_ok(ci_device_clock_elapsed(fixture_device, &seconds));
        if (seconds == 0) break; /* the driver has no clock */
        assert_true(seconds > 0 && seconds <= ci_now() - start);
        if (batch == 0) first = seconds;
        if (batch == 1) assert_true(seconds > 2 * first); /* a busy machine varies */
    }
    assert_ok(ci_device_clock(fixture_device, false));
    assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
    assert_ok(ci_device_clock_elapsed(fixture_device, &seconds));
    assert_true(seconds == 0);
    ci_kernel_destroy(kernel);
    ci_buffer_destroy(buffer);
}

static void test_large_write_by_the_small_door_arrives(void **state) {
    enum { SIZE = 1024 * 1024 + 3 };
    uint8_t *sent = malloc(SIZE), *got = malloc(SIZE);
    struct ci_buffer *buffer = fixture_buffer(SIZE);
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
    struct ci_buffer *buffer = fixture_buffer(sizeof data);
    struct ci_kernel *kernel = fixture_kernel(NULL, "scale");
    (void)state;
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, 4));
    struct ci_device_counts before = fixture_counts();
    for (int i = 0; i < 10; i++) assert_ok(ci_kernel_enqueue(kernel, 1, &global, &local));
    assert_int_equal(fixture_counts().enqueues, before.enqueues + 10);
    assert_int_equal(fixture_counts().waits, before.waits);
    assert_ok(ci_device_finish(fixture_device));
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    assert_int_equal(fixture_counts().waits, before.waits + 2);
    assert_int_equal(fixture_counts().objects, before.objects);
    struct ci_buffer *another = fixture_buffer(4);
    assert_int_equal(fixture_counts().objects, before.objects + 1);
    ci_buffer_destroy(another);
    ci_buffer_destroy(buffer);
    ci_kernel_destroy(kernel);
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

int main(int argc, char **argv) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_describes_devices_in_order),
        cmocka_unit_test(test_open_of_absent_device_says_how_many),
        cmocka_unit_test(test_no_platform_is_an_empty_list),
        cmocka_unit_test_setup_teardown(test_open_agrees_with_list, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_bytes_come_back_at_odd_offsets, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_mapped_file_is_a_buffer, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_sharing_is_what_was_measured, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_oversize_buffer_names_both_sizes, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_pipelined_reads_see_their_own_round, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_small_writes_keep_their_order_and_do_not_wait, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(test_clock_times_a_batch_of_kernels, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_large_write_by_the_small_door_arrives, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(test_counters_count, fixture_open, fixture_close),
    };
    if (argc > 1 && strcmp(argv[1], "--list-without-platforms") == 0) return list_without_platforms();
    return fixture_run(tests, sizeof tests / sizeof *tests);
}
