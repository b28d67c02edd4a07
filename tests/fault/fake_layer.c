/* An OpenCL layer (OPENCL_LAYERS) that makes the n-th call fail, and counts the objects that are alive. It wraps what
 * runtime/device calls; releases never fail, since nothing could be done about it.
 *
 * FAKE_LAYER_EATS=<kernel> in the environment: who creates that kernel takes memory without end, as some compilers do
 * (it ends at 4 GB, where nobody watches). FAKE_LAYER_KILLS=<kernel>: is killed, as the system does then. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl_layer.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT int fake_layer_calls(void);
EXPORT int fake_layer_alive(void);
EXPORT const char *fake_layer_failed(void);
EXPORT void fake_layer_arm(int call, int error);

static const cl_icd_dispatch *below;
static atomic_int calls, alive;
static int fail_at, fail_with; /* 0: never */
static const char *failed;     /* the call that was made to fail */

int fake_layer_calls(void) { return calls; }
int fake_layer_alive(void) { return alive; }
const char *fake_layer_failed(void) { return failed; }

/* From now on the call number `call` (from 1) returns `error`, all of them if it is -1; starts the count anew. */
void fake_layer_arm(int call, int error) {
    calls = 0;
    failed = NULL;
    fail_at = call;
    fail_with = error;
}

static int fails(const char *name) {
    if (atomic_fetch_add(&calls, 1) + 1 != fail_at && fail_at != -1) return 0;
    failed = name;
    return 1;
}

#define UNWRAP(...) __VA_ARGS__

#define STATUS_CALL(name, parameters, arguments)                                                                       \
    static cl_int CL_API_CALL layer_##name(UNWRAP parameters) {                                                        \
        return fails(#name) ? fail_with : below->name(UNWRAP arguments);                                               \
    }

/* A command whose last parameter may ask for an event. */
#define COMMAND_CALL(name, parameters, arguments)                                                                      \
    static cl_int CL_API_CALL layer_##name(UNWRAP parameters, cl_uint waits, const cl_event *wait, cl_event *event) {  \
        if (fails(#name)) return fail_with;                                                                            \
        cl_int error = below->name(UNWRAP arguments, waits, wait, event);                                              \
        if (error == CL_SUCCESS && event) alive++;                                                                     \
        return error;                                                                                                  \
    }

#define CREATE_CALL(type, name, parameters, arguments)                                                                 \
    static type CL_API_CALL layer_##name(UNWRAP parameters, cl_int *error) {                                           \
        if (fails(#name)) {                                                                                            \
            if (error) *error = fail_with;                                                                             \
            return NULL;                                                                                               \
        }                                                                                                              \
        type object = below->name(UNWRAP arguments, error);                                                            \
        if (object) alive++;                                                                                           \
        return object;                                                                                                 \
    }

#define RELEASE_CALL(type, name)                                                                                       \
    static cl_int CL_API_CALL layer_##name(type object) {                                                              \
        alive--;                                                                                                       \
        return below->name(object);                                                                                    \
    }

typedef void(CL_CALLBACK *context_callback)(const char *, const void *, size_t, void *);
typedef void(CL_CALLBACK *program_callback)(cl_program, void *);

/* clang-format off */
STATUS_CALL(clGetPlatformIDs, (cl_uint room, cl_platform_id *ids, cl_uint *count), (room, ids, count))
STATUS_CALL(clGetPlatformInfo, (cl_platform_id p, cl_platform_info i, size_t s, void *v, size_t *n), (p, i, s, v, n))
STATUS_CALL(clGetDeviceIDs, (cl_platform_id p, cl_device_type t, cl_uint room, cl_device_id *ids, cl_uint *count),
            (p, t, room, ids, count))
STATUS_CALL(clGetDeviceInfo, (cl_device_id d, cl_device_info i, size_t s, void *v, size_t *n), (d, i, s, v, n))
STATUS_CALL(clBuildProgram, (cl_program p, cl_uint count, const cl_device_id *d, const char *options,
            program_callback f, void *u), (p, count, d, options, f, u))
STATUS_CALL(clGetProgramInfo, (cl_program p, cl_program_info i, size_t s, void *v, size_t *n), (p, i, s, v, n))
STATUS_CALL(clGetProgramBuildInfo, (cl_program p, cl_device_id d, cl_program_build_info i, size_t s, void *v,
            size_t *n), (p, d, i, s, v, n))
STATUS_CALL(clGetKernelInfo, (cl_kernel k, cl_kernel_info i, size_t s, void *v, size_t *n), (k, i, s, v, n))
STATUS_CALL(clGetKernelWorkGroupInfo, (cl_kernel k, cl_device_id d, cl_kernel_work_group_info i, size_t s, void *v,
            size_t *n), (k, d, i, s, v, n))
STATUS_CALL(clSetKernelArg, (cl_kernel k, cl_uint i, size_t s, const void *v), (k, i, s, v))
STATUS_CALL(clGetEventInfo, (cl_event e, cl_event_info i, size_t s, void *v, size_t *n), (e, i, s, v, n))
STATUS_CALL(clWaitForEvents, (cl_uint count, const cl_event *events), (count, events))
STATUS_CALL(clFlush, (cl_command_queue q), (q))
STATUS_CALL(clFinish, (cl_command_queue q), (q))

COMMAND_CALL(clEnqueueReadBuffer, (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t s, void *v),
             (q, m, b, o, s, v))
