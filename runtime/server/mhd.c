#define _GNU_SOURCE
#include "server/mhd.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

static const char file[] = "libmicrohttpd.so.12";

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ci_mhd functions; /* as `problem`: written once */
static char problem[256];

const struct ci_mhd *const ci_mhd = &functions;

/* `function` is a pointer to a function; C has no cast to one from what dlsym gives. */
static void find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    if (!symbol && !*problem) snprintf(problem, sizeof problem, "%s has no %s", file, name);
    memcpy(function, &symbol, sizeof symbol);
}

static void load(void) {
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *error = dlerror();
        snprintf(problem, sizeof problem, "%s", error ? error : file);
        return;
    }
#define FIND(name) find(library, "MHD_" #name, &functions.name);
    CI_MHD_LIST(FIND)
#undef FIND
}

enum clinfer_status ci_mhd_load(void) {
    pthread_once(&once, load);
    if (!*problem) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED, "a server needs libmicrohttpd 0.9.71 or later (Debian: libmicrohttpd12): %s",
                   problem);
}
