#define _GNU_SOURCE
#include "support/device_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"

int fixture_index;
struct ci_device *fixture_device;
char fixture_scratch[64], fixture_kernels[64], fixture_cache[64];

const char fixture_scale_text[] = "#ifndef FACTOR\n"
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

const char *const fixture_sources[2] = {"prelude.clh", "scale.cl"};

void fixture_write(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(ci_file_write(path, text, strlen(text)));
}

void fixture_remove_files(const char *folder) {
    DIR *directory = opendir(folder);
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.') unlink(path);
    }
    closedir(directory);
}

int fixture_open(void **state) {
    (void)state;
    fixture_remove_files(fixture_cache);
    if (ci_device_open(fixture_index, fixture_cache, &fixture_device) != CLINFER_OK) {
        print_error("device %d does not open: %s\n", fixture_index, clinfer_error());
        return -1;
    }
    return 0;
}

int fixture_close(void **state) {
    (void)state;
    ci_device_close(fixture_device);
    fixture_device = NULL;
    return 0;
}

void fixture_reopen(void) {
    ci_device_close(fixture_device);
    fixture_device = NULL;
    assert_ok(ci_device_open(fixture_index, fixture_cache, &fixture_device));
}

struct ci_buffer *fixture_buffer(size_t bytes) {
    struct ci_buffer *buffer = NULL;
    assert_ok(ci_buffer_create(fixture_device, bytes, NULL, &buffer));
    return buffer;
}

struct ci_kernel *fixture_kernel(const char *options, const char *name) {
    struct ci_kernel *kernel = NULL;
    assert_ok(ci_kernel_create(fixture_device, fixture_sources, 2, options, name, &kernel));
    return kernel;
}

struct ci_device_counts fixture_counts(void) {
    struct ci_device_counts result;
    ci_device_counts(fixture_device, &result);
    return result;
}

void fixture_run_scale(const char *options, int factor, size_t local) {
    enum { N = 64 };
    int data[N], add = 5;
    const size_t global = N;
    struct ci_buffer *buffer = fixture_buffer(sizeof data);
    struct ci_kernel *kernel = fixture_kernel(options, "scale");
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

static int run_on_all_devices(const struct CMUnitTest *tests, size_t count) {
    struct ci_device_list list;
    int failures = 0;
    const char *only = getenv("CLINFER_TEST_DEVICE");
    if (ci_device_list(&list) != CLINFER_OK || list.count == 0) {
        fprintf(stderr, "no usable OpenCL device; install pocl-opencl-icd\n");
        return 1;
    }
    for (int i = 0; i < list.count; i++) {
        if (only && strtol(only, NULL, 10) != i) continue;
        fprintf(stderr, "device %d: %s (%s)\n", i, list.caps[i].name, list.caps[i].platform);
        fixture_index = i;
        failures += _cmocka_run_group_tests(list.caps[i].platform, tests, count, NULL, NULL);
    }
    ci_device_list_free(&list);
    return failures;
}

int fixture_run(const struct CMUnitTest *tests, size_t count) {
    snprintf(fixture_scratch, sizeof fixture_scratch, "/tmp/clinfer-test-device-XXXXXX");
    if (!mkdtemp(fixture_scratch)) return 1;
    snprintf(fixture_kernels, sizeof fixture_kernels, "%.40s/kernels", fixture_scratch);
    snprintf(fixture_cache, sizeof fixture_cache, "%.40s/cache", fixture_scratch);
    setenv("CLINFER_KERNELS", fixture_kernels, 1);
    fixture_write(fixture_kernels, "prelude.clh", "/* nothing */\n");
    fixture_write(fixture_kernels, "scale.cl", fixture_scale_text);
    fixture_write(fixture_kernels, "broken.cl",
                  "__kernel void broken(__global int *data) { data[0] = undeclared_thing; }\n");
    int failures = run_on_all_devices(tests, count);
    const char *folders[] = {fixture_kernels, fixture_cache, fixture_scratch};
    for (int i = 0; i < 3; i++) {
        fixture_remove_files(folders[i]);
        rmdir(folders[i]);
    }
    return failures != 0;
}
