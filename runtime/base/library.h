/* library.h: shared libraries that are loaded when they are first needed, so that starts do not pay for them and a
 * program runs where they are missing. */
#ifndef CI_BASE_LIBRARY_H
#define CI_BASE_LIBRARY_H

#include <stddef.h>

/* What is wrong stays in `problem`, "": nothing. Zeros before it is opened. */
struct ci_library {
    void *handle;
    char problem[256];
};

/* The first of `count` file names, in which dlopen(3) looks where it always does. It is never closed. Of several that
 * cannot be had the first one's failure is told. */
void ci_library_open(struct ci_library *library, const char *const *files, size_t count);

/* *function, a pointer to a function of `size` bytes, is that of this name; NULL, and a problem, where there is none.
 * Nothing where the library could not be opened. */
void ci_library_find(struct ci_library *library, const char *name, void *function, size_t size);

#endif
