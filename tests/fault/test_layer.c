/* The layer that breaks calls (fake_layer.c) does what it says: a test that relies on it would prove nothing else. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "support/device_fixture.h"
#include "support/layer.h"

enum { N = 64, NOT_A_NUMBER = 0x7FFF7FFF };

static enum clinfer_status run(struct ci_kernel *kernel) {
    const size_t global = N;
    return ci_kernel_enqueue(kernel, 1, &global, NULL);
}

/* A kernel that leaves its data as they are. */
static struct ci_kernel *idle_kernel(struct ci_buffer *buffer) {
    const int rounds = 0;
    struct ci_kernel *kernel = fixture_kernel("", "slow");
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &rounds, sizeof rounds));
    return kernel;
}

static struct ci_kernel *scale_kernel(struct ci_buffer *buffer, int add) {
    struct ci_kernel *kernel = fixture_kernel("-D FACTOR=1", "scale");
    assert_ok(ci_kernel_set_buffer(kernel, 0, buffer));
    assert_ok(ci_kernel_set_bytes(kernel, 1, &add, sizeof add));
    assert_ok(ci_kernel_set_local(kernel, 2, N * sizeof(int)));
    return kernel;
}

static void test_the_chosen_call_of_the_chosen_kernel_fails(void **state) {
    (void)state;
    struct ci_buffer *buffer = fixture_buffer(N * sizeof(int));
    struct ci_kernel *idle = idle_kernel(buffer), *scale = scale_kernel(buffer, 1);
    layer_arm("clEnqueueNDRangeKernel/scale@2:-5;clFlush@1+:-6");
    for (int i = 1; i <= 3; i++) {
        assert_ok(run(idle));
        enum clinfer_status status = run(scale);
        assert_int_equal(status, i == 2 ? CLINFER_DEVICE_ERROR : CLINFER_OK);
        assert_int_equal(ci_device_flush(fixture_device), CLINFER_OUT_OF_MEMORY);
    }
    assert_int_equal(layer_calls("clEnqueueNDRangeKernel"), 6);
    assert_int_equal(layer_strikes(), 4);
    assert_string_equal(layer_struck(), "clFlush");
    layer_disarm();
    assert_ok(ci_device_flush(fixture_device));
    assert_null(layer_struck());
    ci_kernel_destroy(idle);
    ci_kernel_destroy(scale);
    ci_buffer_destroy(buffer);
}

static void test_a_lost_device_fails_everywhere(void **state) {
    (void)state;
    struct ci_buffer *buffer = NULL;
    layer_arm("clFinish@2:lost/-36");
    assert_ok(ci_device_finish(fixture_device));
    assert_ok(ci_device_flush(fixture_device));
    assert_int_equal(ci_device_finish(fixture_device), CLINFER_DEVICE_ERROR);
    assert_message("CL_INVALID_COMMAND_QUEUE");
    assert_int_equal(ci_device_flush(fixture_device), CLINFER_DEVICE_ERROR);
    assert_int_equal(ci_buffer_create(fixture_device, 64, NULL, &buffer), CLINFER_DEVICE_ERROR);
    layer_disarm();
}

static void test_delays_are_kept(void **state) {
    (void)state;
    layer_arm("clFinish@1:delay/150");
    double start = ci_now();
    assert_ok(ci_device_finish(fixture_device));
    assert_true(ci_now() - start >= 0.15);
    assert_true(layer_struck_at() >= start && layer_struck_at() < start + 0.15);
    layer_disarm();
}

static atomic_int hung; /* 1 + the status of a call that has come back */

static void *finish(void *unused) {
    enum clinfer_status status = ci_device_finish(fixture_device);
    atomic_store(&hung, 1 + (int)status);
    return unused;
}

static void test_a_hang_lasts_until_others_are_armed(void **state) {
    (void)state;
    pthread_t thread;
    atomic_store(&hung, 0);
    layer_arm("clFinish@1:hang");
    assert_int_equal(pthread_create(&thread, NULL, finish, NULL), 0);
    usleep(100000);
    assert_int_equal(atomic_load(&hung), 0);
    layer_disarm();
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&hung), 1 + CLINFER_DEVICE_ERROR);
}

/* What the kernel writes and nothing else. */
static void test_the_output_of_a_kernel_is_spoilt(void **state) {
    (void)state;
    int data[2 * N] = {0};
    struct ci_buffer *buffer = fixture_buffer(sizeof data);
    struct ci_kernel *scale = scale_kernel(buffer, 1);
    assert_ok(ci_buffer_write(buffer, 0, data, sizeof data));
    layer_arm("clEnqueueNDRangeKernel@2:corrupt");
    assert_ok(run(scale));
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    for (int i = 0; i < 2 * N; i++) assert_int_equal(data[i], i < N ? 1 : 0);
    assert_ok(run(scale));
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    for (int i = 0; i < 2 * N; i++) assert_int_equal(data[i], i < N ? NOT_A_NUMBER : 0);
    layer_disarm();
    ci_kernel_destroy(scale);
    ci_buffer_destroy(buffer);
}

static void test_what_is_read_is_spoilt(void **state) {
    (void)state;
    int data[N] = {0};
    struct ci_buffer *buffer = fixture_buffer(sizeof data);
    assert_ok(ci_buffer_write(buffer, 0, data, sizeof data));
    layer_arm("clEnqueueReadBuffer@1:corrupt");
    assert_ok(ci_buffer_read_start(buffer, 0, data, sizeof data, 0));
    assert_ok(ci_buffer_read_wait(fixture_device, 0));
    for (int i = 0; i < N; i++) assert_int_equal(data[i], NOT_A_NUMBER);
    assert_ok(ci_buffer_read(buffer, 0, data, sizeof data));
    for (int i = 0; i < N; i++) assert_int_equal(data[i], 0);
    layer_disarm();
    ci_buffer_destroy(buffer);
}

static void test_chance_follows_its_seed(void **state) {
    enum { TRIES = 1000 };
    static bool struck[3][TRIES];
    int count = 0, other = 0;
    (void)state;
    for (int round = 0; round < 3; round++) {
        layer_arm("clFlush@p0.1/%d:-5", round < 2 ? 7 : 8);
        for (int i = 0; i < TRIES; i++) struck[round][i] = ci_device_flush(fixture_device) != CLINFER_OK;
    }
    for (int i = 0; i < TRIES; i++) {
        assert_int_equal(struck[0][i], struck[1][i]);
        count += struck[0][i];
        other += struck[0][i] != struck[2][i];
    }
    assert_in_range(count, TRIES / 20, TRIES / 5);
    assert_true(other > 0);
    layer_disarm();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(test_the_chosen_call_of_the_chosen_kernel_fails),
        TEST(test_a_lost_device_fails_everywhere),
        TEST(test_delays_are_kept),
        TEST(test_a_hang_lasts_until_others_are_armed),
        TEST(test_the_output_of_a_kernel_is_spoilt),
        TEST(test_what_is_read_is_spoilt),
        TEST(test_chance_follows_its_seed),
    };
    if (!layer_load()) return 1;
    return fixture_run(tests, sizeof tests / sizeof *tests);
}
