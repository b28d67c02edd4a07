/* The device's own clock: events of a queue with profiling. Only the first and the last kernel of a batch are looked
 * at, so that gaps between kernels count: a real run has them too. */
#include "base/status.h"
#include "device/internal.h"

void ci_device_clock_note(struct ci_device *device, cl_event event) {
    if (!device->first_timed) {
        device->first_timed = event;
        return;
    }
    if (device->last_timed) clReleaseEvent(device->last_timed);
    device->last_timed = event;
}

void ci_device_clock_forget(struct ci_device *device) {
    if (device->first_timed) clReleaseEvent(device->first_timed);
    if (device->last_timed) clReleaseEvent(device->last_timed);
    device->first_timed = device->last_timed = NULL;
}

enum clinfer_status ci_device_clock(struct ci_device *device, bool on) {
    if (device->clock == on) return CLINFER_OK;
    enum clinfer_status status = ci_device_finish(device);
    if (status != CLINFER_OK) return status;
    cl_int error = CL_SUCCESS;
    cl_command_queue queue =
        clCreateCommandQueue(device->context, device->id, on ? CL_QUEUE_PROFILING_ENABLE : 0, &error);
    if (!queue) return ci_cl_fail(&device->caps, "clCreateCommandQueue", error);
    clReleaseCommandQueue(device->queue);
    device->queue = queue;
    device->clock = on;
    ci_device_clock_forget(device);
    return CLINFER_OK;
}

enum clinfer_status ci_device_clock_elapsed(struct ci_device *device, double *seconds) {
    cl_ulong start = 0, end = 0;
    *seconds = 0;
    enum clinfer_status status = ci_device_finish(device);
    cl_event first = device->first_timed, last = device->last_timed ? device->last_timed : first;
    if (status == CLINFER_OK && first &&
        clGetEventProfilingInfo(first, CL_PROFILING_COMMAND_START, sizeof start, &start, NULL) == CL_SUCCESS &&
        clGetEventProfilingInfo(last, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) == CL_SUCCESS && end > start)
        *seconds = 1e-9 * (double)(end - start);
    ci_device_clock_forget(device);
    return status;
}
