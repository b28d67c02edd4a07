#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

static clinfer_log_callback *receiver;
static void *receiver_user;

void ci_log_to(clinfer_log_callback *callback, void *user) {
    receiver = callback;
    receiver_user = user;
}

void clinfer_log_to(clinfer_log_callback *callback, void *user) { ci_log_to(callback, user); }

void ci_log(enum clinfer_log_level level, const char *format, ...) {
    if (!receiver) return;
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    receiver(receiver_user, level, text);
}
