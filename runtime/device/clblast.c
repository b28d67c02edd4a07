/* clblast.c: matrix products by CLBlast (Nugteren 2018, arXiv 1705.05249), the portable baseline for many rows.
 *
 * Seen from CLBlast all is column by column: c^T [n, m] = b^T a^T. Its fast kernel wants tiles of whole numbers of rows
 * and columns and one of the factors transposed, so it copies the operands to a temporary buffer first; ours is made
 * once and handed to every call. Asking for c^T rather than c (its row-major mode) spares it the transposition of the
 * result.
 *
 * CLBlast keeps the programs it builds, per context, for the life of the process, and nowhere else: what the first call
 * costs is measured, since every process pays it again. Parameters it keeps per device, for the whole process too. So
 * they are handed over when programs are built, and only by the first who builds any on a device: products that were
 * prepared with others would find their temporary buffer too small. */
#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "device/internal.h"

#include <clblast_c.h>

/* Devices that use it, by clblast_next: the last one clears the cache, whose programs would otherwise be released after
 * their driver. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ci_device *users;

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

static enum clinfer_status override(const struct ci_device *device) {
    for (int i = 0; i < device->clblast_override_count; i++) {
        const struct ci_clblast_override *wanted = &device->clblast_overrides[i];
        /* The names are not changed; its signature has lost a const. */
        CLBlastStatusCode code =
            CLBlastOverrideParameters(device->id, wanted->kernel, CLBlastPrecisionSingle, (size_t)wanted->count,
                                      (const char **)(uintptr_t)wanted->names, wanted->values);
        if (code != CLBlastSuccess)
            return ci_fail_prefix(fail(device, "CLBlastOverrideParameters", code), "CLBlast's kernel %s",
                                  wanted->kernel);
    }
    if (device->clblast_override_count)
        ci_log(CLINFER_LOG_DEBUG, "CLBlast has other parameters for %d of its kernels on \"%s\"",
               device->clblast_override_count, device->caps.name);
    return CLINFER_OK;
}

/* Among the users, with the parameters that are wanted or those that others have. */
static enum clinfer_status join(struct ci_device *device) {
    bool alone = true, joined = false;
    pthread_mutex_lock(&lock);
    for (const struct ci_device *user = users; user; user = user->clblast_next) {
        joined = joined || user == device;
        alone = alone && (user == device || user->id != device->id);
    }
    if (!joined) {
        device->clblast_next = users;
        users = device;
    }
    enum clinfer_status status = alone ? override(device) : CLINFER_OK;
    pthread_mutex_unlock(&lock);
    return status;
}

/* The smallest product has CLBlast build all programs of its SGEMM. */
static enum clinfer_status build(struct ci_device *device) {
    enum { BYTES = 256, PART = 64 };
    const struct ci_gemm smallest = {.b_offset = PART, .c_offset = 2 * PART, .m = 1, .n = 1, .k = 1, .c_stride = 1};
    enum clinfer_status status = join(device);
    if (status == CLINFER_OK) status = make_temporary(device, &smallest);
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
    device->clblast_built = true;
    ci_log(CLINFER_LOG_DEBUG, "CLBlast took %.2f s for its programs on \"%s\"", device->counts.clblast_seconds,
           device->caps.name);
    return CLINFER_OK;
}

enum clinfer_status ci_gemm_prepare(struct ci_device *device, const struct ci_gemm *gemm) {
    assert(gemm->m > 0 && gemm->n > 0 && gemm->k > 0 && gemm->c_stride >= gemm->n);
    enum clinfer_status status = device->clblast_built ? CLINFER_OK : ci_device_compiler_works(device);
    if (status == CLINFER_OK && !device->clblast_built) status = build(device);
    return status == CLINFER_OK ? make_temporary(device, gemm) : status;
}

enum clinfer_status ci_gemm_enqueue(struct ci_device *device, const struct ci_gemm *gemm) {
    assert(device->clblast_built);
    assert((gemm->a_offset | gemm->b_offset | gemm->c_offset) % sizeof(float) == 0);
    CLBlastStatusCode code = multiply(device, gemm, gemm->a->handle, gemm->b->handle, gemm->c->handle);
    return code == CLBlastSuccess ? CLINFER_OK : fail(device, "CLBlastSgemm", code);
}

void ci_device_clblast_parameters(struct ci_device *device, const char *kernel, int count, const char *const *names,
                                  const size_t *values) {
    int at = 0;
    while (at < device->clblast_override_count && strcmp(device->clblast_overrides[at].kernel, kernel) != 0) at++;
    assert(count <= CI_CLBLAST_VALUES && at < CI_CLBLAST_OVERRIDES);
    struct ci_clblast_override *wanted = &device->clblast_overrides[at];
    *wanted = (struct ci_clblast_override){.kernel = kernel, .count = count};
    memcpy(wanted->names, names, (size_t)count * sizeof *names);
    memcpy(wanted->values, values, (size_t)count * sizeof *values);
    if (at == device->clblast_override_count) device->clblast_override_count++;
    device->clblast_built = false;
}

void ci_clblast_close(struct ci_device *device) {
    if (device->clblast_temporary) clReleaseMemObject(device->clblast_temporary);
    pthread_mutex_lock(&lock);
    struct ci_device **at = &users;
    while (*at && *at != device) at = &(*at)->clblast_next;
    bool joined = *at != NULL;
    if (joined) *at = device->clblast_next;
    if (joined && !users) CLBlastClearCache();
    pthread_mutex_unlock(&lock);
}
