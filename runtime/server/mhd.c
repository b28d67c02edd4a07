#include "server/mhd.h"

#include <pthread.h>

#include "base/library.h"
#include "base/status.h"

static const char *const files[] = {"libmicrohttpd.so.12"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct ci_mhd functions; /* as `library`: written once */
static struct ci_library library;

const struct ci_mhd *const ci_mhd = &functions;

static void load(void) {
    ci_library_open(&library, files, 1);
#define FIND(name) ci_library_find(&library, "MHD_" #name, &functions.name, sizeof functions.name);
    CI_MHD_LIST(FIND)
#undef FIND
}

enum clinfer_status ci_mhd_load(void) {
    pthread_once(&once, load);
    if (!*library.problem) return CLINFER_OK;
    return ci_fail(CLINFER_UNSUPPORTED, "a server needs libmicrohttpd 0.9.71 or later (Debian: libmicrohttpd12): %s",
                   library.problem);
}
