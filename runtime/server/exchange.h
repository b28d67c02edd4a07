/* exchange.h: one HTTP request and its answer, as handlers see them. Nothing here knows of models.
 *
 * The network's thread (libmicrohttpd, epoll) reads a request whole, checks it (limits, framing, Host, Origin, key,
 * method, path) and hands it to a worker thread, which runs the route's handler: straight-line code that may block.
 * Routes marked CI_ROUTE_QUICK are answered on the network's thread itself: they answer whatever hangs, and never
 * block.
 *
 * An exchange answers once: with ci_reply_*, ci_exchange_fail, or ci_stream_begin, _write..., _end. A handler that
 * returns without any of them has answered 500. What is given to ci_stream_write is copied into the stream's buffer,
 * from any thread, one at a time; a reader that is too slow loses its stream, and never holds up who writes. */
#ifndef CI_SERVER_EXCHANGE_H
#define CI_SERVER_EXCHANGE_H

#include <clinfer.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ci_arena;
struct ci_exchange;
struct ci_server;

/* ---- the request; texts are borrowed as long as the exchange lives: until the handler returns ---- */

const char *ci_exchange_path(const struct ci_exchange *exchange); /* percent-decoded, without --api-prefix */
/* What {id} of the route's path stands for, or "". It may contain '/'. */
const char *ci_exchange_parameter(const struct ci_exchange *exchange);
const char *ci_exchange_query(const struct ci_exchange *exchange, const char *name);  /* NULL: not there */
const char *ci_exchange_header(const struct ci_exchange *exchange, const char *name); /* NULL: not there */
const char *ci_exchange_body(const struct ci_exchange *exchange, size_t *length);     /* a zero byte behind it */
/* The body as an object, parsed once, borrowed, whatever Content-Type says. NULL: it is none, and the exchange has been
 * answered with 400. */
json_t *ci_exchange_json(struct ci_exchange *exchange);
const char *ci_exchange_id(const struct ci_exchange *exchange);  /* 24 letters and digits, unique: "chatcmpl-..." */
const char *ci_exchange_key(const struct ci_exchange *exchange); /* a name of the key it came with, never the key; "" */
double ci_exchange_arrived(const struct ci_exchange *exchange);  /* ci_now() */
struct ci_server *ci_exchange_server(struct ci_exchange *exchange);
struct ci_arena *ci_exchange_arena(struct ci_exchange *exchange); /* of the handler's thread; freed with the exchange */

/* What the dialect's break_off needs of the handler's state: NULL until it is set. It must live until the
 * answer has ended. */
void ci_exchange_set_user(struct ci_exchange *exchange, void *user);
void *ci_exchange_user(const struct ci_exchange *exchange);

/* Whether the client has left, or the server ends and waits no longer. */
bool ci_exchange_gone(struct ci_exchange *exchange);
/* Called once, from another thread, when that happens; at once if it has. NULL takes it back, and waits for a call that
 * is under way. It must not block, nor call functions of the exchange. */
void ci_exchange_on_gone(struct ci_exchange *exchange, void (*gone)(void *user), void *user);

/* ---- the answer ---- */

/* Before it begins; copied. Replaces an earlier one of that name. */
void ci_reply_header(struct ci_exchange *exchange, const char *name, const char *value);
void ci_reply_json(struct ci_exchange *exchange, int status, json_t *value); /* takes the reference; NULL is a 500 */
void ci_reply_bytes(struct ci_exchange *exchange, int status, const char *type, const void *bytes, size_t length);

/* 200. "text/event-stream" gets a comment line after each --sse-ping-interval (15 s) of silence. Nothing where it has
 * begun. */
void ci_stream_begin(struct ci_exchange *exchange, const char *type);
/* The answer will be events, as soon as there are any: a request that waits longer than that interval, in the queue or
 * for its model, is answered with 200 and comment lines from then on, so that no proxy gives it up. What fails later
 * breaks the stream off. */
void ci_stream_expect_events(struct ci_exchange *exchange);
/* false: the reader has left or is too slow. */
bool ci_stream_write(struct ci_exchange *exchange, const char *bytes, size_t length);
/* "event: E\ndata: {...}\n\n", without the first line where event is NULL; on application/x-ndjson a line of its own.
 */
bool ci_stream_json(struct ci_exchange *exchange, const char *event, const json_t *value);
/* whole: false: the connection breaks, visibly, without the final chunk. */
void ci_stream_end(struct ci_exchange *exchange, bool whole);
bool ci_stream_begun(const struct ci_exchange *exchange);

/* What the log's line of this request says besides: tokens, route. Names are literals. */
void ci_exchange_note_number(struct ci_exchange *exchange, const char *name, double value);
void ci_exchange_note_text(struct ci_exchange *exchange, const char *name, const char *value);

/* ---- failures ---- */

/* In no dialect; the route's dialect says how it looks and with which status. */
enum ci_failure_kind {
    CI_FAIL_INVALID,
    CI_FAIL_KEY,
    CI_FAIL_PERMISSION,
    CI_FAIL_NOT_FOUND,
    CI_FAIL_METHOD,
    CI_FAIL_TOO_LARGE,
    CI_FAIL_HEADER,  /* too large, too: 431 */
    CI_FAIL_CONTEXT, /* the prompt is longer than the context: 400 */
    CI_FAIL_BUSY,
    CI_FAIL_SERVER,
    CI_FAIL_UNSUPPORTED,
    CI_FAIL_UNAVAILABLE,
    CI_FAIL_CANCELLED
};
struct ci_failure {
    enum ci_failure_kind kind;
    enum clinfer_status status;     /* of the library; CLINFER_OK: it is not from there */
    const char *message;            /* what happened, where, what to do */
    const char *param;              /* the field, NULL: none */
    int64_t prompt_tokens, context; /* of CI_FAIL_CONTEXT */
    double retry_after;             /* seconds, of CI_FAIL_BUSY and _UNAVAILABLE; 0: not said */
};

/* Before the answer begins through the dialect's fail (Retry-After is set here), afterwards through its break_off. */
void ci_exchange_fail(struct ci_exchange *exchange, const struct ci_failure *failure);
/* CI_FAIL_INVALID. `param` may be NULL. */
void ci_exchange_refuse(struct ci_exchange *exchange, const char *param, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* INVALID_ARGUMENT and BAD_FILE (a template that refuses) 400, NOT_FOUND 404, CONTEXT_FULL its own 400, UNSUPPORTED
 * 400 where it is a field of the request (a grammar, a schema, tools), which is `param` then, else 501, REFUSED 403,
 * CANCELLED, the rest 500 or 503. `message` is borrowed: clinfer_error() of the same thread will do. */
struct ci_failure ci_failure_of_status(enum clinfer_status status, const char *message);
/* The library's message without flags of the command line; `text` [size], cut off where it is longer. */
const char *ci_failure_words(const char *message, char *text, size_t size);
/* 400, 401, 403, 404, 405, 413, 400, 429, 500, 501, 503, 499: OpenAI's, which most dialects share. */
int ci_failure_http_status(enum ci_failure_kind kind);
/* {"error": {"message", "type", "param", "code", ...}}, a new reference; NULL: out of memory. */
json_t *ci_failure_openai(const struct ci_failure *failure);

#endif
