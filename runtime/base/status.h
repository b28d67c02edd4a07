/* status.h: how a failure travels.
 *
 * Every function that can fail returns an `enum clinfer_status`; the one that meets the failure calls ci_fail() with a
 * text that names the file, the field, the value and what to do. The text is kept per thread until the next ci_fail()
 * there, so signatures stay short and no caller has to carry a buffer. Our own bugs are asserts, never statuses. */
#ifndef CI_BASE_STATUS_H
#define CI_BASE_STATUS_H

#include <clinfer.h>

/* Records the message for this thread and returns `status`, so that `return ci_fail(...)` is one line. */
enum clinfer_status ci_fail(enum clinfer_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the message of this thread, for callers that know more than the one that failed; returns
 * `status`. */
enum clinfer_status ci_fail_prefix(enum clinfer_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__ /* so that it knows what they return: never CLINFER_OK where a failure was meant */
#define ci_fail(status, ...) ((ci_fail)(status, __VA_ARGS__), (status))
#define ci_fail_prefix(status, ...) ((ci_fail_prefix)(status, __VA_ARGS__), (status))
#endif

/* The message of the last failure on this thread, "" if there was none. Valid until the next failure on this thread. */
const char *ci_status_message(void);

#endif
