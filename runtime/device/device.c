/* A device that is open: its context, its one in-order queue, the counters. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

struct abandoned {
    struct abandoned *next;
    void *memory;
};

static struct abandoned *_Atomic abandoned;

void ci_device_abandon(void *memory) {
    struct abandoned *entry = memory ? malloc(sizeof *entry) : NULL;
    if (!entry) return;
    *entry = (struct abandoned){abandoned, memory};
    while (!atomic_compare_exchange_weak(&abandoned, &entry->next, entry)) continue;
}

static enum clinfer_status open_entry(const struct ci_device_entry *entry, struct ci_device *device) {
    device->platform = entry->platform;
    device->id = entry->id;
    device->caps = entry->caps;
    cl_int error = CL_SUCCESS;
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)entry->platform, 0};
    device->context = clCreateContext(properties, 1, &entry->id, NULL, NULL, &error);
    if (!device->context) return ci_cl_fail(&device->caps, "clCreateContext", error);
    device->queue = clCreateCommandQueue(device->context, device->id, 0, &error);
    if (!device->queue) return ci_cl_fail(&device->caps, "clCreateCommandQueue", error);
    ci_device_measure_sharing(device);
    ci_device_measure_waiting(device);
    /* Where that needed the compiler and it does not come through, nothing else will be built either. */
    return *device->compiler_failure ? ci_device_compiler_works(device) : CLINFER_OK;
}

enum clinfer_status ci_device_open(int index, const char *cache_folder, struct ci_device **out) {
    *out = NULL;
    struct ci_device_entry *entries = NULL;
    struct ci_device *device = NULL;
    int count = 0;
    enum clinfer_status status = ci_device_enumerate(&entries, &count);
    if (status != CLINFER_OK) return status;
    if (index < 0 || index >= count) {
        status = ci_fail(CLINFER_NO_DEVICE, "device %d: there are %d OpenCL devices; `clinfer devices` lists them",
                         index, count);
        goto done;
    }
    device = calloc(1, sizeof *device);
    if (device && cache_folder) device->cache_folder = strdup(cache_folder);
    if (device) device->staging = malloc((size_t)CI_STAGING_PIECES * CI_STAGING_BYTES);
    if (!device || !device->staging || (cache_folder && !device->cache_folder)) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an OpenCL device");
        goto done;
    }
    status = open_entry(&entries[index], device);
done:
    free(entries);
    if (status == CLINFER_OK)
        *out = device;
    else
        ci_device_close(device);
    return status;
}

void ci_device_close(struct ci_device *device) {
    if (!device) return;
    /* Reads that nobody waited for still have a target somewhere: after this none is written any more. Where the queue
     * cannot be emptied, what it may still read is abandoned. */
    bool idle = !device->queue || clFinish(device->queue) == CL_SUCCESS;
    for (int i = 0; i < CI_READ_SLOTS; i++)
        if (device->reads[i]) clReleaseEvent(device->reads[i]);
    for (int i = 0; i < CI_STAGING_PIECES; i++)
        if (device->staged[i]) clReleaseEvent(device->staged[i]);
    ci_device_clock_forget(device);
    free(device->recorded);
    if (idle)
        free(device->staging);
    else
        ci_device_abandon(device->staging);
    ci_programs_destroy(device);
    ci_clblast_close(device);
    if (device->queue) clReleaseCommandQueue(device->queue);
    if (device->context) clReleaseContext(device->context);
    free(device->cache_folder);
    free(device);
}

const struct ci_device_caps *ci_device_caps(const struct ci_device *device) { return &device->caps; }

enum clinfer_status ci_device_flush(struct ci_device *device) {
    cl_int error = clFlush(device->queue);
    return error == CL_SUCCESS ? CLINFER_OK : ci_cl_fail(&device->caps, "clFlush", error);
}

enum clinfer_status ci_device_finish(struct ci_device *device) {
    device->counts.waits++;
    cl_int error = clFinish(device->queue);
    return error == CL_SUCCESS ? CLINFER_OK : ci_cl_fail(&device->caps, "clFinish", error);
}

void ci_device_counts(const struct ci_device *device, struct ci_device_counts *counts) { *counts = device->counts; }
