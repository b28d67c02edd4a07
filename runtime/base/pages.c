#define _GNU_SOURCE
#include "base/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

void *ci_pages_alloc(size_t bytes) {
    size_t page = bytes < CI_LARGE_PAGE_BYTES ? CI_PAGE_BYTES : CI_LARGE_PAGE_BYTES;
    if (bytes > SIZE_MAX - page) return NULL;
    size_t whole = (bytes + page - 1) / page * page;
    void *memory = aligned_alloc(page, whole);
#ifdef MADV_HUGEPAGE
    /* Where it is not granted, small pages do as well. */
    if (memory && page == CI_LARGE_PAGE_BYTES) madvise(memory, whole, MADV_HUGEPAGE);
#endif
    return memory;
}
