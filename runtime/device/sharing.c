/* Whether the device really works on the host's memory, found by experiment.
 *
 * A page of host memory is wrapped, changed by the host behind the driver's back, changed again by a kernel, and
 * looked at by the host without mapping. Only a driver that uses the page in place gets both directions right; one that
 * keeps a copy and synchronises on map and unmap does not.
 *
 * It is asked only of devices that claim unified memory: a graphics card can reach host memory as well, but through
 * its bus, and reading all weights through that for every token is not what anybody wants. A kernel does the work, and
 * not a copy command, since drivers may do copies on the host. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

enum { PAGE = 4096, WORDS = PAGE / sizeof(uint32_t) };

const char ci_device_probe_text[] = "__kernel void probe(__global uint *page) {\n"
                                    "    const size_t i = get_global_id(0);\n"
                                    "    page[i] = page[i] * 3u + 1u;\n"
                                    "}\n";

/* *idle is cleared when the kernel may still be running. false: a call failed. */
static bool try_kernel(struct ci_device *device, cl_mem wrapped, volatile uint32_t *page, bool *idle) {
    struct ci_kernel *kernel = NULL;
    struct ci_buffer buffer = {.device = device, .handle = wrapped, .bytes = PAGE};
    const size_t global = WORDS, local = 1;
    if (ci_kernel_create_from_text(device, ci_device_probe_text, "probe", &kernel) != CLINFER_OK) return false;
    for (uint32_t i = 0; i < WORDS; i++) page[i] = i * 7u + 5u;
    bool done = ci_kernel_set_buffer(kernel, 0, &buffer) == CLINFER_OK &&
                ci_kernel_enqueue(kernel, 1, &global, &local) == CLINFER_OK;
    if (done) done = *idle = clFinish(device->queue) == CL_SUCCESS;
    device->caps.shares_host_memory = done;
    for (uint32_t i = 0; i < WORDS && done; i++)
        if (page[i] != (i * 7u + 5u) * 3u + 1u) device->caps.shares_host_memory = false;
    ci_kernel_destroy(kernel);
    return done;
}

static bool measure(struct ci_device *device) {
    bool idle = true, done = false;
    uint32_t *page = aligned_alloc(PAGE, PAGE);
    if (!page) return false;
    memset(page, 0, PAGE);
    cl_int error = CL_SUCCESS;
    cl_mem wrapped = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, PAGE, page, &error);
    if (wrapped) {
        done = try_kernel(device, wrapped, page, &idle);
        clReleaseMemObject(wrapped);
    }
    if (idle)
        free(page);
    else
        ci_device_abandon(page);
    return done;
}

void ci_device_measure_sharing(struct ci_device *device) {
    device->caps.shares_host_memory = false;
    if (device->caps.kind != CI_DEVICE_CPU && !device->caps.unified_memory) return;
    if (!measure(device)) measure(device); /* an accident is not to decide how the weights are loaded */
    ci_log(CLINFER_LOG_DEBUG, "\"%s\" (%s) %s host memory in place", device->caps.name, device->caps.platform,
           device->caps.shares_host_memory ? "uses" : "does not use");
}
