#define _GNU_SOURCE
#include "cli/npy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/status.h"

enum { NPY_HEADER = 128 };

enum clinfer_status ci_npy_write(const char *path, const float *numbers, size_t rows, size_t cols) {
    char header[NPY_HEADER + 1];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = NPY_HEADER - 10; /* length of what follows, little endian */
    header[9] = 0;
    int length = snprintf(header + 10, sizeof header - 10,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, cols);
    header[10 + length] = ' ';
    header[NPY_HEADER - 1] = '\n';
    FILE *file = fopen(path, "wbe");
    if (!file) return ci_fail(CLINFER_IO, "-o %s: %s", path, strerror(errno));
    bool written = fwrite(header, 1, NPY_HEADER, file) == NPY_HEADER &&
                   fwrite(numbers, cols * sizeof *numbers, rows, file) == rows;
    written = fclose(file) == 0 && written;
    if (written) return CLINFER_OK;
    enum clinfer_status status = ci_fail(CLINFER_IO, "-o %s: %s", path, strerror(errno));
    struct stat kind;
    if (stat(path, &kind) == 0 && S_ISREG(kind.st_mode)) unlink(path);
    return status;
}
