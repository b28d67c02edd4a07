/* connection.h: one range of a file on its way: what is made of the head of an answer and of its bytes, and how it
 * ended. For transfer.c, which decides what comes next. */
#ifndef CI_HUB_CONNECTION_H
#define CI_HUB_CONNECTION_H

#include "hub/transfer.h"

enum { CI_CONNECTIONS = 16, CI_CONNECTION_PAGE = 2048, CI_CONNECTION_BUFFER = 256 * 1024 };

/* Why a connection ended, beyond what ci_fetch_end() says. */
enum ci_connection_stop {
    CI_STOP_NONE,
    CI_STOP_FULL,    /* its range is there, and the server would go on */
    CI_STOP_OTHER,   /* another connection fetches all of it */
    CI_STOP_CHANGED, /* the server has another version than the one that was begun */
    CI_STOP_RANGE,   /* bytes of another range came */
    CI_STOP_SIZE,    /* the file has another size there: `told` */
    CI_STOP_LONG,    /* more bytes than the file has */
    CI_STOP_FORMAT,  /* it does not begin as GGUF does: `page` */
    CI_STOP_LOCAL    /* it could not be written: `status` and clinfer_error() */
};

struct ci_connections;

struct ci_connection {
    struct ci_connections *all;
    struct ci_fetch *fetch;  /* NULL: idle */
    uint64_t from, at, to;   /* of the range: begun, next byte, end; UINT64_MAX: not known */
    bool ranged, signed_url; /* how it was asked */
    uint64_t watched_at;     /* where it was at `watched`, as ci_now(), for transfer.c */
    double watched;
    enum ci_connection_stop stop;
    enum clinfer_status status;
    uint64_t told;
    char page[CI_CONNECTION_PAGE]; /* the beginning of a body that is no file */
    size_t page_length;
    size_t buffered; /* bytes before `at` that are not written yet: libcurl hands them out in small pieces */
    char buffer[CI_CONNECTION_BUFFER];
};

struct ci_connections {
    struct ci_download_work *work;
    struct ci_connection at[CI_CONNECTIONS];
    struct ci_connection *only; /* the others stop: its answer is the whole file */
    bool no_ranges;             /* the server does not give any */
    bool ranges_proven;         /* it has given one */
    bool ignore_version;        /* the digest alone decides */
    uint64_t came;              /* bytes, of any */
};

/* Asks for bytes [from, to) by `url`; `to` UINT64_MAX: until the end. CLINFER_OUT_OF_MEMORY, CLINFER_INVALID_ARGUMENT.
 */
enum clinfer_status ci_connection_start(struct ci_connection *connection, const char *url, bool signed_url, bool ranged,
                                        uint64_t from, uint64_t to);

/* Writes what is buffered. The part's status. */
enum clinfer_status ci_connection_flush(struct ci_connection *connection);

/* "bytes 5-9/20" or "bytes * /20"; what is not told is UINT64_MAX. false: neither. */
struct ci_content_range {
    uint64_t from, to, total; /* [from, to) */
};
bool ci_content_range_parse(const char *text, struct ci_content_range *range);

#endif
