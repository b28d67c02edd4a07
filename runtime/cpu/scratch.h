/* scratch.h: memory for tables of kernels that are too large for the stack of a thread, which may be the caller's. */
#ifndef CI_CPU_SCRATCH_H
#define CI_CPU_SCRATCH_H

#include <stddef.h>

/* `bytes` of the calling thread alone, in large pages where there are some, for the call of one kernel: the next one
 * gets the same. It is freed when the thread ends. NULL when memory is out. */
void *ci_cpu_scratch(size_t bytes);

#endif
