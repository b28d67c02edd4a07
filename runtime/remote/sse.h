/* sse.h: server-sent events (WHATWG HTML, "Server-sent events"), taken in pieces of any size.
 *
 * Lines end with LF, CR LF or CR; a byte order mark at the start, comments and the fields id and retry mean nothing
 * here. What the stream ends with is handed out when its line is complete, even if the empty line behind it is missing.
 */
#ifndef CI_REMOTE_SSE_H
#define CI_REMOTE_SSE_H

#include <stdbool.h>
#include <stddef.h>

enum { CI_SSE_EVENT_BYTES = 1 << 20, CI_SSE_NAME_BYTES = 64 };

/* `name` is "" where the stream names none; both are zero-terminated (the data may hold zero bytes of its own) and
 * valid until it returns. */
typedef void ci_sse_callback(void *user, const char *name, const char *data, size_t length);

struct ci_sse_text {
    char *bytes;
    size_t used, capacity;
};

/* Starts zeroed but for callback and user. */
struct ci_sse {
    ci_sse_callback *callback;
    void *user;
    struct ci_sse_text line, data;
    char name[CI_SSE_NAME_BYTES];
    bool has_data, after_return, begun;
};

enum ci_sse_status { CI_SSE_OK, CI_SSE_TOO_LONG, CI_SSE_OUT_OF_MEMORY };

/* TOO_LONG: a line or an event of more than CI_SSE_EVENT_BYTES. After a failure only ci_sse_free makes sense. */
enum ci_sse_status ci_sse_feed(struct ci_sse *sse, const char *bytes, size_t length);

/* The stream has ended. */
void ci_sse_end(struct ci_sse *sse);

void ci_sse_free(struct ci_sse *sse);

#endif
