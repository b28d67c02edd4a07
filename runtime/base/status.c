#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];

enum clinfer_status(ci_fail)(enum clinfer_status status, const char *format, ...) {
    /* Formatted aside first: an argument may be the current message. */
    char text[MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    memcpy(message, text, sizeof message);
    return status;
}

enum clinfer_status(ci_fail_prefix)(enum clinfer_status status, const char *format, ...) {
    char prefix[MESSAGE_BYTES / 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    return ci_fail(status, "%s: %.*s", prefix, MESSAGE_BYTES / 2 - 3, message);
}

const char *ci_status_message(void) { return message; }

const char *clinfer_error(void) { return message; }

const char *clinfer_status_text(enum clinfer_status status) {
    switch (status) {
#define STATUS_TEXT(code, exit_status, text)                                                                           \
    case code: return text;
        CLINFER_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    }
    return "unknown status";
}
