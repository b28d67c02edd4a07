/* clinfer.h: run language models on any OpenCL device, or on the CPU. The one public header.
 *
 * An engine is a loaded model on a device. A session is one conversation: its tokens, its rows in the KV cache, its
 * sampler. Several sessions share one engine and are computed together in the same steps.
 *
 * Every fallible function returns a status; clinfer_error() has the text for a person, per thread. The library never
 * prints and never exits. `create`/`open` give an object that the caller must `destroy`/`close`; everything else is
 * borrowed. */
#ifndef CLINFER_H
#define CLINFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CLINFER_VERSION "0.1.0"

/* Marks what libclinfer.so exports; everything else in it is hidden. */
#if defined(__GNUC__)
#define CLINFER_API __attribute__((visibility("default")))
#else
#define CLINFER_API
#endif

/* One list: code, exit status of the command line tool, text. */
#define CLINFER_STATUS_LIST(X)                                                                                         \
    X(CLINFER_OK, 0, "success")                                                                                        \
    X(CLINFER_INVALID_ARGUMENT, 2, "invalid argument")                                                                 \
    X(CLINFER_NOT_FOUND, 3, "file or model not found")                                                                 \
    X(CLINFER_IO, 4, "input or output error")                                                                          \
    X(CLINFER_BAD_FILE, 5, "damaged or malformed file")                                                                \
    X(CLINFER_UNSUPPORTED, 6, "not supported")                                                                         \
    X(CLINFER_OUT_OF_MEMORY, 7, "out of memory")                                                                       \
    X(CLINFER_NO_DEVICE, 8, "no such device")                                                                          \
    X(CLINFER_DEVICE_ERROR, 9, "the device or its driver failed")                                                      \
    X(CLINFER_CONTEXT_FULL, 10, "the context is full")                                                                 \
    X(CLINFER_WRONG_RESULT, 11, "a result failed its check")                                                           \
    X(CLINFER_CANCELLED, 12, "cancelled")

enum clinfer_status {
#define CLINFER_STATUS_ENUM(code, exit_status, text) code,
    CLINFER_STATUS_LIST(CLINFER_STATUS_ENUM)
#undef CLINFER_STATUS_ENUM
};

enum clinfer_log_level { CLINFER_LOG_ERROR, CLINFER_LOG_WARNING, CLINFER_LOG_INFO, CLINFER_LOG_DEBUG };

typedef void clinfer_log_callback(void *user, enum clinfer_log_level level, const char *message);

/* The text of a status, and the message of the last failure on this thread. Both borrowed. */
CLINFER_API const char *clinfer_status_text(enum clinfer_status status);
CLINFER_API const char *clinfer_error(void);

/* One receiver for the process; NULL is silence. */
CLINFER_API void clinfer_log_to(clinfer_log_callback *callback, void *user);

#ifdef __cplusplus
}
#endif

#endif
