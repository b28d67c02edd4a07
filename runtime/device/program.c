/* Programs: text to something that runs, by way of the binary cache, several at a time.
 *
 * A program is built once per device and text. Building is by far the most expensive thing at start (PoCL 170 ms a
 * program, Intel's CPU runtime 75 ms, against 1 ms from a binary), so binaries are kept (program_cache.c) and what must
 * be built is built on several threads: OpenCL makes clBuildProgram safe for different programs.
 *
 * What that gives, 20 programs on two processors: rusticl half the time, Intel's CPU runtime 5/6, PoCL nothing (one
 * lock around its compiler; engine/warm.h has other processes for that).
 *
 * PoCL compiles a kernel again for each local size, at its first enqueue, and a binary holds only the sizes that had
 * been used when it was taken. So every new pair of kernel and local size marks its program as worth saving (again),
 * and the file remembers which pairs its binary holds: a start that uses no new one writes nothing. */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status.h"
#include "base/stop.h"
#include "base/threads.h"
#include "base/watch.h"
#include "device/internal.h"
#include "device/kernels.h"
#include "trace/probes.h"

/* As much of a build log as fits a message together with the rest. */
enum { LOG_TAIL = 700 };

/* A model needs some 3 MB of binaries on a device; a folder that a year of updates has left their traces in may not
 * grow for ever. */
static const uint64_t cache_limit = UINT64_C(256) << 20;

/* A program that must be made, by whichever thread takes it. */
struct job {
    struct ci_program *program;
    const char *kernel; /* the first that was asked for */
    char *text;
    char *options;
};

struct jobs {
    const struct ci_device *device;
    void (*step)(const struct ci_device *device, struct job *job);
    struct job *list;
    int count;
    atomic_int next;
    struct ci_watch *watch; /* of the thread that they work for */
};

/* The end of the build log, from the beginning of a line; the whole of it goes to the log. The caller frees it. */
static char *build_log(const struct ci_device *device, cl_program program) {
    size_t size = 0;
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &size) != CL_SUCCESS || size < 2)
        return NULL;
    char *log = calloc(1, size + 1);
    if (!log) return NULL;
    if (clGetProgramBuildInfo(program, device->id, CL_PROGRAM_BUILD_LOG, size, log, NULL) != CL_SUCCESS) {
        free(log);
        return NULL;
    }
    ci_log(CLINFER_LOG_DEBUG, "build log: %s", log);
    size_t length = strlen(log);
    while (length > 0 && (log[length - 1] == '\n' || log[length - 1] == ' ')) log[--length] = '\0';
    if (length > LOG_TAIL) {
        const char *tail = log + length - LOG_TAIL, *line = strchr(tail, '\n');
        if (line && line[1]) tail = line + 1;
        memmove(log, tail, strlen(tail) + 1);
    }
    return log;
}

/* Whether these bytes are to blame, and not the moment: memory that was out, a device that was short of something. */
static bool refuses_bytes(cl_int error) {
    return error == CL_INVALID_BINARY || error == CL_INVALID_VALUE || error == CL_INVALID_BUILD_OPTIONS ||
           error == CL_BUILD_PROGRAM_FAILURE || error == CL_INVALID_DEVICE;
}

static cl_int try_binary(const struct ci_device *device, const struct ci_cached_binary *binary, const char *options,
                         cl_program *out) {
    cl_int error = CL_SUCCESS, accepted = CL_SUCCESS;
    const unsigned char *bytes = binary->bytes;
    cl_program program =
        clCreateProgramWithBinary(device->context, 1, &device->id, &binary->size, &bytes, &accepted, &error);
    *out = NULL;
    if (!program) return error;
    error = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (error == CL_SUCCESS)
        *out = program;
    else
        clReleaseProgram(program);
    return error;
}

/* A second time where the bytes are not to blame: the compiler is what comes next, in this process, and some compilers
 * keep tens of megabytes for ever (PoCL's LLVM: 80). */
static cl_program build_from_binary(const struct ci_device *device, const struct ci_cached_binary *binary,
                                    const char *options) {
    cl_program program;
    cl_int error = try_binary(device, binary, options, &program);
    if (!program && !refuses_bytes(error)) error = try_binary(device, binary, options, &program);
    if (!program)
        ci_log(CLINFER_LOG_INFO, "a cached program is refused by \"%s\" (%s); it is built again", device->caps.name,
               ci_cl_error_name(error));
    return program;
}

