#define _GNU_SOURCE
#include "net/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

static const char file[] = "libcurl.so.4";

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ci_curl functions; /* as `problem`: written once */
static char problem[256];

const struct ci_curl *const ci_curl = &functions;

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
#define FIND(name) find(library, "curl_" #name, &functions.name);
    CI_CURL_LIST(FIND)
#undef FIND
    if (!*problem && functions.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(problem, sizeof problem, "%s cannot start", file);
}

enum clinfer_status ci_curl_load(void) {
    pthread_once(&once, load);
    if (!*problem) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED, "requests over the net need libcurl 7.85 or later (Debian: libcurl4): %s",
                   problem);
}
