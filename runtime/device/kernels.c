/* The text of OpenCL sources: embedded in the binary, or from a folder while they are being written. A source that the
 * folder does not hold comes from the binary, so that one kernel can be tried without copying all. */
#define _GNU_SOURCE
#include "device/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/status.h"

static enum clinfer_status load_from_folder(const char *folder, const char *name, char **text) {
    char *path = NULL;
    struct ci_file file = {0};
    if (asprintf(&path, "%s/%s", folder, name) < 0) return ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    enum clinfer_status status = ci_file_map(path, &file);
    if (status == CLINFER_OK) {
        *text = malloc(file.size + 1);
        if (*text) {
            if (file.size > 0) memcpy(*text, file.data, file.size);
            (*text)[file.size] = '\0';
        } else {
            status = ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", path);
        }
        ci_file_unmap(&file);
    }
    free(path);
    return status;
}

enum clinfer_status ci_kernel_source_load(const char *name, char **text) {
    *text = NULL;
    const char *folder = getenv("CLINFER_KERNELS");
    if (folder && *folder) {
        enum clinfer_status status = load_from_folder(folder, name, text);
        if (status != CLINFER_NOT_FOUND) return status;
    }
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        if (strcmp(source->name, name) != 0) continue;
        *text = strdup(source->text);
        return *text ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
    }
    return ci_fail(CLINFER_NOT_FOUND, "%s: no such OpenCL source%s%s", name, folder ? " inside the binary or in " : "",
                   folder ? folder : "");
}
