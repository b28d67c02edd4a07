/* digest.h: SHA-256 (FIPS 180-4), and the SHA-1 by which git names a file: that of "blob SIZE\0" and the content. By
 * libcrypto, which uses the processor's own instructions for them, loaded when the first one is asked for: at start it
 * would cost more than `clinfer version` takes. */
#ifndef CI_NET_DIGEST_H
#define CI_NET_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include <clinfer.h>

enum { CI_DIGEST_BYTES = 65 }; /* 64 or 40 hexadecimal digits and a zero */

struct ci_digest;

/* Of the kind that `like` is: 64 hexadecimal digits SHA-256, 40 git's. `size`: bytes that will come; git's has it in
 * front, SHA-256 does not look at it. The caller ends or destroys it. CLINFER_INVALID_ARGUMENT: `like` is neither.
 * CLINFER_UNSUPPORTED: no libcrypto. CLINFER_OUT_OF_MEMORY. */
enum clinfer_status ci_digest_create(const char *like, uint64_t size, struct ci_digest **digest);

void ci_digest_add(struct ci_digest *digest, const void *bytes, size_t length);

/* Lower case; frees it. */
void ci_digest_end(struct ci_digest *digest, char text[CI_DIGEST_BYTES]);

/* Without a result; NULL is nothing. */
void ci_digest_destroy(struct ci_digest *digest);

#endif
