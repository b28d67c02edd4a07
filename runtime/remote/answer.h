/* answer.h: the bytes of an answer, in pieces of any size, into what a dialect understands of them.
 *
 * Which of three things it is, the head says: events, one JSON text, or (from status 300 on) an error. What the request
 * asked for does not count: some servers do not stream although they should. */
#ifndef CI_REMOTE_ANSWER_H
#define CI_REMOTE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "remote/dialect.h"
#include "remote/http.h"
#include "remote/sse.h"

enum {
    CI_ANSWER_WHOLE_BYTES = 16 << 20, /* of an answer in one piece */
    CI_ANSWER_STREAM_BYTES = 64 << 20,
    CI_ANSWER_ERROR_BYTES = 64 << 10 /* of an error: what is longer is cut */
};

struct ci_answer {
    const struct ci_dialect *dialect;
    struct ci_reply reply;
    enum { CI_ANSWER_NOTHING, CI_ANSWER_EVENTS, CI_ANSWER_WHOLE, CI_ANSWER_ERROR, CI_ANSWER_OTHER } kind;
    struct ci_sse sse;
    char *body;
    size_t used, capacity, received;
    bool out_of_memory;
};

void ci_answer_start(struct ci_answer *answer, const struct ci_dialect *dialect, clinfer_text_callback *callback,
                     clinfer_tool_call_callback *call, void *user);

/* A ci_http_receiver; the user is the answer. */
enum ci_http_wish ci_answer_receive(void *user, const struct ci_http_answer *head, const char *bytes, size_t length);

/* Nothing comes any more. `well`: the server ended it; else what is not whole is not the server's mistake. */
void ci_answer_end(struct ci_answer *answer, bool well);

void ci_answer_free(struct ci_answer *answer);

#endif
