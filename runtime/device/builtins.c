/* builtins.c: short declarations of built-in functions for PoCL; clkernels/common/builtins.clh has them and says why.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "device/internal.h"
#include "device/kernels.h"

static const char source[] = "common/builtins.clh";
static const char guard[] = " -D SHORT_BUILTINS -D _OPENCL_H_";

const char *ci_builtins_option(const struct ci_device_caps *caps, const char *options) {
    /* What later versions of the language declare, generic pointers and sub-groups, is in the header alone. */
    bool ours = strcmp(caps->platform, "Portable Computing Language") == 0 && strstr(options, "-cl-std=CL1.2");
    return ours ? guard : "";
}

static char *guard_in(const char *options) {
    size_t length = strlen(options), tail = strlen(guard);
    bool given = length >= tail && strcmp(options + length - tail, guard) == 0;
    return given ? (char *)(uintptr_t)options + length - tail : NULL;
}

bool ci_builtins_leave_out(char *options) {
    char *at = guard_in(options);
    if (at) *at = '\0';
    return at != NULL;
}

enum clinfer_status ci_builtins_hash(const char *options, uint64_t *key) {
    return guard_in(options) ? ci_kernel_source_hash(source, key) : CLINFER_OK;
}

enum clinfer_status ci_kernel_builtins_hash(const struct ci_device *device, const char *options, uint64_t *hash) {
    char *full = ci_program_options(&device->caps, options);
    enum clinfer_status status =
        full ? ci_builtins_hash(full, hash) : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for an OpenCL program");
    free(full);
    return status;
}

enum clinfer_status ci_builtins_load(const char *options, char **text) {
    *text = NULL;
    if (guard_in(options)) return ci_kernel_source_load(source, text);
    *text = strdup("");
    return *text ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "out of memory for a program");
}
