/* devices.c: `clinfer devices`: the OpenCL devices in the order of their indices, and the CPU backend. */
#define _GNU_SOURCE
#include <clinfer.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"

static void features(const struct clinfer_device *device, char *text, size_t bytes) {
    snprintf(text, bytes, "%s%s%s%s%s", device->fp16 ? "fp16 " : "", device->fp64 ? "fp64 " : "",
             device->subgroups ? "sub-groups " : "", device->integer_dot_product ? "integer-dot " : "",
             device->unified_memory ? "unified-memory " : "");
    size_t length = strlen(text);
    if (length) text[length - 1] = 0;
}

static void print_table(const struct clinfer_device *devices, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const struct clinfer_device *device = &devices[i];
        char global[CI_AMOUNT_BYTES], alloc[CI_AMOUNT_BYTES], local[CI_AMOUNT_BYTES], has[128];
        features(device, has, sizeof has);
        ci_printf("%3zu  %s\n", i, ci_one_line(device->name));
        ci_printf("     %s, %u compute units, %s (one buffer: %s), local %s, work-groups to %zu\n", device->kind,
                  device->compute_units, ci_format_bytes(device->global_bytes, global),
                  ci_format_bytes(device->max_alloc_bytes, alloc), ci_format_bytes(device->local_bytes, local),
                  device->max_work_group);
        ci_printf("     %s, %s, driver %s\n", device->platform, device->version, device->driver);
        ci_printf("     features: %s\n", *has ? has : "none beyond OpenCL 1.2");
    }
    ci_printf("cpu  the CPU backend: %s, %ld processors\n", clinfer_cpu_isa(), sysconf(_SC_NPROCESSORS_ONLN));
}

static json_t *device_json(const struct clinfer_device *device, size_t index) {
    json_t *object = json_object();
    json_object_set_new(object, "index", json_integer((json_int_t)index));
    json_object_set_new(object, "name", ci_json_text(device->name, strlen(device->name)));
    json_object_set_new(object, "vendor", ci_json_text(device->vendor, strlen(device->vendor)));
    json_object_set_new(object, "platform", ci_json_text(device->platform, strlen(device->platform)));
    json_object_set_new(object, "platform_version",
                        ci_json_text(device->platform_version, strlen(device->platform_version)));
    json_object_set_new(object, "version", ci_json_text(device->version, strlen(device->version)));
    json_object_set_new(object, "driver", ci_json_text(device->driver, strlen(device->driver)));
    json_object_set_new(object, "kind", json_string(device->kind));
    json_object_set_new(object, "compute_units", json_integer(device->compute_units));
    json_object_set_new(object, "global_bytes", json_integer((json_int_t)device->global_bytes));
    json_object_set_new(object, "max_alloc_bytes", json_integer((json_int_t)device->max_alloc_bytes));
    json_object_set_new(object, "local_bytes", json_integer((json_int_t)device->local_bytes));
    json_object_set_new(object, "max_work_group", json_integer((json_int_t)device->max_work_group));
    json_object_set_new(object, "fp16", json_boolean(device->fp16));
    json_object_set_new(object, "fp64", json_boolean(device->fp64));
    json_object_set_new(object, "subgroups", json_boolean(device->subgroups));
    json_object_set_new(object, "integer_dot_product", json_boolean(device->integer_dot_product));
    json_object_set_new(object, "unified_memory", json_boolean(device->unified_memory));
    return object;
}

static int print_devices_json(const struct clinfer_device *devices, size_t count) {
    json_t *object = json_object(), *list = json_array(), *cpu = json_object();
    for (size_t i = 0; i < count; i++) json_array_append_new(list, device_json(&devices[i], i));
    json_object_set_new(object, "devices", list);
    json_object_set_new(cpu, "isa", json_string(clinfer_cpu_isa()));
    json_object_set_new(cpu, "processors", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    json_object_set_new(object, "cpu", cpu);
    return ci_print_json(object);
}

int ci_command_devices(int argc, char **argv) {
    bool json = false;
    struct ci_log_flags log = {0};
    const struct ci_option options[] = {
        CI_SECTION("Output"),
        CI_FLAG("--json", &json, "one JSON object"),
        CI_LOG_OPTIONS(&log),
    };
    const struct ci_usage usage = {
        .command = "devices",
        .synopsis = "[--json]",
        .about = "Lists the OpenCL devices that can be used, in the order in which `--device auto` takes the first:\n"
                 "GPUs, accelerators, CPUs. `--device` takes the index, or a part of the name or of the platform's.",
        .examples = "  clinfer devices\n  clinfer run --device 0 \"Why is the sky blue?\"\n"
                    "  clinfer run --device cpu \"Why is the sky blue?\"",
        .options = options,
        .option_count = sizeof options / sizeof *options,
    };
    int exit_status = ci_options_parse(&usage, argc, argv, NULL);
    if (exit_status != CI_OPTIONS_GO_ON) return exit_status;
    enum clinfer_status status = ci_log_start(&log);
    if (status != CLINFER_OK) return ci_exit_status(status);
    struct clinfer_device *devices = NULL;
    size_t count = 0;
    status = clinfer_devices(&devices, &count);
    if (status != CLINFER_OK) {
        exit_status = ci_complain(status);
    } else {
        if (!count)
            ci_warn("there is no OpenCL device: clinfer will use the CPU. On Debian, `apt install pocl-opencl-icd` "
                    "brings OpenCL for the processor; for a GPU install its maker's driver");
        exit_status = 0;
        if (json)
            exit_status = print_devices_json(devices, count);
        else
            print_table(devices, count);
        clinfer_devices_free(devices, count);
    }
    ci_log_end();
    return exit_status;
}
