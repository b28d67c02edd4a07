/* editline.c: see editline.h. */
#define _GNU_SOURCE
#include "cli/editline.h"

#include <dlfcn.h>
#include <string.h>

struct ci_editline ci_editline;

/* `function` is a pointer to a function; C has no cast to one from what dlsym gives. */
static bool find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

bool ci_editline_load(void) {
    static void *library;
    static const char *const files[] = {"libedit.so.2", "libedit.so.0"}; /* Debian's name, and that of others */
    for (size_t i = 0; !library && i < sizeof files / sizeof *files; i++)
        library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    bool complete = library != NULL;
#define FIND(name) complete = complete && find(library, #name, &ci_editline.name);
    CI_EDITLINE_LIST(FIND)
#undef FIND
    return complete;
}
