#include "net/curl.h"

#include <pthread.h>
#include <stdio.h>

#include "base/library.h"
#include "base/status.h"

static const char *const files[] = {"libcurl.so.4"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ci_curl functions; /* as `library`: written once */
static struct ci_library library;

const struct ci_curl *const ci_curl = &functions;

static void load(void) {
    ci_library_open(&library, files, 1);
#define FIND(name) ci_library_find(&library, "curl_" #name, &functions.name, sizeof functions.name);
    CI_CURL_LIST(FIND)
#undef FIND
    if (!*library.problem && functions.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        snprintf(library.problem, sizeof library.problem, "%s cannot start", files[0]);
}

enum clinfer_status ci_curl_load(void) {
    pthread_once(&once, load);
    if (!*library.problem) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED, "requests over the net need libcurl 7.85 or later (Debian: libcurl4): %s",
                   library.problem);
}
