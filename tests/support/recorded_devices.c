#define _GNU_SOURCE
#include "support/recorded_devices.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "device/kernels.h"

enum { LEAST_LOCAL = 32 << 10, LEAST_ALLOC = 128 << 20 };

static const char *text_of(const json_t *device, const char *key) {
    const char *text = json_string_value(json_object_get(device, key));
    return text ? text : "";
}

static uint64_t number_of(const json_t *device, const char *key, uint64_t otherwise) {
    const json_t *value = json_object_get(device, key);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value) : otherwise;
}

static bool has_extension(const json_t *device, const char *name) {
    const char *list = text_of(device, "extensions");
    size_t length = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
    return false;
}

/* The recordings do not hold it. */
static int nvidia_capability(const char *name) {
    if (strstr(name, "GTX 10")) return 61;
    return strstr(name, "RTX 30") ? 86 : 0;
}

static void read_device(const json_t *json, struct recorded_device *device) {
    struct ci_device_caps *caps = &device->caps;
    snprintf(device->id, sizeof device->id, "%s", text_of(json, "id"));
    snprintf(caps->name, sizeof caps->name, "%s", text_of(json, "name"));
    snprintf(caps->vendor, sizeof caps->vendor, "%s", text_of(json, "vendor"));
    snprintf(caps->platform, sizeof caps->platform, "%s", text_of(json, "platform_name"));
    snprintf(caps->platform_version, sizeof caps->platform_version, "%s", text_of(json, "platform_version"));
    snprintf(caps->version, sizeof caps->version, "%s", text_of(json, "device_version"));
    snprintf(caps->driver, sizeof caps->driver, "%s", text_of(json, "driver_version"));
    caps->kind = strcmp(text_of(json, "device_type"), "CPU") == 0 ? CI_DEVICE_CPU : CI_DEVICE_GPU;
    if (sscanf(caps->version, "OpenCL %d.%d", &caps->opencl_major, &caps->opencl_minor) != 2) caps->opencl_major = 2;
    caps->compute_units = (unsigned)number_of(json, "compute_units", 1);
    caps->max_alloc_bytes = number_of(json, "max_alloc_bytes", LEAST_ALLOC);
    caps->global_bytes = number_of(json, "global_mem_bytes", caps->max_alloc_bytes);
    caps->local_bytes = number_of(json, "local_mem_bytes", LEAST_LOCAL);
    caps->local_is_dedicated = strcmp(text_of(json, "local_mem_type"), "local") == 0;
    caps->max_work_group = (size_t)number_of(json, "max_work_group_size", 1);
    for (size_t i = 0; i < 3; i++) {
        const json_t *size = json_array_get(json_object_get(json, "max_work_item_sizes"), i);
        caps->max_work_item[i] = json_is_integer(size) ? (size_t)json_integer_value(size) : 1;
    }
    caps->base_align_bytes = (unsigned)number_of(json, "mem_base_addr_align_bits", 1024) / 8;
    caps->unified_memory = json_is_true(json_object_get(json, "host_unified_memory"));
    caps->shares_host_memory = caps->unified_memory || caps->kind == CI_DEVICE_CPU;
    caps->fp16 = has_extension(json, "cl_khr_fp16");
    caps->fp64 = has_extension(json, "cl_khr_fp64");
    caps->intel_required_subgroup_size = has_extension(json, "cl_intel_required_subgroup_size");
    caps->integer_dot_product = has_extension(json, "cl_khr_integer_dot_product");
    caps->dot4 = ci_device_has_dot4(text_of(json, "extensions"), caps->name, nvidia_capability(caps->name));
    caps->subgroups = has_extension(json, "cl_khr_subgroups") || has_extension(json, "cl_intel_subgroups") ||
                      number_of(json, "max_sub_groups_per_work_group", 0) > 0;
    device->usable = caps->opencl_major > 1 || caps->opencl_minor >= 2;
}

int read_recorded_devices(struct recorded_device devices[RECORDED_DEVICES]) {
    json_error_t error;
    json_t *file = json_load_file("tests/data/devices.json", 0, &error);
    const json_t *list = json_object_get(file, "devices");
    bool complete = json_array_size(list) == RECORDED_DEVICES;
    if (!complete)
        fprintf(stderr, "tests/data/devices.json: %s; %zu devices, not %d\n", file ? "" : error.text,
                json_array_size(list), RECORDED_DEVICES);
    for (size_t i = 0; i < RECORDED_DEVICES && complete; i++) read_device(json_array_get(list, i), &devices[i]);
    json_decref(file);
    return complete ? 0 : -1;
}
