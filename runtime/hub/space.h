/* space.h: whether a file fits before it is fetched, and what to say when it does not. */
#ifndef CI_HUB_SPACE_H
#define CI_HUB_SPACE_H

#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

/* "1.23 GB", "417 kB": decimal, as the Hub shows sizes. Returns `text`. */
char *ci_hub_size_text(uint64_t bytes, char *text, size_t size);

/* That `bytes` more go to the volume of `target`, whose folder need not be there yet, and `spare` stay free.
 * CLINFER_IO: the numbers, and what to do. */
enum clinfer_status ci_hub_space_check(const char *name, const char *target, uint64_t bytes, uint64_t spare);

/* What a part takes on its volume already; 0: it is not there. */
uint64_t ci_hub_space_taken(const char *path);

/* The failure of a write: `left` bytes were still to come. Says that the part stays. */
enum clinfer_status ci_hub_write_failed(const char *path, uint64_t left, int error);

#endif
