/* kernels.h: the OpenCL sources, embedded at build time by scripts/embed_kernels.py. */
#ifndef CI_DEVICE_KERNELS_H
#define CI_DEVICE_KERNELS_H

#include <clinfer.h>

struct ci_kernel_source {
    const char *name; /* relative to clkernels/, "matmul_vec.cl"; NULL ends the table */
    const char *text;
};

extern const struct ci_kernel_source ci_kernel_sources[];

/* The text of one source: from the folder that the environment variable CLINFER_KERNELS names (for development), else the
 * embedded one. CLINFER_NOT_FOUND names the source. *text is the caller's to free. */
enum clinfer_status ci_kernel_source_load(const char *name, char **text);

#endif
