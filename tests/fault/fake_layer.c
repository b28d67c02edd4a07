/* fake_layer.c: an OpenCL layer (OPENCL_LAYERS=.../fake_layer.so) that breaks chosen calls, and counts calls and the
 * objects that are alive. It wraps every entry point that runtime/device and CLBlast call: test_layer.c sees to that.
 *
 * What breaks is said by a list of faults (layer_faults.h), in the environment variable FAKE_LAYER when the layer is
 * loaded, and later by fake_layer_arm(), which replaces it and starts all counts anew.
 *
 * `clEnqueueNDRangeKernel/sample_merge@8+:lost` loses the device with the eighth step that samples: that kernel runs
 * once a step. A process that tries drivers aside (clinfer-probe) loads the layer too and counts for itself. */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl_layer.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "layer_faults.h"

#define EXPORT __attribute__((visibility("default")))

enum { SKIPPED = 1 }; /* OpenCL's errors are negative */
enum { MOST_ARGUMENTS = 48, MOST_LAUNCHED = 256 };

/* What a kernel's arguments are, to see afterwards which of its buffers it changed. */
struct kernel {
    struct kernel *next;
    cl_kernel handle;
    cl_mem buffers[MOST_ARGUMENTS]; /* or NULL */
};

struct buffer {
    struct buffer *next;
    cl_mem handle;
};

static const cl_icd_dispatch *below;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* under lock */
static struct fault faults[MOST_FAULTS];
static int fault_count;
static long calls, counts[CALL_COUNT], strikes;
static int alive, lost_with;             /* lost_with: 0 unless lost */
static unsigned armed;                   /* how often */
static char launched[MOST_LAUNCHED][64]; /* kernels by name since it was armed */
static int launched_count;
static const char *struck; /* the last call that broke */
static double struck_at;   /* when the first one did */
static struct kernel *kernels;
static struct buffer *buffers;

EXPORT bool fake_layer_arm(const char *text);
EXPORT const char *fake_layer_name(int call);
EXPORT long fake_layer_calls(const char *name);
EXPORT const char *fake_layer_kernel(int kernel);
EXPORT int fake_layer_alive(void);
EXPORT long fake_layer_strikes(void);
EXPORT const char *fake_layer_struck(void);
EXPORT double fake_layer_struck_at(void);

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* From now on these faults and no others ("": none); counts start anew. false: said on standard error, and none. */
bool fake_layer_arm(const char *text) {
    struct fault parsed[MOST_FAULTS];
    int count = fault_parse_list(text, parsed);
    if (count < 0) fprintf(stderr, "fake_layer: \"%s\" is no list of faults, CALL@WHEN:WHAT;...\n", text);
    pthread_mutex_lock(&lock);
    fault_count = count < 0 ? 0 : count;
    memcpy(faults, parsed, sizeof *faults * (size_t)fault_count);
    memset(counts, 0, sizeof counts);
    calls = strikes = 0;
    launched_count = 0;
    lost_with = 0;
    struck = NULL;
    armed++;
    pthread_mutex_unlock(&lock);
    return count >= 0;
}

/* The entry points that are wrapped; NULL behind the last. */
const char *fake_layer_name(int call) { return call >= 0 && call < CALL_COUNT ? fault_call_names[call] : NULL; }

/* Calls since it was armed, by name; "*": all but releases. */
long fake_layer_calls(const char *name) {
    int call = fault_call_of(name);
    pthread_mutex_lock(&lock);
    long result = call == CALL_ANY ? calls : call >= 0 ? counts[call] : -1;
    pthread_mutex_unlock(&lock);
    return result;
}

/* The kernels that were launched since it was armed, each once; NULL behind the last. */
const char *fake_layer_kernel(int kernel) {
    pthread_mutex_lock(&lock);
    const char *result = kernel >= 0 && kernel < launched_count ? launched[kernel] : NULL;
    pthread_mutex_unlock(&lock);
    return result;
}

