/* kernels.h: the OpenCL sources, embedded at build time by scripts/embed_kernels.py. */
#ifndef CI_DEVICE_KERNELS_H
#define CI_DEVICE_KERNELS_H

#include <stdint.h>

#include <clinfer.h>

struct ci_kernel_source {
    const char *name; /* relative to clkernels/, "matmul_gemm_vec.cl"; NULL ends the table */
    const char *text;
    uint64_t hash; /* ci_hash of the text: what depends on it need not read it */
};

extern const struct ci_kernel_source ci_kernel_sources[];

/* The hash of all C sources that results on the CPU depend on (runtime/types, cpu and ops), taken at the same time. */
extern const uint64_t ci_cpu_sources_hash;

/* Of those, the kernels and what they include (runtime/types and cpu): by which measured times are remembered, which an
 * op that is added does not change. */
extern const uint64_t ci_cpu_kernels_hash;

/* The text of one source: from the folder that the environment variable CLINFER_KERNELS names (for development), else
 * the embedded one. CLINFER_NOT_FOUND names the source. *text is the caller's to free. */
enum clinfer_status ci_kernel_source_load(const char *name, char **text);

/* Mixes the source's hash into *hash, by which programs and proofs are remembered. Same failures as load. */
enum clinfer_status ci_kernel_source_hash(const char *name, uint64_t *hash);

#endif
