/* Memory on the device, and the ways in and out of it.
 *
 * Nearly every driver allocates at first use only and fails there, in the middle of a token. So a new buffer on a
 * device with memory of its own is touched at once (one byte is filled; the driver must place the whole buffer for
 * it). On a CPU device this would prove nothing, since the system overcommits, and the pages of a KV cache that is
 * never filled would cost memory: there it is left alone.
 *
 * Small writes never wait: a blocking write on an in-order queue would wait for every kernel before it. Their bytes
 * are copied into a ring of pieces that are used again when their write is complete. Rejected: clEnqueueFillBuffer
 * (copies its pattern at once, but only up to 128 bytes), mapping (waits as well). */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "device/internal.h"

/* Copies to the device go in pieces: some drivers stage a whole write in one allocation. */
enum { WRITE_PIECE = 32 * 1024 * 1024, CACHE_LINE = 64 };

static enum clinfer_status fail(struct ci_device *device, const char *call, cl_int error) {
    return ci_cl_fail(&device->caps, call, error);
}

static bool inside(const struct ci_buffer *buffer, uint64_t offset, size_t bytes) {
    return offset <= buffer->bytes && bytes <= buffer->bytes - offset;
}

/* Drivers share memory in place only in whole cache lines; the buffer starts on a page, so the rest of its last line
 * is mapped too. */
static cl_mem wrap_host(struct ci_device *device, size_t bytes, const void *host) {
    cl_int error = CL_SUCCESS;
    size_t lines = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    if (lines > device->caps.max_alloc_bytes) lines = bytes;
    return clCreateBuffer(device->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR, lines, (void *)(uintptr_t)host,
                          &error);
}

static enum clinfer_status touch(struct ci_buffer *buffer) {
    static const uint8_t zero = 0;
    if (buffer->device->caps.kind == CI_DEVICE_CPU) return CLINFER_OK;
    cl_int error = clEnqueueFillBuffer(buffer->device->queue, buffer->handle, &zero, 1, 0, 1, 0, NULL, NULL);
    buffer->device->counts.enqueues++;
    return error == CL_SUCCESS ? CLINFER_OK : fail(buffer->device, "clEnqueueFillBuffer", error);
}

