/* asserts.h: what functions of the library must return, and say. */
#ifndef TESTS_SUPPORT_ASSERTS_H
#define TESTS_SUPPORT_ASSERTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <clinfer.h>

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        enum clinfer_status status_ = (call);                                                                          \
        if (status_ != CLINFER_OK) fail_msg("%s: %s: %s", #call, clinfer_status_text(status_), clinfer_error());       \
    } while (0)

#define assert_message(text)                                                                                           \
    do {                                                                                                               \
        if (!strstr(clinfer_error(), text)) fail_msg("\"%s\" is not in the message: %s", text, clinfer_error());       \
    } while (0)

static inline void assert_contains(const char *text, const char *wanted) {
    if (!text || !strstr(text, wanted)) fail_msg("\"%s\" is not in: %s", wanted, text ? text : "(nothing)");
}

#endif