COMMAND_CALL(clEnqueueWriteBuffer, (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t s, const void *v),
             (q, m, b, o, s, v))
COMMAND_CALL(clEnqueueCopyBuffer, (cl_command_queue q, cl_mem a, cl_mem b, size_t o, size_t p, size_t s),
             (q, a, b, o, p, s))
COMMAND_CALL(clEnqueueFillBuffer, (cl_command_queue q, cl_mem m, const void *v, size_t n, size_t o, size_t s),
             (q, m, v, n, o, s))
COMMAND_CALL(clEnqueueNDRangeKernel, (cl_command_queue q, cl_kernel k, cl_uint n, const size_t *o, const size_t *g,
             const size_t *l), (q, k, n, o, g, l))

CREATE_CALL(cl_context, clCreateContext, (const cl_context_properties *p, cl_uint n, const cl_device_id *d,
            context_callback f, void *u), (p, n, d, f, u))
CREATE_CALL(cl_command_queue, clCreateCommandQueue, (cl_context c, cl_device_id d, cl_command_queue_properties p),
            (c, d, p))
CREATE_CALL(cl_mem, clCreateBuffer, (cl_context c, cl_mem_flags f, size_t s, void *v), (c, f, s, v))
CREATE_CALL(cl_program, clCreateProgramWithSource, (cl_context c, cl_uint n, const char **t, const size_t *s),
            (c, n, t, s))
CREATE_CALL(cl_program, clCreateProgramWithBinary, (cl_context c, cl_uint n, const cl_device_id *d, const size_t *s,
            const unsigned char **b, cl_int *e), (c, n, d, s, b, e))
/* clang-format on */

static int is_named(const char *variable, const char *kernel) {
    const char *named = getenv(variable);
    return named && strcmp(named, kernel) == 0;
}

static void eat_memory(void) {
    enum { PIECE = 16 << 20, PIECES = 256 };
    for (int i = 0; i < PIECES; i++) {
        char *piece = malloc(PIECE);
        if (piece) memset(piece, i, PIECE);
        usleep(5000);
    }
    for (;;) pause();
}

static cl_kernel CL_API_CALL layer_clCreateKernel(cl_program program, const char *name, cl_int *error) {
    if (is_named("FAKE_LAYER_EATS", name)) eat_memory();
    if (is_named("FAKE_LAYER_KILLS", name)) kill(getpid(), SIGKILL);
    if (fails("clCreateKernel")) {
        if (error) *error = fail_with;
        return NULL;
    }
    cl_kernel kernel = below->clCreateKernel(program, name, error);
    if (kernel) alive++;
    return kernel;
}

RELEASE_CALL(cl_context, clReleaseContext)
RELEASE_CALL(cl_command_queue, clReleaseCommandQueue)
RELEASE_CALL(cl_mem, clReleaseMemObject)
RELEASE_CALL(cl_program, clReleaseProgram)
RELEASE_CALL(cl_kernel, clReleaseKernel)
RELEASE_CALL(cl_event, clReleaseEvent)

/* Entries that are not set fall through to the driver. */
static const cl_icd_dispatch layer = {
#define ENTRY(name) .name = layer_##name
    ENTRY(clGetPlatformIDs),
    ENTRY(clGetPlatformInfo),
    ENTRY(clGetDeviceIDs),
    ENTRY(clGetDeviceInfo),
    ENTRY(clBuildProgram),
    ENTRY(clGetProgramInfo),
    ENTRY(clGetProgramBuildInfo),
    ENTRY(clGetKernelInfo),
    ENTRY(clGetKernelWorkGroupInfo),
    ENTRY(clSetKernelArg),
    ENTRY(clGetEventInfo),
    ENTRY(clWaitForEvents),
    ENTRY(clFlush),
    ENTRY(clFinish),
    ENTRY(clEnqueueReadBuffer),
    ENTRY(clEnqueueWriteBuffer),
    ENTRY(clEnqueueCopyBuffer),
    ENTRY(clEnqueueFillBuffer),
    ENTRY(clEnqueueNDRangeKernel),
    ENTRY(clCreateContext),
    ENTRY(clCreateCommandQueue),
    ENTRY(clCreateBuffer),
    ENTRY(clCreateProgramWithSource),
    ENTRY(clCreateProgramWithBinary),
    ENTRY(clCreateKernel),
    ENTRY(clReleaseContext),
    ENTRY(clReleaseCommandQueue),
    ENTRY(clReleaseMemObject),
    ENTRY(clReleaseProgram),
    ENTRY(clReleaseKernel),
    ENTRY(clReleaseEvent),
#undef ENTRY
};

EXPORT CL_API_ENTRY cl_int CL_API_CALL clGetLayerInfo(cl_layer_info name, size_t size, void *value, size_t *needed) {
    if (name != CL_LAYER_API_VERSION) return CL_INVALID_VALUE;
    if (value && size < sizeof(cl_layer_api_version)) return CL_INVALID_VALUE;
    if (value) *(cl_layer_api_version *)value = CL_LAYER_API_VERSION_100;
    if (needed) *needed = sizeof(cl_layer_api_version);
    return CL_SUCCESS;
}

EXPORT CL_API_ENTRY cl_int CL_API_CALL clInitLayer(cl_uint entries, const cl_icd_dispatch *target, cl_uint *count,
                                                   const cl_icd_dispatch **result) {
    (void)entries;
    below = target;
    *result = &layer;
    *count = sizeof layer / sizeof(void *);
    return CL_SUCCESS;
}
