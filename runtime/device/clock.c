/* The device's own clock: events of a queue with profiling. For a measurement only the first and the last kernel of a
 * batch are looked at, so that gaps between kernels count: a real run has them too. For a profile each kernel is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "device/internal.h"

static bool times_of(cl_event event, double *start, double *end) {
    cl_ulong first = 0, last = 0;
    if (clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_START, sizeof first, &first, NULL) != CL_SUCCESS ||
        clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof last, &last, NULL) != CL_SUCCESS)
        return false;
    *start = 1e-9 * (double)first;
    *end = 1e-9 * (double)last;
    return last >= first && last != 0;
}

/* Without memory for it a kernel is not recorded. */
static void record(struct ci_device *device, cl_event event) {
    if (device->record_count == device->record_capacity && device->record_first > 0) {
        device->record_count -= device->record_first;
        memmove(device->recorded, device->recorded + device->record_first,
                (size_t)device->record_count * sizeof *device->recorded);
        device->record_first = 0;
    }
    if (device->record_count == device->record_capacity) {
        int capacity = 2 * device->record_capacity + 1024;
        struct ci_recorded *grown = realloc(device->recorded, (size_t)capacity * sizeof *grown);
        if (!grown) {
            clReleaseEvent(event);
            return;
        }
        device->recorded = grown;
        device->record_capacity = capacity;
    }
    device->recorded[device->record_count++] = (struct ci_recorded){event, device->tag, ci_now(), device->more_of_tag};
    device->more_of_tag = true;
}

void ci_device_clock_note(struct ci_device *device, cl_event event) {
    if (device->recording) {
        record(device, event);
        return;
    }
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
    for (int i = device->record_first; i < device->record_count; i++) clReleaseEvent(device->recorded[i].event);
    device->record_first = device->record_count = 0;
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
    double start, end, ignored;
    *seconds = 0;
    enum clinfer_status status = ci_device_finish(device);
    cl_event first = device->first_timed, last = device->last_timed ? device->last_timed : first;
    if (status == CLINFER_OK && first && times_of(first, &start, &ignored) && times_of(last, &ignored, &end))
        *seconds = end - start;
    ci_device_clock_forget(device);
    return status;
}

/* ---- records ---- */

/* Small writes, each between two looks at our clock: the device's clock cannot be off by more than these allow. The
 * event is waited for: of a blocking write Intel's runtime does not have the times yet when it returns. */
static enum clinfer_status compare_clocks(struct ci_device *device) {
    enum { WRITES = 20 };
    static const uint32_t word = 0;
    double least = -INFINITY, most = INFINITY;
    struct ci_buffer *buffer;
    enum clinfer_status status = ci_buffer_create(device, 64, NULL, &buffer);
    for (int i = 0; i < WRITES && status == CLINFER_OK; i++) {
        cl_event event = NULL;
        double before = ci_now(), start, end;
        cl_int error =
            clEnqueueWriteBuffer(device->queue, buffer->handle, CL_FALSE, 0, sizeof word, &word, 0, NULL, &event);
        if (error == CL_SUCCESS) error = clWaitForEvents(1, &event);
        double after = ci_now();
        if (error != CL_SUCCESS) {
            status = ci_cl_fail(&device->caps, "comparing its clock with ours", error);
        } else if (!times_of(event, &start, &end)) {
            status = ci_fail(CLINFER_UNSUPPORTED, "\"%s\" (%s) does not tell when its commands ran", device->caps.name,
                             device->caps.platform);
        } else {
            least = fmax(least, before - start);
            most = fmin(most, after - end);
        }
        if (event) clReleaseEvent(event);
    }
    ci_buffer_destroy(buffer);
    device->clock_offset = 0.5 * (least + most);
    return status;
}

enum clinfer_status ci_device_record(struct ci_device *device, bool on) {
    if (device->recording == on) return CLINFER_OK;
    device->recording = false; /* what compare_clocks() does is not of interest */
    enum clinfer_status status = ci_device_clock(device, on);
    if (status == CLINFER_OK && on) status = compare_clocks(device);
    if (status != CLINFER_OK && on) ci_device_clock(device, false);
    device->recording = on && status == CLINFER_OK;
    ci_device_record_tag(device, CI_DEVICE_NO_TAG);
    return status;
}

void ci_device_record_tag(struct ci_device *device, uint64_t tag) {
    device->tag = tag;
    device->more_of_tag = false;
}

int ci_device_record_take(struct ci_device *device, struct ci_device_record *records, int most) {
    int count = 0;
    double now = ci_now();
    while (count < most && device->record_first < device->record_count) {
        const struct ci_recorded *next = &device->recorded[device->record_first];
        cl_int reached = CL_QUEUED;
        double start, end;
        clGetEventInfo(next->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof reached, &reached, NULL);
        if (reached > CL_COMPLETE) break;
        bool told = reached == CL_COMPLETE && times_of(next->event, &start, &end);
        if (told) {
            device->clock_offset = fmin(device->clock_offset, now - end);
            device->clock_offset = fmax(device->clock_offset, next->enqueued - start);
            records[count++] = (struct ci_device_record){next->tag, next->enqueued, start + device->clock_offset,
                                                         end + device->clock_offset, next->more};
        }
        clReleaseEvent(next->event);
        device->record_first++;
    }
    return count;
}
