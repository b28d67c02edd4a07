/* exchange_private.h: what the network, the workers and the watcher share of an exchange.
 *
 * It has an owner at each of its ends: the connection, until libmicrohttpd is done with it, and the worker that runs
 * its handler; the last of them frees it. The network's thread alone calls libmicrohttpd for it, but for resuming. */
#ifndef CI_SERVER_EXCHANGE_PRIVATE_H
#define CI_SERVER_EXCHANGE_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "server/dialect.h"
#include "server/mhd.h"

/* A stream whose reader has left more than this unread for so long, or ever more than the most, is lost. */
enum { CI_STREAM_SOFT_BYTES = 64 << 10, CI_STREAM_MOST_BYTES = 4 << 20 };
#define CI_STREAM_SOFT_SECONDS 30.0

struct ci_pair {
    const char *name, *value;
    struct ci_pair *next;
};

struct ci_note {
    const char *name;
    char text[80]; /* "": a number */
    double number;
};

struct ci_exchange {
    /* written before the handler runs */
    struct ci_server *server;
    struct MHD_Connection *connection;
    struct ci_exchange *next, *previous; /* all of the server's; under its lock */
    uint64_t serial;
    atomic_int owners;
    int fd;
    char id[25];
    struct ci_arena arena;
    const char *method, *path, *parameter, *key;
    struct ci_pair *headers, *queries;
    const struct ci_route *route;
    const struct ci_server_dialect *dialect;
    double arrived;
    char *body;
    size_t body_length, body_capacity;
    bool head, discards, dispatched;
    int told; /* server.c's; under its lock */

    /* the handler's */
    void *user;
    json_t *json;
    bool json_looked;
    char ignored[512]; /* ignored.c's: the header so far */
    struct ci_note notes[12];
    int note_count;

    pthread_mutex_t lock;        /* of all that follows */
    pthread_cond_t calm;         /* `going` has ended */
    bool suspended;              /* the connection waits until exchange.c resumes it */
    bool finished;               /* libmicrohttpd is done with it */
    bool gone, cancelled, going; /* gone: the client; cancelled: nobody waits for the handler any more */
    void (*on_gone)(void *user);
    void *on_gone_user;

    struct ci_pair *reply_headers; /* in `reply_arena`: a stream may begin on another thread than the handler's */
    struct ci_arena reply_arena;
    bool answered, closes; /* closes: the connection does not live on */
    int status;
    const char *type; /* in `reply_arena` */
    char *bytes;      /* the reply's, or what the reader of the stream has not had yet, from `taken` on */
    size_t length, taken, capacity;
    uint64_t sent;
    bool breaking; /* its last event is being written, by this thread alone */
    pthread_t breaker;
    bool streaming, is_events, ended, whole, between; /* between: the last byte ended an event */
    bool unread;                                      /* it broke because its client did not read */
    double full_since, written;                       /* ci_now(); 0: not */
    double expected; /* since when events are, of which none has come yet; 0: they are not */
};

/* NULL: out of memory. Of one owner. */
struct ci_exchange *ci_exchange_create(struct ci_server *server);
void ci_exchange_hold(struct ci_exchange *exchange);
void ci_exchange_release(struct ci_exchange *exchange);

/* The client has left, or nobody waits any more. */
void ci_exchange_set_gone(struct ci_exchange *exchange);

/* The server ends: tells the handler as if the client had left, which still gets what was said. */
void ci_exchange_cancel(struct ci_exchange *exchange);

/* Now and then, by the watcher: comments in silent streams, slow readers. */
void ci_exchange_tick(struct ci_exchange *exchange, double now);

/* The worker's part: runs the handler. */
void ci_exchange_handle(struct ci_exchange *exchange);

#endif
