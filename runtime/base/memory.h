/* memory.h: how much memory a process can have here. */
#ifndef CI_BASE_MEMORY_H
#define CI_BASE_MEMORY_H

#include <stdint.h>

/* Bytes at most: what the machine has, or less where a control group (v2 memory.max, cgroups(7)) or a resource limit
 * (RLIMIT_AS, RLIMIT_DATA) says so. UINT64_MAX: not known. */
uint64_t ci_memory_limit(void);

#endif
