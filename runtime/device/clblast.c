/* clblast.c: matrix products by CLBlast (Nugteren 2018, arXiv 1705.05249), the portable baseline for many rows.
 *
 * Seen from CLBlast all is column by column: c^T [n, m] = b^T a^T. Its fast kernel wants tiles of whole numbers of rows
 * and columns and one of the factors transposed, so it copies the operands to a temporary buffer first; ours is made
 * once and handed to every call. Asking for c^T rather than c (its row-major mode) spares it the transposition of the
 * result.
 *
 * CLBlast keeps the programs it builds, per context, for the life of the process, and nowhere else: what the first call
 * costs is measured, since every process pays it again. */
#include <assert.h>
#include <stdatomic.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

#include <clblast_c.h>

/* Devices that used it: the last one clears the cache, whose programs would otherwise be released after their driver.
 */
static atomic_int users;

/* Codes above -1000 are OpenCL's. */
static enum clinfer_status fail(const struct ci_device *device, const char *call, CLBlastStatusCode code) {
    return ci_cl_fail(&device->caps, call, (cl_int)code);
}

static CLBlastStatusCode multiply(struct ci_device *device, const struct ci_gemm *gemm, cl_mem a, cl_mem b, cl_mem c) {
    /* Small products need no temporary buffer; it wants some buffer all the same. */
    cl_mem temporary = device->clblast_temporary ? device->clblast_temporary : c;
    cl_event event = NULL; /* of its last kernel */
    device->counts.enqueues++;
    CLBlastStatusCode code = CLBlastSgemmWithTempBuffer(
        CLBlastLayoutColMajor, CLBlastTransposeYes, CLBlastTransposeNo, (size_t)gemm->n, (size_t)gemm->m,
        (size_t)gemm->k, 1.0f, b, gemm->b_offset / sizeof(float), (size_t)gemm->k, a, gemm->a_offset / sizeof(float),
        (size_t)gemm->k, gemm->beta, c, gemm->c_offset / sizeof(float), (size_t)gemm->c_stride, &device->queue,
        device->clock ? &event : NULL, temporary);
    if (event) ci_device_clock_note(device, event);
    return code;
}

/* Enlarges the temporary buffer to what a product of this n, k and up to m rows needs. */
static enum clinfer_status make_temporary(struct ci_device *device, const struct ci_gemm *gemm) {
    size_t bytes = 0;
    /* Offsets other than 0 make it copy what it might otherwise use in place: the most that it can need. */
    CLBlastStatusCode code = CLBlastSGemmTempBufferSize(
        CLBlastLayoutColMajor, CLBlastTransposeYes, CLBlastTransposeNo, (size_t)gemm->n, (size_t)gemm->m,
        (size_t)gemm->k, 1, (size_t)gemm->k, 1, (size_t)gemm->k, 1, (size_t)gemm->c_stride, &device->queue, &bytes);
    if (code != CLBlastSuccess) return fail(device, "CLBlastSGemmTempBufferSize", code);
    if (bytes <= device->clblast_bytes) return CLINFER_OK;
    if (bytes > device->caps.max_alloc_bytes)
        return ci_fail(CLINFER_UNSUPPORTED,
                       "CLBlast wants a temporary buffer of %zu bytes on \"%s\", which allows %llu", bytes,
                       device->caps.name, (unsigned long long)device->caps.max_alloc_bytes);
    cl_int error = CL_SUCCESS;
    cl_mem larger = clCreateBuffer(device->context, CL_MEM_READ_WRITE, bytes, NULL, &error);
    if (!larger) return ci_cl_fail(&device->caps, "clCreateBuffer for CLBlast", error);
    device->counts.objects++;
    /* What is enqueued with the old one holds on to it. */
    if (device->clblast_temporary) clReleaseMemObject(device->clblast_temporary);
    device->clblast_temporary = larger;
    device->clblast_bytes = bytes;
    return CLINFER_OK;
}

/* The smallest product has CLBlast build all programs of its SGEMM. */
static enum clinfer_status build(struct ci_device *device) {
    enum { BYTES = 256, PART = 64 };
    const struct ci_gemm smallest = {.b_offset = PART, .c_offset = 2 * PART, .m = 1, .n = 1, .k = 1, .c_stride = 1};
    enum clinfer_status status = make_temporary(device, &smallest);
    if (status != CLINFER_OK) return status;
    cl_int error = CL_SUCCESS;
    cl_mem memory = clCreateBuffer(device->context, CL_MEM_READ_WRITE, BYTES, NULL, &error);
    if (!memory) return ci_cl_fail(&device->caps, "clCreateBuffer", error);
    double start = ci_now();
    CLBlastStatusCode code = multiply(device, &smallest, memory, memory, memory);
    status = code == CLBlastSuccess ? ci_device_finish(device) : fail(device, "CLBlastSgemm, first use", code);
    device->counts.clblast_seconds += ci_now() - start;
    clReleaseMemObject(memory);
    if (status != CLINFER_OK) return status;
    if (!device->clblast_built) atomic_fetch_add(&users, 1);
    device->clblast_built = true;
    ci_log(CLINFER_LOG_DEBUG, "CLBlast took %.2f s for its programs on \"%s\"", device->counts.clblast_seconds,
           device->caps.name);
    return CLINFER_OK;
}

enum clinfer_status ci_gemm_prepare(struct ci_device *device, const struct ci_gemm *gemm) {
    assert(gemm->m > 0 && gemm->n > 0 && gemm->k > 0 && gemm->c_stride >= gemm->n);
    enum clinfer_status status = device->clblast_built ? CLINFER_OK : build(device);
    return status == CLINFER_OK ? make_temporary(device, gemm) : status;
}

enum clinfer_status ci_gemm_enqueue(struct ci_device *device, const struct ci_gemm *gemm) {
    assert(device->clblast_built);
    assert((gemm->a_offset | gemm->b_offset | gemm->c_offset) % sizeof(float) == 0);
    CLBlastStatusCode code = multiply(device, gemm, gemm->a->handle, gemm->b->handle, gemm->c->handle);
    return code == CLBlastSuccess ? CLINFER_OK : fail(device, "CLBlastSgemm", code);
}

enum clinfer_status ci_device_clblast_parameters(struct ci_device *device, const char *kernel, int count,
                                                 const char *const *names, const size_t *values) {
    /* The names are not changed; its signature has lost a const. */
    CLBlastStatusCode code = CLBlastOverrideParameters(device->id, kernel, CLBlastPrecisionSingle, (size_t)count,
                                                       (const char **)(uintptr_t)names, values);
    if (code != CLBlastSuccess)
        return ci_fail_prefix(fail(device, "CLBlastOverrideParameters", code), "CLBlast's kernel %s", kernel);
    return device->clblast_built ? build(device) : CLINFER_OK;
}

void ci_clblast_close(struct ci_device *device) {
    if (device->clblast_temporary) clReleaseMemObject(device->clblast_temporary);
    if (device->clblast_built && atomic_fetch_sub(&users, 1) == 1) CLBlastClearCache();
}
