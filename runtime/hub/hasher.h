/* hasher.h: the digest of a file while it is being written, by a thread of its own.
 *
 * It reads what is there without a gap from the file, where the bytes still are in memory, and follows the writer. So
 * it makes no difference whether they came in one piece, in eight, or a week ago; the connection is never kept waiting;
 * and what is left when the last byte has come is small. Rejected: hashing what is received as it comes, which needs
 * the bytes in order and costs the receiving thread as much as receiving does. */
#ifndef CI_HUB_HASHER_H
#define CI_HUB_HASHER_H

#include <stdint.h>

#include "net/digest.h"

struct ci_hasher;

/* `descriptor` is borrowed, `like` is the digest that is expected, `size` that of the file. As of ci_digest_create. */
enum clinfer_status ci_hasher_create(int descriptor, const char *like, uint64_t size, struct ci_hasher **hasher);

/* Bytes [0, front) are there. From one thread; cheap. */
void ci_hasher_advance(struct ci_hasher *hasher, uint64_t front);

/* How far it is; waits so many seconds at most for `bytes` to be reached. */
uint64_t ci_hasher_wait(struct ci_hasher *hasher, uint64_t bytes, double seconds);

/* Of all bytes, once they are reached. CLINFER_IO: the file could not be read. Once only. */
enum clinfer_status ci_hasher_end(struct ci_hasher *hasher, char text[CI_DIGEST_BYTES]);

/* At any time; may be NULL. */
void ci_hasher_destroy(struct ci_hasher *hasher);

#endif
