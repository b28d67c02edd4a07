/* npy.h: numbers as a NumPy file, .npy version 1.0 (numpy.lib.format), float32, C order. */
#ifndef CI_CLI_NPY_H
#define CI_CLI_NPY_H

#include <clinfer.h>
#include <stddef.h>

/* numbers [rows, cols]. CLINFER_IO: the message names `path`, as that of -o; a file that could not be finished is
 * removed. */
enum clinfer_status ci_npy_write(const char *path, const float *numbers, size_t rows, size_t cols);

#endif
