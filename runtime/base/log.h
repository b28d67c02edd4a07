/* log.h: what the library has to say to a person goes to one callback that the caller installs; the library itself
 * never prints. Without a callback nothing is formatted. */
#ifndef CI_BASE_LOG_H
#define CI_BASE_LOG_H

#include <clinfer.h>

/* Installs the receiver for the whole process; NULL is silence. Not to be called while another thread is inside
 * clinfer. */
void ci_log_to(clinfer_log_callback *callback, void *user);

void ci_log(enum clinfer_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
