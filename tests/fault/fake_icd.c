/* An OpenCL driver without platforms that misbehaves as its file name asks: a copy named libcrash.so crashes when its
 * platforms are asked for. test_probe.c puts copies beside a real driver. */
#define _GNU_SOURCE
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *own_path(void) {
    Dl_info info = {0};
    return dladdr((void *)own_path, &info) && info.dli_fname ? info.dli_fname : "";
}

static bool named(const char *word) { return strstr(own_path(), word) != NULL; }

static bool pocl_is_loaded(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[1024];
    bool found = false;
    while (maps && fgets(line, sizeof line, maps)) found = found || strstr(line, "libpocl.so");
    if (maps) fclose(maps);
    return found;
}

/* "libmoody.so" crashes while the file "libmoody.so.angry" is there. */
static bool is_angry(void) {
    char path[1024];
    snprintf(path, sizeof path, "%s.angry", own_path());
    return access(path, F_OK) == 0;
}

__attribute__((constructor)) static void load(void) {
    if (named("libstuck")) pause();
}

static cl_int CL_API_CALL get_platforms(cl_uint room, cl_platform_id *platforms, cl_uint *count) {
    (void)room, (void)platforms;
    if (named("libcrash") || (named("libgrudge") && pocl_is_loaded()) || (named("libmoody") && is_angry())) abort();
    if (named("libhang")) pause();
    if (named("libquit")) _exit(3);
    if (count) *count = 0;
    return -1001; /* CL_PLATFORM_NOT_FOUND_KHR */
}

/* The loader wants it to be there. */
static cl_int CL_API_CALL platform_info(cl_platform_id platform, cl_platform_info what, size_t size, void *value,
                                        size_t *needed) {
    (void)platform, (void)what, (void)size, (void)value, (void)needed;
    return CL_INVALID_PLATFORM;
}

__attribute__((visibility("default"))) void *CL_API_CALL clGetExtensionFunctionAddress(const char *name) {
    if (strcmp(name, "clIcdGetPlatformIDsKHR") == 0) return (void *)get_platforms;
    return strcmp(name, "clGetPlatformInfo") == 0 ? (void *)platform_info : NULL;
}
