#include "base/memory.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

static uint64_t machine_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

static uint64_t resource_bytes(int resource) {
    struct rlimit limit;
    bool known = getrlimit(resource, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return known ? (uint64_t)limit.rlim_cur : UINT64_MAX;
}

/* "max" is no number. */
static uint64_t file_bytes(const char *path) {
    uint64_t bytes = UINT64_MAX;
    FILE *file = fopen(path, "re");
    if (!file) return UINT64_MAX;
    if (fscanf(file, "%" SCNu64, &bytes) != 1) bytes = UINT64_MAX;
    fclose(file);
    return bytes;
}

/* Of the group and of all above it. */
static uint64_t group_bytes(void) {
    char line[PATH_MAX], path[PATH_MAX + 64];
    uint64_t bytes = UINT64_MAX;
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return bytes;
    *line = 0;
    while (fgets(line, sizeof line, file) && strncmp(line, "0::", 3) != 0) *line = 0;
    fclose(file);
    char *group = *line ? line + 3 : line;
    group[strcspn(group, "\n")] = 0;
    while (*group) {
        snprintf(path, sizeof path, "/sys/fs/cgroup%s/memory.max", group);
        bytes = least(bytes, file_bytes(path));
        char *slash = strrchr(group, '/');
        if (!slash) break;
        *slash = 0;
    }
    return bytes;
}

uint64_t ci_memory_limit(void) {
    uint64_t resources = least(resource_bytes(RLIMIT_AS), resource_bytes(RLIMIT_DATA));
    return least(least(machine_bytes(), resources), group_bytes());
}

void ci_memory_for_long(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 4 << 20); /* as that no longer follows from the other one: no system call for each body */
#endif
}

void ci_memory_give_back(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
