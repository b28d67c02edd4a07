/* digest.h: digests as headers and names of files have them. */
#ifndef CI_HUB_DIGEST_H
#define CI_HUB_DIGEST_H

#include <stdbool.h>
#include <stddef.h>

/* What an ETag says, without W/ and quotes: W/"abc" is abc; cut to `size`. */
void ci_hub_take_etag(const char *header, char *text, size_t size);

/* Whether it is 64 or 40 hexadecimal digits, and nothing else: a SHA-256, or Git's SHA-1. */
bool ci_hub_is_digest(const char *text);

#endif