enum clinfer_status ci_program_fail(const struct ci_device *device, cl_program program, const char *call,
                                    cl_int error) {
    enum clinfer_status status = ci_cl_fail(&device->caps, call, error);
    char *log = program ? build_log(device, program) : NULL;
    if (log) ci_fail(status, "%s: %s", ci_status_message(), log);
    free(log);
    return status;
}

static enum clinfer_status build_from_text(const struct ci_device *device, const char *builtins, const char *text,
                                           const char *options, cl_program *out, bool *refused) {
    const char *texts[] = {builtins, text};
    cl_int error = CL_SUCCESS;
    *out = NULL;
    *refused = false;
    cl_program program = clCreateProgramWithSource(device->context, 2, texts, NULL, &error);
    if (!program) return ci_cl_fail(&device->caps, "clCreateProgramWithSource", error);
    error = clBuildProgram(program, 1, &device->id, options, NULL, NULL);
    if (error == CL_SUCCESS) {
        *out = program;
        return CLINFER_OK;
    }
    *refused = error == CL_BUILD_PROGRAM_FAILURE;
    enum clinfer_status status = ci_program_fail(device, program, "clBuildProgram", error);
    clReleaseProgram(program);
    return status;
}

/* On any thread, as build(): touches nothing of the device but its context, and only its own program. */
void ci_program_load(const struct ci_device *device, struct ci_program *program, const char *kernel,
                     const char *options) {
    struct ci_cached_binary binary = {0};
    double start = ci_now();
    if (!device->cache_folder || !ci_program_cache_load(device->cache_folder, program->key, &binary)) return;
    program->handle = build_from_binary(device, &binary, options);
    program->from_cache = program->handle != NULL;
    if (program->from_cache) {
        memcpy(program->launches, binary.launches, sizeof program->launches);
        program->launch_count = binary.launch_count;
        CI_PROBE(kernel_build, kernel, options, program->key, CI_PROBE_NANOSECONDS(ci_now() - start), 1, 0);
    }
    free(binary.bytes);
}

static void load(const struct ci_device *device, struct job *job) {
    ci_program_load(device, job->program, job->kernel, job->options);
}

static void build(const struct ci_device *device, struct job *job) {
    struct ci_program *program = job->program;
    if (program->handle || program->status != CLINFER_OK) return;
    double start = ci_now();
    char *builtins = NULL;
    program->status = ci_builtins_load(job->options, &builtins);
    if (builtins)
        program->status =
            build_from_text(device, builtins, job->text, job->options, &program->handle, &program->refused);
    if (program->refused && ci_builtins_leave_out(job->options)) {
        ci_log(CLINFER_LOG_DEBUG, "kernel %s is built again with the driver's own declarations", job->kernel);
        program->status = build_from_text(device, "", job->text, job->options, &program->handle, &program->refused);
    }
    free(builtins);
    program->build_seconds = ci_now() - start;
    program->unsaved = true;
    CI_PROBE(kernel_build, job->kernel, job->options, program->key, CI_PROBE_NANOSECONDS(program->build_seconds), 0,
             (int)program->status);
    if (program->status != CLINFER_OK) program->message = strdup(ci_status_message());
}

static void run_jobs(void *argument, int thread, int threads) {
    struct jobs *jobs = argument;
    (void)threads;
    if (thread > 0) ci_watch_by(jobs->watch);
    for (int i; (i = atomic_fetch_add(&jobs->next, 1)) < jobs->count;) {
        ci_watch_begin(CI_WATCH_BUILD, 0);
        jobs->step(jobs->device, &jobs->list[i]);
    }
}

/* What is not in the cache needs the compiler. */
static void ask_compiler(struct ci_device *device, struct job *list, int count) {
    for (int i = 0; i < count; i++) {
        struct ci_program *program = list[i].program;
        if (program->handle) continue;
        program->status = ci_device_compiler_works(device);
        if (program->status != CLINFER_OK) program->message = strdup(ci_status_message());
    }
}

static void run_all(struct ci_device *device, struct job *list, int count) {
    struct jobs jobs = {.device = device, .list = list, .count = count, .watch = ci_watch_mine(), .step = load};
    struct ci_threads *threads = NULL;
    if (count > 1 && ci_threads_create(0, &threads) != CLINFER_OK) threads = NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) ask_compiler(device, list, count);
        if (pass == 1) jobs.step = build;
        atomic_store(&jobs.next, 0);
        if (threads)
            ci_threads_run(threads, run_jobs, &jobs);
        else
            run_jobs(&jobs, 0, 1);
    }
    ci_threads_destroy(threads);
    for (int i = 0; i < count; i++) {
        const struct ci_program *program = list[i].program;
        device->counts.objects++;
        if (program->from_cache) {
            device->counts.cache_hits++;
        } else {
            device->counts.builds++;
            device->counts.build_seconds += program->build_seconds;
        }
    }
}

