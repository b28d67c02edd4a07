/* pages.h: memory for what is large and read over and over (weights, caches, activations). */
#ifndef CI_BASE_PAGES_H
#define CI_BASE_PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum { CI_PAGE_BYTES = 4096, CI_LARGE_PAGE_BYTES = 2 * 1024 * 1024 };

/* On a page, so that a device which shares memory can use it in place. From CI_LARGE_PAGE_BYTES on it begins on a large
 * page, and the system is asked for such (madvise(2), MADV_HUGEPAGE): a processor that streams gigabytes looks up 512
 * times fewer addresses, and its prefetchers stop less often. Freed with free(); NULL when memory is out. */
void *ci_pages_alloc(size_t bytes);

/* The same, all zeros, for a table that is looked at before it is written to. What calloc() gives is then the system's
 * one page of zeros, in place of which each write puts another while all processors are stopped for it. */
void *ci_pages_zeros(size_t bytes);

/* Whether this process asks for large pages from now on; it does unless told otherwise. */
void ci_pages_ask_for_large(bool asks);

/* The same, all zeros, for what may grow: growing moves addresses, not bytes, and so takes no longer for much than for
 * little. NULL when memory is out; the old memory is then as it was. Freed with ci_pages_unmap(); `bytes` is what was
 * last asked for. */
void *ci_pages_map(size_t bytes);
void *ci_pages_grow(void *memory, size_t old_bytes, size_t bytes);
void ci_pages_unmap(void *memory, size_t bytes);

#endif
