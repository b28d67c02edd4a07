/* Kernels: their arguments and their launches. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "base/watch.h"
#include "device/internal.h"

struct ci_kernel {
    struct ci_device *device;
    struct ci_program *program;
    cl_kernel handle;
    uint64_t name_hash;
    size_t max_work_group;
    uint64_t local_bytes;
    size_t last_local[3];
    bool launched;
};

enum clinfer_status ci_kernel_of_program(struct ci_device *device, struct ci_program *program, const char *name,
                                         struct ci_kernel **out) {
    *out = NULL;
    if (!program->handle)
        return ci_fail(program->status, "%s", program->message ? program->message : "the program was not built");
    struct ci_kernel *kernel = calloc(1, sizeof *kernel);
    if (!kernel) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory for a kernel", name);
    cl_int error = CL_SUCCESS;
    *kernel = (struct ci_kernel){
        .device = device, .program = program, .name_hash = ci_hash(CI_HASH_START, name, strlen(name))};
    kernel->handle = clCreateKernel(program->handle, name, &error);
    if (!kernel->handle) {
        free(kernel);
        return ci_fail_prefix(ci_cl_fail(&device->caps, "clCreateKernel", error), "kernel %s", name);
    }
    device->counts.objects++;
    cl_ulong local = 0;
    error = clGetKernelWorkGroupInfo(kernel->handle, device->id, CL_KERNEL_WORK_GROUP_SIZE,
                                     sizeof kernel->max_work_group, &kernel->max_work_group, NULL);
    if (error != CL_SUCCESS) {
        ci_kernel_destroy(kernel);
        return ci_fail_prefix(ci_cl_fail(&device->caps, "clGetKernelWorkGroupInfo", error), "kernel %s", name);
    }
    if (clGetKernelWorkGroupInfo(kernel->handle, device->id, CL_KERNEL_LOCAL_MEM_SIZE, sizeof local, &local, NULL) ==
        CL_SUCCESS)
        kernel->local_bytes = local;
    *out = kernel;
    return CLINFER_OK;
}

void ci_kernel_destroy(struct ci_kernel *kernel) {
    if (!kernel) return;
    clReleaseKernel(kernel->handle);
    free(kernel);
}

size_t ci_kernel_max_work_group(const struct ci_kernel *kernel) { return kernel->max_work_group; }

uint64_t ci_kernel_local_bytes(const struct ci_kernel *kernel) { return kernel->local_bytes; }

static enum clinfer_status fail(const struct ci_kernel *kernel, const char *call, cl_int error) {
    char name[128] = "";
    clGetKernelInfo(kernel->handle, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL);
    return ci_fail_prefix(ci_cl_fail(&kernel->device->caps, call, error), "kernel %s", name);
}

static enum clinfer_status set(struct ci_kernel *kernel, unsigned index, size_t bytes, const void *value) {
    cl_int error = clSetKernelArg(kernel->handle, index, bytes, value);
    if (error == CL_SUCCESS) return CLINFER_OK;
    return ci_fail_prefix(fail(kernel, "clSetKernelArg", error), "argument %u of %zu bytes", index, bytes);
}

enum clinfer_status ci_kernel_set_buffer(struct ci_kernel *kernel, unsigned index, struct ci_buffer *buffer) {
    return set(kernel, index, sizeof buffer->handle, &buffer->handle);
}

enum clinfer_status ci_kernel_set_bytes(struct ci_kernel *kernel, unsigned index, const void *value, size_t bytes) {
    return set(kernel, index, bytes, value);
}

enum clinfer_status ci_kernel_set_local(struct ci_kernel *kernel, unsigned index, size_t bytes) {
    return set(kernel, index, bytes, NULL);
}

/* The first time that a kernel runs with a local size, the driver may compile it for that: see program.c. */
static bool launch_is_known(const struct ci_kernel *kernel, const size_t local[3], uint64_t *launch) {
    const struct ci_program *program = kernel->program;
    *launch = ci_hash(kernel->name_hash, local, sizeof kernel->last_local);
    for (int i = 0; i < program->launch_count; i++)
        if (program->launches[i] == *launch) return true;
    return false;
}

static void note_launch(struct ci_program *program, uint64_t launch) {
    if (program->launch_count == CI_PROGRAM_LAUNCHES) return;
    program->launches[program->launch_count++] = launch;
    program->unsaved = true;
}

enum clinfer_status ci_kernel_enqueue(struct ci_kernel *kernel, int dimensions, const size_t *global,
                                      const size_t *local) {
    struct ci_device *device = kernel->device;
    cl_event event = NULL;
    size_t used[3] = {0};
    uint64_t launch = 0;
    for (int i = 0; local && i < dimensions; i++) used[i] = local[i];
    bool same = kernel->launched && memcmp(used, kernel->last_local, sizeof used) == 0;
    bool known = same || launch_is_known(kernel, used, &launch);
    if (!known) {
        enum clinfer_status status = ci_device_compiler_works(device);
        if (status != CLINFER_OK) return status;
        ci_watch_build_queued(); /* PoCL compiles for each local size, here or when it comes to this in the queue */
    }
    device->counts.enqueues++;
    cl_int error = clEnqueueNDRangeKernel(device->queue, kernel->handle, (cl_uint)dimensions, NULL, global, local, 0,
                                          NULL, device->clock ? &event : NULL);
    if (error == CL_SUCCESS) {
        if (device->clock) ci_device_clock_note(device, event);
        if (!known) note_launch(kernel->program, launch);
        memcpy(kernel->last_local, used, sizeof used);
        kernel->launched = true;
        return CLINFER_OK;
    }
    enum clinfer_status status = fail(kernel, "clEnqueueNDRangeKernel", error);
    size_t g[3] = {1, 1, 1}, l[3] = {0};
    for (int i = 0; i < dimensions; i++) {
        g[i] = global[i];
        l[i] = local ? local[i] : 0;
    }
    return ci_fail_prefix(status, "global %zu x %zu x %zu, local %zu x %zu x %zu", g[0], g[1], g[2], l[0], l[1], l[2]);
}
