/* redact.h: texts that a server chose, made fit for messages and logs: one line, bounded, without the key. */
#ifndef CI_REMOTE_REDACT_H
#define CI_REMOTE_REDACT_H

#include <stddef.h>

/* Parts of a key that are shorter may stand: they may be anything. */
enum { CI_REDACT_PART = 8 };

/* Copies to `out`, which is zero-terminated: control characters and bytes that are no UTF-8 become spaces, runs of
 * spaces one, and the key "[key]": any part of it of CI_REDACT_PART bytes or more, as it is in any case,
 * percent-encoded (RFC 3986), in base64 of either alphabet (RFC 4648) or in hexadecimal. What does not fit is cut with
 * "...". `key` may be NULL. */
void ci_redact(const char *key, const char *text, size_t length, char *out, size_t size);

#endif