int fake_layer_alive(void) {
    pthread_mutex_lock(&lock);
    int result = alive;
    pthread_mutex_unlock(&lock);
    return result;
}

/* How many calls broke since it was armed, the last of them (or NULL), and when the first did (CLOCK_MONOTONIC). */
long fake_layer_strikes(void) {
    pthread_mutex_lock(&lock);
    long result = strikes;
    pthread_mutex_unlock(&lock);
    return result;
}

const char *fake_layer_struck(void) {
    pthread_mutex_lock(&lock);
    const char *result = struck;
    pthread_mutex_unlock(&lock);
    return result;
}

double fake_layer_struck_at(void) {
    pthread_mutex_lock(&lock);
    double result = struck_at;
    pthread_mutex_unlock(&lock);
    return result;
}

/* ---- breaking ---- */

static void note_launched(const char *kernel) {
    for (int i = 0; i < launched_count; i++)
        if (strcmp(launched[i], kernel) == 0) return;
    if (launched_count < MOST_LAUNCHED) snprintf(launched[launched_count++], sizeof *launched, "%s", kernel);
}

/* Counts the call; which fault it is to suffer, if any. */
static bool choose(enum call call, const char *kernel, struct fault *chosen) {
    bool found = false;
    pthread_mutex_lock(&lock);
    counts[call]++;
    calls += call < FIRST_RELEASE;
    if (call == CALL_clEnqueueNDRangeKernel) note_launched(kernel);
    if (lost_with && call < FIRST_RELEASE) {
        *chosen = (struct fault){.action = FAIL, .value = lost_with};
        found = true;
    }
    for (int i = 0; i < fault_count && !found; i++) {
        struct fault *fault = &faults[i];
        if (fault->call != (int)call && (fault->call != CALL_ANY || call >= FIRST_RELEASE)) continue;
        if (*fault->kernel && strcmp(fault->kernel, kernel) != 0) continue;
        if (!fault_strikes(fault)) continue;
        *chosen = *fault;
        found = true;
    }
    if (found && chosen->action == LOSE) lost_with = chosen->value;
    if (found) {
        if (strikes++ == 0) struck_at = now();
        struck = fault_call_names[call];
    }
    pthread_mutex_unlock(&lock);
    return found;
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

static void hang(void) {
    unsigned then;
    pthread_mutex_lock(&lock);
    for (then = armed; then == armed;) {
        pthread_mutex_unlock(&lock);
        usleep(1000);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
}

/* The error to return instead of doing it, or CL_SUCCESS; *corrupt: spoil what comes out. */
static cl_int suffer(enum call call, const char *kernel, bool *corrupt) {
    struct fault fault;
    *corrupt = false;
    if (!choose(call, kernel, &fault)) return CL_SUCCESS;
    switch (fault.action) {
    case FAIL:
    case LOSE: return fault.value;
    case DELAY: usleep((useconds_t)fault.value * 1000); return CL_SUCCESS;
    case HANG: hang(); return CL_OUT_OF_RESOURCES;
    case CORRUPT: *corrupt = true; return CL_SUCCESS;
    case SKIP: return SKIPPED;
    case EAT: eat_memory(); return CL_SUCCESS;
    case KILL: kill(getpid(), SIGKILL); return CL_SUCCESS;
    }
    return CL_SUCCESS;
}

static cl_int breaks(enum call call) {
    bool ignored;
    return suffer(call, "", &ignored);
}

static const char *name_of(cl_kernel kernel, char name[64]) {
    if (below->clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, 64, name, NULL) != CL_SUCCESS) *name = '\0';
    return name;
}

static cl_int breaks_kernel(enum call call, cl_kernel kernel) {
    char name[64];
    bool ignored;
    return suffer(call, name_of(kernel, name), &ignored);
}

static void count_alive(int change) {
    pthread_mutex_lock(&lock);
    alive += change;
    pthread_mutex_unlock(&lock);
}

/* ---- calls ---- */

#define UNWRAP(...) __VA_ARGS__

#define STATUS_CALL(name, parameters, arguments)                                                                       \
    static cl_int CL_API_CALL layer_##name(UNWRAP parameters) {                                                        \
        cl_int error = breaks(CALL_##name);                                                                            \
        return error != CL_SUCCESS ? error : below->name(UNWRAP arguments);                                            \
    }

/* Whose first parameter is a kernel. */
#define KERNEL_CALL(name, parameters, arguments)                                                                       \
    static cl_int CL_API_CALL layer_##name(cl_kernel kernel, UNWRAP parameters) {                                      \
        cl_int error = breaks_kernel(CALL_##name, kernel);                                                             \
        return error != CL_SUCCESS ? error : below->name(kernel, UNWRAP arguments);                                    \
    }

/* A command whose last parameter may ask for an event. */
#define COMMAND_CALL(name, parameters, arguments)                                                                      \
    static cl_int CL_API_CALL layer_##name(UNWRAP parameters, cl_uint waits, const cl_event *wait, cl_event *event) {  \
        cl_int error = breaks(CALL_##name);                                                                            \
        if (error == CL_SUCCESS) error = below->name(UNWRAP arguments, waits, wait, event);                            \
        if (error == CL_SUCCESS && event) count_alive(1);                                                              \
        return error;                                                                                                  \
    }

#define CREATE_CALL(type, name, parameters, arguments)                                                                 \
    static type CL_API_CALL layer_##name(UNWRAP parameters, cl_int *error) {                                           \
        cl_int broken = breaks(CALL_##name);                                                                           \
        if (broken != CL_SUCCESS) {                                                                                    \
            if (error) *error = broken;                                                                                \
            return NULL;                                                                                               \
        }                                                                                                              \
        type object = below->name(UNWRAP arguments, error);                                                            \
        if (object) count_alive(1);                                                                                    \
        return object;                                                                                                 \
    }

/* Done whatever it returns: nobody can do anything about it. */
#define RELEASE_CALL(type, name)                                                                                       \
    static cl_int CL_API_CALL layer_##name(type object) {                                                              \
        cl_int broken = breaks(CALL_##name);                                                                           \
        count_alive(-1);                                                                                               \
        cl_int error = below->name(object);                                                                            \
        return broken != CL_SUCCESS ? broken : error;                                                                  \
    }

typedef void(CL_CALLBACK *context_callback)(const char *, const void *, size_t, void *);
typedef void(CL_CALLBACK *program_callback)(cl_program, void *);

/* clang-format off */
STATUS_CALL(clGetPlatformIDs, (cl_uint room, cl_platform_id *ids, cl_uint *count), (room, ids, count))
STATUS_CALL(clGetPlatformInfo, (cl_platform_id p, cl_platform_info i, size_t s, void *v, size_t *n), (p, i, s, v, n))
STATUS_CALL(clGetDeviceIDs, (cl_platform_id p, cl_device_type t, cl_uint room, cl_device_id *ids, cl_uint *count),
            (p, t, room, ids, count))
STATUS_CALL(clGetDeviceInfo, (cl_device_id d, cl_device_info i, size_t s, void *v, size_t *n), (d, i, s, v, n))
STATUS_CALL(clGetCommandQueueInfo, (cl_command_queue q, cl_command_queue_info i, size_t s, void *v, size_t *n),
            (q, i, s, v, n))
STATUS_CALL(clGetMemObjectInfo, (cl_mem m, cl_mem_info i, size_t s, void *v, size_t *n), (m, i, s, v, n))
STATUS_CALL(clBuildProgram, (cl_program p, cl_uint count, const cl_device_id *d, const char *options,
            program_callback f, void *u), (p, count, d, options, f, u))
STATUS_CALL(clCompileProgram, (cl_program p, cl_uint count, const cl_device_id *d, const char *options, cl_uint n,
            const cl_program *headers, const char **names, program_callback f, void *u),
            (p, count, d, options, n, headers, names, f, u))
STATUS_CALL(clGetProgramInfo, (cl_program p, cl_program_info i, size_t s, void *v, size_t *n), (p, i, s, v, n))
STATUS_CALL(clGetProgramBuildInfo, (cl_program p, cl_device_id d, cl_program_build_info i, size_t s, void *v,
            size_t *n), (p, d, i, s, v, n))
KERNEL_CALL(clGetKernelInfo, (cl_kernel_info i, size_t s, void *v, size_t *n), (i, s, v, n))
KERNEL_CALL(clGetKernelWorkGroupInfo, (cl_device_id d, cl_kernel_work_group_info i, size_t s, void *v, size_t *n),
            (d, i, s, v, n))
STATUS_CALL(clGetEventInfo, (cl_event e, cl_event_info i, size_t s, void *v, size_t *n), (e, i, s, v, n))
STATUS_CALL(clGetEventProfilingInfo, (cl_event e, cl_profiling_info i, size_t s, void *v, size_t *n), (e, i, s, v, n))
STATUS_CALL(clWaitForEvents, (cl_uint count, const cl_event *events), (count, events))
STATUS_CALL(clFlush, (cl_command_queue q), (q))
STATUS_CALL(clFinish, (cl_command_queue q), (q))

COMMAND_CALL(clEnqueueWriteBuffer, (cl_command_queue q, cl_mem m, cl_bool b, size_t o, size_t s, const void *v),
             (q, m, b, o, s, v))
COMMAND_CALL(clEnqueueCopyBuffer, (cl_command_queue q, cl_mem a, cl_mem b, size_t o, size_t p, size_t s),
             (q, a, b, o, p, s))
COMMAND_CALL(clEnqueueFillBuffer, (cl_command_queue q, cl_mem m, const void *v, size_t n, size_t o, size_t s),
             (q, m, v, n, o, s))

CREATE_CALL(cl_context, clCreateContext, (const cl_context_properties *p, cl_uint n, const cl_device_id *d,
            context_callback f, void *u), (p, n, d, f, u))
CREATE_CALL(cl_command_queue, clCreateCommandQueue, (cl_context c, cl_device_id d, cl_command_queue_properties p),
            (c, d, p))
CREATE_CALL(cl_program, clCreateProgramWithSource, (cl_context c, cl_uint n, const char **t, const size_t *s),
            (c, n, t, s))
CREATE_CALL(cl_program, clCreateProgramWithBinary, (cl_context c, cl_uint n, const cl_device_id *d, const size_t *s,
            const unsigned char **b, cl_int *e), (c, n, d, s, b, e))
CREATE_CALL(cl_program, clLinkProgram, (cl_context c, cl_uint n, const cl_device_id *d, const char *options,
            cl_uint count, const cl_program *inputs, program_callback f, void *u),
            (c, n, d, options, count, inputs, f, u))
/* clang-format on */

RELEASE_CALL(cl_context, clReleaseContext)
RELEASE_CALL(cl_command_queue, clReleaseCommandQueue)
RELEASE_CALL(cl_program, clReleaseProgram)
RELEASE_CALL(cl_event, clReleaseEvent)

/* ---- buffers, kernels and what they change ---- */

static void fill_with_nan(uint32_t *words, size_t count, const uint32_t *before) {
    /* No number as a float, as two halves, and as an index. */
    for (size_t i = 0; i < count; i++)
        if (!before || words[i] != before[i]) words[i] = UINT32_C(0x7FFF7FFF);
}

static cl_mem CL_API_CALL layer_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host,
                                               cl_int *error) {
    cl_int broken = breaks(CALL_clCreateBuffer);
    struct buffer *buffer = calloc(1, sizeof *buffer);
    if (broken == CL_SUCCESS && !buffer) broken = CL_OUT_OF_HOST_MEMORY;
    cl_mem handle = broken == CL_SUCCESS ? below->clCreateBuffer(context, flags, size, host, error) : NULL;
    if (broken != CL_SUCCESS && error) *error = broken;
    if (!handle) {
        free(buffer);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    *buffer = (struct buffer){buffers, handle};
    buffers = buffer;
    alive++;
    pthread_mutex_unlock(&lock);
    return handle;
}

static cl_int CL_API_CALL layer_clReleaseMemObject(cl_mem handle) {
    cl_int broken = breaks(CALL_clReleaseMemObject);
    pthread_mutex_lock(&lock);
    for (struct buffer **link = &buffers; *link; link = &(*link)->next) {
        struct buffer *gone = *link;
        if (gone->handle != handle) continue;
        *link = gone->next;
        free(gone);
        break;
    }
    alive--;
    pthread_mutex_unlock(&lock);
    cl_int error = below->clReleaseMemObject(handle);
    return broken != CL_SUCCESS ? broken : error;
}

static cl_kernel CL_API_CALL layer_clCreateKernel(cl_program program, const char *name, cl_int *error) {
    bool ignored;
    cl_int broken = suffer(CALL_clCreateKernel, name, &ignored);
    struct kernel *kernel = calloc(1, sizeof *kernel);
    if (broken == CL_SUCCESS && !kernel) broken = CL_OUT_OF_HOST_MEMORY;
    cl_kernel handle = broken == CL_SUCCESS ? below->clCreateKernel(program, name, error) : NULL;
    if (broken != CL_SUCCESS && error) *error = broken;
    if (!handle) {
        free(kernel);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    *kernel = (struct kernel){.next = kernels, .handle = handle};
    kernels = kernel;
    alive++;
    pthread_mutex_unlock(&lock);
    return handle;
}

static cl_int CL_API_CALL layer_clReleaseKernel(cl_kernel handle) {
    cl_int broken = breaks_kernel(CALL_clReleaseKernel, handle);
    pthread_mutex_lock(&lock);
    for (struct kernel **link = &kernels; *link; link = &(*link)->next) {
        struct kernel *gone = *link;
        if (gone->handle != handle) continue;
        *link = gone->next;
        free(gone);
        break;
    }
    alive--;
    pthread_mutex_unlock(&lock);
    cl_int error = below->clReleaseKernel(handle);
    return broken != CL_SUCCESS ? broken : error;
}

static cl_int CL_API_CALL layer_clSetKernelArg(cl_kernel handle, cl_uint index, size_t size, const void *value) {
    cl_int error = breaks_kernel(CALL_clSetKernelArg, handle);
    if (error == CL_SUCCESS) error = below->clSetKernelArg(handle, index, size, value);
    if (error != CL_SUCCESS || index >= MOST_ARGUMENTS) return error;
    pthread_mutex_lock(&lock);
    struct kernel *kernel = kernels;
    while (kernel && kernel->handle != handle) kernel = kernel->next;
    if (kernel) kernel->buffers[index] = NULL;
    for (const struct buffer *b = buffers; b && kernel && value && size == sizeof b->handle; b = b->next)
        if (memcmp(value, &b->handle, size) == 0) kernel->buffers[index] = b->handle;
    pthread_mutex_unlock(&lock);
    return CL_SUCCESS;
}

/* All of the buffer's bytes, in whole words; NULL: no memory, or none that a kernel writes to. */
static uint32_t *bytes_of(cl_command_queue queue, cl_mem buffer, size_t *bytes) {
    cl_mem_flags flags = 0;
    *bytes = 0;
    below->clGetMemObjectInfo(buffer, CL_MEM_FLAGS, sizeof flags, &flags, NULL);
    below->clGetMemObjectInfo(buffer, CL_MEM_SIZE, sizeof *bytes, bytes, NULL);
    uint32_t *words = flags & CL_MEM_READ_ONLY || *bytes < sizeof *words ? NULL : calloc(1, *bytes);
    *bytes -= *bytes % sizeof *words;
    if (words && below->clEnqueueReadBuffer(queue, buffer, CL_TRUE, 0, *bytes, words, 0, NULL, NULL) == CL_SUCCESS)
        return words;
    free(words);
    return NULL;
}

static void spoil(cl_command_queue queue, cl_mem buffer, const uint32_t *before) {
    size_t bytes;
    uint32_t *after = before ? bytes_of(queue, buffer, &bytes) : NULL;
    if (after) {
        fill_with_nan(after, bytes / sizeof *after, before);
        below->clEnqueueWriteBuffer(queue, buffer, CL_TRUE, 0, bytes, after, 0, NULL, NULL);
    }
    free(after);
}

static cl_int CL_API_CALL layer_clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel handle, cl_uint dimensions,
                                                       const size_t *offset, const size_t *global, const size_t *local,
                                                       cl_uint waits, const cl_event *wait, cl_event *event) {
    char name[64];
    bool corrupt;
    uint32_t *before[MOST_ARGUMENTS] = {NULL};
    cl_mem arguments[MOST_ARGUMENTS] = {NULL};
    cl_int error = suffer(CALL_clEnqueueNDRangeKernel, name_of(handle, name), &corrupt);
    if (error == SKIPPED) {
        if (event) count_alive(1);
        return event ? below->clEnqueueMarker(queue, event) : CL_SUCCESS;
    }
    if (error != CL_SUCCESS) return error;
    pthread_mutex_lock(&lock);
    for (const struct kernel *kernel = kernels; corrupt && kernel; kernel = kernel->next)
        if (kernel->handle == handle) memcpy(arguments, kernel->buffers, sizeof arguments);
    pthread_mutex_unlock(&lock);
    for (int i = 0; i < MOST_ARGUMENTS; i++) {
        size_t bytes;
        for (int k = 0; k < i && arguments[i]; k++)
            if (arguments[k] == arguments[i]) arguments[i] = NULL;
        if (arguments[i]) before[i] = bytes_of(queue, arguments[i], &bytes);
    }
    error = below->clEnqueueNDRangeKernel(queue, handle, dimensions, offset, global, local, waits, wait, event);
    if (error == CL_SUCCESS && event) count_alive(1);
    for (int i = 0; i < MOST_ARGUMENTS; i++) {
        if (error == CL_SUCCESS && arguments[i]) spoil(queue, arguments[i], before[i]);
        free(before[i]);
    }
    return error;
}

static cl_int CL_API_CALL layer_clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                                    size_t offset, size_t size, void *target, cl_uint waits,
                                                    const cl_event *wait, cl_event *event) {
    bool corrupt;
    cl_int error = suffer(CALL_clEnqueueReadBuffer, "", &corrupt);
    if (error != CL_SUCCESS) return error;
    if (corrupt) blocking = CL_TRUE;
    error = below->clEnqueueReadBuffer(queue, buffer, blocking, offset, size, target, waits, wait, event);
    if (error == CL_SUCCESS && event) count_alive(1);
    if (error == CL_SUCCESS && corrupt) fill_with_nan(target, size / sizeof(uint32_t), NULL);
    return error;
}

/* ---- the layer ---- */

/* Entries that are not set fall through to the driver. */
static const cl_icd_dispatch layer = {
#define ENTRY(name) .name = layer_##name,
    LAYER_CALLS(ENTRY)
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
    const char *text = getenv("FAKE_LAYER");
    if (text && !fake_layer_arm(text)) exit(2);
    below = target;
    *result = &layer;
    *count = sizeof layer / sizeof(void *);
    return CL_SUCCESS;
}
