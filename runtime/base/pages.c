#define _GNU_SOURCE
#include "base/pages.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_bool asks_for_none;

void ci_pages_ask_for_large(bool asks) { asks_for_none = !asks; }

static size_t page_of(size_t bytes) { return bytes < CI_LARGE_PAGE_BYTES ? CI_PAGE_BYTES : CI_LARGE_PAGE_BYTES; }

static size_t in_pages(size_t bytes, size_t page) { return (bytes + page - 1) / page * page; }

void *ci_pages_alloc(size_t bytes) {
    size_t page = page_of(bytes);
    if (bytes > SIZE_MAX - page) return NULL;
    size_t whole = in_pages(bytes, page);
    void *memory = aligned_alloc(page, whole);
#ifdef MADV_HUGEPAGE
    /* Where it is not granted, small pages do as well. */
    if (memory && page == CI_LARGE_PAGE_BYTES && !asks_for_none) madvise(memory, whole, MADV_HUGEPAGE);
#endif
    return memory;
}

void *ci_pages_zeros(size_t bytes) {
    void *memory = ci_pages_alloc(bytes);
    return memory ? memset(memory, 0, bytes) : NULL;
}

/* Addresses for so many bytes, a multiple of CI_PAGE_BYTES, that begin on a large page. NULL: there are none. */
static void *reserve(size_t bytes, int protection) {
    if (bytes > SIZE_MAX - CI_LARGE_PAGE_BYTES) return NULL;
    size_t all = bytes + CI_LARGE_PAGE_BYTES;
    uint8_t *memory = mmap(NULL, all, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    size_t before = (CI_LARGE_PAGE_BYTES - (uintptr_t)memory % CI_LARGE_PAGE_BYTES) % CI_LARGE_PAGE_BYTES;
    if (before > 0) munmap(memory, before);
    if (before + bytes < all) munmap(memory + before + bytes, all - before - bytes);
    return memory + before;
}

static void ask_for_large_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
    if (bytes >= CI_LARGE_PAGE_BYTES && !asks_for_none) madvise(memory, bytes, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

void *ci_pages_map(size_t bytes) {
    if (bytes == 0 || bytes > SIZE_MAX - CI_PAGE_BYTES) return NULL;
    size_t whole = in_pages(bytes, CI_PAGE_BYTES);
    void *memory = reserve(whole, PROT_READ | PROT_WRITE);
    if (memory) ask_for_large_pages(memory, whole);
    return memory;
}

void *ci_pages_grow(void *memory, size_t old_bytes, size_t bytes) {
    if (bytes < old_bytes || bytes > SIZE_MAX - CI_PAGE_BYTES) return NULL;
    size_t old_whole = in_pages(old_bytes, CI_PAGE_BYTES), whole = in_pages(bytes, CI_PAGE_BYTES);
    if (whole == old_whole) return memory;
    /* A place that begins on a large page again: large pages move as they are, and others become such later. */
    void *place = reserve(whole, PROT_NONE);
    if (!place) return NULL;
    if (mremap(memory, old_whole, whole, MREMAP_MAYMOVE | MREMAP_FIXED, place) == MAP_FAILED) {
        munmap(place, whole);
        return NULL;
    }
    ask_for_large_pages(place, whole);
    return place;
}

void ci_pages_unmap(void *memory, size_t bytes) {
    if (memory) munmap(memory, in_pages(bytes, CI_PAGE_BYTES));
}
