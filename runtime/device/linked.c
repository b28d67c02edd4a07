/* linked.c: a program that is linked from parts, each compiled with options of its own. As other programs it is known
 * by its device and texts, and kept in the cache. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/status.h"
#include "base/stop.h"
#include "base/watch.h"
#include "device/internal.h"
#include "device/kernels.h"

static uint64_t hash_text(uint64_t key, const char *text) { return ci_hash(key, text, strlen(text) + 1); }

enum clinfer_status ci_linked_key(const struct ci_device *device, const struct ci_program_part *parts, int count,
                                  uint64_t *key) {
    static const char what[] = "linked";
    enum clinfer_status status = CLINFER_OK;
    *key = ci_hash(CI_HASH_START, what, sizeof what);
    *key = ci_hash(*key, &device->caps.key, sizeof device->caps.key);
    for (int i = 0; i < count && status == CLINFER_OK; i++) {
        *key = hash_text(hash_text(*key, parts[i].options), parts[i].before);
        for (int k = 0; k < parts[i].source_count && status == CLINFER_OK; k++)
            status = ci_kernel_source_hash(parts[i].sources[k], key);
    }
    return status == CLINFER_OK ? ci_kernel_builtins_hash(device, "", key) : status;
}

static enum clinfer_status compile_texts(const struct ci_device *device, const char *const texts[3],
                                         const char *options, cl_program *out) {
    cl_int error = CL_SUCCESS;
    *out = clCreateProgramWithSource(device->context, 3, (const char **)(uintptr_t)texts, NULL, &error);
    if (!*out) return ci_cl_fail(&device->caps, "clCreateProgramWithSource", error);
    error = clCompileProgram(*out, 1, &device->id, options, 0, NULL, NULL, NULL, NULL);
    return error == CL_SUCCESS ? CLINFER_OK : ci_program_fail(device, *out, "clCompileProgram", error);
}

static enum clinfer_status compile(const struct ci_device *device, const struct ci_program_part *part,
                                   cl_program *out) {
    const struct ci_kernel_request request = {.sources = part->sources, .source_count = part->source_count};
    char *text = NULL, *builtins = NULL, *options = NULL;
    *out = NULL;
    ci_watch_begin(CI_WATCH_BUILD, 0);
    enum clinfer_status status = ci_program_text(&request, &text);
    if (status == CLINFER_OK) options = ci_program_options(&device->caps, part->options);
    if (status == CLINFER_OK && !options) status = ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a program");
    if (status == CLINFER_OK) status = ci_builtins_load(options, &builtins);
    if (status == CLINFER_OK) {
        const char *const texts[] = {builtins, part->before, text};
        status = compile_texts(device, texts, options, out);
        if (*out && status != CLINFER_OK && ci_builtins_leave_out(options)) {
            clReleaseProgram(*out);
            status = compile_texts(device, texts, options, out);
        }
    }
    free(text);
    free(builtins);
    free(options);
    return status;
}

static enum clinfer_status make(const struct ci_device *device, const struct ci_program_part *parts, int count,
                                cl_program *out) {
    cl_program *compiled = calloc((size_t)count, sizeof *compiled);
    cl_int error = CL_SUCCESS;
    *out = NULL;
    if (!compiled) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for %d programs", count);
    enum clinfer_status status = CLINFER_OK;
    for (int i = 0; i < count && status == CLINFER_OK; i++)
        status = ci_stop_is_asked() ? ci_fail(CLINFER_CANCELLED, "nobody wants the program any more")
                                    : compile(device, &parts[i], &compiled[i]);
    if (status == CLINFER_OK) {
        ci_watch_begin(CI_WATCH_BUILD, 0);
        *out = clLinkProgram(device->context, 1, &device->id, "", (cl_uint)count, compiled, NULL, NULL, &error);
        if (error != CL_SUCCESS) status = ci_program_fail(device, *out, "clLinkProgram", error);
    }
    for (int i = 0; i < count; i++)
        if (compiled[i]) clReleaseProgram(compiled[i]);
    free(compiled);
    if (status == CLINFER_OK) return CLINFER_OK;
    if (*out) clReleaseProgram(*out);
    *out = NULL;
    return status;
}

enum clinfer_status ci_kernel_create_linked(struct ci_device *device, const struct ci_program_part *parts, int count,
                                            const char *kernel_name, bool build, struct ci_kernel **kernel) {
    uint64_t key;
    *kernel = NULL;
    enum clinfer_status status = ci_linked_key(device, parts, count, &key);
    if (status != CLINFER_OK) return status;
    struct ci_program *program = ci_program_find(device, key);
    if (program) return ci_kernel_of_program(device, program, kernel_name, kernel);
    program = calloc(1, sizeof *program);
    if (!program) return ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a program");
    program->key = key;
    ci_program_load(device, program, kernel_name, "");
    if (!program->handle && build) {
        double start = ci_now();
        status = ci_device_compiler_works(device);
        if (status == CLINFER_OK) status = make(device, parts, count, &program->handle);
        program->build_seconds = ci_now() - start;
        program->unsaved = true;
        device->counts.builds++;
        device->counts.build_seconds += program->build_seconds;
    } else if (!program->handle) {
        status = ci_fail(CLINFER_NOT_FOUND, "the program is not in the cache");
    } else {
        device->counts.cache_hits++;
    }
    if (status != CLINFER_OK) {
        free(program);
        return status;
    }
    device->counts.objects++;
    program->next = device->programs;
    device->programs = program;
    return ci_kernel_of_program(device, program, kernel_name, kernel);
}
