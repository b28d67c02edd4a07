/* memory.h: how much memory a process can have here, and what it holds without need. */
#ifndef CI_BASE_MEMORY_H
#define CI_BASE_MEMORY_H

#include <stdint.h>

/* Bytes at most: what the machine has, or less where a control group (v2 memory.max, cgroups(7)) or a resource limit
 * (RLIMIT_AS, RLIMIT_DATA) says so. UINT64_MAX: not known. */
uint64_t ci_memory_limit(void);

/* What was freed goes back to the system. glibc keeps it for the next allocation in one of up to eight arenas a
 * processor, and an engine that comes and goes leaves its memory in another one each time: ten of them were 100 MiB.
 * For moments after which nothing like it is allocated for a while; it takes a millisecond or so. */
void ci_memory_give_back(void);

/* From now on, in a program that runs for long: large blocks are mappings of their own, which are gone when they are
 * freed. glibc would take any size for small once a block of that size has come and gone, and engines that come and go
 * then leave holes in its arenas (30 MiB of 90, after a device had come back 16 times). */
void ci_memory_for_long(void);

#endif
