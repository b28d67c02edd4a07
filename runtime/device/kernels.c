/* The text of OpenCL sources: embedded in the binary, or from a folder while they are being written. A source that the
 * folder does not hold comes from the binary, so that one kernel can be tried without copying all. */
#define _GNU_SOURCE
#include "device/kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
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

/* From the folder if there is one and it holds the source: *text, else *embedded. */
static enum clinfer_status find(const char *name, char **text, const struct ci_kernel_source **embedded) {
    const char *folder = getenv("CLINFER_KERNELS");
    *text = NULL;
    *embedded = NULL;
    if (folder && *folder) {
        enum clinfer_status status = load_from_folder(folder, name, text);
        if (status != CLINFER_NOT_FOUND) return status;
    }
    for (const struct ci_kernel_source *source = ci_kernel_sources; source->name; source++) {
        if (strcmp(source->name, name) != 0) continue;
        *embedded = source;
        return CLINFER_OK;
    }
    return ci_fail(CLINFER_NOT_FOUND, "%s: no such OpenCL source%s%s", name, folder ? " inside the binary or in " : "",
                   folder ? folder : "");
}

enum clinfer_status ci_kernel_source_load(const char *name, char **text) {
    const struct ci_kernel_source *embedded;
    enum clinfer_status status = find(name, text, &embedded);
    if (status != CLINFER_OK || *text) return status;
    *text = strdup(embedded->text);
    return *text ? CLINFER_OK : ci_fail(CLINFER_OUT_OF_MEMORY, "%s: out of memory", name);
}

enum clinfer_status ci_kernel_source_hash(const char *name, uint64_t *hash) {
    const struct ci_kernel_source *embedded;
    char *text;
    enum clinfer_status status = find(name, &text, &embedded);
    if (status != CLINFER_OK) return status;
    uint64_t own = text ? ci_hash(CI_HASH_START, text, strlen(text)) : embedded->hash;
    *hash = ci_hash(*hash, &own, sizeof own);
    free(text);
    return CLINFER_OK;
}