char *ci_program_options(const struct ci_device_caps *caps, const char *options) {
    static const char newest[] = "-cl-std=CLnewest";
    char *full = NULL;
    if (!options) options = "";
    const char *standard = strstr(options, "-cl-std=") ? "" : *options ? "-cl-std=CL1.2 " : "-cl-std=CL1.2";
    const char *rest = strstr(options, newest);
    if (rest) {
        standard = caps->opencl_major >= 3 ? "-cl-std=CL3.0" : "-cl-std=CL1.2";
        options = rest + sizeof newest - 1;
    }
    const char *dot4 = caps->dot4 ? " -D DEVICE_DOT4" : "",
               *builtins = ci_builtins_option(caps, *standard ? standard : options);
    return asprintf(&full, "%s%s%s%s", standard, options, dot4, builtins) < 0 ? NULL : full;
}

/* All sources of a request as one text, with #line, so that a build log names our files. */
enum clinfer_status ci_program_text(const struct ci_kernel_request *request, char **text) {
    size_t length = 0;
    *text = NULL;
    for (int i = 0; i < request->source_count; i++) {
        char *source = NULL, *joined = NULL;
        enum clinfer_status status = ci_kernel_source_load(request->sources[i], &source);
        if (status == CLINFER_OK) {
            int written = asprintf(&joined, "%s#line 1 \"%s\"\n%s\n", *text ? *text : "", request->sources[i], source);
            if (written < 0) {
                joined = NULL;
                status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", request->sources[i]);
            } else {
                length = (size_t)written;
            }
        }
        free(source);
        free(*text);
        *text = joined;
        if (status != CLINFER_OK) return status;
    }
    return length > 0 ? CLINFER_OK : ci_fail(CLINFER_INVALID_ARGUMENT, "a kernel without sources was asked for");
}

struct ci_program *ci_program_find(struct ci_device *device, uint64_t key) {
    struct ci_program *program = device->programs;
    while (program && program->key != key) program = program->next;
    return program;
}

/* What a program is known by: device, options, and the text or the hashes of its sources. */
static enum clinfer_status key_of(const struct ci_device *device, const struct ci_kernel_request *request,
                                  const char *options, const char *text, uint64_t *key) {
    *key = ci_hash(CI_HASH_START, &device->caps.key, sizeof device->caps.key);
    *key = ci_hash(*key, options, strlen(options) + 1);
    if (text) *key = ci_hash(*key, text, strlen(text));
    for (int i = 0; i < request->source_count; i++) {
        *key = ci_hash(*key, request->sources[i], strlen(request->sources[i]) + 1);
        enum clinfer_status status = ci_kernel_source_hash(request->sources[i], key);
        if (status != CLINFER_OK) return status;
    }
    return ci_builtins_hash(options, key);
}

/* The program is either known or becomes a job. `text` stands in for the named sources where it is not NULL. */
static enum clinfer_status plan(struct ci_device *device, const struct ci_kernel_request *request, const char *text,
                                struct job *jobs, int *count, struct ci_program **out) {
    char *options = ci_program_options(&device->caps, request->options), *own = NULL;
    uint64_t key = 0;
    enum clinfer_status status = options ? key_of(device, request, options, text, &key)
                                         : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an OpenCL program");
    struct ci_program *program = *out = status == CLINFER_OK ? ci_program_find(device, key) : NULL;
    bool again = program && program->status != CLINFER_OK && !program->refused;
    if (status != CLINFER_OK || (program && !again)) goto done;
    if (text)
        own = strdup(text);
    else
        status = ci_program_text(request, &own);
    if (status != CLINFER_OK) goto done;
    if (!again) program = own ? calloc(1, sizeof *program) : NULL;
    if (!program || !own) {
        status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an OpenCL program");
        goto done;
    }
    if (again) {
        free(program->message);
        program->message = NULL;
        program->status = CLINFER_OK; /* as of every one that is to be built */
    } else {
        *program = (struct ci_program){.next = device->programs, .key = key};
        device->programs = program;
    }
    jobs[(*count)++] = (struct job){program, request->kernel_name, own, options};
    *out = program;
    return CLINFER_OK;
done:
    free(own);
    free(options);
    return status;
}

