/* require.h: what a public function refuses before it does anything: arguments that have to be there, and objects of
 * the process that this one was forked from, whose threads did not come along. */
#ifndef CI_BASE_REQUIRE_H
#define CI_BASE_REQUIRE_H

#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/status.h"

/* Returns from the calling function; `name` as the header calls the argument. */
#define CI_REQUIRE(pointer, name)                                                                                      \
    do {                                                                                                               \
        if (!(pointer)) return ci_fail(CLINFER_INVALID_ARGUMENT, "%s: %s is NULL", __func__, name);                    \
    } while (0)

/* Whether an object is of this process. A child of it must not wait for threads that it does not have. */
static inline bool ci_process_owns(pid_t process) { return process == getpid(); }

/* Returns from the calling function unless the object, made by `process`, is of this one. */
#define CI_REQUIRE_PROCESS(process, what)                                                                              \
    do {                                                                                                               \
        if (!ci_process_owns(process))                                                                                 \
            return ci_fail(CLINFER_INVALID_ARGUMENT,                                                                   \
                           "the " what " is of process %ld, whose threads this one, forked from it, does not have; "   \
                           "a process opens its own",                                                                  \
                           (long)(process));                                                                           \
    } while (0)

#endif
