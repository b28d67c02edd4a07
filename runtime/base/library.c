#define _GNU_SOURCE
#include "base/library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

void ci_library_open(struct ci_library *library, const char *const *files, size_t count) {
    for (size_t i = 0; i < count && !library->handle; i++) {
        library->handle = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        const char *error = library->handle ? NULL : dlerror();
        if (!library->handle && i == 0)
            snprintf(library->problem, sizeof library->problem, "%s", error ? error : files[i]);
    }
    if (library->handle) *library->problem = 0;
}

/* C has no cast to a pointer to a function from what dlsym gives. */
void ci_library_find(struct ci_library *library, const char *name, void *function, size_t size) {
    if (!library->handle) return;
    void *symbol = dlsym(library->handle, name);
    if (!symbol && !*library->problem) snprintf(library->problem, sizeof library->problem, "it has no %s", name);
    memcpy(function, &symbol, size);
}