/* `text` stands in for the named sources of a single request where it is not NULL. */
static enum clinfer_status create_kernels(struct ci_device *device, struct ci_kernel_request *requests, int count,
                                          const char *text) {
    struct job *jobs = calloc((size_t)count, sizeof *jobs);
    struct ci_program **programs = calloc((size_t)count, sizeof *programs);
    enum clinfer_status first = CLINFER_OK;
    int job_count = 0;
    if (!jobs || !programs) {
        first = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d OpenCL kernels", count);
        goto done;
    }
    for (int i = 0; i < count; i++) {
        struct ci_kernel_request *request = &requests[i];
        request->status = plan(device, request, text, jobs, &job_count, &programs[i]);
        snprintf(request->message, sizeof request->message, "%s",
                 request->status == CLINFER_OK ? "" : ci_status_message());
    }
    run_all(device, jobs, job_count);
    for (int i = 0; i < count; i++) {
        struct ci_kernel_request *request = &requests[i];
        if (request->status == CLINFER_OK)
            request->status = ci_kernel_of_program(device, programs[i], request->kernel_name, &request->kernel);
        else
            ci_fail(request->status, "%s", request->message);
        if (programs[i] && !programs[i]->reported) request->build_seconds = programs[i]->build_seconds;
        if (programs[i]) programs[i]->reported = true;
        if (request->status == CLINFER_OK) continue;
        snprintf(request->message, sizeof request->message, "%s", ci_status_message());
        if (first == CLINFER_OK) first = request->status;
    }
done:
    for (int i = 0; i < job_count; i++) {
        free(jobs[i].text);
        free(jobs[i].options);
    }
    free(jobs);
    free(programs);
    return first;
}

enum clinfer_status ci_kernel_create_many(struct ci_device *device, struct ci_kernel_request *requests, int count) {
    for (int i = 0; i < count; i++) {
        requests[i].kernel = NULL;
        requests[i].build_seconds = 0;
    }
    return count > 0 ? create_kernels(device, requests, count, NULL) : CLINFER_OK;
}

enum clinfer_status ci_kernel_create(struct ci_device *device, const char *const *sources, int source_count,
                                     const char *options, const char *kernel_name, struct ci_kernel **kernel) {
    struct ci_kernel_request request = {
        .sources = sources, .source_count = source_count, .options = options, .kernel_name = kernel_name};
    enum clinfer_status status = ci_kernel_create_many(device, &request, 1);
    *kernel = request.kernel;
    return status;
}

enum clinfer_status ci_kernel_create_from_text(struct ci_device *device, const char *text, const char *kernel_name,
                                               struct ci_kernel **kernel) {
    struct ci_kernel_request request = {.kernel_name = kernel_name};
    enum clinfer_status status = create_kernels(device, &request, 1, text);
    *kernel = request.kernel;
    return status;
}

static void save(struct ci_device *device, struct ci_program *program) {
    size_t size = 0;
    if (clGetProgramInfo(program->handle, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0)
        return;
    struct ci_cached_binary binary = {.bytes = malloc(size), .size = size, .launch_count = program->launch_count};
    if (!binary.bytes) return;
    memcpy(binary.launches, program->launches, sizeof binary.launches);
    if (clGetProgramInfo(program->handle, CL_PROGRAM_BINARIES, sizeof binary.bytes, &binary.bytes, NULL) == CL_SUCCESS)
        ci_program_cache_store(device->cache_folder, program->key, &binary);
    free(binary.bytes);
}

bool ci_device_save_program(struct ci_device *device) {
    struct ci_program *program = device->cache_folder ? device->programs : NULL;
    while (program && !(program->handle && program->unsaved)) program = program->next;
    if (!program) return false;
    const struct ci_watch_pause pause = ci_watch_pause();
    ci_watch_begin(CI_WATCH_BUILD, 0); /* PoCL compiles for a binary, once more */
    save(device, program);
    program->unsaved = false; /* even if it failed: once is enough to have tried */
    ci_watch_resume(&pause);
    ci_program_cache_trim(device->cache_folder, cache_limit);
    return true;
}

void ci_device_save_programs(struct ci_device *device) {
    while (!ci_stop_is_asked() && ci_device_save_program(device)) {
    }
}

void ci_programs_destroy(struct ci_device *device) {
    while (device->programs) {
        struct ci_program *program = device->programs;
        device->programs = program->next;
        if (program->handle) clReleaseProgram(program->handle);
        free(program->message);
        free(program);
    }
}