enum clinfer_status ci_buffer_create(struct ci_device *device, size_t bytes, const void *host, struct ci_buffer **out) {
    *out = NULL;
    if (bytes == 0) return ci_fail(CLINFER_INVALID_ARGUMENT, "a buffer of 0 bytes was asked for");
    if (bytes > device->caps.max_alloc_bytes)
        return ci_fail(CLINFER_OUT_OF_MEMORY,
                       "a buffer of %zu bytes on \"%s\" (%s), which allows %" PRIu64 " bytes in one piece", bytes,
                       device->caps.name, device->caps.platform, device->caps.max_alloc_bytes);
    struct ci_buffer *buffer = calloc(1, sizeof *buffer);
    if (!buffer) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a buffer");
    enum clinfer_status status = CLINFER_OK;
    *buffer = (struct ci_buffer){.device = device, .bytes = bytes};
    device->counts.objects++;
    /* A driver that shares memory may still refuse this piece, say a read-only mapping: then it is copied. */
    if (host && device->caps.shares_host_memory) buffer->handle = wrap_host(device, bytes, host);
    buffer->shared = buffer->handle != NULL;
    if (!buffer->handle) {
        cl_int error = CL_SUCCESS;
        buffer->handle = clCreateBuffer(device->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
        if (!buffer->handle) {
            status = fail(device, "clCreateBuffer", error);
            ci_fail_prefix(status, "a buffer of %zu bytes", bytes);
            goto done;
        }
        status = host ? ci_buffer_write(buffer, 0, host, bytes) : touch(buffer);
    }
done:
    if (status == CLINFER_OK)
        *out = buffer;
    else
        ci_buffer_destroy(buffer);
    return status;
}

void ci_buffer_destroy(struct ci_buffer *buffer) {
    if (!buffer) return;
    if (buffer->handle) clReleaseMemObject(buffer->handle);
    free(buffer);
}

size_t ci_buffer_bytes(const struct ci_buffer *buffer) { return buffer->bytes; }

bool ci_buffer_is_shared(const struct ci_buffer *buffer) { return buffer->shared; }

enum clinfer_status ci_buffer_write(struct ci_buffer *buffer, uint64_t offset, const void *source, size_t bytes) {
    struct ci_device *device = buffer->device;
    assert(inside(buffer, offset, bytes) && !buffer->shared);
    for (size_t done = 0; done < bytes;) {
        size_t piece = bytes - done < WRITE_PIECE ? bytes - done : WRITE_PIECE;
        device->counts.enqueues++;
        device->counts.waits++;
        cl_int error = clEnqueueWriteBuffer(device->queue, buffer->handle, CL_TRUE, (size_t)offset + done, piece,
                                            (const char *)source + done, 0, NULL, NULL);
        if (error != CL_SUCCESS) return fail(device, "clEnqueueWriteBuffer", error);
        done += piece;
    }
    return CLINFER_OK;
}

enum clinfer_status ci_buffer_read(struct ci_buffer *buffer, uint64_t offset, void *target, size_t bytes) {
    struct ci_device *device = buffer->device;
    assert(inside(buffer, offset, bytes));
    if (bytes == 0) return CLINFER_OK;
    device->counts.enqueues++;
    device->counts.waits++;
    cl_int error =
        clEnqueueReadBuffer(device->queue, buffer->handle, CL_TRUE, (size_t)offset, bytes, target, 0, NULL, NULL);
    return error == CL_SUCCESS ? CLINFER_OK : fail(device, "clEnqueueReadBuffer", error);
}

enum clinfer_status ci_buffer_copy(struct ci_buffer *source, uint64_t source_offset, struct ci_buffer *target,
                                   uint64_t target_offset, size_t bytes) {
    struct ci_device *device = target->device;
    assert(source->device == device && !target->shared);
    assert(inside(source, source_offset, bytes) && inside(target, target_offset, bytes));
    if (bytes == 0) return CLINFER_OK;
    device->counts.enqueues++;
    cl_int error = clEnqueueCopyBuffer(device->queue, source->handle, target->handle, (size_t)source_offset,
                                       (size_t)target_offset, bytes, 0, NULL, NULL);
    return error == CL_SUCCESS ? CLINFER_OK : fail(device, "clEnqueueCopyBuffer", error);
}

/* Waits for *event and gives it back. A command that failed leaves a negative status, which the wait only sums up. */
static enum clinfer_status wait_for(struct ci_device *device, cl_event *event, const char *what) {
    cl_int error = clWaitForEvents(1, event), reached = CL_COMPLETE;
    if (error != CL_SUCCESS &&
        clGetEventInfo(*event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof reached, &reached, NULL) == CL_SUCCESS &&
        reached < 0)
        error = reached;
    clReleaseEvent(*event);
    *event = NULL;
    return error == CL_SUCCESS ? CLINFER_OK : fail(device, what, error);
}

enum clinfer_status ci_buffer_read_start(struct ci_buffer *buffer, uint64_t offset, void *target, size_t bytes,
                                         int slot) {
    struct ci_device *device = buffer->device;
    assert(slot >= 0 && slot < CI_READ_SLOTS && !device->reads[slot]);
    assert(bytes > 0 && inside(buffer, offset, bytes));
    device->counts.enqueues++;
    cl_int error = clEnqueueReadBuffer(device->queue, buffer->handle, CL_FALSE, (size_t)offset, bytes, target, 0, NULL,
                                       &device->reads[slot]);
    if (error == CL_SUCCESS) return CLINFER_OK;
    device->reads[slot] = NULL;
    return fail(device, "clEnqueueReadBuffer", error);
}

bool ci_buffer_read_is_done(const struct ci_device *device, int slot) {
    cl_int reached = CL_QUEUED;
    clGetEventInfo(device->reads[slot], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof reached, &reached, NULL);
    return reached == CL_COMPLETE;
}

enum clinfer_status ci_buffer_read_wait(struct ci_device *device, int slot) {
    assert(slot >= 0 && slot < CI_READ_SLOTS);
    if (!device->reads[slot]) return CLINFER_OK;
    if (!ci_buffer_read_is_done(device, slot)) device->counts.waits++;
    return wait_for(device, &device->reads[slot], "clWaitForEvents on a read");
}

enum clinfer_status ci_buffer_write_small(struct ci_buffer *buffer, uint64_t offset, const void *source, size_t bytes) {
    struct ci_device *device = buffer->device;
    assert(inside(buffer, offset, bytes) && !buffer->shared);
    if (bytes == 0) return CLINFER_OK;
    if (bytes > CI_STAGING_BYTES) return ci_buffer_write(buffer, offset, source, bytes);
    /* With a token or two under way the oldest write is long complete: this waits only when the host runs far ahead. */
    unsigned piece = device->next_staging;
    if (device->staged[piece]) {
        cl_int reached = CL_QUEUED;
        clGetEventInfo(device->staged[piece], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof reached, &reached, NULL);
        if (reached != CL_COMPLETE) device->counts.waits++;
        enum clinfer_status status = wait_for(device, &device->staged[piece], "clWaitForEvents on a write");
        if (status != CLINFER_OK) return status;
    }
    uint8_t *bytes_of_piece = device->staging + (size_t)piece * CI_STAGING_BYTES;
    memcpy(bytes_of_piece, source, bytes);
    device->next_staging = (piece + 1) % CI_STAGING_PIECES;
    device->counts.enqueues++;
    cl_int error = clEnqueueWriteBuffer(device->queue, buffer->handle, CL_FALSE, (size_t)offset, bytes, bytes_of_piece,
                                        0, NULL, &device->staged[piece]);
    if (error == CL_SUCCESS) return CLINFER_OK;
    device->staged[piece] = NULL;
    return fail(device, "clEnqueueWriteBuffer", error);
}
