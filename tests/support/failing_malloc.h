/* failing_malloc.h: allocations of clinfer's own code that fail on purpose, and those that are never freed.
 *
 * The linker sends the calls of our objects here (WRAPPED in the Makefile); those inside drivers and libraries do not
 * come this way. What is meant: malloc, calloc, realloc, aligned_alloc, strdup, strndup, asprintf, vasprintf, realpath,
 * scandir, getline, open_memstream, mmap and pthread_create.
 *
 *     failing_malloc_arm(17, false);
 *     status = clinfer_engine_open(...);
 *     failing_malloc_disarm();
 *     if (failing_malloc_alive()) fail_msg("%s", failing_malloc_leak());
 *
 * A program gets the same from its environment: FAILING_MALLOC=17 (or 17+: that one and all after it), with the count
 * as text in the file FAILING_MALLOC_COUNT, and in its second line where the first one failed, for
 * failing_malloc_functions(). */
#ifndef TESTS_SUPPORT_FAILING_MALLOC_H
#define TESTS_SUPPORT_FAILING_MALLOC_H

#include <stdbool.h>

/* From now on allocation `number` (from 1; 0: none) fails, and all after it if `for_ever`; counts start anew. */
void failing_malloc_arm(int number, bool for_ever);

/* Nothing fails any more; what is freed still counts. */
void failing_malloc_disarm(void);

int failing_malloc_count(void);  /* allocations between the last arm and disarm, those that failed too */
int failing_malloc_failed(void); /* of these, how many failed */
int failing_malloc_alive(void);  /* of the others, how many are not freed */

/* Which functions made the first one that failed, or one that is alive: "f < g < h"; valid until the next call. */
const char *failing_malloc_where(void);
const char *failing_malloc_leak(void);
const char *failing_malloc_functions(const char *program, const char *offsets);

/* What jansson allocates for us is watched for leaks, but never fails: it is the library's. Before its first use. */
void failing_malloc_watch_jansson(void);

#endif
